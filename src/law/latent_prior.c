/* Priors of covariances of latent terms: values, derivatives, the coordinate step. */
#include "law/latent_prior.h"

#include <math.h>
#include <string.h>

#include "law/exponential_family.h"
#include "law/scale_factor.h"
#include "math/digamma.h"
#include "math/la.h"
#include "math/small.h"

/* Entry e of the packed triangle is row a, column b. */
static void entry(int e, int *a, int *b) {
  int row = 0;
  while ((int)packed_size(row + 1) <= e) row++;
  *a = row;
  *b = e - (int)packed_size(row);
}

static sd_prior prior_of(const latent_prior *prior, int k) {
  const sd_prior law = {(sd_family)prior->family[k], prior->df[k], prior->scale[k]};
  return law;
}

static elbo_status invert(const double *S, int q, double *inverse, double *log_det) {
  memcpy(inverse, S, square(q) * sizeof(double));
  if (la_chol(inverse, q) != ELBO_OK) return ELBO_E_NOT_PD;
  *log_det = la_log_det_from_chol(inverse, q);
  return la_inverse_from_chol(inverse, q);
}

/* ---- points ---------------------------------------------------------------------------------- */

/* eta - 1, 0 where no prior of correlations is said. */
static double lkj_excess(const latent_prior *prior) {
  return prior->q < 2 || isnan(prior->lkj) ? 0.0 : prior->lkj - 1.0;
}

static int own_sds(const latent_prior *prior) { return prior->common ? 1 : prior->q; }

elbo_status latent_prior_point(const latent_prior *prior, const double *S, double *value) {
  const int q = prior->q;
  double inverse[LATENT_MAX_TERMS * LATENT_MAX_TERMS], log_det, slope;
  *value = 0.0;
  for (int k = 0; k < own_sds(prior); k++) {
    const sd_prior law = prior_of(prior, k);
    *value += sd_prior_log_density(&law, S[k * (q + 1)], &slope);
  }
  if (q > 1 && !isnan(prior->lkj)) *value += lkj_log_constant(q, prior->lkj);
  if (lkj_excess(prior) != 0.0) {
    if (invert(S, q, inverse, &log_det) != ELBO_OK) return ELBO_E_NOT_FINITE;
    for (int k = 0; k < q; k++) log_det -= log(S[k * (q + 1)]);
    *value += lkj_excess(prior) * log_det;
  }
  return isfinite(*value) ? ELBO_OK : ELBO_E_NOT_FINITE;
}

double latent_prior_point_size(const latent_prior *prior, const double *S) {
  const int q = prior->q;
  double inverse[LATENT_MAX_TERMS * LATENT_MAX_TERMS], log_det, sum = 0.0;
  for (int k = 0; k < own_sds(prior); k++) {
    const sd_prior law = prior_of(prior, k);
    sum += sd_prior_size(&law, S[k * (q + 1)]);
  }
  if (lkj_excess(prior) == 0.0 || invert(S, q, inverse, &log_det) != ELBO_OK) return sum;
  sum += fabs(lkj_excess(prior) * log_det);
  for (int k = 0; k < q; k++) sum += fabs(lkj_excess(prior) * log(S[k * (q + 1)]));
  return sum;
}

/* (eta - 1) log |R|. */
static elbo_status lkj_slopes(const latent_prior *prior, const double *S, const int *place, int n,
                              double *gradient, double *hessian) {
  const double g = lkj_excess(prior);
  const int q = prior->q, size = (int)packed_size(q);
  double V[LATENT_MAX_TERMS * LATENT_MAX_TERMS], log_det;
  if (g == 0.0) return ELBO_OK;
  if (invert(S, q, V, &log_det) != ELBO_OK) return ELBO_E_NOT_PD;
  for (int e = 0; e < size; e++) {
    int a1, b1, a2, b2;
    if (place[e] < 0) continue;
    entry(e, &a1, &b1);
    const double k1 = a1 == b1 ? 0.5 : 1.0, x = S[a1 * (q + 1)];
    gradient[place[e]] += g * (2.0 * k1 * V[a1 + q * b1] - (a1 == b1 ? 1.0 / x : 0.0));
    for (int f = 0; f <= e; f++) {
      if (place[f] < 0) continue;
      entry(f, &a2, &b2);
      const double k2 = a2 == b2 ? 0.5 : 1.0;
      double *to = hessian + place[e] + n * place[f];
      *to -=
          2.0 * g * k1 * k2 * (V[a1 + q * a2] * V[b1 + q * b2] + V[a1 + q * b2] * V[b1 + q * a2]);
      if (e == f && a1 == b1) *to += g / (x * x);
    }
  }
  return ELBO_OK;
}

elbo_status latent_prior_point_slopes(const latent_prior *prior, const double *S, const int *place,
                                      int n, double *gradient, double *hessian) {
  const int q = prior->q;
  double slope;
  for (int k = 0; k < own_sds(prior); k++) {
    const int at = place[packed_size(k + 1) - 1];
    const sd_prior law = prior_of(prior, k);
    if (at < 0) continue;
    sd_prior_log_density(&law, S[k * (q + 1)], &slope);
    gradient[at] += slope;
    hessian[at + n * at] += sd_prior_curvature(&law, S[k * (q + 1)]);
  }
  return lkj_slopes(prior, S, place, n, gradient, hessian);
}

/* ---- variational Bayes ----------------------------------------------------------------------- */

/* What is needed of S. */
typedef struct {
  double log_det, inverse[LATENT_MAX_TERMS * LATENT_MAX_TERMS];
  double c[LATENT_MAX_TERMS];
  scale_factor factor; /* of any prior */
} scale;

int latent_prior_closed(const latent_prior *prior) {
  return prior->q > 1 ? isnan(prior->lkj) : prior->family[0] == SD_HALF_T;
}

static double half_t_constant(const latent_prior *prior) {
  const int q = prior->q;
  const double nu = prior->df[0], d = prior->n + nu + q - 1.0;
  double sum = law_wishart_log_constant(q, nu + q - 1.0, q * log(2.0 * nu)) + 0.5 * d * q -
               law_wishart_log_constant(q, d, q * log(d));
  for (int k = 0; k < q; k++) sum += lgamma(0.5 * (nu + q)) - log(prior->scale[k]) - 0.5 * LOG_PI;
  return sum;
}

static elbo_status find_scale(const latent_prior *prior, const double *S, scale *s) {
  const int q = prior->q;
  const double nu = prior->df[0];
  elbo_status status = invert(S, q, s->inverse, &s->log_det);
  if (status != ELBO_OK) return status;
  for (int k = 0; k < q; k++)
    s->c[k] = nu * s->inverse[k * (q + 1)] + 1.0 / (prior->scale[k] * prior->scale[k]);
  if (latent_prior_closed(prior)) return ELBO_OK;
  sd_prior law[LATENT_MAX_TERMS];
  double log_S[LATENT_MAX_TERMS];
  for (int k = 0; k < q; k++) {
    law[k] = prior_of(prior, k);
    log_S[k] = log(S[k * (q + 1)]);
  }
  return scale_factor_at(q, prior->n, law, q > 1 ? prior->lkj : 1.0, s->log_det, log_S, &s->factor);
}

elbo_status latent_prior_bound(const latent_prior *prior, const double *S, double *value) {
  const int q = prior->q;
  const double nu = prior->df[0];
  scale s;
  const elbo_status status = find_scale(prior, S, &s);
  *value = 0.0;
  if (status != ELBO_OK) return status;
  if (!latent_prior_closed(prior)) {
    *value = s.factor.value;
    return ELBO_OK;
  }
  *value = half_t_constant(prior) - 0.5 * (nu + q - 1.0) * s.log_det;
  for (int k = 0; k < q; k++) *value -= 0.5 * (nu + q) * log(s.c[k]);
  return ELBO_OK;
}

double latent_prior_bound_size(const latent_prior *prior, const double *S) {
  const int q = prior->q;
  const double nu = prior->df[0];
  scale s;
  if (find_scale(prior, S, &s) != ELBO_OK) return 0.0;
  if (!latent_prior_closed(prior)) return s.factor.size;
  double sum = fabs(half_t_constant(prior)) + 0.5 * (nu + q - 1.0) * fabs(s.log_det);
  for (int k = 0; k < q; k++) sum += 0.5 * (nu + q) * fabs(log(s.c[k]));
  return sum;
}

/* Those of any prior: of by_log_det log |S|, and by the logarithms of the diagonal of S. */
static void any_slopes(int q, const double *S, const scale *s, const int *place, int n,
                       double *gradient, double *hessian) {
  const int size = (int)packed_size(q);
  const double *V = s->inverse, *r = s->factor.df_slope, g = s->factor.by_log_det;
  for (int e = 0; e < size; e++) {
    int a1, b1, a2, b2;
    if (place[e] < 0) continue;
    entry(e, &a1, &b1);
    const double k1 = a1 == b1 ? 0.5 : 1.0, S1 = S[a1 * (q + 1)];
    const double by_log = a1 == b1 ? s->factor.by_log[a1] / S1 : 0.0;
    gradient[place[e]] += 2.0 * g * k1 * V[a1 + q * b1] + by_log;
    for (int f = 0; f <= e; f++) {
      if (place[f] < 0) continue;
      entry(f, &a2, &b2);
      const double k2 = a2 == b2 ? 0.5 : 1.0;
      double sum =
          -2.0 * g * k1 * k2 * (V[a1 + q * a2] * V[b1 + q * b2] + V[a1 + q * b2] * V[b1 + q * a2]);
      if (a1 == b1 && a2 == b2)
        sum += (r[a1] * r[a2] * s->factor.df_information +
                (a1 == a2 ? s->factor.curvature[a1] : 0.0)) /
               (S1 * S[a2 * (q + 1)]);
      if (e == f) sum -= by_log / S1;
      hessian[place[e] + n * place[f]] += sum;
    }
  }
}

/* d^2 h of half-t priors by the directions (a1, b1) and (a2, b2), less their factors. */
static double half_t_curvature(const latent_prior *prior, const scale *s, int a1, int b1, int a2,
                               int b2) {
  const int q = prior->q;
  const double nu = prior->df[0], *V = s->inverse, *c = s->c;
  double sum = (nu + q - 1.0) * (V[a1 + q * a2] * V[b1 + q * b2] + V[a1 + q * b2] * V[b1 + q * a2]);
  for (int k = 0; k < q; k++) {
    const double va = V[k + q * a1], vb = V[k + q * b1], wa = V[k + q * a2], wb = V[k + q * b2];
    /* (S^-1 E S^-1)_kk = 2 va vb and (S^-1 E S^-1 F S^-1)_kk for the two directions. */
    const double both = va * V[b1 + q * a2] * wb + va * V[b1 + q * b2] * wa +
                        vb * V[a1 + q * a2] * wb + vb * V[a1 + q * b2] * wa;
    sum += nu * (nu + q) * (-both / c[k] + 2.0 * nu * va * vb * wa * wb / (c[k] * c[k]));
  }
  return sum;
}

elbo_status latent_prior_bound_slopes(const latent_prior *prior, const double *S, const int *place,
                                      int n, double *gradient, double *hessian) {
  const int q = prior->q, size = (int)packed_size(q);
  const double nu = prior->df[0];
  scale s;
  const elbo_status status = find_scale(prior, S, &s);
  if (status != ELBO_OK) return status;
  if (!latent_prior_closed(prior)) {
    any_slopes(q, S, &s, place, n, gradient, hessian);
    return ELBO_OK;
  }
  const double *V = s.inverse;
  for (int e = 0; e < size; e++) {
    int a1, b1, a2, b2;
    if (place[e] < 0) continue;
    entry(e, &a1, &b1);
    const double k1 = a1 == b1 ? 0.5 : 1.0;
    gradient[place[e]] -= (nu + q - 1.0) * k1 * V[a1 + q * b1];
    for (int k = 0; k < q; k++)
      gradient[place[e]] += nu * (nu + q) / s.c[k] * k1 * V[k + q * a1] * V[k + q * b1];
    for (int f = 0; f <= e; f++) {
      if (place[f] < 0) continue;
      entry(f, &a2, &b2);
      const double k2 = a2 == b2 ? 0.5 : 1.0;
      hessian[place[e] + n * place[f]] += k1 * k2 * half_t_curvature(prior, &s, a1, b1, a2, b2);
    }
  }
  return ELBO_OK;
}

/* S = (sum E[u u'] + 2 nu diag(E[1/a])) / d, where E[1/a_k] = (nu + q) / 2 / c_k. */
elbo_status latent_prior_update(const latent_prior *prior, const double *S, const double *second,
                                double *out) {
  const int q = prior->q;
  const double nu = prior->df[0], d = prior->n + nu + q - 1.0;
  scale s;
  const elbo_status status = find_scale(prior, S, &s);
  if (status != ELBO_OK) return status;
  for (int i = 0; i < q; i++)
    for (int j = 0; j < q; j++)
      out[i + q * j] = (second[i + q * j] + (i == j ? nu * (nu + q) / s.c[i] : 0.0)) / d;
  return ELBO_OK;
}

static double half_t_df_information(int q, double d) {
  double sum = q / d;
  for (int i = 0; i < q; i++) sum -= 0.5 * math_trigamma(0.5 * (d - i));
  return -0.5 * sum;
}

elbo_status latent_prior_df(const latent_prior *prior, const double *S, double *d,
                            double *information, double *slope) {
  const int q = prior->q, closed = latent_prior_closed(prior);
  scale s;
  const elbo_status status = find_scale(prior, S, &s);
  if (status != ELBO_OK) return status;
  *d = closed ? prior->n + prior->df[0] + q - 1.0 : s.factor.d;
  *information = closed ? half_t_df_information(q, *d) : s.factor.df_information;
  for (int k = 0; k < q; k++) slope[k] = closed ? 0.0 : s.factor.df_slope[k];
  return ELBO_OK;
}
