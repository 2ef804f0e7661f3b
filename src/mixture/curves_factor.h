/* The factors of V^{-1}: mixture/curves_factor.c. */
#ifndef ELBO_MIXTURE_CURVES_FACTOR_H
#define ELBO_MIXTURE_CURVES_FACTOR_H

#include "mixture/curves_inside.h"

/* Factors of all designs and components; ELBO_E_UNBOUNDED where a residual variance has
 * vanished. */
elbo_status curves_factor(const curves *w, int *component);
/* out (m x n) = M X, M lower triangular by row. */
void curves_lower_times(const double *M, const double *X, int m, int n, double *out);
/* image (m x p) = M R, and image Cov(beta_j) = M R Cov(beta_j). */
void curves_spread_of_mean(const curves *w, const curve_design *d, int j, double *image,
                           double *image_cov);

#endif
