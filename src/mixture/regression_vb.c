/* Variational Bayes for the mixture of regressions: q(beta_j) normal, q(sigma^2) inverse gamma
 * (shape, rate), with the auxiliary variables of half-t laws at their best (law/exponential_family.h); and, of
 * gaussian rows, the coordinate steps. */
#include "math/digamma.h"
#include "mixture/regression_inside.h"

enum { Q_STEPS = 100 };

/* ---- normal factors -------------------------------------------------------------------------- */

/* precision = (root root')^{-1} */
static void precision_of(int p, const double *root, double *precision) {
  memcpy(precision, root, square(p) * sizeof(double));
  la_inverse_from_chol(precision, p);
}

void regression_natural_q(const regression *w, int j, double *eta) {
  const int p = w->spec.p;
  precision_of(p, w->root + p * p * j, w->inverse);
  multiply(w->inverse, w->gamma + p * j, p, w->step);
  law_normal_natural(p, w->inverse, w->step, eta);
}

double regression_minus_kl(const regression *w, const double *gamma, const double *V,
                           const double *root) {
  const int p = w->spec.p;
  double sum = w->prior_constant + 0.5 * (p + la_log_det_from_chol(root, p));
  sum += dot(w->prior_linear, gamma, p) - 0.5 * la_quadratic(w->prior_precision, gamma, p);
  return sum - 0.5 * dot(w->prior_precision, V, p * p);
}

/* out = L V L' */
static void congruence(const double *L, const double *V, int p, double *work, double *out) {
  la_multiply(L, V, p, p, p, work);
  la_multiply_t(work, L, p, p, p, out);
  fill_upper(out, p);
}

void regression_set_q(const regression *w, int j, const double *gamma, const double *V) {
  const int pp = w->spec.p * w->spec.p;
  regression_set_gamma(w, j, gamma);
  memmove(w->V + pp * j, V, (size_t)pp * sizeof(double));
  congruence(w->B, w->V + pp * j, w->spec.p, w->inverse, w->cov + pp * j);
}

/* ---- the state ------------------------------------------------------------------------------- */

static elbo_status restore(void *work, int *component) {
  const regression *w = (const regression *)work;
  const int pp = w->spec.p * w->spec.p;
  (void)component;
  regression_get_gamma(w);
  for (int j = 0; j < w->spec.k; j++)
    congruence(w->B_inverse, w->cov + pp * j, w->spec.p, w->inverse, w->V + pp * j);
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

/* What the prior gives to the rate of q(sigma^2). */
static double prior_rate(const regression *w, double precision) {
  return law_half_t_rate(w->sigma_prior.df, w->sigma_prior.scale, precision);
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

/* ---- gaussian rows --------------------------------------------------------------------------- */

/* q(gamma_j) at E[1/x] = precision: its precision A and, about the origin of the statistics, b. */
static void conjugate(const regression *w, const double *stat, int j, double precision) {
  const int p = w->spec.p;
  regression_normal_equations(w, stat, j, w->A, w->linear);
  multiply(w->prior_precision, stat_origin(w, stat, j), p, w->step);
  for (int a = 0; a < p; a++)
    w->linear[a] = precision * w->linear[a] + w->prior_linear[a] - w->step[a];
  for (int a = 0; a < p * p; a++) w->A[a] = precision * w->A[a] + w->prior_precision[a];
}

static elbo_status update_gamma(const regression *w, const double *stat, int j, double precision) {
  const int p = w->spec.p;
  const double *from = stat_origin(w, stat, j);
  conjugate(w, stat, j, precision);
  elbo_status status = la_chol(w->A, p);
  if (status == ELBO_OK) status = la_inverse_from_chol(w->A, p);
  if (status != ELBO_OK) return status;
  multiply(w->A, w->linear, p, w->step);
  for (int a = 0; a < p; a++) w->trial[a] = from[a] + w->step[a];
  regression_set_q(w, j, w->trial, w->A);
  return ELBO_OK;
}

/* Rows and E of the squares of their residuals, of the components that share sigma s. */
static void residual_sums(const regression *w, const double *stat, int s, double *n, double *S) {
  *n = *S = 0.0;
  for (int j = sigma_first(w, s); j < sigma_last(w, s); j++) {
    *n += stat_cross(w, stat, j)[0];
    *S += regression_square(w, stat, j);
  }
}

/* Coordinate steps of q(gamma), q(a) and q(sigma^2) in turn, to the end: they cost no pass over the
 * rows. */
static elbo_status m_step(void *work, const double *stat, const double *r, int *component) {
  regression *w = (regression *)work;
  (void)r;
  (void)component;
  for (int s = 0; s < w->n_sigma; s++) {
    double precision = w->precision[s], n, S;
    for (int step = 0; step < Q_STEPS; step++) {
      for (int j = sigma_first(w, s); j < sigma_last(w, s); j++) {
        const elbo_status status = update_gamma(w, stat, j, precision);
        if (status != ELBO_OK) return status;
      }
      if (!sigma_free(w, s)) break;
      residual_sums(w, stat, s, &n, &S);
      const double before = precision, rate = prior_rate(w, precision) + 0.5 * S;
      w->shape[s] = 0.5 * (w->sigma_prior.df + n);
      w->rate[s] = rate / (w->y_scale * w->y_scale);
      precision = w->shape[s] / rate;
      if (fabs(precision - before) <= 1e-12 * precision) break;
    }
  }
  return ELBO_OK;
}

static elbo_status target(void *work, const double *stat, const double *r, double *eta) {
  const regression *w = (const regression *)work;
  const int p = w->spec.p;
  (void)r;
  for (int j = 0; j < w->spec.k; j++, eta += law_normal_size(p)) {
    conjugate(w, stat, j, w->precision[sigma_of(w, j)]);
    multiply(w->A, stat_origin(w, stat, j), p, w->step);
    for (int a = 0; a < p; a++) w->linear[a] += w->step[a];
    law_normal_natural(p, w->A, w->linear, eta);
  }
  for (int s = 0; s < w->n_sigma; s++) {
    double n, S;
    if (!sigma_free(w, s)) continue;
    residual_sums(w, stat, s, &n, &S);
    *eta++ = -(0.5 * (w->sigma_prior.df + n) + 1.0);
    *eta++ = -(prior_rate(w, w->precision[s]) + 0.5 * S);
  }
  return ELBO_OK;
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
  if (w->n_sigma > 0) {
    part->m_step = m_step;
    part->target = target;
  }
  return start(w);
}
