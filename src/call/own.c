/* A user's own model: its functions are R's.  They keep their state (theta, q) in an environment of
 * R's, signal no error but say by a status of the engine whether they worked, so that the engine
 * can draw back from where they do not; an interrupt jumps past the engine, which owns nothing. */
#include <string.h>

#include "call/support.h"

typedef struct {
  SEXP e_step, m_step, elbo, log_evidence, kl, pack, unpack; /* calls, ready to be evaluated */
  SEXP eta;                                                  /* what unpack is called with */
} own_model;

static elbo_status status_of(SEXP call) {
  return (elbo_status)Rf_asInteger(Rf_eval(call, R_GlobalEnv));
}

static elbo_status number_of(SEXP call, double *value) {
  *value = Rf_asReal(Rf_eval(call, R_GlobalEnv));
  return R_FINITE(*value) ? ELBO_OK : ELBO_E_NOT_FINITE;
}

static elbo_status own_e_step(void *work) { return status_of(((own_model *)work)->e_step); }
static elbo_status own_m_step(void *work) { return status_of(((own_model *)work)->m_step); }
static elbo_status own_elbo(void *work, double *value) {
  return number_of(((own_model *)work)->elbo, value);
}

/* For the trace only: what is not known there is no fault. */
static elbo_status own_log_evidence(void *work, double *value) {
  number_of(((own_model *)work)->log_evidence, value);
  return ELBO_OK;
}
static elbo_status own_kl(void *work, double *value) {
  number_of(((own_model *)work)->kl, value);
  return ELBO_OK;
}

static void own_pack(void *work, double *eta) {
  const own_model *w = work;
  const SEXP value = PROTECT(Rf_eval(w->pack, R_GlobalEnv));
  if (TYPEOF(value) != REALSXP || Rf_xlength(value) != Rf_xlength(w->eta))
    Rf_error("internal error: `pack` has another length");
  memcpy(eta, REAL_RO(value), (size_t)Rf_xlength(value) * sizeof(double));
  UNPROTECT(1);
}

static elbo_status own_unpack(void *work, const double *eta) {
  const own_model *w = work;
  memcpy(REAL(w->eta), eta, (size_t)Rf_xlength(w->eta) * sizeof(double));
  return status_of(w->unpack);
}

/* The objective at the present eta, q being made its best. */
static elbo_status own_value(void *work, double *value) {
  const elbo_status status = own_e_step(work);
  return status == ELBO_OK ? own_elbo(work, value) : status;
}

/* model: the functions of an own_model (elbo may be NULL: then steps are judged by how far they
 * go), n_eta and memory.  An eta that is handed over is read before the next one is. */
SEXP call_own_fit(SEXP model, SEXP settings, SEXP progress) {
  const elbo_control control = call_control(settings);
  const int n_eta = call_int(model, "n_eta", 1, 1 << 20),
            blind = call_element(model, "elbo") == R_NilValue;
  own_model w;
  w.eta = PROTECT(Rf_allocVector(REALSXP, n_eta));
  w.e_step = PROTECT(Rf_lang1(call_element(model, "e_step")));
  w.m_step = PROTECT(Rf_lang1(call_element(model, "m_step")));
  w.elbo = PROTECT(Rf_lang1(call_element(model, "elbo")));
  w.log_evidence = PROTECT(Rf_lang1(call_element(model, "log_evidence")));
  w.kl = PROTECT(Rf_lang1(call_element(model, "kl")));
  w.pack = PROTECT(Rf_lang1(call_element(model, "pack")));
  w.unpack = PROTECT(Rf_lang2(call_element(model, "unpack"), w.eta));
  const elbo_model m = {.n_eta = n_eta,
                        .e_name = ELBO_STEP_E,
                        .m_name = ELBO_STEP_M,
                        .e_step = own_e_step,
                        .m_step = own_m_step,
                        .elbo = blind ? NULL : own_elbo,
                        .log_evidence = own_log_evidence,
                        .kl = own_kl,
                        .pack = own_pack,
                        .unpack = own_unpack,
                        .objective = {.value = blind ? NULL : own_value},
                        .schedule = {.memory = call_int(model, "memory", 1, 1000)}};
  double *memory = (double *)R_alloc(elbo_ascend_size(&m), sizeof(double));
  call_trace trace;
  const elbo_hooks hooks = call_hooks(&trace, progress);
  elbo_result result;
  const elbo_status status = elbo_ascend(&m, &w, &control, &hooks, memory, &result);
  call_list out = call_list_new(13);
  call_list_int(&out, "status", status);
  call_list_double(&out, "movement", result.movement);
  call_list_result(&out, &result);
  call_list_trace(&out, &trace);
  UNPROTECT(10);
  return out.list;
}
