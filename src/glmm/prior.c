/* Priors of the scales of the Gaussian mixed model: of the blocks of Sigma and of the residual
 * variances, each a term of order one (law/latent_prior.h). */
#include "glmm/prior.h"

#include <math.h>
#include <string.h>

#include "glmm/parameters.h"
#include "law/latent_prior.h"
#include "math/small.h"

/* A scale: block b < n_block of Sigma, or level b - n_block of the residual variance. */
typedef struct {
  latent_prior prior;
  int level, first; /* its first term, or the level */
  double S[LATENT_MAX_TERMS * LATENT_MAX_TERMS];
} scale;

static int n_scales(const lmm_parameters *par) { return par->n_block + par->n_level; }

static void get_scale(const lmm_prior *prior, const lmm_parameters *par, const double *Sigma,
                      const double *variance, int b, scale *s) {
  const int level = s->level = b >= par->n_block;
  const int first = s->first = level ? b - par->n_block : par->start[b];
  const int q = level ? 1 : par->start[b + 1] - first;
  s->prior = (latent_prior){
      .q = q,
      .family = prior->family + (level ? par->q : 0) + first,
      .df = (level ? prior->sigma_df : prior->df) + first,
      .scale = (level ? prior->sigma_scale : prior->scale) + first,
      .lkj = level || prior->lkj == NULL ? NAN : prior->lkj[b],
      .n = level ? prior->n_rows[first] : prior->n_unit[b],
      .common = !level && par->law[b].common,
  };
  if (level) s->S[0] = variance[first];
  for (int i = 0; i < q && !level; i++)
    for (int j = 0; j < q; j++) s->S[i + q * j] = Sigma[first + i + par->q * (first + j)];
}

/* Variational Bayes: whether q has a factor for it. */
static int is_free(const lmm_parameters *par, const scale *s) {
  return s->level ? par->eta_of_sigma[s->first] >= 0 : par->kind[s->first] == LATENT_ROW_FREE;
}

/* Places of the packed entries of S among the entries of Sigma in pairs and the residual
 * variances. */
static void find_places(const lmm_parameters *par, const scale *s, int *place) {
  const int q = s->prior.q;
  for (int e = 0; e < (int)packed_size(q); e++) place[e] = -1;
  if (s->level) place[0] = par->n_pair + s->first;
  for (int e = 0; e < par->n_pair && !s->level; e++) {
    const int a = par->pair_a[e] - s->first, b = par->pair_b[e] - s->first;
    if (b >= 0 && a < q) place[packed_size(a) + (size_t)b] = e;
  }
}

/* What a scale has of the objective, and its derivatives: of a point, or of a factor of q. */
typedef elbo_status scale_value(const latent_prior *, const double *S, double *value);
typedef double scale_size(const latent_prior *, const double *S);
typedef elbo_status scale_slopes(const latent_prior *, const double *S, const int *place, int ld,
                                 double *gradient, double *hessian);

/* The scale from *b on that is meant, *b then being the number of the one after it; 0 if none. */
static int next_scale(const lmm_prior *prior, const lmm_parameters *par, const double *Sigma,
                      const double *variance, int free_only, int *b, scale *s) {
  while (*b < n_scales(par)) {
    get_scale(prior, par, Sigma, variance, (*b)++, s);
    if (!free_only || is_free(par, s)) return 1;
  }
  return 0;
}

static elbo_status sum_values(const lmm_prior *prior, const lmm_parameters *par,
                              const double *Sigma, const double *variance, int free_only,
                              scale_value *of, double *value) {
  scale s;
  *value = 0.0;
  for (int b = 0; next_scale(prior, par, Sigma, variance, free_only, &b, &s);) {
    double part;
    const elbo_status status = of(&s.prior, s.S, &part);
    if (status != ELBO_OK) return status;
    *value += part;
  }
  return ELBO_OK;
}

static double sum_sizes(const lmm_prior *prior, const lmm_parameters *par, const double *Sigma,
                        const double *variance, int free_only, scale_size *of) {
  scale s;
  double sum = 0.0;
  for (int b = 0; next_scale(prior, par, Sigma, variance, free_only, &b, &s);)
    sum += of(&s.prior, s.S);
  return sum;
}

static elbo_status sum_slopes(const lmm_prior *prior, const lmm_parameters *par,
                              const double *Sigma, const double *variance, int free_only,
                              scale_slopes *of, double *gradient, double *hessian) {
  int place[LATENT_MAX_TERMS * (LATENT_MAX_TERMS + 1) / 2];
  scale s;
  for (int b = 0; next_scale(prior, par, Sigma, variance, free_only, &b, &s);) {
    find_places(par, &s, place);
    const elbo_status status =
        of(&s.prior, s.S, place, par->n_pair + par->n_level, gradient, hessian);
    if (status != ELBO_OK) return status;
  }
  return ELBO_OK;
}

/* ---- points ---------------------------------------------------------------------------------- */

static elbo_status map_value(const lmm_prior *prior, const lmm_parameters *par, const double *Sigma,
                             const double *variance, double *value) {
  return sum_values(prior, par, Sigma, variance, 0, latent_prior_point, value);
}

static elbo_status map_derivatives(const lmm_prior *prior, const lmm_parameters *par,
                                   const double *Sigma, const double *variance, double *gradient,
                                   double *hessian) {
  return sum_slopes(prior, par, Sigma, variance, 0, latent_prior_point_slopes, gradient, hessian);
}

static double map_size(const lmm_prior *prior, const lmm_parameters *par, const double *Sigma,
                       const double *variance) {
  return sum_sizes(prior, par, Sigma, variance, 0, latent_prior_point_size);
}

void lmm_prior_map(lmm_prior *prior) {
  prior->value = map_value;
  prior->size = map_size;
  prior->derivatives = map_derivatives;
  prior->update = NULL;
}

/* ---- variational Bayes ----------------------------------------------------------------------- */

static elbo_status vb_value(const lmm_prior *prior, const lmm_parameters *par, const double *Sigma,
                            const double *variance, double *value) {
  return sum_values(prior, par, Sigma, variance, 1, latent_prior_bound, value);
}

static elbo_status vb_derivatives(const lmm_prior *prior, const lmm_parameters *par,
                                  const double *Sigma, const double *variance, double *gradient,
                                  double *hessian) {
  return sum_slopes(prior, par, Sigma, variance, 1, latent_prior_bound_slopes, gradient, hessian);
}

static double vb_size(const lmm_prior *prior, const lmm_parameters *par, const double *Sigma,
                      const double *variance) {
  return sum_sizes(prior, par, Sigma, variance, 1, latent_prior_bound_size);
}

/* The coordinate step for q(Sigma) and q(sigma^2).  second: q x q; square: n_level, E |y - X beta -
 * Z u|^2. */
static elbo_status vb_update(const lmm_prior *prior, const lmm_parameters *par,
                             const double *second, const double *square, double *Sigma,
                             double *variance) {
  scale s, sum;
  double out[LATENT_MAX_TERMS * LATENT_MAX_TERMS];
  for (int b = 0; b < n_scales(par); b++) {
    get_scale(prior, par, Sigma, variance, b, &s);
    get_scale(prior, par, second, square, b, &sum);
    const int q = s.prior.q;
    if (!is_free(par, &s)) continue;
    const elbo_status status = latent_prior_update(&s.prior, s.S, sum.S, out);
    if (status != ELBO_OK) return status;
    if (s.level) variance[s.first] = out[0];
    for (int i = 0; i < q && !s.level; i++)
      for (int j = 0; j < q; j++) Sigma[s.first + i + par->q * (s.first + j)] = out[i + q * j];
  }
  return ELBO_OK;
}

/* Whether all free scales have the priors of the coordinate step; S does not matter. */
static int all_closed(const lmm_prior *prior, const lmm_parameters *par) {
  for (int b = 0; b < n_scales(par); b++) {
    const int level = b >= par->n_block, first = level ? b - par->n_block : par->start[b];
    const latent_prior of = {.q = level ? 1 : par->start[b + 1] - first,
                             .family = prior->family + (level ? par->q : 0) + first,
                             .lkj = level ? NAN : prior->lkj[b]};
    const int free = level ? par->eta_of_sigma[first] >= 0 : par->kind[first] == LATENT_ROW_FREE;
    if (free && !latent_prior_closed(&of)) return 0;
  }
  return 1;
}

void lmm_prior_vb(lmm_prior *prior, const lmm_parameters *par) {
  prior->value = vb_value;
  prior->size = vb_size;
  prior->derivatives = vb_derivatives;
  prior->update = all_closed(prior, par) ? vb_update : NULL;
}

void lmm_prior_df(const lmm_prior *prior, const lmm_parameters *par, const double *Sigma,
                  const double *variance, double *df, double *information, double *slope) {
  scale s;
  for (int k = 0; k < par->q + par->n_level; k++) slope[k] = 0.0;
  for (int b = 0; b < n_scales(par); b++) {
    df[b] = information[b] = NAN;
    get_scale(prior, par, Sigma, variance, b, &s);
    if (is_free(par, &s))
      latent_prior_df(&s.prior, s.S, df + b, information + b,
                      slope + (s.level ? par->q : 0) + s.first);
  }
}

/* ---- coefficients ---------------------------------------------------------------------------- */

static elbo_status no_value(const lmm_prior *prior, const lmm_parameters *par, const double *Sigma,
                            const double *variance, double *value) {
  (void)prior, (void)par, (void)Sigma, (void)variance;
  *value = 0.0;
  return ELBO_OK;
}

static double no_size(const lmm_prior *prior, const lmm_parameters *par, const double *Sigma,
                      const double *variance) {
  (void)prior, (void)par, (void)Sigma, (void)variance;
  return 0.0;
}

static elbo_status no_derivatives(const lmm_prior *prior, const lmm_parameters *par,
                                  const double *Sigma, const double *variance, double *gradient,
                                  double *hessian) {
  (void)prior, (void)par, (void)Sigma, (void)variance, (void)gradient, (void)hessian;
  return ELBO_OK;
}

void lmm_prior_beta_only(lmm_prior *prior) {
  prior->value = no_value;
  prior->size = no_size;
  prior->derivatives = no_derivatives;
  prior->update = NULL;
}

void lmm_prior_set_beta(lmm_prior *prior, int p, const double *B, const double *origin,
                        const double *mean, const double *sd) {
  const int p1 = p + 1;
  memset(prior->cross, 0, (size_t)(p1 * p1) * sizeof(double));
  prior->constant = 0.0;
  for (int i = 0; i < p; i++) {
    if (isinf(sd[i])) continue;
    const double precision = 1.0 / (sd[i] * sd[i]);
    prior->constant -= 0.5 * LOG_2PI + log(sd[i]);
    for (int j = 0; j < p1; j++)
      for (int k = 0; k <= j; k++)
        prior->cross[j + p1 * k] += precision * (j < p ? B[i + p * j] : mean[i] - origin[i]) *
                                    (k < p ? B[i + p * k] : mean[i] - origin[i]);
  }
}
