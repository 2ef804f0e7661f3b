/* What is done at every row and node of a group: included by plain.c, avx2.c, avx512.c, which
 * define SIMD_TARGET, SIMD_WIDTH and SIMD_NAME.  Arrays over nodes have n columns, a multiple of
 * SIMD_LANES, row i at x + n * i. */
#include "general/nodes.h"

#define INLINE static inline __attribute__((always_inline)) SIMD_TARGET
#define KERNEL static SIMD_TARGET

typedef double vec __attribute__((vector_size(8 * SIMD_WIDTH), aligned(8), may_alias));

static const vec zero = {0};

#define AT(x) (*(const vec *)(x))

INLINE double total(vec x) {
  double sum = 0.0;
  for (int l = 0; l < SIMD_WIDTH; l++) sum += x[l];
  return sum;
}

KERNEL void SIMD_NAME(predictors)(int rows, int q, int n, const double *b, const double *a,
                                  const double *v, double *x) {
  for (int i = 0; i < rows; i++, a += q)
    for (int k = 0; k < n; k += SIMD_WIDTH) {
      vec sum = zero + b[i];
      for (int c = 0; c < q; c++) sum += a[c] * AT(v + n * c + k);
      *(vec *)(x + (size_t)n * (size_t)i + k) = sum;
    }
}

KERNEL void SIMD_NAME(add_rows)(int rows, int n, const double *weight, const double *x,
                                double *sum) {
  for (int k = 0; k < n; k += SIMD_WIDTH) {
    vec s = AT(sum + k);
    if (weight)
      for (int i = 0; i < rows; i++) s += weight[i] * AT(x + (size_t)n * (size_t)i + k);
    else
      for (int i = 0; i < rows; i++) s += AT(x + (size_t)n * (size_t)i + k);
    *(vec *)(sum + k) = s;
  }
}

/* Four columns of A at a time; beyond the last its own are taken again and forgotten. */
KERNEL void SIMD_NAME(cross)(int rows, int m, int n, const double *A, const double *weight,
                             const double *x, double *out) {
  for (int k = 0; k < n; k += SIMD_WIDTH)
    for (int j = 0; j < m; j += 4) {
      const int j1 = j + 1 < m ? j + 1 : j, j2 = j + 2 < m ? j + 2 : j, j3 = j + 3 < m ? j + 3 : j;
      vec s0 = zero, s1 = zero, s2 = zero, s3 = zero;
      for (int i = 0; i < rows; i++) {
        const double *a = A + (size_t)m * (size_t)i;
        vec f = AT(x + (size_t)n * (size_t)i + k);
        if (weight) f *= weight[i];
        s0 += a[j] * f;
        s1 += a[j1] * f;
        s2 += a[j2] * f;
        s3 += a[j3] * f;
      }
      *(vec *)(out + (size_t)n * (size_t)j + k) = s0;
      if (j1 > j) *(vec *)(out + (size_t)n * (size_t)j1 + k) = s1;
      if (j2 > j) *(vec *)(out + (size_t)n * (size_t)j2 + k) = s2;
      if (j3 > j) *(vec *)(out + (size_t)n * (size_t)j3 + k) = s3;
    }
}

KERNEL void SIMD_NAME(moments)(int rows, int q, int n, int second_order, const double *e,
                               const double *v, const double *first, const double *second,
                               double *moment) {
  const int n_moment = 2 + q + q * (q + 1) / 2;
  for (int i = 0; i < rows; i++, moment += n_moment, first += n, second += n) {
    vec m0 = zero, m1 = zero, m2 = zero, m3 = zero;
    for (int k = 0; k < n; k += SIMD_WIDTH) m0 += AT(e + k) * AT(first + k);
    moment[0] += total(m0);
    if (!second_order) continue;
    for (int c = 0; c < q; c++) {
      m1 = m2 = m3 = zero;
      for (int k = 0; k < n; k += SIMD_WIDTH) {
        const vec f = AT(e + k) * AT(second + k), fv = f * AT(v + n * c + k);
        m1 += f;
        m2 += fv;
        m3 += fv * AT(v + n * c + k);
      }
      moment[2 + c] += total(m2);
      moment[2 + q + c * (c + 1) / 2 + c] += total(m3);
      for (int d = 0; d < c; d++) {
        vec cross = zero;
        for (int k = 0; k < n; k += SIMD_WIDTH)
          cross += AT(e + k) * AT(second + k) * AT(v + n * c + k) * AT(v + n * d + k);
        moment[2 + q + c * (c + 1) / 2 + d] += total(cross);
      }
    }
    if (q == 0)
      for (int k = 0; k < n; k += SIMD_WIDTH) m1 += AT(e + k) * AT(second + k);
    moment[1] += total(m1);
  }
}

KERNEL void SIMD_NAME(products)(int m, int n, const double *e, const double *x, double *S) {
  for (int a = 0; a < m; a++)
    for (int b = 0; b <= a; b++) {
      vec sum = zero;
      for (int k = 0; k < n; k += SIMD_WIDTH)
        sum += AT(e + k) * AT(x + (size_t)n * (size_t)a + k) * AT(x + (size_t)n * (size_t)b + k);
      S[a + m * b] += total(sum);
    }
}

#define KERNEL_TABLE                                                                  \
  {                                                                                   \
    SIMD_NAME(predictors), SIMD_NAME(add_rows), SIMD_NAME(cross), SIMD_NAME(moments), \
        SIMD_NAME(products)                                                           \
  }
