/* The prior of an sd of a smooth term is that of a latent term of order one (law/latent_prior.h),
 * whose units are the columns; and the M-step of the sds. */
#include <math.h>
#include <string.h>

#include "glmm/smooth.h"
#include "glmm/smooth_inside.h"
#include "law/latent_prior.h"

void lmm_smooth_set_prior(lmm_work *w, const int *family, const double *df, const double *scale,
                          const elbo_memory *mem) {
  lmm_smooth *s = &w->smooth;
  double *scaled = elbo_doubles(mem, (size_t)s->n);
  for (int k = 0; k < s->n; k++) {
    scaled[k] = scale[k] / s->to_user[k];
    if (w->method != LMM_VB && family[k] != SD_FLAT) w->constant -= log(s->to_user[k]);
    /* By variational Bayes the prior is that of the scaled sd: a flat one has another height. */
    if (w->method == LMM_VB && family[k] == SD_FLAT && s->eta_of[k] >= 0)
      w->constant += log(s->to_user[k]);
  }
  s->family = family;
  s->df = df;
  s->scale = scaled;
}

/* S = sd^2 = E[sd^{-2}]^{-1}. */
static latent_prior prior_of(const lmm_smooth *s, int k) {
  const latent_prior prior = {.q = 1,
                              .family = s->family + k,
                              .df = s->df + k,
                              .scale = s->scale + k,
                              .lkj = NAN,
                              .n = smooth_columns(s, k)};
  return prior;
}

void lmm_smooth_df(const lmm_work *w, double *df, double *information, double *slope) {
  const lmm_smooth *s = &w->smooth;
  for (int k = 0; k < s->n; k++) {
    const double S = s->sd[k] * s->sd[k];
    df[k] = information[k] = NAN;
    slope[k] = 0.0;
    if (s->eta_of[k] < 0 || s->df == NULL) continue;
    const latent_prior prior = prior_of(s, k);
    latent_prior_df(&prior, &S, df + k, information + k, slope + k);
  }
}

void smooth_log_prior(const lmm_work *w, int k, double *out) {
  const lmm_smooth *s = &w->smooth;
  const int place = 0, vb = w->method == LMM_VB;
  const double S = s->sd[k] * s->sd[k];
  out[0] = out[1] = out[2] = 0.0;
  if (s->df == NULL || (vb && s->eta_of[k] < 0)) return;
  const latent_prior prior = prior_of(s, k);
  const elbo_status status = (vb ? latent_prior_bound : latent_prior_point)(&prior, &S, out);
  if (status == ELBO_OK)
    (vb ? latent_prior_bound_slopes : latent_prior_point_slopes)(&prior, &S, &place, 1, out + 1,
                                                                 out + 2);
  else
    out[0] = out[1] = out[2] = NAN;
}

elbo_status lmm_smooth_prior(const lmm_work *w, double *value) {
  double part[3];
  for (int k = 0; k < w->smooth.n; k++) {
    smooth_log_prior(w, k, part);
    *value += part[0];
  }
  return isfinite(*value) ? ELBO_OK : ELBO_E_NOT_FINITE;
}

/* ---- M-step ---------------------------------------------------------------------------------- */

/* The x that maximises -n/2 log x - S / (2 x) + the part of the prior of term k, from where it is:
 * Newton's method in log x, each step halved until it climbs. */
static double climb_bound(lmm_work *w, int k, double n, double S) {
  lmm_smooth *s = &w->smooth;
  double part[3], best = -HUGE_VAL, from = s->sd[k] * s->sd[k], step = 0.0;
  for (int i = 0; i < 100; i++) {
    const double x = from * exp(step);
    s->sd[k] = sqrt(x);
    smooth_log_prior(w, k, part);
    const double value = part[0] - 0.5 * (n * log(x) + S / x);
    if (!(value >= best)) {
      step *= 0.5;
      continue;
    }
    const double slope = x * part[1] - 0.5 * (n - S / x);
    const double curvature = x * (part[1] + x * part[2]) - 0.5 * S / x;
    best = value;
    from = x;
    step = fmax(-1.0, fmin(1.0, slope / fmax(fabs(curvature), 1e-3 * n)));
    if (fabs(step) < 1e-10) break;
  }
  s->sd[k] = sqrt(from);
  return from;
}

void lmm_smooth_m_step(lmm_work *w) {
  lmm_smooth *s = &w->smooth;
  for (int k = 0; k < s->n; k++) {
    const double n = smooth_columns(s, k), S = s->sd[k] * s->sd[k];
    const double square_sum = s->q_sd[k] * s->q_sd[k] * smooth_second(w, k);
    double x = square_sum / n;
    if (s->eta_of[k] < 0) continue;
    if (s->df != NULL && w->method == LMM_VB) {
      const latent_prior prior = prior_of(s, k);
      if (!latent_prior_closed(&prior) ||
          latent_prior_update(&prior, &S, &square_sum, &x) != ELBO_OK)
        x = climb_bound(w, k, n, square_sum);
    } else if (s->df != NULL) {
      const sd_prior prior = {(sd_family)s->family[k], s->df[k], s->scale[k]};
      x = sd_prior_mode(&prior, n, square_sum);
    }
    w->eta[s->eta_of[k]] = sqrt(x);
  }
}
