/* Entry points of the Gaussian mixed model.  `model` is the list that R's glmm_law()
 * makes, and the statistics. */
#include "call/support.h"

#include <Rmath.h>
#include <string.h>

#include "call/glmm_stats.h"
#include "glmm/blocked.h"
#include "glmm/blocked_product.h"
#include "glmm/bound.h"
#include "glmm/e_step.h"
#include "glmm/fit.h"
#include "glmm/information.h"
#include "glmm/lmm.h"
#include "glmm/objective.h"
#include "glmm/parameters.h"
#include "glmm/profile.h"
#include "glmm/simulate.h"
#include "glmm/smooth.h"
#include "glmm/starts.h"

/* ---- unpacking ------------------------------------------------------------------------------- */

static double *scratch(size_t n) { return (double *)R_alloc(n > 0 ? n : 1, sizeof(double)); }

/* The free coefficients where some are held (map, origin), and the terms where they have another
 * order: each NULL where not. */
static void unpack_basis(SEXP model, int p, int q, lmm_basis *basis) {
  memset(basis, 0, sizeof *basis);
  const SEXP map = call_element(model, "map");
  if (map != R_NilValue) {
    basis->n = call_dimension(map, 1, "map");
    basis->map = call_doubles(model, "map", (R_xlen_t)p * basis->n, 0);
    basis->origin = call_doubles(model, "origin", p, 0);
  }
  basis->order = call_ints(model, "order", q, 1);
  unsigned long long seen = 0;
  for (int k = 0; basis->order != NULL && k < q; k++) {
    const int at = basis->order[k];
    if (at < 0 || at >= q || (seen >> at & 1)) Rf_error("internal error: `order` is no order");
    seen |= 1ULL << at;
  }
}

/* A model on statistics that are not its own: those of a draw, or of another response. */
static void open_on(SEXP model, const double *flat, lmm_fit *f) {
  const elbo_memory memory = call_memory();
  const int p = (int)flat[FLAT_P], q = (int)flat[FLAT_Q], n_level = (int)flat[FLAT_LEVELS];
  lmm_basis basis;
  memset(f, 0, sizeof *f);
  unpack_basis(model, p, q, &basis);
  call_law(model, basis.map ? basis.n : p, q, n_level, &f->law);
  if (lmm_law_smooth_columns(&f->law) != (int)flat[FLAT_SMOOTH])
    Rf_error("internal error: other smooth terms than those of the statistics");
  if (lmm_fit_open(f, flat, &basis, &memory) != ELBO_OK)
    Rf_error("internal error: the coefficients are no basis");
}

static void open_model(SEXP model, lmm_fit *f) {
  open_on(model, call_flat(call_element(model, "stats"), 1), f);
}

/* Priors; none where the model has no `prior_scale`. */
static void set_prior(SEXP model, lmm_fit *f, int scales_given) {
  if (call_element(model, "prior_scale") == R_NilValue) return;
  const int p = f->stats.p, q = f->stats.q, n_level = f->stats.n_level, n_smooth = f->law.n_smooth;
  const int apart = f->law.method == LMM_VB && !scales_given; /* given them q is exact */
  const elbo_memory memory = call_memory();
  lmm_user_prior prior = {
      .family = call_ints(model, "prior_family", q + n_level, 0),
      .df = call_doubles(model, "prior_df", q, 0),
      .scale = call_doubles(model, "prior_scale", q, 0),
      .lkj = call_doubles(model, "prior_lkj", f->law.n_block, 0),
      .sigma_df = call_doubles(model, "prior_sigma_df", n_level, 0),
      .sigma_scale = call_doubles(model, "prior_sigma_scale", n_level, 0),
      .beta_mean = call_doubles(model, "prior_beta_mean", p, 0),
      .beta_sd = call_doubles(model, "prior_beta_sd", p, 0),
      .mean_field = apart && call_int(model, "mean_field", 0, 1),
      .by_factor = apart && call_int(model, "by_factor", 0, 1),
      .scales_given = scales_given,
  };
  if (n_smooth > 0) {
    prior.smooth_family = call_ints(model, "prior_smooth_family", n_smooth, 0);
    prior.smooth_df = call_doubles(model, "prior_smooth_df", n_smooth, 0);
    prior.smooth_scale = call_doubles(model, "prior_smooth_scale", n_smooth, 0);
  }
  lmm_fit_set_prior(f, &prior, &memory);
}

/* list(Sigma, sigma, smooth, beta) to the model's state; where beta is NULL it keeps its own. */
static void set_theta(lmm_fit *f, SEXP theta) {
  const int q = f->stats.q, n_smooth = f->law.n_smooth;
  const double *beta = call_doubles(theta, "beta", f->stats.p, 1);
  lmm_units_set_scales(&f->units, &f->work, call_doubles(theta, "Sigma", (R_xlen_t)q * q, 0),
                       call_doubles(theta, "sigma", f->stats.n_level, 0),
                       n_smooth > 0 ? call_doubles(theta, "smooth", n_smooth, 0) : NULL);
  if (beta != NULL) lmm_units_set_beta(&f->units, &f->work, beta);
}

/* ---- packing --------------------------------------------------------------------------------- */

static void add_beta(call_list *out, const lmm_fit *f, const double *beta, const double *C) {
  const int p = f->stats.p, square[2] = {p, p};
  lmm_units_beta(&f->units, beta, call_list_doubles(out, "beta", &p, 1));
  lmm_units_covariance(&f->units, C, call_list_doubles(out, "beta_cov", square, 2));
}

/* Covariance of the factor q(beta), or of the coefficients in q(beta, u), from its scaled C: zeros
 * for points. */
static void add_q_beta(call_list *out, const lmm_fit *f, const double *C) {
  const int p = f->stats.p, square[2] = {p, p};
  double *cov = call_list_doubles(out, "q_beta_cov", square, 2);
  memset(cov, 0, (size_t)(p * p) * sizeof(double));
  if (coefficients_latent(&f->work)) lmm_units_covariance(&f->units, C, cov);
}

/* Of factor k posterior means (m x q), covariances (q x q x m), gains (q x p x m). */
static void add_factor(call_list *out, const lmm_fit *f, int k, const double *root,
                       const double *posterior) {
  const glmm_solver *solver = &f->work.solver;
  const int q = solver->first[k + 1] - solver->first[k], p = f->stats.p, m = solver->n_unit[k];
  const int d_mean[2] = {m, q}, d_cov[3] = {q, q, m}, d_gain[3] = {q, p, m};
  double *mean = call_list_doubles(out, "mean", d_mean, 2);
  double *cov = call_list_doubles(out, "cov", d_cov, 3);
  double *gain = call_list_doubles(out, "gain", d_gain, 3);
  lmm_units_latent(&f->units, k, root, posterior, mean, cov, gain);
}

/* Of several factors a list, `latent`. */
static void add_latent(call_list *out, const lmm_fit *f, const double *root,
                       const double *posterior) {
  const int n = f->work.solver.n_factor;
  if (!f->stats.crossed) {
    add_factor(out, f, 0, root, posterior);
    return;
  }
  SEXP latent = PROTECT(Rf_allocVector(VECSXP, n));
  for (int k = 0; k < n; k++) {
    call_list one = call_list_new(3);
    add_factor(&one, f, k, root, posterior);
    SET_VECTOR_ELT(latent, k, one.list);
    UNPROTECT(2);
  }
  call_list_add(out, "latent", latent);
  UNPROTECT(1);
}

/* Derivatives at eta: gradient, hessian at fixed beta, its cross block with beta, and the
 * derivative of the covariance of beta, all with respect to eta. */
static void add_information(call_list *out, lmm_fit *f) {
  const int p = f->stats.p, n = f->work.par.n_eta;
  const int d_h[2] = {n, n}, d_x[2] = {n, p}, d_c[3] = {p, p, n};
  double value, *score = call_list_doubles(out, "score", &n, 1);
  lmm_information(&f->work, &value, score, call_list_doubles(out, "hessian", d_h, 2));
  double *cross = call_list_doubles(out, "cross", d_x, 2);
  lmm_units_information(&f->units, cross, call_list_doubles(out, "beta_cov_slope", d_c, 3));
}

/* Places in eta, from 1; 0: held. */
static void add_places(call_list *out, const char *name, const int *eta_of, int n) {
  SEXP which = PROTECT(Rf_allocVector(INTSXP, n));
  for (int i = 0; i < n; i++) INTEGER(which)[i] = eta_of[i] + 1;
  call_list_add(out, name, which);
  UNPROTECT(1);
}

static void add_parameters(call_list *out, const lmm_fit *f) {
  const lmm_work *w = &f->work;
  const int q = f->stats.q, n = w->par.n_eta, n_level = f->stats.n_level;
  const int d_s[2] = {q, q}, d_j[3] = {q, q, n};
  double *Sigma = call_list_doubles(out, "Sigma", d_s, 2);
  double *jacobian = call_list_doubles(out, "Sigma_slope", d_j, 3);
  double *sigma = call_list_doubles(out, "sigma", &n_level, 1);
  lmm_parameters_natural(&w->par, w->eta, Sigma, jacobian, sigma);
  memcpy(call_list_doubles(out, "eta", &n, 1), w->eta, (size_t)n * sizeof(double));
  add_places(out, "eta_of_sigma", w->par.eta_of_sigma, n_level);
  double *sd = call_list_doubles(out, "smooth_sd", &w->smooth.n, 1);
  lmm_units_smooth(&f->units, sd, call_list_doubles(out, "smooth_slope", &w->smooth.n, 1));
  add_places(out, "eta_of_smooth", w->smooth.eta_of, w->smooth.n);
}

/* Degrees of freedom of the factors of q, by block, curve and level. */
static void add_df(call_list *out, const lmm_fit *f) {
  if (f->law.method != LMM_VB) return;
  const int n = lmm_fit_n_factors(f), n_sd = lmm_fit_n_sds(f);
  double *df = call_list_doubles(out, "df", &n, 1);
  double *information = call_list_doubles(out, "df_information", &n, 1);
  lmm_fit_df(f, df, information, call_list_doubles(out, "df_slope", &n_sd, 1));
}

/* The exact posterior of the latent variables at beta, and the best beta's covariance. */
static void add_posterior(call_list *out, lmm_fit *f) {
  lmm_work *w = &f->work;
  double log_det;
  lmm_posterior(w, w->beta, w->method == LMM_JOINT ? 0.0 : 1.0, 1, w->q, &log_det);
  add_beta(out, f, w->beta, w->C);
  add_latent(out, f, w->root, w->q);
}

/* ---- entries --------------------------------------------------------------------------------- */

SEXP call_glmm_fit(SEXP model, SEXP control, SEXP progress) {
  lmm_fit f;
  call_trace trace;
  elbo_result result = {0};
  const elbo_control settings = call_control(control);
  const int n_starts = call_int(control, "n_starts", 1, LMM_STARTS);
  const elbo_hooks hooks = call_hooks(&trace, progress);
  open_model(model, &f);
  call_list out = call_list_new(36);
  int level;
  elbo_status status = lmm_fit_check(&f, call_int(model, "full_rank", 0, 1),
                                     call_list_doubles(&out, "pivots", &f.stats.p, 1), &level);
  if (status == ELBO_OK) {
    set_prior(model, &f, 0);
    double *memory = scratch(lmm_fit_climb_size(&f));
    status = lmm_fit_climb(&f, &settings, n_starts, &hooks, memory, &result);
  }
  if (level < 0 && status == ELBO_E_UNBOUNDED) level = lmm_vanished_level(&f.work);
  call_list_int(&out, "status", status);
  call_list_int(&out, "level", level + 1);
  call_list_trace(&out, &trace);
  if (status >= 0) {
    call_list_result(&out, &result);
    add_parameters(&out, &f);
    add_df(&out, &f);
    add_information(&out, &f);
    add_beta(&out, &f, f.work.beta, f.work.C);
    add_q_beta(&out, &f, f.work.q_C);
    add_latent(&out, &f, f.work.q_root, f.work.q);
  }
  UNPROTECT(2);
  return out.list;
}

/* Objective and exact posterior at theta: list(Sigma, sigma, beta), beta at its best where NULL;
 * and the eta that belongs to theta.  With an element `scales_given` of the model the scales have
 * no law. */
SEXP call_glmm_at(SEXP model, SEXP theta) {
  lmm_fit f;
  open_model(model, &f);
  set_prior(model, &f, call_element(model, "scales_given") != R_NilValue);
  lmm_work *w = &f.work;
  const SEXP beta = call_element(theta, "beta");
  double value;
  set_theta(&f, theta);
  const elbo_status status = lmm_objective(w, beta != R_NilValue, w->beta, w->C, &value);
  call_list out = call_list_new(8);
  call_list_int(&out, "status", status);
  if (status == ELBO_OK) {
    call_list_double(&out, "objective", value);
    double *eta = call_list_doubles(&out, "eta", &w->par.n_eta, 1);
    lmm_parameters_pack(&w->par, w->Sigma, w->variance, eta);
    if (w->smooth.n > 0) lmm_smooth_pack(w, eta);
    add_posterior(&out, &f);
  }
  UNPROTECT(2);
  return out.list;
}

/* All of that at eta, beta at its best, with the derivatives by eta. */
SEXP call_glmm_at_eta(SEXP model, SEXP eta) {
  lmm_fit f;
  open_model(model, &f);
  set_prior(model, &f, 0);
  lmm_work *w = &f.work;
  if (TYPEOF(eta) != REALSXP || Rf_xlength(eta) != w->par.n_eta)
    Rf_error("internal error: `eta` must have %d values", w->par.n_eta);
  const elbo_status status = lmm_start(w, REAL_RO(eta));
  call_list out = call_list_new(23);
  call_list_int(&out, "status", status);
  if (status == ELBO_OK) {
    call_list_double(&out, "objective", w->evidence);
    add_parameters(&out, &f);
    add_df(&out, &f);
    add_information(&out, &f);
    add_q_beta(&out, &f, f.prior.mean_field ? w->q_next_C : w->C);
    add_posterior(&out, &f);
  }
  UNPROTECT(2);
  return out.list;
}

/* Bytes and seconds that a fit of several factors takes, before it takes them. */
SEXP call_glmm_cost(SEXP model) {
  const elbo_memory memory = call_memory();
  const double *flat = call_flat(call_element(model, "stats"), 1);
  const int p = (int)flat[FLAT_P], q = (int)flat[FLAT_Q];
  lmm_basis basis;
  lmm_law law;
  lmm_stats stats;
  int n_pair = 0;
  unpack_basis(model, p, q, &basis);
  call_law(model, basis.map ? basis.n : p, q, (int)flat[FLAT_LEVELS], &law);
  double *origin = scratch((size_t)p);
  if (flat[FLAT_FACTORS] < 1 ||
      lmm_stats_close(flat, &law, &basis, &stats, origin, &memory) != ELBO_OK)
    Rf_error("internal error: no statistics of several factors");
  for (int k = 0; k < q; k++)
    for (int l = 0; l <= k; l++) n_pair += law.block[k] == law.block[l];
  call_list out = call_list_new(2);
  double *bytes = call_list_doubles(&out, "bytes", (const int[]){1}, 1);
  lmm_blocked_cost(&stats, n_pair, bytes, call_list_doubles(&out, "seconds", (const int[]){1}, 1),
                   &memory);
  UNPROTECT(2);
  return out.list;
}

/* ---- several factors ------------------------------------------------------------------------- */

/* The solver of several factors where theta is. */
static void open_levels(SEXP model, SEXP theta, lmm_fit *f) {
  double log_det;
  open_model(model, f);
  if (f->stats.crossed == NULL)
    Rf_error("internal error: one factor has no products of its levels");
  set_theta(f, theta);
  if (lmm_evaluate(&f->work, f->work.root, f->work.variance, &log_det) != ELBO_OK)
    Rf_error("internal error: the normal matrix is singular");
}

/* Products of the columns of B (all levels x k) with Var(u | y, beta) or (!inverse) Z'D^{-1}Z. */
SEXP call_glmm_levels(SEXP model, SEXP theta, SEXP B, SEXP inverse) {
  enum { STRIP = 64 };
  lmm_fit f;
  open_levels(model, theta, &f);
  const int n = lmm_blocked_levels(&f.work.solver);
  if (TYPEOF(B) != REALSXP || call_dimension(B, 0, "B") != n)
    Rf_error("internal error: `B` must have a row for each level and term");
  const int n_column = call_dimension(B, 1, "B"), forward = Rf_asLogical(inverse) == 1;
  SEXP out = PROTECT(Rf_allocMatrix(REALSXP, n, n_column));
  const size_t size = (size_t)n * STRIP;
  double *in = scratch(size), *product = scratch(size), *work = scratch(3 * size);
  for (int first = 0; first < n_column; first += STRIP) {
    const int k = n_column - first < STRIP ? n_column - first : STRIP;
    const size_t at = (size_t)n * (size_t)first;
    R_CheckUserInterrupt();
    for (int j = 0; j < k; j++)
      for (int i = 0; i < n; i++) in[k * (size_t)i + j] = REAL_RO(B)[at + (size_t)n * j + i];
    lmm_units_product(&f.units, forward, k, in, product, work);
    for (int j = 0; j < k; j++)
      for (int i = 0; i < n; i++) REAL(out)[at + (size_t)n * j + i] = product[k * (size_t)i + j];
  }
  UNPROTECT(1);
  return out;
}

/* Levels from 1 to those from 0. */
static int *levels_from_0(SEXP places, size_t n, int n_level, const char *name) {
  if (TYPEOF(places) != INTSXP || XLENGTH(places) != (R_xlen_t)n)
    Rf_error("internal error: `%s` must be %.0f integers", name, (double)n);
  int *out = (int *)R_alloc(n > 0 ? n : 1, sizeof(int));
  for (size_t e = 0; e < n; e++) {
    const int place = INTEGER_RO(places)[e];
    if (place < 1 || place > n_level) Rf_error("internal error: no level %d", place);
    out[e] = place - 1;
  }
  return out;
}

/* Entries i, j of Var(u | y, beta), or, where A is not NULL, of what it gains from parameters whose
 * covariance is A and whose bias is b; NA where levels have nothing in common. */
SEXP call_glmm_spread(SEXP model, SEXP theta, SEXP i, SEXP j, SEXP A, SEXP b) {
  const elbo_memory memory = call_memory();
  lmm_fit f;
  open_levels(model, theta, &f);
  const int n_level = lmm_blocked_levels(&f.work.solver);
  const int n = f.work.par.n_pair + f.work.par.n_level;
  level_entries entries = {.n = (size_t)Rf_xlength(i)};
  entries.i = levels_from_0(i, entries.n, n_level, "i");
  entries.j = levels_from_0(j, entries.n, n_level, "j");
  SEXP out = PROTECT(Rf_allocVector(REALSXP, (R_xlen_t)entries.n));
  if (A == R_NilValue) {
    lmm_units_spread(&f.units, &entries, REAL(out));
  } else {
    if (TYPEOF(A) != REALSXP || XLENGTH(A) != (R_xlen_t)n * n || TYPEOF(b) != REALSXP ||
        XLENGTH(b) != n)
      Rf_error("internal error: `A` and `b` must have %d rows", n);
    if (lmm_units_excess(&f.units, REAL_RO(A), REAL_RO(b), &entries, REAL(out), &memory) != ELBO_OK)
      Rf_error("internal error: the excess is not finite");
  }
  for (size_t e = 0; e < entries.n; e++)
    if (isnan(REAL(out)[e])) REAL(out)[e] = NA_REAL;
  UNPROTECT(1);
  return out;
}

/* tr(V^{-1} dV V^{-1} dV) by the entries of Sigma in pairs and the residual variances. */
SEXP call_glmm_traces(SEXP model, SEXP theta) {
  lmm_fit f;
  open_levels(model, theta, &f);
  lmm_work *w = &f.work;
  const lmm_parameters *par = &w->par;
  const int n = par->n_pair + par->n_level, size[2] = {n, n};
  const lmm_point point = {.beta = w->origin,
                           .log_det = 1,
                           .n_pair = par->n_pair,
                           .pair_a = par->pair_a,
                           .pair_b = par->pair_b};
  lmm_blocked_traces(&w->solver, &point, w->d.hessian);
  call_list out = call_list_new(3);
  double *user = call_list_doubles(&out, "traces", size, 2);
  lmm_units_traces(&f.units, w->d.hessian, user, scratch((size_t)(n * n)));
  add_places(&out, "a", par->pair_a, par->n_pair);
  add_places(&out, "b", par->pair_b, par->n_pair);
  UNPROTECT(2);
  return out.list;
}

/* Log marginal likelihood, beta integrated under its prior, with the best beta and its covariance,
 * at each column of `at`: Sigma (q x q), sigma (n_level) and sds of curves.  A column of the
 * answer: value, beta (p), covariance (p x p). */
SEXP call_glmm_evaluate(SEXP model, SEXP at) {
  lmm_fit f;
  open_model(model, &f);
  if (f.law.method != LMM_VB) Rf_error("internal error: only for method vb");
  set_prior(model, &f, 1);
  const int q = f.stats.q, p = f.stats.p, n_at = q * q + f.stats.n_level + f.law.n_smooth;
  if (TYPEOF(at) != REALSXP || call_dimension(at, 0, "at") != n_at)
    Rf_error("internal error: `at` must have %d rows", n_at);
  const int n = call_dimension(at, 1, "at"), n_out = 1 + p + p * p;
  SEXP out = PROTECT(Rf_allocMatrix(REALSXP, n_out, n));
  for (int i = 0; i < n; i++) {
    double *to = REAL(out) + (size_t)n_out * (size_t)i;
    if (i % 64 == 0) R_CheckUserInterrupt();
    if (lmm_fit_evaluate(&f, REAL_RO(at) + (size_t)n_at * (size_t)i, to) != ELBO_OK)
      for (int j = 0; j < n_out; j++) to[j] = NA_REAL;
  }
  UNPROTECT(1);
  return out;
}

/* Ends of profile likelihood intervals, from theta: of the parameters in the columns of `which`
 * (kind, a, b: lmm_profiled) the values to the left and right where the objective is `least`; NA
 * where Newton's method does not lead there. */
SEXP call_glmm_profile(SEXP model, SEXP theta, SEXP which, SEXP least) {
  lmm_fit f;
  open_model(model, &f);
  set_prior(model, &f, 0);
  set_theta(&f, theta);
  lmm_work *w = &f.work;
  const int q = f.stats.q, most[] = {q, q, f.stats.n_level, f.law.n_smooth, f.stats.p};
  if (TYPEOF(which) != INTSXP || call_dimension(which, 0, "which") != 3)
    Rf_error("internal error: `which` must have three rows");
  if (TYPEOF(least) != REALSXP || Rf_xlength(least) != 1)
    Rf_error("internal error: `least` must be a number");
  const int n = call_dimension(which, 1, "which"), *at = INTEGER_RO(which);
  double *eta = scratch((size_t)w->par.n_eta), *memory = scratch(lmm_profile_size(&f));
  lmm_parameters_pack(&w->par, w->Sigma, w->variance, eta);
  if (w->smooth.n > 0) lmm_smooth_pack(w, eta);
  SEXP out = PROTECT(Rf_allocMatrix(REALSXP, 2, n));
  for (int i = 0; i < 2 * n; i++) {
    const int *one = at + 3 * (i / 2);
    if (one[0] < LMM_PROFILE_SD || one[0] > LMM_PROFILE_BETA || one[1] < 0 || one[2] < 0 ||
        one[1] >= most[one[0]] || (one[0] == LMM_PROFILE_COR && one[2] >= q))
      Rf_error("internal error: `which` must name parameters");
    const lmm_profiled of = {(lmm_profile_kind)one[0], one[1], one[2]};
    R_CheckUserInterrupt();
    if (lmm_profile_limit(&f, &of, i % 2 == 0 ? -1 : 1, REAL_RO(least)[0], eta, memory,
                          REAL(out) + i) != ELBO_OK)
      REAL(out)[i] = NA_REAL;
  }
  UNPROTECT(1);
  return out;
}

/* ---- refits ---------------------------------------------------------------------------------- */

/* A column of a table of refits: what lmm_refit() tells, NA where it fails, and its status. */
static void refit(lmm_fit *f, const elbo_control *control, int n_starts, double *memory,
                  double *out) {
  const elbo_hooks hooks = {call_poll, NULL, NULL};
  const int n = lmm_refit_length(f);
  for (int i = 0; i < n; i++) out[i] = NA_REAL;
  out[n] = lmm_refit(f, control, n_starts, &hooks, memory, out);
}

/* Refits to the columns of Y (n x n_fit) in place of the response of the rows: a column a fit. */
SEXP call_glmm_refit(SEXP model, SEXP control, SEXP data, SEXP Y) {
  const elbo_control settings = call_control(control);
  const elbo_memory memory = call_memory();
  const int n_starts = call_int(control, "n_starts", 1, LMM_STARTS);
  lmm_rows rows;
  lmm_law law;
  call_rows(data, &rows);
  call_law(model, rows.p, rows.q, rows.n_level, &law);
  if (TYPEOF(Y) != REALSXP || call_dimension(Y, 0, "Y") != rows.n)
    Rf_error("internal error: `Y` must have a row for each of `X`");
  const int n_fit = call_dimension(Y, 1, "Y");
  SEXP out = R_NilValue;
  PROTECT_INDEX at;
  PROTECT_WITH_INDEX(out, &at);
  for (int i = 0; i < n_fit; i++) {
    const void *mark = vmaxget();
    lmm_fit f;
    double *flat;
    rows.y = REAL_RO(Y) + (size_t)rows.n * (size_t)i;
    if (lmm_fit_summarise(&rows, &law, &flat, &memory, &memory) != ELBO_OK)
      Rf_error("internal error: the data do not fit into memory");
    open_on(model, flat, &f);
    set_prior(model, &f, 0);
    const int n_out = lmm_refit_length(&f) + 1;
    if (i == 0) REPROTECT(out = Rf_allocMatrix(REALSXP, n_out, n_fit), at);
    refit(&f, &settings, n_starts, scratch(lmm_refit_size(&f)),
          REAL(out) + (size_t)n_out * (size_t)i);
    vmaxset(mark);
  }
  UNPROTECT(1);
  return out;
}

/* A draw of the response of `model`, on the statistics of all of X, at theta. */
static void draw_response(lmm_fit *f, lmm_simulation *draw, double *flat) {
  for (size_t j = 0; j < draw->n_normal; j++) draw->normal[j] = norm_rand();
  for (int l = 0; l < f->stats.n_level; l++)
    draw->chi_square[l] = draw->df[l] > 0.0 ? Rf_rchisq(draw->df[l]) : 0.0;
  lmm_simulation_put(draw, &f->stats);
  lmm_stats_put_response(&f->stats, flat);
}

/* The parametric bootstrap: n_fit draws from `model` at Sigma, sigma, beta, made in its sufficient
 * statistics, to each of which the models of the list `refits` are fitted, at the cost of groups,
 * not rows: a list of tables. */
SEXP call_glmm_bootstrap(SEXP model, SEXP theta, SEXP refits, SEXP controls, SEXP n_fit) {
  const elbo_memory from_r = call_memory();
  const int n_model = Rf_length(refits);
  lmm_fit f;
  lmm_simulation draw;
  open_model(model, &f);
  if (call_element(model, "map") != R_NilValue)
    Rf_error("internal error: a draw is from a model with all coefficients");
  set_theta(&f, theta);
  if (TYPEOF(n_fit) != INTSXP || Rf_xlength(n_fit) != 1 || INTEGER_RO(n_fit)[0] < 1)
    Rf_error("internal error: `n_fit` must be positive");
  if (TYPEOF(refits) != VECSXP || TYPEOF(controls) != VECSXP || Rf_length(controls) != n_model)
    Rf_error("internal error: a control for each model to refit");
  const int n = INTEGER_RO(n_fit)[0];
  lmm_simulation_init(&draw, &f.work, &from_r);
  const size_t size = (size_t)Rf_xlength(call_element(model, "stats"));
  double *flat = scratch(size);
  memcpy(flat, REAL_RO(call_element(model, "stats")), size * sizeof(double));
  SEXP out = PROTECT(Rf_allocVector(VECSXP, n_model));
  GetRNGstate();
  for (int i = 0; i < n; i++) {
    draw_response(&f, &draw, flat);
    for (int k = 0; k < n_model; k++) {
      const void *mark = vmaxget();
      const SEXP other = VECTOR_ELT(refits, k), control = VECTOR_ELT(controls, k);
      const elbo_control settings = call_control(control);
      lmm_fit g;
      open_on(other, flat, &g);
      set_prior(other, &g, 0);
      const int n_out = lmm_refit_length(&g) + 1;
      if (i == 0) SET_VECTOR_ELT(out, k, Rf_allocMatrix(REALSXP, n_out, n));
      refit(&g, &settings, call_int(control, "n_starts", 1, LMM_STARTS),
            scratch(lmm_refit_size(&g)), REAL(VECTOR_ELT(out, k)) + (size_t)n_out * (size_t)i);
      vmaxset(mark);
    }
  }
  PutRNGstate();
  UNPROTECT(1);
  return out;
}
