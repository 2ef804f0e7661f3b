/* The state of the mixture of regressions.
 *
 * Columns are shifted to their mean where an intercept absorbs it, and scaled by powers of two, so
 * that neither units nor origins matter:
 *
 *   x~ = (x - centre) scale,  y~ = (y - offset - y_centre) y_scale,  beta = B gamma + origin,
 *
 * with E[y~] = x~' gamma (gaussian rows; for others y is left as it is, and the linear predictor is
 * offset + x~' gamma).  gamma, V, precision and log_variance are on that scale, fields are not. */
#ifndef ELBO_MIXTURE_REGRESSION_INSIDE_H
#define ELBO_MIXTURE_REGRESSION_INSIDE_H

#include <math.h>
#include <string.h>

#include "math/la.h"
#include "law/exponential_family.h"
#include "math/rows.h"
#include "math/small.h"
#include "law/sd_prior.h"
#include "mixture/regression.h"

typedef struct {
  mixture_regression_spec spec;
  const row_kernels *kernels;
  int n_sigma; /* k, 1 if common, 0 unless gaussian */
  double *centre, *scale, y_centre, y_scale;
  double *B, *B_inverse, *origin; /* p x p, p x p, p */
  double *reach;                  /* p: largest |x~| */
  double spread;                  /* mean of weight y~^2 */
  double *root_weight;            /* n_row, gaussian; or NULL */
  double *row_constant;           /* n_row or NULL: what of the log density has no parameter */
  int *unit_of_row;               /* n_row, or NULL: the row itself */
  double *zeros;                  /* p + 1 */
  /* P (p x p), h (p): log p(gamma) = -1/2 gamma' P gamma + h' gamma + constant - p/2 log 2 pi, of
   * those coefficients that have a proper prior (the constant: as if of gamma, where all have). */
  double *prior_precision, *prior_linear, prior_constant;
  int n_proper;           /* coefficients with a proper prior */
  sd_prior sigma_prior;   /* of y_scale sigma */
  double *sigma_constant; /* n_sigma, of y~; NaN where free */
  /* The fields: beta is `coefficients` or `mean`.  Of coefficients, gamma (mean; p x k) and V
   * (covariance; p x p x k, NULL unless vb) are what is held, and the fields their image. */
  double *beta, *sigma, *cov, *shape, *rate;
  double *gamma, *V;
  /* glm, em: ones in p x k where gamma is held at the boundary, NULL otherwise; a field. */
  double *boundary;
  /* Made by prepare: Cholesky factors of V, E[1 / sigma^2] and E[log sigma^2] (n_sigma), and the
   * rows M of the kernel `quadratic` (gaussian: (p + 1) x n_quadratic x k). */
  double *root, *precision, *log_variance, *M;
  int n_quadratic;
  /* Scratch of what runs alone: not of log_density and accumulate. */
  double *A, *L, *inverse, *unit; /* p x p three times, p */
  double *linear, *step, *trial;  /* p each */
  double *from, *goal, *mix;      /* vb: natural parameters of one normal, each */
  double *trial_V, *trial_root;   /* vb: p x p each */
  double *plain, *block;          /* glm: p, and a block of rows */
  double least;                   /* glm: copies of a row that count at least; zero but in settle */
} regression;

static inline int sigma_of(const regression *w, int j) {
  return w->spec.linear.common_sigma ? 0 : j;
}

/* Components first .. last - 1 share sigma s. */
static inline int sigma_first(const regression *w, int s) {
  return w->spec.linear.common_sigma ? 0 : s;
}
static inline int sigma_last(const regression *w, int s) {
  return w->spec.linear.common_sigma ? w->spec.k : s + 1;
}
static inline int sigma_free(const regression *w, int s) { return isnan(w->sigma_constant[s]); }
static inline int n_free_sigma(const regression *w) {
  int n = 0;
  for (int s = 0; s < w->n_sigma; s++) n += sigma_free(w, s);
  return n;
}

static inline int is_held(const regression *w, int j, int a) {
  return w->boundary && w->boundary[a + w->spec.p * j] > 0.0;
}

/* out (n) = A x for square A. */
static inline void multiply(const double *A, const double *x, int n, double *out) {
  la_multiply(A, x, n, n, 1, out);
}

#endif
