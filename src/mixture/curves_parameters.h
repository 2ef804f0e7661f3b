/* Parameters, whatever their laws are: mixture/curves_parameters.c. */
#ifndef ELBO_MIXTURE_CURVES_PARAMETERS_H
#define ELBO_MIXTURE_CURVES_PARAMETERS_H

#include "mixture/curves_inside.h"

/* Scales, blocks and priors. */
void curves_parameters(curves *w, const elbo_memory *mem);
/* A block of A (q x q), order x order, and back: the multiple of its matrix where it is one. */
void curves_take(const curves *w, const curve_block *b, const double *A, double *out);
void curves_put(const curves *w, const curve_block *b, const double *block, double *A);
/* The block of sum r E[u u'] at H, n: out (order x order). */
void curves_second_moment(const curves *w, int g, const curve_block *block, double n,
                          const double *H, double *out);
/* Coefficients of component j between the field and beta. */
void curves_publish_beta(const curves *w, int j);
void curves_read_beta(const curves *w, int j);

#endif
