/* Binomial and poisson rows of the mixture of regressions.  With b(x) = weight log(1 + e^x) or e^x,
 *
 *   log p(y | x) = y x - b(x) + constant,   x = offset + x~' gamma,
 *
 * and under vb x is normal under q, and E_q b takes the place of b.  There are no sufficient
 * statistics: every function here passes over the rows, a block at a time. */
#include "math/softplus.h"
#include "mixture/regression_inside.h"

enum { BLOCK_ROWS = 256, NEWTON_STEPS = 5, STEPS_OUT = 60, HALVINGS = 30 };

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

/* sum_i r_ij E log p at q(gamma_j) = N(gamma, root root') (root = NULL: a point).  Unless A is NULL
 * also the gradient sum r (y - E b') x~ (p), A = sum r E b'' x~ x~' (p x p) and, in w->plain, what the
 * diagonal of A would be if b'' were 1 (by trial). */
static double pass(const regression *w, const double *r, int j, const double *gamma,
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
 * step (w->step), from the pass at gamma that left w->linear and w->A.  All are zero in coefficients
 * that are held at the boundary. */
static void newton_step(const regression *w, int j, const double *gamma) {
  const int p = w->spec.p;
  multiply(w->prior_precision, gamma, p, w->step);
  for (int a = 0; a < p; a++) w->linear[a] += w->prior_linear[a] - w->step[a];
  for (int a = 0; a < p * p; a++) w->A[a] += w->prior_precision[a];
  for (int a = 0; a < p; a++) {
    if (!is_held(w, j, a)) continue;
    w->linear[a] = 0.0;
    for (int b = 0; b < p; b++) w->A[a + p * b] = w->A[b + p * a] = 0.0;
  }
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

/* ---- the boundary ------------------------------------------------------------------------------
 *
 * Where a direction d of the coefficients only takes rows further to where they are fitted without
 * error, the likelihood rises to a limit, in which these rows have mean 0 (or probability 0 or 1).
 * The limit is the estimate.  A component is put so far out along d that the rows are there to all
 * digits of a double, and one coefficient is held for each such d, the others being free: what rows
 * say of them does not change any more. */

static const double FAR = 40.0;      /* e^-40 = 4e-18 */
static const double FLAT = 1e-6;     /* part of the information that a direction has left */
static const double FADING = 1e-2;   /* the same, where it is worth while to look */
static const double UNLIKELY = 0.02; /* r of rows that may have to leave */

/* The first column from `from` on of which the rows, given the columns before it, say less than the
 * part `tol` of what they could, or -1; by A + P (w->A) and w->plain.  d is the direction in which
 * they say it, one in that column. */
static int flat_column(const regression *w, int from, double tol, double *d) {
  const int p = w->spec.p;
  double *L = w->L, *s = w->unit;
  for (int a = 0; a < p; a++) {
    s[a] = w->plain[a] > 0.0 && w->A[a + p * a] > 0.0 ? 1.0 / sqrt(w->plain[a]) : 0.0;
    double left = s[a] > 0.0 ? w->A[a + p * a] * s[a] * s[a] : HUGE_VAL;
    for (int c = 0; c < a; c++) {
      double sum = w->A[a + p * c] * s[a] * s[c];
      for (int e = 0; e < c; e++) sum -= L[a + p * e] * L[c + p * e];
      L[a + p * c] = L[c + p * c] > 0.0 ? sum / L[c + p * c] : 0.0;
      left -= L[a + p * c] * L[a + p * c];
    }
    L[a + p * a] = left > tol && s[a] > 0.0 ? sqrt(left) : 0.0;
    if (s[a] == 0.0 || left > tol || a < from) continue;
    memset(d, 0, (size_t)p * sizeof(double));
    d[a] = 1.0;
    for (int c = a - 1; c >= 0; c--) {
      if (!(L[c + p * c] > 0.0)) continue;
      double sum = L[a + p * c];
      for (int e = c + 1; e < a; e++) sum += L[e + p * c] * d[e] * s[a] / (s[e] > 0.0 ? s[e] : 1.0);
      d[c] = -sum / L[c + p * c] * s[c] / s[a];
    }
    return a;
  }
  return -1;
}

/* What moves along d do to the rows. */
typedef struct {
  double most, square, score, far;
} rows_along;

/* x~' d of a block of rows to c->work. */
static void along(const regression *w, int ld, const double *d, const block_columns *c) {
  memset(c->work, 0, (size_t)ld * sizeof(double));
  for (int a = 0; a < w->spec.p; a++) {
    const double *x = c->x + (size_t)ld * (size_t)a;
    for (int i = 0; i < ld; i++) c->work[i] += d[a] * x[i];
  }
}

/* most: largest |x~' d|; square: sum r (x~' d)^2 by trial; score: positive where d takes rows out;
 * far: how far to go until all that d moves are FAR out (given most). */
static void look_along(const regression *w, const double *r, int j, const double *gamma,
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

/* Out along the first flat direction in which that does not lower the objective; 0 if there is none.
 * From newton_step(); where it moved, w->linear and w->A are of the pass at the new gamma. */
static int to_boundary(const regression *w, const double *r, int j, double *gamma, double *value) {
  const int p = w->spec.p;
  double *d = w->goal;
  for (int a = flat_column(w, 0, FLAT, d); a >= 0; a = flat_column(w, a + 1, FLAT, d)) {
    rows_along rows = {0.0, 0.0, 0.0, 0.0};
    look_along(w, r, j, gamma, d, &rows);
    /* Columns that depend on each other in the rows of a component are another matter. */
    if (!(rows.square > 1e-6 * w->plain[a] * d[a] * d[a])) continue;
    if (rows.score < 0.0)
      for (int b = 0; b < p; b++) d[b] = -d[b];
    look_along(w, r, j, gamma, d, &rows);
    for (int b = 0; b < p; b++) w->trial[b] = gamma[b] + rows.far * d[b];
    const double next = em_objective(w, r, j, w->trial);
    const int better = next >= *value || is_rounding(next, *value);
    if (better) {
      memcpy(gamma, w->trial, (size_t)p * sizeof(double));
      w->boundary[a + p * j] = 1.0;
      *value = next;
      return 1;
    }
    em_objective(w, r, j, gamma);
    newton_step(w, j, gamma);
  }
  return 0;
}

/* b'' changes by no more than the factor e^t where x moves by t (|b'''| <= b''), so a step of small
 * reach raises the objective for sure; and, of reach 1e-5, leaves nothing to another. */
static void em_climb(const regression *w, const double *r, int j, int steps) {
  const int p = w->spec.p;
  double *gamma = w->gamma + p * j;
  double value = em_objective(w, r, j, gamma);
  for (int step = 0; step < steps; step++) {
    newton_step(w, j, gamma);
    const int last = reach_of(w) <= 1e-5;
    if (to_boundary(w, r, j, gamma, &value)) continue;
    for (int a = 0; last && a < p; a++) gamma[a] += w->step[a];
    if (last || !em_search(w, r, gamma, j, &value)) break;
  }
  regression_set_gamma(w, j, gamma);
}

static elbo_status em_m_step(void *work, const double *stat, const double *r, int *component) {
  const regression *w = (const regression *)work;
  (void)stat, (void)component;
  for (int j = 0; j < w->spec.k; j++) em_climb(w, r, j, NEWTON_STEPS);
  return ELBO_OK;
}

/* Components whose likely rows alone would go to the boundary. */
static int em_settle(void *work, const double *stat, const double *r) {
  regression *w = (regression *)work;
  const int p = w->spec.p;
  int moved = 0;
  (void)stat;
  for (int j = 0; j < w->spec.k; j++) {
    double *gamma = w->gamma + p * j, *held = w->boundary + p * j;
    int before = 0, after = 0;
    w->least = UNLIKELY;
    em_objective(w, r, j, gamma);
    newton_step(w, j, gamma);
    if (flat_column(w, 0, FADING, w->goal) >= 0) {
      for (int a = 0; a < p; a++) before += held[a] > 0.0;
      memcpy(w->from, gamma, (size_t)p * sizeof(double));
      em_climb(w, r, j, STEPS_OUT);
      for (int a = 0; a < p; a++) after += held[a] > 0.0;
      if (after == before) regression_set_gamma(w, j, w->from);
    }
    w->least = 0.0;
    moved |= after > before;
  }
  return moved;
}

static elbo_status em_gradient(void *work, const double *stat, const double *r, double *gradient) {
  const regression *w = (const regression *)work;
  const int p = w->spec.p;
  (void)stat;
  for (int j = 0; j < w->spec.k; j++, gradient += p) {
    const double *gamma = w->gamma + p * j;
    pass(w, r, j, gamma, NULL, w->linear, w->A);
    newton_step(w, j, gamma);
    memcpy(gradient, w->linear, (size_t)p * sizeof(double));
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
  if (w->spec.method == MIXTURE_EM) {
    part->gradient = em_gradient;
    part->settle = em_settle;
  }
  if (vb) part->target = vb_target;
}
