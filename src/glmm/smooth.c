/* Smooth terms of the Gaussian mixed model: curves X_s b with b ~ N(0, sd^2 I), a latent vector of
 * all rows (Wahba 1978, JRSS B 40:364; Wood 2017, Generalized Additive Models, 5.8).
 *
 * Their columns are the last of X, so that V and all that is done to groups stay as they are.  With
 * b = root c, c ~ N(0, I), root = unit sd, and R = diag(1, root), D = diag(0, I) over (beta, c),
 * everything follows from A = X'V^{-1}X:
 *
 *   M = R A R + D     precision of (beta, c),
 *   R M^{-1} R        covariance of (beta, b), the C of the rest of the model,
 *   log |V + X_s root^2 X_s'| = log |V| + log |M_cc|,
 *
 * and of reml, where beta is integrated too, log |M| in place of log |M_cc|.  In c nothing is
 * divided by sd: a straight line, sd = 0, is a point like others, and the objective is even in sd.
 *
 * Under em q(c) is normal given beta.  Its covariance P is kept with an identity for beta, which
 * has neither entropy nor divergence, so that one code serves em and reml. */
#include "glmm/smooth.h"

#include <math.h>
#include <string.h>

#include "glmm/cross.h"
#include "glmm/prior.h"
#include "glmm/close.h"
#include "law/exponential_family.h"
#include "law/scale_factor.h"
#include "math/la.h"

/* ---- set-up ---------------------------------------------------------------------------------- */

void lmm_smooth_init(lmm_work *w, const lmm_law *law, const elbo_memory *mem) {
  const int p = w->stats->p, n = law->n_smooth;
  const lmm_scaling *scaling = &w->stats->scaling;
  lmm_smooth *s = &w->smooth;
  if (n == 0) return;
  s->n = n;
  s->n_column = lmm_law_smooth_columns(law);
  s->first = p - s->n_column;
  s->start = elbo_ints(mem, (size_t)n + 1);
  s->eta_of = elbo_ints(mem, (size_t)n);
  double **of_term[] = {&s->sd, &s->to_user, &s->extent, &s->q_sd};
  for (size_t i = 0; i < sizeof of_term / sizeof *of_term; i++)
    *of_term[i] = elbo_doubles(mem, (size_t)n);
  double **of_column[] = {&s->unit, &s->root, &s->gradient, &s->c, &s->q_c, &s->q_next_c};
  for (size_t i = 0; i < sizeof of_column / sizeof *of_column; i++)
    *of_column[i] = elbo_doubles(mem, (size_t)p);
  double **matrix[] = {&s->A, &s->M_inverse, &s->P, &s->C, &s->q_P, &s->q_next_P};
  for (size_t i = 0; i < sizeof matrix / sizeof *matrix; i++)
    *matrix[i] = elbo_doubles(mem, square(p));
  s->scratch =
      elbo_doubles(mem, (5 + (size_t)n) * square(p) + 2 * (size_t)w->par.n_eta * (size_t)p);
  int eta = w->par.n_eta - w->par.n_smooth;
  s->start[0] = s->first;
  for (int j = 0; j < p; j++) {
    s->c[j] = s->unit[j] = 0.0;
    s->root[j] = 1.0;
  }
  for (int k = 0; k < n; k++) {
    const int start = s->start[k];
    s->start[k + 1] = start + law->smooth_size[k];
    s->to_user[k] = scaling->x_scale[start] / scaling->y_scale;
    for (int j = start; j < s->start[k + 1]; j++)
      s->unit[j] = scaling->x_scale[start] / scaling->x_scale[j];
    s->eta_of[k] = isnan(law->smooth_sd[k]) ? eta++ : -1;
    s->sd[k] = s->eta_of[k] < 0 ? law->smooth_sd[k] / s->to_user[k] : 0.0;
  }
  lmm_smooth_unpack(w);
}

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

static int n_columns(const lmm_smooth *s, int k) { return s->start[k + 1] - s->start[k]; }

static void set_roots(lmm_smooth *s) {
  for (int k = 0; k < s->n; k++)
    for (int j = s->start[k]; j < s->start[k + 1]; j++) s->root[j] = s->unit[j] * s->sd[k];
}

void lmm_smooth_unpack(lmm_work *w) {
  lmm_smooth *s = &w->smooth;
  for (int k = 0; k < s->n; k++)
    if (s->eta_of[k] >= 0) s->sd[k] = w->eta[s->eta_of[k]];
  set_roots(s);
}

void lmm_smooth_pack(const lmm_work *w, double *eta) {
  const lmm_smooth *s = &w->smooth;
  for (int k = 0; k < s->n; k++)
    if (s->eta_of[k] >= 0) eta[s->eta_of[k]] = s->sd[k];
}

void lmm_smooth_ridge(lmm_work *w, double *A) {
  lmm_smooth *s = &w->smooth;
  const int p = w->stats->p;
  for (int k = 0; k < s->n; k++) {
    s->extent[k] = 0.0;
    for (int j = s->start[k]; j < s->start[k + 1]; j++) {
      s->extent[k] += s->unit[j] * s->unit[j] * A[j * (p + 1)];
      A[j * (p + 1)] = 1.000001 * A[j * (p + 1)] + 1e-12;
    }
  }
}

void lmm_smooth_start(const lmm_work *w, int k, double variance, double *eta) {
  const lmm_smooth *s = &w->smooth;
  if (s->eta_of[k] >= 0)
    eta[s->eta_of[k]] = s->extent[k] > 0.0 ? sqrt(variance * w->stats->n / s->extent[k]) : 0.0;
}

/* ---- coefficients ---------------------------------------------------------------------------- */

/* R A R + D over (beta, c), or, with `given`, of c alone with an identity for beta. */
static void precision(const lmm_smooth *s, int p, int given, double *M) {
  for (int j = 0; j < p; j++)
    for (int k = 0; k < p; k++) {
      const int outside = given && (j < s->first || k < s->first);
      M[j + p * k] = outside ? 0.0 : s->root[j] * s->A[j + p * k] * s->root[k];
      if (j == k && (outside || j >= s->first)) M[j + p * k] += 1.0;
    }
}

static elbo_status invert(double *M, int p, double *log_det) {
  if (la_chol(M, p) != ELBO_OK) return ELBO_E_NOT_PD;
  *log_det = la_log_det_from_chol(M, p);
  return la_inverse_from_chol(M, p);
}

/* X'V^{-1}(y - X beta), with r = y - X origin in w->cross. */
static void score(lmm_work *w, const double *beta) {
  const int p = w->stats->p;
  const double *delta = from_origin(w, beta, w->origin);
  for (int j = 0; j < p; j++) {
    w->smooth.gradient[j] = w->cross[p + (p + 1) * j];
    for (int k = 0; k < p; k++) w->smooth.gradient[j] -= w->smooth.A[j + p * k] * delta[k];
  }
}

elbo_status lmm_smooth_solve(lmm_work *w, int beta_given, double *beta, double *C,
                             double *quadratic, double *log_det) {
  lmm_smooth *s = &w->smooth;
  const int p = w->stats->p, all = integrates_beta(w), points = w->method == LMM_JOINT;
  double log_det_all, log_det_c, *move = s->scratch;
  for (int j = 0; j < p; j++)
    for (int k = 0; k < p; k++) s->A[j + p * k] = at_lower(w->cross, p + 1, j, k);
  precision(s, p, 0, s->M_inverse);
  precision(s, p, 1, s->P);
  if (invert(s->M_inverse, p, &log_det_all) != ELBO_OK || invert(s->P, p, &log_det_c) != ELBO_OK)
    return ELBO_E_NOT_PD;
  for (int j = 0; j < p; j++)
    for (int k = 0; k < p; k++) {
      const int c = j >= s->first && k >= s->first;
      C[j + p * k] = s->root[j] * s->M_inverse[j + p * k] * s->root[k];
      s->C[j + p * k] = all      ? C[j + p * k]
                        : points ? 0.0
                        : c      ? s->root[j] * s->P[j + p * k] * s->root[k]
                                 : 0.0;
    }
  /* A Newton step from the origin and the c of before, exact since all is quadratic. */
  for (int j = 0; j < p; j++)
    if (j >= s->first)
      beta[j] = s->root[j] * s->c[j];
    else if (!beta_given)
      beta[j] = w->origin[j];
  score(w, beta);
  const double *inverse = beta_given ? s->P : s->M_inverse;
  for (int j = 0; j < p; j++) move[j] = s->root[j] * s->gradient[j] - s->c[j];
  for (int j = 0; j < p; j++) {
    if (j < s->first && beta_given) continue;
    double sum = 0.0;
    for (int k = beta_given ? s->first : 0; k < p; k++) sum += inverse[j + p * k] * move[k];
    if (j < s->first)
      beta[j] += sum;
    else
      s->c[j] += sum;
  }
  *quadratic = 0.0;
  for (int j = s->first; j < p; j++) {
    beta[j] = s->root[j] * s->c[j];
    *quadratic += s->c[j] * s->c[j];
  }
  score(w, beta);
  *quadratic += residual_square(w->cross, from_origin(w, beta, w->origin), p);
  *log_det = all ? log_det_all : log_det_c;
  if (points) { /* -2 log p(b) less its square */
    *log_det = s->n_column * LOG_2PI;
    for (int k = 0; k < s->n; k++)
      *log_det += 2.0 * n_columns(s, k) * log(fabs(s->sd[k] * s->to_user[k]));
  }
  return ELBO_OK;
}

/* ---- priors of the sds ----------------------------------------------------------------------- */

/* Half-t(df, scale) under variational Bayes: what glmm/prior.c says of the case q = 1, as a
 * function of x = E[sd^{-2}]^{-1} with n coefficients; and its derivatives. */
static void half_t_bound(double df, double scale, int n, double x, double *out) {
  const double precision_scale = 1.0 / (scale * scale);
  const double slope = 0.5 * df * (df + 1.0), bottom = x * (df + x * precision_scale);
  out[0] = lmm_half_t_constant(1, df, n, &scale) - 0.5 * df * log(x) -
           0.5 * (df + 1.0) * log(df / x + precision_scale);
  out[1] = -0.5 * df / x + slope / bottom;
  out[2] = 0.5 * df / (x * x) - slope * (df + 2.0 * x * precision_scale) / (bottom * bottom);
}

static sd_prior prior_of(const lmm_smooth *s, int k) {
  const sd_prior prior = {(sd_family)s->family[k], s->df[k], s->scale[k]};
  return prior;
}

/* Any prior under variational Bayes: the same, with d at its best. */
static elbo_status any_factor(const lmm_smooth *s, int k, scale_factor *factor) {
  const sd_prior prior = prior_of(s, k);
  const double log_x = 2.0 * log(fabs(s->sd[k]));
  return scale_factor_at(1, n_columns(s, k), &prior, 1.0, log_x, &log_x, factor);
}

static void any_bound(const lmm_smooth *s, int k, double x, double *out) {
  scale_factor factor;
  if (any_factor(s, k, &factor) != ELBO_OK) {
    out[0] = out[1] = out[2] = NAN;
    return;
  }
  /* By log x, then by x. */
  const double slope = factor.by_log_det + factor.by_log[0];
  const double r = factor.df_slope[0];
  out[0] = factor.value;
  out[1] = slope / x;
  out[2] = (factor.curvature[0] + r * r * factor.df_information - slope) / (x * x);
}

void lmm_smooth_df(const lmm_work *w, double *df, double *information, double *slope) {
  const lmm_smooth *s = &w->smooth;
  for (int k = 0; k < s->n; k++) {
    scale_factor factor;
    df[k] = information[k] = NAN;
    slope[k] = 0.0;
    if (s->eta_of[k] < 0 || s->df == NULL) continue;
    if (s->family[k] == SD_HALF_T) {
      df[k] = n_columns(s, k) + s->df[k];
      information[k] = lmm_half_t_df_information(1, df[k]);
    } else if (any_factor(s, k, &factor) == ELBO_OK) {
      df[k] = factor.d;
      information[k] = factor.df_information;
      slope[k] = factor.df_slope[0];
    }
  }
}

/* Value and derivatives by x = sd^2 of term k. */
static void log_prior(const lmm_work *w, int k, double *out) {
  const lmm_smooth *s = &w->smooth;
  const double x = s->sd[k] * s->sd[k];
  out[0] = out[1] = out[2] = 0.0;
  if (s->df == NULL) return;
  if (w->method != LMM_VB) {
    const sd_prior prior = prior_of(s, k);
    out[0] = sd_prior_log_density(&prior, x, &out[1]);
    out[2] = sd_prior_curvature(&prior, x);
  } else if (s->eta_of[k] >= 0 && s->family[k] != SD_HALF_T) {
    any_bound(s, k, x, out);
  } else if (s->eta_of[k] >= 0) {
    half_t_bound(s->df[k], s->scale[k], n_columns(s, k), x, out);
  }
}

elbo_status lmm_smooth_prior(const lmm_work *w, double *value) {
  double part[3];
  for (int k = 0; k < w->smooth.n; k++) {
    log_prior(w, k, part);
    *value += part[0];
  }
  return isfinite(*value) ? ELBO_OK : ELBO_E_NOT_FINITE;
}

/* ---- q --------------------------------------------------------------------------------------- */

void lmm_smooth_keep(lmm_work *w) {
  lmm_smooth *s = &w->smooth;
  const int p = w->stats->p;
  memcpy(w->q_next_C, s->C, square(p) * sizeof(double));
  memcpy(s->q_next_P, integrates_beta(w) ? s->M_inverse : s->P, square(p) * sizeof(double));
  memcpy(s->q_next_c, s->c, (size_t)p * sizeof(double));
}

void lmm_smooth_e_step(lmm_work *w) {
  lmm_smooth *s = &w->smooth;
  double *c = s->q_c, *P = s->q_P;
  s->q_c = s->q_next_c;
  s->q_P = s->q_next_P;
  s->q_next_c = c;
  s->q_next_P = P;
  memcpy(s->q_sd, s->sd, (size_t)s->n * sizeof(double));
}

/* c of theta = ratio * c of q; without variance c is a dummy, N(0, 1) before and after. */
static double ratio(const lmm_smooth *s, int k) {
  return s->q_sd[k] == 0.0 || s->sd[k] == 0.0 ? 1.0 : s->q_sd[k] / s->sd[k];
}

/* sum E_q[c^2] of term k, in the coordinates of q. */
static double second(const lmm_work *w, int k) {
  const lmm_smooth *s = &w->smooth;
  const int p = w->stats->p, points = w->method == LMM_JOINT;
  double sum = 0.0;
  for (int j = s->start[k]; j < s->start[k + 1]; j++)
    sum += s->q_c[j] * s->q_c[j] + (points ? 0.0 : s->q_P[j * (p + 1)]);
  return sum;
}

elbo_status lmm_smooth_elbo(lmm_work *w, double *value) {
  const lmm_smooth *s = &w->smooth;
  const int p = w->stats->p, points = w->method == LMM_JOINT;
  const int n_latent = points ? 0 : integrates_beta(w) ? p : s->n_column;
  double *L = s->scratch;
  memcpy(L, s->q_P, square(p) * sizeof(double));
  if (!points && la_chol(L, p) != ELBO_OK) return ELBO_E_NOT_PD;
  double twice = n_latent * (1.0 + LOG_2PI) - s->n_column * LOG_2PI;
  if (!points) twice += la_log_det_from_chol(L, p);
  for (int k = 0; k < s->n; k++) {
    const double r = ratio(s, k), n = n_columns(s, k);
    twice -= r * r * second(w, k);
    /* In the law of points b, not c, has the density. */
    twice += 2.0 * n * (points ? -log(fabs(s->sd[k] * s->to_user[k])) : log(fabs(r)));
  }
  *value += 0.5 * twice;
  return lmm_smooth_prior(w, value);
}

elbo_status lmm_smooth_divergence(lmm_work *w, const double *exact_beta, const double *exact_c,
                                  const double *exact_P, double *twice) {
  const lmm_smooth *s = &w->smooth;
  const int p = w->stats->p;
  double *from = s->scratch, *to = from + square(p), *r = to + square(p), *shift = r + p;
  double log_det_from, log_det_to;
  for (int j = 0; j < s->first; j++) {
    r[j] = 1.0;
    shift[j] = w->q_beta[j] - exact_beta[j];
  }
  for (int k = 0; k < s->n; k++)
    for (int j = s->start[k]; j < s->start[k + 1]; j++) {
      r[j] = ratio(s, k);
      shift[j] = r[j] * s->q_c[j] - exact_c[j];
    }
  for (int j = 0; j < p; j++)
    for (int k = 0; k < p; k++) from[j + p * k] = r[j] * s->q_P[j + p * k] * r[k];
  memcpy(to, exact_P, square(p) * sizeof(double));
  if (invert(to, p, &log_det_to) != ELBO_OK) return ELBO_E_NOT_PD;
  for (size_t i = 0; i < square(p); i++) *twice += to[i] * from[i];
  if (la_chol(from, p) != ELBO_OK) return ELBO_E_NOT_PD;
  log_det_from = la_log_det_from_chol(from, p);
  *twice += la_quadratic(to, shift, p) + log_det_to - log_det_from - p;
  return ELBO_OK;
}

/* ---- M-step ---------------------------------------------------------------------------------- */

void lmm_smooth_hold(const lmm_work *w, double *A, double *b) {
  const int p = w->stats->p, first = w->smooth.first;
  for (int k = first; k < p; k++) {
    const double held = w->q_beta[k] - w->summary_origin[k];
    for (int j = 0; j < first; j++) {
      b[j] -= A[k + p * j] * held;
      A[k + p * j] = 0.0;
    }
    for (int j = first; j <= k; j++) A[k + p * j] = j == k ? 1.0 : 0.0;
    b[k] = held;
  }
}

/* The x that maximises -n/2 log x - S / (2 x) + the part of the prior of term k, from where it is:
 * Newton's method in log x, each step halved until it climbs. */
static double climb_bound(lmm_smooth *s, int k, double n, double S) {
  double part[3], best = -HUGE_VAL, from = s->sd[k] * s->sd[k], step = 0.0;
  for (int i = 0; i < 100; i++) {
    const double x = from * exp(step);
    s->sd[k] = sqrt(x);
    any_bound(s, k, x, part);
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
    const double n = n_columns(s, k), square_sum = s->q_sd[k] * s->q_sd[k] * second(w, k);
    double x = square_sum / n;
    if (s->eta_of[k] < 0) continue;
    if (s->df != NULL && w->method == LMM_VB && s->family[k] != SD_HALF_T) {
      x = climb_bound(s, k, n, square_sum);
    } else if (s->df != NULL && w->method == LMM_VB) {
      const double df = s->df[k], precision = 1.0 / (s->sd[k] * s->sd[k]);
      x = (square_sum + 2.0 * law_half_t_rate(df, s->scale[k], precision)) / (n + df);
    } else if (s->df != NULL) {
      const sd_prior prior = prior_of(s, k);
      x = sd_prior_mode(&prior, n, square_sum);
    }
    w->eta[s->eta_of[k]] = sqrt(x);
  }
}

/* ---- derivatives ----------------------------------------------------------------------------- */

/* P restricted to what is integrated, 0 elsewhere; its trace with products follows from there. */
static void integrated(const lmm_work *w, double *P) {
  const lmm_smooth *s = &w->smooth;
  const int p = w->stats->p;
  memcpy(P, integrates_beta(w) ? s->M_inverse : s->P, square(p) * sizeof(double));
  if (w->method == LMM_JOINT) memset(P, 0, square(p) * sizeof(double));
  for (int j = 0; j < s->first && !integrates_beta(w); j++) P[j * (p + 1)] = 0.0;
}

/* d M / d sd_k = E A R + R A E, with E the units of term k. */
static void precision_slope(const lmm_smooth *s, int p, int k, double *out) {
  memset(out, 0, square(p) * sizeof(double));
  for (int i = s->start[k]; i < s->start[k + 1]; i++)
    for (int j = 0; j < p; j++) {
      const double part = s->unit[i] * s->A[i + p * j] * s->root[j];
      out[i + p * j] += part;
      out[j + p * i] += part;
    }
}

static double trace_of(const double *A, const double *B, int p) {
  double sum = 0.0;
  for (int i = 0; i < p; i++)
    for (int j = 0; j < p; j++) sum += A[i + p * j] * B[j + p * i];
  return sum;
}

/* sum over the rows of term k of E_i F_i., with column i of G: tr(E F G). */
static double trace_term(const lmm_smooth *s, int p, int k, const double *F, const double *G) {
  double sum = 0.0;
  for (int i = s->start[k]; i < s->start[k + 1]; i++)
    for (int j = 0; j < p; j++) sum += s->unit[i] * F[i + p * j] * G[j + p * i];
  return sum;
}

static void add_symmetric(double *hessian, int n, int i, int j, double part) {
  hessian[i + n * j] += part;
  if (i != j) hessian[j + n * i] += part;
}

/* -log |M| / 2 over what is integrated: by the sds, and by them and what V depends on.  With P the
 * inverse and ' for derivatives, tr(P M') and tr(P M'') - tr(P M' P M'). */
static void add_log_det(lmm_work *w, double *gradient, double *hessian) {
  const lmm_smooth *s = &w->smooth;
  const int p = w->stats->p, n_eta = w->par.n_eta, n_v = n_eta - w->par.n_smooth;
  double *P = s->scratch, *slope = P + square(p), *RP = slope + square(p), *PRS = RP + square(p);
  double *PM = PRS + square(p); /* P dM / d sd_k, k = 0, ... */
  integrated(w, P);
  for (int j = 0; j < p; j++)
    for (int k = 0; k < p; k++) RP[j + p * k] = s->root[j] * P[j + p * k];
  for (int k = 0; k < s->n; k++) {
    precision_slope(s, p, k, slope);
    la_multiply(P, slope, p, p, p, PM + square(p) * (size_t)k);
  }
  for (int k = 0; k < s->n; k++) {
    const double *PMk = PM + square(p) * (size_t)k;
    const int at = s->eta_of[k];
    if (at < 0) continue;
    gradient[at] -= trace_term(s, p, k, s->A, RP);
    for (int l = 0; l <= k; l++) {
      double sum = 0.0;
      if (s->eta_of[l] < 0) continue;
      for (int i = s->start[k]; i < s->start[k + 1]; i++)
        for (int j = s->start[l]; j < s->start[l + 1]; j++)
          sum += s->unit[i] * s->unit[j] * s->A[i + p * j] * P[i + p * j];
      add_symmetric(hessian, n_eta, at, s->eta_of[l],
                    0.5 * trace_of(PMk, PM + square(p) * (size_t)l, p) - sum);
    }
  }
  for (int e = 0; e < n_v; e++) { /* dA = -S, S the spread */
    const double *S = w->spread_eta + square(p) * (size_t)e;
    la_multiply(S, RP, p, p, p, slope); /* S R P */
    for (int j = 0; j < p; j++)
      for (int k = 0; k < p; k++) PRS[j + p * k] = slope[k + p * j] * s->root[k]; /* P R S R */
    for (int k = 0; k < s->n; k++)
      if (s->eta_of[k] >= 0)
        add_symmetric(
            hessian, n_eta, s->eta_of[k], e,
            trace_term(s, p, k, S, RP) - 0.5 * trace_of(PM + square(p) * (size_t)k, PRS, p));
  }
}

/* The penalised sum of squares at its best: by the sds, with c and the rest fixed; and, in `cross`
 * (n_eta x p), by every eta and by (beta, c). */
static void add_quadratic(lmm_work *w, double *gradient, double *hessian, double *cross) {
  const lmm_smooth *s = &w->smooth;
  const int p = w->stats->p, n_eta = w->par.n_eta, n_v = n_eta - w->par.n_smooth;
  double *Ec = s->scratch, *AEc = Ec + p;
  for (int e = 0; e < n_v; e++)
    for (int j = 0; j < p; j++) cross[e + n_eta * j] = w->cross_eta[e + n_eta * j] * s->root[j];
  for (int k = 0; k < s->n; k++) {
    const int at = s->eta_of[k];
    if (at < 0) continue;
    memset(Ec, 0, (size_t)p * sizeof(double));
    for (int j = s->start[k]; j < s->start[k + 1]; j++) Ec[j] = s->unit[j] * s->c[j];
    la_multiply(s->A, Ec, p, p, 1, AEc);
    for (int j = 0; j < p; j++) {
      gradient[at] += Ec[j] * s->gradient[j];
      cross[at + n_eta * j] = -s->root[j] * AEc[j];
    }
    for (int j = s->start[k]; j < s->start[k + 1]; j++)
      cross[at + n_eta * j] += s->unit[j] * s->gradient[j];
    for (int l = 0; l <= k; l++) {
      double sum = 0.0;
      for (int j = s->start[l]; j < s->start[l + 1]; j++) sum += s->unit[j] * s->c[j] * AEc[j];
      if (s->eta_of[l] >= 0) add_symmetric(hessian, n_eta, at, s->eta_of[l], -sum);
    }
    for (int e = 0; e < n_v; e++) {
      double sum = 0.0;
      for (int j = 0; j < p; j++) sum += Ec[j] * w->cross_eta[e + n_eta * j];
      add_symmetric(hessian, n_eta, at, e, sum);
    }
  }
}

/* From everything fixed but eta to c at its best: hessian += X_c P X_c' and cross_eta = X_beta -
 * X_c P M_c,beta, where X is `cross`; zero for c, which has been taken care of. */
static void profile_c(lmm_work *w, double *hessian, const double *cross, double *XP) {
  const lmm_smooth *s = &w->smooth;
  const int p = w->stats->p, n_eta = w->par.n_eta, first = s->first, n_c = s->n_column;
  for (int e = 0; e < n_eta; e++)
    for (int j = 0; j < n_c; j++) {
      XP[e + n_eta * j] = 0.0;
      for (int k = 0; k < n_c; k++)
        XP[e + n_eta * j] += cross[e + n_eta * (first + k)] * s->P[first + k + p * (first + j)];
    }
  for (int e = 0; e < n_eta; e++) {
    for (int f = 0; f < n_eta; f++)
      for (int j = 0; j < n_c; j++)
        hessian[e + n_eta * f] += XP[e + n_eta * j] * cross[f + n_eta * (first + j)];
    for (int i = 0; i < p; i++) {
      w->cross_eta[e + n_eta * i] = i < first ? cross[e + n_eta * i] : 0.0;
      for (int j = 0; j < n_c && i < first; j++)
        w->cross_eta[e + n_eta * i] -=
            XP[e + n_eta * j] * s->root[first + j] * s->A[first + j + p * i];
    }
  }
}

/* spread_eta of the sds: S with C S C = d C / d sd in the block of beta, that is
 * -C_bb^{-1} (M^{-1} dM M^{-1})_bb C_bb^{-1}. */
static elbo_status spread_of_sds(lmm_work *w) {
  const lmm_smooth *s = &w->smooth;
  const int p = w->stats->p, first = s->first;
  double *slope = s->scratch, *half = slope + square(p), *block = half + square(p), ignored;
  double *inverse = block + square(p);
  for (int j = 0; j < first; j++)
    for (int k = 0; k < first; k++) inverse[j + first * k] = s->M_inverse[j + p * k];
  if (invert(inverse, first, &ignored) != ELBO_OK) return ELBO_E_NOT_PD;
  for (int k = 0; k < s->n; k++) {
    if (s->eta_of[k] < 0) continue;
    double *out = w->spread_eta + square(p) * (size_t)s->eta_of[k];
    precision_slope(s, p, k, slope);
    la_multiply(s->M_inverse, slope, p, p, p, half);
    la_multiply(half, s->M_inverse, p, p, p, slope);
    for (int i = 0; i < first; i++)
      for (int j = 0; j < first; j++) block[i + first * j] = -slope[i + p * j];
    la_multiply(inverse, block, first, first, first, half);
    la_multiply(half, inverse, first, first, first, block);
    memset(out, 0, square(p) * sizeof(double));
    for (int i = 0; i < first; i++)
      for (int j = 0; j < first; j++) out[i + p * j] = block[i + first * j];
  }
  return ELBO_OK;
}

elbo_status lmm_smooth_information(lmm_work *w, double *gradient, double *hessian) {
  const lmm_smooth *s = &w->smooth;
  const int p = w->stats->p, n_eta = w->par.n_eta;
  double part[3], *cross = s->scratch + (5 + (size_t)s->n) * square(p);
  add_log_det(w, gradient, hessian);
  add_quadratic(w, gradient, hessian, cross);
  for (int k = 0; k < s->n; k++) {
    const int at = s->eta_of[k];
    if (at < 0) continue;
    log_prior(w, k, part);
    gradient[at] += 2.0 * s->sd[k] * part[1];
    hessian[at * (n_eta + 1)] += 2.0 * part[1] + 4.0 * s->sd[k] * s->sd[k] * part[2];
  }
  profile_c(w, hessian, cross, cross + (size_t)n_eta * (size_t)p);
  return spread_of_sds(w);
}
