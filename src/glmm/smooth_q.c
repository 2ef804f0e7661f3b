/* q of smooth terms, and what of the ELBO and of the M-step of beta comes from it. */
#include <math.h>
#include <string.h>

#include "glmm/smooth.h"
#include "glmm/smooth_inside.h"

void lmm_smooth_keep(lmm_work *w) {
  lmm_smooth *s = &w->smooth;
  const int p = w->stats->p;
  memcpy(w->q_next_C, s->C, square(p) * sizeof(double));
  memcpy(s->q_next_P, integrates_beta(w) ? s->M_inverse : s->P, square(p) * sizeof(double));
  memcpy(s->q_next_c, s->c, (size_t)p * sizeof(double));
}

void lmm_smooth_e_step(lmm_work *w) {
  lmm_smooth *s = &w->smooth;
  double *c = s->q_c, *P = s->q_P;
  s->q_c = s->q_next_c;
  s->q_P = s->q_next_P;
  s->q_next_c = c;
  s->q_next_P = P;
  memcpy(s->q_sd, s->sd, (size_t)s->n * sizeof(double));
}

/* c of theta = ratio * c of q; without variance c is a dummy, N(0, 1) before and after. */
static double ratio(const lmm_smooth *s, int k) {
  return s->q_sd[k] == 0.0 || s->sd[k] == 0.0 ? 1.0 : s->q_sd[k] / s->sd[k];
}

elbo_status lmm_smooth_elbo(lmm_work *w, double *value) {
  const lmm_smooth *s = &w->smooth;
  const int p = w->stats->p, points = w->method == LMM_JOINT;
  const int n_latent = points ? 0 : integrates_beta(w) ? p : s->n_column;
  double *L = s->scratch;
  memcpy(L, s->q_P, square(p) * sizeof(double));
  if (!points && la_chol(L, p) != ELBO_OK) return ELBO_E_NOT_PD;
  double twice = n_latent * (1.0 + LOG_2PI) - s->n_column * LOG_2PI;
  if (!points) twice += la_log_det_from_chol(L, p);
  for (int k = 0; k < s->n; k++) {
    const double r = ratio(s, k), n = smooth_columns(s, k);
    twice -= r * r * smooth_second(w, k);
    /* In the law of points b, not c, has the density. */
    twice += 2.0 * n * (points ? -log(fabs(s->sd[k] * s->to_user[k])) : log(fabs(r)));
  }
  *value += 0.5 * twice;
  return lmm_smooth_prior(w, value);
}

elbo_status lmm_smooth_divergence(lmm_work *w, const double *exact_beta, const double *exact_c,
                                  const double *exact_P, double *twice) {
  const lmm_smooth *s = &w->smooth;
  const int p = w->stats->p;
  double *from = s->scratch, *to = from + square(p), *r = to + square(p), *shift = r + p;
  double log_det_from, log_det_to;
  for (int j = 0; j < s->first; j++) {
    r[j] = 1.0;
    shift[j] = w->q_beta[j] - exact_beta[j];
  }
  for (int k = 0; k < s->n; k++)
    for (int j = s->start[k]; j < s->start[k + 1]; j++) {
      r[j] = ratio(s, k);
      shift[j] = r[j] * s->q_c[j] - exact_c[j];
    }
  for (int j = 0; j < p; j++)
    for (int k = 0; k < p; k++) from[j + p * k] = r[j] * s->q_P[j + p * k] * r[k];
  memcpy(to, exact_P, square(p) * sizeof(double));
  if (smooth_invert(to, p, &log_det_to) != ELBO_OK) return ELBO_E_NOT_PD;
  for (size_t i = 0; i < square(p); i++) *twice += to[i] * from[i];
  if (la_chol(from, p) != ELBO_OK) return ELBO_E_NOT_PD;
  log_det_from = la_log_det_from_chol(from, p);
  *twice += la_quadratic(to, shift, p) + log_det_to - log_det_from - p;
  return ELBO_OK;
}

void lmm_smooth_hold(const lmm_work *w, double *A, double *b) {
  const int p = w->stats->p, first = w->smooth.first;
  for (int k = first; k < p; k++) {
    const double held = w->q_beta[k] - w->summary_origin[k];
    for (int j = 0; j < first; j++) {
      b[j] -= A[k + p * j] * held;
      A[k + p * j] = 0.0;
    }
    for (int j = first; j <= k; j++) A[k + p * j] = j == k ? 1.0 : 0.0;
    b[k] = held;
  }
}
