#include "mixture/regression_gaussian_vb.h"

#include "law/exponential_family.h"
#include "math/la.h"
#include "mixture/regression_gaussian.h"
#include "mixture/regression_q.h"

enum { Q_STEPS = 100 };

/* What the prior gives to the rate of q(sigma^2). */
static double prior_rate(const regression *w, double precision) {
  return law_half_t_rate(w->sigma_prior.df, w->sigma_prior.scale, precision);
}

/* q(gamma_j) at E[1/x] = precision: its precision A and, about the origin of the statistics, b. */
static void conjugate(const regression *w, const double *stat, int j, double precision) {
  const int p = w->spec.p;
  regression_normal_equations(w, stat, j, w->A, w->linear);
  multiply(w->prior_precision, stat_origin(w, stat, j), p, w->step);
  for (int a = 0; a < p; a++)
    w->linear[a] = precision * w->linear[a] + w->prior_linear[a] - w->step[a];
  for (int a = 0; a < p * p; a++) w->A[a] = precision * w->A[a] + w->prior_precision[a];
}

static elbo_status update_gamma(const regression *w, const double *stat, int j, double precision) {
  const int p = w->spec.p;
  const double *from = stat_origin(w, stat, j);
  conjugate(w, stat, j, precision);
  elbo_status status = la_chol(w->A, p);
  if (status == ELBO_OK) status = la_inverse_from_chol(w->A, p);
  if (status != ELBO_OK) return status;
  multiply(w->A, w->linear, p, w->step);
  for (int a = 0; a < p; a++) w->trial[a] = from[a] + w->step[a];
  regression_set_q(w, j, w->trial, w->A);
  return ELBO_OK;
}

/* Coordinate steps of q(gamma), q(a) and q(sigma^2) in turn, to the end: they cost no pass over the
 * rows. */
static elbo_status m_step(void *work, const double *stat, const double *r, int *component) {
  regression *w = (regression *)work;
  (void)r;
  (void)component;
  for (int s = 0; s < w->n_sigma; s++) {
    double precision = w->precision[s], n, S;
    for (int step = 0; step < Q_STEPS; step++) {
      for (int j = sigma_first(w, s); j < sigma_last(w, s); j++) {
        const elbo_status status = update_gamma(w, stat, j, precision);
        if (status != ELBO_OK) return status;
      }
      if (!sigma_free(w, s)) break;
      regression_residual_sums(w, stat, s, &n, &S);
      const double before = precision, rate = prior_rate(w, precision) + 0.5 * S;
      w->shape[s] = 0.5 * (w->sigma_prior.df + n);
      w->rate[s] = rate / (w->y_scale * w->y_scale);
      precision = w->shape[s] / rate;
      if (fabs(precision - before) <= 1e-12 * precision) break;
    }
  }
  return ELBO_OK;
}

static elbo_status target(void *work, const double *stat, const double *r, double *eta) {
  const regression *w = (const regression *)work;
  const int p = w->spec.p;
  (void)r;
  for (int j = 0; j < w->spec.k; j++, eta += law_normal_size(p)) {
    conjugate(w, stat, j, w->precision[sigma_of(w, j)]);
    multiply(w->A, stat_origin(w, stat, j), p, w->step);
    for (int a = 0; a < p; a++) w->linear[a] += w->step[a];
    law_normal_natural(p, w->A, w->linear, eta);
  }
  for (int s = 0; s < w->n_sigma; s++) {
    double n, S;
    if (!sigma_free(w, s)) continue;
    regression_residual_sums(w, stat, s, &n, &S);
    *eta++ = -(0.5 * (w->sigma_prior.df + n) + 1.0);
    *eta++ = -(prior_rate(w, w->precision[s]) + 0.5 * S);
  }
  return ELBO_OK;
}

void regression_gaussian_vb(mixture_part *part, const regression *w) {
  (void)w;
  part->m_step = m_step;
  part->target = target;
}
