/* What priors of the sds and correlations of a latent term add to an objective, as a function of
 * its covariance S (q x q); a residual variance is a term of order one.
 *
 * Where they are points that is log p(sds) + log p(correlations), the sds' a function of the
 * variances alone, and lkj(eta) (eta - 1) log |R| and a constant (densities on the scale of the sd,
 * so that a flat prior is flat there).
 *
 * Under variational Bayes S is E[Sigma^{-1}]^{-1}, and it is all of the ELBO that is not marginal
 * likelihood at S.  Half-t priors, the default, in closed form: Huang & Wand (2013): Sigma | a ~
 * inverse Wishart(nu + q - 1, 2 nu diag(1/a)) with a_k ~ inverse gamma(1/2, 1/A_k^2) makes each sd
 * half-t(nu, A_k).  With factors q(Sigma) q(a), and n units that Sigma speaks of (groups, or rows),
 * the best q(Sigma) is inverse Wishart(d, B) with d = n + nu + q - 1 whatever the data, so it is
 * known by S = B / d; with q(a) at its best,
 *
 *   h(S) = -(nu + q - 1)/2 log |S| - (nu + q)/2 sum_k log c_k,  c_k = nu (S^{-1})_kk + 1/A_k^2.
 *
 * Any other prior (law/scale_factor.h): q(Sigma) is inverse Wishart too, d at its best for each S,
 * and h(S) the phi there.
 *
 * Derivatives are by the entries of S in the direction E = e_a e_b' + e_b e_a' (a > b), or
 * e_a e_a', which are packed by row; place says where each is among n: it is added to
 * gradient[place] (n) and hessian (n x n, lower); -1: nowhere. */
#ifndef ELBO_LAW_LATENT_PRIOR_H
#define ELBO_LAW_LATENT_PRIOR_H

#include "law/latent_law.h"
#include "law/sd_prior.h"
#include "math/status.h"

typedef struct {
  int q;
  const int *family;        /* q: sd_family */
  const double *df, *scale; /* q; half-t of a covariance share their df */
  double lkj;               /* eta of the correlations; NaN: none said, by variational Bayes what
                             * half-t priors give */
  double n;                 /* variational Bayes: units */
  int common;               /* points: the sds are one, and its prior counts once */
} latent_prior;

elbo_status latent_prior_point(const latent_prior *prior, const double *S, double *value);
/* The sizes of what is added up to it; S has a log density. */
double latent_prior_point_size(const latent_prior *prior, const double *S);
elbo_status latent_prior_point_slopes(const latent_prior *prior, const double *S, const int *place,
                                      int n, double *gradient, double *hessian);

elbo_status latent_prior_bound(const latent_prior *prior, const double *S, double *value);
double latent_prior_bound_size(const latent_prior *prior, const double *S);
elbo_status latent_prior_bound_slopes(const latent_prior *prior, const double *S, const int *place,
                                      int n, double *gradient, double *hessian);
/* Whether q(Sigma) has its best in closed form given E sum u u' = second; and that S. */
int latent_prior_closed(const latent_prior *prior);
elbo_status latent_prior_update(const latent_prior *prior, const double *S, const double *second,
                                double *out);
/* The degrees of freedom d, minus the second derivative of the ELBO by them, how they follow the
 * logarithms of the diagonal of S (q). */
elbo_status latent_prior_df(const latent_prior *prior, const double *S, double *d,
                            double *information, double *slope);

#endif
