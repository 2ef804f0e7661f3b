/* tr(A^{-1} B A^{-1} C), exact and on the pattern of the factor alone.  With J a panel's own rows,
 * R those below, A_JJ = L L', and everything eliminated as in the factor,
 *   X = L^{-1} B_JJ L'^{-1},   U = B_RJ L'^{-1},   V = U - L_RJ X,
 *   B_RR - U L_RJ' - L_RJ V'  is what is left for the panels after,  and
 *   tr(A^{-1} B A^{-1} C) = sum over panels of <X_B, X_C> + 2 <Z_RR V_B, V_C>,
 * Z the inverse, Z_RR V = Z_RR U + Z_RJ L X, where Z_RR U is needed only if there is a U. */
#include <string.h>

#include "math/blocked.h"
#include "math/blocked_panel.h"
#include "math/small.h"
#include "math/threads.h"

/* One direction at a panel: its parts of B, and what is made of them. */
typedef struct {
  double *X, *V; /* in place of B_JJ and B_RJ, ld apart */
  double *U, *W; /* n_below x columns: W = Z_RR V */
  int some_u;
} direction;

static int all_zero(const double *x, int rows, int columns, size_t ld) {
  for (int c = 0; c < columns; c++)
    for (int i = 0; i < rows; i++)
      if (x[ld * (size_t)c + (size_t)i] != 0.0) return 0;
  return 1;
}

static product_view by_column(const double *at, size_t ld) { return (product_view){at, 1, ld}; }
static product_view by_row(const double *at, size_t ld) { return (product_view){at, ld, 1}; }

/* X (rows x n, ld apart) to X L'^{-1}, L n x n, small. */
static void narrow_solve(int rows, int n, const double *L, size_t ld_L, double *X, size_t ld) {
  for (int j = 0; j < n; j++) {
    double *x = X + ld * (size_t)j;
    for (int l = 0; l < j; l++) {
      const double *y = X + ld * (size_t)l, factor = L[ld_L * (size_t)l + (size_t)j];
      for (int i = 0; i < rows; i++) x[i] -= factor * y[i];
    }
    const double inverse = 1.0 / L[(ld_L + 1) * (size_t)j];
    for (int i = 0; i < rows; i++) x[i] *= inverse;
  }
}

/* to (rows x n, ld_to apart) += sign from (rows x n, ld apart) C, C n x n. */
static void narrow_product(int rows, int n, double sign, const double *from, size_t ld,
                           const double *C, size_t ld_C, double *to, size_t ld_to) {
  for (int k = 0; k < n; k++)
    for (int l = 0; l < n; l++) {
      const double factor = sign * C[ld_C * (size_t)k + (size_t)l], *x = from + ld * (size_t)l;
      double *y = to + ld_to * (size_t)k;
      for (int i = 0; i < rows; i++) y[i] += factor * x[i];
    }
}

/* X of a narrow panel, both triangles. */
static void narrow_congruence(int n, const double *L, size_t ld_L, double *X, size_t ld) {
  factor_mirror(n, X, ld);
  for (int side = 0; side < 2; side++) {
    narrow_solve(n, n, L, ld_L, X, ld);
    for (int j = 0; j < n; j++)
      for (int i = j + 1; i < n; i++) {
        const double kept = X[ld * (size_t)j + (size_t)i];
        X[ld * (size_t)j + (size_t)i] = X[ld * (size_t)i + (size_t)j];
        X[ld * (size_t)i + (size_t)j] = kept;
      }
  }
}

/* X, U, V, and W. */
static void transform(blocked *b, int J, const panel *p, direction *d, double *space) {
  const double *L = b->L + b->panel[J], *Z = b->Z + b->panel[J] + p->columns;
  const int m = p->n_below, c = p->columns, narrow = c <= BLOCKED_NARROW;
  const size_t n = (size_t)m, size = n * (size_t)c;
  double *LX = space, *rest = space + square(c);
  if (narrow)
    narrow_congruence(c, L, p->ld, d->X, p->ld);
  else
    factor_congruence(&b->work, c, L, p->ld, d->X, p->ld);
  if (m == 0) return;
  d->some_u = !all_zero(d->V, m, c, p->ld);
  memset(d->W, 0, size * sizeof(double));
  if (d->some_u) {
    if (narrow)
      narrow_solve(m, c, L, p->ld, d->V, p->ld);
    else
      factor_solve_transposed(&b->work, m, c, L, p->ld, d->V, p->ld);
    for (int k = 0; k < c; k++)
      memcpy(d->U + n * (size_t)k, d->V + p->ld * (size_t)k, n * sizeof(double));
    panel_inverse_product(b, b->Z, p, d->V, b->relative, rest, d->W);
  }
  memset(LX, 0, square(c) * sizeof(double));
  for (int k = 0; k < c; k++)
    for (int l = 0; l < c; l++)
      for (int i = l; i < c; i++)
        LX[i + c * k] += L[p->ld * (size_t)l + (size_t)i] * d->X[p->ld * (size_t)k + (size_t)l];
  if (narrow) {
    narrow_product(m, c, 1.0, Z, p->ld, LX, (size_t)c, d->W, n);
    narrow_product(m, c, -1.0, L + c, p->ld, d->X, p->ld, d->V, p->ld);
    return;
  }
  product_update(&b->work, 0, m, c, c, 1.0, by_column(Z, p->ld), by_row(LX, (size_t)c), d->W, n);
  product_update(&b->work, 0, m, c, c, -1.0, by_column(L + c, p->ld), by_row(d->X, p->ld), d->V,
                 p->ld);
}

/* B_RR less U L' + L V', by columns of R, those of one later panel at a time. */
static void eliminate(blocked *b, int J, const panel *p, const direction *d, double *B,
                      double *space) {
  const double *L = b->L + b->panel[J] + p->columns;
  const int c = p->columns;
  const size_t n = (size_t)p->n_below;
  for (int i = 0, end; i < p->n_below; i = end) {
    const int K = b->owner[p->below[i]];
    end = panel_rows_until(p, i, b->start[K + 1]);
    panel_relative(b, p, i, K, b->relative);
    for (int at = i; at < end; at += BLOCKED_STRIP) {
      const int columns = smaller(BLOCKED_STRIP, end - at), rows = p->n_below - at;
      memset(space, 0, (size_t)rows * (size_t)columns * sizeof(double));
      product_update(&b->work, 1, rows, columns, c, -1.0, by_column(L + at, p->ld),
                     by_column(d->V + at, p->ld), space, (size_t)rows);
      if (d->some_u)
        product_update(&b->work, 1, rows, columns, c, -1.0, by_column(d->U + at, n),
                       by_column(L + at, p->ld), space, (size_t)rows);
      for (int k = 0; k < columns; k++) {
        double *to = panel_column(b, B, K, p->below[at + k]);
        const double *from = space + (size_t)rows * (size_t)k;
        for (int a = k; a < rows; a++) to[b->relative[at + a]] += from[a];
      }
    }
  }
}

/* The same of a narrow panel, entry by entry: columns from .. to - 1.  U, where there is one, is
 * V + L_RJ X. */
static void eliminate_narrow(const blocked *b, int J, int some_u, int from, int to, double *B,
                             int *relative) {
  const panel p = panel_of(b, J);
  const double *L = b->L + b->panel[J] + p.columns, *X = B + b->panel[J], *V = X + p.columns;
  int i = panel_rows_from(&p, from);
  for (int end; i < p.n_below && p.below[i] < to; i = end) {
    const int K = b->owner[p.below[i]];
    end = panel_rows_until(&p, i, smaller(to, b->start[K + 1]));
    panel_relative(b, &p, i, K, relative);
    for (int j = i; j < end; j++) {
      double *column = panel_column(b, B, K, p.below[j]);
      for (int c = 0; c < p.columns; c++) {
        const double *l = L + p.ld * (size_t)c, *v = V + p.ld * (size_t)c;
        double of_l = v[j];
        for (int k = 0; k < p.columns && some_u; k++)
          of_l += L[p.ld * (size_t)k + (size_t)j] * X[p.ld * (size_t)k + (size_t)c];
        for (int a = j; a < p.n_below; a++) column[relative[a]] -= l[a] * of_l;
        for (int a = j; a < p.n_below && some_u; a++) column[relative[a]] -= v[a] * l[j];
      }
    }
  }
}

/* <X_i, X_j> + 2 <W_i, V_j> */
static double inner_product(const panel *p, const direction *d, const double *X, const double *V) {
  double sum = 0.0;
  for (int c = 0; c < p->columns; c++) {
    const size_t at = p->ld * (size_t)c;
    sum += dot(d->X + at, X + at, p->columns) +
           2.0 * dot(d->W + (size_t)p->n_below * (size_t)c, V + at, p->n_below);
  }
  return sum;
}

/* A panel's share of the traces; which directions are there (1), and have a U (2). */
static void panel_traces(blocked *b, int J, int n, double *const *B, double *out, int *there) {
  const panel p = panel_of(b, J);
  const size_t at = b->panel[J], size = (size_t)p.n_below * (size_t)p.columns;
  for (int i = 0; i < n; i++) {
    direction d = {B[i] + at, B[i] + at + p.columns, b->space, b->space + size, 0};
    there[i] = 0;
    if (all_zero(d.X, p.n_below + p.columns, p.columns, p.ld)) continue;
    transform(b, J, &p, &d, b->space + 2 * size);
    for (int j = 0; j <= i; j++)
      out[i + n * j] += inner_product(&p, &d, B[j] + at, B[j] + at + p.columns);
    there[i] = d.some_u ? 2 : 1;
    if (p.columns > BLOCKED_NARROW) eliminate(b, J, &p, &d, B[i], b->space + 2 * size);
  }
}

/* Leaves eliminate tile by tile, as in the factor. */
static void eliminate_leaves(blocked *b, int some_u, double *B) {
  const int threads = threads_for(b->work.threads, b->n_tile);
  (void)threads;
#ifdef _OPENMP
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
#endif
  for (int t = 0; t < b->n_tile; t++)
    for (int J = 0; J < b->n_leaf; J++)
      eliminate_narrow(b, J, some_u, b->tile[t], b->tile[t + 1], B,
                       b->relative + (size_t)b->n * (size_t)threads_this());
}

void blocked_curvature(blocked *b, int n, double *const *B, int *there, double *out) {
  int *of_leaves = there + n;
  memset(out, 0, square(n) * sizeof(double));
  memset(of_leaves, 0, (size_t)n * sizeof(int));
  for (int J = 0; J < b->n_super; J++) {
    panel_traces(b, J, n, B, out, there);
    for (int i = 0; i < n; i++) {
      const int narrow = b->start[J + 1] - b->start[J] <= BLOCKED_NARROW;
      if (J < b->n_leaf)
        of_leaves[i] = larger(of_leaves[i], there[i]);
      else if (there[i] && narrow)
        eliminate_narrow(b, J, there[i] > 1, 0, b->n, B[i], b->relative);
    }
    if (J + 1 != b->n_leaf || b->wide_leaves) continue;
    for (int i = 0; i < n; i++)
      if (of_leaves[i]) eliminate_leaves(b, of_leaves[i] > 1, B[i]);
  }
}
