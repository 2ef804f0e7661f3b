/* The mixture of curves: sums over the units of a component, and of all components, from cells. */
#include <float.h>

#include "math/la.h"
#include "mixture/curves_cells.h"
#include "mixture/curves_factor.h"
#include "mixture/curves_sums.h"

/* out (n x n) = M C M', M lower triangular by row. */
static void sandwich(const double *M, const double *C, int n, double *between, double *out) {
  for (int b = 0; b < n; b++)
    for (int a = 0; a < n; a++) {
      double sum = 0.0;
      for (int c = 0; c <= a; c++) sum += M[c + n * a] * C[c + n * b];
      between[a + n * b] = sum; /* M C */
    }
  for (int a = 0; a < n; a++)
    for (int b = 0; b <= a; b++) {
      double sum = 0.0;
      for (int c = 0; c <= b; c++) sum += between[a + n * c] * M[c + n * b];
      out[a + n * b] = out[b + n * a] = sum;
    }
}

elbo_status curves_expected(const void *work, const double *stat, const double *r, double *value) {
  const curves *w = work;
  *value = 0.0;
  for (int i = 0; i < w->n_design; i++)
    for (int j = 0; j < w->spec.k; j++) {
      const curve_design *d = w->design + i;
      const int m = d->m;
      double trace = 0.0;
      curves_cell(w, stat, r, i, j);
      if (!(w->cell->n > 0.0)) continue;
      sandwich(d->M + square(m) * (size_t)j, w->cell->C, m, w->one, w->two);
      for (int a = 0; a < m; a++) trace += w->two[a + m * a];
      *value +=
          w->cell->n * d->constant[j] - 0.5 * (trace + w->cell->rest / w->variance[sigma_of(w, j)]);
    }
  return ELBO_OK;
}

/* Of residuals by the rounding of the response, as if all were of the least variance. */
double curves_rounding(const void *work, const double *stat) {
  const curves *w = work;
  const double n = w->spec.units.n_row;
  double least = w->variance[0];
  (void)stat;
  for (int s = 1; s < w->n_sigma; s++) least = fmin(least, w->variance[s]);
  const double lost = DBL_EPSILON * sqrt(n * w->spread / least);
  return 2.0 * sqrt(n) * lost + lost * lost;
}

/* ---- sums of a component --------------------------------------------------------------------- */

void curves_add_crossprod(const double *X, int m, int n, double factor, double *sum) {
  for (int a = 0; a < n; a++)
    for (int b = 0; b <= a; b++) {
      double total = 0.0;
      for (int i = 0; i < m; i++) total += X[i + m * a] * X[i + m * b];
      sum[a + n * b] += factor * total;
      if (a != b) sum[b + n * a] += factor * total;
    }
}

/* E|y - X beta - Z u|^2 of the cell less its rest, where u has its law given the rest: with
 * D = M E[C] M' - n I
 *   variance^2 tr(M M' D) + n m variance. */
static double residual_square(const curves *w, const curve_design *d, int j, const double *D,
                              double n) {
  const int m = d->m;
  const double *M = d->M + square(m) * (size_t)j, variance = w->variance[sigma_of(w, j)];
  double trace = 0.0;
  for (int a = 0; a < m; a++)
    for (int b = 0; b <= a; b++) { /* (M M')_ab: rows a and b of M */
      double sum = 0.0;
      for (int c = 0; c <= b; c++) sum += M[c + m * a] * M[c + m * b];
      trace += (a == b ? 1.0 : 2.0) * sum * D[a + m * b];
    }
  return variance * variance * trace + n * (m * variance);
}

/* D = M E[C] M' - n I, where E[C] is C + n R Cov(beta) R'. */
static void excess_of_cell(const curves *w, const curve_design *d, int j, double *D) {
  const int m = d->m, p = w->spec.p;
  sandwich(d->M + square(m) * (size_t)j, w->cell->C, m, w->one, D);
  for (int a = 0; a < m; a++) D[a + m * a] -= w->cell->n;
  if (w->beta_cov == NULL) return;
  curves_spread_of_mean(w, d, j, w->three, w->four);
  la_multiply_t(w->four, w->three, m, p, m, w->one);
  for (int a = 0; a < m * m; a++) D[a] += w->cell->n * w->one[a];
}

/* out (q x q) = (M S)'D (M S), image = M S. */
static void quadratic_of(const double *image, const double *D, int m, int q, double *between,
                         double *out) {
  la_multiply(D, image, m, m, q, between);
  for (int a = 0; a < q; a++)
    for (int b = 0; b <= a; b++) {
      double sum = 0.0;
      for (int i = 0; i < m; i++) sum += image[i + m * a] * between[i + m * b];
      out[a + q * b] = out[b + q * a] = sum;
    }
}

void curves_cell_H(const curves *w, const curve_design *d, int j, double *H) {
  const int m = d->m, q = w->spec.q;
  excess_of_cell(w, d, j, w->two);
  curves_lower_times(d->M + square(m) * (size_t)j, d->S, m, q, w->three);
  quadratic_of(w->three, w->two, m, q, w->four, H);
}

static void add_coefficients(const curves *w, const curve_design *d, int j) {
  const int m = d->m, p = w->spec.p;
  const double *M = d->M + square(m) * (size_t)j;
  curve_sums *sums = w->sums;
  double *image = w->three;
  curves_lower_times(M, w->cell->s, m, 1, w->trial);
  curves_lower_times(M, d->R, m, p, image);
  curves_add_crossprod(image, m, p, w->cell->n, sums->K);
  for (int a = 0; a < p; a++)
    for (int i = 0; i < m; i++) sums->b[a] += image[i + m * a] * w->trial[i];
}

static void add_variances(const curves *w, const curve_design *d, int j) {
  const int m = d->m, q = w->spec.q;
  const double n = w->cell->n;
  curve_sums *sums = w->sums;
  double *D = w->two, *image = w->three;
  excess_of_cell(w, d, j, D);
  sums->n += n;
  sums->rows += n * d->n_row;
  sums->square += w->cell->rest + residual_square(w, d, j, D, n);
  curves_lower_times(d->M + square(m) * (size_t)j, d->S, m, q, image);
  curves_add_crossprod(image, m, q, n, sums->T);
  quadratic_of(image, D, m, q, w->four, w->cell_H);
  for (int a = 0; a < q * q; a++) sums->H[a] += w->cell_H[a];
}

void curves_sums(const curves *w, const double *stat, const double *r, int j, int which) {
  const int p = w->spec.p, q = w->spec.q;
  curve_sums *sums = w->sums;
  sums->n = sums->rows = sums->square = 0.0;
  memset(sums->K, 0, square(p) * sizeof(double));
  memset(sums->b, 0, (size_t)p * sizeof(double));
  memset(sums->T, 0, square(q) * sizeof(double));
  memset(sums->H, 0, square(q) * sizeof(double));
  for (int d = 0; d < w->n_design; d++) {
    curves_cell(w, stat, r, d, j);
    if (w->cell->n == 0.0) continue; /* sums of scores may be of units that count less than none */
    if (which & OF_COEFFICIENTS) add_coefficients(w, w->design + d, j);
    if (which & OF_VARIANCES) add_variances(w, w->design + d, j);
  }
}

/* ---- sums of all components ------------------------------------------------------------------ */

void curves_collect(const curves *w, const double *stat, const double *r, int which) {
  const size_t p = (size_t)w->spec.p, q2 = square(w->spec.q);
  curve_totals *all = w->totals;
  memset(all->T, 0, q2 * (size_t)w->n_gamma * sizeof(double));
  memset(all->H, 0, q2 * (size_t)w->n_gamma * sizeof(double));
  memset(all->n, 0, (size_t)w->n_gamma * sizeof(double));
  memset(all->rows, 0, (size_t)w->n_sigma * sizeof(double));
  memset(all->square, 0, (size_t)w->n_sigma * sizeof(double));
  for (int j = 0; j < w->spec.k; j++) {
    const int g = gamma_of(w, j), s = sigma_of(w, j);
    curves_sums(w, stat, r, j, which);
    for (size_t a = 0; a < q2; a++) {
      all->T[q2 * (size_t)g + a] += w->sums->T[a];
      all->H[q2 * (size_t)g + a] += w->sums->H[a];
    }
    all->n[g] += w->sums->n;
    all->rows[s] += w->sums->rows;
    all->square[s] += w->sums->square;
    memcpy(all->b + p * (size_t)j, w->sums->b, p * sizeof(double));
    if (all->K) memcpy(all->K + p * p * (size_t)j, w->sums->K, p * p * sizeof(double));
  }
}
