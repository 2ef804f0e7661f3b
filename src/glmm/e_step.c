/* q of the Gaussian mixed model: the exact posterior at theta, and its summaries, from which the
 * M-step and the ELBO are computed. */
#include "glmm/e_step.h"

#include <math.h>
#include <string.h>

#include "glmm/cross.h"
#include "glmm/objective.h"
#include "glmm/smooth.h"
#include "glmm/work.h"
#include "math/la.h"

/* Where u = from b = to b', b' = M b.  M = I + to^{-1} (from - to), by substitution: exact where
 * nothing has moved.  A direction without variance is a dummy, N(0, 1) before and after. */
void lmm_whiten(const lmm_work *w, const double *from, const double *to, double *M) {
  const int q = w->stats->q;
  memset(M, 0, square(q) * sizeof(double));
  for (int j = 0; j < q; j++) {
    const int dummy = from[j * (q + 1)] == 0.0 || to[j * (q + 1)] == 0.0;
    for (int i = j; i < q && !dummy; i++) {
      double sum = from[i + q * j] - to[i + q * j];
      for (int k = j; k < i; k++) sum -= to[i + q * k] * M[k + q * j];
      if (to[i * (q + 1)] != 0.0) M[i + q * j] = sum / to[i * (q + 1)];
    }
    M[j * (q + 1)] += 1.0;
  }
}

double lmm_log_det_whitened(const lmm_work *w, const double *M, int f) {
  double log_det = 0.0;
  for (int j = w->solver.first[f]; j < w->solver.first[f + 1]; j++)
    log_det += log(fabs(M[j * (w->stats->q + 1)]));
  return log_det;
}

/* tr(M'M second) over the terms with a law. */
double lmm_whitened_square(const lmm_work *w, const double *M) {
  const int q = w->stats->q;
  double sum = 0.0;
  for (int k = 0; k < q; k++)
    for (int i = 0; i < q && w->unit[k] > 0.0; i++)
      for (int j = 0; j < q; j++) sum += M[k + q * i] * w->second[i + q * j] * M[k + q * j];
  return sum;
}

elbo_status lmm_posterior(lmm_work *w, const double *beta, double spread, int moves,
                          double *posterior, double *log_det) {
  const glmm_theta at = {.root = w->root, .unit = w->unit, .variance = w->variance};
  const elbo_status status = w->solver.factor(w->solver.state, &at);
  if (status == ELBO_OK)
    w->solver.posterior(w->solver.state, beta, spread, moves, posterior, log_det);
  return status;
}

#define ILL_CONDITIONED 1e9

/* The exact posterior at theta into q_next.  Normal equations of a large condition are solved once
 * more for what the first solution leaves (iterative refinement: Golub, Van Loan 2013, 3.5.3). */
elbo_status lmm_find_exact(lmm_work *w) {
  const int p = w->stats->p, q = w->stats->q;
  double value, log_det;
  if (coefficients_latent(w)) {
    const int integrated = integrates_beta(w);
    if (!integrated) memcpy(w->q_next_beta, w->beta, (size_t)p * sizeof(double));
    double *C = mean_field(w) ? w->C : w->q_next_C;
    elbo_status status = lmm_objective(w, !integrated, w->q_next_beta, C, &value);
    /* Residuals from there: what the first step, magnified by the condition, left of them. */
    if (status == ELBO_OK && integrated && w->inflation > ILL_CONDITIONED) {
      lmm_set_origin(w, w->q_next_beta);
      status = lmm_objective(w, 0, w->q_next_beta, C, &value);
    }
    if (status != ELBO_OK) return status;
    if (integrated) memcpy(w->beta, w->q_next_beta, (size_t)p * sizeof(double));
    if (has_smooth(w)) lmm_smooth_keep(w);
  }
  const elbo_status status =
      lmm_posterior(w, coefficients_latent(w) ? w->q_next_beta : w->beta,
                    w->method == LMM_JOINT ? 0.0 : 1.0, !mean_field(w), w->q_next, &log_det);
  if (status != ELBO_OK) return status;
  memcpy(w->q_next_root, w->root, square(q) * sizeof(double));
  w->q_next_log_det = -log_det;
  w->q_next_valid = 1;
  return ELBO_OK;
}

static void swap(double **a, double **b) {
  double *c = *a;
  *a = *b;
  *b = c;
}

/* A root of the covariance of the coefficients under q; NULL where they are points. */
const double *lmm_root_of_C(lmm_work *w) {
  if (!coefficients_latent(w)) return NULL;
  la_chol_semidefinite(w->q_C, w->stats->p, 0.0, w->C_root);
  return w->C_root;
}

/* second, residual and trace from q. */
static void summarise(lmm_work *w) {
  const int q = w->stats->q;
  const double *C = coefficients_latent(w) ? w->q_C : NULL;
  memcpy(w->summary_origin, w->origin, (size_t)w->stats->p * sizeof(double));
  w->solver.moments(w->solver.state, w->q, w->q_root, C, lmm_root_of_C(w), w->second, w->residual,
                    w->trace);
  la_multiply(w->q_root, w->second, q, q, q, w->scratch);
  la_multiply_t(w->scratch, w->q_root, q, q, q, w->second_u);
}

/* The coefficients: points of theta, means of q. */
const double *lmm_mean_coefficients(lmm_work *w) {
  if (!coefficients_latent(w)) return w->beta;
  if (!integrates_beta(w)) memcpy(w->q_beta, w->beta, (size_t)w->smooth.first * sizeof(double));
  return w->q_beta;
}

elbo_status lmm_e_step(void *work) {
  lmm_work *w = (lmm_work *)work;
  if (!w->q_next_valid) {
    const elbo_status status = lmm_find_exact(w);
    if (status != ELBO_OK) return status;
  }
  swap(&w->q, &w->q_next);
  swap(&w->q_root, &w->q_next_root);
  swap(&w->q_beta, &w->q_next_beta);
  swap(&w->q_C, &w->q_next_C);
  w->q_log_det = w->q_next_log_det;
  if (has_smooth(w)) lmm_smooth_e_step(w);
  w->q_next_valid = 0;
  w->q_is_exact = 1;
  lmm_set_origin(w,
                 lmm_mean_coefficients(w)); /* residuals at the coefficients that E u belongs to */
  summarise(w);
  return ELBO_OK;
}

/* E_q |y - X beta - Z u|^2 of level l. */
double lmm_expected_square(lmm_work *w, int l) {
  const size_t size = square(w->stats->p + 1);
  const double *beta = lmm_mean_coefficients(w);
  return residual_square(w->residual + (size_t)l * size, from_origin(w, beta, w->summary_origin),
                         w->stats->p) +
         w->trace[l];
}
