#include "math/skyline.h"

#include <math.h>

#include "math/small.h"

size_t skyline_layout(int n, const int *first, size_t *start) {
  start[0] = 0;
  for (int i = 0; i < n; i++) start[i + 1] = start[i] + (size_t)(i - first[i] + 1);
  return start[n];
}

elbo_status skyline_chol(skyline *A) {
  for (int i = 0; i < A->n; i++) {
    double *row = A->value + A->start[i];
    const int fi = A->first[i];
    for (int j = fi; j < i; j++) {
      const int from = larger(fi, A->first[j]);
      const double *above = skyline_at(A, j, from);
      row[j - fi] = (row[j - fi] - dot(row + (from - fi), above, j - from)) / *skyline_at(A, j, j);
    }
    const double pivot = row[i - fi] - dot(row, row, i - fi);
    if (!(pivot > 0.0 && isfinite(pivot))) return ELBO_E_NOT_PD;
    row[i - fi] = sqrt(pivot);
  }
  return ELBO_OK;
}

void skyline_forward(const skyline *L, double *x) {
  for (int i = 0; i < L->n; i++) {
    const int f = L->first[i];
    const double *row = L->value + L->start[i];
    x[i] = (x[i] - dot(row, x + f, i - f)) / row[i - f];
  }
}

void skyline_backward(const skyline *L, double *x) {
  for (int i = L->n - 1; i >= 0; i--) {
    const int f = L->first[i];
    const double *row = L->value + L->start[i];
    x[i] /= row[i - f];
    for (int j = f; j < i; j++) x[j] -= row[j - f] * x[i];
  }
}

/* Z L = L'^{-1}: column by column from the last, Z_ij = (d_ij / L_jj - sum_k>j Z_ik L_kj) / L_jj,
 * where k runs over the rows that reach column j, and so Z_ik is an entry too. */
void skyline_inverse(const skyline *L, skyline *Z, double *work) {
  const int n = L->n;
  for (int j = n - 1; j >= 0; j--) {
    const double pivot = *skyline_at(L, j, j);
    int last = j; /* of the rows that reach column j */
    for (int i = j + 1; i < n; i++) {
      work[i] = L->first[i] <= j ? *skyline_at(L, i, j) : 0.0;
      if (work[i] != 0.0) last = i;
    }
    for (int i = last; i > j; i--) {
      if (L->first[i] > j) continue;
      double sum = 0.0;
      for (int k = j + 1; k <= last; k++)
        if (work[k] != 0.0) sum += work[k] * (k <= i ? *skyline_at(Z, i, k) : *skyline_at(Z, k, i));
      *skyline_at(Z, i, j) = -sum / pivot;
    }
    double sum = 0.0;
    for (int k = j + 1; k <= last; k++)
      if (work[k] != 0.0) sum += work[k] * *skyline_at(Z, k, j);
    *skyline_at(Z, j, j) = (1.0 / pivot - sum) / pivot;
  }
}
