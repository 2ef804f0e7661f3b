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
static void narrow_product(blocked *b, const panel *p, const double *G, int *relative, double *Y) {
  const int n = p->n_below, k = p->columns;
  memset(Y, 0, (size_t)n * (size_t)k * sizeof(double));
  for (int i = 0, end; i < n; i = end) {
    const int K = b->owner[p->below[i]];
    end = panel_rows_until(p, i, b->start[K + 1]);
    panel_relative(b, p, i, K, relative);
    for (int j = i; j < end; j++) {
      const double *z = panel_column(b, b->Z, K, p->below[j]);
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
static void wide_product(blocked *b, const panel *p, const double *G, int *relative, double *full,
                         double *Y) {
  const int n = p->n_below;
  for (int i = 0, end; i < n; i = end) {
    const int K = b->owner[p->below[i]];
    end = panel_rows_until(p, i, b->start[K + 1]);
    panel_relative(b, p, i, K, relative);
    for (int j = i; j < end; j++) {
      const double *z = panel_column(b, b->Z, K, p->below[j]);
      double *to = full + (size_t)n * (size_t)j;
      for (int a = j; a < n; a++) to[a] = z[relative[a]];
    }
  }
  factor_mirror(n, full, (size_t)n);
  memset(Y, 0, (size_t)n * (size_t)p->columns * sizeof(double));
  const product_view Z = {full, 1, (size_t)n}, transposed = {G, p->ld, 1};
  product_update(&b->work, 0, n, p->columns, n, 1.0, Z, transposed, Y, (size_t)n);
}

void panel_inverse_product(blocked *b, const panel *p, const double *G, int *relative,
                           double *space, double *Y) {
  if (p->columns <= BLOCKED_NARROW)
    narrow_product(b, p, G, relative, Y);
  else
    wide_product(b, p, G, relative, space, Y);
}

static void inverse_panel(blocked *b, int J, int *relative, double *space) {
  const panel p = panel_of(b, J);
  double *Z = b->Z + b->panel[J], *G = Z + p.columns, *Y = space;
  const size_t n = (size_t)p.n_below, size = n * (size_t)p.columns;
  start_panel(b, J, &p, space);
  if (p.n_below == 0) return;
  panel_inverse_product(b, &p, G, relative, space + size, Y);
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

void blocked_inverse(blocked *b) {
  for (int J = b->n_super - 1; J >= b->n_leaf; J--) inverse_panel(b, J, b->relative, b->space);
  const int threads = threads_for(b->wide_leaves ? 1 : b->work.threads, b->n_leaf);
  size_t size = 0;
  for (int J = 0; J < b->n_leaf; J++) {
    const panel p = panel_of(b, J);
    const size_t needs = (size_t)p.n_below * (size_t)p.columns;
    if (needs > size) size = needs;
  }
  (void)threads;
#ifdef _OPENMP
#pragma omp parallel for num_threads(threads) schedule(dynamic, 16)
#endif
  for (int J = 0; J < b->n_leaf; J++) {
    const size_t t = (size_t)threads_this();
    inverse_panel(b, J, b->relative + (size_t)b->n * t, b->space + size * t);
  }
}
