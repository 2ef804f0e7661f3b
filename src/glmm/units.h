/* Parameters, latent variables and derivatives between the caller's units and the scaled data. */
#ifndef ELBO_GLMM_UNITS_H
#define ELBO_GLMM_UNITS_H

#include "glmm/blocked_spread.h"
#include "glmm/types.h"

/* beta = B (scaled beta) + origin, A the inverse of B; origin may be moved by what was taken off
 * the response. */
typedef struct {
  const lmm_work *work;
  double *B, *A, *origin; /* p x p, p x p, p */
  double *scratch;
} lmm_units;

void lmm_units_init(lmm_units *units, const lmm_work *work, const elbo_memory *mem);
void lmm_units_beta(const lmm_units *units, const double *beta, double *user);
/* The covariance (p x p) of beta from that of the scaled one. */
void lmm_units_covariance(const lmm_units *units, const double *C, double *user);
/* Of the m levels and q terms of factor f: posterior means (m x q), covariances (q x q x m), gains
 * -d mean / d beta (q x p x m) from the solver's posterior of b, where the scaled latent variable
 * is root b. */
void lmm_units_latent(const lmm_units *units, int f, const double *root, const double *posterior,
                      double *mean, double *cov, double *gain);
/* Of several factors, products of the levels (glmm/blocked_product.h), by row.  work: 3 n k. */
void lmm_units_product(const lmm_units *units, int inverse, int k, const double *in, double *out,
                       double *work);
/* tr(V^{-1} dV V^{-1} dV) by the entries of Sigma in pairs and the residual variances (n x n,
 * lower), from those of the scaled data.  work: n x n. */
void lmm_units_traces(const lmm_units *units, const double *scaled, double *user, double *work);
/* Entries of Var(u | y, beta), and of what it gains (glmm/blocked_spread.h) from estimated entries
 * of Sigma in pairs and residual variances, of covariance A (n x n) and bias b (n). */
void lmm_units_spread(const lmm_units *units, const level_entries *entries, double *out);
elbo_status lmm_units_excess(const lmm_units *units, const double *A, const double *b,
                             const level_entries *entries, double *out, const elbo_memory *mem);
/* After lmm_information(), by eta: the cross block with beta (n_eta x p) and the derivative of the
 * covariance of beta (p x p x n_eta). */
void lmm_units_information(const lmm_units *units, double *cross, double *cov_slope);
/* sds of smooth terms and, where it is not NULL, their derivatives by their eta. */
void lmm_units_smooth(const lmm_units *units, double *sd, double *slope);
/* The state of the model, which is the work of the units, from parameters in the caller's units:
 * Sigma (q x q), sigma (n_level) and sds of smooth terms; beta (p). */
void lmm_units_set_scales(const lmm_units *units, lmm_work *work, const double *Sigma,
                          const double *sigma, const double *smooth);
void lmm_units_set_beta(const lmm_units *units, lmm_work *work, const double *beta);

#endif
