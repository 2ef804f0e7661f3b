/* Several grouping factors: Laplace's method over all levels at once. */
#ifndef ELBO_GENERAL_CROSSED_H
#define ELBO_GENERAL_CROSSED_H

#include "general/types.h"
#include "math/blocked.h"

typedef struct {
  int n_factor, q, n_node, n, n_pair; /* n: latent variables of all levels */
  const int *first, *n_unit;          /* as in general_input */
  int *first_node;                    /* n_factor */
  int *node;                          /* rows x n_factor, by row: the level of each factor */
  int *cell;                          /* rows x n_pair, by row: block of each pair of them */
  int *size;                          /* n_node: terms */
  blocked H;                          /* at the mode its root, and where asked its inverse */
  double *v, *step, *trial;           /* n: the mode, by place in H */
  double *a, *Ha;                     /* rows x q, by row: L'Z, and what H^{-1} makes of it */
  double *at, *value, *x, *xx, *xxx;  /* rows: predictor, p and its derivatives there */
  double *spread, *pull;              /* rows: variance of the predictor, t; see crossed.c */
  double *slope;                      /* p + q (q + 1) / 2 */
  double log_det;                     /* log |H| */
  int points;                         /* as in general_rule */
} general_crossed;

void general_crossed_init(general_crossed *c, const general_input *in, const general_rows *rows,
                          int threads, const elbo_memory *mem);
/* As general_evaluate(): sums at a point, without the constant; `complete` and `score` are those of
 * the joint density at the mode. */
elbo_status general_crossed_evaluate(general_crossed *c, const general_rows *rows,
                                     const general_point *at, general_order order,
                                     general_sums *sums);
/* Under N(mode, H^{-1}), after the same: mean and sd of each row's predictor, and E log p(v) -
 * E log q(v), added to rest. */
void general_crossed_normal(const general_crossed *c, const general_rows *rows, double *x,
                            double *sd, double *rest);
/* h at the mode, and at v = mode + sign L^{-T} z, L L' = H, with its slope there by inner
 * coordinates; after an evaluation, of which no more is known of the rows then. */
double general_crossed_at_mode(general_crossed *c, const general_rows *rows,
                               const general_point *at);
double general_crossed_draw(general_crossed *c, const general_rows *rows, const general_point *at,
                            const double *z, double sign, double *slope);
/* Of level g of factor f, k its terms: mode of v (k) and its covariance (k x k), after an
 * evaluation to the first order. */
void general_crossed_level(const general_crossed *c, int f, int g, double *mode, double *cov);
/* The same matrix with other weights in place of -f'': the rows a_i of a point; H and its root;
 * H^{-1} where H has entries, and the variances `spread`; H^{-1} R for R (n x k, by row); a_i'v;
 * out += sum_i weight_i a_i. */
void general_crossed_roots(general_crossed *c, const general_rows *rows, const general_point *at);
elbo_status general_crossed_factor(general_crossed *c, int n_row, const double *weight);
void general_crossed_invert(general_crossed *c, int n_row);
void general_crossed_solve(const general_crossed *c, int k, double *R);
double general_crossed_along(const general_crossed *c, int i, const double *v);
void general_crossed_add_rows(const general_crossed *c, int n_row, const double *weight,
                              double *out);

#endif
