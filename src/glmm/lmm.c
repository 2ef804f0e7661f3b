/* The Gaussian mixed model as the engine sees it. */
#include "glmm/lmm.h"

#include <math.h>
#include <string.h>

#include "glmm/e_step.h"
#include "glmm/elbo.h"
#include "glmm/information.h"
#include "glmm/m_step.h"
#include "glmm/objective.h"
#include "glmm/settle.h"
#include "glmm/work.h"

static void pack(void *work, double *eta) {
  lmm_work *w = (lmm_work *)work;
  memcpy(eta, w->eta, (size_t)w->par.n_eta * sizeof(double));
}

static elbo_status unpack(void *work, const double *eta) {
  lmm_work *w = (lmm_work *)work;
  memcpy(w->eta, eta, (size_t)w->par.n_eta * sizeof(double));
  lmm_set_eta(w);
  const elbo_status status = lmm_objective(w, 0, w->beta, w->C, &w->evidence);
  w->evidence_valid = status == ELBO_OK;
  if (status == ELBO_OK) lmm_set_origin(w, w->beta);
  return status;
}

static elbo_status objective(void *work, double *value) {
  return lmm_profile_information(work, value, NULL, NULL);
}

elbo_status lmm_start(lmm_work *w, const double *eta) { return unpack(w, eta); }

/* Steps of EM before Newton's: of several factors they cost about as much as Newton's, and five
 * save hardly one of these. */
enum { EM_FIRST = 5, EM_FIRST_CROSSED = 0 };

elbo_model lmm_model(const lmm_work *w) {
  const int marginal = w->method == LMM_EM || w->method == LMM_REML, vb = w->method == LMM_VB;
  const elbo_model model = {
      .n_eta = w->par.n_eta,
      .e_name = vb ? ELBO_STEP_LOCAL : ELBO_STEP_E,
      .m_name = vb ? ELBO_STEP_GLOBAL : ELBO_STEP_M,
      .e_step = lmm_e_step,
      .m_step = lmm_m_step,
      .elbo = lmm_elbo,
      .rounding = lmm_rounding,
      .log_evidence = marginal ? lmm_log_evidence : NULL,
      .kl = marginal ? lmm_kl : NULL,
      .objective = {.value = objective, .hessian = lmm_profile_information},
      .pack = pack,
      .unpack = unpack,
      .schedule = {.em_first = w->stats->crossed ? EM_FIRST_CROSSED : EM_FIRST,
                   .em_until = HUGE_VAL,
                   .second_order = ELBO_SECOND_ORDER_DENSE,
                   .near_hessian = w->stats->crossed != NULL}, /* average information */
      .propose = lmm_propose,
      .stop_at_edge = w->prior ? lmm_stop_at_edge : NULL,
  };
  return model;
}
