/* Starts, the number of nodes, the climb. */
#include "general/fit.h"

#include <math.h>
#include <string.h>

#include "general/em.h"
#include "general/parameters.h"
#include "math/la.h"
#include "math/small.h"

/* ---- starts ---------------------------------------------------------------------------------- */

enum { START_STEPS = 30 };

static const double START_SD = 0.5; /* of the predictor */
static const double START_GAIN = 0.1;

/* beta by least squares from what each response says by itself: columns are orthogonal. */
static void guess_beta(general_work *w) {
  const general_rows *rows = &w->rows;
  const int p = rows->p;
  for (int i = 0; i < rows->n; i++) {
    const double x =
        response_law_guess(&w->par.response, rows->y[i], rows->size[i]) - rows->offset[i];
    for (int j = 0; j < p; j++)
      w->theta[j] += x * rows->X[(size_t)i * (size_t)p + (size_t)j] / rows->n;
  }
}

/* Thresholds from the shares of the categories, a size of one. */
static void guess_own(general_work *w) {
  const int n_own = w->par.n_own, cumulative = w->par.response.family == RESPONSE_CUMULATIVE;
  double natural[RESPONSE_MAX_OWN], count[RESPONSE_MAX_OWN + 1], below = 0.0;
  for (int l = 0; l <= n_own; l++) count[l] = 0.5;
  for (int i = 0; i < w->rows.n && cumulative; i++) count[(int)w->rows.y[i]] += 1.0;
  const double total = w->rows.n + 0.5 * (n_own + 1);
  const double unit = w->par.response.link == RESPONSE_PROBIT ? 1.7 : 1.0;
  for (int l = 0; l < n_own; l++) {
    below += count[l];
    natural[l] = cumulative ? log(below / (total - below)) / unit : 1.0;
  }
  response_law_psi(&w->par.response, natural, w->theta + w->par.p + w->par.n_eta);
}

/* From beta and psi guessed, without random effects, by a few steps. */
static elbo_status climb_alone(general_work *w) {
  double before = -HUGE_VAL, value;
  w->few = 1; /* one node is all there is */
  elbo_status status = general_set_nodes(w, 1);
  if (status == ELBO_OK) status = general_set_theta(w, w->theta);
  if (status == ELBO_OK) status = general_log_evidence(w, &value);
  for (int n = 0; n < START_STEPS && status == ELBO_OK && value - before > START_GAIN; n++) {
    before = value;
    status = general_m_step(w);
    if (status == ELBO_OK) status = general_log_evidence(w, &value);
  }
  return status;
}

elbo_status general_start(general_work *w) {
  const general_parameters *par = &w->par;
  const general_prior *prior = w->prior;
  const int q = par->q, points = w->points;
  double L[GENERAL_MAX_TERMS * GENERAL_MAX_TERMS];
  general_prior of_beta;
  memset(L, 0, square(q) * sizeof(double));
  memset(w->theta, 0, (size_t)par->n_theta * sizeof(double));
  general_parameters_pack(par, L, w->theta);
  guess_beta(w);
  guess_own(w);
  if (prior) { /* that of an sd may have no density at zero */
    of_beta = *prior;
    of_beta.family = NULL;
    w->prior = &of_beta;
  }
  w->points = 0; /* points have no density there */
  const elbo_status status = climb_alone(w);
  w->points = points;
  w->prior = prior;
  if (status != ELBO_OK) return status;
  for (int c = 0; c < q; c++) L[c * (q + 1)] = START_SD;
  general_parameters_pack(par, L, w->theta);
  return general_set_theta(w, w->theta);
}

/* ---- nodes ----------------------------------------------------------------------------------- */

enum { FIRST_NODES = 7, MOST_PRODUCT = 1 << 17, MOST_NODES = 401 };

/* Odd, so that the mode is a node, and about 1.4 times as many; 0 where that is too many. */
static int more_nodes(const general_work *w) {
  const int next = w->rule.each + 2 * ((w->rule.each + 4) / 5);
  double product = 1.0;
  for (int d = 0; d < w->rows.q; d++) product *= next;
  return next > MOST_NODES || product > MOST_PRODUCT ? 0 : next;
}

/* Of the value, and of an estimate in standard errors. */
static double value_moves(const general_work *w) {
  return fmax(1e-8, fmax(1e-12 * fabs(w->at.value), general_noise(w)));
}
static const double ESTIMATE_MOVES = 1e-5;

/* Until the value moves by no more than that, from the number that there is. */
static elbo_status grow_until(general_work *w, double enough) {
  double before, value;
  elbo_status status = general_log_evidence(w, &value);
  for (int next = more_nodes(w); next > 0 && status == ELBO_OK; next = more_nodes(w)) {
    const general_kept kept = general_keep_nodes(w);
    before = value;
    status = general_set_nodes(w, next);
    if (status == ELBO_OK) status = general_log_evidence(w, &value);
    const double moved = fabs(value - before), least = fmax(enough, value_moves(w));
    w->accuracy = moved;
    if (status == ELBO_OK && moved <= least) {
      general_put_back_nodes(w, &kept);
      break;
    }
    /* Of equidistant nodes the error falls as a power of their number. */
    if (kept.rule.fall > 0.0 && pow(moved, (double)next / kept.rule.each) <= 0.1 * least) break;
  }
  return status;
}

elbo_status general_grow_nodes(general_work *w) {
  w->few = w->differences = 0;
  const elbo_status status = general_set_nodes(w, FIRST_NODES);
  return status == ELBO_OK ? grow_until(w, 0.0) : status;
}

/* Whether more nodes would move the value at theta, or the estimates; they are kept where so. */
static elbo_status nodes_suffice(general_work *w, int *suffice) {
  const int n = w->par.n_theta, next = more_nodes(w);
  double *g = w->step_space, *step = g + n, *H = step + n, *work = H + square(n), before, value;
  *suffice = 1;
  elbo_status status = general_log_evidence(w, &before);
  if (next == 0 || w->rows.q == 0 || status != ELBO_OK) return status;
  status = general_hessian(w, &before, g, H);
  if (status != ELBO_OK) return status;
  const general_kept kept = general_keep_nodes(w);
  status = general_set_nodes(w, next);
  if (status == ELBO_OK) status = general_derivatives(w, g, NULL);
  value = w->at.value;
  if (status == ELBO_OK) status = general_newton_step(H, g, n, step, work);
  if (status != ELBO_OK) return status;
  w->accuracy = fabs(value - before);
  *suffice = w->accuracy <= value_moves(w) && dot(g, step, n) <= ESTIMATE_MOVES * ESTIMATE_MOVES;
  if (*suffice) general_put_back_nodes(w, &kept);
  return ELBO_OK;
}

/* ---- the climb ------------------------------------------------------------------------------- */

enum { ROUND_STEPS = 4, ROUNDS = 12 };

static const double NEARLY = 1e-2; /* of the value */
static const double HARDLY = 1e-3;
static const double ROUGH = 1e-3; /* of a standard error */

static int poll(void *ctx) {
  const general_going_on *c = (const general_going_on *)ctx;
  return c->hooks->poll ? c->hooks->poll(c->hooks->ctx) : 0;
}

static void trace(void *ctx, int iteration, elbo_step step, double elbo, double evidence,
                  double kl) {
  const general_going_on *c = (const general_going_on *)ctx;
  if (c->hooks->trace)
    c->hooks->trace(c->hooks->ctx, c->before + iteration,
                    step == ELBO_STEP_START && c->before > 0 ? ELBO_STEP_E : step, elbo, evidence,
                    kl);
}

elbo_hooks general_hooks_going_on(general_going_on *rest) {
  const elbo_hooks told = {poll, trace, rest};
  return told;
}

void general_add_counts(elbo_result *to, const elbo_result *before) {
  to->iterations += before->iterations;
  to->em += before->em;
  to->squarem += before->squarem;
  to->quasi_newton += before->quasi_newton;
  to->newton += before->newton;
  to->anderson += before->anderson;
}

/* With the first nodes, and more where these do not do, to where their number is found. */
static elbo_status climb_roughly(general_work *w, const elbo_control *control,
                                 general_going_on *rest, const elbo_hooks *hooks, double *memory,
                                 elbo_result *result) {
  elbo_control settings = *control;
  elbo_result before = {0};
  settings.accelerate = ELBO_ACCELERATE_AUTO;
  settings.tol = ROUGH;
  w->few = w->differences = 0;
  elbo_status status = general_set_nodes(w, FIRST_NODES);
  for (int round = 0, near = 0; !near && status == ELBO_OK; round++) {
    elbo_model model = general_model(w);
    model.propose = NULL;
    if (round > 0) model.schedule.em_first = 0;
    settings.max_iter = smaller(ROUND_STEPS, larger(control->max_iter - rest->before, 1));
    status = elbo_ascend(&model, w, &settings, hooks, memory, result);
    general_add_counts(result, &before);
    before = *result;
    rest->before = result->iterations;
    if (status < 0 && status != ELBO_E_DESCENT) return status;
    near = status == ELBO_OK || round == ROUNDS - 1 || rest->before >= control->max_iter;
    status = grow_until(w, near ? 0.0 : NEARLY);
  }
  return status;
}

/* A climb by EM alone starts anew, once it is known by how many nodes. */
static elbo_status find_nodes(general_work *w, const elbo_control *control,
                              general_going_on *rest, double *memory, elbo_result *before) {
  const elbo_hooks told = {poll, trace, rest}, untold = {poll, NULL, rest};
  const int n = w->par.n_theta;
  double *start = elbo_doubles(w->mem, (size_t)n + 1);
  elbo_result result;
  if (control->accelerate == ELBO_ACCELERATE_AUTO)
    return climb_roughly(w, control, rest, &told, memory, before);
  memcpy(start, w->theta, (size_t)n * sizeof(double));
  const elbo_status status = climb_roughly(w, control, rest, &untold, memory, &result);
  rest->before = 0;
  memcpy(w->theta, start, (size_t)n * sizeof(double));
  return status == ELBO_OK ? general_set_theta(w, w->theta) : status;
}

elbo_status general_climb(general_work *w, int nodes, const elbo_control *control,
                          const elbo_hooks *hooks, double *memory, elbo_result *result) {
  elbo_result before = {0};
  elbo_control settings = *control;
  general_going_on rest = {hooks, 0};
  const elbo_hooks told = general_hooks_going_on(&rest);
  w->few = w->differences = nodes > 0;
  elbo_status status = nodes > 0 ? general_set_nodes(w, nodes)
                                 : find_nodes(w, control, &rest, memory, &before);
  /* Nodes do where they were found to, if that is near. */
  int found = nodes == 0 && control->accelerate == ELBO_ACCELERATE_AUTO;
  const double value = w->at.value;
  for (int suffice = 0; !suffice && status >= 0;) {
    elbo_model model = general_model(w);
    if (rest.before > 0) model.schedule.em_first = 0;
    settings.max_iter = larger(control->max_iter - rest.before, 1);
    status = elbo_ascend(&model, w, &settings, &told, memory, result);
    general_add_counts(result, &before);
    before = *result;
    rest.before = result->iterations;
    if (nodes > 0) break;
    if (status == ELBO_E_DESCENT && !w->few) {
      /* An M-step raises the ELBO up to what the nodes miss, which was more than rounding: go on
       * by the quadrature's own value and its exact gradient. */
      w->few = w->differences = 1;
      status = general_set_nodes(w, w->rule.each);
      continue;
    }
    if (status != ELBO_OK || (found && w->at.value - value < HARDLY)) break;
    found = 0;
    const elbo_status checked = nodes_suffice(w, &suffice);
    if (checked != ELBO_OK) return checked;
  }
  return status;
}
