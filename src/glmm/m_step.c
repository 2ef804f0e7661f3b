/* The M-step of the Gaussian mixed model. */
#include "glmm/m_step.h"

#include <math.h>
#include <string.h>

#include "glmm/cross.h"
#include "glmm/e_step.h"
#include "glmm/parameters.h"
#include "glmm/smooth.h"
#include "glmm/work.h"
#include "math/la.h"

/* Where an inner ascent of the M-step ends, relative to the parameters. */
#define SMALL_STEP 1e-7

/* Adds the derivative of log p(Sigma) to the symmetric G (d log p = tr(G dSigma)). */
static void add_prior_gradient(lmm_work *w, double *G) {
  const lmm_parameters *par = &w->par;
  const int n = par->n_pair + par->n_level, q = par->q;
  memset(w->d.gradient, 0, (size_t)n * sizeof(double));
  memset(w->d.hessian, 0, square(n) * sizeof(double));
  w->prior->derivatives(w->prior, par, w->Sigma, w->variance, w->d.gradient, w->d.hessian);
  for (int e = 0; e < par->n_pair; e++) {
    const int a = par->pair_a[e], b = par->pair_b[e];
    const double part = w->d.gradient[e] * (a == b ? 1.0 : 0.5);
    G[a + q * b] += part;
    if (a != b) G[b + q * a] += part;
  }
}

/* What is raised, -(m log |Sigma| + tr(Sigma^{-1} second)) / 2 (+ log p). */
static double value_of_Sigma(lmm_work *w, double *M) {
  double value = 0.0, prior = 0.0;
  lmm_whiten(w, w->q_root, w->root, M);
  for (int f = 0; f < w->solver.n_factor; f++)
    value += w->solver.n_unit[f] * lmm_log_det_whitened(w, M, f);
  if (w->prior && w->prior->value(w->prior, &w->par, w->Sigma, w->variance, &prior) != ELBO_OK)
    return -HUGE_VAL;
  return value + prior - 0.5 * lmm_whitened_square(w, M);
}

/* Sigma^{-1} = Li'Li on the range of Sigma, Li the inverse of its root; and the derivative G by
 * Sigma.  work: 2 q^2. */
static void slope_of_Sigma(lmm_work *w, double *inverse, double *G, double *work) {
  const int q = w->stats->q;
  la_lower_inverse(w->L, q, work);
  for (int i = 0; i < q; i++)
    for (int j = 0; j < q; j++) {
      inverse[i + q * j] = 0.0;
      for (int k = 0; k < q; k++) inverse[i + q * j] += work[k + q * i] * work[k + q * j];
    }
  la_multiply(inverse, w->second_u, q, q, q, work);
  la_multiply(work, inverse, q, q, q, G);
  for (int i = 0; i < q * q; i++) G[i] = 0.5 * (G[i] - levels_of_term(w, i % q) * inverse[i]);
  if (w->prior) add_prior_gradient(w, G);
}

/* Gradient by eta, Fisher's information of the law, and minus the Hessian of all: that is, with
 * D_j = d Sigma / d eta_j, tr(Sigma^{-1} D_j Sigma^{-1} D_k (Sigma^{-1} second - m / 2)) less what
 * the curvature of Sigma in eta and of the prior in Sigma add.  work: 4 q^2. */
static void curvature_of_Sigma(lmm_work *w, const double *inverse, const double *G, int n,
                               double *gradient, double *fisher, double *observed, double *work) {
  const lmm_parameters *par = &w->par;
  const int q = w->stats->q, n_d = par->n_pair + par->n_level;
  double *A = work, *AA = A + square(q), *excess = AA + square(q), *between = excess + square(q);
  memset(observed, 0, square(par->n_eta) * sizeof(double));
  lmm_parameters_sigma_curvature(par, w->eta, G, observed);
  for (int j = 0; j < n; j++) /* its rows are n_eta long */
    for (int k = 0; k < n; k++) observed[k + n * j] = -observed[k + par->n_eta * j];
  la_multiply(inverse, w->second_u, q, q, q, excess);
  for (int j = 0; j < n; j++) {
    const double *Dj = w->jacobian + square(q) * (size_t)j;
    const int m = levels_of_term(w, par->start[lmm_block_of_eta(par, j)]);
    gradient[j] = 0.0;
    for (size_t i = 0; i < square(q); i++) gradient[j] += G[i] * Dj[i];
    la_multiply(inverse, Dj, q, q, q, AA);
    la_multiply(AA, inverse, q, q, q, A);
    la_multiply(A, w->second_u, q, q, q, AA);
    la_multiply(AA, inverse, q, q, q, between);
    for (int k = 0; k < n; k++) {
      const double *Dk = w->jacobian + square(q) * (size_t)k;
      double law = 0.0, rest = 0.0;
      for (size_t i = 0; i < square(q); i++) law += A[i] * Dk[i];
      for (size_t i = 0; i < square(q); i++) rest += between[i] * Dk[i];
      fisher[j + n * k] = 0.5 * m * law + (j == k ? 1e-10 * m : 0.0);
      observed[j + n * k] += rest - 0.5 * m * law;
    }
  }
  for (int e = 0; e < par->n_pair && w->prior; e++)
    for (int f = 0; f < par->n_pair; f++) {
      const double h = w->d.hessian[e >= f ? e + n_d * f : f + n_d * e];
      const double *De = w->jacobian + par->pair_a[e] + q * par->pair_b[e];
      const double *Df = w->jacobian + par->pair_a[f] + q * par->pair_b[f];
      for (int j = 0; j < n && h != 0.0; j++)
        for (int k = 0; k < n; k++)
          observed[j + n * k] -= h * De[square(q) * (size_t)j] * Df[square(q) * (size_t)k];
    }
}

static int has_turned(const lmm_parameters *par, const double *from, const double *to) {
  int turned = 0;
  for (int b = 0; b < par->n_block; b++)
    turned |= latent_law_turned(par->law + b, from + par->eta_of_block[b],
                                to + par->eta_of_block[b]);
  return turned;
}

/* Raises -(m log |Sigma| + tr(Sigma^{-1} second)) / 2 (+ log p) where constants or priors leave no
 * closed form, by Newton's method with halving, where it is not concave by Fisher scoring: a
 * generalised M-step (Dempster, Laird & Rubin 1977, JRSS B 39:1).  The last step is too short for
 * the value to judge it, so that it has to be right, whatever the prior says beside the levels. */
static elbo_status improve_Sigma(lmm_work *w) {
  const int q = w->stats->q;
  const int n = w->par.n_eta - w->par.n_sigma - w->par.n_smooth;
  double *M = w->scratch + square(q), *inverse = M + square(q), *G = inverse + square(q);
  double *work = G + square(q), *fisher = work + square(q) * 4, *step = fisher + square(n),
         *from = step + n, *gradient = from + n, *observed = gradient + n;
  double best = -HUGE_VAL;
  int halvings = 0;
  memcpy(from, w->eta, (size_t)n * sizeof(double));
  for (int j = 0; j < n; j++) step[j] = 0.0;
  for (int iteration = 0; iteration < 20; iteration++) {
    const double value = has_turned(&w->par, from, w->eta) ? -HUGE_VAL : value_of_Sigma(w, M);
    if (!(value >= best)) { /* half the step */
      if (++halvings > 30) break;
      for (int j = 0; j < n; j++) {
        step[j] *= 0.5;
        w->eta[j] = from[j] + step[j];
      }
      lmm_set_eta(w);
      continue;
    }
    best = value;
    memcpy(from, w->eta, (size_t)n * sizeof(double));
    lmm_parameters_sigma_jacobian(&w->par, w->eta, w->jacobian);
    slope_of_Sigma(w, inverse, G, work);
    curvature_of_Sigma(w, inverse, G, n, gradient, fisher, observed, work);
    const double *information = observed;
    if (la_chol(observed, n) != ELBO_OK || la_inverse_from_chol(observed, n) != ELBO_OK) {
      information = fisher;
      if (la_chol(fisher, n) != ELBO_OK || la_inverse_from_chol(fisher, n) != ELBO_OK) break;
    }
    double largest = 0.0, length = 0.0;
    for (int j = 0; j < n; j++) {
      double move = 0.0;
      for (int k = 0; k < n; k++) move += information[j + n * k] * gradient[k];
      w->eta[j] = from[j] + move;
      step[j] = w->eta[j] - from[j];
      largest = fmax(largest, fabs(step[j]));
      length = fmax(length, fabs(w->eta[j]));
    }
    lmm_set_eta(w);
    if (largest < SMALL_STEP * length && !has_turned(&w->par, from, w->eta)) {
      memcpy(from, w->eta, (size_t)n * sizeof(double));
      break;
    }
  }
  memcpy(w->eta, from, (size_t)n * sizeof(double));
  lmm_set_eta(w);
  return ELBO_OK;
}

/* q(Sigma), q(sigma^2) and their auxiliary variables, given q(beta, u). */
static elbo_status global_step(lmm_work *w) {
  double *square_sum = w->squares;
  for (int l = 0; l < w->stats->n_level; l++) square_sum[l] = lmm_expected_square(w, l);
  const elbo_status status =
      w->prior->update(w->prior, &w->par, w->second_u, square_sum, w->Sigma, w->variance);
  lmm_parameters_pack(&w->par, w->Sigma, w->variance, w->eta);
  if (has_smooth(w)) lmm_smooth_m_step(w);
  lmm_set_eta(w);
  return status;
}

/* A += X'X / variance (lower), b += X'y / variance, from cross-products of [X y]. */
static void add_cross(const double *R, double variance, int p, double *A, double *b) {
  const int p1 = p + 1;
  for (int j = 0; j < p; j++) {
    b[j] += R[p + p1 * j] / variance;
    for (int k = 0; k <= j; k++) A[j + p * k] += R[j + p1 * k] / variance;
  }
}

/* Raises -(n log v + square / v) / 2 + log p(v) in each free residual variance, by Newton's method
 * in log sigma with halving; where that is convex, by the curvature without a prior.  The last
 * step is too short to be told from the value, so that it has to be right: a prior that says more
 * than the rows do has most of the curvature. */
static elbo_status improve_variance(lmm_work *w) {
  const lmm_parameters *par = &w->par;
  const int n_d = par->n_pair + par->n_level;
  for (int l = 0; l < par->n_level; l++) {
    if (par->eta_of_sigma[l] < 0) continue;
    const double n = w->stats->n_rows[l], sum = lmm_expected_square(w, l);
    double step = 0.0, from = w->variance[l], best = -HUGE_VAL;
    for (int i = 0; i < 60; i++) {
      double prior;
      const elbo_status status = w->prior->value(w->prior, par, w->Sigma, w->variance, &prior);
      const double v = w->variance[l], value = prior - 0.5 * (n * log(v) + sum / v);
      if (status != ELBO_OK || !(value >= best)) {
        step *= 0.5;
        w->variance[l] = from * exp(2.0 * step);
        continue;
      }
      best = value;
      from = v;
      memset(w->d.gradient, 0, (size_t)n_d * sizeof(double));
      memset(w->d.hessian, 0, square(n_d) * sizeof(double));
      w->prior->derivatives(w->prior, par, w->Sigma, w->variance, w->d.gradient,
                            w->d.hessian);
      const int place = par->n_pair + l;
      const double by_v = w->d.gradient[place], by_vv = w->d.hessian[place * (n_d + 1)];
      const double curvature = 2.0 * sum / v - 4.0 * v * (by_v + v * by_vv);
      step = (sum / v - n + 2.0 * v * by_v) / (curvature > 0.0 ? curvature : 2.0 * n);
      step = step > 1.0 ? 1.0 : step < -1.0 ? -1.0 : step;
      w->variance[l] = from * exp(2.0 * step);
      if (fabs(step) < SMALL_STEP) { /* the value no longer tells steps apart */
        from = w->variance[l];
        break;
      }
    }
    w->variance[l] = from;
  }
  return ELBO_OK;
}

/* Sigma = sum E[u u'] / m by blocks, as its root: that of q times that of sum E[b b'] / m, which
 * loses nothing where Sigma is nearly singular. */
static void root_of_second(lmm_work *w, double *L) {
  const int q = w->stats->q;
  double *block = w->scratch, *chol = block + square(q);
  memset(block, 0, square(q) * sizeof(double));
  for (int b = 0; b < w->par.n_block; b++)
    for (int i = w->par.start[b]; i < w->par.start[b + 1]; i++)
      for (int j = w->par.start[b]; j < w->par.start[b + 1]; j++)
        block[i + q * j] = w->second[i + q * j] / levels_of_term(w, i);
  la_chol_semidefinite(block, q, 1e-300, chol);
  la_multiply(w->q_root, chol, q, q, q, L);
}

elbo_status lmm_m_step(void *work) {
  lmm_work *w = (lmm_work *)work;
  const lmm_stats *st = w->stats;
  const lmm_parameters *par = &w->par;
  const int p = st->p, p1 = p + 1, q = st->q;
  int constrained = 0;
  if (w->prior && w->prior->update) return global_step(w);
  if (!integrates_beta(w) && p > 0) {
    double *A = w->scratch, *b = A + square(p);
    memset(A, 0, (square(p) + (size_t)p) * sizeof(double));
    if (w->prior) {
      double *shifted = w->cross;
      shift_cross(w->prior->cross, w->summary_origin, p, shifted);
      add_cross(shifted, 1.0, p, A, b);
    }
    for (int l = 0; l < st->n_level; l++) {
      add_cross(w->residual + (size_t)l * square(p1), w->variance[l], p, A, b);
    }
    if (has_smooth(w)) lmm_smooth_hold(w, A, b);
    if (la_chol(A, p) != ELBO_OK || la_inverse_from_chol(A, p) != ELBO_OK) return ELBO_E_NOT_PD;
    for (int j = 0; j < p; j++) {
      w->beta[j] = w->summary_origin[j];
      for (int k = 0; k < p; k++) w->beta[j] += A[j + p * k] * b[k];
    }
  }
  for (int l = 0; l < st->n_level; l++)
    if (par->eta_of_sigma[l] >= 0 && !w->prior)
      w->variance[l] = lmm_expected_square(w, l) / st->n_rows[l];
  if (w->prior) improve_variance(w);
  for (int b = 0; b < par->n_block; b++)
    constrained |= w->prior || !latent_law_closed(par->law + b);
  double *L = w->scratch + 2 * square(q);
  if (constrained)
    memcpy(L, w->L, square(q) * sizeof(double));
  else
    root_of_second(w, L);
  lmm_parameters_pack_root(par, L, w->variance, w->eta);
  if (has_smooth(w)) lmm_smooth_m_step(w);
  lmm_set_eta(w);
  return constrained && par->n_eta > par->n_sigma + par->n_smooth ? improve_Sigma(w) : ELBO_OK;
}
