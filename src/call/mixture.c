/* Entry points of finite mixtures.  `model` is the list that R's mixture_model() makes: the units,
 * and for each part of the model a list of its arguments, which the part reads by their names. */
#include <math.h>
#include <string.h>

#include "call/support.h"
#include "mixture/mixture.h"
#include "mixture/classes.h"
#include "mixture/curves.h"
#include "mixture/normal.h"
#include "mixture/regression.h"
#include "mixture/weights.h"

/* ---- the model ------------------------------------------------------------------------------- */

static int has_element(SEXP list, const char *name) {
  const SEXP names = Rf_getAttrib(list, R_NamesSymbol);
  for (R_xlen_t i = 0; i < Rf_xlength(names); i++)
    if (strcmp(CHAR(STRING_ELT(names, i)), name) == 0) return 1;
  return 0;
}

static mixture_spec unpack_spec(SEXP model, int threads) {
  mixture_spec s;
  mixture_units *u = &s.units;
  memset(&s, 0, sizeof s);
  s.method = (mixture_method)call_int(model, "method", MIXTURE_JOINT, MIXTURE_VB);
  s.k = call_int(model, "k", 1, 1 << 20);
  s.threads = threads;
  u->n_row = call_int(model, "n_row", 1, 2147483640);
  u->n_unit = call_int(model, "n_unit", 1, u->n_row);
  u->first = call_ints(model, "first", (R_xlen_t)u->n_unit + 1, 1);
  u->freq = call_doubles(model, "freq", u->n_unit, 1);
  if (u->first == NULL && u->n_unit != u->n_row) Rf_error("internal error: `first` is missing");
  if (u->first) {
    if (u->first[0] != 0 || u->first[u->n_unit] != u->n_row)
      Rf_error("internal error: `first` must run from 0 to `n_row`");
    for (int i = 0; i < u->n_unit; i++)
      if (u->first[i + 1] <= u->first[i]) Rf_error("internal error: `first` must increase");
  }
  for (int i = 0; u->freq && i < u->n_unit; i++)
    if (!(u->freq[i] >= 0.0 && isfinite(u->freq[i])))
      Rf_error("internal error: `freq` must be finite and not negative");
  return s;
}

/* The arguments of a part, from its list. */
static int read_int(void *list, const char *name, int least, int most) {
  return call_int(list, name, least, most);
}

static double read_double(void *list, const char *name) { return call_double(list, name); }

static const int *read_ints(void *list, const char *name, size_t n, int optional) {
  return call_ints(list, name, (R_xlen_t)n, optional);
}

static const double *read_doubles(void *list, const char *name, size_t n, int optional) {
  return call_doubles(list, name, (R_xlen_t)n, optional);
}

/* The laws: a line each. */
static const struct {
  const char *name;
  mixture_maker *make;
} kinds[] = {
    {"weights", mixture_weights_make},       {"normal", mixture_normal_make},
    {"regression", mixture_regression_make}, {"classes", mixture_classes_make},
    {"curves", mixture_curves_make},
};

enum { N_KIND = sizeof kinds / sizeof *kinds };

/* The mixture, and the names of its parts in `name`.  Not ELBO_OK where a covariance next to that
 * of the data is singular to all digits. */
static elbo_status build(SEXP model, int threads, mixture *w, const char **name) {
  const elbo_memory mem = call_memory();
  const SEXP parts = call_element(model, "parts");
  mixture_spec s = unpack_spec(model, threads);
  elbo_status status = ELBO_OK;
  for (int i = 0; i < N_KIND && status == ELBO_OK; i++) {
    if (!has_element(parts, kinds[i].name)) continue;
    const mixture_arguments from = {call_element(parts, kinds[i].name), read_int, read_double,
                                    read_ints, read_doubles};
    name[s.n_part] = kinds[i].name;
    status = kinds[i].make(s.part + s.n_part++, &s, &from, &mem);
  }
  if (s.n_part < 2 || !has_element(parts, "weights"))
    Rf_error("internal error: a mixture needs weights and a law of responses");
  if (s.n_part != Rf_xlength(parts)) Rf_error("internal error: a part of no known kind");
  if (status != ELBO_OK) Rf_error("internal error: the model cannot be set up (%d)", status);
  return mixture_init(w, &s, &mem);
}

/* ---- the state ------------------------------------------------------------------------------- */

static void add_state(call_list *out, const mixture *w, const char **name) {
  call_list state = call_list_new(w->spec.n_part);
  for (int p = 0; p < w->spec.n_part; p++) {
    const mixture_part *part = w->spec.part + p;
    call_list fields = call_list_new(part->n_field);
    for (int f = 0; f < part->n_field; f++)
      memcpy(
          call_list_doubles(&fields, part->field[f].name, part->field[f].dim, part->field[f].n_dim),
          part->field[f].value, mixture_field_size(part->field + f) * sizeof(double));
    call_list_add(&state, name[p], fields.list);
    UNPROTECT(2);
  }
  call_list_add(out, "state", state.list);
  UNPROTECT(2);
}

/* The fields of all parts from column i of `states`, which has a matrix for each. */
static elbo_status set_column(SEXP states, R_xlen_t i, R_xlen_t n, mixture *w, const char **name) {
  for (int p = 0; p < w->spec.n_part; p++) {
    const mixture_part *part = w->spec.part + p;
    const SEXP fields = call_element(states, name[p]);
    for (int f = 0; f < part->n_field; f++) {
      const mixture_field *field = part->field + f;
      const size_t size = mixture_field_size(field);
      const double *value = call_doubles(fields, field->name, (R_xlen_t)size * n, 0);
      memcpy(field->value, value + size * (size_t)i, size * sizeof(double));
    }
  }
  return mixture_restore(w);
}

static elbo_status set_state(SEXP state, mixture *w, const char **name) {
  return set_column(state, 0, 1, w, name);
}

static elbo_status build_at(SEXP model, SEXP state, mixture *w, const char **name) {
  const elbo_status status = build(model, 1, w, name);
  return status == ELBO_OK ? set_state(state, w, name) : status;
}

static void add_posterior(call_list *out, mixture *w) {
  const int dim[2] = {w->spec.units.n_unit, w->spec.k};
  double *log_density = call_list_doubles(out, "log_density", dim, 1);
  mixture_posterior(w, log_density, call_list_doubles(out, "probability", dim, 2));
}

/* ---- entries --------------------------------------------------------------------------------- */

static elbo_status set_start(SEXP start, mixture *w, const char **name) {
  const int n = w->spec.units.n_unit, k = w->spec.k;
  if (has_element(start, "state")) return set_state(call_element(start, "state"), w, name);
  if (has_element(start, "probability"))
    return mixture_start(w, NULL, call_doubles(start, "probability", (R_xlen_t)n * k, 0));
  const int *label = call_ints(start, "label", n, 0);
  for (int i = 0; i < n; i++)
    if (label[i] < 1 || label[i] > k) Rf_error("internal error: `label` must be in 1..%d", k);
  return mixture_start(w, label, NULL);
}

/* Labels by weight, the largest first; equals keep their order. */
static elbo_status sort_by_size(mixture *w, const elbo_model *model) {
  const int k = w->spec.k;
  int *order = (int *)R_alloc((size_t)k, sizeof(int)), moved = 0;
  for (int j = 0; j < k; j++) {
    int at = j;
    for (; at > 0 && w->q.size[order[at - 1]] < w->q.size[j]; at--) order[at] = order[at - 1];
    order[at] = j;
    moved = moved || at != j;
  }
  if (!moved) return ELBO_OK;
  const elbo_status status = mixture_permute(w, order);
  return status == ELBO_OK ? model->e_step(w) : status;
}

static void add_theta(call_list *out, const mixture *w) {
  mixture_theta(w, call_list_doubles(out, "theta", &w->n_theta, 1));
}

SEXP call_mixture_fit(SEXP model, SEXP control, SEXP start, SEXP progress) {
  mixture w;
  call_trace trace;
  elbo_result result;
  const char *name[MIXTURE_MAX_PARTS];
  const elbo_control settings = call_control(control);
  const elbo_hooks hooks = call_hooks(&trace, progress);
  memset(&result, 0, sizeof result);
  elbo_status status = build(model, settings.threads, &w, name);
  const elbo_model table = mixture_model(&w);
  double *memory = (double *)R_alloc(elbo_ascend_size(&table), sizeof(double));
  if (status == ELBO_OK) status = set_start(start, &w, name);
  if (status == ELBO_OK) status = elbo_ascend(&table, &w, &settings, &hooks, memory, &result);
  if (status >= 0) {
    const elbo_status sorted = sort_by_size(&w, &table);
    if (sorted != ELBO_OK) status = sorted;
  }
  call_list out = call_list_new(28);
  call_list_int(&out, "status", status);
  call_list_int(&out, "component", w.component + 1);
  call_list_int(&out, "part", w.part + 1);
  call_list_trace(&out, &trace);
  if (status >= 0) {
    call_list_result(&out, &result);
    call_list_int(&out, "finished",
                  status == ELBO_OK && (table.schedule.second_order == ELBO_SECOND_ORDER_NONE ||
                                        !settings.first_order));
    call_list_double(&out, "log_evidence", w.spec.method == MIXTURE_EM ? w.q.value : R_NaN);
    call_list_double(&out, "entropy", w.entropy);
    call_list_int(&out, "n_eta", w.n_eta);
    memcpy(call_list_doubles(&out, "size", &w.spec.k, 1), w.q.size,
           (size_t)w.spec.k * sizeof(double));
    add_state(&out, &w, name);
    add_theta(&out, &w);
  }
  UNPROTECT(2);
  return out.list;
}

SEXP call_mixture_evaluate(SEXP model, SEXP state) {
  mixture w;
  const char *name[MIXTURE_MAX_PARTS];
  const elbo_status status = build_at(model, state, &w, name);
  call_list out = call_list_new(6);
  call_list_int(&out, "status", status);
  if (status == ELBO_OK) {
    add_posterior(&out, &w);
    call_list_double(&out, "log_prior", mixture_log_prior(&w));
    add_theta(&out, &w);
  }
  UNPROTECT(2);
  return out.list;
}

/* The slope of the objective, laws of z and state where eta is that of `state` plus `move`. */
SEXP call_mixture_slope(SEXP model, SEXP state, SEXP move) {
  mixture w;
  const char *name[MIXTURE_MAX_PARTS];
  elbo_status status = build_at(model, state, &w, name);
  if (w.spec.method == MIXTURE_JOINT) Rf_error("internal error: points on z have no slope");
  const elbo_model table = mixture_model(&w);
  if (status == ELBO_OK && !Rf_isNull(move)) {
    const double *step = REAL_RO(move);
    double *eta = (double *)R_alloc((size_t)w.n_eta, sizeof(double));
    if (Rf_xlength(move) != w.n_eta)
      Rf_error("internal error: `move` must have %d elements", w.n_eta);
    table.pack(&w, eta);
    for (int a = 0; a < w.n_eta; a++) eta[a] += step[a];
    status = table.unpack(&w, eta);
  }
  call_list out = call_list_new(8);
  if (status == ELBO_OK) status = mixture_slope(&w, call_list_doubles(&out, "slope", &w.n_eta, 1));
  if (status == ELBO_OK) {
    add_posterior(&out, &w);
    add_state(&out, &w, name);
  }
  call_list_int(&out, "status", status);
  UNPROTECT(2);
  return out.list;
}

SEXP call_mixture_information(SEXP model, SEXP state) {
  mixture w;
  const char *name[MIXTURE_MAX_PARTS];
  elbo_status status = build_at(model, state, &w, name);
  if (w.spec.method == MIXTURE_JOINT) Rf_error("internal error: points on z have no information");
  const int n = w.n_eta, square[2] = {n, n}, d_jacobian[2] = {w.n_theta, n};
  call_list out = call_list_new(8);
  double *gradient = call_list_doubles(&out, "gradient", &n, 1);
  double *hessian = call_list_doubles(&out, "hessian", square, 2);
  double *jacobian = call_list_doubles(&out, "jacobian", d_jacobian, 2);
  double *V = w.spec.method == MIXTURE_VB ? call_list_doubles(&out, "V", square, 2) : NULL;
  if (status == ELBO_OK) status = mixture_information(&w, gradient, hessian, V, jacobian);
  if (status == ELBO_OK) add_theta(&out, &w);
  call_list_int(&out, "status", status);
  UNPROTECT(2);
  return out.list;
}

/* log p(y | theta) at each of n points, -Inf where there is none: `states` as a state, the fields
 * having a column each. */
SEXP call_mixture_densities(SEXP model, SEXP states, SEXP n_point) {
  mixture w;
  const char *name[MIXTURE_MAX_PARTS];
  build(model, 1, &w, name);
  if (w.spec.method != MIXTURE_EM) Rf_error("internal error: only points have a density");
  if (TYPEOF(n_point) != INTSXP || Rf_xlength(n_point) != 1 || INTEGER_RO(n_point)[0] < 0)
    Rf_error("internal error: `n_point` must be a number");
  const int n = INTEGER_RO(n_point)[0], n_unit = w.spec.units.n_unit;
  const double *freq = w.spec.units.freq;
  double *log_density = (double *)R_alloc((size_t)n_unit, sizeof(double));
  double *probability = (double *)R_alloc((size_t)n_unit * (size_t)w.spec.k, sizeof(double));
  SEXP out = PROTECT(Rf_allocVector(REALSXP, n));
  for (int i = 0; i < n; i++) {
    double sum = 0.0;
    if (i % 64 == 0) R_CheckUserInterrupt();
    if (set_column(states, i, n, &w, name) == ELBO_OK) {
      mixture_posterior(&w, log_density, probability);
      for (int u = 0; u < n_unit; u++) sum += (freq ? freq[u] : 1.0) * log_density[u];
    } else {
      sum = -HUGE_VAL;
    }
    REAL(out)[i] = isfinite(sum) ? sum : -HUGE_VAL;
  }
  UNPROTECT(1);
  return out;
}
