/* q(beta, u) of several grouping factors at its best, given S. */
#ifndef ELBO_GENERAL_VB_CROSSED_H
#define ELBO_GENERAL_VB_CROSSED_H

#include "general/vb_types.h"

void vb_crossed_init(vb_work *w, const elbo_memory *mem);
/* w->q has mean, V, value, total, change and at.second of the present q. */
extern const vb_steps vb_crossed_steps;
/* Level g of factor f, k its terms: mean of u (k), covariance given beta (k x k), and how the mean
 * moves with beta (k x p), scaled; after here(). */
void vb_crossed_level(const vb_work *w, int f, int g, double *mean, double *cov, double *gain);
/* The same u where L was another root of the same S, up to signs of its columns. */
void vb_crossed_turn(vb_work *w, const double *L);
/* Means of u of all levels, factor after factor (n). */
void vb_crossed_means(const vb_work *w, double *u);

#endif
