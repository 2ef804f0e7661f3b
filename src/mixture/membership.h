/* Membership that depends on covariates of the unit: the multinomial logit
 *
 *   p(z_i = j) = exp(x_ij) / sum_l exp(x_il),  x_ij = w_i' b_j,  b_1 = 0,
 *
 * with b_j, j > 1, flat or normal(0, coefficient_sd).  Called by mixture_weights_part(). */
#ifndef ELBO_MIXTURE_MEMBERSHIP_H
#define ELBO_MIXTURE_MEMBERSHIP_H

#include "mixture/weights.h"

/* What both have: all that no work is needed for. */
static inline mixture_part membership_part(const mixture_weights_spec *spec, void *work) {
  return (mixture_part){
      .work = work, .by_unit = 1, .keeps_r = 1, .n_theta = spec->n_w * (spec->k - 1)};
}

/* Points (em, joint). */
elbo_status mixture_membership_part(mixture_part *part, const mixture_weights_spec *spec,
                                    const elbo_memory *mem);
/* q(b_2, ..., b_k) normal (vb). */
elbo_status mixture_membership_vb_part(mixture_part *part, const mixture_weights_spec *spec,
                                       const elbo_memory *mem);

#endif
