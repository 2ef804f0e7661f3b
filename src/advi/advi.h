/* Deterministic automatic differentiation variational inference (Giordano, Ingram & Broderick
 * 2024, JMLR 25(18)): a normal q(x) = N(m, S S') on R^d is the best of its family for
 *
 *   (1/n) sum_i log p(m + S z_i) + log |S|,
 *
 * the ELBO with its expectation over draws z_i that are held, which makes of it an ordinary
 * function of eta = (m, S).  S is zero (the mode of p: Laplace's method), diagonal or lower
 * triangular with a positive diagonal.  Points are linear in eta, so that the objective is concave
 * where log p is. */
#ifndef ELBO_ADVI_ADVI_H
#define ELBO_ADVI_ADVI_H

#include "engine/newton_cg.h"

/* log p and its derivatives at x (d).  hessian (d x d) may be NULL: differences of the gradient
 * take its place.  Any status but ELBO_OK says that x is outside of the domain. */
typedef struct {
  int d;
  void *ctx;
  elbo_status (*value)(void *ctx, const double *x, double *value);
  elbo_status (*gradient)(void *ctx, const double *x, double *gradient);
  elbo_status (*hessian)(void *ctx, const double *x, double *hessian);
} advi_target;

typedef enum { ADVI_LAPLACE = 0, ADVI_MEAN_FIELD, ADVI_FULL } advi_family;

typedef struct {
  advi_target target;
  advi_family family;
  int n, n_eta;
  const double *z; /* d x n */
  /* Of the last gradient: points and gradients there (d x n), Hessians where they are given (d x d
   * x n), -H at m made positive definite, its inverse and a root of that. */
  double *x, *g, *hessians, *precision, *inverse, *root;
  double *eta;   /* the point of the last gradient, a copy */
  double *units; /* d: the scale of x, over which differences are made */
  int metric_known;
  double *moved, *probe, *spectrum, *eigen; /* 2 d, d, d x d, and for la_eigen() */
  double values, gradients, hessians_made;  /* how often the target was asked */
} advi;

size_t advi_size(const advi_target *target, advi_family family, int n);
/* z (d x n) is borrowed; with ADVI_LAPLACE n = 1 and z = 0. */
void advi_bind(advi *w, const advi_target *target, advi_family family, int n, const double *z,
               double *memory);
/* The functions of a newton_cg_objective whose work is an advi. */
newton_cg_objective advi_objective(const advi *w);
/* The objective and its gradient (n_eta) at eta. */
elbo_status advi_at(advi *w, const double *eta, double *value, double *gradient);
/* Minus the Hessian of the objective at eta, n_eta x n_eta, from each draw's. */
elbo_status advi_information(advi *w, const double *eta, double *information);

#endif
