/* Priors of points: what log p(theta) adds to an objective, in the caller's units. */
#ifndef ELBO_GENERAL_PRIOR_H
#define ELBO_GENERAL_PRIOR_H

#include "general/types.h"
#include "law/latent_prior.h"

typedef struct {
  const double *beta_mean, *beta_sd; /* p: normal; sd Inf: flat */
  const int *family;                 /* q: sd_family of the sds; NULL: nothing is said of them */
  const double *df, *scale;          /* q */
  const double *lkj; /* n_block: eta of the correlations, NaN where nothing is said */
} general_prior;

/* work: p. */
elbo_status general_prior_value(const general_prior *prior, const general_parameters *par,
                                const double *theta, double *value, double *work);
/* Added to gradient (n_theta) and, where it is not NULL, hessian (n_theta x n_theta).
 * work: p^2 + 2 p. */
elbo_status general_prior_slopes(const general_prior *prior, const general_parameters *par,
                                 const double *theta, double *gradient, double *hessian,
                                 double *work);
/* Of block b: S (q x q) = D Sigma D in the caller's units, and the prior of its sds. */
latent_prior general_prior_block(const general_prior *prior, const general_parameters *par,
                                 const double *theta, int b, double *S);
/* Derivatives by the entries of that S (packed, by_SS lower) to those by eta, added to gradient
 * (n_theta) and, where it is not NULL, hessian (n_theta x n_theta). */
void general_chain_block(const general_parameters *par, const double *theta, int b,
                         const double *by_S, const double *by_SS, double *gradient,
                         double *hessian);

#endif
