/* Variational Bayes of a generalised mixed model, written for one grouping factor: the best
 *
 *   q(beta, u) q(Sigma),   q(beta, u) = N(beta; m, V) prod_g N(u_g; m_g + G_g (beta - m), C_g)
 *
 * (factors apart: G_g = 0).  Given S = E[Sigma^{-1}]^{-1} the first is the best normal one, at
 * which, with l the log density of a row and x its predictor, normal under q,
 *
 *   precision = prior + sum_i w_i a_i a_i',  w_i = -E l''(x_i);  0 = prior + sum_i a_i E l'(x_i)
 *
 * (Opper & Archambeau 2009, Neural Computation 21:786), a_i = (X_i, Z_i at the row's level).  The
 * precision has the shape of an arrow, so that all of it is done group by group.  What q(Sigma) and
 * the priors add is in law/latent_prior.h.
 *
 * vb_rows     expectations of the rows
 * vb_scales   what S is in: the ELBO, its derivatives by eta, the coordinate step
 * vb_groups   q(beta, u) at its best
 * vb_crossed  the same of several grouping factors
 * vb_hessian  second derivatives of the ELBO in all of q, locals eliminated: Newton's method, and
 *             linear response
 * vb          what the engine sees */
#ifndef ELBO_GENERAL_VB_TYPES_H
#define ELBO_GENERAL_VB_TYPES_H

#include "general/prior.h"
#include "general/sums.h"

/* A rule for N(0, 1): `each` nodes, a multiple of SIMD_LANES. */
typedef struct {
  int each;
  double *node, *weight;
} vb_rule;

/* Of the log density of a row, times its weight, under a normal predictor: E and its derivatives by
 * mean and variance (1: mean, 2: variance). */
typedef struct {
  double value, d1, d2, d11, d12, d22;
} vb_row;

/* Memory of one thread for rows. */
typedef struct {
  double *x, *value, *first, *second, *third;
} vb_row_space;

/* Sizes, and where things are in what a group keeps, `stride` numbers: its part of q, K and B of
 * the arrow's precision [K B; B' .], C = K^{-1}, G = -C B; the slope of the ELBO by the mean; and K
 * and B as its rows would have them now, with their own C and G. */
typedef struct {
  int mean, K, B, C, G, slope, best_K, best_B, best_C, best_G, stride;
} vb_places;

/* Sums over groups. */
typedef struct {
  double value, change; /* E log p + entropy of u given beta; size of the step, in nats */
  double *D, *schur;    /* p x p: sum w X X'; sum B' best_C B */
  double *slope, *pull; /* p: sum X E l'; sum best_G' slope */
  double *second;       /* q x q: E u u' */
} vb_sums;

/* q(beta, u) and what its rows say there. */
typedef struct {
  double *groups;            /* m x stride */
  double *mean;              /* p */
  double *D, *precision, *V; /* p x p: precision of beta given u = 0, and of beta; its inverse */
  double *best_D, *step;     /* D as the rows would have it now; p: where the mean would go */
  double log_det;            /* of V */
  double value, total;       /* the ELBO without what S is in, and all of it */
  double change;             /* size of the step to the best, in nats */
  vb_sums at;
} vb_normal;

/* Of vb_hessian.c: of a thread, a group's matrix, slopes of a row, and what else a row has; and
 * sums over runs of slots. */
typedef struct {
  double *H, *mu, *v, *x, *Vx, *mean, *variance;
} vb_hessian_thread;
typedef struct {
  int n_run;
  double **shared;            /* n_run: n_shared^2 */
  double *all, *W;            /* n_shared^2; q x q x n_eta */
  double *gradient, *hessian; /* n_eta; n_eta^2 */
  vb_hessian_thread *thread;
} vb_hessian_space;

/* q(beta, u) of several grouping factors, u = L v: means, weights of the rows that make the
 * precision [K B; B' D], K = I + sum w a a'; G = -K^{-1} B (levels x p, by row); slopes by the
 * means, where the weights would go, and the step. */
typedef struct {
  double *mean, *v, *weight;
  double *D, *V, *G;
  double *slope, *slope_v, *best, *step, *step_v;
  double log_det; /* of V */
  double value, total, change;
  double *second; /* q x q: E u u' */
} vb_state;
typedef struct {
  vb_state at, trial;
  double *x, *centre, *variance; /* rows x p: X + G'a; rows */
  double *tilt;                  /* p: added to the slope of beta */
  vb_row *row;
  double *half;
} vb_crossed;

typedef struct {
  general_work general; /* rows, parameters (eta), slots, threads */
  general_prior prior;  /* of beta and the sds */
  int apart;            /* q(beta) q(u) */
  vb_rule rule;
  vb_places place;
  vb_normal q, trial;
  double *P, *P_mean;           /* p x p: precision of beta under the prior; p: its mean */
  double prior_constant;        /* of all that does not depend on q */
  double *S_inverse, log_det_S; /* q x q: of the S for which q is the best */
  int started, best;            /* there is a q; it is the best at eta */
  vb_sums *of_slot;
  vb_row_space *space;  /* threads */
  double **group_space; /* threads */
  double *beta_space;   /* 2 p^2 + p */
  vb_hessian_space hessian;
  vb_crossed *crossed; /* of several factors, else NULL */
  double *differences; /* 3 vb_n_state() */
  double accuracy;     /* of the value, as more nodes told */
} vb_work;

/* q(beta, u) with one or several grouping factors.  Where there is no q yet: around the
 * coefficients of theta, u = 0.  Value, slopes and the step from q as it is, S and the rule of
 * nodes being the present ones; a part of that step into the trial, of which w->trial.total is
 * known; and the trial in the place of q. */
typedef struct {
  elbo_status (*start)(vb_work *w);
  elbo_status (*here)(vb_work *w);
  elbo_status (*try_step)(vb_work *w, double length);
  void (*accept)(vb_work *w);
} vb_steps;

#endif
