/* Symmetric positive definite matrices by rows of the lower triangle, each from its first non-zero
 * column on: the Cholesky factor fills nothing else. */
#ifndef ELBO_MATH_SKYLINE_H
#define ELBO_MATH_SKYLINE_H

#include "math/status.h"

/* Row i has columns first[i]..i at value[start[i]]..; start has n + 1 entries. */
typedef struct {
  int n;
  const int *first;
  const size_t *start;
  double *value;
} skyline;

/* start from first; returns the number of entries. */
size_t skyline_layout(int n, const int *first, size_t *start);
static inline double *skyline_at(const skyline *A, int i, int j) {
  return A->value + A->start[i] + (size_t)(j - A->first[i]);
}
/* A = L L' in place.  Cost: the sum of squared row lengths. */
elbo_status skyline_chol(skyline *A);
/* x = L^{-1} b, and x = L'^{-1} b, in place. */
void skyline_forward(const skyline *L, double *x);
void skyline_backward(const skyline *L, double *x);
/* The entries of A^{-1} at those of A (Takahashi, Fagan & Chin 1973), into Z, laid out as L.
 * work: n doubles. */
void skyline_inverse(const skyline *L, skyline *Z, double *work);

#endif
