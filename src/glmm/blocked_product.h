/* Products with the levels of all factors: one long vector, factor after factor, level after level,
 * the terms of each. */
#ifndef ELBO_GLMM_BLOCKED_PRODUCT_H
#define ELBO_GLMM_BLOCKED_PRODUCT_H

#include "glmm/types.h"

int lmm_blocked_levels(const glmm_solver *solver); /* its length, n */
/* out (n x k, by row) = S in, S = Var(u | y, beta) = (Sigma^{-1} + Z'D^{-1}Z)^{-1} where the solver
 * is, or (!inverse) Z'D^{-1}Z in.  work: 2 n k. */
void lmm_blocked_product(const glmm_solver *solver, int inverse, int k, const double *in,
                         double *out, double *work);
/* tr(V^{-1} dV_i V^{-1} dV_j) (n x n) by the parameters of the point, where the solver is. */
void lmm_blocked_traces(const glmm_solver *solver, const lmm_point *point, double *T);

#endif
