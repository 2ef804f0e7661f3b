/* Observed information by Louis (1982, JRSS B 44:226): with s_ij the score of unit i that the
 * complete data would have if z_i = j,
 *
 *   H = d^2 E[log p(y, z, theta)] / deta^2 + sum_i Cov(s_iz | y_i),
 *   Cov(s_iz | y_i) = sum_{j < l} r_ij r_il (s_ij - s_il)(s_ij - s_il)'.
 *
 * The first term is that of statistics held as they are: no unit is read for it.  For the second, a
 * score is affine in what the unit adds to the statistics, its basis b_i,
 *
 *   s_ij - s_il = D b_i,   so that the pair adds   D (sum_i r_ij r_il b_i b_i') D',
 *
 * of which the sum is gathered in one reading, over units that both components share, and D is
 * asked of the part's gradient.  Of a normal component b_i has the monomials of y_i to the second
 * degree, about the mean of component j, which units of the pair are near. */
#include "mixture/observed.h"

#include <math.h>
#include <string.h>

#include "math/rows.h"
#include "math/threads.h"
#include "mixture/pass.h"

enum {
  PAIR_SLOTS = 8,
  MOST_DOUBLES = 1 << 25 /* of sums over pairs: 256 MB */
};

/* Of r_ij r_il.  A unit of which the components share less is passed over: where its score is x
 * standard deviations from the mean of one of them, r is no more than exp(-x^2 / 2), and what is
 * lost is below 1e-14 x^4 = 5e-11 of what a unit says of a parameter. */
static const double NOT_SHARED = 1e-14;
/* Of differences to the fourth order, along coordinates whose unit is one, or, of roots of
 * probabilities, their own size: an error of some 1e-12, as much by rounding. */
static const double STEP = 1e-3, SMALLEST = 0.01;

/* ---- memory ---------------------------------------------------------------------------------- */

static int n_pair(const mixture *w) { return w->spec.k * (w->spec.k - 1) / 2; }

void mixture_observed_init(mixture *w, const elbo_memory *mem) {
  mixture_observed_work *o = &w->observed;
  const size_t threads = (size_t)w->spec.threads, ld = (size_t)w->largest_ld;
  int n_basis = 0, largest = 0, n_theta = 0;
  size_t n_stat = 0;
  memset(o, 0, sizeof *o);
  if (w->spec.method != MIXTURE_EM) return;
  for (int p = 0; p < w->spec.n_part; p++) {
    const mixture_part *part = w->spec.part + p;
    if (part->n_eta > 0 && part->basis == NULL) return;
    if (part->n_eta > 0) n_basis += part->n_basis;
    if (part->n_stat > n_stat) n_stat = part->n_stat;
    largest = larger(largest, part->n_eta);
    n_theta = larger(n_theta, part->n_theta);
  }
  o->n_slot = smaller(w->n_chunk, PAIR_SLOTS);
  const double size = (double)square(n_basis) * n_pair(w) * o->n_slot;
  if (n_basis == 0 || size > MOST_DOUBLES) return;
  o->n_basis = n_basis;
  o->sum = elbo_doubles(mem, (size_t)size);
  o->basis = elbo_doubles(mem, ld * (size_t)n_basis * threads);
  o->shared = elbo_doubles(mem, ld * (size_t)n_basis * threads);
  o->root = elbo_doubles(mem, ld * threads);
  o->which = elbo_ints(mem, ld * threads);
  o->stat = elbo_doubles(mem, n_stat);
  o->D = elbo_doubles(mem, (size_t)w->n_eta * (size_t)n_basis);
  o->none = elbo_doubles(mem, (size_t)w->n_eta);
  o->half = elbo_doubles(mem, (size_t)n_basis);
  o->column = elbo_doubles(mem, (size_t)largest);
  o->at = elbo_doubles(mem, (size_t)largest);
  o->out = elbo_doubles(mem, (size_t)larger(largest, n_theta));
}

/* ---- the sum over pairs ---------------------------------------------------------------------- */

/* b of the units of a chunk, parts one after the other. */
static void read_basis(const mixture *w, const mixture_chunk *c, int at, double *scratch,
                       double *rows, double *out) {
  const mixture_units *u = &w->spec.units;
  const size_t ld = (size_t)c->ld;
  for (int p = 0; p < w->spec.n_part; p++) {
    const mixture_part *part = w->spec.part + p;
    const size_t size = ld * (size_t)part->n_basis;
    if (part->n_eta == 0) continue;
    if (part->by_unit || u->first == NULL) {
      part->basis(part->work, c, at, scratch, out);
    } else {
      const int *first = u->first + c->unit;
      part->basis(part->work, c, at, scratch, rows);
      memset(out, 0, size * sizeof(double));
      for (int b = 0; b < part->n_basis; b++)
        for (int i = 0; i < c->n_unit; i++)
          for (int row = first[i] - c->row; row < first[i + 1] - c->row; row++)
            out[(size_t)i + ld * (size_t)b] += rows[(size_t)row + ld * (size_t)b];
    }
    out += size;
  }
}

/* Units of a chunk that components j and l share: which, and the roots of freq r_ij r_il. */
static int find_shared(const mixture *w, const mixture_chunk *c, const double *r, int j, int l,
                       int *which, double *root) {
  const double *freq = w->spec.units.freq ? w->spec.units.freq + c->unit : NULL;
  const double *rj = r + c->ld * j, *rl = r + c->ld * l;
  int n = 0;
  for (int i = 0; i < c->n_unit; i++) {
    const double copies = freq ? freq[i] : 1.0, both = rj[i] * rl[i];
    if (!(both > NOT_SHARED * copies * copies)) continue;
    which[n] = i;
    root[n++] = sqrt(both / copies);
  }
  return n;
}

static void read_chunk(const mixture *w, const mixture_chunk *c, size_t thread, double *sum) {
  const mixture_observed_work *o = &w->observed;
  const int k = w->spec.k, n = o->n_basis, ld = c->ld;
  const size_t size = (size_t)ld * (size_t)k, own = (size_t)w->largest_ld * (size_t)n;
  double *r = w->thread_scratch + thread * w->n_scratch, *rows = r + size, *lse = rows + size;
  double *basis = o->basis + own * thread, *shared = o->shared + own * thread;
  double *root = o->root + (size_t)w->largest_ld * thread;
  int *which = o->which + (size_t)w->largest_ld * thread;
  mixture_chunk_law(w, NULL, c, r, rows, lse, lse + ld);
  for (int j = 0; j < k; j++) {
    int read = 0;
    for (int l = j + 1; l < k; l++, sum += square(n)) {
      const int found = find_shared(w, c, r, j, l, which, root), padded = rows_padded(found);
      if (found == 0) continue;
      if (!read) read_basis(w, c, j, lse + ld, shared, basis);
      read = 1;
      for (int b = 0; b < n; b++) {
        const double *from = basis + (size_t)ld * (size_t)b;
        double *to = shared + (size_t)padded * (size_t)b;
        for (int i = 0; i < found; i++) to[i] = root[i] * from[which[i]];
        for (int i = found; i < padded; i++) to[i] = 0.0;
      }
      row_kernels_current()->outer(padded, n, shared, sum);
    }
  }
}

/* Slots as in a pass, added in order: the same bits for any number of threads. */
static void gather(mixture *w) {
  const mixture_observed_work *o = &w->observed;
  const size_t size = square(o->n_basis) * (size_t)n_pair(w);
  memset(o->sum, 0, size * (size_t)o->n_slot * sizeof(double));
#ifdef _OPENMP
#pragma omp parallel for schedule(dynamic, 1) num_threads(w->spec.threads) if (w->spec.threads > 1)
#endif
  for (int slot = 0; slot < o->n_slot; slot++) {
    const int first = (int)((long long)w->n_chunk * slot / o->n_slot);
    const int end = (int)((long long)w->n_chunk * (slot + 1) / o->n_slot);
    for (int c = first; c < end; c++)
      read_chunk(w, w->chunk + c, (size_t)threads_this(), o->sum + size * (size_t)slot);
  }
  for (int slot = 1; slot < o->n_slot; slot++) add_to(o->sum, o->sum + size * (size_t)slot, size);
  w->passes += 1.0;
}

/* ---- from the basis to coordinates ----------------------------------------------------------- */

/* The part's gradient at statistics of `value` in entry b of component j, less in that of l: of
 * nothing where b < 0. */
static elbo_status slope_of(const mixture *w, const mixture_part *part, int j, int l, int b,
                            double *out) {
  double *stat = w->observed.stat;
  memset(stat, 0, part->n_stat * sizeof(double));
  if (b >= 0) stat[part->n_basis * j + b] = 1.0;
  if (b >= 0) stat[part->n_basis * l + b] = -1.0;
  if (part->refer) part->refer(part->work, j, stat);
  return part->gradient(part->work, stat, NULL, out);
}

/* D (n_eta x n_basis) of a pair. */
static elbo_status find_D(const mixture *w, int j, int l) {
  const mixture_observed_work *o = &w->observed;
  const size_t n_eta = (size_t)w->n_eta;
  double *D = o->D;
  elbo_status status = ELBO_OK;
  memset(D, 0, n_eta * (size_t)o->n_basis * sizeof(double));
  for (int p = 0; p < w->spec.n_part; D += w->spec.part[p++].n_eta) {
    const mixture_part *part = w->spec.part + p;
    if (part->n_eta == 0) continue;
    status = slope_of(w, part, j, l, -1, o->none);
    for (int b = 0; b < part->n_basis && status == ELBO_OK; b++) {
      status = slope_of(w, part, j, l, b, D);
      for (int a = 0; a < part->n_eta; a++) D[a] -= o->none[a];
      D += n_eta;
    }
    if (status != ELBO_OK) return status;
  }
  return ELBO_OK;
}

static int is_zero(const double *x, size_t stride, int n) {
  for (int i = 0; i < n; i++)
    if (x[stride * (size_t)i] != 0.0) return 0;
  return 1;
}

/* Adds D S D' (S its lower triangle) to the lower triangle of the Hessian: most rows of D are of
 * other components, and zero. */
static void add_pair(const mixture *w, double *S, double *hessian) {
  const mixture_observed_work *o = &w->observed;
  const size_t n_eta = (size_t)w->n_eta;
  const int n = o->n_basis;
  fill_upper(S, n);
  for (size_t a = 0; a < n_eta; a++) {
    if (is_zero(o->D + a, n_eta, n)) continue;
    for (int c = 0; c < n; c++) {
      double sum = 0.0;
      for (int b = 0; b < n; b++) sum += o->D[a + n_eta * (size_t)b] * S[b + n * c];
      o->half[c] = sum;
    }
    for (int c = 0; c < n; c++)
      for (size_t e = a; e < n_eta; e++)
        hessian[e + n_eta * a] += o->half[c] * o->D[e + n_eta * (size_t)c];
  }
}

static elbo_status add_shared(mixture *w, double *hessian) {
  const size_t size = square(w->observed.n_basis);
  double *S = w->observed.sum;
  elbo_status status = ELBO_OK;
  for (int j = 0; j < w->spec.k; j++)
    for (int l = j + 1; l < w->spec.k && status == ELBO_OK; l++, S += size) {
      if (is_zero(S, 1, (int)size)) continue;
      status = find_D(w, j, l);
      if (status == ELBO_OK) add_pair(w, S, hessian);
    }
  return status;
}

/* ---- of the complete data -------------------------------------------------------------------- */

/* Columns of a part by its eta_a, with the statistics held: of the gradient, and of theta. */
static elbo_status complete_column(mixture *w, const mixture_part *part, const double *stat,
                                   const double *eta, int a, double *hessian, double *jacobian) {
  static const double at[4] = {1.0, -1.0, 2.0, -2.0}, weight[4] = {8.0, -8.0, -1.0, 1.0};
  const mixture_observed_work *o = &w->observed;
  const double h = STEP * fmin(fmax(fabs(eta[a]), SMALLEST), 1.0);
  int component;
  memcpy(o->at, eta, (size_t)part->n_eta * sizeof(double));
  memset(hessian, 0, (size_t)part->n_eta * sizeof(double));
  if (jacobian) memset(jacobian, 0, (size_t)part->n_theta * sizeof(double));
  for (int i = 0; i < 4; i++) {
    o->at[a] = eta[a] + at[i] * h;
    elbo_status status = part->unpack(part->work, o->at);
    if (status == ELBO_OK) status = part->prepare(part->work, &component);
    if (status == ELBO_OK) status = part->gradient(part->work, stat, NULL, o->out);
    if (status != ELBO_OK) return status;
    for (int b = 0; b < part->n_eta; b++) hessian[b] += weight[i] * o->out[b] / (12.0 * h);
    if (!jacobian) continue;
    part->theta(part->work, o->out);
    for (int b = 0; b < part->n_theta; b++) jacobian[b] += weight[i] * o->out[b] / (12.0 * h);
  }
  return ELBO_OK;
}

elbo_status mixture_observed(mixture *w, const mixture_pass *pass, const double *eta,
                             double *hessian, double *jacobian) {
  const size_t n_eta = (size_t)w->n_eta, n_theta = (size_t)w->n_theta;
  size_t first = 0, first_theta = 0;
  gather(w);
  memset(hessian, 0, n_eta * n_eta * sizeof(double));
  if (jacobian) memset(jacobian, 0, n_eta * n_theta * sizeof(double));
  elbo_status status = add_shared(w, hessian);
  for (int p = 0; p < w->spec.n_part && status == ELBO_OK; p++) {
    const mixture_part *part = w->spec.part + p;
    for (int a = 0; a < part->n_eta && status == ELBO_OK; a++) {
      const size_t column = first + (size_t)a;
      double *own = w->observed.column,
             *J = jacobian ? jacobian + first_theta + n_theta * column : NULL;
      status = complete_column(w, part, pass->stat + w->stat_at[p], eta + first, a, own, J);
      double *H = hessian + first + n_eta * column;
      for (int b = a; b < part->n_eta; b++) H[b] += own[b];
    }
    first += (size_t)part->n_eta;
    first_theta += (size_t)part->n_theta;
  }
  fill_upper(hessian, w->n_eta);
  return status;
}
