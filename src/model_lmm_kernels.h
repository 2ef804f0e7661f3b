/* What is done to every group, eight groups at a time: included by model_lmm_{plain,avx2,avx512}.c,
 * which define SIMD_TARGET (a function attribute) and SIMD_NAME(x).
 *
 * A block holds K = q n_cell rows [R | X y] of eight groups; a group with fewer rows, or a lane
 * without a group, has rows of zeros, whose V is just the residual variance and is counted out in
 * n_within.  Everything works through
 *
 *   V = R Sigma R' + diag(variance) = L D L'      (K x K, no cancellation for large Sigma),
 *
 * L^{-1} being applied to the rows while V is eliminated.  No square roots and no logarithms in
 * the loops: determinants are kept as mantissa and exponent.
 *
 * Latent terms without a law (Sigma = infinity) are projected out of the whitened rows: V^{-1} is
 * replaced by V^{-1} - V^{-1} R0 (R0' V^{-1} R0)^{-1} R0' V^{-1}, and log |R0' V^{-1} R0| joins log |V|;
 * all derivatives keep their form. */

#include <math.h>
#include <string.h>

#include "math_simd.h"
#include "model_lmm.h"

#define INLINE static inline __attribute__((always_inline)) SIMD_TARGET
#define KERNEL static SIMD_TARGET

/* ---- lanes ---------------------------------------------------------------------------------- */

typedef struct {
  v8 mantissa;
  v8i exponent;
} v8_product;

INLINE void product_start(v8_product *x) {
  x->mantissa = (v8){1, 1, 1, 1, 1, 1, 1, 1};
  x->exponent = (v8i){0, 0, 0, 0, 0, 0, 0, 0};
}

/* x *= factor, for factor > 0 and normal. */
INLINE void product_times(v8_product *x, const v8 *factor) {
  const v8 y = x->mantissa * *factor;
  const v8i bits = (v8i)y;
  x->exponent += (bits >> 52) - 1023;
  x->mantissa = (v8)((bits & 0x000fffffffffffffLL) | 0x3ff0000000000000LL);
}

static double product_log(const v8_product *x) {
  double sum = 0.0;
  for (int l = 0; l < SIMD_LANES; l++)
    sum += log(x->mantissa[l]) + (double)x->exponent[l] * 0.693147180559945309417232121458;
  return sum;
}

INLINE double lane_sum(const v8 *x) {
  double sum = 0.0;
  for (int l = 0; l < SIMD_LANES; l++) sum += (*x)[l];
  return sum;
}

INLINE void set_zero(v8 *x, int n) {
  for (int i = 0; i < n; i++) x[i] = (v8){0, 0, 0, 0, 0, 0, 0, 0};
}

/* 1 / x where x > 0, else 0. */
INLINE void reciprocal_or_zero(const v8 *x, v8 *out) {
  const v8i positive = (v8i)(*x > 0.0);
  const v8 safe = (v8)(((v8i)*x & positive) | (~positive & 0x3ff0000000000000LL));
  *out = (v8)((v8i)(1.0 / safe) & positive);
}

/* ---- rows of a cell -------------------------------------------------------------------------- */

/* rows: n_rows x n_columns by column with the given stride.  Householder reflections bring the
 * first q columns to triangular form in the first min(n_rows, q) rows; the cross-products of the
 * columns from q on over the remaining rows are added to `within` (n_columns - q square, lower). */
KERNEL void SIMD_NAME(reduce)(double *rows, int n_rows, int stride, int q, int n_columns,
                              double *within) {
  const int n_reflect = n_rows < q ? n_rows : q;
  for (int k = 0; k < n_reflect; k++) {
    double *restrict v = rows + (size_t)stride * (size_t)k;
    double tail = 0.0;
    for (int i = k + 1; i < n_rows; i++) tail += v[i] * v[i];
    if (!(tail > 0.0)) continue;
    const double norm = sqrt(v[k] * v[k] + tail), alpha = v[k] > 0.0 ? -norm : norm;
    const double head = v[k] - alpha, factor = 2.0 / (head * head + tail);
    for (int c = k + 1; c < n_columns; c++) {
      double *restrict x = rows + (size_t)stride * (size_t)c;
      double dot = head * x[k];
      for (int i = k + 1; i < n_rows; i++) dot += v[i] * x[i];
      dot *= factor;
      x[k] -= dot * head;
      for (int i = k + 1; i < n_rows; i++) x[i] -= dot * v[i];
    }
    v[k] = alpha;
    for (int i = k + 1; i < n_rows; i++) v[i] = 0.0;
  }
  const int n = n_columns - q;
  for (int a = 0; a < n; a++)
    for (int b = 0; b <= a; b++) {
      const double *x = rows + (size_t)stride * (size_t)(q + a);
      const double *y = rows + (size_t)stride * (size_t)(q + b);
      double dot = 0.0;
      for (int i = n_reflect; i < n_rows; i++) dot += x[i] * y[i];
      within[a + n * b] += dot;
    }
}

/* ---- V = L D L' -------------------------------------------------------------------------------- */

/* x: K x (q + p1) rows of a block.  T: K x n_t rows L^{-1} [R | X y | I], d: the K pivots. */
INLINE void eliminate(int q, int n_cell, int p1, int with_inverse, const v8 *restrict x,
                      const double *Sigma, const double *variance, v8 *restrict V, v8 *restrict T,
                      v8 *restrict d) {
  const int K = q * n_cell, n_x = q + p1, n_t = n_x + (with_inverse ? K : 0);
  const v8 zero = {0, 0, 0, 0, 0, 0, 0, 0};
  for (int i = 0; i < K; i++) {
    for (int c = 0; c < n_x; c++) T[i * n_t + c] = x[i * n_x + c];
    if (with_inverse)
      for (int c = 0; c < K; c++) T[i * n_t + n_x + c] = zero + (c == i ? 1.0 : 0.0);
    for (int j = 0; j <= i; j++) V[i * K + j] = zero;
    for (int a = 0; a < q; a++) {
      v8 w = zero;
      for (int b = 0; b < q; b++) w += x[i * n_x + b] * Sigma[b + q * a];
      for (int j = 0; j <= i; j++) V[i * K + j] += w * x[j * n_x + a];
    }
    V[i * K + i] += variance[i / q];
  }
  for (int j = 0; j < K; j++) {
    d[j] = V[j * K + j];
    const v8 inverse = 1.0 / d[j];
    for (int i = j + 1; i < K; i++) {
      const v8 l = V[i * K + j] * inverse;
      for (int k = j + 1; k <= i; k++) V[i * K + k] -= l * V[k * K + j];
      for (int c = 0; c < n_t; c++) T[i * n_t + c] -= l * T[j * n_t + c];
    }
  }
  /* From here on the weights of the rows: 1 / d. */
  for (int j = 0; j < K; j++) d[j] = 1.0 / d[j];
}

/* Handed over by pointer: the ABI of vectors returned by value depends on the instruction set. */
INLINE void weighted_dot(const v8 *T, int n_t, int K, const v8 *weight, int a, int b, v8 *out) {
  v8 sum = {0, 0, 0, 0, 0, 0, 0, 0};
  for (int i = 0; i < K; i++) sum += T[i * n_t + a] * T[i * n_t + b] * weight[i];
  *out = sum;
}

/* Projects the columns `no_law` out of all others; multiplies R0' V^{-1} R0 into `det`. */
INLINE void project_no_law(v8 *T, int n_t, int K, const v8 *weight, int n_no_law,
                           const int *no_law, v8_product *det) {
  for (int a = 0; a < n_no_law; a++) {
    const int column = no_law[a];
    v8 norm, inverse, slope;
    weighted_dot(T, n_t, K, weight, column, column, &norm);
    reciprocal_or_zero(&norm, &inverse);
    const v8i positive = (v8i)(norm > 0.0);
    const v8 factor = (v8)(((v8i)norm & positive) | (~positive & 0x3ff0000000000000LL));
    product_times(det, &factor);
    for (int c = 0; c < n_t; c++) {
      int done = 0;
      for (int b = 0; b <= a; b++) done = done || no_law[b] == c;
      if (done) continue;
      weighted_dot(T, n_t, K, weight, column, c, &slope);
      slope *= inverse;
      for (int i = 0; i < K; i++) T[i * n_t + c] -= slope * T[i * n_t + column];
    }
  }
}

/* ---- objective --------------------------------------------------------------------------------- */

INLINE void objective_body(int q, int n_cell, int p1, const lmm_run *run, const double *Sigma,
                           const double *variance, int n_no_law, const int *no_law, double *cross,
                           double *log_det, double *log_det_no_law, v8 *work) {
  const int K = q * n_cell, n_x = q + p1;
  v8 *V = work, *T = V + K * K, *d = T + K * n_x, *sum = d + K;
  const v8 *x = (const v8 *)run->data;
  v8_product det, det_no_law;
  product_start(&det);
  product_start(&det_no_law);
  set_zero(sum, p1 * (p1 + 1) / 2);
  for (int b = 0; b < run->n_block; b++, x += K * n_x) {
    eliminate(q, n_cell, p1, 0, x, Sigma, variance, V, T, d);
    for (int i = 0; i < K; i++) product_times(&det, d + i);
    if (n_no_law > 0) project_no_law(T, n_x, K, d, n_no_law, no_law, &det_no_law);
    for (int i = 0; i < K; i++) {
      int at = 0;
      for (int j = 0; j < p1; j++) {
        const v8 scaled = T[i * n_x + q + j] * d[i];
        for (int k = 0; k <= j; k++) sum[at++] += scaled * T[i * n_x + q + k];
      }
    }
  }
  int at = 0;
  for (int j = 0; j < p1; j++)
    for (int k = 0; k <= j; k++) cross[j + p1 * k] += lane_sum(sum + at++);
  *log_det -= product_log(&det); /* d holds the reciprocals */
  *log_det_no_law += product_log(&det_no_law);
}

KERNEL void SIMD_NAME(objective)(const lmm_run *run, int q, int p, const double *Sigma,
                                 const double *variance, int n_no_law, const int *no_law,
                                 double *cross, double *log_det, double *log_det_no_law,
                                 double *work) {
#define BODY(Q, C)                                                                         \
  objective_body(Q, C, p + 1, run, Sigma, variance, n_no_law, no_law, cross, log_det,     \
                 log_det_no_law, (v8 *)work)
  if (run->n_cell == 1 && q == 1)
    BODY(1, 1);
  else if (run->n_cell == 1 && q == 2)
    BODY(2, 1);
  else
    BODY(q, run->n_cell);
#undef BODY
}

/* ---- derivatives --------------------------------------------------------------------------------
 *
 * Parameters: the entries of Sigma in pairs (a, b), direction E = e_a e_b' + e_b e_a' (e_a e_a' on the
 * diagonal), and the residual variance of each cell.  With W for V^{-1} (projected), r = y - X beta,
 *   P = R'WR, s = R'Wr, B = R'WX, N = s s' + B C B' (the second term for reml only)
 *   d/dSigma        = (N - P) / 2
 *   d2/dSigma dSigma = tr(P E P F) / 2 - tr(N E P F)
 * and alike with columns of the identity in place of R for residual variances. */
INLINE void derivatives_body(int q, int n_cell, int p, const lmm_run *run, const double *Sigma,
                             const double *variance, int n_no_law, const int *no_law,
                             const lmm_point *point, lmm_derivatives *out, v8 *work) {
  const int p1 = p + 1, K = q * n_cell, n_x = q + p1, n_t = n_x + K;
  const int n_pair = point->n_pair, n = n_pair + n_cell, reml = point->C != NULL;
  const double trace_on = point->log_det ? 1.0 : 0.0;
  const v8 zero = {0, 0, 0, 0, 0, 0, 0, 0};
  v8 *V = work, *T = V + K * K, *d = T + K * n_t;
  v8 *r = d + K, *s = r + K, *P = s + q, *B = P + q * q, *N = B + q * p; /* B by row: q x p */
  v8 *t = N + q * q, *TR = t + K, *TX = TR + K * q, *W = TX + K * p;     /* rows of V^{-1}[r R X I] */
  v8 *BC = W + K * K, *TXC = BC + q * p;                                  /* B C and TX C */
  v8 *gradient = TXC + K * p, *hessian = gradient + n, *cross = hessian + n * n;
  v8 *spread = cross + n * p;
  set_zero(gradient, n + n * n + n * p + n * p * p);
  const v8 *x = (const v8 *)run->data;
  for (int block = 0; block < run->n_block; block++, x += K * n_x) {
    eliminate(q, n_cell, p1, 1, x, Sigma, variance, V, T, d);
    if (n_no_law > 0) {
      v8_product det;
      product_start(&det);
      project_no_law(T, n_t, K, d, n_no_law, no_law, &det);
    }
    for (int i = 0; i < K; i++) {
      r[i] = T[i * n_t + q + p];
      for (int j = 0; j < p; j++) r[i] -= T[i * n_t + q + j] * point->beta[j];
    }
    for (int a = 0; a < q; a++) {
      s[a] = zero;
      for (int i = 0; i < K; i++) s[a] += T[i * n_t + a] * r[i] * d[i];
      for (int b = 0; b <= a; b++) {
        weighted_dot(T, n_t, K, d, a, b, P + a + q * b);
        P[b + q * a] = P[a + q * b];
      }
      for (int j = 0; j < p; j++) weighted_dot(T, n_t, K, d, a, q + j, B + a * p + j);
    }
    for (int i = 0; i < K; i++) {
      t[i] = zero;
      for (int k = 0; k < K; k++) t[i] += T[k * n_t + n_x + i] * r[k] * d[k];
      for (int a = 0; a < q; a++) weighted_dot(T, n_t, K, d, n_x + i, a, TR + i * q + a);
      for (int j = 0; j < p; j++) weighted_dot(T, n_t, K, d, n_x + i, q + j, TX + i * p + j);
      for (int k = 0; k <= i; k++) {
        weighted_dot(T, n_t, K, d, n_x + i, n_x + k, W + i + K * k);
        W[k + K * i] = W[i + K * k];
      }
    }
    if (reml) {
      for (int j = 0; j < p; j++) {
        for (int a = 0; a < q; a++) {
          BC[a * p + j] = zero;
          for (int k = 0; k < p; k++) BC[a * p + j] += B[a * p + k] * point->C[k + p * j];
        }
        for (int i = 0; i < K; i++) {
          TXC[i * p + j] = zero;
          for (int k = 0; k < p; k++) TXC[i * p + j] += TX[i * p + k] * point->C[k + p * j];
        }
      }
    }
    for (int a = 0; a < q; a++)
      for (int b = 0; b <= a; b++) {
        v8 sum = s[a] * s[b];
        if (reml)
          for (int j = 0; j < p; j++) sum += BC[a * p + j] * B[b * p + j];
        N[a + q * b] = N[b + q * a] = sum;
      }

    for (int e = 0; e < n_pair; e++) {
      const int a = point->pair_a[e], b = point->pair_b[e];
      const double kappa = a == b ? 0.5 : 1.0;
      gradient[e] += kappa * (N[a + q * b] - trace_on * P[a + q * b]);
      for (int f = 0; f <= e; f++) {
        const int c = point->pair_a[f], g = point->pair_b[f];
        const double both = kappa * (c == g ? 0.5 : 1.0);
        const v8 pp = P[a + q * c] * P[b + q * g] + P[a + q * g] * P[b + q * c];
        const v8 pn = P[a + q * c] * N[b + q * g] + P[a + q * g] * N[b + q * c] +
                      P[b + q * c] * N[a + q * g] + P[b + q * g] * N[a + q * c];
        hessian[e + n * f] += both * (trace_on * pp - pn);
      }
      for (int j = 0; j < p; j++) {
        cross[e * p + j] -= kappa * (s[a] * B[b * p + j] + s[b] * B[a * p + j]);
        for (int k = 0; k <= j; k++)
          spread[(e * p + j) * p + k] +=
              kappa * (B[a * p + j] * B[b * p + k] + B[b * p + j] * B[a * p + k]);
      }
    }
    for (int c = 0; c < n_cell; c++) {
      const int row = n_pair + c;
      for (int i = c * q; i < (c + 1) * q; i++) {
        v8 n_ii = t[i] * t[i];
        if (reml)
          for (int j = 0; j < p; j++) n_ii += TXC[i * p + j] * TX[i * p + j];
        gradient[row] += 0.5 * (n_ii - trace_on * W[i + K * i]);
        for (int j = 0; j < p; j++) {
          cross[row * p + j] -= t[i] * TX[i * p + j];
          for (int k = 0; k <= j; k++)
            spread[(row * p + j) * p + k] += TX[i * p + j] * TX[i * p + k];
        }
        for (int e = 0; e < n_pair; e++) {
          const int a = point->pair_a[e], b = point->pair_b[e];
          const double kappa = a == b ? 0.5 : 1.0;
          v8 n_ab = s[a] * t[i] * TR[i * q + b] + s[b] * t[i] * TR[i * q + a];
          if (reml)
            for (int j = 0; j < p; j++)
              n_ab += BC[a * p + j] * TX[i * p + j] * TR[i * q + b] +
                      BC[b * p + j] * TX[i * p + j] * TR[i * q + a];
          hessian[row + n * e] += kappa * (trace_on * TR[i * q + a] * TR[i * q + b] - n_ab);
        }
        for (int h = 0; h <= c; h++)
          for (int k = h * q; k < (h + 1) * q; k++) {
            v8 n_ik = t[i] * t[k];
            if (reml)
              for (int j = 0; j < p; j++) n_ik += TXC[i * p + j] * TX[k * p + j];
            hessian[row + n * (n_pair + h)] +=
                W[i + K * k] * (0.5 * trace_on * W[i + K * k] - n_ik);
          }
      }
    }
  }
  for (int e = 0; e < n; e++) {
    out->gradient[e] += lane_sum(gradient + e);
    for (int f = 0; f <= e; f++) out->hessian[e + n * f] += lane_sum(hessian + e + n * f);
    for (int j = 0; j < p; j++) {
      out->cross[e + n * j] += lane_sum(cross + e * p + j);
      for (int k = 0; k <= j; k++)
        out->spread[e + n * (j + p * k)] += lane_sum(spread + (e * p + j) * p + k);
    }
  }
}

KERNEL void SIMD_NAME(derivatives)(const lmm_run *run, int q, int p, const double *Sigma,
                                   const double *variance, int n_no_law, const int *no_law,
                                   const lmm_point *point, lmm_derivatives *out, double *work) {
#define BODY(Q, C)                                                                               \
  derivatives_body(Q, C, p, run, Sigma, variance, n_no_law, no_law, point, out, (v8 *)work)
  if (run->n_cell == 1 && q == 1)
    BODY(1, 1);
  else if (run->n_cell == 1 && q == 2)
    BODY(2, 1);
  else
    BODY(q, run->n_cell);
#undef BODY
}

/* ---- q(u) ------------------------------------------------------------------------------------- */

/* A = sum_c R_c'R_c / variance_c (q x q) and b = sum_c R_c'[X y]_c / variance_c (q x p1, by row). */
INLINE void precision(int q, int n_cell, int p1, const v8 *restrict x, const double *variance,
                      v8 *restrict A, v8 *restrict b) {
  const int K = q * n_cell, n_x = q + p1;
  set_zero(A, q * q);
  set_zero(b, q * p1);
  for (int i = 0; i < K; i++) {
    const double weight = 1.0 / variance[i / q];
    for (int a = 0; a < q; a++) {
      const v8 z = x[i * n_x + a] * weight;
      for (int c = 0; c < q; c++) A[a + q * c] += z * x[i * n_x + c];
      for (int j = 0; j < p1; j++) b[a * p1 + j] += z * x[i * n_x + q + j];
    }
  }
}

/* The exact posterior: cov S = L (J + L'AL)^{-1} L', mean S (b_y - b_X beta), gain S b_X, where
 * J = diag(prior) is 1, or 0 for a term without a law (whose column of L is that of the identity).
 * This form has no cancellation where the data are strong.  `spread` multiplies S in what is
 * stored (0: points).  log_det: sum log |J + L'AL|. */
INLINE void posterior_body(int q, int n_cell, int p, const lmm_run *run, const double *L,
                           const double *prior, const double *variance, const double *beta,
                           double spread, double *posterior, double *log_det, v8 *work) {
  const int p1 = p + 1, K = q * n_cell, n_x = q + p1;
  const v8 zero = {0, 0, 0, 0, 0, 0, 0, 0};
  v8 *A = work, *b = A + q * q, *M = b + q * p1, *H = M + q * q, *S = H + q * q;
  const v8 *x = (const v8 *)run->data;
  v8 *out = (v8 *)posterior;
  v8_product det;
  product_start(&det);
  for (int block = 0; block < run->n_block; block++, x += K * n_x, out += q + q * q + q * p) {
    precision(q, n_cell, p1, x, variance, A, b);
    for (int i = 0; i < q; i++)   /* H = A L */
      for (int j = 0; j < q; j++) {
        H[i + q * j] = zero;
        for (int k = 0; k < q; k++) H[i + q * j] += A[i + q * k] * L[k + q * j];
      }
    for (int i = 0; i < q; i++)   /* M = J + L'AL, H = L' */
      for (int j = 0; j <= i; j++) {
        M[i + q * j] = zero + (i == j ? prior[i] : 0.0);
        for (int k = 0; k < q; k++) M[i + q * j] += L[k + q * i] * H[k + q * j];
      }
    for (int i = 0; i < q; i++)
      for (int j = 0; j < q; j++) H[i + q * j] = zero + L[j + q * i];
    for (int j = 0; j < q; j++) {  /* M = U D U', H = U^{-1} L' */
      /* A lane without a group has nothing to say of a term without a law. */
      const v8i positive = (v8i)(M[j + q * j] > 0.0);
      M[j + q * j] = (v8)(((v8i)M[j + q * j] & positive) | (~positive & 0x3ff0000000000000LL));
      product_times(&det, M + j + q * j);
      const v8 inverse = 1.0 / M[j + q * j];
      for (int i = j + 1; i < q; i++) {
        const v8 l = M[i + q * j] * inverse;
        for (int k = j + 1; k <= i; k++) M[i + q * k] -= l * M[k + q * j];
        for (int c = 0; c < q; c++) H[i + q * c] -= l * H[j + q * c];
      }
    }
    for (int i = 0; i < q; i++)
      for (int j = 0; j <= i; j++) {
        v8 sum = zero;
        for (int k = 0; k < q; k++) sum += H[k + q * i] * H[k + q * j] / M[k + q * k];
        S[i + q * j] = S[j + q * i] = sum;
      }
    for (int a = 0; a < q; a++) {
      out[a] = zero;
      for (int c = 0; c < q; c++) {
        v8 score = b[c * p1 + p];
        for (int j = 0; j < p; j++) score -= b[c * p1 + j] * beta[j];
        out[a] += S[a + q * c] * score;
        out[q + a + q * c] = S[a + q * c] * spread;
      }
      for (int j = 0; j < p; j++) {
        v8 gain = zero;
        for (int c = 0; c < q; c++) gain += S[a + q * c] * b[c * p1 + j];
        out[q + q * q + a * p + j] = gain;
      }
    }
  }
  *log_det += product_log(&det);
}

KERNEL void SIMD_NAME(posterior)(const lmm_run *run, int q, int p, const double *L,
                                 const double *prior, const double *variance, const double *beta,
                                 double spread, double *posterior, double *log_det, double *work) {
  if (run->n_cell == 1 && q == 1)
    posterior_body(1, 1, p, run, L, prior, variance, beta, spread, posterior, log_det, (v8 *)work);
  else
    posterior_body(q, run->n_cell, p, run, L, prior, variance, beta, spread, posterior, log_det,
                   (v8 *)work);
}

/* What the M-step needs of q(u), or of q(beta, u) with cov(beta) = C: second = sum_g E[u u'];
 * per cell, cross = [X e]'[X e] with e = y - R E[u] (p1 x p1, lower) and trace = the rest of
 * E |y - X beta - R u|^2.  Lanes without a group hold zeros. */
KERNEL void SIMD_NAME(moments)(const lmm_run *run, int q, int p, const double *posterior,
                               const double *C, double *second, double *cross, double *trace,
                               double *work) {
  const int p1 = p + 1, n_cell = run->n_cell, K = q * n_cell, n_x = q + p1;
  const v8 zero = {0, 0, 0, 0, 0, 0, 0, 0};
  v8 *sum_second = (v8 *)work, *sum_cross = sum_second + q * q;
  v8 *sum_trace = sum_cross + n_cell * p1 * p1, *row = sum_trace + n_cell, *KC = row + p1;
  set_zero(sum_second, q * q + n_cell * p1 * p1 + n_cell);
  const v8 *x = (const v8 *)run->data, *u = (const v8 *)posterior;
  for (int block = 0; block < run->n_block; block++, x += K * n_x, u += q + q * q + q * p) {
    const v8 *S = u + q, *gain = S + q * q;
    if (C)
      for (int a = 0; a < q; a++)
        for (int j = 0; j < p; j++) {
          KC[a * p + j] = zero;
          for (int k = 0; k < p; k++) KC[a * p + j] += gain[a * p + k] * C[k + p * j];
        }
    for (int a = 0; a < q; a++)
      for (int b = 0; b <= a; b++) {
        v8 e = S[a + q * b] + u[a] * u[b];
        if (C)
          for (int j = 0; j < p; j++) e += KC[a * p + j] * gain[b * p + j];
        sum_second[a + q * b] += e;
      }
    for (int i = 0; i < K; i++) {
      const v8 *xi = x + i * n_x;
      const int c = i / q;
      for (int j = 0; j < p1; j++) row[j] = xi[q + j];
      for (int a = 0; a < q; a++) {
        row[p] -= xi[a] * u[a];
        for (int b = 0; b < q; b++) sum_trace[c] += xi[a] * S[a + q * b] * xi[b];
      }
      for (int j = 0; j < p1; j++)
        for (int k = 0; k <= j; k++) sum_cross[(c * p1 + j) * p1 + k] += row[j] * row[k];
      if (C) { /* x - K'z: what u leaves of x */
        for (int j = 0; j < p; j++)
          for (int a = 0; a < q; a++) row[j] -= gain[a * p + j] * xi[a];
        for (int j = 0; j < p; j++)
          for (int k = 0; k < p; k++) sum_trace[c] += row[j] * C[j + p * k] * row[k];
      }
    }
  }
  for (int a = 0; a < q; a++)
    for (int b = 0; b <= a; b++) second[a + q * b] += lane_sum(sum_second + a + q * b);
  for (int c = 0; c < n_cell; c++) {
    trace[c] += lane_sum(sum_trace + c);
    for (int j = 0; j < p1; j++)
      for (int k = 0; k <= j; k++)
        cross[c * p1 * p1 + j + p1 * k] += lane_sum(sum_cross + (c * p1 + j) * p1 + k);
  }
}

/* The group sums in KL(from || to), `to` being exact with precision Sigma^{-1} + A:
 * second = sum (S_from + d d' + dK C dK') and trace = sum tr(A (the same)), where
 * d = mean_from - mean_to + gain_to' shift and dK the difference of gains. */
KERNEL void SIMD_NAME(divergence)(const lmm_run *run, int q, int p, const double *variance,
                                  const double *from, const double *to, const double *shift,
                                  const double *C, double *second, double *trace, double *work) {
  const int p1 = p + 1, n_cell = run->n_cell, K = q * n_cell, n_x = q + p1;
  const v8 zero = {0, 0, 0, 0, 0, 0, 0, 0};
  v8 *sum_second = (v8 *)work, *A = sum_second + q * q, *b = A + q * q, *d = b + q * p1;
  v8 *KC = d + q, sum_trace = zero;
  set_zero(sum_second, q * q);
  const v8 *x = (const v8 *)run->data, *u = (const v8 *)from, *v = (const v8 *)to;
  const int stride = q + q * q + q * p;
  for (int block = 0; block < run->n_block; block++, x += K * n_x, u += stride, v += stride) {
    const v8 *gain_u = u + q + q * q, *gain_v = v + q + q * q;
    precision(q, n_cell, p1, x, variance, A, b);
    for (int a = 0; a < q; a++) {
      d[a] = u[a] - v[a];
      for (int j = 0; j < p; j++) d[a] += gain_v[a * p + j] * shift[j];
      if (C)
        for (int j = 0; j < p; j++) {
          KC[a * p + j] = zero;
          for (int k = 0; k < p; k++)
            KC[a * p + j] += (gain_u[a * p + k] - gain_v[a * p + k]) * C[k + p * j];
        }
    }
    for (int a = 0; a < q; a++)
      for (int c = 0; c < q; c++) {
        v8 e = u[q + a + q * c] + d[a] * d[c];
        if (C)
          for (int j = 0; j < p; j++)
            e += KC[a * p + j] * (gain_u[c * p + j] - gain_v[c * p + j]);
        if (c <= a) sum_second[a + q * c] += e;
        sum_trace += A[a + q * c] * e;
      }
  }
  for (int a = 0; a < q; a++)
    for (int c = 0; c <= a; c++) second[a + q * c] += lane_sum(sum_second + a + q * c);
  *trace += lane_sum(&sum_trace);
}

/* Doubles of scratch that any kernel needs. */
static size_t SIMD_NAME(work_size)(int q, int p, int n_cell, int n_pair) {
  const size_t Q = (size_t)q, P = (size_t)p, K = Q * (size_t)n_cell, n = (size_t)(n_pair + n_cell);
  const size_t p1 = P + 1, n_t = Q + p1 + K;
  const size_t derivatives = 2 * K * K + K * n_t + 3 * K + Q + 2 * Q * Q + 2 * Q * P + K * Q +
                             2 * K * P + n + n * n + n * P + n * P * P;
  const size_t moments = Q * Q + (size_t)n_cell * (p1 * p1 + 1) + p1 + Q * P;
  const size_t others = 5 * Q * Q + 2 * Q * p1 + Q + p1 * p1 + K * K + K * n_t + K;
  return SIMD_LANES * (derivatives + moments + others);
}

#define KERNEL_TABLE                                                                          \
  {                                                                                           \
    SIMD_NAME(reduce), SIMD_NAME(objective), SIMD_NAME(derivatives), SIMD_NAME(posterior),    \
        SIMD_NAME(moments), SIMD_NAME(divergence), SIMD_NAME(work_size)                       \
  }
