#include "mixture/regression_glm_em.h"

#include "math/la.h"
#include "mixture/regression_coordinates.h"
#include "mixture/regression_glm.h"

enum { STEPS_OUT = 60 };

/* ---- Newton steps ---------------------------------------------------------------------------- */

/* Gradient (of sum r log p, then of the objective, in w->linear), A + P (in w->A) and the Newton
 * step (w->step), from the pass at gamma that left w->linear and w->A.  All are zero in
 * coefficients that are held at the boundary. */
static void newton_step(const regression *w, int j, const double *gamma) {
  const int p = w->spec.p;
  multiply(w->prior_precision, gamma, p, w->step);
  for (int a = 0; a < p; a++) w->linear[a] += w->prior_linear[a] - w->step[a];
  for (int a = 0; a < p * p; a++) w->A[a] += w->prior_precision[a];
  for (int a = 0; a < p; a++) {
    if (!is_held(w, j, a)) continue;
    w->linear[a] = 0.0;
    for (int b = 0; b < p; b++) w->A[a + p * b] = w->A[b + p * a] = 0.0;
  }
  la_solve_semidefinite(w->A, w->linear, p, w->unit, w->L, w->inverse, w->step);
}

/* How far a step moves any linear predictor, at most. */
static double reach_of(const regression *w) {
  double sum = 0.0;
  for (int a = 0; a < w->spec.p; a++) sum += fabs(w->step[a]) * w->reach[a];
  return sum;
}

static double objective(const regression *w, const double *r, int j, const double *gamma) {
  const double value = regression_glm_pass(w, r, j, gamma, NULL, w->linear, w->A);
  return value + dot(w->prior_linear, gamma, w->spec.p) -
         0.5 * la_quadratic(w->prior_precision, gamma, w->spec.p);
}

/* The largest of the steps step, step / 2, ... that does not lower the objective, taken; 0 if none
 * does. */
static int search(const regression *w, const double *r, double *gamma, int j, double *value) {
  const int p = w->spec.p;
  const double reach = reach_of(w);
  double factor = 1.0;
  for (int a = 0; a < p; a++) w->goal[a] = w->step[a];
  for (int tries = 0; tries < HALVINGS; tries++) {
    for (int a = 0; a < p; a++) w->trial[a] = gamma[a] + factor * w->goal[a];
    const double next = objective(w, r, j, w->trial);
    if (next >= *value) {
      memcpy(gamma, w->trial, (size_t)p * sizeof(double));
      *value = next;
      return 1;
    }
    if (is_rounding(next, *value)) return 0;
    factor = fmin(0.5 * factor, 4.0 / reach);
  }
  return 0;
}

/* ---- the boundary ------------------------------------------------------------------------------
 *
 * Where a direction d of the coefficients only takes rows further to where they are fitted without
 * error, the likelihood rises to a limit, in which these rows have mean 0 (or probability 0 or 1).
 * The limit is the estimate.  A component is put so far out along d that the rows are there to all
 * digits of a double, and one coefficient is held for each such d, the others being free: what rows
 * say of them does not change any more. */

static const double FLAT = 1e-6;     /* part of the information that a direction has left */
static const double FADING = 1e-2;   /* the same, where it is worth while to look */
static const double UNLIKELY = 0.02; /* r of rows that may have to leave */

/* The first column from `from` on of which the rows, given the columns before it, say less than the
 * part `tol` of what they could, or -1; by A + P (w->A) and w->plain.  d is the direction in which
 * they say it, one in that column. */
static int flat_column(const regression *w, int from, double tol, double *d) {
  const int p = w->spec.p;
  double *L = w->L, *s = w->unit;
  for (int a = 0; a < p; a++) {
    s[a] = w->plain[a] > 0.0 && w->A[a + p * a] > 0.0 ? 1.0 / sqrt(w->plain[a]) : 0.0;
    double left = s[a] > 0.0 ? w->A[a + p * a] * s[a] * s[a] : HUGE_VAL;
    for (int c = 0; c < a; c++) {
      double sum = w->A[a + p * c] * s[a] * s[c];
      for (int e = 0; e < c; e++) sum -= L[a + p * e] * L[c + p * e];
      L[a + p * c] = L[c + p * c] > 0.0 ? sum / L[c + p * c] : 0.0;
      left -= L[a + p * c] * L[a + p * c];
    }
    L[a + p * a] = left > tol && s[a] > 0.0 ? sqrt(left) : 0.0;
    if (s[a] == 0.0 || left > tol || a < from) continue;
    memset(d, 0, (size_t)p * sizeof(double));
    d[a] = 1.0;
    for (int c = a - 1; c >= 0; c--) {
      if (!(L[c + p * c] > 0.0)) continue;
      double sum = L[a + p * c];
      for (int e = c + 1; e < a; e++) sum += L[e + p * c] * d[e] * s[a] / (s[e] > 0.0 ? s[e] : 1.0);
      d[c] = -sum / L[c + p * c] * s[c] / s[a];
    }
    return a;
  }
  return -1;
}

/* Out along the first flat direction in which that does not lower the objective; 0 if there is
 * none.  From newton_step(); where it moved, w->linear and w->A are of the pass at the new
 * gamma. */
static int to_boundary(const regression *w, const double *r, int j, double *gamma, double *value) {
  const int p = w->spec.p;
  double *d = w->goal;
  for (int a = flat_column(w, 0, FLAT, d); a >= 0; a = flat_column(w, a + 1, FLAT, d)) {
    rows_along rows = {0.0, 0.0, 0.0, 0.0};
    regression_glm_along(w, r, j, gamma, d, &rows);
    /* Columns that depend on each other in the rows of a component are another matter. */
    if (!(rows.square > 1e-6 * w->plain[a] * d[a] * d[a])) continue;
    if (rows.score < 0.0)
      for (int b = 0; b < p; b++) d[b] = -d[b];
    regression_glm_along(w, r, j, gamma, d, &rows);
    for (int b = 0; b < p; b++) w->trial[b] = gamma[b] + rows.far * d[b];
    const double next = objective(w, r, j, w->trial);
    const int better = next >= *value || is_rounding(next, *value);
    if (better) {
      memcpy(gamma, w->trial, (size_t)p * sizeof(double));
      w->boundary[a + p * j] = 1.0;
      *value = next;
      return 1;
    }
    objective(w, r, j, gamma);
    newton_step(w, j, gamma);
  }
  return 0;
}

/* ---- em -------------------------------------------------------------------------------------- */

/* b'' changes by no more than the factor e^t where x moves by t (|b'''| <= b''), so a step of small
 * reach raises the objective for sure; and, of reach 1e-5, leaves nothing to another. */
static void climb(const regression *w, const double *r, int j, int steps) {
  const int p = w->spec.p;
  double *gamma = w->gamma + p * j;
  double value = objective(w, r, j, gamma);
  for (int step = 0; step < steps; step++) {
    newton_step(w, j, gamma);
    const int last = reach_of(w) <= 1e-5;
    if (to_boundary(w, r, j, gamma, &value)) continue;
    for (int a = 0; last && a < p; a++) gamma[a] += w->step[a];
    if (last || !search(w, r, gamma, j, &value)) break;
  }
  regression_set_gamma(w, j, gamma);
}

static elbo_status m_step(void *work, const double *stat, const double *r, int *component) {
  const regression *w = (const regression *)work;
  (void)stat, (void)component;
  for (int j = 0; j < w->spec.k; j++) climb(w, r, j, NEWTON_STEPS);
  return ELBO_OK;
}

/* Components whose likely rows alone would go to the boundary. */
static int settle(void *work, const double *stat, const double *r) {
  regression *w = (regression *)work;
  const int p = w->spec.p;
  int moved = 0;
  (void)stat;
  for (int j = 0; j < w->spec.k; j++) {
    double *gamma = w->gamma + p * j, *held = w->boundary + p * j;
    int before = 0, after = 0;
    w->least = UNLIKELY;
    objective(w, r, j, gamma);
    newton_step(w, j, gamma);
    if (flat_column(w, 0, FADING, w->goal) >= 0) {
      for (int a = 0; a < p; a++) before += held[a] > 0.0;
      memcpy(w->from, gamma, (size_t)p * sizeof(double));
      climb(w, r, j, STEPS_OUT);
      for (int a = 0; a < p; a++) after += held[a] > 0.0;
      if (after == before) regression_set_gamma(w, j, w->from);
    }
    w->least = 0.0;
    moved |= after > before;
  }
  return moved;
}

static elbo_status gradient(void *work, const double *stat, const double *r, double *gradient) {
  const regression *w = (const regression *)work;
  const int p = w->spec.p;
  (void)stat;
  for (int j = 0; j < w->spec.k; j++, gradient += p) {
    const double *gamma = w->gamma + p * j;
    regression_glm_pass(w, r, j, gamma, NULL, w->linear, w->A);
    newton_step(w, j, gamma);
    memcpy(gradient, w->linear, (size_t)p * sizeof(double));
  }
  return ELBO_OK;
}

void regression_glm_em(mixture_part *part, const regression *w) {
  part->m_step = m_step;
  if (w->spec.method != MIXTURE_EM) return;
  part->gradient = gradient;
  part->settle = settle;
}
