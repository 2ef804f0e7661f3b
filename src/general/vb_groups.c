/* q(beta, u) of one grouping factor at its best, given S: Newton's method for the mean, and the
 * precision as the rows' curvatures under q have it (a natural gradient step of length one), both
 * shortened where the ELBO would not rise. */
#include "general/vb_groups.h"

#include <math.h>
#include <string.h>

#include "general/vb_rows.h"
#include "general/vb_scales.h"
#include "math/la.h"
#include "math/small.h"
#include "math/threads.h"

enum { CHUNK = 64 };

/* ---- memory ---------------------------------------------------------------------------------- */

static void find_places(vb_places *at, int p, int q) {
  const int qq = q * q, qp = q * p;
  at->mean = 0;
  at->slope = q;
  at->K = 2 * q;
  at->C = at->K + qq;
  at->best_K = at->C + qq;
  at->best_C = at->best_K + qq;
  at->B = at->best_C + qq;
  at->G = at->B + qp;
  at->best_B = at->G + qp;
  at->best_G = at->best_B + qp;
  at->stride = at->best_G + qp;
}

static void sums_init(vb_sums *s, int p, int q, const elbo_memory *mem) {
  s->D = elbo_doubles(mem, square(larger(p, 1)));
  s->schur = elbo_doubles(mem, square(larger(p, 1)));
  s->slope = elbo_doubles(mem, (size_t)larger(p, 1));
  s->pull = elbo_doubles(mem, (size_t)larger(p, 1));
  s->second = elbo_doubles(mem, square(larger(q, 1)));
}

static void sums_clear(vb_sums *s, int p, int q) {
  s->value = s->change = 0.0;
  memset(s->D, 0, square(p) * sizeof(double));
  memset(s->schur, 0, square(p) * sizeof(double));
  memset(s->slope, 0, (size_t)p * sizeof(double));
  memset(s->pull, 0, (size_t)p * sizeof(double));
  memset(s->second, 0, square(q) * sizeof(double));
}

static void sums_add(vb_sums *to, const vb_sums *from, int p, int q) {
  to->value += from->value;
  to->change += from->change;
  add_to(to->D, from->D, square(p));
  add_to(to->schur, from->schur, square(p));
  add_to(to->slope, from->slope, (size_t)p);
  add_to(to->pull, from->pull, (size_t)p);
  add_to(to->second, from->second, square(q));
}

static void normal_init(vb_work *w, vb_normal *q, const elbo_memory *mem) {
  const int p = larger(w->general.par.p, 1);
  const size_t n = (size_t)w->general.rows.m * (size_t)w->place.stride;
  double **matrix[] = {&q->V, &q->D, &q->best_D, &q->precision};
  q->groups = elbo_doubles(mem, n + 1);
  memset(q->groups, 0, n * sizeof(double));
  for (int k = 0; k < 4; k++) *matrix[k] = elbo_doubles(mem, square(p));
  q->mean = elbo_doubles(mem, (size_t)p);
  q->step = elbo_doubles(mem, (size_t)p);
  sums_init(&q->at, p, w->general.par.q, mem);
}

void vb_groups_init(vb_work *w, const elbo_memory *mem) {
  const int p = w->general.par.p, q = w->general.par.q;
  find_places(&w->place, p, q);
  normal_init(w, &w->q, mem);
  normal_init(w, &w->trial, mem);
  w->beta_space = elbo_doubles(mem, 2 * square(p) + (size_t)p + 1);
  w->of_slot = mem->get(mem->ctx, (size_t)w->general.n_slot * sizeof *w->of_slot);
  for (int k = 0; k < w->general.n_slot; k++) sums_init(w->of_slot + k, p, q, mem);
  w->group_space = mem->get(mem->ctx, (size_t)w->general.threads * sizeof *w->group_space);
  for (int k = 0; k < w->general.threads; k++)
    w->group_space[k] = elbo_doubles(mem, (size_t)(2 * p + q + 1) + 2 * CHUNK);
}

/* ---- one group ------------------------------------------------------------------------------- */

/* C = K^{-1}, G = -C B. */
static elbo_status conditional(const double *K, const double *B, int q, int p, double *C,
                               double *G) {
  memcpy(C, K, square(q) * sizeof(double));
  if (q == 0) return ELBO_OK;
  if (la_chol(C, q) != ELBO_OK || la_inverse_from_chol(C, q) != ELBO_OK) return ELBO_E_NOT_PD;
  la_multiply(C, B, q, q, p, G);
  for (int e = 0; e < q * p; e++) G[e] = -G[e];
  return ELBO_OK;
}

/* out -= B' G: of G = -C B, B' C B. */
static void subtract_product(const double *B, const double *G, int q, int p, double *out) {
  for (int j = 0; j < p; j++)
    for (int i = 0; i < p; i++) out[i + p * j] -= dot(B + q * i, G + q * j, q);
}

void vb_predictor(const vb_work *w, const vb_normal *q, int g, int i, double *x, double *mean,
                  double *variance) {
  const general_rows *rows = &w->general.rows;
  const int p = rows->p, n = rows->q;
  const double *X = rows->X + (size_t)p * (size_t)i, *Z = rows->Z + (size_t)n * (size_t)i;
  const double *m = vb_part(w, q, g, w->place.mean), *G = vb_part(w, q, g, w->place.G);
  const double *C = vb_part(w, q, g, w->place.C);
  for (int j = 0; j < p; j++) x[j] = X[j] + (w->apart ? 0.0 : dot(G + n * j, Z, n));
  *mean = rows->offset[i] + dot(X, q->mean, p) + dot(Z, m, n);
  *variance = fmax(la_quadratic(q->V, x, p), 0.0) + fmax(la_quadratic(C, Z, n), 0.0);
}

/* The group at `length` of the step from q, without what depends on V. */
static elbo_status step_group(vb_work *w, int g, double length) {
  const int p = w->general.par.p, q = w->general.par.q;
  const vb_places *at = &w->place;
  const double *from = vb_part(w, &w->q, g, 0);
  double *to = vb_part(w, &w->trial, g, 0);
  for (int r = 0; r < q; r++) {
    double move = 0.0;
    for (int c = 0; c < q; c++) move += from[at->best_C + r + q * c] * from[at->slope + c];
    for (int j = 0; j < p; j++) move += from[at->best_G + r + q * j] * w->q.step[j];
    to[at->mean + r] = from[at->mean + r] + length * move;
  }
  for (int e = 0; e < q * q; e++)
    to[at->K + e] = from[at->K + e] + length * (from[at->best_K + e] - from[at->K + e]);
  for (int e = 0; e < q * p; e++)
    to[at->B + e] = from[at->B + e] + length * (from[at->best_B + e] - from[at->B + e]);
  return conditional(to + at->K, to + at->B, q, p, to + at->C, to + at->G);
}

/* Rows from .. from + n - 1 of the group: to K, B, slope of the group and D, slope of beta. */
static void add_rows(const vb_work *w, const vb_normal *q, int g, int from, int n,
                     const vb_row *row, vb_sums *sums) {
  const general_rows *rows = &w->general.rows;
  const int p = rows->p, k = rows->q;
  double *K = vb_part(w, q, g, w->place.best_K), *B = vb_part(w, q, g, w->place.best_B);
  double *slope = vb_part(w, q, g, w->place.slope);
  for (int i = 0; i < n; i++) {
    const double *X = rows->X + (size_t)p * (size_t)(from + i);
    const double *Z = rows->Z + (size_t)k * (size_t)(from + i);
    const double weight = -2.0 * row[i].d2;
    sums->value += row[i].value;
    for (int c = 0; c < k; c++) {
      const double wz = weight * Z[c];
      slope[c] += row[i].d1 * Z[c];
      for (int d = 0; d < k; d++) K[d + k * c] += wz * Z[d];
      for (int j = 0; j < p; j++) B[c + k * j] += wz * X[j];
    }
    for (int j = 0; j < p; j++) {
      sums->slope[j] += row[i].d1 * X[j];
      for (int l = j; l < p; l++) sums->D[l + p * j] += weight * X[j] * X[l];
    }
  }
}

/* E u u' = C + m m' + G V G'. */
static void add_second(const vb_work *w, const vb_normal *q, const double *x, double *second) {
  const int p = w->general.par.p, k = w->general.par.q;
  const vb_places *at = &w->place;
  for (int a = 0; a < k; a++)
    for (int b = 0; b < k; b++) {
      double spread = 0.0;
      for (int i = 0; i < p && !w->apart; i++)
        for (int j = 0; j < p; j++)
          spread += x[at->G + a + k * i] * q->V[i + p * j] * x[at->G + b + k * j];
      second[a + k * b] += x[at->C + a + k * b] + x[at->mean + a] * x[at->mean + b] + spread;
    }
}

/* How far the precision is from the best: tr((C (K' - K))^2) / 4 + tr(C E V E') / 2, E = K' G + B',
 * which is zero where G is the best. */
static double distance(const vb_work *w, const vb_normal *q, const double *x) {
  const int p = w->general.par.p, k = w->general.par.q;
  const vb_places *at = &w->place;
  double move[GENERAL_MAX_TERMS * GENERAL_MAX_TERMS], sum = 0.0;
  for (int a = 0; a < k; a++)
    for (int b = 0; b < k; b++) {
      move[a + k * b] = 0.0;
      for (int c = 0; c < k; c++)
        move[a + k * b] +=
            x[at->C + a + k * c] * (x[at->best_K + c + k * b] - x[at->K + c + k * b]);
    }
  for (int a = 0; a < k; a++)
    for (int b = 0; b < k; b++) sum += 0.25 * move[a + k * b] * move[b + k * a];
  for (int j = 0; j < p && !w->apart; j++) {
    double E[GENERAL_MAX_TERMS];
    for (int a = 0; a < k; a++)
      E[a] = x[at->best_B + a + k * j] + dot(x + at->best_K + k * a, x + at->G + k * j, k);
    sum += 0.5 * q->V[j + p * j] * la_quadratic(x + at->C, E, k);
  }
  return sum;
}

/* What the prior of u and the entropy have of the group, and how far it is from the best. */
static elbo_status close_group(vb_work *w, vb_normal *q, int g, vb_sums *sums) {
  const int p = w->general.par.p, k = w->general.par.q;
  const vb_places *at = &w->place;
  double *x = vb_part(w, q, g, 0), root[GENERAL_MAX_TERMS * GENERAL_MAX_TERMS];
  memcpy(root, x + at->K, square(k) * sizeof(double));
  if (k > 0 && la_chol(root, k) != ELBO_OK) return ELBO_E_NOT_PD;
  if (k > 0) sums->value -= 0.5 * la_log_det_from_chol(root, k);
  add_second(w, q, x, sums->second);
  for (int a = 0; a < k; a++)
    for (int b = 0; b < k; b++) {
      x[at->slope + a] -= w->S_inverse[a + k * b] * x[at->mean + b];
      x[at->best_K + a + k * b] += w->S_inverse[a + k * b];
    }
  const elbo_status status =
      conditional(x + at->best_K, x + at->best_B, k, p, x + at->best_C, x + at->best_G);
  subtract_product(x + at->best_B, x + at->best_G, k, p, sums->schur);
  for (int j = 0; j < p; j++) sums->pull[j] += dot(x + at->best_G + k * j, x + at->slope, k);
  sums->change += la_quadratic(x + at->best_C, x + at->slope, k) + distance(w, q, x);
  return status;
}

/* Rows of group g of q, whose C, G and V are known: its slope and the best K, B, C, G. */
static elbo_status examine_group(vb_work *w, vb_normal *q, int g, vb_sums *sums) {
  const general_rows *rows = &w->general.rows;
  const int p = rows->p, k = rows->q, thread = threads_this();
  double *x = w->group_space[thread], *mean = x + p, *variance = mean + CHUNK;
  vb_row row[CHUNK];
  memset(vb_part(w, q, g, w->place.slope), 0, (size_t)k * sizeof(double));
  memset(vb_part(w, q, g, w->place.best_K), 0, square(k) * sizeof(double));
  memset(vb_part(w, q, g, w->place.best_B), 0, (size_t)(k * p) * sizeof(double));
  for (int from = rows->first[g]; from < rows->first[g + 1]; from += CHUNK) {
    const int n = smaller(CHUNK, rows->first[g + 1] - from);
    for (int i = 0; i < n; i++) vb_predictor(w, q, g, from + i, x, mean + i, variance + i);
    vb_rows(rows, &w->general.par.response, &w->rule, from, n, mean, variance, w->space + thread,
            row);
    add_rows(w, q, g, from, n, row, sums);
  }
  return close_group(w, q, g, sums);
}

/* ---- all groups ------------------------------------------------------------------------------ */

typedef elbo_status on_group(vb_work *w, vb_normal *q, int g, double length, vb_sums *sums);

static elbo_status over_groups(vb_work *w, vb_normal *q, double length, on_group *of) {
  const int p = w->general.par.p, k = w->general.par.q;
  int worst = ELBO_OK;
#pragma omp parallel for num_threads(w->general.threads) schedule(dynamic) reduction(min : worst)
  for (int slot = 0; slot < w->general.n_slot; slot++) {
    sums_clear(w->of_slot + slot, p, k);
    for (int g = w->general.slot[slot]; g < w->general.slot[slot + 1]; g++) {
      const elbo_status status = of(w, q, g, length, w->of_slot + slot);
      worst = smaller(worst, status);
      if (status != ELBO_OK) break;
    }
  }
  sums_clear(&q->at, p, k);
  for (int slot = 0; slot < w->general.n_slot; slot++) sums_add(&q->at, w->of_slot + slot, p, k);
  return (elbo_status)worst;
}

static elbo_status move_group(vb_work *w, vb_normal *q, int g, double length, vb_sums *sums) {
  const int p = w->general.par.p, k = w->general.par.q;
  const elbo_status status = step_group(w, g, length);
  subtract_product(vb_part(w, q, g, w->place.B), vb_part(w, q, g, w->place.G), k, p, sums->schur);
  return status;
}

static elbo_status sum_schur(vb_work *w, vb_normal *q, int g, double length, vb_sums *sums) {
  (void)length;
  subtract_product(vb_part(w, q, g, w->place.B), vb_part(w, q, g, w->place.G), w->general.par.q,
                   w->general.par.p, sums->schur);
  return ELBO_OK;
}

static elbo_status look_at_group(vb_work *w, vb_normal *q, int g, double length, vb_sums *sums) {
  (void)length;
  return examine_group(w, q, g, sums);
}

/* Log density of beta and its entropy, and of the latter that of u given beta. */
static double value_of_beta(const vb_work *w, const vb_normal *q) {
  const general_parameters *par = &w->general.par;
  const int p = par->p;
  double value = w->prior_constant + 0.5 * q->log_det;
  for (int j = 0; j < p; j++) {
    const double d = q->mean[j] - w->P_mean[j];
    for (int k = 0; k < p; k++)
      value -= 0.5 * w->P[j + p * k] * (q->V[j + p * k] + d * (q->mean[k] - w->P_mean[k]));
  }
  return value;
}

/* The step of beta, and how far its mean and precision are from the best. */
static elbo_status step_beta(vb_work *w, vb_normal *q) {
  const int p = w->general.par.p;
  double *A = w->beta_space, *move = A + square(p), *slope = move + square(p);
  q->change = q->at.change;
  if (p == 0) return ELBO_OK;
  for (int j = 0; j < p; j++) {
    slope[j] = q->at.slope[j] + q->at.pull[j];
    for (int k = 0; k < p; k++) slope[j] -= w->P[j + p * k] * (q->mean[k] - w->P_mean[k]);
  }
  for (int e = 0; e < p * p; e++) {
    A[e] = q->best_D[e] - (w->apart ? 0.0 : q->at.schur[e]) - q->precision[e];
  }
  la_multiply(q->V, A, p, p, p, move);
  for (int j = 0; j < p; j++)
    for (int k = 0; k < p; k++) q->change += 0.25 * move[j + p * k] * move[k + p * j];
  for (int e = 0; e < p * p; e++) A[e] = q->best_D[e] - q->at.schur[e];
  if (la_chol(A, p) != ELBO_OK || la_inverse_from_chol(A, p) != ELBO_OK) return ELBO_E_NOT_PD;
  for (int j = 0; j < p; j++) q->step[j] = dot(A + p * j, slope, p);
  q->change += dot(q->step, slope, p);
  return ELBO_OK;
}

/* Value, slopes, the best precision and the step from q, whose groups, D and the mean of beta are
 * given; q->at has the sum of B' C B. */
static elbo_status examine(vb_work *w, vb_normal *q) {
  const int p = w->general.par.p;
  double scales;
  for (int e = 0; e < p * p; e++)
    q->V[e] = q->precision[e] = q->D[e] - (w->apart ? 0.0 : q->at.schur[e]);
  if (p > 0 && la_chol(q->V, p) != ELBO_OK) return ELBO_E_NOT_PD;
  q->log_det = p > 0 ? -la_log_det_from_chol(q->V, p) : 0.0;
  if (p > 0 && la_inverse_from_chol(q->V, p) != ELBO_OK) return ELBO_E_NOT_PD;
  elbo_status status = over_groups(w, q, 0.0, look_at_group);
  w->general.evaluations++;
  if (status != ELBO_OK) return status;
  q->value = q->at.value + value_of_beta(w, q);
  status = vb_scales_value(w, q->at.second, &scales);
  q->total = q->value + scales;
  if (status != ELBO_OK) return status;
  if (!isfinite(q->total)) return ELBO_E_NOT_FINITE;
  fill_upper(q->at.D, p);
  for (int e = 0; e < p * p; e++) q->best_D[e] = q->at.D[e] + w->P[e];
  return step_beta(w, q);
}

/* From w->q into w->trial. */
static elbo_status try_step(vb_work *w, double length) {
  const int p = w->general.par.p;
  vb_normal *to = &w->trial;
  for (int j = 0; j < p; j++) to->mean[j] = w->q.mean[j] + length * w->q.step[j];
  for (int e = 0; e < p * p; e++) to->D[e] = w->q.D[e] + length * (w->q.best_D[e] - w->q.D[e]);
  const elbo_status status = over_groups(w, to, length, move_group);
  return status == ELBO_OK ? examine(w, to) : status;
}

static void accept(vb_work *w) {
  const vb_normal q = w->q;
  w->q = w->trial;
  w->trial = q;
}

static elbo_status here(vb_work *w) {
  const elbo_status status = over_groups(w, &w->q, 0.0, sum_schur);
  return status == ELBO_OK ? examine(w, &w->q) : status;
}

/* u has the covariance S; the rows have the curvature of even odds. */
static elbo_status start(vb_work *w) {
  const int p = w->general.par.p, k = w->general.par.q, n = w->general.rows.n;
  elbo_status status = vb_scales_inverse(w, w->S_inverse, &w->log_det_S);
  memcpy(w->q.mean, w->general.theta, (size_t)p * sizeof(double));
  for (int e = 0; e < p * p; e++) w->q.D[e] = w->P[e];
  for (int j = 0; j < p; j++) w->q.D[j * (p + 1)] += 0.25 * n; /* X'X = n I */
  for (int g = 0; g < w->general.rows.m && status == ELBO_OK; g++) {
    double *x = vb_part(w, &w->q, g, 0);
    memset(x, 0, (size_t)w->place.stride * sizeof(double));
    memcpy(x + w->place.K, w->S_inverse, square(k) * sizeof(double));
    status = conditional(x + w->place.K, x + w->place.B, k, p, x + w->place.C, x + w->place.G);
  }
  w->started = 1;
  return status;
}

const vb_steps vb_groups_steps = {start, here, try_step, accept};
