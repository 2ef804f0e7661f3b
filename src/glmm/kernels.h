/* What is done to every group, eight groups at a time: included by glmm/plain.c,
 * glmm/avx2.c and glmm/avx512.c, which define SIMD_TARGET (a function attribute) and SIMD_NAME(x).
 *
 * A block holds K = q n_cell rows [R | X y] of eight groups; a group with fewer rows, or a lane
 * without a group, has rows of zeros, whose V is just the residual variance and is counted out in
 * n_within.
 *
 * With u = L b, b ~ N(0, J^{-1}), J = diag(prior) (1, or 0 for a term without a law, whose column
 * of L is that of the identity), everything works through the least squares problem that b solves:
 * the rows [R L] with weights 1 / variance on top of the q rows I with weights J.  Projecting its
 * columns out of [R | X y | I; 0] by modified Gram-Schmidt leaves W^{1/2} times these, W = V^{-1}
 * (and free of what has no law), and the squared lengths on the way multiply to |J + L'AL|.  That
 * is backward stable (Bjorck 1967, BIT 7:1) where forming V or its inverse is not: for strong data,
 * and for Sigma = L L' nearly or exactly singular.  No square roots, and no logarithms in the
 * loops: determinants are kept as mantissa and exponent. */

#include <math.h>
#include <string.h>

#include "glmm/groups.h"
#include "math/simd.h"
#include "math/small.h"

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
  for (int l = 0; l < SIMD_LANES; l++) sum += log(x->mantissa[l]) + (double)x->exponent[l] * LOG_2;
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

/* ---- projection ------------------------------------------------------------------------------ */

/* Handed over by pointer: the ABI of vectors returned by value depends on the instruction set. */
INLINE void weighted_dot(const v8 *T, int n_t, int n, const v8 *weight, int a, int b, v8 *out) {
  v8 sum = {0, 0, 0, 0, 0, 0, 0, 0};
  for (int i = 0; i < n; i++) sum += T[i * n_t + a] * T[i * n_t + b] * weight[i];
  *out = sum;
}

/* x: K x (q + p1) rows of a block.  T: (K + q) x n_t rows of [R | X y | I; 0] with the q columns of
 * [R L; I] projected out, under the weights of the rows (K + q); multiplies |J + L'AL| into det.
 * basis: (K + q) x q, orthogonal; inverse_norm: q, 1 over its columns' squared lengths.  Where they
 * are not NULL, U (q x q) has above its diagonal what makes [R L; I] = basis U, and taken (q x n_t,
 * by row) the coefficients on the basis of what was projected out. */
INLINE void project(int q, int n_cell, int p1, int with_identity, const v8 *restrict x,
                    const double *L, const double *prior, const double *variance,
                    v8 *restrict basis, v8 *restrict T, v8 *restrict weight,
                    v8 *restrict inverse_norm, v8 *restrict U, v8 *restrict taken,
                    v8_product *det) {
  const int K = q * n_cell, n = K + q, n_x = q + p1, n_t = n_x + (with_identity ? K : 0);
  const v8 zero = {0, 0, 0, 0, 0, 0, 0, 0};
  for (int i = 0; i < n; i++) {
    weight[i] = zero + (i < K ? 1.0 / variance[i / q] : prior[i - K]);
    for (int c = 0; c < n_t; c++) T[i * n_t + c] = zero + (c >= n_x && c - n_x == i ? 1.0 : 0.0);
    for (int a = 0; a < q; a++) basis[i * q + a] = zero + (i - K == a ? 1.0 : 0.0);
    if (i >= K) continue;
    for (int c = 0; c < n_x; c++) T[i * n_t + c] = x[i * n_x + c];
    for (int a = 0; a < q; a++)
      for (int b = 0; b < q; b++) basis[i * q + a] += x[i * n_x + b] * L[b + q * a];
  }
  for (int a = 0; a < q; a++) {
    v8 norm, slope, inverse;
    weighted_dot(basis, q, n, weight, a, a, &norm);
    /* A lane without a group has nothing to say of a term without a law. */
    reciprocal_or_zero(&norm, &inverse);
    inverse_norm[a] = inverse;
    const v8i positive = (v8i)(norm > 0.0);
    const v8 factor = (v8)(((v8i)norm & positive) | (~positive & 0x3ff0000000000000LL));
    product_times(det, &factor);
    for (int c = a + 1; c < q; c++) {
      weighted_dot(basis, q, n, weight, a, c, &slope);
      slope *= inverse;
      if (U) U[a + q * c] = slope;
      for (int i = 0; i < n; i++) basis[i * q + c] -= slope * basis[i * q + a];
    }
    for (int c = 0; c < n_t; c++) {
      v8 dot = zero;
      for (int i = 0; i < n; i++) dot += basis[i * q + a] * T[i * n_t + c] * weight[i];
      dot *= inverse;
      if (taken) taken[a * n_t + c] = dot;
      for (int i = 0; i < n; i++) T[i * n_t + c] -= dot * basis[i * q + a];
    }
  }
}

/* ---- objective ------------------------------------------------------------------------------- */

INLINE void objective_body(int q, int n_cell, int p1, const lmm_run *run, const double *L,
                           const double *prior, const double *variance, const double *origin,
                           double *cross, double *log_det, v8 *work) {
  const int K = q * n_cell, n = K + q, n_x = q + p1;
  v8 *basis = work, *T = basis + n * q, *weight = T + n * n_x, *norm = weight + n, *sum = norm + q;
  const v8 *x = (const v8 *)run->data;
  v8_product det;
  product_start(&det);
  set_zero(sum, p1 * (p1 + 1) / 2);
  for (int b = 0; b < run->n_block; b++, x += K * n_x) {
    project(q, n_cell, p1, 0, x, L, prior, variance, basis, T, weight, norm, NULL, NULL, &det);
    for (int i = 0; i < n; i++) {
      int at = 0;
      for (int j = 0; j < p1 - 1; j++) T[i * n_x + q + p1 - 1] -= T[i * n_x + q + j] * origin[j];
      for (int j = 0; j < p1; j++) {
        const v8 scaled = T[i * n_x + q + j] * weight[i];
        for (int k = 0; k <= j; k++) sum[at++] += scaled * T[i * n_x + q + k];
      }
    }
  }
  int at = 0;
  for (int j = 0; j < p1; j++)
    for (int k = 0; k <= j; k++) cross[j + p1 * k] += lane_sum(sum + at++);
  *log_det += product_log(&det);
}

KERNEL void SIMD_NAME(objective)(const lmm_run *run, int q, int p, const double *L,
                                 const double *prior, const double *variance, const double *origin,
                                 double *cross, double *log_det, double *work) {
#define BODY(Q, C) \
  objective_body(Q, C, p + 1, run, L, prior, variance, origin, cross, log_det, (v8 *)work)
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
 * Parameters: the entries of Sigma in pairs (a, b), direction E = e_a e_b' + e_b e_a' (e_a e_a' on
 * the diagonal), and the residual variance of each cell.  With W for V^{-1} (projected), r = y - X
 * beta,
 *   P = R'WR, s = R'Wr, B = R'WX, N = s s' + B C B' (the second term for reml only)
 *   d/dSigma        = (N - P) / 2
 *   d2/dSigma dSigma = tr(P E P F) / 2 - tr(N E P F)
 * and alike with columns of the identity in place of R for residual variances. */
/* What a block's derivatives are made of, and the sums over blocks; by row where not square. */
typedef struct {
  v8 *basis, *T, *d, *norm;                /* of project(); d: weights */
  v8 *r, *s, *P, *B, *N;                   /* B: q x p */
  v8 *t, *TR, *TX, *W;                     /* rows of V^{-1} [r R X I] */
  v8 *BC, *TXC;                            /* B C and TX C */
  v8 *gradient, *hessian, *cross, *spread; /* n, n x n, n x p, n x p x p */
} derivative_terms;

INLINE void lay_out_terms(int q, int n_cell, int p, int n, v8 *work, derivative_terms *m) {
  const int K = q * n_cell, rows = K + q, n_t = q + p + 1 + K;
  m->basis = work;
  m->T = m->basis + rows * q;
  m->d = m->T + rows * n_t;
  m->r = m->d + rows;
  m->s = m->r + rows;
  m->P = m->s + q;
  m->B = m->P + q * q;
  m->N = m->B + q * p;
  m->t = m->N + q * q;
  m->TR = m->t + K;
  m->TX = m->TR + K * q;
  m->W = m->TX + K * p;
  m->BC = m->W + K * K;
  m->TXC = m->BC + q * p;
  m->gradient = m->TXC + K * p;
  m->hessian = m->gradient + n;
  m->cross = m->hessian + n * n;
  m->spread = m->cross + n * p;
  m->norm = m->spread + n * p * p;
  set_zero(m->gradient, n + n * n + n * p + n * p * p);
}

/* r, s, P, B and the rows of V^{-1} [r R X I] of a block that is projected. */
INLINE void find_products(int q, int n_cell, int p, const lmm_point *point,
                          const derivative_terms *m) {
  const int K = q * n_cell, rows = K + q, n_x = q + p + 1, n_t = n_x + K;
  const v8 zero = {0, 0, 0, 0, 0, 0, 0, 0};
  const v8 *T = m->T, *d = m->d;
  v8 *r = m->r, *s = m->s, *P = m->P, *B = m->B, *t = m->t, *TR = m->TR, *TX = m->TX, *W = m->W;
  for (int i = 0; i < rows; i++) {
    r[i] = T[i * n_t + q + p];
    for (int j = 0; j < p; j++) r[i] -= T[i * n_t + q + j] * point->beta[j];
  }
  for (int a = 0; a < q; a++) {
    s[a] = zero;
    for (int i = 0; i < rows; i++) s[a] += T[i * n_t + a] * r[i] * d[i];
    for (int b = 0; b <= a; b++) {
      weighted_dot(T, n_t, rows, d, a, b, P + a + q * b);
      P[b + q * a] = P[a + q * b];
    }
    for (int j = 0; j < p; j++) weighted_dot(T, n_t, rows, d, a, q + j, B + a * p + j);
  }
  for (int i = 0; i < K; i++) {
    t[i] = zero;
    for (int k = 0; k < rows; k++) t[i] += T[k * n_t + n_x + i] * r[k] * d[k];
    for (int a = 0; a < q; a++) weighted_dot(T, n_t, rows, d, n_x + i, a, TR + i * q + a);
    for (int j = 0; j < p; j++) weighted_dot(T, n_t, rows, d, n_x + i, q + j, TX + i * p + j);
    for (int k = 0; k <= i; k++) {
      weighted_dot(T, n_t, rows, d, n_x + i, n_x + k, W + i + K * k);
      W[k + K * i] = W[i + K * k];
    }
  }
}

/* B C, TX C and N. */
INLINE void find_spread(int q, int n_cell, int p, const lmm_point *point,
                        const derivative_terms *m) {
  const int K = q * n_cell, reml = point->C != NULL;
  const v8 zero = {0, 0, 0, 0, 0, 0, 0, 0};
  const v8 *s = m->s, *B = m->B, *TX = m->TX;
  v8 *BC = m->BC, *TXC = m->TXC, *N = m->N;
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
}

/* By the entries of Sigma. */
INLINE void add_pairs(int q, int p, int n, const lmm_point *point, const derivative_terms *m) {
  const int n_pair = point->n_pair;
  const double trace_on = point->log_det ? 1.0 : 0.0;
  const v8 *s = m->s, *P = m->P, *B = m->B, *N = m->N;
  v8 *gradient = m->gradient, *hessian = m->hessian, *cross = m->cross, *spread = m->spread;
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
}

/* By the residual variances of the cells, and by them and the entries of Sigma. */
INLINE void add_cells(int q, int n_cell, int p, int n, const lmm_point *point,
                      const derivative_terms *m) {
  const int K = q * n_cell, n_pair = point->n_pair, reml = point->C != NULL;
  const double trace_on = point->log_det ? 1.0 : 0.0;
  const v8 *s = m->s, *t = m->t, *TR = m->TR, *TX = m->TX, *W = m->W, *BC = m->BC, *TXC = m->TXC;
  v8 *gradient = m->gradient, *hessian = m->hessian, *cross = m->cross, *spread = m->spread;
  for (int c = 0; c < n_cell; c++) {
    const int row = n_pair + c;
    for (int i = c * q; i < (c + 1) * q; i++) {
      v8 n_ii = t[i] * t[i];
      if (reml)
        for (int j = 0; j < p; j++) n_ii += TXC[i * p + j] * TX[i * p + j];
      gradient[row] += 0.5 * (n_ii - trace_on * W[i + K * i]);
      for (int j = 0; j < p; j++) {
        cross[row * p + j] -= t[i] * TX[i * p + j];
        for (int k = 0; k <= j; k++) spread[(row * p + j) * p + k] += TX[i * p + j] * TX[i * p + k];
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
          hessian[row + n * (n_pair + h)] += W[i + K * k] * (0.5 * trace_on * W[i + K * k] - n_ik);
        }
    }
  }
}

INLINE void add_lanes(int p, int n, const derivative_terms *m, lmm_derivatives *out) {
  const v8 *gradient = m->gradient, *hessian = m->hessian, *cross = m->cross, *spread = m->spread;
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

INLINE void derivatives_body(int q, int n_cell, int p, const lmm_run *run, const double *L,
                             const double *prior, const double *variance, const lmm_point *point,
                             lmm_derivatives *out, v8 *work) {
  const int p1 = p + 1, K = q * n_cell, n = point->n_pair + n_cell;
  const v8 *x = (const v8 *)run->data;
  derivative_terms m;
  lay_out_terms(q, n_cell, p, n, work, &m);
  for (int block = 0; block < run->n_block; block++, x += K * (q + p1)) {
    v8_product det;
    product_start(&det);
    project(q, n_cell, p1, 1, x, L, prior, variance, m.basis, m.T, m.d, m.norm, NULL, NULL, &det);
    find_products(q, n_cell, p, point, &m);
    find_spread(q, n_cell, p, point, &m);
    add_pairs(q, p, n, point, &m);
    add_cells(q, n_cell, p, n, point, &m);
  }
  add_lanes(p, n, &m, out);
}

KERNEL void SIMD_NAME(derivatives)(const lmm_run *run, int q, int p, const double *L,
                                   const double *prior, const double *variance,
                                   const lmm_point *point, lmm_derivatives *out, double *work) {
#define BODY(Q, C) derivatives_body(Q, C, p, run, L, prior, variance, point, out, (v8 *)work)
  if (run->n_cell == 1 && q == 1)
    BODY(1, 1);
  else if (run->n_cell == 1 && q == 2)
    BODY(2, 1);
  else
    BODY(q, run->n_cell);
#undef BODY
}

/* ---- q(u) ------------------------------------------------------------------------------------ */

/* The exact posterior of b, where u = L b and b ~ N(0, J^{-1}), J = diag(prior): 1, or 0 for a term
 * without a law (whose column of L is that of the identity), by the same projection.  With [R L; I]
 * = basis U, J + L'AL = U' diag(norm) U, so that least squares solutions are those of U, and
 * (norm^{1/2} U)^{-1} is a root of the covariance.  In b nothing is lost when Sigma = L L' is
 * nearly singular, or the data are strong; forming J + L'AL would lose its small eigenvalues.
 *   mean S L'b_r (r = y - X beta),  U with spread / norm^{1/2} on its diagonal (spread 0: points),
 *   gain S L'b_X.  log_det: sum log |J + L'AL|. */
INLINE void posterior_body(int q, int n_cell, int p, const lmm_run *run, const double *L,
                           const double *prior, const double *variance, const double *beta,
                           double spread, double *posterior, double *log_det, v8 *work) {
  const int p1 = p + 1, K = q * n_cell, n = K + q, n_x = q + p1;
  v8 *basis = work, *T = basis + n * q, *weight = T + n * n_x, *norm = weight + n;
  v8 *rows = norm + q, *taken = rows + K * n_x; /* [R | X r] */
  const v8 *x = (const v8 *)run->data;
  v8 *out = (v8 *)posterior;
  v8_product det;
  product_start(&det);
  for (int block = 0; block < run->n_block; block++, x += K * n_x, out += q + q * q + q * p) {
    v8 *U = out + q;
    for (int i = 0; i < K; i++) {
      for (int c = 0; c < n_x; c++) rows[i * n_x + c] = x[i * n_x + c];
      for (int j = 0; j < p; j++) rows[i * n_x + q + p] -= x[i * n_x + q + j] * beta[j];
    }
    set_zero(U, q * q);
    project(q, n_cell, p1, 0, rows, L, prior, variance, basis, T, weight, norm, U, taken, &det);
    for (int a = q - 1; a >= 0; a--) {
      for (int j = 0; j < p1; j++) {
        v8 *to = j < p ? out + q + q * q + j : out;
        const int stride = j < p ? p : 1;
        v8 solution = taken[a * n_x + q + j];
        for (int c = a + 1; c < q; c++) solution -= U[a + q * c] * to[c * stride];
        to[a * stride] = solution;
      }
      for (int l = 0; l < SIMD_LANES; l++) U[a + q * a][l] = sqrt(norm[a][l]) * spread;
    }
  }
  *log_det += product_log(&det);
}

/* N, upper, from U as posterior() leaves it: the covariance is N N'. */
INLINE void covariance_root(int q, const v8 *U, v8 *N) {
  set_zero(N, q * q);
  for (int k = 0; k < q; k++) {
    N[k + q * k] = U[k + q * k];
    for (int a = k - 1; a >= 0; a--)
      for (int c = a + 1; c <= k; c++) N[a + q * k] -= U[a + q * c] * N[c + q * k];
  }
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

/* What the M-step needs of q(b), u = L b, or of q(beta, b) with cov(beta) = C C', C lower: second =
 * sum_g E[b b']; per cell, cross = [X e]'[X e] with e = y - X origin - R L E[b] (p1 x p1, lower)
 * and trace = the rest of E |y - X beta - R u|^2.  Lanes without a group hold zeros. */
KERNEL void SIMD_NAME(moments)(const lmm_run *run, int q, int p, const double *L,
                               const double *origin, const double *posterior, const double *C,
                               double *second, double *cross, double *trace, double *work) {
  const int p1 = p + 1, n_cell = run->n_cell, K = q * n_cell, n_x = q + p1;
  const v8 zero = {0, 0, 0, 0, 0, 0, 0, 0};
  v8 *sum_second = (v8 *)work, *sum_cross = sum_second + q * q;
  v8 *sum_trace = sum_cross + n_cell * p1 * p1, *row = sum_trace + n_cell, *KC = row + p1;
  v8 *z = KC + q * p, *N = z + q; /* z: row of R L, then of the basis */
  set_zero(sum_second, q * q + n_cell * p1 * p1 + n_cell);
  const v8 *x = (const v8 *)run->data, *u = (const v8 *)posterior;
  for (int block = 0; block < run->n_block; block++, x += K * n_x, u += q + q * q + q * p) {
    const v8 *U = u + q, *gain = U + q * q;
    covariance_root(q, U, N);
    if (C)
      for (int a = 0; a < q; a++)
        for (int j = 0; j < p; j++) {
          KC[a * p + j] = zero;
          for (int k = j; k < p; k++) KC[a * p + j] += gain[a * p + k] * C[k + p * j];
        }
    for (int a = 0; a < q; a++)
      for (int b = 0; b <= a; b++) {
        v8 e = u[a] * u[b];
        for (int k = a; k < q; k++) e += N[a + q * k] * N[b + q * k];
        if (C)
          for (int j = 0; j < p; j++) e += KC[a * p + j] * KC[b * p + j];
        sum_second[a + q * b] += e;
      }
    for (int i = 0; i < K; i++) {
      const v8 *xi = x + i * n_x;
      const int c = i / q;
      for (int j = 0; j < p1; j++) row[j] = xi[q + j];
      for (int j = 0; j < p; j++) row[p] -= xi[q + j] * origin[j];
      for (int a = 0; a < q; a++) {
        z[a] = zero;
        for (int b = 0; b < q; b++) z[a] += xi[b] * L[b + q * a];
      }
      for (int a = 0; a < q; a++) row[p] -= z[a] * u[a];
      for (int j = 0; j < p1; j++)
        for (int k = 0; k <= j; k++) sum_cross[(c * p1 + j) * p1 + k] += row[j] * row[k];
      if (C) { /* x - K'z: what u leaves of x */
        for (int j = 0; j < p; j++)
          for (int a = 0; a < q; a++) row[j] -= gain[a * p + j] * z[a];
        for (int j = 0; j < p; j++) {
          v8 along = zero;
          for (int k = j; k < p; k++) along += row[k] * C[k + p * j];
          sum_trace[c] += along * along;
        }
      }
      for (int a = 0; a < q; a++) { /* z N */
        for (int b = 0; b < a; b++) z[a] -= z[b] * U[b + q * a];
        const v8 along = z[a] * U[a + q * a];
        sum_trace[c] += along * along;
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

/* e'(J + L'AL) e, A = sum_c R_c'R_c / variance_c: z = R L by row. */
INLINE void length_in_precision(int q, int K, const v8 *z, const double *prior,
                                const double *variance, const v8 *e, v8 *sum) {
  const v8 zero = {0, 0, 0, 0, 0, 0, 0, 0};
  for (int a = 0; a < q; a++) *sum += e[a] * e[a] * prior[a];
  for (int i = 0; i < K; i++) {
    v8 along = zero;
    for (int a = 0; a < q; a++) along += z[i * q + a] * e[a];
    *sum += along * along * (1.0 / variance[i / q]);
  }
}

/* The group sums in KL(from || to), `to` being exact: in the coordinates of `to`, where u = L b and
 * a b of `from` is M b, trace = sum tr((J + L'AL) E), E = M S_from M' + d d' + dK C C' dK', d = M
 * mean_from - mean_to + gain_to shift and dK = M gain_from - gain_to: a sum of squares, column by
 * column of [M N, d, dK C]. */
KERNEL void SIMD_NAME(divergence)(const lmm_run *run, int q, int p, const double *L,
                                  const double *prior, const double *variance, const double *M,
                                  const double *from, const double *to, const double *shift,
                                  const double *C, double *trace, double *work) {
  const int p1 = p + 1, K = q * run->n_cell, n_x = q + p1;
  const v8 zero = {0, 0, 0, 0, 0, 0, 0, 0};
  v8 *z = (v8 *)work, *N = z + K * q, *e = N + q * q, *dK = e + q, sum = zero;
  const v8 *x = (const v8 *)run->data, *u = (const v8 *)from, *v = (const v8 *)to;
  const int stride = q + q * q + q * p;
  for (int block = 0; block < run->n_block; block++, x += K * n_x, u += stride, v += stride) {
    const v8 *gain_u = u + q + q * q, *gain_v = v + q + q * q;
    covariance_root(q, u + q, N);
    for (int i = 0; i < K; i++)
      for (int a = 0; a < q; a++) {
        z[i * q + a] = zero;
        for (int b = 0; b < q; b++) z[i * q + a] += x[i * n_x + b] * L[b + q * a];
      }
    for (int k = 0; k < q; k++) {
      for (int a = 0; a < q; a++) {
        e[a] = zero;
        for (int c = 0; c < q; c++) e[a] += M[a + q * c] * N[c + q * k];
      }
      length_in_precision(q, K, z, prior, variance, e, &sum);
    }
    for (int a = 0; a < q; a++) {
      e[a] = zero - v[a];
      for (int c = 0; c < q; c++) e[a] += M[a + q * c] * u[c];
      for (int j = 0; j < p; j++) {
        e[a] += gain_v[a * p + j] * shift[j];
        dK[a * p + j] = zero - gain_v[a * p + j];
        for (int c = 0; c < q; c++) dK[a * p + j] += M[a + q * c] * gain_u[c * p + j];
      }
    }
    length_in_precision(q, K, z, prior, variance, e, &sum);
    for (int j = 0; j < p && C; j++) {
      for (int a = 0; a < q; a++) {
        e[a] = zero;
        for (int k = j; k < p; k++) e[a] += dK[a * p + k] * C[k + p * j];
      }
      length_in_precision(q, K, z, prior, variance, e, &sum);
    }
  }
  *trace += lane_sum(&sum);
}

/* Doubles of scratch that any kernel needs. */
static size_t SIMD_NAME(work_size)(int q, int p, int n_cell, int n_pair) {
  const size_t Q = (size_t)q, P = (size_t)p, K = Q * (size_t)n_cell, n = (size_t)(n_pair + n_cell);
  const size_t p1 = P + 1, rows = K + Q, n_t = Q + p1 + K;
  const size_t derivatives = rows * Q + K * K + rows * n_t + 3 * rows + 2 * Q + 2 * Q * Q +
                             2 * Q * P + K * Q + 2 * K * P + n + n * n + n * P + n * P * P;
  const size_t moments = Q * Q + (size_t)n_cell * (p1 * p1 + 1) + p1 + Q * P + Q;
  const size_t others = 2 * Q + p1 * p1 + 2 * rows * n_t + rows * Q + rows + 2 * Q * Q + Q * p1;
  return SIMD_LANES * (derivatives + moments + others);
}

#define KERNEL_TABLE                                                                       \
  {                                                                                        \
    SIMD_NAME(reduce), SIMD_NAME(objective), SIMD_NAME(derivatives), SIMD_NAME(posterior), \
        SIMD_NAME(moments), SIMD_NAME(divergence), SIMD_NAME(work_size)                    \
  }
