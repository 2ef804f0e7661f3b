/* Mixtures of regressions: a row of component j has
 *
 *   gaussian   y ~ N(offset + x' beta_j, sigma_j^2 / weight)
 *   binomial   y ~ binomial(weight, p),   logit p = offset + x' beta_j
 *   poisson    y ~ Poisson(mu),           log mu  = offset + x' beta_j
 *
 * From the top down, in mixture/:
 *
 *   regression.c                memory, priors, fields; which functions serve a family and a method
 *   regression_em.c, _vb.c      what is known under a method: points, or factors
 *   regression_gaussian_em.c, regression_gaussian_vb.c, regression_glm_em.c, regression_glm_vb.c
 *                               the steps of a family under a method
 *   regression_gaussian.c       gaussian rows: densities and statistics
 *   regression_glm.c            binomial and poisson rows: densities, and passes over them
 *   regression_q.c              normal factors
 *   regression_coordinates.c    scales and origins
 *   regression_inside.h         the state */
#ifndef ELBO_MIXTURE_REGRESSION_H
#define ELBO_MIXTURE_REGRESSION_H

#include "mixture/linear.h"
#include "mixture/mixture.h"

typedef enum { REGRESSION_GAUSSIAN = 0, REGRESSION_BINOMIAL, REGRESSION_POISSON } regression_family;

/* What is borrowed must outlive the part.  No value of X, y, weights or offset is missing. */
typedef struct {
  mixture_method method;
  int k;
  mixture_units units;
  regression_family family;
  int p;
  const double *X, *y;   /* n_row x p by column; n_row (binomial: successes) */
  const double *weights; /* n_row, positive, or NULL: precision weights, or trials */
  const double *offset;  /* n_row or NULL */
  linear_priors linear;
} mixture_regression_spec;

/* Fields, em and joint: coefficients (p x k), and of gaussian rows sigma (k, or 1 if common).
 * vb: mean (p x k), cov (p x p x k), and of gaussian rows shape and rate (k, or 1) of
 * q(sigma^2) = inverse gamma; a constant sigma has shape Inf, and its square for a rate.
 *
 * vb asks for proper priors: beta_sd finite, and half_t for a free sigma.
 * ELBO_E_UNBOUNDED: a free sigma^2 at 1e-12 of the mean square of the response or below, or
 * coefficients without a prior on their way to infinity (separation); *component counts from 0. */
elbo_status mixture_regression_part(mixture_part *part, const mixture_regression_spec *spec,
                                    const elbo_memory *mem);
mixture_maker mixture_regression_make;

#endif
