/* The objective as a function of (Sigma, variance). */
#ifndef ELBO_GLMM_OBJECTIVE_H
#define ELBO_GLMM_OBJECTIVE_H

#include "glmm/types.h"

/* Objective at the current Sigma and variance; beta (p) and C (p x p: (X'V^-1X)^-1) profiled out
 * unless `beta_given`.  Coefficients of smooth terms are always at their best. */
elbo_status lmm_objective(lmm_work *work, int beta_given, double *beta, double *C, double *value);
/* [X r]' V^{-1} [X r] (lower) into work->cross, r = y - X origin, and log |V| at a root of Sigma,
 * terms without a law projected out of the one and joined to the other. */
elbo_status lmm_evaluate(lmm_work *work, const double *root, const double *variance,
                         double *log_det);
/* The root of Sigma = 0, and variances of one into work->variance. */
double *lmm_nothing_random(lmm_work *work);
/* Covariance of q(beta) under the mean field, (sum_l X'X_l / v_l + prior)^{-1}, and log |C|. */
elbo_status lmm_mean_field_C(const lmm_work *work, const double *variance, double *C,
                             double *log_det);

#endif
