/* Units that share a design, and what is needed of each: mixture/curves_design.c. */
#ifndef ELBO_MIXTURE_CURVES_DESIGN_H
#define ELBO_MIXTURE_CURVES_DESIGN_H

#include "mixture/curves_inside.h"

/* Fills designs, t and rest; scales must be there. */
void curves_designs(curves *w, const elbo_memory *mem);

#endif
