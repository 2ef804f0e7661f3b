/* The Gaussian mixed model with one grouping factor: EM steps, ELBO, KL.
 *
 * Every method is one function of (Sigma, variance) with beta at its best or integrated:
 *   em     log N(y; X beta, V)                                       z integrated
 *   reml   the same integrated over beta                             z and beta integrated
 *   joint  log p(y, z | theta) at the best z: no log |V|, but log |Sigma| and log variance
 *   vb     that of reml at E[Sigma^{-1}]^{-1} and E[sigma^{-2}]^{-1}, plus what glmm/prior.c says
 * The ELBO, E_q log p(y, z | theta) - E_q log q, is computed from the summaries of q
 * alone, so E- and M-steps can be checked against it at every half-step (Neal & Hinton 1998). */
#include "glmm/inside.h"

#include <float.h>

#include "math/simd.h"

/* Where an inner ascent of the M-step ends, relative to the parameters. */
#define SMALL_STEP 1e-7

size_t lmm_posterior_stride(int q, int p) { return (size_t)(q + q * q + q * p) * SIMD_LANES; }

void lmm_covariance_root(int q, const double *U, double *N) {
  memset(N, 0, square(q) * sizeof(double));
  for (int k = 0; k < q; k++) {
    N[k + q * k] = U[k + q * k];
    for (int a = k - 1; a >= 0; a--)
      for (int c = a + 1; c <= k; c++) N[a + q * k] -= U[a + q * c] * N[c + q * k];
  }
}

void lmm_set_origin(lmm_work *w, const double *beta) {
  const lmm_stats *st = w->stats;
  const size_t size = square(st->p + 1);
  memmove(w->origin, beta, (size_t)st->p * sizeof(double));
  for (int l = 0; l < st->n_level; l++)
    shift_cross(st->within + (size_t)l * size, w->origin, st->p, w->within + (size_t)l * size);
  if (w->prior) shift_cross(w->prior->cross, w->origin, st->p, w->prior_cross);
}

/* ---- set-up ------------------------------------------------------------------------------------ */

elbo_status lmm_work_init(lmm_work *w, const lmm_stats *stats, const lmm_law *law,
                          const elbo_memory *mem) {
  const int p = stats->p, p1 = p + 1, q = stats->q, n_level = stats->n_level;
  const lmm_scaling *s = &stats->scaling;
  memset(w, 0, sizeof *w);
  w->stats = stats;
  w->method = law->method;
  w->kernels = lmm_kernels_current();
  lmm_parameters_init(&w->par, stats, law, mem);
  const lmm_parameters *par = &w->par;
  const int n_eta = par->n_eta;

  w->constant = stats->n * log(s->y_scale) + 0.5 * stats->log_weight;
  for (int k = 0; k < q; k++) {
    const int no_law = par->kind[k] == LMM_ROW_NO_LAW;
    if (w->method == LMM_JOINT && !no_law) w->constant += stats->m * log(par->T[k + q * k]);
    if (w->method != LMM_JOINT && no_law) w->constant += stats->m * log(par->Ti[k + q * k]);
  }
  if (integrates_beta(w))
    for (int j = 0; j < p - lmm_law_smooth_columns(law); j++)
      w->constant += log(s->x_scale[j] / s->y_scale);

  int most_cells = 1, n_d = par->n_pair + n_level;
  for (int r = 0; r < stats->n_run; r++)
    if (stats->run[r].n_cell > most_cells) most_cells = stats->run[r].n_cell;
  const int n_run_d = par->n_pair + most_cells;
  w->eta = elbo_doubles(mem, (size_t)n_eta);
  w->beta = elbo_doubles(mem, (size_t)p);
  w->profile_beta = elbo_doubles(mem, (size_t)p);
  w->origin = elbo_doubles(mem, (size_t)p);
  w->summary_origin = elbo_doubles(mem, (size_t)p);
  w->delta = elbo_doubles(mem, (size_t)p);
  w->within = elbo_doubles(mem, (size_t)n_level * square(p1));
  w->prior_cross = elbo_doubles(mem, square(p1));
  w->Sigma = elbo_doubles(mem, square(q));
  w->L = elbo_doubles(mem, square(q));
  w->variance = elbo_doubles(mem, (size_t)n_level);
  const size_t q_size = lmm_posterior_stride(q, p) * (size_t)stats->n_block;
  w->q = elbo_doubles(mem, q_size);
  w->q_next = elbo_doubles(mem, q_size);
  w->q_beta = elbo_doubles(mem, (size_t)p);
  w->q_next_beta = elbo_doubles(mem, (size_t)p);
  w->q_C = elbo_doubles(mem, square(p));
  w->q_next_C = elbo_doubles(mem, square(p));
  w->C_root = elbo_doubles(mem, square(p));
  w->second = elbo_doubles(mem, square(q));
  w->second_u = elbo_doubles(mem, square(q));
  w->root = elbo_doubles(mem, square(q));
  w->q_root = elbo_doubles(mem, square(q));
  w->q_next_root = elbo_doubles(mem, square(q));
  w->unit = elbo_doubles(mem, (size_t)q);
  for (int k = 0; k < q; k++) w->unit[k] = par->kind[k] == LMM_ROW_NO_LAW ? 0.0 : 1.0;
  w->residual = elbo_doubles(mem, (size_t)n_level * square(p1));
  w->trace = elbo_doubles(mem, (size_t)n_level);
  w->cross = elbo_doubles(mem, square(p1));
  w->C = elbo_doubles(mem, square(p));
  w->level_cross = elbo_doubles(mem, (size_t)n_level * square(p));
  w->jacobian = elbo_doubles(mem, square(q) * (size_t)n_eta);
  w->cells = elbo_doubles(mem, (size_t)n_level + (size_t)most_cells * (2 + square(p1)));
  w->spread_eta = elbo_doubles(mem, (size_t)n_eta * square(p));
  w->cross_eta = elbo_doubles(mem, (size_t)n_eta * (size_t)p);
  w->scratch = elbo_doubles(mem, 4 * square(p1) + 8 * square(q) + la_eigen_size(q) +
                                     3 * square(n_eta) + (size_t)(n_d + 4) * (size_t)(n_eta + 1));
  lmm_derivatives *d[2] = {&w->run_d, &w->all_d};
  const int size[2] = {n_run_d, n_d};
  for (int i = 0; i < 2; i++) {
    d[i]->gradient = elbo_doubles(mem, (size_t)size[i]);
    d[i]->hessian = elbo_doubles(mem, square(size[i]));
    d[i]->cross = elbo_doubles(mem, (size_t)size[i] * (size_t)p);
    d[i]->spread = elbo_doubles(mem, (size_t)size[i] * square(p));
  }
  w->work = elbo_doubles(mem, w->kernels->work_size(q, p, most_cells, par->n_pair));
  lmm_smooth_init(w, law, mem);
  for (int j = 0; j < p; j++) w->origin[j] = 0.0;
  lmm_set_origin(w, w->origin);
  return ELBO_OK;
}

/* ---- theta --------------------------------------------------------------------------------------- */

void lmm_set_root(lmm_work *w) {
  const int q = w->stats->q;
  memcpy(w->root, w->L, square(q) * sizeof(double));
  for (int k = 0; k < w->par.n_no_law; k++) w->root[w->par.no_law[k] * (q + 1)] = 1.0;
}

void lmm_set_eta(lmm_work *w) {
  /* In units of the residual sd less than this changes no digit of the objective. */
  enum { NOTHING_EXPONENT = -30 };
  double residual = HUGE_VAL;
  if (w->method != LMM_VB) {
    for (int l = 0; l < w->par.n_level; l++) {
      const int at = w->par.eta_of_sigma[l];
      residual = fmin(residual, at < 0 ? w->par.sigma[l] : exp(w->eta[at]));
    }
    lmm_parameters_round(&w->par, scalbn(residual, NOTHING_EXPONENT), w->eta);
  }
  lmm_parameters_unpack(&w->par, w->eta, w->L, w->Sigma, w->variance);
  lmm_set_root(w);
  if (has_smooth(w)) lmm_smooth_unpack(w);
  w->q_next_valid = w->q_is_exact = w->evidence_valid = 0;
}

void lmm_canonical(lmm_work *w) {
  lmm_parameters_canonical(&w->par, w->L, w->variance, w->eta);
  for (int k = 0; k < w->par.n_smooth; k++) {
    double *sd = w->eta + w->par.n_eta - 1 - k;
    *sd = fabs(*sd);
  }
  lmm_set_eta(w);
}

static void pack(void *work, double *eta) {
  lmm_work *w = (lmm_work *)work;
  memcpy(eta, w->eta, (size_t)w->par.n_eta * sizeof(double));
}

static elbo_status unpack(void *work, const double *eta) {
  lmm_work *w = (lmm_work *)work;
  memcpy(w->eta, eta, (size_t)w->par.n_eta * sizeof(double));
  lmm_set_eta(w);
  const elbo_status status = lmm_objective(w, 0, w->beta, w->C, &w->evidence);
  w->evidence_valid = status == ELBO_OK;
  if (status == ELBO_OK) lmm_set_origin(w, w->beta);
  return status;
}

elbo_status lmm_start(lmm_work *w, const double *eta) { return unpack(w, eta); }

/* Where u = from b = to b', b' = M b; and log |det M|.  M = I + to^{-1} (from - to), by substitution: exact
 * where nothing has moved.  A direction without variance is a dummy, N(0, 1) before and after. */
static double whiten(const lmm_work *w, const double *from, const double *to, double *M) {
  const int q = w->stats->q;
  double log_det = 0.0;
  memset(M, 0, square(q) * sizeof(double));
  for (int j = 0; j < q; j++) {
    const int dummy = from[j * (q + 1)] == 0.0 || to[j * (q + 1)] == 0.0;
    for (int i = j; i < q && !dummy; i++) {
      double sum = from[i + q * j] - to[i + q * j];
      for (int k = j; k < i; k++) sum -= to[i + q * k] * M[k + q * j];
      if (to[i * (q + 1)] != 0.0) M[i + q * j] = sum / to[i * (q + 1)];
    }
    M[j * (q + 1)] += 1.0;
    log_det += log(fabs(M[j * (q + 1)]));
  }
  return log_det;
}

/* tr(M'M second) over the terms with a law. */
static double whitened_square(const lmm_work *w, const double *M) {
  const int q = w->stats->q;
  double sum = 0.0;
  for (int k = 0; k < q; k++)
    for (int i = 0; i < q && w->unit[k] > 0.0; i++)
      for (int j = 0; j < q; j++) sum += M[k + q * i] * w->second[i + q * j] * M[k + q * j];
  return sum;
}

/* ---- q ----------------------------------------------------------------------------------------- */

void lmm_posterior(lmm_work *w, const double *beta, double spread, double *posterior,
                   double *log_det) {
  const lmm_stats *st = w->stats;
  const int q = st->q, p = st->p;
  const size_t stride = lmm_posterior_stride(q, p);
  *log_det = 0.0;
  for (int r = 0; r < st->n_run; r++) {
    const lmm_run *run = st->run + r;
    double *out = posterior + stride * (size_t)run->first_block;
    w->kernels->posterior(run, q, p, w->root, w->unit, cell_variances(run, w->variance, w->cells),
                          beta, spread, out, log_det, w->work);
    /* Lanes without a group would count as groups without rows. */
    if (run->n_block == 0) continue;
    const int *group = st->group_of_lane + (run->first_block + run->n_block - 1) * SIMD_LANES;
    double *last = out + stride * (size_t)(run->n_block - 1);
    for (int lane = 0; lane < SIMD_LANES; lane++)
      if (group[lane] < 0)
        for (size_t i = 0; i < stride / SIMD_LANES; i++) last[i * SIMD_LANES + (size_t)lane] = 0.0;
  }
}

/* Under the mean field u does not move with beta. */
static void drop_gain(const lmm_work *w, double *posterior) {
  const int q = w->stats->q, p = w->stats->p;
  const size_t stride = lmm_posterior_stride(q, p), kept = (size_t)(q + q * q) * SIMD_LANES;
  for (int b = 0; b < w->stats->n_block; b++)
    memset(posterior + stride * (size_t)b + kept, 0, (stride - kept) * sizeof(double));
}

/* The exact posterior at theta into q_next. */
static elbo_status find_exact(lmm_work *w) {
  const int p = w->stats->p, q = w->stats->q;
  double value, log_det;
  if (coefficients_latent(w)) {
    const int integrated = integrates_beta(w);
    if (!integrated) memcpy(w->q_next_beta, w->beta, (size_t)p * sizeof(double));
    const elbo_status status =
        lmm_objective(w, !integrated, w->q_next_beta, mean_field(w) ? w->C : w->q_next_C, &value);
    if (status != ELBO_OK) return status;
    if (integrated) memcpy(w->beta, w->q_next_beta, (size_t)p * sizeof(double));
    if (has_smooth(w)) lmm_smooth_keep(w);
  }
  lmm_posterior(w, coefficients_latent(w) ? w->q_next_beta : w->beta,
                w->method == LMM_JOINT ? 0.0 : 1.0, w->q_next, &log_det);
  if (mean_field(w)) drop_gain(w, w->q_next);
  memcpy(w->q_next_root, w->root, square(q) * sizeof(double));
  w->q_next_log_det = -log_det;
  w->q_next_valid = 1;
  return ELBO_OK;
}

static void swap(double **a, double **b) {
  double *c = *a;
  *a = *b;
  *b = c;
}

/* A root of the covariance of the coefficients under q; NULL where they are points. */
static const double *root_of_C(lmm_work *w) {
  if (!coefficients_latent(w)) return NULL;
  la_chol_semidefinite(w->q_C, w->stats->p, 0.0, w->C_root);
  return w->C_root;
}

/* second, residual and trace from q. */
static void summarise(lmm_work *w) {
  const lmm_stats *st = w->stats;
  const int p = st->p, p1 = p + 1, q = st->q;
  const size_t size = square(p1), stride = lmm_posterior_stride(q, p);
  const double *C = coefficients_latent(w) ? w->q_C : NULL, *root = root_of_C(w);
  memset(w->second, 0, square(q) * sizeof(double));
  memcpy(w->residual, w->within, (size_t)st->n_level * size * sizeof(double));
  memcpy(w->summary_origin, w->origin, (size_t)p * sizeof(double));
  for (int l = 0; l < st->n_level; l++) {
    w->trace[l] = 0.0;
    if (C)
      for (int j = 0; j < p; j++)
        for (int k = 0; k < p; k++)
          w->trace[l] += C[j + p * k] *
                         st->within[(size_t)l * size + (size_t)(j >= k ? j + p1 * k : k + p1 * j)];
  }
  for (int r = 0; r < st->n_run; r++) {
    const lmm_run *run = st->run + r;
    double *trace = w->cells, *cross = w->cells + run->n_cell;
    memset(trace, 0, (size_t)run->n_cell * (1 + size) * sizeof(double));
    w->kernels->moments(run, q, p, w->q_root, w->origin, w->q + stride * (size_t)run->first_block,
                        root, w->second, cross, trace, w->work);
    for (int c = 0; c < run->n_cell; c++) {
      w->trace[run->level[c]] += trace[c];
      add_to(w->residual + (size_t)run->level[c] * size, cross + (size_t)c * size, size);
    }
  }
  fill_upper(w->second, q);
  la_multiply(w->q_root, w->second, q, q, q, w->scratch);
  la_multiply_t(w->scratch, w->q_root, q, q, q, w->second_u);
}

/* The coefficients: points of theta, means of q. */
static const double *mean_coefficients(lmm_work *w) {
  if (!coefficients_latent(w)) return w->beta;
  if (!integrates_beta(w)) memcpy(w->q_beta, w->beta, (size_t)w->smooth.first * sizeof(double));
  return w->q_beta;
}

static elbo_status e_step(void *work) {
  lmm_work *w = (lmm_work *)work;
  if (!w->q_next_valid) {
    const elbo_status status = find_exact(w);
    if (status != ELBO_OK) return status;
  }
  swap(&w->q, &w->q_next);
  swap(&w->q_root, &w->q_next_root);
  swap(&w->q_beta, &w->q_next_beta);
  swap(&w->q_C, &w->q_next_C);
  w->q_log_det = w->q_next_log_det;
  if (has_smooth(w)) lmm_smooth_e_step(w);
  w->q_next_valid = 0;
  w->q_is_exact = 1;
  lmm_set_origin(w, mean_coefficients(w)); /* residuals at the coefficients that E u belongs to */
  summarise(w);
  return ELBO_OK;
}

/* E_q |y - X beta - Z u|^2 of level l. */
static double expected_square(lmm_work *w, int l) {
  const size_t size = square(w->stats->p + 1);
  const double *beta = mean_coefficients(w);
  return residual_square(w->residual + (size_t)l * size, from_origin(w, beta, w->summary_origin),
                         w->stats->p) +
         w->trace[l];
}

static elbo_status elbo_value(void *work, double *value) {
  lmm_work *w = (lmm_work *)work;
  const lmm_stats *st = w->stats;
  const int q = st->q, m = st->m, p = st->p, n_law = q - w->par.n_no_law;
  double *M = w->scratch + square(q), sum = w->constant;
  elbo_status status = ELBO_OK;
  const double log_det = whiten(w, w->q_root, w->root, M);
  for (int l = 0; l < st->n_level; l++)
    sum -= 0.5 * (st->n_rows[l] * (LOG_2PI + log(w->variance[l])) +
                  expected_square(w, l) / w->variance[l]);
  /* log p(b) and the entropy of q, in the coordinates of theta; of points log p(u) and none. */
  sum -= 0.5 * (m * n_law * LOG_2PI + whitened_square(w, M));
  sum += w->method == LMM_JOINT ? -m * log_det_root(w)
                                : 0.5 * (m * q * (1.0 + LOG_2PI) + w->q_log_det) + m * log_det;
  if (has_smooth(w)) {
    status = lmm_smooth_elbo(w, &sum);
  } else if (integrates_beta(w)) {
    double *L = w->scratch;
    memcpy(L, w->q_C, square(p) * sizeof(double));
    status = la_chol(L, p);
    sum += 0.5 * (p * (1.0 + LOG_2PI) + la_log_det_from_chol(L, p));
  }
  if (w->prior && status == ELBO_OK) {
    double prior;
    const double *cross = w->prior->cross;
    status = w->prior->value(w->prior, &w->par, w->Sigma, w->variance, &prior);
    sum += prior - 0.5 * residual_square(cross, mean_coefficients(w), p);
    for (int j = 0; j < p && integrates_beta(w); j++)
      for (int k = 0; k < p; k++)
        sum -= 0.5 * w->q_C[j + p * k] * cross[j >= k ? j + (p + 1) * k : k + (p + 1) * j];
  }
  *value = sum;
  return status != ELBO_OK ? status : isfinite(sum) ? ELBO_OK : ELBO_E_NOT_FINITE;
}

/* The terms of the ELBO are rounded each; and a residual is off by the rounding of the response, of X beta and
 * of Z u, so that a sum of squares of residuals is off by twice their product. */
static double rounding(void *work) {
  enum { OPERATIONS = 8 }; /* roundings that go into a term and do not cancel */
  lmm_work *w = (lmm_work *)work;
  const lmm_stats *st = w->stats;
  const int q = st->q;
  const double *beta = mean_coefficients(w);
  double added = fabs(w->constant) + st->m * q * LOG_2PI + fabs(w->q_log_det), off = 0.0;
  double size = 1.0; /* of what a residual is the difference of; scaled columns are below 2 */
  for (int j = 0; j < st->p; j++) size += fabs(beta[j]);
  for (int k = 0; k < q; k++) {
    size += sqrt(w->second_u[k * (q + 1)] / st->m);
    if (w->unit[k] > 0.0 && w->root[k * (q + 1)] != 0.0)
      added += st->m * (1.0 + fabs(log(fabs(w->root[k * (q + 1)]))));
  }
  for (int l = 0; l < st->n_level; l++) {
    const double v = w->variance[l], n = st->n_rows[l], square_sum = fabs(expected_square(w, l)) / v;
    const double lost = DBL_EPSILON * size / sqrt(v);
    added += n * (LOG_2PI + fabs(log(v))) + square_sum;
    off += 2.0 * sqrt(n * square_sum) * lost + n * lost * lost;
  }
  if (w->prior) {
    const double *A = w->prior->cross;
    double value = 0.0;
    if (w->prior->value(w->prior, &w->par, w->Sigma, w->variance, &value) == ELBO_OK)
      added += fabs(value);
    added += A[st->p * (st->p + 2)];
    for (int j = 0; j < st->p; j++) added += fabs(beta[j] * A[st->p + (st->p + 1) * j]);
  }
  /* Normal equations magnify what goes into them by their condition. */
  return OPERATIONS * (DBL_EPSILON * (added + w->inflation * st->p) + off * (1.0 + sqrt(w->inflation)));
}

static elbo_status log_evidence(void *work, double *value) {
  lmm_work *w = (lmm_work *)work;
  if (!w->evidence_valid) {
    const int integrated = integrates_beta(w);
    double *beta = integrated ? w->profile_beta : w->beta;
    const elbo_status status = lmm_objective(w, !integrated, beta, w->C, &w->evidence);
    if (status != ELBO_OK) return status;
    w->evidence_valid = 1;
  }
  *value = w->evidence;
  return ELBO_OK;
}

/* KL(q || p(u, beta | y, theta)) = KL(q(beta) || p(beta | y)) + E_q KL(q(u | beta) || p(u | beta, y)). */
static elbo_status kl_value(void *work, double *value) {
  lmm_work *w = (lmm_work *)work;
  const lmm_stats *st = w->stats;
  const int q = st->q, p = st->p, m = st->m, latent = coefficients_latent(w);
  const size_t stride = lmm_posterior_stride(q, p);
  double *M = w->scratch + square(q), *shift = M + square(q), trace = 0.0;
  elbo_status status = w->q_next_valid || w->q_is_exact ? ELBO_OK : find_exact(w);
  if (status != ELBO_OK) return status;
  const double *exact = w->q_is_exact ? w->q : w->q_next;
  const double *exact_beta = w->q_is_exact ? w->q_beta : w->q_next_beta;
  const double *exact_C = w->q_is_exact ? w->q_C : w->q_next_C;
  const double exact_log_det = w->q_is_exact ? w->q_log_det : w->q_next_log_det;
  const double log_det = whiten(w, w->q_root, w->root, M);
  const double *q_beta = mean_coefficients(w), *root = root_of_C(w);
  for (int j = 0; j < p; j++) shift[j] = latent ? q_beta[j] - exact_beta[j] : 0.0;
  for (int r = 0; r < st->n_run; r++) {
    const lmm_run *run = st->run + r;
    const size_t at = stride * (size_t)run->first_block;
    w->kernels->divergence(run, q, p, w->root, w->unit, cell_variances(run, w->variance, w->cells),
                           M, w->q + at, exact + at, shift, root, &trace, w->work);
  }
  double twice = trace - m * (q + 2.0 * log_det) + exact_log_det - w->q_log_det;
  if (has_smooth(w)) {
    const lmm_smooth *s = &w->smooth;
    status = lmm_smooth_divergence(w, exact_beta, w->q_is_exact ? s->q_c : s->q_next_c,
                                   w->q_is_exact ? s->q_P : s->q_next_P, &twice);
  } else if (latent) {
    double *from = w->scratch, *to = from + square(p + 1), *quadratic = to + square(p + 1);
    for (int j = 0; j < p; j++) quadratic[j] = w->q_beta[j] - exact_beta[j];
    memcpy(from, w->q_C, square(p) * sizeof(double));
    memcpy(to, exact_C, square(p) * sizeof(double));
    if (la_chol(from, p) != ELBO_OK || la_chol(to, p) != ELBO_OK) return ELBO_E_NOT_PD;
    twice += la_log_det_from_chol(to, p) - la_log_det_from_chol(from, p) - p;
    if (la_inverse_from_chol(to, p) != ELBO_OK) return ELBO_E_NOT_PD;
    twice += la_quadratic(to, quadratic, p);
    for (size_t i = 0; i < square(p); i++) twice += to[i] * w->q_C[i];
  }
  *value = 0.5 * twice;
  return status;
}

/* ---- M-step -------------------------------------------------------------------------------------- */

/* Adds the derivative of log p(Sigma) to the symmetric G (d log p = tr(G dSigma)). */
static void add_prior_gradient(lmm_work *w, double *G) {
  const lmm_parameters *par = &w->par;
  const int n = par->n_pair + par->n_level, q = par->q;
  memset(w->all_d.gradient, 0, (size_t)n * sizeof(double));
  memset(w->all_d.hessian, 0, square(n) * sizeof(double));
  w->prior->derivatives(w->prior, par, w->Sigma, w->variance, w->all_d.gradient, w->all_d.hessian);
  for (int e = 0; e < par->n_pair; e++) {
    const int a = par->pair_a[e], b = par->pair_b[e];
    const double part = w->all_d.gradient[e] * (a == b ? 1.0 : 0.5);
    G[a + q * b] += part;
    if (a != b) G[b + q * a] += part;
  }
}

/* Raises -(m log |Sigma| + tr(Sigma^{-1} second)) / 2 (+ log p) where constants or priors leave no
 * closed form, by Fisher scoring with halving: a generalised M-step (Dempster, Laird & Rubin 1977). */
static elbo_status improve_Sigma(lmm_work *w) {
  const int q = w->stats->q, m = w->stats->m;
  const int n = w->par.n_eta - w->par.n_sigma - w->par.n_smooth;
  double *M = w->scratch + square(q), *inverse = M + square(q), *G = inverse + square(q);
  double *SJ = G + square(q), *info = SJ + square(q) * 2, *step = info + square(n),
         *from = step + n;
  double best = -HUGE_VAL;
  int halvings = 0;
  memcpy(from, w->eta, (size_t)n * sizeof(double));
  for (int j = 0; j < n; j++) step[j] = 0.0;
  for (int iteration = 0; iteration < 20; iteration++) {
    double value = m * whiten(w, w->q_root, w->root, M), prior = 0.0;
    if (w->prior && w->prior->value(w->prior, &w->par, w->Sigma, w->variance, &prior) != ELBO_OK)
      prior = -HUGE_VAL;
    value += prior - 0.5 * whitened_square(w, M);
    if (!(value >= best)) { /* half the step */
      if (++halvings > 30) break;
      for (int j = 0; j < n; j++) {
        step[j] *= 0.5;
        w->eta[j] = from[j] + step[j];
      }
      lmm_set_eta(w);
      continue;
    }
    best = value;
    memcpy(from, w->eta, (size_t)n * sizeof(double));
    lmm_parameters_sigma_jacobian(&w->par, w->eta, w->jacobian);
    /* Sigma^{-1} = Li'Li on the range of Sigma, Li the inverse of its root. */
    la_lower_inverse(w->L, q, SJ);
    for (int i = 0; i < q; i++)
      for (int j = 0; j < q; j++) {
        inverse[i + q * j] = 0.0;
        for (int k = 0; k < q; k++) inverse[i + q * j] += SJ[k + q * i] * SJ[k + q * j];
      }
    la_multiply(inverse, w->second_u, q, q, q, SJ);
    la_multiply(SJ, inverse, q, q, q, G);
    for (size_t i = 0; i < square(q); i++) G[i] = 0.5 * (G[i] - m * inverse[i]);
    if (w->prior) add_prior_gradient(w, G);
    for (int j = 0; j < n; j++) {
      const double *Jj = w->jacobian + square(q) * (size_t)j;
      step[j] = 0.0;
      for (size_t i = 0; i < square(q); i++) step[j] += G[i] * Jj[i];
      la_multiply(inverse, Jj, q, q, q, SJ + square(q));
      la_multiply(SJ + square(q), inverse, q, q, q, SJ);
      for (int k = 0; k < n; k++) {
        const double *Jk = w->jacobian + square(q) * (size_t)k;
        double sum = 0.0;
        for (size_t i = 0; i < square(q); i++) sum += SJ[i] * Jk[i];
        info[j + n * k] = 0.5 * m * sum + (j == k ? 1e-10 * m : 0.0);
      }
    }
    if (la_chol(info, n) != ELBO_OK || la_inverse_from_chol(info, n) != ELBO_OK) break;
    for (int j = 0; j < n; j++) {
      double move = 0.0;
      for (int k = 0; k < n; k++) move += info[j + n * k] * step[k];
      w->eta[j] = from[j] + move;
    }
    double largest = 0.0, length = 0.0;
    for (int j = 0; j < n; j++) {
      step[j] = w->eta[j] - from[j];
      largest = fmax(largest, fabs(step[j]));
      length = fmax(length, fabs(w->eta[j]));
    }
    lmm_set_eta(w);
    if (largest < SMALL_STEP * length) { /* the value no longer tells steps apart */
      memcpy(from, w->eta, (size_t)n * sizeof(double));
      break;
    }
  }
  memcpy(w->eta, from, (size_t)n * sizeof(double));
  lmm_set_eta(w);
  return ELBO_OK;
}

/* q(Sigma), q(sigma^2) and their auxiliary variables, given q(beta, u). */
static elbo_status global_step(lmm_work *w) {
  double *square_sum = w->cells;
  for (int l = 0; l < w->stats->n_level; l++) square_sum[l] = expected_square(w, l);
  const elbo_status status =
      w->prior->update(w->prior, &w->par, w->second_u, square_sum, w->Sigma, w->variance);
  lmm_parameters_pack(&w->par, w->Sigma, w->variance, w->eta);
  if (has_smooth(w)) lmm_smooth_m_step(w);
  lmm_set_eta(w);
  return status;
}

/* A += X'X / variance (lower), b += X'y / variance, from cross-products of [X y]. */
static void add_cross(const double *R, double variance, int p, double *A, double *b) {
  const int p1 = p + 1;
  for (int j = 0; j < p; j++) {
    b[j] += R[p + p1 * j] / variance;
    for (int k = 0; k <= j; k++) A[j + p * k] += R[j + p1 * k] / variance;
  }
}

/* Raises -(n log v + square / v) / 2 + log p(v) in each free residual variance, by scoring in log sigma
 * with halving. */
static elbo_status improve_variance(lmm_work *w) {
  const lmm_parameters *par = &w->par;
  const int n_d = par->n_pair + par->n_level;
  for (int l = 0; l < par->n_level; l++) {
    if (par->eta_of_sigma[l] < 0) continue;
    const double n = w->stats->n_rows[l], sum = expected_square(w, l);
    double step = 0.0, from = w->variance[l], best = -HUGE_VAL;
    for (int i = 0; i < 60; i++) {
      double prior;
      const elbo_status status = w->prior->value(w->prior, par, w->Sigma, w->variance, &prior);
      const double v = w->variance[l], value = prior - 0.5 * (n * log(v) + sum / v);
      if (status != ELBO_OK || !(value >= best)) {
        step *= 0.5;
        w->variance[l] = from * exp(2.0 * step);
        continue;
      }
      best = value;
      from = v;
      memset(w->all_d.gradient, 0, (size_t)n_d * sizeof(double));
      memset(w->all_d.hessian, 0, square(n_d) * sizeof(double));
      w->prior->derivatives(w->prior, par, w->Sigma, w->variance, w->all_d.gradient,
                            w->all_d.hessian);
      step = (sum / v - n + 2.0 * v * w->all_d.gradient[par->n_pair + l]) / (2.0 * n);
      step = step > 1.0 ? 1.0 : step < -1.0 ? -1.0 : step;
      w->variance[l] = from * exp(2.0 * step);
      if (fabs(step) < SMALL_STEP) { /* the value no longer tells steps apart */
        from = w->variance[l];
        break;
      }
    }
    w->variance[l] = from;
  }
  return ELBO_OK;
}

/* Sigma = sum E[u u'] / m by blocks, as its root: that of q times that of sum E[b b'] / m, which loses
 * nothing where Sigma is nearly singular. */
static void root_of_second(lmm_work *w, double *L) {
  const int q = w->stats->q;
  double *block = w->scratch, *chol = block + square(q);
  memset(block, 0, square(q) * sizeof(double));
  for (int b = 0; b < w->par.n_block; b++)
    for (int i = w->par.start[b]; i < w->par.start[b + 1]; i++)
      for (int j = w->par.start[b]; j < w->par.start[b + 1]; j++)
        block[i + q * j] = w->second[i + q * j] / w->stats->m;
  la_chol_semidefinite(block, q, 1e-300, chol);
  la_multiply(w->q_root, chol, q, q, q, L);
}

static elbo_status m_step(void *work) {
  lmm_work *w = (lmm_work *)work;
  const lmm_stats *st = w->stats;
  const lmm_parameters *par = &w->par;
  const int p = st->p, p1 = p + 1, q = st->q;
  int constrained = 0;
  if (w->prior && w->prior->update) return global_step(w);
  if (!integrates_beta(w) && p > 0) {
    double *A = w->scratch, *b = A + square(p);
    memset(A, 0, (square(p) + (size_t)p) * sizeof(double));
    if (w->prior) {
      double *shifted = w->cross;
      shift_cross(w->prior->cross, w->summary_origin, p, shifted);
      add_cross(shifted, 1.0, p, A, b);
    }
    for (int l = 0; l < st->n_level; l++) {
      add_cross(w->residual + (size_t)l * square(p1), w->variance[l], p, A, b);
    }
    if (has_smooth(w)) lmm_smooth_hold(w, A, b);
    if (la_chol(A, p) != ELBO_OK || la_inverse_from_chol(A, p) != ELBO_OK) return ELBO_E_NOT_PD;
    for (int j = 0; j < p; j++) {
      w->beta[j] = w->summary_origin[j];
      for (int k = 0; k < p; k++) w->beta[j] += A[j + p * k] * b[k];
    }
  }
  for (int l = 0; l < st->n_level; l++)
    if (par->eta_of_sigma[l] >= 0 && !w->prior)
      w->variance[l] = expected_square(w, l) / st->n_rows[l];
  if (w->prior) improve_variance(w);
  for (int k = 0; k < q; k++) constrained |= w->prior || par->kind[k] != LMM_ROW_FREE;
  double *L = w->scratch + 2 * square(q);
  if (constrained)
    memcpy(L, w->L, square(q) * sizeof(double));
  else
    root_of_second(w, L);
  lmm_parameters_pack_root(par, L, w->variance, w->eta);
  if (has_smooth(w)) lmm_smooth_m_step(w);
  lmm_set_eta(w);
  return constrained && par->n_eta > par->n_sigma + par->n_smooth ? improve_Sigma(w) : ELBO_OK;
}

/* A variance within rounding of zero, or a covariance within rounding of singular, is put there
 * exactly when the objective does not mind: it is even in each column of L, so Newton's method
 * comes arbitrarily near but not onto the boundary. */
static int settle(void *work) {
  enum { SMALL_EXPONENT = -17 }; /* 2^-17 = 7.6e-6 of the residual sd or of the row */
  lmm_work *w = (lmm_work *)work;
  const lmm_parameters *par = &w->par;
  const double small = scalbn(1.0, SMALL_EXPONENT);
  double before, after, residual = 0.0,
                        *kept = w->scratch + 3 * square(w->stats->p + 1) + 7 * square(par->q);
  int moved = 0;
  if (lmm_objective(w, 0, w->profile_beta, w->C, &before) != ELBO_OK) return 0;
  for (int l = 0; l < par->n_level; l++) residual = fmax(residual, w->variance[l]);
  residual = sqrt(residual);
  for (int r = 0; r < par->q; r++) {
    double *x = w->eta + par->eta_of_row[r], length = 0.0;
    const int size = lmm_row_size(par, r);
    int moved_row = 0;
    if (size == 0) continue;
    memcpy(kept, x, (size_t)size * sizeof(double));
    if (par->kind[r] == LMM_ROW_LENGTH) {
      double *last = x + size - 1;
      const double nearest = acos(-1.0) * nearbyint(*last / acos(-1.0));
      if (*last != nearest && fabs(*last - nearest) < small) *last = nearest, moved_row = 1;
    } else {
      for (int c = 0; c < size; c++) length = hypot(length, x[c]);
      if (length > 0.0 && length < small * residual) {
        for (int c = 0; c < size; c++) x[c] = 0.0;
        moved_row = 1;
      } else if (size > 1 && x[size - 1] != 0.0 && fabs(x[size - 1]) < small * length) {
        x[size - 1] = 0.0;
        moved_row = 1;
      }
    }
    if (!moved_row) continue;
    lmm_set_eta(w);
    if (lmm_objective(w, 0, w->profile_beta, w->C, &after) == ELBO_OK &&
        after >= before - 1e-9 * (1.0 + fabs(before))) {
      before = after;
      moved = 1;
    } else {
      memcpy(x, kept, (size_t)size * sizeof(double));
      lmm_set_eta(w);
    }
  }
  if (has_smooth(w)) moved |= lmm_smooth_settle(w, small * residual, &before);
  return moved;
}

elbo_model lmm_model(const lmm_work *w) {
  const int marginal = w->method == LMM_EM || w->method == LMM_REML, vb = w->method == LMM_VB;
  const elbo_model model = {
      .n_eta = w->par.n_eta,
      .e_name = vb ? ELBO_STEP_LOCAL : ELBO_STEP_E,
      .m_name = vb ? ELBO_STEP_GLOBAL : ELBO_STEP_M,
      .e_step = e_step,
      .m_step = m_step,
      .elbo = elbo_value,
      .rounding = rounding,
      .log_evidence = marginal ? log_evidence : NULL,
      .kl = marginal ? kl_value : NULL,
      .derivatives = lmm_profile_information,
      .pack = pack,
      .unpack = unpack,
      .newton_from = HUGE_VAL,
      .settle = settle,
  };
  return model;
}
