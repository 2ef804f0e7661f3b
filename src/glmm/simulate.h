/* Draws from the model, made in the sufficient statistics. */
#ifndef ELBO_GLMM_SIMULATE_H
#define ELBO_GLMM_SIMULATE_H

#include "glmm/types.h"

/* Replaces the response by a draw from the model at theta, in the statistics themselves: the rows
 * need not be made.  draws: lmm_n_draws(stats) standard normal numbers; chi_square (n_level):
 * chi-square numbers with lmm_chi_square_df degrees of freedom (0 where those are 0); memory:
 * lmm_simulate_size(stats) doubles. */
size_t lmm_n_draws(const lmm_stats *stats);
double lmm_chi_square_df(const lmm_stats *stats, int level, double *memory);
void lmm_stats_simulate(lmm_stats *stats, const double *L, const double *beta,
                        const double *variance, const double *draws, const double *chi_square,
                        double *memory);
size_t lmm_simulate_size(const lmm_stats *stats);

/* Draw after draw at one theta, coefficients of smooth terms drawn too.  The caller fills normal
 * (n_normal standard normal numbers) and chi_square (by level, of df degrees of freedom; 0 where
 * those are 0), and puts them into the statistics. */
typedef struct {
  size_t n_normal;
  double *normal, *chi_square, *df;
  int n_smooth; /* coefficients */
  double *L, *beta, *variance, *root, *memory;
} lmm_simulation;

void lmm_simulation_init(lmm_simulation *simulation, const lmm_work *work, const elbo_memory *mem);
void lmm_simulation_put(lmm_simulation *simulation, lmm_stats *stats);

#endif
