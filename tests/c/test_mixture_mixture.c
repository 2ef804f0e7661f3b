/* The mixture and its normal part: densities, statistics and objective against plain loops,
 * derivatives against differences, and what must not matter. */
#include "mixture/mixture.h"

#include <string.h>

#include "math/la.h"
#include "mixture/normal.h"
#include "mixture/weights.h"
#include "reference.h"

/* Sums over some tens of rows, in a different order. */
#define ROUNDING 1e-10
/* Central differences with steps near 1e-5. */
#define DIFFERENCES 1e-6

enum { N = 60, D = 3, K = 2 };

typedef struct {
  mixture_spec spec;
  mixture w;
  elbo_model model;
} fixture;

/* Two clouds, of unequal size and spread. */
static double *make_data(int n, int d) {
  double *Y = new_doubles(n * d);
  for (int i = 0; i < n; i++)
    for (int a = 0; a < d; a++)
      Y[i + n * a] =
          (i % 3 ? 1.5 : 1.0) * random_normal() + (i % 3 ? 0.0 : 3.0) + (a ? 0.4 * Y[i] : 0.0);
  return Y;
}

static elbo_status make(fixture *f, mixture_method method, covariance_model model, int n, int d,
                        int k, const double *Y, const int *first, int n_unit, const double *freq,
                        const double *prior_scale, int threads) {
  memset(f, 0, sizeof *f);
  f->spec.method = method;
  f->spec.k = k;
  f->spec.threads = threads;
  f->spec.units.n_row = n;
  f->spec.units.n_unit = n_unit;
  f->spec.units.first = first;
  f->spec.units.freq = freq;
  f->spec.n_part = 2;
  const mixture_weights_spec weights = {
      .method = method, .k = k, .n_unit = n_unit, .coefficient_sd = HUGE_VAL};
  const mixture_normal_spec normal = {.method = method,
                                      .k = k,
                                      .n_row = n,
                                      .d = d,
                                      .Y = Y,
                                      .model = model,
                                      .prior_df = d + 2.0,
                                      .prior_scale = prior_scale};
  elbo_status status = mixture_weights_part(f->spec.part, &weights, &test_memory);
  if (status == ELBO_OK) status = mixture_normal_part(f->spec.part + 1, &normal, &test_memory);
  if (status == ELBO_OK) status = mixture_init(&f->w, &f->spec, &test_memory);
  f->model = mixture_model(&f->w);
  return status;
}

static int *labels(int n_unit, int k) {
  int *label = new_ints(n_unit);
  for (int i = 0; i < n_unit; i++) label[i] = (i % 3 ? 1 : 2) % k + 1;
  return label;
}

static elbo_status ascend(fixture *f, elbo_accelerate accelerate, elbo_result *result) {
  const elbo_control control = {.accelerate = accelerate, .max_iter = 10000, .tol = 1e-9};
  double *memory = new_doubles((int)elbo_ascend_size(&f->model));
  return elbo_ascend(&f->model, &f->w, &control, NULL, memory, result);
}

/* log N(y; mean, S), by the entries of y that are there. */
static double log_normal(const double *y, const double *mean, const double *S, int d) {
  double A[D * D], t[D];
  int m = 0, at[D];
  for (int a = 0; a < d; a++)
    if (!isnan(y[a])) at[m++] = a;
  for (int a = 0; a < m; a++) {
    t[a] = y[at[a]] - mean[at[a]];
    for (int b = 0; b < m; b++) A[a + m * b] = S[at[a] + d * at[b]];
  }
  la_chol(A, m);
  const double log_det = la_log_det_from_chol(A, m);
  la_inverse_from_chol(A, m);
  return -0.5 * (m * log(2.0 * acos(-1.0)) + log_det + la_quadratic(A, t, m));
}

/* The log-likelihood, and the law of each unit, by plain loops. */
static double brute(const fixture *f, const double *Y, double *law) {
  const int n = f->spec.units.n_row, d = f->spec.part[1].field[0].dim[0], k = f->spec.k;
  const double *weight = f->spec.part[0].field[0].value, *mean = f->spec.part[1].field[0].value;
  const double *S = f->spec.part[1].field[1].value;
  double sum = 0.0;
  for (int i = 0; i < f->spec.units.n_unit; i++) {
    double total = 0.0;
    const int row = f->spec.units.first ? f->spec.units.first[i] : i;
    const int end = f->spec.units.first ? f->spec.units.first[i + 1] : i + 1;
    for (int j = 0; j < k; j++) {
      double l = log(weight[j]), y[D];
      for (int r = row; r < end; r++) {
        for (int a = 0; a < d; a++) y[a] = Y[r + n * a];
        l += log_normal(y, mean + d * j, S + d * d * j, d);
      }
      law[i + f->spec.units.n_unit * j] = exp(l);
      total += exp(l);
    }
    for (int j = 0; j < k; j++) law[i + f->spec.units.n_unit * j] /= total;
    sum += (f->spec.units.freq ? f->spec.units.freq[i] : 1.0) * log(total);
  }
  return sum;
}

static void check_likelihood(fixture *f, const double *Y) {
  const int n_unit = f->spec.units.n_unit, k = f->spec.k;
  double *law = new_doubles(n_unit * k), *own = new_doubles(n_unit * k), *lse = new_doubles(n_unit);
  double value, bound, kl;
  const double reference = brute(f, Y, law);
  CHECK(f->model.e_step(&f->w) == ELBO_OK);
  CHECK(f->model.elbo(&f->w, &bound) == ELBO_OK);
  CHECK_CLOSE(bound - mixture_log_prior(&f->w), reference, ROUNDING);
  if (f->model.kl) {
    CHECK(f->model.log_evidence(&f->w, &value) == ELBO_OK);
    CHECK_CLOSE(value - mixture_log_prior(&f->w), reference, ROUNDING);
    CHECK(f->model.kl(&f->w, &kl) == ELBO_OK);
    CHECK_CLOSE(kl, 0.0, ROUNDING);
  }
  mixture_posterior(&f->w, lse, own);
  for (int i = 0; i < n_unit * k; i++) CHECK_CLOSE(own[i], law[i], ROUNDING);
}

/* After an M-step, q as it was: the bound lies below the likelihood by the divergence of the
 * laws. */
static void check_gap(fixture *f, const double *Y) {
  const int n_unit = f->spec.units.n_unit, k = f->spec.k;
  double *before = new_doubles(n_unit * k), *after = new_doubles(n_unit * k);
  double bound, kl, divergence = 0.0;
  brute(f, Y, before);
  CHECK(f->model.m_step(&f->w) == ELBO_OK);
  const double reference = brute(f, Y, after);
  for (int i = 0; i < n_unit * k; i++)
    if (before[i] > 0.0)
      divergence += (f->spec.units.freq ? f->spec.units.freq[i % n_unit] : 1.0) * before[i] *
                    log(before[i] / after[i]);
  CHECK(f->model.elbo(&f->w, &bound) == ELBO_OK);
  CHECK(f->model.kl(&f->w, &kl) == ELBO_OK);
  CHECK_CLOSE(bound - mixture_log_prior(&f->w) + kl, reference, ROUNDING);
  CHECK_CLOSE(kl, divergence, 1e-8);
}

static double objective_at(fixture *f, const double *eta) {
  double value = NAN;
  if (f->model.unpack(&f->w, eta) == ELBO_OK) f->model.objective.value(&f->w, &value);
  return value;
}

static void check_derivatives(fixture *f) {
  const int n = f->model.n_eta;
  double *eta = new_doubles(n), *gradient = new_doubles(n), *hessian = new_doubles(n * n);
  double value, worst = 0.0, largest = 0.0;
  f->model.anchor(&f->w);
  f->model.pack(&f->w, eta);
  CHECK(f->model.objective.hessian(&f->w, &value, gradient, hessian) == ELBO_OK);
  for (int a = 0; a < n; a++) {
    const double h = 1e-5, kept = eta[a];
    double side[2], low[2];
    eta[a] = kept + h;
    side[1] = objective_at(f, eta);
    eta[a] = kept - h;
    side[0] = objective_at(f, eta);
    eta[a] = kept;
    CHECK_CLOSE(gradient[a], (side[1] - side[0]) / (2.0 * h), 1e-5);
    for (int b = 0; b < n; b++) { /* second differences of the objective itself */
      const double H = 1e-3;
      for (int s = 0; s < 2; s++) {
        eta[a] = kept + (s ? H : -H);
        const double other = eta[b];
        eta[b] = other + H;
        low[s] = objective_at(f, eta);
        eta[b] = other - H;
        low[s] -= objective_at(f, eta);
        eta[b] = other;
        eta[a] = kept;
      }
      worst = fmax(worst, fabs(hessian[a + n * b] - (low[1] - low[0]) / (4.0 * H * H)));
      largest = fmax(largest, fabs(hessian[a + n * b]));
    }
  }
  CHECK(worst < 1e-4 * largest);
  CHECK(f->model.unpack(&f->w, eta) == ELBO_OK);
}

/* sum of the outer products of scores, against the gradients of each unit as if it were alone. */
static void check_metric(fixture *f) {
  const int n = f->model.n_eta, n_unit = f->spec.units.n_unit;
  double *eta = new_doubles(n), *A = new_doubles(n * n), *sum = new_doubles(n * n);
  double *one = new_doubles(n_unit), *score = new_doubles(n), *prior = new_doubles(n);
  double largest = 0.0, worst = 0.0;
  const double *freq = f->spec.units.freq;
  f->model.pack(&f->w, eta);
  if (f->model.objective.metric == NULL) return;
  CHECK(f->model.objective.metric(&f->w, A) == ELBO_OK);
  f->w.spec.units.freq = one;
  CHECK(f->model.unpack(&f->w, eta) == ELBO_OK && mixture_slope(&f->w, prior) == ELBO_OK);
  for (int i = 0; i < n_unit; i++) {
    one[i] = 1.0;
    CHECK(f->model.unpack(&f->w, eta) == ELBO_OK && mixture_slope(&f->w, score) == ELBO_OK);
    one[i] = 0.0;
    for (int a = 0; a < n; a++) score[a] -= prior[a];
    for (int a = 0; a < n * n; a++) sum[a] += (freq ? freq[i] : 1.0) * score[a % n] * score[a / n];
  }
  for (int a = 0; a < n * n; a++) {
    largest = fmax(largest, fabs(sum[a]));
    worst = fmax(worst, fabs(sum[a] - A[a]));
  }
  CHECK(largest > 0.0 && worst < ROUNDING * largest);
  f->w.spec.units.freq = freq;
  CHECK(f->model.unpack(&f->w, eta) == ELBO_OK && f->model.e_step(&f->w) == ELBO_OK);
}

/* The natural step leads where EM does, and the gradient is as it was, at the same parameters. */
static void check_natural(fixture *f) {
  const int n = f->model.n_eta;
  double *eta = new_doubles(n), *gradient = new_doubles(n), *step = new_doubles(n);
  double *expected = new_doubles(n), *after = new_doubles(n), value, again;
  f->model.anchor(&f->w);
  f->model.pack(&f->w, eta);
  CHECK(f->model.objective.value(&f->w, &value) == ELBO_OK);
  CHECK(f->model.objective.gradient(&f->w, expected) == ELBO_OK);
  CHECK(f->model.objective.natural(&f->w, gradient, step) == ELBO_OK);
  f->model.pack(&f->w, after);
  CHECK(distance(gradient, expected, n) == 0.0 && distance(after, eta, n) < 1e-12);
  CHECK(f->model.objective.value(&f->w, &again) == ELBO_OK && again == value);
  CHECK(f->model.m_step(&f->w) == ELBO_OK);
  f->model.pack(&f->w, after);
  for (int a = 0; a < n; a++) CHECK_CLOSE(step[a], after[a] - eta[a], 1e-10);
  CHECK(f->model.unpack(&f->w, eta) == ELBO_OK && f->model.e_step(&f->w) == ELBO_OK);
}

static void test_models(void) {
  for (int model = COVARIANCE_EII; model <= COVARIANCE_VVV; model++) {
    fixture f;
    elbo_result result;
    double scale[D * D] = {1, .2, 0, .2, 1, 0, 0, 0, 2};
    random_seed(7);
    double *Y = make_data(N, D);
    CHECK(make(&f, MIXTURE_EM, (covariance_model)model, N, D, K, Y, NULL, N, NULL,
               model % 2 ? scale : NULL, 1) == ELBO_OK);
    CHECK(mixture_start(&f.w, labels(N, K), NULL) == ELBO_OK);
    check_likelihood(&f, Y);
    check_gap(&f, Y);
    CHECK(f.model.e_step(&f.w) == ELBO_OK);
    check_derivatives(&f);
    if (model == COVARIANCE_EII || model == COVARIANCE_VII)
      CHECK(f.model.objective.metric != NULL); /* 8 and 9 parameters, 60 units */
    check_metric(&f);
    check_natural(&f);
    CHECK(ascend(&f, ELBO_ACCELERATE_AUTO, &result) == ELBO_OK);
    CHECK(result.gradient < 1e-9);
    const double best = result.objective;
    check_likelihood(&f, Y);
    CHECK(mixture_start(&f.w, labels(N, K), NULL) == ELBO_OK);
    CHECK(ascend(&f, ELBO_ACCELERATE_NONE, &result) == ELBO_OK);
    CHECK_CLOSE(result.objective, best, 1e-7); /* plain EM stops where 1e-9 is still to be gained */
    CHECK(mixture_start(&f.w, labels(N, K), NULL) == ELBO_OK);
    CHECK(ascend(&f, ELBO_ACCELERATE_SQUAREM, &result) == ELBO_OK);
    CHECK_CLOSE(result.objective, best, 1e-7);
    test_free();
  }
}

/* Missing responses: each row's density is that of what is there. */
static void test_missing(void) {
  for (int model = COVARIANCE_EII; model <= COVARIANCE_VVV; model += 3) {
    fixture f;
    elbo_result result;
    random_seed(11);
    double *Y = make_data(N, D);
    for (int i = 0; i < N; i += 2) Y[i + N * (i / 2 % D)] = NAN;
    for (int i = 0; i < N; i += 10) Y[i + N * ((i / 2 + 1) % D)] = NAN;
    CHECK(make(&f, MIXTURE_EM, (covariance_model)model, N, D, K, Y, NULL, N, NULL, NULL, 1) ==
          ELBO_OK);
    CHECK(mixture_start(&f.w, labels(N, K), NULL) == ELBO_OK);
    check_likelihood(&f, Y);
    check_derivatives(&f);
    check_metric(&f);
    CHECK(ascend(&f, ELBO_ACCELERATE_AUTO, &result) == ELBO_OK);
    CHECK(result.gradient < 1e-9);
    check_likelihood(&f, Y);
    const double best = result.objective;
    CHECK(mixture_start(&f.w, labels(N, K), NULL) == ELBO_OK);
    CHECK(ascend(&f, ELBO_ACCELERATE_NONE, &result) == ELBO_OK);
    CHECK_CLOSE(result.objective, best, 1e-6);
    test_free();
  }
}

/* Units of several rows, and copies: freq = 2 is the unit twice. */
static void test_units(void) {
  fixture f, twice;
  elbo_result result, again;
  enum { UNITS = 20 };
  int *first = new_ints(UNITS + 1), *first_twice = new_ints(UNITS + 8);
  double *freq = new_doubles(UNITS), *doubled;
  random_seed(3);
  double *Y = make_data(N, D);
  int rows = 0, units = 0;
  for (int i = 0; i <= UNITS; i++) first[i] = i < UNITS ? i + i * (i % 2 ? 1 : 2) / 2 : N;
  for (int i = 0; i <= UNITS; i++) first[i] = 3 * i;
  first[4] = 11;
  for (int i = 0; i < UNITS; i++) freq[i] = i % 3 ? 1.0 : 2.0;
  doubled = new_doubles(2 * N * D);
  for (int pass = 0; pass < 2; pass++) { /* count, then copy */
    const int n = rows;
    rows = units = 0;
    for (int i = 0; i < UNITS; i++)
      for (int copy = 0; copy < (int)freq[i]; copy++) {
        if (pass) first_twice[units] = rows;
        units++;
        for (int r = first[i]; r < first[i + 1]; r++, rows++)
          for (int a = 0; pass && a < D; a++) doubled[rows + n * a] = Y[r + N * a];
      }
    if (pass) first_twice[units] = rows;
  }
  CHECK(make(&f, MIXTURE_EM, COVARIANCE_VVV, N, D, K, Y, first, UNITS, freq, NULL, 1) == ELBO_OK);
  CHECK(mixture_start(&f.w, labels(UNITS, K), NULL) == ELBO_OK);
  check_likelihood(&f, Y);
  check_gap(&f, Y);
  CHECK(f.model.e_step(&f.w) == ELBO_OK);
  check_derivatives(&f);
  CHECK(ascend(&f, ELBO_ACCELERATE_AUTO, &result) == ELBO_OK);
  double *law = new_doubles(UNITS * K), *lse = new_doubles(UNITS), *start = new_doubles(units * K);
  mixture_posterior(&f.w, lse, law);
  for (int i = 0, u = 0; i < UNITS; i++)
    for (int copy = 0; copy < (int)freq[i]; copy++, u++)
      for (int j = 0; j < K; j++) start[u + units * j] = law[i + UNITS * j];
  CHECK(make(&twice, MIXTURE_EM, COVARIANCE_VVV, rows, D, K, doubled, first_twice, units, NULL,
             NULL, 1) == ELBO_OK);
  CHECK(mixture_start(&twice.w, NULL, start) == ELBO_OK);
  CHECK(ascend(&twice, ELBO_ACCELERATE_AUTO, &again) == ELBO_OK);
  CHECK_CLOSE(again.objective, result.objective, ROUNDING);
  test_free();
}

/* Scores of units of two rows, some of them twice. */
static void test_metric_of_units(void) {
  enum { UNITS = 45 };
  fixture f;
  int *first = new_ints(UNITS + 1);
  double *freq = new_doubles(UNITS);
  random_seed(5);
  double *Y = make_data(2 * UNITS, D);
  for (int i = 0; i <= UNITS; i++) first[i] = 2 * i;
  for (int i = 0; i < UNITS; i++) freq[i] = i % 7 == 0 ? 0.0 : i % 3 ? 1.0 : 2.0;
  CHECK(make(&f, MIXTURE_EM, COVARIANCE_EII, 2 * UNITS, D, K, Y, first, UNITS, freq, NULL, 1) ==
        ELBO_OK);
  CHECK(mixture_start(&f.w, labels(UNITS, K), NULL) == ELBO_OK);
  CHECK(f.model.e_step(&f.w) == ELBO_OK && f.model.objective.metric != NULL);
  check_metric(&f);
  test_free();
}

/* The same bits for any number of threads. */
static void test_threads(void) {
  enum { MANY = 5000 };
  fixture one, two;
  elbo_result result;
  random_seed(5);
  double *Y = make_data(MANY, D);
  for (int i = 0; i < 50; i++) Y[7 * i] = NAN;
  const int *label = labels(MANY, K);
  make(&one, MIXTURE_EM, COVARIANCE_VVV, MANY, D, K, Y, NULL, MANY, NULL, NULL, 1);
  make(&two, MIXTURE_EM, COVARIANCE_VVV, MANY, D, K, Y, NULL, MANY, NULL, NULL, 3);
  CHECK(mixture_start(&one.w, label, NULL) == ELBO_OK &&
        mixture_start(&two.w, label, NULL) == ELBO_OK);
  CHECK(ascend(&one, ELBO_ACCELERATE_SQUAREM, &result) == ELBO_OK);
  const double objective = result.objective;
  CHECK(ascend(&two, ELBO_ACCELERATE_SQUAREM, &result) == ELBO_OK);
  CHECK(result.objective == objective);
  CHECK(memcmp(one.spec.part[1].field[1].value, two.spec.part[1].field[1].value,
               D * D * K * sizeof(double)) == 0);
  test_free();
}

/* Points on z: every unit to the likeliest component, and an ascent that ends where none moves. */
static void test_joint(void) {
  fixture f;
  elbo_result result;
  random_seed(13);
  double *Y = make_data(N, D), *law = new_doubles(N * K), value, sum = 0.0;
  CHECK(make(&f, MIXTURE_JOINT, COVARIANCE_EII, N, D, K, Y, NULL, N, NULL, NULL, 1) == ELBO_OK);
  CHECK(mixture_start(&f.w, labels(N, K), NULL) == ELBO_OK);
  CHECK(ascend(&f, ELBO_ACCELERATE_AUTO, &result) == ELBO_OK);
  const double *weight = f.spec.part[0].field[0].value, *mean = f.spec.part[1].field[0].value;
  const double *S = f.spec.part[1].field[1].value;
  for (int i = 0; i < N; i++) {
    double best = -HUGE_VAL, y[D];
    for (int a = 0; a < D; a++) y[a] = Y[i + N * a];
    for (int j = 0; j < K; j++)
      best = fmax(best, log(weight[j]) + log_normal(y, mean + D * j, S + D * D * j, D));
    sum += best;
  }
  CHECK(f.model.elbo(&f.w, &value) == ELBO_OK);
  CHECK_CLOSE(value, sum, ROUNDING);
  CHECK_CLOSE(result.objective, value, ROUNDING);
  CHECK(f.model.kl == NULL && result.newton == 0 && result.squarem == 0);
  (void)law;
  test_free();
}

/* Labels do not matter, and one component is the normal law. */
static void test_permute(void) {
  fixture f;
  elbo_result result;
  const int order[3] = {2, 0, 1};
  random_seed(17);
  double *Y = make_data(N, D), before, after;
  CHECK(make(&f, MIXTURE_EM, COVARIANCE_VEV, N, D, 3, Y, NULL, N, NULL, NULL, 1) == ELBO_OK);
  CHECK(mixture_start(&f.w, labels(N, 3), NULL) == ELBO_OK);
  f.model.e_step(&f.w);
  f.model.m_step(&f.w);
  f.model.log_evidence(&f.w, &before);
  const double third = f.spec.part[1].field[0].value[2 * D];
  CHECK(mixture_permute(&f.w, order) == ELBO_OK);
  CHECK(f.spec.part[1].field[0].value[0] == third);
  f.model.log_evidence(&f.w, &after);
  CHECK_CLOSE(after, before, ROUNDING);

  CHECK(make(&f, MIXTURE_EM, COVARIANCE_VVV, N, D, 1, Y, NULL, N, NULL, NULL, 1) == ELBO_OK);
  CHECK(mixture_start(&f.w, labels(N, 1), NULL) == ELBO_OK);
  CHECK(ascend(&f, ELBO_ACCELERATE_AUTO, &result) == ELBO_OK);
  for (int a = 0; a < D; a++) {
    double mean = 0.0, variance = 0.0;
    for (int i = 0; i < N; i++) mean += Y[i + N * a] / N;
    for (int i = 0; i < N; i++) variance += pow(Y[i + N * a] - mean, 2.0) / N;
    CHECK_CLOSE(f.spec.part[1].field[0].value[a], mean, ROUNDING);
    CHECK_CLOSE(f.spec.part[1].field[1].value[a * (D + 1)], variance, ROUNDING);
  }
  test_free();
}

/* Five copies of one point and a component to itself: no infinite likelihood. */
static void test_collapse(void) {
  fixture f;
  elbo_result result;
  random_seed(19);
  double *Y = make_data(N, D);
  int *label = labels(N, 1);
  for (int i = 0; i < 5; i++) {
    label[i] = 2;
    for (int a = 0; a < D; a++) Y[i + N * a] = 9.0;
  }
  CHECK(make(&f, MIXTURE_EM, COVARIANCE_VVV, N, D, K, Y, NULL, N, NULL, NULL, 1) == ELBO_OK);
  CHECK(mixture_start(&f.w, label, NULL) == ELBO_OK); /* labels leave a little doubt */
  CHECK(ascend(&f, ELBO_ACCELERATE_AUTO, &result) == ELBO_E_UNBOUNDED);
  CHECK(f.w.component == 1);
  const double scale[D * D] = {1, 0, 0, 0, 1, 0, 0, 0, 1};
  CHECK(make(&f, MIXTURE_EM, COVARIANCE_VVV, N, D, K, Y, NULL, N, NULL, scale, 1) == ELBO_OK);
  CHECK(mixture_start(&f.w, label, NULL) == ELBO_OK);
  CHECK(ascend(&f, ELBO_ACCELERATE_AUTO, &result) == ELBO_OK);
  test_free();
}

int main(void) {
  test_models();
  test_missing();
  test_units();
  test_metric_of_units();
  test_threads();
  test_joint();
  test_permute();
  test_collapse();
  return FINISH();
}
