/* The state of a model, and sums over all groups, in a fixed order whatever the number of
 * threads. */
#ifndef ELBO_GENERAL_SUMS_H
#define ELBO_GENERAL_SUMS_H

#include "general/crossed.h"
#include "general/prior.h"
#include "general/types.h"

enum { GENERAL_SLOTS = 64 };

typedef struct {
  general_rows rows;
  general_parameters par;
  general_rule rule;
  general_crossed *crossed; /* of several factors, else NULL */
  const general_prior
      *prior; /* or NULL; `value` of `at`, of q and of all that follows includes it */
  double log_prior, q_log_prior;
  int points;      /* nothing is integrated: the density of u at the mode is part of the value */
  double constant; /* of the log density, where it does not depend on psi */
  int threads;
  /* Few nodes: the gradient is that of the quadrature's own value, which steps climb, and q is no
   * account of them; second derivatives may then be differences of the gradient. */
  int few, differences;
  double accuracy; /* of the value, as more nodes told */
  /* theta, the root of Sigma there, modes (m x q), value where it is known */
  double *theta, *L, *mode;
  general_sums at, other; /* at theta; those of other nodes meanwhile */
  general_order known;    /* of `at`, at theta */
  /* q: the quadrature's at q_theta, seen from coordinates T^{-1} v */
  double *q_theta, *q_L, *q_mode, *q_inverse, q_value;
  int q_exact, change_known; /* q is the posterior at theta; whether `change` is known there */
  double change;             /* general_change() */
  general_parameters q_par;  /* with psi of its own */
  /* memory */
  const elbo_memory *mem;
  int n_slot, *slot; /* n_slot + 1: first group of each */
  general_sums *of_slot;
  general_space *space;     /* threads */
  double *scratch;          /* 4 n_inner^2 + 4 n_inner */
  double *step_space;       /* of general/em.c */
  double *difference_space; /* 4 n_theta */
  double evaluations;       /* times all rows were read */
} general_work;

elbo_status general_work_init(general_work *w, const general_input *in, int threads,
                              const elbo_memory *mem);
/* A rule of `each` nodes a dimension from here on. */
elbo_status general_set_nodes(general_work *w, int each);
/* What is known with the present nodes, while others are tried at the same theta. */
typedef struct {
  general_rule rule;
  general_sums at;
  general_order known;
} general_kept;
general_kept general_keep_nodes(general_work *w);
void general_put_back_nodes(general_work *w, const general_kept *kept);
elbo_status general_set_theta(general_work *w, const double *theta);
/* What rounding leaves unknown of the value: large counts have a log density whose terms are large,
 * and whose constant takes most of them back. */
double general_noise(const general_work *w);
/* w->at at theta, to that order at least. */
elbo_status general_evaluate(general_work *w, general_order order);
/* By theta: the gradient (n_theta), Fisher's where the nodes suffice, else (w->few) that of
 * the quadrature's own value, and Louis's second derivatives (n_theta x n_theta) where hessian is
 * not NULL. */
elbo_status general_derivatives(general_work *w, double *gradient, double *hessian);
/* What the prior adds to derivatives by theta. */
elbo_status general_add_prior(general_work *w, double *gradient, double *hessian);
/* The same for group g alone, gradients only: scores (n_theta). */
elbo_status general_group_score(general_work *w, int g, double *score);
/* How the mean of v of group g moves with theta beside what L does to u: covariances with the slope
 * by inner coordinates, into with_slope (q x n_inner); mean (q), cov (q x q). */
elbo_status general_group_moves(general_work *w, int g, double *mean, double *cov,
                                double *with_slope);
/* Moments of v of each group: mean (m x q by row), cov (m of q x q); value by Laplace's method. */
elbo_status general_posteriors(general_work *w, double *mean, double *cov, double *laplace);
/* E of the complete log density at theta less that at q's, under q. */
elbo_status general_change(general_work *w, double *change);

#endif
