/* Smooth terms of the mixed model against the model written out densely, in the caller's units:
 *
 *   y = X beta + D c + e,   c = (u, b) ~ N(0, Omega),   e_i ~ N(0, sigma_l(i)^2 / w_i),
 *
 * D the columns of Z group by group and those of the smooth terms, Omega diagonal blocks.  For reml
 * beta is in c, with a prior precision of zero. */
#include <string.h>

#include "glmm/objective.h"
#include "glmm/prior.h"
#include "glmm/smooth.h"
#include "glmm/starts.h"
#include "lmm_fixture.h"
#include "law/sd_prior.h"

enum { N = 60, M = 6, P = 3, K1 = 4, K2 = 3 }; /* rows, groups, columns of X, of two smooth terms */

/* ---- examples -------------------------------------------------------------------------------- */

typedef struct {
  lmm_method method;
  int q, n_level, weighted, n_smooth, held; /* held: the sd of the first smooth term */
} configuration;

/* The second smooth term has columns of very different sizes, and none is centred. */
static example new_example(const configuration *c) {
  const int n_smooth = c->n_smooth == 2 ? K1 + K2 : K1, p = P + n_smooth;
  double *X = new_doubles(N * p), *Z = new_doubles(N * c->q), *y = new_doubles(N),
         *w = new_doubles(N);
  int *group = new_ints(N), *level = new_ints(N), *block = new_ints(c->q), *size = new_ints(2);
  double *sd = new_doubles(c->q), *cor = new_doubles(1), *sigma = new_doubles(c->n_level);
  double *smooth_sd = new_doubles(2);
  for (int i = 0; i < N; i++) {
    const double x = random_uniform();
    group[i] = i % M + 1;
    level[i] = i / M % c->n_level + 1;
    w[i] = 0.4 + random_uniform();
    X[i] = 1.0;
    X[i + N] = 20.0 + 5.0 * x;
    X[i + 2 * N] = random_normal();
    for (int j = 0; j < n_smooth; j++)
      X[i + N * (P + j)] = j < K1 ? 0.3 * pow(x, 2.0 + j) : random_normal() * pow(0.1, j - K1);
    for (int a = 0; a < c->q; a++) Z[i + N * a] = a == 0 ? 1.0 : random_normal();
    y[i] = 7.0 + X[i + N] + 9.0 * sin(7.0 * x) + 2.0 * cos(3.0 * group[i]) + 2.0 * random_normal();
  }
  /* Points take constants. */
  for (int a = 0; a < c->q; a++) sd[a] = c->method == LMM_JOINT ? 1.5 + a : NAN;
  cor[0] = c->method == LMM_JOINT && c->q == 2 ? 0.3 : NAN;
  for (int l = 0; l < c->n_level; l++) sigma[l] = NAN;
  size[0] = K1;
  size[1] = K2;
  smooth_sd[0] = c->held ? 3.0 : NAN;
  smooth_sd[1] = NAN;
  const lmm_rows rows = {.n = N,
                         .p = p,
                         .q = c->q,
                         .m = M,
                         .n_level = c->n_level,
                         .X = X,
                         .y = y,
                         .Z = Z,
                         .weight = c->weighted ? w : NULL,
                         .group = group,
                         .level = level};
  const lmm_law law = {.method = c->method,
                       .n_block = c->q > 0,
                       .block = block,
                       .sd = sd,
                       .cor = cor,
                       .sigma = sigma,
                       .n_smooth = c->n_smooth,
                       .smooth_size = size,
                       .smooth_sd = smooth_sd};
  const example e = {rows, law};
  return e;
}

/* ---- dense ----------------------------------------------------------------------------------- */

/* What the model is at theta: the residual variances, the columns [D, X if reml], the prior
 * precision of their coefficients with its log determinant (of those with a law), and y less X beta
 * of a point beta. */
typedef struct {
  int k, n_law;
  double *variance, *D, *precision, *r, log_det;
} dense;

static dense dense_model(fixture *f) {
  const lmm_rows *rows = &f->e.rows;
  const lmm_work *w = &f->work;
  const lmm_scaling *s = &f->stats.scaling;
  const int q = rows->q, p = rows->p, reml = w->method == LMM_REML, K = p - P;
  dense d = {
      q * M + K + (reml ? P : 0), q * M + K, new_doubles(N), NULL, NULL, new_doubles(N), 0.0};
  double *Sigma = new_doubles(q * q), *sigma = new_doubles(rows->n_level);
  double *beta = new_doubles(p), *sd = new_doubles(p);
  d.D = new_doubles(N * d.k);
  d.precision = new_doubles(d.k * d.k);
  lmm_parameters_natural(&w->par, w->eta, Sigma, new_doubles(q * q * w->par.n_eta), sigma);
  for (int j = 0; j < P; j++) beta[j] = w->beta[j] * s->x_scale[j] / s->y_scale;
  beta[0] += s->y_shift;
  for (int j = 1; j < P; j++) beta[0] -= s->x_shift[j] * beta[j];
  for (int k = 0, j = P; k < w->smooth.n; k++)
    for (int i = 0; i < f->e.law.smooth_size[k]; i++)
      sd[j++] = w->smooth.sd[k] * w->smooth.to_user[k];
  for (int i = 0; i < N; i++) {
    const double residual_sd = sigma[rows->level[i] - 1];
    d.variance[i] = residual_sd * residual_sd / (rows->weight ? rows->weight[i] : 1.0);
    d.r[i] = rows->y[i];
    for (int j = 0; j < P && !reml; j++) d.r[i] -= rows->X[i + N * j] * beta[j];
    for (int a = 0; a < q; a++) d.D[i + N * (q * (rows->group[i] - 1) + a)] = rows->Z[i + N * a];
    for (int j = 0; j < K; j++) d.D[i + N * (q * M + j)] = rows->X[i + N * (P + j)];
    for (int j = 0; j < P && reml; j++) d.D[i + N * (q * M + K + j)] = rows->X[i + N * j];
  }
  d.log_det = -M * dense_invert(Sigma, q);
  for (int g = 0; g < M; g++)
    for (int a = 0; a < q; a++)
      for (int b = 0; b < q; b++) d.precision[q * g + a + d.k * (q * g + b)] = Sigma[a + q * b];
  for (int j = 0; j < K; j++) {
    d.precision[(q * M + j) * (d.k + 1)] = 1.0 / (sd[P + j] * sd[P + j]);
    d.log_det -= 2.0 * log(fabs(sd[P + j]));
  }
  return d;
}

/* q(c) = N(mean, cov), exact at a model. */
typedef struct {
  double *mean, *cov, log_det;
} dense_q;

static dense_q exact_q(const dense *d) {
  dense_q q = {new_doubles(d->k), copy_doubles(d->precision, d->k * d->k), 0.0};
  double *b = new_doubles(d->k);
  for (int i = 0; i < N; i++)
    for (int j = 0; j < d->k; j++) {
      b[j] += d->D[i + N * j] * d->r[i] / d->variance[i];
      for (int k = 0; k < d->k; k++)
        q.cov[j + d->k * k] += d->D[i + N * j] * d->D[i + N * k] / d->variance[i];
    }
  q.log_det = -dense_invert(q.cov, d->k);
  for (int j = 0; j < d->k; j++)
    for (int k = 0; k < d->k; k++) q.mean[j] += q.cov[j + d->k * k] * b[k];
  return q;
}

/* E_q log p(y, c) - E_q log q; points: at the mean. */
static double dense_elbo(const dense *d, const dense_q *q, int points) {
  double twice = d->log_det - (N + d->n_law) * log_2pi;
  if (!points) twice += d->k * (1.0 + log_2pi) + q->log_det;
  for (int i = 0; i < N; i++) {
    double e = d->r[i], spread = 0.0;
    for (int j = 0; j < d->k; j++) {
      e -= d->D[i + N * j] * q->mean[j];
      for (int k = 0; k < d->k && !points; k++)
        spread += d->D[i + N * j] * q->cov[j + d->k * k] * d->D[i + N * k];
    }
    twice -= log(d->variance[i]) + (e * e + spread) / d->variance[i];
  }
  for (int j = 0; j < d->k; j++)
    for (int k = 0; k < d->k; k++)
      twice -= d->precision[j + d->k * k] *
               (q->mean[j] * q->mean[k] + (points ? 0.0 : q->cov[j + d->k * k]));
  return 0.5 * twice;
}

/* ---- checks ---------------------------------------------------------------------------------- */

/* At the exact q the ELBO is the log evidence: with beta at its best, and for em elsewhere. */
static void check_objective(fixture *f) {
  const int points = f->work.method == LMM_JOINT;
  dense d = dense_model(f);
  dense_q q = exact_q(&d);
  CHECK_CLOSE(objective(f), dense_elbo(&d, &q, points), 1e-10);
  const double *b = f->work.beta + P;
  for (int j = 0; j < f->e.rows.p - P; j++)
    CHECK_CLOSE(b[j] * f->stats.scaling.x_scale[P + j] / f->stats.scaling.y_scale,
                q.mean[f->e.rows.q * M + j], 1e-8);
  if (f->work.method != LMM_EM) return;
  double elsewhere, *beta = copy_doubles(f->work.beta, f->e.rows.p);
  for (int j = 0; j < P; j++) f->work.beta[j] += random_normal();
  CHECK(lmm_objective(&f->work, 1, f->work.beta, f->work.C, &elsewhere) == ELBO_OK);
  d = dense_model(f);
  q = exact_q(&d);
  CHECK_CLOSE(elsewhere, dense_elbo(&d, &q, 0), 1e-10);
  memcpy(f->work.beta, beta, (size_t)f->e.rows.p * sizeof(double));
}

/* The best beta, then its covariance. */
static void beta_at(void *ctx, const double *eta, double *out) {
  fixture *f = (fixture *)ctx;
  CHECK(f->model.unpack(&f->work, eta) == ELBO_OK);
  memcpy(out, f->work.beta, P * sizeof(double));
  for (int j = 0; j < P; j++)
    for (int k = 0; k < P; k++) out[P + j + P * k] = f->work.C[j + f->e.rows.p * k];
}

/* d C / d eta = C S C in the block of beta, S the spread. */
static void covariance_slope(const fixture *f, const double *C, const double *S, double *out) {
  const int p = f->e.rows.p;
  for (int j = 0; j < P; j++)
    for (int k = 0; k < P; k++) {
      out[j + P * k] = 0.0;
      for (int a = 0; a < p; a++)
        for (int b = 0; b < p; b++) out[j + P * k] += C[j + p * a] * S[a + p * b] * C[b + p * k];
    }
}

static void check_derivatives(fixture *f, const double *eta) {
  const int n = f->model.n_eta, p = f->e.rows.p, size = P + P * P;
  const double h = 4e-3;
  double value, *gradient = new_doubles(n), *hessian = new_doubles(n * n),
                *expected = new_doubles(n);
  double *beta_part = new_doubles(size), *found = new_doubles(size);
  CHECK(f->model.unpack(&f->work, eta) == ELBO_OK);
  CHECK(f->model.objective.hessian(&f->work, &value, gradient, hessian) == ELBO_OK);
  const double *spread = copy_doubles(f->work.spread_eta, n * p * p);
  const double *cross = copy_doubles(f->work.cross_eta, n * p), *C = copy_doubles(f->work.C, p * p);
  for (int j = 0; j < n; j++) {
    differences(objective_at, f, eta, n, j, h, expected + j, 1);
    differences(beta_at, f, eta, n, j, h, beta_part, size);
    for (int i = 0; i < P; i++) {
      found[i] = 0.0;
      for (int k = 0; k < p; k++) found[i] += C[i + p * k] * cross[j + n * k];
    }
    covariance_slope(f, C, spread + p * p * j, found + P);
    CHECK(distance(found, beta_part, size) < 1e-7);
  }
  CHECK(distance(gradient, expected, n) < 1e-8);
  for (int j = 0; j < n; j++) {
    differences(gradient_at, f, eta, n, j, h, expected, n);
    CHECK(distance(hessian + n * j, expected, n) < 1e-7);
  }
}

/* q exact at the first eta, theta at the second; and EM from there, no step of which descends. */
static void check_elbo(fixture *f, const double *from, const double *to) {
  const int points = f->work.method == LMM_JOINT;
  CHECK(f->model.unpack(&f->work, from) == ELBO_OK);
  CHECK(f->model.e_step(&f->work) == ELBO_OK);
  CHECK_CLOSE(value_of(f, f->model.elbo), objective(f), 1e-10);
  dense d = dense_model(f);
  dense_q q = exact_q(&d);
  CHECK(f->model.unpack(&f->work, to) == ELBO_OK);
  d = dense_model(f);
  CHECK_CLOSE(value_of(f, f->model.elbo), dense_elbo(&d, &q, points), 1e-10);
  check_identity(f);
  double last = value_of(f, f->model.elbo);
  for (int step = 0; step < 4; step++) {
    CHECK(f->model.m_step(&f->work) == ELBO_OK);
    d = dense_model(f);
    const double best = value_of(f, f->model.elbo);
    CHECK_CLOSE(best, dense_elbo(&d, &q, points), 1e-9);
    CHECK(best >= last - 1e-10 * fabs(last));
    check_identity(f);
    CHECK(f->model.e_step(&f->work) == ELBO_OK);
    d = dense_model(f);
    q = exact_q(&d);
    last = value_of(f, f->model.elbo);
    CHECK_CLOSE(last, dense_elbo(&d, &q, points), 1e-9);
    CHECK(last >= best - 1e-10 * fabs(best));
    check_identity(f);
  }
}

/* No sd of a smooth term near that of the M-step gives the same q a higher ELBO. */
static void check_m_step(fixture *f, const double *eta) {
  CHECK(f->model.unpack(&f->work, eta) == ELBO_OK);
  CHECK(f->model.e_step(&f->work) == ELBO_OK);
  CHECK(f->model.m_step(&f->work) == ELBO_OK);
  const double best = value_of(f, f->model.elbo);
  for (int k = 0; k < f->work.smooth.n; k++) {
    if (f->work.smooth.eta_of[k] < 0) continue;
    double *at = f->work.eta + f->work.smooth.eta_of[k];
    const double kept = *at;
    for (int sign = -1; sign <= 1; sign += 2) {
      *at = kept * (1.0 + sign * 0.01);
      lmm_smooth_unpack(&f->work);
      CHECK(value_of(f, f->model.elbo) < best);
    }
    *at = kept;
    lmm_smooth_unpack(&f->work);
  }
}

static void test_grid(void) {
  for (int method = LMM_JOINT; method <= LMM_REML; method++)
    for (int q = 0; q <= 2; q++)
      for (int rest = 0; rest < 16; rest++) {
        const configuration c = {(lmm_method)method, q,
                                 1 + rest % 2,       rest / 2 % 2,
                                 1 + rest / 4 % 2,   rest / 8 || method == LMM_JOINT};
        const int failed = checks_failed;
        fixture f;
        const example e = new_example(&c);
        fixture_init(&f, &e);
        if (method == LMM_JOINT && c.n_smooth == 2) continue; /* a free sd has no maximum */
        const double *a = random_eta(&f.work.par), *b = random_eta(&f.work.par);
        CHECK(f.model.unpack(&f.work, a) == ELBO_OK);
        check_objective(&f);
        check_derivatives(&f, a);
        check_elbo(&f, a, b);
        if (method != LMM_JOINT) check_m_step(&f, a);
        if (checks_failed > failed)
          printf("  method %d, q %d, %d levels%s, %d smooth terms%s\n", method, q, c.n_level,
                 c.weighted ? ", weights" : "", c.n_smooth, c.held ? ", held" : "");
        test_free();
      }
}

/* ---- priors ---------------------------------------------------------------------------------- */

/* Priors of the sds of smooth terms alone; those of vb are everywhere. */
static void set_priors(fixture *f, lmm_prior *prior, int family) {
  const int q = f->e.rows.q, p = f->e.rows.p, n_level = f->e.rows.n_level, n = f->work.smooth.n;
  int *families = new_ints(q + n_level), *of_smooth = new_ints(n);
  const int vb = f->work.method == LMM_VB;
  double *lkj = new_doubles(f->e.law.n_block);
  double *df = new_doubles(q + 1), *scale = new_doubles(q), *sigma_df = new_doubles(n_level);
  double *sigma_scale = new_doubles(n_level), *smooth_df = new_doubles(n),
         *smooth_scale = new_doubles(n);
  double *sd = new_doubles(p), *B = new_doubles(p * p);
  for (int k = 0; k <= q; k++) df[k] = 3.0;
  for (int k = 0; k < q; k++) scale[k] = 1.0;
  for (int l = 0; l < n_level; l++) sigma_df[l] = 3.0, sigma_scale[l] = 1.0;
  for (int k = 0; k < n; k++) of_smooth[k] = family, smooth_df[k] = 2.0 + k, smooth_scale[k] = 5.0;
  for (int j = 0; j < p; j++) sd[j] = j < P && family < 0 ? 10.0 : HUGE_VAL, B[j * (p + 1)] = 1.0;
  for (int k = 0; k < q + n_level; k++) families[k] = vb ? SD_HALF_T : SD_FLAT;
  for (int b = 0; b < f->e.law.n_block; b++) lkj[b] = NAN;
  memset(prior, 0, sizeof *prior);
  prior->family = families;
  prior->lkj = lkj;
  prior->df = df;
  prior->scale = scale;
  prior->sigma_df = sigma_df;
  prior->sigma_scale = sigma_scale;
  double *n_unit = new_doubles(f->e.law.n_block);
  for (int b = 0; b < f->e.law.n_block; b++) n_unit[b] = M;
  prior->n_unit = n_unit;
  prior->n_rows = f->stats.n_rows;
  prior->cross = new_doubles((p + 1) * (p + 1));
  if (f->work.method == LMM_VB)
    lmm_prior_vb(prior, &f->work.par);
  else
    lmm_prior_map(prior);
  lmm_prior_set_beta(prior, p, B, new_doubles(p), new_doubles(p), sd);
  lmm_set_prior(&f->work, prior);
  lmm_smooth_set_prior(&f->work, of_smooth, smooth_df, smooth_scale, &test_memory);
}

/* half-normal of scale s: log 2 - log s - log(2 pi) / 2 - sd^2 / (2 s^2). */
static void test_map(void) {
  for (int family = SD_FLAT; family <= SD_INVERSE_GAMMA; family++) {
    const configuration c = {LMM_EM, 1, 1, 0, 2, 0};
    fixture f;
    lmm_prior prior;
    const example e = new_example(&c);
    fixture_init(&f, &e);
    const double *a = random_eta(&f.work.par), *b = random_eta(&f.work.par);
    double without, with;
    objective_at(&f, a, &without);
    set_priors(&f, &prior, family);
    objective_at(&f, a, &with);
    double expected = 0.0;
    for (int k = 0; k < 2; k++) {
      const double sd = f.work.smooth.sd[k] * f.work.smooth.to_user[k] / 5.0;
      expected += log(2.0) - log(5.0) - 0.5 * log_2pi - 0.5 * sd * sd;
    }
    if (family == SD_FLAT) CHECK_CLOSE(with, without, 1e-13);
    if (family == SD_HALF_NORMAL) CHECK_CLOSE(with - without, expected, 1e-10);
    check_derivatives(&f, a);
    CHECK(f.model.unpack(&f.work, a) == ELBO_OK);
    CHECK(f.model.e_step(&f.work) == ELBO_OK);
    CHECK(f.model.unpack(&f.work, b) == ELBO_OK);
    check_identity(&f);
    check_m_step(&f, a);
    test_free();
  }
}

/* Variational Bayes: the local step brings the ELBO to the objective, the global one does not lower
 * it, and each sd is then the best for q. */
static void test_vb(void) {
  for (int q = 0; q <= 2; q++) {
    const configuration c = {LMM_VB, q, 1 + q % 2, 1, 2, 0};
    fixture f;
    lmm_prior prior;
    const example e = new_example(&c);
    fixture_init(&f, &e);
    set_priors(&f, &prior, -1);
    const double *a = random_eta(&f.work.par);
    check_derivatives(&f, a);
    CHECK(f.model.unpack(&f.work, a) == ELBO_OK);
    CHECK(f.model.e_step(&f.work) == ELBO_OK);
    double last = value_of(&f, f.model.elbo);
    CHECK_CLOSE(last, objective(&f), 1e-10);
    for (int step = 0; step < 6; step++) {
      CHECK(f.model.m_step(&f.work) == ELBO_OK);
      const double best = value_of(&f, f.model.elbo);
      CHECK(best >= last - 1e-10 * fabs(last));
      CHECK(f.model.e_step(&f.work) == ELBO_OK);
      last = value_of(&f, f.model.elbo);
      CHECK(last >= best - 1e-10 * fabs(best));
      CHECK_CLOSE(last, objective(&f), 1e-10);
    }
    test_free();
  }
}

/* ---- a straight line ------------------------------------------------------------------------- */

/* x less its projection on the column. */
static void project_out(const double *column, double *x) {
  double dot = 0.0, length = 0.0;
  for (int i = 0; i < N; i++) dot += column[i] * x[i], length += column[i] * column[i];
  for (int i = 0; i < N; i++) x[i] -= dot / length * column[i];
}

/* Residuals orthogonal to X and to the columns of the curve say that there is none: sd = 0, and the
 * objective that of the model without it. */
static void test_straight_line(void) {
  for (int method = LMM_EM; method <= LMM_REML; method++) {
    const configuration c = {(lmm_method)method, 0, 1, 0, 1, 0};
    fixture f, line;
    const example e = new_example(&c);
    fixture_init(&f, &e);
    double *y = new_doubles(N), value, without, *eta = new_doubles(2 * LMM_STARTS);
    double *Q = copy_doubles(f.e.rows.X, N * f.e.rows.p);
    double *memory = new_doubles((int)elbo_ascend_size(&f.model)), start[LMM_STARTS];
    for (int i = 0; i < N; i++) y[i] = random_normal();
    for (int j = 0; j < f.e.rows.p; j++) {
      for (int k = 0; k < j; k++) project_out(Q + N * k, Q + N * j);
      project_out(Q + N * j, y);
    }
    for (int i = 0; i < N; i++) y[i] += 3.0 * f.e.rows.X[i + N];
    f.e.rows.y = y;
    CHECK(lmm_stats_build(&f.stats, &f.e.rows, &f.e.law, &test_memory) == ELBO_OK);
    CHECK(lmm_work_init(&f.work, &f.stats, &f.e.law, &test_memory) == ELBO_OK);
    const elbo_control control = {
        .accelerate = ELBO_ACCELERATE_AUTO, .max_iter = 1000, .tol = 1e-8};
    elbo_result result;
    CHECK(lmm_starts(&f.work, 3, eta, start) == ELBO_OK);
    CHECK(lmm_start(&f.work, eta) == ELBO_OK);
    CHECK(elbo_ascend(&f.model, &f.work, &control, NULL, memory, &result) == ELBO_OK);
    CHECK(f.work.smooth.sd[0] == 0.0);
    check_identity(&f);
    value = objective(&f);
    line = f;
    line.e.rows.p = P;
    line.e.law.n_smooth = 0;
    CHECK(lmm_stats_build(&line.stats, &line.e.rows, &line.e.law, &test_memory) == ELBO_OK);
    CHECK(lmm_work_init(&line.work, &line.stats, &line.e.law, &test_memory) == ELBO_OK);
    line.model = lmm_model(&line.work);
    objective_at(&line, f.work.eta, &without);
    CHECK_CLOSE(value, without, 1e-10);
    test_free();
  }
}

int main(void) {
  test_grid();
  test_map();
  test_vb();
  test_straight_line();
  return FINISH();
}
