/* The mixture of curves: which units share a design, the basis of each design, and the responses in
 * that basis.  Everything that depends on the rows is done here, once. */
#include <stdint.h>

#include "mixture/curves_design.h"

/* ---- units of one design --------------------------------------------------------------------- */

static int first_row(const curves *w, int unit) {
  return w->spec.units.first ? w->spec.units.first[unit] : unit;
}

static int rows_of(const curves *w, int unit) {
  return first_row(w, unit + 1) - first_row(w, unit);
}

/* Columns of X, then of Z, then the weights. */
static int n_column(const curves *w) { return w->spec.p + w->spec.q + (w->spec.weights != NULL); }

static const double *column(const curves *w, int c) {
  const size_t n = (size_t)w->spec.units.n_row;
  const int p = w->spec.p, q = w->spec.q;
  if (c < p) return w->spec.X + n * (size_t)c;
  if (c < p + q) return w->spec.Z + n * (size_t)(c - p);
  return w->spec.weights;
}

static int same_design(const curves *w, int a, int b) {
  const size_t n = (size_t)rows_of(w, a);
  if (n != (size_t)rows_of(w, b)) return 0;
  for (int c = 0; c < n_column(w); c++) {
    const double *x = column(w, c);
    if (memcmp(x + first_row(w, a), x + first_row(w, b), n * sizeof(double)) != 0) return 0;
  }
  return 1;
}

/* Fowler, Noll and Vo's hash, a double at a time, its high bits stirred into the low ones. */
static uint64_t hash(const curves *w, int unit) {
  uint64_t h = UINT64_C(14695981039346656037) ^ (uint64_t)rows_of(w, unit);
  for (int c = 0; c < n_column(w); c++) {
    const double *x = column(w, c) + first_row(w, unit);
    for (int i = 0; i < rows_of(w, unit); i++) {
      uint64_t bits;
      memcpy(&bits, x + i, sizeof bits);
      h = (h ^ bits) * UINT64_C(1099511628211);
      h ^= h >> 29;
    }
  }
  return h;
}

/* design_of for every unit; the answer is the number of designs. */
static int number_designs(curves *w, const elbo_memory *mem) {
  const int n = w->spec.units.n_unit;
  size_t size = 16;
  while (size < 2 * (size_t)n) size *= 2;
  int *table = elbo_ints(mem, size); /* the first unit of a design, plus one */
  memset(table, 0, size * sizeof(int));
  int n_design = 0;
  for (int i = 0; i < n; i++) {
    size_t at = (size_t)hash(w, i) & (size - 1);
    while (table[at] > 0 && !same_design(w, table[at] - 1, i)) at = (at + 1) & (size - 1);
    if (table[at] == 0) {
      table[at] = i + 1;
      w->design_of[i] = n_design++;
    } else {
      w->design_of[i] = w->design_of[table[at] - 1];
    }
  }
  return n_design;
}

static void list_units(curves *w, const elbo_memory *mem) {
  const int n = w->spec.units.n_unit;
  int *unit = elbo_ints(mem, (size_t)n), *at = elbo_ints(mem, (size_t)w->n_design);
  for (int i = 0; i < n; i++) w->design[w->design_of[i]].n_unit++;
  for (int d = 0, sum = 0; d < w->n_design; sum += w->design[d++].n_unit) {
    w->design[d].unit = unit + sum;
    at[d] = sum;
  }
  for (int i = 0; i < n; i++) unit[at[w->design_of[i]]++] = i;
}

/* ---- a design's basis ------------------------------------------------------------------------ */

static double length(const double *x, int n) {
  double sum = 0.0;
  for (int i = 0; i < n; i++) sum += x[i] * x[i];
  return sqrt(sum);
}

/* v less its components along the m columns of Q, which are added to h; twice, since once loses
 * orthogonality. */
static void project_out(const double *Q, int n, int m, double *v, double *h) {
  for (int pass = 0; pass < 2; pass++)
    for (int a = 0; a < m; a++) {
      const double *q = Q + (size_t)n * (size_t)a;
      double sum = 0.0;
      for (int i = 0; i < n; i++) sum += q[i] * v[i];
      for (int i = 0; i < n; i++) v[i] -= sum * q[i];
      h[a] += sum;
    }
}

/* Q and [R S] (most x (p + q), the first m rows of use) of a unit's rows, by Gram and Schmidt, the
 * columns of S first: below their rank S is zero, and V = S Gamma S' + variance I exactly the
 * variance, however small beside Gamma.  What is left of a column that depends on those before it
 * is rounding, and no new direction. */
static int basis(const curves *w, int unit, int most, double *Q, double *RS) {
  const int n = rows_of(w, unit), p = w->spec.p, q = w->spec.q, row = first_row(w, unit);
  int m = 0;
  memset(RS, 0, (size_t)most * (size_t)(p + q) * sizeof(double));
  for (int i = 0; i < p + q; i++) {
    const int c = i < q ? p + i : i - q;
    const double *x = column(w, c) + row, scale = c < p ? w->x_scale[c] : w->z_scale[c - p];
    double *v = Q + (size_t)n * (size_t)m, *h = RS + (size_t)most * (size_t)c;
    for (int l = 0; l < n; l++)
      v[l] = x[l] * scale * (w->spec.weights ? sqrt(w->spec.weights[row + l]) : 1.0);
    const double before = length(v, n);
    project_out(Q, n, m, v, h);
    const double left = length(v, n);
    if (m == n || !(left > 1e-12 * before)) continue;
    for (int l = 0; l < n; l++) v[l] /= left;
    h[m++] = left;
  }
  return m;
}

static void keep_basis(const curves *w, curve_design *d, int most, const double *RS,
                       const elbo_memory *mem) {
  const int p = w->spec.p, q = w->spec.q, m = d->m, k = w->spec.k;
  const size_t M = (size_t)m, K = (size_t)k;
  d->R = elbo_doubles(mem, M * (size_t)(p + q));
  d->S = d->R + M * (size_t)p;
  for (int c = 0; c < p + q; c++)
    memcpy(d->R + M * (size_t)c, RS + (size_t)most * (size_t)c, M * sizeof(double));
  d->M = elbo_doubles(mem, M * M * K);
  d->centre = elbo_doubles(mem, M * K);
  d->constant = elbo_doubles(mem, K);
}

/* t and rest of one unit; y: scratch. */
static void read_response(curves *w, const curve_design *d, const double *Q, int unit, double *y,
                          double *h) {
  const mixture_curves_spec *s = &w->spec;
  const int n = d->n_row, row = first_row(w, unit);
  for (int i = 0; i < n; i++) {
    y[i] = (s->y[row + i] - (s->offset ? s->offset[row + i] : 0.0) - w->y_centre) * w->y_scale;
    if (s->weights) y[i] *= sqrt(s->weights[row + i]);
  }
  memset(h, 0, (size_t)d->m * sizeof(double));
  project_out(Q, n, d->m, y, h);
  for (int a = 0; a < d->m; a++) w->t[(size_t)s->units.n_unit * (size_t)a + (size_t)unit] = h[a];
  const double left = d->m < n ? length(y, n) : 0.0;
  w->rest[unit] = left * left;
}

void curves_designs(curves *w, const elbo_memory *mem) {
  const int n = w->spec.units.n_unit, columns = w->spec.p + w->spec.q;
  int most_rows = 0;
  w->design_of = elbo_ints(mem, (size_t)n);
  w->n_design = number_designs(w, mem);
  w->design = mem->get(mem->ctx, (size_t)w->n_design * sizeof *w->design);
  memset(w->design, 0, (size_t)w->n_design * sizeof *w->design);
  list_units(w, mem);
  for (int i = 0; i < n; i++) most_rows = larger(most_rows, rows_of(w, i));
  const int most = smaller(most_rows, columns);
  double *Q = elbo_doubles(mem, (size_t)most_rows * (size_t)(most + 1));
  double *RS = elbo_doubles(mem, (size_t)(most + 1) * (size_t)columns);
  double *y = elbo_doubles(mem, (size_t)most_rows), *h = elbo_doubles(mem, (size_t)most);
  w->t = elbo_doubles(mem, (size_t)n * (size_t)most);
  w->rest = elbo_doubles(mem, (size_t)n);
  for (int i = 0; i < w->n_design; i++) {
    curve_design *d = w->design + i;
    d->n_row = rows_of(w, d->unit[0]);
    d->m = basis(w, d->unit[0], most + 1, Q, RS);
    w->most_m = larger(w->most_m, d->m);
    for (int row = 0; w->spec.weights && row < d->n_row; row++)
      d->half_log_weight += 0.5 * log(w->spec.weights[first_row(w, d->unit[0]) + row]);
    keep_basis(w, d, most + 1, RS, mem);
    for (int u = 0; u < d->n_unit; u++) read_response(w, d, Q, d->unit[u], y, h);
  }
}
