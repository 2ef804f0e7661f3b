/* Smooth terms: nothing of this is called where there are none, but lmm_smooth_init(). */
#ifndef ELBO_GLMM_SMOOTH_H
#define ELBO_GLMM_SMOOTH_H

#include "glmm/types.h"

void lmm_smooth_init(lmm_work *w, const lmm_law *law, const elbo_memory *mem);
/* sds of smooth terms from eta, and eta from sds. */
void lmm_smooth_unpack(lmm_work *work);
void lmm_smooth_pack(const lmm_work *work, double *eta);
/* Priors of the sds of smooth terms (n each, scales in the caller's units): the density of an sd
 * (df: shape of an inverse gamma). */
void lmm_smooth_set_prior(lmm_work *work, const int *family, const double *df, const double *scale,
                          const elbo_memory *mem);
/* Of each curve's sd the same as lmm_prior_df() has. */
void lmm_smooth_df(const lmm_work *work, double *df, double *information, double *slope);
/* log p(sd), or its part in the ELBO: added to value. */
elbo_status lmm_smooth_prior(const lmm_work *work, double *value);
/* With w->cross at theta: beta (unless given) and b at their best, C (as lmm_objective), the
 * penalised sum of squares, and what integrating b (reml, vb: beta and b) adds to log |V|; for
 * points log of their law. */
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
/* Normal equations of all coefficients (A p x p, lower; b) to those of beta given b - origin. */
void lmm_smooth_hold(const lmm_work *w, double *A, double *b);
void lmm_smooth_m_step(lmm_work *w);
/* Completes gradient, Hessian, cross_eta and spread_eta: all at fixed beta, b at its best. */
elbo_status lmm_smooth_information(lmm_work *w, double *gradient, double *hessian);
/* Adds to A = X'X (lower) a ridge that makes it positive definite in b. */
void lmm_smooth_ridge(lmm_work *w, double *A);
/* Into eta, where it is free, the sd with which curve k varies by `variance` a row, given what
 * lmm_smooth_ridge() saw. */
void lmm_smooth_start(const lmm_work *w, int k, double variance, double *eta);

#endif
