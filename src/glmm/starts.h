/* Least squares, and where ascents start. */
#ifndef ELBO_GLMM_STARTS_H
#define ELBO_GLMM_STARTS_H

#include "glmm/types.h"

/* Least squares with latent variables left out (those without a law in) into work->beta; the mean
 * squares it leaves and explains. */
elbo_status lmm_least_squares(lmm_work *work, double *mean_square, double *explained);
/* Whether X explains nearly all of y, or of y within the groups of a level, so that cross-products
 * of the two say little of the residuals: below LMM_LOST of it is left. Then work->beta are
 * coefficients that leave so little. */
#define LMM_LOST 1e-6
int lmm_lost_digits(lmm_work *work);
/* The first n_starts (at most LMM_STARTS) starting points from moments, eta (n_eta x n_starts), and
 * their objectives, -Inf where there is none.  LMM_STARTS_SIMPLE of them differ in the ratio of
 * variances only; a single one is where the solver finds it by moments, if it does.
 * With a residual variance for each level the likelihood has local maxima, so that more than one
 * is worth climbing. */
enum { LMM_STARTS = 18, LMM_STARTS_SIMPLE = 3 };
elbo_status lmm_starts(lmm_work *work, int n_starts, double *eta, double *objective);

#endif
