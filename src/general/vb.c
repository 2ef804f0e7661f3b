/* Variational Bayes of a generalised mixed model: what the engine sees, and the climb. */
#include "general/vb.h"

#include <math.h>
#include <string.h>

#include "general/fit.h"
#include "general/parameters.h"
#include "general/vb_crossed.h"
#include "general/vb_groups.h"
#include "general/vb_hessian.h"
#include "general/vb_rows.h"
#include "general/vb_scales.h"
#include "math/la.h"
#include "math/simd.h"
#include "math/small.h"

/* ---- set-up ---------------------------------------------------------------------------------- */

/* The normal prior of beta in coordinates R beta: precision and mean; and all that is constant. */
static void set_prior(vb_work *w, const elbo_memory *mem) {
  const general_parameters *par = &w->general.par;
  const general_prior *prior = &w->prior;
  const int p = par->p;
  double *inverse = elbo_doubles(mem, square(larger(p, 1)));
  w->P = elbo_doubles(mem, square(larger(p, 1)));
  w->P_mean = elbo_doubles(mem, (size_t)p + 1);
  memset(w->P, 0, square(p) * sizeof(double));
  memset(inverse, 0, square(p) * sizeof(double));
  w->prior_constant = w->general.constant;
  for (int k = 0; k < p; k++)
    for (int j = k; j >= 0; j--) {
      double rest = j == k ? 1.0 : 0.0;
      for (int l = j + 1; l <= k; l++) rest -= par->R[j + p * l] * inverse[l + p * k];
      inverse[j + p * k] = rest / par->R[j + p * j];
    }
  for (int j = 0; j < p; j++) {
    const double sd = prior->beta_sd[j];
    w->P_mean[j] = 0.0;
    for (int k = j; k < p; k++) w->P_mean[j] += par->R[j + p * k] * prior->beta_mean[k];
    /* The entropy of beta is that of R beta less log |R|. */
    w->prior_constant += 0.5 * (1.0 + LOG_2PI) - log(fabs(par->R[j + p * j]));
    if (!isfinite(sd)) continue;
    w->prior_constant -= 0.5 * LOG_2PI + log(sd);
    for (int a = 0; a < p; a++)
      for (int b = 0; b < p; b++)
        w->P[a + p * b] += inverse[j + p * a] * inverse[j + p * b] / (sd * sd);
  }
  /* E log p(u) and the entropy: 2 pi cancels; u is scaled here. */
  for (int k = 0; k < par->q; k++)
    w->prior_constant += vb_units(w, k) * (0.5 + log(par->z_scale[k]));
}

elbo_status vb_init(vb_work *w, const general_input *in, const general_prior *prior, int apart,
                    int threads, const elbo_memory *mem) {
  memset(w, 0, sizeof *w);
  w->prior = *prior;
  w->apart = apart;
  const elbo_status status = general_work_init(&w->general, in, threads, mem);
  if (status != ELBO_OK && status != ELBO_E_RANK) return status;
  set_prior(w, mem);
  w->S_inverse = elbo_doubles(mem, square(larger(in->q, 1)));
  w->differences = elbo_doubles(mem, 3 * (size_t)vb_n_state(w) + 1);
  if (w->general.crossed) {
    vb_crossed_init(w, mem);
  } else {
    vb_groups_init(w, mem);
    vb_hessian_init(w, mem);
  }
  w->space = mem->get(mem->ctx, (size_t)w->general.threads * sizeof *w->space);
  return status;
}

elbo_status vb_set_nodes(vb_work *w, int each) {
  const elbo_memory *mem = w->general.mem;
  const elbo_status status = vb_rule_init(&w->rule, each, mem);
  for (int k = 0; k < w->general.threads; k++) vb_row_space_init(w->space + k, &w->rule, mem);
  w->best = 0;
  return status;
}

/* ---- the table ------------------------------------------------------------------------------- */

enum { FEW_STEPS = 3, MOST_STEPS = 500, MOST_HALVINGS = 60 };

static const vb_steps *steps_of(const vb_work *w) {
  return w->crossed ? &vb_crossed_steps : &vb_groups_steps;
}

static elbo_status here(vb_work *w) { return steps_of(w)->here(w); }

/* Until what is to be gained is rounding: the distance to the best falls by a factor each step, and
 * once it is small no longer. */
static const double ENOUGH = 1e-22, SMALL = 1e-11;

/* Towards the best q at the present S, by at most that many steps; w->best says whether it is
 * there. */
static elbo_status climb(vb_work *w, int most) {
  const vb_steps *of = steps_of(w);
  elbo_status status = ELBO_OK;
  double before = HUGE_VAL;
  if (w->best) return ELBO_OK;
  if (!w->started) status = of->start(w);
  if (status == ELBO_OK) status = vb_scales_inverse(w, w->S_inverse, &w->log_det_S);
  if (status == ELBO_OK) status = of->here(w);
  for (int n = 0; n <= most && status == ELBO_OK; n++) {
    const double change = w->q.change, total = w->q.total;
    const double silent = change < SMALL ? 1e-12 * (1.0 + fabs(total)) : 0.0;
    if (!isfinite(change)) return ELBO_E_NOT_FINITE;
    w->best = change < ENOUGH || (change < SMALL && change > 0.5 * before);
    if (w->best || n == most) return ELBO_OK;
    before = change;
    double length = 1.0;
    int h = 0;
    for (; h < MOST_HALVINGS; h++, length *= 0.5)
      if (of->try_step(w, length) == ELBO_OK && w->trial.total >= total - silent) break;
    w->best = h == MOST_HALVINGS;
    if (w->best) return of->here(w); /* what a trial has overwritten */
    of->accept(w);
  }
  return status;
}

/* Better, not best: what follows is a coordinate step. Of several factors q is known by weights of
 * the rows, which at another S are another q: it has to be the best before it is compared. */
static elbo_status e_step(void *work) {
  vb_work *w = work;
  return climb(w, w->crossed ? MOST_STEPS : FEW_STEPS);
}

static elbo_status m_step(void *work) {
  vb_work *w = work;
  w->best = 0;
  return vb_scales_step(w, w->q.at.second);
}

static elbo_status elbo(void *work, double *value) {
  vb_work *w = work;
  double scales;
  const elbo_status status = vb_scales_value(w, w->q.at.second, &scales);
  *value = w->q.value + scales;
  return status;
}

static elbo_status profile(void *work, double *value) {
  const elbo_status status = climb(work, MOST_STEPS);
  return status == ELBO_OK ? elbo(work, value) : status;
}

static elbo_status gradient(void *work, double *out) {
  vb_work *w = work;
  const elbo_status status = climb(work, MOST_STEPS);
  return status == ELBO_OK ? vb_scales_slopes(w, w->q.at.second, out, NULL) : status;
}

void vb_row_variances(vb_work *w, double *out) {
  const general_rows *rows = &w->general.rows;
  if (w->crossed) {
    here(w);
    for (int i = 0; i < rows->n; i++) out[rows->row[i]] = w->crossed->variance[i];
    return;
  }
  double *x = w->group_space[0], mean;
  for (int g = 0; g < rows->m; g++)
    for (int i = rows->first[g]; i < rows->first[g + 1]; i++)
      vb_predictor(w, &w->q, g, i, x, &mean, out + rows->row[i]);
}

/* ---- by differences, of several factors ------------------------------------------------------ */

int vb_n_state(const vb_work *w) {
  return w->general.par.n_eta + w->general.par.p + (w->general.crossed ? w->general.crossed->n : 0);
}

/* The slope by eta, the mean of beta and those of u, q at its best. */
static elbo_status state_of(vb_work *w, double *out) {
  const int n_eta = w->general.par.n_eta, p = w->general.par.p;
  w->best = 0;
  const elbo_status status = gradient(w, out);
  if (status != ELBO_OK) return status;
  memcpy(out + n_eta, w->q.mean, (size_t)p * sizeof(double));
  vb_crossed_means(w, out + n_eta + p);
  return ELBO_OK;
}

/* Derivatives by what is at x, which is put back; eta: whether that is one of theta. */
static elbo_status difference(vb_work *w, double *x, double step, int eta, double *out) {
  const double from = *x;
  const int n = vb_n_state(w);
  double *side[2] = {w->differences, w->differences + n};
  elbo_status status = ELBO_OK;
  for (int k = 0; k < 2 && status == ELBO_OK; k++) {
    *x = from + (k ? -step : step);
    if (eta) status = general_set_theta(&w->general, w->general.theta);
    if (status == ELBO_OK) status = state_of(w, side[k]);
  }
  *x = from;
  w->best = 0;
  const elbo_status back = general_set_theta(&w->general, w->general.theta);
  for (int i = 0; i < n; i++)
    out[i] = status == ELBO_OK ? (side[0][i] - side[1][i]) / (2.0 * step) : NAN;
  return status == ELBO_OK ? back : status;
}

/* Of an eta, and of the standard deviation of a coefficient under q. */
static const double ETA_STEP = 3e-4, TILT_STEP = 1e-2;

elbo_status vb_difference_by_eta(vb_work *w, int k, double *out) {
  double *x = w->general.theta + w->general.par.p + k;
  return difference(w, x, ETA_STEP * fmax(fabs(*x), 0.05), 1, out);
}

elbo_status vb_difference_by_tilt(vb_work *w, int j, double *out) {
  const double sd = sqrt(w->q.V[j * (w->general.par.p + 1)]);
  return difference(w, w->crossed->tilt + j, TILT_STEP / sd, 0, out);
}

static elbo_status difference_hessian(vb_work *w, double *hessian) {
  const int n = w->general.par.n_eta;
  double *out = w->differences + 2 * vb_n_state(w);
  for (int k = 0; k < n; k++) {
    const elbo_status status = vb_difference_by_eta(w, k, out);
    if (status != ELBO_OK) return status;
    memcpy(hessian + (size_t)n * (size_t)k, out, (size_t)n * sizeof(double));
  }
  for (int j = 0; j < n; j++)
    for (int i = 0; i < j; i++)
      hessian[i + n * j] = hessian[j + n * i] = 0.5 * (hessian[i + n * j] + hessian[j + n * i]);
  return ELBO_OK;
}

static elbo_status hessian(void *work, double *value, double *slope, double *out) {
  vb_work *w = work;
  elbo_status status = ELBO_OK;
  if (w->crossed) status = difference_hessian(w, out);
  if (status == ELBO_OK) status = profile(work, value);
  if (status == ELBO_OK) status = gradient(work, slope);
  return status == ELBO_OK && !w->crossed ? vb_profile_hessian(w, out) : status;
}

static double rounding(void *work) {
  const vb_work *w = work;
  return 1e-9 * (1.0 + fabs(w->q.total)) + 2e-15 * fabs(w->general.constant);
}

static void pack(void *work, double *eta) {
  const vb_work *w = work;
  memcpy(eta, w->general.theta + w->general.par.p, (size_t)w->general.par.n_eta * sizeof(double));
}

static elbo_status unpack(void *work, const double *eta) {
  vb_work *w = work;
  memcpy(w->general.theta + w->general.par.p, eta, (size_t)w->general.par.n_eta * sizeof(double));
  w->best = 0;
  return general_set_theta(&w->general, w->general.theta);
}

static double passes(const void *work) { return ((const vb_work *)work)->general.evaluations; }

enum { EM_FIRST = 3 };

elbo_model vb_model(const vb_work *w) {
  const elbo_model model = {
      .n_eta = w->general.par.n_eta,
      .e_name = ELBO_STEP_LOCAL,
      .m_name = ELBO_STEP_GLOBAL,
      .e_step = e_step,
      .m_step = m_step,
      .elbo = elbo,
      .rounding = rounding,
      .pack = pack,
      .unpack = unpack,
      .objective = {.value = profile, .gradient = gradient, .hessian = hessian},
      .schedule = {.em_first = EM_FIRST,
                   .em_until = HUGE_VAL,
                   .second_order = ELBO_SECOND_ORDER_DENSE},
      .passes = passes,
  };
  return model;
}

/* ---- the climb ------------------------------------------------------------------------------- */

enum { FIRST_NODES = 16, MOST_NODES = 400 };

/* About 1.5 times as many, a multiple of SIMD_LANES. */
static int more_nodes(int each) {
  return (3 * each / 2 + SIMD_LANES - 1) / SIMD_LANES * SIMD_LANES;
}

static double value_moves(const vb_work *w) { return fmax(1e-8, 1e-12 * fabs(w->q.total)); }

/* Whether more nodes would move the value; they are kept where so. */
static elbo_status nodes_suffice(vb_work *w, int *suffice) {
  const vb_rule rule = w->rule;
  const double before = w->q.total;
  const int next = more_nodes(rule.each);
  *suffice = 1;
  if (w->general.par.response.expect || next > MOST_NODES) return ELBO_OK;
  elbo_status status = vb_set_nodes(w, next);
  if (status == ELBO_OK) status = here(w);
  w->accuracy = fabs(w->q.total - before);
  *suffice = w->accuracy <= value_moves(w);
  if (status != ELBO_OK || !*suffice) return status;
  w->rule = rule; /* the memory of more nodes does for fewer */
  status = here(w);
  w->best = 1;
  return status;
}

/* Of the eta that are the same S one; with several factors columns of L that turn take v along. */
static elbo_status canonical(vb_work *w, elbo_status ended) {
  const general_parameters *par = &w->general.par;
  double L[GENERAL_MAX_TERMS * GENERAL_MAX_TERMS];
  memcpy(L, w->general.L, square(par->q) * sizeof(double));
  for (int b = 0; b < par->n_block; b++)
    latent_law_canonical(par->law + b, w->general.theta + par->p + par->eta_of_block[b]);
  const elbo_status status = general_set_theta(&w->general, w->general.theta);
  if (status == ELBO_OK && w->crossed) vb_crossed_turn(w, L);
  return status == ELBO_OK ? ended : status;
}

elbo_status vb_climb(vb_work *w, int nodes, const elbo_control *control, const elbo_hooks *hooks,
                     double *memory, elbo_result *result) {
  elbo_control settings = *control;
  general_going_on rest = {hooks, 0};
  const elbo_hooks told = general_hooks_going_on(&rest);
  elbo_result before = {0};
  elbo_status status = vb_set_nodes(w, nodes > 0 ? more_nodes(2 * nodes / 3) : FIRST_NODES);
  for (int suffice = 0; !suffice && status >= 0;) {
    elbo_model model = vb_model(w);
    if (rest.before > 0) model.schedule.em_first = 0;
    status = elbo_ascend(&model, w, &settings, &told, memory, result);
    general_add_counts(result, &before);
    before = *result;
    rest.before = result->iterations;
    settings.max_iter = larger(control->max_iter - result->iterations, 1);
    if (status != ELBO_OK || nodes > 0) break;
    const elbo_status checked = nodes_suffice(w, &suffice);
    if (checked != ELBO_OK) return checked;
  }
  return status >= 0 ? canonical(w, status) : status;
}
