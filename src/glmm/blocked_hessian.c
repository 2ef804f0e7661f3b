/* tr(V^{-1} dV_i V^{-1} dV_j), exact.  In units of the root, with M = J + root'Z'D^{-1}Z root,
 *   root'Z'V^{-1}Z root = J - J M^{-1} J,   root'Z'V^{-1}D_l V^{-1}Z root = J M^{-1} A_l M^{-1} J,
 * D_l the level's part of dD, A_l = root'Z_l'W Z_l root / v_l^2, and E~ = J root^{-1} E root'^{-1}
 * J of a direction E of Sigma, so that
 *   of two entries of Sigma   tr(E~ F~) - tr(M^{-1}(E~ F~ + F~ E~)) + tr(M^{-1} E~ M^{-1} F~),
 *   of one, and a level       tr(M^{-1} A_l M^{-1} E~),
 *   of two levels             tr(M^{-1} A_l M^{-1} A_m), and of one with itself
 *                             n_l / v_l^2 - 2 tr(M^{-1} A_l) / v_l,
 * sums over pairs of levels that math/blocked_curvature.c finds on the pattern of the factor.  The
 * level with most rows follows from the others: V(c Sigma, c v) = c V.
 *
 * The first of these is a small difference of large numbers where Sigma is: its error is the
 * rounding over share^2, the share of Sigma in what its levels know.  Where that is less than SMALL
 * it is found at Sigma + delta and Sigma + 2 delta, delta SMALL of the sampling variance, and
 * extrapolated, with an error of SMALL^2. */
#include <math.h>
#include <string.h>

#include "glmm/blocked_state.h"
#include "math/la.h"

/* P root = S J, by the columns of the root from the last. */
static void find_P(const crossed *c, double *P) {
  const int q = c->stats->q;
  for (int k = q - 1; k >= 0; k--)
    for (int i = 0; i < q; i++) {
      double sum = c->factor_sum[i + q * k] * c->unit[k];
      for (int a = k + 1; a < q; a++) sum -= P[i + q * a] * c->root[a + q * k];
      P[i + q * k] = sum / c->root[k * (q + 1)];
    }
}

void crossed_volume_gradient(crossed *c, const lmm_point *point, const crossed_terms *t,
                             double *out) {
  const int q = c->stats->q, n_pair = point->n_pair;
  memset(out, 0, (size_t)(n_pair + c->n_level) * sizeof(double));
  if (!point->log_det) return;
  la_multiply_t(c->root, c->root, q, q, q, t->Sigma);
  crossed_level_traces(c, t->trace); /* and factor_sum */
  find_P(c, t->P);
  for (int e = 0; e < n_pair; e++) {
    const int a = point->pair_a[e], b = point->pair_b[e];
    out[e] = -(a == b ? 0.25 : 0.5) * (t->P[a + q * b] + t->P[b + q * a]);
  }
  for (int l = 0; l < c->n_level; l++)
    out[n_pair + l] = -0.5 * (c->stats->n_rows[l] - t->trace[l] / c->variance[l]) / c->variance[l];
}

static const double SMALL = 1e-4;

/* ---- directions ------------------------------------------------------------------------------ */

void crossed_pair_in_units(const crossed *c, const lmm_point *point, int e, const double *inverse,
                           double *out) {
  const int q = c->stats->q, a = point->pair_a[e], b = point->pair_b[e];
  for (int i = 0; i < q; i++)
    for (int j = 0; j < q; j++) {
      double value = inverse[i + q * a] * inverse[j + q * b];
      if (a != b) value += inverse[i + q * b] * inverse[j + q * a];
      out[i + q * j] = c->unit[i] * c->unit[j] * value;
    }
}

static void put_pair(const crossed *c, int factor, const double *E, double *to) {
  const lmm_crossed *d = c->cells;
  const int q = c->stats->q, first = d->first[factor];
  memset(to, 0, c->b.panel[c->b.n_super] * sizeof(double));
  for (int g = 0; g < d->n_unit[factor]; g++) {
    int ld;
    const int i = lmm_node(d, factor, g);
    double *at = to + blocked_diagonal(&c->b, i, &ld);
    for (int b = 0; b < d->size[i]; b++)
      for (int a = b; a < d->size[i]; a++) at[a + ld * b] = E[first + a + q * (first + b)];
  }
}

/* to (nj columns, ld apart) += block (ni x nj). */
static void add_block(int ni, int nj, const double *block, double *to, int ld) {
  for (int b = 0; b < nj; b++)
    for (int a = 0; a < ni; a++) to[a + ld * b] += block[a + ni * b];
}

void crossed_add_level(const crossed *c, int level, double scale, double *to) {
  const lmm_crossed *d = c->cells;
  const int q = c->stats->q;
  double full[LMM_MAX_TERMS * LMM_MAX_TERMS], block[LMM_MAX_TERMS * LMM_MAX_TERMS];
  scale /= c->variance[level] * c->variance[level];
  for (size_t e = 0; e < d->n_own; e++) {
    int ld;
    if (d->own_level[e] != level) continue;
    const int i = d->own_node[e], n = d->size[i];
    const double *R = crossed_root(c, c->root, i);
    double *at = to + blocked_diagonal(&c->b, i, &ld);
    crossed_own_block(d, e, full);
    crossed_sandwich(n, n, q, R, full, R, scale, block, n);
    add_block(n, n, block, at, ld);
  }
  for (size_t k = 0; k < d->n_cell; k++) {
    const int i = d->cell_i[k], j = d->cell_j[k], ni = d->size[i], nj = d->size[j];
    const size_t size = lmm_block(d, i, j);
    const double *B = d->value + d->first_value[k];
    for (size_t e = d->first_entry[k]; e < d->first_entry[k + 1]; e++, B += size) {
      if (d->entry_level[e] != level) continue;
      crossed_sandwich(ni, nj, q, crossed_root(c, c->root, i), B, crossed_root(c, c->root, j),
                       scale, block, ni);
      add_block(ni, nj, block, to + c->b.cell[k], blocked_ld(&c->b, i, j));
    }
  }
}

static int factor_of_term(const lmm_crossed *d, int term) {
  int f = 0;
  while (d->first[f + 1] <= term) f++;
  return f;
}

/* ---- traces ---------------------------------------------------------------------------------- */

/* Sums over levels of the diagonal blocks of M^{-1}, by term (q x q). */
static void sum_inverse(const crossed *c, double *S) {
  const lmm_crossed *d = c->cells;
  const int q = c->stats->q;
  memset(S, 0, square(q) * sizeof(double));
  for (int i = 0; i < d->n_node; i++) {
    int ld;
    const int first = d->first[d->factor_of[i]];
    const double *Z = c->b.Z + blocked_diagonal(&c->b, i, &ld);
    for (int b = 0; b < d->size[i]; b++)
      for (int a = b; a < d->size[i]; a++) S[first + a + q * (first + b)] += Z[a + ld * b];
  }
  for (int a = 0; a < q; a++)
    for (int b = 0; b < a; b++) S[b + q * a] = S[a + q * b];
}

/* What two entries of Sigma of one factor, E and F in units of the root, have beside the
 * curvature. */
static double own_traces(const lmm_crossed *d, int q, int factor, const double *S, const double *E,
                         const double *F) {
  const int first = d->first[factor], last = d->first[factor + 1];
  double sum = 0.0;
  for (int a = first; a < last; a++)
    for (int b = first; b < last; b++) {
      double EF = 0.0;
      for (int k = first; k < last; k++) EF += E[a + q * k] * F[k + q * b];
      sum += EF * ((a == b ? d->n_unit[factor] : 0.0) - 2.0 * S[a + q * b]);
    }
  return sum;
}

/* The row of the level that is left, from V(c Sigma, c v) = c V; volume: of log |V| / -2. */
static void scale_row(const crossed *c, const lmm_point *point, const crossed_terms *t, int left,
                      const double *volume, double *T) {
  const int q = c->stats->q, n_pair = point->n_pair, n = n_pair + c->n_level, row = n_pair + left;
  for (int pass = 0; pass < 2; pass++)
    for (int j = 0; j < n; j++) {
      if ((j == row) != pass) continue;
      double sum = -2.0 * volume[j];
      for (int i = 0; i < n; i++) {
        if (i == row) continue;
        const double weight = i < n_pair ? t->Sigma[point->pair_a[i] + q * point->pair_b[i]]
                                         : c->variance[i - n_pair];
        sum -= weight * T[i + n * j];
      }
      T[row + n * j] = T[j + n * row] = sum / c->variance[left];
    }
}

/* T (n x n) at c->root, which is factored. */
static void traces_here(crossed *c, const lmm_point *point, const crossed_terms *t, double *T,
                        double *space) {
  const lmm_crossed *d = c->cells;
  const int q = c->stats->q, n_pair = point->n_pair, n = n_pair + c->n_level;
  const int left = c->rest, n_direction = n - 1;
  double *volume = space, *inverse = volume + n, *S = inverse + square(q), *E = S + square(q);
  double *K = E + square(q) * (size_t)n_pair;
  crossed_volume_gradient(c, point, t, volume);
  la_lower_inverse(c->root, q, inverse);
  sum_inverse(c, S);
  for (int e = 0; e < n_pair; e++) {
    crossed_pair_in_units(c, point, e, inverse, E + square(q) * (size_t)e);
    put_pair(c, factor_of_term(d, point->pair_a[e]), E + square(q) * (size_t)e, c->direction[e]);
  }
  for (int l = 0, at = n_pair; l < c->n_level; l++)
    if (l != left) {
      memset(c->direction[at], 0, c->b.panel[c->b.n_super] * sizeof(double));
      crossed_add_level(c, l, 1.0, c->direction[at++]);
    }
  blocked_curvature(&c->b, n_direction, c->direction, c->there, K);
  for (int i = 0; i < n_direction; i++)
    for (int j = 0; j <= i; j++) {
      const int row = i < n_pair || i - n_pair < left ? i : i + 1;
      const int column = j < n_pair || j - n_pair < left ? j : j + 1;
      double value = K[i + n_direction * j];
      if (i < n_pair) {
        const int f = factor_of_term(d, point->pair_a[i]);
        if (f == factor_of_term(d, point->pair_a[j]))
          value += own_traces(d, q, f, S, E + square(q) * (size_t)i, E + square(q) * (size_t)j);
      } else if (i == j) {
        const int l = row - n_pair;
        const double v = c->variance[l];
        value += (c->stats->n_rows[l] - 2.0 * t->trace[l] / v) / (v * v);
      }
      T[row + n * column] = T[column + n * row] = value;
    }
  scale_row(c, point, t, left, volume, T);
}

/* ---- near the boundary ----------------------------------------------------------------------- */

int crossed_near_boundary(const crossed *c) {
  const int q = c->stats->q;
  for (int k = 0; k < q; k++)
    if (c->unit[k] > 0.0 && c->root[k * (q + 1)] * c->root[k * (q + 1)] * c->weight[k] < SMALL)
      return 1;
  return 0;
}

elbo_status crossed_grow(crossed *c, const double *Sigma, double times) {
  const int q = c->stats->q;
  memcpy(c->root, Sigma, square(q) * sizeof(double));
  for (int k = 0; k < q; k++)
    if (c->unit[k] > 0.0) c->root[k * (q + 1)] += times * SMALL / fmax(c->weight[k], 1e-300);
  const elbo_status status = la_chol(c->root, q);
  c->factored = 0;
  for (int j = 0; j < q; j++)
    for (int i = 0; i < j; i++) c->root[i + q * j] = 0.0;
  return status == ELBO_OK ? crossed_factor(c) : status;
}

size_t crossed_hessian_size(int q, int n_pair, int n_level) {
  const int n = n_pair + n_level;
  return 2 * square(n) + (size_t)n + square(q) * (size_t)(n_pair + 4);
}

static void find_traces(crossed *c, const lmm_point *point, const crossed_terms *t, double *T) {
  const int q = c->stats->q, n = point->n_pair + c->n_level;
  double *other = c->hessian, *kept = other + square(n), *Sigma = kept + square(q);
  double *space = Sigma + square(q);
  if (!crossed_near_boundary(c)) {
    traces_here(c, point, t, T, space);
    return;
  }
  memcpy(kept, c->root, square(q) * sizeof(double));
  la_multiply_t(kept, kept, q, q, q, Sigma);
  if (crossed_grow(c, Sigma, 2.0) == ELBO_OK) traces_here(c, point, t, other, space);
  if (crossed_grow(c, Sigma, 1.0) == ELBO_OK) traces_here(c, point, t, T, space);
  for (size_t i = 0; i < square(n); i++) T[i] = 2.0 * T[i] - other[i];
  memcpy(c->root, kept, square(q) * sizeof(double));
  c->factored = 0;
  crossed_factor(c);
}

void crossed_second_traces(crossed *c, const lmm_point *point, const crossed_terms *t, double *T) {
  const int n = point->n_pair + c->n_level;
  if (!c->traced) find_traces(c, point, t, c->traces);
  c->traced = 1;
  memcpy(T, c->traces, square(n) * sizeof(double));
}
