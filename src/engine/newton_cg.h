/* Newton's method for objectives whose Hessian is known only by its products with vectors. */
#ifndef ELBO_ENGINE_NEWTON_CG_H
#define ELBO_ENGINE_NEWTON_CG_H

#include "engine/engine.h"

/* What is to be maximised over x in R^n.  Any status but ELBO_OK of `value` or `gradient` says that
 * x lies outside of the domain.  `product` and `precondition` speak of the point of the last
 * `gradient`: between the two nothing else is called. */
typedef struct {
  int n;
  elbo_status (*value)(void *work, const double *x, double *value);
  elbo_status (*gradient)(void *work, const double *x, double *gradient);
  /* out = H v */
  elbo_status (*product)(void *work, const double *v, double *out);
  /* out = M^{-1} v, M symmetric positive definite and, at best, near -H, as its diagonal blocks;
   * lengths of steps are sqrt(s' M s).  NULL: M = I. */
  elbo_status (*precondition)(void *work, const double *v, double *out);
  /* How far `value` may be off by rounding, at its last value.  NULL: 1e-14 of 1 + its size. */
  double (*rounding)(void *work);
} newton_cg_objective;

typedef struct {
  double tol; /* on the gain to come */
  int max_iter;
  int max_products; /* in one step; 0: no more than n + 10 */
  double radius;    /* of trust, at first; 0: ten steps to the best point along the gradient */
} newton_cg_control;

typedef struct {
  elbo_status status;
  int iterations, values, gradients, products;
  double value;
  double gain;     /* g' (-H)^{-1} g / 2 as the last step saw it: what another would gain */
  double gradient; /* sqrt(g' M^{-1} g) at the end */
} newton_cg_result;

/* Doubles needed by newton_cg. */
size_t newton_cg_size(int n);
/* x (n): the start, overwritten by the highest point found.  Steps are conjugate gradients within a
 * radius of trust (Steihaug 1983, SIAM J. Numer. Anal. 20:626; Conn, Gould & Toint 2000, Trust
 * Region Methods, algorithm 7.5.1); one that gains too little is drawn back along itself (Nocedal &
 * Yuan 1998), which takes no further products.  Status:
 *   ELBO_OK            no more than tol is to be gained, or what is cannot be told from rounding;
 *                      where the gradient is exactly zero a saddle is not told from a maximum
 *   ELBO_MAX_ITER      after max_iter steps
 *   ELBO_STOPPED       the hook asked for it, or no step raises the objective
 *   ELBO_E_NOT_FINITE  the start lies outside of the domain, or derivatives are not finite
 * The hooks are polled before each product and told of each step. */
elbo_status newton_cg(const newton_cg_objective *objective, void *work,
                      const newton_cg_control *control, const elbo_hooks *hooks, double *x,
                      double *memory, newton_cg_result *result);

#endif
