/* Several grouping factors beyond Laplace's method: importance sampling from its q. */
#ifndef ELBO_GENERAL_IMPORTANCE_H
#define ELBO_GENERAL_IMPORTANCE_H

#include "engine/engine.h"
#include "general/sums.h"

/* Of 2 n_pair draws: the log-likelihood, its Monte Carlo standard deviation, the effective share of
 * the draws, and whether theta is corrected too, or still Laplace's since so few draws count. */
typedef struct {
  double value, error, effective;
  int corrected;
} general_importance;

/* From theta, the optimum by Laplace's method, to that of the log-likelihood by importance
 * sampling: z (latent variables x n_pair) standard normal draws, taken with both signs and fixed
 * throughout; back to Laplace's where the draws do not tell (corrected = 0).  Score by theta there,
 * and its Monte Carlo covariance (n_theta x n_theta). */
elbo_status general_importance_climb(general_work *w, const double *z, int n_pair,
                                     const elbo_hooks *hooks, general_importance *out,
                                     double *score, double *spread);

#endif
