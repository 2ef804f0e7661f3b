/* The state of the Gaussian mixed model: memory, priors, theta. */
#include "glmm/work.h"

#include <math.h>
#include <string.h>

#include "glmm/blocked.h"
#include "glmm/cross.h"
#include "glmm/groups.h"
#include "glmm/parameters.h"
#include "glmm/smooth.h"
#include "glmm/close.h"
#include "math/la.h"

void lmm_set_origin(lmm_work *w, const double *beta) {
  memmove(w->origin, beta, (size_t)w->stats->p * sizeof(double));
  w->solver.move(w->solver.state, w->origin);
  if (w->prior) shift_cross(w->prior->cross, w->origin, w->stats->p, w->prior_cross);
}

/* ---- set-up ---------------------------------------------------------------------------------- */

elbo_status lmm_work_init(lmm_work *w, const lmm_stats *stats, const lmm_law *law,
                          const elbo_memory *mem) {
  const int p = stats->p, p1 = p + 1, q = stats->q, n_level = stats->n_level;
  const lmm_scaling *s = &stats->scaling;
  memset(w, 0, sizeof *w);
  w->stats = stats;
  w->method = law->method;
  lmm_parameters_init(&w->par, stats, law, mem);
  if (stats->crossed)
    lmm_blocked_solver(&w->solver, stats, w->par.n_pair, mem);
  else
    lmm_groups_solver(&w->solver, stats, w->par.n_pair, mem);
  const lmm_parameters *par = &w->par;
  const int n_eta = par->n_eta;

  w->constant = stats->n * log(s->y_scale) + 0.5 * stats->log_weight;
  for (int k = 0; k < q; k++) {
    const int no_law = par->kind[k] == LATENT_ROW_NO_LAW;
    const int m = levels_of_term(w, k);
    if (w->method == LMM_JOINT && !no_law) w->constant += m * log(par->T[k + q * k]);
    if (w->method != LMM_JOINT && no_law) w->constant += m * log(par->Ti[k + q * k]);
  }
  if (integrates_beta(w))
    for (int j = 0; j < p - lmm_law_smooth_columns(law); j++)
      w->constant += log(s->x_scale[j] / s->y_scale);

  const int n_d = par->n_pair + n_level;
  w->eta = elbo_doubles(mem, (size_t)n_eta);
  w->beta = elbo_doubles(mem, (size_t)p);
  w->profile_beta = elbo_doubles(mem, (size_t)p);
  w->origin = elbo_doubles(mem, (size_t)p);
  w->summary_origin = elbo_doubles(mem, (size_t)p);
  w->delta = elbo_doubles(mem, (size_t)p);
  w->prior_cross = elbo_doubles(mem, square(p1));
  w->Sigma = elbo_doubles(mem, square(q));
  w->L = elbo_doubles(mem, square(q));
  w->variance = elbo_doubles(mem, (size_t)n_level);
  w->q = elbo_doubles(mem, w->solver.q_size);
  w->q_next = elbo_doubles(mem, w->solver.q_size);
  w->q_beta = elbo_doubles(mem, (size_t)p);
  w->q_next_beta = elbo_doubles(mem, (size_t)p);
  w->q_C = elbo_doubles(mem, square(p));
  w->q_next_C = elbo_doubles(mem, square(p));
  w->C_root = elbo_doubles(mem, square(p));
  w->second = elbo_doubles(mem, square(q));
  w->second_u = elbo_doubles(mem, square(q));
  w->root = elbo_doubles(mem, square(q));
  w->q_root = elbo_doubles(mem, square(q));
  w->q_next_root = elbo_doubles(mem, square(q));
  w->unit = elbo_doubles(mem, (size_t)q);
  for (int k = 0; k < q; k++) w->unit[k] = par->kind[k] == LATENT_ROW_NO_LAW ? 0.0 : 1.0;
  w->residual = elbo_doubles(mem, (size_t)n_level * square(p1));
  w->trace = elbo_doubles(mem, (size_t)n_level);
  w->cross = elbo_doubles(mem, square(p1));
  w->C = elbo_doubles(mem, square(p));
  w->level_cross = elbo_doubles(mem, (size_t)n_level * square(p));
  w->jacobian = elbo_doubles(mem, square(q) * (size_t)n_eta);
  w->squares = elbo_doubles(mem, (size_t)n_level);
  w->spread_eta = elbo_doubles(mem, (size_t)n_eta * square(p));
  w->cross_eta = elbo_doubles(mem, (size_t)n_eta * (size_t)p);
  w->scratch = elbo_doubles(mem, 4 * square(p1) + 8 * square(q) + la_eigen_size(q) +
                                     3 * square(n_eta) + (size_t)(n_d + 4) * (size_t)(n_eta + 1));
  w->d.gradient = elbo_doubles(mem, (size_t)n_d);
  w->d.hessian = elbo_doubles(mem, square(n_d));
  w->d.cross = elbo_doubles(mem, (size_t)n_d * (size_t)p);
  w->d.spread = elbo_doubles(mem, (size_t)n_d * square(p));
  lmm_smooth_init(w, law, mem);
  for (int j = 0; j < p; j++) w->origin[j] = 0.0;
  lmm_set_origin(w, w->origin);
  return ELBO_OK;
}

/* X'X by level, for q(beta) under the mean field. */
static void sum_levels(lmm_work *w) {
  const lmm_stats *st = w->stats;
  const int p = st->p, p1 = p + 1;
  for (int l = 0; l < st->n_level; l++) {
    double *to = w->level_cross + (size_t)l * square(p);
    memcpy(w->cross, st->within + (size_t)l * square(p1), square(p1) * sizeof(double));
    lmm_stats_add_between(st, l, w->cross);
    for (int j = 0; j < p; j++)
      for (int k = 0; k < p; k++) to[j + p * k] = w->cross[j >= k ? j + p1 * k : k + p1 * j];
  }
}

void lmm_set_prior(lmm_work *w, const lmm_prior *prior) {
  w->prior = prior;
  lmm_set_origin(w, w->origin);
  w->constant += prior->constant;
  if (w->solver.separate) w->solver.separate(w->solver.state, prior->by_factor);
  if (prior->mean_field) sum_levels(w);
}

/* ---- theta ----------------------------------------------------------------------------------- */

void lmm_set_root(lmm_work *w) {
  const int q = w->stats->q;
  memcpy(w->root, w->L, square(q) * sizeof(double));
  for (int k = 0; k < w->par.n_no_law; k++) w->root[w->par.no_law[k] * (q + 1)] = 1.0;
}

void lmm_set_eta(lmm_work *w) {
  /* In units of the residual sd less than this changes no digit of the objective. */
  enum { NOTHING_EXPONENT = -30 };
  double residual = HUGE_VAL;
  if (w->method != LMM_VB) {
    for (int l = 0; l < w->par.n_level; l++) {
      const int at = w->par.eta_of_sigma[l];
      residual = fmin(residual, at < 0 ? w->par.sigma[l] : exp(w->eta[at]));
    }
    lmm_parameters_round(&w->par, scalbn(residual, NOTHING_EXPONENT), w->eta);
  }
  lmm_parameters_unpack(&w->par, w->eta, w->L, w->Sigma, w->variance);
  lmm_set_root(w);
  if (has_smooth(w)) lmm_smooth_unpack(w);
  w->q_next_valid = w->q_is_exact = w->evidence_valid = 0;
}

void lmm_canonical(lmm_work *w) {
  lmm_parameters_canonical(&w->par, w->variance, w->eta);
  for (int k = 0; k < w->par.n_smooth; k++) {
    double *sd = w->eta + w->par.n_eta - 1 - k;
    *sd = fabs(*sd);
  }
  lmm_set_eta(w);
}
