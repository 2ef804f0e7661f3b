/* Variational Bayes of several grouping factors: two that are one and the same against the groups'
 * own code, linear response too; the ELBO and precision of two against dense matrices. */
#include <math.h>
#include <string.h>

#include "general/fit.h"
#include "general/parameters.h"
#include "general/vb.h"
#include "general/vb_crossed.h"
#include "general/vb_hessian.h"
#include "general/vb_scales.h"
#include "math/la.h"
#include "math/quadrature.h"
#include "math/small.h"
#include "reference.h"

enum { N = 60, P = 2, ONE = 9, TWO = 5 };

static double y[N], size[N], weight[N], offset[N], X[N * P], Z[N * 3], mean[P] = {0.3, -0.2};
static int one[N], two[N], all[N], single[N];
static const double sd[P] = {2.0, 1.5}, df[3] = {3.0, 3.0, 3.0}, scale[3] = {1.5, 0.8, 1.2};
static const double lkj[2] = {NAN, NAN};
static const int half_t[3] = {SD_HALF_T, SD_HALF_T, SD_HALF_T}, block[3] = {0, 0, 1};
static const double free_sd[3] = {NAN, NAN, NAN}, held_sd[3] = {NAN, NAN, 1.0};
static const double cor[2] = {NAN, NAN};
static const int first[3] = {0, 2, 3}, units[2] = {ONE, TWO}, units_single[2] = {ONE, 1};
static const int *const groups[2] = {one, two}, *const groups_single[2] = {one, single};

static general_input make_input(response_family family) {
  for (int i = 0; i < N; i++) {
    one[i] = 1 + (7 * i) % ONE;
    two[i] = 1 + (i * i) % TWO;
    all[i] = single[i] = 1;
    size[i] = 3;
    weight[i] = 0.5 + 0.25 * (i % 4);
    offset[i] = 0.3 * sin(2.0 * i);
    y[i] = (i * 5) % 4;
    for (int j = 0; j < P; j++) X[i + N * j] = j == 0 ? 1.0 : cos(3.0 * i * j + j);
    for (int j = 0; j < 3; j++) Z[i + N * j] = j == 1 ? sin(1.7 * i) : 1.0;
  }
  const general_input in = {.family = family,
                            .link = family == RESPONSE_POISSON ? RESPONSE_LOG : RESPONSE_LOGIT,
                            .n = N,
                            .p = P,
                            .q = 3,
                            .m = 1,
                            .n_block = 2,
                            .y = y,
                            .size = size,
                            .weight = weight,
                            .offset = offset,
                            .X = X,
                            .Z = Z,
                            .group = all,
                            .block = block,
                            .sd = free_sd,
                            .cor = cor,
                            .n_factor = 2,
                            .first = first,
                            .n_unit = units,
                            .groups = groups};
  return in;
}

static const general_prior prior = {mean, sd, half_t, df, scale, lkj};
static const elbo_control control = {
    .accelerate = ELBO_ACCELERATE_AUTO, .max_iter = 1000, .threads = 1, .tol = 1e-8};
static const elbo_hooks no_hooks = {NULL, NULL, NULL};

static void fit(const general_input *in, int apart, vb_work *w) {
  elbo_result result = {0};
  CHECK(vb_init(w, in, &prior, apart, 1, &test_memory) == ELBO_OK);
  CHECK(general_start(&w->general) == ELBO_OK);
  const elbo_model model = vb_model(w);
  double *memory = new_doubles((int)elbo_ascend_size(&model)), value;
  CHECK(vb_climb(w, 32, &control, &no_hooks, memory, &result) == ELBO_OK);
  CHECK(result.gradient < 1e-8);
  CHECK(model.objective.value(w, &value) == ELBO_OK);
}

/* The second factor has one level, rows of Z that are zero, and a held law. */
static void test_one_factor(response_family family, int apart) {
  vb_work by_group, by_blocks;
  general_input in = make_input(family);
  in.q = 2;
  in.n_block = 1;
  in.m = ONE;
  in.group = one;
  in.n_factor = 0;
  in.groups = NULL;
  fit(&in, apart, &by_group);
  in = make_input(family);
  for (int i = 0; i < N; i++) Z[i + 2 * N] = 0.0;
  in.sd = held_sd;
  in.n_unit = units_single;
  in.groups = groups_single;
  fit(&in, apart, &by_blocks);
  CHECK_CLOSE(by_blocks.q.total, by_group.q.total, 1e-11);
  for (int j = 0; j < P; j++) CHECK_CLOSE(by_blocks.q.mean[j], by_group.q.mean[j], 1e-9);
  for (int j = 0; j < P * P; j++) CHECK_CLOSE(by_blocks.q.V[j], by_group.q.V[j], 1e-9);
  for (int k = 0; k < 3; k++)
    CHECK_CLOSE(by_blocks.general.theta[P + k], by_group.general.theta[P + k], 1e-9);
  /* Linear response of (beta, eta): from differences, and the groups' own. */
  const int n = vb_n_shared(&by_group), m = vb_n_state(&by_blocks);
  double *information = new_doubles(n * n), *by = new_doubles(m * 5), *H = new_doubles(9);
  CHECK(vb_shared_information(&by_group, information, NULL, NULL) == ELBO_OK);
  CHECK(la_chol(information, n) == ELBO_OK && la_inverse_from_chol(information, n) == ELBO_OK);
  for (int k = 0; k < 3; k++) CHECK(vb_difference_by_eta(&by_blocks, k, by + m * k) == ELBO_OK);
  for (int j = 0; j < P; j++)
    CHECK(vb_difference_by_tilt(&by_blocks, j, by + m * (3 + j)) == ELBO_OK);
  for (int k = 0; k < 3; k++)
    for (int l = 0; l < 3; l++) H[l + 3 * k] = -0.5 * (by[l + m * k] + by[k + m * l]);
  CHECK(la_chol(H, 3) == ELBO_OK && la_inverse_from_chol(H, 3) == ELBO_OK);
  for (int k = 0; k < 3; k++)
    for (int l = 0; l < 3; l++)
      CHECK_CLOSE(H[l + 3 * k], information[n - 3 + l + n * (n - 3 + k)], 1e-6);
  for (int i = 0; i < P; i++)
    for (int j = 0; j < P; j++) {
      double sum = by[3 + i + m * (3 + j)];
      for (int k = 0; k < 3; k++)
        for (int l = 0; l < 3; l++) sum += by[3 + i + m * k] * H[k + 3 * l] * by[3 + j + m * l];
      CHECK_CLOSE(sum, information[i + n * j], 1e-6);
    }
}

/* ---- dense reference ------------------------------------------------------------------------- */

enum { LEVELS = 2 * ONE + TWO, MOST = P + LEVELS };

static void dense_row(const vb_work *w, int i, double *a) {
  const int row = w->general.rows.row[i];
  memset(a, 0, MOST * sizeof(double));
  for (int j = 0; j < P; j++) a[j] = w->general.rows.X[P * i + j];
  for (int k = 0; k < 2; k++) a[P + 2 * (one[row] - 1) + k] = w->general.rows.Z[3 * i + k];
  a[P + 2 * ONE + two[row] - 1] = w->general.rows.Z[3 * i + 2];
}

/* At its best q has the precision P + sum w a a' that its own curvatures make, and its value is
 * that of densities and entropy written out. */
static void test_dense(response_family family) {
  static double node[201], rule[201], work[402], scaled[201];
  const general_input in = make_input(family);
  vb_work w;
  double a[MOST], u[LEVELS], *m = new_doubles(MOST), value;
  fit(&in, 0, &w);
  CHECK(quadrature_normal(201, node, rule, scaled, work) == ELBO_OK);
  double *Q = new_doubles(MOST * MOST), *V = new_doubles(MOST * MOST);
  memcpy(m, w.q.mean, P * sizeof(double));
  vb_crossed_means(&w, u);
  memcpy(m + P, u, LEVELS * sizeof(double));
  CHECK(vb_scales_inverse(&w, w.S_inverse, &value) == ELBO_OK);
  for (int j = 0; j < P; j++)
    for (int k = 0; k < P; k++) Q[j + MOST * k] = w.P[j + P * k];
  for (int r = 0; r < LEVELS; r++)
    for (int c = 0; c < LEVELS; c++) {
      const int both = r < 2 * ONE && c < 2 * ONE && r / 2 == c / 2;
      Q[P + r + MOST * (P + c)] = both ? w.S_inverse[r % 2 + 3 * (c % 2)]
                                  : r == c ? w.S_inverse[8]
                                           : 0.0;
    }
  for (int i = 0; i < N; i++) {
    dense_row(&w, i, a);
    for (int r = 0; r < MOST; r++)
      for (int c = 0; c < MOST; c++) Q[r + MOST * c] += w.crossed->at.weight[i] * a[r] * a[c];
  }
  memcpy(V, Q, (size_t)(MOST * MOST) * sizeof(double));
  CHECK(la_chol(V, MOST) == ELBO_OK);
  value = w.prior_constant - 0.5 * la_log_det_from_chol(V, MOST);
  CHECK(la_inverse_from_chol(V, MOST) == ELBO_OK);
  double *slope = new_doubles(MOST);
  for (int i = 0; i < N; i++) {
    double x = w.general.rows.offset[i], v, curvature = 0.0, first_i = 0.0;
    dense_row(&w, i, a);
    x += dot(a, m, MOST);
    v = la_quadratic(V, a, MOST);
    for (int k = 0; k < 201; k++) {
      response_point at;
      if (rule[k] < 1e-30) continue;
      w.general.par.response.point(&w.general.par.response, w.general.rows.y[i],
                                   w.general.rows.size[i], x + sqrt(v) * node[k], &at);
      value += w.general.rows.weight[i] * rule[k] * at.value;
      curvature -= w.general.rows.weight[i] * rule[k] * at.xx;
      first_i += w.general.rows.weight[i] * rule[k] * at.x;
    }
    CHECK_CLOSE(w.crossed->at.weight[i], curvature, 1e-8);
    for (int r = 0; r < MOST; r++) slope[r] += first_i * a[r];
  }
  double second[9] = {0}, scales;
  for (int j = 0; j < P; j++)
    for (int k = 0; k < P; k++) {
      const double d = (m[j] - w.P_mean[j]) * (m[k] - w.P_mean[k]);
      value -= 0.5 * w.P[j + P * k] * (V[j + MOST * k] + d);
      slope[j] -= w.P[j + P * k] * (m[k] - w.P_mean[k]);
    }
  for (int r = 0; r < LEVELS; r++)
    for (int c = 0; c < LEVELS; c++) {
      const double both = V[P + r + MOST * (P + c)] + m[P + r] * m[P + c];
      if (r < 2 * ONE && c < 2 * ONE && r / 2 == c / 2) {
        second[r % 2 + 3 * (c % 2)] += both;
        slope[P + r] -= w.S_inverse[r % 2 + 3 * (c % 2)] * m[P + c];
      }
      if (r >= 2 * ONE && r == c) {
        second[8] += both;
        slope[P + r] -= w.S_inverse[8] * m[P + c];
      }
    }
  CHECK(vb_scales_value(&w, second, &scales) == ELBO_OK);
  CHECK_CLOSE(w.q.total, value + scales, 1e-10);
  for (int r = 0; r < MOST; r++) CHECK_CLOSE(slope[r], 0.0, 1e-8);
  for (int j = 0; j < P; j++)
    for (int k = 0; k < P; k++) CHECK_CLOSE(w.q.V[j + P * k], V[j + MOST * k], 1e-9);
  /* A level's mean, covariance given beta, and gain: cov(u, beta) = gain V. */
  for (int f = 0; f < 2; f++)
    for (int g = 0; g < units[f]; g++) {
      const int k = f == 0 ? 2 : 1, at = P + (f == 0 ? 2 * g : 2 * ONE + g);
      double mu[2], C[4], G[2 * P];
      vb_crossed_level(&w, f, g, mu, C, G);
      for (int r = 0; r < k; r++) {
        CHECK_CLOSE(mu[r], m[at + r], 1e-10);
        for (int j = 0; j < P; j++) {
          double sum = 0.0;
          for (int l = 0; l < P; l++) sum += G[r + k * l] * w.q.V[l + P * j];
          CHECK_CLOSE(sum, V[at + r + MOST * j], 1e-9);
        }
      }
    }
}

int main(void) {
  for (int apart = 0; apart < 2; apart++) {
    test_one_factor(RESPONSE_BINOMIAL, apart);
    test_one_factor(RESPONSE_POISSON, apart);
    test_free();
  }
  test_dense(RESPONSE_BINOMIAL);
  test_dense(RESPONSE_POISSON);
  test_free();
  return FINISH();
}
