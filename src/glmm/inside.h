/* What the files of the Gaussian mixed model share among themselves. */
#ifndef ELBO_GLMM_INSIDE_H
#define ELBO_GLMM_INSIDE_H

#include <math.h>
#include <string.h>

#include "math/la.h"
#include "math/small.h"
#include "glmm/lmm.h"

static inline int integrates_beta(const lmm_work *w) {
  return w->method == LMM_REML || w->method == LMM_VB;
}

/* q(beta) q(u): beta is integrated, but u knows only its mean. */
static inline int mean_field(const lmm_work *w) { return w->prior != NULL && w->prior->mean_field; }

/* Residual variances of a run's cells. */
static inline const double *cell_variances(const lmm_run *run, const double *variance,
                                           double *out) {
  for (int c = 0; c < run->n_cell; c++) out[c] = variance[run->level[c]];
  return out;
}

/* (-beta, 1)' A (-beta, 1) for the lower triangle of A, p1 x p1. */
static inline double residual_square(const double *A, const double *beta, int p) {
  const int p1 = p + 1;
  double sum = A[p + p1 * p];
  for (int j = 0; j < p; j++) {
    sum -= 2.0 * beta[j] * A[p + p1 * j];
    for (int k = 0; k <= j; k++) sum += (k == j ? 1.0 : 2.0) * beta[j] * beta[k] * A[j + p1 * k];
  }
  return sum;
}

/* beta less an origin, into w->delta. */
static inline const double *from_origin(lmm_work *w, const double *beta, const double *origin) {
  for (int j = 0; j < w->stats->p; j++) w->delta[j] = beta[j] - origin[j];
  return w->delta;
}

/* Cross-products of [X y] (lower) to those of [X, y - X origin]. */
static inline void shift_cross(const double *A, const double *origin, int p, double *out) {
  const int p1 = p + 1;
  memcpy(out, A, square(p1) * sizeof(double));
  out[p + p1 * p] = residual_square(A, origin, p);
  for (int j = 0; j < p; j++)
    for (int k = 0; k < p; k++) out[p + p1 * j] -= A[j >= k ? j + p1 * k : k + p1 * j] * origin[k];
}

/* log |det root| over the terms with a law. */
static inline double log_det_root(const lmm_work *w) {
  double sum = 0.0;
  for (int k = 0; k < w->stats->q; k++)
    if (w->unit[k] > 0.0) sum += log(fabs(w->root[k * (w->stats->q + 1)]));
  return sum;
}

/* Element j, k of a symmetric p1 x p1 matrix of which the lower triangle is there. */
static inline double at_lower(const double *A, int p1, int j, int k) {
  return A[j >= k ? j + p1 * k : k + p1 * j];
}

/* Moves the beta near which cross-products are taken. */
void lmm_set_origin(lmm_work *w, const double *beta);
/* Sigma, its root and the variances from eta; whatever was known at another theta is forgotten. */
void lmm_set_eta(lmm_work *w);
/* Objective, gradient and Hessian with beta profiled out: H + cross C cross'. */
elbo_status lmm_profile_information(void *work, double *value, double *gradient, double *hessian);

/* What of the ELBO does not depend on S, under half-t(nu, A_k) priors of the sds of a covariance of
 * order q that n units have (see glmm/prior.c). */
double lmm_half_t_constant(int q, double nu, double n, const double *A);
/* Minus the second derivative of the ELBO by the degrees of freedom d of q(Sigma) there. */
double lmm_half_t_df_information(int q, double d);

/* ---- smooth terms: nothing of this is called where there are none -------------------------------- */

static inline int has_smooth(const lmm_work *w) { return w->smooth.n > 0; }

/* q has coefficients: beta, or those of smooth terms. */
static inline int coefficients_latent(const lmm_work *w) {
  return integrates_beta(w) || has_smooth(w);
}

void lmm_smooth_init(lmm_work *w, const lmm_law *law, const elbo_memory *mem);
/* With w->cross at theta: beta (unless given) and b at their best, C (as lmm_objective), the penalised
 * sum of squares, and what integrating b (reml, vb: beta and b) adds to log |V|; for points log of their
 * law. */
elbo_status lmm_smooth_solve(lmm_work *w, int beta_given, double *beta, double *C,
                             double *quadratic, double *log_det);
/* Keeps the solution as the exact q, and makes the exact q the current one. */
void lmm_smooth_keep(lmm_work *w);
void lmm_smooth_e_step(lmm_work *w);
/* E_q log p(c) and the entropy of q(c), or q(beta, c), and log p(sd): added to value. */
elbo_status lmm_smooth_elbo(lmm_work *w, double *value);
/* Twice KL(q(beta, c) || p), given the exact q: added to twice. */
elbo_status lmm_smooth_divergence(lmm_work *w, const double *exact_beta, const double *exact_c,
                                  const double *exact_P, double *twice);
/* The normal equations of all coefficients (A p x p, lower; b) to those of beta given b - origin. */
void lmm_smooth_hold(const lmm_work *w, double *A, double *b);
void lmm_smooth_m_step(lmm_work *w);
/* Completes gradient, Hessian, cross_eta and spread_eta: all at fixed beta, b at its best. */
elbo_status lmm_smooth_information(lmm_work *w, double *gradient, double *hessian);
/* Adds to A = X'X (lower) a ridge that makes it positive definite in b. */
void lmm_smooth_ridge(lmm_work *w, double *A);
/* Into eta, where it is free, the sd with which curve k varies by `variance` a row, given what
 * lmm_smooth_ridge() saw. */
void lmm_smooth_start(const lmm_work *w, int k, double variance, double *eta);
/* An sd within rounding of zero, of the size `small`, is put there where the objective, `before` here,
 * does not mind; 1 if any was. */
int lmm_smooth_settle(lmm_work *w, double small, double *before);

#endif
