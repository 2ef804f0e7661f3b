/* Generalised mixed models: the quadrature's value against the trapezoidal rule, its gradient
 * against differences of the value (with few nodes too), Louis's second derivatives against
 * differences of the gradient, the M-step and the ELBO against Jensen's inequality. */
#include <math.h>
#include <string.h>

#include "general/em.h"
#include "general/fit.h"
#include "general/parameters.h"
#include "math/small.h"
#include "reference.h"

enum { N = 24, P = 3, M = 5 };

typedef struct {
  response_family family;
  response_link link;
  int n_own;
  double natural[3];
} example;

static const example examples[] = {
    {RESPONSE_BINOMIAL, RESPONSE_LOGIT, 0, {0}},
    {RESPONSE_BINOMIAL, RESPONSE_PROBIT, 0, {0}},
    {RESPONSE_BINOMIAL, RESPONSE_CLOGLOG, 0, {0}},
    {RESPONSE_POISSON, RESPONSE_LOG, 0, {0}},
    {RESPONSE_NEGATIVE_BINOMIAL, RESPONSE_LOG, 1, {1.7}},
    {RESPONSE_CUMULATIVE, RESPONSE_LOGIT, 3, {-1.0, 0.1, 1.3}},
    {RESPONSE_CUMULATIVE, RESPONSE_PROBIT, 3, {-1.0, 0.1, 1.3}},
};
enum { EXAMPLES = sizeof examples / sizeof examples[0] };

static double y[N], size[N], weight[N], offset[N], X[N * P], Z[N * 3];
static int group[N];
static const int block[3] = {0, 0, 1};
static const double sd[3] = {NAN, NAN, NAN}, cor[2] = {NAN, NAN};

/* Rows without any pattern; q latent terms, the third in a block of its own. */
static void make_input(const example *e, int q, general_input *in) {
  for (int i = 0; i < N; i++) {
    group[i] = 1 + (7 * i) % M;
    size[i] = 1 + i % 3;
    weight[i] = 0.5 + 0.25 * (i % 4);
    offset[i] = 0.3 * sin(2.0 * i);
    y[i] = e->family == RESPONSE_BINOMIAL     ? (i * 5) % (1 + i % 3 + 1)
           : e->family == RESPONSE_CUMULATIVE ? (i * 3) % 4
                                              : (i * 5) % 7;
    for (int j = 0; j < P; j++) X[i + N * j] = j == 0 ? 1.0 : cos(3.0 * i * j + j);
    for (int j = 0; j < 3; j++) Z[i + N * j] = j == 0 ? 1.0 : sin(1.7 * i * j);
  }
  const general_input made = {.family = e->family,
                              .link = e->link,
                              .n_own = e->n_own,
                              .n = N,
                              .p = P,
                              .q = q,
                              .m = M,
                              .n_block = q == 3 ? 2 : q > 0,
                              .y = y,
                              .size = size,
                              .weight = weight,
                              .offset = offset,
                              .X = X,
                              .Z = Z,
                              .group = group,
                              .block = block,
                              .sd = sd,
                              .cor = cor};
  *in = made;
}

static void open_example(const example *e, int q, int each, general_work *w) {
  const double beta[P] = {0.2, -0.5, 0.4};
  const double Sigma[9] = {1.3, 0.3, 0.0, 0.3, 0.7, 0.0, 0.0, 0.0, 0.5};
  general_input in;
  double S[9];
  make_input(e, q, &in);
  for (int i = 0; i < q; i++)
    for (int j = 0; j < q; j++) S[i + q * j] = Sigma[i + 3 * j];
  CHECK(general_work_init(w, &in, 1, &test_memory) == ELBO_OK);
  CHECK(general_set_nodes(w, each) == ELBO_OK);
  general_from_natural(&w->par, beta, S, e->natural, w->theta);
  CHECK(general_set_theta(w, w->theta) == ELBO_OK);
}

/* log p(y_i | x), with its constant, times the weight. */
static double row_density(const general_work *w, int i, double x) {
  const response_law *law = &w->par.response;
  const general_rows *r = &w->rows;
  response_point at;
  law->point(law, r->y[i], r->size[i], x, &at);
  return r->weight[i] * (at.value + law->constant(law, r->y[i], r->size[i]));
}

/* One latent term: the trapezoidal rule over v. */
static double trapezoid(const general_work *w) {
  double sum = 0.0;
  for (int g = 0; g < M; g++) {
    double integral = 0.0;
    for (int k = -4000; k <= 4000; k++) {
      const double v = 0.003 * k;
      double h = -0.5 * (v * v + LOG_2PI);
      for (int i = w->rows.first[g]; i < w->rows.first[g + 1]; i++) {
        double x = w->rows.offset[i] + w->L[0] * w->rows.Z[i] * v;
        for (int j = 0; j < P; j++) x += w->rows.X[i * P + j] * w->theta[j];
        h += row_density(w, i, x);
      }
      integral += 0.003 * exp(h);
    }
    sum += log(integral);
  }
  return sum;
}

static void test_value(void) {
  for (int e = 0; e < EXAMPLES; e++) {
    general_work w;
    double value;
    open_example(examples + e, 1, 61, &w);
    CHECK(general_log_evidence(&w, &value) == ELBO_OK);
    CHECK_CLOSE(value, trapezoid(&w), 1e-11);
  }
}

static double value_at(general_work *w, const double *theta) {
  double value = NAN;
  CHECK(general_set_theta(w, theta) == ELBO_OK);
  CHECK(general_log_evidence(w, &value) == ELBO_OK);
  return value;
}

/* Of the quadrature's own value, with 1, 3 and many nodes, for 0 to 3 terms; and of points. */
static void test_gradient(void) {
  static const int nodes[] = {1, 3, 9, 1};
  for (int e = 0; e < EXAMPLES; e++)
    for (int q = 0; q <= 3; q++)
      for (int k = 0; k < 4; k++) {
        general_work w;
        double gradient[16], theta[16];
        open_example(examples + e, q, nodes[k], &w);
        w.few = 1;
        w.points = k == 3;
        CHECK(general_set_nodes(&w, nodes[k]) == ELBO_OK);
        const int n = w.par.n_theta;
        CHECK(general_derivatives(&w, gradient, NULL) == ELBO_OK);
        memcpy(theta, w.theta, (size_t)n * sizeof(double));
        for (int j = 0; j < n; j++) {
          double at[4];
          for (int s = 0; s < 4; s++) {
            static const double step[4] = {-2e-3, -1e-3, 1e-3, 2e-3};
            double moved[16];
            memcpy(moved, theta, (size_t)n * sizeof(double));
            moved[j] += step[s];
            at[s] = value_at(&w, moved);
          }
          CHECK_CLOSE(gradient[j], (at[0] - 8.0 * at[1] + 8.0 * at[2] - at[3]) / 12e-3, 2e-8);
        }
      }
}

/* Louis's formula where the nodes suffice; Fisher's identity is then the gradient. */
static void test_hessian(void) {
  for (int e = 0; e < EXAMPLES; e++)
    for (int q = 0; q <= 2; q++) {
      general_work w;
      double gradient[16], theta[16], hessian[256], up[16], down[16];
      open_example(examples + e, q, q == 1 ? 61 : 31, &w);
      const int n = w.par.n_theta;
      CHECK(general_derivatives(&w, gradient, hessian) == ELBO_OK);
      for (int a = 0; a < w.par.n_inner; a++) CHECK_CLOSE(w.at.score[a], w.at.gradient[a], 1e-7);
      memcpy(theta, w.theta, (size_t)n * sizeof(double));
      for (int j = 0; j < n; j++) {
        memcpy(w.theta, theta, (size_t)n * sizeof(double));
        w.theta[j] += 1e-4;
        CHECK(general_set_theta(&w, w.theta) == ELBO_OK);
        CHECK(general_derivatives(&w, up, NULL) == ELBO_OK);
        w.theta[j] -= 2e-4;
        CHECK(general_set_theta(&w, w.theta) == ELBO_OK);
        CHECK(general_derivatives(&w, down, NULL) == ELBO_OK);
        for (int i = 0; i < n; i++) CHECK_CLOSE(hessian[i + n * j], (up[i] - down[i]) / 2e-4, 2e-6);
      }
    }
}

/* An M-step raises the ELBO, which stays below the log-likelihood and meets it after an E-step. */
static void test_em(void) {
  for (int e = 0; e < EXAMPLES; e++)
    for (int q = 1; q <= 3; q++) {
      general_work w;
      double before = -HUGE_VAL, after, kl;
      open_example(examples + e, q, q == 1 ? 41 : q == 2 ? 21 : 15, &w);
      for (int step = 0; step < 3; step++) {
        CHECK(general_e_step(&w) == ELBO_OK);
        CHECK(general_elbo(&w, &after) == ELBO_OK);
        CHECK(general_kl(&w, &kl) == ELBO_OK && kl == 0.0);
        CHECK(after >= before);
        before = after;
        CHECK(general_m_step(&w) == ELBO_OK);
        CHECK(general_elbo(&w, &after) == ELBO_OK);
        CHECK(after >= before);
        before = after;
        CHECK(general_kl(&w, &kl) == ELBO_OK && kl >= -1e-6);
      }
    }
}

/* Sums are over the same runs of groups whatever the number of threads. */
static void test_threads(void) {
  general_input in;
  general_work one, two;
  double a[16], b[16];
  make_input(examples, 2, &in);
  CHECK(general_work_init(&one, &in, 1, &test_memory) == ELBO_OK);
  CHECK(general_work_init(&two, &in, 2, &test_memory) == ELBO_OK);
  CHECK(general_start(&one) == ELBO_OK && general_start(&two) == ELBO_OK);
  CHECK(general_grow_nodes(&one) == ELBO_OK && general_grow_nodes(&two) == ELBO_OK);
  CHECK(general_derivatives(&one, a, NULL) == ELBO_OK);
  CHECK(general_derivatives(&two, b, NULL) == ELBO_OK);
  CHECK(one.at.value == two.at.value);
  CHECK(memcmp(a, b, (size_t)one.par.n_theta * sizeof(double)) == 0);
}

int main(void) {
  test_value();
  test_gradient();
  test_hessian();
  test_em();
  test_threads();
  return FINISH();
}
