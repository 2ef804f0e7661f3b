/* The choice of an instruction set, and the kernels of each against those of plain C. */
#include "math/simd.h"

#include <string.h>

#include "glmm/groups.h"
#include "reference.h"

/* Sums of some tens of products of numbers near one, in a different order. */
#define ROUNDING 1e-12

static void test_limit(void) {
  simd_limit(SIMD_AVX512);
  const simd_level best = simd_current();
  for (int level = SIMD_PLAIN; level <= SIMD_AVX512; level++) {
    simd_limit((simd_level)level);
    CHECK(simd_current() == ((int)best < level ? best : (simd_level)level));
  }
  simd_limit(SIMD_PLAIN);
  CHECK(lmm_kernels_current() == &lmm_kernels_plain);
#if SIMD_X86
  simd_limit(SIMD_AVX2);
  if (best >= SIMD_AVX2) CHECK(lmm_kernels_current() == &lmm_kernels_avx2);
  simd_limit(SIMD_AVX512);
  if (best == SIMD_AVX512) CHECK(lmm_kernels_current() == &lmm_kernels_avx512);
#endif
  simd_limit(SIMD_AVX512);
}

#if SIMD_X86

static double *random_doubles(int n) {
  double *x = new_doubles(n);
  for (int i = 0; i < n; i++) x[i] = random_normal();
  return x;
}

static double *random_covariance(int n) {
  double *A = random_doubles(n * n), *S = new_doubles(n * n);
  for (int i = 0; i < n; i++)
    for (int j = 0; j < n; j++) {
      S[i + n * j] = i == j ? 0.5 : 0.0;
      for (int k = 0; k < n; k++) S[i + n * j] += A[i + n * k] * A[j + n * k];
    }
  return S;
}

/* Every output of a call with plain and the same call with the other kernels. */
#define BOTH(size, call)                                            \
  do {                                                              \
    double *out = new_doubles(size), *expected = new_doubles(size); \
    const lmm_kernels *kernels = other;                             \
    (call);                                                         \
    double *kept = out;                                             \
    kernels = &lmm_kernels_plain;                                   \
    out = expected;                                                 \
    (call);                                                         \
    CHECK(largest(expected, size) > 0.0);                           \
    CHECK(distance(kept, expected, size) < ROUNDING);               \
  } while (0)

typedef struct {
  int q, p, n_cell, n_no_law;
  lmm_run run;
  double *Sigma, *L, *prior, *variance, *beta, *C, *work;
  int *no_law;
} kernel_input;

static kernel_input new_input(int q, int p, int n_cell, int n_no_law) {
  kernel_input in;
  memset(&in, 0, sizeof in);
  in.q = q;
  in.p = p;
  in.n_cell = in.run.n_cell = n_cell;
  in.n_no_law = n_no_law;
  in.run.n_block = 3;
  in.run.data = random_doubles(in.run.n_block * q * n_cell * (q + p + 1) * SIMD_LANES);
  in.Sigma = random_covariance(q);
  in.no_law = new_ints(n_no_law);
  in.prior = new_doubles(q);
  in.L = new_doubles(q * q);
  for (int a = 0; a < q; a++) {
    in.prior[a] = a < n_no_law ? 0.0 : 1.0;
    for (int b = 0; b <= a; b++) in.L[a + q * b] = a == b ? 1.0 : b < n_no_law ? 0.0 : 0.5;
    for (int b = 0; b < q; b++)
      if (a < n_no_law || b < n_no_law) in.Sigma[a + q * b] = 0.0;
    if (a < n_no_law) in.no_law[a] = a;
  }
  in.variance = new_doubles(n_cell);
  for (int c = 0; c < n_cell; c++) in.variance[c] = 0.5 + random_uniform();
  in.beta = random_doubles(p);
  in.C = random_covariance(p);
  in.work = new_doubles((int)lmm_kernels_plain.work_size(q, p, n_cell, q * (q + 1) / 2));
  return in;
}

static void compare_reduce(const lmm_kernels *other, int q, int p, int n_rows) {
  const int n_columns = q + p + 1, stride = n_rows + 2, n_rest = p + 1;
  const double *rows = random_doubles(stride * n_columns);
  const int size = n_rest * n_rest + stride * n_columns;
  double *outcome[2];
  const lmm_kernels *kernels[2] = {other, &lmm_kernels_plain};
  for (int k = 0; k < 2; k++) {
    outcome[k] = new_doubles(size);
    for (int i = 0; i < stride * n_columns; i++) outcome[k][n_rest * n_rest + i] = rows[i];
    kernels[k]->reduce(outcome[k] + n_rest * n_rest, n_rows, stride, q, n_columns, outcome[k]);
  }
  CHECK(distance(outcome[0], outcome[1], size) < ROUNDING);
}

static void compare_derivatives(const lmm_kernels *other, const kernel_input *in, int reml,
                                int log_det) {
  const int q = in->q, p = in->p, n_pair = q * (q + 1) / 2, n = n_pair + in->n_cell;
  int *pair_a = new_ints(n_pair), *pair_b = new_ints(n_pair);
  for (int a = 0, e = 0; a < q; a++)
    for (int b = 0; b <= a; b++, e++) {
      pair_a[e] = a;
      pair_b[e] = b;
    }
  const lmm_point point = {in->beta, reml ? in->C : NULL, log_det, n_pair, pair_a, pair_b,
                           0};
  const int size = n + n * n + n * p + n * p * p;
  double *outcome[2];
  const lmm_kernels *kernels[2] = {other, &lmm_kernels_plain};
  for (int k = 0; k < 2; k++) {
    double *x = outcome[k] = new_doubles(size);
    lmm_derivatives d = {x, x + n, x + n + n * n, x + n + n * n + n * p};
    kernels[k]->derivatives(&in->run, q, p, in->L, in->prior, in->variance, &point, &d, in->work);
  }
  CHECK(largest(outcome[1], n) > 0.0);
  CHECK(distance(outcome[0], outcome[1], size) < ROUNDING);
}

static void compare(const lmm_kernels *other, int q, int p, int n_cell, int n_no_law) {
  kernel_input in = new_input(q, p, n_cell, n_no_law);
  const int p1 = p + 1, n_posterior = (int)lmm_posterior_stride(q, p) * in.run.n_block;
  CHECK(other->work_size(q, p, n_cell, 3) == lmm_kernels_plain.work_size(q, p, n_cell, 3));
  BOTH(p1 * p1 + 1, kernels->objective(&in.run, q, p, in.L, in.prior, in.variance, in.beta, out,
                                       out + p1 * p1, in.work));
  BOTH(n_posterior + 1, kernels->posterior(&in.run, q, p, in.L, in.prior, in.variance, in.beta, 1.0,
                                           out, out + n_posterior, in.work));
  const double *u = random_doubles(n_posterior), *v = random_doubles(n_posterior);
  const double *shift = random_doubles(p), *M = random_doubles(q * q);
  for (int reml = 0; reml < 2; reml++) {
    const double *C = reml ? in.C : NULL;
    const int n_moments = q * q + n_cell * p1 * p1 + n_cell;
    BOTH(n_moments, kernels->moments(&in.run, q, p, in.L, in.beta, u, C, out, out + q * q,
                                     out + q * q + n_cell * p1 * p1, in.work));
    BOTH(1, kernels->divergence(&in.run, q, p, in.L, in.prior, in.variance, M, u, v, shift, C, out,
                                in.work));
    compare_derivatives(other, &in, reml, 1);
  }
  compare_derivatives(other, &in, 0, 0);
  for (int n_rows = 1; n_rows < 40; n_rows += 6) compare_reduce(other, q, p, n_rows);
  test_free();
}

static void test_kernels(simd_level level, const lmm_kernels *other) {
  simd_limit(SIMD_AVX512);
  if (simd_current() < level) {
    printf("this processor lacks instruction set %d: not compared\n", (int)level);
    return;
  }
  for (int q = 1; q <= 4; q++)
    for (int p = 0; p <= 3; p++)
      for (int n_cell = 1; n_cell <= 3; n_cell++)
        for (int n_no_law = 0; n_no_law <= 1; n_no_law++) compare(other, q, p, n_cell, n_no_law);
}

#endif

int main(void) {
  test_limit();
#if SIMD_X86
  test_kernels(SIMD_AVX2, &lmm_kernels_avx2);
  test_kernels(SIMD_AVX512, &lmm_kernels_avx512);
#endif
  test_free();
  return FINISH();
}
