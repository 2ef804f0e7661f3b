/* The Gaussian mixed model: its objective as a function of (Sigma, variance), whether it has a bound,
 * its derivatives, and where to start. */
#include "math/simd.h"
#include "glmm/inside.h"

/* ---- objective ----------------------------------------------------------------------------------- */

/* [X r]' V^{-1} [X r] (lower), r = y - X origin, and log |V| at a root of Sigma, terms without a law projected out of the one
 * and joined to the other. */
static void evaluate(lmm_work *w, const double *root, const double *variance, double *log_det) {
  const lmm_stats *st = w->stats;
  const size_t size = square(st->p + 1);
  if (w->prior)
    memcpy(w->cross, w->prior_cross, size * sizeof(double));
  else
    memset(w->cross, 0, size * sizeof(double));
  *log_det = 0.0;
  for (int l = 0; l < st->n_level; l++) {
    for (size_t i = 0; i < size; i++) w->cross[i] += w->within[(size_t)l * size + i] / variance[l];
    *log_det += st->n_rows[l] * log(variance[l]);
  }
  for (int r = 0; r < st->n_run; r++)
    w->kernels->objective(st->run + r, st->q, st->p, root, w->unit,
                          cell_variances(st->run + r, variance, w->cells), w->origin, w->cross,
                          log_det, w->work);
}

/* Adds [X y]'[X y] of the between rows of level l (lower). */
static void add_between(const lmm_stats *st, int l, double *A) {
  const int q = st->q, p1 = st->p + 1, n_col = q + p1;
  for (int r = 0; r < st->n_run; r++) {
    const lmm_run *run = st->run + r;
    const int K = q * run->n_cell;
    for (int i = 0; i < run->n_block * K; i++) {
      if (run->level[i % K / q] != l) continue;
      const double *row = run->data + (size_t)(i * n_col + q) * SIMD_LANES;
      for (int j = 0; j < p1; j++)
        for (int k = 0; k <= j; k++)
          for (int lane = 0; lane < SIMD_LANES; lane++)
            A[j + p1 * k] += row[j * SIMD_LANES + lane] * row[k * SIMD_LANES + lane];
    }
  }
}

/* X'X by level, for q(beta) under the mean field. */
static void sum_levels(lmm_work *w) {
  const lmm_stats *st = w->stats;
  const int p = st->p, p1 = p + 1;
  for (int l = 0; l < st->n_level; l++) {
    double *to = w->level_cross + (size_t)l * square(p);
    memcpy(w->cross, st->within + (size_t)l * square(p1), square(p1) * sizeof(double));
    add_between(st, l, w->cross);
    for (int j = 0; j < p; j++)
      for (int k = 0; k < p; k++) to[j + p * k] = w->cross[j >= k ? j + p1 * k : k + p1 * j];
  }
}

/* Covariance of q(beta) under the mean field, (sum_l X'X_l / v_l + prior)^{-1}, and log |C|. */
static elbo_status mean_field_C(const lmm_work *w, const double *variance, double *C,
                                double *log_det) {
  const int p = w->stats->p, p1 = p + 1;
  for (int j = 0; j < p; j++)
    for (int k = 0; k < p; k++) {
      C[j + p * k] = w->prior->cross[j >= k ? j + p1 * k : k + p1 * j];
      for (int l = 0; l < w->stats->n_level; l++)
        C[j + p * k] += w->level_cross[(size_t)l * square(p) + (size_t)(j + p * k)] / variance[l];
    }
  if (la_chol(C, p) != ELBO_OK) return ELBO_E_NOT_PD;
  *log_det = -la_log_det_from_chol(C, p);
  return la_inverse_from_chol(C, p);
}

void lmm_set_prior(lmm_work *w, const lmm_prior *prior) {
  w->prior = prior;
  lmm_set_origin(w, w->origin);
  w->constant += prior->constant;
  if (prior->mean_field) sum_levels(w);
}

/* With w->cross at theta: beta at its best, unless it is given, its covariance C, the sum of squares,
 * and log |X'V^{-1}X|. */
static elbo_status solve(lmm_work *w, int beta_given, double *beta, double *C, double *quadratic,
                         double *log_det) {
  const int p = w->stats->p, p1 = p + 1;
  for (int j = 0; j < p; j++)
    for (int k = 0; k < p; k++) C[j + p * k] = at_lower(w->cross, p1, j, k);
  if (la_chol(C, p) != ELBO_OK) return ELBO_E_NOT_PD;
  *log_det = la_log_det_from_chol(C, p);
  if (la_inverse_from_chol(C, p) != ELBO_OK) return ELBO_E_NOT_PD;
  w->inflation = 0.0;
  for (int j = 0; j < p; j++) w->inflation += C[j * (p + 1)] * w->cross[j * (p1 + 1)];
  if (!beta_given)
    for (int j = 0; j < p; j++) {
      beta[j] = w->origin[j];
      for (int k = 0; k < p; k++) beta[j] += C[j + p * k] * w->cross[p + p1 * k];
    }
  *quadratic = residual_square(w->cross, from_origin(w, beta, w->origin), p);
  return ELBO_OK;
}

elbo_status lmm_objective(lmm_work *w, int beta_given, double *beta, double *C, double *value) {
  const lmm_stats *st = w->stats;
  const lmm_parameters *par = &w->par;
  const double *variance = w->variance;
  const int p = st->p, q = st->q, m = st->m;
  double log_det, log_det_x, quadratic, prior = 0.0;
  elbo_status status = ELBO_OK;
  if (w->prior) status = w->prior->value(w->prior, par, w->Sigma, variance, &prior);
  if (status == ELBO_OK && has_smooth(w)) status = lmm_smooth_prior(w, &prior);
  if (status != ELBO_OK) return status;
  evaluate(w, w->root, variance, &log_det);
  status =
      (has_smooth(w) ? lmm_smooth_solve : solve)(w, beta_given, beta, C, &quadratic, &log_det_x);
  if (status != ELBO_OK) return status;
  double twice = st->n * LOG_2PI + quadratic;
  if (has_smooth(w)) twice += log_det_x;
  if (w->method == LMM_JOINT) {
    for (int l = 0; l < st->n_level; l++) twice += st->n_rows[l] * log(variance[l]);
    twice += m * ((q - par->n_no_law) * LOG_2PI + 2.0 * log_det_root(w));
  } else {
    twice += log_det - m * par->n_no_law * LOG_2PI;
    if (mean_field(w)) {
      if (mean_field_C(w, variance, w->q_next_C, &log_det_x) != ELBO_OK) return ELBO_E_NOT_PD;
      log_det_x = -log_det_x;
    }
    if (has_smooth(w) && integrates_beta(w))
      twice -= w->smooth.first * LOG_2PI;
    else if (integrates_beta(w))
      twice += log_det_x - p * LOG_2PI;
  }
  *value = w->constant + prior - 0.5 * twice;
  return isfinite(*value) ? ELBO_OK : ELBO_E_NOT_FINITE;
}

/* Sweeps the first p columns of A (p1 x p1, lower) out of the rest, those that say nothing new left
 * out; pivots (p): what is left of each diagonal.  Returns the number swept. */
static int sweep_columns(double *A, int p, const double *before, double *pivots) {
  const int p1 = p + 1;
  int rank = 0;
  for (int j = 0; j < p; j++) {
    const double now = A[j + p1 * j];
    pivots[j] = before[j] > 0.0 ? now / before[j] : 0.0;
    if (!(pivots[j] > LMM_ALIASED)) continue;
    rank++;
    for (int i = j + 1; i < p1; i++)
      for (int k = j + 1; k <= i; k++) A[i + p1 * k] -= A[i + p1 * j] * A[k + p1 * j] / now;
  }
  return rank;
}

/* The root of Sigma = 0, and variances of one. */
static double *nothing_random(lmm_work *w) {
  const int q = w->stats->q;
  double *none = w->q_root; /* not in use before the first E-step */
  memset(none, 0, square(q) * sizeof(double));
  for (int k = 0; k < w->par.n_no_law; k++) none[w->par.no_law[k] * (q + 1)] = 1.0;
  for (int l = 0; l < w->stats->n_level; l++) w->variance[l] = 1.0;
  return none;
}

void lmm_column_pivots(lmm_work *w, double *pivots) {
  const int p = w->stats->p, p1 = p + 1;
  double ignored, *before = w->scratch;
  evaluate(w, nothing_random(w), w->variance, &ignored);
  for (int j = 0; j < p; j++) before[j] = w->cross[j + p1 * j];
  sweep_columns(w->cross, p, before, pivots);
  for (int j = p - w->smooth.n_column; j < p; j++) pivots[j] = 1.0; /* their law tells them apart */
}

/* Scaled data are about 1 in size: a residual that is smaller is rounding. */
static double smallest_residual(const lmm_work *w) { return fmax(1e-13, w->stats->rounding); }

/* Whether X fits the n rows behind the cross-products A (destroyed) without error, and its rank. */
static int fitted_exactly(const lmm_work *w, double *A, double n, int *rank) {
  const int p = w->stats->p, p1 = p + 1;
  double *before = w->scratch, *pivots = before + p1;
  for (int j = 0; j < p1; j++) before[j] = A[j + p1 * j];
  *rank = sweep_columns(A, p, before, pivots);
  /* Sweeping loses the last digits of y'y. */
  const double rounding = smallest_residual(w);
  return A[p + p1 * p] <= fmax(n * rounding * rounding, 1e-14 * before[p]);
}

int lmm_unbounded_level(lmm_work *w) {
  const lmm_stats *st = w->stats;
  const size_t size = square(st->p + 1);
  /* Integrating coefficients takes a row for each. */
  const int all = integrates_beta(w), some = w->method == LMM_EM ? w->smooth.n_column : 0;
  int may_vanish = 1, rank; /* Sigma */
  for (int k = 0; k < st->q; k++)
    may_vanish &= w->par.kind[k] == LMM_ROW_FREE || w->par.kind[k] == LMM_ROW_DIRECTION;
  for (int l = 0; l < st->n_level; l++) {
    if (w->par.eta_of_sigma[l] < 0) continue;
    memcpy(w->cross, st->within + (size_t)l * size, size * sizeof(double));
    if (!fitted_exactly(w, w->cross, st->n_rows[l], &rank)) continue;
    /* Points on the latent variables fit the between rows at a finite price. */
    if (w->method == LMM_JOINT || st->n_distinct[l] > (all ? rank : some)) return l;
    if (!may_vanish) continue;
    memcpy(w->cross, st->within + (size_t)l * size, size * sizeof(double));
    add_between(st, l, w->cross);
    if (fitted_exactly(w, w->cross, st->n_rows[l], &rank) && st->n_rows[l] > (all ? rank : some))
      return l;
  }
  return -1;
}

int lmm_vanished_level(const lmm_work *w) {
  const double least = 2.0 * smallest_residual(w);
  for (int l = 0; l < w->stats->n_level; l++)
    if (w->par.eta_of_sigma[l] >= 0 && !(w->variance[l] > least * least)) return l;
  return -1;
}

/* ---- derivatives --------------------------------------------------------------------------------- */

/* Covariance of the coefficients that are integrated along with u; NULL: none are. */
static const double *integrated_covariance(const lmm_work *w) {
  if (has_smooth(w)) return w->method == LMM_JOINT ? NULL : w->smooth.C;
  return integrates_beta(w) && !mean_field(w) ? w->C : NULL;
}

/* All derivatives with respect to the entries of Sigma and the residual variances into all_d. */
static void differentiate(lmm_work *w) {
  const lmm_stats *st = w->stats;
  const lmm_parameters *par = &w->par;
  const int p = st->p, p1 = p + 1, n_pair = par->n_pair, n = n_pair + st->n_level;
  const int joint = w->method == LMM_JOINT;
  const double *C = integrated_covariance(w);
  lmm_derivatives *d = &w->all_d, *e = &w->run_d;
  const double *beta = w->profile_beta;
  const lmm_point point = {beta, C, !joint, n_pair, par->pair_a, par->pair_b};
  memset(d->gradient, 0, (size_t)n * sizeof(double));
  memset(d->hessian, 0, square(n) * sizeof(double));
  memset(d->cross, 0, (size_t)n * (size_t)p * sizeof(double));
  memset(d->spread, 0, (size_t)n * square(p) * sizeof(double));
  for (int r = 0; r < st->n_run; r++) {
    const lmm_run *run = st->run + r;
    const int n_e = n_pair + run->n_cell;
    memset(e->gradient, 0, (size_t)n_e * sizeof(double));
    memset(e->hessian, 0, square(n_e) * sizeof(double));
    memset(e->cross, 0, (size_t)n_e * (size_t)p * sizeof(double));
    memset(e->spread, 0, (size_t)n_e * square(p) * sizeof(double));
    w->kernels->derivatives(run, st->q, p, w->root, w->unit,
                            cell_variances(run, w->variance, w->cells), &point, e, w->work);
    for (int i = 0; i < n_e; i++) {
      const int to = i < n_pair ? i : n_pair + run->level[i - n_pair];
      d->gradient[to] += e->gradient[i];
      for (int j = 0; j <= i; j++) {
        const int with = j < n_pair ? j : n_pair + run->level[j - n_pair];
        d->hessian[(to > with ? to : with) + n * (to > with ? with : to)] +=
            e->hessian[i + n_e * j];
      }
      for (int j = 0; j < p; j++) {
        d->cross[to + n * j] += e->cross[i + n_e * j];
        for (int k = 0; k <= j; k++)
          d->spread[to + n * (j + p * k)] += e->spread[i + n_e * (j + p * k)];
      }
    }
  }
  for (int l = 0; l < st->n_level; l++) { /* the within rows, whose V is variance * I */
    const double v = w->variance[l], *A = w->within + (size_t)l * square(p1);
    const double *delta = from_origin(w, beta, w->origin);
    const int at = n_pair + l;
    const double rows = joint ? 0.0 : st->n_within[l];
    double square_sum = residual_square(A, delta, p);
    if (C)
      for (int j = 0; j < p; j++)
        for (int k = 0; k < p; k++)
          square_sum += C[j + p * k] * A[j >= k ? j + p1 * k : k + p1 * j];
    d->gradient[at] += 0.5 * (square_sum / v - rows) / v;
    d->hessian[at + n * at] += (0.5 * rows - square_sum / v) / (v * v);
    if (joint) { /* -n_l log(variance) / 2 stands in for log |V| */
      d->gradient[at] -= 0.5 * st->n_rows[l] / v;
      d->hessian[at + n * at] += 0.5 * st->n_rows[l] / (v * v);
    }
    for (int j = 0; j < p; j++) {
      double score = A[p + p1 * j];
      for (int k = 0; k < p; k++) score -= A[j >= k ? j + p1 * k : k + p1 * j] * delta[k];
      d->cross[at + n * j] -= score / (v * v);
      for (int k = 0; k <= j; k++) d->spread[at + n * (j + p * k)] += A[j + p1 * k] / (v * v);
    }
  }
}

/* -log |sum_l X'X_l / v_l + prior| / 2 of the mean field, by the residual variances. */
static void differentiate_mean_field(lmm_work *w) {
  const int p = w->stats->p, n_level = w->stats->n_level, n_pair = w->par.n_pair;
  const int n = n_pair + n_level;
  double log_det, *C = w->q_next_C, *CX = w->scratch, *CY = CX + square(p);
  if (mean_field_C(w, w->variance, C, &log_det) != ELBO_OK) return;
  for (int l = 0; l < n_level; l++) {
    const double v = w->variance[l];
    double trace = 0.0;
    la_multiply(C, w->level_cross + (size_t)l * square(p), p, p, p, CX);
    for (int j = 0; j < p; j++) trace += CX[j * (p + 1)];
    w->all_d.gradient[n_pair + l] += 0.5 * trace / (v * v);
    w->all_d.hessian[(n_pair + l) * (n + 1)] -= trace / (v * v * v);
    for (int k = 0; k <= l; k++) {
      const double u = w->variance[k];
      double both = 0.0;
      la_multiply(C, w->level_cross + (size_t)k * square(p), p, p, p, CY);
      for (int i = 0; i < p; i++)
        for (int j = 0; j < p; j++) both += CX[i + p * j] * CY[j + p * i];
      w->all_d.hessian[n_pair + l + n * (n_pair + k)] += 0.5 * both / (v * v * u * u);
    }
  }
}

/* d (entry of Sigma in pairs, or residual variance) / d eta: n x n_eta. */
static void chain_matrix(lmm_work *w, double *J) {
  const lmm_parameters *par = &w->par;
  const int q = par->q, n_eta = par->n_eta, n = par->n_pair + par->n_level;
  memset(J, 0, (size_t)n * (size_t)n_eta * sizeof(double));
  lmm_parameters_sigma_jacobian(par, w->eta, w->jacobian);
  for (int k = 0; k < n_eta; k++)
    for (int e = 0; e < par->n_pair; e++)
      J[e + n * k] =
          w->jacobian[square(q) * (size_t)k + (size_t)(par->pair_a[e] + q * par->pair_b[e])];
  for (int l = 0; l < par->n_level; l++)
    if (par->eta_of_sigma[l] >= 0)
      J[par->n_pair + l + n * par->eta_of_sigma[l]] = 2.0 * w->variance[l];
}

elbo_status lmm_information(lmm_work *w, double *value, double *gradient, double *hessian) {
  const lmm_parameters *par = &w->par;
  const int p = w->stats->p, q = par->q, n_eta = par->n_eta, n_pair = par->n_pair;
  const int n = n_pair + par->n_level;
  const elbo_status status = lmm_objective(w, 0, w->profile_beta, w->C, value);
  if (status != ELBO_OK || gradient == NULL) return status;
  differentiate(w);
  if (mean_field(w)) differentiate_mean_field(w);
  if (w->prior)
    w->prior->derivatives(w->prior, par, w->Sigma, w->variance, w->all_d.gradient,
                          w->all_d.hessian);
  fill_upper(w->all_d.hessian, n);
  const lmm_derivatives *d = &w->all_d;
  double *J = w->scratch, *HJ = J + (size_t)n * (size_t)n_eta, *G = HJ + n;
  chain_matrix(w, J);
  memset(G, 0, square(q) * sizeof(double));
  for (int e = 0; e < n_pair; e++) {
    const int a = par->pair_a[e], b = par->pair_b[e];
    G[a + q * b] = G[b + q * a] = d->gradient[e] * (a == b ? 1.0 : 0.5);
  }
  memset(hessian, 0, square(n_eta) * sizeof(double));
  lmm_parameters_sigma_curvature(par, w->eta, G, hessian);
  for (int l = 0; l < par->n_level; l++)
    if (par->eta_of_sigma[l] >= 0)
      hessian[par->eta_of_sigma[l] * (n_eta + 1)] += 4.0 * w->variance[l] * d->gradient[n_pair + l];
  for (int k = 0; k < n_eta; k++) {
    gradient[k] = 0.0;
    for (int e = 0; e < n; e++) gradient[k] += J[e + n * k] * d->gradient[e];
    for (int e = 0; e < n; e++) {
      HJ[e] = 0.0;
      for (int f = 0; f < n; f++) HJ[e] += d->hessian[e + n * f] * J[f + n * k];
    }
    for (int l = 0; l < n_eta; l++)
      for (int e = 0; e < n; e++) hessian[l + n_eta * k] += J[e + n * l] * HJ[e];
    for (int j = 0; j < p; j++) {
      double sum = 0.0;
      for (int e = 0; e < n; e++) sum += J[e + n * k] * d->cross[e + n * j];
      w->cross_eta[k + n_eta * j] = sum;
      for (int i = 0; i <= j; i++) {
        sum = 0.0;
        for (int e = 0; e < n; e++) sum += J[e + n * k] * d->spread[e + n * (j + p * i)];
        w->spread_eta[square(p) * (size_t)k + (size_t)(j + p * i)] = sum;
        w->spread_eta[square(p) * (size_t)k + (size_t)(i + p * j)] = sum;
      }
    }
  }
  /* Hessian so far is that at fixed beta; log |X'V^{-1}X| of reml adds to it. */
  const double *C = integrated_covariance(w);
  if (C) {
    double *CA = J, *CB = CA + square(p);
    for (int k = 0; k < n_eta; k++) {
      la_multiply(C, w->spread_eta + square(p) * (size_t)k, p, p, p, CA);
      for (int l = 0; l <= k; l++) {
        double sum = 0.0;
        la_multiply(C, w->spread_eta + square(p) * (size_t)l, p, p, p, CB);
        for (int i = 0; i < p; i++)
          for (int j = 0; j < p; j++) sum += CA[i + p * j] * CB[j + p * i];
        hessian[k + n_eta * l] += 0.5 * sum;
        if (l < k) hessian[l + n_eta * k] += 0.5 * sum;
      }
    }
  }
  if (has_smooth(w) && lmm_smooth_information(w, gradient, hessian) != ELBO_OK)
    return ELBO_E_NOT_PD;
  for (int k = 0; k < n_eta; k++)
    if (!isfinite(gradient[k]) || !isfinite(hessian[k * (n_eta + 1)])) return ELBO_E_NOT_FINITE;
  return ELBO_OK;
}

elbo_status lmm_profile_information(void *work, double *value, double *gradient, double *hessian) {
  lmm_work *w = (lmm_work *)work;
  const int p = w->stats->p, n_eta = w->par.n_eta;
  const elbo_status status = lmm_information(w, value, gradient, hessian);
  if (status != ELBO_OK || gradient == NULL) return status;
  for (int k = 0; k < n_eta; k++)
    for (int l = 0; l < n_eta; l++)
      for (int i = 0; i < p; i++)
        for (int j = 0; j < p; j++)
          hessian[k + n_eta * l] +=
              w->cross_eta[k + n_eta * i] * w->C[i + p * j] * w->cross_eta[l + n_eta * j];
  return ELBO_OK;
}

/* ---- starts -------------------------------------------------------------------------------------- */

/* Ratio of random to residual variance; correlation of neighbouring terms; whether the residual
 * variances start from their levels' own within rows (else all from the pooled residuals). */
static const double ratios[] = {1.0, 0.05, 20.0}, correlations[] = {0.0, 0.9, -0.9};
enum { N_RATIOS = 3, N_CORRELATIONS = 3 };

elbo_status lmm_least_squares(lmm_work *w, double *mean_square, double *explained) {
  const lmm_stats *st = w->stats;
  const int p = st->p, p1 = p + 1;
  double ignored, *A = w->scratch;
  evaluate(w, nothing_random(w), w->variance, &ignored);
  for (int j = 0; j < p; j++)
    for (int k = 0; k < p; k++) A[j + p * k] = w->cross[j >= k ? j + p1 * k : k + p1 * j];
  if (has_smooth(w)) lmm_smooth_ridge(w, A);
  if (la_chol(A, p) != ELBO_OK || la_inverse_from_chol(A, p) != ELBO_OK) return ELBO_E_NOT_PD;
  for (int j = 0; j < p; j++) {
    w->beta[j] = w->origin[j];
    for (int k = 0; k < p; k++) w->beta[j] += A[j + p * k] * w->cross[p + p1 * k];
  }
  *mean_square = residual_square(w->cross, from_origin(w, w->beta, w->origin), p) / st->n;
  *explained = w->cross[p + p1 * p] / st->n - *mean_square;
  return ELBO_OK;
}

/* Generalised least squares where Sigma is large beside the residual variances of the levels, which are estimated
 * along: what can be told within groups is told there. */
static elbo_status within_groups(lmm_work *w, double *smallest) {
  enum { REWEIGHTINGS = 4, LARGE_EXPONENT = 20 };
  const lmm_stats *st = w->stats;
  const int p = st->p, p1 = p + 1;
  double ignored, *root = nothing_random(w), *A = w->scratch;
  for (int k = 0; k < st->q; k++)
    if (w->unit[k] > 0.0) root[k * (st->q + 1)] = scalbn(1.0, LARGE_EXPONENT);
  for (int i = 0; i < (st->n_level > 1 ? REWEIGHTINGS : 1); i++) {
    evaluate(w, root, w->variance, &ignored);
    for (int j = 0; j < p; j++)
      for (int k = 0; k < p; k++) A[j + p * k] = at_lower(w->cross, p1, j, k);
    if (has_smooth(w)) lmm_smooth_ridge(w, A);
    if (la_chol(A, p) != ELBO_OK || la_inverse_from_chol(A, p) != ELBO_OK) return ELBO_E_NOT_PD;
    for (int j = 0; j < p; j++) {
      w->beta[j] = w->origin[j];
      for (int k = 0; k < p; k++) w->beta[j] += A[j + p * k] * w->cross[p + p1 * k];
    }
    *smallest = 1.0;
    for (int l = 0; l < st->n_level; l++) {
      const double *within = st->within + (size_t)l * square(p1), all = within[p + p1 * p];
      const double left = fmax(residual_square(within, w->beta, p), 1e-16 * all);
      if (st->n_distinct[l] > 0.0 && all > 0.0) *smallest = fmin(*smallest, left / all);
      w->variance[l] = left > 0.0 ? left / st->n_rows[l] : 1.0;
    }
  }
  return ELBO_OK;
}

int lmm_lost_digits(lmm_work *w) {
  double mean_square, explained, within;
  if (w->stats->p == 0) return 0;
  if (within_groups(w, &within) == ELBO_OK && within < LMM_LOST) return 1;
  return lmm_least_squares(w, &mean_square, &explained) == ELBO_OK &&
         mean_square < LMM_LOST * explained;
}

static double start_sd(const lmm_parameters *par, int term, double variance) {
  switch (par->kind[term]) {
    case LMM_ROW_NO_LAW:
      return 0.0;
    case LMM_ROW_LENGTH:
    case LMM_ROW_FIXED:
      return par->length[term];
    default:
      return sqrt(variance);
  }
}

/* For the scale at `place`, Sigma at 0 where there is one: all combinations of two scales in nine
 * starts, and any two of four (an orthogonal array). */
static double smooth_ratio(int start, int place) {
  const int a = start % N_RATIOS, b = start / N_RATIOS % N_RATIOS;
  return ratios[place == 0 ? a : (b + (place - 1) * a) % N_RATIOS];
}

elbo_status lmm_starts(lmm_work *w, int n_starts, double *eta, double *objective) {
  const lmm_stats *st = w->stats;
  const lmm_parameters *par = &w->par;
  const int q = st->q, p = st->p;
  double pooled, explained, *own = w->scratch + 3 * square(p + 1) + 7 * square(q);
  const elbo_status status = lmm_least_squares(w, &pooled, &explained);
  if (status != ELBO_OK) return status;
  for (int l = 0; l < st->n_level; l++) {
    const double within = residual_square(st->within + (size_t)l * square(p + 1), w->beta, p);
    own[l] = within > 0.0 ? within / st->n_rows[l] : pooled;
  }
  for (int i = 0; i < n_starts; i++, eta += par->n_eta) {
    const double ratio = ratios[i % N_RATIOS];
    const double cor = correlations[i / N_RATIOS % N_CORRELATIONS];
    const int levels_own = i < N_RATIOS * N_CORRELATIONS;
    for (int k = 0; k < q; k++)
      for (int j = 0; j < q; j++) { /* only blocks of it are used */
        const double sign = cor < 0.0 && (j - k) % 2 != 0 ? -1.0 : 1.0;
        w->Sigma[k + q * j] = start_sd(par, k, ratio * pooled) * start_sd(par, j, ratio * pooled) *
                              (j == k ? 1.0 : sign * fabs(cor));
      }
    for (int l = 0; l < st->n_level; l++)
      w->variance[l] = par->eta_of_sigma[l] < 0 ? par->sigma[l] * par->sigma[l]
                       : levels_own             ? own[l]
                                                : pooled;
    lmm_parameters_pack(par, w->Sigma, w->variance, eta);
    for (int k = 0; k < w->smooth.n; k++)
      lmm_smooth_start(w, k, smooth_ratio(i, k + (q > 0)) * pooled, eta);
    memcpy(w->eta, eta, (size_t)par->n_eta * sizeof(double));
    lmm_set_eta(w);
    if (lmm_objective(w, 0, w->beta, w->C, objective + i) != ELBO_OK) objective[i] = -HUGE_VAL;
  }
  return ELBO_OK;
}
