/* Where the ascents of the Gaussian mixed model start: least squares, and moments. */
#include "glmm/starts.h"

#include <math.h>
#include <string.h>

#include "glmm/cross.h"
#include "glmm/objective.h"
#include "glmm/parameters.h"
#include "glmm/smooth.h"
#include "glmm/work.h"
#include "math/la.h"

elbo_status lmm_least_squares(lmm_work *w, double *mean_square, double *explained) {
  const lmm_stats *st = w->stats;
  const int p = st->p, p1 = p + 1;
  double ignored, *A = w->scratch;
  if (lmm_evaluate(w, lmm_nothing_random(w), w->variance, &ignored) != ELBO_OK)
    return ELBO_E_NOT_PD;
  for (int j = 0; j < p; j++)
    for (int k = 0; k < p; k++) A[j + p * k] = w->cross[j >= k ? j + p1 * k : k + p1 * j];
  if (has_smooth(w)) lmm_smooth_ridge(w, A);
  if (la_chol(A, p) != ELBO_OK || la_inverse_from_chol(A, p) != ELBO_OK) return ELBO_E_NOT_PD;
  for (int j = 0; j < p; j++) {
    w->beta[j] = w->origin[j];
    for (int k = 0; k < p; k++) w->beta[j] += A[j + p * k] * w->cross[p + p1 * k];
  }
  *mean_square = residual_square(w->cross, from_origin(w, w->beta, w->origin), p) / st->n;
  *explained = w->cross[p + p1 * p] / st->n - *mean_square;
  return ELBO_OK;
}

/* Generalised least squares where Sigma is large beside the residual variances of the levels, which
 * are estimated along: what can be told within groups is told there. */
static elbo_status within_groups(lmm_work *w, double *smallest) {
  enum { REWEIGHTINGS = 4, LARGE_EXPONENT = 20 };
  const lmm_stats *st = w->stats;
  const int p = st->p, p1 = p + 1;
  double ignored, *root = lmm_nothing_random(w), *A = w->scratch;
  for (int k = 0; k < st->q; k++)
    if (w->unit[k] > 0.0) root[k * (st->q + 1)] = scalbn(1.0, LARGE_EXPONENT);
  for (int i = 0; i < (st->n_level > 1 ? REWEIGHTINGS : 1); i++) {
    if (lmm_evaluate(w, root, w->variance, &ignored) != ELBO_OK) return ELBO_E_NOT_PD;
    for (int j = 0; j < p; j++)
      for (int k = 0; k < p; k++) A[j + p * k] = at_lower(w->cross, p1, j, k);
    if (has_smooth(w)) lmm_smooth_ridge(w, A);
    if (la_chol(A, p) != ELBO_OK || la_inverse_from_chol(A, p) != ELBO_OK) return ELBO_E_NOT_PD;
    for (int j = 0; j < p; j++) {
      w->beta[j] = w->origin[j];
      for (int k = 0; k < p; k++) w->beta[j] += A[j + p * k] * w->cross[p + p1 * k];
    }
    *smallest = 1.0;
    for (int l = 0; l < st->n_level; l++) {
      const double *within = st->within + (size_t)l * square(p1), all = within[p + p1 * p];
      const double left = fmax(residual_square(within, w->beta, p), 1e-16 * all);
      if (st->n_distinct[l] > 0.0 && all > 0.0) *smallest = fmin(*smallest, left / all);
      w->variance[l] = left > 0.0 ? left / st->n_rows[l] : 1.0;
    }
  }
  return ELBO_OK;
}

int lmm_lost_digits(lmm_work *w) {
  double mean_square, explained, within;
  if (w->stats->p == 0) return 0;
  if (within_groups(w, &within) == ELBO_OK && within < LMM_LOST) return 1;
  return lmm_least_squares(w, &mean_square, &explained) == ELBO_OK &&
         mean_square < LMM_LOST * explained;
}

/* ---- starts ---------------------------------------------------------------------------------- */

/* Ratio of random to residual variance; correlation of neighbouring terms; whether the residual
 * variances start from their levels' own within rows (else all from the pooled residuals). */
static const double ratios[] = {1.0, 0.05, 20.0}, correlations[] = {0.0, 0.9, -0.9};
enum { N_RATIOS = 3, N_CORRELATIONS = 3 };

static double start_sd(const lmm_parameters *par, int term, double variance) {
  switch (par->kind[term]) {
    case LATENT_ROW_NO_LAW:
      return 0.0;
    case LATENT_ROW_LENGTH:
    case LATENT_ROW_FIXED:
      return par->length[term];
    default:
      return sqrt(variance);
  }
}

/* For the scale at `place`, Sigma at 0 where there is one: all combinations of two scales in nine
 * starts, and any two of four (an orthogonal array). */
static double smooth_ratio(int start, int place) {
  const int a = start % N_RATIOS, b = start / N_RATIOS % N_RATIOS;
  return ratios[place == 0 ? a : (b + (place - 1) * a) % N_RATIOS];
}

elbo_status lmm_starts(lmm_work *w, int n_starts, double *eta, double *objective) {
  const lmm_stats *st = w->stats;
  const lmm_parameters *par = &w->par;
  const int q = st->q, p = st->p;
  double pooled, explained, residual, term[LMM_MAX_TERMS];
  double *own = w->scratch + 3 * square(p + 1) + 7 * square(q);
  const elbo_status status = lmm_least_squares(w, &pooled, &explained);
  if (status != ELBO_OK) return status;
  for (int l = 0; l < st->n_level; l++) {
    const double within = residual_square(st->within + (size_t)l * square(p + 1), w->beta, p);
    own[l] = within > 0.0 ? within / st->n_rows[l] : pooled;
  }
  const int moments = n_starts == 1 && w->solver.start &&
                      w->solver.start(w->solver.state, w->beta, term, &residual);
  for (int l = 0; l < st->n_level && moments; l++) own[l] *= residual / pooled;
  for (int i = 0; i < n_starts; i++, eta += par->n_eta) {
    const double ratio = ratios[i % N_RATIOS];
    const double cor = correlations[i / N_RATIOS % N_CORRELATIONS];
    const int levels_own = i < N_RATIOS * N_CORRELATIONS;
    for (int k = 0; k < q; k++)
      for (int j = 0; j < q; j++) { /* only blocks of it are used */
        const double sign = cor < 0.0 && (j - k) % 2 != 0 ? -1.0 : 1.0;
        w->Sigma[k + q * j] = start_sd(par, k, moments ? term[k] : ratio * pooled) *
                              start_sd(par, j, moments ? term[j] : ratio * pooled) *
                              (j == k ? 1.0 : sign * fabs(cor));
      }
    for (int l = 0; l < st->n_level; l++)
      w->variance[l] = par->eta_of_sigma[l] < 0 ? par->sigma[l] * par->sigma[l]
                       : levels_own             ? own[l]
                                                : pooled;
    lmm_parameters_pack(par, w->Sigma, w->variance, eta);
    for (int k = 0; k < w->smooth.n; k++)
      lmm_smooth_start(w, k, smooth_ratio(i, k + (q > 0)) * pooled, eta);
    memcpy(w->eta, eta, (size_t)par->n_eta * sizeof(double));
    lmm_set_eta(w);
    if (lmm_objective(w, 0, w->beta, w->C, objective + i) != ELBO_OK) objective[i] = -HUGE_VAL;
  }
  return ELBO_OK;
}
