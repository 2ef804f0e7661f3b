/* Second derivatives of the ELBO in all parameters of q, where q(beta, u) is the best at S.
 *
 * With f the expectation of a row's log density, mu and v the mean and variance of its predictor,
 * x = X + G'Z and W_k = S^{-1} (dS / d eta_k) S^{-1}, minus the Hessian is the sum over rows of
 *
 *   -(f_11 mu' mu'' + f_12 (mu' v'' + v' mu'') + f_22 v' v''),
 *   d mu = X dm + Z dm_g,   d v = x'dV x + 2 Z'dG V x + Z'dC Z,
 *
 * and, the slopes by m, m_g, V, G and C being zero,
 *
 *   dm_g' S^{-1} dm_g + tr(K dG V dG') + tr(K dC K dC) / 2 + dm' P dm + tr(V^{-1} dV V^{-1} dV) / 2
 *   and with eta_k  -W_k m_g,  -W_k G V,  -W_k / 2 (by C),  -G' W_k G / 2 (by V). */
#include "general/vb_hessian.h"

#include <math.h>
#include <string.h>

#include "general/vb_groups.h"
#include "general/vb_rows.h"
#include "general/vb_scales.h"
#include "law/latent_law.h"
#include "math/la.h"
#include "math/small.h"
#include "math/threads.h"

enum { CHUNK = 64 };

/* Entry (i, j) of a matrix of n rows. */
static inline size_t entry(int n, int i, int j) { return (size_t)i + (size_t)n * (size_t)j; }

/* Where coordinates are: of a group first, then shared ones. */
typedef struct {
  int p, q, gain, covariance, own; /* own: mean (q), G (q x p by column), C (packed) */
  int beta, spread, eta, n;        /* beta, V (packed), eta; n: of all */
} coordinates;

static coordinates places(const vb_work *w) {
  const int p = w->general.par.p, q = w->general.par.q;
  coordinates c = {.p = p, .q = q, .gain = q};
  c.covariance = c.gain + (w->apart ? 0 : q * p);
  c.own = c.covariance + (int)packed_size(q);
  c.beta = c.own;
  c.spread = c.beta + p;
  c.eta = c.spread + (int)packed_size(p);
  c.n = c.eta + w->general.par.n_eta;
  return c;
}

int vb_n_shared(const vb_work *w) {
  const coordinates c = places(w);
  return c.n - c.own;
}

enum { MOST_RUNS = 64, MOST_SPACE = 1 << 22 };

/* The number of runs does not depend on that of threads, so that sums do not. */
void vb_hessian_init(vb_work *w, const elbo_memory *mem) {
  const coordinates c = places(w);
  const size_t n = (size_t)larger(c.n, 1), m = square(c.n - c.own) + 1;
  const size_t n_eta = (size_t)w->general.par.n_eta + 1, p = (size_t)c.p + 1;
  vb_hessian_space *h = &w->hessian;
  h->n_run = smaller(w->general.n_slot, larger(2, smaller(MOST_RUNS, (int)(MOST_SPACE / m))));
  h->shared = mem->get(mem->ctx, (size_t)h->n_run * sizeof *h->shared);
  for (int k = 0; k < h->n_run; k++) h->shared[k] = elbo_doubles(mem, m);
  h->all = elbo_doubles(mem, m);
  h->W = elbo_doubles(mem, square(larger(c.q, 1)) * n_eta);
  h->gradient = elbo_doubles(mem, n_eta);
  h->hessian = elbo_doubles(mem, n_eta * n_eta);
  h->thread = mem->get(mem->ctx, (size_t)w->general.threads * sizeof *h->thread);
  for (int k = 0; k < w->general.threads; k++)
    h->thread[k] = (vb_hessian_thread){elbo_doubles(mem, n * n),   elbo_doubles(mem, n),
                                       elbo_doubles(mem, n),       elbo_doubles(mem, p),
                                       elbo_doubles(mem, p),       elbo_doubles(mem, CHUNK),
                                       elbo_doubles(mem, CHUNK)};
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* x x' in the directions of a packed symmetric matrix. */
static void pack_square(const double *x, int n, double *out) {
  for (int a = 0; a < n; a++)
    for (int b = 0; b <= a; b++) *out++ = (a == b ? 1.0 : 2.0) * x[a] * x[b];
}

static void row_slopes(const vb_work *w, const coordinates *c, int i, vb_hessian_thread *s) {
  const general_rows *rows = &w->general.rows;
  const double *X = rows->X + (size_t)c->p * (size_t)i, *Z = rows->Z + (size_t)c->q * (size_t)i;
  memcpy(s->mu, Z, (size_t)c->q * sizeof(double));
  memcpy(s->mu + c->beta, X, (size_t)c->p * sizeof(double));
  for (int j = 0; j < c->p; j++) s->Vx[j] = dot(w->q.V + c->p * j, s->x, c->p);
  for (int j = 0; j < c->p && !w->apart; j++)
    for (int a = 0; a < c->q; a++) s->v[c->gain + a + c->q * j] = 2.0 * Z[a] * s->Vx[j];
  pack_square(Z, c->q, s->v + c->covariance);
  pack_square(s->x, c->p, s->v + c->spread);
}

/* H -= f_11 mu mu' + f_12 (mu v' + v mu') + f_22 v v', where mu and v are not zero. */
static void add_row(const coordinates *c, const vb_row *row, const vb_hessian_thread *s) {
  const int n = c->n, ends[2][2] = {{0, c->gain}, {c->beta, c->spread}};
  const int v_ends[2][2] = {{c->gain, c->own}, {c->spread, c->eta}};
  for (int k = 0; k < 2; k++)
    for (int j = ends[k][0]; j < ends[k][1]; j++) {
      const double m = row->d11 * s->mu[j], mv = row->d12 * s->mu[j];
      double *column = s->H + (size_t)n * (size_t)j;
      for (int l = 0; l < 2; l++) {
        for (int i = larger(j, ends[l][0]); i < ends[l][1]; i++) column[i] -= m * s->mu[i];
        for (int i = larger(j, v_ends[l][0]); i < v_ends[l][1]; i++) column[i] -= mv * s->v[i];
      }
    }
  for (int k = 0; k < 2; k++)
    for (int j = v_ends[k][0]; j < v_ends[k][1]; j++) {
      const double m = row->d12 * s->v[j], v = row->d22 * s->v[j];
      double *column = s->H + (size_t)n * (size_t)j;
      for (int l = 0; l < 2; l++) {
        for (int i = larger(j, ends[l][0]); i < ends[l][1]; i++) column[i] -= m * s->mu[i];
        for (int i = larger(j, v_ends[l][0]); i < v_ends[l][1]; i++) column[i] -= v * s->v[i];
      }
    }
}

static void add_rows(const vb_work *w, const coordinates *c, int g, vb_row_space *nodes,
                     vb_hessian_thread *s) {
  const general_rows *rows = &w->general.rows;
  vb_row row[CHUNK];
  memset(s->mu, 0, (size_t)c->n * sizeof(double));
  memset(s->v, 0, (size_t)c->n * sizeof(double));
  for (int from = rows->first[g]; from < rows->first[g + 1]; from += CHUNK) {
    const int n = smaller(CHUNK, rows->first[g + 1] - from);
    for (int i = 0; i < n; i++)
      vb_predictor(w, &w->q, g, from + i, s->x, s->mean + i, s->variance + i);
    vb_rows(rows, &w->general.par.response, &w->rule, from, n, s->mean, s->variance, nodes, row);
    for (int i = 0; i < n; i++) {
      vb_predictor(w, &w->q, g, from + i, s->x, s->mean + i, s->variance + i);
      row_slopes(w, c, from + i, s);
      add_row(c, row + i, s);
    }
  }
}

/* ---- what rows do not have ------------------------------------------------------------------- */

/* tr(A E A F) / 2 for the directions E, F of a packed symmetric matrix, added to H from `at` on. */
static void add_entropy(const double *A, int k, int at, int n, double *H) {
  for (int a = 0, e = 0; a < k; a++)
    for (int b = 0; b <= a; b++, e++)
      for (int c = 0, f = 0; c < k && f <= e; c++)
        for (int d = 0; d <= c && f <= e; d++, f++) {
          const double half = (a == b ? 0.5 : 1.0) * (c == d ? 0.5 : 1.0);
          H[entry(n, at + e, at + f)] +=
              half * (A[a + k * c] * A[b + k * d] + A[a + k * d] * A[b + k * c]);
        }
}

static void add_own(const vb_work *w, const coordinates *c, int g, double *H) {
  const int q = c->q, p = c->p, n = c->n;
  const double *K = vb_part(w, &w->q, g, w->place.K), *V = w->q.V;
  for (int b = 0; b < q; b++)
    for (int a = b; a < q; a++) H[a + n * b] += w->S_inverse[a + q * b];
  for (int j = 0; j < p && !w->apart; j++)
    for (int l = j; l < p; l++)
      for (int b = 0; b < q; b++)
        for (int a = l == j ? b : 0; a < q; a++)
          H[entry(n, c->gain + a + q * l, c->gain + b + q * j)] +=
              K[a + q * b] * V[l + p * j];
  add_entropy(K, q, c->covariance, n, H);
}

/* With eta_k, W its W_k. */
static void add_eta(const vb_work *w, const coordinates *c, int g, const double *W, int k,
                    double *H) {
  const int q = c->q, p = c->p, n = c->n;
  const double *m = vb_part(w, &w->q, g, w->place.mean), *G = vb_part(w, &w->q, g, w->place.G);
  double *row = H + c->eta + k;
  for (int a = 0; a < q; a++) {
    row[(size_t)n * (size_t)a] -= dot(W + q * a, m, q);
    for (int b = 0; b <= a; b++)
      row[(size_t)n * (size_t)(c->covariance + general_packed(a, b))] -=
          (a == b ? 0.5 : 1.0) * W[a + q * b];
  }
  for (int j = 0; j < p && !w->apart; j++) {
    double WG[GENERAL_MAX_TERMS], WGV[GENERAL_MAX_TERMS];
    for (int a = 0; a < q; a++) {
      WG[a] = dot(W + q * a, G + q * j, q);
      WGV[a] = 0.0;
    }
    for (int l = 0; l < p; l++)
      for (int a = 0; a < q; a++)
        WGV[a] += dot(W + q * a, G + q * l, q) * w->q.V[l + p * j];
    for (int a = 0; a < q; a++) row[(size_t)n * (size_t)(c->gain + a + q * j)] -= WGV[a];
    for (int l = 0; l <= j; l++)
      row[(size_t)n * (size_t)(c->spread + general_packed(j, l))] -=
          (j == l ? 0.5 : 1.0) * dot(G + q * l, WG, q);
  }
}

/* W_k of all eta: q x q each. */
static void eta_directions(const vb_work *w, double *W) {
  const general_parameters *par = &w->general.par;
  const int q = par->q;
  double block[GENERAL_MAX_TERMS * GENERAL_MAX_TERMS];
  double slope[GENERAL_MAX_TERMS * GENERAL_MAX_TERMS], half[GENERAL_MAX_TERMS * GENERAL_MAX_TERMS];
  for (int b = 0; b < par->n_block; b++) {
    const int first = par->start[b], k = par->law[b].q, at = par->eta_of_block[b];
    for (int e = 0; e < par->law[b].n_eta; e++) {
      latent_law_slope(par->law + b, w->general.theta + par->p + at, e, block);
      memset(slope, 0, square(q) * sizeof(double));
      for (int j = 0; j < k; j++)
        for (int i = 0; i < k; i++) slope[first + i + q * (first + j)] = block[i + k * j];
      la_multiply(w->S_inverse, slope, q, q, q, half);
      la_multiply(half, w->S_inverse, q, q, q, W + square(q) * (size_t)(at + e));
    }
  }
}

/* ---- elimination ----------------------------------------------------------------------------- */

/* Cholesky of the leading n x n part of H (ld apart, lower), in place. */
static elbo_status factor_leading(double *H, int n, int ld) {
  for (int j = 0; j < n; j++) {
    double *column = H + (size_t)ld * (size_t)j;
    for (int k = 0; k < j; k++) {
      const double *other = H + (size_t)ld * (size_t)k, factor = other[j];
      for (int i = j; i < n; i++) column[i] -= factor * other[i];
    }
    if (!(column[j] > 0.0)) return ELBO_E_NOT_PD;
    const double root = sqrt(column[j]);
    for (int i = j; i < n; i++) column[i] /= root;
  }
  return ELBO_OK;
}

/* Rows n .. ld - 1 of the leading columns: B to B L'^{-1}. */
static void solve_below(double *H, int n, int ld) {
  for (int j = 0; j < n; j++) {
    double *column = H + (size_t)ld * (size_t)j;
    for (int k = 0; k < j; k++) {
      const double *other = H + (size_t)ld * (size_t)k, factor = other[j];
      for (int i = n; i < ld; i++) column[i] -= factor * other[i];
    }
    const double root = column[j];
    for (int i = n; i < ld; i++) column[i] /= root;
  }
}

/* shared += the rest of H less B B'. */
static void add_shared(const coordinates *c, const double *H, double *shared) {
  const int own = c->own, n = c->n, m = n - own;
  for (int j = 0; j < m; j++)
    for (int i = j; i < m; i++) shared[i + m * j] += H[entry(n, own + i, own + j)];
  for (int k = 0; k < own; k++) {
    const double *b = H + (size_t)n * (size_t)k + own;
    for (int j = 0; j < m; j++) {
      if (b[j] == 0.0) continue;
      for (int i = j; i < m; i++) shared[i + m * j] -= b[i] * b[j];
    }
  }
}

/* Of the mean: (H_own^{-1}) there, and -H_own^{-1} H_shared, from the factor and B. */
static void mean_moves(const coordinates *c, const double *H, double *x, double *own,
                       double *moves) {
  const int n = c->n, k = c->own, q = c->q;
  for (int r = 0; r < q; r++) {
    /* x = L^{-1} e_r, and then L'^{-1} x */
    for (int i = 0; i < k; i++) {
      double rest = i == r ? 1.0 : 0.0;
      for (int l = r; l < i; l++) rest -= H[entry(n, i, l)] * x[l];
      x[i] = i < r ? 0.0 : rest / H[entry(n, i, i)];
    }
    for (int i = 0; i < n - k; i++) {
      double sum = 0.0;
      for (int l = r; l < k; l++) sum += H[entry(n, k + i, l)] * x[l];
      moves[entry(q, r, i)] = -sum;
    }
    for (int i = k - 1; i >= 0; i--) {
      double rest = x[i];
      for (int l = i + 1; l < k; l++) rest -= H[entry(n, l, i)] * x[l];
      x[i] = rest / H[entry(n, i, i)];
      if (i < q) own[i + q * r] = x[i];
    }
  }
}

typedef struct {
  vb_work *w;
  coordinates c;
  const double *W;
  double *own, *moves;
} request;

static elbo_status eliminate(const request *of, int g, vb_hessian_thread *s) {
  const vb_work *w = of->w;
  const coordinates *c = &of->c;
  const size_t q = (size_t)c->q, m = (size_t)(c->n - c->own);
  memset(s->H, 0, square(c->n) * sizeof(double));
  add_rows(w, c, g, w->space + threads_this(), s);
  add_own(w, c, g, s->H);
  for (int k = 0; k < w->general.par.n_eta; k++)
    add_eta(w, c, g, of->W + q * q * (size_t)k, k, s->H);
  const elbo_status status = factor_leading(s->H, c->own, c->n);
  if (status != ELBO_OK) return status;
  solve_below(s->H, c->own, c->n);
  if (of->own)
    mean_moves(c, s->H, s->v, of->own + q * q * (size_t)g, of->moves + q * m * (size_t)g);
  return ELBO_OK;
}

static elbo_status over_groups(const request *of, double *information) {
  general_work *general = &of->w->general;
  const vb_hessian_space *h = &of->w->hessian;
  const coordinates *c = &of->c;
  const size_t size = square(c->n - c->own);
  int worst = ELBO_OK;
#pragma omp parallel for num_threads(general->threads) schedule(dynamic) reduction(min : worst)
  for (int k = 0; k < h->n_run; k++) {
    vb_hessian_thread *s = h->thread + threads_this();
    const int first = general->slot[general->n_slot * k / h->n_run];
    const int end = general->slot[general->n_slot * (k + 1) / h->n_run];
    memset(h->shared[k], 0, size * sizeof(double));
    for (int g = first; g < end; g++) {
      const elbo_status status = eliminate(of, g, s);
      worst = smaller(worst, status);
      if (status != ELBO_OK) break;
      add_shared(c, s->H, h->shared[k]);
    }
  }
  for (int k = 0; k < h->n_run; k++) add_to(information, h->shared[k], size);
  general->evaluations++;
  return (elbo_status)worst;
}

elbo_status vb_shared_information(vb_work *w, double *information, double *own, double *moves) {
  const coordinates c = places(w);
  const int p = c.p, m = c.n - c.own, n_eta = w->general.par.n_eta, at = c.eta - c.own;
  const vb_hessian_space *h = &w->hessian;
  memset(information, 0, square(m) * sizeof(double));
  eta_directions(w, h->W);
  const request of = {w, c, h->W, own, moves};
  elbo_status status = over_groups(&of, information);
  if (status == ELBO_OK) status = vb_scales_slopes(w, w->q.at.second, h->gradient, h->hessian);
  if (status != ELBO_OK) return status;
  for (int j = 0; j < p; j++)
    for (int i = j; i < p; i++) information[i + m * j] += w->P[i + p * j];
  add_entropy(w->q.precision, p, c.spread - c.own, m, information);
  for (int j = 0; j < n_eta; j++)
    for (int i = j; i < n_eta; i++)
      information[at + i + m * (at + j)] -= h->hessian[i + n_eta * j];
  fill_upper(information, m);
  return ELBO_OK;
}

elbo_status vb_profile_hessian(vb_work *w, double *hessian) {
  const int n = w->general.par.n_eta, m = vb_n_shared(w), rest = m - n;
  double *A = w->hessian.all;
  const elbo_status status = vb_shared_information(w, A, NULL, NULL);
  if (status != ELBO_OK) return status;
  const elbo_status factored = factor_leading(A, rest, m);
  if (factored != ELBO_OK) return factored;
  solve_below(A, rest, m);
  for (int j = 0; j < n; j++)
    for (int i = 0; i < n; i++) {
      double sum = A[rest + larger(i, j) + m * (rest + smaller(i, j))];
      for (int k = 0; k < rest; k++) sum -= A[rest + i + m * k] * A[rest + j + m * k];
      hessian[i + n * j] = -sum;
    }
  return ELBO_OK;
}
