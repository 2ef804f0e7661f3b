/* Multivariate normal responses, y_i | z_i = j ~ N(mean_j, Sigma_j), Sigma_j of one of 14 models,
 * with missing responses integrated out. */
#ifndef ELBO_MIXTURE_NORMAL_H
#define ELBO_MIXTURE_NORMAL_H

#include "mixture/mixture.h"
#include "mixture/covariance.h"

typedef struct {
  mixture_method method;
  int k, n_row, d;
  const double *Y; /* n_row x d, NaN where missing */
  covariance_model model;
  /* Sigma ~ inverse Wishart(prior_df, prior_scale), each distinct one; prior_scale NULL: flat (em).
   * vb: mean_j ~ N(prior_mean, Sigma_j / prior_kappa) too. */
  double prior_df;
  const double *prior_scale;
  const double *prior_mean;
  double prior_kappa;
} mixture_normal_spec;

elbo_status mixture_normal_part(mixture_part *part, const mixture_normal_spec *spec,
                                const elbo_memory *mem);
mixture_maker mixture_normal_make;

#endif
