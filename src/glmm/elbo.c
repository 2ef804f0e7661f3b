/* The ELBO of the Gaussian mixed model, E_q log p(y, z | theta) - E_q log q.  It is computed from
 * the summaries of q alone, so E- and M-steps can be checked against it at every half-step (Neal &
 * Hinton 1998). */
#include "glmm/elbo.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "glmm/cross.h"
#include "glmm/e_step.h"
#include "glmm/objective.h"
#include "glmm/smooth.h"
#include "math/la.h"

elbo_status lmm_elbo(void *work, double *value) {
  lmm_work *w = (lmm_work *)work;
  const lmm_stats *st = w->stats;
  const glmm_solver *solver = &w->solver;
  const int q = st->q, p = st->p;
  const double n_law = count_with_law(w), n_latent = n_law + count_without_law(w);
  double *M = w->scratch + square(q), sum = w->constant;
  elbo_status status = ELBO_OK;
  lmm_whiten(w, w->q_root, w->root, M);
  for (int l = 0; l < st->n_level; l++)
    sum -= 0.5 * (st->n_rows[l] * (LOG_2PI + log(w->variance[l])) +
                  lmm_expected_square(w, l) / w->variance[l]);
  /* log p(b) and the entropy of q, in the coordinates of theta; of points log p(u) and none. */
  sum -= 0.5 * (n_law * LOG_2PI + lmm_whitened_square(w, M));
  double log_det = 0.0;
  for (int f = 0; f < solver->n_factor; f++)
    log_det += solver->n_unit[f] *
               (w->method == LMM_JOINT ? -log_det_root(w, f) : lmm_log_det_whitened(w, M, f));
  sum += w->method == LMM_JOINT ? log_det
                                : 0.5 * (n_latent * (1.0 + LOG_2PI) + w->q_log_det) + log_det;
  if (has_smooth(w)) {
    status = lmm_smooth_elbo(w, &sum);
  } else if (integrates_beta(w)) {
    double *L = w->scratch;
    memcpy(L, w->q_C, square(p) * sizeof(double));
    status = la_chol(L, p);
    sum += 0.5 * (p * (1.0 + LOG_2PI) + la_log_det_from_chol(L, p));
  }
  if (w->prior && status == ELBO_OK) {
    double prior;
    const double *cross = w->prior->cross;
    status = w->prior->value(w->prior, &w->par, w->Sigma, w->variance, &prior);
    sum += prior - 0.5 * residual_square(cross, lmm_mean_coefficients(w), p);
    for (int j = 0; j < p && integrates_beta(w); j++)
      for (int k = 0; k < p; k++)
        sum -= 0.5 * w->q_C[j + p * k] * cross[j >= k ? j + (p + 1) * k : k + (p + 1) * j];
  }
  *value = sum;
  return status != ELBO_OK ? status : isfinite(sum) ? ELBO_OK : ELBO_E_NOT_FINITE;
}

/* At most the sum of the sizes of what residual_square() adds up within groups, (sum_j |beta_j|
 * |x_j| + |y|)^2. */
static double added_within(const lmm_stats *st, int l, const double *beta) {
  const int p = st->p;
  const double *A = st->within + (size_t)l * square(p + 1);
  double sum = sqrt(A[p * (p + 2)]);
  for (int j = 0; j < p; j++) sum += fabs(beta[j]) * sqrt(A[j * (p + 2)]);
  return sum * sum;
}

/* The terms of the ELBO are rounded each; a residual is off by the rounding of the response, of
 * X beta and of Z u, so that a sum of squares of residuals is off by twice their product; and
 * within groups that sum is the difference of what is larger. */
double lmm_rounding(void *work) {
  enum { OPERATIONS = 8 }; /* roundings that go into a term and do not cancel */
  lmm_work *w = (lmm_work *)work;
  const lmm_stats *st = w->stats;
  const int q = st->q;
  const double *beta = lmm_mean_coefficients(w);
  const double n_latent = count_with_law(w) + count_without_law(w);
  double added = fabs(w->constant) + n_latent * LOG_2PI + fabs(w->q_log_det), off = 0.0;
  double size = 1.0; /* of what a residual is the difference of; scaled columns are below 2 */
  for (int j = 0; j < st->p; j++) size += fabs(beta[j]);
  for (int k = 0; k < q; k++) {
    const int m = levels_of_term(w, k);
    size += sqrt(w->second_u[k * (q + 1)] / m);
    if (w->unit[k] > 0.0 && w->root[k * (q + 1)] != 0.0)
      added += m * (1.0 + fabs(log(fabs(w->root[k * (q + 1)]))));
  }
  for (int l = 0; l < st->n_level; l++) {
    const double v = w->variance[l], n = st->n_rows[l],
                 square_sum = fabs(lmm_expected_square(w, l)) / v;
    const double lost = DBL_EPSILON * size / sqrt(v);
    added += n * (LOG_2PI + fabs(log(v))) + square_sum + added_within(st, l, beta) / v;
    off += 2.0 * sqrt(n * square_sum) * lost + n * lost * lost;
  }
  if (w->prior) {
    const double *A = w->prior->cross;
    const double sizes = w->prior->size(w->prior, &w->par, w->Sigma, w->variance);
    if (isfinite(sizes)) added += sizes;
    added += A[st->p * (st->p + 2)];
    for (int j = 0; j < st->p; j++) added += fabs(beta[j] * A[st->p + (st->p + 1) * j]);
  }
  /* Normal equations magnify what goes into them by their condition. */
  return OPERATIONS *
         (DBL_EPSILON * (added + w->inflation * st->p) + off * (1.0 + sqrt(w->inflation)));
}

elbo_status lmm_log_evidence(void *work, double *value) {
  lmm_work *w = (lmm_work *)work;
  if (!w->evidence_valid) {
    const int integrated = integrates_beta(w);
    double *beta = integrated ? w->profile_beta : w->beta;
    const elbo_status status = lmm_objective(w, !integrated, beta, w->C, &w->evidence);
    if (status != ELBO_OK) return status;
    w->evidence_valid = 1;
  }
  *value = w->evidence;
  return ELBO_OK;
}

/* KL(q || p(u, beta | y, theta)), which is
 * KL(q(beta) || p(beta | y)) + E_q KL(q(u | beta) || p(u | beta, y)). */
elbo_status lmm_kl(void *work, double *value) {
  lmm_work *w = (lmm_work *)work;
  const lmm_stats *st = w->stats;
  const glmm_solver *solver = &w->solver;
  const int q = st->q, p = st->p, latent = coefficients_latent(w);
  const glmm_theta at = {.root = w->root, .unit = w->unit, .variance = w->variance};
  double *M = w->scratch + square(q), *shift = M + square(q), trace = 0.0;
  elbo_status status = w->q_next_valid || w->q_is_exact ? ELBO_OK : lmm_find_exact(w);
  if (status != ELBO_OK) return status;
  const double *exact = w->q_is_exact ? w->q : w->q_next;
  const double *exact_beta = w->q_is_exact ? w->q_beta : w->q_next_beta;
  const double *exact_C = w->q_is_exact ? w->q_C : w->q_next_C;
  const double exact_log_det = w->q_is_exact ? w->q_log_det : w->q_next_log_det;
  lmm_whiten(w, w->q_root, w->root, M);
  const double *q_beta = lmm_mean_coefficients(w), *root = lmm_root_of_C(w);
  for (int j = 0; j < p; j++) shift[j] = latent ? q_beta[j] - exact_beta[j] : 0.0;
  status = solver->factor(solver->state, &at);
  if (status != ELBO_OK) return status;
  solver->divergence(solver->state, M, w->q, exact, shift, root, &trace);
  double twice = trace;
  for (int f = 0; f < solver->n_factor; f++)
    twice -= solver->n_unit[f] * (solver->first[f + 1] - solver->first[f] +
                                  2.0 * lmm_log_det_whitened(w, M, f));
  twice += exact_log_det;
  twice -= w->q_log_det;
  if (has_smooth(w)) {
    const lmm_smooth *s = &w->smooth;
    status = lmm_smooth_divergence(w, exact_beta, w->q_is_exact ? s->q_c : s->q_next_c,
                                   w->q_is_exact ? s->q_P : s->q_next_P, &twice);
  } else if (latent) {
    double *from = w->scratch, *to = from + square(p + 1), *quadratic = to + square(p + 1);
    for (int j = 0; j < p; j++) quadratic[j] = w->q_beta[j] - exact_beta[j];
    memcpy(from, w->q_C, square(p) * sizeof(double));
    memcpy(to, exact_C, square(p) * sizeof(double));
    if (la_chol(from, p) != ELBO_OK || la_chol(to, p) != ELBO_OK) return ELBO_E_NOT_PD;
    twice += la_log_det_from_chol(to, p) - la_log_det_from_chol(from, p) - p;
    if (la_inverse_from_chol(to, p) != ELBO_OK) return ELBO_E_NOT_PD;
    twice += la_quadratic(to, quadratic, p);
    for (size_t i = 0; i < square(p); i++) twice += to[i] * w->q_C[i];
  }
  *value = 0.5 * twice;
  return status;
}
