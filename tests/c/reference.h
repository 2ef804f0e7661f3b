/* What several C tests share: memory of its own size for each array, so that a checker sees an
 * access beyond it; random numbers; derivatives by differences. */
#ifndef ELBO_TEST_REFERENCE_H
#define ELBO_TEST_REFERENCE_H

#include <stdio.h>
#include <stdlib.h>

#include "engine/engine.h"
#include "harness.h"

/* ---- memory ---------------------------------------------------------------------------------- */

enum { MOST_ARRAYS = 32768 };

static void *test_array[MOST_ARRAYS];
static int n_test_arrays = 0;

static inline void *test_get(void *ctx, size_t bytes) {
  (void)ctx;
  void *array = n_test_arrays < MOST_ARRAYS ? malloc(bytes) : NULL;
  if (array == NULL) {
    printf("no memory for the test\n");
    exit(2);
  }
  test_array[n_test_arrays++] = array;
  return array;
}

static inline void test_free(void) {
  while (n_test_arrays > 0) free(test_array[--n_test_arrays]);
}

static const elbo_memory test_memory = {test_get, NULL};

static inline double *new_doubles(int n) {
  double *x = (double *)test_get(NULL, (size_t)(n > 0 ? n : 1) * sizeof(double));
  for (int i = 0; i < n; i++) x[i] = 0.0;
  return x;
}

static inline int *new_ints(int n) {
  int *x = (int *)test_get(NULL, (size_t)(n > 0 ? n : 1) * sizeof(int));
  for (int i = 0; i < n; i++) x[i] = 0;
  return x;
}

static inline double *copy_doubles(const double *x, int n) {
  double *copy = new_doubles(n);
  for (int i = 0; i < n; i++) copy[i] = x[i];
  return copy;
}

/* ---- random numbers: xorshift64* (Vigna 2016), normals by Box and Muller --------------------- */

static unsigned long long random_state = 88172645463325252ULL;

static inline void random_seed(unsigned long long seed) {
  random_state = 88172645463325252ULL ^ (seed * 0x9E3779B97F4A7C15ULL);
}

static inline double random_uniform(void) {
  random_state ^= random_state >> 12;
  random_state ^= random_state << 25;
  random_state ^= random_state >> 27;
  return ((double)((random_state * 2685821657736338717ULL) >> 11) + 0.5) / 9007199254740992.0;
}

static inline double random_normal(void) {
  const double radius = sqrt(-2.0 * log(random_uniform()));
  return radius * cos(6.283185307179586477 * random_uniform());
}

/* ---- comparison ------------------------------------------------------------------------------ */

static inline double largest(const double *x, int n) {
  double most = 0.0;
  for (int i = 0; i < n; i++) most = fmax(most, fabs(x[i]));
  return most;
}

/* max_i |a_i - b_i| / max(1, max_i |b_i|); Inf where something is not a number. */
static inline double distance(const double *a, const double *b, int n) {
  double most = 0.0;
  for (int i = 0; i < n; i++) {
    const double apart = fabs(a[i] - b[i]);
    if (!(apart <= most)) most = isnan(apart) ? HUGE_VAL : apart;
  }
  return most / fmax(1.0, largest(b, n));
}

/* Central differences of sixth order of f (n_out values) in x_j: error h^6 f^(7) / 140. */
typedef void (*test_function)(void *ctx, const double *x, double *out);

static inline void differences(test_function f, void *ctx, const double *x, int n, int j, double h,
                               double *out, int n_out) {
  static const double coefficient[3] = {45.0 / 60.0, -9.0 / 60.0, 1.0 / 60.0};
  double *at = copy_doubles(x, n), *value = new_doubles(n_out);
  for (int i = 0; i < n_out; i++) out[i] = 0.0;
  for (int k = 1; k <= 3; k++)
    for (int sign = -1; sign <= 1; sign += 2) {
      at[j] = x[j] + sign * k * h;
      f(ctx, at, value);
      for (int i = 0; i < n_out; i++) out[i] += sign * coefficient[k - 1] * value[i] / h;
    }
}

#endif
