/* The mixture of curves: the M-step of every method, and the constructor. */
#include "math/la.h"
#include "mixture/curves_cells.h"
#include "mixture/curves_design.h"
#include "mixture/curves_em.h"
#include "mixture/curves_factor.h"
#include "mixture/curves_parameters.h"
#include "mixture/curves_smooth.h"
#include "mixture/curves_sums.h"
#include "mixture/curves_vb.h"

enum { MOST_INNER_STEPS = 5, UNITS_PER_INNER_STEP = 20 };

/* ---- the M-step ------------------------------------------------------------------------------ */

/* The best beta_j at the present variances, u integrated out: generalised least squares (an ECME
 * step, Liu & Rubin 1994, Biometrika 81:633). */
static elbo_status update_beta(curves *w, const double *stat, const double *r, int j) {
  const int p = w->spec.p;
  double *beta = w->beta + p * j;
  curves_sums(w, stat, r, j, OF_COEFFICIENTS);
  if (w->spec.method == MIXTURE_VB || w->smooth.n > 0) return curves_smooth_step(w, j, 1);
  for (int a = 0; a < p; a++) {
    w->sums->K[a + p * a] += w->beta_precision[a];
    w->sums->b[a] += w->beta_precision[a] * (w->beta_mean[a] - beta[a]);
  }
  la_solve_semidefinite(w->sums->K, w->sums->b, p, w->unit, w->two, w->one, w->step);
  for (int a = 0; a < p; a++) beta[a] += w->step[a];
  return ELBO_OK;
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

/* Coefficients, then variances by their laws given the laws of u, in turn.  A turn costs no pass
 * over the units where they share designs: several are taken, and EM over the deviations waits for
 * nothing. */
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
  if (w->spec.method != MIXTURE_VB) curves_em_take_eta(w);
  return ELBO_OK;
}

/* ---- construction ---------------------------------------------------------------------------- */

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
  w->rows = elbo_doubles(mem, CURVES_BLOCK_UNITS * (most + 1));
}

/* A turn of the M-step costs no pass over the units where they share designs. */
static int inner_steps(const curves *w) {
  const int few =
      smaller(w->spec.units.n_unit / (UNITS_PER_INNER_STEP * w->n_design), MOST_INNER_STEPS);
  return w->by_cell ? larger(few, 1) : 1;
}

elbo_status mixture_curves_part(mixture_part *part, const mixture_curves_spec *spec,
                                const elbo_memory *mem) {
  curves *w = mem->get(mem->ctx, sizeof *w);
  memset(w, 0, sizeof *w);
  w->spec = *spec;
  w->kernels = row_kernels_current();
  w->n_gamma = spec->common_covariance ? 1 : spec->k;
  w->n_sigma = spec->linear.common_sigma ? 1 : spec->k;
  w->n_block = spec->n_block;
  allocate(w, mem);
  allocate_scratch(w, mem);
  curves_smooth_columns(w, mem);
  curves_parameters(w, mem);
  curves_smooth_build(w, mem);
  curves_designs(w, mem);
  start(w);

  memset(part, 0, sizeof *part);
  part->work = w;
  part->by_unit = 1;
  part->n_stat = curves_place_statistics(w);
  w->inner_steps = inner_steps(w);
  part->keeps_r = !w->by_cell;
  part->n_scratch = (size_t)w->most_m + 1;
  part->log_density = curves_log_density;
  part->accumulate = curves_accumulate;
  part->finish = curves_finish;
  part->expected = curves_expected;
  part->rounding = curves_rounding;
  part->m_step = m_step;
  part->n_theta = (spec->p + spec->n_smooth) * spec->k + w->n_sigma;
  for (int i = 0; i < w->n_block; i++)
    part->n_theta += w->n_gamma * (int)packed_size(w->block[i].order);
  return (spec->method == MIXTURE_VB ? curves_vb : curves_em)(part, w, mem);
}

static int sum_of(const int *x, int n) {
  int sum = 0;
  for (int i = 0; i < n; i++) sum += x[i];
  return sum;
}

elbo_status mixture_curves_make(mixture_part *part, const mixture_spec *s,
                                const mixture_arguments *from, const elbo_memory *mem) {
  const int n = s->units.n_row, vb = s->method == MIXTURE_VB;
  mixture_curves_spec c = {.method = s->method, .k = s->k, .units = s->units};
  c.p = argument_int(from, "p", 0, 10000);
  c.q = argument_int(from, "q", 1, 10000);
  c.X = argument_doubles(from, "X", n, c.p, 0);
  c.Z = argument_doubles(from, "Z", n, c.q, 0);
  c.y = argument_doubles(from, "y", n, 1, 0);
  c.weights = argument_doubles(from, "weights", n, 1, 1);
  c.offset = argument_doubles(from, "offset", n, 1, 1);
  c.n_block = argument_int(from, "n_block", 1, c.q);
  c.block_size = argument_ints(from, "block_size", c.n_block, 0);
  c.block_kind = argument_ints(from, "block_kind", c.n_block, 0);
  c.matrix = argument_doubles(from, "matrix", c.q, c.q, 1);
  c.multiple_constant = argument_doubles(from, "multiple_constant", 1, c.n_block, 1);
  c.common_covariance = argument_int(from, "common_covariance", 0, 1);
  c.linear = linear_read(from, c.p, s->k);
  c.covariance_df = argument_doubles(from, "covariance_df", 1, c.n_block, !vb);
  c.covariance_scale =
      argument_doubles(from, "covariance_scale", c.q, c.q, c.covariance_df == NULL);
  c.n_smooth = argument_int(from, "n_smooth", 0, c.p);
  c.smooth_size = argument_ints(from, "smooth_size", c.n_smooth, 0);
  c.smooth_constant = argument_doubles(from, "smooth_constant", 1, c.n_smooth, 1);
  c.smooth_family = argument_ints(from, "smooth_family", c.n_smooth, !vb);
  c.smooth_df = argument_doubles(from, "smooth_df", 1, c.n_smooth, c.smooth_family == NULL);
  c.smooth_scale = argument_doubles(from, "smooth_scale", 1, c.n_smooth, c.smooth_family == NULL);
  if (sum_of(c.block_size, c.n_block) != c.q || sum_of(c.smooth_size, c.n_smooth) > c.p)
    return ELBO_E_DIM;
  return mixture_curves_part(part, &c, mem);
}
