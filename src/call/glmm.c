/* Entry points of the Gaussian mixed model.  `model` is the list that R's glmm_model() makes. */
#include "call/support.h"

#include <Rmath.h>
#include <float.h>
#include <math.h>
#include <string.h>

#include "glmm/bound.h"
#include "glmm/e_step.h"
#include "glmm/groups.h"
#include "glmm/information.h"
#include "glmm/lmm.h"
#include "glmm/map.h"
#include "glmm/objective.h"
#include "glmm/parameters.h"
#include "glmm/prior.h"
#include "glmm/smooth.h"
#include "glmm/starts.h"
#include "glmm/stats.h"
#include "glmm/work.h"
#include "law/sd_prior.h"
#include "math/la.h"
#include "math/simd.h"

/* ---- unpacking -------------------------------------------------------------------------------- */

typedef struct {
  lmm_rows rows;
  lmm_law law;
  lmm_stats stats;
  lmm_work work;
  lmm_prior prior;
  const double *beta_origin; /* p, or NULL: the response is y - X beta_origin */
  int scales_given;          /* the scales are looked at as points: their priors are left out */
} glmm;

static double *scratch(size_t n) { return (double *)R_alloc(n > 0 ? n : 1, sizeof(double)); }

static int dimension(SEXP x, int which, const char *name) {
  const SEXP dim = Rf_getAttrib(x, R_DimSymbol);
  if (TYPEOF(dim) != INTSXP || Rf_length(dim) != 2)
    Rf_error("internal error: `%s` must be a matrix", name);
  return INTEGER_RO(dim)[which];
}

static void check_index(const int *index, R_xlen_t n, int most, const char *name) {
  for (R_xlen_t i = 0; i < n; i++)
    if (index[i] < 1 || index[i] > most)
      Rf_error("internal error: `%s` must be in 1..%d", name, most);
}

static void unpack_model(SEXP model, glmm *g) {
  const SEXP X = call_element(model, "X"), Z = call_element(model, "Z");
  lmm_rows *rows = &g->rows;
  lmm_law *law = &g->law;
  memset(g, 0, sizeof *g);
  rows->n = dimension(X, 0, "X");
  rows->p = dimension(X, 1, "X");
  rows->q = dimension(Z, 1, "Z");
  if (rows->n < 1) Rf_error("internal error: no rows");
  if (rows->q > LMM_MAX_TERMS) Rf_error("more than %d random-effects terms", LMM_MAX_TERMS);
  if (rows->q > 0 && dimension(Z, 0, "Z") != rows->n)
    Rf_error("internal error: `Z` must have a row for each of `X`");
  const R_xlen_t n = rows->n;
  rows->X = call_doubles(model, "X", n * rows->p, 0);
  rows->Z = call_doubles(model, "Z", rows->q > 0 ? n * rows->q : -1, 0);
  rows->y = call_doubles(model, "y", n, 0);
  rows->weight = call_doubles(model, "weight", n, 1);
  rows->m = call_int(model, "n_group", 0, rows->n);
  rows->group = call_ints(model, "group", n, rows->q == 0);
  rows->n_level = call_int(model, "n_level", 1, rows->n);
  rows->level = call_ints(model, "level", n, 1);
  if (rows->group) check_index(rows->group, n, rows->m, "group");
  if (rows->level) check_index(rows->level, n, rows->n_level, "level");
  if (!rows->level && rows->n_level != 1) Rf_error("internal error: `level` is missing");
  law->method = (lmm_method)call_int(model, "method", LMM_JOINT, LMM_VB);
  law->fixed_origin = call_element(model, "prior_scale") != R_NilValue;
  law->n_block = call_int(model, "n_block", 0, rows->q);
  law->block = call_ints(model, "block", rows->q, 0);
  for (int k = 0; k < rows->q; k++)
    if (law->block[k] < 0 || law->block[k] >= law->n_block ||
        (k > 0 && law->block[k] < law->block[k - 1]))
      Rf_error("internal error: `block` must be non-decreasing");
  law->sd = call_doubles(model, "sd", rows->q, 0);
  law->cor = call_doubles(model, "cor", law->n_block, 0);
  law->sigma = call_doubles(model, "sigma", rows->n_level, 0);
  const SEXP sizes = call_element(model, "smooth_size");
  law->n_smooth = (int)Rf_xlength(sizes);
  law->smooth_size = call_ints(model, "smooth_size", law->n_smooth, 0);
  law->smooth_sd = call_doubles(model, "smooth_sd", law->n_smooth, 0);
  for (int k = 0; k < law->n_smooth; k++)
    if (law->smooth_size[k] < 1) Rf_error("internal error: `smooth_size` must be positive");
  if (lmm_law_smooth_columns(law) > rows->p)
    Rf_error("internal error: more smooth columns than columns");
}

/* ---- units -------------------------------------------------------------------------------------- */

/* beta = B scaled beta + origin: B is diagonal but for the row of the intercept. */
static void beta_to_user(const glmm *g, double *B, double *origin) {
  const lmm_scaling *s = &g->stats.scaling;
  const int p = g->stats.p, i0 = s->x_intercept;
  memset(B, 0, (size_t)p * (size_t)p * sizeof(double));
  memset(origin, 0, (size_t)p * sizeof(double));
  for (int j = 0; j < p; j++) {
    B[j + p * j] = s->x_scale[j] / s->y_scale;
    if (i0 >= 0 && j != i0) B[i0 + p * j] = -s->x_shift[j] * B[j + p * j];
  }
  if (i0 >= 0) origin[i0] = s->y_shift;
  for (int j = 0; j < p && g->beta_origin != NULL; j++) origin[j] += g->beta_origin[j];
}

static void beta_in_user_units(const glmm *g, const double *beta, double *user) {
  const int p = g->stats.p;
  double *B = scratch((size_t)p * (size_t)p), *origin = scratch((size_t)p);
  beta_to_user(g, B, origin);
  la_multiply(B, beta, p, p, 1, user);
  for (int j = 0; j < p; j++) user[j] += origin[j];
}

/* Densities of scaled sds to those of sds in the caller's units. */
static double log_jacobian(const glmm *g) {
  const lmm_parameters *par = &g->work.par;
  const int q = g->stats.q;
  double sum = 0.0;
  /* By variational Bayes densities are those of the prior in scaled units, and a flat one is not. */
  const int vb = g->law.method == LMM_VB;
  for (int k = 0; k < q; k++)
    if ((g->prior.family[k] == SD_FLAT) == vb && (!vb || par->kind[k] == LMM_ROW_FREE))
      sum += (vb ? -1.0 : 1.0) * log(par->T[k + q * k]);
  for (int l = 0; l < g->stats.n_level; l++)
    if ((g->prior.family[q + l] == SD_FLAT) == vb && (!vb || par->eta_of_sigma[l] >= 0))
      sum += (vb ? -1.0 : 1.0) * log(par->sigma_scale);
  return sum;
}

/* Priors, from the caller's units; none where the model has no `prior_scale`. */
static void set_prior(SEXP model, glmm *g) {
  if (call_element(model, "prior_scale") == R_NilValue) return;
  const int p = g->stats.p, q = g->stats.q, n_level = g->stats.n_level;
  const int vb = g->law.method == LMM_VB;
  const lmm_parameters *par = &g->work.par;
  const double *scale = call_doubles(model, "prior_scale", q, 0);
  const double *sigma_scale = call_doubles(model, "prior_sigma_scale", n_level, 0);
  double *A = scratch((size_t)q), *A_sigma = scratch((size_t)n_level);
  for (int k = 0; k < q; k++) A[k] = scale[k] * par->T[k + q * k];
  for (int l = 0; l < n_level; l++) A_sigma[l] = sigma_scale[l] * par->sigma_scale;
  lmm_prior *prior = &g->prior;
  prior->df = call_doubles(model, "prior_df", q, 0);
  prior->lkj = call_doubles(model, "prior_lkj", g->law.n_block, 0);
  prior->sigma_df = call_doubles(model, "prior_sigma_df", n_level, 0);
  prior->family = call_ints(model, "prior_family", q + n_level, 0);
  prior->scale = A;
  prior->sigma_scale = A_sigma;
  prior->n_group = g->stats.m;
  prior->n_rows = g->stats.n_rows;
  prior->mean_field = vb && call_int(model, "mean_field", 0, 1);
  prior->cross = scratch((size_t)((p + 1) * (p + 1)));
  if (g->scales_given)
    lmm_prior_beta_only(prior);
  else if (vb)
    lmm_prior_vb(prior, par);
  else
    lmm_prior_map(prior);
  double *B = scratch((size_t)(p * p)), *origin = scratch((size_t)p);
  beta_to_user(g, B, origin);
  lmm_prior_set_beta(prior, p, B, origin, call_doubles(model, "prior_beta_mean", p, 0),
                     call_doubles(model, "prior_beta_sd", p, 0));
  if (!g->scales_given) prior->constant += log_jacobian(g);
  lmm_set_prior(&g->work, prior);
  const int n_smooth = g->law.n_smooth;
  if (n_smooth == 0 || g->scales_given) return;
  const elbo_memory memory = call_memory();
  lmm_smooth_set_prior(&g->work, call_ints(model, "prior_smooth_family", n_smooth, 0),
                       call_doubles(model, "prior_smooth_df", n_smooth, 0),
                       call_doubles(model, "prior_smooth_scale", n_smooth, 0), &memory);
}

/* The inverse of B. */
static void beta_from_user(const glmm *g, double *A) {
  const lmm_scaling *s = &g->stats.scaling;
  const int p = g->stats.p, i0 = s->x_intercept;
  memset(A, 0, (size_t)p * (size_t)p * sizeof(double));
  for (int j = 0; j < p; j++) {
    A[j + p * j] = s->y_scale / s->x_scale[j];
    if (i0 >= 0 && j != i0) A[i0 + p * j] = s->x_shift[j] * s->y_scale;
  }
}

/* ---- building ------------------------------------------------------------------------------------ */

static void make_statistics(glmm *g) {
  const elbo_memory memory = call_memory();
  if (lmm_stats_build(&g->stats, &g->rows, &g->law, &memory) != ELBO_OK ||
      lmm_work_init(&g->work, &g->stats, &g->law, &memory) != ELBO_OK)
    Rf_error("internal error: the data do not fit into memory");
}

/* Cross-products of y and X say little of the residuals where X explains nearly all of y.  There the
 * statistics are made anew from y - X beta, beta from least squares, until nothing is lost. */
static void summarise(glmm *g) {
  enum { MOST = 3 };
  const int n = g->rows.n, p = g->rows.p, fixed = p - lmm_law_smooth_columns(&g->law);
  double *beta = NULL, *y = NULL, *more = NULL, largest = 0.0;
  g->beta_origin = NULL;
  make_statistics(g);
  for (int pass = 0; pass < MOST && lmm_lost_digits(&g->work); pass++) {
    if (pass == 0) {
      beta = scratch((size_t)p);
      more = scratch((size_t)p);
      y = scratch((size_t)n);
      memcpy(y, g->rows.y, (size_t)n * sizeof(double));
      memset(beta, 0, (size_t)p * sizeof(double));
    }
    g->beta_origin = NULL;
    beta_in_user_units(g, g->work.beta, more);
    /* The law of smooth terms has its mean at zero: theirs stay in the response. */
    for (int j = 0; j < fixed; j++) {
      beta[j] += more[j];
      for (int i = 0; i < n; i++) {
        const double part = g->rows.X[(size_t)n * (size_t)j + (size_t)i] * more[j];
        y[i] -= part;
        largest = fmax(largest, fabs(part));
      }
    }
    g->rows.y = y;
    make_statistics(g);
    g->beta_origin = beta;
    g->stats.rounding = 4.0 * DBL_EPSILON * largest * g->stats.scaling.y_scale;
  }
}

static void build(SEXP model, glmm *g) {
  unpack_model(model, g);
  summarise(g);
}

/* B A B' */
static void sandwich(const double *B, const double *A, int p, double *out) {
  double *half = scratch((size_t)p * (size_t)p);
  la_multiply(B, A, p, p, p, half);
  la_multiply_t(half, B, p, p, p, out);
}

static void add_beta(call_list *out, const glmm *g, const double *beta, const double *C) {
  const int p = g->stats.p, square[2] = {p, p};
  double *B = scratch((size_t)p * (size_t)p), *origin = scratch((size_t)p);
  beta_in_user_units(g, beta, call_list_doubles(out, "beta", &p, 1));
  beta_to_user(g, B, origin);
  sandwich(B, C, p, call_list_doubles(out, "beta_cov", square, 2));
}

/* Covariance of the factor q(beta), or of the coefficients in q(beta, u), from its scaled C: zeros for
 * points. */
static void add_q_beta(call_list *out, const glmm *g, const double *C) {
  const int p = g->stats.p, square[2] = {p, p};
  double *cov = call_list_doubles(out, "q_beta_cov", square, 2);
  memset(cov, 0, (size_t)(p * p) * sizeof(double));
  if (g->law.method != LMM_REML && g->law.method != LMM_VB && g->law.n_smooth == 0) return;
  double *B = scratch((size_t)(p * p)), *origin = scratch((size_t)p);
  beta_to_user(g, B, origin);
  sandwich(B, C, p, cov);
}

/* Posterior means (m x q), covariances (q x q x m), gains -d mean / d beta (q x p x m) in the
 * caller's units, from blocks of lanes of b, where the scaled latent variable is root b. */
static void add_latent(call_list *out, const glmm *g, const double *root, const double *posterior) {
  const lmm_stats *st = &g->stats;
  const lmm_parameters *par = &g->work.par;
  const int q = st->q, p = st->p, m = st->m;
  const int d_mean[2] = {m, q}, d_cov[3] = {q, q, m}, d_gain[3] = {q, p, m};
  double *mean = call_list_doubles(out, "mean", d_mean, 2);
  double *cov = call_list_doubles(out, "cov", d_cov, 3);
  double *gain = call_list_doubles(out, "gain", d_gain, 3);
  const size_t stride = lmm_posterior_stride(q, p), Q = (size_t)q, P = (size_t)p;
  double *u = scratch(stride), *half = scratch(Q * (Q + P)), *A = scratch(P * P);
  double *R = scratch(Q * Q), *N = scratch(Q * Q);
  beta_from_user(g, A);
  la_multiply(par->Ti, root, q, q, q, R);
  for (size_t i = 0; i < (size_t)st->n_block * SIMD_LANES; i++) {
    const int group = st->group_of_lane[i];
    if (group < 0 || m == 0) continue;
    const double *from = posterior + stride * (i / SIMD_LANES) + i % SIMD_LANES;
    for (size_t j = 0; j < stride / SIMD_LANES; j++) u[j] = from[j * SIMD_LANES];
    double *c = cov + Q * Q * (size_t)group, *k = gain + Q * P * (size_t)group;
    for (int a = 0; a < q; a++) {
      double sum = 0.0;
      for (int b = 0; b < q; b++) sum += R[a + q * b] * u[b];
      mean[group + m * a] = sum;
    }
    lmm_covariance_root(q, u + q, N);
    la_multiply(R, N, q, q, q, half);
    la_multiply_t(half, half, q, q, q, c);
    for (int a = 0; a < q; a++) /* stored by row */
      for (int j = 0; j < p; j++) {
        double sum = 0.0;
        for (int b = 0; b < q; b++) sum += R[a + q * b] * u[Q + Q * Q + (size_t)(b * p + j)];
        half[a + q * j] = sum;
      }
    la_multiply(half, A, q, p, p, k);
  }
}

/* ---- entries ------------------------------------------------------------------------------------- */

/* Derivatives at eta: gradient, hessian at fixed beta, its cross block with beta, and the derivative of
 * the covariance of beta, all with respect to eta. */
static void add_information(call_list *out, const glmm *g) {
  const lmm_work *w = &g->work;
  const int p = g->stats.p, n = w->par.n_eta;
  const size_t P = (size_t)p;
  const int d_h[2] = {n, n}, d_x[2] = {n, p}, d_c[3] = {p, p, n};
  double *A = scratch(P * P), *B = scratch(P * P), *origin = scratch(P), *CA = scratch(P * P);
  double value, *score = call_list_doubles(out, "score", &n, 1);
  beta_from_user(g, A);
  beta_to_user(g, B, origin);
  lmm_information((lmm_work *)&g->work, &value, score, call_list_doubles(out, "hessian", d_h, 2));
  la_multiply(w->cross_eta, A, n, p, p, call_list_doubles(out, "cross", d_x, 2));
  double *cov = call_list_doubles(out, "beta_cov_slope", d_c, 3);
  for (int k = 0; k < n; k++) {
    la_multiply(w->C, w->spread_eta + P * P * (size_t)k, p, p, p, CA);
    la_multiply(CA, w->C, p, p, p, A);
    sandwich(B, A, p, cov + P * P * (size_t)k);
  }
}

/* sds of smooth terms, eta of each (from 1; 0: held), and their derivatives by it. */
static void add_smooth(call_list *out, const glmm *g) {
  const lmm_smooth *s = &g->work.smooth;
  const int n = s->n;
  double *sd = call_list_doubles(out, "smooth_sd", &n, 1);
  double *slope = call_list_doubles(out, "smooth_slope", &n, 1);
  SEXP which = PROTECT(Rf_allocVector(INTSXP, n));
  for (int k = 0; k < n; k++) {
    sd[k] = fabs(s->sd[k]) * s->to_user[k];
    slope[k] = s->sd[k] < 0.0 ? -s->to_user[k] : s->sd[k] > 0.0 ? s->to_user[k] : 0.0;
    INTEGER(which)[k] = s->eta_of[k] + 1;
  }
  call_list_add(out, "eta_of_smooth", which);
  UNPROTECT(1);
}

static void add_parameters(call_list *out, const glmm *g) {
  const lmm_work *w = &g->work;
  const int q = g->stats.q, n = w->par.n_eta, n_level = g->stats.n_level;
  const int d_s[2] = {q, q}, d_j[3] = {q, q, n};
  double *Sigma = call_list_doubles(out, "Sigma", d_s, 2);
  double *jacobian = call_list_doubles(out, "Sigma_slope", d_j, 3);
  double *sigma = call_list_doubles(out, "sigma", &n_level, 1);
  lmm_parameters_natural(&w->par, w->eta, Sigma, jacobian, sigma);
  memcpy(call_list_doubles(out, "eta", &n, 1), w->eta, (size_t)n * sizeof(double));
  SEXP which = PROTECT(Rf_allocVector(INTSXP, n_level));
  for (int l = 0; l < n_level; l++) INTEGER(which)[l] = w->par.eta_of_sigma[l] + 1;
  call_list_add(out, "eta_of_sigma", which);
  UNPROTECT(1);
  add_smooth(out, g);
}

/* Degrees of freedom of the factors of q, by block, curve and level. */
static void add_df(call_list *out, const glmm *g) {
  const lmm_work *w = &g->work;
  if (g->law.method != LMM_VB) return;
  const int n_block = g->law.n_block, n_smooth = g->law.n_smooth, n_level = g->stats.n_level;
  const int q = g->stats.q, n = n_block + n_smooth + n_level, n_sd = q + n_smooth + n_level;
  double *df = call_list_doubles(out, "df", &n, 1);
  double *information = call_list_doubles(out, "df_information", &n, 1);
  double *slope = call_list_doubles(out, "df_slope", &n_sd, 1);
  lmm_prior_df(&g->prior, &w->par, w->Sigma, w->variance, df, information, slope);
  memmove(df + n_block + n_smooth, df + n_block, (size_t)n_level * sizeof(double));
  memmove(information + n_block + n_smooth, information + n_block, (size_t)n_level * sizeof(double));
  memmove(slope + q + n_smooth, slope + q, (size_t)n_level * sizeof(double));
  lmm_smooth_df(w, df + n_block, information + n_block, slope + q);
}

static elbo_hooks quiet_hooks(void) {
  const elbo_hooks hooks = {call_poll, NULL, NULL};
  return hooks;
}

/* Ascends from the start of the highest objective, or, of the n_starts highest, from the one that
 * leads highest. */
static elbo_status climb(glmm *g, const elbo_control *control, int n_starts,
                         const elbo_hooks *hooks, elbo_result *result) {
  const elbo_model model = lmm_model(&g->work);
  const elbo_hooks quiet = quiet_hooks();
  const size_t n = (size_t)model.n_eta;
  double *eta = scratch(n * LMM_STARTS), *memory = scratch(elbo_ascend_size(&model));
  double objective[LMM_STARTS], best_value = -HUGE_VAL;
  const int n_points = n_starts > 1 ? LMM_STARTS : LMM_STARTS_SIMPLE;
  int best = -1;
  elbo_status status = lmm_starts(&g->work, n_points, eta, objective);
  if (status != ELBO_OK) return status;
  for (int tried = 0; tried < n_starts; tried++) {
    int next = 0;
    for (int i = 1; i < n_points; i++)
      if (objective[i] > objective[next]) next = i;
    if (objective[next] == -HUGE_VAL) break;
    objective[next] = -HUGE_VAL;
    if (best < 0) best = next;
    if (n_starts == 1) break;
    status = lmm_start(&g->work, eta + n * (size_t)next);
    if (status == ELBO_OK) status = elbo_ascend(&model, &g->work, control, &quiet, memory, result);
    if (status >= 0 && result->objective > best_value + 1e-6) {
      best = next;
      best_value = result->objective;
    }
  }
  if (best < 0) return ELBO_E_NOT_FINITE;
  status = lmm_start(&g->work, eta + n * (size_t)best);
  if (status == ELBO_OK) status = elbo_ascend(&model, &g->work, control, hooks, memory, result);
  if (lmm_vanished_level(&g->work) >= 0) return ELBO_E_UNBOUNDED;
  if (status >= 0) lmm_canonical(&g->work);
  return status;
}

/* Columns of X that may say nothing new (unless the caller has looked: full_rank), and a level whose
 * residual variance would go to zero. */
static elbo_status check_design(glmm *g, int full_rank, call_list *out, int *level) {
  double *pivots = call_list_doubles(out, "pivots", &g->stats.p, 1);
  *level = -1;
  lmm_column_pivots(&g->work, pivots);
  for (int j = 0; j < g->stats.p; j++)
    if (!full_rank && !(pivots[j] > 1e-8)) return ELBO_E_RANK;
  *level = lmm_unbounded_level(&g->work);
  return *level >= 0 ? ELBO_E_UNBOUNDED : ELBO_OK;
}

SEXP call_glmm_fit(SEXP model, SEXP control, SEXP progress) {
  glmm g;
  call_trace trace;
  elbo_result result = {0};
  const elbo_control settings = call_control(control);
  const elbo_hooks hooks = call_hooks(&trace, progress);
  build(model, &g);
  call_list out = call_list_new(32);
  int level;
  elbo_status status = check_design(&g, call_int(model, "full_rank", 0, 1), &out, &level);
  if (status == ELBO_OK) set_prior(model, &g);
  if (status == ELBO_OK)
    status = climb(&g, &settings, call_int(control, "n_starts", 1, LMM_STARTS), &hooks, &result);
  if (level < 0 && status == ELBO_E_UNBOUNDED) level = lmm_vanished_level(&g.work);
  call_list_int(&out, "status", status);
  call_list_int(&out, "level", level + 1);
  call_list_trace(&out, &trace);
  if (status >= 0) {
    call_list_result(&out, &result);
    add_parameters(&out, &g);
    add_df(&out, &g);
    add_information(&out, &g);
    add_beta(&out, &g, g.work.beta, g.work.C);
    add_q_beta(&out, &g, g.work.q_C);
    add_latent(&out, &g, g.work.q_root, g.work.q);
  }
  UNPROTECT(2);
  return out.list;
}

/* sds of smooth terms in the caller's units to the model's state. */
static void set_smooth(glmm *g, const double *sd) {
  lmm_smooth *s = &g->work.smooth;
  for (int k = 0; k < s->n; k++) s->sd[k] = sd[k] / s->to_user[k];
  lmm_smooth_pack(&g->work, g->work.eta);
  lmm_smooth_unpack(&g->work);
}

/* Sigma (q x q), sigma (n_level), sds of smooth terms in the caller's units to the model's state. */
static void set_scales(glmm *g, const double *Sigma, const double *sigma, const double *smooth) {
  lmm_work *w = &g->work;
  const int q = g->stats.q;
  double *half = scratch((size_t)(q * q));
  la_multiply(w->par.T, Sigma, q, q, q, half);
  la_multiply_t(half, w->par.T, q, q, q, w->Sigma);
  la_chol_semidefinite(w->Sigma, q, 1e-15, w->L);
  lmm_set_root(w);
  for (int l = 0; l < g->stats.n_level; l++)
    w->variance[l] = pow(sigma[l] * w->par.sigma_scale, 2.0);
  if (g->law.n_smooth > 0) set_smooth(g, smooth);
}

/* list(Sigma, sigma, smooth, beta) to the model's state, which keeps its beta where that is NULL. */
static void set_theta(glmm *g, SEXP theta) {
  const int q = g->stats.q, p = g->stats.p, n_smooth = g->law.n_smooth;
  const double *beta = call_doubles(theta, "beta", p, 1);
  set_scales(g, call_doubles(theta, "Sigma", (R_xlen_t)q * q, 0),
             call_doubles(theta, "sigma", g->stats.n_level, 0),
             n_smooth > 0 ? call_doubles(theta, "smooth", n_smooth, 0) : NULL);
  if (beta == NULL) return;
  double *A = scratch((size_t)(p * p)), *B = scratch((size_t)(p * p));
  double *origin = scratch((size_t)p), *shifted = scratch((size_t)p);
  beta_from_user(g, A);
  beta_to_user(g, B, origin);
  for (int j = 0; j < p; j++) shifted[j] = beta[j] - origin[j];
  la_multiply(A, shifted, p, p, 1, g->work.beta);
}

/* The exact posterior of the latent variables at beta, and the best beta's covariance. */
static void add_posterior(call_list *out, glmm *g) {
  lmm_work *w = &g->work;
  double log_det;
  lmm_posterior(w, w->beta, w->method == LMM_JOINT ? 0.0 : 1.0, w->q, &log_det);
  add_beta(out, g, w->beta, w->C);
  add_latent(out, g, w->root, w->q);
}

/* Objective and exact posterior at theta: list(Sigma, sigma, beta), beta at its best where NULL; and
 * the eta that belongs to theta. */
SEXP call_glmm_at(SEXP model, SEXP theta) {
  glmm g;
  build(model, &g);
  set_prior(model, &g);
  lmm_work *w = &g.work;
  const SEXP beta = call_element(theta, "beta");
  double value;
  set_theta(&g, theta);
  const elbo_status status = lmm_objective(w, beta != R_NilValue, w->beta, w->C, &value);
  call_list out = call_list_new(8);
  call_list_int(&out, "status", status);
  if (status == ELBO_OK) {
    call_list_double(&out, "objective", value);
    double *eta = call_list_doubles(&out, "eta", &w->par.n_eta, 1);
    lmm_parameters_pack(&w->par, w->Sigma, w->variance, eta);
    if (w->smooth.n > 0) lmm_smooth_pack(w, eta);
    add_posterior(&out, &g);
  }
  UNPROTECT(2);
  return out.list;
}

/* All of that at eta, beta at its best, with the derivatives by eta. */
SEXP call_glmm_at_eta(SEXP model, SEXP eta) {
  glmm g;
  build(model, &g);
  set_prior(model, &g);
  lmm_work *w = &g.work;
  if (TYPEOF(eta) != REALSXP || Rf_xlength(eta) != w->par.n_eta)
    Rf_error("internal error: `eta` must have %d values", w->par.n_eta);
  const elbo_status status = lmm_start(w, REAL_RO(eta));
  call_list out = call_list_new(23);
  call_list_int(&out, "status", status);
  if (status == ELBO_OK) {
    call_list_double(&out, "objective", w->evidence);
    add_parameters(&out, &g);
    add_df(&out, &g);
    add_information(&out, &g);
    add_q_beta(&out, &g, g.prior.mean_field ? w->q_next_C : w->C);
    add_posterior(&out, &g);
  }
  UNPROTECT(2);
  return out.list;
}

/* ---- refits --------------------------------------------------------------------------------------- */

/* Rows of a table of refits: beta, Sigma, sigma, sds of smooth terms, by vb degrees of freedom of blocks,
 * smooth terms and levels, objective, status. */
static int n_scales(const glmm *g) { return g->law.n_block + g->law.n_smooth + g->rows.n_level; }

static int refit_rows(const glmm *g) {
  return g->rows.p + g->rows.q * g->rows.q + g->rows.n_level + g->law.n_smooth + 2 +
         (g->law.method == LMM_VB ? n_scales(g) : 0);
}

static void refit(glmm *g, const elbo_control *control, int n_starts, double *out) {
  const int p = g->rows.p, q = g->rows.q, n = refit_rows(g);
  const elbo_hooks hooks = quiet_hooks();
  elbo_result result = {0};
  const elbo_status status = lmm_unbounded_level(&g->work) < 0
                                 ? climb(g, control, n_starts, &hooks, &result)
                                 : ELBO_E_UNBOUNDED;
  for (int i = 0; i < n; i++) out[i] = NA_REAL;
  out[n - 1] = status;
  if (status < 0) return;
  beta_in_user_units(g, g->work.beta, out);
  lmm_parameters_natural(&g->work.par, g->work.eta, out + p, g->work.jacobian, out + p + q * q);
  const lmm_smooth *s = &g->work.smooth;
  for (int k = 0; k < s->n; k++)
    out[p + q * q + g->stats.n_level + k] = fabs(s->sd[k]) * s->to_user[k];
  if (g->law.method == LMM_VB) {
    call_list df = call_list_new(3);
    add_df(&df, g);
    memcpy(out + n - 2 - n_scales(g), REAL_RO(call_element(df.list, "df")),
           (size_t)n_scales(g) * sizeof(double));
    UNPROTECT(2);
  }
  out[n - 2] = result.objective;
}

/* Refits to the columns of Y (n x n_fit): a column a fit. */
SEXP call_glmm_refit(SEXP model, SEXP control, SEXP Y) {
  const elbo_control settings = call_control(control);
  const int n_starts = call_int(control, "n_starts", 1, LMM_STARTS);
  glmm g;
  unpack_model(model, &g);
  if (TYPEOF(Y) != REALSXP || dimension(Y, 0, "Y") != g.rows.n)
    Rf_error("internal error: `Y` must have a row for each of `X`");
  const int n_fit = dimension(Y, 1, "Y"), n_out = refit_rows(&g);
  SEXP out = PROTECT(Rf_allocMatrix(REALSXP, n_out, n_fit));
  for (int f = 0; f < n_fit; f++) {
    const void *mark = vmaxget();
    g.rows.y = REAL_RO(Y) + (size_t)g.rows.n * (size_t)f;
    summarise(&g);
    set_prior(model, &g);
    refit(&g, &settings, n_starts, REAL(out) + (size_t)n_out * (size_t)f);
    vmaxset(mark);
  }
  UNPROTECT(1);
  return out;
}

/* The parametric bootstrap: refits to n_fit draws from the model at Sigma, sigma, beta, made in the
 * sufficient statistics, so that a refit costs groups, not rows. */
SEXP call_glmm_bootstrap(SEXP model, SEXP control, SEXP theta, SEXP n_fit) {
  const elbo_control settings = call_control(control);
  const int n_starts = call_int(control, "n_starts", 1, LMM_STARTS);
  glmm g;
  build(model, &g);
  set_prior(model, &g);
  lmm_work *w = &g.work;
  set_theta(&g, theta);
  if (TYPEOF(n_fit) != INTSXP || Rf_xlength(n_fit) != 1 || INTEGER_RO(n_fit)[0] < 1)
    Rf_error("internal error: `n_fit` must be positive");
  const int n = INTEGER_RO(n_fit)[0], n_out = refit_rows(&g), q = g.stats.q, p = g.stats.p;
  const int n_level = g.stats.n_level;
  const size_t n_draws = lmm_n_draws(&g.stats);
  double *draws = scratch(n_draws), *chi_square = scratch((size_t)n_level);
  double *df = scratch((size_t)n_level), *memory = scratch(lmm_simulate_size(&g.stats));
  double *L = scratch((size_t)(q * q)), *beta = scratch((size_t)p),
         *variance = scratch((size_t)n_level);
  memcpy(L, w->L, (size_t)(q * q) * sizeof(double));
  memcpy(beta, w->beta, (size_t)p * sizeof(double));
  memcpy(variance, w->variance, (size_t)n_level * sizeof(double));
  const lmm_smooth *s = &w->smooth;
  double *root = scratch((size_t)p);
  if (s->n > 0) memcpy(root, s->root, (size_t)p * sizeof(double));
  for (int l = 0; l < n_level; l++) df[l] = lmm_chi_square_df(&g.stats, l, memory);
  SEXP out = PROTECT(Rf_allocMatrix(REALSXP, n_out, n));
  GetRNGstate();
  for (int f = 0; f < n; f++) {
    const void *mark = vmaxget();
    for (int j = p - s->n_column; j < p; j++) beta[j] = root[j] * norm_rand();
    for (size_t i = 0; i < n_draws; i++) draws[i] = norm_rand();
    for (int l = 0; l < n_level; l++) chi_square[l] = df[l] > 0.0 ? Rf_rchisq(df[l]) : 0.0;
    lmm_stats_simulate(&g.stats, L, beta, variance, draws, chi_square, memory);
    refit(&g, &settings, n_starts, REAL(out) + (size_t)n_out * (size_t)f);
    vmaxset(mark);
  }
  PutRNGstate();
  UNPROTECT(1);
  return out;
}

/* One column of call_glmm_evaluate(): `out` from the scales at `from`. */
static elbo_status evaluate(glmm *g, const double *from, double *out) {
  lmm_work *w = &g->work;
  const int q = g->stats.q, p = g->stats.p, n_level = g->stats.n_level;
  set_scales(g, from, from + q * q, from + q * q + n_level);
  const elbo_status status = lmm_objective(w, 0, w->beta, w->C, out);
  if (status != ELBO_OK) return status;
  double *B = scratch((size_t)(p * p)), *origin = scratch((size_t)p);
  out++;
  beta_in_user_units(g, w->beta, out);
  beta_to_user(g, B, origin);
  sandwich(B, w->C, p, out + p);
  return ELBO_OK;
}

/* Log marginal likelihood, beta integrated under its prior, with the best beta and its covariance, at
 * each column of `at`: Sigma (q x q), sigma (n_level) and sds of curves.  A column of the answer: value,
 * beta (p), covariance (p x p). */
SEXP call_glmm_evaluate(SEXP model, SEXP at) {
  glmm g;
  build(model, &g);
  if (g.law.method != LMM_VB) Rf_error("internal error: only for method vb");
  g.scales_given = 1;
  set_prior(model, &g);
  g.prior.mean_field = 0; /* the model, not an approximation to it */
  const int q = g.stats.q, p = g.stats.p, n_at = q * q + g.stats.n_level + g.law.n_smooth;
  if (TYPEOF(at) != REALSXP || dimension(at, 0, "at") != n_at)
    Rf_error("internal error: `at` must have %d rows", n_at);
  const int n = dimension(at, 1, "at"), n_out = 1 + p + p * p;
  SEXP out = PROTECT(Rf_allocMatrix(REALSXP, n_out, n));
  for (int i = 0; i < n; i++) {
    const void *mark = vmaxget();
    double *to = REAL(out) + (size_t)n_out * (size_t)i;
    if (i % 64 == 0) R_CheckUserInterrupt();
    if (evaluate(&g, REAL_RO(at) + (size_t)n_at * (size_t)i, to) != ELBO_OK)
      for (int j = 0; j < n_out; j++) to[j] = NA_REAL;
    vmaxset(mark);
  }
  UNPROTECT(1);
  return out;
}
