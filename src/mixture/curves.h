/* Mixtures of mixed-effects curves (Luan & Li 2003, Bioinformatics 19:474): the rows of a unit of
 * component j are
 *
 *   y_i = offset + X_i beta_j + Z_i u_i + e_i,
 *   u_i ~ N(0, Gamma_j),   e_it ~ N(0, sigma_j^2 / weight_it),
 *
 * with u_i, the unit's own deviation, integrated out.  Gamma is made of blocks on its diagonal,
 * each any covariance matrix, or a multiple of a given one.
 *
 * Smooths: the last columns of X, in runs, have coefficients b_js ~ N(0, sd_js^2 I), latent vectors
 * of the component with an sd of its own, the penalty of a spline.  They have a law q(b_j), normal;
 * under em the objective is then a lower bound of the log-likelihood, while the other coefficients
 * stay points.  Under vb all of beta_j has the law q(beta_j); under joint all are points.  Given z
 * and these coefficients u_i has its exact law (vb: the best one), so that q(z) q(u | z, beta)
 * q(beta) is what the bound is of.
 *
 * mixture/curves.c             the M-step and the constructor, over all that follow
 * mixture/curves_em.c          parameters as points: variances, coordinates, gradient, priors
 * mixture/curves_vb.c          laws of the parameters: normal, inverse Wishart, inverse gamma
 * mixture/curves_smooth.c      laws of coefficients, the sds of smooths
 * mixture/curves_sums.c        what the units say of a component, and of all
 * mixture/curves_cells.c       the pass over units, and the statistics that it leaves
 * mixture/curves_factor.c      the covariance of a unit's rows, factored
 * mixture/curves_parameters.c  units of parameters, blocks of Gamma, priors, fields
 * mixture/curves_design.c      units that share X_i, Z_i and weights, and what is needed of each
 * mixture/curves_inside.h      types */
#ifndef ELBO_MIXTURE_CURVES_H
#define ELBO_MIXTURE_CURVES_H

#include "mixture/linear.h"
#include "mixture/mixture.h"

typedef enum { CURVES_FREE = 0, CURVES_MULTIPLE } curves_kind;

/* What is borrowed must outlive the part.  No value of X, Z, y, weights or offset is missing. */
typedef struct {
  mixture_method method;
  int k;
  mixture_units units;
  int p, q;
  const double *X, *Z, *y;        /* n_row x p and n_row x q by column, n_row */
  const double *weights, *offset; /* n_row, weights positive; or NULL */
  int n_block;
  const int *block_size; /* n_block: columns of Z, which sum to q */
  const int *block_kind; /* n_block: a curves_kind; independent terms are blocks of size 1 */
  const double *matrix;  /* q x q: of the blocks that are multiples, what they are multiples of */
  const double *multiple_constant; /* n_block: root of a multiple held; NaN free; or NULL */
  int common_covariance;           /* one Gamma for all components */
  linear_priors linear;
  /* Each free block ~ inverse Wishart(covariance_df, its block of covariance_scale), each multiple
   * likewise, of order 1 with the first diagonal element of that block.  covariance_df NULL: flat
   * (em). */
  const double *covariance_df, *covariance_scale; /* n_block, q x q */
  int n_smooth;                  /* 0: none */
  const int *smooth_size;        /* n_smooth: runs of columns, the last of X */
  const double *smooth_constant; /* n_smooth: sds held (joint: all); NaN free; or NULL: all free */
  const int *smooth_family;      /* n_smooth: an sd_family; or NULL: flat (em) */
  const double *smooth_df, *smooth_scale; /* n_smooth */
} mixture_curves_spec;

/* Fields, em and joint: coefficients (p x k; of smooths E_q), covariance (q x q x k, or x 1 if
 * common), sigma (k, or 1); with smooths smooth_sd (n_smooth x k) and, em, smooth_cov
 * (columns x columns x k): Cov_q(b_j).
 * vb: mean (p x k) and cov (p x p x k) of q(beta_j); df (n_block x k, or x 1) and scale
 * (q x q x k, or x 1) of inverse Wishart laws, of order 1 for the multiple of a given matrix, which
 * stands in scale times that multiple's scale (held: df Inf, and the covariance for a scale); shape
 * and rate (k, or 1) of q(sigma^2) = inverse gamma (a constant sigma: shape Inf, and its square for
 * a rate); with smooths smooth_shape and smooth_rate (n_smooth x k), likewise.
 *
 * theta: beta (p x k); sds of smooths (n_smooth x k); for each Gamma the sds of free blocks and the
 * roots of multiples; for each Gamma the correlations of free blocks; sigma.
 *
 * vb asks for proper priors: beta_sd finite, covariance_df given, half_t for a free sigma or sd of
 * a smooth.  beta_mean and beta_sd say nothing of columns of smooths.
 * ELBO_E_UNBOUNDED: a free sigma^2 at 1e-12 of the mean square of the response or below. */
elbo_status mixture_curves_part(mixture_part *part, const mixture_curves_spec *spec,
                                const elbo_memory *mem);
mixture_maker mixture_curves_make;

#endif
