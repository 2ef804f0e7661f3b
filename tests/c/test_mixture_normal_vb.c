/* Conjugate factors of normal components: log evidence by the chain rule, gradients against
 * differences, expectations against draws, natural parameters there and back. */
#include <string.h>

#include "math/la.h"
#include "mixture/normal_vb.h"
#include "reference.h"

enum { MODELS = 6, N = 40, MOST = 3 };

static const covariance_model models[MODELS] = {COVARIANCE_VVV, COVARIANCE_EEE, COVARIANCE_VVI,
                                                COVARIANCE_EEI, COVARIANCE_VII, COVARIANCE_EII};

static const double pi = 3.14159265358979323846;

/* Rows y (N x d) with weights r (N x k); counts, averages and scatter of the components. */
typedef struct {
  normal_vb vb;
  int d, k;
  double y[N * MOST], r[N * MOST];
  double n[MOST], average[MOST * MOST], W[MOST * MOST * MOST];
  double M[MOST * MOST * MOST], constant[MOST];
  double mean0[MOST], scale0[MOST * MOST], kappa0, df0;
} problem;

static void scatter(const problem *p, int j, const double *about, double *S) {
  for (int b = 0; b < p->d; b++)
    for (int a = 0; a < p->d; a++) {
      double sum = 0.0;
      for (int i = 0; i < N; i++)
        sum += p->r[i + N * j] * (p->y[i + N * a] - about[a]) * (p->y[i + N * b] - about[b]);
      S[a + p->d * b] = sum;
    }
}

/* hard: every row in one component. */
static void problem_init(problem *p, covariance_model model, int d, int k, int hard) {
  const double centre[MOST] = {1.0, -2.0, 0.5}, sd[MOST] = {2.0, 3.0, 1.5};
  const double scale0[MOST * MOST] = {2.0, 0.5, -0.3, 0.5, 4.0, 0.2, -0.3, 0.2, 1.0};
  memset(p, 0, sizeof *p);
  p->d = d;
  p->k = k;
  p->df0 = d + 1.7;
  p->kappa0 = 0.3;
  for (int a = 0; a < d; a++) {
    p->mean0[a] = 0.5 - a;
    for (int b = 0; b < d; b++) p->scale0[a + d * b] = scale0[a + MOST * b];
  }
  for (int i = 0; i < N; i++) {
    double sum = 0.0;
    for (int a = 0; a < d; a++)
      p->y[i + N * a] = centre[a] + sd[a] * (random_normal() + (a > 0 ? p->y[i] : i % k));
    for (int j = 0; j < k; j++) sum += p->r[i + N * j] = hard ? i % k == j : random_uniform();
    for (int j = 0; j < k; j++) p->r[i + N * j] /= sum;
  }
  for (int j = 0; j < k; j++) {
    for (int i = 0; i < N; i++) {
      p->n[j] += p->r[i + N * j];
      for (int a = 0; a < d; a++) p->average[a + d * j] += p->r[i + N * j] * p->y[i + N * a];
    }
    for (int a = 0; a < d; a++) p->average[a + d * j] /= p->n[j];
    scatter(p, j, p->average + d * j, p->W + d * d * j);
  }
  normal_vb_init(&p->vb, model, d, k, centre, sd, p->mean0, p->kappa0, p->df0, p->scale0,
                 &test_memory);
}

/* sum_ij r_ij E_q[log N(y_i)] - KL. */
static double elbo_of(problem *p) {
  int component;
  double value, S[MOST * MOST], MS[MOST * MOST], MSM[MOST * MOST];
  if (normal_vb_prepare(&p->vb, p->M, p->constant, &component) != ELBO_OK) return NAN;
  value = normal_vb_log_prior(&p->vb);
  for (int j = 0; j < p->k; j++) {
    double M[MOST * MOST];
    const int d = p->d;
    for (int a = 0; a < d; a++)
      for (int b = 0; b < d; b++) M[a + d * b] = p->M[b + d * a + d * d * j];
    scatter(p, j, p->vb.q.mean + d * j, S);
    la_multiply(M, S, d, d, d, MS);
    la_multiply_t(MS, M, d, d, d, MSM);
    value += p->n[j] * p->constant[j];
    for (int a = 0; a < d; a++) value -= 0.5 * MSM[a * (d + 1)];
  }
  return value;
}

static void elbo_at(void *ctx, const double *eta, double *value) {
  problem *p = ctx;
  *value = normal_vb_unpack(&p->vb, eta) == ELBO_OK ? elbo_of(p) : NAN;
}

static void moments_at(void *ctx, const double *eta, double *m) {
  problem *p = ctx;
  int component;
  CHECK(normal_vb_unpack(&p->vb, eta) == ELBO_OK);
  CHECK(normal_vb_prepare(&p->vb, p->M, p->constant, &component) == ELBO_OK);
  normal_vb_moments(&p->vb, m);
}

/* q somewhere: the law that other data would give. */
static void somewhere(problem *p) {
  problem other;
  problem_init(&other, COVARIANCE_VVV, p->d, p->k, 0);
  normal_vb_m_step(&p->vb, other.n, other.average, other.W);
}

/* ---- the log evidence ----------------------------------------------------------------------- */

/* log density of the multivariate t with df, mean m, scale S. */
static double log_t(int d, const double *y, const double *m, const double *S, double df) {
  double L[MOST * MOST], away[MOST];
  memcpy(L, S, (size_t)(d * d) * sizeof(double));
  la_chol(L, d);
  const double log_det = la_log_det_from_chol(L, d);
  la_inverse_from_chol(L, d);
  for (int a = 0; a < d; a++) away[a] = y[a] - m[a];
  return lgamma(0.5 * (df + d)) - lgamma(0.5 * df) - 0.5 * d * log(df * pi) - 0.5 * log_det -
         0.5 * (df + d) * log1p(la_quadratic(L, away, d) / df);
}

/* log p(y | z) by the chain rule, row after row: each is a t given those before. */
static double chain_rule(const problem *p, covariance_model model) {
  const int d = p->d, full = model == COVARIANCE_VVV || model == COVARIANCE_EEE;
  const int spherical = model == COVARIANCE_VII || model == COVARIANCE_EII;
  const int common = model == COVARIANCE_EEE || model == COVARIANCE_EEI || model == COVARIANCE_EII;
  double sum = 0.0, kappa[MOST], m[MOST * MOST], df[MOST], S[MOST * MOST * MOST], trace = 0.0;
  for (int a = 0; a < d; a++) trace += p->scale0[a * (d + 1)];
  for (int j = 0; j < p->k; j++) {
    kappa[j] = p->kappa0;
    df[j] = full ? p->df0 : p->df0 - d + 1.0;
    for (int a = 0; a < d; a++) m[a + d * j] = p->mean0[a];
    for (int b = 0; b < d; b++)
      for (int a = 0; a < d; a++)
        S[a + d * b + d * d * j] = !full && a != b ? 0.0
                                   : spherical     ? trace / d
                                                   : p->scale0[a + d * b];
  }
  for (int i = 0; i < N; i++) {
    const int j = i % p->k, g = common ? 0 : j;
    double y[MOST], away[MOST], square = 0.0, scale[MOST * MOST], *Sg = S + d * d * g;
    const double grow = 1.0 + 1.0 / kappa[j], df_t = full ? df[g] - d + 1.0 : df[g];
    for (int a = 0; a < d; a++) {
      y[a] = p->y[i + N * a];
      away[a] = y[a] - m[a + d * j];
      square += away[a] * away[a];
    }
    for (int e = 0; e < d * d; e++) scale[e] = Sg[e] * grow / df_t;
    if (full || spherical)
      sum += log_t(d, y, m + d * j, scale, df_t);
    else
      for (int a = 0; a < d; a++) sum += log_t(1, y + a, m + a + d * j, scale + a * (d + 1), df_t);
    for (int b = 0; b < d; b++)
      for (int a = 0; a < d; a++)
        if (full || a == b) Sg[a + d * b] += (spherical ? square : away[a] * away[b]) / grow;
    kappa[j] += 1.0;
    df[g] += spherical ? d : 1.0;
    for (int a = 0; a < d; a++) m[a + d * j] += away[a] / kappa[j];
  }
  return sum;
}

/* Given z, q is exact and the ELBO is the log evidence. */
static void test_evidence(covariance_model model, int d, int k) {
  problem p;
  problem_init(&p, model, d, k, 1);
  normal_vb_m_step(&p.vb, p.n, p.average, p.W);
  const double evidence = chain_rule(&p, model);
  CHECK_CLOSE(elbo_of(&p), evidence, 1e-12);
  somewhere(&p);
  CHECK(elbo_of(&p) < evidence);
}

/* ---- natural parameters --------------------------------------------------------------------- */

static void test_gradient(covariance_model model, int d, int k) {
  problem p;
  problem_init(&p, model, d, k, 0);
  somewhere(&p);
  const int n = p.vb.n_eta;
  double *eta = new_doubles(n), *target = new_doubles(n), *V = new_doubles(n * n);
  double *slope = new_doubles(n), *natural = new_doubles(n);
  normal_vb_pack(&p.vb, eta);
  normal_vb_target(&p.vb, p.n, p.average, p.W, target);
  for (int i = 0; i < n; i++) {
    const double h = 3e-4 * fmax(0.1, fabs(eta[i])); /* away from where q is no law */
    differences(elbo_at, &p, eta, n, i, h, slope + i, 1);
    differences(moments_at, &p, eta, n, i, h, V + n * i, n);
  }
  for (int i = 0; i < n; i++) {
    natural[i] = 0.0;
    for (int j = 0; j < n; j++) natural[i] += V[i + n * j] * (target[j] - eta[j]);
  }
  CHECK(distance(slope, natural, n) < 1e-8);
  for (int i = 0; i < n; i++) /* V is a covariance */
    for (int j = 0; j < i; j++)
      CHECK(fabs(V[i + n * j] - V[j + n * i]) <= 1e-8 * sqrt(V[i * (n + 1)] * V[j * (n + 1)]));
  normal_vb_m_step(&p.vb, p.n, p.average, p.W);
  normal_vb_pack(&p.vb, eta);
  CHECK(distance(eta, target, n) < 1e-14);
}

static void test_round_trip(covariance_model model, int d, int k) {
  problem p;
  problem_init(&p, model, d, k, 0);
  somewhere(&p);
  const int n = p.vb.n_eta, groups = p.vb.n_group;
  double *eta = new_doubles(n);
  const double *mean = copy_doubles(p.vb.q.mean, d * k), *kappa = copy_doubles(p.vb.q.kappa, k);
  const double *df = copy_doubles(p.vb.q.df, groups);
  const double *scale = copy_doubles(p.vb.q.scale, d * d * groups);
  normal_vb_pack(&p.vb, eta);
  CHECK(normal_vb_unpack(&p.vb, eta) == ELBO_OK);
  CHECK(distance(p.vb.q.mean, mean, d * k) < 1e-13);
  CHECK(distance(p.vb.q.kappa, kappa, k) < 1e-13);
  CHECK(distance(p.vb.q.df, df, groups) < 1e-13);
  CHECK(distance(p.vb.q.scale, scale, d * d * groups) < 1e-13);
  eta[0] = -1.0; /* degrees of freedom */
  CHECK(normal_vb_unpack(&p.vb, eta) == ELBO_E_NOT_PD);
  eta[0] = df[0] / 2.0;
  eta[1] = 1.0; /* a precision's */
  CHECK(normal_vb_unpack(&p.vb, eta) == ELBO_E_NOT_PD);
  normal_vb_m_step(&p.vb, p.n, p.average, p.W);
  normal_vb_pack(&p.vb, eta);
  eta[n - 1] = 0.1; /* -kappa / 2 */
  CHECK(normal_vb_unpack(&p.vb, eta) == ELBO_E_NOT_PD);
}

/* A component without rows has its prior. */
static void test_empty(covariance_model model) {
  problem p;
  int component;
  problem_init(&p, model, 2, 2, 0);
  p.n[1] = 0.0;
  memset(p.W + 4, 0, 4 * sizeof(double));
  p.average[2] = p.average[3] = NAN;
  normal_vb_m_step(&p.vb, p.n, p.average, p.W);
  CHECK(distance(p.vb.q.mean + 2, p.mean0, 2) < 1e-15);
  CHECK(p.vb.q.kappa[1] == p.kappa0);
  memset(p.n, 0, sizeof p.n);
  memset(p.W, 0, sizeof p.W);
  normal_vb_m_step(&p.vb, p.n, p.average, p.W);
  CHECK(normal_vb_prepare(&p.vb, p.M, p.constant, &component) == ELBO_OK);
  CHECK(fabs(normal_vb_log_prior(&p.vb)) < 1e-14);
}

/* ---- expectations against draws ------------------------------------------------------------- */

/* Gamma(shape, 1): Marsaglia & Tsang (2000), below 1 by Gamma(shape + 1) U^{1/shape}. */
static double random_gamma(double shape) {
  if (shape < 1.0) return random_gamma(shape + 1.0) * pow(random_uniform(), 1.0 / shape);
  const double e = shape - 1.0 / 3.0, c = 1.0 / sqrt(9.0 * e);
  for (;;) {
    const double x = random_normal(), v = pow(1.0 + c * x, 3.0);
    if (v > 0.0 && log(random_uniform()) < 0.5 * x * x + e - e * v + e * log(v)) return e * v;
  }
}

/* Wishart(df, scale^{-1}) of order d: L^{-T} B B' L^{-1}, scale = L L' (Bartlett). */
static void random_wishart(int d, double df, const double *scale, double *Lambda) {
  double L[MOST * MOST], B[MOST * MOST] = {0}, inverse[MOST * MOST], up[MOST * MOST];
  double root[MOST * MOST];
  memcpy(L, scale, (size_t)(d * d) * sizeof(double));
  la_chol(L, d);
  la_lower_inverse(L, d, inverse);
  for (int b = 0; b < d; b++) {
    B[b * (d + 1)] = sqrt(2.0 * random_gamma(0.5 * (df - b)));
    for (int a = b + 1; a < d; a++) B[a + d * b] = random_normal();
    for (int a = 0; a < d; a++) up[a + d * b] = inverse[b + d * a];
  }
  la_multiply(up, B, d, d, d, root);
  la_multiply_t(root, root, d, d, d, Lambda);
}

enum { TRIALS = 200000, MOST_STATISTICS = 24 };

/* Component 0 of a law: moments (its own entries come first), then theta's sds and correlation, and
 * E[log N(y | mean, Sigma)] of the first row. */
static void test_draws(covariance_model model) {
  enum { D = 2 };
  problem p;
  int component;
  problem_init(&p, model, D, 1, 0);
  somewhere(&p);
  p.vb.q.df[0] = 9.3; /* wide enough for the law's shape to matter */
  p.vb.q.kappa[0] = 1.7;
  CHECK(normal_vb_prepare(&p.vb, p.M, p.constant, &component) == ELBO_OK);
  double moments[MOST_STATISTICS], theta[5], sum[MOST_STATISTICS] = {0};
  double squares[MOST_STATISTICS] = {0};
  normal_vb_moments(&p.vb, moments);
  normal_vb_theta(&p.vb, theta);
  const int full = p.vb.structure == NORMAL_VB_FULL, n = p.vb.n_eta;
  const int spherical = p.vb.structure == NORMAL_VB_SPHERICAL;
  const double *scale = p.vb.q.scale, df = p.vb.q.df[0], *u = p.vb.unit;
  for (int a = 0; a < 3; a++) moments[n + a] = theta[D + a];
  double quadratic = 0.0;
  for (int a = 0; a < D; a++) {
    double z = 0.0;
    for (int b = 0; b < D; b++) z += p.M[b + D * a] * (p.y[N * b] - p.vb.q.mean[b]);
    quadratic += z * z;
  }
  moments[n + 3] = p.constant[0] - 0.5 * quadratic;
  for (int trial = 0; trial < TRIALS; trial++) {
    double P[D * D] = {0}, S[D * D], L[D * D], z[D], at[D], T[MOST_STATISTICS], away[D];
    int t = 0;
    if (full) {
      random_wishart(D, df, scale, P);
    } else {
      for (int a = 0; a < D; a++)
        P[a * (D + 1)] =
            spherical && a > 0 ? P[0] : 2.0 * random_gamma(0.5 * df) / scale[a * (D + 1)];
    }
    const double det = P[0] * P[3] - P[1] * P[2];
    S[0] = P[3] / det;
    S[3] = P[0] / det;
    S[1] = S[2] = -P[1] / det;
    memcpy(L, S, sizeof L);
    la_chol(L, D);
    for (int a = 0; a < D; a++) z[a] = random_normal() / sqrt(p.vb.q.kappa[0]);
    at[0] = p.vb.q.mean[0] + L[0] * z[0];
    at[1] = p.vb.q.mean[1] + L[1] * z[0] + L[3] * z[1];
    for (int a = 0; a < D; a++) away[a] = p.y[N * a] - at[a];
    const double log_density = -log(2.0 * pi) + 0.5 * log(det) - 0.5 * la_quadratic(P, away, D);
    for (int a = 0; a < D; a++) at[a] = (at[a] - p.vb.centre[a]) / u[a];
    T[t++] = spherical ? 0.5 * log(det) : log(det);
    for (int a = 0; a < D; a++)
      for (int b = 0; b < D; b++) P[a + D * b] *= u[a] * u[b];
    T[t++] = P[0];
    if (full) T[t++] = P[1];
    if (!spherical) T[t++] = P[3];
    T[t++] = P[0] * at[0] + P[2] * at[1];
    T[t++] = P[1] * at[0] + P[3] * at[1];
    T[t++] = la_quadratic(P, at, D);
    T[t++] = sqrt(S[0]);
    T[t++] = sqrt(S[3]);
    T[t++] = S[1] / sqrt(S[0] * S[3]);
    T[t++] = log_density;
    for (int i = 0; i < t; i++) {
      sum[i] += T[i];
      squares[i] += T[i] * T[i];
    }
  }
  for (int i = 0; i < n + 4; i++) {
    const double mean = sum[i] / TRIALS;
    const double error = sqrt((squares[i] / TRIALS - mean * mean) / TRIALS);
    CHECK(fabs(mean - moments[i]) <= 4.0 * error + 1e-12 * fabs(mean));
  }
}

/* As df goes to d - 1, a correlation has the law of a Wishart's of one degree of freedom: +-1, with
 * mean 2 / pi asin(r); as it grows the law closes about r. */
static void test_correlation(void) {
  problem p;
  double theta[5];
  problem_init(&p, COVARIANCE_VVV, 2, 1, 0);
  const double r = 0.6, scale[4] = {1.0, r, r, 1.0};
  memcpy(p.vb.q.scale, scale, sizeof scale);
  p.vb.q.df[0] = 1.0 + 1e-12;
  normal_vb_theta(&p.vb, theta);
  CHECK_CLOSE(theta[4], 2.0 / pi * asin(r), 1e-11);
  CHECK(isinf(theta[2]));
  p.vb.q.df[0] = 1e7;
  normal_vb_theta(&p.vb, theta);
  CHECK_CLOSE(theta[4], r - r * (1.0 - r * r) / 2e7, 1e-8); /* Hotelling's expansion */
}

/* Natural parameters counted by hand: for each Sigma 1 and its entries, for each mean d + 1. */
static void test_counts(void) {
  const int counts[MODELS] = {2 * 11, 7 + 2 * 4, 2 * 8, 4 + 2 * 4, 2 * 6, 2 + 2 * 4};
  for (int m = 0; m < MODELS; m++) {
    problem p;
    problem_init(&p, models[m], 3, 2, 0);
    CHECK(p.vb.n_eta == counts[m]);
  }
}

int main(void) {
  for (int m = 0; m < MODELS; m++) {
    random_seed((unsigned long long)m + 1);
    test_evidence(models[m], 3, 2);
    test_evidence(models[m], 2, 3);
    test_evidence(models[m], 1, 2);
    test_gradient(models[m], 3, 2);
    test_gradient(models[m], 1, 3);
    test_round_trip(models[m], 3, 2);
    test_empty(models[m]);
    test_draws(models[m]);
    test_free();
  }
  test_correlation();
  test_counts();
  test_free();
  return FINISH();
}
