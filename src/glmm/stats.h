/* Rows to sufficient statistics, and draws of them. */
#ifndef ELBO_GLMM_STATS_H
#define ELBO_GLMM_STATS_H

#include "glmm/types.h"

/* Columns of X that belong to smooth terms. */
int lmm_law_smooth_columns(const lmm_law *law);
elbo_status lmm_stats_build(lmm_stats *stats, const lmm_rows *rows, const lmm_law *law,
                            const elbo_memory *mem);
/* Adds [X y]'[X y] of the between rows of level l (lower). */
void lmm_stats_add_between(const lmm_stats *stats, int l, double *A);

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

#endif
