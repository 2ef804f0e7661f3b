/* What mixtures of regressions and of curves share: the laws of coefficients and of the residual
 * standard deviation, and the units of rows. */
#ifndef ELBO_MIXTURE_LINEAR_H
#define ELBO_MIXTURE_LINEAR_H

#include "law/sd_prior.h"
#include "mixture/arguments.h"

typedef struct {
  int common_sigma;                  /* one sigma for all components */
  const double *sigma_constant;      /* k (1 if common): NaN where free; or NULL: all free */
  const double *beta_mean, *beta_sd; /* p: normal laws, sd Inf where flat; or NULL */
  int sigma_family;                  /* an sd_family: the law of a free sigma */
  double sigma_df, sigma_scale;
} linear_priors;

linear_priors linear_read(const mixture_arguments *from, int p, int k);

/* The law of y_scale sigma, and the sds held (n; NaN where free), of y_scale y. */
sd_prior linear_sigma_prior(const linear_priors *w, double y_scale);
void linear_sigma_constants(const linear_priors *w, int n, double y_scale, double *out);

/* The first of the columns of X (n x p) that is one number throughout, and not zero; or -1. */
int linear_intercept(const double *X, int n, int p);

/* A power of two that brings the root mean square of x - centre near one.  Numbers from 1e-150 to
 * 1e150 are squared only once they are near one themselves. */
double linear_scale(const double *x, int n, double centre);

/* y~ = (y - offset - centre) scale; spread: the mean of weight y~^2, or one where that is zero (of
 * a single new row, say). */
typedef struct {
  double centre, scale, spread;
} linear_units;

/* The centre is the mean of y - offset, or zero.  offset and weights may be NULL. */
linear_units linear_response(const double *y, const double *offset, const double *weights, int n,
                             int centred);

#endif
