/* What every layer shares: how a function ended, and where memory comes from. */
#ifndef ELBO_MATH_STATUS_H
#define ELBO_MATH_STATUS_H

#include <stddef.h>

typedef enum {
  ELBO_OK = 0,
  ELBO_MAX_ITER,          /* the best state so far is kept */
  ELBO_STOPPED,           /* interrupted, or no step raises the objective any more */
  ELBO_E_NOT_PD = -1,     /* a matrix that must be positive definite is not */
  ELBO_E_NOT_FINITE = -2, /* the objective or its derivatives are not finite */
  ELBO_E_DESCENT = -3,    /* a coordinate step lowered the ELBO: a bug */
  ELBO_E_RANK = -4,       /* columns that may say nothing new: see the model's pivots */
  ELBO_E_UNBOUNDED = -5,  /* a variance can go to zero with a perfect fit */
  ELBO_E_DIM = -6         /* sizes that do not fit each other */
} elbo_status;

/* Memory comes from the caller (R_alloc from R, malloc in the C tests), so that nothing is
 * owned here and a jump out of R leaks nothing.  `get` does not return NULL. */
typedef struct {
  void *(*get)(void *ctx, size_t bytes);
  void *ctx;
} elbo_memory;

double *elbo_doubles(const elbo_memory *mem, size_t n);
int *elbo_ints(const elbo_memory *mem, size_t n);

#endif
