#include "mixture/normal_vb.h"

#include <math.h>
#include <string.h>

#include "math/la.h"
#include "math/small.h"
#include "law/exponential_family.h"

static int group_of(const normal_vb *vb, int j) { return vb->n_group == 1 ? 0 : j; }

/* Components g .. end_of(g) - 1 have matrix g. */
static int end_of(const normal_vb *vb, int g) { return vb->n_group == 1 ? vb->k : g + 1; }

/* Entries that make Lambda. */
static int n_entry(const normal_vb *vb) {
  return vb->structure == NORMAL_VB_FULL       ? vb->d * (vb->d + 1) / 2
         : vb->structure == NORMAL_VB_DIAGONAL ? vb->d
                                               : 1;
}

/* What the structure sees of symmetric A, in place: all, its diagonal, or its trace, in every place
 * of the diagonal. */
static void project(const normal_vb *vb, double *A) {
  const int d = vb->d;
  double trace = 0.0;
  if (vb->structure == NORMAL_VB_FULL) return;
  for (int a = 0; a < d; a++) trace += A[a * (d + 1)];
  for (int b = 0; b < d; b++)
    for (int a = 0; a < d; a++)
      if (a != b)
        A[a + d * b] = 0.0;
      else if (vb->structure == NORMAL_VB_SPHERICAL)
        A[a + d * b] = trace;
}

static normal_vb_law law_new(int d, int k, int n_group, const elbo_memory *mem) {
  const size_t D = (size_t)d, K = (size_t)k, G = (size_t)n_group;
  const normal_vb_law law = {.mean = elbo_doubles(mem, D * K),
                             .kappa = elbo_doubles(mem, K),
                             .df = elbo_doubles(mem, G),
                             .scale = elbo_doubles(mem, D * D * G)};
  return law;
}

static void set_structure(normal_vb *vb, covariance_model model) {
  const int d = vb->d;
  const int is_full = model == COVARIANCE_VVV || model == COVARIANCE_EEE;
  const int is_diagonal = model == COVARIANCE_VVI || model == COVARIANCE_EEI;
  const int is_common =
      model == COVARIANCE_EEE || model == COVARIANCE_EEI || model == COVARIANCE_EII;
  vb->structure = is_full ? NORMAL_VB_FULL : is_diagonal ? NORMAL_VB_DIAGONAL : NORMAL_VB_SPHERICAL;
  vb->n_group = is_common ? 1 : vb->k;
  vb->order = is_full ? d : 1;
  vb->copies = is_diagonal ? d : 1;
  vb->share = is_full || is_diagonal ? 1.0 : 1.0 / d;
  vb->n_eta = vb->n_group * (1 + n_entry(vb)) + vb->k * (d + 1);
}

/* The prior of one component in the terms of q. */
static void set_prior(normal_vb *vb, const double *mean0, double kappa0, double df0,
                      const double *scale0) {
  const int d = vb->d;
  double *scale = vb->prior.scale;
  memcpy(vb->prior.mean, mean0, (size_t)d * sizeof(double));
  memcpy(scale, scale0, square(vb->d) * sizeof(double));
  *vb->prior.kappa = kappa0;
  *vb->prior.df = df0 - d + vb->order;
  project(vb, scale);
  for (size_t i = 0; i < square(vb->d); i++) scale[i] *= vb->share; /* spherical: mean, not trace */
  memcpy(vb->one, scale, square(vb->d) * sizeof(double));
  la_chol(vb->one, d); /* positive definite: checked on the way in */
  vb->prior_log_scale = la_log_det_from_chol(vb->one, d);
}

/* Natural parameters do best near unit scale; one unit for all where Sigma is spherical. */
static void set_units(normal_vb *vb, const double *centre, const double *sd) {
  const int d = vb->d;
  double log_unit = 0.0;
  memcpy(vb->centre, centre, (size_t)d * sizeof(double));
  memcpy(vb->unit, sd, (size_t)d * sizeof(double));
  if (vb->structure != NORMAL_VB_SPHERICAL) return;
  for (int a = 0; a < d; a++) log_unit += log(sd[a]) / d;
  for (int a = 0; a < d; a++) vb->unit[a] = exp(log_unit);
}

void normal_vb_init(normal_vb *vb, covariance_model model, int d, int k, const double *centre,
                    const double *sd, const double *mean0, double kappa0, double df0,
                    const double *scale0, const elbo_memory *mem) {
  const size_t D = (size_t)d;
  memset(vb, 0, sizeof *vb);
  vb->d = d;
  vb->k = k;
  set_structure(vb, model);
  const size_t G = (size_t)vb->n_group;
  vb->q = law_new(d, k, vb->n_group, mem);
  vb->next = law_new(d, k, vb->n_group, mem);
  vb->prior = law_new(d, 1, 1, mem);
  vb->centre = elbo_doubles(mem, D);
  vb->unit = elbo_doubles(mem, D);
  vb->precision = elbo_doubles(mem, D * D * G);
  vb->log_det = elbo_doubles(mem, G);
  vb->log_scale = elbo_doubles(mem, G);
  vb->one = elbo_doubles(mem, D * D);
  vb->two = elbo_doubles(mem, D * D);
  set_prior(vb, mean0, kappa0, df0, scale0);
  set_units(vb, centre, sd);
  for (int j = 0; j < k; j++) {
    memcpy(vb->q.mean + d * j, centre, D * sizeof(double));
    vb->q.kappa[j] = kappa0 + 1.0;
  }
  for (int g = 0; g < vb->n_group; g++) {
    double *scale = vb->q.scale + square(vb->d) * (size_t)g;
    vb->q.df[g] = *vb->prior.df + vb->order;
    memset(scale, 0, square(vb->d) * sizeof(double));
    for (int a = 0; a < d; a++) scale[a * (d + 1)] = vb->q.df[g] * sd[a] * sd[a] * vb->share;
    project(vb, scale);
  }
}

/* ---- expectations ---------------------------------------------------------------------------- */

elbo_status normal_vb_prepare(normal_vb *vb, double *M, double *constant, int *component) {
  const int d = vb->d;
  const size_t d2 = square(vb->d);
  for (int g = 0; g < vb->n_group; g++) {
    const double df = vb->q.df[g], root = sqrt(df);
    double *L = vb->one, *inverse = vb->two;
    memcpy(L, vb->q.scale + d2 * (size_t)g, d2 * sizeof(double));
    *component = vb->n_group == 1 ? -1 : g;
    if (!(df > vb->order - 1.0) || la_chol(L, d) != ELBO_OK) return ELBO_E_NOT_PD;
    vb->log_scale[g] = la_log_det_from_chol(L, d);
    vb->log_det[g] =
        vb->copies / vb->share * (vb->order * log(df) - law_wishart_excess(vb->order, df)) -
        vb->log_scale[g];
    la_lower_inverse(L, d, inverse);
    for (int j = g; j < end_of(vb, g); j++) {
      double *Mj = M + d2 * (size_t)j;
      for (int a = 0; a < d; a++)
        for (int b = 0; b < d; b++) Mj[b + d * a] = root * inverse[a + d * b];
      *component = j;
      if (!(vb->q.kappa[j] > 0.0)) return ELBO_E_NOT_PD;
      constant[j] = 0.5 * (vb->log_det[g] - d * LOG_2PI - d / vb->q.kappa[j]);
    }
    const double *own = M + d2 * (size_t)g;
    la_multiply_t(own, own, d, d, d, vb->precision + d2 * (size_t)g);
  }
  return ELBO_OK;
}

/* The logarithm of what normalises the law of Lambda. */
static double log_constant(const normal_vb *vb, double df, double log_scale) {
  return vb->copies * law_wishart_log_constant(vb->order, df, vb->share / vb->copies * log_scale);
}

/* E log p(Lambda) / q(Lambda), and for each mean E log p(mean | Lambda) / q(mean | Lambda), where
 * E[(mean - m0)' Lambda (mean - m0)] = (m - m0)' E[Lambda] (m - m0) + d / kappa. */
double normal_vb_log_prior(const normal_vb *vb) {
  const int d = vb->d;
  const double df0 = *vb->prior.df, kappa0 = *vb->prior.kappa;
  double sum = 0.0, *deviation = vb->one;
  for (int g = 0; g < vb->n_group; g++) {
    const double *P = vb->precision + square(vb->d) * (size_t)g, df = vb->q.df[g];
    const double *scale = vb->q.scale + square(vb->d) * (size_t)g;
    double trace = 0.0;
    for (size_t i = 0; i < square(vb->d); i++) trace += (vb->prior.scale[i] - scale[i]) * P[i];
    sum += log_constant(vb, df0, vb->prior_log_scale) - log_constant(vb, df, vb->log_scale[g]) +
           0.5 * vb->share * ((df0 - df) * vb->log_det[g] - trace);
    for (int j = g; j < end_of(vb, g); j++) {
      const double kappa = vb->q.kappa[j];
      for (int a = 0; a < d; a++) deviation[a] = vb->q.mean[a + d * j] - vb->prior.mean[a];
      sum += 0.5 * (d * (log(kappa0 / kappa) + 1.0 - kappa0 / kappa) -
                    kappa0 * la_quadratic(P, deviation, d));
    }
  }
  return sum;
}

/* ---- updates --------------------------------------------------------------------------------- */

/* The conjugate update of the prior by the data of all components. */
static void update(normal_vb *vb, const double *n, const double *average, const double *W,
                   normal_vb_law *law) {
  const int d = vb->d;
  const size_t d2 = square(vb->d);
  const double kappa0 = *vb->prior.kappa, *mean0 = vb->prior.mean;
  for (int g = 0; g < vb->n_group; g++) {
    double *scale = law->scale + d2 * (size_t)g, *add = vb->one;
    law->df[g] = *vb->prior.df;
    memcpy(scale, vb->prior.scale, d2 * sizeof(double));
    for (int j = g; j < end_of(vb, g); j++) {
      const double kappa = kappa0 + n[j], weight = n[j] / kappa;
      double *mean = law->mean + d * j, *away = vb->two;
      for (int a = 0; a < d; a++) {
        away[a] = n[j] > 0.0 ? average[a + d * j] - mean0[a] : 0.0;
        mean[a] = mean0[a] + weight * away[a];
      }
      for (int b = 0; b < d; b++)
        for (int a = 0; a < d; a++)
          add[a + d * b] =
              W[d2 * (size_t)j + (size_t)(a + d * b)] + kappa0 * weight * away[a] * away[b];
      project(vb, add);
      for (size_t i = 0; i < d2; i++) scale[i] += add[i];
      law->kappa[j] = kappa;
      law->df[g] += n[j] / vb->share;
    }
  }
}

void normal_vb_m_step(normal_vb *vb, const double *n, const double *average, const double *W) {
  update(vb, n, average, W, &vb->q);
}

/* ---- natural parameters ---------------------------------------------------------------------- */

/* Entries of symmetric A that make Lambda, those off the diagonal times `off`. */
static double *entries(const normal_vb *vb, const double *A, double diagonal, double off,
                       double *out) {
  const int d = vb->d;
  for (int a = 0; a < d; a++) {
    if (vb->structure == NORMAL_VB_SPHERICAL && a > 0) break;
    if (vb->structure == NORMAL_VB_FULL)
      for (int b = 0; b < a; b++) *out++ = off * A[a + d * b];
    *out++ = diagonal * A[a * (d + 1)];
  }
  return out;
}

/* log q = df / 2 log|Lambda| - 1/2 tr((scale + sum_j kappa_j m_j m_j') Lambda)
 *         + sum_j { kappa_j m_j' Lambda mean_j - kappa_j / 2 mean_j' Lambda mean_j } + ... */
static void natural(const normal_vb *vb, const normal_vb_law *law, double *eta) {
  const int d = vb->d;
  const double *unit = vb->unit;
  for (int g = 0; g < vb->n_group; g++) {
    const double *scale = law->scale + square(vb->d) * (size_t)g;
    double *A = vb->one, *m = vb->two;
    double *own = eta + 1 + n_entry(vb); /* of the means */
    memset(A, 0, square(vb->d) * sizeof(double));
    for (int j = g; j < end_of(vb, g); j++) {
      const double kappa = law->kappa[j];
      for (int a = 0; a < d; a++) m[a] = (law->mean[a + d * j] - vb->centre[a]) / unit[a];
      for (int b = 0; b < d; b++)
        for (int a = 0; a < d; a++) A[a + d * b] += kappa * m[a] * m[b];
      for (int a = 0; a < d; a++) *own++ = kappa * m[a];
      *own++ = -0.5 * kappa;
    }
    project(vb, A);
    for (int b = 0; b < d; b++)
      for (int a = 0; a < d; a++) A[a + d * b] += scale[a + d * b] / (unit[a] * unit[b]);
    eta[0] = 0.5 * law->df[g];
    entries(vb, A, -0.5, -1.0, eta + 1);
    eta = own;
  }
}

void normal_vb_pack(const normal_vb *vb, double *eta) { natural(vb, &vb->q, eta); }

void normal_vb_target(normal_vb *vb, const double *n, const double *average, const double *W,
                      double *eta) {
  update(vb, n, average, W, &vb->next);
  natural(vb, &vb->next, eta);
}

/* The symmetric matrix of which `entries` wrote its own, those off the diagonal over `off`. */
static void from_entries(const normal_vb *vb, const double *in, double diagonal, double off,
                         double *A) {
  const int d = vb->d;
  memset(A, 0, square(vb->d) * sizeof(double));
  for (int a = 0; a < d; a++) {
    if (vb->structure == NORMAL_VB_SPHERICAL && a > 0) in--;
    if (vb->structure == NORMAL_VB_FULL)
      for (int b = 0; b < a; b++) A[a + d * b] = A[b + d * a] = *in++ / off;
    A[a * (d + 1)] = *in++ / diagonal;
  }
}

elbo_status normal_vb_unpack(normal_vb *vb, const double *eta) {
  const int d = vb->d;
  const double *unit = vb->unit;
  for (int g = 0; g < vb->n_group; g++) {
    double *scale = vb->q.scale + square(vb->d) * (size_t)g, *A = vb->one, *m = vb->two;
    const double *own = eta + 1 + n_entry(vb);
    vb->q.df[g] = 2.0 * eta[0];
    from_entries(vb, eta + 1, -0.5, -1.0, scale);
    memset(A, 0, square(vb->d) * sizeof(double));
    for (int j = g; j < end_of(vb, g); j++, own += d + 1) {
      const double kappa = -2.0 * own[d];
      if (!(kappa > 0.0)) return ELBO_E_NOT_PD;
      vb->q.kappa[j] = kappa;
      for (int a = 0; a < d; a++) {
        m[a] = own[a] / kappa;
        vb->q.mean[a + d * j] = vb->centre[a] + unit[a] * m[a];
      }
      for (int b = 0; b < d; b++)
        for (int a = 0; a < d; a++) A[a + d * b] += kappa * m[a] * m[b];
    }
    project(vb, A);
    for (int b = 0; b < d; b++)
      for (int a = 0; a < d; a++)
        scale[a + d * b] = (scale[a + d * b] - A[a + d * b]) * unit[a] * unit[b];
    memcpy(A, scale, square(vb->d) * sizeof(double));
    if (!(vb->q.df[g] > vb->order - 1.0) || la_chol(A, d) != ELBO_OK) return ELBO_E_NOT_PD;
    eta = own;
  }
  return ELBO_OK;
}

void normal_vb_moments(const normal_vb *vb, double *m) {
  const int d = vb->d;
  for (int g = 0; g < vb->n_group; g++) {
    const double *precision = vb->precision + square(vb->d) * (size_t)g;
    double *P = vb->one, *mean = vb->two;
    for (int b = 0; b < d; b++)
      for (int a = 0; a < d; a++) P[a + d * b] = precision[a + d * b] * vb->unit[a] * vb->unit[b];
    *m++ = vb->share * vb->log_det[g];
    m = entries(vb, P, 1.0, 1.0, m);
    for (int j = g; j < end_of(vb, g); j++) {
      for (int a = 0; a < d; a++) mean[a] = (vb->q.mean[a + d * j] - vb->centre[a]) / vb->unit[a];
      la_multiply(P, mean, d, d, 1, m);
      m[d] = la_quadratic(P, mean, d) + d / vb->q.kappa[j];
      m += d + 1;
    }
  }
}

/* ---- on the natural scale -------------------------------------------------------------------- */

void normal_vb_theta(const normal_vb *vb, double *theta) {
  const int d = vb->d;
  memcpy(theta, vb->q.mean, (size_t)(d * vb->k) * sizeof(double));
  theta += d * vb->k;
  for (int j = 0; j < vb->k; j++) {
    const double *scale = vb->q.scale + square(vb->d) * (size_t)group_of(vb, j);
    const double shape = 0.5 * (vb->q.df[group_of(vb, j)] - vb->order + 1.0);
    for (int a = 0; a < d; a++) *theta++ = law_mean_sd(shape, 0.5 * scale[a * (d + 1)]);
  }
  for (int j = 0; j < vb->k; j++) {
    const double *scale = vb->q.scale + square(vb->d) * (size_t)group_of(vb, j);
    const double n = vb->q.df[group_of(vb, j)] - d + 2.0; /* of two variables */
    for (int a = 0; a < d; a++)
      for (int b = a + 1; b < d; b++) {
        const double r = la_correlation(scale, d, a, b);
        *theta++ = vb->structure == NORMAL_VB_FULL ? law_mean_correlation(n, r) : 0.0;
      }
  }
}
