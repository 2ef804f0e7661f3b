/* The mixed model against itself written out densely: V = Z Sigma Z' + diag(sigma^2 / w) as
 * one n x n matrix, and q(u) as one normal of all latent variables.  Everything dense is in
 * the caller's units and shares nothing with the code under test. */
#include <string.h>

#include "glmm/bound.h"
#include "glmm/objective.h"
#include "glmm/starts.h"
#include "lmm_fixture.h"
#include "math/simd.h"

/* ---- dense ----------------------------------------------------------------------------------- */

/* D' A D (k x k) for A n x n. */
static double *dense_sandwich(const double *D, const double *A, int n, int k) {
  double *AD = new_doubles(n * k), *out = new_doubles(k * k);
  for (int j = 0; j < k; j++)
    for (int l = 0; l < n; l++)
      if (D[l + n * j] != 0.0)
        for (int i = 0; i < n; i++) AD[i + n * j] += A[i + n * l] * D[l + n * j];
  for (int i = 0; i < k; i++)
    for (int j = 0; j < k; j++)
      for (int l = 0; l < n; l++) out[i + k * j] += D[l + n * i] * AD[l + n * j];
  return out;
}

/* Parameters in the caller's units. */
typedef struct {
  double *Sigma, *sigma, *beta;
} theta;

static int has_no_law(const example *e, int term) { return isinf(e->law.sd[term]); }

static double residual_variance(const example *e, const theta *t, int i) {
  const double sigma = t->sigma[e->rows.level ? e->rows.level[i] - 1 : 0];
  return sigma * sigma / (e->rows.weight ? e->rows.weight[i] : 1.0);
}

static int same_group(const example *e, int i, int j) {
  return e->rows.q > 0 && e->rows.group[i] == e->rows.group[j];
}

/* A column of Z for the rows of one group (from 0), zero elsewhere. */
static void group_column(const example *e, int term, int group, double *out) {
  for (int i = 0; i < e->rows.n; i++)
    out[i] = e->rows.group[i] == group + 1 ? e->rows.Z[i + e->rows.n * term] : 0.0;
}

/* log of the integral of N(y; X beta + A c, V) over c, where A has the latent terms without a
 * law group by group, and for reml X:
 *   -((n - a) log 2 pi + log |V| + log |A'V^{-1}A| + r'W r) / 2, W = V^{-1} less its part in
 * A. beta is found by least squares with weights W where it is NULL, and returned. */
static double dense_log_evidence(const example *e, theta *t) {
  const int n = e->rows.n, q = e->rows.q, p = e->rows.p, reml = e->law.method == LMM_REML;
  double *V = new_doubles(n * n), *A = new_doubles(n * (q * e->rows.m + p)), *r = new_doubles(n);
  int n_A = 0;
  for (int i = 0; i < n; i++)
    for (int j = 0; j < n; j++) {
      V[i + n * j] = i == j ? residual_variance(e, t, i) : 0.0;
      if (!same_group(e, i, j)) continue;
      for (int a = 0; a < q; a++)
        for (int b = 0; b < q; b++)
          V[i + n * j] += e->rows.Z[i + n * a] * t->Sigma[a + q * b] * e->rows.Z[j + n * b];
    }
  for (int k = 0; k < q; k++)
    for (int g = 0; g < e->rows.m && has_no_law(e, k); g++) group_column(e, k, g, A + n * n_A++);
  if (reml)
    for (int j = 0; j < p; j++, n_A++)
      memcpy(A + n * n_A, e->rows.X + n * j, (size_t)n * sizeof(double));
  double value = dense_invert(V, n);
  double *inside = dense_sandwich(A, V, n, n_A), *W = copy_doubles(V, n * n);
  value += dense_invert(inside, n_A) + (n - n_A) * log_2pi;
  double *VA = new_doubles(n * n_A);
  for (int j = 0; j < n_A; j++)
    for (int l = 0; l < n; l++)
      for (int i = 0; i < n; i++) VA[i + n * j] += V[i + n * l] * A[l + n * j];
  for (int k = 0; k < n_A; k++)
    for (int l = 0; l < n_A; l++)
      for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++)
          W[i + n * j] -= VA[i + n * k] * inside[k + n_A * l] * VA[j + n * l];
  if (!reml && t->beta == NULL) {
    t->beta = new_doubles(p);
    double *C = dense_sandwich(e->rows.X, W, n, p);
    dense_invert(C, p);
    for (int j = 0; j < p; j++)
      for (int k = 0; k < p; k++)
        for (int i = 0; i < n; i++)
          for (int l = 0; l < n; l++)
            t->beta[j] += C[j + p * k] * e->rows.X[i + n * k] * W[i + n * l] * e->rows.y[l];
  }
  for (int i = 0; i < n; i++) {
    r[i] = e->rows.y[i];
    for (int j = 0; j < p && !reml; j++) r[i] -= e->rows.X[i + n * j] * t->beta[j];
  }
  for (int i = 0; i < n; i++)
    for (int j = 0; j < n; j++) value += r[i] * W[i + n * j] * r[j];
  return -0.5 * value;
}

/* E_q log p(y, u | to) - E_q log q, q the exact posterior of c at `from`: c the latent
 * variables, and beta too where `with_beta`.  `points`: q has all its mass at the mean, and no
 * entropy. */
static double dense_elbo(const example *e, const theta *from, const theta *to, int with_beta,
                         int points) {
  const int n = e->rows.n, q = e->rows.q, p = e->rows.p, m = q > 0 ? e->rows.m : 0;
  const int k = q * m + (with_beta ? p : 0);
  double *D = new_doubles(n * k), *P = new_doubles(n * n), *mean = new_doubles(k);
  double *prior[2] = {copy_doubles(from->Sigma, q * q), copy_doubles(to->Sigma, q * q)};
  double log_det_prior = 0.0;
  int n_law = 0;
  for (int s = 0; s < 2; s++) { /* inverses; ones stand in for terms without a law, then go */
    for (int a = 0; a < q; a++)
      if (has_no_law(e, a)) prior[s][a * (q + 1)] = 1.0;
    log_det_prior = dense_invert(prior[s], q);
    for (int a = 0; a < q; a++)
      if (has_no_law(e, a)) prior[s][a * (q + 1)] = 0.0;
  }
  for (int a = 0; a < q; a++) n_law += !has_no_law(e, a);
  for (int g = 0; g < m; g++)
    for (int a = 0; a < q; a++) group_column(e, a, g, D + n * (q * g + a));
  if (with_beta) memcpy(D + n * q * m, e->rows.X, (size_t)(n * p) * sizeof(double));
  for (int i = 0; i < n; i++) P[i * (n + 1)] = 1.0 / residual_variance(e, from, i);
  double *S = dense_sandwich(D, P, n, k);
  for (int g = 0; g < m; g++)
    for (int a = 0; a < q; a++)
      for (int b = 0; b < q; b++) S[q * g + a + k * (q * g + b)] += prior[0][a + q * b];
  double entropy = -0.5 * dense_invert(S, k) + 0.5 * k * (1.0 + log_2pi);
  for (int j = 0; j < k; j++)
    for (int l = 0; l < k; l++)
      for (int i = 0; i < n; i++) {
        double r = e->rows.y[i];
        for (int h = 0; h < p && !with_beta; h++) r -= e->rows.X[i + n * h] * from->beta[h];
        mean[j] += S[j + k * l] * D[i + n * l] * P[i * (n + 1)] * r;
      }
  if (points) {
    memset(S, 0, (size_t)(k * k) * sizeof(double));
    entropy = 0.0;
  }
  double value = entropy - 0.5 * m * (n_law * log_2pi + log_det_prior);
  for (int i = 0; i < n; i++) {
    double r = e->rows.y[i], spread = 0.0;
    for (int h = 0; h < p && !with_beta; h++) r -= e->rows.X[i + n * h] * to->beta[h];
    for (int j = 0; j < k; j++) {
      r -= D[i + n * j] * mean[j];
      for (int l = 0; l < k; l++) spread += D[i + n * j] * S[j + k * l] * D[i + n * l];
    }
    const double variance = residual_variance(e, to, i);
    value -= 0.5 * (log_2pi + log(variance) + (r * r + spread) / variance);
  }
  for (int g = 0; g < m; g++)
    for (int a = 0; a < q; a++)
      for (int b = 0; b < q; b++) {
        const int i = q * g + a, j = q * g + b;
        value -= 0.5 * prior[1][a + q * b] * (S[i + k * j] + mean[i] * mean[j]);
      }
  return value;
}

/* ---- examples -------------------------------------------------------------------------------- */

typedef enum {
  HELD_NONE = 0,
  HELD_SD,
  HELD_SDS,
  HELD_COR,
  HELD_ALL,
  NO_LAW,
  NO_LAWS,
  N_HELD
} holding;

typedef struct {
  lmm_method method;
  int q, p, n_level, between, weighted, split, z_one;
  holding held;
  latent_kind kind;
  int common; /* one sd */
} configuration;

static int is_possible(const configuration *c) {
  const int lawless = c->held == NO_LAW || c->held == NO_LAWS;
  if (c->q == 0 && (c->held != HELD_NONE || c->split || c->between || c->z_one)) return 0;
  if (c->q == 1 && (c->split || c->held == HELD_SDS || c->held == NO_LAWS)) return 0;
  if ((c->held == HELD_COR || c->held == HELD_ALL) && (c->q != 2 || c->split)) return 0;
  if (c->n_level == 1 && c->between) return 0;
  /* A term without a law in a block with another does not differ from two blocks. */
  if (c->held == NO_LAW && c->q > 1 && !c->split) return 0;
  /* Points have a maximum only where their law is given. */
  if (c->method == LMM_JOINT && c->q > 0 && !lawless && c->held != HELD_ALL &&
      !(c->held == HELD_SDS && c->split) && !(c->held == HELD_SD && c->q == 1))
    return 0;
  return !(c->method == LMM_JOINT && c->held == NO_LAW && c->q > 1);
}

/* One block of a kind, whose terms keep their origin. */
static void set_kind(const configuration *c, lmm_law *law) {
  static const double R[9] = {1.0, 0.4, -0.2, 0.4, 2.0, 0.1, -0.2, 0.1, 1.5};
  static const double *const matrix[1] = {R};
  int *kind = new_ints(1), *common = new_ints(1);
  kind[0] = c->kind;
  common[0] = c->common;
  law->kind = kind;
  law->common = common;
  law->matrix = c->kind == LATENT_MULTIPLE ? matrix : NULL;
  law->fixed_origin = 1;
}

/* Ten groups of 1 to 4 rows, more where terms without a law need them or points would leave no
 * residuals; columns far from zero and of different size; X without an intercept where Z's has
 * no law and would be aliased with it. */
static example new_example(const configuration *c) {
  enum { M = 10 };
  example e;
  memset(&e, 0, sizeof e);
  const int lawless = c->held == NO_LAW ? 1 : c->held == NO_LAWS ? c->q : 0;
  const int more = c->method == LMM_JOINT ? 3 * c->q : lawless;
  int n = 0, size[M], *group, *level;
  for (int g = 0; g < M; g++) n += size[g] = 1 + more + (g * 3) % 4;
  double *X = new_doubles(n * 3), *Z = new_doubles(n * c->q), *y = new_doubles(n),
         *w = new_doubles(n);
  group = new_ints(n);
  level = new_ints(n);
  for (int g = 0, i = 0; g < M; g++) {
    const double u = 2.0 * random_normal();
    for (int k = 0; k < size[g]; k++, i++) {
      group[i] = g + 1;
      level[i] = 1 + (c->between ? g : k) % c->n_level;
      w[i] = 0.3 + 2.0 * random_uniform();
      X[i] = 10.0 + 3.0 * random_normal();
      X[i + n] = lawless ? random_normal() : 1.0;
      X[i + 2 * n] = 0.01 * random_normal();
      for (int a = 0; a < c->q; a++)
        Z[i + n * a] = a == 0 && c->z_one ? 1.0 : 1.0 + a + (1.0 + a) * random_normal();
      y[i] = (c->p > 0 ? 50.0 + X[i] : 0.0) + u + 3.0 * random_normal();
    }
  }
  int *block = new_ints(c->q);
  double *sd = new_doubles(c->q), *cor = new_doubles(c->q + 1), *sigma = new_doubles(c->n_level);
  for (int a = 0; a < c->q; a++) {
    block[a] = c->split ? a : 0;
    const int held = c->held == HELD_SD ? a == 0 : c->held == HELD_SDS || c->held == HELD_ALL;
    sd[a] = a < lawless ? HUGE_VAL : held ? 0.5 + 0.7 * a : NAN;
    cor[a] = NAN;
  }
  if (c->held == HELD_COR || c->held == HELD_ALL) cor[0] = -0.4;
  for (int l = 0; l < c->n_level; l++) sigma[l] = c->held == HELD_SD && l == 1 ? 2.5 : NAN;
  const lmm_rows rows = {.n = n,
                         .p = c->p,
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
                       .n_block = c->split ? c->q : c->q > 0,
                       .block = block,
                       .sd = sd,
                       .cor = cor,
                       .sigma = sigma};
  e.rows = rows;
  e.law = law;
  if (c->kind != LATENT_FREE) set_kind(c, &e.law);
  return e;
}

static theta current_theta(const fixture *f) {
  const lmm_parameters *par = &f->work.par;
  const lmm_scaling *s = &f->stats.scaling;
  const int q = f->stats.q, p = f->stats.p, i0 = s->x_intercept;
  theta t = {new_doubles(q * q), new_doubles(f->stats.n_level), new_doubles(p)};
  lmm_parameters_natural(par, f->work.eta, t.Sigma, new_doubles(q * q * par->n_eta), t.sigma);
  for (int j = 0; j < p; j++) t.beta[j] = f->work.beta[j] * s->x_scale[j] / s->y_scale;
  for (int j = 0; j < p && i0 >= 0; j++)
    t.beta[i0] += j == i0 ? s->y_shift : -s->x_shift[j] * t.beta[j];
  return t;
}

/* ---- one configuration ----------------------------------------------------------------------- */

/* Relative 1e-10: a few hundred terms of size up to a hundred times the sum. */
static void check_objective(fixture *f) {
  theta best = current_theta(f);
  const theta found = best;
  const double value = objective(f);
  best.beta = NULL;
  if (f->work.method == LMM_JOINT) {
    CHECK_CLOSE(value, dense_elbo(&f->e, &found, &found, 1, 1), 1e-10);
    CHECK(f->model.log_evidence == NULL && f->model.kl == NULL);
    return;
  }
  CHECK_CLOSE(value, dense_log_evidence(&f->e, &best), 1e-10);
  CHECK_CLOSE(value_of(f, f->model.log_evidence), value, 1e-13);
  if (f->work.method == LMM_REML || f->stats.p == 0) return;
  CHECK(distance(found.beta, best.beta, f->stats.p) < 1e-9);
  lmm_work *w = &f->work; /* at another beta */
  double elsewhere, *beta = copy_doubles(w->beta, f->stats.p);
  for (int j = 0; j < f->stats.p; j++) w->beta[j] += random_normal();
  CHECK(lmm_objective(w, 1, w->beta, w->C, &elsewhere) == ELBO_OK);
  theta other = current_theta(f);
  CHECK_CLOSE(elsewhere, dense_log_evidence(&f->e, &other), 1e-10);
  memcpy(w->beta, beta, (size_t)f->stats.p * sizeof(double));
}

/* X'V^{-1}X and the score of beta at a beta that stays. */
typedef struct {
  fixture *f;
  const double *beta;
} fixed_beta;

static void beta_part_at(void *ctx, const double *eta, double *out) {
  const fixed_beta *b = (const fixed_beta *)ctx;
  fixture *f = b->f;
  const int p = f->stats.p, p1 = p + 1;
  CHECK(f->model.unpack(&f->work, eta) == ELBO_OK);
  for (int j = 0; j < p; j++) { /* X'V^{-1}(y - X b) = X'V^{-1}X (best beta - b) */
    out[p * p + j] = 0.0;
    for (int k = 0; k < p; k++) {
      out[j + p * k] = f->work.cross[j >= k ? j + p1 * k : k + p1 * j];
      out[p * p + j] += out[j + p * k] * (f->work.beta[k] - b->beta[k]);
    }
  }
}

/* Gradients to 1e-8 and Hessians to 1e-7 of the largest entry: sixth-order differences with
 * step h are right to h^6 / 140 = 3e-17 times the seventh derivative, and to 1e-16 |f| / h. */
static void check_derivatives(fixture *f, const double *eta) {
  const int n = f->model.n_eta, p = f->stats.p, size = p * p + p;
  const double h = 4e-3;
  double value, *gradient = new_doubles(n), *hessian = new_doubles(n * n),
                *expected = new_doubles(n);
  double *beta_part = new_doubles(size), *found = new_doubles(size);
  CHECK(f->model.unpack(&f->work, eta) == ELBO_OK);
  CHECK(f->model.objective.hessian(&f->work, &value, gradient, hessian) == ELBO_OK);
  const double *spread = copy_doubles(f->work.spread_eta, n * p * p);
  const double *cross = copy_doubles(f->work.cross_eta, n * p);
  const fixed_beta beta = {f, copy_doubles(f->work.profile_beta, p)};
  for (int j = 0; j < n; j++) {
    differences(objective_at, f, eta, n, j, h, expected + j, 1);
    differences(beta_part_at, (void *)&beta, eta, n, j, h, beta_part, size);
    for (int i = 0; i < p * p; i++) found[i] = -spread[p * p * j + i];
    for (int i = 0; i < p; i++) found[p * p + i] = cross[j + n * i];
    CHECK(distance(found, beta_part, size) < 1e-8);
  }
  CHECK(distance(gradient, expected, n) < 1e-8);
  for (int j = 0; j < n; j++) {
    differences(gradient_at, f, eta, n, j, h, expected, n);
    CHECK(distance(hessian + n * j, expected, n) < 1e-7);
  }
  CHECK(f->model.unpack(&f->work, eta) == ELBO_OK);
}

static double dense_elbo_of(const fixture *f, const theta *from, const theta *to) {
  return dense_elbo(&f->e, from, to, f->work.method == LMM_REML, f->work.method == LMM_JOINT);
}

static void check_e_step(fixture *f, const double *eta) {
  CHECK(f->model.unpack(&f->work, eta) == ELBO_OK);
  CHECK(f->model.e_step(&f->work) == ELBO_OK);
  CHECK_CLOSE(value_of(f, f->model.elbo), objective(f), 1e-10);
  if (f->model.kl) CHECK(fabs(value_of(f, f->model.kl)) < 1e-9);
  check_identity(f);
}

/* q exact at the first eta, theta at the second. */
static void check_elbo(fixture *f, const double *from, const double *to) {
  check_e_step(f, from);
  const theta at = current_theta(f);
  CHECK(f->model.unpack(&f->work, to) == ELBO_OK);
  const theta now = current_theta(f);
  CHECK_CLOSE(value_of(f, f->model.elbo), dense_elbo_of(f, &at, &now), 1e-10);
  check_identity(f);
}

/* No theta near the current one gives the same q a higher ELBO. */
static void check_is_best(fixture *f, double best) {
  const int n = f->model.n_eta;
  double *kept = new_doubles(n);
  f->model.pack(&f->work, kept);
  for (int j = 0; j < n; j++)
    for (int sign = -1; sign <= 1; sign += 2) {
      double *near = copy_doubles(kept, n);
      near[j] += sign * 0.01;
      CHECK(f->model.unpack(&f->work, near) == ELBO_OK);
      CHECK(value_of(f, f->model.elbo) < best);
    }
}

/* EM from q exact at eta: no step descends.  Where nothing is held and there is one residual
 * variance the M-step has its maximum in closed form, so no theta nearby is better. */
static void check_em(fixture *f, const configuration *c, const double *eta) {
  check_e_step(f, eta);
  double last = value_of(f, f->model.elbo);
  for (int step = 0; step < 4; step++) {
    const theta at = current_theta(f);
    CHECK(f->model.m_step(&f->work) == ELBO_OK);
    const double best = value_of(f, f->model.elbo);
    const theta now = current_theta(f);
    CHECK(best >= last - 1e-10 * fabs(last));
    CHECK_CLOSE(best, dense_elbo_of(f, &at, &now), 1e-9);
    check_identity(f);
    if (step == 0 && c->held == HELD_NONE && c->n_level == 1 && !c->split) {
      check_is_best(f, best);
      check_e_step(f, eta); /* back to where the step ended */
      CHECK(f->model.m_step(&f->work) == ELBO_OK);
    }
    CHECK(f->model.e_step(&f->work) == ELBO_OK);
    last = value_of(f, f->model.elbo);
    CHECK(last >= best - 1e-10 * fabs(best));
    if (f->model.kl) CHECK(fabs(value_of(f, f->model.kl)) < 1e-9);
  }
}

static void check_configuration(const configuration *c) {
  const int failed = checks_failed;
  fixture f;
  const example e = new_example(c);
  fixture_init(&f, &e);
  const double *a = random_eta(&f.work.par), *b = random_eta(&f.work.par);
  CHECK(f.model.unpack(&f.work, a) == ELBO_OK);
  check_objective(&f);
  check_derivatives(&f, a);
  check_elbo(&f, a, b);
  check_em(&f, c, a);
  if (checks_failed > failed)
    printf("  method %d, q %d, p %d, %d levels%s%s%s%s, held %d\n", (int)c->method, c->q, c->p,
           c->n_level, c->between ? " between" : "", c->weighted ? ", weights" : "",
           c->split ? ", split" : "", c->z_one ? ", intercept" : "", (int)c->held);
  test_free();
}

/* Sigma of each kind, in one block: everything is as dense, whatever Sigma is a function of. */
static void test_kinds(void) {
  for (int method = LMM_EM; method <= LMM_REML; method++)
    for (int kind = LATENT_DIAGONAL; kind <= LATENT_MULTIPLE; kind++)
      for (int q = kind == LATENT_MULTIPLE ? 3 : 2; q <= 3; q++)
        for (int common = 0; common < 2; common++) {
          const configuration c = {.method = (lmm_method)method,
                                   .q = q,
                                   .p = 2,
                                   .n_level = 1 + common,
                                   .weighted = common,
                                   .z_one = 1,
                                   .kind = (latent_kind)kind,
                                   .common = common};
          check_configuration(&c);
        }
}

static void test_grid(void) {
  int at[9];
  static const int most[9] = {2, 3, 1, 3, 1, 1, 1, 1, N_HELD - 1};
  for (int cell = 0;; cell++) {
    int rest = cell;
    for (int d = 0; d < 9; d++) {
      at[d] = rest % (most[d] + 1);
      rest /= most[d] + 1;
    }
    if (rest > 0) break;
    if (at[3] == 0) continue; /* levels from 1 */
    const configuration c = {(lmm_method)at[0], at[1], 3 * at[2], at[3], at[4], at[5], at[6], at[7],
                             (holding)at[8],   LATENT_FREE, 0};
    /* Without fixed effects the methods em and reml are one, and one number of levels will do.
     */
    if (!is_possible(&c) || (c.p == 0 && (c.n_level != 2 || c.method == LMM_REML))) continue;
    check_configuration(&c);
  }
}

/* The plain kernels give what the best ones give. */
static void test_plain(void) {
  const configuration c = {LMM_REML, 3, 3, 2, 0, 1, 0, 1, HELD_SD, LATENT_FREE, 0};
  simd_limit(SIMD_PLAIN);
  check_configuration(&c);
  simd_limit(SIMD_AVX512);
}

/* ---- special cases --------------------------------------------------------------------------- */

/* `m` groups of k rows around given means, with residuals of sum zero and sum of squares k in
 * every group. */
static example new_oneway(lmm_method method, int m, int k, const double *mean, double sd) {
  const int n = m * k;
  double *one = new_doubles(n), *y = new_doubles(n);
  int *group = new_ints(n), *block = new_ints(1);
  for (int i = 0; i < n; i++) {
    one[i] = 1.0;
    group[i] = i / k + 1;
    y[i] = mean[i / k] + (i % 2 == 0 ? 1.0 : -1.0); /* k is even */
  }
  double *law_sd = new_doubles(1), *cor = new_doubles(1), *sigma = new_doubles(1);
  law_sd[0] = sd;
  cor[0] = sigma[0] = NAN;
  const lmm_rows rows = {.n = n,
                         .p = 1,
                         .q = 1,
                         .m = m,
                         .n_level = 1,
                         .X = one,
                         .y = y,
                         .Z = one,
                         .group = group};
  const lmm_law law = {
      .method = method, .n_block = 1, .block = block, .sd = law_sd, .cor = cor, .sigma = sigma};
  const example e = {rows, law};
  return e;
}

/* From the start of the highest objective. */
static elbo_status ascend(fixture *f, elbo_accelerate accelerate, double *value) {
  const elbo_control control = {.accelerate = accelerate, .max_iter = 10000, .tol = 1e-8};
  const int n = f->model.n_eta;
  double *eta = new_doubles(n * LMM_STARTS), *objective_at_start = new_doubles(LMM_STARTS);
  double *memory = new_doubles((int)elbo_ascend_size(&f->model));
  int best = 0;
  elbo_result result = {.objective = NAN};
  elbo_status status = lmm_starts(&f->work, LMM_STARTS, eta, objective_at_start);
  for (int i = 1; i < LMM_STARTS; i++)
    if (objective_at_start[i] > objective_at_start[best]) best = i;
  if (status == ELBO_OK) status = lmm_start(&f->work, eta + n * best);
  CHECK_CLOSE(objective(f), objective_at_start[best], 1e-12);
  if (status == ELBO_OK) status = elbo_ascend(&f->model, &f->work, &control, NULL, memory, &result);
  CHECK(result.objective >= objective_at_start[best] - 1e-9);
  *value = result.objective;
  return status;
}

/* Balanced one-way layout (Searle, Casella & McCulloch 1992, ch. 3): with SSE = m k, its mean
 * square MSE = SSE / (m (k - 1)) and SSA = k sum (mean - grand mean)^2, sigma^2 = MSE and
 * tau^2 = (SSA / m - MSE) / k by maximum likelihood, SSA / (m - 1) in place of SSA / m by
 * reml. Means 0, 4, 8, 12: SSA = 4 * 80 = 320, MSE = 16 / 12. */
static void test_oneway(void) {
  static const double mean[] = {0, 4, 8, 12};
  for (int reml = 0; reml < 2; reml++)
    for (int accelerate = 0; accelerate <= ELBO_ACCELERATE_AUTO; accelerate++) {
      fixture f;
      const example e = new_oneway(reml ? LMM_REML : LMM_EM, 4, 4, mean, NAN);
      double value;
      fixture_init(&f, &e);
      CHECK(ascend(&f, (elbo_accelerate)accelerate, &value) == ELBO_OK);
      theta t = current_theta(&f);
      CHECK_CLOSE(t.sigma[0] * t.sigma[0], 4.0 / 3.0, 1e-7);
      CHECK_CLOSE(t.Sigma[0], (320.0 / (reml ? 3.0 : 4.0) - 4.0 / 3.0) / 4.0, 1e-7);
      CHECK_CLOSE(t.beta[0], 6.0, 1e-12);
      CHECK_CLOSE(value, dense_log_evidence(&e, &t), 1e-10);
      test_free();
    }
}

/* Groups that differ less than their rows would let them: tau = 0 exactly, sigma^2 the
 * variance of all rows, (SSE + SSA) / n = (16 + 4 * 0.05) / 16 (reml: / 15). */
static void test_settles_at_zero(void) {
  static const double mean[] = {0.0, 0.1, 0.2, 0.3};
  for (int reml = 0; reml < 2; reml++) {
    fixture f;
    const example e = new_oneway(reml ? LMM_REML : LMM_EM, 4, 4, mean, NAN);
    double value;
    fixture_init(&f, &e);
    CHECK(ascend(&f, ELBO_ACCELERATE_AUTO, &value) == ELBO_OK);
    theta t = current_theta(&f);
    CHECK(t.Sigma[0] == 0.0);
    CHECK_CLOSE(t.sigma[0] * t.sigma[0], 16.2 / (reml ? 15.0 : 16.0), 1e-8);
    CHECK_CLOSE(value, dense_log_evidence(&e, &t), 1e-10);
    check_identity(&f);
    test_free();
  }
}

static int settle(fixture *f) {
  return elbo_settle(&f->model, &f->work, new_doubles(f->model.n_eta));
}

/* Alone: what is within rounding of zero goes there, what is not stays. */
static void test_settle(void) {
  static const double mean[] = {0.0, 0.1, 0.2, 0.3};
  fixture f;
  const example e = new_oneway(LMM_EM, 4, 4, mean, NAN);
  fixture_init(&f, &e);
  const double near[2] = {1e-9, 0.0}, far[2] = {0.1, 0.0};
  CHECK(f.model.unpack(&f.work, near) == ELBO_OK);
  CHECK(settle(&f) == 1);
  CHECK(f.work.eta[0] == 0.0 && f.work.Sigma[0] == 0.0);
  CHECK(settle(&f) == 0);
  CHECK(f.model.unpack(&f.work, far) == ELBO_OK);
  CHECK(settle(&f) == 0);
  CHECK(f.work.eta[0] == 0.1);
  test_free();
}

/* A singular covariance of two terms is put exactly there: correlation one. */
static void test_settle_correlation(void) {
  const configuration c = {LMM_EM, 2, 3, 1, 0, 0, 0, 1, HELD_NONE, LATENT_FREE, 0};
  const example e = new_example(&c);
  fixture f;
  fixture_init(&f, &e);
  const double near[4] = {1.0, 0.5, 1e-9, 0.0};
  CHECK(f.model.unpack(&f.work, near) == ELBO_OK);
  CHECK(settle(&f) == 1);
  CHECK(f.work.eta[2] == 0.0);
  CHECK(f.work.Sigma[0] * f.work.Sigma[3] - f.work.Sigma[1] * f.work.Sigma[2] == 0.0);
  /* A singular law leaves q in a subspace, and the identity stands. */
  CHECK(f.model.e_step(&f.work) == ELBO_OK);
  check_identity(&f);
  CHECK_CLOSE(value_of(&f, f.model.elbo), objective(&f), 1e-10);
  test_free();
}

/* Where constants leave no closed form the M-step has to find its way: from any angles between
 * terms of given sds, with q from any others, it must not descend. */
static void test_m_step_from_afar(void) {
  const configuration c = {LMM_EM, 3, 3, 1, 0, 0, 0, 1, HELD_SDS, LATENT_FREE, 0};
  const example e = new_example(&c);
  fixture f;
  fixture_init(&f, &e);
  double eta[4] = {0, 0, 0, 0};
  for (int trial = 0; trial < 200; trial++) {
    for (int j = 0; j < 3; j++) eta[j] = 0.02 + 3.1 * random_uniform();
    CHECK(f.model.unpack(&f.work, eta) == ELBO_OK);
    CHECK(f.model.e_step(&f.work) == ELBO_OK);
    for (int j = 0; j < 3; j++) eta[j] = 0.02 + 3.1 * random_uniform();
    CHECK(f.model.unpack(&f.work, eta) == ELBO_OK);
    const double before = value_of(&f, f.model.elbo);
    CHECK(f.model.m_step(&f.work) == ELBO_OK);
    CHECK(value_of(&f, f.model.elbo) >= before - 1e-10 * fabs(before));
  }
  test_free();
}

/* Neyman & Scott (1948): pairs with a mean each.  With y = mean +- 1, sigma^2 is 1 with the
 * means as points and 2 with the means integrated by Lebesgue measure. */
static void test_pairs(void) {
  static const double mean[] = {3, -1, 7, 0, 2};
  static const double expected[] = {1.0, 2.0};
  for (int em = 0; em < 2; em++) {
    fixture f;
    example e = new_oneway(em ? LMM_EM : LMM_JOINT, 5, 2, mean, HUGE_VAL);
    double value;
    e.rows.p = 0;
    fixture_init(&f, &e);
    CHECK(ascend(&f, ELBO_ACCELERATE_AUTO, &value) == ELBO_OK);
    const theta t = current_theta(&f);
    CHECK_CLOSE(t.sigma[0] * t.sigma[0], expected[em], 1e-8);
    test_free();
  }
}

/* Rows without a group are ordinary least squares: sigma^2 = RSS / n, reml RSS / (n - p).
 * x = -1, 0, 1, 2 and y = 1, 0, 2, 5: by hand slope 1.4, intercept 1.3, RSS = 14 - 5 * 1.4^2
 * = 4.2. */
static void test_no_group(void) {
  const double X[8] = {1, 1, 1, 1, -1, 0, 1, 2}, y[4] = {1, 0, 2, 5}, sigma[1] = {NAN};
  for (int reml = 0; reml < 2; reml++) {
    const lmm_rows rows = {.n = 4, .p = 2, .n_level = 1, .X = X, .y = y};
    const lmm_law law = {.method = reml ? LMM_REML : LMM_EM, .sigma = sigma};
    const example e = {rows, law};
    fixture f;
    double value;
    fixture_init(&f, &e);
    CHECK(ascend(&f, ELBO_ACCELERATE_AUTO, &value) == ELBO_OK);
    const theta t = current_theta(&f);
    CHECK_CLOSE(t.beta[0], 1.3, 1e-13);
    CHECK_CLOSE(t.beta[1], 1.4, 1e-13);
    CHECK_CLOSE(t.sigma[0] * t.sigma[0], 4.2 / (reml ? 2.0 : 4.0), 1e-7);
    test_free();
  }
}

/* Columns that say nothing new have a pivot of rounding size, others keep their share: of
 * x2 = (1, -1, 1, -1) what x1 = (1, 1, 0, 0) leaves is all of it. */
static void test_pivots(void) {
  const double X[12] = {1, 1, 0, 0, 1, -1, 1, -1, 3, 1, 1, -1}; /* the third: 2 x1 + x2 */
  const double y[4] = {1, 2, 3, 5}, sigma[1] = {NAN};
  const lmm_rows rows = {.n = 4, .p = 3, .n_level = 1, .X = X, .y = y};
  const lmm_law law = {.method = LMM_EM, .sigma = sigma};
  const example e = {rows, law};
  fixture f;
  double pivots[3];
  fixture_init(&f, &e);
  lmm_column_pivots(&f.work, pivots);
  CHECK_CLOSE(pivots[0], 1.0, 1e-15);
  CHECK_CLOSE(pivots[1], 1.0, 1e-15);
  CHECK(fabs(pivots[2]) < LMM_ALIASED);
  test_free();
}

/* A level whose rows do not vary within groups is fitted without error. */
static void test_unbounded(void) {
  static const double mean[] = {0, 4, 8, 12};
  fixture f;
  example e = new_oneway(LMM_EM, 4, 4, mean, NAN);
  int *level = new_ints(16);
  double *y = new_doubles(16), sigma[2] = {NAN, NAN};
  for (int i = 0; i < 16; i++) {
    level[i] = 1 + (i % 4 < 2);
    y[i] = mean[i / 4] + (level[i] == 1 ? e.rows.y[i] : 0.0);
  }
  e.rows.level = level;
  e.rows.n_level = 2;
  e.law.sigma = sigma;
  fixture_init(&f, &e);
  CHECK(lmm_unbounded_level(&f.work) == -1);
  e.rows.y = y;
  fixture_init(&f, &e);
  CHECK(lmm_unbounded_level(&f.work) == 1);
  sigma[1] = 1.0; /* held, it is not */
  fixture_init(&f, &e);
  CHECK(lmm_unbounded_level(&f.work) == -1);
  test_free();
}

/* A line through the two rows of the first level fits them; reml, which takes a row for each
 * column, has nothing left there that could go to zero. */
static void test_unbounded_reml(void) {
  const double X[12] = {1, 1, 1, 1, 1, 1, 0, 1, 0, 1, 2, 3}, y[6] = {2, 7, 1, 4, 0, 3};
  const int level[6] = {1, 1, 2, 2, 2, 2};
  const double sigma[2] = {NAN, NAN};
  for (int reml = 0; reml < 2; reml++) {
    const lmm_rows rows = {.n = 6, .p = 2, .n_level = 2, .X = X, .y = y, .level = level};
    const lmm_law law = {.method = reml ? LMM_REML : LMM_EM, .sigma = sigma};
    const example e = {rows, law};
    fixture f;
    fixture_init(&f, &e);
    CHECK(lmm_unbounded_level(&f.work) == (reml ? -1 : 0));
    test_free();
  }
}

/* The same model in other units: y, a column of X and a column of Z times a number move the
 * log evidence by n log of the first and nothing else. */
static void test_units(void) {
  const configuration c = {LMM_EM, 2, 3, 2, 0, 1, 0, 1, HELD_NONE, LATENT_FREE, 0};
  example e = new_example(&c);
  const int n = e.rows.n;
  fixture f;
  double plain, scaled;
  fixture_init(&f, &e);
  CHECK(ascend(&f, ELBO_ACCELERATE_AUTO, &plain) == ELBO_OK);
  double *X = copy_doubles(e.rows.X, 3 * n), *Z = copy_doubles(e.rows.Z, 2 * n);
  double *y = copy_doubles(e.rows.y, n);
  for (int i = 0; i < n; i++) {
    X[i] *= 1e70;
    Z[i + n] *= 1e-30;
    y[i] = 1e-100 * y[i];
  }
  e.rows.X = X;
  e.rows.Z = Z;
  e.rows.y = y;
  fixture_init(&f, &e);
  CHECK(ascend(&f, ELBO_ACCELERATE_AUTO, &scaled) == ELBO_OK);
  CHECK_CLOSE(scaled, plain + 100.0 * n * log(10.0), 1e-12);
  test_free();
}

/* Residual sds of 1e-3 to 1e-8 of the signal, Sigma of full rank, nearly and exactly singular:
 * after an E-step the ELBO is the log evidence, and q(u | y) gives no divergence, within what a
 * residual has of digits. */
static void test_small_residuals(void) {
  const double small[] = {1e-3, 1e-5, 1e-7, 1e-8}, pivot[] = {0.7, 1e-7, 0.0};
  for (int reml = 0; reml < 2; reml++)
    for (int i = 0; i < 4; i++)
      for (int j = 0; j < 3; j++) {
        const configuration c = {
            .method = reml ? LMM_REML : LMM_EM, .q = 2, .p = 2, .n_level = 1, .z_one = 1};
        example e = new_example(&c);
        double *y = new_doubles(e.rows.n), u[20];
        for (int k = 0; k < 20; k++) u[k] = random_normal();
        for (int r = 0; r < e.rows.n; r++) {
          const int g = e.rows.group[r] - 1;
          y[r] = e.rows.Z[r] * u[g] + e.rows.Z[r + e.rows.n] * u[g + (j > 0 ? 0 : 10)] +
                 small[i] * random_normal();
        }
        e.rows.y = y;
        fixture f;
        fixture_init(&f, &e);
        const double eta[4] = {0.8, 0.6, pivot[j], log(small[i])};
        CHECK(lmm_start(&f.work, eta) == ELBO_OK);
        CHECK(f.model.e_step(&f.work) == ELBO_OK);
        const double evidence = value_of(&f, f.model.log_evidence);
        const double off = fmax(f.model.rounding(&f.work), 1e-12 * fabs(evidence));
        CHECK(fabs(value_of(&f, f.model.elbo) - evidence) < 4.0 * off);
        CHECK(fabs(value_of(&f, f.model.kl)) < 4.0 * off);
        CHECK(off < 1e-4 * (1.0 + fabs(evidence)));
        test_free();
      }
}

int main(void) {
  test_small_residuals();
  test_grid();
  test_kinds();
  test_plain();
  test_oneway();
  test_settles_at_zero();
  test_settle();
  test_settle_correlation();
  test_m_step_from_afar();
  test_pairs();
  test_no_group();
  test_pivots();
  test_unbounded();
  test_unbounded_reml();
  test_units();
  return FINISH();
}
