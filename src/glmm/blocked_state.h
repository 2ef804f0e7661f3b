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
  int n, p1;           /* columns of Z, of all levels; p + 1 */
  double *root, *unit; /* q x q; q: where it is, directions without variance given some */
  double v;
  int factored, inverted, solved; /* up to date: L; Z; forward and E */
  double log_det;
  double *origin;           /* p */
  double *cross, *by_place; /* cells->cross, and cells->by_node (n x p1) by place, at the origin */
  double *forward, *E;      /* n x p1, by row: L^{-1} root'Z'D^{-1}[X r], and E */
  double *left, *product;   /* n x k, k the larger of p1 and the number of pairs */
  double *given;            /* q x q: the root as it was given */
  double *weight;           /* q: sum over levels of Z'WZ on the diagonal */
  double *factor_sum;       /* q x q: sum over levels of Z'Z root M^{-1} */
  double *scratch;
  int n_pair;
} crossed;

/* Directions of the root without variance are given some. */
void crossed_give_variance(crossed *c);
/* A, solutions and the inverse brought up to date. */
elbo_status crossed_factor(crossed *c);
void crossed_solve(crossed *c);
void crossed_invert(crossed *c);
/* out (n x k, by row) = Z'WZ in. */
void crossed_product(const crossed *c, int k, const double *in, double *out);
/* out = root in, or root' in, level by level. */
void crossed_by_root(const crossed *c, const double *root, int transposed, int k, const double *in,
                     double *out);
/* Added to, as glmm_solver has it. */
void crossed_objective(void *state, double *cross, double *log_det);
/* By factor the sum over its levels of diagonal blocks of Z'WZ root M^{-1}, to c->factor_sum. */
void crossed_factor_sum(crossed *c);
size_t crossed_scratch_size(int q, int p, int n_pair);
void crossed_derivatives(void *state, const lmm_point *point, lmm_derivatives *out);

#endif
