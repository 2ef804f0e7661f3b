/* The selected inverse (Takahashi, Fagan & Chin 1973), panel by panel from the last: with J a
 * panel's own rows and B those below, G = L_BJ L_JJ^{-1}, Z_BJ = -Z_BB G,
 * Z_JJ = (L_JJ L_JJ')^{-1} - G' Z_BJ.  Z_BB is in panels done before. */
#include <string.h>

#include "math/blocked.h"
#include "math/blocked_panel.h"
#include "math/small.h"
#include "math/threads.h"

/* G into Z's panel below, (L_JJ L_JJ')^{-1} into its own rows. */
static void start_panel(blocked *b, int J, const panel *p, double *space) {
  const double *A = b->L + b->panel[J];
  double *Z = b->Z + b->panel[J];
  memcpy(Z, A, p->ld * (size_t)p->columns * sizeof(double));
  factor_solve(&b->work, p->n_below, p->columns, A, p->ld, Z + p->columns, p->ld);
  factor_inverse(&b->work, p->columns, Z, p->ld, space);
}

/* Y (n_below x columns) = Z_BB G, entry by entry. */
static void narrow_product(blocked *b, double *Z, const panel *p, const double *G, int *relative,
                           double *Y) {
  const int n = p->n_below, k = p->columns;
  memset(Y, 0, (size_t)n * (size_t)k * sizeof(double));
  for (int i = 0, end; i < n; i = end) {
    const int K = b->owner[p->below[i]];
    end = panel_rows_until(p, i, b->start[K + 1]);
    panel_relative(b, p, i, K, relative);
    for (int j = i; j < end; j++) {
      const double *z = panel_column(b, Z, K, p->below[j]);
      for (int c = 0; c < k; c++) {
        const double *g = G + p->ld * (size_t)c, own = g[j];
        double *y = Y + (size_t)n * (size_t)c, sum = z[relative[j]] * own;
        for (int a = j + 1; a < n; a++) {
          const double entry = z[relative[a]];
          y[a] += entry * own;
          sum += entry * g[a];
        }
        y[j] += sum;
      }
    }
  }
}

/* The same through Z_BB, gathered into `full` (n_below x n_below). */
static void wide_product(blocked *b, double *Z, const panel *p, const double *G, int *relative,
                         double *full, double *Y) {
  const int n = p->n_below;
  for (int i = 0, end; i < n; i = end) {
    const int K = b->owner[p->below[i]];
    end = panel_rows_until(p, i, b->start[K + 1]);
    panel_relative(b, p, i, K, relative);
    for (int j = i; j < end; j++) {
      const double *z = panel_column(b, Z, K, p->below[j]);
      double *to = full + (size_t)n * (size_t)j;
      for (int a = j; a < n; a++) to[a] = z[relative[a]];
    }
  }
  factor_mirror(n, full, (size_t)n);
  memset(Y, 0, (size_t)n * (size_t)p->columns * sizeof(double));
  const product_view all = {full, 1, (size_t)n}, transposed = {G, p->ld, 1};
  product_update(&b->work, 0, n, p->columns, n, 1.0, all, transposed, Y, (size_t)n);
}

void panel_inverse_product(blocked *b, const double *Z, const panel *p, const double *G,
                           int *relative, double *space, double *Y) {
  if (p->columns <= BLOCKED_NARROW)
    narrow_product(b, (double *)Z, p, G, relative, Y);
  else
    wide_product(b, (double *)Z, p, G, relative, space, Y);
}

static void inverse_panel(blocked *b, int J, int *relative, double *space) {
  const panel p = panel_of(b, J);
  double *Z = b->Z + b->panel[J], *G = Z + p.columns, *Y = space;
  const size_t n = (size_t)p.n_below, size = n * (size_t)p.columns;
  start_panel(b, J, &p, space);
  if (p.n_below == 0) return;
  panel_inverse_product(b, b->Z, &p, G, relative, space + size, Y);
  if (p.columns <= BLOCKED_NARROW) {
    for (int c = 0; c < p.columns; c++)
      for (int r = c; r < p.columns; r++)
        Z[p.ld * (size_t)c + (size_t)r] += dot(G + p.ld * (size_t)r, Y + n * (size_t)c, p.n_below);
  } else {
    const product_view g = {G, p.ld, 1}, y = {Y, n, 1};
    product_update(&b->work, 1, p.columns, p.columns, p.n_below, 1.0, g, y, Z, p.ld);
  }
  for (int c = 0; c < p.columns; c++)
    for (size_t i = 0; i < n; i++) G[p.ld * (size_t)c + i] = -Y[n * (size_t)c + i];
}

/* ---- leaves ---------------------------------------------------------------------------------- */

/* W = Z_RR L_RJ, in Z's place of the leaf: what the columns from .. to - 1 of Z_RR add. */
static void add_columns(blocked *b, int J, int from, int to, int *relative) {
  const panel p = panel_of(b, J);
  const double *L = b->L + b->panel[J] + p.columns;
  double *W = b->Z + b->panel[J] + p.columns;
  int i = panel_rows_from(&p, from);
  for (int end; i < p.n_below && p.below[i] < to; i = end) {
    const int K = b->owner[p.below[i]];
    end = panel_rows_until(&p, i, smaller(to, b->start[K + 1]));
    panel_relative(b, &p, i, K, relative);
    for (int j = i; j < end; j++) {
      const double *z = panel_column(b, b->Z, K, p.below[j]);
      for (int c = 0; c < p.columns; c++) {
        const double *l = L + p.ld * (size_t)c, own = l[j];
        double *w = W + p.ld * (size_t)c, sum = z[relative[j]] * own;
        for (int a = j + 1; a < p.n_below; a++) {
          const double entry = z[relative[a]];
          w[a] += entry * own;
          sum += entry * l[a];
        }
        w[j] += sum;
      }
    }
  }
}

/* Z_RJ = -W L_JJ^{-1}, Z_JJ = L_JJ'^{-1} (I + L_RJ'W) L_JJ^{-1}. */
static void finish_leaf(blocked *b, int J) {
  const panel p = panel_of(b, J);
  const double *A = b->L + b->panel[J], *L = A + p.columns;
  double *Z = b->Z + b->panel[J], *W = Z + p.columns, Q[BLOCKED_NARROW * BLOCKED_NARROW];
  const int n = p.columns;
  for (int c = 0; c < n; c++)
    for (int r = 0; r < n; r++)
      Q[r + n * c] = dot(L + p.ld * (size_t)r, W + p.ld * (size_t)c, p.n_below) + (r == c);
  for (int side = 0; side < 2; side++) {
    factor_solve(&b->work, n, n, A, p.ld, Q, (size_t)n);
    for (int c = 0; c < n; c++)
      for (int r = 0; r < c; r++) {
        const double kept = Q[r + n * c];
        Q[r + n * c] = Q[c + n * r];
        Q[c + n * r] = kept;
      }
  }
  factor_solve(&b->work, p.n_below, n, A, p.ld, W, p.ld);
  for (int c = 0; c < n; c++) {
    for (int r = 0; r < n; r++) Z[p.ld * (size_t)c + (size_t)r] = Q[r + n * c];
    for (int i = 0; i < p.n_below; i++) W[p.ld * (size_t)c + (size_t)i] *= -1.0;
  }
}

/* Tile by tile, as the factor. */
static void inverse_leaves(blocked *b) {
  const int threads = threads_for(b->work.threads, b->n_leaf);
  (void)threads;
  memset(b->Z, 0, b->panel[b->n_leaf] * sizeof(double));
#ifdef _OPENMP
#pragma omp parallel num_threads(threads)
#endif
  {
    int *relative = b->relative + (size_t)b->n * (size_t)threads_this();
    for (int t = 0; t < b->n_tile; t++) {
#ifdef _OPENMP
#pragma omp for schedule(static)
#endif
      for (int J = 0; J < b->n_leaf; J++) add_columns(b, J, b->tile[t], b->tile[t + 1], relative);
    }
#ifdef _OPENMP
#pragma omp for schedule(static)
#endif
    for (int J = 0; J < b->n_leaf; J++) finish_leaf(b, J);
  }
}

void blocked_inverse(blocked *b) {
  const int first = b->wide_leaves ? 0 : b->n_leaf;
  for (int J = b->n_super - 1; J >= first; J--) inverse_panel(b, J, b->relative, b->space);
  if (!b->wide_leaves) inverse_leaves(b);
}
