#include "mixture/regression_gaussian_em.h"

#include "math/la.h"
#include "mixture/regression_coordinates.h"
#include "mixture/regression_gaussian.h"

enum { SIGMA_STEPS = 100 };

/* The best gamma_j at variance x solves (A + x P) (gamma - origin) = b + x (h - P origin). */
static void best_gamma(const regression *w, const double *stat, int j, double x) {
  const int p = w->spec.p;
  const double *from = stat_origin(w, stat, j);
  regression_normal_equations(w, stat, j, w->A, w->linear);
  if (w->n_proper > 0) {
    multiply(w->prior_precision, from, p, w->step);
    for (int a = 0; a < p; a++) w->linear[a] += x * (w->prior_linear[a] - w->step[a]);
    for (int a = 0; a < p * p; a++) w->A[a] += x * w->prior_precision[a];
  }
  la_solve_semidefinite(w->A, w->linear, p, w->unit, w->L, w->inverse, w->step);
  for (int a = 0; a < p; a++) w->gamma[a + p * j] = from[a] + w->step[a];
}

/* With priors on coefficients these and the variance wait for each other: both to the end, as an
 * iteration costs no pass over the rows. */
static elbo_status m_step(void *work, const double *stat, const double *r, int *component) {
  regression *w = (regression *)work;
  (void)r;
  (void)component;
  for (int s = 0; s < w->n_sigma; s++) {
    double x = 1.0 / w->precision[s];
    for (int step = 0; step < SIGMA_STEPS; step++) {
      double n = 0.0, S = 0.0;
      for (int j = sigma_first(w, s); j < sigma_last(w, s); j++) {
        best_gamma(w, stat, j, x);
        n += stat_cross(w, stat, j)[0];
        S += regression_square(w, stat, j);
      }
      if (!sigma_free(w, s) || !(n > 0.0)) break;
      const double before = x;
      x = sd_prior_mode(&w->sigma_prior, n, S);
      if (w->n_proper == 0 || fabs(x - before) <= 1e-14 * x) break;
    }
    w->sigma[s] = (sigma_free(w, s) ? sqrt(x) : w->sigma_constant[s]) / w->y_scale;
  }
  for (int j = 0; j < w->spec.k; j++) regression_set_gamma(w, j, w->gamma + w->spec.p * j);
  return ELBO_OK;
}

static elbo_status gradient(void *work, const double *stat, const double *r, double *out) {
  const regression *w = (const regression *)work;
  const int p = w->spec.p, k = w->spec.k;
  (void)r;
  for (int j = 0; j < k; j++) {
    const double *gamma = w->gamma + p * j, *from = stat_origin(w, stat, j);
    const double precision = w->precision[sigma_of(w, j)];
    regression_normal_equations(w, stat, j, w->A, w->linear);
    for (int a = 0; a < p; a++) w->trial[a] = gamma[a] - from[a];
    multiply(w->A, w->trial, p, w->step);
    multiply(w->prior_precision, gamma, p, w->trial);
    for (int a = 0; a < p; a++)
      *out++ = precision * (w->linear[a] - w->step[a]) + w->prior_linear[a] - w->trial[a];
  }
  for (int s = 0; s < w->n_sigma; s++) {
    if (!sigma_free(w, s)) continue;
    const double x = 1.0 / w->precision[s];
    double by_x;
    sd_prior_log_density(&w->sigma_prior, x, &by_x);
    *out = 2.0 * x * by_x;
    for (int j = sigma_first(w, s); j < sigma_last(w, s); j++)
      *out += regression_square_told(w, stat, j) / x - stat_cross(w, stat, j)[0];
    out++;
  }
  return ELBO_OK;
}

void regression_gaussian_em(mixture_part *part, const regression *w) {
  part->m_step = m_step;
  if (w->spec.method == MIXTURE_EM) part->gradient = gradient;
}
