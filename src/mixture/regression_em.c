#include "mixture/regression_em.h"

#include "mixture/regression_coordinates.h"
#include "mixture/regression_gaussian.h"

static double log_prior(const void *work) {
  const regression *w = (const regression *)work;
  const mixture_regression_spec *spec = &w->spec;
  double sum = 0.0, by_x;
  for (int j = 0; spec->linear.beta_sd && j < spec->k; j++)
    for (int b = 0; b < spec->p; b++) {
      if (isinf(spec->linear.beta_sd[b])) continue;
      const double z =
          (w->beta[b + spec->p * j] - spec->linear.beta_mean[b]) / spec->linear.beta_sd[b];
      sum -= 0.5 * (z * z + LOG_2PI) + log(spec->linear.beta_sd[b]);
    }
  for (int s = 0; s < w->n_sigma && w->sigma_prior.family != SD_FLAT; s++)
    if (sigma_free(w, s))
      sum += sd_prior_log_density(&w->sigma_prior, 1.0 / w->precision[s], &by_x) + log(w->y_scale);
  return sum;
}

static elbo_status restore(void *work, int *component) {
  (void)component;
  regression_get_gamma((regression *)work);
  return ELBO_OK;
}

static elbo_status prepare(void *work, int *component) {
  regression *w = (regression *)work;
  for (int i = 0; i < w->spec.p * w->spec.k; i++)
    if (!isfinite(w->gamma[i])) return ELBO_E_NOT_FINITE;
  for (int s = 0; s < w->n_sigma; s++) {
    const double sigma = w->sigma[s] * w->y_scale;
    w->precision[s] = 1.0 / (sigma * sigma);
    w->log_variance[s] = 2.0 * log(sigma);
  }
  return w->n_sigma > 0 ? regression_gaussian_prepare(w, component) : ELBO_OK;
}

/* eta: gamma (p x k), then log of y_scale sigma where free. */
static void pack(const void *work, double *eta) {
  const regression *w = (const regression *)work;
  const int n = w->spec.p * w->spec.k;
  memcpy(eta, w->gamma, (size_t)n * sizeof(double));
  eta += n;
  for (int s = 0; s < w->n_sigma; s++)
    if (sigma_free(w, s)) *eta++ = 0.5 * w->log_variance[s];
}

static elbo_status unpack(void *work, const double *eta) {
  regression *w = (regression *)work;
  const int p = w->spec.p;
  for (int j = 0; j < w->spec.k; j++, eta += p) {
    for (int a = 0; a < p; a++) w->trial[a] = is_held(w, j, a) ? w->gamma[a + p * j] : eta[a];
    regression_set_gamma(w, j, w->trial);
  }
  for (int s = 0; s < w->n_sigma; s++) {
    if (!sigma_free(w, s)) continue;
    w->sigma[s] = exp(*eta++) / w->y_scale;
    if (!(w->sigma[s] > 0.0) || !isfinite(w->sigma[s])) return ELBO_E_NOT_PD;
  }
  return ELBO_OK;
}

static void theta(const void *work, double *theta) {
  const regression *w = (const regression *)work;
  const int n = w->spec.p * w->spec.k;
  memcpy(theta, w->beta, (size_t)n * sizeof(double));
  for (int s = 0; s < w->n_sigma; s++) theta[n + s] = w->sigma[s];
}

/* Linear predictor zero, or at the mean of gaussian rows; sigma that of their spread. */
static void start(regression *w) {
  for (int j = 0; j < w->spec.k; j++) regression_set_gamma(w, j, w->zeros);
  for (int s = 0; s < w->n_sigma; s++)
    w->sigma[s] = (sigma_free(w, s) ? sqrt(w->spread) : w->sigma_constant[s]) / w->y_scale;
}

void regression_em(mixture_part *part, regression *w) {
  part->n_eta = w->spec.p * w->spec.k + n_free_sigma(w);
  part->restore = restore;
  part->prepare = prepare;
  part->log_prior = log_prior;
  part->pack = pack;
  part->unpack = unpack;
  part->theta = theta;
  start(w);
}
