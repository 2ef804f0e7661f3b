/* The table of the blocked solver: where it is, what q is there, and how it is made. */
#include <math.h>
#include <string.h>

#include "glmm/blocked.h"
#include "glmm/blocked_state.h"
#include "glmm/cross.h"
#include "math/la.h"

/* ---- where it is ----------------------------------------------------------------------------- */

/* Rows of p1 numbers: the last less what the others make of `step` (p). */
static void shift_last(const crossed *c, const double *step, double *rows) {
  const int p1 = c->p1, p = p1 - 1;
  for (int i = 0; i < c->n; i++, rows += p1) rows[p] -= dot(rows, step, p);
}

/* [X y]'s sums to those of [X, y - X origin], and solutions along. */
static void move(void *state, const double *origin) {
  crossed *c = (crossed *)state;
  const lmm_crossed *d = c->cells;
  const int p1 = c->p1, p = p1 - 1;
  const size_t size = square(p1);
  double *response = c->response, *step = c->scratch;
  for (int j = 0; j < p; j++) step[j] = origin[j] - c->origin[j];
  memmove(c->origin, origin, (size_t)p * sizeof(double));
  for (size_t l = 0; l < (size_t)c->n_level; l++)
    shift_cross(c->stats->within + size * l, c->origin, p, c->level_cross + size * l);
  for (size_t e = 0; e < d->n_own; e++) {
    const int k = d->size[d->own_node[e]];
    const double *from = d->own + d->first_own[e] + k;
    for (int a = 0; a < k; a++, from += k + p1) *response++ = from[p] - dot(from, c->origin, p);
  }
  if (!c->weighed) return;
  crossed_weigh_columns(c);
  if (!c->solved) return;
  shift_last(c, step, c->forward);
  shift_last(c, step, c->E);
}

/* Whether no term has variance, and all have a law. */
static int nothing_random(const crossed *c) {
  const int q = c->stats->q;
  for (int k = 0; k < q; k++)
    if (c->given[k * (q + 1)] != 0.0 || !(c->unit[k] > 0.0)) return 0;
  return 1;
}

static elbo_status factor(void *state, const glmm_theta *at) {
  crossed *c = (crossed *)state;
  const int q = c->stats->q;
  const size_t size = square(q) * sizeof(double), units = (size_t)q * sizeof(double);
  const size_t levels = (size_t)c->n_level * sizeof(double);
  const int same = c->weighed && memcmp(c->variance, at->variance, levels) == 0;
  if (same && (c->factored || c->nothing) && memcmp(c->given, at->root, size) == 0 &&
      memcmp(c->unit, at->unit, units) == 0)
    return ELBO_OK;
  memcpy(c->variance, at->variance, levels);
  memcpy(c->given, at->root, size);
  memcpy(c->root, at->root, size);
  memcpy(c->unit, at->unit, units);
  if (!same) {
    crossed_weigh(c);
    crossed_weigh_columns(c);
    c->weighed = 1;
  }
  crossed_give_variance(c);
  c->factored = c->solved = 0;
  c->nothing = nothing_random(c);
  return c->nothing ? ELBO_OK : crossed_factor(c);
}

static void separate(void *state, int apart) { ((crossed *)state)->apart = apart; }

static void objective(void *state, double *cross, double *log_det) {
  crossed *c = (crossed *)state;
  crossed_objective(state, cross, log_det);
  if (c->apart && !c->nothing) *log_det += crossed_apart_log_det(c) - c->log_det;
}

static void derivatives(void *state, const lmm_point *point, lmm_derivatives *out) {
  const crossed *c = (const crossed *)state;
  lmm_point of_data = *point;
  if (c->apart) of_data.log_det = of_data.average = 0;
  crossed_derivatives(state, &of_data, out);
  if (c->apart && point->log_det) crossed_apart_derivatives(c, point, out);
}

/* ---- q --------------------------------------------------------------------------------------- */

/* Means (n) and gains (n x p, by row) by place, roots of the covariances of levels (n_node blocks),
 * the sum over levels of their covariances (q x q), by level the trace of Z'WZ and the covariance
 * of u. */
typedef struct {
  double *mean, *gain, *root, *second, *trace;
} posterior_parts;

static posterior_parts parts_of(const crossed *c, double *q) {
  posterior_parts s;
  s.mean = q;
  s.gain = s.mean + c->n;
  s.root = s.gain + (size_t)c->n * (size_t)(c->p1 - 1);
  s.second = s.root + c->cells->diagonal[c->cells->n_node];
  s.trace = s.second + square(c->stats->q);
  return s;
}

static size_t posterior_size(const crossed *c) {
  return (size_t)c->n * (size_t)c->p1 + c->cells->diagonal[c->cells->n_node] + square(c->stats->q) +
         (size_t)c->n_level;
}

/* Covariances of levels, their roots and sums. */
static void spread_levels(crossed *c, const posterior_parts *s) {
  const lmm_crossed *d = c->cells;
  const int q = c->stats->q;
  crossed_invert(c);
  for (int i = 0; i < d->n_node; i++) {
    int ld;
    const int n = d->size[i], first = d->first[d->factor_of[i]];
    const double *from = c->b.Z + blocked_diagonal(&c->b, i, &ld);
    double block[LMM_MAX_TERMS * LMM_MAX_TERMS];
    for (int a = 0; a < n; a++)
      for (int b = 0; b <= a; b++) {
        block[a + n * b] = block[b + n * a] = from[a + ld * b];
        s->second[first + a + q * (first + b)] += from[a + ld * b];
      }
    la_chol_semidefinite(block, n, 0.0, s->root + d->diagonal[i]);
  }
  for (int a = 0; a < q; a++)
    for (int b = 0; b < a; b++) s->second[b + q * a] = s->second[a + q * b];
  crossed_level_traces(c, s->trace);
}

static void posterior(void *state, const double *beta, double spread, int moves, double *q,
                      double *log_det) {
  crossed *c = (crossed *)state;
  const int p = c->p1 - 1;
  const posterior_parts s = parts_of(c, q);
  memset(q, 0, posterior_size(c) * sizeof(double));
  crossed_solve(c);
  for (int i = 0; i < c->n; i++) {
    const double *e = c->E + (size_t)c->p1 * (size_t)i;
    s.mean[i] = e[p];
    for (int j = 0; j < p; j++) s.mean[i] -= e[j] * (beta[j] - c->origin[j]);
    if (moves) memcpy(s.gain + (size_t)p * (size_t)i, e, (size_t)p * sizeof(double));
  }
  *log_det = c->apart ? crossed_apart_log_det(c) : c->log_det; /* crossed_solve() has found it */
  if (spread == 0.0) return;
  if (c->apart)
    crossed_apart_spread(c, s.root, s.second, s.trace);
  else
    spread_levels(c, &s);
}

/* second += sum over levels of sum_jk B_aj C_jk B_bk, B n x p by row, by term. */
static void add_gain_spread(const crossed *c, const double *B, const double *C, double *second) {
  const lmm_crossed *d = c->cells;
  const int q = c->stats->q, p = c->p1 - 1;
  double *BC = c->scratch;
  for (int i = 0; i < d->n_node; i++) {
    const int n = d->size[i], first = d->first[d->factor_of[i]];
    const double *from = B + (size_t)p * (size_t)c->b.place[i];
    for (int a = 0; a < n; a++) {
      for (int j = 0; j < p; j++) {
        BC[j] = 0.0;
        for (int k = 0; k < p; k++) BC[j] += from[p * a + k] * C[k + p * j];
      }
      for (int b = 0; b <= a; b++) second[first + a + q * (first + b)] += dot(BC, from + p * b, p);
    }
  }
}

static void moments(void *state, const double *posterior, const double *q_root, const double *C,
                    const double *C_root, double *second, double *residual, double *trace) {
  crossed *c = (crossed *)state;
  const lmm_crossed *d = c->cells;
  const int q = c->stats->q, p1 = c->p1, p = p1 - 1;
  const posterior_parts s = parts_of(c, (double *)posterior);
  double *b = c->left, *of_x = c->scratch + p1;
  (void)C_root;
  memcpy(second, s.second, square(q) * sizeof(double));
  for (int i = 0; i < d->n_node; i++) {
    const int first = d->first[d->factor_of[i]], at = c->b.place[i];
    for (int k = 0; k < d->size[i]; k++)
      for (int l = 0; l <= k; l++)
        second[first + k + q * (first + l)] += s.mean[at + k] * s.mean[at + l];
  }
  if (C) add_gain_spread(c, s.gain, C, second);
  fill_upper(second, q);
  for (int i = 0; i < c->n; i++) {
    memcpy(b + (size_t)p1 * (size_t)i, s.gain + (size_t)p * (size_t)i, (size_t)p * sizeof(double));
    b[(size_t)p1 * (size_t)i + (size_t)p] = s.mean[i];
  }
  crossed_by_root(c, q_root, 0, p1, b, c->U);
  crossed_product(c, p1, c->U, c->product);
  crossed_level_forms(c, c->U, c->product, c->form, of_x);
  /* X'W(y - X origin - Z u), its square, and what X - Z K leaves of the coefficients' spread. */
  for (size_t l = 0; l < (size_t)c->n_level; l++, of_x += p) {
    const double *F = c->form + square(p1) * l;
    double *to = residual + square(p1) * l;
    memcpy(to, c->level_cross + square(p1) * l, square(p1) * sizeof(double));
    for (int j = 0; j < p; j++) to[p + p1 * j] -= of_x[j];
    to[p + p1 * p] = F[p + p1 * p];
    trace[l] = s.trace[l];
    for (int j = 0; j < p && C; j++)
      for (int k = 0; k < p; k++) trace[l] += C[j + p * k] * at_lower(F, p1, j, k);
  }
}

/* e (n x k, by row) to the sum over its columns of e'(J + root'Z'D^{-1}Z root) e. */
static double length_in_precision(crossed *c, int k, const double *e, double *u, double *Nu) {
  const lmm_crossed *d = c->cells;
  double sum = 0.0;
  for (int i = 0; i < d->n_node; i++)
    for (int a = 0; a < d->size[i]; a++) {
      const double *x = e + (size_t)k * (size_t)(c->b.place[i] + a);
      sum += c->unit[d->first[d->factor_of[i]] + a] * dot(x, x, k);
    }
  crossed_by_root(c, c->root, 0, k, e, u);
  crossed_product(c, k, u, Nu);
  for (size_t i = 0; i < (size_t)c->n * (size_t)k; i++) sum += u[i] * Nu[i];
  return sum;
}

static void divergence(void *state, const double *M, const double *posterior, const double *exact,
                       const double *shift, const double *C_root, double *trace) {
  crossed *c = (crossed *)state;
  const int q = c->stats->q, p1 = c->p1, p = p1 - 1;
  const posterior_parts s = parts_of(c, (double *)posterior), t = parts_of(c, (double *)exact);
  double *all = c->left, *moved = c->product, *Nu = c->U;
  for (int k = 0; k < q; k++)
    for (int i = 0; i < q && c->unit[k] > 0.0; i++)
      for (int j = 0; j < q; j++)
        *trace += c->unit[k] * M[k + q * i] * s.second[i + q * j] * M[k + q * j];
  for (int l = 0; l < c->n_level; l++) *trace += s.trace[l] / c->variance[l];
  for (int i = 0; i < c->n; i++) {
    double *to = all + (size_t)p1 * (size_t)i;
    memcpy(to, s.gain + (size_t)p * (size_t)i, (size_t)p * sizeof(double));
    to[p] = s.mean[i];
  }
  crossed_by_root(c, M, 0, p1, all, moved);
  for (int i = 0; i < c->n; i++) {
    const double *from = moved + (size_t)p1 * (size_t)i, *gain = t.gain + (size_t)p * (size_t)i;
    double *to = all + (size_t)p1 * (size_t)i;
    to[p] = from[p] - t.mean[i];
    for (int j = 0; j < p; j++) to[p] += gain[j] * shift[j];
    for (int j = 0; j < p; j++) {
      to[j] = 0.0;
      for (int k = j; k < p && C_root; k++) to[j] += (from[k] - gain[k]) * C_root[k + p * j];
    }
  }
  *trace += length_in_precision(c, p1, all, moved, Nu);
}

static void level(void *state, const double *posterior, int f, int g, double *mean, double *root,
                  double *gain) {
  const crossed *c = (const crossed *)state;
  const int node = lmm_node(c->cells, f, g), n = c->cells->size[node], p = c->p1 - 1;
  const posterior_parts s = parts_of(c, (double *)posterior);
  const size_t at = (size_t)c->b.place[node];
  memcpy(mean, s.mean + at, (size_t)n * sizeof(double));
  memcpy(gain, s.gain + (size_t)p * at, (size_t)(n * p) * sizeof(double));
  memcpy(root, s.root + c->cells->diagonal[node], square(n) * sizeof(double));
}

/* ---- set-up ---------------------------------------------------------------------------------- */

/* Blocks of cells with their rows at the node that is placed later, as the matrix has them. */
static void orient_cells(lmm_crossed *d, const blocked *b) {
  double block[LMM_MAX_TERMS * LMM_MAX_TERMS];
  for (size_t k = 0; k < d->n_cell; k++) {
    const int i = d->cell_i[k], j = d->cell_j[k], ni = d->size[i], nj = d->size[j];
    const size_t size = lmm_block(d, i, j);
    double *value = d->value + d->first_value[k];
    if (blocked_rows_are_first(b, i, j)) continue;
    d->cell_i[k] = j;
    d->cell_j[k] = i;
    if (size == 1) continue;
    for (size_t e = d->first_entry[k]; e < d->first_entry[k + 1]; e++, value += size) {
      memcpy(block, value, size * sizeof(double));
      for (int r = 0; r < nj; r++)
        for (int s = 0; s < ni; s++) value[r + nj * s] = block[s + ni * r];
    }
  }
}

static size_t own_rows(const lmm_crossed *d) {
  size_t n = 0;
  for (size_t e = 0; e < d->n_own; e++) n += (size_t)d->size[d->own_node[e]];
  return n;
}

static size_t cell_values(const lmm_crossed *d) {
  size_t n = 0;
  for (size_t k = 0; k < d->n_cell; k++) n += lmm_block(d, d->cell_i[k], d->cell_j[k]);
  return n;
}

static blocked_pattern pattern_of(const lmm_crossed *d) {
  const blocked_pattern pattern = {
      d->n_node, d->n_unit[d->factor_of[0]], d->size, d->n_cell, d->cell_i, d->cell_j};
  return pattern;
}

void lmm_blocked_cost(const lmm_stats *stats, int n_pair, double *bytes, double *seconds,
                      const elbo_memory *mem) {
  /* Evaluations in a fit; multiplications a second, by tiles and entry by entry: with AVX-512 about
   * what it takes, with less about half of it. */
  enum { EVALUATIONS = 5 };
  static const double BY_TILES = 3e10, BY_ENTRY = 2e9;
  const lmm_crossed *d = stats->crossed;
  const blocked_pattern pattern = pattern_of(d);
  const int n_par = n_pair + stats->n_level, wide = larger(stats->p + 1, n_par);
  blocked_cost cost;
  blocked_measure(&pattern, &cost, mem);
  *bytes = 8.0 * (cost.entries * (n_par + 1) + cost.space + 5.0 * d->n * wide +
                  2.0 * (double)(own_rows(d) + cell_values(d)));
  *seconds = (EVALUATIONS + n_par - 1) * (cost.wide / BY_TILES + cost.narrow / BY_ENTRY);
}

void lmm_blocked_solver(glmm_solver *solver, const lmm_stats *stats, int n_pair,
                        const elbo_memory *mem) {
  lmm_crossed *d = stats->crossed;
  crossed *c = (crossed *)mem->get(mem->ctx, sizeof *c);
  const int q = stats->q, p1 = stats->p + 1, n_level = stats->n_level;
  const int n_par = n_pair + n_level;
  memset(c, 0, sizeof *c);
  const blocked_pattern pattern = pattern_of(d);
  blocked_plan(&c->b, &pattern, d->threads, mem);
  orient_cells(d, &c->b);
  c->stats = stats;
  c->cells = d;
  c->n = d->n;
  c->p1 = p1;
  c->n_level = n_level;
  c->n_pair = n_pair;
  for (int l = 1; l < n_level; l++)
    if (stats->n_rows[l] > stats->n_rows[c->rest]) c->rest = l;
  const size_t wide = (size_t)d->n * (size_t)larger(p1, n_par);
  double **const by_column[] = {&c->forward, &c->E, &c->left, &c->product, &c->U};
  for (int a = 0; a < 5; a++) *by_column[a] = elbo_doubles(mem, wide + 1);
  c->by_place = elbo_doubles(mem, (size_t)d->n * (size_t)p1 + 1);
  c->own = elbo_doubles(mem, d->diagonal[d->n_node] + 1);
  c->value = elbo_doubles(mem, cell_values(d) + 1);
  c->response = elbo_doubles(mem, own_rows(d) + 1);
  c->root = elbo_doubles(mem, square(q));
  c->given = elbo_doubles(mem, square(q));
  c->unit = elbo_doubles(mem, (size_t)q);
  c->variance = elbo_doubles(mem, (size_t)n_level);
  memset(c->variance, 0, (size_t)n_level * sizeof(double));
  c->weight = elbo_doubles(mem, (size_t)q);
  c->factor_sum = elbo_doubles(mem, square(q));
  c->origin = elbo_doubles(mem, (size_t)p1);
  memset(c->origin, 0, (size_t)p1 * sizeof(double));
  c->cross = elbo_doubles(mem, square(p1));
  c->level_cross = elbo_doubles(mem, (size_t)n_level * square(p1));
  c->form = elbo_doubles(mem, (size_t)n_level * square(p1));
  c->total = elbo_doubles(mem, square(p1) + (size_t)p1);
  c->scratch = elbo_doubles(mem, crossed_scratch_size(q, p1 - 1, n_level, n_par));
  c->hessian = elbo_doubles(mem, crossed_hessian_size(q, n_pair, n_level));
  c->traces = elbo_doubles(mem, square(n_par));
  for (int i = 0; i < 2; i++) c->by_n[i] = elbo_doubles(mem, (size_t)d->n + 1);
  c->direction = (double **)mem->get(mem->ctx, (size_t)n_par * sizeof(double *));
  c->there = elbo_ints(mem, 2 * (size_t)n_par);
  for (int i = 0; i < n_par - 1; i++)
    c->direction[i] = elbo_doubles(mem, c->b.panel[c->b.n_super] + 1);
  *solver = (glmm_solver){.n_factor = d->n_factor,
                          .first = d->first,
                          .n_unit = d->n_unit,
                          .q_size = posterior_size(c),
                          .state = c,
                          .move = move,
                          .factor = factor,
                          .separate = separate,
                          .objective = objective,
                          .derivatives = derivatives,
                          .posterior = posterior,
                          .moments = moments,
                          .divergence = divergence,
                          .level = level,
                          .start = crossed_start};
}
