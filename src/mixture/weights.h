/* The law of the components: p(z_i = j) = weight_j, or a multinomial logit of covariates of the
 * unit (mixture/membership.h). */
#ifndef ELBO_MIXTURE_WEIGHTS_H
#define ELBO_MIXTURE_WEIGHTS_H

#include "mixture/mixture.h"

typedef enum {
  MIXTURE_WEIGHTS_FLAT = 0, /* under vb, where a prior is needed, Dirichlet(1, ..., 1) */
  MIXTURE_WEIGHTS_DIRICHLET,
  MIXTURE_WEIGHTS_STICK_BREAKING /* vb only */
} mixture_weights_law;

/* Borrowed data.  Where `constant` is given the weights are held and law is not read; where W is
 * given neither is read. */
typedef struct {
  mixture_method method;
  int k;
  int n_unit;
  const double *W; /* n_unit x n_w, the first column ones; or NULL */
  int n_w;
  const double *constant; /* k, summing to one; or NULL */
  mixture_weights_law law;
  const double *alpha;   /* Dirichlet: k; stick-breaking: 1; flat: NULL */
  double coefficient_sd; /* normal(0, sd) prior of membership coefficients; Inf: flat */
} mixture_weights_spec;

/* Fields, theta and free parameters:
 *
 *   em  free         weight (k)         theta: weight (k)  eta: math/simplex.h (k - 1)
 *   vb  Dirichlet    alpha (k)          theta: E[weight]   eta: alpha (k)
 *   vb  stick        stick (2 x (k-1)), position (k)       eta: a_1, b_1, a_2, ...
 *   constants        weight (k)         theta: weight      eta: none
 *   em  membership   coefficient (n_w x k, first column zero)
 *                                       theta, eta: coefficient, components 2 .. k
 *   vb  membership   mean (n_w x k, first column zero), root (n_w (k-1) x n_w x k)
 *                                       theta: mean, components 2 .. k; eta: of the normal */
elbo_status mixture_weights_part(mixture_part *part, const mixture_weights_spec *spec,
                                 const elbo_memory *mem);
mixture_maker mixture_weights_make;

#endif
