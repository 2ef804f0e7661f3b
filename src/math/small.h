/* Constants and what takes a line: written once, here. */
#ifndef ELBO_MATH_SMALL_H
#define ELBO_MATH_SMALL_H

#include <math.h>
#include <stddef.h>

#define LOG_2 0.693147180559945309417232121458
#define LOG_PI 1.144729885849400174143427351353
#define LOG_2PI 1.837877066409345483560659472811

static inline int smaller(int a, int b) { return a < b ? a : b; }
static inline int larger(int a, int b) { return a > b ? a : b; }

/* Entries of an n x n matrix, and of its packed lower triangle. */
static inline size_t square(int n) { return (size_t)n * (size_t)n; }
static inline size_t packed_size(int n) { return (size_t)n * ((size_t)n + 1) / 2; }

/* Copies the lower triangle to the upper. */
static inline void fill_upper(double *A, int n) {
  for (int j = 0; j < n; j++)
    for (int i = j + 1; i < n; i++) A[j + n * i] = A[i + n * j];
}

static inline void add_to(double *x, const double *y, size_t n) {
  for (size_t i = 0; i < n; i++) x[i] += y[i];
}

static inline double dot(const double *x, const double *y, int n) {
  double sum = 0.0;
  for (int i = 0; i < n; i++) sum += x[i] * y[i];
  return sum;
}

/* A power of two that brings numbers of this mean square about to 1. */
static inline double scale_of(double mean_square) {
  return mean_square > 0.0 ? ldexp(1.0, -ilogb(sqrt(mean_square))) : 1.0;
}

#endif
