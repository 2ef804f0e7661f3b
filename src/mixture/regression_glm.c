#include "mixture/regression_glm.h"

#include "math/softplus.h"
#include "mixture/regression_coordinates.h"

enum { BLOCK_ROWS = 256 };

static const double FAR = 40.0; /* of a linear predictor; e^-40 = 4e-18 */

/* ---- a block of rows ------------------------------------------------------------------------- */

/* Columns of a block, each ld long (work: two), behind the p of x~; first and second NULL where no
 * derivatives are wanted. */
typedef struct {
  double *x, *mean, *sd, *b, *work, *r, *first, *second;
} block_columns;

enum { VALUE_COLUMNS = 6, ALL_COLUMNS = 8 };

static block_columns columns_of(double *memory, int p, int ld, int derivatives) {
  block_columns c;
  c.x = memory;
  c.mean = memory + (size_t)ld * (size_t)p;
  c.sd = c.mean + ld;
  c.b = c.sd + ld;
  c.work = c.b + ld;
  c.r = c.work + 2 * ld;
  c.first = derivatives ? c.r + ld : NULL;
  c.second = derivatives ? c.first + ld : NULL;
  return c;
}

size_t regression_glm_block(int p) { return (size_t)BLOCK_ROWS * (size_t)(p + ALL_COLUMNS); }

/* Mean and, where there is a root of V, sd of the linear predictor: sd^2 = |root' x~|^2. */
static void predictor(const regression *w, int row, int n, int ld, const double *gamma,
                      const double *root, const block_columns *c) {
  const int p = w->spec.p;
  const double *offset = w->spec.offset ? w->spec.offset + row : NULL;
  for (int i = 0; i < ld; i++) c->mean[i] = offset ? offset[i < n ? i : n - 1] : 0.0;
  for (int a = 0; a < p; a++) {
    const double *x = c->x + (size_t)ld * (size_t)a;
    for (int i = 0; i < ld; i += SIMD_LANES)
      *(v8 *)(c->mean + i) += gamma[a] * *(const v8 *)(x + i);
  }
  if (!root) return;
  memset(c->sd, 0, (size_t)ld * sizeof(double));
  w->kernels->quadratic(ld, p, c->x, w->zeros, p, 0, root, 0.0, c->sd);
  for (int i = 0; i < ld; i++) c->sd[i] = sqrt(-2.0 * c->sd[i]);
}

/* E b, E b' and E b'' to the columns b, first and second. */
static void cumulant(const regression *w, int row, int n, int ld, int uncertain,
                     const block_columns *c) {
  if (w->spec.family == REGRESSION_POISSON) { /* all three are E e^x */
    for (int i = 0; i < ld; i++)
      c->work[i] = c->mean[i] + (uncertain ? 0.5 * c->sd[i] * c->sd[i] : 0.0);
    w->kernels->exp(ld, c->work, c->b);
    if (!c->first) return;
    memcpy(c->first, c->b, (size_t)ld * sizeof(double));
    memcpy(c->second, c->b, (size_t)ld * sizeof(double));
    return;
  }
  softplus_expectation(w->kernels, ld, c->mean, uncertain ? c->sd : NULL, c->work, c->b, c->first,
                       c->second);
  for (int i = 0; w->spec.weights && i < n; i++) {
    const double trials = w->spec.weights[row + i];
    c->b[i] *= trials;
    if (!c->first) continue;
    c->first[i] *= trials;
    c->second[i] *= trials;
  }
}

static void log_density(const void *work, const mixture_chunk *chunk, double *scratch,
                        double *out) {
  const regression *w = (const regression *)work;
  const int p = w->spec.p, ld = chunk->ld;
  const double *y = w->spec.y + chunk->row, *constant = w->row_constant + chunk->row;
  const block_columns c = columns_of(scratch, p, ld, 0);
  regression_load(w, chunk->row, chunk->n_row, ld, c.x);
  for (int j = 0; j < w->spec.k; j++, out += ld) {
    const double *root = w->root ? w->root + p * p * j : NULL;
    predictor(w, chunk->row, chunk->n_row, ld, w->gamma + p * j, root, &c);
    cumulant(w, chunk->row, chunk->n_row, ld, root != NULL, &c);
    for (int i = 0; i < chunk->n_row; i++) out[i] += y[i] * c.mean[i] - c.b[i] + constant[i];
  }
}

/* By gamma_j: sum_i r_ij (y - b') x~ of the rows of each unit; nothing where it is held. */
static void scores(const void *work, const mixture_chunk *chunk, const double *r, double *scratch,
                   double *out) {
  const regression *w = (const regression *)work;
  const int p = w->spec.p, ld = chunk->ld, *unit_of = w->unit_of_row;
  const double *y = w->spec.y + chunk->row;
  const block_columns c = columns_of(scratch, p, ld, 1);
  regression_load(w, chunk->row, chunk->n_row, ld, c.x);
  for (int j = 0; j < w->spec.k; j++, r += ld) {
    predictor(w, chunk->row, chunk->n_row, ld, w->gamma + p * j, NULL, &c);
    cumulant(w, chunk->row, chunk->n_row, ld, 0, &c);
    for (int i = 0; i < chunk->n_row; i++) c.first[i] = r[i] * (y[i] - c.first[i]);
    for (int a = 0; a < p; a++, out += ld) {
      const double *x = c.x + (size_t)ld * (size_t)a;
      for (int i = 0; i < chunk->n_row && !is_held(w, j, a); i++)
        out[unit_of ? unit_of[chunk->row + i] - chunk->unit : i] += c.first[i] * x[i];
    }
  }
}

/* ---- passes over the rows -------------------------------------------------------------------- */

/* r_ij of a block of rows; zero beyond them, and where it is less than w->least copies. */
static void load_r(const regression *w, const double *r, int j, int row, int n, int ld,
                   double *out) {
  const double *rj = r + (size_t)w->spec.units.n_unit * (size_t)j, *freq = w->spec.units.freq;
  for (int i = 0; i < n; i++) {
    const int unit = w->unit_of_row ? w->unit_of_row[row + i] : row + i;
    out[i] = rj[unit] < w->least * (freq ? freq[unit] : 1.0) ? 0.0 : rj[unit];
  }
  for (int i = n; i < ld; i++) out[i] = 0.0;
}

/* Cross-products of a block (the packed lower triangle with a constant in front) to A (p x p). */
static void add_cross(const double *packed, int p, double *A) {
  for (int a = 0; a < p; a++)
    for (int b = 0; b <= a; b++) {
      A[a + p * b] += packed[packed_size(a + 1) + (size_t)b + 1];
      A[b + p * a] = A[a + p * b];
    }
}

static double trials_of(const regression *w, int row) {
  return w->spec.family == REGRESSION_BINOMIAL && w->spec.weights ? w->spec.weights[row] : 1.0;
}

/* sum r x~^2 of a block of rows, by trial, to w->plain. */
static void add_plain(const regression *w, int row, int n, int ld, const block_columns *c) {
  for (int i = 0; i < n; i++) c->work[i] = c->r[i] * trials_of(w, row + i);
  for (int a = 0; a < w->spec.p; a++) {
    const double *x = c->x + (size_t)ld * (size_t)a;
    double sum = 0.0;
    for (int i = 0; i < n; i++) sum += c->work[i] * x[i] * x[i];
    w->plain[a] += sum;
  }
}

double regression_glm_pass(const regression *w, const double *r, int j, const double *gamma,
                           const double *root, double *gradient, double *A) {
  const int p = w->spec.p, n_row = w->spec.units.n_row;
  double value = 0.0, cross[packed_size(p + 1)];
  if (A) {
    memset(gradient, 0, (size_t)p * sizeof(double));
    memset(A, 0, square(p) * sizeof(double));
    memset(w->plain, 0, (size_t)p * sizeof(double));
  }
  for (int row = 0; row < n_row; row += BLOCK_ROWS) {
    const int n = n_row - row < BLOCK_ROWS ? n_row - row : BLOCK_ROWS, ld = rows_padded(n);
    const double *y = w->spec.y + row, *constant = w->row_constant + row;
    const block_columns c = columns_of(w->block, p, ld, A != NULL);
    regression_load(w, row, n, ld, c.x);
    load_r(w, r, j, row, n, ld, c.r);
    predictor(w, row, n, ld, gamma, root, &c);
    cumulant(w, row, n, ld, root != NULL, &c);
    for (int i = 0; i < n; i++)
      if (c.r[i] > 0.0) value += c.r[i] * (y[i] * c.mean[i] - c.b[i] + constant[i]);
    if (!A) continue;
    for (int i = 0; i < n; i++) c.first[i] = c.r[i] * (y[i] - c.first[i]);
    for (int a = 0; a < p; a++) gradient[a] += dot(c.first, c.x + (size_t)ld * (size_t)a, n);
    for (int i = 0; i < ld; i++) c.second[i] *= c.r[i];
    memset(cross, 0, sizeof cross);
    w->kernels->crossprod(ld, p, c.x, w->zeros, c.second, cross);
    add_cross(cross, p, A);
    add_plain(w, row, n, ld, &c);
  }
  return value;
}

/* x~' d of a block of rows to c->work. */
static void along(const regression *w, int ld, const double *d, const block_columns *c) {
  memset(c->work, 0, (size_t)ld * sizeof(double));
  for (int a = 0; a < w->spec.p; a++) {
    const double *x = c->x + (size_t)ld * (size_t)a;
    for (int i = 0; i < ld; i++) c->work[i] += d[a] * x[i];
  }
}

void regression_glm_along(const regression *w, const double *r, int j, const double *gamma,
                          const double *d, rows_along *to) {
  const int p = w->spec.p, n_row = w->spec.units.n_row;
  const double enough = 1e-4 * to->most;
  for (int row = 0; row < n_row; row += BLOCK_ROWS) {
    const int n = n_row - row < BLOCK_ROWS ? n_row - row : BLOCK_ROWS, ld = rows_padded(n);
    const block_columns c = columns_of(w->block, p, ld, 0);
    regression_load(w, row, n, ld, c.x);
    load_r(w, r, j, row, n, ld, c.r);
    predictor(w, row, n, ld, gamma, NULL, &c);
    along(w, ld, d, &c);
    for (int i = 0; i < n; i++) {
      const double v = c.work[i], size = fabs(v), x = c.mean[i];
      if (!(c.r[i] > 0.0)) continue;
      const double out = w->spec.family == REGRESSION_POISSON ? -1.0 : tanh(0.5 * x);
      if (enough > 0.0 && size > enough) to->far = fmax(to->far, (FAR - copysign(x, x * v)) / size);
      if (enough > 0.0) continue;
      to->most = fmax(to->most, size);
      to->square += c.r[i] * trials_of(w, row + i) * v * v;
      to->score += c.r[i] * trials_of(w, row + i) * v * out;
    }
  }
}

static void nothing(const void *work, const mixture_chunk *chunk, const double *r, double *scratch,
                    double *stat) {
  (void)work, (void)chunk, (void)r, (void)scratch, (void)stat;
}

static elbo_status expected(const void *work, const double *stat, const double *r, double *value) {
  const regression *w = (const regression *)work;
  const int p = w->spec.p;
  (void)stat;
  *value = 0.0;
  for (int j = 0; j < w->spec.k; j++)
    *value += regression_glm_pass(w, r, j, w->gamma + p * j, w->root ? w->root + p * p * j : NULL,
                                  NULL, NULL);
  return ELBO_OK;
}

void regression_glm(mixture_part *part, const regression *w) {
  part->keeps_r = 1;
  part->n_scratch = (size_t)(w->spec.p + ALL_COLUMNS);
  part->log_density = log_density;
  part->accumulate = nothing;
  if (w->spec.method == MIXTURE_EM) part->scores = scores;
  part->expected = expected;
}
