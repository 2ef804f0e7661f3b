/* Factor and solutions. */
#include "math/blocked.h"

#include <math.h>
#include <string.h>

#include "math/blocked_panel.h"
#include "math/small.h"
#include "math/threads.h"

void blocked_clear(blocked *b) { memset(b->L, 0, b->panel[b->n_super] * sizeof(double)); }

/* ---- a panel --------------------------------------------------------------------------------- */

/* Its own block factored, what is below solved. */
static elbo_status factor_panel(blocked *b, int J) {
  const panel p = panel_of(b, J);
  double *A = b->L + b->panel[J];
  const elbo_status status = factor_cholesky(&b->work, p.columns, A, p.ld);
  if (status == ELBO_OK)
    factor_solve_transposed(&b->work, p.n_below, p.columns, A, p.ld, A + p.columns, p.ld);
  return status;
}

/* Column r_i of K less the products of rows i .. of J's panel with row i. */
static void update_column(const panel *p, const double *X, int i, const int *relative,
                          double *column) {
  if (p->columns == 1) {
    const double x = X[i];
    for (int a = i; a < p->n_below; a++) column[relative[a]] -= x * X[a];
    return;
  }
  for (int a = i; a < p->n_below; a++) {
    double sum = 0.0;
    for (int c = 0; c < p->columns; c++)
      sum += X[p->ld * (size_t)c + (size_t)i] * X[p->ld * (size_t)c + (size_t)a];
    column[relative[a]] -= sum;
  }
}

/* Columns r_i .. of K (in A) and a product of the rows from i on, made aside (lower). */
static void add_strip(const blocked *b, const panel *p, int i, int columns, int K,
                      const int *relative, const double *from, double *A) {
  const int rows = p->n_below - i;
  for (int c = 0; c < columns; c++, from += rows) {
    double *to = panel_column(b, A, K, p->below[i + c]);
    for (int a = c; a < rows; a++) to[relative[i + a]] += from[a];
  }
}

/* The same for rows i .. end - 1, which belong to K, through a product made aside. */
static void update_columns(blocked *b, const panel *p, const double *X, int i, int end, int K,
                           const int *relative) {
  for (; i < end; i += BLOCKED_STRIP) {
    const int columns = smaller(BLOCKED_STRIP, end - i), rows = p->n_below - i;
    const product_view all = {X + i, 1, p->ld};
    memset(b->space, 0, (size_t)rows * (size_t)columns * sizeof(double));
    product_update(&b->work, 1, rows, columns, p->columns, -1.0, all, all, b->space, (size_t)rows);
    add_strip(b, p, i, columns, K, relative, b->space, b->L);
  }
}

/* What panel J takes from the panels of the columns from .. to - 1. */
static void update_from(blocked *b, int J, int from, int to, int *relative) {
  const panel p = panel_of(b, J);
  const double *X = b->L + b->panel[J] + p.columns;
  int i = panel_rows_from(&p, from);
  while (i < p.n_below && p.below[i] < to) {
    const int K = b->owner[p.below[i]];
    const int end = panel_rows_until(&p, i, smaller(to, b->start[K + 1]));
    panel_relative(b, &p, i, K, relative);
    if (p.columns <= BLOCKED_NARROW)
      for (; i < end; i++) update_column(&p, X, i, relative, panel_column(b, b->L, K, p.below[i]));
    else
      update_columns(b, &p, X, i, end, K, relative);
    i = end;
  }
}

static void subtract_narrow(const panel *p, const double *F, const double *K, int i,
                            const int *relative, double *column) {
  for (int c = 0; c < p->columns; c++) {
    const double *f = F + p->ld * (size_t)c, k = K[p->ld * (size_t)c + (size_t)i];
    for (int a = i; a < p->n_below; a++) column[relative[a]] -= f[a] * k;
  }
}

void panel_subtract(blocked *b, const panel *p, const double *F, const double *K, double *A,
                    double *space) {
  for (int i = 0, end; i < p->n_below; i = end) {
    const int to = b->owner[p->below[i]];
    end = panel_rows_until(p, i, b->start[to + 1]);
    panel_relative(b, p, i, to, b->relative);
    if (p->columns <= BLOCKED_NARROW) {
      for (int j = i; j < end; j++)
        subtract_narrow(p, F, K, j, b->relative, panel_column(b, A, to, p->below[j]));
      continue;
    }
    for (int at = i; at < end; at += BLOCKED_STRIP) {
      const int columns = smaller(BLOCKED_STRIP, end - at), rows = p->n_below - at;
      const product_view f = {F + at, 1, p->ld}, k = {K + at, 1, p->ld};
      memset(space, 0, (size_t)rows * (size_t)columns * sizeof(double));
      product_update(&b->work, 1, rows, columns, p->columns, -1.0, f, k, space, (size_t)rows);
      add_strip(b, p, at, columns, to, b->relative, space, A);
    }
  }
}

/* ---- factor ---------------------------------------------------------------------------------- */

/* Leaves do not touch each other; what they take from the rest is taken tile by tile, so that it
 * stays in cache, and sums are added in the order of leaves whatever the number of threads. */
static elbo_status factor_leaves(blocked *b) {
  const int threads = threads_for(b->wide_leaves ? 1 : b->work.threads, b->n_leaf);
  int bad = 0;
  (void)threads;
#ifdef _OPENMP
#pragma omp parallel for num_threads(threads) reduction(| : bad) schedule(static)
#endif
  for (int J = 0; J < b->n_leaf; J++) bad |= factor_panel(b, J) != ELBO_OK;
  if (bad) return ELBO_E_NOT_PD;
#ifdef _OPENMP
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
#endif
  for (int t = 0; t < b->n_tile; t++)
    for (int J = 0; J < b->n_leaf; J++)
      update_from(b, J, b->tile[t], b->tile[t + 1],
                  b->relative + (size_t)b->n * (size_t)threads_this());
  return ELBO_OK;
}

elbo_status blocked_factor(blocked *b, double *log_det) {
  elbo_status status = factor_leaves(b);
  for (int J = b->n_leaf; J < b->n_super && status == ELBO_OK; J++) {
    status = factor_panel(b, J);
    if (status == ELBO_OK) update_from(b, J, 0, b->n, b->relative);
  }
  *log_det = 0.0;
  for (int J = 0; J < b->n_super && status == ELBO_OK; J++) {
    const panel p = panel_of(b, J);
    for (int c = 0; c < p.columns; c++)
      *log_det += 2.0 * log(b->L[b->panel[J] + (p.ld + 1) * (size_t)c]);
  }
  return status;
}

/* ---- solutions ------------------------------------------------------------------------------- */

/* R_J solved: its k numbers a row are the columns of R_J', so R_J' L'^{-1} and R_J' L^{-1}. */
void blocked_forward(const blocked *b, int k, double *R) {
  for (int J = 0; J < b->n_super; J++) {
    const panel p = panel_of(b, J);
    const double *A = b->L + b->panel[J];
    double *own = R + (size_t)k * (size_t)b->start[J];
    factor_solve_transposed(&b->work, k, p.columns, A, p.ld, own, (size_t)k);
    for (int c = 0; c < p.columns; c++, own += k) {
      const double *x = A + p.ld * (size_t)c + p.columns;
      for (int i = 0; i < p.n_below; i++) {
        double *to = R + (size_t)k * (size_t)p.below[i];
        for (int l = 0; l < k; l++) to[l] -= x[i] * own[l];
      }
    }
  }
}

void blocked_backward(const blocked *b, int k, double *R) {
  for (int J = b->n_super - 1; J >= 0; J--) {
    const panel p = panel_of(b, J);
    const double *A = b->L + b->panel[J];
    double *own = R + (size_t)k * (size_t)b->start[J];
    for (int c = 0; c < p.columns; c++) {
      const double *x = A + p.ld * (size_t)c + p.columns;
      double *to = own + (size_t)k * (size_t)c;
      for (int i = 0; i < p.n_below; i++) {
        const double *from = R + (size_t)k * (size_t)p.below[i];
        for (int l = 0; l < k; l++) to[l] -= x[i] * from[l];
      }
    }
    factor_solve(&b->work, k, p.columns, A, p.ld, own, (size_t)k);
  }
}
