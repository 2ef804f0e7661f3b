/* Responsibilities and statistics of all units at the present parameters, chunk by chunk. */
#include "mixture/pass.h"

#include <math.h>
#include <string.h>

#include "math/rows.h"
#include "math/threads.h"

/* l[i + ld j]: log joint density of unit i and component j; rows is scratch of the same size. */
static void log_joint(const mixture *w, const mixture_chunk *c, double *l, double *rows,
                      double *scratch) {
  const mixture_spec *s = &w->spec;
  const size_t size = (size_t)c->ld * (size_t)s->k;
  double *by_row = s->units.first ? rows : l;
  memset(l, 0, size * sizeof(double));
  if (s->units.first) memset(rows, 0, size * sizeof(double));
  for (int p = 0; p < s->n_part; p++)
    s->part[p].log_density(s->part[p].work, c, scratch, s->part[p].by_unit ? l : by_row);
  if (!s->units.first) return;
  const int *first = s->units.first + c->unit;
  for (int j = 0; j < s->k; j++)
    for (int i = 0; i < c->n_unit; i++) {
      const double *from = rows + (size_t)c->ld * (size_t)j - c->row;
      double sum = 0.0;
      for (int row = first[i]; row < first[i + 1]; row++) sum += from[row];
      l[(size_t)c->ld * (size_t)j + (size_t)i] += sum;
    }
}

/* All of a unit to its likeliest component, the first of equals: points on z. */
static void harden(int n, int ld, int k, double *l, double *value) {
  for (int i = 0; i < n; i++) {
    int best = 0;
    for (int j = 1; j < k; j++)
      if (l[i + ld * j] > l[i + ld * best]) best = j;
    value[i] = l[i + ld * best];
    for (int j = 0; j < k; j++) l[i + ld * j] = j == best;
  }
}

double mixture_chunk_law(const mixture *w, const mixture_partition *given, const mixture_chunk *c,
                         double *l, double *rows, double *lse, double *scratch) {
  const mixture_spec *s = &w->spec;
  const int ld = c->ld, n_unit = s->units.n_unit;
  const double *freq = s->units.freq ? s->units.freq + c->unit : NULL;
  double value = 0.0;
  if (given && given->label) {
    /* But for points on z a label leaves some doubt: a probability that starts at zero stays
     * there. */
    const double doubt = s->method == MIXTURE_JOINT ? 0.0 : 0.01;
    for (int j = 0; j < s->k; j++)
      for (int i = 0; i < c->n_unit; i++)
        l[i + ld * j] = (given->label[c->unit + i] == j + 1 ? 1.0 - doubt : 0.0) + doubt / s->k;
  } else if (given) {
    for (int j = 0; j < s->k; j++)
      memcpy(l + ld * j, given->probability + (size_t)n_unit * (size_t)j + c->unit,
             (size_t)c->n_unit * sizeof(double));
  } else {
    log_joint(w, c, l, rows, scratch);
    if (s->method == MIXTURE_JOINT)
      harden(c->n_unit, ld, s->k, l, lse);
    else
      row_kernels_current()->posterior(ld, s->k, l, lse);
    for (int i = 0; i < c->n_unit; i++)
      if (!freq || freq[i] > 0.0) value += (freq ? freq[i] : 1.0) * lse[i];
  }
  for (int j = 0; j < s->k; j++) {
    double *r = l + (size_t)ld * (size_t)j;
    if (freq)
      for (int i = 0; i < c->n_unit; i++) r[i] *= freq[i];
    for (int i = c->n_unit; i < ld; i++) r[i] = 0.0;
  }
  return value;
}

static void chunk_pass(const mixture *w, const mixture_partition *given, const mixture_chunk *c,
                       double *memory, double *stat, double *size, double *value, double *keep) {
  const mixture_spec *s = &w->spec;
  const int ld = c->ld;
  const size_t block = (size_t)ld * (size_t)s->k;
  double *r = memory, *rows = r + block, *r_rows = rows + block, *lse = r_rows + block;
  double *scratch = lse + ld;
  *value += mixture_chunk_law(w, given, c, r, rows, lse, scratch);
  for (int j = 0; j < s->k; j++)
    for (int i = 0; i < c->n_unit; i++) size[j] += r[i + ld * j];
  if (keep)
    for (int j = 0; j < s->k; j++)
      memcpy(keep + (size_t)s->units.n_unit * (size_t)j + c->unit, r + ld * j,
             (size_t)c->n_unit * sizeof(double));
  if (s->units.first) {
    const int *first = s->units.first + c->unit;
    memset(r_rows, 0, block * sizeof(double));
    for (int j = 0; j < s->k; j++)
      for (int i = 0; i < c->n_unit; i++)
        for (int row = first[i]; row < first[i + 1]; row++)
          r_rows[row - c->row + ld * j] = r[i + ld * j];
  } else {
    r_rows = r;
  }
  for (int p = 0; p < s->n_part; p++)
    s->part[p].accumulate(s->part[p].work, c, s->part[p].by_unit ? r : r_rows, scratch,
                          stat + w->stat_at[p]);
}

/* A slot holds a fixed run of chunks whatever the number of threads, and
 * slots are added in order: the sums are the same bits for any number of them. */
elbo_status mixture_run_pass(mixture *w, const mixture_partition *given, mixture_pass *pass) {
  const mixture_spec *s = &w->spec;
  const size_t k = (size_t)s->k, stride = w->n_stat + k + 1;
  w->passes += 1.0;
  memset(w->slot_stat, 0, (size_t)w->n_slot * stride * sizeof(double));
#ifdef _OPENMP
#pragma omp parallel for schedule(dynamic, 1) num_threads(s->threads) if (s->threads > 1)
#endif
  for (int slot = 0; slot < w->n_slot; slot++) {
    double *stat = w->slot_stat + (size_t)slot * stride;
    double *memory = w->thread_scratch + (size_t)threads_this() * w->n_scratch;
    for (int c = w->slot_first[slot]; c < w->slot_first[slot + 1]; c++)
      chunk_pass(w, given, w->chunk + c, memory, stat, stat + w->n_stat, stat + w->n_stat + k,
                 pass->r);
  }
  memset(pass->stat, 0, w->n_stat * sizeof(double));
  memset(pass->size, 0, k * sizeof(double));
  pass->value = 0.0;
  for (int slot = 0; slot < w->n_slot; slot++) {
    const double *from = w->slot_stat + (size_t)slot * stride;
    for (size_t i = 0; i < w->n_stat; i++) pass->stat[i] += from[i];
    for (size_t j = 0; j < k; j++) pass->size[j] += from[w->n_stat + j];
    pass->value += from[w->n_stat + k];
  }
  for (int p = 0; p < s->n_part; p++)
    if (s->part[p].finish) s->part[p].finish(s->part[p].work, pass->stat + w->stat_at[p]);
  return isfinite(pass->value) ? ELBO_OK : ELBO_E_NOT_FINITE;
}

void mixture_posterior(mixture *w, double *log_density, double *probability) {
  const mixture_spec *s = &w->spec;
  const size_t n = (size_t)s->units.n_unit;
  for (int i = 0; i < w->n_chunk; i++) {
    const mixture_chunk *c = w->chunk + i;
    const size_t block = (size_t)c->ld * (size_t)s->k;
    double *l = w->thread_scratch, *rows = l + block, *lse = rows + block;
    log_joint(w, c, l, rows, lse + c->ld);
    row_kernels_current()->posterior(c->ld, s->k, l, lse);
    memcpy(log_density + c->unit, lse, (size_t)c->n_unit * sizeof(double));
    for (int j = 0; j < s->k; j++)
      memcpy(probability + n * (size_t)j + c->unit, l + c->ld * j,
             (size_t)c->n_unit * sizeof(double));
  }
}
