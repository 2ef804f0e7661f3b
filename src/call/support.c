#include <string.h>
#include <time.h>

#include "call/support.h"

#include "math/la.h"

/* ---- arguments ------------------------------------------------------------------------------ */

SEXP call_element(SEXP list, const char *name) {
  if (TYPEOF(list) != VECSXP) Rf_error("internal error: a list is needed to look up `%s`", name);
  const SEXP names = Rf_getAttrib(list, R_NamesSymbol);
  if (TYPEOF(names) == STRSXP)
    for (R_xlen_t i = 0; i < Rf_xlength(list); i++)
      if (strcmp(CHAR(STRING_ELT(names, i)), name) == 0) return VECTOR_ELT(list, i);
  Rf_error("internal error: `%s` is missing", name);
}

/* Element `name`, a vector of that type and length; NULL for the object NULL, where that may be. */
static SEXP vector_element(SEXP list, const char *name, SEXPTYPE type, R_xlen_t n, int or_null) {
  const SEXP x = call_element(list, name);
  if (or_null && x == R_NilValue) return NULL;
  if (TYPEOF(x) != (int)type || (n >= 0 && Rf_xlength(x) != n))
    Rf_error("internal error: `%s` must be %lld of type %s", name, (long long)n,
             Rf_type2char(type));
  return x;
}

const double *call_doubles(SEXP list, const char *name, R_xlen_t n, int or_null) {
  const SEXP x = vector_element(list, name, REALSXP, n, or_null);
  return x == NULL ? NULL : REAL_RO(x);
}

const int *call_ints(SEXP list, const char *name, R_xlen_t n, int or_null) {
  const SEXP x = vector_element(list, name, INTSXP, n, or_null);
  return x == NULL ? NULL : INTEGER_RO(x);
}

int call_int(SEXP list, const char *name, int least, int most) {
  const int value = call_ints(list, name, 1, 0)[0];
  if (value < least || value > most)
    Rf_error("internal error: `%s` must be in %d..%d, not %d", name, least, most, value);
  return value;
}

double call_double(SEXP list, const char *name) { return call_doubles(list, name, 1, 0)[0]; }

int call_dimension(SEXP x, int which, const char *name) {
  const SEXP dim = Rf_getAttrib(x, R_DimSymbol);
  if (TYPEOF(dim) != INTSXP || Rf_length(dim) != 2)
    Rf_error("internal error: `%s` must be a matrix", name);
  return INTEGER_RO(dim)[which];
}

elbo_control call_control(SEXP list) {
  elbo_control control;
  control.accelerate =
      (elbo_accelerate)call_int(list, "accelerate", ELBO_ACCELERATE_NONE, ELBO_ACCELERATE_AUTO);
  control.first_order = call_int(list, "first_order", 0, 1);
  control.max_iter = call_int(list, "max_iter", 1, 2147483647);
  control.threads = call_int(list, "threads", 0, 1024);
  control.tol = call_double(list, "tol");
  control.spent = call_double(list, "spent");
  if (!(control.tol > 0.0)) Rf_error("internal error: `tol` must be positive");
  return control;
}

/* ---- results -------------------------------------------------------------------------------- */

call_list call_list_new(int size) {
  call_list out;
  out.list = PROTECT(Rf_allocVector(VECSXP, size));
  out.names = PROTECT(Rf_allocVector(STRSXP, size));
  Rf_setAttrib(out.list, R_NamesSymbol, out.names);
  out.size = size;
  out.used = 0;
  return out;
}

void call_list_add(call_list *out, const char *name, SEXP value) {
  if (out->used >= out->size) Rf_error("internal error: no room for `%s`", name);
  SET_VECTOR_ELT(out->list, out->used, value);
  SET_STRING_ELT(out->names, out->used, Rf_mkChar(name));
  out->used++;
}

double *call_list_doubles(call_list *out, const char *name, const int *dim, int n_dim) {
  R_xlen_t n = 1;
  for (int i = 0; i < n_dim; i++) n *= dim[i];
  SEXP x = PROTECT(Rf_allocVector(REALSXP, n));
  if (n_dim > 1) {
    SEXP d = PROTECT(Rf_allocVector(INTSXP, n_dim));
    memcpy(INTEGER(d), dim, (size_t)n_dim * sizeof(int));
    Rf_setAttrib(x, R_DimSymbol, d);
    UNPROTECT(1);
  }
  call_list_add(out, name, x);
  UNPROTECT(1);
  return REAL(x);
}

void call_list_double(call_list *out, const char *name, double value) {
  call_list_add(out, name, PROTECT(Rf_ScalarReal(value)));
  UNPROTECT(1);
}

void call_list_int(call_list *out, const char *name, int value) {
  call_list_add(out, name, PROTECT(Rf_ScalarInteger(value)));
  UNPROTECT(1);
}

/* ---- memory and hooks ------------------------------------------------------------------------ */

static void *from_r(void *ctx, size_t bytes) {
  (void)ctx;
  return R_alloc((bytes + 15) / 16, 16);
}

elbo_memory call_memory(void) {
  const elbo_memory memory = {from_r, NULL};
  return memory;
}

int call_poll(void *ctx) {
  (void)ctx;
  R_CheckUserInterrupt();
  return 0;
}

static void tell_progress(call_trace *t, int iteration, double elbo) {
  const double now = (double)clock() / CLOCKS_PER_SEC;
  if (t->progress == R_NilValue || now - t->told < 0.25) return;
  t->told = now;
  SEXP call = PROTECT(
      Rf_lang3(t->progress, PROTECT(Rf_ScalarInteger(iteration)), PROTECT(Rf_ScalarReal(elbo))));
  Rf_eval(call, R_GlobalEnv);
  UNPROTECT(3);
}

static void keep_row(void *ctx, int iteration, elbo_step step, double elbo, double log_evidence,
                     double kl) {
  call_trace *t = (call_trace *)ctx;
  if (t->n == t->capacity) {
    const int capacity = t->capacity > 0 ? 2 * t->capacity : 64;
    double *rows = (double *)R_alloc((size_t)capacity * 5, sizeof(double));
    if (t->n > 0) memcpy(rows, t->rows, (size_t)t->n * 5 * sizeof(double));
    t->rows = rows;
    t->capacity = capacity;
  }
  double *row = t->rows + 5 * (size_t)t->n++;
  row[0] = iteration;
  row[1] = step;
  row[2] = elbo;
  row[3] = log_evidence;
  row[4] = kl;
  tell_progress(t, iteration, elbo);
}

elbo_hooks call_hooks(call_trace *trace, SEXP progress) {
  const elbo_hooks hooks = {call_poll, keep_row, trace};
  memset(trace, 0, sizeof *trace);
  trace->progress = progress;
  trace->told = (double)clock() / CLOCKS_PER_SEC;
  return hooks;
}

void call_list_result(call_list *out, const elbo_result *result) {
  call_list_int(out, "em", result->em);
  call_list_int(out, "squarem", result->squarem);
  call_list_int(out, "anderson", result->anderson);
  call_list_int(out, "quasi_newton", result->quasi_newton);
  call_list_int(out, "newton", result->newton);
  call_list_double(out, "passes", result->passes);
  call_list_int(out, "iterations", result->iterations);
  call_list_double(out, "gradient", result->gradient);
  call_list_double(out, "still_to_gain", result->gain);
  call_list_double(out, "objective", result->objective);
}

void call_list_trace(call_list *out, const call_trace *trace) {
  const int dim[2] = {5, trace->n};
  double *rows = call_list_doubles(out, "trace", dim, 2);
  if (trace->n > 0) memcpy(rows, trace->rows, (size_t)trace->n * 5 * sizeof(double));
}

/* The largest absolute value of each column of a matrix, or of a vector. */
SEXP call_column_sizes(SEXP x) {
  if (TYPEOF(x) != REALSXP) Rf_error("internal error: `x` must be double");
  const int n_col = Rf_isMatrix(x) ? Rf_ncols(x) : 1;
  const size_t n = n_col > 0 ? (size_t)(Rf_xlength(x) / n_col) : 0;
  SEXP out = PROTECT(Rf_allocVector(REALSXP, n_col));
  for (int j = 0; j < n_col; j++) REAL(out)[j] = la_largest(REAL_RO(x) + n * (size_t)j, n);
  UNPROTECT(1);
  return out;
}
