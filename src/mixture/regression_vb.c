#include "mixture/regression_vb.h"

#include "law/exponential_family.h"
#include "math/digamma.h"
#include "math/la.h"
#include "mixture/regression_coordinates.h"
#include "mixture/regression_gaussian.h"
#include "mixture/regression_q.h"

/* ---- the state ------------------------------------------------------------------------------- */

static elbo_status restore(void *work, int *component) {
  (void)component;
  regression_get_q((const regression *)work);
  return ELBO_OK;
}

/* A constant sigma has shape Inf. */
static elbo_status prepare(void *work, int *component) {
  regression *w = (regression *)work;
  const int p = w->spec.p, k = w->spec.k;
  memcpy(w->root, w->V, square(p) * (size_t)k * sizeof(double));
  for (int i = 0; i < p * k; i++)
    if (!isfinite(w->gamma[i])) return ELBO_E_NOT_FINITE;
  for (int j = 0; j < k; j++)
    if (la_chol(w->root + p * p * j, p) != ELBO_OK) return ELBO_E_NOT_PD;
  for (int s = 0; s < w->n_sigma; s++) {
    const double rate = w->rate[s] * w->y_scale * w->y_scale, shape = w->shape[s];
    w->precision[s] = sigma_free(w, s) ? shape / rate : 1.0 / rate;
    w->log_variance[s] = log(rate) - (sigma_free(w, s) ? math_digamma(shape) : 0.0);
  }
  return w->n_sigma > 0 ? regression_gaussian_prepare(w, component) : ELBO_OK;
}

static double sigma_minus_kl(const regression *w, int s) {
  return law_half_t_minus_kl(w->sigma_prior.df, w->sigma_prior.scale, w->shape[s],
                             w->rate[s] * w->y_scale * w->y_scale);
}

static double log_prior(const void *work) {
  const regression *w = (const regression *)work;
  const int p = w->spec.p;
  double sum = 0.0;
  for (int j = 0; j < w->spec.k; j++)
    sum += regression_minus_kl(w, w->gamma + p * j, w->V + p * p * j, w->root + p * p * j);
  for (int s = 0; s < w->n_sigma; s++)
    if (sigma_free(w, s)) sum += sigma_minus_kl(w, s);
  return sum;
}

/* ---- natural parameters ---------------------------------------------------------------------- */

/* eta: for each component those of q(gamma_j); then, where free, of (log x, 1/x), x = (y_scale
 * sigma)^2. */
static void pack(const void *work, double *eta) {
  const regression *w = (const regression *)work;
  for (int j = 0; j < w->spec.k; j++, eta += law_normal_size(w->spec.p))
    regression_natural_q(w, j, eta);
  for (int s = 0; s < w->n_sigma; s++) {
    if (!sigma_free(w, s)) continue;
    *eta++ = -(w->shape[s] + 1.0);
    *eta++ = -w->rate[s] * w->y_scale * w->y_scale;
  }
}

static elbo_status unpack(void *work, const double *eta) {
  const regression *w = (const regression *)work;
  for (int j = 0; j < w->spec.k; j++, eta += law_normal_size(w->spec.p)) {
    const elbo_status status = law_normal_from_natural(w->spec.p, eta, w->trial, w->trial_V);
    if (status != ELBO_OK) return status;
    regression_set_q(w, j, w->trial, w->trial_V);
  }
  for (int s = 0; s < w->n_sigma; s++) {
    if (!sigma_free(w, s)) continue;
    w->shape[s] = -*eta++ - 1.0;
    w->rate[s] = -*eta++ / (w->y_scale * w->y_scale);
    if (!(w->shape[s] > 0.0) || !(w->rate[s] > 0.0)) return ELBO_E_NOT_PD;
  }
  return ELBO_OK;
}

static void moments(const void *work, double *m) {
  const regression *w = (const regression *)work;
  const int p = w->spec.p;
  for (int j = 0; j < w->spec.k; j++, m += law_normal_size(p))
    law_normal_moments(p, w->gamma + p * j, w->V + p * p * j, m);
  for (int s = 0; s < w->n_sigma; s++) {
    if (!sigma_free(w, s)) continue;
    *m++ = w->log_variance[s];
    *m++ = w->precision[s];
  }
}

static void theta(const void *work, double *out) {
  const regression *w = (const regression *)work;
  const int n = w->spec.p * w->spec.k;
  memcpy(out, w->beta, (size_t)n * sizeof(double));
  for (int s = 0; s < w->n_sigma; s++)
    out[n + s] = sigma_free(w, s) ? law_mean_sd(w->shape[s], w->rate[s]) : sqrt(w->rate[s]);
}

/* ---- construction ---------------------------------------------------------------------------- */

/* gamma = 0 with about the covariance that the rows, were they one component's, would leave. */
static elbo_status start(regression *w) {
  const int p = w->spec.p, n = w->spec.units.n_row;
  double *x = w->trial;
  memcpy(w->A, w->prior_precision, square(p) * sizeof(double));
  for (int i = 0; i < n; i++) {
    regression_load(w, i, 1, 1, x);
    for (int a = 0; a < p; a++)
      for (int b = 0; b < p; b++) w->A[a + p * b] += x[a] * x[b];
  }
  elbo_status status = la_chol(w->A, p);
  if (status == ELBO_OK) status = la_inverse_from_chol(w->A, p);
  if (status != ELBO_OK) return status;
  for (int j = 0; j < w->spec.k; j++) regression_set_q(w, j, w->zeros, w->A);
  for (int s = 0; s < w->n_sigma; s++) {
    const double constant = w->sigma_constant[s];
    w->shape[s] = sigma_free(w, s) ? 0.5 * (w->sigma_prior.df + n) : HUGE_VAL;
    w->rate[s] = sigma_free(w, s) ? w->shape[s] * w->spread : constant * constant;
    w->rate[s] /= w->y_scale * w->y_scale;
  }
  return ELBO_OK;
}

elbo_status regression_vb(mixture_part *part, regression *w) {
  part->n_eta = law_normal_size(w->spec.p) * w->spec.k + 2 * n_free_sigma(w);
  part->restore = restore;
  part->prepare = prepare;
  part->log_prior = log_prior;
  part->pack = pack;
  part->unpack = unpack;
  part->moments = moments;
  part->theta = theta;
  return start(w);
}
