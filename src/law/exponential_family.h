/* Laws that parameters have a priori, or that factors of q(theta) are: natural parameters,
 * expectations, divergences.  Matrices by column; a packed lower triangle is by row.
 *
 * For eta'T to be right with T a lower triangle, off-diagonal natural parameters count twice. */
#ifndef ELBO_LAW_EXPONENTIAL_FAMILY_H
#define ELBO_LAW_EXPONENTIAL_FAMILY_H

#include "math/status.h"

/* Normal of n dimensions, T = (x, lower triangle of x x'): n + n (n + 1) / 2 natural parameters. */
int law_normal_size(int n);
/* From the precision matrix and precision times mean. */
void law_normal_natural(int n, const double *precision, const double *linear, double *eta);
/* To mean and covariance; ELBO_E_NOT_PD where eta are no such parameters. */
elbo_status law_normal_from_natural(int n, const double *eta, double *mean, double *cov);
void law_normal_moments(int n, const double *mean, const double *cov, double *m);

/* Inverse Wishart of order n, T = (log |X|, lower triangle of X^{-1}): 1 + n (n + 1) / 2.  Density
 * proportional to |X|^{-(df + n + 1) / 2} exp(-tr(S X^{-1}) / 2); of order 1 it is inverse
 * gamma(df / 2, S / 2).  work: n x n. */
int law_wishart_size(int n);
void law_wishart_natural(int n, double df, const double *S, double *eta);
elbo_status law_wishart_from_natural(int n, const double *eta, double *df, double *S, double *work);
void law_wishart_moments(int n, double df, const double *S, double *m, double *work);
/* The logarithm of what normalises the density, from log |S|. */
double law_wishart_log_constant(int n, double df, double log_det_S);
/* E log |X| - log |E[X^{-1}]^{-1}|, E[X^{-1}]^{-1} = S / df. */
double law_wishart_excess(int n, double df);
/* log p(X); -Inf where X is singular.  work: 2 n x n. */
double law_wishart_log_density(int n, double df, const double *S, const double *X, double *work);
/* -KL(inverse Wishart(df, S) || inverse Wishart(df0, S0)).  work: 2 n x n. */
double law_wishart_minus_kl(int n, double df, const double *S, double df0, const double *S0,
                            double *work);
/* E[sqrt x] of inverse gamma(shape, rate): infinite for shape <= 1/2. */
double law_mean_sd(double shape, double rate);
/* E of the correlation of a 2 x 2 inverse Wishart with df n whose scale has correlation r. */
double law_mean_correlation(double n, double r);

/* A half-t law of sigma, scale A, under q(sigma^2) = inverse gamma(shape, rate): sigma^2 | a ~
 * inverse gamma(df / 2, df / a), a ~ inverse gamma(1/2, 1/A^2) (Wand et al. 2011, Bayesian Analysis
 * 6:847), with q(a) at its best. */
/* What the prior gives to the rate, df E[1/a], where E[1/sigma^2] = precision. */
double law_half_t_rate(double df, double scale, double precision);
/* E log p(sigma^2, a) + entropies of q(sigma^2) and q(a). */
double law_half_t_minus_kl(double df, double scale, double shape, double rate);

#endif
