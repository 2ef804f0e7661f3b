/* The solver of one grouping factor, whose levels are independent groups: the kernels do the groups
 * of a run (glmm/kernels.h), and the within rows, whose V is variance * I, are cross-products. */
#include "glmm/groups.h"

#include <string.h>

#include "glmm/cross.h"
#include "math/simd.h"

typedef struct {
  const lmm_stats *stats;
  const lmm_kernels *kernels;
  glmm_theta at;
  int first[2], n_unit[1];
  int *lane;                       /* m: where a group lies among the lanes of all blocks */
  double *origin, *delta, *within; /* p; p; st->within at the origin */
  double *cells, *work;
  lmm_derivatives run; /* of one run, by its cells */
} groups;

/* ---- layout of q ----------------------------------------------------------------------------- */

size_t lmm_posterior_stride(int q, int p) { return (size_t)(q + q * q + q * p) * SIMD_LANES; }

void lmm_covariance_root(int q, const double *U, double *N) {
  memset(N, 0, square(q) * sizeof(double));
  for (int k = 0; k < q; k++) {
    N[k + q * k] = U[k + q * k];
    for (int a = k - 1; a >= 0; a--)
      for (int c = a + 1; c <= k; c++) N[a + q * k] -= U[a + q * c] * N[c + q * k];
  }
}

/* ---- where it is ----------------------------------------------------------------------------- */

static void move(void *state, const double *origin) {
  groups *g = (groups *)state;
  const lmm_stats *st = g->stats;
  const size_t size = square(st->p + 1);
  memmove(g->origin, origin, (size_t)st->p * sizeof(double));
  for (int l = 0; l < st->n_level; l++)
    shift_cross(st->within + (size_t)l * size, g->origin, st->p, g->within + (size_t)l * size);
}

static elbo_status factor(void *state, const glmm_theta *at) {
  ((groups *)state)->at = *at;
  return ELBO_OK;
}

/* Residual variances of a run's cells. */
static const double *cell_variances(const groups *g, const lmm_run *run) {
  for (int c = 0; c < run->n_cell; c++) g->cells[c] = g->at.variance[run->level[c]];
  return g->cells;
}

static void objective(void *state, double *cross, double *log_det) {
  groups *g = (groups *)state;
  const lmm_stats *st = g->stats;
  const double *variance = g->at.variance;
  const size_t size = square(st->p + 1);
  for (int l = 0; l < st->n_level; l++) {
    for (size_t i = 0; i < size; i++) cross[i] += g->within[(size_t)l * size + i] / variance[l];
    *log_det += st->n_rows[l] * log(variance[l]);
  }
  for (int r = 0; r < st->n_run; r++)
    g->kernels->objective(st->run + r, st->q, st->p, g->at.root, g->at.unit,
                          cell_variances(g, st->run + r), g->origin, cross, log_det, g->work);
}

/* ---- derivatives ----------------------------------------------------------------------------- */

static void clear(lmm_derivatives *d, int n, int p) {
  memset(d->gradient, 0, (size_t)n * sizeof(double));
  memset(d->hessian, 0, square(n) * sizeof(double));
  memset(d->cross, 0, (size_t)n * (size_t)p * sizeof(double));
  memset(d->spread, 0, (size_t)n * square(p) * sizeof(double));
}

/* Those of the run, by cells, to those by levels. */
static void add_run(const lmm_run *run, int n_pair, int n, int p, const lmm_derivatives *e,
                    lmm_derivatives *d) {
  const int n_e = n_pair + run->n_cell;
  for (int i = 0; i < n_e; i++) {
    const int to = i < n_pair ? i : n_pair + run->level[i - n_pair];
    d->gradient[to] += e->gradient[i];
    for (int j = 0; j <= i; j++) {
      const int with = j < n_pair ? j : n_pair + run->level[j - n_pair];
      d->hessian[(to > with ? to : with) + n * (to > with ? with : to)] += e->hessian[i + n_e * j];
    }
    for (int j = 0; j < p; j++) {
      d->cross[to + n * j] += e->cross[i + n_e * j];
      for (int k = 0; k <= j; k++)
        d->spread[to + n * (j + p * k)] += e->spread[i + n_e * (j + p * k)];
    }
  }
}

/* Those of the within rows of level l. */
static void add_within(const groups *g, const lmm_point *point, int l, int n, lmm_derivatives *d) {
  const lmm_stats *st = g->stats;
  const int p = st->p, p1 = p + 1, at = point->n_pair + l;
  const double v = g->at.variance[l], *A = g->within + (size_t)l * square(p1), *C = point->C;
  const double rows = point->log_det ? st->n_within[l] : 0.0;
  double *delta = g->delta;
  for (int j = 0; j < p; j++) delta[j] = point->beta[j] - g->origin[j];
  double square_sum = residual_square(A, delta, p);
  if (C)
    for (int j = 0; j < p; j++)
      for (int k = 0; k < p; k++) square_sum += C[j + p * k] * A[j >= k ? j + p1 * k : k + p1 * j];
  d->gradient[at] += 0.5 * (square_sum / v - rows) / v;
  d->hessian[at + n * at] += (0.5 * rows - square_sum / v) / (v * v);
  for (int j = 0; j < p; j++) {
    double score = A[p + p1 * j];
    for (int k = 0; k < p; k++) score -= A[j >= k ? j + p1 * k : k + p1 * j] * delta[k];
    d->cross[at + n * j] -= score / (v * v);
    for (int k = 0; k <= j; k++) d->spread[at + n * (j + p * k)] += A[j + p1 * k] / (v * v);
  }
}

static void derivatives(void *state, const lmm_point *point, lmm_derivatives *out) {
  groups *g = (groups *)state;
  const lmm_stats *st = g->stats;
  const int p = st->p, n_pair = point->n_pair, n = n_pair + st->n_level;
  clear(out, n, p);
  for (int r = 0; r < st->n_run; r++) {
    const lmm_run *run = st->run + r;
    clear(&g->run, n_pair + run->n_cell, p);
    g->kernels->derivatives(run, st->q, p, g->at.root, g->at.unit, cell_variances(g, run), point,
                            &g->run, g->work);
    add_run(run, n_pair, n, p, &g->run, out);
  }
  for (int l = 0; l < st->n_level; l++) add_within(g, point, l, n, out);
}

/* ---- q --------------------------------------------------------------------------------------- */

static void drop_gain(const lmm_stats *st, double *posterior) {
  const size_t stride = lmm_posterior_stride(st->q, st->p);
  const size_t kept = (size_t)(st->q + st->q * st->q) * SIMD_LANES;
  for (int b = 0; b < st->n_block; b++)
    memset(posterior + stride * (size_t)b + kept, 0, (stride - kept) * sizeof(double));
}

static void posterior(void *state, const double *beta, double spread, int moves, double *q,
                      double *log_det) {
  groups *g = (groups *)state;
  const lmm_stats *st = g->stats;
  const size_t stride = lmm_posterior_stride(st->q, st->p);
  *log_det = 0.0;
  for (int r = 0; r < st->n_run; r++) {
    const lmm_run *run = st->run + r;
    double *out = q + stride * (size_t)run->first_block;
    g->kernels->posterior(run, st->q, st->p, g->at.root, g->at.unit, cell_variances(g, run), beta,
                          spread, out, log_det, g->work);
    /* Lanes without a group would count as groups without rows. */
    if (run->n_block == 0) continue;
    const int *group = st->group_of_lane + (run->first_block + run->n_block - 1) * SIMD_LANES;
    double *last = out + stride * (size_t)(run->n_block - 1);
    for (int lane = 0; lane < SIMD_LANES; lane++)
      if (group[lane] < 0)
        for (size_t i = 0; i < stride / SIMD_LANES; i++) last[i * SIMD_LANES + (size_t)lane] = 0.0;
  }
  if (!moves) drop_gain(st, q);
}

static void moments(void *state, const double *q, const double *q_root, const double *C,
                    const double *C_root, double *second, double *residual, double *trace) {
  groups *g = (groups *)state;
  const lmm_stats *st = g->stats;
  const int p = st->p, p1 = p + 1;
  const size_t size = square(p1), stride = lmm_posterior_stride(st->q, p);
  memset(second, 0, square(st->q) * sizeof(double));
  memcpy(residual, g->within, (size_t)st->n_level * size * sizeof(double));
  for (int l = 0; l < st->n_level; l++) {
    trace[l] = 0.0;
    if (C)
      for (int j = 0; j < p; j++)
        for (int k = 0; k < p; k++)
          trace[l] += C[j + p * k] *
                      st->within[(size_t)l * size + (size_t)(j >= k ? j + p1 * k : k + p1 * j)];
  }
  for (int r = 0; r < st->n_run; r++) {
    const lmm_run *run = st->run + r;
    double *by_cell = g->cells, *cross = g->cells + run->n_cell;
    memset(by_cell, 0, (size_t)run->n_cell * (1 + size) * sizeof(double));
    g->kernels->moments(run, st->q, p, q_root, g->origin, q + stride * (size_t)run->first_block,
                        C_root, second, cross, by_cell, g->work);
    for (int c = 0; c < run->n_cell; c++) {
      trace[run->level[c]] += by_cell[c];
      add_to(residual + (size_t)run->level[c] * size, cross + (size_t)c * size, size);
    }
  }
  fill_upper(second, st->q);
}

static void divergence(void *state, const double *M, const double *q, const double *exact,
                       const double *shift, const double *C_root, double *trace) {
  groups *g = (groups *)state;
  const lmm_stats *st = g->stats;
  const size_t stride = lmm_posterior_stride(st->q, st->p);
  for (int r = 0; r < st->n_run; r++) {
    const lmm_run *run = st->run + r;
    const size_t at = stride * (size_t)run->first_block;
    g->kernels->divergence(run, st->q, st->p, g->at.root, g->at.unit, cell_variances(g, run), M,
                           q + at, exact + at, shift, C_root, trace, g->work);
  }
}

static void level(void *state, const double *q, int f, int i, double *mean, double *root,
                  double *gain) {
  const groups *g = (const groups *)state;
  const int n = g->stats->q, p = g->stats->p;
  const size_t at = (size_t)g->lane[i], stride = lmm_posterior_stride(n, p);
  const double *from = q + stride * (at / SIMD_LANES) + at % SIMD_LANES;
  double *U = g->work;
  (void)f;
  for (int a = 0; a < n; a++, from += SIMD_LANES) mean[a] = *from;
  for (int a = 0; a < n * n; a++, from += SIMD_LANES) U[a] = *from;
  for (int a = 0; a < n * p; a++, from += SIMD_LANES) gain[a] = *from;
  lmm_covariance_root(n, U, root);
}

/* ---- set-up ---------------------------------------------------------------------------------- */

void lmm_groups_solver(glmm_solver *solver, const lmm_stats *stats, int n_pair,
                       const elbo_memory *mem) {
  const int p = stats->p, q = stats->q, n_level = stats->n_level;
  const size_t size = square(p + 1);
  groups *g = (groups *)mem->get(mem->ctx, sizeof *g);
  int most_cells = 1;
  for (int r = 0; r < stats->n_run; r++) most_cells = larger(most_cells, stats->run[r].n_cell);
  const int n = n_pair + most_cells;
  memset(g, 0, sizeof *g);
  g->stats = stats;
  g->kernels = lmm_kernels_current();
  g->first[1] = q;
  g->n_unit[0] = stats->m;
  g->lane = elbo_ints(mem, (size_t)stats->m);
  for (int i = 0; i < stats->n_block * SIMD_LANES; i++)
    if (stats->group_of_lane[i] >= 0 && stats->m > 0) g->lane[stats->group_of_lane[i]] = i;
  g->origin = elbo_doubles(mem, (size_t)p);
  g->delta = elbo_doubles(mem, (size_t)p);
  g->within = elbo_doubles(mem, (size_t)n_level * size);
  g->cells = elbo_doubles(mem, (size_t)most_cells * (1 + size));
  g->work = elbo_doubles(mem, g->kernels->work_size(q, p, most_cells, n_pair));
  g->run.gradient = elbo_doubles(mem, (size_t)n);
  g->run.hessian = elbo_doubles(mem, square(n));
  g->run.cross = elbo_doubles(mem, (size_t)n * (size_t)p);
  g->run.spread = elbo_doubles(mem, (size_t)n * square(p));
  *solver = (glmm_solver){.n_factor = 1,
                          .first = g->first,
                          .n_unit = g->n_unit,
                          .q_size = lmm_posterior_stride(q, p) * (size_t)stats->n_block,
                          .state = g,
                          .move = move,
                          .factor = factor,
                          .objective = objective,
                          .derivatives = derivatives,
                          .posterior = posterior,
                          .moments = moments,
                          .divergence = divergence,
                          .level = level};
}
