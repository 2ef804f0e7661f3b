/* Statistics of the Gaussian mixed model, and rows, as R hands them over. */
#ifndef ELBO_CALL_GLMM_STATS_H
#define ELBO_CALL_GLMM_STATS_H

#include "call/support.h"
#include "glmm/close.h"

/* The list that R's glmm_rows() makes: X, Z, y, weight, level, n_level; group, n_group; or, of
 * several grouping factors, groups (a list), first (the first term of each, from 0, and their
 * number), n_unit, threads. */
void call_rows(SEXP data, lmm_rows *rows);
/* The law of a model (R's glmm_model()) of p coefficients, q latent terms and n_level levels. */
void call_law(SEXP model, int p, int q, int n_level, lmm_law *law);
/* The flat vector; an error where it is not whole, or (`complete`) groups have no rows. */
const double *call_flat(SEXP x, int complete);

/* Memory that hands out R vectors, the last of which is kept from the collector: one object
 * protected. */
typedef struct {
  SEXP last;
  PROTECT_INDEX at;
} call_vector;

elbo_memory call_vector_memory(call_vector *vector);

#endif
