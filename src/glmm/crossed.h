/* What the solver of several grouping factors reads: sums by level and by pair of levels
 * (glmm/crossed_sums.h), in the columns that a law allows, for each level of the residual
 * variance. */
#ifndef ELBO_GLMM_CROSSED_H
#define ELBO_GLMM_CROSSED_H

#include "glmm/crossed_sums.h"
#include "glmm/types.h"

/* Levels of factors are nodes, factor after factor, the factor with most of them first.  A cell is
 * a pair of nodes i and j of different factors. */
struct lmm_crossed {
  int threads, n_level;     /* of the residual variance */
  int n_factor, n_node, n;  /* n: columns of Z, of all levels */
  int *first;               /* n_factor + 1: terms */
  int *n_unit, *first_node; /* n_factor; */
  int *factor_of;           /* n_node */
  int *size;                /* n_node: terms of its factor */
  size_t *diagonal;         /* n_node + 1: where the block of a node is among all */
  /* A node's sums at a level: size x (size + p + 1), by row: Z'W[Z X y]. */
  size_t n_own;
  int *own_node, *own_level;
  size_t *first_own;
  double *own;
  /* Z'WZ of a cell at the levels that it has: rows of i, columns of j, by column. */
  size_t n_cell;
  int *cell_i, *cell_j;
  size_t *first_entry; /* n_cell + 1 */
  int *entry_level;
  size_t *first_value; /* n_cell + 1: where the first entry of a cell is in `value` */
  double *value;
};

/* Where the levels of factor f are among the nodes. */
static inline int lmm_node(const lmm_crossed *c, int f, int level) {
  return c->first_node[f] + level;
}
/* Numbers of the block of a cell, and of one in full. */
static inline size_t lmm_block(const lmm_crossed *c, int i, int j) {
  return (size_t)c->size[i] * (size_t)c->size[j];
}

/* New columns from the flat ones: of Z column k (z + add one) factor, of [X y] their product with a
 * matrix, or as they are. */
typedef struct {
  int *z;                   /* q: which column of Z */
  double *z_add, *z_factor; /* q */
  double *xy;               /* (p + 1) x (n + 1), or NULL */
  int n;                    /* columns of the new X */
} lmm_transform;

/* stats->crossed, and the numbers of rows that it has instead of those of cells. */
void lmm_crossed_close(const double *flat, const lmm_transform *transform, int threads,
                       lmm_stats *stats, const elbo_memory *mem);

#endif
