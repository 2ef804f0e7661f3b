/* Variances of latent variables of several factors, entry by entry. */
#ifndef ELBO_GLMM_BLOCKED_SPREAD_H
#define ELBO_GLMM_BLOCKED_SPREAD_H

#include "glmm/types.h"

/* Entries of matrices of all levels together, as math/blocked_product.h has them: i and j (n). */
typedef struct {
  size_t n;
  const int *i, *j;
} level_entries;

/* T S T', S = Var(u | y, beta), T (q x q) among the terms of a level, where the solver is; NAN
 * where an entry is not on the pattern of the factor, as that of levels without a row in common. */
void lmm_blocked_spread(const glmm_solver *solver, const double *T, const level_entries *entries,
                        double *out);
/* What it adds that parameters psi are estimated: entries of Sigma in pairs and residual variances,
 * n in all, with covariance A and bias b:
 *   T (2 sum_kl A_kl Cov(du / dpsi_k, du / dpsi_l) - sum_k b_k dS / dpsi_k) T'. */
elbo_status lmm_blocked_excess(const glmm_solver *solver, const lmm_point *point, const double *T,
                               const double *A, const double *b, const level_entries *entries,
                               double *out, const elbo_memory *mem);

#endif
