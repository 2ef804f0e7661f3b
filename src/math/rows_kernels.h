/* The kernels of math/rows.h: included by math_rows_{plain,avx2,avx512}.c, which define SIMD_TARGET
 * (a function attribute), SIMD_NAME(x), and SIMD_WIDTH, the doubles in one of the processor's
 * vectors, which divides SIMD_LANES. */

#include <math.h>

#include "math/rows.h"

#define INLINE static inline __attribute__((always_inline)) SIMD_TARGET
#define KERNEL static SIMD_TARGET

typedef double vec __attribute__((vector_size(8 * SIMD_WIDTH), aligned(8), may_alias));
typedef long long veci __attribute__((vector_size(8 * SIMD_WIDTH), aligned(8), may_alias));

static const vec zero = {0};

#define ALL(x) (zero + (x))

/* a where the mask is set, else b. */
#define CHOOSE(mask, a, b) ((vec)(((veci)(a) & (mask)) | ((veci)(b) & ~(mask))))

/* ---- exponential and logarithm --------------------------------------------------------------- */

/* exp x = 2^n exp r with n = round(x / log 2), |r| <= log(2) / 2, r in two pieces so that n log 2
 * is subtracted exactly; exp r by its Taylor series to r^13 / 13!, whose rest is below 5e-18.  n
 * comes into the exponent by adding it, shifted, to the bits.  Below -708 the answer is 0, above
 * 709 it is that of 709: densities need no more. */
INLINE void vec_exp(vec *at) {
  const double magic =
      6755399441055744.0; /* 1.5 * 2^52: the last bits of the sum are the integer */
  vec x = *at;
  const veci in_range = (veci)(x >= -708.0);
  x = CHOOSE(in_range, x, ALL(-708.0));
  x = CHOOSE((veci)(x <= 709.0), x, ALL(709.0));
  const vec shifted = x * 1.44269504088896340736 + magic;
  const vec n = shifted - magic;
  const vec r = (x - n * 6.93147180369123816490e-01) - n * 1.90821492927058770002e-10;
  vec sum = ALL(1.0 / 6227020800.0);
  sum = sum * r + 1.0 / 479001600.0;
  sum = sum * r + 1.0 / 39916800.0;
  sum = sum * r + 1.0 / 3628800.0;
  sum = sum * r + 1.0 / 362880.0;
  sum = sum * r + 1.0 / 40320.0;
  sum = sum * r + 1.0 / 5040.0;
  sum = sum * r + 1.0 / 720.0;
  sum = sum * r + 1.0 / 120.0;
  sum = sum * r + 1.0 / 24.0;
  sum = sum * r + 1.0 / 6.0;
  sum = sum * r + 0.5;
  sum = sum * r + 1.0;
  sum = sum * r + 1.0;
  *at = (vec)(((veci)sum + ((veci)shifted << 52)) & in_range);
}

/* log x = e log 2 + log m, x = 2^e m, m in [sqrt(1/2), sqrt 2): log m = 2 artanh s, s = (m - 1) /
 * (m + 1), by its series to s^21, whose rest is below 1e-18.  For x positive and normal. */
INLINE void vec_log(vec *at) {
  const veci bits = (veci)*at;
  veci e = ((bits >> 52) & 0x7ff) - 1023;
  vec m = (vec)((bits & 0x000fffffffffffffLL) | 0x3ff0000000000000LL);
  const veci high = (veci)(m > 1.41421356237309504880);
  m = CHOOSE(high, m * 0.5, m);
  e -= high; /* -1 where true */
  const vec exponent = (vec)(e + 0x4338000000000000LL) - 6755399441055744.0;
  const vec s = (m - 1.0) / (m + 1.0), z = s * s;
  vec sum = ALL(1.0 / 21.0);
  sum = sum * z + 1.0 / 19.0;
  sum = sum * z + 1.0 / 17.0;
  sum = sum * z + 1.0 / 15.0;
  sum = sum * z + 1.0 / 13.0;
  sum = sum * z + 1.0 / 11.0;
  sum = sum * z + 1.0 / 9.0;
  sum = sum * z + 1.0 / 7.0;
  sum = sum * z + 1.0 / 5.0;
  sum = sum * z + 1.0 / 3.0;
  const vec log_m = 2.0 * s + 2.0 * s * z * sum;
  *at = exponent * 6.93147180369123816490e-01 + (log_m + exponent * 1.90821492927058770002e-10);
}

KERNEL void SIMD_NAME(rows_exp)(int ld, const double *x, double *out) {
  for (int i = 0; i < ld; i += SIMD_WIDTH) {
    vec y = *(const vec *)(x + i);
    vec_exp(&y);
    *(vec *)(out + i) = y;
  }
}

KERNEL void SIMD_NAME(rows_log)(int ld, const double *x, double *out) {
  for (int i = 0; i < ld; i += SIMD_WIDTH) {
    vec y = *(const vec *)(x + i);
    vec_log(&y);
    *(vec *)(out + i) = y;
  }
}

/* As in math/logistic.h, e = e^-|x - shift|, u = 1 + e; log u with what was lost in rounding u. */
INLINE void vec_logistic(vec y, vec total, vec x, double shift, double *value, double *first,
                         double *second) {
  const vec w = x - shift;
  const veci positive = (veci)(w > zero);
  vec e = CHOOSE(positive, -w, w);
  vec_exp(&e);
  const vec u = 1.0 + e, inverse = 1.0 / u;
  vec log_u = u;
  vec_log(&log_u);
  log_u += (e - (u - 1.0)) * inverse + CHOOSE(positive, w, zero);
  *(vec *)value = y * x - total * log_u;
  *(vec *)first = y - total * (CHOOSE(positive, ALL(1.0), e) * inverse);
  *(vec *)second = -total * (e * inverse * inverse);
}

KERNEL void SIMD_NAME(rows_logistic)(int n, int each, const double *y, const double *total,
                                     double extra, double shift, const double *x, double *value,
                                     double *first, double *second) {
  if (each == 1) {
    for (int i = 0; i < n; i += SIMD_WIDTH) {
      const vec all = total ? *(const vec *)(total + i) + extra : ALL(1.0 + extra);
      vec_logistic(*(const vec *)(y + i), all, *(const vec *)(x + i), shift, value + i, first + i,
                   second + i);
    }
    return;
  }
  for (int i = 0; i < n; i++) {
    const vec own = ALL(y[i]), all = ALL((total ? total[i] : 1.0) + extra);
    const size_t at = (size_t)each * (size_t)i;
    for (size_t k = at; k < at + (size_t)each; k += SIMD_WIDTH)
      vec_logistic(own, all, *(const vec *)(x + k), shift, value + k, first + k, second + k);
  }
}

/* ---- densities ------------------------------------------------------------------------------- */

enum { SIDE = 4 }; /* vectors of rows side by side: they share what is read of M */

KERNEL void SIMD_NAME(quadratic)(int ld, int d, const double *x, const double *centre, int rows,
                                 int lower, const double *M, double constant, double *out) {
  vec t[SIDE * d];
  for (int i = 0; i < ld; i += SIDE * SIMD_WIDTH) {
    int at[SIDE]; /* beyond the end, the last vector's work is done again and forgotten */
    for (int u = 0; u < SIDE; u++)
      at[u] = i + u * SIMD_WIDTH < ld ? i + u * SIMD_WIDTH : ld - SIMD_WIDTH;
    for (int b = 0; b < d; b++) {
      const double *from = x + (size_t)ld * (size_t)b;
      for (int u = 0; u < SIDE; u++) t[SIDE * b + u] = *(const vec *)(from + at[u]) - centre[b];
    }
    vec q0 = zero, q1 = zero, q2 = zero, q3 = zero;
    for (int a = 0; a < rows; a++) {
      const double *m = M + (size_t)d * (size_t)a;
      const int end = lower ? a + 1 : d;
      vec y0 = zero, y1 = zero, y2 = zero, y3 = zero;
      for (int b = 0; b < end; b++) {
        y0 += m[b] * t[SIDE * b];
        y1 += m[b] * t[SIDE * b + 1];
        y2 += m[b] * t[SIDE * b + 2];
        y3 += m[b] * t[SIDE * b + 3];
      }
      q0 += y0 * y0;
      q1 += y1 * y1;
      q2 += y2 * y2;
      q3 += y3 * y3;
    }
    const vec q[SIDE] = {q0, q1, q2, q3};
    for (int u = 0; u < SIDE && i + u * SIMD_WIDTH < ld; u++)
      *(vec *)(out + at[u]) += constant - 0.5 * q[u];
  }
}

/* ---- cross-products -------------------------------------------------------------------------- */

static double lane_total(const vec *x) {
  double sum = 0.0;
  for (int l = 0; l < SIMD_WIDTH; l++) sum += (*x)[l];
  return sum;
}

enum { STRIP = 64 / SIMD_WIDTH }; /* vectors of rows that stay in the nearest cache */

/* sum[b] += sum over a strip of rt_a t_b, b <= a: four b at a time share what is read of rt. */
INLINE void cross_row(int a, const vec *rt, const vec *t, vec *sum) {
  const vec *ra = rt + (size_t)a * STRIP;
  int b = 0;
  for (; b + 3 <= a; b += 4) {
    const vec *tb = t + (size_t)b * STRIP;
    vec s0 = sum[b], s1 = sum[b + 1], s2 = sum[b + 2], s3 = sum[b + 3];
    for (int i = 0; i < STRIP; i++) {
      s0 += ra[i] * tb[i];
      s1 += ra[i] * tb[i + STRIP];
      s2 += ra[i] * tb[i + 2 * STRIP];
      s3 += ra[i] * tb[i + 3 * STRIP];
    }
    sum[b] = s0;
    sum[b + 1] = s1;
    sum[b + 2] = s2;
    sum[b + 3] = s3;
  }
  for (; b <= a; b++) {
    const vec *tb = t + (size_t)b * STRIP;
    vec s0 = sum[b], s1 = zero;
    for (int i = 0; i < STRIP; i += 2) {
      s0 += ra[i] * tb[i];
      s1 += ra[i + 1] * tb[i + 1];
    }
    sum[b] = s0 + s1;
  }
}

KERNEL void SIMD_NAME(crossprod)(int ld, int d, const double *x, const double *centre,
                                 const double *r, double *stat) {
  const int size = (d + 1) * (d + 2) / 2;
  vec t[STRIP * (d + 1)], rt[STRIP * (d + 1)], sum[size];
  for (int a = 0; a < size; a++) sum[a] = zero;
  for (int i = 0; i < STRIP; i++) t[i] = ALL(1.0);
  for (int start = 0; start < ld; start += STRIP * SIMD_WIDTH) {
    const int left = (ld - start) / SIMD_WIDTH, n = left < STRIP ? left : STRIP;
    vec total = zero;
    for (int i = 0; i < n; i++) {
      rt[i] = *(const vec *)(r + start + i * SIMD_WIDTH);
      total += rt[i];
    }
    if (!(lane_total(&total) > 0.0)) continue; /* nothing here belongs to the component */
    for (int i = n; i < STRIP; i++) rt[i] = zero;
    for (int b = 0; b < d; b++) {
      const double *from = x + (size_t)ld * (size_t)b + start;
      vec *tb = t + (size_t)(b + 1) * STRIP, *rb = rt + (size_t)(b + 1) * STRIP;
      for (int i = 0; i < n; i++) {
        tb[i] = *(const vec *)(from + i * SIMD_WIDTH) - centre[b];
        rb[i] = rt[i] * tb[i];
      }
      for (int i = n; i < STRIP; i++) tb[i] = rb[i] = zero;
    }
    for (int a = 0; a <= d; a++) cross_row(a, rt, t, sum + a * (a + 1) / 2);
  }
  for (int a = 0; a < size; a++) stat[a] += lane_total(sum + a);
}

/* Two columns by four: with more the AVX2 build runs out of registers.  Beyond the edge a column is
 * taken again and the sum forgotten. */
KERNEL void SIMD_NAME(outer)(int ld, int n, const double *z, double *S) {
  for (int b = 0; b < n; b += 4)
    for (int a = b; a < n; a += 2) {
      const double *zb[4], *za[2];
      for (int u = 0; u < 4; u++) zb[u] = z + (size_t)ld * (size_t)(b + u < n ? b + u : n - 1);
      for (int u = 0; u < 2; u++) za[u] = z + (size_t)ld * (size_t)(a + u < n ? a + u : n - 1);
      vec s00 = zero, s01 = zero, s02 = zero, s03 = zero;
      vec s10 = zero, s11 = zero, s12 = zero, s13 = zero;
      for (int i = 0; i < ld; i += SIMD_WIDTH) {
        const vec a0 = *(const vec *)(za[0] + i), a1 = *(const vec *)(za[1] + i);
        const vec b0 = *(const vec *)(zb[0] + i), b1 = *(const vec *)(zb[1] + i);
        const vec b2 = *(const vec *)(zb[2] + i), b3 = *(const vec *)(zb[3] + i);
        s00 += a0 * b0;
        s01 += a0 * b1;
        s02 += a0 * b2;
        s03 += a0 * b3;
        s10 += a1 * b0;
        s11 += a1 * b1;
        s12 += a1 * b2;
        s13 += a1 * b3;
      }
      const vec s[2][4] = {{s00, s01, s02, s03}, {s10, s11, s12, s13}};
      for (int u = 0; u < 2; u++)
        for (int v = 0; v < 4; v++)
          if (a + u < n && b + v <= a + u)
            S[(size_t)(a + u) + (size_t)n * (size_t)(b + v)] += lane_total(&s[u][v]);
    }
}

/* ---- responsibilities ------------------------------------------------------------------------ */

/* The largest l is taken out first, so that the sum is at least 1; where every l is -Inf the unit
 * is impossible under each component, and belongs to none. */
KERNEL void SIMD_NAME(posterior)(int ld, int k, double *l, double *lse) {
  for (int i = 0; i < ld; i += SIMD_WIDTH) {
    vec most = ALL(-1.7e308), sum = zero;
    for (int j = 0; j < k; j++) {
      const vec x = *(const vec *)(l + (size_t)ld * (size_t)j + i);
      most = CHOOSE((veci)(x > most), x, most);
    }
    for (int j = 0; j < k; j++) {
      vec *at = (vec *)(l + (size_t)ld * (size_t)j + i), x = *at - most;
      vec_exp(&x);
      sum += x;
      *at = x;
    }
    const veci some = (veci)(sum >= 1.0);
    sum = CHOOSE(some, sum, ALL(1.0));
    const vec scale = 1.0 / sum;
    for (int j = 0; j < k; j++) *(vec *)(l + (size_t)ld * (size_t)j + i) *= scale;
    vec_log(&sum);
    *(vec *)(lse + i) = CHOOSE(some, most + sum, ALL(-HUGE_VAL));
  }
}

#define KERNEL_TABLE                                                                      \
  {                                                                                       \
    SIMD_NAME(quadratic), SIMD_NAME(crossprod), SIMD_NAME(outer), SIMD_NAME(posterior),   \
        SIMD_NAME(rows_exp), SIMD_NAME(rows_log), SIMD_NAME(rows_logistic)                \
  }
