/* What a mixed model asks of its linear algebra, and nothing of how it is done.
 *
 *   y = X beta + Z u + e,   e ~ N(0, D),   D = diag(variance of the row's level / its weight),
 *
 * u the levels of one grouping factor after the other, each level a vector of the factor's latent
 * terms; of all factors together there are q terms, those of a factor side by side, and Sigma (q x
 * q, block diagonal) is the covariance of the terms.  Every level is u = root b with b ~ N(0,
 * J^{-1}), J = diag(unit): 1, or 0 for a term without a law, whose column of the root is that of
 * the identity.  V = D + Z Sigma Z', what has no law projected out.
 *
 * Back ends: groups (glmm/groups.h), one factor, eight groups at a time.  What a back end keeps of
 * the data is its own. */
#ifndef ELBO_GLMM_SOLVER_H
#define ELBO_GLMM_SOLVER_H

#include <stddef.h>

#include "math/status.h"

/* Where the model is.  weight and response: of a back end that keeps rows only (NULL: 1 and y), for
 * models that are normal only locally: what multiplies the rows' own weights, and a response in
 * place of y. */
typedef struct {
  const double *root;              /* q x q, lower */
  const double *unit;              /* q */
  const double *variance;          /* n_level */
  const double *weight, *response; /* n */
} glmm_theta;

/* Which derivatives; scalars shared by all levels. */
typedef struct {
  const double *beta; /* p */
  const double *C;    /* p x p covariance of beta, or NULL (reml: it takes part) */
  int log_det;        /* 1: u integrated; 0: u points */
  int n_pair;         /* entries (a >= b) of Sigma inside its blocks */
  const int *pair_a, *pair_b;
  int average; /* 1: average information (Gilmour, Thompson & Cullis 1995) will do for a Hessian */
} lmm_point;

/* Derivatives of -(r'V^{-1}r + log |V|) / 2, r = y - X beta (log_det = 0: without log |V|; C: and
 * of -tr(X'V^{-1}X C) / 2 at fixed C), with respect to the n_pair entries of Sigma (direction E =
 * e_a e_b' + e_b e_a', or e_a e_a') and then the variances of the n_level levels, n in all. */
typedef struct {
  double *gradient; /* n */
  double *hessian;  /* n x n, lower */
  double *cross;    /* n x p: d^2 / d parameter d beta */
  double *spread;   /* n x p x p: X'V^{-1} dV V^{-1}X, lower */
} lmm_derivatives;

typedef struct {
  int n_factor;
  const int *first;  /* n_factor + 1: first term of each; the last is q */
  const int *n_unit; /* n_factor: levels */
  size_t q_size;     /* doubles that hold a posterior */
  void *state;

  /* Cross-products of [X y] are from here on those of [X, y - X origin] (p), origin being a beta
   * near the best one: little is lost then when the residuals are small. */
  void (*move)(void *state, const double *origin);
  /* All that follows is asked at this point, whose arrays are borrowed and stay as they are until
   * the next call.  A back end that sees the point it has already does nothing. */
  elbo_status (*factor)(void *state, const glmm_theta *at);
  /* From here on (NULL: of one factor, where it changes nothing) the levels of all factors are
   * independent under q: log |V|, its derivatives and the posterior's covariance, with log_det, are
   * those of the best such q. */
  void (*separate)(void *state, int apart);
  /* Added to: cross ((p + 1) x (p + 1), lower), [X r]'V^{-1}[X r], and log |V|. */
  void (*objective)(void *state, double *cross, double *log_det);
  /* Set, not added to. */
  void (*derivatives)(void *state, const lmm_point *point, lmm_derivatives *out);
  /* The exact posterior of b at beta, and how its mean moves with beta (unless !moves: mean field,
   * its mean alone).  spread 1, or 0: all mass at the mean.  log_det: log |J + root' Z'D^{-1}Z
   * root| summed over everything, minus log |its covariance|. */
  void (*posterior)(void *state, const double *beta, double spread, int moves, double *q,
                    double *log_det);
  /* Under q, made where the root was q_root, with the covariance C = C_root C_root' of beta (p x p,
   * the root lower; NULL: a point): second (q x q), the sum over levels of E[b b'], zero between
   * factors; residual (n_level x (p + 1) x (p + 1), lower), the cross-products of
   * [X, y - X origin - Z E u]; trace (n_level), what uncertainty adds to E |y - X beta - Z u|^2. */
  void (*moments)(void *state, const double *q, const double *q_root, const double *C,
                  const double *C_root, double *second, double *residual, double *trace);
  /* Added to trace: E_q of the quadratic form of KL(q || exact), 2 KL + dimension + log |cov q| -
   * log |cov exact|, for q in coordinates b and `exact` the posterior here, in b' = M b (M q x q,
   * lower); shift (p): mean of beta under q less that of exact; C_root: of q's beta, as above. */
  void (*divergence)(void *state, const double *M, const double *q, const double *exact,
                     const double *shift, const double *C_root, double *trace);
  /* Level g of factor f under q, k its terms: mean (k), a root of its covariance (k x k), and
   * -d mean / d beta (k x p, by row). */
  void (*level)(void *state, const double *q, int f, int g, double *mean, double *root,
                double *gain);
  /* Variances of the terms (q) and the residual variance from moments of y - X beta, asked where
   * Sigma is 0 and residual variances are 1; 0 where they are of no use.  NULL: not known. */
  int (*start)(void *state, const double *beta, double *term, double *residual);
} glmm_solver;

#endif
