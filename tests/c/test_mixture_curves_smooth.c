/* Smooths of the curves part, and laws of its coefficients: objectives against the expectations
 * that define them, written out with dense matrices that the part never forms, and against the
 * marginal density of all rows at once where the bound is exact. */
#include "math/digamma.h"
#include "math/la.h"
#include "law/exponential_family.h"
#include "law/sd_prior.h"
#include "curves_fixture.h"
#include "mixture_part.h"
#include "mixture/curves.h"
#include "mixture/weights.h"

enum { FIXED = 2, OWN = 5, P = FIXED + OWN, N_UNIT = 17, N_SMOOTH = 2, MOST = 8 };

enum {
  SHARED = 1,
  WEIGHTS = 2,
  DIAGONAL = 4,
  COMMON = 8,
  PRIOR = 16,
  HELD = 32,
  LINE = 64,
  TINY = 128,
  HUGE_Y = 256
};

typedef struct {
  mixture_curves_spec spec;
  int first[N_UNIT + 1];
  int k;
} problem;

static double unit_of(int options) {
  return options & TINY ? 1e-150 : options & HUGE_Y ? 1e150 : 1.0;
}

/* Curves of three kinds about a line, or lines only; units on three grids or each on its own. */
static void random_rows(problem *f, int options) {
  mixture_curves_spec *s = &f->spec;
  int n_row = 0, row = 0;
  for (int i = 0; i < N_UNIT; i++) n_row += 3 + i % 5;
  double *X = new_doubles(n_row * P), *Z = new_doubles(n_row * Q), *y = new_doubles(n_row);
  double *weights = new_doubles(n_row);
  for (int i = 0; i < N_UNIT; i++) {
    const int size = 3 + i % 5;
    const double a = 0.5 * random_normal(), b = 0.5 * random_normal();
    f->first[i] = row;
    for (int t = 0; t < size; t++, row++) {
      const double time = options & SHARED ? (t + 0.5) / size : random_uniform();
      X[row] = Z[row] = 1.0;
      X[row + n_row] = Z[row + n_row] = time;
      for (int c = 0; c < 3; c++) X[row + n_row * (2 + c)] = sin((c + 2) * 3.1 * time);
      for (int c = 0; c < 2; c++)
        X[row + n_row * (5 + c)] = 0.1 * cos((c + 3) * 3.0 * time + i % 2);
      weights[row] = 0.5 + (t + i) % 3;
      y[row] = 2.0 + a + (b + 1.0) * time + 0.4 * random_normal();
      if (!(options & LINE))
        y[row] += (i % 2 ? 1.0 : -0.5) * (X[row + 2 * n_row] + X[row + 3 * n_row]);
      y[row] *= unit_of(options);
    }
  }
  f->first[N_UNIT] = row;
  s->units = (mixture_units){N_UNIT, n_row, f->first, NULL};
  s->X = X;
  s->Z = Z;
  s->y = y;
  s->weights = options & WEIGHTS ? weights : NULL;
}

static mixture_part problem_part(problem *f, mixture_method method, int k, int options) {
  static const int smooth_size[] = {3, 2}, family[] = {SD_HALF_T, SD_HALF_T};
  static const double smooth_df[] = {3.0, 4.0};
  double *mean = new_doubles(P), *sd = new_doubles(P), *smooth_scale = new_doubles(2),
         *held = new_doubles(2);
  mixture_curves_spec *s = &f->spec;
  mixture_part part;
  memset(f, 0, sizeof *f);
  f->k = k;
  *s = curves_fixture(method, k, P, options & DIAGONAL, options & PRIOR, mean, sd,
                      unit_of(options));
  random_rows(f, options);
  s->common_covariance = s->linear.common_sigma = (options & COMMON) != 0;
  s->n_smooth = N_SMOOTH;
  s->smooth_size = smooth_size;
  for (int a = 0; a < P; a++) {
    mean[a] = (1.0 + a) * unit_of(options);
    sd[a] = 5.0 * unit_of(options);
  }
  for (int i = 0; i < 2; i++) smooth_scale[i] = (1.0 + i) * unit_of(options);
  held[0] = NAN;
  held[1] = 0.7 * unit_of(options);
  if (options & HELD || method == MIXTURE_JOINT) s->smooth_constant = held;
  if (method == MIXTURE_JOINT) held[0] = 0.4 * unit_of(options);
  if (options & PRIOR || method == MIXTURE_VB) {
    s->smooth_family = family;
    s->smooth_df = smooth_df;
    s->smooth_scale = smooth_scale;
  }
  CHECK(mixture_curves_part(&part, s, &test_memory) == ELBO_OK);
  return part;
}

static part_test problem_test(problem *f, mixture_method method, int k, int options) {
  part_test t = part_test_of(problem_part(f, method, k, options), N_UNIT, k);
  CHECK(part_prepare(&t));
  part_gather(&t);
  return t;
}

static double *field(const part_test *t, const char *name) {
  return part_field(&t->part, name);
}

/* ---- E_q by dense matrices ------------------------------------------------------------------- */

/* A law of the coefficients and variances of one component, in the user's units. */
typedef struct {
  const double *mean; /* P */
  double cov[P * P];
  double Gamma[Q * Q];        /* E[Gamma^{-1}]^{-1} */
  double log_det;             /* E log |Gamma| */
  double variance;            /* E[1/sigma^2]^{-1} */
  double log_variance;        /* E log sigma^2 */
  double precision[N_SMOOTH]; /* E[1/sd^2] */
  double log_sd2[N_SMOOTH];   /* E log sd^2 */
} component_law;

/* E_q[log p(y_i, u_i | beta, Gamma, sigma) - log q(u_i | beta)], with
 *   q(u | beta) = N(C Z'W (y - X beta) / v, C),  C^{-1} = Z'WZ / v + Gamma^{-1}. */
static double dense_unit(const problem *f, int i, const component_law *law) {
  const mixture_curves_spec *s = &f->spec;
  const int first = f->first[i], n = f->first[i + 1] - first, N = s->units.n_row, A = P + Q;
  double omega[Q * Q], C[Q * Q], B[Q * MOST], joint[(P + Q) * (P + Q)], G[Q * P], u[Q], value = 0.0;
  const double pi2 = 2.0 * acos(-1.0);
  memcpy(omega, law->Gamma, sizeof omega);
  CHECK(la_chol(omega, Q) == ELBO_OK && la_inverse_from_chol(omega, Q) == ELBO_OK);
  memcpy(C, omega, sizeof C);
  for (int a = 0; a < Q; a++)
    for (int b = 0; b < Q; b++)
      for (int t = 0; t < n; t++)
        C[a + Q * b] += (s->weights ? s->weights[first + t] : 1.0) * s->Z[first + t + N * a] *
                        s->Z[first + t + N * b] / law->variance;
  CHECK(la_chol(C, Q) == ELBO_OK);
  const double log_det_C = -la_log_det_from_chol(C, Q);
  CHECK(la_inverse_from_chol(C, Q) == ELBO_OK);
  for (int a = 0; a < Q; a++) {
    u[a] = 0.0;
    for (int c = 0; c < P; c++) G[a + Q * c] = 0.0;
    for (int t = 0; t < n; t++) {
      double e = s->y[first + t];
      B[a + Q * t] = 0.0;
      for (int b = 0; b < Q; b++)
        B[a + Q * t] += C[a + Q * b] * s->Z[first + t + N * b] *
                        (s->weights ? s->weights[first + t] : 1.0) / law->variance;
      for (int c = 0; c < P; c++) {
        e -= s->X[first + t + N * c] * law->mean[c];
        G[a + Q * c] -= B[a + Q * t] * s->X[first + t + N * c]; /* u moves by G as beta does */
      }
      u[a] += B[a + Q * t] * e;
    }
  }
  /* Cov of (beta, u). */
  for (int c = 0; c < P; c++)
    for (int d = 0; d < P; d++) joint[c + A * d] = law->cov[c + P * d];
  for (int a = 0; a < Q; a++)
    for (int c = 0; c < P; c++) {
      double sum = 0.0;
      for (int d = 0; d < P; d++) sum += G[a + Q * d] * law->cov[d + P * c];
      joint[P + a + A * c] = joint[c + A * (P + a)] = sum;
    }
  for (int a = 0; a < Q; a++)
    for (int b = 0; b < Q; b++) {
      double sum = C[a + Q * b];
      for (int d = 0; d < P; d++) sum += joint[P + a + A * d] * G[b + Q * d];
      joint[P + a + A * (P + b)] = sum;
    }
  for (int t = 0; t < n; t++) {
    const double weight = s->weights ? s->weights[first + t] : 1.0;
    double row[P + Q], e = s->y[first + t], spread = 0.0;
    for (int c = 0; c < A; c++) {
      row[c] = c < P ? s->X[first + t + N * c] : s->Z[first + t + N * (c - P)];
      e -= row[c] * (c < P ? law->mean[c] : u[c - P]);
    }
    for (int c = 0; c < A; c++)
      for (int d = 0; d < A; d++) spread += row[c] * joint[c + A * d] * row[d];
    value += 0.5 * (log(weight) - log(pi2) - law->log_variance -
                    weight * (e * e + spread) / law->variance);
  }
  value += 0.5 * (Q + log_det_C - law->log_det);
  for (int a = 0; a < Q; a++)
    for (int b = 0; b < Q; b++)
      value -= 0.5 * omega[a + Q * b] * (u[a] * u[b] + joint[P + a + A * (P + b)]);
  return value;
}

/* E_q[log p(b) - log q(b)] of the smooths' coefficients. */
static double dense_smooth(const component_law *law) {
  double cov[OWN * OWN], value = 0.5 * OWN;
  for (int a = 0; a < OWN; a++)
    for (int b = 0; b < OWN; b++) cov[a + OWN * b] = law->cov[FIXED + a + P * (FIXED + b)];
  for (int a = 0; a < OWN; a++) {
    const int s = a >= 3;
    const double b = law->mean[FIXED + a];
    value -= 0.5 * (law->log_sd2[s] + law->precision[s] * (b * b + cov[a * (OWN + 1)]));
  }
  CHECK(la_chol(cov, OWN) == ELBO_OK);
  return value + 0.5 * la_log_det_from_chol(cov, OWN);
}

static component_law law_em(const problem *f, const part_test *t, int j) {
  component_law law;
  const int g = f->spec.common_covariance ? 0 : j;
  memset(&law, 0, sizeof law);
  law.mean = field(t, "coefficients") + P * j;
  for (int a = 0; a < OWN; a++)
    for (int b = 0; b < OWN; b++)
      law.cov[FIXED + a + P * (FIXED + b)] = field(t, "smooth_cov")[a + OWN * (b + OWN * j)];
  memcpy(law.Gamma, field(t, "covariance") + Q * Q * g, sizeof law.Gamma);
  law.log_det = log(law.Gamma[0] * law.Gamma[3] - law.Gamma[1] * law.Gamma[2]);
  law.variance = field(t, "sigma")[g] * field(t, "sigma")[g];
  law.log_variance = log(law.variance);
  for (int s = 0; s < N_SMOOTH; s++) {
    const double sd = field(t, "smooth_sd")[s + N_SMOOTH * j];
    law.precision[s] = 1.0 / (sd * sd);
    law.log_sd2[s] = 2.0 * log(sd);
  }
  return law;
}

/* E log |X| of an inverse Wishart law of order n. */
static double mean_log_det(int n, double df, const double *S) {
  double L[Q * Q], sum = -n * log(2.0);
  memcpy(L, S, (size_t)(n * n) * sizeof(double));
  la_chol(L, n);
  for (int i = 0; i < n; i++) sum -= math_digamma(0.5 * (df - i));
  return sum + la_log_det_from_chol(L, n);
}

static component_law law_vb(const problem *f, const part_test *t, int j) {
  component_law law;
  const int g = f->spec.common_covariance ? 0 : j, n_block = f->spec.n_block;
  const double *df = field(t, "df") + n_block * g, *scale = field(t, "scale") + Q * Q * g;
  const double shape = field(t, "shape")[g], rate = field(t, "rate")[g];
  memset(&law, 0, sizeof law);
  law.mean = field(t, "mean") + P * j;
  memcpy(law.cov, field(t, "cov") + P * P * j, sizeof law.cov);
  for (int a = 0; a < Q; a++)
    for (int b = 0; b < Q; b++) law.Gamma[a + Q * b] = scale[a + Q * b] / df[n_block > 1 ? a : 0];
  if (n_block == 1)
    law.log_det = mean_log_det(Q, df[0], scale);
  else
    law.log_det = mean_log_det(1, df[0], scale) + mean_log_det(1, df[1], scale + 3);
  law.variance = rate / shape;
  law.log_variance = log(rate) - math_digamma(shape);
  for (int s = 0; s < N_SMOOTH; s++) {
    const double a = field(t, "smooth_shape")[s + N_SMOOTH * j],
                 b = field(t, "smooth_rate")[s + N_SMOOTH * j];
    law.precision[s] = isinf(a) ? 1.0 / b : a / b;
    law.log_sd2[s] = isinf(a) ? log(b) : log(b) - math_digamma(a);
  }
  return law;
}

/* log prior without the smooths (em): beta, Gamma, sigma; and of the sds. */
static double dense_prior_em(const problem *f, const part_test *t) {
  const mixture_curves_spec *s = &f->spec;
  double sum = 0.0, work[2 * Q * Q], by_x;
  if (s->linear.beta_sd == NULL) return 0.0;
  for (int j = 0; j < f->k; j++) {
    for (int a = 0; a < FIXED; a++) {
      const double z =
          (field(t, "coefficients")[a + P * j] - s->linear.beta_mean[a]) / s->linear.beta_sd[a];
      sum -= 0.5 * (log(2.0 * acos(-1.0)) + z * z) + log(s->linear.beta_sd[a]);
    }
    for (int i = 0; i < N_SMOOTH; i++) {
      const sd_prior prior = {SD_HALF_T, s->smooth_df[i], s->smooth_scale[i]};
      const double sd = field(t, "smooth_sd")[i + N_SMOOTH * j];
      if (s->smooth_constant == NULL || isnan(s->smooth_constant[i]))
        sum += sd_prior_log_density(&prior, sd * sd, &by_x);
    }
  }
  for (int g = 0; g < (s->linear.common_sigma ? 1 : f->k); g++) {
    const sd_prior prior = {SD_HALF_T, s->linear.sigma_df, s->linear.sigma_scale};
    const double sigma = field(t, "sigma")[g], *Gamma = field(t, "covariance") + Q * Q * g;
    sum += sd_prior_log_density(&prior, sigma * sigma, &by_x);
    if (s->n_block == 1)
      sum += law_wishart_log_density(Q, s->covariance_df[0], s->covariance_scale, Gamma, work);
    else
      for (int a = 0; a < Q; a++)
        sum += law_wishart_log_density(1, s->covariance_df[a], s->covariance_scale + 3 * a,
                                       Gamma + 3 * a, work);
  }
  return sum;
}

/* -KL of the vb laws but that of the smooths' coefficients. */
static double dense_prior_vb(const problem *f, const part_test *t) {
  const mixture_curves_spec *s = &f->spec;
  double sum = 0.0, work[2 * Q * Q];
  for (int j = 0; j < f->k; j++)
    for (int i = 0; i < N_SMOOTH; i++)
      if (s->smooth_constant == NULL || isnan(s->smooth_constant[i]))
        sum += law_half_t_minus_kl(s->smooth_df[i], s->smooth_scale[i],
                                   field(t, "smooth_shape")[i + N_SMOOTH * j],
                                   field(t, "smooth_rate")[i + N_SMOOTH * j]);
  for (int g = 0; g < (s->linear.common_sigma ? 1 : f->k); g++) {
    const double *df = field(t, "df") + s->n_block * g, *scale = field(t, "scale") + Q * Q * g;
    sum += law_half_t_minus_kl(s->linear.sigma_df, s->linear.sigma_scale, field(t, "shape")[g],
                               field(t, "rate")[g]);
    if (s->n_block == 1)
      sum += law_wishart_minus_kl(Q, df[0], scale, s->covariance_df[0], s->covariance_scale, work);
    else
      for (int a = 0; a < Q; a++)
        sum += law_wishart_minus_kl(1, df[a], scale + 3 * a, s->covariance_df[a],
                                    s->covariance_scale + 3 * a, work);
  }
  return sum;
}

/* -KL(q(beta_j) || p(beta_j)), all coefficients: E log p(beta) + entropy. */
static double dense_coefficients_vb(const problem *f, const component_law *law) {
  double L[P * P], value = 0.5 * P;
  memcpy(L, law->cov, sizeof L);
  CHECK(la_chol(L, P) == ELBO_OK);
  value += 0.5 * la_log_det_from_chol(L, P);
  for (int a = 0; a < P; a++) {
    const int s = a >= FIXED + 3;
    const double m = law->mean[a] - (a < FIXED ? f->spec.linear.beta_mean[a] : 0.0),
                 v = law->cov[a * (P + 1)];
    const double sd = a < FIXED ? f->spec.linear.beta_sd[a] : 1.0;
    const double precision = a < FIXED ? 1.0 / (sd * sd) : law->precision[s];
    const double log_variance = a < FIXED ? 2.0 * log(sd) : law->log_sd2[s];
    value -= 0.5 * (log_variance + precision * (m * m + v));
  }
  return value;
}

static void check_dense(const problem *f, part_test *t, double tol) {
  const int vb = f->spec.method == MIXTURE_VB;
  const double *l = part_densities(t);
  double prior = vb ? dense_prior_vb(f, t) : dense_prior_em(f, t), sum = 0.0;
  for (int j = 0; j < f->k; j++) {
    const component_law law = vb ? law_vb(f, t, j) : law_em(f, t, j);
    prior += vb ? dense_coefficients_vb(f, &law) : dense_smooth(&law);
    for (int i = 0; i < N_UNIT; i++) {
      const double value = dense_unit(f, i, &law);
      CHECK_CLOSE(l[i + N_UNIT * j], value, tol);
      sum += t->r[i + N_UNIT * j] * value;
    }
  }
  CHECK_CLOSE(t->part.log_prior(t->part.work), prior, tol);
  CHECK_CLOSE(part_objective(t), sum + prior, tol);
}

static void wander(part_test *t, double size) {
  double *eta = part_eta(t);
  for (int a = 0; a < t->part.n_eta; a++)
    eta[a] += size * random_normal() * fmax(0.3, fabs(eta[a]));
  part_move(t, eta);
}

/* ---- em -------------------------------------------------------------------------------------- */

static void check_em(int options) {
  problem f;
  part_test t = problem_test(&f, MIXTURE_EM, 2, options);
  for (int i = 0; i < 3; i++) part_m_step(&t);
  wander(&t, 0.1);
  part_check_expected(&t, 1e-11); /* statistics of other parameters */
  part_gather(&t);
  part_check_expected(&t, 1e-11);
  check_dense(&f, &t, 1e-10);
  part_check_gradient(&t, 1e-3, 1e-6);
  part_check_round_trip(&t, 1e-9);
  part_check_maximum(&t, 3000, 1e-3, 1e-5);
  test_free();
}

/* So many components, each unit with its own design, that r is kept and not cells. */
static void check_many(mixture_method method) {
  problem f;
  part_test t = problem_test(&f, method, 140, 0);
  CHECK(t.part.keeps_r);
  for (int i = 0; i < 3; i++) {
    const double before = part_objective(&t);
    part_m_step(&t);
    CHECK(part_objective(&t) >= before - 1e-12 * (1.0 + fabs(before)));
  }
  if (method == MIXTURE_EM) wander(&t, 0.1); /* sds from zero */
  part_check_expected(&t, 1e-11);
  check_dense(&f, &t, 1e-9); /* sums of 140 x 17 terms */
  test_free();
}

/* The fields say all but signs of roots. */
static void check_restore(mixture_method method, int options) {
  problem f;
  part_test t = problem_test(&f, method, 2, options);
  int component = -1;
  for (int i = 0; i < 2; i++) part_m_step(&t);
  const double *before = part_densities(&t), objective = part_objective(&t);
  CHECK(t.part.restore(t.part.work, &component) == ELBO_OK);
  CHECK(part_prepare(&t));
  CHECK(distance(part_densities(&t), before, N_UNIT * 2) < 1e-10);
  CHECK_CLOSE(part_objective(&t), objective, 1e-10);
  test_free();
}

/* log density of all rows at once, the smooths' coefficients shared by all units: k = 1. */
static double dense_marginal(const problem *f, const double *beta, const double *sd,
                             const double *Gamma, double sigma) {
  const mixture_curves_spec *s = &f->spec;
  const int N = s->units.n_row;
  double *V = new_doubles(N * N), *e = new_doubles(N), quadratic = 0.0;
  for (int i = 0; i < N_UNIT; i++)
    for (int a = f->first[i]; a < f->first[i + 1]; a++) {
      V[a * (N + 1)] = sigma * sigma / (s->weights ? s->weights[a] : 1.0);
      for (int b = f->first[i]; b < f->first[i + 1]; b++)
        for (int u = 0; u < Q; u++)
          for (int v = 0; v < Q; v++)
            V[a + N * b] += s->Z[a + N * u] * Gamma[u + Q * v] * s->Z[b + N * v];
    }
  for (int a = 0; a < N; a++) {
    for (int b = 0; b < N; b++)
      for (int c = 0; c < OWN; c++)
        V[a + N * b] +=
            sd[c >= 3] * sd[c >= 3] * s->X[a + N * (FIXED + c)] * s->X[b + N * (FIXED + c)];
    e[a] = s->y[a];
    for (int c = 0; c < FIXED; c++) e[a] -= s->X[a + N * c] * beta[c];
  }
  CHECK(la_chol(V, N) == ELBO_OK);
  for (int a = 0; a < N; a++) {
    for (int b = 0; b < a; b++) e[a] -= V[a + N * b] * e[b];
    e[a] /= V[a * (N + 1)];
    quadratic += e[a] * e[a];
  }
  return -0.5 * (N * log(2.0 * acos(-1.0)) + la_log_det_from_chol(V, N) + quadratic);
}

/* Coordinates: beta, sds, the lower triangle of L, Gamma = L L', log sigma. */
static void marginal_at(void *ctx, const double *x, double *out) {
  const double *L = x + FIXED + N_SMOOTH;
  const double Gamma[] = {L[0] * L[0], L[0] * L[1], L[0] * L[1], L[1] * L[1] + L[2] * L[2]};
  out[0] = dense_marginal((const problem *)ctx, x, x + FIXED, Gamma, exp(L[3]));
}

static void point_of(const part_test *t, double *x) {
  const double *Gamma = field(t, "covariance");
  memcpy(x, field(t, "coefficients"), FIXED * sizeof(double));
  memcpy(x + FIXED, field(t, "smooth_sd"), N_SMOOTH * sizeof(double));
  x += FIXED + N_SMOOTH;
  x[0] = sqrt(Gamma[0]);
  x[1] = Gamma[1] / x[0];
  x[2] = sqrt(Gamma[3] - x[1] * x[1]);
  x[3] = log(field(t, "sigma")[0]);
}

static part_test one_component(problem *f, int options) {
  part_test t = problem_test(f, MIXTURE_EM, 1, options);
  for (int i = 0; i < N_UNIT; i++) t.r[i] = 1.0;
  part_gather(&t);
  for (int i = 0; i < 2000; i++) part_m_step(&t);
  return t;
}

/* One component: z is known, q(b) is exact, and the bound the log-likelihood itself, with its
 * maximum. */
static void check_exact(int options) {
  enum { N_X = FIXED + N_SMOOTH + 4 };
  problem f;
  part_test t = one_component(&f, options);
  double x[N_X], slope;
  point_of(&t, x);
  marginal_at(&f, x, &slope);
  CHECK_CLOSE(part_objective(&t), slope, 1e-10);
  for (int a = 0; a < N_X; a++) {
    differences(marginal_at, &f, x, N_X, a, 1e-4, &slope, 1);
    CHECK(fabs(slope) < 1e-5); /* errors of differences of 1e-11 / 1e-4, and of the M-steps' last */
  }
  test_free();
}

/* Lines: the sd of a smooth that the likelihood wants at zero is zero after a few M-steps, and the
 * bound is still exact; it comes back where r asks for it. */
static void check_zero(void) {
  problem f;
  part_test t = problem_test(&f, MIXTURE_EM, 1, SHARED | LINE);
  double x[FIXED + N_SMOOTH + 4], value, beside;
  int zeros = 0;
  for (int i = 0; i < N_UNIT; i++) t.r[i] = 1.0;
  part_gather(&t);
  for (int i = 0; i < 10; i++) part_m_step(&t);
  for (int s = 0; s < N_SMOOTH; s++) zeros += field(&t, "smooth_sd")[s] == 0.0;
  CHECK(zeros > 0);
  for (int i = 0; i < 1000; i++) part_m_step(&t);
  part_check_round_trip(&t, 1e-12);
  part_check_gradient(&t, 1e-3, 1e-6);
  point_of(&t, x);
  marginal_at(&f, x, &value);
  CHECK_CLOSE(part_objective(&t), value, 1e-10);
  for (int s = 0; s < N_SMOOTH; s++) {
    if (x[FIXED + s] > 0.0) continue;
    x[FIXED + s] = 1e-2;
    marginal_at(&f, x, &beside);
    CHECK(beside < value);
    x[FIXED + s] = 0.0;
  }
  check_restore(MIXTURE_EM, SHARED | LINE);
  test_free();
}

/* An sd that Newton's method left beside zero. */
static void check_settle(void) {
  problem f;
  part_test t = problem_test(&f, MIXTURE_EM, 1, SHARED | LINE);
  const int at = P + OWN * (OWN + 1) / 2; /* of the sds among eta */
  for (int i = 0; i < 100; i++) part_m_step(&t);
  CHECK(!t.part.settle(t.part.work, t.stat, t.r));
  const double before = part_objective(&t);
  for (int s = 0; s < N_SMOOTH; s++) {
    double *eta = part_eta(&t);
    if (eta[at + s] != 0.0) continue;
    eta[at + s] = -1e-7;
    part_move(&t, eta);
    CHECK(t.part.settle(t.part.work, t.stat, t.r));
    CHECK(part_prepare(&t));
    CHECK(part_eta(&t)[at + s] == 0.0);
    CHECK_CLOSE(part_objective(&t), before, 1e-10);
  }
  test_free();
}

/* From an sd of zero, to where data with a curve want it. */
static void check_leaves_zero(void) {
  problem f;
  part_test t = one_component(&f, SHARED);
  const double objective = part_objective(&t);
  int component = -1;
  field(&t, "smooth_sd")[0] = 0.0;
  for (int a = 0; a < OWN * OWN; a++)
    if (a % OWN < 3 || a / OWN < 3) field(&t, "smooth_cov")[a] = 0.0;
  CHECK(t.part.restore(t.part.work, &component) == ELBO_OK);
  CHECK(part_prepare(&t));
  CHECK(part_objective(&t) < objective - 1.0);
  for (int i = 0; i < 1000; i++) part_m_step(&t);
  CHECK_CLOSE(part_objective(&t), objective, 1e-10);
  test_free();
}

/* ---- joint ----------------------------------------------------------------------------------- */

static void check_joint(int options) {
  problem f;
  part_test t = problem_test(&f, MIXTURE_JOINT, 2, options);
  for (int i = 0; i < 100; i++) {
    const double before = part_objective(&t);
    part_m_step(&t);
    CHECK(part_objective(&t) >= before - 1e-12 * (1.0 + fabs(before)));
  }
  double prior = dense_prior_em(&f, &t);
  for (int j = 0; j < 2; j++)
    for (int a = 0; a < OWN; a++) {
      const double z =
          field(&t, "coefficients")[FIXED + a + P * j] / f.spec.smooth_constant[a >= 3];
      prior -= 0.5 * (log(2.0 * acos(-1.0)) + z * z) + log(f.spec.smooth_constant[a >= 3]);
    }
  CHECK_CLOSE(t.part.log_prior(t.part.work), prior, 1e-10);
  CHECK(largest(part_slope(&t, 1e-3), t.part.n_eta) < 1e-4);
  test_free();
}

/* ---- vb -------------------------------------------------------------------------------------- */

static void check_vb(int options) {
  problem f;
  part_test t = problem_test(&f, MIXTURE_VB, 2, options);
  for (int i = 0; i < 2; i++) part_m_step(&t);
  part_gather(&t);
  part_check_expected(&t, 1e-11);
  check_dense(&f, &t, 1e-10);
  part_check_target(&t, 1e-4, 2e-6);
  part_check_round_trip(&t, 1e-8);
  part_check_maximum(&t, 1000, 1e-4, 1e-4);
  const double *eta = part_eta(&t);
  double *target = new_doubles(t.part.n_eta);
  CHECK(t.part.target(t.part.work, t.stat, t.r, target) == ELBO_OK);
  for (int a = 0; a < t.part.n_eta; a++) CHECK_CLOSE(target[a], eta[a], 1e-6);
  test_free();
}

/* ---- units of y, and the whole mixture ------------------------------------------------------- */

/* y and all that is in its units times c: the same fit, the objective less N log c. */
static void check_scale(mixture_method method, int options) {
  double value[2], sd[2][N_SMOOTH * 2];
  for (int scaled = 0; scaled < 2; scaled++) {
    problem f;
    random_seed(99);
    part_test t = problem_test(&f, method, 2, SHARED | (scaled ? options : 0));
    for (int i = 0; i < 30; i++) part_m_step(&t);
    value[scaled] = part_objective(&t);
    for (int i = 0; i < t.n * t.k; i++)
      for (int row = f.first[i % t.n]; row < f.first[i % t.n + 1] && scaled; row++)
        value[1] += t.r[i] * log(unit_of(options));
    for (int i = 0; i < N_SMOOTH * 2; i++)
      sd[scaled][i] = field(&t, "smooth_sd")[i] / unit_of(scaled ? options : 0);
    test_free();
  }
  CHECK_CLOSE(value[1], value[0], 1e-9);
  CHECK(distance(sd[1], sd[0], N_SMOOTH * 2) < 1e-9);
}

typedef struct {
  mixture_spec spec;
  mixture w;
  elbo_model model;
} fixture;

static void make(fixture *m, problem *f, mixture_method method, int options) {
  memset(m, 0, sizeof *m);
  m->spec.method = method;
  m->spec.k = 2;
  m->spec.threads = 1;
  m->spec.n_part = 2;
  const mixture_weights_spec weights = {
      .method = method, .k = 2, .n_unit = N_UNIT, .coefficient_sd = HUGE_VAL};
  CHECK(mixture_weights_part(m->spec.part, &weights, &test_memory) == ELBO_OK);
  m->spec.part[1] = problem_part(f, method, 2, options);
  m->spec.units = f->spec.units;
  CHECK(mixture_init(&m->w, &m->spec, &test_memory) == ELBO_OK);
  m->model = mixture_model(&m->w);
}

/* The ascent ends; components in another order are the same mixture; of one component, the Hessian
 * has the information of the exact marginal likelihood. */
static void check_mixture(mixture_method method, int options) {
  fixture m;
  problem f;
  elbo_result result;
  int label[N_UNIT];
  const int order[] = {1, 0};
  const elbo_control control = {.accelerate = ELBO_ACCELERATE_AUTO, .max_iter = 2000, .tol = 1e-9};
  make(&m, &f, method, options);
  for (int i = 0; i < N_UNIT; i++) label[i] = i % 2 + 1;
  CHECK(mixture_start(&m.w, label, NULL) == ELBO_OK);
  double *memory = new_doubles((int)elbo_ascend_size(&m.model)), before, after;
  CHECK(elbo_ascend(&m.model, &m.w, &control, NULL, memory, &result) == ELBO_OK);
  CHECK(result.gradient < 1e-9);
  CHECK(m.model.elbo(&m.w, &before) == ELBO_OK);
  CHECK(mixture_permute(&m.w, order) == ELBO_OK);
  CHECK(m.model.e_step(&m.w) == ELBO_OK && m.model.elbo(&m.w, &after) == ELBO_OK);
  CHECK_CLOSE(after, before, 1e-10);
  test_free();
}

/* Minus the inverse of the Hessian has, of coordinates that are parameters, the inverse information
 * of the exact marginal likelihood, whose sds are free coordinates here as there. */
static void check_information(int options) {
  enum { N_X = FIXED + N_SMOOTH + 4 };
  problem f;
  part_test t = one_component(&f, options);
  const int n = t.part.n_eta, n_root = OWN * (OWN + 1) / 2;
  double *hessian = new_doubles(n * n), *eta = part_eta(&t), *low = new_doubles(n),
         *high = new_doubles(n);
  for (int a = 0; a < n; a++) {
    double *to[] = {low, high};
    const double kept = eta[a], h = 1e-5;
    for (int side = 0; side < 2; side++) {
      eta[a] = kept + (side ? h : -h);
      part_move(&t, eta);
      CHECK(t.part.gradient(t.part.work, t.stat, t.r, to[side]) == ELBO_OK);
    }
    eta[a] = kept;
    for (int b = 0; b < n; b++) hessian[b + n * a] = -(high[b] - low[b]) / (2.0 * h);
  }
  part_move(&t, eta);
  CHECK(la_chol(hessian, n) == ELBO_OK && la_inverse_from_chol(hessian, n) == ELBO_OK);
  double x[N_X], H[N_X * N_X], up, down;
  point_of(&t, x);
  for (int a = 0; a < N_X; a++)
    for (int b = 0; b <= a; b++) { /* second differences */
      const double h = 1e-3;
      double sum = 0.0;
      for (int sign = -1; sign <= 1; sign += 2) {
        x[a] += h;
        x[b] += sign * h;
        marginal_at(&f, x, &up);
        x[a] -= 2.0 * h;
        x[b] -= 2.0 * sign * h;
        marginal_at(&f, x, &down);
        x[a] += h;
        x[b] += sign * h;
        sum += sign * (up + down);
      }
      H[a + N_X * b] = H[b + N_X * a] = -sum / (4.0 * h * h);
    }
  CHECK(la_chol(H, N_X) == ELBO_OK && la_inverse_from_chol(H, N_X) == ELBO_OK);
  /* eta is beta, c, the root of Cov(c), sds, L in units of its columns, log sigma. */
  const int at[] = {1, P + n_root, P + n_root + 1, n - 1}, of[] = {1, FIXED, FIXED + 1, N_X - 1};
  for (int a = 0; a < 4; a++) {
    const double scale = a < 3 ? x[of[a]] / eta[at[a]] : 1.0;
    CHECK_CLOSE(hessian[at[a] + n * at[a]] * scale * scale / H[of[a] * (N_X + 1)], 1.0, 1e-3);
  }
  test_free();
}

int main(void) {
  static const int options[] = {
      SHARED,         0, SHARED | DIAGONAL, WEIGHTS, SHARED | WEIGHTS | COMMON, SHARED | HELD,
      HELD | DIAGONAL};
  for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
    random_seed(i + 1);
    check_em(options[i]);
    check_em(options[i] | PRIOR);
    check_vb(options[i]);
    check_joint(options[i] | PRIOR);
    check_restore(MIXTURE_EM, options[i]);
    check_restore(MIXTURE_VB, options[i]);
    check_restore(MIXTURE_JOINT, options[i]);
  }
  random_seed(11);
  check_exact(SHARED);
  check_exact(WEIGHTS);
  check_zero();
  check_settle();
  check_leaves_zero();
  check_information(SHARED);
  check_many(MIXTURE_EM);
  check_many(MIXTURE_VB);
  check_scale(MIXTURE_EM, TINY);
  check_scale(MIXTURE_EM, HUGE_Y);
  check_mixture(MIXTURE_EM, SHARED);
  check_mixture(MIXTURE_EM, WEIGHTS);
  check_mixture(MIXTURE_VB, SHARED);
  check_mixture(MIXTURE_VB, 0);
  return FINISH();
}
