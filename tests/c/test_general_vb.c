/* Variational Bayes of generalised mixed models: the ELBO at the best q against dense matrices,
 * derivatives against differences, linear response against refits of a tilted model. */
#include <math.h>
#include <string.h>

#include "general/fit.h"
#include "general/parameters.h"
#include "general/vb.h"
#include "general/vb_groups.h"
#include "general/vb_hessian.h"
#include "general/vb_scales.h"
#include "law/latent_prior.h"
#include "math/la.h"
#include "math/quadrature.h"
#include "math/small.h"
#include "reference.h"

enum { N = 41, P = 2, M = 9, MOST = P + 2 * M };

static double y[N], size[N], weight[N], offset[N], X[N * P], Z[N * 2];
static int group[N];
static const double none[2] = {NAN, NAN}, mean[P] = {0.3, -0.2}, sd[P] = {2.0, 1.5};
static const double df[2] = {3.0, 3.0}, scale[2] = {1.5, 0.8}, no_lkj[2] = {NAN, NAN};
static const double some_lkj[2] = {2.0, 2.0};
static const int half_t[2] = {SD_HALF_T, SD_HALF_T};
static const int others[2] = {SD_HALF_NORMAL, SD_EXPONENTIAL};

typedef struct {
  response_family family;
  response_link link;
  int q, n_block, apart;
  int block[2];
  const int *prior;
  const double *lkj;
} example;

static const example examples[] = {
    {RESPONSE_BINOMIAL, RESPONSE_LOGIT, 1, 1, 0, {0, 0}, half_t, no_lkj},
    {RESPONSE_BINOMIAL, RESPONSE_LOGIT, 2, 1, 0, {0, 0}, half_t, no_lkj},
    {RESPONSE_BINOMIAL, RESPONSE_PROBIT, 2, 1, 1, {0, 0}, others, some_lkj},
    {RESPONSE_BINOMIAL, RESPONSE_CLOGLOG, 2, 2, 0, {0, 1}, others, some_lkj},
    {RESPONSE_POISSON, RESPONSE_LOG, 2, 1, 0, {0, 0}, others, some_lkj},
    {RESPONSE_POISSON, RESPONSE_LOG, 2, 2, 1, {0, 1}, half_t, no_lkj}};
enum { EXAMPLES = sizeof examples / sizeof examples[0] };

/* The last row tilts a Poisson model: its density is exp(y x) where the offset leaves no mean. */
static general_input make_input(const example *e) {
  for (int i = 0; i < N; i++) {
    group[i] = 1 + (7 * i) % M;
    size[i] = 3;
    weight[i] = 0.5 + 0.25 * (i % 4);
    offset[i] = 0.3 * sin(2.0 * i);
    y[i] = (i * 5) % 4;
    for (int j = 0; j < P; j++) X[i + N * j] = j == 0 ? 1.0 : cos(3.0 * i * j + j);
    for (int j = 0; j < 2; j++) Z[i + N * j] = j == 1 ? sin(1.7 * i) : 1.0;
  }
  if (e->family == RESPONSE_POISSON) {
    offset[N - 1] = -400.0;
    weight[N - 1] = 1.0;
    y[N - 1] = 0.5;
    for (int j = 0; j < P; j++) X[N - 1 + N * j] = 0.0;
    Z[N - 1] = 0.0;
    Z[N - 1 + N] = 1.0;
  }
  const general_input in = {.family = e->family,
                            .link = e->link,
                            .n = N,
                            .p = P,
                            .q = e->q,
                            .m = M,
                            .n_block = e->n_block,
                            .y = y,
                            .size = size,
                            .weight = weight,
                            .offset = offset,
                            .X = X,
                            .Z = Z,
                            .group = group,
                            .block = e->block,
                            .sd = none,
                            .cor = none};
  return in;
}

static general_prior make_prior(const example *e) {
  const general_prior prior = {mean, sd, e->prior, df, scale, e->lkj};
  return prior;
}

static const elbo_control control = {
    .accelerate = ELBO_ACCELERATE_AUTO, .max_iter = 1000, .threads = 1, .tol = 1e-9};
static const elbo_hooks no_hooks = {NULL, NULL, NULL};

static void fit(const general_input *in, const general_prior *prior, int apart, int nodes,
                vb_work *w) {
  elbo_result result = {0};
  CHECK(vb_init(w, in, prior, apart, 1, &test_memory) == ELBO_OK);
  CHECK(general_start(&w->general) == ELBO_OK);
  const elbo_model model = vb_model(w);
  double *memory = new_doubles((int)elbo_ascend_size(&model));
  CHECK(vb_climb(w, nodes, &control, &no_hooks, memory, &result) == ELBO_OK);
  CHECK(result.gradient < 1e-9);
}

/* ---- dense reference ------------------------------------------------------------------------- */

/* Row i by (beta, u) in the coordinates of w. */
static void dense_row(const vb_work *w, int g, int i, double *a) {
  const int q = w->general.par.q;
  memset(a, 0, MOST * sizeof(double));
  for (int j = 0; j < P; j++) a[j] = w->general.rows.X[P * i + j];
  for (int k = 0; k < q; k++) a[P + q * g + k] = w->general.rows.Z[q * i + k];
}

/* f and E f'' by 301 nodes. */
static void expect(const vb_work *w, int i, double m, double v, double *f, double *second) {
  static double node[301], rule[301], work[602], scaled[301];
  static int made = 0;
  const general_rows *rows = &w->general.rows;
  if (!made) CHECK(quadrature_normal(301, node, rule, scaled, work) == ELBO_OK);
  made = 1;
  *f = *second = 0.0;
  for (int k = 0; k < 301; k++) {
    response_point at;
    if (rule[k] < 1e-30) continue;
    w->general.par.response.point(&w->general.par.response, rows->y[i], rows->size[i],
                                  m + sqrt(v) * node[k], &at);
    *f += rule[k] * rows->weight[i] * at.value;
    *second += rule[k] * rows->weight[i] * at.xx;
  }
  *f += rows->weight[i] * w->general.par.response.constant(&w->general.par.response, rows->y[i],
                                                           rows->size[i]);
}

/* Dense precision of q and what its rows make of it; the ELBO in the caller's units. */
static void test_dense(const vb_work *w) {
  const general_rows *rows = &w->general.rows;
  const int q = w->general.par.q, n = P + q * M;
  double *V = new_doubles(n * n), *best = new_doubles(n * n), *m = new_doubles(n), a[MOST];
  double value = 0.0, bound, beta[P];
  /* q as the dense precision [D, B'; B, K] */
  for (int j = 0; j < P; j++) {
    m[j] = w->q.mean[j];
    for (int l = 0; l < P; l++) V[j + n * l] = w->q.D[j + P * l];
  }
  for (int g = 0; g < M; g++)
    for (int k = 0; k < q; k++) {
      const int at = P + q * g + k;
      m[at] = vb_part(w, &w->q, g, w->place.mean)[k];
      for (int l = 0; l < q; l++)
        V[at + n * (P + q * g + l)] = vb_part(w, &w->q, g, w->place.K)[k + q * l];
      for (int j = 0; j < P && !w->apart; j++)
        V[at + n * j] = V[j + n * at] = vb_part(w, &w->q, g, w->place.B)[k + q * j];
    }
  double *Q = copy_doubles(V, n * n);
  CHECK(la_chol(V, n) == ELBO_OK);
  value = -0.5 * la_log_det_from_chol(V, n) + 0.5 * n * (1.0 + LOG_2PI);
  CHECK(la_inverse_from_chol(V, n) == ELBO_OK);
  for (int g = 0; g < M; g++) {
    for (int k = 0; k < q; k++) {
      value += log(w->general.par.z_scale[k]) - 0.5 * LOG_2PI;
      for (int l = 0; l < q; l++)
        best[P + q * g + k + n * (P + q * g + l)] = w->S_inverse[k + q * l];
    }
    for (int i = rows->first[g]; i < rows->first[g + 1]; i++) {
      double f, second;
      dense_row(w, g, i, a);
      expect(w, i, rows->offset[i] + dot(a, m, n), la_quadratic(V, a, n), &f, &second);
      value += f;
      for (int r = 0; r < n; r++)
        for (int c = 0; c < n; c++) best[r + n * c] -= second * a[r] * a[c];
    }
  }
  double *second = new_doubles(q * q);
  for (int g = 0; g < M; g++)
    for (int k = 0; k < q; k++)
      for (int l = 0; l < q; l++) {
        const int r = P + q * g + k, c = P + q * g + l;
        second[k + q * l] += V[r + n * c] + m[r] * m[c];
      }
  /* beta = R^{-1} m */
  general_natural_beta(&w->general.par, m, beta);
  double C[P * P], T[P * P];
  for (int j = 0; j < P; j++) {
    double unit[P] = {0}, column[P];
    unit[j] = 1.0;
    general_natural_beta(&w->general.par, unit, column);
    for (int i = 0; i < P; i++) T[i + P * j] = column[i];
    value -= log(fabs(w->general.par.R[j * (P + 1)]));
  }
  for (int i = 0; i < P; i++) {
    C[i] = 0.0;
    for (int j = 0; j < P; j++)
      for (int l = 0; l < P; l++) C[i] += T[i + P * j] * V[j + n * l] * T[i + P * l];
    value -= 0.5 * LOG_2PI + log(sd[i]) +
             0.5 * (C[i] + (beta[i] - mean[i]) * (beta[i] - mean[i])) / (sd[i] * sd[i]);
    for (int j = 0; j < P; j++)
      for (int l = 0; l < P; l++)
        best[j + n * l] += T[i + P * j] * T[i + P * l] / (sd[i] * sd[i]);
  }
  for (int b = 0; b < w->general.par.n_block; b++) {
    double S[4], inverse[4], part;
    latent_prior of = general_prior_block(&w->prior, &w->general.par, w->general.theta, b, S);
    of.n = M;
    const int k = of.q, first = w->general.par.start[b];
    memcpy(inverse, S, sizeof S);
    CHECK(la_chol(inverse, k) == ELBO_OK);
    value -= 0.5 * M * la_log_det_from_chol(inverse, k);
    CHECK(la_inverse_from_chol(inverse, k) == ELBO_OK);
    for (int r = 0; r < k; r++)
      for (int c = 0; c < k; c++)
        value -= 0.5 * inverse[r + k * c] * w->general.par.z_scale[first + r] *
                 w->general.par.z_scale[first + c] * second[first + r + q * (first + c)];
    CHECK(latent_prior_bound(&of, S, &part) == ELBO_OK);
    value += part;
  }
  CHECK(vb_scales_value(w, w->q.at.second, &bound) == ELBO_OK);
  CHECK_CLOSE(w->q.value + bound, value, 1e-10);
  for (int r = 0; r < n; r++)
    for (int c = 0; c < n; c++)
      if (!w->apart || (r < P) == (c < P)) CHECK_CLOSE(Q[r + n * c], best[r + n * c], 2e-8);
}

/* ---- derivatives ----------------------------------------------------------------------------- */

static double at_eta(vb_work *w, const elbo_model *model, const double *eta, double *gradient) {
  double value;
  CHECK(model->unpack(w, eta) == ELBO_OK);
  CHECK(model->objective.value(w, &value) == ELBO_OK);
  CHECK(model->objective.gradient(w, gradient) == ELBO_OK);
  return value;
}

/* Away from the optimum of eta, q at its best there. */
static void test_derivatives(vb_work *w) {
  static const double step[4] = {-2e-3, -1e-3, 1e-3, 2e-3};
  const elbo_model model = vb_model(w);
  const int n = model.n_eta;
  double eta[4], to[4], gradient[4], hessian[16], value, f[4], g[4][4];
  model.pack(w, eta);
  for (int k = 0; k < n; k++) eta[k] += 0.1 * (k + 1);
  CHECK(model.unpack(w, eta) == ELBO_OK);
  CHECK(model.objective.hessian(w, &value, gradient, hessian) == ELBO_OK);
  for (int k = 0; k < n; k++) {
    const double unit = fmin(1.0, fabs(eta[k])), h = 12e-3 * unit;
    for (int s = 0; s < 4; s++) {
      memcpy(to, eta, sizeof eta);
      to[k] += unit * step[s];
      f[s] = at_eta(w, &model, to, g[s]);
    }
    CHECK_CLOSE(gradient[k], (f[0] - 8.0 * f[1] + 8.0 * f[2] - f[3]) / h, 1e-8);
    for (int l = 0; l < n; l++)
      CHECK(fabs(hessian[l + n * k] - (g[0][l] - 8.0 * g[1][l] + 8.0 * g[2][l] - g[3][l]) / h) <
            1e-8 * largest(hessian, n * n));
  }
}

/* ---- linear response ------------------------------------------------------------------------- */

/* Coordinates: mean of beta, V, eta; and the means of u. */
static void state_of(const vb_work *w, double *out) {
  const int q = w->general.par.q, n_eta = w->general.par.n_eta;
  memcpy(out, w->q.mean, P * sizeof(double));
  for (int a = 0, e = P; a < P; a++)
    for (int b = 0; b <= a; b++, e++) out[e] = w->q.V[a + P * b];
  memcpy(out + P + 3, w->general.theta + P, (size_t)n_eta * sizeof(double));
  for (int g = 0; g < M; g++)
    memcpy(out + P + 3 + n_eta + q * g, vb_part(w, &w->q, g, w->place.mean),
           (size_t)q * sizeof(double));
}

static void test_response(const example *e) {
  static const double step[4] = {-2e-3, -1e-3, 1e-3, 2e-3};
  general_input in = make_input(e);
  general_prior prior = make_prior(e);
  vb_work w, moved;
  double at[4][64];
  fit(&in, &prior, e->apart, 32, &w);
  const int m = vb_n_shared(&w), q = e->q;
  double *information = new_doubles(m * m), *own = new_doubles(q * q * M);
  double *moves = new_doubles(q * m * M);
  CHECK(vb_shared_information(&w, information, own, moves) == ELBO_OK);
  CHECK(la_chol(information, m) == ELBO_OK && la_inverse_from_chol(information, m) == ELBO_OK);
  /* A prior mean of beta_1 moved by t tilts by t / sd^2 beta_1, which is -(R^{-1})_11 theta_1 and
   * more: take the last one, beta_P = theta_P / R_PP. */
  for (int s = 0; s < 4; s++) {
    double shifted[P] = {mean[0], mean[1] + step[s]};
    prior.beta_mean = shifted;
    fit(&in, &prior, e->apart, 32, &moved);
    state_of(&moved, at[s]);
  }
  const double tilt = 1.0 / (sd[1] * sd[1] * w.general.par.R[P * P - 1]);
  for (int k = 0; k < m + q * M; k++) {
    double expected = k < m ? information[k + m * (P - 1)] : 0.0;
    for (int l = 0; l < m && k >= m; l++)
      expected += moves[(k - m) % q + q * l + q * m * ((k - m) / q)] * information[l + m * (P - 1)];
    CHECK_CLOSE((at[0][k] - 8.0 * at[1][k] + 8.0 * at[2][k] - at[3][k]) / 12e-3, tilt * expected,
                1e-8);
  }
  if (e->family != RESPONSE_POISSON) return;
  /* The last row tilts by the second term of its group, scaled. */
  prior.beta_mean = mean;
  const int g = group[N - 1] - 1;
  for (int s = 0; s < 4; s++) {
    y[N - 1] = 0.5 + step[s];
    fit(&in, &prior, e->apart, 0, &moved);
    state_of(&moved, at[s]);
  }
  double variance = own[q * q * g + 1 + q];
  for (int k = 0; k < m; k++)
    for (int l = 0; l < m; l++)
      variance += moves[1 + q * k + q * m * g] * information[k + m * l] *
                  moves[1 + q * l + q * m * g];
  const int k = m + q * g + 1;
  CHECK_CLOSE((at[0][k] - 8.0 * at[1][k] + 8.0 * at[2][k] - at[3][k]) / 12e-3,
              w.general.par.z_scale[1] * variance, 1e-8);
}

int main(void) {
  for (int e = 0; e < EXAMPLES; e++) {
    const general_input in = make_input(examples + e);
    const general_prior prior = make_prior(examples + e);
    vb_work w;
    fit(&in, &prior, examples[e].apart, 0, &w);
    test_dense(&w);
    test_derivatives(&w);
    test_response(examples + e);
    test_free();
  }
  return FINISH();
}
