/* The mixture of curves: of each design and component the factor of V^{-1}, and the constant of the
 * log density. */
#include "math/la.h"
#include "mixture/curves_factor.h"

/* V = S Gamma S' + variance I, m x m. */
static void covariance_of(const curves *w, const curve_design *d, int j, double *V) {
  const int m = d->m, q = w->spec.q;
  const double *Gamma = gamma_at(w, gamma_of(w, j));
  la_multiply(d->S, Gamma, m, q, q, w->three);
  la_multiply_t(w->three, d->S, m, q, m, V);
  for (int a = 0; a < m; a++) V[a + m * a] += w->variance[sigma_of(w, j)];
}

/* out (m x n) = M X, M lower triangular by row. */
void curves_lower_times(const double *M, const double *X, int m, int n, double *out) {
  for (int c = 0; c < n; c++)
    for (int a = 0; a < m; a++) {
      double sum = 0.0;
      for (int b = 0; b <= a; b++) sum += M[b + m * a] * X[b + m * c];
      out[a + m * c] = sum;
    }
}

/* image (m x p) = M R, and image Cov(beta_j) = M R Cov(beta_j). */
void curves_spread_of_mean(const curves *w, const curve_design *d, int j, double *image,
                           double *image_cov) {
  const int m = d->m, p = w->spec.p;
  curves_lower_times(d->M + square(m) * (size_t)j, d->R, m, p, image);
  la_multiply(image, w->beta_cov + square(p) * (size_t)j, m, p, p, image_cov);
}

/* tr(R'V^{-1}R Cov(beta_j)). */
static double uncertainty_of_mean(const curves *w, const curve_design *d, int j) {
  double sum = 0.0;
  if (w->beta_cov == NULL) return 0.0;
  curves_spread_of_mean(w, d, j, w->three, w->four);
  for (int a = 0; a < d->m * w->spec.p; a++) sum += w->three[a] * w->four[a];
  return sum;
}

/* Constants: with Omega = E[Gamma^{-1}], tau = E[1/sigma^2], the integral over u of
 * exp E_q[log p(y, u)] has the determinant |tau S'S + Omega| = |Omega| tau^m |V|; as points,
 * Omega^{-1} = Gamma. */
static elbo_status factor_cell(const curves *w, curve_design *d, int j) {
  const int m = d->m, s = sigma_of(w, j), g = gamma_of(w, j);
  double *M = d->M + square(m) * (size_t)j, *V = w->one;
  covariance_of(w, d, j, V);
  const elbo_status status = la_chol(V, m);
  if (status != ELBO_OK) return status;
  la_lower_inverse(V, m, w->two);
  for (int a = 0; a < m; a++)
    for (int b = 0; b < m; b++) M[b + m * a] = w->two[a + m * b];
  la_multiply(d->R, w->beta + w->spec.p * j, m, w->spec.p, 1, d->centre + m * j);
  d->constant[j] = d->half_log_weight + d->n_row * log(w->y_scale) -
                   0.5 * (d->n_row * (LOG_2PI + w->log_variance[s]) + m * -log(w->variance[s]) +
                          la_log_det_from_chol(V, m) + w->excess[g] + uncertainty_of_mean(w, d, j));
  return ELBO_OK;
}

static elbo_status factor_all(const curves *w) {
  elbo_status status = ELBO_OK;
  for (int d = 0; d < w->n_design && status == ELBO_OK; d++)
    for (int j = 0; j < w->spec.k && status == ELBO_OK; j++)
      status = factor_cell(w, w->design + d, j);
  return status;
}

/* Residuals that are smaller beside the response are rounding. */
elbo_status curves_factor(const curves *w, int *component) {
  const double least = w->sigma_prior.family == SD_INVERSE_GAMMA ? 0.0 : 1e-25 * w->spread;
  for (int s = 0; s < w->n_sigma; s++) {
    if (!sigma_free(w, s) || w->variance[s] > least) continue;
    if (!w->spec.linear.common_sigma) *component = s;
    return isnan(w->variance[s]) ? ELBO_E_NOT_FINITE : ELBO_E_UNBOUNDED;
  }
  return factor_all(w);
}
