/* q(Sigma) = inverse Wishart(d, d S) of order q under any prior of standard deviations and
 * correlations, d at its best.
 *
 * Under variational Bayes the latent variables (n units) see no more of q(Sigma) than S =
 * E[Sigma^{-1}]^{-1}, and the ELBO is the log marginal likelihood at S plus
 *
 *   phi(S, d) = E log p(Sigma) - E log q(Sigma) - n (E log |Sigma| - log |S|) / 2.
 *
 * With independent priors of the sds and lkj(eta) of the correlations
 *
 *   p(Sigma) = c prod_k p(sd_k) (2 sd_k^q)^{-1} |R|^{eta - 1},
 *
 * and since Sigma_kk is inverse gamma((d - q + 1) / 2, d S_kk / 2), all of phi is a sum of closed
 * forms, and for half-t priors of integrals of one dimension, in log |S|, log S_kk and d. */
#ifndef ELBO_LAW_SCALE_FACTOR_H
#define ELBO_LAW_SCALE_FACTOR_H

#include "math/status.h"
#include "law/sd_prior.h"

enum { SCALE_MAX_ORDER = 64 };

/* phi at the best d, and its derivatives by t = log |S| and l_k = log S_kk. */
typedef struct {
  double d, value, by_log_det;
  double size; /* of what is added up to the value */
  double by_log[SCALE_MAX_ORDER];
  double curvature[SCALE_MAX_ORDER]; /* d^2 phi / dl_k^2 at fixed d */
  double df_slope[SCALE_MAX_ORDER];  /* dd / dl_k: with it d^2 phi / dl_j dl_k, d at its best, is */
  double df_information;             /* curvature + df_slope_j df_slope_k df_information */
} scale_factor;

/* law: prior of each sd, in the units of S.  ELBO_E_NOT_FINITE where no d is best: a prior that is
 * improper with so few units. */
elbo_status scale_factor_at(int q, double n, const sd_prior *law, double eta, double log_det,
                            const double *log_S, scale_factor *out);

/* The logarithm of what normalises |R|^{eta - 1} over correlation matrices of order q. */
double lkj_log_constant(int q, double eta);

#endif
