/* Binomial and poisson rows of the mixture of regressions.  With b(x) = weight log(1 + e^x) or e^x,
 *
 *   log p(y | x) = y x - b(x) + constant,   x = offset + x~' gamma,
 *
 * and under vb x is normal under q, and E_q b takes the place of b.  There are no sufficient
 * statistics: every function here passes over the rows, a block at a time. */
#include "math_softplus.h"
#include "model_mixture_regression_inside.h"

enum { BLOCK_ROWS = 256, NEWTON_STEPS = 5, HALVINGS = 30 };

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

/* ---- passes over the rows -------------------------------------------------------------------- */

/* r_ij of a block of rows; zero beyond them. */
static void load_r(const regression *w, const double *r, int j, int row, int n, int ld,
                   double *out) {
  const double *rj = r + (size_t)w->spec.units.n_unit * (size_t)j;
  for (int i = 0; i < n; i++) out[i] = rj[w->unit_of_row ? w->unit_of_row[row + i] : row + i];
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

/* sum_i r_ij E log p at q(gamma_j) = N(gamma, root root') (root = NULL: a point).  Unless A is NULL
 * also the gradient sum r (y - E b') x~ (p) and A = sum r E b'' x~ x~' (p x p). */
static double pass(const regression *w, const double *r, int j, const double *gamma,
                   const double *root, double *gradient, double *A) {
  const int p = w->spec.p, n_row = w->spec.units.n_row;
  double value = 0.0, cross[packed_size(p + 1)];
  if (A) {
    memset(gradient, 0, (size_t)p * sizeof(double));
    memset(A, 0, square(p) * sizeof(double));
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
  }
  return value;
}

/* C = sum r weight x~ x~' (weight: trials, or 1): what A is where rows tell most. */
static void plain_cross(const regression *w, const double *r, int j, double *C) {
  const int p = w->spec.p, n_row = w->spec.units.n_row;
  const double *trials = w->spec.family == REGRESSION_BINOMIAL ? w->spec.weights : NULL;
  double cross[packed_size(p + 1)];
  memset(C, 0, square(p) * sizeof(double));
  for (int row = 0; row < n_row; row += BLOCK_ROWS) {
    const int n = n_row - row < BLOCK_ROWS ? n_row - row : BLOCK_ROWS, ld = rows_padded(n);
    const block_columns c = columns_of(w->block, p, ld, 0);
    regression_load(w, row, n, ld, c.x);
    load_r(w, r, j, row, n, ld, c.r);
    for (int i = 0; trials && i < n; i++) c.r[i] *= trials[row + i];
    memset(cross, 0, sizeof cross);
    w->kernels->crossprod(ld, p, c.x, w->zeros, c.r, cross);
    add_cross(cross, p, C);
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
    *value += pass(w, r, j, w->gamma + p * j, w->root ? w->root + p * p * j : NULL, NULL, NULL);
  return ELBO_OK;
}

/* ---- Newton steps ---------------------------------------------------------------------------- */

/* Gradient (of sum r log p, then of the objective, in w->linear), A + P (in w->A) and the Newton
 * step (w->step), from the pass at gamma that left w->linear and w->A. */
static void newton_step(const regression *w, const double *gamma) {
  const int p = w->spec.p;
  multiply(w->prior_precision, gamma, p, w->step);
  for (int a = 0; a < p; a++) w->linear[a] += w->prior_linear[a] - w->step[a];
  for (int a = 0; a < p * p; a++) w->A[a] += w->prior_precision[a];
  regression_solve(w, w->A, w->linear, w->step);
}

/* A fall that small says that there is nothing left to gain. */
static int is_rounding(double next, double value) {
  return next < value && value - next <= 1e-12 * (1.0 + fabs(value));
}

/* How far a step moves any linear predictor, at most. */
static double reach_of(const regression *w) {
  double sum = 0.0;
  for (int a = 0; a < w->spec.p; a++) sum += fabs(w->step[a]) * w->reach[a];
  return sum;
}

/* Where rows are fitted without error in some direction, b'' vanishes in it and the coefficients
 * run off to infinity: their variance A^{-1} (its diagonal is in w->unit after newton_step) is
 * beyond all measure of the one that the same rows would leave if b'' were 1. */
static int is_separated(const regression *w, const double *r, int j) {
  const int p = w->spec.p;
  double most = 0.0;
  if (w->n_proper == p) return 0;
  memcpy(w->trial, w->unit, (size_t)p * sizeof(double));
  for (int a = 0; a < p; a++) most = fmax(most, w->trial[a]);
  if (most < 1e8) return 0;
  plain_cross(w, r, j, w->C);
  regression_solve(w, w->C, w->linear, w->mix);
  for (int a = 0; a < p; a++)
    if (w->trial[a] > 1e9 * w->unit[a] && w->unit[a] > 0.0) return 1;
  return 0;
}

static double em_objective(const regression *w, const double *r, int j, const double *gamma) {
  const double value = pass(w, r, j, gamma, NULL, w->linear, w->A);
  return value + dot(w->prior_linear, gamma, w->spec.p) -
         0.5 * la_quadratic(w->prior_precision, gamma, w->spec.p);
}

/* The largest of the steps step, step / 2, ... that does not lower the objective, taken; 0 if none
 * does. */
static int em_search(const regression *w, const double *r, double *gamma, int j, double *value) {
  const int p = w->spec.p;
  const double reach = reach_of(w);
  double factor = 1.0;
  for (int a = 0; a < p; a++) w->goal[a] = w->step[a];
  for (int tries = 0; tries < HALVINGS; tries++) {
    for (int a = 0; a < p; a++) w->trial[a] = gamma[a] + factor * w->goal[a];
    const double next = em_objective(w, r, j, w->trial);
    if (next >= *value) {
      memcpy(gamma, w->trial, (size_t)p * sizeof(double));
      *value = next;
      return 1;
    }
    if (is_rounding(next, *value)) return 0;
    factor = fmin(0.5 * factor, 4.0 / reach);
  }
  return 0;
}

/* b'' changes by no more than the factor e^t where x moves by t (|b'''| <= b''), so a step of small
 * reach raises the objective for sure; and, of reach 1e-5, leaves nothing to another. */
static elbo_status em_climb(const regression *w, const double *r, int j) {
  const int p = w->spec.p;
  double *gamma = w->gamma + p * j;
  double value = em_objective(w, r, j, gamma);
  for (int step = 0; step < NEWTON_STEPS; step++) {
    newton_step(w, gamma);
    const int last = reach_of(w) <= 1e-5;
    for (int a = 0; last && a < p; a++) gamma[a] += w->step[a];
    if (is_separated(w, r, j)) return ELBO_E_UNBOUNDED;
    if (last || !em_search(w, r, gamma, j, &value)) break;
  }
  regression_set_gamma(w, j, gamma);
  return ELBO_OK;
}

static elbo_status em_m_step(void *work, const double *stat, const double *r, int *component) {
  const regression *w = (const regression *)work;
  (void)stat;
  for (int j = 0; j < w->spec.k; j++) {
    const elbo_status status = em_climb(w, r, j);
    if (status == ELBO_OK) continue;
    *component = j;
    return status;
  }
  return ELBO_OK;
}

static elbo_status em_gradient(void *work, const double *stat, const double *r, double *gradient) {
  const regression *w = (const regression *)work;
  const int p = w->spec.p;
  (void)stat;
  for (int j = 0; j < w->spec.k; j++, gradient += p) {
    const double *gamma = w->gamma + p * j;
    pass(w, r, j, gamma, NULL, w->linear, w->A);
    newton_step(w, gamma);
    memcpy(gradient, w->linear, (size_t)p * sizeof(double));
    if (is_separated(w, r, j)) return ELBO_E_UNBOUNDED;
  }
  return ELBO_OK;
}

/* ---- vb: the natural gradient -------------------------------------------------------------------
 *
 * The derivatives of E_q log p by the moments E gamma and E gamma gamma' are g + A gamma and -A / 2
 * (Opper & Archambeau 2009, Neural Computation 21:786), so that the natural parameters at which the
 * gradient of the ELBO vanishes, given these, are precision A + P and linear part g + A gamma + h
 * (Khan & Lin 2017, AISTATS). */

static double vb_objective(const regression *w, const double *r, int j, const double *gamma,
                           const double *V, const double *root) {
  return pass(w, r, j, gamma, root, w->linear, w->A) + regression_minus_kl(w, gamma, V, root);
}

/* From the pass at gamma that left w->linear and w->A. */
static void natural_goal(const regression *w, const double *gamma, double *eta) {
  const int p = w->spec.p;
  multiply(w->A, gamma, p, w->step);
  for (int a = 0; a < p; a++) w->linear[a] += w->step[a] + w->prior_linear[a];
  for (int a = 0; a < p * p; a++) w->A[a] += w->prior_precision[a];
  law_normal_natural(p, w->A, w->linear, eta);
}

/* From `from` towards `goal`, all the way or half and so on, as far as does not lower the
 * objective. */
static int vb_search(const regression *w, const double *r, int j, double *value) {
  const int p = w->spec.p, n = law_normal_size(p);
  double factor = 1.0;
  for (int tries = 0; tries < HALVINGS; tries++, factor *= 0.5) {
    for (int a = 0; a < n; a++) w->mix[a] = w->from[a] + factor * (w->goal[a] - w->from[a]);
    if (law_normal_from_natural(p, w->mix, w->trial, w->trial_V) != ELBO_OK) continue;
    memcpy(w->trial_root, w->trial_V, square(p) * sizeof(double));
    if (la_chol(w->trial_root, p) != ELBO_OK) continue;
    const double next = vb_objective(w, r, j, w->trial, w->trial_V, w->trial_root);
    if (is_rounding(next, *value)) return 0;
    if (!(next >= *value)) continue;
    regression_set_q(w, j, w->trial, w->trial_V);
    memcpy(w->root + p * p * j, w->trial_root, square(p) * sizeof(double));
    *value = next;
    return 1;
  }
  return 0;
}

static elbo_status vb_m_step(void *work, const double *stat, const double *r, int *component) {
  const regression *w = (const regression *)work;
  const int p = w->spec.p;
  (void)stat;
  (void)component;
  for (int j = 0; j < w->spec.k; j++) {
    double *gamma = w->gamma + p * j;
    double value = vb_objective(w, r, j, gamma, w->V + p * p * j, w->root + p * p * j);
    for (int step = 0; step < NEWTON_STEPS; step++) {
      const double before = value;
      natural_goal(w, gamma, w->goal);
      regression_natural_q(w, j, w->from);
      if (!vb_search(w, r, j, &value)) break;
      if (value - before <= 1e-10 * (1.0 + fabs(value))) break;
    }
  }
  return ELBO_OK;
}

static elbo_status vb_target(void *work, const double *stat, const double *r, double *eta) {
  const regression *w = (const regression *)work;
  const int p = w->spec.p;
  (void)stat;
  for (int j = 0; j < w->spec.k; j++, eta += law_normal_size(p)) {
    const double *gamma = w->gamma + p * j;
    pass(w, r, j, gamma, w->root + p * p * j, w->linear, w->A);
    natural_goal(w, gamma, eta);
  }
  return ELBO_OK;
}

/* ---- construction ---------------------------------------------------------------------------- */

void regression_glm(mixture_part *part, const regression *w) {
  const int vb = w->spec.method == MIXTURE_VB;
  part->keeps_r = 1;
  part->n_scratch = (size_t)(w->spec.p + VALUE_COLUMNS);
  part->log_density = log_density;
  part->accumulate = nothing;
  part->expected = expected;
  part->m_step = vb ? vb_m_step : em_m_step;
  if (w->spec.method == MIXTURE_EM) part->gradient = em_gradient;
  if (vb) part->target = vb_target;
}
