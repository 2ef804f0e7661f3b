/* A model with its data, and what is asked of it. */
#ifndef ELBO_GLMM_FIT_H
#define ELBO_GLMM_FIT_H

#include "engine/engine.h"
#include "glmm/close.h"
#include "glmm/types.h"
#include "glmm/units.h"

typedef struct {
  lmm_law law;
  lmm_stats stats;
  lmm_work work;
  lmm_prior prior;
  lmm_units units;
} lmm_fit;

/* Priors, scales in the caller's units: as lmm_prior has them, and of beta and smooth terms. */
typedef struct {
  const int *family, *smooth_family;
  const double *df, *scale, *lkj, *sigma_df, *sigma_scale;
  const double *beta_mean, *beta_sd;
  const double *smooth_df, *smooth_scale;
  int mean_field, by_factor;
  int scales_given; /* the scales are looked at as points: their priors are left out */
} lmm_user_prior;

/* The statistics of rows, as a flat vector from `out`; `law` is that of a fit to come. */
elbo_status lmm_fit_summarise(const lmm_rows *rows, const lmm_law *law, double **flat,
                              const elbo_memory *mem, const elbo_memory *out);
/* Closed statistics, state and units, for the fit's law, which is set. */
elbo_status lmm_fit_open(lmm_fit *fit, const double *flat, const lmm_basis *basis,
                         const elbo_memory *mem);
void lmm_fit_set_prior(lmm_fit *fit, const lmm_user_prior *user, const elbo_memory *mem);
/* Columns of X that may say nothing new (unless the caller has looked: full_rank), by their pivots
 * (p), and a level whose residual variance would go to zero, -1 where there is none. */
elbo_status lmm_fit_check(lmm_fit *fit, int full_rank, double *pivots, int *level);
/* Ascends from the start of the highest objective, or, of the n_starts highest, from the one that
 * leads highest.  memory: lmm_fit_climb_size(fit) doubles. */
size_t lmm_fit_climb_size(const lmm_fit *fit);
elbo_status lmm_fit_climb(lmm_fit *fit, const elbo_control *control, int n_starts,
                          const elbo_hooks *hooks, double *memory, elbo_result *result);
/* By vb the degrees of freedom of the factors of q, by block, curve and level, the curvature in
 * them, and how they follow the logarithms of the scales: lmm_fit_n_factors, the same, and
 * lmm_fit_n_sds of them. */
int lmm_fit_n_factors(const lmm_fit *fit);
int lmm_fit_n_sds(const lmm_fit *fit);
void lmm_fit_df(const lmm_fit *fit, double *df, double *information, double *slope);
/* The objective, the best beta and its covariance where Sigma (q x q), sigma and sds of smooth
 * terms are those of `scales`: 1 + p + p * p numbers. */
elbo_status lmm_fit_evaluate(lmm_fit *fit, const double *scales, double *out);

/* A refit as a row of numbers: beta, Sigma, sigma, sds of smooth terms, by vb degrees of freedom,
 * objective; `out` is as it was where the status is an error.  memory: lmm_refit_size(fit). */
int lmm_refit_length(const lmm_fit *fit);
size_t lmm_refit_size(const lmm_fit *fit);
elbo_status lmm_refit(lmm_fit *fit, const elbo_control *control, int n_starts,
                      const elbo_hooks *hooks, double *memory, double *out);

#endif
