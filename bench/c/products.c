/* GFLOP/s of the dense products, factors and inverses of src/math, by instruction set, on one core:
 *   make -C tests/c objects
 *   gcc -O2 -fopenmp -Isrc bench/c/products.c .build/c/math/{product,simd,threads,factor}*.o \
 *     .build/c/math/product_*.o -lm -o .build/products && .build/products
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "math/factor.h"

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void measure(int n) {
  const size_t size = (size_t)n * (size_t)n;
  double *memory = malloc(product_work_size(1) * sizeof(double));
  double *A = malloc(size * sizeof(double)), *C = malloc(size * sizeof(double));
  double *space = malloc(factor_inverse_size(n) * sizeof(double));
  double best[3] = {1e9, 1e9, 1e9};
  product_work work;
  product_work_bind(&work, 1, memory);
  for (size_t i = 0; i < size; i++) A[i] = (double)rand() / RAND_MAX - 0.5;
  const product_view a = {A, 1, (size_t)n};
  for (int run = 0; run < 5; run++) {
    double times[4];
    memset(C, 0, size * sizeof(double));
    times[0] = now();
    product_update(&work, 0, n, n, n, 1.0, a, a, C, (size_t)n);
    times[1] = now();
    for (int i = 0; i < n; i++) C[(size_t)i * (size_t)(n + 1)] += n;
    if (factor_cholesky(&work, n, C, (size_t)n) != ELBO_OK) printf("not positive definite\n");
    times[2] = now();
    factor_inverse(&work, n, C, (size_t)n, space);
    times[3] = now();
    for (int i = 0; i < 3; i++)
      if (times[i + 1] - times[i] < best[i]) best[i] = times[i + 1] - times[i];
  }
  const double cube = 1e-9 * (double)n * (double)size;
  printf("  n = %4d   product %5.1f   factor %5.1f   inverse %5.1f GFLOP/s\n", n,
         2.0 * cube / best[0], cube / 3.0 / best[1], 2.0 * cube / 3.0 / best[2]);
  free(memory);
  free(A);
  free(C);
  free(space);
}

int main(void) {
  static const char *const name[] = {"plain", "avx2", "avx512"};
  for (int level = SIMD_PLAIN; level <= SIMD_AVX512; level++) {
    simd_limit((simd_level)level);
    if (simd_current() != (simd_level)level) continue;
    printf("%s\n", name[level]);
    measure(200);
    measure(1128);
    measure(3000);
  }
  return 0;
}
