/* What S = E[Sigma^{-1}]^{-1} is in.  Everything here is in the caller's units, block by block. */
#include "general/vb_scales.h"

#include <math.h>
#include <string.h>

#include "general/em.h"
#include "general/parameters.h"
#include "law/latent_prior.h"
#include "math/la.h"
#include "math/small.h"

enum { MOST_SQUARE = GENERAL_MAX_TERMS * GENERAL_MAX_TERMS, STEPS = 50, HALVINGS = 40 };

typedef struct {
  latent_prior prior;
  int q, first, free;
  double n, log_det;
  double S[MOST_SQUARE], inverse[MOST_SQUARE], second[MOST_SQUARE];
} scale;

int vb_units(const vb_work *w, int k) {
  const general_crossed *c = w->general.crossed;
  int f = 0;
  while (c && c->first[f + 1] <= k) f++;
  return c ? c->n_unit[f] : w->general.rows.m;
}

static elbo_status open_scale(const vb_work *w, const double *second, int b, scale *s) {
  const general_parameters *par = &w->general.par;
  const double *z = par->z_scale + par->start[b];
  s->prior = general_prior_block(&w->prior, par, w->general.theta, b, s->S);
  s->q = par->law[b].q;
  s->first = par->start[b];
  s->free = par->law[b].n_eta > 0;
  s->n = s->prior.n = vb_units(w, s->first);
  for (int i = 0; i < s->q && second; i++)
    for (int j = 0; j < s->q; j++)
      s->second[i + s->q * j] = z[i] * z[j] * second[s->first + i + par->q * (s->first + j)];
  memcpy(s->inverse, s->S, square(s->q) * sizeof(double));
  if (la_chol(s->inverse, s->q) != ELBO_OK) return ELBO_E_NOT_PD;
  s->log_det = la_log_det_from_chol(s->inverse, s->q);
  return la_inverse_from_chol(s->inverse, s->q);
}

/* E log p(u | Sigma) and the prior's part, without constants in 2 pi. */
static elbo_status value_of(const scale *s, double *value) {
  double part = 0.0;
  const elbo_status status = s->free ? latent_prior_bound(&s->prior, s->S, &part) : ELBO_OK;
  *value = part - 0.5 * s->n * s->log_det;
  for (int e = 0; e < s->q * s->q; e++) *value -= 0.5 * s->inverse[e] * s->second[e];
  return status == ELBO_OK && !isfinite(*value) ? ELBO_E_NOT_FINITE : status;
}

elbo_status vb_scales_value(const vb_work *w, const double *second, double *value) {
  scale s;
  *value = 0.0;
  for (int b = 0; b < w->general.par.n_block; b++) {
    double part;
    elbo_status status = open_scale(w, second, b, &s);
    if (status == ELBO_OK) status = value_of(&s, &part);
    if (status != ELBO_OK) return status;
    *value += part;
  }
  return ELBO_OK;
}

/* By the entries (a, b) of S in the direction e_a e_b' + e_b e_a', or e_a e_a'; V = S^{-1}, W = V
 * second V:  -n V + W, and n (V V + V V) - (V W + V W + W V + W V). */
static void slopes_of(const scale *s, double *by_S, double *by_SS) {
  const int q = s->q, size = (int)packed_size(q);
  const double *V = s->inverse, n = s->n;
  double W[MOST_SQUARE], half[MOST_SQUARE];
  la_multiply(V, s->second, q, q, q, half);
  la_multiply(half, V, q, q, q, W);
  for (int a = 0, e = 0; a < q; a++)
    for (int b = 0; b <= a; b++, e++) {
      const double k = a == b ? 0.5 : 1.0;
      by_S[e] = k * (W[a + q * b] - n * V[a + q * b]);
      for (int c = 0, f = 0; c < q && f <= e; c++)
        for (int d = 0; d <= c && f <= e; d++, f++) {
          const double vv = V[a + q * c] * V[b + q * d] + V[a + q * d] * V[b + q * c];
          const double vw = V[b + q * c] * W[d + q * a] + V[b + q * d] * W[c + q * a] +
                            V[a + q * c] * W[d + q * b] + V[a + q * d] * W[c + q * b];
          by_SS[e + size * f] = k * (c == d ? 0.5 : 1.0) * (n * vv - vw);
        }
    }
}

/* Into derivatives by all of theta, of which those by eta are read. */
static elbo_status add_slopes(const vb_work *w, const double *second, int b, double *gradient,
                              double *hessian) {
  double by_S[GENERAL_MAX_ROOT], by_SS[GENERAL_MAX_ROOT * GENERAL_MAX_ROOT];
  int place[GENERAL_MAX_ROOT];
  scale s;
  elbo_status status = open_scale(w, second, b, &s);
  if (status != ELBO_OK || !s.free) return status;
  for (int e = 0; e < GENERAL_MAX_ROOT; e++) place[e] = e;
  slopes_of(&s, by_S, by_SS);
  status = latent_prior_bound_slopes(&s.prior, s.S, place, (int)packed_size(s.q), by_S, by_SS);
  if (status == ELBO_OK)
    general_chain_block(&w->general.par, w->general.theta, b, by_S, by_SS, gradient, hessian);
  return status;
}

elbo_status vb_scales_slopes(const vb_work *w, const double *second, double *gradient,
                             double *hessian) {
  const general_parameters *par = &w->general.par;
  const int N = par->n_theta, p = par->p, n = par->n_eta;
  double *g = w->general.scratch, *H = g + N;
  memset(g, 0, (size_t)N * sizeof(double));
  memset(H, 0, square(N) * sizeof(double));
  for (int b = 0; b < par->n_block; b++) {
    const elbo_status status = add_slopes(w, second, b, g, hessian ? H : NULL);
    if (status != ELBO_OK) return status;
  }
  memcpy(gradient, g + p, (size_t)n * sizeof(double));
  for (int j = 0; j < n && hessian; j++)
    for (int i = 0; i < n; i++) hessian[i + n * j] = H[p + i + N * (p + j)];
  return ELBO_OK;
}

elbo_status vb_scales_df(const vb_work *w, double *df, double *information, double *slope) {
  scale s;
  for (int k = 0; k < w->general.par.q; k++) slope[k] = 0.0;
  for (int b = 0; b < w->general.par.n_block; b++) {
    df[b] = information[b] = NAN;
    elbo_status status = open_scale(w, NULL, b, &s);
    if (status == ELBO_OK && s.free)
      status = latent_prior_df(&s.prior, s.S, df + b, information + b, slope + s.first);
    if (status != ELBO_OK) return status;
  }
  return ELBO_OK;
}

elbo_status vb_scales_inverse(const vb_work *w, double *inverse, double *log_det) {
  const int q = w->general.par.q;
  la_multiply_t(w->general.L, w->general.L, q, q, q, inverse);
  *log_det = 0.0;
  if (q == 0) return ELBO_OK;
  if (la_chol(inverse, q) != ELBO_OK) return ELBO_E_NOT_PD;
  *log_det = la_log_det_from_chol(inverse, q);
  return isfinite(*log_det) ? la_inverse_from_chol(inverse, q) : ELBO_E_NOT_PD;
}

/* ---- the coordinate step --------------------------------------------------------------------- */

/* S to a root, and so to eta. */
static elbo_status set_S(vb_work *w, const scale *s, const double *S) {
  const general_parameters *par = &w->general.par;
  const double *z = par->z_scale + s->first;
  double root[MOST_SQUARE];
  for (int i = 0; i < s->q; i++)
    for (int j = 0; j < s->q; j++) root[i + s->q * j] = S[i + s->q * j] / (z[i] * z[j]);
  if (la_chol(root, s->q) != ELBO_OK) return ELBO_E_NOT_PD;
  int b = 0;
  while (par->start[b] != s->first) b++;
  latent_law_pack(par->law + b, root, w->general.theta + par->p + par->eta_of_block[b]);
  return general_set_theta(&w->general, w->general.theta);
}

/* By Newton's method, halved where it does not rise. */
static elbo_status climb_block(vb_work *w, const double *second, int b) {
  general_work *general = &w->general;
  const general_parameters *par = &general->par;
  const int n = par->law[b].n_eta, N = par->n_theta, at = par->p + par->eta_of_block[b];
  double *g = general->scratch, *H = g + N, *step = general->step_space, *before = step + n;
  double *block = before + n, *work = block + square(n), value, next;
  scale s;
  elbo_status status = open_scale(w, second, b, &s);
  if (status == ELBO_OK) status = value_of(&s, &value);
  for (int i = 0; i < STEPS && status == ELBO_OK; i++) {
    memset(g, 0, (size_t)N * sizeof(double));
    memset(H, 0, square(N) * sizeof(double));
    status = add_slopes(w, second, b, g, H);
    if (status != ELBO_OK) return status;
    for (int k = 0; k < n; k++)
      for (int l = 0; l < n; l++) block[l + n * k] = H[at + l + N * (at + k)];
    memcpy(before, general->theta + at, (size_t)n * sizeof(double));
    status = general_newton_step(block, g + at, n, step, work);
    if (status != ELBO_OK) return status;
    const double gain = dot(step, g + at, n);
    double factor = 1.0;
    next = value;
    for (int h = 0; h <= HALVINGS; h++, factor *= 0.5) { /* at last where it was */
      for (int k = 0; k < n; k++)
        general->theta[at + k] = before[k] + (h < HALVINGS ? factor * step[k] : 0.0);
      status = general_set_theta(general, general->theta);
      if (status == ELBO_OK) status = open_scale(w, second, b, &s);
      if (status == ELBO_OK) status = value_of(&s, &next);
      if (status == ELBO_OK && next >= value) break;
    }
    value = next;
    if (!(gain > 1e-12)) break;
  }
  return status;
}

elbo_status vb_scales_step(vb_work *w, const double *second) {
  double S[MOST_SQUARE];
  scale s;
  for (int b = 0; b < w->general.par.n_block; b++) {
    elbo_status status = open_scale(w, second, b, &s);
    if (status != ELBO_OK) return status;
    if (!s.free) continue;
    if (!latent_prior_closed(&s.prior) || !latent_law_closed(w->general.par.law + b)) {
      status = climb_block(w, second, b);
    } else {
      status = latent_prior_update(&s.prior, s.S, s.second, S);
      if (status == ELBO_OK) status = set_S(w, &s, S);
    }
    if (status != ELBO_OK) return status;
  }
  return ELBO_OK;
}
