/* Cholesky factor, log-determinant, solutions and selected inverse of a symmetric positive definite
 * matrix A made of small blocks: the penalised normal matrix of random effects with several
 * grouping factors.
 *
 * A node is a level: a few columns.  The first `n_leaf` nodes, the levels of one factor, do not
 * touch each other: they are eliminated first, and the rest by minimum degree (math/order.h) up
 * to a dense end.  Columns with the same rows below them form a supernode, whose part of the factor
 * is a dense panel: columns of `n_row` numbers, its own rows first, then those below.  So a block
 * that is diagonal, sparse or dense costs what it is. */
#ifndef ELBO_MATH_BLOCKED_H
#define ELBO_MATH_BLOCKED_H

#include "math/factor.h"

/* The pattern: sizes of the nodes and the cells (i, j), i != j, each once, where A has a block. */
typedef struct {
  int n_node, n_leaf;
  const int *size;
  size_t n_cell;
  const int *cell_i, *cell_j;
} blocked_pattern;

/* Columns up to which a panel is worked on entry by entry; columns of an update made at a time. */
enum { BLOCKED_NARROW = 8, BLOCKED_STRIP = 256 };

typedef struct {
  int n_node, n, n_super, n_leaf; /* nodes, columns, supernodes; those that are leaves */
  int wide_leaves;                /* leaves of more than BLOCKED_NARROW columns: one thread */
  const int *size;
  int *place;          /* first column of each node: vectors are in this order */
  int *start;          /* n_super + 1: first column of each supernode */
  int *n_row;          /* rows of its panel */
  int *owner;          /* supernode of each column */
  size_t *panel;       /* n_super + 1: where its panel is in L and Z */
  size_t *first_below; /* n_super + 1: its rows below are below[first_below[J]] ... */
  int *below;          /* ... in ascending order */
  size_t *cell;        /* n_cell: where the block of a cell is in L and Z */
  double *L, *Z;       /* A then its factor; the inverse on the same pattern (lower) */
  double *space;       /* of updates */
  int *relative;       /* threads x n: places of rows in another panel */
  int n_tile, *tile; /* n_tile + 1: columns that leaves meet at a time, a few that stay in cache */
  product_work work;
} blocked;

/* What a pattern costs, before anything is laid out: entries of the factor, numbers of space, and
 * multiplications of factor and inverse together, in panels that are wide and narrow. */
typedef struct {
  double entries, space, wide, narrow;
} blocked_cost;

void blocked_measure(const blocked_pattern *pattern, blocked_cost *cost, const elbo_memory *mem);
void blocked_plan(blocked *b, const blocked_pattern *pattern, int threads, const elbo_memory *mem);

/* Where blocks are: that of node i on the diagonal (its lower triangle counts), and that of cell c
 * between i and j, whose rows are those of the node that is placed later.  ld apart. */
static inline size_t blocked_diagonal(const blocked *b, int i, int *ld) {
  const int J = b->owner[b->place[i]];
  *ld = b->n_row[J];
  return b->panel[J] + (size_t)(b->place[i] - b->start[J]) * (size_t)(1 + b->n_row[J]);
}
static inline int blocked_rows_are_first(const blocked *b, int i, int j) {
  return b->place[i] > b->place[j];
}
static inline int blocked_ld(const blocked *b, int i, int j) {
  return b->n_row[b->owner[b->place[blocked_rows_are_first(b, i, j) ? j : i]]];
}

/* Where the entry of two columns, by place, is in L and Z; whether it is there. */
int blocked_find(const blocked *b, int row, int column, size_t *at);

void blocked_clear(blocked *b); /* A = 0 */
/* A = L L' in place of A; log |A|. */
elbo_status blocked_factor(blocked *b, double *log_det);
/* R (n x k, by row) to L^{-1} R, and to L'^{-1} R. */
void blocked_forward(const blocked *b, int k, double *R);
void blocked_backward(const blocked *b, int k, double *R);
/* The inverse where the factor has entries. */
void blocked_inverse(blocked *b);
/* B and C, symmetric on the pattern of A and laid out as L is (lower), to the terms of t and t^2 of
 * (A + t B + t^2 C)^{-1} where the factor has entries: -A^{-1} B A^{-1} and
 * A^{-1} B A^{-1} B A^{-1} - A^{-1} C A^{-1}; after blocked_inverse(). */
size_t blocked_second_size(const blocked *b); /* of space, in doubles */
void blocked_second(blocked *b, double *B, double *C, double *space);
/* tr(A^{-1} B_i A^{-1} B_j) into out (n x n, lower), B_i symmetric on the pattern of A, laid out as
 * L is (lower) and destroyed; after blocked_factor() and blocked_inverse().  there: 2 n
 * integers. */
void blocked_curvature(blocked *b, int n, double *const *B, int *there, double *out);

#endif
