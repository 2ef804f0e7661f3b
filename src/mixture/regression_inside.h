/* What the files of the mixture of regressions share among themselves.
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

static inline int sigma_of(const regression *w, int j) { return w->spec.common_sigma ? 0 : j; }

/* Components first .. last - 1 share sigma s. */
static inline int sigma_first(const regression *w, int s) { return w->spec.common_sigma ? 0 : s; }
static inline int sigma_last(const regression *w, int s) {
  return w->spec.common_sigma ? w->spec.k : s + 1;
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

/* ---- rows: mixture/regression.c -------------------------------------------------------- */

/* Rows row .. row + n - 1 to a block (ld x p) of x~, times the root of the weight where there is
 * one; padded with copies of the last row. */
void regression_load(const regression *w, int row, int n, int ld, double *block);

/* Solves A x = b for symmetric positive semidefinite A (p x p), by the Cholesky factor of A with
 * unit diagonal; a column that depends on those before it (up to 1e-11 of its length squared) has
 * x = 0.  Leaves the diagonal of the inverse, zero in such columns, in w->unit. */
void regression_solve(const regression *w, const double *A, const double *b, double *x);

/* gamma_j (p), and its image in the field; and gamma (p x k) back from the field. */
void regression_set_gamma(const regression *w, int j, const double *gamma);
void regression_get_gamma(const regression *w);

/* ---- gaussian rows: mixture/regression_gaussian.c -------------------------------------- */

void regression_gaussian(mixture_part *part, const regression *w);
elbo_status regression_gaussian_prepare(regression *w, int *component);

/* Statistics: for each component the cross-products of t = (1, x~, e), times the root of the
 * weight, with e = y~ - x~' gamma_j the residual at the parameters of the pass: they lose no digits
 * however good the fit.  Then these gamma (p x k), and sum_ij r_ij log(weight_i) / 2. */
static inline const double *stat_cross(const regression *w, const double *stat, int j) {
  return stat + packed_size(w->spec.p + 2) * (size_t)j;
}
static inline const double *stat_origin(const regression *w, const double *stat, int j) {
  return stat + packed_size(w->spec.p + 2) * (size_t)w->spec.k + (size_t)w->spec.p * (size_t)j;
}
/* sum r x~ x~' (p x p) to A and sum r x~ e to b. */
void regression_normal_equations(const regression *w, const double *stat, int j, double *A,
                                 double *b);
/* sum_i r_ij weight_i E (y~ - x~' gamma_j)^2 */
double regression_square(const regression *w, const double *stat, int j);

/* ---- binomial and poisson rows: mixture/regression_glm.c ------------------------------- */

void regression_glm(mixture_part *part, const regression *w);
size_t regression_glm_block(int p);

/* ---- vb: mixture/regression_vb.c ------------------------------------------------------- */

elbo_status regression_vb(mixture_part *part, regression *w);
/* gamma_j ~ N(gamma, V), and its image in the fields. */
void regression_set_q(const regression *w, int j, const double *gamma, const double *V);
/* -KL(N(gamma, V) || p(gamma)), V = root root'. */
double regression_minus_kl(const regression *w, const double *gamma, const double *V,
                           const double *root);
/* Natural parameters of q(gamma_j), as law_normal_natural() has them. */
void regression_natural_q(const regression *w, int j, double *eta);

#endif
