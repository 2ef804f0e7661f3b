/* A model with its data: statistics, priors in the caller's units, the climb, refits. */
#include "glmm/fit.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "engine/multistart.h"
#include "glmm/bound.h"
#include "glmm/cross.h"
#include "glmm/lmm.h"
#include "glmm/objective.h"
#include "glmm/parameters.h"
#include "glmm/prior.h"
#include "glmm/smooth.h"
#include "glmm/starts.h"
#include "glmm/work.h"
#include "law/sd_prior.h"
#include "math/la.h"
#include "math/small.h"

/* ---- data ------------------------------------------------------------------------------------ */

elbo_status lmm_fit_open(lmm_fit *f, const double *flat, const lmm_basis *basis,
                         const elbo_memory *mem) {
  const int p = basis->map ? basis->n : (int)flat[FLAT_P];
  double *origin = elbo_doubles(mem, (size_t)p);
  elbo_status status = lmm_stats_close(flat, &f->law, basis, &f->stats, origin, mem);
  if (status == ELBO_OK) status = lmm_work_init(&f->work, &f->stats, &f->law, mem);
  if (status != ELBO_OK) return status;
  lmm_units_init(&f->units, &f->work, mem);
  for (int j = 0; j < p; j++) f->units.origin[j] += origin[j];
  return ELBO_OK;
}

/* Takes X beta off the response and beta into the origin (both p and n); the largest part that was
 * ever taken off. */
static double take_off(const lmm_rows *rows, const double *beta, int n_beta, double *origin,
                       double *y, double largest) {
  const int n = rows->n;
  for (int j = 0; j < n_beta; j++) {
    origin[j] += beta[j];
    for (int i = 0; i < n; i++) {
      const double part = rows->X[(size_t)n * (size_t)j + (size_t)i] * beta[j];
      y[i] -= part;
      largest = fmax(largest, fabs(part));
    }
  }
  return largest;
}

/* Least squares of y on X, in the caller's units, from the cross-products of all rows; whether X
 * explains so much of y that they say little of the residuals. */
static int rows_lost_digits(const double *flat, double *beta, const elbo_memory *mem) {
  lmm_flat f;
  lmm_flat_parts(flat, &f);
  const int p = f.shape.p, q = f.shape.q, p1 = p + 1, one = f.x_intercept;
  double *A = elbo_doubles(mem, square(p)), *W = elbo_doubles(mem, square(p1));
  double *b = elbo_doubles(mem, (size_t)p);
  const double *shift = f.shift + q, *scale = f.scale + q;
  memset(W, 0, square(p1) * sizeof(double));
  for (int l = 0; l < f.shape.n_level; l++)
    add_to(W, f.within + square(p1) * (size_t)l, square(p1));
  for (int j = 0; j < p; j++)
    for (int k = 0; k < p; k++) A[j + p * k] = at_lower(W, p1, j, k);
  if (p == 0 || la_chol(A, p) != ELBO_OK || la_inverse_from_chol(A, p) != ELBO_OK) return 0;
  for (int j = 0; j < p; j++) {
    b[j] = 0.0;
    for (int k = 0; k < p; k++) b[j] += A[j + p * k] * W[p + p1 * k];
    beta[j] = b[j] * scale[j] / scale[p];
  }
  if (one >= 0) beta[one] += shift[p];
  for (int j = 0; j < p && one >= 0; j++)
    if (j != one) beta[one] -= beta[j] * shift[j];
  const double left = residual_square(W, b, p);
  return left < LMM_LOST * (W[p + p1 * p] - left);
}

/* The same from the statistics, of one factor within groups too. */
static elbo_status least_squares(const double *flat, const lmm_law *law, double *beta, int *lost,
                                 const elbo_memory *mem) {
  const lmm_basis whole = {0};
  const int p = (int)flat[FLAT_P];
  lmm_fit f = {.law = *law};
  lmm_flat parts;
  if (flat[FLAT_FACTORS] > 0) {
    *lost = rows_lost_digits(flat, beta, mem);
    return ELBO_OK;
  }
  const elbo_status status = lmm_fit_open(&f, flat, &whole, mem);
  if (status != ELBO_OK) return status;
  *lost = lmm_lost_digits(&f.work);
  lmm_flat_parts(flat, &parts);
  for (int j = 0; j < p; j++) f.units.origin[j] -= parts.origin[j];
  lmm_units_beta(&f.units, f.work.beta, beta);
  return ELBO_OK;
}

/* Cross-products of y and X say little of the residuals where X explains nearly all of y.  There
 * the statistics are made anew from y - X beta, beta from least squares, until nothing is lost. */
elbo_status lmm_fit_summarise(const lmm_rows *rows, const lmm_law *law, double **flat,
                              const elbo_memory *mem, const elbo_memory *out) {
  enum { MOST = 3 };
  const int n_smooth = lmm_law_smooth_columns(law), p = rows->p;
  lmm_rows left = *rows;
  lmm_flat parts;
  double *origin = elbo_doubles(mem, (size_t)p), *more = elbo_doubles(mem, (size_t)p), *y = NULL;
  double largest = 0.0;
  memset(origin, 0, (size_t)p * sizeof(double));
  *flat = lmm_stats_of_rows(&left, n_smooth, mem, out);
  for (int pass = 0; pass < MOST; pass++) {
    int lost;
    const elbo_status status = least_squares(*flat, law, more, &lost, mem);
    if (status != ELBO_OK) return status;
    if (!lost) break;
    if (y == NULL) {
      y = elbo_doubles(mem, (size_t)rows->n);
      memcpy(y, rows->y, (size_t)rows->n * sizeof(double));
    }
    /* The law of smooth terms has its mean at zero: theirs stay in the response. */
    largest = take_off(rows, more, p - n_smooth, origin, y, largest);
    left.y = y;
    *flat = lmm_stats_of_rows(&left, n_smooth, mem, out);
    lmm_flat_parts(*flat, &parts);
    memcpy(parts.origin, origin, (size_t)p * sizeof(double));
    (*flat)[FLAT_ROUNDING] = 4.0 * DBL_EPSILON * largest * parts.scale[rows->q + p];
  }
  return ELBO_OK;
}

/* ---- priors ---------------------------------------------------------------------------------- */

/* Of an sd that terms share the first one's. */
static int counts_sd(const lmm_parameters *par, int k) {
  const int b = lmm_block_of(par, k);
  return !par->law[b].common || k == par->start[b];
}

/* Densities of scaled sds to those of sds in the caller's units. */
static double log_jacobian(const lmm_fit *f) {
  const lmm_parameters *par = &f->work.par;
  const int q = f->stats.q;
  double sum = 0.0;
  /* By variational Bayes densities are those of the prior in scaled units; a flat one is not. */
  const int vb = f->law.method == LMM_VB;
  for (int k = 0; k < q; k++)
    if (counts_sd(par, k) && (f->prior.family[k] == SD_FLAT) == vb &&
        (!vb || par->kind[k] == LATENT_ROW_FREE))
      sum += (vb ? -1.0 : 1.0) * log(par->T[k + q * k]);
  for (int l = 0; l < f->stats.n_level; l++)
    if ((f->prior.family[q + l] == SD_FLAT) == vb && (!vb || par->eta_of_sigma[l] >= 0))
      sum += (vb ? -1.0 : 1.0) * log(par->sigma_scale);
  return sum;
}

void lmm_fit_set_prior(lmm_fit *f, const lmm_user_prior *user, const elbo_memory *mem) {
  const int p = f->stats.p, q = f->stats.q, n_level = f->stats.n_level;
  const lmm_parameters *par = &f->work.par;
  lmm_prior *prior = &f->prior;
  double *scale = elbo_doubles(mem, (size_t)q);
  double *sigma_scale = elbo_doubles(mem, (size_t)n_level);
  for (int k = 0; k < q; k++) scale[k] = user->scale[k] * par->T[k + q * k];
  for (int l = 0; l < n_level; l++) sigma_scale[l] = user->sigma_scale[l] * par->sigma_scale;
  prior->df = user->df;
  prior->lkj = user->lkj;
  prior->sigma_df = user->sigma_df;
  prior->family = user->family;
  prior->scale = scale;
  prior->sigma_scale = sigma_scale;
  double *n_unit = elbo_doubles(mem, (size_t)par->n_block);
  for (int b = 0; b < par->n_block; b++)
    n_unit[b] = levels_of_term(&f->work, par->start[b]);
  prior->n_unit = n_unit;
  prior->n_rows = f->stats.n_rows;
  prior->mean_field = user->mean_field;
  prior->by_factor = user->by_factor;
  prior->cross = elbo_doubles(mem, square(p + 1));
  if (user->scales_given)
    lmm_prior_beta_only(prior);
  else if (f->law.method == LMM_VB)
    lmm_prior_vb(prior, par);
  else
    lmm_prior_map(prior);
  lmm_prior_set_beta(prior, p, f->units.B, f->units.origin, user->beta_mean, user->beta_sd);
  if (!user->scales_given) prior->constant += log_jacobian(f);
  lmm_set_prior(&f->work, prior);
  if (has_smooth(&f->work) && !user->scales_given)
    lmm_smooth_set_prior(&f->work, user->smooth_family, user->smooth_df, user->smooth_scale, mem);
}

/* ---- climb ----------------------------------------------------------------------------------- */

elbo_status lmm_fit_check(lmm_fit *f, int full_rank, double *pivots, int *level) {
  *level = -1;
  lmm_column_pivots(&f->work, pivots);
  for (int j = 0; j < f->stats.p; j++)
    if (!full_rank && !(pivots[j] > 1e-8)) return ELBO_E_RANK;
  *level = lmm_unbounded_level(&f->work);
  return *level >= 0 ? ELBO_E_UNBOUNDED : ELBO_OK;
}

size_t lmm_fit_climb_size(const lmm_fit *f) {
  const elbo_model model = lmm_model(&f->work);
  return (size_t)model.n_eta * LMM_STARTS + elbo_ascend_size(&model);
}

elbo_status lmm_fit_climb(lmm_fit *f, const elbo_control *control, int n_starts,
                          const elbo_hooks *hooks, double *memory, elbo_result *result) {
  const elbo_model model = lmm_model(&f->work);
  const int one = f->work.solver.start != NULL;
  const int n_points = n_starts > 1 ? LMM_STARTS : one ? 1 : LMM_STARTS_SIMPLE;
  double objective[LMM_STARTS], *eta = memory;
  memory += (size_t)model.n_eta * LMM_STARTS;
  elbo_status status = lmm_starts(&f->work, n_points, eta, objective);
  if (status != ELBO_OK) return status;
  int some = 0;
  for (int i = 0; i < n_points; i++) some |= objective[i] > -HUGE_VAL;
  if (!some) return ELBO_E_NOT_FINITE;
  f->work.average = f->stats.crossed != NULL;
  status = elbo_multistart(&model, &f->work, control, hooks, n_starts, n_points, eta, objective,
                           memory, result);
  f->work.average = 0;
  if (lmm_vanished_level(&f->work) >= 0) return ELBO_E_UNBOUNDED;
  if (status >= 0) lmm_canonical(&f->work);
  return status;
}

/* ---- answers --------------------------------------------------------------------------------- */

int lmm_fit_n_factors(const lmm_fit *f) {
  return f->law.n_block + f->law.n_smooth + f->stats.n_level;
}

int lmm_fit_n_sds(const lmm_fit *f) { return f->stats.q + f->law.n_smooth + f->stats.n_level; }

void lmm_fit_df(const lmm_fit *f, double *df, double *information, double *slope) {
  const lmm_work *w = &f->work;
  const int n_block = f->law.n_block, n_smooth = f->law.n_smooth, q = f->stats.q;
  const size_t levels = (size_t)f->stats.n_level * sizeof(double);
  lmm_prior_df(&f->prior, &w->par, w->Sigma, w->variance, df, information, slope);
  memmove(df + n_block + n_smooth, df + n_block, levels);
  memmove(information + n_block + n_smooth, information + n_block, levels);
  memmove(slope + q + n_smooth, slope + q, levels);
  lmm_smooth_df(w, df + n_block, information + n_block, slope + q);
}

elbo_status lmm_fit_evaluate(lmm_fit *f, const double *scales, double *out) {
  lmm_work *w = &f->work;
  const int q = f->stats.q, p = f->stats.p, n_level = f->stats.n_level;
  lmm_units_set_scales(&f->units, w, scales, scales + q * q, scales + q * q + n_level);
  const elbo_status status = lmm_objective(w, 0, w->beta, w->C, out);
  if (status != ELBO_OK) return status;
  lmm_units_beta(&f->units, w->beta, out + 1);
  lmm_units_covariance(&f->units, w->C, out + 1 + p);
  return ELBO_OK;
}

/* ---- refits ---------------------------------------------------------------------------------- */

int lmm_refit_length(const lmm_fit *f) {
  return f->stats.p + f->stats.q * f->stats.q + f->stats.n_level + f->law.n_smooth + 1 +
         (f->law.method == LMM_VB ? lmm_fit_n_factors(f) : 0);
}

size_t lmm_refit_size(const lmm_fit *f) {
  const size_t df = (size_t)(lmm_fit_n_factors(f) + lmm_fit_n_sds(f));
  return lmm_fit_climb_size(f) + df;
}

elbo_status lmm_refit(lmm_fit *f, const elbo_control *control, int n_starts,
                      const elbo_hooks *hooks, double *memory, double *out) {
  lmm_work *w = &f->work;
  const int p = f->stats.p, q = f->stats.q, n_level = f->stats.n_level;
  elbo_result result = {0};
  if (lmm_unbounded_level(w) >= 0) return ELBO_E_UNBOUNDED;
  const elbo_status status = lmm_fit_climb(f, control, n_starts, hooks, memory, &result);
  if (status < 0) return status;
  lmm_units_beta(&f->units, w->beta, out);
  out += p;
  lmm_parameters_natural(&w->par, w->eta, out, w->jacobian, out + q * q);
  out += q * q + n_level;
  lmm_units_smooth(&f->units, out, NULL);
  out += f->law.n_smooth;
  if (f->law.method == LMM_VB) {
    lmm_fit_df(f, out, memory, memory + lmm_fit_n_factors(f));
    out += lmm_fit_n_factors(f);
  }
  *out = result.objective;
  return status;
}
