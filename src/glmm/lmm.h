/* The Gaussian mixed model with one grouping factor,
 *
 *   y_i = x_i' beta + z_i' u_g(i) + e_i,   u_g ~ N(0, Sigma),   e_i ~ N(0, sigma_l(i)^2 / w_i),
 *
 * Sigma block diagonal (a block a term), l the level of the residual variance.
 *
 * glmm/stats.c        rows -> sufficient statistics, in one pass
 * glmm/kernels.h      what is done to every group, eight at a time (see lmm_kernels below)
 * glmm/parameters.c   eta <-> Sigma and sigma, chain rules, natural scale
 * glmm/prior.c        priors under variational Bayes: what they add to the objective
 * glmm/map.c          priors of parameters that are points
 * glmm/smooth.c       smooth terms: a latent vector of all rows among the coefficients
 * glmm/objective.c    objective, its bound and derivatives, starts
 * glmm/lmm.c              q: E- and M-step, ELBO, KL; the model as the engine sees it
 *
 * Everything below works on scaled data: columns shifted to their mean where an intercept
 * absorbs it and scaled by powers of two, so that neither units nor origins matter. */
#ifndef ELBO_GLMM_LMM_H
#define ELBO_GLMM_LMM_H

#include "engine/engine.h"

/* Latent terms of a group, at most: small arrays live on the stack. */
enum { LMM_MAX_TERMS = 64 };

typedef enum { LMM_JOINT = 0, LMM_EM, LMM_REML, LMM_VB } lmm_method;

/* The rows, borrowed.  X (n x p) and Z (n x q) by column; group in 1..m; level in 1..n_level or
 * NULL; weight NULL or positive. */
typedef struct {
  int n, p, q, m, n_level;
  const double *X, *y, *Z, *weight;
  const int *group, *level;
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
} lmm_law;

/* Columns of X that belong to smooth terms. */
int lmm_law_smooth_columns(const lmm_law *law);

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
typedef struct {
  int n, p, q, m, n_level, n_run, n_block;
  lmm_run *run;
  int *group_of_lane; /* n_block * SIMD_LANES: group (0-based) or -1 */
  double *within;     /* n_level x (p + 1) x (p + 1): sum of [X y]'[X y] of the within rows */
  double *n_rows;     /* n_level: rows */
  double *n_within;   /* n_level: rows less the q rows per cell of the between part */
  double
      *n_distinct;   /* n_level: rows less min(rows, q) for each cell: the within rows that exist */
  double log_weight; /* sum log w */
  double rounding; /* error that the scaled response carries from being computed; 0 if it is data */
  lmm_scaling scaling;
} lmm_stats;

elbo_status lmm_stats_build(lmm_stats *stats, const lmm_rows *rows, const lmm_law *law,
                            const elbo_memory *mem);

/* Replaces the response by a draw from the model at theta, in the statistics themselves: the rows need
 * not be made.  draws: lmm_n_draws(stats) standard normal numbers; chi_square (n_level): chi-square
 * numbers with lmm_chi_square_df degrees of freedom (0 where those are 0); memory:
 * lmm_simulate_size(stats) doubles. */
size_t lmm_n_draws(const lmm_stats *stats);
double lmm_chi_square_df(const lmm_stats *stats, int level, double *memory);
void lmm_stats_simulate(lmm_stats *stats, const double *L, const double *beta,
                        const double *variance, const double *draws, const double *chi_square,
                        double *memory);
size_t lmm_simulate_size(const lmm_stats *stats);

/* ---- parameters ---------------------------------------------------------------------------- */

/* Row j of the Cholesky factor L of a covariance block is free, or of given length (a constant
 * sd: angles), or of given direction (a constant correlation: a length), or both. */
typedef enum {
  LMM_ROW_FREE = 0,
  LMM_ROW_LENGTH,
  LMM_ROW_DIRECTION,
  LMM_ROW_FIXED,
  LMM_ROW_NO_LAW
} lmm_row_kind;

typedef struct {
  int q, n_block, n_level, n_eta, n_sigma; /* n_sigma: free residual sds, after Sigma in eta */
  int n_smooth;                            /* free sds of smooth terms, the last of eta */
  int n_pair;                              /* entries (a >= b) of Sigma inside blocks */
  int n_no_law;                            /* latent terms without a law */
  int *start;                              /* n_block + 1: first term of each block */
  int *kind;                               /* q: lmm_row_kind */
  int *eta_of_row;                         /* q: first eta of the row */
  int *eta_of_sigma;                       /* n_level: eta, or -1 */
  double *length, *cor;                    /* q (scaled), n_block */
  double *sigma;                           /* n_level: constant, scaled */
  int *pair_a, *pair_b, *no_law;
  double *T, *Ti;     /* q x q: scaled latent variable = T u, and the inverse */
  double sigma_scale; /* scaled residual sd = sigma_scale * sigma */
} lmm_parameters;

void lmm_parameters_init(lmm_parameters *par, const lmm_stats *stats, const lmm_law *law,
                         const elbo_memory *mem);
int lmm_row_size(const lmm_parameters *par, int row); /* free parameters of the row */
/* L (q x q, zero rows where there is no law), Sigma = L L' and variance (n_level) from eta. */
void lmm_parameters_unpack(const lmm_parameters *par, const double *eta, double *L, double *Sigma,
                           double *variance);
/* eta from L with its columns turned so that the diagonal is not negative, as lmm_parameters_pack() has it. */
void lmm_parameters_canonical(const lmm_parameters *par, double *L, const double *variance,
                              double *eta);
/* In free blocks a diagonal entry of L that is smaller than `small` becomes zero, and so does its column: L is
 * turned so that Sigma stays as it is. */
void lmm_parameters_round(const lmm_parameters *par, double small, double *eta);
/* eta from L, or from Sigma = L L', and variance; constants are taken as they are. */
void lmm_parameters_pack_root(const lmm_parameters *par, const double *L, const double *variance,
                              double *eta);
void lmm_parameters_pack(const lmm_parameters *par, const double *Sigma, const double *variance,
                         double *eta);
/* d Sigma / d eta_j (q x q x n_eta) and, for every pair j, k of the same block, its derivative
 * contracted with G: curvature (n_eta x n_eta, added to). */
void lmm_parameters_sigma_jacobian(const lmm_parameters *par, const double *eta, double *jacobian);
void lmm_parameters_sigma_curvature(const lmm_parameters *par, const double *eta, const double *G,
                                    double *curvature);
/* Sigma and sigma in the caller's units and their derivatives: sigma_u (q x q),
 * jacobian_u (q x q x n_eta), sigma (n_level); d sigma / d log sigma = sigma. */
void lmm_parameters_natural(const lmm_parameters *par, const double *eta, double *sigma_u,
                            double *jacobian_u, double *sigma);

/* The parameter e of (entries of Sigma in pairs, residual variances) as the pair of local terms a >= b
 * of the block from `first` on (q terms), or of the level `first`; 0 if it belongs elsewhere. */
int lmm_direction(const lmm_parameters *par, int e, int level, int first, int q, int *a, int *b);

/* ---- priors --------------------------------------------------------------------------------------- */

/* What priors add to the objective as a function of Sigma and the residual variances: log p(theta)
 * where these are points (glmm/map.c), and under variational Bayes all of the ELBO that is not
 * the marginal likelihood (glmm/prior.c).  Normal priors of beta are rows of [X y]. */
typedef struct lmm_prior lmm_prior;
struct lmm_prior {
  elbo_status (*value)(const lmm_prior *prior, const lmm_parameters *par, const double *Sigma,
                       const double *variance, double *value);
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
  double n_group;
  const double *n_rows; /* n_level */
  int mean_field;       /* q(beta) q(u) instead of q(beta, u) */
  double *cross;        /* (p + 1) x (p + 1), lower: normal prior of beta as rows of [X y] */
  double constant;      /* its normalising constant */
};

void lmm_prior_vb(lmm_prior *prior, const lmm_parameters *par);
/* Of the coefficients alone. */
void lmm_prior_beta_only(lmm_prior *prior);
/* Under variational Bayes the degrees of freedom d of each factor q (n_block + n_level; NaN: held), the
 * curvature of the ELBO in them, and how they follow the logarithms of the diagonal of S (q +
 * n_level). */
void lmm_prior_df(const lmm_prior *prior, const lmm_parameters *par, const double *Sigma,
                  const double *variance, double *df, double *information, double *slope);
void lmm_prior_map(lmm_prior *prior);
/* Independent normal priors of beta (mean, sd: p; sd infinite where flat) where
 * beta = B (scaled beta) + origin. */
void lmm_prior_set_beta(lmm_prior *prior, int p, const double *B, const double *origin,
                        const double *mean, const double *sd);

/* ---- kernels ------------------------------------------------------------------------------- */

/* Which derivatives, at which point; scalars shared by all groups. */
typedef struct {
  const double *beta; /* p */
  const double *C;    /* p x p covariance of beta, or NULL (reml: it takes part) */
  int log_det;        /* 1: z integrated; 0: z points */
  int n_pair;
  const int *pair_a, *pair_b;
} lmm_point;

/* Derivatives with respect to the entries of Sigma in pairs and the residual variances of the
 * run's cells, n = n_pair + n_cell of them: all added to. */
typedef struct {
  double *gradient; /* n */
  double *hessian;  /* n x n, lower */
  double *cross;    /* n x p: d^2 / d parameter d beta */
  double *spread;   /* n x p x p: X' V^-1 dV V^-1 X, lower */
} lmm_derivatives;

/* q(b), where u = root b: per block q (means), q x q (U, upper, by lmm_covariance_root()), q x p (gain:
 * -d mean / d beta), by lanes.  The root is that of Sigma when q was made, with the identity for terms without a law. */
size_t lmm_posterior_stride(int q, int p);
/* N (q x q, upper) from the U of a group: the covariance is N N'. U is 1 / norm on the diagonal, and above it
 * what makes N = U_1^{-1} diag(1 / norm), U_1 = U with ones on its diagonal. */
void lmm_covariance_root(int q, const double *U, double *N);

/* Cross-products of [X y] are taken from y - X origin, origin being a beta near the best one: little is
 * lost then when the residuals are small. */
typedef struct {
  /* Rotate the rows of one cell; see glmm/kernels.h. */
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

extern const lmm_kernels lmm_kernels_plain, lmm_kernels_avx2, lmm_kernels_avx512;
const lmm_kernels *lmm_kernels_current(void);

/* ---- the model ----------------------------------------------------------------------------- */

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

typedef struct {
  const lmm_stats *stats;
  const lmm_kernels *kernels;
  const lmm_prior *prior; /* NULL where there is none; set after lmm_work_init */
  lmm_parameters par;
  lmm_smooth smooth;
  lmm_method method;
  double constant; /* the objective in the caller's units less that of the scaled data */
  /* theta */
  double *eta, *beta, *Sigma, *L, *variance;
  double *origin, *within, *prior_cross; /* beta near the best; st->within and prior->cross at it */
  double *summary_origin;                /* the origin when q was summarised */
  double *delta;                         /* p: a beta less an origin */
  double inflation;     /* tr(diag(A) A^{-1}), A = X'V^{-1}X: how much solving by A magnifies rounding */
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
  double evidence; /* log evidence at theta */
  int evidence_valid;
  /* summaries of q */
  double *second;   /* q x q: sum_g E[b b'] */
  double *second_u; /* q x q: sum_g E[u u'] */
  double *
      residual; /* n_level x (p+1) x (p+1): [X, y - X summary_origin - Z E u] cross-products, within
                    * included */
  double *trace; /* n_level: the rest of E |y - X beta - Z u|^2 */
  /* scratch */
  double *cross, *C, *cells, *work, *scratch, *jacobian;
  lmm_derivatives run_d, all_d;
  double *level_cross; /* n_level x p x p: X'X by level (mean field) */
  double *spread_eta;  /* n_eta x p x p: X' V^-1 (dV / d eta_j) V^-1 X */
  double *cross_eta;   /* n_eta x p: d^2 objective / d eta d beta */
} lmm_work;

elbo_status lmm_work_init(lmm_work *work, const lmm_stats *stats, const lmm_law *law,
                          const elbo_memory *mem);
/* Gives a model its priors. */
void lmm_set_prior(lmm_work *work, const lmm_prior *prior);
/* sds of smooth terms from eta, and eta from sds. */
void lmm_smooth_unpack(lmm_work *work);
void lmm_smooth_pack(const lmm_work *work, double *eta);
/* Priors of the sds of smooth terms (n each, scales in the caller's units): the density of an sd
 * (df: shape of an inverse gamma). */
void lmm_smooth_set_prior(lmm_work *work, const int *family, const double *df, const double *scale,
                          const elbo_memory *mem);
/* Of each curve's sd the same as lmm_prior_df() has. */
void lmm_smooth_df(const lmm_work *work, double *df, double *information, double *slope);
/* log p(sd), or its part in the ELBO: added to value. */
elbo_status lmm_smooth_prior(const lmm_work *work, double *value);
/* The model as the engine sees it. */
elbo_model lmm_model(const lmm_work *work);
/* Least squares with latent variables left out (those without a law in) into work->beta; the mean
 * squares it leaves and explains. */
elbo_status lmm_least_squares(lmm_work *work, double *mean_square, double *explained);
/* Whether X explains nearly all of y, or of y within the groups of a level, so that cross-products of the two say
 * little of the residuals: below LMM_LOST of it is left. Then work->beta are coefficients that leave so little. */
#define LMM_LOST 1e-6
int lmm_lost_digits(lmm_work *work);
/* The first n_starts (at most LMM_STARTS) starting points from moments, eta (n_eta x n_starts), and
 * their objectives, -Inf where there is none.  LMM_STARTS_SIMPLE of them differ in the ratio of
 * variances only.  With a residual variance for each level the likelihood has local maxima, so that more
 * than one is worth climbing. */
enum { LMM_STARTS = 18, LMM_STARTS_SIMPLE = 3 };
elbo_status lmm_starts(lmm_work *work, int n_starts, double *eta, double *objective);
/* Puts the model at eta, beta at its best. */
elbo_status lmm_start(lmm_work *work, const double *eta);
/* Of the eta that are the same parameters, the one that lmm_parameters_pack() makes of these. */
void lmm_canonical(lmm_work *work);
/* Objective at the current Sigma and variance; beta (p) and C (p x p: (X'V^-1X)^-1) profiled out
 * unless `beta_given`.  Coefficients of smooth terms are always at their best. */
elbo_status lmm_objective(lmm_work *work, int beta_given, double *beta, double *C, double *value);
/* value, gradient and Hessian at the current eta with beta held at its best (not profiled: the
 * blocks with beta are work->cross_eta and -X'V^{-1}X, whose inverse is -work->C). */
elbo_status lmm_information(lmm_work *work, double *value, double *gradient, double *hessian);
/* work->root from work->L. */
void lmm_set_root(lmm_work *work);
/* The exact posterior at work->root and the current variance, into blocks of
 * lmm_posterior_stride(q, p); log_det: sum log |J + L'AL|. */
void lmm_posterior(lmm_work *work, const double *beta, double spread, double *posterior,
                   double *log_det);
/* Diagonal of X'X (latent terms without a law projected out) after sweeping out the columns
 * before, relative to before: below LMM_ALIASED a column says nothing new. */
#define LMM_ALIASED 1e-11
void lmm_column_pivots(lmm_work *work, double *pivots);
/* The first level of the residual variance (from 0) whose within rows X fits without error, or all
 * of its rows where Sigma may vanish, so that the objective has no bound; -1 if there is none. */
int lmm_unbounded_level(lmm_work *work);
/* The first level whose residual variance an ascent has brought to the size of rounding: a singular Sigma, or
 * one that fits the groups, leaves no error; -1 if there is none. */
int lmm_vanished_level(const lmm_work *work);

#endif
