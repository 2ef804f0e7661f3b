/* The Gaussian mixed model with one grouping factor,
 *
 *   y_i = x_i' beta + z_i' u_g(i) + e_i,   u_g ~ N(0, Sigma),   e_i ~ N(0, sigma_l(i)^2 / w_i),
 *
 * Sigma block diagonal (a block a term), l the level of the residual variance.  What its files
 * share: types, and words for the cases.  From below up, each using only what stands above it here:
 *
 * cross.h         cross-products of [X y]
 * solver.h        what the model asks of its linear algebra
 * blocked, blocked_derivatives
 *                 the solver of several factors: the normal matrix of all levels in blocks
 * blocked_product products with all its levels
 * blocked_apart   the same where q has the factors apart
 * blocked_sums, blocked_hessian, blocked_start
 *                 its traces by level, second derivatives, variances to start from
 * groups, plain, avx2, avx512
 *                 the solver of one factor: every group, eight at a time (kernels.h), and its q
 * survey          what a first look at the rows says of the columns
 * cells           the rows of a group at a level, sorted and rotated
 * stats           sufficient statistics as a flat vector: opened, added to, merged
 * crossed_sums    the same of several factors: sums by level and by pair of levels
 * crossed         these for their solver, under a law
 * close           statistics for the kernels, under a law
 * parameters      eta <-> Sigma and sigma, chain rules, natural scale
 * prior           priors: what they add to the objective
 * smooth          smooth terms: a latent vector of all rows among the coefficients
 * work            the state of a model: memory, priors, theta
 * objective       the objective as a function of (Sigma, variance)
 * information     its derivatives
 * bound           columns that say nothing new, objectives without a bound
 * starts          least squares, starting points
 * e_step          q, exact at theta, and its summaries
 * elbo            ELBO, its rounding, KL
 * m_step          theta from q
 * settle          what is within rounding of the boundary
 * lmm             the model as the engine sees it
 * units           from and to the caller's units
 * simulate        draws from the model
 * profile         how far a parameter can go
 * fit             a model with its data: statistics, priors, the climb, refits
 *
 * Everything works on scaled data: columns shifted to their mean where an intercept absorbs it and
 * scaled by powers of two, so that neither units nor origins matter. */
#ifndef ELBO_GLMM_TYPES_H
#define ELBO_GLMM_TYPES_H

#include <math.h>
#include <stddef.h>

#include "glmm/solver.h"
#include "law/latent_law.h"
#include "math/status.h"

enum { LMM_MAX_TERMS = LATENT_MAX_TERMS };

typedef enum { LMM_JOINT = 0, LMM_EM, LMM_REML, LMM_VB } lmm_method;

/* ---- data ------------------------------------------------------------------------------------ */

/* The rows, borrowed.  X (n x p) and Z (n x q) by column; group in 1..m; level in 1..n_level or
 * NULL; weight NULL or positive. */
typedef struct {
  int n, p, q, m, n_level;
  const double *X, *y, *Z, *weight;
  const int *group, *level;
  /* Several grouping factors (n_factor > 0): the terms of factor f are first[f] .. first[f + 1] -
   * 1, its levels groups[f] in 1..n_unit[f]; there is no `group` then. */
  int n_factor, threads;
  const int *first, *n_unit;
  const int *const *groups;
} lmm_rows;

/* The law of the latent variables and what is held constant.  Scales in the caller's units. */
typedef struct {
  lmm_method method;
  int n_block;
  const int *block;        /* q: block of each latent term, 0-based and non-decreasing */
  const double *sd;        /* q: constant sd, Inf for no law, NaN where free */
  const double *cor;       /* n_block: constant correlation of a block of two, NaN where free */
  const double *sigma;     /* n_level: constant residual sd, NaN where free */
  int fixed_origin;        /* 1: the latent terms keep their origin (their sds have priors) */
  int n_smooth;            /* smooth terms, see glmm/smooth.c */
  const int *smooth_size;  /* n_smooth: the columns of each, the last ones of X */
  const double *smooth_sd; /* n_smooth: constant sd, NaN where free */
  const int *kind, *common;   /* n_block: latent_kind, and whether one sd is common to its terms;
                               * NULL: free */
  const double *const *matrix; /* n_block: of a multiple; or NULL */
  int threads;                 /* that the solver of several factors may use; 0: one */
} lmm_law;

/* Column (X_j - shift_j) * scale_j in place of X_j, and so on.  x_intercept is the constant
 * column of X or -1; z_intercept[k] the column of Z that absorbs the shift of column k, or -1. */
typedef struct {
  int x_intercept;
  double y_shift, y_scale, root_weight_scale;
  double *x_shift, *x_scale, *z_shift, *z_scale; /* p, p, q, q */
  int *z_intercept;                              /* q */
} lmm_scaling;

/* Groups with the same levels of residual variance: `n_cell` cells (group x level) each.
 * data: n_block blocks of K x (q + p + 1) x SIMD_LANES doubles, K = q * n_cell. */
typedef struct {
  int n_cell, n_block, first_block;
  const int *level; /* n_cell, 0-based */
  int *n_between;   /* n_block x n_cell x SIMD_LANES: rows of a cell that are not padding */
  double *data;
} lmm_run;

/* Rows of a cell, whitened by their weights and rotated by the Q' of a QR decomposition of their
 * Z, fall apart into q rows [R | X y] that carry all there is to know about u ("between"), and the
 * rest, of which only the cross-products matter ("within", summed over cells by level). */
typedef struct lmm_crossed lmm_crossed;

typedef struct {
  double n; /* rows */
  int p, q, m, n_level, n_run, n_block;
  lmm_crossed *crossed; /* of several factors, or NULL; where there are, there are no runs, and all
                         * rows are within */
  lmm_run *run;
  int *group_of_lane; /* n_block * SIMD_LANES: group (0-based) or -1 */
  double *within;     /* n_level x (p + 1) x (p + 1): sum of [X y]'[X y] of the within rows */
  double *n_rows;     /* n_level: rows */
  double *n_within;   /* n_level: rows less the q rows per cell of the between part */
  double *n_distinct; /* n_level: rows less min(rows, q) for each cell: within rows that exist */
  double log_weight;  /* sum log w */
  double rounding;    /* error that the scaled response carries from being computed; 0: data */
  lmm_scaling scaling;
} lmm_stats;

/* ---- parameters ------------------------------------------------------------------------------ */

typedef struct {
  int q, n_block, n_level, n_eta, n_sigma; /* n_sigma: free residual sds, after Sigma in eta */
  int n_smooth;                            /* free sds of smooth terms, the last of eta */
  int n_pair;                              /* entries (a >= b) of Sigma inside blocks */
  int n_no_law;                            /* latent terms without a law */
  latent_law *law;                         /* n_block: of each block of Sigma */
  int *start;                              /* n_block + 1: first term of each block */
  int *eta_of_block;                       /* n_block: its first eta */
  int *kind;                               /* q: latent_row */
  int *eta_of_row;                         /* q: first eta of the row of a free block */
  int *eta_of_sigma;                       /* n_level: eta, or -1 */
  double *length;                          /* q: constant sd, scaled */
  double *sigma;                           /* n_level: constant, scaled */
  int *pair_a, *pair_b, *no_law;
  double *T, *Ti;     /* q x q: scaled latent variable = T u, and the inverse */
  double sigma_scale; /* scaled residual sd = sigma_scale * sigma */
} lmm_parameters;

/* ---- priors ---------------------------------------------------------------------------------- */

/* What priors add to the objective as a function of Sigma and the residual variances: log p(theta)
 * where these are points, and under variational Bayes all of the ELBO that is not the marginal
 * likelihood (glmm/prior.c).  Normal priors of beta are rows of [X y]. */
typedef struct lmm_prior lmm_prior;
struct lmm_prior {
  elbo_status (*value)(const lmm_prior *prior, const lmm_parameters *par, const double *Sigma,
                       const double *variance, double *value);
  /* The sizes of what is added up to it, whose rounding it has. */
  double (*size)(const lmm_prior *prior, const lmm_parameters *par, const double *Sigma,
                 const double *variance);
  /* By the entries of Sigma in pairs (direction e_a e_b' + e_b e_a', or e_a e_a') and the residual
   * variances: added to gradient (n) and hessian (n x n, lower). */
  elbo_status (*derivatives)(const lmm_prior *prior, const lmm_parameters *par, const double *Sigma,
                             const double *variance, double *gradient, double *hessian);
  /* The coordinate step given q(u): second (q x q) and square (n_level). NULL: there is no closed
   * form, and the M-step climbs. */
  elbo_status (*update)(const lmm_prior *prior, const lmm_parameters *par, const double *second,
                        const double *square, double *Sigma, double *variance);
  const int *family;                    /* sd_family of each sd, then of each sigma */
  const double *df, *scale;             /* q, scaled; half-t of a covariance share their df */
  const double *lkj;                    /* n_block: lkj(eta) of the correlations; NaN: none said, by
                                         * variational Bayes what half-t priors give */
  const double *sigma_df, *sigma_scale; /* n_level */
  const double *n_unit; /* n_block: levels that have its terms */
  const double *n_rows; /* n_level */
  int mean_field;       /* q(beta) q(u) instead of q(beta, u) */
  int by_factor;        /* and prod_f q(u_f) instead of q(u) */
  double *cross;        /* (p + 1) x (p + 1), lower: normal prior of beta as rows of [X y] */
  double constant;      /* its normalising constant */
};

/* ---- kernels --------------------------------------------------------------------------------- */

/* What is done to every group, see glmm/kernels.h.  Cross-products of [X y] are taken from
 * y - X origin, origin being a beta near the best one: little is lost then when the residuals are
 * small. */
typedef struct {
  /* Rotate the rows of one cell. */
  void (*reduce)(double *rows, int n_rows, int stride, int q, int n_columns, double *within);
  void (*objective)(const lmm_run *run, int q, int p, const double *L, const double *prior,
                    const double *variance, const double *origin, double *cross, double *log_det,
                    double *work);
  void (*derivatives)(const lmm_run *run, int q, int p, const double *L, const double *prior,
                      const double *variance, const lmm_point *point, lmm_derivatives *out,
                      double *work);
  void (*posterior)(const lmm_run *run, int q, int p, const double *L, const double *prior,
                    const double *variance, const double *beta, double spread, double *posterior,
                    double *log_det, double *work);
  void (*moments)(const lmm_run *run, int q, int p, const double *L, const double *origin,
                  const double *posterior, const double *C, double *second, double *cross,
                  double *trace, double *work);
  void (*divergence)(const lmm_run *run, int q, int p, const double *L, const double *prior,
                     const double *variance, const double *M, const double *from, const double *to,
                     const double *shift, const double *C, double *trace, double *work);
  size_t (*work_size)(int q, int p, int n_cell, int n_pair);
} lmm_kernels;

/* ---- state ----------------------------------------------------------------------------------- */

/* Smooth terms: the last columns of X, from `first` on, have coefficients b = root c with a law,
 * c ~ N(0, I) and root = unit sd; sd has either sign, and may be zero.  All p x p matrices here are
 * of (beta, c), or of (beta, b). */
typedef struct {
  int n, first, n_column;   /* terms; columns */
  int *start;               /* n + 1: first column of each */
  int *eta_of;              /* n: eta, or -1 where the sd is held */
  double *sd, *to_user;     /* n: caller's sd = sd * to_user */
  double *unit, *root;      /* p: 0 and 1 for beta */
  const int *family;        /* n: law of each sd, where these are points; NULL: no priors */
  const double *df, *scale; /* n: scale scaled */
  double *extent;           /* n: X'X summed over the columns, in units of sd */
  /* at theta, from lmm_smooth_solve() */
  double *A, *gradient;  /* X'V^{-1}X with the prior of beta, X'V^{-1}(y - X beta) */
  double *M_inverse, *P; /* covariance of (beta, c); of c given beta, 1 and 0 for beta */
  double *C;             /* covariance under q of (beta, b): 0 for points */
  double *c;             /* p: 0 for beta */
  /* q, in coordinates where its prior is N(0, I) */
  double *q_sd, *q_c, *q_next_c, *q_P, *q_next_P;
  double *scratch;
} lmm_smooth;

/* A combination of the coefficients held at a value, of' beta + offset = value; what holding it
 * says, from the last time that beta was solved for: minus the slope of the objective by the value,
 * the variance of the combination were it free, and how beta moves with it. */
typedef struct {
  double *of, offset, value; /* of: p */
  double slope, variance, *along;
} lmm_constraint;

typedef struct {
  const lmm_stats *stats;
  glmm_solver solver;
  const lmm_prior *prior; /* NULL where there is none; set after lmm_work_init */
  lmm_parameters par;
  lmm_smooth smooth;
  lmm_method method;
  lmm_constraint *constraint; /* NULL: all of beta is free */
  double constant; /* the objective in the caller's units less that of the scaled data */
  /* theta */
  double *eta, *beta, *Sigma, *L, *variance;
  double *origin, *prior_cross; /* beta near the best; prior->cross at it */
  double *summary_origin;                /* the origin when q was summarised */
  double *delta;                         /* p: a beta less an origin */
  double inflation;     /* tr(diag(A) A^{-1}), A = X'V^{-1}X: how solving by A magnifies rounding */
  double *profile_beta; /* the best beta for Sigma and variance, where that is what is asked */
  /* q: the current one, and the exact posterior at theta (filled by the KL, swapped in by the
   * E-step) */
  double *q, *q_next;
  double *root, *q_root, *q_next_root; /* of theta, of q, of the exact posterior */
  double *unit;                        /* q: prior precision of b, 0 for terms without a law */
  double q_log_det, q_next_log_det;
  double *q_beta, *q_next_beta, *q_C, *q_next_C; /* reml: q(beta) */
  double *C_root;                                /* p x p, lower: of q_C */
  int q_next_valid, q_is_exact;
  int average; /* second derivatives may be the average information's: for steps */
  double evidence; /* log evidence at theta */
  int evidence_valid;
  /* summaries of q */
  double *second;   /* q x q: sum_g E[b b'] */
  double *second_u; /* q x q: sum_g E[u u'] */
  double *residual; /* n_level x (p+1) x (p+1): cross-products of [X, y - X summary_origin - Z E u],
                     * within included */
  double *trace;    /* n_level: the rest of E |y - X beta - Z u|^2 */
  /* scratch */
  double *cross, *C, *squares, *scratch, *jacobian;
  lmm_derivatives d;
  double *level_cross; /* n_level x p x p: X'X by level (mean field) */
  double *spread_eta;  /* n_eta x p x p: X' V^-1 (dV / d eta_j) V^-1 X */
  double *cross_eta;   /* n_eta x p: d^2 objective / d eta d beta */
} lmm_work;

static inline int integrates_beta(const lmm_work *w) {
  return w->method == LMM_REML || w->method == LMM_VB;
}

/* q(beta) q(u): beta is integrated, but u knows only its mean. */
static inline int mean_field(const lmm_work *w) { return w->prior != NULL && w->prior->mean_field; }

/* Nothing of glmm/smooth.h is called where there are none. */
static inline int has_smooth(const lmm_work *w) { return w->smooth.n > 0; }

/* q has coefficients: beta, or those of smooth terms. */
static inline int coefficients_latent(const lmm_work *w) {
  return integrates_beta(w) || has_smooth(w);
}

/* beta less an origin, into w->delta. */
static inline const double *from_origin(lmm_work *w, const double *beta, const double *origin) {
  for (int j = 0; j < w->stats->p; j++) w->delta[j] = beta[j] - origin[j];
  return w->delta;
}

/* Terms of factor f with a law. */
static inline int terms_with_law(const lmm_work *w, int f) {
  int n = 0;
  for (int k = w->solver.first[f]; k < w->solver.first[f + 1]; k++) n += w->unit[k] > 0.0;
  return n;
}

/* Levels that term k has. */
static inline int levels_of_term(const lmm_work *w, int k) {
  int f = 0;
  while (w->solver.first[f + 1] <= k) f++;
  return w->solver.n_unit[f];
}

/* Latent variables, of all levels, whose terms have a law, or have none. */
static inline double count_with_law(const lmm_work *w) {
  double n = 0.0;
  for (int k = 0; k < w->stats->q; k++) n += w->unit[k] > 0.0 ? levels_of_term(w, k) : 0.0;
  return n;
}

static inline double count_without_law(const lmm_work *w) {
  double n = 0.0;
  for (int k = 0; k < w->stats->q; k++) n += w->unit[k] > 0.0 ? 0.0 : levels_of_term(w, k);
  return n;
}

/* log |det root| over the terms of factor f with a law. */

static inline double log_det_root(const lmm_work *w, int f) {
  double sum = 0.0;
  for (int k = w->solver.first[f]; k < w->solver.first[f + 1]; k++)
    if (w->unit[k] > 0.0) sum += log(fabs(w->root[k * (w->stats->q + 1)]));
  return sum;
}

#endif
