/* The sufficient statistics of the Gaussian mixed model as one flat vector of numbers, without
 * pointers: it can be kept, saved, sent and merged by value.  Opened from a survey of the rows,
 * which fixes shifts and scales for all chunks, fed chunk by chunk, and closed (glmm/close.h) to
 * what the kernels read.  It knows no law: not which variances are free or held, nor the method. */
#ifndef ELBO_GLMM_STATS_H
#define ELBO_GLMM_STATS_H

#include "glmm/types.h"

/* What the rows are, beside their survey. */
typedef struct {
  int p, q, m, n_level; /* q = 0: no groups, and m is 0 */
  int n_smooth; /* the last columns of X, of smooth terms, are not shifted: they have a law */
  /* Several grouping factors (glmm/crossed_sums.h), as lmm_rows has them; m is 0. */
  int n_factor;
  const int *first, *n_unit;
} lmm_shape;

/* The parts of a flat vector, where they lie in it. */
typedef struct {
  lmm_shape shape;
  int x_intercept, z_one; /* the first column of ones of X, of Z: -1 where there is none */
  size_t n_cell, size;
  double *header;
  double *shift, *scale, *low, *high; /* of the columns [Z X y]; low and high: of the data */
  double *origin;                     /* p: the response is y - X origin */
  double *n_rows, *within;            /* n_level; n_level x (p + 1) x (p + 1), lower */
  double *tables;                     /* of several factors; in place of all that follows */
  double *group, *level, *count;      /* n_cell: from 1, by group and level; rows */
  double *pivot;                      /* n_cell x n_col where there is a z_one */
  double *between;                    /* n_cell x q x n_col, by row, about the pivot */
} lmm_flat;

enum {
  FLAT_MAGIC = 0,
  FLAT_SIZE, /* of all */
  FLAT_P,
  FLAT_Q,
  FLAT_M,
  FLAT_LEVELS,
  FLAT_SMOOTH,
  FLAT_X_INTERCEPT, /* from 1, 0: none */
  FLAT_Z_ONE,
  FLAT_N,
  FLAT_N_CELL,
  FLAT_LOG_WEIGHT,  /* sum log w, of scaled weights */
  FLAT_ROOT_WEIGHT, /* scale of the root of the weights */
  FLAT_ROUNDING,    /* error that the scaled response carries from being computed; 0: data */
  FLAT_FACTORS,     /* several grouping factors; 0: one, or none */
  FLAT_HEADER = 16
};

/* The parts of what lmm_stats_open(), _add() or _merge() made; of any other vector after
 * lmm_stats_check(). */
void lmm_flat_parts(const double *flat, lmm_flat *parts);
/* Whether `flat`, of `size` numbers, is such a vector, whole and consistent. */
int lmm_stats_check(const double *flat, size_t size);
/* Whether all groups have rows. */
int lmm_stats_complete(const double *flat);
/* Whether two are sums about the same shifts, in the same units. */
int lmm_stats_mergeable(const double *a, const double *b);

/* Vectors that come out are from `out`, all that is needed on the way from `mem`. */
double *lmm_stats_open(const double *survey, const lmm_shape *shape, const elbo_memory *out);
/* Rows that the survey has seen, the response less X origin; none perhaps. */
double *lmm_stats_add(const double *flat, const lmm_rows *rows, const elbo_memory *mem,
                      const elbo_memory *out);
double *lmm_stats_merge(const double *a, const double *b, const elbo_memory *mem,
                        const elbo_memory *out);

/* What vectors of several factors share with these: an empty one, with n_rest numbers in `tables`;
 * its shifts and scales from a survey, or from another vector; and whether all before `tables` is
 * sound. */
size_t lmm_flat_fixed_size(const lmm_shape *shape);
double *lmm_flat_new(const lmm_shape *shape, size_t n_rest, const elbo_memory *out);
void lmm_flat_open_columns(double *flat, const double *survey, const lmm_shape *shape);
void lmm_flat_copy_columns(double *flat, const double *from);
int lmm_flat_check_columns(const double *flat, size_t size);

#endif
