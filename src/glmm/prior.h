/* Priors of scales, as points and under variational Bayes, and normal priors of beta. */
#ifndef ELBO_GLMM_PRIOR_H
#define ELBO_GLMM_PRIOR_H

#include "glmm/types.h"

void lmm_prior_map(lmm_prior *prior);
void lmm_prior_vb(lmm_prior *prior, const lmm_parameters *par);
/* Of the coefficients alone. */
void lmm_prior_beta_only(lmm_prior *prior);
/* Under variational Bayes the degrees of freedom d of each factor q (n_block + n_level; NaN: held),
 * the curvature of the ELBO in them, and how they follow the logarithms of the diagonal of S (q +
 * n_level). */
void lmm_prior_df(const lmm_prior *prior, const lmm_parameters *par, const double *Sigma,
                  const double *variance, double *df, double *information, double *slope);
/* Independent normal priors of beta (mean, sd: p; sd infinite where flat) where
 * beta = B (scaled beta) + origin. */
void lmm_prior_set_beta(lmm_prior *prior, int p, const double *B, const double *origin,
                        const double *mean, const double *sd);

#endif
