/* Entry points of a user's log density.  Its functions are R's, on the scale without bounds; like
 * those of call/own.c they signal no error, but return NA where they are not defined. */
#include <string.h>

#include "advi/advi.h"
#include "call/support.h"

typedef struct {
  SEXP value, gradient, hessian; /* calls of x */
  SEXP x;
} density;

static void set_point(density *f, const double *x) {
  memcpy(REAL(f->x), x, (size_t)Rf_xlength(f->x) * sizeof(double));
}

static elbo_status density_value(void *ctx, const double *x, double *value) {
  density *f = ctx;
  set_point(f, x);
  *value = Rf_asReal(Rf_eval(f->value, R_GlobalEnv));
  return R_FINITE(*value) ? ELBO_OK : ELBO_E_NOT_FINITE;
}

static elbo_status copy_of(SEXP call, R_xlen_t n, double *out) {
  const SEXP value = PROTECT(Rf_eval(call, R_GlobalEnv));
  if (TYPEOF(value) != REALSXP || Rf_xlength(value) != n)
    Rf_error("internal error: a derivative has another length");
  memcpy(out, REAL_RO(value), (size_t)n * sizeof(double));
  UNPROTECT(1);
  for (R_xlen_t i = 0; i < n; i++)
    if (!R_FINITE(out[i])) return ELBO_E_NOT_FINITE;
  return ELBO_OK;
}

static elbo_status density_gradient(void *ctx, const double *x, double *gradient) {
  density *f = ctx;
  set_point(f, x);
  return copy_of(f->gradient, Rf_xlength(f->x), gradient);
}

static elbo_status density_hessian(void *ctx, const double *x, double *hessian) {
  density *f = ctx;
  set_point(f, x);
  return copy_of(f->hessian, Rf_xlength(f->x) * Rf_xlength(f->x), hessian);
}

/* model: value, gradient, hessian (or NULL), family, z (d x n), eta.  Protects 4. */
static const double *unpack(SEXP model, density *f, advi *w) {
  const SEXP z = call_element(model, "z");
  const int d = call_dimension(z, 0, "z"), n = call_dimension(z, 1, "z");
  if (d < 1 || n < 1) Rf_error("internal error: no draws `z`");
  const double *draws = call_doubles(model, "z", (R_xlen_t)d * n, 0);
  const advi_family family = (advi_family)call_int(model, "family", ADVI_LAPLACE, ADVI_FULL);
  const int exact = call_element(model, "hessian") != R_NilValue;
  f->x = PROTECT(Rf_allocVector(REALSXP, d));
  f->value = PROTECT(Rf_lang2(call_element(model, "value"), f->x));
  f->gradient = PROTECT(Rf_lang2(call_element(model, "gradient"), f->x));
  f->hessian = PROTECT(Rf_lang2(call_element(model, "hessian"), f->x));
  const advi_target target = {d, f, density_value, density_gradient,
                              exact ? density_hessian : NULL};
  advi_bind(w, &target, family, n, draws,
            (double *)R_alloc(advi_size(&target, family, n), sizeof(double)));
  return call_doubles(model, "eta", w->n_eta, 0);
}

SEXP call_advi_fit(SEXP model, SEXP settings, SEXP progress) {
  density f;
  advi w;
  const double *start = unpack(model, &f, &w);
  const elbo_control control = call_control(settings);
  const newton_cg_control how = {.tol = control.tol, .max_iter = control.max_iter};
  const newton_cg_objective objective = advi_objective(&w);
  call_trace trace;
  const elbo_hooks hooks = call_hooks(&trace, progress);
  newton_cg_result result;
  double *memory = (double *)R_alloc(newton_cg_size(w.n_eta), sizeof(double));
  const int dim[2] = {w.n_eta, w.n_eta};
  call_list out = call_list_new(12);
  double *eta = call_list_doubles(&out, "eta", dim, 1);
  memcpy(eta, start, (size_t)w.n_eta * sizeof(double));
  const elbo_status status = newton_cg(&objective, &w, &how, &hooks, eta, memory, &result);
  call_list_int(&out, "status", status);
  call_list_int(&out, "iterations", result.iterations);
  call_list_int(&out, "products", result.products);
  call_list_double(&out, "objective", result.value);
  call_list_double(&out, "gain", result.gain);
  call_list_double(&out, "gradient", result.gradient);
  call_list_double(&out, "values", w.values);
  call_list_double(&out, "gradients", w.gradients);
  call_list_double(&out, "hessians", w.hessians_made);
  call_list_trace(&out, &trace);
  UNPROTECT(6);
  return out.list;
}

/* The objective, its gradient, and with `whole` minus its Hessian, at the eta of the model. */
SEXP call_advi_at(SEXP model, SEXP whole) {
  density f;
  advi w;
  const double *eta = unpack(model, &f, &w);
  const int dim[2] = {w.n_eta, w.n_eta};
  double value = NA_REAL;
  call_list out = call_list_new(6);
  double *gradient = call_list_doubles(&out, "gradient", dim, 1);
  elbo_status status = advi_at(&w, eta, &value, gradient);
  call_list_double(&out, "value", value);
  if (Rf_asLogical(whole) == TRUE) {
    double *information = call_list_doubles(&out, "information", dim, 2);
    if (status == ELBO_OK) status = advi_information(&w, eta, information);
  } else {
    call_list_add(&out, "information", R_NilValue);
  }
  call_list_int(&out, "status", status);
  call_list_double(&out, "gradients", w.gradients);
  call_list_double(&out, "hessians", w.hessians_made);
  UNPROTECT(6);
  return out.list;
}
