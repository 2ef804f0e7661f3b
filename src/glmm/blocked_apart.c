/* The best q whose levels are all independent of each other, q(u) = prod_f q(u_f): the precision M
 * of b (glmm/blocked.h) gives way to its diagonal blocks M_g = J + R'N R, N = Z_g'D^{-1}Z_g a
 * level's, R its factor's root; means are those of the exact posterior (Blei, Kucukelbir &
 * McAuliffe 2017, JASA 112:859, section 4; of crossed designs Goplerud, Papaspiliopoulos & Zanella
 * 2025).  With K = R M_g^{-1}R', Q = N - N K N and P = I - K N, for J = I,
 *
 *   d log |M_g| = tr(Q dSigma) + tr(K dN),
 *   d^2 log |M_g| = -tr(Q dSigma Q dSigma) + 2 tr(P'dN P dSigma) + tr(K d^2N) - tr(K dN K dN),
 *
 * N = sum_l N_l / v_l over the levels l of the residual variance. */
#include <math.h>
#include <string.h>

#include "glmm/blocked_state.h"
#include "math/la.h"

enum { MOST = LMM_MAX_TERMS * LMM_MAX_TERMS };

/* A level: n terms, the first of its factor, N, log |M_g|, M_g^{-1}, K and P. */
typedef struct {
  int n, first;
  const double *N;
  double log_det, inverse[MOST], K[MOST], P[MOST];
} level_part;

static elbo_status find_level(const crossed *c, int node, level_part *at) {
  const lmm_crossed *d = c->cells;
  const int q = c->stats->q, n = at->n = d->size[node];
  double R[MOST] = {0}, half[MOST];
  at->first = d->first[d->factor_of[node]];
  at->N = c->own + d->diagonal[node];
  for (int b = 0; b < n; b++)
    for (int a = b; a < n; a++) R[a + n * b] = c->root[at->first + a + q * (at->first + b)];
  crossed_sandwich(n, n, n, R, at->N, R, 1.0, at->inverse, n);
  for (int a = 0; a < n; a++) at->inverse[a * (n + 1)] += c->unit[at->first + a];
  if (la_chol(at->inverse, n) != ELBO_OK) return ELBO_E_NOT_PD;
  at->log_det = la_log_det_from_chol(at->inverse, n);
  if (la_inverse_from_chol(at->inverse, n) != ELBO_OK) return ELBO_E_NOT_PD;
  la_multiply(R, at->inverse, n, n, n, half);
  la_multiply_t(half, R, n, n, n, at->K);
  la_multiply(at->K, at->N, n, n, n, at->P);
  for (int a = 0; a < n; a++)
    for (int b = 0; b < n; b++) at->P[a + n * b] = (a == b) - at->P[a + n * b];
  return ELBO_OK;
}

double crossed_apart_log_det(const crossed *c) {
  level_part at;
  double sum = 0.0;
  for (int i = 0; i < c->cells->n_node; i++)
    sum += find_level(c, i, &at) == ELBO_OK ? at.log_det : NAN;
  return sum;
}

void crossed_apart_spread(const crossed *c, double *root, double *second, double *trace) {
  const lmm_crossed *d = c->cells;
  const int q = c->stats->q;
  double block[MOST];
  level_part at;
  for (int i = 0; i < d->n_node; i++) {
    if (find_level(c, i, &at) != ELBO_OK) continue; /* its log_det has said so */
    for (int a = 0; a < at.n; a++)
      for (int b = 0; b < at.n; b++)
        second[at.first + a + q * (at.first + b)] += at.inverse[a + at.n * b];
    la_chol_semidefinite(at.inverse, at.n, 0.0, root + d->diagonal[i]);
  }
  for (size_t e = 0; e < d->n_own; e++) {
    if (find_level(c, d->own_node[e], &at) != ELBO_OK) continue;
    crossed_own_block(d, e, block);
    trace[d->own_level[e]] += dot(block, at.K, at.n * at.n);
  }
}

/* ---- derivatives ----------------------------------------------------------------------------- */

/* Pair e of the entries of Sigma among the terms of a level, or 0; d log |M_g| goes by twice kappa
 * in its direction. */
static int pair_at(const lmm_point *point, const level_part *at, int e, int *a, int *b,
                   double *kappa) {
  *a = point->pair_a[e] - at->first;
  *b = point->pair_b[e] - at->first;
  *kappa = *a == *b ? 0.5 : 1.0;
  return *a >= 0 && *a < at->n && *b >= 0 && *b < at->n;
}

static void add_by_sigma(const lmm_point *point, int n_out, const level_part *at,
                         lmm_derivatives *out) {
  const int n = at->n;
  double Q[MOST], kappa, other;
  int a, b, g, h;
  la_multiply(at->N, at->P, n, n, n, Q);
  for (int e = 0; e < point->n_pair; e++) {
    if (!pair_at(point, at, e, &a, &b, &kappa)) continue;
    out->gradient[e] -= kappa * Q[a + n * b];
    for (int f = 0; f <= e; f++)
      if (pair_at(point, at, f, &g, &h, &other))
        out->hessian[e + n_out * f] +=
            kappa * other * (Q[a + n * g] * Q[b + n * h] + Q[a + n * h] * Q[b + n * g]);
  }
}

/* By the residual variance of entry e of the level, and by it and another entry's. */
static void add_by_variance(const crossed *c, const lmm_point *point, int n_out,
                            const level_part *at, size_t e, size_t first, lmm_derivatives *out) {
  const int n = at->n, l = c->cells->own_level[e], row = point->n_pair + l;
  const double v = c->variance[l];
  double N[MOST], NP[MOST], KN[MOST], other[MOST], KO[MOST], kappa, once = 0.0;
  int a, b;
  crossed_own_block(c->cells, e, N);
  la_multiply(at->K, N, n, n, n, KN);
  la_multiply(N, at->P, n, n, n, NP);
  for (int i = 0; i < n; i++) once += KN[i * (n + 1)];
  out->gradient[row] += 0.5 * once / (v * v);
  out->hessian[row * (n_out + 1)] -= once / (v * v * v);
  for (int f = 0; f < point->n_pair; f++)
    if (pair_at(point, at, f, &a, &b, &kappa))
      out->hessian[row + n_out * f] += kappa * dot(at->P + n * a, NP + n * b, n) / (v * v);
  for (size_t f = first; f <= e; f++) {
    const int m = c->cells->own_level[f];
    double twice = 0.0;
    crossed_own_block(c->cells, f, other);
    la_multiply(at->K, other, n, n, n, KO);
    for (int i = 0; i < n; i++)
      for (int j = 0; j < n; j++) twice += KN[i + n * j] * KO[j + n * i];
    out->hessian[row + n_out * (point->n_pair + m)] +=
        0.5 * twice / (v * v * c->variance[m] * c->variance[m]);
  }
}

void crossed_apart_derivatives(const crossed *c, const lmm_point *point, lmm_derivatives *out) {
  const lmm_crossed *d = c->cells;
  const int n_out = point->n_pair + c->n_level;
  level_part at;
  for (size_t e = 0, first = 0; e < d->n_own; e++) { /* those of a node side by side */
    if (e == 0 || d->own_node[e] != d->own_node[e - 1]) {
      first = e;
      if (find_level(c, d->own_node[e], &at) != ELBO_OK) return;
      add_by_sigma(point, n_out, &at, out);
    }
    add_by_variance(c, point, n_out, &at, e, first, out);
  }
  for (int l = 0; l < c->n_level; l++) {
    const double rows = c->stats->n_rows[l], v = c->variance[l];
    out->gradient[point->n_pair + l] -= 0.5 * rows / v;
    out->hessian[(point->n_pair + l) * (n_out + 1)] += 0.5 * rows / (v * v);
  }
}
