/* The mixture of curves: the pass over units, and the cells that it leaves, cross-products of the
 * units of a design. */
#include "math/la.h"
#include "mixture/curves_cells.h"

enum { MOST_CELL_DOUBLES = 50000 }; /* larger statistics cost more than the responsibilities */

/* ---- the pass -------------------------------------------------------------------------------- */

/* Units from `unit` on, up to `end`, that share its design. */
static int run_length(const curves *w, int unit, int end) {
  int last = unit + 1;
  while (last < end && w->design_of[last] == w->design_of[unit]) last++;
  return last - unit;
}

static void load(const curves *w, int unit, int n, double *block) {
  rows_load(w->t, (size_t)w->spec.units.n_unit, w->design[w->design_of[unit]].m, (size_t)unit, n,
            rows_padded(n), block);
}

void curves_log_density(const void *work, const mixture_chunk *c, double *scratch, double *out) {
  const curves *w = work;
  const int end = c->unit + c->n_unit;
  double *l = scratch, *block = scratch + c->ld;
  for (int unit = c->unit, n; unit < end; unit += n) {
    const curve_design *d = w->design + w->design_of[unit];
    n = run_length(w, unit, end);
    const int ld = rows_padded(n), at = unit - c->unit;
    load(w, unit, n, block);
    for (int j = 0; j < w->spec.k; j++) {
      const double precision = 1.0 / w->variance[sigma_of(w, j)];
      for (int i = 0; i < ld; i++) l[i] = i < n ? -0.5 * precision * w->rest[unit + i] : 0.0;
      w->kernels->quadratic(ld, d->m, block, d->centre + d->m * j, d->m, 1,
                            d->M + square(d->m) * (size_t)j, d->constant[j], l);
      for (int i = 0; i < n; i++) out[at + i + c->ld * j] += l[i];
    }
  }
}

/* A cell among the statistics: cross-products of (1, t - centre), packed, and sum r rest. */
static size_t cell_size(int m) { return packed_size(m + 1) + 1; }

void curves_accumulate(const void *work, const mixture_chunk *c, const double *r, double *scratch,
                       double *stat) {
  const curves *w = work;
  const int end = c->unit + c->n_unit;
  double *weight = scratch, *block = scratch + c->ld;
  if (!w->by_cell) return;
  for (int unit = c->unit, n; unit < end; unit += n) {
    const curve_design *d = w->design + w->design_of[unit];
    n = run_length(w, unit, end);
    const int ld = rows_padded(n), at = unit - c->unit;
    load(w, unit, n, block);
    for (int j = 0; j < w->spec.k; j++) {
      double *cell = stat + d->stat_at + cell_size(d->m) * (size_t)j,
             *rest = cell + cell_size(d->m) - 1;
      for (int i = 0; i < ld; i++) weight[i] = i < n ? r[at + i + c->ld * j] : 0.0;
      w->kernels->crossprod(ld, d->m, block, d->centre + d->m * j, weight, cell);
      for (int i = 0; i < n; i++) *rest += weight[i] * w->rest[unit + i];
    }
  }
}

/* Behind the cells: the beta (p x k) about whose curves they are. */
static const double *stat_beta(const curves *w, const double *stat) {
  const curve_design *last = w->design + w->n_design - 1;
  return stat + last->stat_at + cell_size(last->m) * (size_t)w->spec.k;
}

void curves_finish(const void *work, double *stat) {
  const curves *w = work;
  if (!w->by_cell) return;
  memcpy(stat + (stat_beta(w, stat) - stat), w->beta,
         (size_t)(w->spec.p * w->spec.k) * sizeof(double));
}

/* ---- cells ----------------------------------------------------------------------------------- */

/* Cross-products of a design's units, about `centre`, from r: `packed` as the kernel leaves it. */
static void gather_cell(const curves *w, const curve_design *d, const double *r, int j,
                        const double *centre, double *packed, double *rest) {
  const size_t n_unit = (size_t)w->spec.units.n_unit;
  double *weight = w->rows, *block = w->rows + CURVES_BLOCK_UNITS;
  r += n_unit * (size_t)j;
  memset(packed, 0, packed_size(d->m + 1) * sizeof(double));
  *rest = 0.0;
  for (int start = 0; start < d->n_unit; start += CURVES_BLOCK_UNITS) {
    const int n = smaller(CURVES_BLOCK_UNITS, d->n_unit - start), ld = rows_padded(n);
    for (int i = 0; i < ld; i++) {
      const int unit = d->unit[start + smaller(i, n - 1)];
      weight[i] = i < n ? r[unit] : 0.0;
      *rest += weight[i] * w->rest[unit];
      for (int a = 0; a < d->m; a++) block[i + ld * a] = w->t[n_unit * (size_t)a + (size_t)unit];
    }
    w->kernels->crossprod(ld, d->m, block, centre, weight, packed);
  }
}

/* From cross-products about centre to those about centre + shift. */
static void unpack_cell(curve_cell *cell, int m, const double *packed, const double *shift) {
  cell->n = packed[0];
  for (int a = 0; a < m; a++) {
    const double *row = packed + packed_size(a + 1);
    cell->s[a] = row[0] - cell->n * shift[a];
    for (int b = 0; b <= a; b++)
      cell->C[a + m * b] = cell->C[b + m * a] =
          row[1 + b] - row[0] * shift[b] -
          shift[a] * (packed[packed_size(b + 1)] - cell->n * shift[b]);
  }
}

void curves_cell(const curves *w, const double *stat, const double *r, int d, int j) {
  const curve_design *design = w->design + d;
  const int m = design->m, p = w->spec.p;
  double *shift = w->step, *centre = w->trial;
  const double *beta = w->beta + p * j;
  if (w->by_cell) {
    const double *from = stat_beta(w, stat) + p * j;
    const double *packed = stat + design->stat_at + cell_size(m) * (size_t)j;
    for (int a = 0; a < p; a++) centre[a] = beta[a] - from[a];
    la_multiply(design->R, centre, m, p, 1, shift);
    unpack_cell(w->cell, m, packed, shift);
    w->cell->rest = packed[cell_size(m) - 1];
  } else {
    la_multiply(design->R, beta, m, p, 1, centre);
    gather_cell(w, design, r, j, centre, w->packed, &w->cell->rest);
    memset(shift, 0, (size_t)m * sizeof(double));
    unpack_cell(w->cell, m, w->packed, shift);
  }
}

/* Statistics by cell where designs are few. */
size_t curves_place_statistics(curves *w) {
  const size_t k = (size_t)w->spec.k;
  size_t size = 0;
  for (int i = 0; i < w->n_design; i++) {
    w->design[i].stat_at = size;
    size += cell_size(w->design[i].m) * k;
  }
  w->by_cell = size <= MOST_CELL_DOUBLES;
  return w->by_cell ? size + (size_t)w->spec.p * k : 0;
}
