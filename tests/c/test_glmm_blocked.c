/* The solver of several factors against the same formulas with V in full, n x n, and LAPACK. */
#include "glmm/blocked.h"

#include <string.h>

#include "glmm/blocked_product.h"
#include "glmm/close.h"
#include "math/la.h"
#include "math/small.h"
#include "reference.h"

enum { N = 70, P = 2, P1 = P + 1, MOST_Q = 6, MOST_LEVELS = 3 };

typedef struct {
  lmm_rows rows;
  lmm_stats stats;
  lmm_law law;
  glmm_solver solver;
  int first[5], n_unit[4], q, n_pair, pair_a[30], pair_b[30], block[MOST_Q];
  double X[N * P], y[N], *Z, D[N], w[N]; /* scaled; D: v / w */
  double root[MOST_Q * MOST_Q], unit[MOST_Q], v[MOST_LEVELS];
  int n_z;       /* columns of the full Z: levels of all factors, each with its terms */
  double *full;  /* N x n_z */
  int term[400]; /* of each column of full */
  double *V, *W; /* V and its inverse */
} problem;

static double root_entry(int i, int j) { return i == j ? 0.4 + 0.2 * i : 0.15 * (i - 2 * j); }

/* Factor f has levels[f] levels and terms[f] terms, the first an intercept. */
static void make_problem(problem *m, int n_factor, const int *levels, const int *terms,
                         int weighted, int n_level) {
  const int *groups[4];
  memset(m, 0, sizeof *m);
  for (int f = 0; f < n_factor; f++) {
    int *group = new_ints(N);
    for (int i = 0; i < N; i++)
      group[i] = i < levels[f] ? i + 1 : 1 + (int)(random_uniform() * levels[f]);
    groups[f] = group;
    m->n_unit[f] = levels[f];
    m->first[f + 1] = m->first[f] + terms[f];
  }
  m->q = m->first[n_factor];
  double *X = new_doubles(N * P), *y = new_doubles(N), *Z = new_doubles(N * m->q);
  double *weight = new_doubles(N), *sd = new_doubles(MOST_Q), *cor = new_doubles(MOST_Q);
  double *sigma = new_doubles(n_level);
  int *level = new_ints(N);
  for (int i = 0; i < N; i++) {
    X[i] = 1.0;
    X[i + N] = 3.0 + random_normal();
    y[i] = 10.0 + random_normal();
    weight[i] = 0.5 + random_uniform();
    level[i] = 1 + (int)(random_uniform() * random_uniform() * n_level);
    for (int f = 0; f < n_factor; f++)
      for (int k = m->first[f]; k < m->first[f + 1]; k++)
        Z[i + N * k] = k == m->first[f] ? 1.0 : random_normal();
  }
  for (int f = 0; f < n_factor; f++) {
    cor[f] = NAN;
    for (int k = m->first[f]; k < m->first[f + 1]; k++) {
      m->block[k] = f;
      sd[k] = NAN;
      for (int l = m->first[f]; l <= k; l++) {
        m->pair_a[m->n_pair] = k;
        m->pair_b[m->n_pair++] = l;
        m->root[k + m->q * l] = root_entry(k - m->first[f], l - m->first[f]);
      }
    }
  }
  for (int l = 0; l < n_level; l++) sigma[l] = NAN;
  const int *const *list = memcpy(test_get(NULL, sizeof groups), groups, sizeof groups);
  m->rows = (lmm_rows){.n = N,
                       .p = P,
                       .q = m->q,
                       .n_level = n_level,
                       .X = X,
                       .y = y,
                       .Z = Z,
                       .weight = weighted ? weight : NULL,
                       .level = n_level > 1 ? level : NULL,
                       .n_factor = n_factor,
                       .first = m->first,
                       .n_unit = m->n_unit,
                       .groups = list,
                       .threads = 2};
  m->law = (lmm_law){.method = LMM_REML,
                     .n_block = n_factor,
                     .block = m->block,
                     .sd = sd,
                     .cor = cor,
                     .sigma = sigma,
                     .fixed_origin = 1};
  m->Z = Z;
  for (int k = 0; k < m->q; k++) m->unit[k] = 1.0;
  for (int l = 0; l < n_level; l++) m->v[l] = 0.3 + 0.2 * l;
}

static void scale_data(problem *m) {
  const lmm_scaling *s = &m->stats.scaling;
  for (int i = 0; i < N; i++) {
    for (int j = 0; j < P; j++)
      m->X[i + N * j] = (m->rows.X[i + N * j] - s->x_shift[j]) * s->x_scale[j];
    m->y[i] = (m->rows.y[i] - s->y_shift) * s->y_scale;
    m->w[i] = m->rows.weight ? m->rows.weight[i] * pow(s->root_weight_scale, 2.0) : 1.0;
    m->D[i] = m->v[m->rows.level ? m->rows.level[i] - 1 : 0] / m->w[i];
  }
  m->n_z = 0;
  for (int f = 0; f < m->rows.n_factor; f++)
    m->n_z += m->n_unit[f] * (m->first[f + 1] - m->first[f]);
  m->full = new_doubles(N * m->n_z);
  int at = 0;
  for (int f = 0; f < m->rows.n_factor; f++)
    for (int l = 0; l < m->n_unit[f]; l++)
      for (int k = m->first[f]; k < m->first[f + 1]; k++, at++) {
        m->term[at] = k;
        for (int i = 0; i < N; i++)
          if (m->rows.groups[f][i] == l + 1)
            m->full[i + N * at] = (m->Z[i + N * k] - s->z_shift[k]) * s->z_scale[k];
      }
}

/* S (n_z x n_z): a covariance of all levels from one of the terms, blocks by level. */
static int same_level(const problem *m, int a, int b) {
  /* columns of a level are neighbours, its terms in order */
  return a - m->term[a] == b - m->term[b] && m->block[m->term[a]] == m->block[m->term[b]];
}

/* A = full E full', E (q x q) within levels. */
static void spread_terms(const problem *m, const double *E, double *A) {
  double *ZE = new_doubles(N * m->n_z);
  for (int a = 0; a < m->n_z; a++)
    for (int b = 0; b < m->n_z; b++)
      if (same_level(m, a, b) && E[m->term[a] + m->q * m->term[b]] != 0.0)
        for (int i = 0; i < N; i++)
          ZE[i + N * b] += m->full[i + N * a] * E[m->term[a] + m->q * m->term[b]];
  la_multiply_t(ZE, m->full, N, m->n_z, N, A);
}

static void make_V(problem *m) {
  double Sigma[MOST_Q * MOST_Q];
  la_multiply_t(m->root, m->root, m->q, m->q, m->q, Sigma);
  m->V = new_doubles(N * N);
  spread_terms(m, Sigma, m->V);
  for (int i = 0; i < N; i++) m->V[i * (N + 1)] += m->D[i];
  m->W = copy_doubles(m->V, N * N);
  CHECK(la_chol(m->W, N) == ELBO_OK);
  CHECK(la_inverse_from_chol(m->W, N) == ELBO_OK);
}

static void open_problem(problem *m) {
  CHECK(lmm_stats_build(&m->stats, &m->rows, &m->law, &test_memory) == ELBO_OK);
  scale_data(m);
  make_V(m);
  lmm_blocked_solver(&m->solver, &m->stats, m->n_pair, &test_memory);
}

static elbo_status put(problem *m) {
  const glmm_theta at = {.root = m->root, .unit = m->unit, .variance = m->v};
  return m->solver.factor(m->solver.state, &at);
}

/* [X r]' W [X r] */
static void full_cross(const problem *m, const double *W, const double *r, double *out) {
  double XR[N * P1], WXR[N * P1];
  memcpy(XR, m->X, sizeof m->X);
  memcpy(XR + N * P, r, N * sizeof(double));
  la_multiply(W, XR, N, N, P1, WXR);
  for (int j = 0; j < P1; j++)
    for (int k = 0; k < P1; k++) out[j + P1 * k] = dot(XR + N * j, WXR + N * k, N);
}

static void residuals(const problem *m, const double *beta, double *r) {
  for (int i = 0; i < N; i++) r[i] = m->y[i] - m->X[i] * beta[0] - m->X[i + N] * beta[1];
}

static void test_objective(problem *m) {
  const double origin[P] = {0.2, -0.1};
  double r[N], expected[P1 * P1], cross[P1 * P1] = {0}, log_det = 0.0,
                                             *L = copy_doubles(m->V, N * N);
  residuals(m, origin, r);
  full_cross(m, m->W, r, expected);
  CHECK(la_chol(L, N) == ELBO_OK);
  m->solver.move(m->solver.state, origin);
  CHECK(put(m) == ELBO_OK);
  m->solver.objective(m->solver.state, cross, &log_det);
  for (int j = 0; j < P1; j++)
    for (int k = j; k < P1; k++) CHECK_CLOSE(cross[k + P1 * j], expected[k + P1 * j], 1e-12);
  double log_weight = 0.0; /* log |D| is without the weights */
  for (int i = 0; i < N; i++) log_weight += log(m->w[i]);
  CHECK_CLOSE(log_det, la_log_det_from_chol(L, N) + log_weight, 1e-12);
}

/* The level of row i, from 0. */
static int level_of(const problem *m, int i) { return m->rows.level ? m->rows.level[i] - 1 : 0; }

/* dV by parameter e: an entry of Sigma, or a residual variance. */
static void direction(const problem *m, int e, double *A) {
  double E[MOST_Q * MOST_Q] = {0};
  memset(A, 0, (size_t)(N * N) * sizeof(double));
  if (e >= m->n_pair) {
    for (int i = 0; i < N; i++)
      if (level_of(m, i) == e - m->n_pair) A[i * (N + 1)] = 1.0 / m->w[i];
    return;
  }
  E[m->pair_a[e] + m->q * m->pair_b[e]] = E[m->pair_b[e] + m->q * m->pair_a[e]] = 1.0;
  spread_terms(m, E, A);
}

static double trace_of(const double *A, const double *B) {
  double sum = 0.0;
  for (int i = 0; i < N; i++)
    for (int j = 0; j < N; j++) sum += A[i + N * j] * B[j + N * i];
  return sum;
}

static void test_derivatives(problem *m, int reml, int average, double tolerance) {
  const int n = m->n_pair + m->rows.n_level;
  const double beta[P] = {0.1, 0.3}, C[P * P] = {0.2, 0.05, 0.05, 0.1};
  double gradient[30], hessian[900] = {0}, cross[30 * P], spread[30 * P * P], r[N], Wr[N];
  double *dV = new_doubles(n * N * N), *WdV = new_doubles(n * N * N), out[P1 * P1];
  double *WX = new_doubles(N * P), *XWX = new_doubles(P * P), *half = new_doubles(N * N);
  const lmm_point point = {.beta = beta,
                           .C = reml ? C : NULL,
                           .log_det = 1,
                           .n_pair = m->n_pair,
                           .pair_a = m->pair_a,
                           .pair_b = m->pair_b,
                           .average = average};
  lmm_derivatives d = {gradient, hessian, cross, spread};
  CHECK(put(m) == ELBO_OK);
  m->solver.derivatives(m->solver.state, &point, &d);
  residuals(m, beta, r);
  la_multiply(m->W, r, N, N, 1, Wr);
  la_multiply(m->W, m->X, N, N, P, WX);
  full_cross(m, m->W, r, out);
  for (int j = 0; j < P; j++)
    for (int k = 0; k < P; k++) XWX[j + P * k] = out[j + P1 * k];
  CHECK(la_chol(XWX, P) == ELBO_OK && la_inverse_from_chol(XWX, P) == ELBO_OK);
  double *spreads = new_doubles(n * P * P), *crosses = new_doubles(n * P), size = 0.0;
  for (int e = 0; e < n; e++) {
    double *A = dV + e * N * N, *WA = WdV + e * N * N;
    direction(m, e, A);
    la_multiply(m->W, A, N, N, N, WA);
    double expected = 0.0;
    for (int i = 0; i < N; i++) {
      expected -= 0.5 * WA[i * (N + 1)];
      for (int j = 0; j < N; j++) expected += 0.5 * Wr[i] * A[i + N * j] * Wr[j];
    }
    for (int j = 0; j < P; j++) {
      for (int i = 0; i < N; i++)
        for (int l = 0; l < N; l++) {
          crosses[e + n * j] -= WX[i + N * j] * A[i + N * l] * Wr[l];
          for (int k = 0; k < P; k++)
            spreads[e + n * (j + P * k)] += WX[i + N * j] * A[i + N * l] * WX[l + N * k];
        }
      CHECK_CLOSE(cross[e + n * j], crosses[e + n * j], 1e-11);
      for (int k = 0; k <= j; k++)
        CHECK_CLOSE(spread[e + n * (j + P * k)], spreads[e + n * (j + P * k)], 1e-11);
      for (int k = 0; k < P && reml; k++)
        expected += 0.5 * C[j + P * k] * spreads[e + n * (j + P * k)];
    }
    CHECK_CLOSE(gradient[e], expected, 1e-10);
  }
  double expected[900];
  for (int e = 0; e < n; e++)
    for (int f = 0; f <= e; f++) {
      const double *A = WdV + e * N * N, *B = WdV + f * N * N;
      double quadratic = 0.0, sum = 0.5 * trace_of(A, B);
      la_multiply(dV + e * N * N, B, N, N, N, half); /* dV_e W dV_f */
      for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
          quadratic += Wr[i] * half[i + N * j] * Wr[j];
          for (int k = 0; k < P && reml; k++)
            for (int l = 0; l < P; l++)
              sum -= C[k + P * l] * WX[i + N * k] * half[i + N * j] * WX[j + N * l];
        }
      sum -= quadratic;
      if (average) {
        sum = -0.5 * quadratic;
        for (int j = 0; j < P; j++)
          for (int k = 0; k < P; k++) {
            sum -= 0.5 * crosses[e + n * j] * XWX[j + P * k] * crosses[f + n * k];
            for (int a = 0; a < P && reml; a++)
              for (int b = 0; b < P; b++)
                sum -= 0.5 * XWX[j + P * k] * spreads[e + n * (k + P * a)] * XWX[a + P * b] *
                       spreads[f + n * (b + P * j)];
          }
      }
      expected[e + n * f] = sum;
      size = fmax(size, fabs(sum));
    }
  for (int e = 0; e < n; e++)
    for (int f = 0; f <= e; f++) {
      const double apart = fabs(hessian[e + n * f] - expected[e + n * f]);
      CHECK(apart <= tolerance * size);
      if (!(apart <= tolerance * size))
        printf("  %d %d: %.12g is not %.12g\n", e, f, hessian[e + n * f], expected[e + n * f]);
    }
}

/* Products with Z'D^{-1}Z and with S = Sigma - Sigma Z'W Z Sigma, and traces of W dV W dV. */
static void test_products(problem *m) {
  enum { K = 3 };
  const int n = m->n_z, n_d = m->n_pair + m->rows.n_level;
  double Sigma[MOST_Q * MOST_Q], *big = new_doubles(n * n), *A = new_doubles(n * n);
  double *WZ = new_doubles(N * n), *half = new_doubles(n * n);
  double *S = new_doubles(n * n), *in = new_doubles(n * K), *out = new_doubles(n * K);
  double *work = new_doubles(2 * n * K), T[900] = {0}, *dV = new_doubles(N * N);
  la_multiply_t(m->root, m->root, m->q, m->q, m->q, Sigma);
  for (int a = 0; a < n; a++)
    for (int b = 0; b < n; b++)
      if (same_level(m, a, b)) big[a + n * b] = Sigma[m->term[a] + m->q * m->term[b]];
  la_multiply(m->W, m->full, N, N, n, WZ);
  for (int a = 0; a < n; a++)
    for (int b = 0; b < n; b++) {
      S[a + n * b] = dot(m->full + N * a, WZ + N * b, N);
      for (int i = 0; i < N; i++)
        A[a + n * b] += m->full[i + N * a] * m->full[i + N * b] / m->D[i];
    }
  la_multiply(big, S, n, n, n, half);
  la_multiply(half, big, n, n, n, S);
  for (int i = 0; i < n * n; i++) S[i] = big[i] - S[i];
  for (int i = 0; i < n * K; i++) in[i] = random_normal();
  CHECK(put(m) == ELBO_OK);
  CHECK(lmm_blocked_levels(&m->solver) == n);
  for (int inverse = 0; inverse < 2; inverse++) {
    const double *B = inverse ? S : A;
    lmm_blocked_product(&m->solver, inverse, K, in, out, work);
    for (int a = 0; a < n; a++)
      for (int k = 0; k < K; k++) {
        double expected = 0.0;
        for (int b = 0; b < n; b++) expected += B[a + n * b] * in[k + K * b];
        CHECK_CLOSE(out[k + K * a], expected, 1e-11);
      }
  }
  const double beta[P] = {0.0, 0.0};
  const lmm_point point = {
      .beta = beta, .log_det = 1, .n_pair = m->n_pair, .pair_a = m->pair_a, .pair_b = m->pair_b};
  lmm_blocked_traces(&m->solver, &point, T);
  double *WdV = new_doubles(n_d * N * N);
  for (int e = 0; e < n_d; e++) {
    direction(m, e, dV);
    la_multiply(m->W, dV, N, N, N, WdV + e * N * N);
  }
  for (int e = 0; e < n_d; e++)
    for (int f = 0; f <= e; f++)
      CHECK_CLOSE(T[e + n_d * f], trace_of(WdV + e * N * N, WdV + f * N * N), 1e-9);
}

/* The terms of the first factor without a law: with U their columns, log |V| becomes log |V| + log
 * |U'W U| of the others' V, and W becomes W - W U (U'W U)^{-1} U'W. */
static void test_no_law(void) {
  static const int levels[] = {7, 12}, terms[] = {1, 1};
  problem m;
  double r[N], expected[P1 * P1], cross[P1 * P1] = {0}, log_det = 0.0, log_weight = 0.0;
  const double origin[P] = {0.2, -0.1};
  make_problem(&m, 2, levels, terms, 1, 1);
  m.root[0] = 0.0;
  open_problem(&m); /* V of the second factor */
  m.root[0] = 1.0;
  m.unit[0] = 0.0;
  const int n = levels[0];
  double *L = copy_doubles(m.V, N * N), *WU = new_doubles(N * n), *A = new_doubles(n * n);
  double *WUA = new_doubles(N * n), *taken = new_doubles(N * N), *B;
  la_multiply(m.W, m.full, N, N, n, WU);
  for (int a = 0; a < n; a++)
    for (int b = 0; b < n; b++) A[a + n * b] = dot(m.full + N * a, WU + N * b, N);
  B = copy_doubles(A, n * n);
  CHECK(la_chol(L, N) == ELBO_OK && la_chol(B, n) == ELBO_OK);
  const double both = la_log_det_from_chol(L, N) + la_log_det_from_chol(B, n);
  CHECK(la_inverse_from_chol(B, n) == ELBO_OK);
  la_multiply(WU, B, N, n, n, WUA);
  la_multiply_t(WUA, WU, N, n, N, taken);
  for (int i = 0; i < N * N; i++) taken[i] = m.W[i] - taken[i];
  residuals(&m, origin, r);
  full_cross(&m, taken, r, expected);
  m.solver.move(m.solver.state, origin);
  CHECK(put(&m) == ELBO_OK);
  m.solver.objective(m.solver.state, cross, &log_det);
  for (int j = 0; j < P1; j++)
    for (int k = j; k < P1; k++)
      CHECK(fabs(cross[k + P1 * j] - expected[k + P1 * j]) <= 1e-11 * expected[P1 * P1 - 1]);
  for (int i = 0; i < N; i++) log_weight += log(m.w[i]);
  CHECK_CLOSE(log_det, both + log_weight, 1e-12);
  test_free();
}

/* Mean, covariance and gain of b = all levels, in full: precision J + root'Z'D^{-1}Z root. */
static void full_posterior(const problem *m, const double *beta, double *mean, double *cov,
                           double *gain, double *ZR) {
  const int n_z = m->n_z;
  double r[N];
  residuals(m, beta, r);
  memset(ZR, 0, (size_t)(N * n_z) * sizeof(double));
  for (int a = 0; a < n_z; a++)
    for (int b = 0; b < n_z; b++)
      if (same_level(m, a, b))
        for (int i = 0; i < N; i++)
          ZR[i + N * b] += m->full[i + N * a] * m->root[m->term[a] + m->q * m->term[b]];
  for (int a = 0; a < n_z; a++)
    for (int b = 0; b < n_z; b++) {
      cov[a + n_z * b] = a == b ? m->unit[m->term[a]] : 0.0;
      for (int i = 0; i < N; i++) cov[a + n_z * b] += ZR[i + N * a] * ZR[i + N * b] / m->D[i];
    }
  CHECK(la_chol(cov, n_z) == ELBO_OK && la_inverse_from_chol(cov, n_z) == ELBO_OK);
  for (int a = 0; a < n_z; a++) {
    mean[a] = gain[a] = gain[a + n_z] = 0.0;
    for (int b = 0; b < n_z; b++)
      for (int i = 0; i < N; i++) {
        const double at = cov[a + n_z * b] * ZR[i + N * b] / m->D[i];
        mean[a] += at * r[i];
        for (int j = 0; j < P; j++) gain[a + n_z * j] += at * m->X[i + N * j];
      }
  }
}

/* From q, of this posterior, to the exact posterior at another place. */
static void test_divergence(problem *m, const double *posterior, const double *mean,
                            const double *cov, const double *gain, const double *C,
                            const double *C_root) {
  const int n_z = m->n_z, q = m->q;
  double log_det, *ZR = new_doubles(N * n_z);
  const double other_beta[P] = {-0.2, 0.4}, shift[P] = {0.3, -0.1};
  double M[MOST_Q * MOST_Q], inverse[MOST_Q * MOST_Q], kl = 0.0, sum = 0.0;
  double *next = new_doubles((int)m->solver.q_size), *moved = new_doubles(n_z);
  double *mean2 = new_doubles(n_z), *cov2 = new_doubles(n_z * n_z), *gain2 = new_doubles(n_z * P);
  double old_root[MOST_Q * MOST_Q];
  memcpy(old_root, m->root, sizeof old_root);
  for (int k = 0; k < q; k++)
    for (int l = 0; l <= k; l++) m->root[k + q * l] *= 1.2 + 0.1 * (k + l);
  full_posterior(m, other_beta, mean2, cov2, gain2, ZR);
  la_lower_inverse(m->root, q, inverse);
  la_multiply(inverse, old_root, q, q, q, M);
  CHECK(put(m) == ELBO_OK);
  m->solver.posterior(m->solver.state, other_beta, 1.0, 1, next, &log_det);
  CHECK(put(m) == ELBO_OK);
  m->solver.divergence(m->solver.state, M, posterior, next, shift, C_root, &kl);
  double *precision = copy_doubles(cov2, n_z * n_z), *full_M = new_doubles(n_z * n_z);
  CHECK(la_chol(precision, n_z) == ELBO_OK && la_inverse_from_chol(precision, n_z) == ELBO_OK);
  for (int a = 0; a < n_z; a++)
    for (int b = 0; b < n_z; b++)
      if (same_level(m, a, b)) full_M[a + n_z * b] = M[m->term[a] + q * m->term[b]];
  double *MS = new_doubles(n_z * n_z), *E = new_doubles(n_z * n_z), *dK = new_doubles(n_z * P);
  la_multiply(full_M, cov, n_z, n_z, n_z, MS);
  la_multiply_t(MS, full_M, n_z, n_z, n_z, E);
  la_multiply(full_M, mean, n_z, n_z, 1, moved);
  la_multiply(full_M, gain, n_z, n_z, P, dK);
  for (int a = 0; a < n_z; a++) {
    moved[a] -= mean2[a];
    for (int j = 0; j < P; j++) {
      moved[a] += gain2[a + n_z * j] * shift[j];
      dK[a + n_z * j] -= gain2[a + n_z * j];
    }
  }
  for (int a = 0; a < n_z; a++)
    for (int b = 0; b < n_z; b++) {
      double entry = E[a + n_z * b] + moved[a] * moved[b];
      for (int j = 0; j < P; j++)
        for (int k = 0; k < P; k++) entry += dK[a + n_z * j] * C[j + P * k] * dK[b + n_z * k];
      sum += entry * precision[a + n_z * b];
    }
  CHECK_CLOSE(kl, sum, 1e-10);
  memcpy(m->root, old_root, sizeof old_root);
}

static void test_posterior(problem *m) {
  const int n_z = m->n_z, q = m->q;
  const double beta[P] = {0.1, 0.3}, C_root[P * P] = {0.3, 0.1, 0.0, 0.2};
  double C[P * P], *mean = new_doubles(n_z), *cov = new_doubles(n_z * n_z), log_det;
  double *gain = new_doubles(n_z * P), *ZR = new_doubles(N * n_z);
  double *posterior = new_doubles((int)m->solver.q_size);
  la_multiply_t(C_root, C_root, P, P, P, C);
  full_posterior(m, beta, mean, cov, gain, ZR);
  CHECK(put(m) == ELBO_OK);
  m->solver.posterior(m->solver.state, beta, 1.0, 1, posterior, &log_det);
  double *L = copy_doubles(cov, n_z * n_z);
  CHECK(la_chol(L, n_z) == ELBO_OK);
  CHECK_CLOSE(log_det, -la_log_det_from_chol(L, n_z), 1e-11);
  int at = 0;
  for (int f = 0; f < m->rows.n_factor; f++)
    for (int l = 0; l < m->n_unit[f]; l++) {
      const int k = m->first[f + 1] - m->first[f];
      double own[MOST_Q], root[MOST_Q * MOST_Q], slope[MOST_Q * P], S[MOST_Q * MOST_Q];
      m->solver.level(m->solver.state, posterior, f, l, own, root, slope);
      la_multiply_t(root, root, k, k, k, S);
      for (int a = 0; a < k; a++) {
        CHECK_CLOSE(own[a], mean[at + a], 1e-11);
        for (int j = 0; j < P; j++) CHECK_CLOSE(slope[a * P + j], gain[at + a + n_z * j], 1e-11);
        for (int b = 0; b < k; b++) CHECK_CLOSE(S[a + k * b], cov[at + a + n_z * (at + b)], 1e-11);
      }
      at += k;
    }
  /* moments */
  double second[MOST_Q * MOST_Q], residual[MOST_LEVELS * P1 * P1], trace[MOST_LEVELS];
  double origin[P] = {0.2, -0.1}, r[N], expected[MOST_Q * MOST_Q] = {0}, cross[P1 * P1];
  double rest[MOST_LEVELS] = {0};
  m->solver.moments(m->solver.state, posterior, m->root, C, C_root, second, residual, trace);
  double *all = copy_doubles(cov, n_z * n_z); /* with what the coefficients add */
  for (int a = 0; a < n_z; a++)
    for (int b = 0; b < n_z; b++) {
      for (int j = 0; j < P; j++)
        for (int k = 0; k < P; k++)
          all[a + n_z * b] += gain[a + n_z * j] * C[j + P * k] * gain[b + n_z * k];
      if (same_level(m, a, b))
        expected[m->term[a] + q * m->term[b]] += all[a + n_z * b] + mean[a] * mean[b];
    }
  CHECK(distance(second, expected, q * q) < 1e-11);
  residuals(m, origin, r);
  for (int i = 0; i < N; i++) {
    const double w = m->w[i];
    double *sum_here = rest + level_of(m, i);
    for (int a = 0; a < n_z; a++) {
      r[i] -= ZR[i + N * a] * mean[a];
      for (int b = 0; b < n_z; b++)
        *sum_here += w * ZR[i + N * a] * cov[a + n_z * b] * ZR[i + N * b];
    }
    double x[P];
    for (int j = 0; j < P; j++) {
      x[j] = m->X[i + N * j];
      for (int a = 0; a < n_z; a++) x[j] -= ZR[i + N * a] * gain[a + n_z * j];
    }
    *sum_here += w * la_quadratic(C, x, P);
  }
  for (int l = 0; l < m->rows.n_level; l++) {
    double *I = new_doubles(N * N);
    for (int i = 0; i < N; i++) I[i * (N + 1)] = level_of(m, i) == l ? m->w[i] : 0.0;
    full_cross(m, I, r, cross);
    for (int j = 0; j < P1; j++)
      for (int k = j; k < P1; k++)
        CHECK_CLOSE(residual[P1 * P1 * l + k + P1 * j], cross[k + P1 * j], 1e-11);
    CHECK_CLOSE(trace[l], rest[l], 1e-11);
  }
  test_divergence(m, posterior, mean, cov, gain, C, C_root);
}

/* ---- levels independent under q -------------------------------------------------------------- */

/* The precision of b in full, and in place of it the inverse of its diagonal blocks by level; the
 * log-determinant of these blocks. */
static double full_apart(const problem *m, double *cov) {
  const int n_z = m->n_z;
  const double beta[P] = {0.0, 0.0};
  double *gain = new_doubles(n_z * P), *ZR = new_doubles(N * n_z), *mean = new_doubles(n_z);
  double log_det = 0.0;
  full_posterior(m, beta, mean, cov, gain, ZR);
  CHECK(la_chol(cov, n_z) == ELBO_OK && la_inverse_from_chol(cov, n_z) == ELBO_OK);
  for (int a = 0; a < n_z; a++)
    for (int b = 0; b < n_z; b++)
      if (!same_level(m, a, b)) cov[a + n_z * b] = 0.0;
  CHECK(la_chol(cov, n_z) == ELBO_OK);
  log_det = la_log_det_from_chol(cov, n_z);
  CHECK(la_inverse_from_chol(cov, n_z) == ELBO_OK);
  return log_det;
}

/* Where parameter e (an entry of Sigma, or a residual variance) has moved by step: log |V| of such
 * a q; and, where not NULL, its derivatives times -1/2, those of the objective less those of the
 * data. */
static double apart_at(problem *m, int e, double step, const lmm_point *point, double *gradient,
                       double *hessian) {
  double old_v[MOST_LEVELS];
  const int n = m->n_pair + m->rows.n_level;
  double Sigma[MOST_Q * MOST_Q], old_root[MOST_Q * MOST_Q], cross[P1 * P1] = {0}, log_det = 0.0;
  memcpy(old_root, m->root, sizeof old_root);
  memcpy(old_v, m->v, sizeof old_v);
  la_multiply_t(m->root, m->root, m->q, m->q, m->q, Sigma);
  if (e >= m->n_pair) {
    m->v[e - m->n_pair] += step;
  } else {
    const int a = m->pair_a[e], b = m->pair_b[e];
    Sigma[a + m->q * b] += step;
    if (a != b) Sigma[b + m->q * a] += step;
    CHECK(la_chol(Sigma, m->q) == ELBO_OK);
    memcpy(m->root, Sigma, sizeof Sigma);
  }
  CHECK(put(m) == ELBO_OK);
  m->solver.objective(m->solver.state, cross, &log_det);
  if (gradient) {
    double more[900], spread[30 * P * P], of_x[30 * P], less[30];
    lmm_point of_data = *point;
    lmm_derivatives d = {gradient, hessian, of_x, spread}, data = {less, more, of_x, spread};
    of_data.log_det = 0;
    m->solver.derivatives(m->solver.state, point, &d);
    m->solver.derivatives(m->solver.state, &of_data, &data);
    for (int i = 0; i < n; i++) {
      gradient[i] -= less[i];
      for (int j = 0; j <= i; j++) hessian[i + n * j] -= more[i + n * j];
    }
  }
  memcpy(m->root, old_root, sizeof old_root);
  memcpy(m->v, old_v, sizeof old_v);
  CHECK(put(m) == ELBO_OK);
  return log_det;
}

/* Derivatives against differences of fourth order, which are right to some 1e-9. */
static void test_apart_derivatives(problem *m) {
  const int n = m->n_pair + m->rows.n_level;
  const double beta[P] = {0.1, 0.3}, h = 1e-3, step[] = {h, -h, 2.0 * h, -2.0 * h};
  const double part[] = {2.0 / 3.0, -2.0 / 3.0, -1.0 / 12.0, 1.0 / 12.0};
  const lmm_point point = {.beta = beta,
                           .log_det = 1,
                           .n_pair = m->n_pair,
                           .pair_a = m->pair_a,
                           .pair_b = m->pair_b};
  double gradient[30], hessian[900], other[30], ignored[900];
  apart_at(m, m->n_pair, 0.0, &point, gradient, hessian);
  for (int e = 0; e < n; e++) {
    double slope = 0.0, slopes[30] = {0};
    for (int i = 0; i < 4; i++) {
      slope -= 0.5 * part[i] / h * apart_at(m, e, step[i], &point, other, ignored);
      for (int f = 0; f < n; f++) slopes[f] += part[i] / h * other[f];
    }
    CHECK_CLOSE(gradient[e], slope, 1e-7);
    for (int f = 0; f < n; f++)
      CHECK_CLOSE(hessian[e > f ? e + n * f : f + n * e], slopes[f], 1e-7);
  }
}

static void test_apart(problem *m) {
  const int n_z = m->n_z, q = m->q;
  const double beta[P] = {0.1, 0.3};
  double *cov = new_doubles(n_z * n_z), *mean = new_doubles(n_z), *gain = new_doubles(n_z * P);
  double *exact = new_doubles(n_z * n_z), *ZR = new_doubles(N * n_z), log_det;
  double *posterior = new_doubles((int)m->solver.q_size);
  const double expected_log_det = full_apart(m, cov);
  m->solver.separate(m->solver.state, 1);
  CHECK(put(m) == ELBO_OK);
  m->solver.posterior(m->solver.state, beta, 1.0, 0, posterior, &log_det);
  CHECK_CLOSE(log_det, expected_log_det, 1e-11);
  const double volume = apart_at(m, m->n_pair, 0.0, NULL, NULL, NULL);
  double expected_volume = expected_log_det, rest[MOST_LEVELS] = {0};
  for (int i = 0; i < N; i++) expected_volume += log(m->v[level_of(m, i)]);
  CHECK_CLOSE(volume, expected_volume, 1e-11);
  full_posterior(m, beta, mean, exact, gain, ZR);
  double second[MOST_Q * MOST_Q], residual[MOST_LEVELS * P1 * P1], trace[MOST_LEVELS];
  double expected[MOST_Q * MOST_Q] = {0};
  m->solver.moments(m->solver.state, posterior, m->root, NULL, NULL, second, residual, trace);
  int at = 0;
  for (int f = 0; f < m->rows.n_factor; f++)
    for (int l = 0; l < m->n_unit[f]; l++) {
      const int k = m->first[f + 1] - m->first[f];
      double own[MOST_Q], root[MOST_Q * MOST_Q], slope[MOST_Q * P], S[MOST_Q * MOST_Q];
      m->solver.level(m->solver.state, posterior, f, l, own, root, slope);
      la_multiply_t(root, root, k, k, k, S);
      for (int a = 0; a < k; a++) {
        CHECK_CLOSE(own[a], mean[at + a], 1e-11);
        CHECK(slope[a * P] == 0.0 && slope[a * P + 1] == 0.0);
        for (int b = 0; b < k; b++) {
          CHECK_CLOSE(S[a + k * b], cov[at + a + n_z * (at + b)], 1e-11);
          expected[m->first[f] + a + q * (m->first[f] + b)] +=
              cov[at + a + n_z * (at + b)] + mean[at + a] * mean[at + b];
        }
      }
      at += k;
    }
  CHECK(distance(second, expected, q * q) < 1e-11);
  for (int i = 0; i < N; i++)
    for (int a = 0; a < n_z; a++)
      for (int b = 0; b < n_z; b++)
        rest[level_of(m, i)] += m->w[i] * ZR[i + N * a] * cov[a + n_z * b] * ZR[i + N * b];
  for (int l = 0; l < m->rows.n_level; l++) CHECK_CLOSE(trace[l], rest[l], 1e-11);
  test_apart_derivatives(m);
  m->solver.separate(m->solver.state, 0);
}

static void test_problem(int n_factor, const int *levels, const int *terms, int weighted,
                         int n_level) {
  problem m;
  make_problem(&m, n_factor, levels, terms, weighted, n_level);
  open_problem(&m);
  test_objective(&m);
  for (int reml = 0; reml < 2; reml++) {
    test_derivatives(&m, reml, 1, 1e-10);
    test_derivatives(&m, reml, 0, 1e-10);
  }
  test_posterior(&m);
  test_products(&m);
  test_apart(&m);
  test_free();
}

/* A term without variance: all but what the direction is given to keep derivatives, 1e-8. */
static void test_boundary(int term, double tolerance) {
  static const int levels[] = {12, 7}, terms[] = {2, 1};
  problem m;
  make_problem(&m, 2, levels, terms, 0, 1);
  for (int k = 0; k < m.q; k++)
    if (k >= term) m.root[k + m.q * term] = 0.0;
  open_problem(&m);
  test_objective(&m);
  test_derivatives(&m, 1, 1, 1e-9);
  test_derivatives(&m, 1, 0, tolerance);
  test_free();
}

int main(void) {
  static const int one[] = {9}, two[] = {12, 7}, nested[] = {20, 5, 3}, four[] = {15, 10, 4, 3};
  static const int t1[] = {2}, t2[] = {1, 2}, t3[] = {2, 1, 2}, t4[] = {1, 1, 2, 1},
                   simple[] = {1, 1};
  random_seed(3);
  test_problem(1, one, t1, 0, 1);
  test_problem(2, two, simple, 0, 1);
  test_problem(2, two, simple, 1, 1);
  test_problem(2, two, t2, 1, 1);
  test_problem(3, nested, t3, 0, 1);
  test_problem(4, four, t4, 1, 1);
  test_problem(1, one, t1, 1, 3);
  test_problem(2, two, simple, 0, 2);
  test_problem(2, two, t2, 1, 3);
  test_problem(4, four, t4, 1, 2);
  test_no_law();
  test_boundary(0, 1e-6);
  test_boundary(1, 1e-6);
  test_boundary(2, 1e-6);
  return FINISH();
}
