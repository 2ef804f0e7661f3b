/* The state of a model, and sums over all groups, in a fixed order whatever the number of
 * threads. */
#include "general/sums.h"

#include <math.h>
#include <string.h>

#include "general/data.h"
#include "general/group.h"
#include "general/parameters.h"
#include "math/la.h"
#include "math/small.h"
#include "math/threads.h"

static size_t step_size(int n) { return 2 * square(n) + 6 * (size_t)n + la_eigen_size(n); }

/* ---- set-up ---------------------------------------------------------------------------------- */

static void sums_init(general_sums *s, int n, int q, const elbo_memory *mem) {
  const size_t inner = (size_t)larger(n, 1);
  s->gradient = elbo_doubles(mem, inner);
  s->score = elbo_doubles(mem, inner);
  s->complete = elbo_doubles(mem, inner * inner);
  s->spread = elbo_doubles(mem, inner * inner);
  s->second = elbo_doubles(mem, square(larger(q, 1)));
}

static void sums_clear(general_sums *s, int n, int q, general_order order) {
  s->value = 0.0;
  memset(s->second, 0, square(q) * sizeof(double));
  memset(s->gradient, 0, (size_t)n * sizeof(double));
  memset(s->score, 0, (size_t)n * sizeof(double));
  if (order < GENERAL_HESSIAN) return;
  memset(s->complete, 0, square(n) * sizeof(double));
  memset(s->spread, 0, square(n) * sizeof(double));
}

static void sums_add(general_sums *to, const general_sums *from, int n, int q,
                     general_order order) {
  to->value += from->value;
  add_to(to->second, from->second, square(q));
  add_to(to->gradient, from->gradient, (size_t)n);
  add_to(to->score, from->score, (size_t)n);
  if (order < GENERAL_HESSIAN) return;
  add_to(to->complete, from->complete, square(n));
  add_to(to->spread, from->spread, square(n));
}

/* Runs of groups with about as many rows each. */
static void make_slots(general_work *w, const elbo_memory *mem) {
  const int m = w->rows.m, n = w->rows.n;
  w->n_slot = smaller(GENERAL_SLOTS, larger(m, 1));
  w->slot = elbo_ints(mem, (size_t)w->n_slot + 1);
  w->slot[0] = 0;
  for (int k = 1, g = 0; k <= w->n_slot; k++) {
    while (g < m &&
           (k == w->n_slot || (double)w->rows.first[g] * w->n_slot < (double)n * (double)k))
      g++;
    w->slot[k] = g;
  }
}

elbo_status general_work_init(general_work *w, const general_input *in, int threads,
                              const elbo_memory *mem) {
  const size_t q = (size_t)larger(in->q, 1), m = (size_t)in->m;
  memset(w, 0, sizeof *w);
  const elbo_status ranked = general_data(in, &w->rows, mem);
  const elbo_status status = general_parameters_init(&w->par, in, &w->rows, mem);
  if (status != ELBO_OK) return status;
  w->q_par = w->par;
  w->q_par.response.natural = elbo_doubles(mem, (size_t)larger(in->n_own, 1));
  const size_t n_theta = (size_t)w->par.n_theta + 1, inner = (size_t)w->par.n_inner + 1;
  w->mem = mem;
  w->theta = elbo_doubles(mem, n_theta);
  w->q_theta = elbo_doubles(mem, n_theta);
  w->L = elbo_doubles(mem, q * q);
  w->q_L = elbo_doubles(mem, q * q);
  w->q_inverse = elbo_doubles(mem, q * q);
  w->mode = elbo_doubles(mem, m * q);
  w->q_mode = elbo_doubles(mem, m * q);
  w->scratch = elbo_doubles(mem, 4 * inner * inner + 4 * inner);
  w->difference_space = elbo_doubles(mem, 4 * n_theta);
  w->step_space = elbo_doubles(mem, step_size(w->par.n_theta));
  memset(w->mode, 0, m * q * sizeof(double));
  memset(w->theta, 0, n_theta * sizeof(double));
  make_slots(w, mem);
  w->threads = threads_for(threads, w->n_slot);
  w->of_slot = mem->get(mem->ctx, (size_t)w->n_slot * sizeof *w->of_slot);
  w->space = mem->get(mem->ctx, (size_t)w->threads * sizeof *w->space);
  for (int k = 0; k < w->n_slot; k++) sums_init(w->of_slot + k, w->par.n_inner, in->q, mem);
  sums_init(&w->at, w->par.n_inner, in->q, mem);
  sums_init(&w->other, w->par.n_inner, in->q, mem);
  w->known = GENERAL_NOTHING;
  if (in->n_factor > 1) {
    w->crossed = mem->get(mem->ctx, sizeof *w->crossed);
    general_crossed_init(w->crossed, in, &w->rows, threads, mem);
  }
  const response_rows rows = {in->n, in->y, in->size, in->weight};
  if (in->n_own == 0) w->constant = response_law_constant(&w->par.response, &rows);
  return ranked;
}

elbo_status general_set_nodes(general_work *w, int each) {
  w->known = GENERAL_NOTHING;
  if (w->crossed) {
    w->crossed->points = w->points;
    w->rule.each = each;
    return each == 1 ? ELBO_OK : ELBO_E_DIM;
  }
  const elbo_status status = general_rule_init(&w->rule, each, w->few, w->rows.q, w->mem);
  w->rule.points = w->points;
  for (int k = 0; k < w->threads; k++)
    general_space_init(w->space + k, &w->rows, w->par.n_own, &w->rule, w->mem);
  return status;
}

general_kept general_keep_nodes(general_work *w) {
  const general_kept kept = {w->rule, w->at, w->known};
  w->at = w->other;
  w->other = kept.at;
  return kept;
}

/* The space of more nodes does for fewer. */
void general_put_back_nodes(general_work *w, const general_kept *kept) {
  w->other = w->at;
  w->rule = kept->rule;
  w->at = kept->at;
  w->known = kept->known;
}

elbo_status general_set_theta(general_work *w, const double *theta) {
  if (theta != w->theta) memcpy(w->theta, theta, (size_t)w->par.n_theta * sizeof(double));
  w->known = GENERAL_NOTHING;
  w->change_known = 0;
  return general_parameters_set(&w->par, w->theta, w->L);
}

/* ---- over groups ----------------------------------------------------------------------------- */

static general_point point_of(const general_work *w) {
  const general_point at = {w->theta, w->L, &w->par.response};
  return at;
}

static elbo_status over_groups(general_work *w, const general_point *at, general_order order) {
  const int n = w->par.n_inner, q = w->rows.q;
  int worst = ELBO_OK;
#pragma omp parallel for num_threads(w->threads) schedule(dynamic) reduction(min : worst)
  for (int k = 0; k < w->n_slot; k++) {
    general_sums *sums = w->of_slot + k;
    sums_clear(sums, n, q, order);
    for (int g = w->slot[k]; g < w->slot[k + 1]; g++) {
      const elbo_status status =
          general_group(&w->rows, at, &w->rule, g, order, w->mode + (size_t)q * (size_t)g,
                        w->space + threads_this(), sums, NULL);
      worst = smaller(worst, status);
      if (status != ELBO_OK) break;
    }
  }
  for (int k = 0; k < w->n_slot; k++) sums_add(&w->at, w->of_slot + k, n, q, order);
  return (elbo_status)worst;
}

double general_noise(const general_work *w) {
  return 2e-15 * (fabs(w->constant) + fabs(w->at.value - w->constant));
}

/* Of points u = L v: minus log |det L| for every level, with its slopes; a term held at zero has no
 * law.  -log |l| is convex; but `complete` is only for steps here, and with u held, not v, the
 * density is concave in log l, near its maximum by 2 m / l^2. */
static void add_point_density(general_work *w, general_order order) {
  const int p = w->par.p, q = w->rows.q;
  for (int c = 0; c < q; c++) {
    int f = 0, b = 0;
    while (w->crossed && w->crossed->first[f + 1] <= c) f++;
    while (w->par.start[b + 1] <= c) b++;
    const double m = w->crossed ? w->crossed->n_unit[f] : w->rows.m, l = w->L[c * (q + 1)];
    const int row = w->par.law[b].row[c - w->par.start[b]], at = p + general_packed(c, c);
    if (l == 0.0 && row != LATENT_ROW_FREE) continue;
    w->at.value -= m * log(fabs(l));
    if (order == GENERAL_VALUE) continue;
    w->at.gradient[at] -= m / l;
    w->at.score[at] -= m / l;
    if (order == GENERAL_HESSIAN) w->at.complete[at + w->par.n_inner * at] -= m / (l * l);
  }
}

elbo_status general_evaluate(general_work *w, general_order order) {
  const general_point at = point_of(w);
  if (w->known >= order) return ELBO_OK;
  w->known = GENERAL_NOTHING;
  w->evaluations++;
  sums_clear(&w->at, w->par.n_inner, w->rows.q, order);
  w->at.value = w->constant;
  elbo_status status = w->crossed
                           ? general_crossed_evaluate(w->crossed, &w->rows, &at, order, &w->at)
                           : over_groups(w, &at, order);
  if (status == ELBO_OK && w->points) add_point_density(w, order);
  if (status == ELBO_OK && w->prior) {
    status = general_prior_value(w->prior, &w->par, w->theta, &w->log_prior, w->scratch);
    w->at.value += w->log_prior;
  }
  if (status == ELBO_OK && !isfinite(w->at.value)) status = ELBO_E_NOT_FINITE;
  if (status == ELBO_OK) w->known = order;
  return status;
}

elbo_status general_add_prior(general_work *w, double *gradient, double *hessian) {
  if (w->prior == NULL) return ELBO_OK;
  return general_prior_slopes(w->prior, &w->par, w->theta, gradient, hessian, w->scratch);
}

elbo_status general_derivatives(general_work *w, double *gradient, double *hessian) {
  const int n = w->par.n_inner;
  double *louis = w->scratch, *work = louis + square(n);
  const elbo_status status = general_evaluate(w, hessian ? GENERAL_HESSIAN : GENERAL_GRADIENT);
  if (status != ELBO_OK) return status;
  for (size_t e = 0; e < square(n) && hessian; e++) louis[e] = w->at.complete[e] + w->at.spread[e];
  general_chain(&w->par, w->theta, w->few ? w->at.gradient : w->at.score, gradient,
                hessian ? louis : NULL, w->at.score, hessian, work);
  return general_add_prior(w, gradient, hessian);
}

elbo_status general_group_score(general_work *w, int g, double *score) {
  const int n = w->par.n_inner, q = w->rows.q;
  const general_point at = point_of(w);
  general_sums *sums = w->of_slot;
  sums_clear(sums, n, q, GENERAL_GRADIENT);
  const elbo_status status = general_group(&w->rows, &at, &w->rule, g, GENERAL_GRADIENT,
                                           w->mode + (size_t)q * (size_t)g, w->space, sums, NULL);
  general_chain(&w->par, w->theta, sums->gradient, score, NULL, NULL, NULL, NULL);
  return status;
}

elbo_status general_group_moves(general_work *w, int g, double *mean, double *cov,
                                double *with_slope) {
  const int n = w->par.n_inner, q = w->rows.q;
  const general_point at = point_of(w);
  general_posterior posterior = {mean, cov, with_slope, 0.0};
  sums_clear(w->of_slot, n, q, GENERAL_HESSIAN);
  memset(with_slope, 0, (size_t)q * (size_t)n * sizeof(double));
  return general_group(&w->rows, &at, &w->rule, g, GENERAL_HESSIAN, w->mode + (size_t)q * (size_t)g,
                       w->space, w->of_slot, &posterior);
}

elbo_status general_posteriors(general_work *w, double *mean, double *cov, double *laplace) {
  const size_t q = (size_t)w->rows.q;
  const general_point at = point_of(w);
  int worst = ELBO_OK;
#pragma omp parallel for num_threads(w->threads) schedule(dynamic) reduction(min : worst)
  for (int k = 0; k < w->n_slot; k++) {
    double sum = 0.0;
    for (int g = w->slot[k]; g < w->slot[k + 1]; g++) {
      general_posterior posterior = {mean + q * (size_t)g, cov + q * q * (size_t)g, NULL, 0.0};
      const elbo_status status =
          general_group(&w->rows, &at, &w->rule, g, GENERAL_VALUE, w->mode + q * (size_t)g,
                        w->space + threads_this(), w->of_slot + k, &posterior);
      worst = smaller(worst, status);
      if (status != ELBO_OK) break;
      sum += posterior.laplace;
    }
    w->of_slot[k].value = sum;
  }
  *laplace = w->constant;
  for (int k = 0; k < w->n_slot; k++) *laplace += w->of_slot[k].value;
  return (elbo_status)worst;
}

elbo_status general_change(general_work *w, double *change) {
  const int q = w->rows.q;
  const general_point to = point_of(w), from = {w->q_theta, w->q_L, &w->q_par.response};
  int worst = ELBO_OK;
#pragma omp parallel for num_threads(w->threads) schedule(dynamic) reduction(min : worst)
  for (int k = 0; k < w->n_slot; k++) {
    w->of_slot[k].value = 0.0;
    for (int g = w->slot[k]; g < w->slot[k + 1]; g++) {
      double one = 0.0;
      const elbo_status status =
          general_group_change(&w->rows, &from, &to, w->q_inverse, &w->rule, g,
                               w->q_mode + (size_t)q * (size_t)g, w->space + threads_this(), &one);
      worst = smaller(worst, status);
      if (status != ELBO_OK) break;
      w->of_slot[k].value += one;
    }
  }
  *change = 0.0;
  for (int k = 0; k < w->n_slot; k++) *change += w->of_slot[k].value;
  if (worst != ELBO_OK || w->prior == NULL) return (elbo_status)worst;
  double log_prior;
  const elbo_status status =
      general_prior_value(w->prior, &w->par, w->theta, &log_prior, w->scratch);
  *change += log_prior - w->q_log_prior;
  return status;
}
