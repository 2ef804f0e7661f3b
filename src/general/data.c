/* Rows by group, columns of X made orthogonal, scales of Z. */
#include "general/data.h"

#include <math.h>
#include <string.h>

#include "math/simd.h"
#include "math/small.h"

static const double LEAST_PIVOT = 1e-11;

static void sort_rows(const general_input *in, general_rows *rows, const elbo_memory *mem) {
  const int n = in->n, m = in->m;
  int *next = elbo_ints(mem, (size_t)m + 1);
  rows->first = elbo_ints(mem, (size_t)m + 1);
  rows->row = elbo_ints(mem, (size_t)n);
  memset(rows->first, 0, ((size_t)m + 1) * sizeof(int));
  for (int i = 0; i < n; i++) rows->first[in->group[i]]++;
  for (int g = 0; g < m; g++) rows->most = larger(rows->most, rows->first[g + 1]);
  for (int g = 0; g < m; g++) rows->first[g + 1] += rows->first[g];
  memcpy(next, rows->first, ((size_t)m + 1) * sizeof(int));
  for (int i = 0; i < n; i++) rows->row[next[in->group[i] - 1]++] = i;
}

static double *take_vector(const general_rows *rows, const double *from, double otherwise,
                           const elbo_memory *mem) {
  double *out = elbo_doubles(mem, (size_t)rows->n + SIMD_LANES);
  for (int i = 0; i < rows->n + SIMD_LANES; i++)
    out[i] = from && i < rows->n ? from[rows->row[i]] : otherwise;
  return out;
}

static double *take_matrix(const general_rows *rows, const double *from, int k,
                           const elbo_memory *mem) {
  double *out = elbo_doubles(mem, (size_t)rows->n * (size_t)k + 1);
  for (int j = 0; j < k; j++)
    for (int i = 0; i < rows->n; i++)
      out[(size_t)i * (size_t)k + (size_t)j] =
          from[(size_t)rows->n * (size_t)j + (size_t)rows->row[i]];
  return out;
}

static void scale_columns(double *A, int n, int k, double *scale) {
  for (int j = 0; j < k; j++) {
    double largest = 0.0;
    for (int i = 0; i < n; i++) largest = fmax(largest, fabs(A[(size_t)i * (size_t)k + (size_t)j]));
    const double first = largest > 0.0 ? scalbn(1.0, -ilogb(largest)) : 1.0;
    double sum = 0.0;
    for (int i = 0; i < n; i++) {
      double *x = A + (size_t)i * (size_t)k + j;
      *x *= first;
      sum += *x * *x;
    }
    const double second = scale_of(sum / n);
    for (int i = 0; i < n; i++) A[(size_t)i * (size_t)k + (size_t)j] *= second;
    scale[j] = first * second;
  }
}

/* X'X / n = U'U (U upper, by column), X to X U^{-1}; pivot: what of a column is not in those before
 * it, of its square. */
static void orthogonalise(double *X, int n, int p, double *U, double *pivot) {
  memset(U, 0, square(p) * sizeof(double));
  for (int i = 0; i < n; i++) {
    const double *x = X + (size_t)i * (size_t)p;
    for (int j = 0; j < p; j++)
      for (int k = 0; k <= j; k++) U[k + p * j] += x[k] * x[j];
  }
  for (int j = 0; j < p; j++) {
    const double all = U[j + p * j] / n;
    for (int k = 0; k <= j; k++) {
      double rest = U[k + p * j] / n;
      for (int l = 0; l < k; l++) rest -= U[l + p * k] * U[l + p * j];
      if (k < j) {
        U[k + p * j] = rest / U[k + p * k];
      } else {
        pivot[j] = all > 0.0 ? rest / all : 0.0;
        U[j + p * j] = sqrt(rest > 1e-15 * all ? rest : all > 0.0 ? 1e-15 * all : 1.0);
      }
    }
  }
  for (int i = 0; i < n; i++) {
    double *x = X + (size_t)i * (size_t)p;
    for (int j = 0; j < p; j++) {
      for (int k = 0; k < j; k++) x[j] -= U[k + p * j] * x[k];
      x[j] /= U[j + p * j];
    }
  }
}

/* Twice: what rounding leaves of the first time goes by the second (Yamamoto et al. 2015, ETNA
 * 44:306). */
static void make_orthogonal(general_rows *rows, const elbo_memory *mem) {
  const int p = rows->p;
  double *scale = elbo_doubles(mem, (size_t)p), *U = elbo_doubles(mem, square(p));
  double *V = elbo_doubles(mem, square(p)), *again = elbo_doubles(mem, (size_t)p);
  rows->R = elbo_doubles(mem, square(p));
  rows->pivot = elbo_doubles(mem, (size_t)p);
  scale_columns(rows->X, rows->n, p, scale);
  orthogonalise(rows->X, rows->n, p, U, rows->pivot);
  orthogonalise(rows->X, rows->n, p, V, again);
  memset(rows->R, 0, square(p) * sizeof(double));
  for (int j = 0; j < p; j++)
    for (int i = 0; i <= j; i++) {
      for (int k = i; k <= j; k++) rows->R[i + p * j] += V[i + p * k] * U[k + p * j];
      rows->R[i + p * j] /= scale[j];
    }
}

elbo_status general_data(const general_input *in, general_rows *rows, const elbo_memory *mem) {
  memset(rows, 0, sizeof *rows);
  rows->n = in->n;
  rows->p = in->p;
  rows->q = in->q;
  rows->m = in->m;
  sort_rows(in, rows, mem);
  rows->y = take_vector(rows, in->y, 0.0, mem);
  rows->size = take_vector(rows, in->size, 1.0, mem);
  rows->weight = in->weight ? take_vector(rows, in->weight, 1.0, mem) : NULL;
  rows->offset = take_vector(rows, in->offset, 0.0, mem);
  rows->X = take_matrix(rows, in->X, in->p, mem);
  rows->Z = take_matrix(rows, in->Z, in->q, mem);
  rows->z_scale = elbo_doubles(mem, (size_t)in->q);
  scale_columns(rows->Z, in->n, in->q, rows->z_scale);
  make_orthogonal(rows, mem);
  for (int j = 0; j < in->p; j++)
    if (!(rows->pivot[j] > LEAST_PIVOT)) return ELBO_E_RANK;
  return ELBO_OK;
}
