/* Several grouping factors by Laplace's method: two that are one and the same against the groups'
 * own code, the gradient against differences of the value. */
#include <math.h>
#include <string.h>

#include "general/fit.h"
#include "general/parameters.h"
#include "reference.h"

enum { N = 40, P = 2 };

static double y[N], size[N], weight[N], offset[N], X[N * P], Z[N * 4];
static int one[N], two[N], three[N], all[N];
static const int block[4] = {0, 0, 1, 2};
static const double sd[4] = {NAN, NAN, NAN, NAN}, cor[3] = {NAN, NAN, NAN};

typedef struct {
  response_family family;
  response_link link;
  int n_own;
  double natural[2];
} example;

static const example examples[] = {{RESPONSE_BINOMIAL, RESPONSE_LOGIT, 0, {0}},
                                   {RESPONSE_BINOMIAL, RESPONSE_CLOGLOG, 0, {0}},
                                   {RESPONSE_NEGATIVE_BINOMIAL, RESPONSE_LOG, 1, {1.7}},
                                   {RESPONSE_CUMULATIVE, RESPONSE_PROBIT, 2, {-0.5, 0.6}}};
enum { EXAMPLES = sizeof examples / sizeof examples[0] };

static general_input make_input(const example *e) {
  for (int i = 0; i < N; i++) {
    one[i] = 1 + (7 * i) % 9;
    two[i] = 1 + (i * i) % 5;
    three[i] = 1 + i % 3;
    all[i] = 1;
    size[i] = 3;
    weight[i] = 0.5 + 0.25 * (i % 4);
    offset[i] = 0.3 * sin(2.0 * i);
    y[i] = e->family == RESPONSE_CUMULATIVE ? (i * 5) % 3 : (i * 5) % 4;
    for (int j = 0; j < P; j++) X[i + N * j] = j == 0 ? 1.0 : cos(3.0 * i * j + j);
    for (int j = 0; j < 4; j++) Z[i + N * j] = j == 1 ? sin(1.7 * i) : 1.0;
  }
  const general_input in = {.family = e->family,
                            .link = e->link,
                            .n_own = e->n_own,
                            .n = N,
                            .p = P,
                            .m = 1,
                            .y = y,
                            .size = size,
                            .weight = weight,
                            .offset = offset,
                            .X = X,
                            .Z = Z,
                            .group = all,
                            .block = block,
                            .sd = sd,
                            .cor = cor};
  return in;
}

static void open_at(const general_input *in, const example *e, int q, general_work *w) {
  const double beta[P] = {0.2, -0.5};
  const double Sigma[16] = {1.3, 0.3, 0.0, 0.0, 0.3, 0.7, 0.0, 0.0,
                            0.0, 0.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.9};
  double S[16];
  for (int i = 0; i < q; i++)
    for (int j = 0; j < q; j++) S[i + q * j] = Sigma[i + 4 * j];
  CHECK(general_work_init(w, in, 1, &test_memory) == ELBO_OK);
  w->few = w->differences = 1;
  CHECK(general_set_nodes(w, 1) == ELBO_OK);
  general_from_natural(&w->par, beta, S, e->natural, w->theta);
  CHECK(general_set_theta(w, w->theta) == ELBO_OK);
}

/* A second factor of one level whose rows of Z are zero changes nothing. */
static void test_one_factor(void) {
  static const int first[3] = {0, 2, 3}, n_unit[2] = {9, 1};
  static const int *const groups[2] = {one, all};
  for (int e = 0; e < EXAMPLES; e++) {
    general_work by_group, by_blocks;
    double a[16], b[16];
    general_input in = make_input(examples + e);
    in.q = 2;
    in.n_block = 1;
    in.m = 9;
    in.group = one;
    open_at(&in, examples + e, 2, &by_group);
    in = make_input(examples + e);
    for (int i = 0; i < N; i++) Z[i + 2 * N] = 0.0;
    in.q = 3;
    in.n_block = 2;
    in.n_factor = 2;
    in.first = first;
    in.n_unit = n_unit;
    in.groups = groups;
    open_at(&in, examples + e, 3, &by_blocks);
    CHECK(general_derivatives(&by_group, a, NULL) == ELBO_OK);
    CHECK(general_derivatives(&by_blocks, b, NULL) == ELBO_OK);
    CHECK_CLOSE(by_blocks.at.value, by_group.at.value, 1e-12);
    for (int j = 0; j < P + 3; j++) CHECK_CLOSE(b[j], a[j], 1e-11);
    for (int l = 0; l < examples[e].n_own; l++) CHECK_CLOSE(b[P + 4 + l], a[P + 3 + l], 1e-11);
  }
}

static void test_gradient(int points) {
  static const int first[4] = {0, 2, 3, 4}, n_unit[3] = {9, 5, 3};
  static const int *const groups[3] = {one, two, three};
  for (int e = 0; e < EXAMPLES; e++) {
    general_work w;
    double gradient[16], theta[16];
    general_input in = make_input(examples + e);
    in.q = 4;
    in.n_block = 3;
    in.n_factor = 3;
    in.first = first;
    in.n_unit = n_unit;
    in.groups = groups;
    open_at(&in, examples + e, 4, &w);
    const int n = w.par.n_theta;
    w.points = points;
    CHECK(general_set_nodes(&w, 1) == ELBO_OK);
    CHECK(general_derivatives(&w, gradient, NULL) == ELBO_OK);
    memcpy(theta, w.theta, (size_t)n * sizeof(double));
    for (int j = 0; j < n; j++) {
      static const double step[4] = {-2e-3, -1e-3, 1e-3, 2e-3};
      double at[4];
      for (int s = 0; s < 4; s++) {
        memcpy(w.theta, theta, (size_t)n * sizeof(double));
        w.theta[j] += step[s];
        CHECK(general_set_theta(&w, w.theta) == ELBO_OK);
        CHECK(general_evaluate(&w, GENERAL_VALUE) == ELBO_OK);
        at[s] = w.at.value;
      }
      CHECK_CLOSE(gradient[j], (at[0] - 8.0 * at[1] + 8.0 * at[2] - at[3]) / 12e-3, 2e-8);
    }
  }
}

int main(void) {
  test_one_factor();
  test_gradient(0);
  test_gradient(1);
  test_free();
  return FINISH();
}
