/* The objective of the Gaussian mixed model as a function of (Sigma, variance).
 *
 * Every method is one, with beta at its best or integrated:
 *   em     log N(y; X beta, V)                                       z integrated
 *   reml   the same integrated over beta                             z and beta integrated
 *   joint  log p(y, z | theta) at the best z: no log |V|, but log |Sigma| and log variance
 *   vb     that of reml at E[Sigma^{-1}]^{-1} and E[sigma^{-2}]^{-1}, and what glmm/prior.c says */
#include "glmm/objective.h"

#include <math.h>
#include <string.h>

#include "glmm/cross.h"
#include "glmm/smooth.h"
#include "math/la.h"

/* [X r]' V^{-1} [X r] (lower), r = y - X origin, and log |V| at a root of Sigma, terms without a
 * law projected out of the one and joined to the other. */
elbo_status lmm_evaluate(lmm_work *w, const double *root, const double *variance,
                         double *log_det) {
  const size_t size = square(w->stats->p + 1);
  const glmm_theta at = {.root = root, .unit = w->unit, .variance = variance};
  if (w->prior)
    memcpy(w->cross, w->prior_cross, size * sizeof(double));
  else
    memset(w->cross, 0, size * sizeof(double));
  *log_det = 0.0;
  const elbo_status status = w->solver.factor(w->solver.state, &at);
  if (status == ELBO_OK) w->solver.objective(w->solver.state, w->cross, log_det);
  return status;
}

/* The root of Sigma = 0, and variances of one. */
double *lmm_nothing_random(lmm_work *w) {
  const int q = w->stats->q;
  double *none = w->q_root; /* not in use before the first E-step */
  memset(none, 0, square(q) * sizeof(double));
  for (int k = 0; k < w->par.n_no_law; k++) none[w->par.no_law[k] * (q + 1)] = 1.0;
  for (int l = 0; l < w->stats->n_level; l++) w->variance[l] = 1.0;
  return none;
}

/* Covariance of q(beta) under the mean field, (sum_l X'X_l / v_l + prior)^{-1}, and log |C|. */
elbo_status lmm_mean_field_C(const lmm_work *w, const double *variance, double *C,
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

/* The best beta under a constraint, and its covariance, from those without. */
static void hold(lmm_constraint *constraint, int p, double *beta, double *C) {
  double *along = constraint->along;
  const double off = constraint->value - constraint->offset - dot(constraint->of, beta, p);
  la_multiply(C, constraint->of, p, p, 1, along);
  const double variance = dot(constraint->of, along, p);
  constraint->variance = variance;
  constraint->slope = off / variance;
  for (int j = 0; j < p; j++) along[j] /= variance;
  for (int j = 0; j < p; j++) {
    beta[j] += along[j] * off;
    for (int k = 0; k < p; k++) C[j + p * k] -= variance * along[j] * along[k];
  }
}

/* With w->cross at theta: beta at its best, unless it is given, its covariance C, the sum of
 * squares, and log |X'V^{-1}X|. */
static elbo_status solve(lmm_work *w, int beta_given, double *beta, double *C, double *quadratic,
                         double *log_det) {
  const int p = w->stats->p, p1 = p + 1;
  for (int j = 0; j < p; j++)
    for (int k = 0; k < p; k++) C[j + p * k] = at_lower(w->cross, p1, j, k);
  if (la_chol(C, p) != ELBO_OK) return ELBO_E_NOT_PD;
  *log_det = la_log_det_from_chol(C, p);
  if (la_inverse_from_chol(C, p) != ELBO_OK) return ELBO_E_NOT_PD;
  if (!beta_given)
    for (int j = 0; j < p; j++) {
      beta[j] = w->origin[j];
      for (int k = 0; k < p; k++) beta[j] += C[j + p * k] * w->cross[p + p1 * k];
    }
  if (w->constraint != NULL && !beta_given) hold(w->constraint, p, beta, C);
  *quadratic = residual_square(w->cross, from_origin(w, beta, w->origin), p);
  return ELBO_OK;
}

elbo_status lmm_objective(lmm_work *w, int beta_given, double *beta, double *C, double *value) {
  const lmm_stats *st = w->stats;
  const lmm_parameters *par = &w->par;
  const double *variance = w->variance;
  const glmm_solver *solver = &w->solver;
  const int p = st->p;
  double log_det, log_det_x, quadratic, prior = 0.0;
  elbo_status status = ELBO_OK;
  if (w->prior) status = w->prior->value(w->prior, par, w->Sigma, variance, &prior);
  if (status == ELBO_OK && has_smooth(w)) status = lmm_smooth_prior(w, &prior);
  if (status != ELBO_OK) return status;
  status = lmm_evaluate(w, w->root, variance, &log_det);
  if (status == ELBO_OK)
    status =
        (has_smooth(w) ? lmm_smooth_solve : solve)(w, beta_given, beta, C, &quadratic, &log_det_x);
  if (status != ELBO_OK) return status;
  w->inflation = 0.0;
  for (int j = 0; j < p; j++) w->inflation += C[j * (p + 1)] * w->cross[j * (p + 2)];
  double twice = st->n * LOG_2PI + quadratic;
  if (has_smooth(w)) twice += log_det_x;
  if (w->method == LMM_JOINT) {
    for (int l = 0; l < st->n_level; l++) twice += st->n_rows[l] * log(variance[l]);
    for (int f = 0; f < solver->n_factor; f++)
      twice += solver->n_unit[f] * (terms_with_law(w, f) * LOG_2PI + 2.0 * log_det_root(w, f));
  } else {
    twice += log_det - count_without_law(w) * LOG_2PI;
    if (mean_field(w)) {
      if (lmm_mean_field_C(w, variance, w->q_next_C, &log_det_x) != ELBO_OK) return ELBO_E_NOT_PD;
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
