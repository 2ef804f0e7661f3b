/* Sums over the units of a component, and of all: mixture/curves_sums.c. */
#ifndef ELBO_MIXTURE_CURVES_SUMS_H
#define ELBO_MIXTURE_CURVES_SUMS_H

#include "mixture/curves_inside.h"

/* Which of the sums: K and b; the others. */
enum { OF_COEFFICIENTS = 1, OF_VARIANCES = 2 };

/* Of a mixture_part. */
elbo_status curves_expected(const void *work, const double *stat, const double *r, double *value);
double curves_rounding(const void *work, const double *stat);
/* H of w->cell alone. */
void curves_cell_H(const curves *w, const curve_design *d, int j, double *H);
/* sum (n x n) += factor X'X for X m x n. */
void curves_add_crossprod(const double *X, int m, int n, double factor, double *sum);
/* Sums of component j, to w->sums. */
void curves_sums(const curves *w, const double *stat, const double *r, int j, int which);
/* Scores of all components and, by the covariances and sigmas that they share, what these need, to
 * w->totals. */
void curves_collect(const curves *w, const double *stat, const double *r, int which);

#endif
