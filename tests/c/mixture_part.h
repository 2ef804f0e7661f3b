/* What every part of a mixture must satisfy, tested without the mixture: rows in chunks, with
 * any r. */
#ifndef ELBO_TEST_MIXTURE_PART_H
#define ELBO_TEST_MIXTURE_PART_H

#include <string.h>

#include "math/rows.h"
#include "mixture/mixture.h"
#include "reference.h"

/* A part with the rows (or units) that it is of and r (n x k). */
typedef struct {
  mixture_part part;
  int n, k;
  double *r, *stat, *scratch;
} part_test;

static inline double *part_field(const mixture_part *part, const char *name) {
  for (int i = 0; i < part->n_field; i++)
    if (strcmp(part->field[i].name, name) == 0) return part->field[i].value;
  return NULL;
}

enum { PART_CHUNK = 13 }; /* rows of a chunk: not a multiple of the lanes */

static inline mixture_chunk part_chunk(const part_test *t, int first) {
  const int n = t->n - first < PART_CHUNK ? t->n - first : PART_CHUNK;
  const mixture_chunk chunk = {first, n, first, n, rows_padded(n)};
  return chunk;
}

static inline void part_gather(part_test *t) {
  memset(t->stat, 0, t->part.n_stat * sizeof(double));
  for (int first = 0; first < t->n; first += PART_CHUNK) {
    const mixture_chunk chunk = part_chunk(t, first);
    double *r = new_doubles(chunk.ld * t->k);
    for (int j = 0; j < t->k; j++)
      for (int i = 0; i < chunk.n_row; i++) r[i + chunk.ld * j] = t->r[first + i + t->n * j];
    t->part.accumulate(t->part.work, &chunk, r, t->scratch, t->stat);
  }
  if (t->part.finish) t->part.finish(t->part.work, t->stat);
}

/* r = size[j] times a random share of one for each row. */
static inline part_test part_test_of(mixture_part part, int n, int k) {
  part_test t = {part,
                 n,
                 k,
                 new_doubles(n * k),
                 new_doubles((int)part.n_stat),
                 new_doubles((int)part.n_scratch * rows_padded(PART_CHUNK))};
  for (int i = 0; i < n; i++) {
    double sum = 0.0;
    for (int j = 0; j < k; j++) sum += t.r[i + n * j] = -log(random_uniform());
    for (int j = 0; j < k; j++) t.r[i + n * j] *= (1.0 + i % 3) / sum;
  }
  part_gather(&t);
  return t;
}

/* l (n x k); `out` is added to, so it starts at something. */
static inline double *part_densities(const part_test *t) {
  double *l = new_doubles(t->n * t->k);
  for (int first = 0; first < t->n; first += PART_CHUNK) {
    const mixture_chunk chunk = part_chunk(t, first);
    double *out = new_doubles(chunk.ld * t->k);
    for (int i = 0; i < chunk.ld * t->k; i++) out[i] = 100.0;
    t->part.log_density(t->part.work, &chunk, t->scratch, out);
    for (int j = 0; j < t->k; j++)
      for (int i = 0; i < chunk.n_row; i++) l[first + i + t->n * j] = out[i + chunk.ld * j] - 100.0;
  }
  return l;
}

static inline int part_prepare(part_test *t) {
  int component = -1;
  return t->part.prepare(t->part.work, &component) == ELBO_OK;
}

static inline double part_expected(part_test *t) {
  double value = NAN;
  CHECK(t->part.expected(t->part.work, t->stat, t->r, &value) == ELBO_OK);
  return value;
}

static inline double part_objective(part_test *t) {
  return part_expected(t) + t->part.log_prior(t->part.work);
}

static inline void part_m_step(part_test *t) {
  int component = -1;
  CHECK(t->part.m_step(t->part.work, t->stat, t->r, &component) == ELBO_OK);
  CHECK(part_prepare(t));
}

static inline void part_move(part_test *t, const double *eta) {
  CHECK(t->part.unpack(t->part.work, eta) == ELBO_OK);
  CHECK(part_prepare(t));
}

static inline void part_objective_at(void *ctx, const double *eta, double *out) {
  part_test *t = (part_test *)ctx;
  part_move(t, eta);
  out[0] = part_objective(t);
}

static inline void part_moments_at(void *ctx, const double *eta, double *out) {
  part_test *t = (part_test *)ctx;
  part_move(t, eta);
  t->part.moments(t->part.work, out);
}

static inline double *part_eta(const part_test *t) {
  double *eta = new_doubles(t->part.n_eta);
  t->part.pack(t->part.work, eta);
  return eta;
}

/* Derivative of the objective by eta by differences, statistics held; t stays where it is. */
static inline double *part_slope(part_test *t, double h) {
  const int n = t->part.n_eta;
  double *eta = part_eta(t), *slope = new_doubles(n);
  for (int a = 0; a < n; a++)
    differences(part_objective_at, t, eta, n, a, h * fmax(1.0, fabs(eta[a])), slope + a, 1);
  part_move(t, eta);
  return slope;
}

/* expected = sum r l, from the statistics and from the densities. */
static inline void part_check_expected(part_test *t, double tol) {
  const double *l = part_densities(t);
  double sum = 0.0, size = 0.0;
  for (int i = 0; i < t->n * t->k; i++)
    if (t->r[i] > 0.0) {
      sum += t->r[i] * l[i];
      size += fabs(t->r[i] * l[i]);
    }
  CHECK(fabs(part_expected(t) - sum) <= tol * fmax(1.0, size));
}

static inline void part_check_round_trip(part_test *t, double tol) {
  const double *eta = part_eta(t), *l = part_densities(t);
  part_move(t, eta);
  CHECK(distance(part_eta(t), eta, t->part.n_eta) <= tol);
  const double *after = part_densities(t);
  for (int i = 0; i < t->n * t->k; i++) /* the log of a probability of zero is the same infinity */
    if (l[i] != after[i]) CHECK_CLOSE(after[i], l[i], tol);
}

/* The slope after some M-steps, none of which lowers the objective, relative to that before. */
static inline void part_check_maximum(part_test *t, int m_steps, double h, double tol) {
  const double scale = fmax(1.0, largest(part_slope(t, h), t->part.n_eta));
  for (int i = 0; i < m_steps; i++) {
    const double before = part_objective(t);
    part_m_step(t);
    CHECK(part_objective(t) >= before - 1e-12 * (1.0 + fabs(before)));
  }
  CHECK(largest(part_slope(t, h), t->part.n_eta) <= tol * scale);
}

/* em: the gradient is affine in the statistics, and so tells the scores of units: what it gains by
 * one row (or unit) more is that row's own, they add up, and less of a row is minus that. */
static inline void part_check_affine(part_test *t) {
  const int n = t->part.n_eta, rows = t->n;
  double *total = new_doubles(n), *none = new_doubles(n), *one = new_doubles(n);
  double *sum = new_doubles(n), *less = new_doubles(n), *r = t->r, size = 1.0;
  CHECK(t->part.gradient(t->part.work, t->stat, t->r, total) == ELBO_OK);
  t->r = new_doubles(rows * t->k);
  part_gather(t);
  CHECK(t->part.gradient(t->part.work, t->stat, t->r, none) == ELBO_OK);
  for (int i = 0; i < rows; i++) {
    for (int j = 0; j < t->k; j++) t->r[i + rows * j] = r[i + rows * j];
    part_gather(t);
    CHECK(t->part.gradient(t->part.work, t->stat, t->r, one) == ELBO_OK);
    for (int a = 0; a < n; a++) {
      sum[a] += one[a] - none[a];
      size = fmax(size, fabs(one[a] - none[a]));
    }
    for (size_t a = 0; a < t->part.n_stat; a++) t->stat[a] *= -1.0;
    if (t->part.finish) t->part.finish(t->part.work, t->stat);
    CHECK(t->part.gradient(t->part.work, t->stat, t->r, less) == ELBO_OK);
    for (int a = 0; a < n; a++) CHECK(fabs(one[a] + less[a] - 2.0 * none[a]) < 1e-9 * size);
    for (int j = 0; j < t->k; j++) t->r[i + rows * j] = 0.0;
  }
  for (int a = 0; a < n; a++) CHECK(fabs(total[a] - none[a] - sum[a]) < 1e-9 * size * rows);
  t->r = r;
  part_gather(t);
}

/* em: scores of rows (or units), against the slope where r is theirs alone. */
static inline void part_check_scores(part_test *t, double h, double tol) {
  enum { ROWS = 6 };
  const int n = t->part.n_eta, k = t->k;
  double *r = t->r;
  t->r = new_doubles(t->n * k);
  const double *none = part_slope(t, h);
  const mixture_chunk chunk = {0, ROWS, 0, ROWS, rows_padded(ROWS)};
  double *own = new_doubles(chunk.ld * k), *score = new_doubles(chunk.ld * n);
  for (int j = 0; j < k; j++) memcpy(own + chunk.ld * j, r + t->n * j, ROWS * sizeof(double));
  t->part.scores(t->part.work, &chunk, own, t->scratch, score);
  for (int i = 0; i < ROWS; i++) {
    for (int j = 0; j < k; j++) t->r[i + t->n * j] = r[i + t->n * j];
    const double *slope = part_slope(t, h);
    for (int a = 0; a < n; a++) CHECK_CLOSE(score[i + chunk.ld * a], slope[a] - none[a], tol);
    for (int j = 0; j < k; j++) t->r[i + t->n * j] = 0.0;
  }
  t->r = r;
}

/* em: the gradient where the statistics were gathered. */
static inline void part_check_gradient(part_test *t, double h, double tol) {
  const int n = t->part.n_eta;
  double *gradient = new_doubles(n);
  part_gather(t);
  CHECK(t->part.gradient(t->part.work, t->stat, t->r, gradient) == ELBO_OK);
  CHECK(distance(part_slope(t, h), gradient, n) <= tol);
  if (t->part.scores)
    part_check_scores(t, h, tol);
  else if (!t->part.keeps_r)
    part_check_affine(t);
}

/* vb: the gradient is V (target - eta), V = dm / deta, which is symmetric. */
static inline void part_check_target(part_test *t, double h, double tol) {
  const int n = t->part.n_eta;
  double *eta = part_eta(t), *target = new_doubles(n), *V = new_doubles(n * n);
  double *gradient = new_doubles(n);
  CHECK(t->part.target(t->part.work, t->stat, t->r, target) == ELBO_OK);
  for (int a = 0; a < n; a++)
    differences(part_moments_at, t, eta, n, a, h * fmax(0.1, fabs(eta[a])), V + n * a, n);
  part_move(t, eta);
  for (int a = 0; a < n; a++)
    for (int b = 0; b < n; b++) {
      CHECK(fabs(V[a + n * b] - V[b + n * a]) <= tol * (1.0 + sqrt(V[a + n * a] * V[b + n * b])));
      gradient[a] += V[a + n * b] * (target[b] - eta[b]);
    }
  CHECK(distance(part_slope(t, h), gradient, n) <= tol);
}

#endif
