/* What the files of the blocked solver share. */
#ifndef ELBO_GLMM_BLOCKED_STATE_H
#define ELBO_GLMM_BLOCKED_STATE_H

#include "glmm/blocked.h"
#include "glmm/crossed.h"
#include "math/blocked.h"
#include "math/small.h"

typedef struct {
  const lmm_stats *stats;
  const lmm_crossed *cells;
  blocked b;
  int n, p1, n_level;             /* columns of Z, of all levels; p + 1; residual variances */
  double *root, *unit, *variance; /* q x q; q; n_level: where it is, directions without variance
                                   * given some */
  int rest; /* the level of the residual variance with most rows: what the others leave of all */
  int weighed, factored, inverted, summed, solved; /* up to date: own to by_place; L; Z;
                                                    * factor_sum; forward and E */
  int traced;                                      /* so is traces */
  int nothing; /* no term has variance: the matrix is the identity, and is factored if asked */
  double log_det;
  double *origin;             /* p */
  double *level_cross;        /* n_level x p1 x p1: cells' at the origin */
  double *response;           /* a row of `own` of the cells: y there less X origin */
  double *own, *value;        /* Z'D^{-1}Z by node and by cell */
  double *cross, *by_place;   /* [X r]'D^{-1}[X r]; Z'D^{-1}[X r] by place: r at the origin */
  double *forward, *E;        /* n x p1, by row: L^{-1} root'Z'D^{-1}[X r], and E */
  double *left, *product, *U; /* n x k, k the larger of p1 and the number of parameters */
  double *given;              /* q x q: the root as it was given */
  double *weight;             /* q: mean over levels of Z'D^{-1}Z on the diagonal */
  double *factor_sum;         /* q x q: sum over levels of Z'D^{-1}Z root M^{-1} */
  double *form, *total;       /* n_level x p1 x p1; p1 x p1 and p: of all levels */
  double *scratch;
  double **direction; /* n_pair + n_level - 1, laid out as L: of second derivatives */
  int *there;
  double *by_n[2];          /* n each */
  double *hessian, *traces; /* space of second derivatives; tr(V^{-1} dV_i V^{-1} dV_j) */
  int n_pair;
  int apart; /* levels are independent under q */
} crossed;

/* Z'D^{-1}Z from that by level; Z'D^{-1}[X r] and [X r]'D^{-1}[X r]. */
void crossed_weigh(crossed *c);
void crossed_weigh_columns(crossed *c);
/* Directions of the root without variance are given some. */
void crossed_give_variance(crossed *c);
/* A, solutions and the inverse brought up to date. */
elbo_status crossed_factor(crossed *c);
void crossed_solve(crossed *c);
void crossed_invert(crossed *c);
/* out (n x k, by row) = Z'D^{-1}Z in. */
void crossed_product(const crossed *c, int k, const double *in, double *out);
/* out = root in, or root' in, level by level. */
void crossed_by_root(const crossed *c, const double *root, int transposed, int k, const double *in,
                     double *out);
/* to (n_i x n_j, ld apart) = scale A'BC with A and C lower (ld q), B n_i x n_j. */
void crossed_sandwich(int ni, int nj, int q, const double *A, const double *B, const double *C,
                      double scale, double *to, int ld);
/* The root of a node's factor. */
static inline const double *crossed_root(const crossed *c, const double *root, int node) {
  return root + c->cells->first[c->cells->factor_of[node]] * (c->stats->q + 1);
}
/* Z'WZ of an entry of `own` of the cells (size x size). */
static inline void crossed_own_block(const lmm_crossed *d, size_t e, double *block) {
  const int n = d->size[d->own_node[e]];
  const int step = (int)((d->first_own[e + 1] - d->first_own[e]) / (size_t)n);
  for (int a = 0; a < n; a++)
    for (int b = 0; b < n; b++) block[a + n * b] = d->own[d->first_own[e] + (size_t)(step * a + b)];
}
/* As glmm_solver has them. */
int crossed_start(void *state, const double *beta, double *term, double *residual);
void crossed_objective(void *state, double *cross, double *log_det);
/* By factor the sum over its levels of diagonal blocks of Z'D^{-1}Z root M^{-1}. */
void crossed_factor_sum(crossed *c);
/* By level of the residual variance tr(Z'WZ root M^{-1} root'). */
void crossed_level_traces(crossed *c, double *trace);
/* By level F (p1 x p1, lower), the cross-products of [X r] - Z U, U n x p1 by place, NU =
 * Z'D^{-1}Z U; and, where not NULL, X'W Z U_r (p), U_r the last column of U. */
void crossed_level_forms(const crossed *c, const double *U, const double *NU, double *F,
                         double *of_x);
/* With s = Z'V^{-1}r by level, B = Z'V^{-1}X and P = Z'V^{-1}Z: by term (q x q) the sums over
 * levels of s s', B C B' and P, and by level of the residual variance the traces of
 * Z'WZ root M^{-1} root'.
 * Columns of [B s], r at the origin, are in c->left, U = root E in c->U, its forms in c->form;
 * `at` (p1) takes [X r] at the origin to r at beta. */
typedef struct {
  double *ss, *BCB, *P, *Sigma, *at, *trace;
} crossed_terms;

size_t crossed_scratch_size(int q, int p, int n_level, int n_par);
void crossed_derivatives(void *state, const lmm_point *point, lmm_derivatives *out);
/* Of log |V| / -2: n_pair entries of Sigma, then the residual variances (n). */
void crossed_volume_gradient(crossed *c, const lmm_point *point, const crossed_terms *t,
                             double *out);
size_t crossed_hessian_size(int q, int n_pair, int n_level);
/* tr(V^{-1} dV_i V^{-1} dV_j) into T (n x n). */
void crossed_second_traces(crossed *c, const lmm_point *point, const crossed_terms *t, double *T);
/* Directions of M in units of the root: J root^{-1} E root'^{-1} J (q x q) of pair e of Sigma, with
 * `inverse` the root's; and scale root'Z'WZ root / v^2 of a residual variance's rows, added. */
void crossed_pair_in_units(const crossed *c, const lmm_point *point, int e, const double *inverse,
                           double *out);
void crossed_add_level(const crossed *c, int level, double scale, double *to);
/* Where Sigma is so small that these are large, and the root of Sigma + times delta; factored. */
int crossed_near_boundary(const crossed *c);
elbo_status crossed_grow(crossed *c, const double *Sigma, double times);
/* Where levels are independent under q (glmm/blocked_apart.c): log |M|, the parts of a posterior
 * that its covariance is in (added to), and the derivatives of log |V| (added to). */
double crossed_apart_log_det(const crossed *c);
void crossed_apart_spread(const crossed *c, double *root, double *second, double *trace);
void crossed_apart_derivatives(const crossed *c, const lmm_point *point, lmm_derivatives *out);

#endif
