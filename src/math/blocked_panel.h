/* A supernode's panel, and where its rows are in the panel of another: for math/blocked*.c. */
#ifndef ELBO_MATH_BLOCKED_PANEL_H
#define ELBO_MATH_BLOCKED_PANEL_H

#include "math/blocked.h"

typedef struct {
  int columns, n_below;
  size_t ld;
  const int *below;
} panel;

static inline panel panel_of(const blocked *b, int J) {
  const int columns = b->start[J + 1] - b->start[J];
  const panel p = {columns, b->n_row[J] - columns, (size_t)b->n_row[J],
                   b->below + b->first_below[J]};
  return p;
}

/* Column c of the matrix in the panel of its supernode K, in L or Z. */
static inline double *panel_column(const blocked *b, double *values, int K, int c) {
  return values + b->panel[K] + (size_t)b->n_row[K] * (size_t)(c - b->start[K]);
}

/* The first row below, from i on, that is `until` or later. */
static inline int panel_rows_until(const panel *p, int i, int until) {
  while (i < p->n_below && p->below[i] < until) i++;
  return i;
}

/* The first row below that is `from` or later, by halving. */
static inline int panel_rows_from(const panel *p, int from) {
  int low = 0, high = p->n_below;
  while (low < high) {
    const int middle = (low + high) / 2;
    if (p->below[middle] < from)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

/* Where rows i .. of p are among the rows of K's panel, which has them all. */
static inline void panel_relative(const blocked *b, const panel *p, int i, int K, int *relative) {
  const int first = b->start[K], end = b->start[K + 1];
  const int *rows = b->below + b->first_below[K];
  int at = 0;
  for (; i < p->n_below && p->below[i] < end; i++) relative[i] = p->below[i] - first;
  for (; i < p->n_below; i++) {
    while (rows[at] != p->below[i]) at++;
    relative[i] = end - first + at;
  }
}

/* Y (n_below x columns) = Z_BB G, Z laid out as L is, G (ld apart) among the rows below a panel;
 * space: n_below^2 where the panel is wide. */
void panel_inverse_product(blocked *b, const double *Z, const panel *p, const double *G,
                           int *relative, double *space, double *Y);
/* A, laid out as L is, less F K' (lower) at the rows below a panel, F and K ld apart; space:
 * n_below x BLOCKED_STRIP at most. */
void panel_subtract(blocked *b, const panel *p, const double *F, const double *K, double *A,
                    double *space);

#endif
