/* Types of the mixture of curves, below all its files.
 *
 * Within a part everything is in units of powers of two that bring it near one,
 *
 *   x~ = x x_scale,  z~ = z z_scale,  y~ = (y - offset - y_centre) y_scale,
 *
 * and beta, Gamma, variance below belong to these; fields are in the user's units.
 *
 * A design is the rows of X, Z and weights of a unit.  Units of one design share an orthonormal
 * basis Q (rows x m) of the columns of [X Z], so that of a unit's response t = Q'y and |y - Q t|^2
 * are enough: with R = Q'X and S = Q'Z
 *
 *   l = constant - (|y - Q t|^2 / sigma^2 + |M (t - R beta)|^2) / 2,   M'M = V^{-1},
 *   V = S Gamma S' + sigma^2 I,  M lower triangular:
 *
 * a multivariate normal law of m dimensions, for the kernels of math/rows.h.  Under vb the same
 * with E[1/sigma^2]^{-1} for sigma^2 and E[Gamma^{-1}]^{-1} for Gamma, and another constant.  Where
 * beta has a law, it is about its mean, less tr(R'V^{-1}R Cov beta) / 2: u has its law given beta,
 * so what is uncertain of beta is seen through V. */
#ifndef ELBO_MIXTURE_CURVES_INSIDE_H
#define ELBO_MIXTURE_CURVES_INSIDE_H

#include <math.h>
#include <string.h>

#include "math/rows.h"
#include "math/small.h"
#include "law/latent_law.h"
#include "law/sd_prior.h"
#include "mixture/curves.h"

enum { CURVES_BLOCK_UNITS = 64 }; /* gathered at once */

typedef struct {
  int n_row, m;           /* rows of a unit; dimensions of t */
  int n_unit;             /* units of this design */
  const int *unit;        /* n_unit: which ones, in order */
  double *R, *S;          /* m x p, m x q */
  double half_log_weight; /* half the sum of the logarithms of the weights */
  double *M;              /* m x m x k, by row */
  double *centre;         /* m x k: R beta_j */
  double *constant;       /* k */
  size_t stat_at;         /* where its cells are among the statistics */
} curve_design;

/* A block of Gamma. */
typedef struct {
  int first, size; /* columns of Z */
  int multiple;    /* of a given matrix: order 1 in what follows; else free */
  int order;       /* of the inverse Wishart law: size, or 1 */
  int count; /* latent values of a unit that speak of it, over its order: 1, or the matrix's rank */
  int reference; /* of a multiple: the column with the largest element of the matrix's diagonal */
  int held;
  double df; /* of the prior */
  latent_law law; /* em: of the block, or of its multiple */
  int eta_at;     /* where its coordinates are among those of a Gamma */
} curve_block;

/* Cross-products of the units of one design under r_ij, about R beta_j. */
typedef struct {
  double n;      /* sum r */
  double rest;   /* sum r |y - Q t|^2 */
  double *s, *C; /* m, m x m: sum r (t - R beta), sum r (t - R beta)(t - R beta)' */
} curve_cell;

/* Sums over the units of component j, at the present parameters; w = S'V^{-1}(t - R beta). */
typedef struct {
  double n, rows; /* sum r, sum r n_i */
  double square;  /* sum r E|y - X beta - Z u|^2 */
  double *K, *b;  /* p x p, p: sum r X'V^{-1}X, sum r X'V^{-1}(y - X beta) */
  double *T;      /* q x q: sum r S'V^{-1}S */
  double *H;      /* q x q: sum r E[w w'] - T, with which sum r E[u u'] = n Gamma + Gamma H Gamma */
} curve_sums;

/* The same for all components, and added up over those that share a Gamma (n, H) or a sigma. */
typedef struct {
  double *b, *K;         /* p x k, p x p x k (where coefficients have laws) */
  double *n, *T, *H;     /* n_gamma, q x q x n_gamma twice */
  double *rows, *square; /* n_sigma */
} curve_totals;

/* Coefficients at their best at given sds of smooths: see mixture/curves_smooth.c. */
typedef struct {
  double value;
  double *sd;            /* n: of smooths */
  double *x;             /* p: beta less what it was; of smooths c, b = sd c */
  double *M_inverse, *P; /* p x p: Cov(beta, c); of what has a law, 0 elsewhere */
} curve_solution;

/* Smooths; n may be 0. */
typedef struct {
  int n, first, columns; /* first column of X that is of one, and how many are */
  int *start, *of;       /* n + 1: first columns; p: the smooth of a column */
  double *constant;      /* n: sd held, scaled; NaN where free */
  sd_prior *prior;       /* n: of the scaled sd */
  double *sd;            /* n x k; vb: E[1/sd^2]^{-1/2} */
  double *mean, *root;   /* columns x k, columns x columns x k, em: of q(c), Cov = L L' */
  double *field_sd, *field_cov, *shape, *rate; /* fields */
  curve_solution *best, *trial;
  double *linear, *rhs, *root_of; /* p: scratch */
} curve_smooth;

typedef struct {
  mixture_curves_spec spec;
  const row_kernels *kernels;
  int n_gamma, n_sigma; /* k, or 1 if common */
  int n_block, n_design, most_m;
  curve_block *block;
  curve_design *design;
  int *design_of; /* n_unit */
  double *t;      /* n_unit x most_m by column */
  double *rest;   /* n_unit: |y - Q t|^2 */
  double *x_scale, *z_scale, y_scale, y_centre;
  int intercept;  /* column of X that takes y_centre, or -1 */
  double spread;  /* mean of y~^2 */
  double *matrix; /* q x q: of multiples, in scaled units */
  int by_cell;    /* the statistics are cells; else r is kept */
  int inner_steps;

  /* Priors in scaled units, and the log of the Jacobian to the user's. */
  double *beta_mean, *beta_precision; /* p */
  double *covariance_scale;           /* q x q, or NULL */
  sd_prior sigma_prior;
  double *sigma_constant; /* n_sigma: of y~; NaN where free */

  /* The fields. */
  double *coefficients, *covariance, *sigma, *cov, *df, *scale, *shape, *rate;

  /* What is held; under vb means of q(beta), E[Gamma^{-1}]^{-1}, E[1/sigma^2]^{-1}. */
  double *beta;         /* p x k */
  double *Gamma;        /* q x q x n_gamma */
  double *variance;     /* n_sigma */
  double *log_variance; /* n_sigma: E log sigma^2 */
  int n_eta;        /* em: of a Gamma */
  double *eta;      /* n_eta x n_gamma */
  double *beta_cov; /* p x p x k: of q(beta) (em: of smooths, 0 elsewhere), or NULL */
  curve_smooth smooth;
  double *Scale;  /* q x q x n_gamma, vb: of inverse Wishart laws */
  double *excess; /* n_gamma: E log |Gamma| - log |E[Gamma^{-1}]^{-1}| */

  /* Scratch of what runs alone: not of log_density and accumulate. */
  curve_cell *cell;
  curve_sums *sums;
  curve_totals *totals;
  double *one, *two, *three, *four; /* largest of m, p, q, squared */
  double *step, *trial, *unit;      /* largest of m, p, q */
  double *cell_H;                   /* q x q */
  double *prior_work;               /* q x q twice */
  double *spectrum;                 /* em: of a block, and la_eigen()'s work */
  double *root, *equations;         /* em: of curves_em_root */
  double *packed, *rows;            /* of the kernel crossprod: its answer, and a block of units */
} curves;

static inline int gamma_of(const curves *w, int j) { return w->spec.common_covariance ? 0 : j; }
static inline int sigma_of(const curves *w, int j) { return w->spec.linear.common_sigma ? 0 : j; }
static inline int first_of(int common, int g) { return common ? 0 : g; }
static inline int last_of(int common, int k, int g) { return common ? k : g + 1; }
static inline int sigma_free(const curves *w, int s) { return isnan(w->sigma_constant[s]); }
static inline double *gamma_at(const curves *w, int g) {
  return w->Gamma + square(w->spec.q) * (size_t)g;
}
/* What the scaled multiple c of a block is. */
static inline double multiple_of(const curves *w, int g, const curve_block *b) {
  const int at = b->reference * (w->spec.q + 1);
  return gamma_at(w, g)[at] / w->matrix[at];
}
/* The user's units of Gamma (a, b) and of beta_a. */
static inline double gamma_unit(const curves *w, int a, int b) {
  return w->z_scale[a] / w->y_scale * (w->z_scale[b] / w->y_scale);
}
static inline double beta_unit(const curves *w, int a) { return w->x_scale[a] / w->y_scale; }

#endif
