/* What the entry points share: checked access to arguments, named results, memory, hooks. */
#ifndef ELBO_CALL_SUPPORT_H
#define ELBO_CALL_SUPPORT_H

#define R_NO_REMAP
#define STRICT_R_HEADERS
#include <R.h>
#include <Rinternals.h>

#include "engine/engine.h"

/* Element `name` of a list; an error where there is none. */
SEXP call_element(SEXP list, const char *name);
/* Checked views; `n` < 0 accepts any length.  NULL objects give NULL where `or_null`. */
const double *call_doubles(SEXP list, const char *name, R_xlen_t n, int or_null);
const int *call_ints(SEXP list, const char *name, R_xlen_t n, int or_null);
int call_int(SEXP list, const char *name, int least, int most);
double call_double(SEXP list, const char *name);
int call_dimension(SEXP x, int which, const char *name); /* of a matrix */

/* A named list under construction, its elements protected by it. */
typedef struct {
  SEXP list, names;
  int size, used;
} call_list;

call_list call_list_new(int size); /* leaves two objects protected: UNPROTECT(2) when done */
void call_list_add(call_list *out, const char *name, SEXP value);
double *call_list_doubles(call_list *out, const char *name, const int *dim, int n_dim);
void call_list_double(call_list *out, const char *name, double value);
void call_list_int(call_list *out, const char *name, int value);

elbo_memory call_memory(void); /* R_alloc */
elbo_control call_control(SEXP list);

/* Trace and progress of an ascent; `progress` is an R function of (iteration, elbo) or NULL. */
typedef struct {
  int n, capacity;
  double *rows; /* 5 x capacity: iteration, step, elbo, log_evidence, kl */
  SEXP progress;
  double told; /* seconds of processor time when progress was last reported */
} call_trace;

int call_poll(void *ctx); /* R_CheckUserInterrupt */
elbo_hooks call_hooks(call_trace *trace, SEXP progress);
void call_list_result(call_list *out,
                      const elbo_result *result); /* counts, gradient, gain, objective */
void call_list_trace(call_list *out, const call_trace *trace);

/* Entry points. */
SEXP call_glmm_fit(SEXP model, SEXP control, SEXP progress);
SEXP call_glmm_at(SEXP model, SEXP theta);
SEXP call_glmm_at_eta(SEXP model, SEXP eta);
SEXP call_glmm_levels(SEXP model, SEXP theta, SEXP B, SEXP inverse);
SEXP call_glmm_traces(SEXP model, SEXP theta);
SEXP call_glmm_evaluate(SEXP model, SEXP at);
SEXP call_glmm_profile(SEXP model, SEXP theta, SEXP which, SEXP least);
SEXP call_glmm_refit(SEXP model, SEXP control, SEXP data, SEXP Y);
SEXP call_glmm_bootstrap(SEXP model, SEXP theta, SEXP refits, SEXP controls, SEXP n_fit);
SEXP call_glmm_stats(SEXP data, SEXP model);
SEXP call_glmm_survey(SEXP data);
SEXP call_glmm_survey_merge(SEXP a, SEXP b);
SEXP call_glmm_stats_open(SEXP survey, SEXP shape);
SEXP call_glmm_stats_add(SEXP stats, SEXP data);
SEXP call_glmm_stats_merge(SEXP a, SEXP b);
SEXP call_general_fit(SEXP model, SEXP control, SEXP progress);
SEXP call_general_at(SEXP model, SEXP theta);
SEXP call_normal_rule(SEXP n);
SEXP call_mixture_fit(SEXP model, SEXP control, SEXP start, SEXP progress);
SEXP call_mixture_evaluate(SEXP model, SEXP state);
SEXP call_mixture_slope(SEXP model, SEXP state, SEXP move);
SEXP call_mixture_information(SEXP model, SEXP state);
SEXP call_column_sizes(SEXP x);
SEXP call_mixture_densities(SEXP model, SEXP states, SEXP n_point);
SEXP call_sky_mean(SEXP model);
SEXP call_sky_detect(SEXP model, SEXP image, SEXP psf, SEXP how);
SEXP call_sky_sweep(SEXP model, SEXP order, SEXP how);
SEXP call_sky_psf(SEXP model, SEXP image, SEXP stars, SEXP psf, SEXP iterations);
SEXP call_sky_warp(SEXP model, SEXP image, SEXP stars);
SEXP call_sky_fit(SEXP model, SEXP control, SEXP progress);
SEXP call_sky_information(SEXP model, SEXP image);
SEXP call_sky_owner(SEXP model, SEXP image);

#endif
