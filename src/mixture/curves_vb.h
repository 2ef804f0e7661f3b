/* Laws of the parameters (vb): mixture/curves_vb.c. */
#ifndef ELBO_MIXTURE_CURVES_VB_H
#define ELBO_MIXTURE_CURVES_VB_H

#include "mixture/curves_inside.h"

elbo_status curves_vb(mixture_part *part, curves *w, const elbo_memory *mem);
void curves_vb_gamma(curves *w, int g, double n, const double *H);
void curves_vb_sigma(curves *w, int s, double rows, double sum_square);

#endif
