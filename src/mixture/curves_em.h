/* Parameters as points (em, joint): mixture/curves_em.c. */
#ifndef ELBO_MIXTURE_CURVES_EM_H
#define ELBO_MIXTURE_CURVES_EM_H

#include "mixture/curves_inside.h"

elbo_status curves_em(mixture_part *part, curves *w, const elbo_memory *mem);
/* Gamma_g and sigma_s at their best given the laws of u; and Gamma_g, without a prior, by other
 * ways up. */
void curves_em_gamma(curves *w, int g, double n, const double *H);
void curves_em_take_eta(const curves *w);
void curves_mm_gamma(const curves *w, int g, const double *T, const double *H);
void curves_em_root(const curves *w, const double *stat, const double *r, int g,
                    const curve_block *b);
void curves_em_sigma(curves *w, int s, double rows, double sum_square);

#endif
