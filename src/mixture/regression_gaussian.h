/* Gaussian rows of the mixture of regressions: densities and statistics, under every method. */
#ifndef ELBO_MIXTURE_REGRESSION_GAUSSIAN_H
#define ELBO_MIXTURE_REGRESSION_GAUSSIAN_H

#include "mixture/regression_inside.h"

/* Statistics: for each component the cross-products of t = (1, x~, e), times the root of the
 * weight, with e = y~ - x~' gamma_j the residual at the parameters of the pass: they lose no digits
 * however good the fit.  Then these gamma (p x k), and sum_ij r_ij log(weight_i) / 2. */
static inline const double *stat_cross(const regression *w, const double *stat, int j) {
  return stat + packed_size(w->spec.p + 2) * (size_t)j;
}
static inline const double *stat_origin(const regression *w, const double *stat, int j) {
  return stat + packed_size(w->spec.p + 2) * (size_t)w->spec.k + (size_t)w->spec.p * (size_t)j;
}
/* sum r x~ x~' (p x p) to A and sum r x~ e to b. */
void regression_normal_equations(const regression *w, const double *stat, int j, double *A,
                                 double *b);
/* sum_i r_ij weight_i E (y~ - x~' gamma_j)^2 */
double regression_square(const regression *w, const double *stat, int j);
/* The same, affine in the statistics: what may be below zero by rounding, or as they are not of
 * rows. */
double regression_square_told(const regression *w, const double *stat, int j);
/* Rows and E of the squares of their residuals, of the components that share sigma s. */
void regression_residual_sums(const regression *w, const double *stat, int s, double *n, double *S);

/* From gamma, precision (and root) to what log_density needs; ELBO_E_UNBOUNDED where a free sigma
 * has vanished. */
elbo_status regression_gaussian_prepare(regression *w, int *component);
void regression_gaussian(mixture_part *part, const regression *w);

#endif
