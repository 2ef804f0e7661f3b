/* Gradient and Hessian of the objective of the Gaussian mixed model. */
#include "glmm/information.h"

#include <math.h>
#include <string.h>

#include "glmm/cross.h"
#include "glmm/objective.h"
#include "glmm/parameters.h"
#include "glmm/smooth.h"
#include "math/la.h"

/* Covariance of the coefficients that are integrated along with u; NULL: none are. */
static const double *integrated_covariance(const lmm_work *w) {
  if (has_smooth(w)) return w->method == LMM_JOINT ? NULL : w->smooth.C;
  return integrates_beta(w) && !mean_field(w) ? w->C : NULL;
}

/* All derivatives with respect to the entries of Sigma and the residual variances into d. */
static void differentiate(lmm_work *w) {
  const lmm_parameters *par = &w->par;
  const int n = par->n_pair + par->n_level, joint = w->method == LMM_JOINT;
  const lmm_point point = {.beta = w->profile_beta,
                           .C = integrated_covariance(w),
                           .log_det = !joint,
                           .n_pair = par->n_pair,
                           .pair_a = par->pair_a,
                           .pair_b = par->pair_b,
                           .average = w->average};
  w->solver.derivatives(w->solver.state, &point, &w->d);
  for (int l = 0; l < par->n_level && joint; l++) { /* n_l log(variance) stands in for log |V| */
    const double v = w->variance[l], rows = w->stats->n_rows[l];
    w->d.gradient[par->n_pair + l] -= 0.5 * rows / v;
    w->d.hessian[(par->n_pair + l) * (n + 1)] += 0.5 * rows / (v * v);
  }
}

/* -log |sum_l X'X_l / v_l + prior| / 2 of the mean field, by the residual variances. */
static void differentiate_mean_field(lmm_work *w) {
  const int p = w->stats->p, n_level = w->stats->n_level, n_pair = w->par.n_pair;
  const int n = n_pair + n_level;
  double log_det, *C = w->q_next_C, *CX = w->scratch, *CY = CX + square(p);
  if (lmm_mean_field_C(w, w->variance, C, &log_det) != ELBO_OK) return;
  for (int l = 0; l < n_level; l++) {
    const double v = w->variance[l];
    double trace = 0.0;
    la_multiply(C, w->level_cross + (size_t)l * square(p), p, p, p, CX);
    for (int j = 0; j < p; j++) trace += CX[j * (p + 1)];
    w->d.gradient[n_pair + l] += 0.5 * trace / (v * v);
    w->d.hessian[(n_pair + l) * (n + 1)] -= trace / (v * v * v);
    for (int k = 0; k <= l; k++) {
      const double u = w->variance[k];
      double both = 0.0;
      la_multiply(C, w->level_cross + (size_t)k * square(p), p, p, p, CY);
      for (int i = 0; i < p; i++)
        for (int j = 0; j < p; j++) both += CX[i + p * j] * CY[j + p * i];
      w->d.hessian[n_pair + l + n * (n_pair + k)] += 0.5 * both / (v * v * u * u);
    }
  }
}

/* d (entry of Sigma in pairs, or residual variance) / d eta: n x n_eta. */
static void chain_matrix(lmm_work *w, double *J) {
  const lmm_parameters *par = &w->par;
  const int q = par->q, n_eta = par->n_eta, n = par->n_pair + par->n_level;
  memset(J, 0, (size_t)n * (size_t)n_eta * sizeof(double));
  lmm_parameters_sigma_jacobian(par, w->eta, w->jacobian);
  for (int k = 0; k < n_eta; k++)
    for (int e = 0; e < par->n_pair; e++)
      J[e + n * k] =
          w->jacobian[square(q) * (size_t)k + (size_t)(par->pair_a[e] + q * par->pair_b[e])];
  for (int l = 0; l < par->n_level; l++)
    if (par->eta_of_sigma[l] >= 0)
      J[par->n_pair + l + n * par->eta_of_sigma[l]] = 2.0 * w->variance[l];
}

elbo_status lmm_information(lmm_work *w, double *value, double *gradient, double *hessian) {
  const lmm_parameters *par = &w->par;
  const int p = w->stats->p, q = par->q, n_eta = par->n_eta, n_pair = par->n_pair;
  const int n = n_pair + par->n_level;
  const elbo_status status = lmm_objective(w, 0, w->profile_beta, w->C, value);
  if (status != ELBO_OK || gradient == NULL) return status;
  differentiate(w);
  if (mean_field(w)) differentiate_mean_field(w);
  if (w->prior)
    w->prior->derivatives(w->prior, par, w->Sigma, w->variance, w->d.gradient, w->d.hessian);
  fill_upper(w->d.hessian, n);
  const lmm_derivatives *d = &w->d;
  double *J = w->scratch, *HJ = J + (size_t)n * (size_t)n_eta, *G = HJ + n;
  chain_matrix(w, J);
  memset(G, 0, square(q) * sizeof(double));
  for (int e = 0; e < n_pair; e++) {
    const int a = par->pair_a[e], b = par->pair_b[e];
    G[a + q * b] = G[b + q * a] = d->gradient[e] * (a == b ? 1.0 : 0.5);
  }
  memset(hessian, 0, square(n_eta) * sizeof(double));
  lmm_parameters_sigma_curvature(par, w->eta, G, hessian);
  for (int l = 0; l < par->n_level; l++)
    if (par->eta_of_sigma[l] >= 0)
      hessian[par->eta_of_sigma[l] * (n_eta + 1)] += 4.0 * w->variance[l] * d->gradient[n_pair + l];
  for (int k = 0; k < n_eta; k++) {
    gradient[k] = 0.0;
    for (int e = 0; e < n; e++) gradient[k] += J[e + n * k] * d->gradient[e];
    for (int e = 0; e < n; e++) {
      HJ[e] = 0.0;
      for (int f = 0; f < n; f++) HJ[e] += d->hessian[e + n * f] * J[f + n * k];
    }
    for (int l = 0; l < n_eta; l++)
      for (int e = 0; e < n; e++) hessian[l + n_eta * k] += J[e + n * l] * HJ[e];
    for (int j = 0; j < p; j++) {
      double sum = 0.0;
      for (int e = 0; e < n; e++) sum += J[e + n * k] * d->cross[e + n * j];
      w->cross_eta[k + n_eta * j] = sum;
      for (int i = 0; i <= j; i++) {
        sum = 0.0;
        for (int e = 0; e < n; e++) sum += J[e + n * k] * d->spread[e + n * (j + p * i)];
        w->spread_eta[square(p) * (size_t)k + (size_t)(j + p * i)] = sum;
        w->spread_eta[square(p) * (size_t)k + (size_t)(i + p * j)] = sum;
      }
    }
  }
  /* Hessian so far is that at fixed beta; log |X'V^{-1}X| of reml adds to it. */
  const double *C = integrated_covariance(w);
  if (C) {
    double *CA = J, *CB = CA + square(p);
    for (int k = 0; k < n_eta; k++) {
      la_multiply(C, w->spread_eta + square(p) * (size_t)k, p, p, p, CA);
      for (int l = 0; l <= k; l++) {
        double sum = 0.0;
        la_multiply(C, w->spread_eta + square(p) * (size_t)l, p, p, p, CB);
        for (int i = 0; i < p; i++)
          for (int j = 0; j < p; j++) sum += CA[i + p * j] * CB[j + p * i];
        hessian[k + n_eta * l] += 0.5 * sum;
        if (l < k) hessian[l + n_eta * k] += 0.5 * sum;
      }
    }
  }
  if (has_smooth(w) && lmm_smooth_information(w, gradient, hessian) != ELBO_OK)
    return ELBO_E_NOT_PD;
  for (int k = 0; k < n_eta; k++)
    if (!isfinite(gradient[k]) || !isfinite(hessian[k * (n_eta + 1)])) return ELBO_E_NOT_FINITE;
  return ELBO_OK;
}

elbo_status lmm_profile_information(void *work, double *value, double *gradient, double *hessian) {
  lmm_work *w = (lmm_work *)work;
  const int p = w->stats->p, n_eta = w->par.n_eta;
  const elbo_status status = lmm_information(w, value, gradient, hessian);
  if (status != ELBO_OK || gradient == NULL) return status;
  for (int k = 0; k < n_eta; k++)
    for (int l = 0; l < n_eta; l++)
      for (int i = 0; i < p; i++)
        for (int j = 0; j < p; j++)
          hessian[k + n_eta * l] +=
              w->cross_eta[k + n_eta * i] * w->C[i + p * j] * w->cross_eta[l + n_eta * j];
  return ELBO_OK;
}
