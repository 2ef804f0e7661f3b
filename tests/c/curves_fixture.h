/* What the tests of curves share: blocks of two deviations, and priors of covariances and sigma. */
#ifndef ELBO_TEST_CURVES_FIXTURE_H
#define ELBO_TEST_CURVES_FIXTURE_H

#include "law/sd_prior.h"
#include "mixture/curves.h"
#include "mixture_part.h"

enum { Q = 2 };

/* One free block, or two of size one.  `mean` and `sd` (p) are the laws of coefficients where
 * there are priors, which vb always has; sigma's is in the unit of y. */
static inline mixture_curves_spec curves_fixture(mixture_method method, int k, int p, int diagonal,
                                                 int priors, const double *mean, const double *sd,
                                                 double unit) {
  static const int sizes[] = {Q}, single[] = {1, 1}, free_kind[] = {CURVES_FREE, CURVES_FREE};
  static const double df[] = {4.5, 3.5}, scale[] = {1.2, 0.1, 0.1, 0.8};
  mixture_curves_spec s = {.method = method, .k = k, .p = p, .q = Q};
  s.n_block = diagonal ? 2 : 1;
  s.block_size = diagonal ? single : sizes;
  s.block_kind = free_kind;
  s.linear.sigma_df = 3.0;
  s.linear.sigma_scale = 2.5 * unit;
  if (!priors && method != MIXTURE_VB) return s;
  s.linear.beta_mean = mean;
  s.linear.beta_sd = sd;
  s.linear.sigma_family = SD_HALF_T;
  s.covariance_df = df;
  s.covariance_scale = scale;
  return s;
}

#endif
