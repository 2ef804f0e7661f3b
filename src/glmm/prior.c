/* Priors of the sds and correlations of the Gaussian mixed model, under variational Bayes.
 *
 * Half-t, the default, in closed form:
 * Huang & Wand (2013): Sigma | a ~ inverse Wishart(nu + q - 1, 2 nu diag(1/a)) with a_k ~ inverse
 * gamma(1/2, 1/A_k^2) makes each sd half-t(nu, A_k); a residual variance is the case q = 1.  With
 * factors q(Sigma) q(a), and n units that Sigma speaks of (groups, or rows), the best q(Sigma) is
 * inverse Wishart(d, B) with d = n + nu + q - 1 whatever the data, so it is known by its
 *
 *   S = B / d = E[Sigma^{-1}]^{-1}.
 *
 * Written in S, with q(a) at its best, everything in the ELBO that is not the Gaussian part at
 * (Sigma, variance) = (S, v) is a function of S and a constant:
 *
 *   h(S) = -(nu + q - 1)/2 log |S| - (nu + q)/2 sum_k log c_k,  c_k = nu (S^{-1})_kk + 1/A_k^2.
 *
 * So the ELBO is the log marginal likelihood at (S, v), beta integrated, plus h: the ascent, the
 * derivatives and linear response of the marginal likelihood serve variational Bayes unchanged.
 *
 * Any other prior (law/scale_factor.h): q(Sigma) is inverse Wishart too, d at its best for each S,
 * and h(S) the phi there. */
#include "glmm/prior.h"

#include <math.h>
#include <string.h>

#include "glmm/parameters.h"
#include "law/exponential_family.h"
#include "law/scale_factor.h"
#include "math/digamma.h"
#include "math/la.h"
#include "math/small.h"

/* One scale: its place, its prior, and what is needed of S, all set by next_scale(). */
typedef struct {
  int b;        /* block b < n_block of Sigma, else level b - n_block of the residual variance */
  int q, first; /* q terms from `first` on, or the level `first` */
  int level;    /* 1: a residual variance */
  double nu, n;
  const double *A;
  double log_det, inverse[LMM_MAX_TERMS * LMM_MAX_TERMS], c[LMM_MAX_TERMS]; /* log |S|, S^{-1}, c */
  int any;                                                                  /* not half-t */
  double S[LMM_MAX_TERMS];                                                  /* its diagonal */
  scale_factor factor;                                                      /* of any prior */
} scale;

/* Any prior, q at its best: s->factor. */
static elbo_status find_factor(const lmm_prior *prior, const lmm_parameters *par, scale *s) {
  sd_prior law[LMM_MAX_TERMS];
  double log_S[LMM_MAX_TERMS];
  for (int k = 0; k < s->q; k++) {
    const int at = s->first + k;
    law[k].family = (sd_family)prior->family[s->level ? par->q + at : at];
    law[k].df = s->level ? prior->sigma_df[at] : prior->df[at];
    law[k].scale = s->A[k];
    log_S[k] = log(s->S[k]);
  }
  return scale_factor_at(s->q, s->n, law, s->q > 1 ? prior->lkj[s->b] : 1.0, s->log_det, log_S,
                         &s->factor);
}

/* Whether scale b is free. */
static int get_scale(const lmm_prior *prior, const lmm_parameters *par, int b, scale *s) {
  s->level = b >= par->n_block;
  s->first = s->level ? b - par->n_block : par->start[b];
  s->q = s->level ? 1 : par->start[b + 1] - s->first;
  s->nu = s->level ? prior->sigma_df[s->first] : prior->df[s->first];
  s->any = s->q > 1 ? !isnan(prior->lkj[b])
                    : prior->family[s->level ? par->q + s->first : s->first] != SD_HALF_T;
  s->A = (s->level ? prior->sigma_scale : prior->scale) + s->first;
  s->n = s->level ? prior->n_rows[s->first] : prior->n_group;
  return s->level ? par->eta_of_sigma[s->first] >= 0 : par->kind[s->first] == LATENT_ROW_FREE;
}

/* Goes on to the next free scale (from s->b = -1); 0 after the last, or where S is not positive
 * definite, which `status` tells. */
static int next_scale(const lmm_prior *prior, const lmm_parameters *par, const double *Sigma,
                      const double *variance, scale *s, elbo_status *status) {
  *status = ELBO_OK;
  do
    if (++s->b == par->n_block + par->n_level) return 0;
  while (!get_scale(prior, par, s->b, s));
  const int q = s->q;
  for (int i = 0; i < q; i++)
    for (int j = 0; j < q; j++)
      s->inverse[i + q * j] =
          s->level ? variance[s->first] : Sigma[s->first + i + par->q * (s->first + j)];
  for (int k = 0; k < q; k++) s->S[k] = s->inverse[k * (q + 1)];
  *status = la_chol(s->inverse, q);
  if (*status != ELBO_OK) return 0;
  s->log_det = la_log_det_from_chol(s->inverse, q);
  *status = la_inverse_from_chol(s->inverse, q);
  if (*status == ELBO_OK && s->any) *status = find_factor(prior, par, s);
  for (int k = 0; k < q; k++) s->c[k] = s->nu * s->inverse[k * (q + 1)] + 1.0 / (s->A[k] * s->A[k]);
  return *status == ELBO_OK;
}

double lmm_half_t_constant(int q, double nu, double n, const double *A) {
  const double d = n + nu + q - 1.0;
  double sum = law_wishart_log_constant(q, nu + q - 1.0, q * log(2.0 * nu)) + 0.5 * d * q -
               law_wishart_log_constant(q, d, q * log(d));
  for (int k = 0; k < q; k++) sum += lgamma(0.5 * (nu + q)) - log(A[k]) - 0.5 * LOG_PI;
  return sum;
}

static elbo_status vb_value(const lmm_prior *prior, const lmm_parameters *par, const double *Sigma,
                            const double *variance, double *value) {
  elbo_status status;
  *value = 0.0;
  for (scale s = {.b = -1}; next_scale(prior, par, Sigma, variance, &s, &status);) {
    if (s.any) {
      *value += s.factor.value;
      continue;
    }
    *value += lmm_half_t_constant(s.q, s.nu, s.n, s.A) - 0.5 * (s.nu + s.q - 1.0) * s.log_det;
    for (int k = 0; k < s.q; k++) *value -= 0.5 * (s.nu + s.q) * log(s.c[k]);
  }
  return status;
}

/* Those of any prior: of by_log_det log |S|, and by the logarithms of the diagonal of S. */
static void any_derivatives(const lmm_parameters *par, const scale *s, double *gradient,
                            double *hessian) {
  const int n = par->n_pair + par->n_level, q = s->q;
  const double *V = s->inverse, *r = s->factor.df_slope, g = s->factor.by_log_det;
  for (int e = 0; e < n; e++) {
    int a1, b1, a2, b2;
    if (!lmm_direction(par, e, s->level, s->first, q, &a1, &b1)) continue;
    const double k1 = a1 == b1 ? 0.5 : 1.0,
                 by_log = a1 == b1 ? s->factor.by_log[a1] / s->S[a1] : 0.0;
    gradient[e] += 2.0 * g * k1 * V[a1 + q * b1] + by_log;
    for (int f = 0; f <= e; f++) {
      if (!lmm_direction(par, f, s->level, s->first, q, &a2, &b2)) continue;
      const double k2 = a2 == b2 ? 0.5 : 1.0;
      double sum =
          -2.0 * g * k1 * k2 * (V[a1 + q * a2] * V[b1 + q * b2] + V[a1 + q * b2] * V[b1 + q * a2]);
      if (a1 == b1 && a2 == b2)
        sum += (r[a1] * r[a2] * s->factor.df_information +
                (a1 == a2 ? s->factor.curvature[a1] : 0.0)) /
               (s->S[a1] * s->S[a2]);
      if (e == f) sum -= by_log / s->S[a1];
      hessian[e + n * f] += sum;
    }
  }
}

/* Derivatives of h with respect to the entries of Sigma in pairs (direction e_a e_b' + e_b e_a', or
 * e_a e_a') and the residual variances, added to gradient and hessian (n x n, lower). */
static elbo_status vb_derivatives(const lmm_prior *prior, const lmm_parameters *par,
                                  const double *Sigma, const double *variance, double *gradient,
                                  double *hessian) {
  const int n = par->n_pair + par->n_level;
  elbo_status status;
  for (scale s = {.b = -1}; next_scale(prior, par, Sigma, variance, &s, &status);) {
    const int q = s.q;
    if (s.any) {
      any_derivatives(par, &s, gradient, hessian);
      continue;
    }
    const double nu = s.nu, *V = s.inverse, *c = s.c;
    for (int e = 0; e < n; e++) {
      int a1, b1, a2, b2;
      if (!lmm_direction(par, e, s.level, s.first, q, &a1, &b1)) continue;
      const double k1 = a1 == b1 ? 0.5 : 1.0;
      gradient[e] -= (nu + q - 1.0) * k1 * V[a1 + q * b1];
      for (int k = 0; k < q; k++)
        gradient[e] += nu * (nu + q) / c[k] * k1 * V[k + q * a1] * V[k + q * b1];
      for (int f = 0; f <= e; f++) {
        if (!lmm_direction(par, f, s.level, s.first, q, &a2, &b2)) continue;
        const double k2 = a2 == b2 ? 0.5 : 1.0;
        double sum =
            (nu + q - 1.0) * (V[a1 + q * a2] * V[b1 + q * b2] + V[a1 + q * b2] * V[b1 + q * a2]);
        for (int k = 0; k < q; k++) {
          const double va = V[k + q * a1], vb = V[k + q * b1], wa = V[k + q * a2],
                       wb = V[k + q * b2];
          /* (S^-1 E S^-1)_kk = 2 va vb and (S^-1 E S^-1 F S^-1)_kk for the two directions. */
          const double both = va * V[b1 + q * a2] * wb + va * V[b1 + q * b2] * wa +
                              vb * V[a1 + q * a2] * wb + vb * V[a1 + q * b2] * wa;
          sum += nu * (nu + q) * (-both / c[k] + 2.0 * nu * va * vb * wa * wb / (c[k] * c[k]));
        }
        hessian[e + n * f] += k1 * k2 * sum;
      }
    }
  }
  return status;
}

/* The coordinate step for q(Sigma) and q(sigma^2): S = (sum E[u u'] + 2 nu diag(E[1/a])) / d, where
 * E[1/a_k] = (nu + q) / 2 / c_k.  second: q x q; square: n_level, E |y - X beta - Z u|^2. */
static elbo_status vb_update(const lmm_prior *prior, const lmm_parameters *par,
                             const double *second, const double *square, double *Sigma,
                             double *variance) {
  elbo_status status;
  for (scale s = {.b = -1}; next_scale(prior, par, Sigma, variance, &s, &status);) {
    const double d = s.n + s.nu + s.q - 1.0;
    if (s.level) {
      variance[s.first] = (square[s.first] + s.nu * (s.nu + 1.0) / s.c[0]) / d;
      continue;
    }
    for (int i = 0; i < s.q; i++)
      for (int j = 0; j < s.q; j++) {
        const int at = s.first + i + par->q * (s.first + j);
        Sigma[at] = (second[at] + (i == j ? s.nu * (s.nu + s.q) / s.c[i] : 0.0)) / d;
      }
  }
  return status;
}

/* Whether all free scales have the priors of the coordinate step. */
static int all_half_t(const lmm_prior *prior, const lmm_parameters *par) {
  scale s;
  for (int b = 0; b < par->n_block + par->n_level; b++)
    if (get_scale(prior, par, b, &s) && s.any) return 0;
  return 1;
}

void lmm_prior_vb(lmm_prior *prior, const lmm_parameters *par) {
  prior->value = vb_value;
  prior->derivatives = vb_derivatives;
  prior->update = all_half_t(prior, par) ? vb_update : NULL;
}

static elbo_status no_value(const lmm_prior *prior, const lmm_parameters *par, const double *Sigma,
                            const double *variance, double *value) {
  (void)prior, (void)par, (void)Sigma, (void)variance;
  *value = 0.0;
  return ELBO_OK;
}

static elbo_status no_derivatives(const lmm_prior *prior, const lmm_parameters *par,
                                  const double *Sigma, const double *variance, double *gradient,
                                  double *hessian) {
  (void)prior, (void)par, (void)Sigma, (void)variance, (void)gradient, (void)hessian;
  return ELBO_OK;
}

void lmm_prior_beta_only(lmm_prior *prior) {
  prior->value = no_value;
  prior->derivatives = no_derivatives;
  prior->update = NULL;
}

double lmm_half_t_df_information(int q, double d) {
  double sum = q / d;
  for (int i = 0; i < q; i++) sum -= 0.5 * math_trigamma(0.5 * (d - i));
  return -0.5 * sum;
}

void lmm_prior_df(const lmm_prior *prior, const lmm_parameters *par, const double *Sigma,
                  const double *variance, double *df, double *information, double *slope) {
  elbo_status status;
  for (int b = 0; b < par->n_block + par->n_level; b++) df[b] = information[b] = NAN;
  for (int k = 0; k < par->q + par->n_level; k++) slope[k] = 0.0;
  for (scale s = {.b = -1}; next_scale(prior, par, Sigma, variance, &s, &status);) {
    df[s.b] = s.any ? s.factor.d : s.n + s.nu + s.q - 1.0;
    information[s.b] = s.any ? s.factor.df_information : lmm_half_t_df_information(s.q, df[s.b]);
    for (int k = 0; k < s.q && s.any; k++)
      slope[(s.level ? par->q : 0) + s.first + k] = s.factor.df_slope[k];
  }
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
