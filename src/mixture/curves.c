/* The mixture of curves: the pass over units, sums for a component, the M-step, and the constructor. */
#include "mixture/curves_inside.h"

enum {
  MOST_CELL_DOUBLES = 50000, /* larger statistics cost more than the responsibilities */
  BLOCK_UNITS = 64,
  MOST_INNER_STEPS = 5,
  UNITS_PER_INNER_STEP = 20
};

/* ---- factors ---------------------------------------------------------------------------------------- */

/* V = S Gamma S' + variance I, m x m. */
static void covariance_of(const curves *w, const curve_design *d, int j, double *V) {
  const int m = d->m, q = w->spec.q;
  const double *Gamma = gamma_at(w, gamma_of(w, j));
  la_multiply(d->S, Gamma, m, q, q, w->three);
  la_multiply_t(w->three, d->S, m, q, m, V);
  for (int a = 0; a < m; a++) V[a + m * a] += w->variance[sigma_of(w, j)];
}

/* out (m x n) = M X, M lower triangular by row. */
static void lower_times(const double *M, const double *X, int m, int n, double *out) {
  for (int c = 0; c < n; c++)
    for (int a = 0; a < m; a++) {
      double sum = 0.0;
      for (int b = 0; b <= a; b++) sum += M[b + m * a] * X[b + m * c];
      out[a + m * c] = sum;
    }
}

/* image (m x p) = M R, and image Cov(beta_j) = M R Cov(beta_j). */
static void spread_of_mean(const curves *w, const curve_design *d, int j, double *image,
                           double *image_cov) {
  const int m = d->m, p = w->spec.p;
  lower_times(d->M + square(m) * (size_t)j, d->R, m, p, image);
  la_multiply(image, w->beta_cov + square(p) * (size_t)j, m, p, p, image_cov);
}

/* tr(R'V^{-1}R Cov(beta_j)). */
static double uncertainty_of_mean(const curves *w, const curve_design *d, int j) {
  double sum = 0.0;
  if (w->beta_cov == NULL) return 0.0;
  spread_of_mean(w, d, j, w->three, w->four);
  for (int a = 0; a < d->m * w->spec.p; a++) sum += w->three[a] * w->four[a];
  return sum;
}

/* Constants: with Omega = E[Gamma^{-1}], tau = E[1/sigma^2], the integral over u of exp E_q[log p(y, u)]
 * has the determinant |tau S'S + Omega| = |Omega| tau^m |V|; as points, Omega^{-1} = Gamma. */
static elbo_status factor_cell(const curves *w, curve_design *d, int j) {
  const int m = d->m, s = sigma_of(w, j), g = gamma_of(w, j);
  double *M = d->M + square(m) * (size_t)j, *V = w->one;
  covariance_of(w, d, j, V);
  const elbo_status status = la_chol(V, m);
  if (status != ELBO_OK) return status;
  la_lower_inverse(V, m, w->two);
  for (int a = 0; a < m; a++)
    for (int b = 0; b < m; b++) M[b + m * a] = w->two[a + m * b];
  la_multiply(d->R, w->beta + w->spec.p * j, m, w->spec.p, 1, d->centre + m * j);
  d->constant[j] = d->half_log_weight + d->n_row * log(w->y_scale) -
                   0.5 * (d->n_row * (LOG_2PI + w->log_variance[s]) + m * -log(w->variance[s]) +
                          la_log_det_from_chol(V, m) + w->excess[g] + uncertainty_of_mean(w, d, j));
  return ELBO_OK;
}

static elbo_status factor_all(const curves *w) {
  elbo_status status = ELBO_OK;
  for (int d = 0; d < w->n_design && status == ELBO_OK; d++)
    for (int j = 0; j < w->spec.k && status == ELBO_OK; j++)
      status = factor_cell(w, w->design + d, j);
  return status;
}

elbo_status curves_factor(const curves *w, int *component) {
  const double least = w->sigma_prior.family == SD_INVERSE_GAMMA ? 0.0 : 1e-12 * w->spread;
  for (int s = 0; s < w->n_sigma; s++) {
    if (!sigma_free(w, s) || w->variance[s] > least) continue;
    if (!w->spec.common_sigma) *component = s;
    return isnan(w->variance[s]) ? ELBO_E_NOT_FINITE : ELBO_E_UNBOUNDED;
  }
  return factor_all(w);
}

/* ---- the pass --------------------------------------------------------------------------------------- */

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

static void log_density(const void *work, const mixture_chunk *c, double *scratch, double *out) {
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

static void accumulate(const void *work, const mixture_chunk *c, const double *r, double *scratch,
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

static void finish(const void *work, double *stat) {
  const curves *w = work;
  if (!w->by_cell) return;
  memcpy(stat + (stat_beta(w, stat) - stat), w->beta,
         (size_t)(w->spec.p * w->spec.k) * sizeof(double));
}

/* ---- cells ------------------------------------------------------------------------------------------ */

/* Cross-products of a design's units, about `centre`, from r: `packed` as the kernel leaves it. */
static void gather_cell(const curves *w, const curve_design *d, const double *r, int j,
                        const double *centre, double *packed, double *rest) {
  const size_t n_unit = (size_t)w->spec.units.n_unit;
  double *weight = w->rows, *block = w->rows + BLOCK_UNITS;
  r += n_unit * (size_t)j;
  memset(packed, 0, packed_size(d->m + 1) * sizeof(double));
  *rest = 0.0;
  for (int start = 0; start < d->n_unit; start += BLOCK_UNITS) {
    const int n = smaller(BLOCK_UNITS, d->n_unit - start), ld = rows_padded(n);
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

static elbo_status expected(const void *work, const double *stat, const double *r, double *value) {
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

/* ---- sums of a component ------------------------------------------------------------------------------ */

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
  spread_of_mean(w, d, j, w->three, w->four);
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
  lower_times(d->M + square(m) * (size_t)j, d->S, m, q, w->three);
  quadratic_of(w->three, w->two, m, q, w->four, H);
}

static void add_coefficients(const curves *w, const curve_design *d, int j) {
  const int m = d->m, p = w->spec.p;
  const double *M = d->M + square(m) * (size_t)j;
  curve_sums *sums = w->sums;
  double *image = w->three;
  lower_times(M, w->cell->s, m, 1, w->trial);
  lower_times(M, d->R, m, p, image);
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
  lower_times(d->M + square(m) * (size_t)j, d->S, m, q, image);
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
    if (!(w->cell->n > 0.0)) continue;
    if (which & OF_COEFFICIENTS) add_coefficients(w, w->design + d, j);
    if (which & OF_VARIANCES) add_variances(w, w->design + d, j);
  }
}

void curves_take(const curves *w, const curve_block *b, const double *A, double *out) {
  const int q = w->spec.q, o = b->order;
  for (int a = 0; a < o; a++)
    for (int c = 0; c < o; c++) out[a + o * c] = A[b->first + a + q * (b->first + c)];
}

void curves_put(const curves *w, const curve_block *b, const double *block, double *A) {
  const int q = w->spec.q, o = b->size, at = b->first * (q + 1);
  for (int a = 0; a < o; a++)
    for (int c = 0; c < o; c++)
      A[at + a + q * c] = b->multiple ? block[0] * w->matrix[at + a + q * c] : block[a + o * c];
}

/* n Gamma + Gamma H Gamma; of a multiple c of a matrix B, tr(B^{-1} of it) = c (n rank + c tr(B H)). */
void curves_second_moment(const curves *w, int g, const curve_block *block, double n,
                          const double *H, double *out) {
  const int q = w->spec.q, o = block->size, at = block->first * (q + 1);
  const double *Gamma = gamma_at(w, g) + at;
  H += at;
  if (block->multiple) {
    const double *B = w->matrix + at, c = multiple_of(w, g, block);
    double trace = 0.0;
    for (int a = 0; a < o; a++)
      for (int b = 0; b < o; b++) trace += B[a + q * b] * H[a + q * b];
    out[0] = c * (n * block->count + c * trace);
    return;
  }
  double *between = w->one;
  for (int a = 0; a < o; a++)
    for (int b = 0; b < o; b++) {
      double sum = 0.0;
      for (int c = 0; c < o; c++) sum += Gamma[a + q * c] * H[c + q * b];
      between[a + o * b] = sum;
    }
  for (int a = 0; a < o; a++)
    for (int b = 0; b <= a; b++) {
      double sum = n * Gamma[a + q * b];
      for (int c = 0; c < o; c++) sum += between[a + o * c] * Gamma[c + q * b];
      out[a + o * b] = out[b + o * a] = sum;
    }
}

/* ---- the M-step ------------------------------------------------------------------------------------- */

/* x from A x = b for symmetric positive semidefinite A (n x n), zero in columns that depend on those
 * before them: of a component with few units. */
static void solve(const curves *w, const double *A, const double *b, int n, double *x) {
  double *unit = w->unit;
  for (int a = 0; a < n; a++) unit[a] = A[a + n * a] > 0.0 ? 1.0 / sqrt(A[a + n * a]) : 0.0;
  for (int a = 0; a < n; a++)
    for (int c = 0; c < n; c++) w->one[c + n * a] = A[c + n * a] * unit[a] * unit[c];
  la_chol_semidefinite(w->one, n, 1e-11, w->two);
  la_lower_inverse(w->two, n, w->one);
  memset(x, 0, (size_t)n * sizeof(double));
  for (int a = 0; a < n; a++) {
    double sum = 0.0;
    for (int c = 0; c <= a; c++) sum += w->one[a + n * c] * unit[c] * b[c];
    for (int c = 0; c <= a; c++) x[c] += w->one[a + n * c] * unit[c] * sum;
  }
}

/* The best beta_j at the present variances, u integrated out: generalised least squares (an ECME step,
 * Liu & Rubin 1994, Biometrika 81:633). */
static elbo_status update_beta(curves *w, const double *stat, const double *r, int j) {
  const int p = w->spec.p;
  double *beta = w->beta + p * j;
  curves_sums(w, stat, r, j, OF_COEFFICIENTS);
  if (w->spec.method == MIXTURE_VB || w->smooth.n > 0) return curves_smooth_step(w, j, 1);
  for (int a = 0; a < p; a++) {
    w->sums->K[a + p * a] += w->beta_precision[a];
    w->sums->b[a] += w->beta_precision[a] * (w->beta_mean[a] - beta[a]);
  }
  solve(w, w->sums->K, w->sums->b, p, w->step);
  for (int a = 0; a < p; a++) beta[a] += w->step[a];
  return ELBO_OK;
}

/* Sums of all components: scores and, by the covariances and sigmas that they share, what these need. */
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

static void update_variances(curves *w, const double *stat, const double *r) {
  const int vb = w->spec.method == MIXTURE_VB;
  const curve_totals *all = w->totals;
  curves_collect(w, stat, r, OF_VARIANCES);
  for (int g = 0; g < w->n_gamma; g++)
    (vb ? curves_vb_gamma : curves_em_gamma)(w, g, all->n[g],
                                             all->H + square(w->spec.q) * (size_t)g);
  for (int s = 0; s < w->n_sigma; s++)
    (vb ? curves_vb_sigma : curves_em_sigma)(w, s, all->rows[s], all->square[s]);
}

/* Covariances without a prior, from where EM over deviations left them. */
static elbo_status climb_covariances(curves *w, const double *stat, const double *r,
                                     int *component) {
  elbo_status status = curves_factor(w, component);
  int scalar = 0;
  for (int i = 0; i < w->n_block; i++) scalar = scalar || w->block[i].order == 1;
  if (scalar && status == ELBO_OK) {
    curves_collect(w, stat, r, OF_VARIANCES);
    for (int g = 0; g < w->n_gamma; g++) {
      const size_t at = square(w->spec.q) * (size_t)g;
      curves_mm_gamma(w, g, w->totals->T + at, w->totals->H + at);
    }
  }
  for (int i = 0; i < w->n_block && status == ELBO_OK; i++) {
    if (w->block[i].order == 1) continue;
    if (scalar || i > 0) status = curves_factor(w, component);
    for (int g = 0; g < w->n_gamma && status == ELBO_OK; g++)
      curves_em_root(w, stat, r, g, w->block + i);
  }
  return status;
}

/* Coefficients, then variances by their laws given the laws of u, in turn.  A turn costs no pass over the
 * units where they share designs: several are taken, and EM over the deviations waits for nothing. */
static elbo_status m_step(void *work, const double *stat, const double *r, int *component) {
  curves *w = work;
  for (int step = 0; step < w->inner_steps; step++) {
    elbo_status status = step > 0 ? curves_factor(w, component) : ELBO_OK;
    for (int j = 0; j < w->spec.k && status == ELBO_OK; j++) status = update_beta(w, stat, r, j);
    if (status != ELBO_OK) return status;
    update_variances(w, stat, r);
    if (w->covariance_scale == NULL) status = climb_covariances(w, stat, r, component);
    if (status != ELBO_OK) return status;
  }
  if (w->spec.method != MIXTURE_VB) curves_em_take_roots(w);
  return ELBO_OK;
}

/* ---- fields of both methods --------------------------------------------------------------------------- */

void curves_publish_beta(const curves *w, int j) {
  const int p = w->spec.p;
  double *field = w->coefficients + p * j;
  for (int a = 0; a < p; a++) field[a] = w->beta[a + p * j] * beta_unit(w, a);
  if (w->intercept >= 0)
    field[w->intercept] +=
        w->y_centre / w->spec.X[(size_t)w->spec.units.n_row * (size_t)w->intercept];
}

void curves_read_beta(const curves *w, int j) {
  const int p = w->spec.p;
  double *beta = w->beta + p * j;
  memcpy(beta, w->coefficients + p * j, (size_t)p * sizeof(double));
  if (w->intercept >= 0)
    beta[w->intercept] -=
        w->y_centre / w->spec.X[(size_t)w->spec.units.n_row * (size_t)w->intercept];
  for (int a = 0; a < p; a++) beta[a] /= beta_unit(w, a);
}

/* ---- scales ------------------------------------------------------------------------------------------ */

/* Numbers from 1e-150 to 1e150 are squared only once they are brought near one. */
static double scale_of_column(const double *x, int n) {
  double most = 0.0, sum = 0.0;
  for (int i = 0; i < n; i++) most = fmax(most, fabs(x[i]));
  const double first = most > 0.0 ? ldexp(1.0, -ilogb(most)) : 1.0;
  for (int i = 0; i < n; i++) sum += x[i] * first * (x[i] * first) / n;
  return first * scale_of(sum);
}

static int find_intercept(const double *X, int n, int p) {
  for (int a = 0; a < p; a++) {
    const double *x = X + (size_t)n * (size_t)a;
    int same = x[0] != 0.0;
    for (int i = 1; i < n && same; i++) same = x[i] == x[0];
    if (same) return a;
  }
  return -1;
}

static void scale_response(curves *w) {
  const mixture_curves_spec *s = &w->spec;
  const int n = s->units.n_row;
  double most = 0.0;
  for (int i = 0; w->intercept >= 0 && i < n; i++)
    w->y_centre += (s->y[i] - (s->offset ? s->offset[i] : 0.0)) / n;
  for (int i = 0; i < n; i++)
    most = fmax(most, fabs(s->y[i] - (s->offset ? s->offset[i] : 0.0) - w->y_centre));
  const double first = most > 0.0 ? ldexp(1.0, -ilogb(most)) : 1.0;
  double sum = 0.0, weighted = 0.0;
  for (int i = 0; i < n; i++) {
    const double y = (s->y[i] - (s->offset ? s->offset[i] : 0.0) - w->y_centre) * first;
    sum += y * y / n;
    weighted += (s->weights ? s->weights[i] : 1.0) * y * y / n;
  }
  const double second = scale_of(sum);
  w->y_scale = first * second;
  w->spread = weighted > 0.0 ? weighted * second * second : 1.0;
}

static void scale_all(curves *w, const elbo_memory *mem) {
  const int n = w->spec.units.n_row, p = w->spec.p, q = w->spec.q;
  w->x_scale = elbo_doubles(mem, (size_t)p);
  w->z_scale = elbo_doubles(mem, (size_t)q);
  for (int a = 0; a < p; a++) /* the law of a smooth is the same for all its columns */
    w->x_scale[a] = a > w->smooth.first && w->smooth.of[a] == w->smooth.of[a - 1]
                        ? w->x_scale[a - 1]
                        : scale_of_column(w->spec.X + (size_t)n * (size_t)a, n);
  for (int a = 0; a < q; a++) w->z_scale[a] = scale_of_column(w->spec.Z + (size_t)n * (size_t)a, n);
  w->intercept = find_intercept(w->spec.X, n, w->smooth.first);
  scale_response(w);
}

/* ---- blocks and priors -------------------------------------------------------------------------------- */

static int rank_of(const curves *w, const curve_block *b) {
  const int q = w->spec.q, o = b->size;
  int rank = 0;
  for (int a = 0; a < o; a++)
    for (int c = 0; c < o; c++) w->one[a + o * c] = w->matrix[b->first + a + q * (b->first + c)];
  la_chol_semidefinite(w->one, o, 1e-10, w->two);
  for (int a = 0; a < o; a++) rank += w->two[a + o * a] > 0.0;
  return rank;
}

static void build_blocks(curves *w, const elbo_memory *mem) {
  const mixture_curves_spec *s = &w->spec;
  const int q = s->q;
  w->block = mem->get(mem->ctx, (size_t)larger(s->n_block, 1) * sizeof *w->block);
  w->matrix = elbo_doubles(mem, square(q));
  for (int a = 0; a < q; a++)
    for (int b = 0; b < q; b++)
      w->matrix[a + q * b] =
          s->matrix ? s->matrix[a + q * b] / (w->z_scale[a] * w->z_scale[b]) : 0.0;
  for (int i = 0, first = 0; i < s->n_block; first += s->block_size[i++]) {
    curve_block *b = w->block + i;
    memset(b, 0, sizeof *b);
    b->first = b->reference = first;
    b->size = s->block_size[i];
    b->multiple = s->block_kind[i] == CURVES_MULTIPLE;
    b->order = b->multiple ? 1 : b->size;
    b->count = b->multiple ? rank_of(w, b) : 1;
    for (int a = first; b->multiple && a < first + b->size; a++)
      if (w->matrix[a * (q + 1)] > w->matrix[b->reference * (q + 1)]) b->reference = a;
    b->held = b->multiple && s->multiple_constant && !isnan(s->multiple_constant[i]);
    b->df = s->covariance_df ? s->covariance_df[i] : 0.0;
  }
}

static void build_priors(curves *w, const elbo_memory *mem) {
  const mixture_curves_spec *s = &w->spec;
  const int p = s->p, q = s->q;
  w->beta_mean = elbo_doubles(mem, (size_t)p);
  w->beta_precision = elbo_doubles(mem, (size_t)p);
  for (int a = 0; a < p; a++) {
    const double unit = beta_unit(w, a), sd = s->beta_sd ? s->beta_sd[a] / unit : HUGE_VAL;
    double mean = s->beta_mean ? s->beta_mean[a] : 0.0;
    if (a == w->intercept) mean -= w->y_centre / s->X[(size_t)s->units.n_row * (size_t)a];
    w->beta_mean[a] = a < w->smooth.first ? mean / unit : 0.0;
    w->beta_precision[a] = a < w->smooth.first ? 1.0 / (sd * sd) : 0.0;
  }
  if (s->covariance_df) {
    w->covariance_scale = elbo_doubles(mem, square(q));
    for (int a = 0; a < q; a++)
      for (int b = 0; b < q; b++)
        w->covariance_scale[a + q * b] = s->covariance_scale[a + q * b] / gamma_unit(w, a, b);
    for (int i = 0; i < w->n_block; i++) /* a multiple has the units of y^2 only */
      if (w->block[i].multiple) {
        const int at = w->block[i].first * (q + 1);
        w->covariance_scale[at] = s->covariance_scale[at] * w->y_scale * w->y_scale;
      }
  }
  w->sigma_prior.family = (sd_family)s->sigma_family;
  w->sigma_prior.df = s->sigma_df;
  w->sigma_prior.scale = s->sigma_scale * w->y_scale;
  w->sigma_constant = elbo_doubles(mem, (size_t)w->n_sigma);
  for (int i = 0; i < w->n_sigma; i++)
    w->sigma_constant[i] = s->sigma_constant ? s->sigma_constant[i] * w->y_scale : NAN;
}

/* ---- construction ------------------------------------------------------------------------------------- */

/* Half of what the response has to the deviations, half to the noise. */
static void start(curves *w) {
  const int q = w->spec.q;
  memset(w->beta, 0, (size_t)(w->spec.p * w->spec.k) * sizeof(double));
  memset(w->Gamma, 0, square(q) * (size_t)w->n_gamma * sizeof(double));
  for (int g = 0; g < w->n_gamma; g++) {
    double *Gamma = gamma_at(w, g);
    for (int i = 0; i < w->n_block; i++) {
      const curve_block *b = w->block + i;
      const double constant = b->held ? w->spec.multiple_constant[i] * w->y_scale : 0.0;
      double multiple = 0.5 * w->spread / q;
      if (b->held)
        multiple = constant * constant;
      else if (b->multiple)
        multiple /= w->matrix[b->reference * (q + 1)];
      for (int a = b->first; a < b->first + b->size; a++)
        for (int c = b->first; c < b->first + b->size; c++)
          Gamma[a + q * c] = multiple * (b->multiple ? w->matrix[a + q * c] : a == c);
    }
  }
  for (int s = 0; s < w->n_sigma; s++) {
    const double constant = w->sigma_constant[s];
    w->variance[s] = sigma_free(w, s) ? 0.5 * w->spread : constant * constant;
    w->log_variance[s] = log(w->variance[s]);
  }
  memset(w->excess, 0, (size_t)w->n_gamma * sizeof(double));
}

static void allocate(curves *w, const elbo_memory *mem) {
  const size_t p = (size_t)w->spec.p, q = (size_t)w->spec.q, k = (size_t)w->spec.k;
  const size_t n_gamma = (size_t)w->n_gamma, n_sigma = (size_t)w->n_sigma;
  w->coefficients = elbo_doubles(mem, p * k);
  w->beta = elbo_doubles(mem, p * k);
  w->Gamma = elbo_doubles(mem, q * q * n_gamma);
  w->excess = elbo_doubles(mem, n_gamma);
  w->variance = elbo_doubles(mem, n_sigma);
  w->log_variance = elbo_doubles(mem, n_sigma);
  w->sums = mem->get(mem->ctx, sizeof *w->sums);
  w->sums->K = elbo_doubles(mem, p * p);
  w->sums->b = elbo_doubles(mem, p);
  w->sums->T = elbo_doubles(mem, q * q);
  w->sums->H = elbo_doubles(mem, q * q);
  w->totals = mem->get(mem->ctx, sizeof *w->totals);
  w->totals->n = elbo_doubles(mem, n_gamma);
  w->totals->T = elbo_doubles(mem, q * q * n_gamma);
  w->totals->H = elbo_doubles(mem, q * q * n_gamma);
  w->totals->rows = elbo_doubles(mem, n_sigma);
  w->totals->square = elbo_doubles(mem, n_sigma);
  w->totals->b = elbo_doubles(mem, p * k);
  const int law =
      w->spec.method == MIXTURE_VB || (w->spec.method == MIXTURE_EM && w->spec.n_smooth > 0);
  w->totals->K = law ? elbo_doubles(mem, p * p * k) : NULL;
  w->beta_cov = law ? elbo_doubles(mem, p * p * k) : NULL;
}

/* No design has more dimensions than columns. */
static void allocate_scratch(curves *w, const elbo_memory *mem) {
  const size_t most = (size_t)(w->spec.p + w->spec.q);
  w->cell = mem->get(mem->ctx, sizeof *w->cell);
  double **const squares[] = {&w->one, &w->two, &w->three, &w->four, &w->cell->C};
  double **const vectors[] = {&w->step, &w->trial, &w->unit, &w->cell->s};
  for (size_t i = 0; i < sizeof squares / sizeof *squares; i++)
    *squares[i] = elbo_doubles(mem, most * most);
  for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++)
    *vectors[i] = elbo_doubles(mem, most);
  w->cell_H = elbo_doubles(mem, square(w->spec.q));
  w->prior_work = elbo_doubles(mem, 2 * square(w->spec.q));
  w->packed = elbo_doubles(mem, packed_size((int)most + 1));
  w->rows = elbo_doubles(mem, BLOCK_UNITS * (most + 1));
}

/* Statistics by cell where designs are few. */
static size_t place_statistics(curves *w) {
  const size_t k = (size_t)w->spec.k;
  size_t size = 0;
  for (int i = 0; i < w->n_design; i++) {
    w->design[i].stat_at = size;
    size += cell_size(w->design[i].m) * k;
  }
  w->by_cell = size <= MOST_CELL_DOUBLES;
  w->inner_steps =
      smaller(w->spec.units.n_unit / (UNITS_PER_INNER_STEP * w->n_design), MOST_INNER_STEPS);
  w->inner_steps = w->by_cell ? larger(w->inner_steps, 1) : 1;
  return w->by_cell ? size + (size_t)w->spec.p * k : 0;
}

elbo_status mixture_curves_part(mixture_part *part, const mixture_curves_spec *spec,
                                const elbo_memory *mem) {
  curves *w = mem->get(mem->ctx, sizeof *w);
  memset(w, 0, sizeof *w);
  w->spec = *spec;
  w->kernels = row_kernels_current();
  w->n_gamma = spec->common_covariance ? 1 : spec->k;
  w->n_sigma = spec->common_sigma ? 1 : spec->k;
  w->n_block = spec->n_block;
  allocate(w, mem);
  allocate_scratch(w, mem);
  curves_smooth_columns(w, mem);
  scale_all(w, mem);
  build_blocks(w, mem);
  build_priors(w, mem);
  curves_smooth_build(w, mem);
  curves_designs(w, mem);
  start(w);

  memset(part, 0, sizeof *part);
  part->work = w;
  part->by_unit = 1;
  part->n_stat = place_statistics(w);
  part->keeps_r = !w->by_cell;
  part->n_scratch = (size_t)w->most_m + 1;
  part->log_density = log_density;
  part->accumulate = accumulate;
  part->finish = finish;
  part->expected = expected;
  part->m_step = m_step;
  part->n_theta = (spec->p + spec->n_smooth) * spec->k + w->n_sigma;
  for (int i = 0; i < w->n_block; i++)
    part->n_theta += w->n_gamma * (int)packed_size(w->block[i].order);
  return (spec->method == MIXTURE_VB ? curves_vb : curves_em)(part, w, mem);
}
