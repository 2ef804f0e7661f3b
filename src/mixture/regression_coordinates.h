/* The coordinates of the mixture of regressions (mixture/regression_inside.h), there and back. */
#ifndef ELBO_MIXTURE_REGRESSION_COORDINATES_H
#define ELBO_MIXTURE_REGRESSION_COORDINATES_H

#include "mixture/regression_inside.h"

/* Fills centre, scale, reach, y_centre, y_scale, spread, B, B_inverse and origin. */
void regression_coordinates(regression *w);

/* Rows row .. row + n - 1 to a block (ld x p) of x~, times the root of the weight where there is
 * one; padded with copies of the last row. */
void regression_load(const regression *w, int row, int n, int ld, double *block);

/* gamma_j (p), and its image in the field; and gamma (p x k) back from the field. */
void regression_set_gamma(const regression *w, int j, const double *gamma);
void regression_get_gamma(const regression *w);

#endif
