#include "mixture/regression_q.h"

#include "law/exponential_family.h"
#include "mixture/regression_coordinates.h"

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

void regression_get_q(const regression *w) {
  const int pp = w->spec.p * w->spec.p;
  regression_get_gamma(w);
  for (int j = 0; j < w->spec.k; j++)
    congruence(w->B_inverse, w->cov + pp * j, w->spec.p, w->inverse, w->V + pp * j);
}
