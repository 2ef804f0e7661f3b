/* Whether the columns of X say something new, and whether the objective has a bound. */
#include "glmm/bound.h"

#include <math.h>
#include <string.h>

#include "glmm/cross.h"
#include "glmm/objective.h"
#include "glmm/close.h"

/* Sweeps the first p columns of A (p1 x p1, lower) out of the rest, those that say nothing new left
 * out; pivots (p): what is left of each diagonal.  Returns the number swept. */
static int sweep_columns(double *A, int p, const double *before, double *pivots) {
  const int p1 = p + 1;
  int rank = 0;
  for (int j = 0; j < p; j++) {
    const double now = A[j + p1 * j];
    pivots[j] = before[j] > 0.0 ? now / before[j] : 0.0;
    if (!(pivots[j] > LMM_ALIASED)) continue;
    rank++;
    for (int i = j + 1; i < p1; i++)
      for (int k = j + 1; k <= i; k++) A[i + p1 * k] -= A[i + p1 * j] * A[k + p1 * j] / now;
  }
  return rank;
}

/* What columns are before what has no law is projected out of them: of several factors that leaves
 * rounding of those in its span. */
void lmm_column_pivots(lmm_work *w, double *pivots) {
  const int p = w->stats->p, p1 = p + 1, q = w->stats->q, n = w->par.n_no_law;
  double ignored, *before = w->scratch, *none = lmm_nothing_random(w);
  for (int k = 0; k < n; k++) {
    none[w->par.no_law[k] * (q + 1)] = 0.0;
    w->unit[w->par.no_law[k]] = 1.0;
  }
  lmm_evaluate(w, none, w->variance, &ignored);
  for (int j = 0; j < p; j++) before[j] = w->cross[j + p1 * j];
  for (int k = 0; k < n; k++) w->unit[w->par.no_law[k]] = 0.0;
  if (n > 0) lmm_evaluate(w, lmm_nothing_random(w), w->variance, &ignored);
  sweep_columns(w->cross, p, before, pivots);
  for (int j = p - w->smooth.n_column; j < p; j++) pivots[j] = 1.0; /* their law tells them apart */
}

/* Scaled data are about 1 in size: a residual that is smaller is rounding. */
static double smallest_residual(const lmm_work *w) { return fmax(1e-13, w->stats->rounding); }

/* Whether X fits the n rows behind the cross-products A (destroyed) without error, and its rank. */
static int fitted_exactly(const lmm_work *w, double *A, double n, int *rank) {
  const int p = w->stats->p, p1 = p + 1;
  double *before = w->scratch, *pivots = before + p1;
  for (int j = 0; j < p1; j++) before[j] = A[j + p1 * j];
  *rank = sweep_columns(A, p, before, pivots);
  /* Sweeping loses the last digits of y'y. */
  const double rounding = smallest_residual(w);
  return A[p + p1 * p] <= fmax(n * rounding * rounding, 1e-14 * before[p]);
}

int lmm_unbounded_level(lmm_work *w) {
  const lmm_stats *st = w->stats;
  const size_t size = square(st->p + 1);
  /* Integrating coefficients takes a row for each. */
  const int all = integrates_beta(w), some = w->method == LMM_EM ? w->smooth.n_column : 0;
  int may_vanish = 1, rank; /* Sigma */
  for (int k = 0; k < st->q; k++)
    may_vanish &= w->par.kind[k] == LATENT_ROW_FREE || w->par.kind[k] == LATENT_ROW_DIRECTION;
  for (int l = 0; l < st->n_level; l++) {
    if (w->par.eta_of_sigma[l] < 0) continue;
    memcpy(w->cross, st->within + (size_t)l * size, size * sizeof(double));
    if (!fitted_exactly(w, w->cross, st->n_rows[l], &rank)) continue;
    /* Points on the latent variables fit the between rows at a finite price. */
    if (w->method == LMM_JOINT || st->n_distinct[l] > (all ? rank : some)) return l;
    if (!may_vanish) continue;
    memcpy(w->cross, st->within + (size_t)l * size, size * sizeof(double));
    lmm_stats_add_between(st, l, w->cross);
    if (fitted_exactly(w, w->cross, st->n_rows[l], &rank) && st->n_rows[l] > (all ? rank : some))
      return l;
  }
  return -1;
}

int lmm_vanished_level(const lmm_work *w) {
  const double least = 2.0 * smallest_residual(w);
  for (int l = 0; l < w->stats->n_level; l++)
    if (w->par.eta_of_sigma[l] >= 0 && !(w->variance[l] > least * least)) return l;
  return -1;
}
