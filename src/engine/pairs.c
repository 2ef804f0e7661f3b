/* H g by the last steps alone (L-BFGS: Liu & Nocedal 1989, Math. Program. 45:503), for a metric A
 * that is never formed.  All that the recursion asks of H_0 = A^{-1} is what it makes of g and of
 * changes y of minus g, and with A nearly constant over some steps A^{-1} y is the change of minus
 * the natural step: what EM, or a natural gradient, tells anyway (Jamshidian & Jennrich 1997, JRSS
 * B 59:569, whose QN2 this is with a short memory). */
#include <math.h>
#include <string.h>

#include "engine/ascent.h"
#include "math/small.h"

/* SLOTS: one more, in which a pair is looked at before it is kept.  PARTS of each: s, y,
 * A^{-1} y. */
enum { PAIRS = 20, SLOTS = PAIRS + 1, PARTS = 3 };

size_t pairs_size(int n) { return (size_t)SLOTS * (PARTS * (size_t)n + 2); }

typedef struct {
  double *s, *y, *natural, *sy, *weight;
} pair;

/* The i-th that was kept. */
static pair get(const ascent *a, int i) {
  const size_t n = (size_t)a->model->n_eta;
  double *at = a->pairs + (size_t)(i % SLOTS) * (PARTS * n + 2);
  const pair p = {at, at + n, at + 2 * n, at + 3 * n, at + 3 * n + 1};
  return p;
}

static void add(double *to, double by, const double *x, int n) {
  for (int i = 0; i < n; i++) to[i] += by * x[i];
}

int pairs_step(ascent *a) {
  const int n = a->model->n_eta, oldest = larger(0, a->n_pairs - PAIRS);
  double *g = a->values, *z = a->step;
  memcpy(g, a->gradient, (size_t)n * sizeof(double));
  memcpy(z, a->natural, (size_t)n * sizeof(double));
  for (int i = a->n_pairs - 1; i >= oldest; i--) {
    const pair p = get(a, i);
    *p.weight = dot(p.s, g, n) / *p.sy;
    add(g, -*p.weight, p.y, n);
    add(z, -*p.weight, p.natural, n);
  }
  if (a->n_pairs > 0) { /* the metric's size may be off: Nocedal & Wright (7.20) */
    const pair p = get(a, a->n_pairs - 1);
    const double size = *p.sy / dot(p.y, p.natural, n);
    for (int i = 0; i < n; i++) z[i] *= size;
  }
  for (int i = oldest; i < a->n_pairs; i++) {
    const pair p = get(a, i);
    add(z, *p.weight - dot(p.y, z, n) / *p.sy, p.s, n);
  }
  return dot(a->gradient, z, n) > 0.0;
}

void pairs_keep(ascent *a) {
  const int n = a->model->n_eta;
  const pair p = get(a, a->n_pairs);
  for (int i = 0; i < n; i++) {
    p.s[i] = a->eta1[i] - a->eta[i];
    p.y[i] = a->gradient[i] - a->rotated[i];
    p.natural[i] = a->natural[i] - a->natural1[i];
  }
  *p.sy = dot(p.s, p.y, n);
  const double size = dot(p.y, p.natural, n);
  if (*p.sy > 1e-8 * sqrt(fabs(size * dot(p.s, a->gradient, n))) && size > 0.0 && isfinite(size))
    a->n_pairs++;
}
