/* Entry points of generalised mixed models by variational Bayes.  `model` is the list that R's
 * general_description() makes. */
#include <math.h>
#include <string.h>

#include "call/general.h"
#include "call/support.h"
#include "general/fit.h"
#include "general/parameters.h"
#include "general/vb.h"
#include "general/vb_crossed.h"
#include "general/vb_groups.h"
#include "general/vb_hessian.h"
#include "general/vb_scales.h"
#include "math/la.h"
#include "math/small.h"

static double *doubles(size_t n) { return (double *)R_alloc(n + 1, sizeof(double)); }

/* ---- the caller's units ---------------------------------------------------------------------- */

/* R^{-1} (p x p, by column), beta being R^{-1} times its coordinates. */
static double *beta_units(const vb_work *w) {
  const int p = w->general.par.p;
  double *out = doubles(square(p)), *unit = doubles((size_t)p);
  for (int j = 0; j < p; j++) {
    memset(unit, 0, (size_t)p * sizeof(double));
    unit[j] = 1.0;
    general_natural_beta(&w->general.par, unit, out + (size_t)p * (size_t)j);
  }
  return out;
}

static void add_estimates(call_list *out, const vb_work *w) {
  const general_parameters *par = &w->general.par;
  const int p = par->p, q = par->q, n_eta = par->n_eta, none = 0, d_p[2] = {p, p};
  const int d_s[2] = {q, q}, d_j[3] = {q, q, n_eta}, d_0[2] = {0, 0};
  double *T = beta_units(w), *half = doubles(square(p));
  general_natural_beta(par, w->q.mean, call_list_doubles(out, "beta", &p, 1));
  la_multiply(T, w->q.V, p, p, p, half);
  la_multiply_t(half, T, p, p, p, call_list_doubles(out, "q_beta_cov", d_p, 2));
  double *Sigma = call_list_doubles(out, "Sigma", d_s, 2);
  general_natural_sigma(par, w->general.theta, Sigma,
                        call_list_doubles(out, "Sigma_slope", d_j, 3));
  memcpy(call_list_doubles(out, "eta", &n_eta, 1), w->general.theta + p,
         (size_t)n_eta * sizeof(double));
  call_list_doubles(out, "own", &none, 1);
  call_list_doubles(out, "own_slope", d_0, 2);
  double *df = call_list_doubles(out, "df", &par->n_block, 1);
  double *information = call_list_doubles(out, "df_information", &par->n_block, 1);
  if (vb_scales_df(w, df, information, call_list_doubles(out, "df_slope", &q, 1)) != ELBO_OK)
    Rf_error("internal error: no degrees of freedom at an optimum");
}

/* q(u | beta): means (m x q), covariances (q x q x m), and minus how the mean moves with beta (q x
 * p x m). */
static void add_latent(call_list *out, const vb_work *w) {
  const general_parameters *par = &w->general.par;
  const int p = par->p, q = par->q, m = w->general.rows.m;
  const int d_m[2] = {m, q}, d_c[3] = {q, q, m}, d_g[3] = {q, p, m};
  const double *z = par->z_scale;
  double *mean = call_list_doubles(out, "mean", d_m, 2);
  double *cov = call_list_doubles(out, "cov", d_c, 3);
  double *gain = call_list_doubles(out, "gain", d_g, 3), *moved = doubles((size_t)(q * p));
  for (int g = 0; g < m; g++) {
    const double *x = vb_part(w, &w->q, g, 0);
    la_multiply(x + w->place.G, par->R, q, p, p, moved);
    for (int r = 0; r < q; r++) {
      mean[g + (size_t)m * (size_t)r] = z[r] * x[w->place.mean + r];
      for (int c = 0; c < q; c++) *cov++ = z[r] * z[c] * x[w->place.C + c + q * r];
    }
    for (int e = 0; e < q * p; e++) *gain++ = w->apart ? 0.0 : -z[e % q] * moved[e];
  }
}

/* ---- linear response ------------------------------------------------------------------------- */

/* Of what all groups share (beta, its covariance under q, eta) the covariance, `shared` (n x n); of
 * each group that of u given it, `own` (q x q x m), and how the mean of u moves with it, `moves` (q
 * x n x m).  beta in the caller's units: R^{-1} times its coordinates. */
static void add_response(call_list *out, vb_work *w) {
  const general_parameters *par = &w->general.par;
  const int p = par->p, q = par->q, m = w->general.rows.m, n = vb_n_shared(w), d_n[2] = {n, n};
  const int d_q[3] = {q, q, m}, d_m[3] = {q, n, m};
  const double *T = beta_units(w), *z = par->z_scale;
  double *cov = call_list_doubles(out, "shared", d_n, 2), *half = doubles((size_t)p * (size_t)n);
  double *own = call_list_doubles(out, "own_cov", d_q, 3);
  double *moves = call_list_doubles(out, "moves", d_m, 3), *turned = doubles((size_t)(q * p));
  if (vb_shared_information(w, cov, own, moves) != ELBO_OK ||
      (n > 0 && (la_chol(cov, n) != ELBO_OK || la_inverse_from_chol(cov, n) != ELBO_OK)))
    for (size_t e = 0; e < square(n); e++) cov[e] = NA_REAL; /* no maximum yet */
  for (int side = 0; side < 2; side++) {                     /* rows, and by symmetry columns */
    for (int j = 0; j < n; j++)
      for (int i = 0; i < p; i++) {
        double sum = 0.0;
        for (int l = i; l < p; l++) sum += T[i + p * l] * cov[side ? j + n * l : l + n * j];
        half[i + p * j] = sum;
      }
    for (int j = 0; j < n; j++)
      for (int i = 0; i < p; i++) cov[side ? j + n * i : i + n * j] = half[i + p * j];
  }
  for (int g = 0; g < m; g++, moves += (size_t)q * (size_t)n) {
    la_multiply(moves, par->R, q, p, p, turned);
    memcpy(moves, turned, (size_t)(q * p) * sizeof(double));
    for (int e = 0; e < q * n; e++) moves[e] *= z[e % q];
    for (int c = 0; c < q; c++)
      for (int r = 0; r < q; r++) *own++ *= z[r] * z[c];
  }
}

/* ---- several factors ------------------------------------------------------------------------- */

/* Derivatives by differences: of what vb_n_state() says, by eta and by tilts, and from them the
 * covariance E of eta, that of beta given eta, C, and how beta moves with eta, D (p x n_eta). */
typedef struct {
  double *by_eta, *by_tilt, *E, *C, *D;
} crossed_response;

static crossed_response find_response(vb_work *w) {
  const int n = vb_n_state(w), p = w->general.par.p, k = w->general.par.n_eta;
  const size_t N = (size_t)n;
  const crossed_response r = {doubles(N * (size_t)k), doubles(N * (size_t)p), doubles(square(k)),
                              doubles(square(p)), doubles((size_t)(p * k))};
  int known = 1;
  for (int e = 0; e < k; e++) {
    R_CheckUserInterrupt();
    known &= vb_difference_by_eta(w, e, r.by_eta + N * (size_t)e) == ELBO_OK;
  }
  for (int j = 0; j < p; j++) {
    R_CheckUserInterrupt();
    known &= vb_difference_by_tilt(w, j, r.by_tilt + N * (size_t)j) == ELBO_OK;
  }
  for (int a = 0; a < k; a++)
    for (int b = 0; b < k; b++) r.E[a + k * b] = -0.5 * (r.by_eta[a + n * b] + r.by_eta[b + n * a]);
  known =
      known && (k == 0 || (la_chol(r.E, k) == ELBO_OK && la_inverse_from_chol(r.E, k) == ELBO_OK));
  for (int e = 0; e < k * k && !known; e++) r.E[e] = NA_REAL; /* no maximum yet */
  for (int i = 0; i < p; i++) {
    for (int e = 0; e < k; e++) r.D[i + p * e] = r.by_eta[k + i + n * e];
    for (int j = 0; j < p; j++)
      r.C[i + p * j] =
          known ? 0.5 * (r.by_tilt[k + i + n * j] + r.by_tilt[k + j + n * i]) : NA_REAL;
  }
  return r;
}

/* As add_response() has it, of (beta, eta) alone. */
static void add_crossed_shared(call_list *out, const vb_work *w, const crossed_response *r) {
  const int p = w->general.par.p, k = w->general.par.n_eta, n = p + k, d[2] = {n, n};
  double *to = call_list_doubles(out, "shared", d, 2), *C = doubles(square(p));
  double *TD = doubles((size_t)(p * k)), *half = doubles((size_t)(p * larger(p, k)));
  const double *T = beta_units(w);
  la_multiply(T, r->C, p, p, p, half);
  la_multiply_t(half, T, p, p, p, C);
  la_multiply(T, r->D, p, p, k, TD);
  la_multiply(TD, r->E, p, k, k, half);
  for (int j = 0; j < k; j++) {
    for (int i = 0; i < p; i++) to[i + n * (p + j)] = to[p + j + n * i] = half[i + p * j];
    for (int i = 0; i < k; i++) to[p + i + n * (p + j)] = r->E[i + k * j];
  }
  for (int i = 0; i < p; i++)
    for (int j = 0; j < p; j++) {
      to[i + n * j] = C[i + p * j];
      for (int e = 0; e < k; e++) to[i + n * j] += half[i + p * e] * TD[j + p * e];
    }
}

/* Of each factor means (m x k), covariances given the scales and beta (k x k x m), minus how means
 * move with beta (k x p x m), and with (beta, eta), `moves` (response NULL: not told). */
static void add_crossed_latent(call_list *out, const vb_work *w, const crossed_response *r) {
  const general_crossed *c = w->general.crossed;
  const int p = w->general.par.p, n_eta = w->general.par.n_eta, n = vb_n_state(w);
  SEXP latent = PROTECT(Rf_allocVector(VECSXP, c->n_factor));
  double mu[GENERAL_MAX_TERMS], *G = doubles((size_t)(GENERAL_MAX_TERMS * p));
  double *GR = doubles((size_t)(GENERAL_MAX_TERMS * p));
  for (int f = 0, before = 0; f < c->n_factor; f++) {
    const int k = c->first[f + 1] - c->first[f], m = c->n_unit[f];
    const int d_m[2] = {m, k}, d_c[3] = {k, k, m}, d_g[3] = {k, p, m}, d_b[3] = {k, p + n_eta, m};
    const double *z = w->general.par.z_scale + c->first[f];
    call_list one = call_list_new(4);
    double *mean = call_list_doubles(&one, "mean", d_m, 2);
    double *cov = call_list_doubles(&one, "cov", d_c, 3);
    double *gain = call_list_doubles(&one, "gain", d_g, 3);
    double *moves = r ? call_list_doubles(&one, "moves", d_b, 3) : NULL;
    for (int g = 0; g < m; g++, before += k) {
      vb_crossed_level(w, f, g, mu, cov, G);
      la_multiply(G, w->general.par.R, k, p, p, GR);
      for (int a = 0; a < k; a++) mean[g + (size_t)m * (size_t)a] = z[a] * mu[a];
      for (int e = 0; e < k * k; e++) *cov++ *= z[e % k] * z[e / k];
      for (int e = 0; e < k * p; e++) {
        *gain++ = -z[e % k] * GR[e];
        if (r) *moves++ = z[e % k] * GR[e];
      }
      for (int e = 0; e < k * n_eta && r; e++) {
        const int a = e % k, j = e / k;
        double move = r->by_eta[(size_t)(n_eta + p + before + a) + (size_t)n * (size_t)j];
        for (int i = 0; i < p; i++) move -= G[a + k * i] * r->D[i + p * j];
        *moves++ = z[a] * move;
      }
    }
    SET_VECTOR_ELT(latent, f, one.list);
    UNPROTECT(2);
  }
  call_list_add(out, "latent", latent);
  UNPROTECT(1);
}

static void add_crossed(call_list *out, vb_work *w) {
  const crossed_response response = find_response(w);
  double value;
  if (vb_model(w).objective.value(w, &value) != ELBO_OK)
    Rf_error("internal error: no value at an optimum");
  add_estimates(out, w);
  add_crossed_shared(out, w, &response);
  add_crossed_latent(out, w, &response);
}

/* ---- entries --------------------------------------------------------------------------------- */

static elbo_status open_model(SEXP model, int threads, const elbo_memory *memory, vb_work *w) {
  general_input in;
  call_general_input(model, &in);
  const general_prior *prior = call_general_prior(model, &in);
  if (prior == NULL) Rf_error("internal error: no prior");
  return vb_init(w, &in, prior, call_int(model, "mean_field", 0, 1), threads, memory);
}

/* As general_start(), under the prior of the coefficients. */
static elbo_status start(vb_work *w) {
  w->general.prior = &w->prior;
  const elbo_status status = general_start(&w->general);
  w->general.prior = NULL;
  return status;
}

SEXP call_general_vb(SEXP model, SEXP control, SEXP progress) {
  const elbo_control settings = call_control(control);
  const elbo_memory memory = call_memory();
  const int nodes = call_int(model, "quadrature", 0, 1000);
  call_trace trace;
  const elbo_hooks hooks = call_hooks(&trace, progress);
  elbo_result result = {0};
  vb_work w;
  elbo_status status = open_model(model, settings.threads, &memory, &w);
  if (status == ELBO_E_RANK && call_int(model, "full_rank", 0, 1)) status = ELBO_OK;
  call_list out = call_list_new(40);
  memcpy(call_list_doubles(&out, "pivots", &w.general.par.p, 1), w.general.rows.pivot,
         (size_t)w.general.par.p * sizeof(double));
  if (status == ELBO_OK) status = start(&w);
  if (status == ELBO_OK) {
    const elbo_model shape = vb_model(&w);
    double *space = doubles(elbo_ascend_size(&shape));
    status = vb_climb(&w, nodes, &settings, &hooks, space, &result);
  }
  call_list_int(&out, "level", 0);
  call_list_trace(&out, &trace);
  double value;
  if (status >= 0 && vb_model(&w).objective.value(&w, &value) != ELBO_OK)
    status = ELBO_E_NOT_FINITE;
  call_list_int(&out, "status", status);
  if (status >= 0) {
    const int n = w.general.rows.n;
    call_list_result(&out, &result);
    vb_row_variances(&w, call_list_doubles(&out, "row_variance", &n, 1));
    if (w.crossed) {
      add_crossed(&out, &w);
    } else {
      add_estimates(&out, &w);
      add_latent(&out, &w);
      add_response(&out, &w);
    }
    call_list_int(&out, "nodes", w.rule.each);
    call_list_double(&out, "accuracy", w.accuracy);
  }
  UNPROTECT(2);
  return out.list;
}

/* At eta = list(eta, nodes), q(beta, u) at its best there: estimates, the ELBO, its slope. */
SEXP call_general_vb_at(SEXP model, SEXP at) {
  const elbo_memory memory = call_memory();
  vb_work w;
  elbo_status status = open_model(model, 1, &memory, &w);
  if (status == ELBO_E_RANK) status = ELBO_OK;
  if (status == ELBO_OK) status = start(&w);
  if (status == ELBO_OK) status = vb_set_nodes(&w, call_int(at, "nodes", 8, 1000));
  const int n_eta = w.general.par.n_eta;
  const elbo_model shape = vb_model(&w);
  double value;
  if (status == ELBO_OK) status = shape.unpack(&w, call_doubles(at, "eta", n_eta, 0));
  if (status == ELBO_OK) status = shape.objective.value(&w, &value);
  call_list out = call_list_new(20);
  call_list_int(&out, "status", status);
  if (status == ELBO_OK) {
    call_list_double(&out, "objective", value);
    if (shape.objective.gradient(&w, call_list_doubles(&out, "score", &n_eta, 1)) != ELBO_OK)
      Rf_error("internal error: no slope");
    add_estimates(&out, &w);
    if (w.crossed)
      add_crossed_latent(&out, &w, NULL);
    else
      add_latent(&out, &w);
  }
  UNPROTECT(2);
  return out.list;
}
