/* Entry points of the statistics of the Gaussian mixed model: a survey of rows, open, add, merge;
 * and of all rows at once. */
#include "call/glmm_stats.h"

#include <limits.h>
#include <string.h>

#include "glmm/crossed_sums.h"
#include "glmm/fit.h"
#include "glmm/survey.h"

/* ---- unpacking ------------------------------------------------------------------------------- */

static void check_index(const int *index, R_xlen_t n, int most, const char *name) {
  for (R_xlen_t i = 0; i < n; i++)
    if (index[i] < 1 || index[i] > most)
      Rf_error("internal error: `%s` must be in 1..%d", name, most);
}

/* Columns, response and weights. */
static void unpack_columns(SEXP data, lmm_rows *rows) {
  const SEXP X = call_element(data, "X"), Z = call_element(data, "Z");
  memset(rows, 0, sizeof *rows);
  rows->n = call_dimension(X, 0, "X");
  rows->p = call_dimension(X, 1, "X");
  rows->q = call_dimension(Z, 1, "Z");
  if (rows->q > LMM_MAX_TERMS) Rf_error("more than %d random-effects terms", LMM_MAX_TERMS);
  if (rows->q > 0 && call_dimension(Z, 0, "Z") != rows->n)
    Rf_error("internal error: `Z` must have a row for each of `X`");
  const R_xlen_t n = rows->n;
  rows->X = call_doubles(data, "X", n * rows->p, 0);
  rows->Z = call_doubles(data, "Z", rows->q > 0 ? n * rows->q : -1, 0);
  rows->y = call_doubles(data, "y", n, 0);
  rows->weight = call_doubles(data, "weight", n, 1);
}

static void unpack_groups(SEXP data, lmm_rows *rows) {
  const SEXP groups = call_element(data, "groups");
  rows->threads = call_int(data, "threads", 1, INT_MAX);
  rows->n_factor = (int)Rf_xlength(groups);
  if (TYPEOF(groups) != VECSXP || rows->n_factor < 1 || rows->n_factor > LMM_MAX_TERMS)
    Rf_error("internal error: `groups` must be a list of factors");
  rows->first = call_ints(data, "first", rows->n_factor + 1, 0);
  rows->n_unit = call_ints(data, "n_unit", rows->n_factor, 0);
  const int **group = (const int **)R_alloc((size_t)rows->n_factor, sizeof(int *));
  for (int f = 0; f < rows->n_factor; f++) {
    const SEXP of = VECTOR_ELT(groups, f);
    if (TYPEOF(of) != INTSXP || Rf_xlength(of) != rows->n || rows->n_unit[f] < 1 ||
        rows->first[f + 1] <= rows->first[f])
      Rf_error("internal error: `groups` must be factors with a level and a term each");
    group[f] = INTEGER_RO(of);
    check_index(group[f], rows->n, rows->n_unit[f], "groups");
  }
  if (rows->first[0] != 0 || rows->first[rows->n_factor] != rows->q)
    Rf_error("internal error: `first` must count the terms of `Z`");
  rows->groups = group;
}

void call_rows(SEXP data, lmm_rows *rows) {
  unpack_columns(data, rows);
  const R_xlen_t n = rows->n;
  rows->n_level = call_int(data, "n_level", 1, INT_MAX);
  rows->level = call_ints(data, "level", n, 1);
  if (rows->level) check_index(rows->level, n, rows->n_level, "level");
  if (!rows->level && rows->n_level != 1) Rf_error("internal error: `level` is missing");
  if (call_element(data, "groups") != R_NilValue) {
    unpack_groups(data, rows);
    return;
  }
  rows->m = call_int(data, "n_group", rows->q > 0, INT_MAX);
  rows->group = call_ints(data, "group", n, rows->q == 0);
  if (rows->group) check_index(rows->group, n, rows->m, "group");
}

const double *call_flat(SEXP x, int complete) {
  const int numbers = TYPEOF(x) == REALSXP && Rf_xlength(x) > FLAT_FACTORS;
  const double *flat = numbers ? REAL_RO(x) : NULL;
  const int several = numbers && flat[FLAT_FACTORS] > 0;
  const size_t size = (size_t)Rf_xlength(x);
  if (!numbers || !(several ? lmm_sums_check(flat, size) : lmm_stats_check(flat, size)))
    Rf_error("these are no statistics of a mixed model, or not all of them");
  if (complete && !(several ? lmm_sums_complete(flat) : lmm_stats_complete(flat)))
    Rf_error("there are groups without rows in the statistics");
  return flat;
}

void call_law(SEXP model, int p, int q, int n_level, lmm_law *law) {
  memset(law, 0, sizeof *law);
  law->method = (lmm_method)call_int(model, "method", LMM_JOINT, LMM_VB);
  law->fixed_origin = call_element(model, "prior_scale") != R_NilValue;
  law->n_block = call_int(model, "n_block", 0, q);
  law->block = call_ints(model, "block", q, 0);
  for (int k = 0; k < q; k++)
    if (law->block[k] < 0 || law->block[k] >= law->n_block ||
        (k > 0 && law->block[k] < law->block[k - 1]))
      Rf_error("internal error: `block` must be non-decreasing");
  law->sd = call_doubles(model, "sd", q, 0);
  law->cor = call_doubles(model, "cor", law->n_block, 0);
  law->sigma = call_doubles(model, "sigma", n_level, 0);
  law->kind = call_ints(model, "kind", law->n_block, 0);
  law->common = call_ints(model, "common", law->n_block, 0);
  for (int b = 0; b < law->n_block; b++)
    if (law->kind[b] < LATENT_FREE || law->kind[b] > LATENT_AR1)
      Rf_error("internal error: `kind` is no law");
  const SEXP sizes = call_element(model, "smooth_size");
  law->n_smooth = (int)Rf_xlength(sizes);
  law->smooth_size = call_ints(model, "smooth_size", law->n_smooth, 0);
  law->smooth_sd = call_doubles(model, "smooth_sd", law->n_smooth, 0);
  for (int k = 0; k < law->n_smooth; k++)
    if (law->smooth_size[k] < 1) Rf_error("internal error: `smooth_size` must be positive");
  law->threads = call_int(model, "threads", 1, INT_MAX);
  if (lmm_law_smooth_columns(law) > p) Rf_error("internal error: more smooth columns than columns");
}

/* Keys of pairs of levels are doubles. */
static void check_keys(const lmm_shape *shape) {
  if (!lmm_sums_fit(shape)) Rf_error("too many levels of two factors and of the residual variance");
}

static void *new_vector(void *ctx, size_t bytes) {
  call_vector *vector = (call_vector *)ctx;
  vector->last = Rf_allocVector(REALSXP, (R_xlen_t)(bytes / sizeof(double)));
  REPROTECT(vector->last, vector->at);
  return REAL(vector->last);
}

elbo_memory call_vector_memory(call_vector *vector) {
  const elbo_memory memory = {new_vector, vector};
  vector->last = R_NilValue;
  PROTECT_WITH_INDEX(vector->last, &vector->at);
  return memory;
}

/* ---- entries --------------------------------------------------------------------------------- */

SEXP call_glmm_survey(SEXP data) {
  lmm_rows rows;
  call_rows(data, &rows);
  SEXP out = PROTECT(
      Rf_allocVector(REALSXP, (R_xlen_t)lmm_survey_size(rows.q + rows.p + 1)));
  lmm_survey_rows(&rows, REAL(out));
  UNPROTECT(1);
  return out;
}

SEXP call_glmm_survey_merge(SEXP a, SEXP b) {
  const R_xlen_t n = Rf_xlength(a);
  if (TYPEOF(a) != REALSXP || TYPEOF(b) != REALSXP || n != Rf_xlength(b) ||
      n < (R_xlen_t)lmm_survey_size(1) || (n - SURVEY_COLUMNS) % 3 != 0)
    Rf_error("these are no surveys of the same columns");
  SEXP out = PROTECT(Rf_duplicate(a));
  lmm_survey_merge(REAL(out), REAL_RO(b), (int)((n - SURVEY_COLUMNS) / 3));
  UNPROTECT(1);
  return out;
}

/* `shape`: list(p, q, n_group, n_level, n_smooth), or of several factors list(p, q, first, n_unit,
 * n_level, n_smooth). */
SEXP call_glmm_stats_open(SEXP survey, SEXP shape) {
  lmm_shape s = {.p = call_int(shape, "p", 0, INT_MAX),
                 .q = call_int(shape, "q", 0, LMM_MAX_TERMS),
                 .n_level = call_int(shape, "n_level", 1, INT_MAX)};
  s.n_factor = (int)Rf_xlength(call_element(shape, "n_unit"));
  if (s.n_factor > 0) {
    s.first = call_ints(shape, "first", s.n_factor + 1, 0);
    s.n_unit = call_ints(shape, "n_unit", s.n_factor, 0);
    for (int f = 0; f < s.n_factor; f++)
      if (s.n_unit[f] < 1 || s.first[f + 1] <= s.first[f]) Rf_error("internal error: `first`");
    if (s.n_factor > LMM_MAX_TERMS || s.first[0] != 0 || s.first[s.n_factor] != s.q)
      Rf_error("internal error: `first` must count the terms of `Z`");
    check_keys(&s);
  } else {
    s.m = call_int(shape, "n_group", s.q > 0, INT_MAX);
    if (s.q == 0) s.m = 0;
  }
  s.n_smooth = call_int(shape, "n_smooth", 0, s.p);
  if (TYPEOF(survey) != REALSXP ||
      (size_t)Rf_xlength(survey) != lmm_survey_size(s.q + s.p + 1) ||
      !(REAL_RO(survey)[SURVEY_N] > 0.0))
    Rf_error("this is no survey of rows of these columns");
  call_vector made;
  const elbo_memory out = call_vector_memory(&made);
  if (s.n_factor > 0)
    lmm_sums_open(REAL_RO(survey), &s, &out);
  else
    lmm_stats_open(REAL_RO(survey), &s, &out);
  UNPROTECT(1);
  return made.last;
}

static void check_rows_of(const double *flat, const lmm_rows *rows) {
  int same = rows->p == flat[FLAT_P] && rows->q == flat[FLAT_Q] &&
             rows->n_level == flat[FLAT_LEVELS] && rows->n_factor == flat[FLAT_FACTORS];
  if (same && rows->n_factor > 0) {
    lmm_sums s;
    lmm_sums_parts(flat, &s);
    for (int f = 0; f < rows->n_factor; f++)
      same &= rows->first[f] == s.first[f] && rows->n_unit[f] == s.n_unit[f];
  } else if (rows->q > 0) {
    same &= rows->m == flat[FLAT_M];
  }
  if (!same) Rf_error("these rows are not of the shape of the statistics");
}

SEXP call_glmm_stats_add(SEXP stats, SEXP data) {
  const double *flat = call_flat(stats, 0);
  const elbo_memory memory = call_memory();
  call_vector made;
  lmm_rows rows;
  call_rows(data, &rows);
  check_rows_of(flat, &rows);
  const elbo_memory out = call_vector_memory(&made);
  if (rows.n_factor > 0)
    lmm_sums_add(flat, &rows, &memory, &out);
  else
    lmm_stats_add(flat, &rows, &memory, &out);
  UNPROTECT(1);
  return made.last;
}

SEXP call_glmm_stats_merge(SEXP a, SEXP b) {
  const double *first = call_flat(a, 0), *second = call_flat(b, 0);
  const elbo_memory memory = call_memory();
  call_vector made;
  const int several = first[FLAT_FACTORS] > 0 && second[FLAT_FACTORS] > 0;
  if (!(several ? lmm_sums_mergeable(first, second) : lmm_stats_mergeable(first, second)))
    Rf_error("the statistics are sums about different shifts: open both from the same survey");
  const elbo_memory out = call_vector_memory(&made);
  if (several)
    lmm_sums_merge(first, second, &out);
  else
    lmm_stats_merge(first, second, &memory, &out);
  UNPROTECT(1);
  return made.last;
}

/* The statistics of all rows of a model. */
SEXP call_glmm_stats(SEXP data, SEXP model) {
  const elbo_memory memory = call_memory();
  call_vector made;
  double *flat;
  lmm_rows rows;
  lmm_law law;
  call_rows(data, &rows);
  if (rows.n < 1) Rf_error("internal error: no rows");
  const lmm_shape shape = {
      .n_level = rows.n_level, .n_factor = rows.n_factor, .n_unit = rows.n_unit};
  check_keys(&shape);
  call_law(model, rows.p, rows.q, rows.n_level, &law);
  const elbo_memory out = call_vector_memory(&made);
  if (lmm_fit_summarise(&rows, &law, &flat, &memory, &out) != ELBO_OK)
    Rf_error("internal error: the data do not fit into memory");
  UNPROTECT(1);
  return made.last;
}
