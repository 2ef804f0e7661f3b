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

/* Entry points: those of call/entries.h. */
#define CALL_1 SEXP
#define CALL_2 SEXP, CALL_1
#define CALL_3 SEXP, CALL_2
#define CALL_4 SEXP, CALL_3
#define CALL_5 SEXP, CALL_4
#define CALL_6 SEXP, CALL_5
#define ENTRY(name, arguments) SEXP call_##name(CALL_##arguments);
#include "call/entries.h"
#undef ENTRY

#endif
