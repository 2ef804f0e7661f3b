/* Binomial and poisson rows of the mixture of regressions.  With b(x) = weight log(1 + e^x) or e^x,
 *
 *   log p(y | x) = y x - b(x) + constant,   x = offset + x~' gamma,
 *
 * and under vb x is normal under q, and E_q b takes the place of b.  There are no sufficient
 * statistics: every function here passes over the rows, a block at a time. */
#ifndef ELBO_MIXTURE_REGRESSION_GLM_H
#define ELBO_MIXTURE_REGRESSION_GLM_H

#include "mixture/regression_inside.h"

/* Steps of a search, and how often one is halved. */
enum { NEWTON_STEPS = 5, HALVINGS = 30 };

/* A fall that small says that there is nothing left to gain. */
static inline int is_rounding(double next, double value) {
  return next < value && value - next <= 1e-12 * (1.0 + fabs(value));
}

/* sum_i r_ij E log p at q(gamma_j) = N(gamma, root root') (root = NULL: a point).  Unless A is NULL
 * also the gradient sum r (y - E b') x~ (p), A = sum r E b'' x~ x~' (p x p) and, in w->plain, what
 * the diagonal of A would be if b'' were 1 (by trial). */
double regression_glm_pass(const regression *w, const double *r, int j, const double *gamma,
                           const double *root, double *gradient, double *A);

/* What moves along d do to the rows. */
typedef struct {
  double most, square, score, far;
} rows_along;
/* most: largest |x~' d|; square: sum r (x~' d)^2 by trial; score: positive where d takes rows out;
 * far (given most): how far to go until of all that d moves a double sees no more. */
void regression_glm_along(const regression *w, const double *r, int j, const double *gamma,
                          const double *d, rows_along *to);

/* Doubles of w->block. */
size_t regression_glm_block(int p);
void regression_glm(mixture_part *part, const regression *w);

#endif
