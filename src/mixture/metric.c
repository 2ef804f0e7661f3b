/* Scores by unit.  For most parts the gradient is affine in the sufficient statistics, so that the
 * score of a unit is A t_i with t_i its statistics alone, and
 *
 *   sum_i s_i s_i' = A (sum_i t_i t_i') A':
 *
 * units are read into t_i, and A, which only the part's own gradient knows, is applied to the
 * columns of the sum and then to its rows.  Other parts give s_i themselves. */
#include "mixture/metric.h"

#include <math.h>
#include <string.h>

#include "math/rows.h"
#include "math/threads.h"
#include "mixture/pass.h"

enum {
  UNITS_PER_PARAMETER = 40, /* that are read at least; a metric of them is right to a third */
  PART_OF_UNITS = 20,       /* and one in so many, which costs what two passes do */
  LEAST_UNITS = 5,          /* for each parameter: with fewer a metric is no guide */
  MOST_RAW = 800,           /* beyond which the sum costs more than it saves */
  METRIC_SLOTS = 4
};

static int part_raw(const mixture_part *p) { return p->scores ? p->n_eta : (int)p->n_stat; }

static double total_units(const mixture *w) {
  const mixture_units *u = &w->spec.units;
  double sum = 0.0;
  if (u->freq == NULL) return u->n_unit;
  for (int i = 0; i < u->n_unit; i++) sum += u->freq[i];
  return sum;
}

/* Evenly over the data. */
static const mixture_chunk *chosen_chunk(const mixture *w, int i) {
  return w->chunk + (int)((2 * (long long)i + 1) * w->n_chunk / (2 * w->metric.n_chunk));
}

void mixture_metric_init(mixture *w, const elbo_memory *mem) {
  mixture_metric *m = &w->metric;
  const size_t n_eta = (size_t)w->n_eta, ld = (size_t)w->largest_ld;
  const size_t threads = (size_t)w->spec.threads;
  size_t raw = 0;
  memset(m, 0, sizeof *m);
  if (w->spec.method != MIXTURE_EM || w->n_eta == 0) return;
  for (int p = 0; p < w->spec.n_part; p++) {
    const mixture_part *part = w->spec.part + p;
    if (part->keeps_r && part->scores == NULL && part->n_eta > 0) return;
    raw += part->scores ? (size_t)part->n_eta : part->n_stat;
  }
  if (raw > MOST_RAW || total_units(w) < (double)LEAST_UNITS * w->n_eta) return;
  m->n_raw = (int)raw;
  const double wanted =
      fmax((double)UNITS_PER_PARAMETER * w->n_eta / w->spec.units.n_unit, 1.0 / PART_OF_UNITS);
  m->n_chunk = wanted < 1.0 ? (int)ceil(wanted * w->n_chunk) : w->n_chunk;
  m->n_slot = smaller(m->n_chunk, METRIC_SLOTS);
  m->unit_size = raw + ld * (size_t)w->spec.k;
  m->sum = elbo_doubles(mem, raw * raw * (size_t)m->n_slot);
  m->block = elbo_doubles(mem, raw * ld * threads);
  m->unit = elbo_doubles(mem, m->unit_size * threads);
  m->stat = elbo_doubles(mem, w->n_stat);
  m->column = elbo_doubles(mem, n_eta);
  m->half = elbo_doubles(mem, n_eta * raw);
}

/* ---- the sum --------------------------------------------------------------------------------- */

/* r of unit i of a chunk, for that unit alone: by unit, or by row. */
static void unit_r(const mixture *w, const mixture_chunk *c, const double *r, int i, int by_unit,
                   mixture_chunk *one, double *out) {
  const mixture_units *u = &w->spec.units;
  one->unit = c->unit + i;
  one->n_unit = 1;
  one->row = u->first ? u->first[one->unit] : one->unit;
  one->n_row = u->first ? u->first[one->unit + 1] - one->row : 1;
  one->ld = rows_padded(one->n_row);
  const int n = by_unit ? 1 : one->n_row;
  memset(out, 0, (size_t)one->ld * (size_t)w->spec.k * sizeof(double));
  for (int j = 0; j < w->spec.k; j++)
    for (int row = 0; row < n; row++) out[row + one->ld * j] = r[i + c->ld * j];
}

/* r by row of the units of a chunk. */
static void spread(const mixture *w, const mixture_chunk *c, const double *r, double *rows) {
  const int *first = w->spec.units.first + c->unit;
  memset(rows, 0, (size_t)c->ld * (size_t)w->spec.k * sizeof(double));
  for (int j = 0; j < w->spec.k; j++, r += c->ld, rows += c->ld)
    for (int i = 0; i < c->n_unit; i++)
      for (int row = first[i]; row < first[i + 1]; row++) rows[row - c->row] = r[i];
}

/* Statistics of each unit of a chunk, or scores, times freq^{-1/2}: block[i + ld * a]. */
static void read_chunk(const mixture *w, const mixture_chunk *c, double *memory, double *unit,
                       double *block) {
  const mixture_spec *s = &w->spec;
  const int ld = c->ld, n_raw = w->metric.n_raw;
  const size_t size = (size_t)ld * (size_t)s->k;
  const double *freq = s->units.freq ? s->units.freq + c->unit : NULL;
  double *r = memory, *rows = r + size, *lse = rows + size, *scratch = lse + ld;
  double *stat = unit, *own = unit + n_raw;
  mixture_chunk_law(w, NULL, c, r, rows, lse, scratch);
  memset(block, 0, (size_t)ld * (size_t)n_raw * sizeof(double));
  if (s->units.first) spread(w, c, r, rows);
  for (int p = 0, at = 0; p < s->n_part; at += part_raw(s->part + p++)) {
    const mixture_part *part = s->part + p;
    const int n = part_raw(part);
    double *out = block + (size_t)ld * (size_t)at;
    if (part->scores) {
      part->scores(part->work, c, s->units.first && !part->by_unit ? rows : r, scratch, out);
      continue;
    }
    for (int i = 0; i < c->n_unit; i++) {
      mixture_chunk one;
      if (freq && !(freq[i] > 0.0)) continue;
      unit_r(w, c, r, i, part->by_unit, &one, own);
      memset(stat, 0, (size_t)n * sizeof(double));
      part->accumulate(part->work, &one, own, scratch, stat);
      for (int a = 0; a < n; a++) out[i + ld * a] = stat[a];
    }
  }
  for (int i = 0; freq && i < c->n_unit; i++)
    for (int a = 0; a < n_raw; a++) block[i + ld * a] *= freq[i] > 0.0 ? 1.0 / sqrt(freq[i]) : 0.0;
}

/* sum (n_raw x n_raw), scaled from the units read to all: slots as in a pass, added in order. */
static void gather(mixture *w) {
  mixture_metric *m = &w->metric;
  const size_t n2 = square(m->n_raw);
  double read = 0.0;
  memset(m->sum, 0, n2 * (size_t)m->n_slot * sizeof(double));
#ifdef _OPENMP
#pragma omp parallel for schedule(dynamic, 1) num_threads(w->spec.threads) if (w->spec.threads > 1)
#endif
  for (int slot = 0; slot < m->n_slot; slot++) {
    const size_t thread = (size_t)threads_this();
    double *memory = w->thread_scratch + thread * w->n_scratch;
    double *unit = m->unit + thread * m->unit_size;
    double *block = m->block + thread * (size_t)m->n_raw * (size_t)w->largest_ld;
    const int first = (int)((long long)m->n_chunk * slot / m->n_slot);
    const int end = (int)((long long)m->n_chunk * (slot + 1) / m->n_slot);
    for (int i = first; i < end; i++) {
      const mixture_chunk *c = chosen_chunk(w, i);
      read_chunk(w, c, memory, unit, block);
      row_kernels_current()->outer(c->ld, m->n_raw, block, m->sum + n2 * (size_t)slot);
    }
  }
  for (int i = 0; i < m->n_chunk; i++) {
    const mixture_chunk *c = chosen_chunk(w, i);
    const double *freq = w->spec.units.freq;
    for (int u = c->unit; u < c->unit + c->n_unit; u++) read += freq ? freq[u] : 1.0;
  }
  for (int slot = 1; slot < m->n_slot; slot++) add_to(m->sum, m->sum + n2 * (size_t)slot, n2);
  const double scale = read > 0.0 ? total_units(w) / read : 0.0;
  for (size_t i = 0; i < n2; i++) m->sum[i] *= scale;
  fill_upper(m->sum, m->n_raw);
  w->passes += (double)m->n_chunk / w->n_chunk;
}

/* ---- from statistics to coordinates ---------------------------------------------------------- */

/* The gradient of each part (n_eta) at given statistics (raw, or NULL: none). */
static elbo_status gradient_at(mixture *w, const double *raw, double *out) {
  mixture_metric *m = &w->metric;
  elbo_status status = ELBO_OK;
  for (int p = 0; p < w->spec.n_part && status == ELBO_OK; out += w->spec.part[p++].n_eta) {
    const mixture_part *part = w->spec.part + p;
    const int n = part_raw(part);
    if (part->scores || part->n_eta == 0) {
      for (int a = 0; a < part->n_eta; a++) out[a] = raw ? raw[a] : 0.0;
    } else {
      memset(m->stat, 0, part->n_stat * sizeof(double));
      if (raw) memcpy(m->stat, raw, (size_t)n * sizeof(double));
      if (part->finish) part->finish(part->work, m->stat);
      status = part->gradient(part->work, m->stat, NULL, out);
    }
    if (raw) raw += n;
  }
  return status;
}

/* out (n_eta) = A raw: the prior's part of the gradient is taken off. */
static elbo_status apply(mixture *w, const double *raw, double *out) {
  const elbo_status status = gradient_at(w, raw, out);
  for (int a = 0; a < w->n_eta; a++) out[a] -= w->metric.column[a];
  return status;
}

elbo_status mixture_metric_at(void *work, double *metric) {
  mixture *w = work;
  mixture_metric *m = &w->metric;
  const size_t n_raw = (size_t)m->n_raw, n_eta = (size_t)w->n_eta;
  if (m->n_chunk == 0) return ELBO_E_RANK;
  gather(w);
  elbo_status status = gradient_at(w, NULL, m->column);
  for (size_t c = 0; c < n_raw && status == ELBO_OK; c++)
    status = apply(w, m->sum + n_raw * c, m->half + n_eta * c);
  double *row = m->sum; /* of half; the sum is done with */
  for (size_t a = 0; a < n_eta && status == ELBO_OK; a++) {
    for (size_t c = 0; c < n_raw; c++) row[c] = m->half[a + n_eta * c];
    status = apply(w, row, metric + n_eta * a);
  }
  return status;
}
