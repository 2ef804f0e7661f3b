/* What the engine sees. */
#include "general/model.h"

#include <math.h>
#include <string.h>

#include "general/em.h"
#include "general/parameters.h"
#include "math/la.h"
#include "math/small.h"

static void pack(void *work, double *eta) {
  const general_work *w = (const general_work *)work;
  memcpy(eta, w->theta, (size_t)w->par.n_theta * sizeof(double));
}

static elbo_status unpack(void *work, const double *eta) {
  general_work *w = (general_work *)work;
  w->q_exact = 0;
  return general_set_theta(w, eta);
}

static elbo_status gradient(void *work, double *out) {
  return general_derivatives((general_work *)work, out, NULL);
}

/* ---- second derivatives ---------------------------------------------------------------------- */

/* Of a standard error: with steps of that size the error of a central difference is some 1e-6. */
static const double STEP = 1e-3;

static elbo_status difference_hessian(general_work *w, double *hessian) {
  const int n = w->par.n_theta;
  double *theta = w->difference_space, *up = theta + n, *down = up + n, *unit = down + n;
  memcpy(theta, w->theta, (size_t)n * sizeof(double));
  elbo_status status = general_derivatives(w, up, hessian);
  for (int j = 0; j < n; j++) {
    const double d = fabs(hessian[j * (n + 1)]);
    unit[j] = d > 0.0 ? STEP / sqrt(d) : STEP;
  }
  for (int j = 0; j < n && status == ELBO_OK; j++) {
    for (int side = 0; side < 2 && status == ELBO_OK; side++) {
      memcpy(w->theta, theta, (size_t)n * sizeof(double));
      w->theta[j] += side ? -unit[j] : unit[j];
      status = general_set_theta(w, w->theta);
      if (status == ELBO_OK) status = general_derivatives(w, side ? down : up, NULL);
    }
    for (int i = 0; i < n; i++) hessian[i + n * j] = (up[i] - down[i]) / (2.0 * unit[j]);
  }
  for (int j = 0; j < n; j++)
    for (int i = 0; i < j; i++)
      hessian[i + n * j] = hessian[j + n * i] = 0.5 * (hessian[i + n * j] + hessian[j + n * i]);
  memcpy(w->theta, theta, (size_t)n * sizeof(double));
  const elbo_status back = general_set_theta(w, w->theta);
  return status == ELBO_OK ? back : status;
}

elbo_status general_hessian(void *work, double *value, double *gradient_out, double *hessian) {
  general_work *w = (general_work *)work;
  elbo_status status = ELBO_OK;
  if (w->differences) {
    status = difference_hessian(w, hessian);
    if (status == ELBO_OK) status = general_derivatives(w, gradient_out, NULL);
  } else {
    status = general_derivatives(w, gradient_out, hessian);
  }
  *value = w->at.value;
  return status;
}

/* The sum of outer products of the groups' scores; with few groups the complete information. */
enum { GROUPS_EACH = 5 };

static elbo_status metric(void *work, double *out) {
  general_work *w = (general_work *)work;
  const int n = w->par.n_theta;
  double *score = w->difference_space;
  memset(out, 0, square(n) * sizeof(double));
  if (w->rows.m < GROUPS_EACH * n) {
    const elbo_status status = general_evaluate(w, GENERAL_HESSIAN);
    if (status != ELBO_OK) return status;
    general_chain(&w->par, w->theta, w->at.score, score, w->at.complete, w->at.score, out,
                  w->scratch);
    for (size_t e = 0; e < square(n); e++) out[e] = -out[e];
    return ELBO_OK;
  }
  for (int g = 0; g < w->rows.m; g++) {
    const elbo_status status = general_group_score(w, g, score);
    if (status != ELBO_OK) return status;
    for (int j = 0; j < n; j++)
      for (int i = 0; i < n; i++) out[i + n * j] += score[i] * score[j];
  }
  return ELBO_OK;
}

/* ---- the boundary ---------------------------------------------------------------------------- */

enum { SMALL_EXPONENT = -17 }; /* 2^-17 = 7.6e-6 of the predictor, or of the row */

static int propose(void *work, int from) {
  general_work *w = (general_work *)work;
  const general_parameters *par = &w->par;
  const double small = scalbn(1.0, SMALL_EXPONENT);
  for (int at = from; at < par->q + par->n_block; at++) { /* of each block its terms, and rho */
    int b = 0;
    while (at >= par->start[b + 1] + b + 1) b++;
    double *eta = w->theta + par->p + par->eta_of_block[b];
    if (!latent_law_settle(par->law + b, at - par->start[b] - b, small, small, eta)) continue;
    w->q_exact = 0;
    return general_set_theta(w, w->theta) == ELBO_OK ? at : -1;
  }
  return -1;
}

/* ---- the table ------------------------------------------------------------------------------- */

static double passes(const void *work) { return ((const general_work *)work)->evaluations; }

enum { EM_FIRST = 1 };

elbo_model general_model(const general_work *w) {
  const int few = w->few, differences = w->differences;
  const elbo_model model = {
      .n_eta = w->par.n_theta,
      .e_name = ELBO_STEP_E,
      .m_name = ELBO_STEP_M,
      .e_step = general_e_step,
      .m_step = general_m_step,
      .elbo = general_elbo,
      .rounding = general_rounding,
      .log_evidence = w->points ? NULL : general_log_evidence,
      .kl = few ? NULL : general_kl,
      .pack = pack,
      .unpack = unpack,
      .objective = {.value = general_log_evidence,
                    .gradient = gradient,
                    .hessian = general_hessian,
                    .metric = differences ? metric : NULL},
      .schedule = {.em_first = EM_FIRST,
                   .em_until = differences ? 1e-3 : HUGE_VAL,
                   .second_order = ELBO_SECOND_ORDER_DENSE},
      .propose = propose,
      .passes = passes,
  };
  return model;
}
