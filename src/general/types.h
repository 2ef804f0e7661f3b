/* The generalised mixed model, written for one grouping factor,
 *
 *   x_i = offset_i + X_i' beta + Z_i' u_g(i),   u_g ~ N(0, Sigma),   w_i log p(y_i | x_i, psi),
 *
 * p a law of law/response_law.h, Sigma block diagonal (a block a term).  Latent variables are u = L
 * v with v ~ N(0, I) and L L' = Sigma, so that a singular Sigma is an ordinary point.  What a group
 * contributes is
 *
 *   log int exp h(v) dv - q/2 log 2 pi,   h(v) = sum_i w_i log p(y_i | x_i) - v'v / 2,
 *
 * by adaptive Gauss-Hermite quadrature (Liu & Pierce 1994, Biometrika 81:624): nodes z are placed
 * at v = mode + C^{-T} z, C C' = H = -h''(mode); one node is Laplace's method.  Where the
 * posterior is far from normal many are needed, of which that rule wastes most in the tails: its
 * error falls as exp(-c n^(1/2)), that of the trapezoidal rule on a window as exp(-c n) until the
 * tails beyond the window show, which it is too wide for (Trefethen 2022, SIAM Review 64:132,
 * section 5).
 *
 * From below up, each using only what stands above it here:
 *
 * data        rows by group, columns of X made orthogonal, scales of Z
 * parameters  theta = (beta, eta, psi) <-> (beta, L, psi), chain rules, the caller's units
 * prior       log p(theta)
 * group       one group: its mode, the quadrature, derivatives
 * crossed     several grouping factors, by Laplace's method
 * sums        over all groups, in a fixed order whatever the number of threads
 * normal      the ELBO of Laplace's q
 * em          q, the ELBO, the M-step
 * model       what the engine sees
 * fit         starts, the number of nodes, the climb */
#ifndef ELBO_GENERAL_TYPES_H
#define ELBO_GENERAL_TYPES_H

#include <stddef.h>

#include "law/latent_law.h"
#include "law/response_law.h"
#include "math/status.h"

enum {
  GENERAL_MAX_TERMS = 8, /* latent terms of a group */
  GENERAL_MAX_ROOT = GENERAL_MAX_TERMS * (GENERAL_MAX_TERMS + 1) / 2
};

/* ---- data ------------------------------------------------------------------------------------ */

/* As the caller has them, borrowed: X (n x p) and Z (n x q) by column, group in 1..m; size, weight
 * and offset may be NULL.  block of each latent term, 0-based and not decreasing; of each its kind
 * (latent_kind) and common of its law (NULL: free covariances); sd and cor: constants of the law in
 * the caller's units, NaN where free. */
typedef struct {
  response_family family;
  response_link link;
  int n_own, n, p, q, m, n_block;
  const double *y, *size, *weight, *offset, *X, *Z;
  const int *group, *block, *kind, *common;
  const double *sd, *cor;
  /* Several grouping factors (n_factor > 1): the terms of factor f are first[f] .. first[f + 1] -
   * 1, its levels groups[f] in 1..n_unit[f]; all rows are then one `group`. */
  int n_factor;
  const int *first, *n_unit;
  const int *const *groups;
} general_input;

/* Rows by group, X and Z by row: X R^{-1}, R upper triangular, with X'X / n = I; Z times z_scale.
 * Vectors have room for SIMD_LANES more. */
typedef struct {
  int n, p, q, m, most;               /* most: rows of the largest group */
  int *first;                         /* m + 1: first row of each group */
  int *row;                           /* n: where a row is with the caller */
  double *y, *size, *weight, *offset; /* n; weight NULL: 1 */
  double *X, *Z;                      /* n x p, n x q, by row */
  double *R, *z_scale, *pivot;        /* p x p; q; p: part of a column not in those before it */
} general_rows;

/* ---- parameters ------------------------------------------------------------------------------ */

/* theta: beta (of the orthogonal columns), eta of the law of each block, psi.  The root L has
 * n_root = q (q + 1) / 2 entries, by row; "inner" vectors are (beta, L, psi). */
typedef struct {
  int p, q, n_eta, n_own, n_theta, n_root, n_inner, n_block;
  latent_law *law;           /* n_block */
  int *start, *eta_of_block; /* n_block + 1; n_block */
  const double *R, *z_scale;
  response_law response; /* at psi of the last general_parameters_set() */
} general_parameters;

/* What a group is computed at. */
typedef struct {
  const double *beta, *L; /* p; q x q, lower */
  const response_law *response;
} general_point;

/* ---- quadrature ------------------------------------------------------------------------------ */

/* The product rule of `each` nodes a dimension: n_node, padded with weights 0.  z (q x padded) by
 * dimension, scaled as quadrature_normal() has it; or, where there are many, equidistant nodes in
 * (-1, 1), with equal weights, between the points on either side of the mode where h has fallen by
 * `fall`. */
typedef struct {
  int each, n_node, padded;
  int points; /* with one node: nothing is integrated, v is a point at the mode */
  double fall; /* 0: by Gauss and Hermite */
  double *z, *scaled;
} general_rule;

/* What is wanted beside the value. */
typedef enum {
  GENERAL_NOTHING = -1,
  GENERAL_VALUE,
  GENERAL_GRADIENT,
  GENERAL_HESSIAN
} general_order;

/* Sums over groups.  The gradient is that of the quadrature's own value, exactly; score is Fisher's
 * identity, E of the slope of the complete log density under the quadrature's q; complete and
 * spread are the parts of Louis's formula (1982, JRSS B 44:226): E of the complete second
 * derivatives, and the variance of the complete slope, which sum to the second derivatives where
 * the nodes suffice.  Inner coordinates, lower triangles. */
typedef struct {
  double value;
  double *gradient, *score;  /* n_inner */
  double *complete, *spread; /* n_inner x n_inner */
  double *second;            /* q x q: E v v' */
} general_sums;

/* Of one group: moments of v under the quadrature's q, of one node N(mode, H^{-1}); covariances of
 * v with the complete slope by inner coordinates (q x n_inner; NULL: not wanted), and its value by
 * Laplace's method. */
typedef struct {
  double *mean, *cov; /* q, q x q */
  double *with_slope;
  double laplace;
} general_posterior;

/* Memory of one thread; chunk: nodes at a time. */
typedef struct {
  int chunk;
  double *b, *a;                                 /* rows; rows x q, by row */
  double *at, *at_value, *at_x, *at_xx, *at_xxx; /* rows: the predictor at the mode, p there */
  double *x, *value, *first, *second;            /* rows x chunk each */
  double *moment;                                /* rows x general_n_moment() */
  double *v, *z, *node_slope, *e, *h;            /* q x chunk each; chunk */
  double *slope, *weighted;                      /* n_inner x chunk */
  double *score, *complete, *spread;             /* of the group: n_inner, twice squared */
} general_space;

/* Place of entry (r, c), r >= c, of a lower triangle by row: of the root too. */
static inline int general_packed(int r, int c) { return r * (r + 1) / 2 + c; }
/* Moments of a row over the nodes: E p'; E p'' times 1, v, v v'. */
static inline int general_n_moment(int q) { return 2 + q + q * (q + 1) / 2; }

#endif
