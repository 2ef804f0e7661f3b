/* Variational Bayes for the mixture of curves: q(beta_j) normal, q of each block of Gamma inverse
 * Wishart, q(sigma^2) and those of variances of smooths inverse gamma; q(u_i | z_i, beta) is
 * normal, at its best, and integrated out. */
#include "math/digamma.h"
#include "math/la.h"
#include "law/exponential_family.h"
#include "mixture/curves_factor.h"
#include "mixture/curves_parameters.h"
#include "mixture/curves_smooth.h"
#include "mixture/curves_sums.h"
#include "mixture/curves_vb.h"

/* ---- factors --------------------------------------------------------------------------------- */

static double *scale_at(const curves *w, int g) { return w->Scale + square(w->spec.q) * (size_t)g; }

static double *df_at(const curves *w, int g, const curve_block *b) {
  return w->df + (b - w->block) + w->n_block * g;
}

/* Scale of a block's law; of a multiple 1 x 1. */
static void take_scale(const curves *w, int g, const curve_block *b, double *out) {
  const int at = b->reference * (w->spec.q + 1);
  curves_take(w, b, scale_at(w, g), out);
  if (b->multiple) out[0] = scale_at(w, g)[at] / w->matrix[at];
}

/* E[Gamma^{-1}]^{-1} and what goes with it. */
static void expect_gamma(curves *w, int g) {
  w->excess[g] = 0.0;
  for (int i = 0; i < w->n_block; i++) {
    const curve_block *b = w->block + i;
    const double df = *df_at(w, g, b);
    if (b->held) continue;
    take_scale(w, g, b, w->one);
    for (int a = 0; a < b->order * b->order; a++) w->one[a] /= df;
    curves_put(w, b, w->one, gamma_at(w, g));
    w->excess[g] += b->count * law_wishart_excess(b->order, df);
  }
}

static void expect_sigma(curves *w, int s) {
  const int scale = sigma_free(w, s);
  const double rate = w->rate[s] * w->y_scale * w->y_scale;
  w->variance[s] = scale ? rate / w->shape[s] : rate;
  w->log_variance[s] = log(rate) - (scale ? math_digamma(w->shape[s]) : 0.0);
}

/* df and scale at their best given the laws of the deviations. */
static double best_wishart(const curves *w, int g, const curve_block *b, double n, const double *H,
                           double *scale) {
  curves_second_moment(w, g, b, n, H, scale);
  curves_take(w, b, w->covariance_scale, w->three);
  for (int a = 0; a < b->order * b->order; a++) scale[a] += w->three[a];
  return b->df + n * b->count;
}

void curves_vb_gamma(curves *w, int g, double n, const double *H) {
  for (int i = 0; i < w->n_block; i++) {
    const curve_block *b = w->block + i;
    if (b->held) continue;
    *df_at(w, g, b) = best_wishart(w, g, b, n, H, w->two);
    curves_put(w, b, w->two, scale_at(w, g));
  }
  expect_gamma(w, g);
}

static double best_rate(const curves *w, int s, double sum_square) {
  const sd_prior *prior = &w->sigma_prior;
  return law_half_t_rate(prior->df, prior->scale, 1.0 / w->variance[s]) + 0.5 * sum_square;
}

void curves_vb_sigma(curves *w, int s, double rows, double sum_square) {
  if (!sigma_free(w, s)) return;
  w->rate[s] = best_rate(w, s, sum_square) / (w->y_scale * w->y_scale);
  w->shape[s] = 0.5 * (w->sigma_prior.df + rows);
  expect_sigma(w, s);
}

/* ---- fields ---------------------------------------------------------------------------------- */

static void publish(const curves *w) {
  const int p = w->spec.p, q = w->spec.q;
  for (int j = 0; j < w->spec.k; j++) {
    curves_publish_beta(w, j);
    for (int a = 0; a < p; a++)
      for (int b = 0; b < p; b++)
        w->cov[a + p * b + p * p * j] =
            w->beta_cov[a + p * b + p * p * j] * beta_unit(w, a) * beta_unit(w, b);
  }
  for (int g = 0; g < w->n_gamma; g++)
    for (int a = 0; a < q; a++)
      for (int b = 0; b < q; b++)
        w->scale[a + q * b + q * q * g] = scale_at(w, g)[a + q * b] * gamma_unit(w, a, b);
}

static elbo_status prepare(void *work, int *component) {
  curves *w = work;
  for (int g = 0; g < w->n_gamma; g++) expect_gamma(w, g);
  for (int s = 0; s < w->n_sigma; s++) expect_sigma(w, s);
  curves_smooth_expect(w);
  publish(w);
  return curves_factor(w, component);
}

static elbo_status restore(void *work, int *component) {
  curves *w = work;
  const int p = w->spec.p, q = w->spec.q;
  (void)component;
  for (int j = 0; j < w->spec.k; j++) {
    curves_read_beta(w, j);
    for (int a = 0; a < p; a++)
      for (int b = 0; b < p; b++)
        w->beta_cov[a + p * b + p * p * j] =
            w->cov[a + p * b + p * p * j] / (beta_unit(w, a) * beta_unit(w, b));
  }
  for (int g = 0; g < w->n_gamma; g++)
    for (int a = 0; a < q; a++)
      for (int b = 0; b < q; b++)
        scale_at(w, g)[a + q * b] = w->scale[a + q * b + q * q * g] / gamma_unit(w, a, b);
  return ELBO_OK;
}

static double *mean_sds(const curves *w, int g, const curve_block *b, double *out) {
  const double shape = 0.5 * (*df_at(w, g, b) - b->order + 1.0);
  take_scale(w, g, b, w->one);
  if (b->held) {
    *out++ = sqrt(w->one[0]) / w->y_scale;
    return out;
  }
  for (int a = 0; a < b->order; a++) {
    const double unit =
        b->multiple ? 1.0 / w->y_scale : sqrt(gamma_unit(w, b->first + a, b->first + a));
    *out++ = unit * law_mean_sd(shape, 0.5 * w->one[a * (b->order + 1)]);
  }
  return out;
}

static double mean_correlation(const curves *w, int g, const curve_block *b, int a, int c) {
  const int q = w->spec.q;
  const double *scale = scale_at(w, g) + b->first * (q + 1);
  return law_mean_correlation(*df_at(w, g, b) - b->order + 2.0, la_correlation(scale, q, a, c));
}

static void theta(const void *work, double *out) {
  const curves *w = work;
  out = curves_theta(w, mean_sds, mean_correlation, out);
  for (int s = 0; s < w->n_sigma; s++)
    *out++ = sigma_free(w, s) ? law_mean_sd(w->shape[s], w->rate[s]) : sqrt(w->rate[s]);
}

/* ---- the divergence -------------------------------------------------------------------------- */

static elbo_status minus_kl_beta(const curves *w, int j, double *value) {
  const int p = w->spec.p;
  const double *cov = w->beta_cov + square(p) * (size_t)j, *beta = w->beta + p * j;
  memcpy(w->one, cov, square(p) * sizeof(double));
  const elbo_status status = la_chol(w->one, p);
  *value = 0.5 * (p + la_log_det_from_chol(w->one, p));
  for (int a = 0; a < p; a++) {
    const double from = beta[a] - w->beta_mean[a], precision = curves_precision(w, j, a);
    *value += 0.5 * (curves_log_precision(w, j, a) - precision * (from * from + cov[a + p * a]));
  }
  return status;
}

static double log_prior(const void *work) {
  const curves *w = work;
  double sum = 0.0;
  for (int j = 0; j < w->spec.k; j++) {
    double value;
    if (minus_kl_beta(w, j, &value) != ELBO_OK) return NAN;
    sum += value;
  }
  for (int g = 0; g < w->n_gamma; g++)
    for (int i = 0; i < w->n_block; i++) {
      const curve_block *b = w->block + i;
      if (b->held) continue;
      take_scale(w, g, b, w->one);
      curves_take(w, b, w->covariance_scale, w->two);
      sum += law_wishart_minus_kl(b->order, *df_at(w, g, b), w->one, b->df, w->two, w->prior_work);
    }
  for (int s = 0; s < w->n_sigma; s++)
    if (sigma_free(w, s))
      sum += law_half_t_minus_kl(w->sigma_prior.df, w->sigma_prior.scale, w->shape[s],
                                 w->rate[s] * w->y_scale * w->y_scale);
  return sum + curves_smooth_minus_kl(w);
}

/* ---- natural parameters ---------------------------------------------------------------------- */

/* q(beta_j) for all j, variances of smooths, the free blocks and multiples of each Gamma, each free
 * sigma^2 (log sigma^2, 1/sigma^2). */
static void pack(const void *work, double *eta) {
  const curves *w = work;
  const int p = w->spec.p;
  for (int j = 0; j < w->spec.k; j++, eta += law_normal_size(p)) {
    memcpy(w->one, w->beta_cov + square(p) * (size_t)j, square(p) * sizeof(double));
    la_chol(w->one, p); /* positive definite: prepare() was content */
    la_inverse_from_chol(w->one, p);
    la_multiply(w->one, w->beta + p * j, p, p, 1, w->step);
    law_normal_natural(p, w->one, w->step, eta);
  }
  curves_smooth_natural(w, &eta);
  for (int g = 0; g < w->n_gamma; g++)
    for (int i = 0; i < w->n_block; i++) {
      const curve_block *b = w->block + i;
      if (b->held) continue;
      take_scale(w, g, b, w->one);
      law_wishart_natural(b->order, *df_at(w, g, b), w->one, eta);
      eta += law_wishart_size(b->order);
    }
  for (int s = 0; s < w->n_sigma; s++) {
    if (!sigma_free(w, s)) continue;
    *eta++ = -(w->shape[s] + 1.0);
    *eta++ = -w->rate[s] * w->y_scale * w->y_scale;
  }
}

static elbo_status unpack(void *work, const double *eta) {
  curves *w = work;
  const int p = w->spec.p;
  elbo_status status = ELBO_OK;
  for (int j = 0; j < w->spec.k && status == ELBO_OK; j++, eta += law_normal_size(p))
    status = law_normal_from_natural(p, eta, w->beta + p * j, w->beta_cov + square(p) * (size_t)j);
  if (status == ELBO_OK) status = curves_smooth_from_natural(w, &eta);
  for (int g = 0; g < w->n_gamma; g++)
    for (int i = 0; i < w->n_block && status == ELBO_OK; i++) {
      const curve_block *b = w->block + i;
      if (b->held) continue;
      status = law_wishart_from_natural(b->order, eta, df_at(w, g, b), w->one, w->two);
      curves_put(w, b, w->one, scale_at(w, g));
      eta += law_wishart_size(b->order);
    }
  for (int s = 0; s < w->n_sigma && status == ELBO_OK; s++) {
    if (!sigma_free(w, s)) continue;
    w->shape[s] = -*eta++ - 1.0;
    w->rate[s] = -*eta++ / (w->y_scale * w->y_scale);
    if (!(w->shape[s] > 0.0) || !(w->rate[s] > 0.0)) status = ELBO_E_NOT_PD;
  }
  return status;
}

static void moments(const void *work, double *m) {
  const curves *w = work;
  const int p = w->spec.p;
  for (int j = 0; j < w->spec.k; j++, m += law_normal_size(p))
    law_normal_moments(p, w->beta + p * j, w->beta_cov + square(p) * (size_t)j, m);
  curves_smooth_moments(w, &m);
  for (int g = 0; g < w->n_gamma; g++)
    for (int i = 0; i < w->n_block; i++) {
      const curve_block *b = w->block + i;
      if (b->held) continue;
      take_scale(w, g, b, w->one);
      law_wishart_moments(b->order, *df_at(w, g, b), w->one, m, w->two);
      m += law_wishart_size(b->order);
    }
  for (int s = 0; s < w->n_sigma; s++) {
    if (!sigma_free(w, s)) continue;
    *m++ = w->log_variance[s];
    *m++ = 1.0 / w->variance[s];
  }
}

/* q(beta_j) has the precision K + prior, and the linear part
 * K beta + sum r R'V^{-1}(t - R beta) + prior. */
static elbo_status target(void *work, const double *stat, const double *r, double *eta) {
  const curves *w = work;
  const int p = w->spec.p;
  curves_collect(w, stat, r, OF_COEFFICIENTS | OF_VARIANCES);
  const curve_totals *all = w->totals;
  for (int j = 0; j < w->spec.k; j++, eta += law_normal_size(p)) {
    double *precision = all->K + square(p) * (size_t)j;
    la_multiply(precision, w->beta + p * j, p, p, 1, w->step);
    for (int a = 0; a < p; a++) {
      const double prior = curves_precision(w, j, a);
      w->step[a] += all->b[a + p * j] + prior * w->beta_mean[a];
      precision[a + p * a] += prior;
    }
    law_normal_natural(p, precision, w->step, eta);
  }
  curves_smooth_target(w, &eta);
  for (int g = 0; g < w->n_gamma; g++)
    for (int i = 0; i < w->n_block; i++) {
      const curve_block *b = w->block + i;
      if (b->held) continue;
      const double df =
          best_wishart(w, g, b, all->n[g], all->H + square(w->spec.q) * (size_t)g, w->two);
      law_wishart_natural(b->order, df, w->two, eta);
      eta += law_wishart_size(b->order);
    }
  for (int s = 0; s < w->n_sigma; s++) {
    if (!sigma_free(w, s)) continue;
    *eta++ = -(0.5 * (w->sigma_prior.df + all->rows[s]) + 1.0);
    *eta++ = -best_rate(w, s, all->square[s]);
  }
  return ELBO_OK;
}

/* ---- construction ---------------------------------------------------------------------------- */

/* The laws that all units, were they one component's, would leave at the start's variances. */
static elbo_status start(curves *w) {
  const int p = w->spec.p, q = w->spec.q, k = w->spec.k;
  elbo_status status = ELBO_OK;
  memset(w->sums->K, 0, square(p) * sizeof(double));
  memset(w->sums->b, 0, (size_t)p * sizeof(double));
  for (int i = 0; i < w->n_design; i++) {
    const curve_design *d = w->design + i;
    curves_add_crossprod(d->R, d->m, p, d->n_unit / w->variance[0], w->sums->K);
  }
  for (int j = 0; j < k && status == ELBO_OK; j++) status = curves_smooth_step(w, j, 0);
  for (int g = 0; g < w->n_gamma; g++) {
    memset(scale_at(w, g), 0, square(q) * sizeof(double));
    for (int i = 0; i < w->n_block; i++) {
      const curve_block *b = w->block + i;
      const double df = b->df + w->spec.units.n_unit * b->count;
      *df_at(w, g, b) = b->held ? HUGE_VAL : df;
      curves_take(w, b, gamma_at(w, g), w->one);
      if (b->multiple) w->one[0] = multiple_of(w, g, b);
      for (int a = 0; a < b->order * b->order; a++) w->one[a] *= b->held ? 1.0 : df;
      curves_put(w, b, w->one, scale_at(w, g));
    }
  }
  for (int s = 0; s < w->n_sigma; s++) {
    const double shape = 0.5 * (w->sigma_prior.df + w->spec.units.n_row);
    w->shape[s] = sigma_free(w, s) ? shape : HUGE_VAL;
    w->rate[s] = w->variance[s] * (sigma_free(w, s) ? shape : 1.0) / (w->y_scale * w->y_scale);
  }
  return status;
}

elbo_status curves_vb(mixture_part *part, curves *w, const elbo_memory *mem) {
  const int p = w->spec.p, q = w->spec.q, k = w->spec.k, each = !w->spec.common_covariance;
  const size_t p2k = square(p) * (size_t)k, q2g = square(q) * (size_t)w->n_gamma;
  w->cov = elbo_doubles(mem, p2k);
  w->scale = elbo_doubles(mem, q2g);
  w->Scale = elbo_doubles(mem, q2g);
  w->df = elbo_doubles(mem, (size_t)(w->n_block * w->n_gamma));
  w->shape = elbo_doubles(mem, (size_t)w->n_sigma);
  w->rate = elbo_doubles(mem, (size_t)w->n_sigma);
  const mixture_field fields[] = {
      {"mean", w->coefficients, 2, {p, k, 0}, 1},
      {"cov", w->cov, 3, {p, p, k}, 1},
      {"df", w->df, 2, {w->n_block, w->n_gamma, 0}, each},
      {"scale", w->scale, 3, {q, q, w->n_gamma}, each},
      {"shape", w->shape, 1, {w->n_sigma, 0, 0}, !w->spec.linear.common_sigma},
      {"rate", w->rate, 1, {w->n_sigma, 0, 0}, !w->spec.linear.common_sigma},
  };
  part->n_field = sizeof fields / sizeof *fields;
  memcpy(part->field, fields, sizeof fields);
  curves_smooth_fields(w, part, mem);
  part->n_eta = k * law_normal_size(p) + curves_smooth_n_eta(w);
  for (int i = 0; i < w->n_block; i++)
    part->n_eta += w->block[i].held ? 0 : w->n_gamma * law_wishart_size(w->block[i].order);
  for (int s = 0; s < w->n_sigma; s++) part->n_eta += 2 * sigma_free(w, s);
  part->restore = restore;
  part->prepare = prepare;
  part->log_prior = log_prior;
  part->pack = pack;
  part->unpack = unpack;
  part->moments = moments;
  part->target = target;
  part->theta = theta;
  return start(w);
}
