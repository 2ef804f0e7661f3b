/* Sufficient statistics of several grouping factors: W the weights, Z'WZ by level and by pair of
 * levels that meet (a cell), Z'W[X y] by level, and [X y]'W[X y]; of scaled data. */
#ifndef ELBO_GLMM_CROSSED_H
#define ELBO_GLMM_CROSSED_H

#include "glmm/types.h"

/* Levels are nodes, factor after factor, the factor with most of them first.  A cell is a pair of
 * nodes i and j of different factors; its block has the rows of i and the columns of j. */
struct lmm_crossed {
  int threads;
  int n_factor, n_node, n;  /* n: columns of Z, of all levels */
  int *first;               /* n_factor + 1: terms */
  int *n_unit, *first_node; /* n_factor; */
  int *factor_of;           /* n_node */
  int *size;                /* n_node: terms of its factor */
  size_t *diagonal;         /* n_node: where its block of Z'WZ is in `own` */
  double *own;
  size_t n_cell;
  int *cell_i, *cell_j;
  size_t *first_value; /* n_cell + 1: where its block is in `value` */
  double *value;
  double *cross;   /* (p + 1) x (p + 1), lower: [X y]'W[X y] */
  double *by_node; /* n x (p + 1), by row, nodes in order: Z'W[X y] */
};

/* Statistics of rows with several factors. */
elbo_status lmm_crossed_stats(lmm_stats *stats, const lmm_rows *rows, const lmm_law *law,
                              const elbo_memory *mem);
/* Where the levels of factor f are among the nodes. */
static inline int lmm_node(const lmm_crossed *c, int f, int level) {
  return c->first_node[f] + level;
}

#endif
