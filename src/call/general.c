/* Entry points of generalised mixed models.  `model` is the list that R's general_description()
 * makes. */
#include <math.h>
#include <string.h>

#include "call/general.h"
#include "call/support.h"
#include "general/fit.h"
#include "general/importance.h"
#include "general/normal.h"
#include "general/parameters.h"
#include "math/la.h"
#include "math/quadrature.h"
#include "math/small.h"

/* ---- the model ------------------------------------------------------------------------------- */

static const char *text(SEXP list, const char *name) {
  const SEXP x = call_element(list, name);
  if (TYPEOF(x) != STRSXP || Rf_length(x) != 1)
    Rf_error("internal error: `%s` must be a string", name);
  return CHAR(STRING_ELT(x, 0));
}

static int word(const char *name, const char *value, const char *const *words, int n) {
  for (int i = 0; i < n; i++)
    if (strcmp(value, words[i]) == 0) return i;
  Rf_error("internal error: no such `%s`", name);
}

static void unpack_law(SEXP model, general_input *in) {
  static const char *const laws[] = {"gaussian", "binomial", "poisson", "negative_binomial",
                                     "cumulative"};
  static const char *const links[] = {"identity", "logit", "probit", "cloglog", "log"};
  in->family = (response_family)word("law", text(model, "law"), laws, 5);
  in->link = (response_link)word("link", text(model, "link"), links, 5);
  in->n_own = call_int(model, "n_own", 0, RESPONSE_MAX_OWN);
}

static void check_rows(const general_input *in) {
  for (int i = 0; i < in->n; i++) {
    if (in->group[i] < 1 || in->group[i] > in->m) Rf_error("internal error: no such `group`");
    if (!isfinite(in->y[i])) Rf_error("internal error: `y` must be finite");
    if (in->family == RESPONSE_CUMULATIVE && !(in->y[i] >= 0.0 && in->y[i] <= in->n_own))
      Rf_error("internal error: `y` must be a category");
  }
}

/* groups: NULL, or a list of factors as crossed_rows() makes it; all rows are then one group. */
static void unpack_factors(SEXP model, general_input *in) {
  const SEXP groups = call_element(model, "groups");
  if (groups == R_NilValue) return;
  in->n_factor = (int)Rf_xlength(groups);
  in->first = call_ints(model, "first", in->n_factor + 1, 0);
  in->n_unit = call_ints(model, "n_unit", in->n_factor, 0);
  const int **group = (const int **)R_alloc((size_t)in->n_factor, sizeof(int *));
  for (int f = 0; f < in->n_factor; f++) {
    const SEXP one = VECTOR_ELT(groups, f);
    if (TYPEOF(one) != INTSXP || Rf_xlength(one) != in->n)
      Rf_error("internal error: `groups` must have a level for each row");
    if (in->first[f + 1] <= in->first[f] || in->first[0] != 0 || in->first[in->n_factor] != in->q)
      Rf_error("internal error: no such `first`");
    group[f] = INTEGER_RO(one);
    for (int i = 0; i < in->n; i++)
      if (group[f][i] < 1 || group[f][i] > in->n_unit[f])
        Rf_error("internal error: no such level of `groups`");
  }
  in->groups = group;
}

void call_general_input(SEXP model, general_input *in) {
  const SEXP X = call_element(model, "X"), Z = call_element(model, "Z");
  memset(in, 0, sizeof *in);
  unpack_law(model, in);
  in->n = call_dimension(X, 0, "X");
  in->p = call_dimension(X, 1, "X");
  in->q = call_dimension(Z, 1, "Z");
  in->m = call_int(model, "n_group", 1, 2147483647);
  in->n_block = call_int(model, "n_block", 0, in->q);
  if (in->n < 1) Rf_error("internal error: no rows");
  if (in->q > GENERAL_MAX_TERMS) Rf_error("internal error: too many latent terms");
  const R_xlen_t n = in->n;
  in->X = call_doubles(model, "X", n * in->p, 0);
  in->Z = call_doubles(model, "Z", n * in->q, 0);
  in->y = call_doubles(model, "y", n, 0);
  in->size = call_doubles(model, "size", n, 1);
  in->weight = call_doubles(model, "weight", n, 1);
  in->offset = call_doubles(model, "offset", n, 1);
  in->group = call_ints(model, "group", n, 0);
  in->block = call_ints(model, "block", in->q, 0);
  in->sd = call_doubles(model, "sd", in->q, 0);
  in->cor = call_doubles(model, "cor", in->n_block, 0);
  in->kind = call_ints(model, "kind", in->n_block, 0);
  in->common = call_ints(model, "common", in->n_block, 0);
  for (int k = 0; k < in->q; k++)
    if (in->block[k] < 0 || in->block[k] >= in->n_block ||
        (k > 0 && in->block[k] < in->block[k - 1]))
      Rf_error("internal error: no such `block`");
  for (int b = 0; b < in->n_block; b++)
    if (in->kind[b] < LATENT_FREE || in->kind[b] >= LATENT_MULTIPLE)
      Rf_error("internal error: no such `kind`");
  check_rows(in);
  unpack_factors(model, in);
}

const general_prior *call_general_prior(SEXP model, const general_input *in) {
  if (call_element(model, "prior_scale") == R_NilValue) return NULL;
  general_prior *prior = (general_prior *)R_alloc(1, sizeof *prior);
  prior->beta_mean = call_doubles(model, "prior_beta_mean", in->p, 0);
  prior->beta_sd = call_doubles(model, "prior_beta_sd", in->p, 0);
  prior->family = call_ints(model, "prior_family", in->q, 0);
  prior->df = call_doubles(model, "prior_df", in->q, 0);
  prior->scale = call_doubles(model, "prior_scale", in->q, 0);
  prior->lkj = call_doubles(model, "prior_lkj", in->n_block, 0);
  return prior;
}

static elbo_status open_model(SEXP model, int threads, const elbo_memory *memory, general_work *w) {
  general_input in;
  call_general_input(model, &in);
  const elbo_status status = general_work_init(w, &in, threads, memory);
  w->prior = call_general_prior(model, &in);
  w->points = call_int(model, "method", 0, 1) == 0;
  return status;
}

/* theta of a list(beta, Sigma, own), in the caller's units. */
static void unpack_theta(SEXP list, const general_work *w, double *theta) {
  const R_xlen_t p = w->par.p, q = w->par.q;
  general_from_natural(&w->par, call_doubles(list, "beta", p, 0),
                       call_doubles(list, "Sigma", q * q, 0),
                       call_doubles(list, "own", w->par.n_own, 0), theta);
}

/* ---- results --------------------------------------------------------------------------------- */

static void add_estimates(call_list *out, const general_work *w) {
  const general_parameters *par = &w->par;
  const int p = par->p, q = par->q, n_eta = par->n_eta, n_own = par->n_own;
  const int d_s[2] = {q, q}, d_j[3] = {q, q, n_eta}, d_o[2] = {n_own, n_own};
  general_natural_beta(par, w->theta, call_list_doubles(out, "beta", &p, 1));
  double *Sigma = call_list_doubles(out, "Sigma", d_s, 2);
  general_natural_sigma(par, w->theta, Sigma, call_list_doubles(out, "Sigma_slope", d_j, 3));
  double *own = call_list_doubles(out, "own", &n_own, 1);
  memcpy(own, par->response.natural, (size_t)n_own * sizeof(double));
  general_natural_own(par, call_list_doubles(out, "own_slope", d_o, 2));
  double *eta = call_list_doubles(out, "eta", &n_eta, 1);
  memcpy(eta, w->theta + p, (size_t)n_eta * sizeof(double));
}

static void add_derivatives(call_list *out, general_work *w) {
  const int n = w->par.n_theta, d[2] = {n, n};
  double value, *score = call_list_doubles(out, "score", &n, 1);
  double *information = call_list_doubles(out, "information", d, 2);
  if (general_hessian(w, &value, score, information) != ELBO_OK)
    Rf_error("internal error: no derivatives at an optimum");
  general_natural_derivatives(&w->par, score, information, (double *)R_alloc((size_t)n + 1, 8));
  for (int e = 0; e < n * n; e++) information[e] = -information[e];
}

/* A vector and a matrix of v of terms first .. first + k - 1 to those of u. */
static void latent_moments(const general_work *w, int first, int k, const double *v,
                           const double *C, double *u, double *cov) {
  const int q = w->par.q;
  double A[GENERAL_MAX_TERMS * GENERAL_MAX_TERMS], half[GENERAL_MAX_TERMS * GENERAL_MAX_TERMS];
  for (int r = 0; r < k; r++)
    for (int c = 0; c < k; c++)
      A[r + k * c] = w->par.z_scale[first + r] * w->L[first + r + q * (first + c)];
  la_multiply(A, v, k, k, 1, u);
  la_multiply(A, C, k, k, k, half);
  la_multiply_t(half, A, k, k, k, cov);
}

/* The ELBO of Laplace's q. */
enum { EXPECTATION_NODES = 61 };

static void add_normal_elbo(call_list *out, general_work *w, const double *mean,
                            const double *cov) {
  double *node = (double *)R_alloc(5 * EXPECTATION_NODES, sizeof(double)), value;
  double *weight = node + EXPECTATION_NODES, *scaled = weight + EXPECTATION_NODES;
  if (quadrature_normal(EXPECTATION_NODES, node, weight, scaled, scaled + EXPECTATION_NODES) !=
      ELBO_OK)
    Rf_error("internal error: no rule of %d nodes", EXPECTATION_NODES);
  const response_rule rule = {EXPECTATION_NODES, node, weight};
  if (general_normal_elbo(w, &rule, mean, cov, &value) != ELBO_OK)
    Rf_error("internal error: no ELBO at an optimum");
  call_list_double(out, "elbo_normal", value);
}

/* Of several factors a list, `latent`: by Laplace's method, so that modes are means; elbo: that of
 * its q as well. */
static void add_crossed(call_list *out, general_work *w, int elbo) {
  const general_crossed *crossed = w->crossed;
  if (general_evaluate(w, GENERAL_GRADIENT) != ELBO_OK)
    Rf_error("internal error: no posterior at an optimum");
  const int n = w->rows.n;
  double *variance = call_list_doubles(out, "row_variance", &n, 1);
  for (int i = 0; i < n; i++) variance[w->rows.row[i]] = w->points ? 0.0 : crossed->spread[i];
  SEXP latent = PROTECT(Rf_allocVector(VECSXP, crossed->n_factor));
  for (int f = 0; f < crossed->n_factor; f++) {
    const int first = crossed->first[f], k = crossed->first[f + 1] - first, m = crossed->n_unit[f];
    const int d_m[2] = {m, k}, d_c[3] = {k, k, m};
    call_list one = call_list_new(2);
    double *mean = call_list_doubles(&one, "mean", d_m, 2);
    double *cov = call_list_doubles(&one, "cov", d_c, 3);
    for (int g = 0; g < m; g++) {
      double v[GENERAL_MAX_TERMS], u[GENERAL_MAX_TERMS];
      double C[GENERAL_MAX_TERMS * GENERAL_MAX_TERMS];
      general_crossed_level(crossed, f, g, v, C);
      latent_moments(w, first, k, v, C, u, cov + (size_t)(k * k) * (size_t)g);
      for (int r = 0; r < k; r++) mean[g + (size_t)m * (size_t)r] = u[r];
    }
    SET_VECTOR_ELT(latent, f, one.list);
    UNPROTECT(2);
  }
  call_list_add(out, "latent", latent);
  UNPROTECT(1);
  if (elbo) add_normal_elbo(out, w, NULL, NULL);
}

/* Posterior means (m x q), covariances (q x q x m) and modes (m x q) of u. */
static void add_latent(call_list *out, general_work *w, int elbo) {
  const int q = w->par.q, m = w->rows.m, d_m[2] = {m, q}, d_c[3] = {q, q, m};
  const size_t Q = (size_t)q;
  double *v_mean = (double *)R_alloc((size_t)m * Q + 1, 8), laplace;
  double *v_cov = (double *)R_alloc((size_t)m * Q * Q + 1, 8);
  double u[GENERAL_MAX_TERMS], C[GENERAL_MAX_TERMS * GENERAL_MAX_TERMS];
  if (general_posteriors(w, v_mean, v_cov, &laplace) != ELBO_OK)
    Rf_error("internal error: no posterior at an optimum");
  double *mean = call_list_doubles(out, "mean", d_m, 2);
  double *cov = call_list_doubles(out, "cov", d_c, 3);
  double *mode = call_list_doubles(out, "mode", d_m, 2);
  for (int g = 0; g < m; g++) {
    const size_t at = Q * (size_t)g;
    latent_moments(w, 0, q, w->mode + at, v_cov + Q * at, u, C);
    for (int r = 0; r < q; r++) mode[g + (size_t)m * (size_t)r] = u[r];
    latent_moments(w, 0, q, v_mean + at, v_cov + Q * at, u, cov + Q * at);
    for (int r = 0; r < q; r++) mean[g + (size_t)m * (size_t)r] = u[r];
  }
  call_list_double(out, "laplace", laplace);
  if (elbo && w->rule.each == 1) add_normal_elbo(out, w, v_mean, v_cov);
}

/* How posterior means of u move with (beta, eta, psi), in the caller's units: q x n_theta x m.  By
 * L they move as u = D L v does, and by what v has in common with the complete slope. */
static void add_moves(call_list *out, general_work *w) {
  const int q = w->par.q, m = w->rows.m, n = w->par.n_theta, N = w->par.n_inner, p = w->par.p;
  const int d[3] = {q, n, m};
  const size_t size = (size_t)q * (size_t)n;
  double mean[GENERAL_MAX_TERMS], cov[GENERAL_MAX_TERMS * GENERAL_MAX_TERMS];
  double *with = (double *)R_alloc((size_t)(q + 1) * (size_t)(N + 1), 8);
  double *inner = (double *)R_alloc((size_t)N + 1, 8), *one = (double *)R_alloc((size_t)n + 1, 8);
  double *work = (double *)R_alloc((size_t)p + 1, 8),
         *moves = call_list_doubles(out, "moves", d, 3);
  for (int g = 0; g < m; g++, moves += size) {
    if (general_group_moves(w, g, mean, cov, with) != ELBO_OK)
      Rf_error("internal error: no posterior at an optimum");
    for (int r = 0; r < q; r++) {
      for (int a = 0; a < N; a++) {
        inner[a] = 0.0;
        for (int c = 0; c <= r; c++) inner[a] += w->L[r + q * c] * with[c + q * a];
      }
      for (int c = 0; c <= r; c++) inner[p + general_packed(r, c)] += mean[c];
      for (int a = 0; a < N; a++) inner[a] *= w->par.z_scale[r];
      general_chain(&w->par, w->theta, inner, one, NULL, NULL, NULL, NULL);
      general_natural_score(&w->par, one, work);
      for (int k = 0; k < n; k++) moves[r + (size_t)q * (size_t)k] = one[k];
    }
  }
}

static void add_scores(call_list *out, general_work *w) {
  const int n = w->par.n_theta, m = w->rows.m, d[2] = {m, n};
  double *scores = call_list_doubles(out, "scores", d, 2);
  double *one = (double *)R_alloc((size_t)n + 1, 8), *work = (double *)R_alloc((size_t)n + 1, 8);
  for (int g = 0; g < m; g++) {
    if (general_group_score(w, g, one) != ELBO_OK) Rf_error("internal error: no score");
    general_natural_score(&w->par, one, work);
    for (int k = 0; k < n; k++) scores[g + (size_t)m * (size_t)k] = one[k];
  }
}

/* draws NULL: nothing is corrected. */
static elbo_status correct_laplace(SEXP model, const elbo_hooks *hooks, call_list *out,
                                   general_work *w, elbo_result *result) {
  const SEXP draws = call_element(model, "draws");
  if (draws == R_NilValue || !w->crossed || w->points) return ELBO_OK;
  const int n = w->par.n_theta, n_pair = call_dimension(draws, 1, "draws"), d[2] = {n, n};
  general_importance found;
  const double *z = call_doubles(model, "draws", (R_xlen_t)w->crossed->n * n_pair, 0);
  double *score = (double *)R_alloc((size_t)n + 1, sizeof(double));
  double *spread = call_list_doubles(out, "score_spread", d, 2);
  const elbo_status status = general_importance_climb(w, z, n_pair, hooks, &found, score, spread);
  if (status < 0) return status;
  general_natural_derivatives(&w->par, score, spread, (double *)R_alloc((size_t)n + 1, 8));
  result->objective = found.value;
  call_list_double(out, "monte_carlo", found.error);
  call_list_double(out, "effective", found.effective);
  call_list_int(out, "corrected", found.corrected);
  return status;
}

/* ---- entries --------------------------------------------------------------------------------- */

SEXP call_general_fit(SEXP model, SEXP control, SEXP progress) {
  const elbo_control settings = call_control(control);
  const elbo_memory memory = call_memory();
  const int nodes = call_int(model, "quadrature", 0, 1000);
  const SEXP start = call_element(model, "start");
  call_trace trace;
  const elbo_hooks hooks = call_hooks(&trace, progress);
  elbo_result result = {0};
  general_work w;
  elbo_status status = open_model(model, settings.threads, &memory, &w);
  if (status == ELBO_E_RANK && call_int(model, "full_rank", 0, 1)) status = ELBO_OK;
  call_list out = call_list_new(32);
  memcpy(call_list_doubles(&out, "pivots", &w.par.p, 1), w.rows.pivot,
         (size_t)w.par.p * sizeof(double));
  if (status == ELBO_OK && start == R_NilValue) status = general_start(&w);
  if (status == ELBO_OK && start != R_NilValue) {
    unpack_theta(start, &w, w.theta);
    status = general_set_theta(&w, w.theta);
  }
  if (status == ELBO_OK) {
    const elbo_model shape = general_model(&w);
    double *space = (double *)R_alloc(elbo_ascend_size(&shape) + 1, sizeof(double));
    status =
        general_climb(&w, w.crossed || w.points ? 1 : nodes, &settings, &hooks, space, &result);
  }
  if (status >= 0) {
    const elbo_status corrected = correct_laplace(model, &hooks, &out, &w, &result);
    if (corrected != ELBO_OK) status = corrected;
  }
  call_list_int(&out, "status", status);
  call_list_int(&out, "level", 0);
  call_list_trace(&out, &trace);
  if (status >= 0) {
    call_list_result(&out, &result);
    call_list_double(&out, "log_evidence", w.at.value);
    add_derivatives(&out, &w);
    add_estimates(&out, &w);
    (w.crossed ? add_crossed : add_latent)(&out, &w, 0);
    call_list_int(&out, "nodes", w.rule.each);
    call_list_double(&out, "accuracy", w.accuracy);
  }
  UNPROTECT(2);
  return out.list;
}

/* At theta = list(beta, Sigma, own, nodes): value, derivatives, posterior, scores by group. */
SEXP call_general_at(SEXP model, SEXP theta) {
  const elbo_memory memory = call_memory();
  int nodes = call_int(theta, "nodes", 0, 1000);
  general_work w;
  elbo_status status = open_model(model, 1, &memory, &w);
  if (status == ELBO_E_RANK) status = ELBO_OK;
  unpack_theta(theta, &w, w.theta);
  if (status == ELBO_OK) status = general_set_theta(&w, w.theta);
  if (w.crossed || w.points) nodes = 1;
  if (status == ELBO_OK && nodes == 0) status = general_grow_nodes(&w);
  if (status == ELBO_OK && nodes > 0) {
    w.few = w.differences = nodes == 1 || call_int(model, "quadrature", 0, 1000) > 0;
    status = general_set_nodes(&w, nodes);
  }
  if (status == ELBO_OK) status = general_evaluate(&w, GENERAL_VALUE);
  call_list out = call_list_new(20);
  call_list_int(&out, "status", status);
  if (status == ELBO_OK) {
    call_list_double(&out, "log_evidence", w.at.value);
    add_derivatives(&out, &w);
    add_estimates(&out, &w);
    (w.crossed ? add_crossed : add_latent)(&out, &w, 1);
    if (!w.crossed) add_scores(&out, &w);
    if (!w.crossed) add_moves(&out, &w);
    call_list_int(&out, "nodes", w.rule.each);
  }
  UNPROTECT(2);
  return out.list;
}

/* The log-likelihood by that many nodes a dimension at each column of theta = list(beta (p x k),
 * Sigma (q^2 x k), own (n_own x k)); -Inf where it is not finite. */
SEXP call_general_evaluate(SEXP model, SEXP theta, SEXP nodes) {
  const elbo_memory memory = call_memory();
  general_work w;
  const int each = Rf_asInteger(nodes);
  if (each == NA_INTEGER || each < 1 || each > 1000) Rf_error("internal error: no such `nodes`");
  const int threads = call_int(model, "threads", 1, 1024),
            k = call_dimension(call_element(theta, "beta"), 1, "beta");
  elbo_status status = open_model(model, threads, &memory, &w);
  if (status != ELBO_OK && status != ELBO_E_RANK) Rf_error("internal error: no model");
  const R_xlen_t p = w.par.p, q = w.par.q, n_own = w.par.n_own;
  const double *beta = call_doubles(theta, "beta", p * k, 0);
  const double *Sigma = call_doubles(theta, "Sigma", q * q * k, 0);
  const double *own = call_doubles(theta, "own", n_own * k, 0);
  w.prior = NULL;
  w.few = w.differences = 1;
  if (general_set_nodes(&w, w.crossed ? 1 : each) != ELBO_OK) Rf_error("internal error: no rule");
  SEXP out = PROTECT(Rf_allocVector(REALSXP, k));
  for (int i = 0; i < k; i++, beta += p, Sigma += q * q, own += n_own) {
    general_from_natural(&w.par, beta, Sigma, own, w.theta);
    status = general_set_theta(&w, w.theta);
    if (status == ELBO_OK) status = general_evaluate(&w, GENERAL_VALUE);
    REAL(out)[i] = status == ELBO_OK ? w.at.value : R_NegInf;
    R_CheckUserInterrupt();
  }
  UNPROTECT(1);
  return out;
}

/* E f(z), z ~ N(0, 1), is about the sum of weight f(node). */
SEXP call_normal_rule(SEXP n) {
  if (TYPEOF(n) != INTSXP || Rf_xlength(n) != 1 || INTEGER_RO(n)[0] < 1 || INTEGER_RO(n)[0] > 1000)
    Rf_error("internal error: `n` must be in 1..1000");
  const int each = INTEGER_RO(n)[0];
  call_list out = call_list_new(2);
  double *node = call_list_doubles(&out, "node", &each, 1);
  double *weight = call_list_doubles(&out, "weight", &each, 1);
  double *work = (double *)R_alloc(3 * (size_t)each, sizeof(double));
  if (quadrature_normal(each, node, weight, work, work + each) != ELBO_OK)
    Rf_error("internal error: no rule of %d nodes", each);
  UNPROTECT(2);
  return out.list;
}
