/* q(beta, u) of several grouping factors at its best, given S: the steps of vb_groups.c over the
 * blocked matrix of crossed.c, in coordinates u = L v, whose prior is N(0, I).
 *
 * The precision is [K B; B' D] with K = I + sum w a a', B = sum w a X', D = P + sum w X X', so that
 * q is known by its means and the weights w of the rows; the best weights are -2 f_2. */
#include "general/vb_crossed.h"

#include <math.h>
#include <string.h>

#include "general/vb_rows.h"
#include "general/vb_scales.h"
#include "math/la.h"
#include "math/small.h"

/* ---- memory ---------------------------------------------------------------------------------- */

static void state_init(vb_state *s, size_t n, size_t N, size_t p, size_t q,
                       const elbo_memory *mem) {
  double **of_rows[] = {&s->weight, &s->best};
  double **of_levels[] = {&s->v, &s->slope_v, &s->step_v};
  double **of_beta[] = {&s->mean, &s->slope, &s->step};
  for (int k = 0; k < 2; k++) *of_rows[k] = elbo_doubles(mem, n);
  for (int k = 0; k < 3; k++) *of_levels[k] = elbo_doubles(mem, N);
  for (int k = 0; k < 3; k++) *of_beta[k] = elbo_doubles(mem, p + 1);
  s->D = elbo_doubles(mem, p * p + 1);
  s->V = elbo_doubles(mem, p * p + 1);
  s->G = elbo_doubles(mem, N * p + 1);
  s->second = elbo_doubles(mem, q * q);
  memset(s->v, 0, N * sizeof(double));
}

void vb_crossed_init(vb_work *w, const elbo_memory *mem) {
  const size_t n = (size_t)w->general.rows.n, p = (size_t)w->general.par.p;
  const size_t q = (size_t)w->general.par.q, N = (size_t)w->general.crossed->n;
  vb_crossed *c = mem->get(mem->ctx, sizeof *c);
  memset(c, 0, sizeof *c);
  state_init(&c->at, n, N, p, q, mem);
  state_init(&c->trial, n, N, p, q, mem);
  c->x = elbo_doubles(mem, n * (p + 1));
  c->centre = elbo_doubles(mem, n);
  c->variance = elbo_doubles(mem, n);
  c->row = mem->get(mem->ctx, n * sizeof *c->row);
  c->tilt = elbo_doubles(mem, p + 1);
  c->half = elbo_doubles(mem, N + p * p + 1);
  memset(c->tilt, 0, (p + 1) * sizeof(double));
  w->crossed = c;
}

/* ---- q at its means and weights -------------------------------------------------------------- */

/* The place of the level of row i among all, and its terms. */
static int place(const general_crossed *c, int i, int f) {
  return c->H.place[c->node[(size_t)c->n_factor * (size_t)i + (size_t)f]];
}

/* K, G and V. */
static elbo_status make_precision(vb_work *w, vb_state *s) {
  general_crossed *c = w->general.crossed;
  const general_rows *rows = &w->general.rows;
  const int p = rows->p, q = rows->q, n = rows->n;
  const elbo_status status = general_crossed_factor(c, n, s->weight);
  if (status != ELBO_OK) return status;
  memset(s->G, 0, (size_t)c->n * (size_t)p * sizeof(double));
  memcpy(s->D, w->P, square(p) * sizeof(double));
  for (int i = 0; i < n; i++) {
    const double *X = rows->X + (size_t)p * (size_t)i, *a = c->a + (size_t)q * (size_t)i;
    for (int f = 0; f < c->n_factor; f++) {
      double *to = s->G + (size_t)p * (size_t)place(c, i, f);
      for (int k = c->first[f]; k < c->first[f + 1]; k++)
        for (int j = 0; j < p; j++) *to++ -= s->weight[i] * a[k] * X[j];
    }
    for (int j = 0; j < p; j++)
      for (int l = j; l < p; l++) s->D[l + p * j] += s->weight[i] * X[j] * X[l];
  }
  fill_upper(s->D, p);
  memcpy(s->V, s->D, square(p) * sizeof(double));
  if (p == 0) return ELBO_OK;
  if (w->apart) { /* G is for steps of the means only, and V the inverse of D */
    general_crossed_solve(c, p, s->G);
  } else {
    /* D - B'K^{-1}B = D + B'G = D - (L^{-1}B)'(L^{-1}B) */
    blocked_forward(&c->H, p, s->G);
    for (int r = 0; r < c->n; r++) {
      const double *g = s->G + (size_t)p * (size_t)r;
      for (int j = 0; j < p; j++)
        for (int l = 0; l < p; l++) s->V[l + p * j] -= g[j] * g[l];
    }
    blocked_backward(&c->H, p, s->G);
  }
  if (la_chol(s->V, p) != ELBO_OK) return ELBO_E_NOT_PD;
  s->log_det = -la_log_det_from_chol(s->V, p);
  return la_inverse_from_chol(s->V, p);
}

/* Mean and variance of each row's predictor, and X + G'a. */
static void make_predictors(vb_work *w, const vb_state *s) {
  general_crossed *c = w->general.crossed;
  const general_rows *rows = &w->general.rows;
  const int p = rows->p, q = rows->q;
  vb_crossed *out = w->crossed;
  for (int i = 0; i < rows->n; i++) {
    const double *X = rows->X + (size_t)p * (size_t)i, *a = c->a + (size_t)q * (size_t)i;
    double *x = out->x + (size_t)p * (size_t)i;
    memcpy(x, X, (size_t)p * sizeof(double));
    for (int f = 0; f < c->n_factor && !w->apart; f++) {
      const double *G = s->G + (size_t)p * (size_t)place(c, i, f);
      for (int k = c->first[f]; k < c->first[f + 1]; k++)
        for (int j = 0; j < p; j++) x[j] += a[k] * *G++;
    }
    out->centre[i] = rows->offset[i] + dot(X, s->mean, p) + general_crossed_along(c, i, s->v);
    out->variance[i] = fmax(c->spread[i], 0.0) + fmax(la_quadratic(s->V, x, p), 0.0);
  }
}

/* E v v' = C + m m' + G V G' summed over the levels of each factor, to that of u = L v. */
static void add_second(const vb_work *w, vb_state *s) {
  const general_crossed *c = w->general.crossed;
  const int p = w->general.par.p, q = w->general.par.q;
  const double *L = w->general.L;
  double of_v[GENERAL_MAX_TERMS * GENERAL_MAX_TERMS] = {0};
  double half[GENERAL_MAX_TERMS * GENERAL_MAX_TERMS];
  for (int f = 0; f < c->n_factor; f++) {
    const int first = c->first[f], k = c->first[f + 1] - first;
    for (int g = 0; g < c->n_unit[f]; g++) {
      int ld;
      const int node = c->first_node[f] + g, at = c->H.place[node];
      const double *Z = c->H.Z + blocked_diagonal(&c->H, node, &ld);
      for (int a = 0; a < k; a++)
        for (int b = 0; b < k; b++) {
          const double *Ga = s->G + (size_t)p * (size_t)(at + a);
          const double *Gb = s->G + (size_t)p * (size_t)(at + b);
          double sum = Z[(size_t)larger(a, b) + (size_t)ld * (size_t)smaller(a, b)] +
                       s->v[at + a] * s->v[at + b];
          for (int j = 0; j < p && !w->apart; j++) sum += Ga[j] * dot(s->V + p * j, Gb, p);
          of_v[first + a + q * (first + b)] += sum;
        }
    }
  }
  la_multiply(L, of_v, q, q, q, half);
  la_multiply_t(half, L, q, q, q, s->second);
}

/* Slopes by the means, the best weights, the step, and how far it is. */
static void make_step(vb_work *w, vb_state *s) {
  general_crossed *c = w->general.crossed;
  const general_rows *rows = &w->general.rows;
  const int p = rows->p;
  const vb_crossed *of = w->crossed;
  double *d1 = c->x; /* of the rows */
  s->change = 0.0;
  memcpy(s->slope, of->tilt, (size_t)p * sizeof(double));
  for (int i = 0; i < rows->n; i++) {
    const double *X = rows->X + (size_t)p * (size_t)i;
    d1[i] = of->row[i].d1;
    s->best[i] = -2.0 * of->row[i].d2;
    const double move = (s->best[i] - s->weight[i]) * of->variance[i];
    s->change += 0.25 * move * move;
    for (int j = 0; j < p; j++) s->slope[j] += d1[i] * X[j];
  }
  for (int j = 0; j < p; j++)
    for (int k = 0; k < p; k++) s->slope[j] -= w->P[j + p * k] * (s->mean[k] - w->P_mean[k]);
  for (int r = 0; r < c->n; r++) s->slope_v[r] = -s->v[r];
  general_crossed_add_rows(c, rows->n, d1, s->slope_v);
  /* Beta: V (slope + G' slope_v); v: K^{-1} slope_v + G step. */
  double *pulled = of->half;
  memcpy(pulled, s->slope, (size_t)p * sizeof(double));
  for (int r = 0; r < c->n; r++)
    for (int j = 0; j < p; j++)
      pulled[j] += s->G[(size_t)p * (size_t)r + (size_t)j] * s->slope_v[r];
  for (int j = 0; j < p; j++) s->step[j] = dot(s->V + p * j, pulled, p);
  memcpy(s->step_v, s->slope_v, (size_t)c->n * sizeof(double));
  general_crossed_solve(c, 1, s->step_v);
  s->change += dot(s->step_v, s->slope_v, c->n) + dot(s->step, pulled, p);
  for (int r = 0; r < c->n; r++) s->step_v[r] += dot(s->G + (size_t)p * (size_t)r, s->step, p);
}

static elbo_status examine(vb_work *w, vb_state *s) {
  general_crossed *c = w->general.crossed;
  const general_rows *rows = &w->general.rows;
  const int p = rows->p;
  double scales;
  elbo_status status = make_precision(w, s);
  if (status != ELBO_OK) return status;
  general_crossed_invert(c, rows->n);
  make_predictors(w, s);
  vb_rows(rows, &w->general.par.response, &w->rule, 0, rows->n, w->crossed->centre,
          w->crossed->variance, w->space, w->crossed->row);
  w->general.evaluations++;
  /* Entropy of u: that of v and log |L| of every level. */
  s->value = w->prior_constant + 0.5 * (s->log_det - c->log_det);
  s->value += dot(w->crossed->tilt, s->mean, p);
  for (int k = 0; k < rows->q; k++)
    s->value += vb_units(w, k) * log(fabs(w->general.L[k * (rows->q + 1)]));
  for (int i = 0; i < rows->n; i++) s->value += w->crossed->row[i].value;
  for (int j = 0; j < p; j++) {
    const double d = s->mean[j] - w->P_mean[j];
    for (int k = 0; k < p; k++)
      s->value -= 0.5 * w->P[j + p * k] * (s->V[j + p * k] + d * (s->mean[k] - w->P_mean[k]));
  }
  add_second(w, s);
  status = vb_scales_value(w, s->second, &scales);
  s->total = s->value + scales;
  if (status != ELBO_OK || !isfinite(s->total)) return ELBO_E_NOT_FINITE;
  make_step(w, s);
  return ELBO_OK;
}

/* ---- the climb ------------------------------------------------------------------------------- */

/* What others read of q. */
static void show(vb_work *w) {
  const vb_state *s = &w->crossed->at;
  w->q.mean = s->mean;
  w->q.V = s->V;
  w->q.at.second = s->second;
  w->q.value = s->value;
  w->q.total = s->total;
  w->q.change = s->change;
}

static elbo_status here(vb_work *w) {
  const general_point at = {w->general.theta, w->general.L, &w->general.par.response};
  general_crossed_roots(w->general.crossed, &w->general.rows, &at);
  const elbo_status status = examine(w, &w->crossed->at);
  show(w);
  return status;
}

static elbo_status try_step(vb_work *w, double length) {
  const vb_state *from = &w->crossed->at;
  vb_state *to = &w->crossed->trial;
  for (int j = 0; j < w->general.par.p; j++) to->mean[j] = from->mean[j] + length * from->step[j];
  for (int r = 0; r < w->general.crossed->n; r++) to->v[r] = from->v[r] + length * from->step_v[r];
  for (int i = 0; i < w->general.rows.n; i++)
    to->weight[i] = from->weight[i] + length * (from->best[i] - from->weight[i]);
  const elbo_status status = examine(w, to);
  w->trial.total = to->total;
  return status;
}

static void accept(vb_work *w) {
  const vb_state at = w->crossed->at;
  w->crossed->at = w->crossed->trial;
  w->crossed->trial = at;
  show(w);
}

/* The rows have the curvature of even odds. */
static elbo_status start(vb_work *w) {
  vb_state *s = &w->crossed->at;
  memcpy(s->mean, w->general.theta, (size_t)w->general.par.p * sizeof(double));
  memset(s->v, 0, (size_t)w->general.crossed->n * sizeof(double));
  for (int i = 0; i < w->general.rows.n; i++) s->weight[i] = 0.25;
  w->started = 1;
  return ELBO_OK;
}

const vb_steps vb_crossed_steps = {start, here, try_step, accept};

void vb_crossed_turn(vb_work *w, const double *L) {
  const general_crossed *c = w->general.crossed;
  const int q = w->general.par.q;
  for (int f = 0; f < c->n_factor; f++)
    for (int a = c->first[f]; a < c->first[f + 1]; a++) {
      if (L[a * (q + 1)] * w->general.L[a * (q + 1)] >= 0.0) continue;
      for (int g = 0; g < c->n_unit[f]; g++) {
        double *v = w->crossed->at.v + c->H.place[c->first_node[f] + g] + a - c->first[f];
        *v = -*v;
      }
    }
  w->best = 0;
}

void vb_crossed_means(const vb_work *w, double *u) {
  const general_crossed *c = w->general.crossed;
  const int q = w->general.par.q;
  for (int f = 0; f < c->n_factor; f++)
    for (int g = 0; g < c->n_unit[f]; g++) {
      const double *v = w->crossed->at.v + c->H.place[c->first_node[f] + g];
      for (int a = c->first[f]; a < c->first[f + 1]; a++) {
        *u = 0.0;
        for (int b = c->first[f]; b <= a; b++) *u += w->general.L[a + q * b] * v[b - c->first[f]];
        u++;
      }
    }
}

void vb_crossed_level(const vb_work *w, int f, int g, double *mean, double *cov, double *gain) {
  const general_crossed *c = w->general.crossed;
  const vb_state *s = &w->crossed->at;
  const int first = c->first[f], k = c->first[f + 1] - first, p = w->general.par.p;
  const int q = w->general.par.q, at = c->H.place[c->first_node[f] + g];
  double v[GENERAL_MAX_TERMS], C[GENERAL_MAX_TERMS * GENERAL_MAX_TERMS];
  double L[GENERAL_MAX_TERMS * GENERAL_MAX_TERMS], half[GENERAL_MAX_TERMS * GENERAL_MAX_TERMS];
  general_crossed_level(c, f, g, v, C);
  for (int a = 0; a < k; a++)
    for (int b = 0; b < k; b++) L[a + k * b] = w->general.L[first + a + q * (first + b)];
  la_multiply(L, s->v + at, k, k, 1, mean);
  la_multiply(L, C, k, k, k, half);
  la_multiply_t(half, L, k, k, k, cov);
  for (int a = 0; a < k; a++)
    for (int j = 0; j < p; j++) {
      gain[a + k * j] = 0.0;
      for (int b = 0; b <= a && !w->apart; b++)
        gain[a + k * j] += L[a + k * b] * s->G[(size_t)p * (size_t)(at + b) + (size_t)j];
    }
}
