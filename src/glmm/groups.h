/* The solver of one grouping factor: its kernels, one table an instruction set, and its q. */
#ifndef ELBO_GLMM_GROUPS_H
#define ELBO_GLMM_GROUPS_H

#include "glmm/types.h"

extern const lmm_kernels lmm_kernels_plain, lmm_kernels_avx2, lmm_kernels_avx512;
const lmm_kernels *lmm_kernels_current(void);

/* The back end of independent groups for these statistics, n_pair entries of Sigma being asked
 * for. */
void lmm_groups_solver(glmm_solver *solver, const lmm_stats *stats, int n_pair,
                       const elbo_memory *mem);

/* q(b), where u = root b: per block q (means), q x q (U, upper, by lmm_covariance_root()), q x p
 * (gain: -d mean / d beta), by lanes.  The root is that of Sigma when q was made, with the identity
 * for terms without a law. */
size_t lmm_posterior_stride(int q, int p);
/* N (q x q, upper) from the U of a group: the covariance is N N'. U is 1 / norm on the diagonal,
 * and above it what makes N = U_1^{-1} diag(1 / norm), U_1 = U with ones on its diagonal. */
void lmm_covariance_root(int q, const double *U, double *N);

#endif
