#include "mixture/regression_glm_vb.h"

#include "law/exponential_family.h"
#include "math/la.h"
#include "mixture/regression_glm.h"
#include "mixture/regression_q.h"

/* ---- vb: the natural gradient -------------------------------------------------------------------
 *
 * The derivatives of E_q log p by the moments E gamma and E gamma gamma' are g + A gamma and -A / 2
 * (Opper & Archambeau 2009, Neural Computation 21:786), so that the natural parameters at which the
 * gradient of the ELBO vanishes, given these, are precision A + P and linear part g + A gamma + h
 * (Khan & Lin 2017, AISTATS). */

static double objective(const regression *w, const double *r, int j, const double *gamma,
                        const double *V, const double *root) {
  return regression_glm_pass(w, r, j, gamma, root, w->linear, w->A) +
         regression_minus_kl(w, gamma, V, root);
}

/* From the pass at gamma that left w->linear and w->A. */
static void natural_goal(const regression *w, const double *gamma, double *eta) {
  const int p = w->spec.p;
  multiply(w->A, gamma, p, w->step);
  for (int a = 0; a < p; a++) w->linear[a] += w->step[a] + w->prior_linear[a];
  for (int a = 0; a < p * p; a++) w->A[a] += w->prior_precision[a];
  law_normal_natural(p, w->A, w->linear, eta);
}

/* From `from` towards `goal`, all the way or half and so on, as far as does not lower the
 * objective. */
static int search(const regression *w, const double *r, int j, double *value) {
  const int p = w->spec.p, n = law_normal_size(p);
  double factor = 1.0;
  for (int tries = 0; tries < HALVINGS; tries++, factor *= 0.5) {
    for (int a = 0; a < n; a++) w->mix[a] = w->from[a] + factor * (w->goal[a] - w->from[a]);
    if (law_normal_from_natural(p, w->mix, w->trial, w->trial_V) != ELBO_OK) continue;
    memcpy(w->trial_root, w->trial_V, square(p) * sizeof(double));
    if (la_chol(w->trial_root, p) != ELBO_OK) continue;
    const double next = objective(w, r, j, w->trial, w->trial_V, w->trial_root);
    if (is_rounding(next, *value)) return 0;
    if (!(next >= *value)) continue;
    regression_set_q(w, j, w->trial, w->trial_V);
    memcpy(w->root + p * p * j, w->trial_root, square(p) * sizeof(double));
    *value = next;
    return 1;
  }
  return 0;
}

static elbo_status m_step(void *work, const double *stat, const double *r, int *component) {
  const regression *w = (const regression *)work;
  const int p = w->spec.p;
  (void)stat;
  (void)component;
  for (int j = 0; j < w->spec.k; j++) {
    double *gamma = w->gamma + p * j;
    double value = objective(w, r, j, gamma, w->V + p * p * j, w->root + p * p * j);
    for (int step = 0; step < NEWTON_STEPS; step++) {
      const double before = value;
      natural_goal(w, gamma, w->goal);
      regression_natural_q(w, j, w->from);
      if (!search(w, r, j, &value)) break;
      if (value - before <= 1e-10 * (1.0 + fabs(value))) break;
    }
  }
  return ELBO_OK;
}

static elbo_status target(void *work, const double *stat, const double *r, double *eta) {
  const regression *w = (const regression *)work;
  const int p = w->spec.p;
  (void)stat;
  for (int j = 0; j < w->spec.k; j++, eta += law_normal_size(p)) {
    const double *gamma = w->gamma + p * j;
    regression_glm_pass(w, r, j, gamma, w->root + p * p * j, w->linear, w->A);
    natural_goal(w, gamma, eta);
  }
  return ELBO_OK;
}

void regression_glm_vb(mixture_part *part, const regression *w) {
  (void)w;
  part->m_step = m_step;
  part->target = target;
}
