/* The rows of a group at a level, sorted and rotated. */
#ifndef ELBO_GLMM_CELLS_H
#define ELBO_GLMM_CELLS_H

#include "glmm/types.h"

/* A cell is the rows of a group at a level; the cells of a group are neighbours, by level.  Groups
 * without rows may have a cell without rows. */
typedef struct {
  int n_cell;
  int *of_row;     /* n: cell of each row, or NULL: its group */
  int *first_row;  /* n_cell + 1, when rows are sorted by cell */
  int *level;      /* n_cell, 0-based */
  int *first_cell; /* m + 1 */
} lmm_cells;

void lmm_find_cells(lmm_cells *cells, const lmm_rows *rows, const elbo_memory *mem);

/* How columns [Z X y] are shifted and scaled, which are ones throughout, and which of Z absorbs
 * what is shifted within cells (-1: none does). */
typedef struct {
  const double *shift, *scale;
  const int *one;
  double root_weight_scale;
  int z_one;
} lmm_columns;

/* Where the rotated cells go, those that have rows, in their order: the q between rows
 * (n_col x q, by row, zero-padded) about a pivot (n_col, where there is a z_one), and, added to,
 * the within cross-products of their level. */
typedef struct {
  double *between, *pivot, *within;
} lmm_reduced;

void lmm_reduce_cells(const lmm_rows *rows, const lmm_cells *cells, const lmm_columns *columns,
                      const lmm_reduced *out, const elbo_memory *mem);

#endif
