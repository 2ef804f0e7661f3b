/* Priors of covariances of latent terms: densities put together by hand, derivatives against
 * differences, the coordinate step as the maximum that it is. */
#include <math.h>
#include <string.h>

#include "law/latent_prior.h"
#include "law/scale_factor.h"
#include "math/la.h"
#include "math/small.h"
#include "reference.h"

enum { Q = 3, PACKED = Q * (Q + 1) / 2 };

static const int flats[Q] = {SD_FLAT, SD_FLAT, SD_FLAT};
static const int half_ts[Q] = {SD_HALF_T, SD_HALF_T, SD_HALF_T};
static const int mixed[Q] = {SD_HALF_NORMAL, SD_EXPONENTIAL, SD_INVERSE_GAMMA};
static const double df[Q] = {3.0, 3.0, 3.0}, scale[Q] = {1.5, 0.8, 2.0};

static latent_prior example(int q, const int *family, double lkj) {
  const latent_prior prior = {
      .q = q, .family = family, .df = df, .scale = scale, .lkj = lkj, .n = 12.0};
  return prior;
}

static void random_covariance(int q, double *S) {
  double A[Q * Q];
  for (int i = 0; i < q * q; i++) A[i] = random_normal();
  la_multiply_t(A, A, q, q, q, S);
  for (int i = 0; i < q; i++) S[i * (q + 1)] += 0.5;
}

static double determinant(int q, const double *S) {
  if (q == 1) return S[0];
  if (q == 2) return S[0] * S[3] - S[1] * S[2];
  return S[0] * (S[4] * S[8] - S[5] * S[7]) - S[3] * (S[1] * S[8] - S[2] * S[7]) +
         S[6] * (S[1] * S[5] - S[2] * S[4]);
}

static void test_point(void) {
  for (int q = 1; q <= Q; q++)
    for (int common = 0; common < 2; common++) {
      latent_prior prior = example(q, mixed, 2.5);
      double S[Q * Q], value, slope, R = 1.0, expected = 0.0;
      random_covariance(q, S);
      prior.common = common;
      CHECK(latent_prior_point(&prior, S, &value) == ELBO_OK);
      for (int k = 0; k < (common ? 1 : q); k++) {
        const sd_prior law = {(sd_family)mixed[k], df[k], scale[k]};
        expected += sd_prior_log_density(&law, S[k * (q + 1)], &slope);
      }
      for (int k = 0; k < q; k++) R /= S[k * (q + 1)];
      R *= determinant(q, S);
      if (q > 1) expected += lkj_log_constant(q, 2.5) + 1.5 * log(R);
      CHECK_CLOSE(value, expected, 1e-12);
    }
}

/* ---- derivatives ----------------------------------------------------------------------------- */

typedef struct {
  const latent_prior *prior;
  int bound;
} example_of;

static void unpack(int q, const double *packed, double *S) {
  for (int a = 0; a < q; a++)
    for (int b = 0; b <= a; b++) S[a + q * b] = S[b + q * a] = packed[packed_size(a) + (size_t)b];
}

static void value_at(void *ctx, const double *packed, double *out) {
  const example_of *e = (const example_of *)ctx;
  double S[Q * Q];
  unpack(e->prior->q, packed, S);
  CHECK((e->bound ? latent_prior_bound : latent_prior_point)(e->prior, S, out) == ELBO_OK);
}

static void slopes_at(void *ctx, const double *packed, double *out) {
  const example_of *e = (const example_of *)ctx;
  const int size = (int)packed_size(e->prior->q);
  double S[Q * Q], hessian[PACKED * PACKED] = {0};
  int place[PACKED];
  unpack(e->prior->q, packed, S);
  for (int k = 0; k < size; k++) {
    place[k] = k;
    out[k] = 0.0;
  }
  CHECK((e->bound ? latent_prior_bound_slopes : latent_prior_point_slopes)(
            e->prior, S, place, size, out, hessian) == ELBO_OK);
}

/* The direction of an entry off the diagonal moves both its places, as packed ones do. */
static void check_slopes(const latent_prior *prior, int bound) {
  const int q = prior->q, size = (int)packed_size(q), n = size + 2;
  example_of e = {prior, bound};
  double S[Q * Q], *packed = new_doubles(size), *gradient = new_doubles(n), *by = new_doubles(size);
  double *hessian = new_doubles(n * n), *all = new_doubles(size);
  int place[PACKED];
  random_covariance(q, S);
  for (int a = 0, at = 0; a < q; a++)
    for (int b = 0; b <= a; b++) packed[at++] = S[a + q * b];
  for (int k = 0; k < size; k++) place[k] = k == 1 ? -1 : k + 1; /* one is not asked for */
  slopes_at(&e, packed, all);
  CHECK((bound ? latent_prior_bound_slopes : latent_prior_point_slopes)(
            prior, S, place, n, gradient, hessian) == ELBO_OK);
  CHECK(gradient[0] == 0.0 && gradient[n - 1] == 0.0 && (size < 2 || gradient[2] == 0.0));
  for (int k = 0; k < size; k++) {
    differences(value_at, &e, packed, size, k, 2e-3, by, 1);
    CHECK_CLOSE(all[k], by[0], 1e-8);
    if (k == 1) continue;
    CHECK(gradient[k + 1] == all[k]);
    differences(slopes_at, &e, packed, size, k, 2e-3, by, size);
    for (int l = 0; l <= k; l++)
      if (l != 1) CHECK_CLOSE(hessian[k + 1 + n * (l + 1)], by[l], 1e-7);
  }
}

static void test_slopes(void) {
  for (int q = 1; q <= Q; q++)
    for (int trial = 0; trial < 4; trial++) {
      const latent_prior priors[] = {example(q, flats, NAN), example(q, half_ts, 1.0),
                                     example(q, mixed, 3.0)};
      for (int i = 0; i < 3; i++) check_slopes(priors + i, 0);
      const latent_prior bounds[] = {example(q, half_ts, NAN), example(q, half_ts, 1.5),
                                     example(q, mixed, 2.0)};
      for (int i = 0; i < 3; i++) check_slopes(bounds + i, 1);
      test_free();
    }
}

/* ---- the coordinate step --------------------------------------------------------------------- */

/* E log p(u) + h(S), u of n units with sum u u' = second: what the step climbs. */
static double lifted(const latent_prior *prior, const double *S, const double *second) {
  const int q = prior->q;
  double value, inverse[Q * Q];
  memcpy(inverse, S, square(q) * sizeof(double));
  CHECK(latent_prior_bound(prior, S, &value) == ELBO_OK);
  CHECK(la_chol(inverse, q) == ELBO_OK && la_inverse_from_chol(inverse, q) == ELBO_OK);
  value -= 0.5 * prior->n * log(determinant(q, S));
  for (int i = 0; i < q * q; i++) value -= 0.5 * inverse[i] * second[i];
  return value;
}

/* Every step climbs, and where steps end nothing near is higher. */
static void test_update(void) {
  for (int q = 1; q <= Q; q++) {
    const latent_prior prior = example(q, half_ts, NAN);
    double S[Q * Q], second[Q * Q], next[Q * Q];
    CHECK(latent_prior_closed(&prior));
    random_covariance(q, S);
    random_covariance(q, second);
    for (int i = 0; i < q * q; i++) second[i] *= 12.0;
    double best = lifted(&prior, S, second);
    for (int step = 0; step < 200; step++) {
      CHECK(latent_prior_update(&prior, S, second, next) == ELBO_OK);
      memcpy(S, next, sizeof S);
      const double now = lifted(&prior, S, second);
      CHECK(now >= best - 1e-12 * fabs(best));
      best = now;
    }
    for (int trial = 0; trial < 50; trial++) {
      double near[Q * Q];
      for (int a = 0; a < q; a++)
        for (int b = 0; b <= a; b++)
          near[a + q * b] = near[b + q * a] = S[a + q * b] + 1e-3 * random_normal();
      CHECK(lifted(&prior, near, second) < best);
    }
  }
  const latent_prior any = example(2, half_ts, 2.0), other = example(1, mixed, NAN);
  CHECK(!latent_prior_closed(&any) && !latent_prior_closed(&other));
}

/* d of half-t priors is n + df + q - 1. */
static void test_df(void) {
  for (int q = 1; q <= Q; q++) {
    const latent_prior prior = example(q, half_ts, NAN);
    double S[Q * Q], d, information, slope[Q];
    random_covariance(q, S);
    CHECK(latent_prior_df(&prior, S, &d, &information, slope) == ELBO_OK);
    CHECK_CLOSE(d, 12.0 + 3.0 + q - 1.0, 1e-15);
    for (int k = 0; k < q; k++) CHECK(slope[k] == 0.0);
  }
}

static void test_singular(void) {
  const latent_prior prior = example(2, half_ts, 2.0);
  const double S[4] = {1.0, 1.0, 1.0, 1.0};
  double value;
  CHECK(latent_prior_point(&prior, S, &value) != ELBO_OK);
  CHECK(latent_prior_bound(&prior, S, &value) != ELBO_OK);
}

int main(void) {
  test_point();
  test_slopes();
  test_update();
  test_df();
  test_singular();
  test_free();
  return FINISH();
}
