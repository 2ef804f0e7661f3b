/* Variances of latent variables, and what they gain from estimated parameters psi.  With R_k the
 * derivative of S^{-1} by psi_k, E the direction of Sigma and N = Z'D^{-1}Z by residual variance,
 *   R_k = -Sigma^{-1} E_k Sigma^{-1},     -N_l / v_l,
 *   Cov(du / dpsi_k, du / dpsi_l) = S Q_kl S - S R_k S R_l S,
 *   Q_kl = Sigma^{-1} E_k Sigma^{-1} E_l Sigma^{-1}  of two entries of Sigma,
 *          N_l / v_l^2  of a residual variance and itself, else 0,
 * so that with A = sum_m a_m a_m' and R_m = sum_k a_mk R_k the excess is the sum over m of -2 times
 * the term of t^2 of (S^{-1} + t R_m + t^2 Q)^{-1}, Q = sum_kl A_kl Q_kl + sum_k b_k R_k / 2 in one
 * of them: entries that math/blocked_second.c finds on the pattern of the factor. */
#include "glmm/blocked_spread.h"

#include <math.h>
#include <string.h>

#include "glmm/blocked_state.h"
#include "math/la.h"

enum { MOST = LMM_MAX_TERMS * LMM_MAX_TERMS };

/* ---- entries --------------------------------------------------------------------------------- */

/* Where one of all levels is: its node, and which of the node's terms. */
static int find_node(const lmm_crossed *d, int level, int *term) {
  int f = 0, n = d->first[1] - d->first[0];
  while (level >= n * d->n_unit[f]) {
    level -= n * d->n_unit[f++];
    n = d->first[f + 1] - d->first[f];
  }
  *term = level % n;
  return lmm_node(d, f, level / n);
}

/* W_i B W_j' at terms a and b, B the block of nodes i and j of `values`, W (q x q). */
static double find_entry(const crossed *c, const double *values, const double *W, int i, int a,
                         int j, int b) {
  const int q = c->stats->q;
  const double *Wi = crossed_root(c, W, i) + a, *Wj = crossed_root(c, W, j) + b;
  double sum = 0.0;
  for (int k = 0; k < c->cells->size[i]; k++)
    for (int l = 0; l < c->cells->size[j]; l++) {
      size_t at;
      if (!blocked_find(&c->b, c->b.place[i] + k, c->b.place[j] + l, &at)) return NAN;
      sum += Wi[q * k] * values[at] * Wj[q * l];
    }
  return sum;
}

/* out += scale T root B root'T'. */
static void add_entries(const crossed *c, const double *values, const double *T, double scale,
                        const level_entries *entries, double *out) {
  const int q = c->stats->q;
  double W[MOST];
  la_multiply(T, c->root, q, q, q, W);
  for (size_t e = 0; e < entries->n; e++) {
    int a, b;
    const int i = find_node(c->cells, entries->i[e], &a);
    const int j = find_node(c->cells, entries->j[e], &b);
    out[e] += scale * find_entry(c, values, W, i, a, j, b);
  }
}

void lmm_blocked_spread(const glmm_solver *solver, const double *T, const level_entries *entries,
                        double *out) {
  crossed *c = (crossed *)solver->state;
  crossed_invert(c);
  memset(out, 0, entries->n * sizeof(double));
  add_entries(c, c->b.Z, T, 1.0, entries, out);
}

/* ---- directions ------------------------------------------------------------------------------ */

/* to += E (q x q) at every level of its factor. */
static void add_terms(const crossed *c, const double *E, double *to) {
  const lmm_crossed *d = c->cells;
  for (int i = 0; i < d->n_node; i++) {
    int ld;
    double *at = to + blocked_diagonal(&c->b, i, &ld);
    const double *own = crossed_root(c, E, i);
    for (int b = 0; b < d->size[i]; b++)
      for (int a = b; a < d->size[i]; a++) at[a + ld * b] += own[a + c->stats->q * b];
  }
}

/* to += sum_k a_k R_k in units of the root; E: those of the entries of Sigma. */
static void add_direction(const crossed *c, int n_pair, const double *a, const double *E,
                          double *to) {
  const size_t size = square(c->stats->q);
  double sum[MOST] = {0.0};
  for (int e = 0; e < n_pair; e++)
    for (size_t i = 0; i < size; i++) sum[i] -= a[e] * E[size * (size_t)e + i];
  add_terms(c, sum, to);
  for (int l = 0; l < c->n_level; l++)
    if (a[n_pair + l] != 0.0) crossed_add_level(c, l, -a[n_pair + l], to);
}

/* to += sum_kl A_kl Q_kl. */
static void add_squares(const crossed *c, int n_pair, const double *A, const double *E,
                        double *to) {
  const int q = c->stats->q, n = n_pair + c->n_level;
  double sum[MOST] = {0.0}, product[MOST];
  for (int e = 0; e < n_pair; e++)
    for (int f = 0; f < n_pair; f++) {
      la_multiply(E + square(q) * (size_t)e, E + square(q) * (size_t)f, q, q, q, product);
      for (int i = 0; i < q * q; i++) sum[i] += A[e + n * f] * product[i];
    }
  add_terms(c, sum, to);
  for (int l = 0; l < c->n_level; l++) {
    const double own = A[(n_pair + l) * (n + 1)];
    if (own != 0.0) crossed_add_level(c, l, own / c->variance[l], to);
  }
}

/* ---- excess ---------------------------------------------------------------------------------- */

typedef struct {
  double *vectors, *values, *eigen, *inverse, *E, *half, *B, *C, *space;
} excess_space;

static excess_space excess_memory(const crossed *c, int n_pair, const elbo_memory *mem) {
  const int n = n_pair + c->n_level, q = c->stats->q;
  const size_t size = c->b.panel[c->b.n_super];
  excess_space s;
  s.vectors = elbo_doubles(mem, square(n));
  s.values = elbo_doubles(mem, (size_t)n);
  s.eigen = elbo_doubles(mem, la_eigen_size(n));
  s.inverse = elbo_doubles(mem, square(q));
  s.E = elbo_doubles(mem, square(q) * (size_t)n_pair);
  s.half = elbo_doubles(mem, (size_t)n);
  s.B = elbo_doubles(mem, size);
  s.C = elbo_doubles(mem, size);
  s.space = elbo_doubles(mem, blocked_second_size(&c->b));
  return s;
}

/* out += scale times the excess at c->root, which is factored. */
static elbo_status add_excess(crossed *c, const lmm_point *point, const double *T, const double *A,
                              const double *b, double scale, const level_entries *entries,
                              const excess_space *s, double *out) {
  const int q = c->stats->q, n_pair = point->n_pair, n = n_pair + c->n_level;
  const size_t bytes = c->b.panel[c->b.n_super] * sizeof(double);
  crossed_invert(c);
  la_lower_inverse(c->root, q, s->inverse);
  for (int e = 0; e < n_pair; e++)
    crossed_pair_in_units(c, point, e, s->inverse, s->E + square(q) * (size_t)e);
  memcpy(s->vectors, A, square(n) * sizeof(double));
  if (la_eigen(s->vectors, n, s->values, s->eigen) != ELBO_OK) return ELBO_E_NOT_FINITE;
  for (int m = n - 1; m >= 0; m--) { /* from the largest on */
    if (!(s->values[m] > 1e-14 * s->values[n - 1])) break;
    memset(s->B, 0, bytes);
    memset(s->C, 0, bytes);
    for (int k = 0; k < n; k++) s->half[k] = sqrt(s->values[m]) * s->vectors[k + n * m];
    add_direction(c, n_pair, s->half, s->E, s->B);
    if (m == n - 1) {
      for (int k = 0; k < n; k++) s->half[k] = 0.5 * b[k];
      add_direction(c, n_pair, s->half, s->E, s->C);
      add_squares(c, n_pair, A, s->E, s->C);
    }
    blocked_second(&c->b, s->B, s->C, s->space);
    add_entries(c, s->C, T, -2.0 * scale, entries, out);
  }
  return ELBO_OK;
}

/* Near the boundary as the traces of blocked_hessian.c: extrapolated from two points off it. */
elbo_status lmm_blocked_excess(const glmm_solver *solver, const lmm_point *point, const double *T,
                               const double *A, const double *b, const level_entries *entries,
                               double *out, const elbo_memory *mem) {
  crossed *c = (crossed *)solver->state;
  const int q = c->stats->q;
  const excess_space s = excess_memory(c, point->n_pair, mem);
  double kept[MOST], Sigma[MOST];
  memset(out, 0, entries->n * sizeof(double));
  if (!crossed_near_boundary(c)) return add_excess(c, point, T, A, b, 1.0, entries, &s, out);
  memcpy(kept, c->root, square(q) * sizeof(double));
  la_multiply_t(kept, kept, q, q, q, Sigma);
  elbo_status status = ELBO_OK;
  for (int times = 1; times <= 2 && status == ELBO_OK; times++) {
    status = crossed_grow(c, Sigma, times);
    if (status == ELBO_OK)
      status = add_excess(c, point, T, A, b, times == 1 ? 2.0 : -1.0, entries, &s, out);
  }
  memcpy(c->root, kept, square(q) * sizeof(double));
  c->factored = 0;
  crossed_factor(c);
  return status;
}
