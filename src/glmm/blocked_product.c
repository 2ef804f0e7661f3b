/* Products with what the blocked solver knows of the levels of all factors together. */
#include "glmm/blocked_product.h"

#include <string.h>

#include "glmm/blocked_state.h"

/* Rows of k numbers from the order of levels to that of places, or back. */
static void place_rows(const crossed *c, int back, int k, const double *from, double *to) {
  const lmm_crossed *d = c->cells;
  const size_t row = (size_t)k;
  size_t level = 0;
  for (int f = 0; f < d->n_factor; f++)
    for (int g = 0; g < d->n_unit[f]; g++) {
      const int node = lmm_node(d, f, g);
      const size_t n = (size_t)d->size[node], place = (size_t)c->b.place[node];
      memcpy(to + row * (back ? level : place), from + row * (back ? place : level),
             n * row * sizeof(double));
      level += n;
    }
}

int lmm_blocked_levels(const glmm_solver *solver) { return ((const crossed *)solver->state)->n; }

void lmm_blocked_product(const glmm_solver *solver, int inverse, int k, const double *in,
                         double *out, double *work) {
  crossed *c = (crossed *)solver->state;
  const size_t size = (size_t)c->n * (size_t)k;
  double *a = work, *b = work + size;
  crossed_factor(c); /* which is put off where nothing is random */
  place_rows(c, 0, k, in, a);
  if (inverse) {
    crossed_by_root(c, c->root, 1, k, a, b);
    blocked_forward(&c->b, k, b);
    blocked_backward(&c->b, k, b);
    crossed_by_root(c, c->root, 0, k, b, a);
  } else {
    crossed_product(c, k, a, b);
  }
  place_rows(c, 1, k, inverse ? a : b, out);
}
