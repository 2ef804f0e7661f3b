/* The mixture of curves: laws of coefficients, and the sds of smooths.
 *
 * Given r and the variances all that the units say of beta_j is in K = sum r X'V^{-1}X and
 * sum r X'V^{-1}(y - X beta), so that q(b_j) and sd_j, and the points (em) or q (vb) of the other
 * coefficients, are at their best together, at no pass over designs.  b_s = sd_s c_s,
 * c_s ~ N(0, I): an sd of zero, a curve that is a line, is an ordinary point, where q(c) is its
 * prior. */
#include "math/digamma.h"
#include "math/la.h"
#include "law/exponential_family.h"
#include "mixture/curves_smooth.h"

enum { MOST_ROUNDS = 30, MOST_HALVINGS = 30 };

static const double DEPENDENT = 1e-11; /* a squared pivot: a column that says nothing new */
static const double STEP = 1e-9;       /* of log sd^2: no longer worth taking */
static const double LONGEST = 4.0;
static const double ROUNDING = 1e-14;

static int is_vb(const curves *w) { return w->spec.method == MIXTURE_VB; }

static int size_of(const curve_smooth *c, int s) { return c->start[s + 1] - c->start[s]; }

static int sd_free(const curves *w, int s) { return isnan(w->smooth.constant[s]); }

/* The user's sd over ours. */
static double sd_unit(const curves *w, int s) { return beta_unit(w, w->smooth.start[s]); }

/* Of q(sd^2), which is inverse gamma (vb). */
static double best_shape(const curves *w, int s) {
  return 0.5 * (w->smooth.prior[s].df + size_of(&w->smooth, s));
}

/* ---- the best law at given sds --------------------------------------------------------------- */

/* Inverse of A (n x n, positive semidefinite), zero in rows and columns that depend on those before
 * them; log |A| of the others. */
static void invert(const curves *w, const double *A, int n, double tol, double *inverse,
                   double *log_det) {
  double *unit = w->unit, *scaled = w->one, *L = w->two;
  *log_det = 0.0;
  for (int a = 0; a < n; a++) unit[a] = A[a + n * a] > 0.0 ? 1.0 / sqrt(A[a + n * a]) : 0.0;
  for (int a = 0; a < n; a++)
    for (int c = 0; c < n; c++) scaled[c + n * a] = A[c + n * a] * unit[a] * unit[c];
  la_chol_semidefinite(scaled, n, tol, L);
  for (int a = 0; a < n; a++)
    if (L[a + n * a] > 0.0) *log_det += 2.0 * log(L[a + n * a] / unit[a]);
  la_lower_inverse(L, n, scaled);
  for (int a = 0; a < n; a++)
    for (int c = 0; c <= a; c++) {
      double sum = 0.0;
      for (int e = a; e < n; e++) sum += scaled[e + n * a] * scaled[e + n * c];
      inverse[a + n * c] = inverse[c + n * a] = sum * unit[a] * unit[c];
    }
}

/* log p(sd), and its derivative by log sd^2; vb: what of the ELBO depends on q(sd^2) other than by
 * q(b), at x = E[1/sd^2]^{-1}. */
static double law_of_sd(const curves *w, int s, double x, double *slope) {
  const sd_prior *prior = w->smooth.prior + s;
  *slope = 0.0;
  if (!sd_free(w, s)) return 0.0;
  if (is_vb(w)) {
    const double shape = best_shape(w, s);
    *slope = law_half_t_rate(prior->df, prior->scale, 1.0 / x) / x - 0.5 * prior->df;
    return law_half_t_minus_kl(prior->df, prior->scale, shape, shape * x);
  }
  if (prior->family == SD_FLAT) return 0.0;
  const double value = sd_prior_log_density(prior, x, slope);
  *slope *= x;
  return value;
}

/* Block of M (p x p) from `first` on, and back. */
static void take_own(const double *M, int p, int first, double *out) {
  const int own = p - first;
  for (int a = 0; a < own; a++)
    for (int e = 0; e < own; e++) out[a + own * e] = M[first + a + p * (first + e)];
}

static void put_own(const double *part, int p, int first, double *M) {
  const int own = p - first;
  for (int a = 0; a < own; a++)
    for (int e = 0; e < own; e++) M[first + a + p * (first + e)] = part[a + own * e];
}

/* With R = diag(1, sd) and D the prior precision of (beta, c), which has the precision
 * M = R K R + D:
 *
 *   value = max of {b'd - d'K d / 2 + log prior} - log |M| / 2 + laws of sds,
 *
 * the determinant (em) of M's part of c alone, beta being points. */
static void solve_at(const curves *w, curve_solution *at) {
  const curve_smooth *c = &w->smooth;
  const int p = w->spec.p, first = c->first;
  const double *K = w->sums->K;
  double *M = w->three, *part = w->four, *root = c->root_of, *rhs = c->rhs, log_det, by_x;
  for (int a = 0; a < p; a++) {
    root[a] = a < first ? 1.0 : at->sd[c->of[a]];
    rhs[a] = root[a] * c->linear[a];
  }
  for (int a = 0; a < p; a++) {
    for (int e = 0; e < p; e++) M[a + p * e] = root[a] * K[a + p * e] * root[e];
    M[a + p * a] += a < first ? w->beta_precision[a] : 1.0;
  }
  invert(w, M, p, is_vb(w) ? 0.0 : DEPENDENT, at->M_inverse, &log_det);
  memcpy(at->P, at->M_inverse, square(p) * sizeof(double));
  if (!is_vb(w)) {
    take_own(M, p, first, part);
    invert(w, part, p - first, 0.0, M, &log_det);
    memset(at->P, 0, square(p) * sizeof(double));
    put_own(M, p, first, at->P);
  }
  la_multiply(at->M_inverse, rhs, p, p, 1, at->x);
  at->value = -0.5 * log_det;
  for (int a = 0; a < p; a++) at->value += 0.5 * rhs[a] * at->x[a];
  for (int s = 0; s < c->n; s++) at->value += law_of_sd(w, s, at->sd[s] * at->sd[s], &by_x);
}

/* ---- the best sd ----------------------------------------------------------------------------- */

/* Derivatives of the value by log sd_s^2, with T = K - K R P R K (and M^{-1} for P where beta
 * follows): (|c_s|^2 - sd^2 tr T_ss) / 2, where sd^2 tr T_ss = tr (R K R P)_ss has no cancellation.
 * The law's own curvature is left out of the second. */
static void slopes(const curves *w, int s, const curve_solution *at, double *slope,
                   double *curvature) {
  const curve_smooth *c = &w->smooth;
  const int p = w->spec.p;
  const double sd = at->sd[s];
  law_of_sd(w, s, sd * sd, slope);
  *curvature = 0.0;
  for (int a = c->start[s]; a < c->start[s + 1]; a++) {
    double known = 0.0;
    for (int e = 0; e < p; e++)
      known +=
          sd * w->sums->K[a + p * e] * (e < c->first ? 1.0 : at->sd[c->of[e]]) * at->P[a + p * e];
    *slope += 0.5 * (at->x[a] * at->x[a] - known);
    for (int e = c->start[s]; e < c->start[s + 1]; e++) {
      const double one = a == e, T = one - at->P[a + p * e];
      *curvature += 0.5 * T * T - at->x[a] * (one - at->M_inverse[a + p * e]) * at->x[e];
    }
  }
  *curvature += *slope;
}

/* Derivative by sd_s^2 where sd_s is zero: half of |score|^2 - tr T_ss. */
static double slope_at_zero(const curves *w, int s, const curve_solution *at) {
  const curve_smooth *c = &w->smooth;
  const int p = w->spec.p;
  const double *K = w->sums->K;
  double sum = 0.0, by_x;
  if (w->smooth.prior[s].family == SD_INVERSE_GAMMA) return HUGE_VAL;
  sd_prior_log_density(w->smooth.prior + s, 0.0, &by_x);
  for (int a = 0; a < p; a++) c->root_of[a] = a < c->first ? 1.0 : at->sd[c->of[a]];
  for (int a = c->start[s]; a < c->start[s + 1]; a++) {
    double score = c->linear[a], T = K[a + p * a];
    for (int e = 0; e < p; e++) {
      const double left = K[a + p * e] * c->root_of[e];
      score -= left * at->x[e];
      for (int f = c->first; f < p; f++)
        T -= left * at->P[e + p * f] * c->root_of[f] * K[f + p * a];
    }
    sum += score * score - T;
  }
  return 0.5 * sum + by_x;
}

/* How much the units know of b_s beside its law: sd_s^2 tr K_ss. */
static double knowledge(const curves *w, int s, double sd) {
  const curve_smooth *c = &w->smooth;
  double sum = 0.0;
  for (int a = c->start[s]; a < c->start[s + 1]; a++) sum += w->sums->K[a * (w->spec.p + 1)];
  return sd * sd * sum;
}

/* c->trial: at the sds of c->best but for one. */
static void solve_trial(curves *w, int s, double sd) {
  curve_smooth *c = &w->smooth;
  memcpy(c->trial->sd, c->best->sd, (size_t)c->n * sizeof(double));
  c->trial->sd[s] = sd;
  solve_at(w, c->trial);
}

/* The trial becomes the best if it is that, up to rounding. */
static int keep_trial(curve_smooth *c) {
  curve_solution *best = c->best;
  if (!(c->trial->value >= best->value - ROUNDING * (1.0 + fabs(best->value)))) return 0;
  c->best = c->trial;
  c->trial = best;
  return 1;
}

static int try_sd(curves *w, int s, double sd) {
  solve_trial(w, s, sd);
  return keep_trial(&w->smooth);
}

/* To zero, if that is a maximum and no worse; EM would creep there. */
static int try_zero(curves *w, int s) {
  if (is_vb(w)) return 0;
  solve_trial(w, s, 0.0);
  return slope_at_zero(w, s, w->smooth.trial) <= 0.0 && keep_trial(&w->smooth);
}

/* Away from zero, where that is no maximum. */
static int leave_zero(curves *w, int s) {
  const double all = knowledge(w, s, 1.0);
  if (is_vb(w) || !(slope_at_zero(w, s, w->smooth.best) > 0.0) || !(all > 0.0)) return 0;
  double sd = sqrt(size_of(&w->smooth, s) / all);
  for (int i = 0; i < MOST_HALVINGS; i++, sd *= 0.25)
    if (try_sd(w, s, sd)) return 1;
  return 0;
}

/* Newton's method for log sd_s^2, each step made shorter until it does not lower the value. */
static void climb_sd(curves *w, int s) {
  curve_smooth *c = &w->smooth;
  if (c->best->sd[s] == 0.0 && !leave_zero(w, s)) return;
  for (int round = 0; round < MOST_ROUNDS; round++) {
    const double sd = c->best->sd[s];
    double slope, curvature;
    slopes(w, s, c->best, &slope, &curvature);
    if (slope < 0.0 && knowledge(w, s, sd) < size_of(c, s) && try_zero(w, s)) return;
    double step = curvature < 0.0 ? -slope / curvature : slope > 0.0 ? LONGEST : -LONGEST;
    step = fmax(-LONGEST, fmin(LONGEST, step));
    int rose = 0;
    for (int i = 0; i < MOST_HALVINGS && fabs(step) > STEP && !rose; i++, step *= 0.25)
      rose = try_sd(w, s, sd * exp(0.5 * step));
    if (!rose) return;
  }
}

/* ---- a component's coefficients and sds ------------------------------------------------------ */

void curves_smooth_spread(const curves *w, int j) {
  const curve_smooth *c = &w->smooth;
  const int p = w->spec.p, own = c->columns;
  const double *sd = c->sd + c->n * j, *mean = c->mean + own * j, *L = c->root + own * own * j;
  for (int a = 0; a < own; a++) w->beta[c->first + a + p * j] = sd[c->of[c->first + a]] * mean[a];
  if (w->beta_cov == NULL) return;
  double *cov = w->beta_cov + square(p) * (size_t)j;
  memset(cov, 0, square(p) * sizeof(double));
  for (int a = 0; a < own; a++)
    for (int e = 0; e <= a; e++) {
      double sum = 0.0;
      for (int f = 0; f <= e; f++) sum += L[a + own * f] * L[e + own * f];
      sum *= sd[c->of[c->first + a]] * sd[c->of[c->first + e]];
      cov[c->first + a + p * (c->first + e)] = cov[c->first + e + p * (c->first + a)] = sum;
    }
}

/* What solve_at() found becomes the state. */
static elbo_status install(curves *w, int j, const curve_solution *at) {
  curve_smooth *c = &w->smooth;
  const int p = w->spec.p, first = c->first, own = p - first;
  double *beta = w->beta + p * j;
  for (int a = 0; a < first; a++) beta[a] += at->x[a];
  memcpy(c->sd + c->n * j, at->sd, (size_t)c->n * sizeof(double));
  if (is_vb(w)) {
    double *cov = w->beta_cov + square(p) * (size_t)j;
    for (int a = 0; a < p; a++) c->root_of[a] = a < first ? 1.0 : at->sd[c->of[a]];
    for (int a = first; a < p; a++) beta[a] = c->root_of[a] * at->x[a];
    for (int a = 0; a < p; a++)
      for (int e = 0; e < p; e++)
        cov[a + p * e] = c->root_of[a] * at->M_inverse[a + p * e] * c->root_of[e];
    for (int s = 0; s < c->n; s++) {
      const double unit = sd_unit(w, s), rate = at->sd[s] * at->sd[s] * unit * unit;
      c->shape[s + c->n * j] = sd_free(w, s) ? best_shape(w, s) : HUGE_VAL;
      c->rate[s + c->n * j] = rate * (sd_free(w, s) ? best_shape(w, s) : 1.0);
    }
    return ELBO_OK;
  }
  double *L = c->root + own * own * j;
  memcpy(c->mean + own * j, at->x + first, (size_t)own * sizeof(double));
  take_own(at->P, p, first, L);
  const elbo_status status = la_chol(L, own);
  if (status == ELBO_OK) curves_smooth_spread(w, j);
  return status;
}

/* c->best at the present sds, and with it what is linear in (beta - its present value, b). */
static void begin(curves *w, int j) {
  curve_smooth *c = &w->smooth;
  const int p = w->spec.p;
  const double *beta = w->beta + p * j;
  for (int a = 0; a < p; a++) {
    c->linear[a] = w->sums->b[a];
    if (a < c->first) c->linear[a] += w->beta_precision[a] * (w->beta_mean[a] - beta[a]);
    for (int e = c->first; e < p; e++) c->linear[a] += w->sums->K[a + p * e] * beta[e];
  }
  memcpy(c->best->sd, c->sd + c->n * j, (size_t)c->n * sizeof(double));
  solve_at(w, c->best);
}

elbo_status curves_smooth_step(curves *w, int j, int sds) {
  begin(w, j);
  for (int s = 0; s < w->smooth.n; s++)
    if (sds && sd_free(w, s)) climb_sd(w, s);
  return install(w, j, w->smooth.best);
}

int curves_smooth_settle(curves *w, int j) {
  curve_smooth *c = &w->smooth;
  int moved = 0;
  begin(w, j);
  for (int s = 0; s < c->n; s++) {
    const double sd = c->best->sd[s];
    if (sd_free(w, s) && sd != 0.0 && knowledge(w, s, sd) < 1e-8 && try_zero(w, s)) moved = 1;
  }
  return moved && install(w, j, c->best) == ELBO_OK;
}

/* ---- points (em, joint) ---------------------------------------------------------------------- */

/* log p(sd), in the user's units, and -KL(q(c) || p(c)); joint: log p(b). */
double curves_smooth_log_prior(const curves *w) {
  const curve_smooth *c = &w->smooth;
  const int own = c->columns;
  double sum = 0.0, by_x;
  for (int j = 0; j < w->spec.k; j++) {
    const double *mean = c->mean + own * j, *L = c->root + own * own * j;
    for (int s = 0; s < c->n; s++) {
      const double sd = c->sd[s + c->n * j];
      if (sd_free(w, s) && c->prior[s].family != SD_FLAT)
        sum += sd_prior_log_density(c->prior + s, sd * sd, &by_x) - log(sd_unit(w, s));
      if (w->beta_cov == NULL) sum -= size_of(c, s) * (0.5 * LOG_2PI + log(sd * sd_unit(w, s)));
    }
    for (int a = 0; a < own; a++) {
      sum -= 0.5 * mean[a] * mean[a];
      if (w->beta_cov == NULL) continue;
      sum += 0.5 + log(fabs(L[a + own * a]));
      for (int e = 0; e <= a; e++) sum -= 0.5 * L[a + own * e] * L[a + own * e];
    }
  }
  return sum;
}

/* Coordinates: means of c stand in the place of b; then the roots L of Cov_q(c) = L L' (em), by
 * row; then free sds, of any sign.  vb: two natural parameters of each free sd^2. */
int curves_smooth_n_eta(const curves *w) {
  int n = w->spec.method == MIXTURE_EM ? (int)packed_size(w->smooth.columns) : 0;
  for (int s = 0; s < w->smooth.n; s++) n += sd_free(w, s) * (is_vb(w) ? 2 : 1);
  return n * w->spec.k;
}

void curves_smooth_pack(const curves *w, double *beta, double *eta) {
  const curve_smooth *c = &w->smooth;
  const int own = c->columns;
  for (int j = 0; j < w->spec.k; j++) {
    memcpy(beta + c->first + w->spec.p * j, c->mean + own * j, (size_t)own * sizeof(double));
    for (int a = 0; a < own && w->beta_cov; a++)
      for (int e = 0; e <= a; e++) *eta++ = c->root[own * own * j + a + own * e];
    for (int s = 0; s < c->n; s++)
      if (sd_free(w, s)) *eta++ = c->sd[s + c->n * j];
  }
}

elbo_status curves_smooth_unpack(const curves *w, const double *eta) {
  const curve_smooth *c = &w->smooth;
  const int own = c->columns;
  elbo_status status = ELBO_OK;
  for (int j = 0; j < w->spec.k; j++) {
    memcpy(c->mean + own * j, w->beta + c->first + w->spec.p * j, (size_t)own * sizeof(double));
    for (int a = 0; a < own && w->beta_cov; a++) {
      for (int e = 0; e <= a; e++) c->root[own * own * j + a + own * e] = *eta++;
      if (c->root[own * own * j + a + own * a] == 0.0) status = ELBO_E_NOT_PD;
    }
    for (int s = 0; s < c->n; s++)
      if (sd_free(w, s)) c->sd[s + c->n * j] = *eta++;
    curves_smooth_spread(w, j);
  }
  return status;
}

/* The part of q(c_j) and sd_j: of L that of -tr((I + S K S) L L') / 2 + log |L|, S = diag(sd). */
void curves_smooth_gradient(const curves *w, int j, const double *K, const double *b, double *mean,
                            double **out) {
  const curve_smooth *c = &w->smooth;
  const int p = w->spec.p, first = c->first, own = c->columns;
  const double *sd = c->sd + c->n * j, *m = c->mean + own * j, *L = c->root + own * own * j;
  double *KSL = w->one; /* own x own */
  for (int a = 0; a < own; a++) {
    mean[a] = sd[c->of[first + a]] * b[first + a] - m[a];
    for (int e = 0; e < own; e++) {
      KSL[a + own * e] = 0.0;
      for (int f = e; f < own; f++)
        KSL[a + own * e] += K[first + a + p * (first + f)] * sd[c->of[first + f]] * L[f + own * e];
    }
  }
  for (int a = 0; a < own; a++)
    for (int e = 0; e <= a; e++) {
      const double slope = -sd[c->of[first + a]] * KSL[a + own * e] - L[a + own * e];
      *(*out)++ = slope + (a == e ? 1.0 / L[a + own * a] : 0.0);
    }
  for (int s = 0; s < c->n; s++) {
    double by_x;
    if (!sd_free(w, s)) continue;
    sd_prior_log_density(c->prior + s, sd[s] * sd[s], &by_x);
    **out = c->prior[s].family == SD_FLAT ? 0.0 : 2.0 * sd[s] * by_x;
    for (int a = c->start[s] - first; a < c->start[s + 1] - first; a++) {
      **out += b[first + a] * m[a];
      for (int e = 0; e <= a; e++) **out -= KSL[a + own * e] * L[a + own * e];
    }
    (*out)++;
  }
}

/* ---- fields ---------------------------------------------------------------------------------- */

void curves_smooth_publish(const curves *w) {
  const curve_smooth *c = &w->smooth;
  const int p = w->spec.p, own = c->columns;
  for (int j = 0; j < w->spec.k; j++) {
    for (int s = 0; s < c->n; s++)
      c->field_sd[s + c->n * j] = fabs(c->sd[s + c->n * j]) * sd_unit(w, s);
    for (int a = 0; a < own && w->beta_cov; a++)
      for (int e = 0; e < own; e++)
        c->field_cov[a + own * (e + own * j)] =
            w->beta_cov[c->first + a + p * (c->first + e + p * j)] * beta_unit(w, c->first + a) *
            beta_unit(w, c->first + e);
  }
}

/* Where sd is zero, c is as its law has it. */
elbo_status curves_smooth_restore(const curves *w) {
  const curve_smooth *c = &w->smooth;
  const int own = c->columns;
  for (int j = 0; j < w->spec.k; j++) {
    double *L = c->root + own * own * j;
    for (int s = 0; s < c->n; s++) c->sd[s + c->n * j] = c->field_sd[s + c->n * j] / sd_unit(w, s);
    for (int a = 0; a < own; a++) {
      const double sd = c->field_sd[c->of[c->first + a] + c->n * j],
                   b = w->coefficients[c->first + a + w->spec.p * j];
      c->mean[a + own * j] = sd > 0.0 ? b / sd : 0.0;
      for (int e = 0; e < own && w->beta_cov; e++) {
        const double other = c->field_sd[c->of[c->first + e] + c->n * j];
        L[a + own * e] =
            sd > 0.0 && other > 0.0 ? c->field_cov[a + own * (e + own * j)] / sd / other : a == e;
      }
    }
    if (w->beta_cov && la_chol(L, own) != ELBO_OK) return ELBO_E_NOT_PD;
    curves_smooth_spread(w, j);
  }
  return ELBO_OK;
}

/* ---- laws (vb) ------------------------------------------------------------------------------- */

/* sd_s = E[1/sd^2]^{-1/2}. */
void curves_smooth_expect(const curves *w) {
  const curve_smooth *c = &w->smooth;
  for (int j = 0; j < w->spec.k; j++)
    for (int s = 0; s < c->n; s++) {
      const double shape = sd_free(w, s) ? c->shape[s + c->n * j] : 1.0;
      c->sd[s + c->n * j] = sqrt(c->rate[s + c->n * j] / shape) / sd_unit(w, s);
    }
}

/* E[precision] of coefficient a, and E of its logarithm, in scaled units. */
double curves_precision(const curves *w, int j, int a) {
  const curve_smooth *c = &w->smooth;
  if (a < c->first) return w->beta_precision[a];
  const double sd = c->sd[c->of[a] + c->n * j];
  return 1.0 / (sd * sd);
}

double curves_log_precision(const curves *w, int j, int a) {
  const double precision = curves_precision(w, j, a);
  if (a < w->smooth.first || !sd_free(w, w->smooth.of[a])) return log(precision);
  const double shape = w->smooth.shape[w->smooth.of[a] + w->smooth.n * j];
  return log(precision) - log(shape) + math_digamma(shape);
}

static double scaled_rate(const curves *w, int j, int s) {
  return w->smooth.rate[s + w->smooth.n * j] / (sd_unit(w, s) * sd_unit(w, s));
}

double curves_smooth_minus_kl(const curves *w) {
  const curve_smooth *c = &w->smooth;
  double sum = 0.0;
  for (int j = 0; j < w->spec.k; j++)
    for (int s = 0; s < c->n; s++)
      if (sd_free(w, s))
        sum += law_half_t_minus_kl(c->prior[s].df, c->prior[s].scale, c->shape[s + c->n * j],
                                   scaled_rate(w, j, s));
  return sum;
}

/* Natural parameters of q(sd^2), T = (log sd^2, 1 / sd^2); E T; and where each is at its best. */
void curves_smooth_natural(const curves *w, double **eta) {
  for (int j = 0; j < w->spec.k; j++)
    for (int s = 0; s < w->smooth.n; s++) {
      if (!sd_free(w, s)) continue;
      *(*eta)++ = -(w->smooth.shape[s + w->smooth.n * j] + 1.0);
      *(*eta)++ = -scaled_rate(w, j, s);
    }
}

elbo_status curves_smooth_from_natural(const curves *w, const double **eta) {
  const curve_smooth *c = &w->smooth;
  elbo_status status = ELBO_OK;
  for (int j = 0; j < w->spec.k; j++)
    for (int s = 0; s < c->n; s++) {
      double *shape = c->shape + s + c->n * j, *rate = c->rate + s + c->n * j;
      if (!sd_free(w, s)) continue;
      *shape = -*(*eta)++ - 1.0;
      *rate = -*(*eta)++ * sd_unit(w, s) * sd_unit(w, s);
      if (!(*shape > 0.0) || !(*rate > 0.0)) status = ELBO_E_NOT_PD;
    }
  return status;
}

void curves_smooth_moments(const curves *w, double **m) {
  const curve_smooth *c = &w->smooth;
  for (int j = 0; j < w->spec.k; j++)
    for (int s = 0; s < c->n; s++) {
      if (!sd_free(w, s)) continue;
      *(*m)++ = -curves_log_precision(w, j, c->start[s]);
      *(*m)++ = curves_precision(w, j, c->start[s]);
    }
}

void curves_smooth_target(const curves *w, double **eta) {
  const curve_smooth *c = &w->smooth;
  const int p = w->spec.p;
  for (int j = 0; j < w->spec.k; j++)
    for (int s = 0; s < c->n; s++) {
      const sd_prior *prior = c->prior + s;
      double rate = law_half_t_rate(prior->df, prior->scale, curves_precision(w, j, c->start[s]));
      if (!sd_free(w, s)) continue;
      for (int a = c->start[s]; a < c->start[s + 1]; a++) {
        const double b = w->beta[a + p * j];
        rate += 0.5 * (b * b + w->beta_cov[a + p * (a + p * j)]);
      }
      *(*eta)++ = -(best_shape(w, s) + 1.0);
      *(*eta)++ = -rate;
    }
}

/* ---- theta ----------------------------------------------------------------------------------- */

static double *smooth_sds(const curves *w, double *out) {
  const curve_smooth *c = &w->smooth;
  for (int j = 0; j < w->spec.k; j++)
    for (int s = 0; s < c->n; s++)
      *out++ = is_vb(w) && sd_free(w, s)
                   ? law_mean_sd(c->shape[s + c->n * j], c->rate[s + c->n * j])
                   : fabs(c->sd[s + c->n * j]) * sd_unit(w, s);
  return out;
}

double *curves_theta(const curves *w, curves_sds *sds, curves_correlation *correlation,
                     double *out) {
  const int size = w->spec.p * w->spec.k;
  memcpy(out, w->coefficients, (size_t)size * sizeof(double));
  out = smooth_sds(w, out + size);
  for (int g = 0; g < w->n_gamma; g++)
    for (int i = 0; i < w->n_block; i++) out = sds(w, g, w->block + i, out);
  for (int g = 0; g < w->n_gamma; g++)
    for (int i = 0; i < w->n_block; i++)
      for (int a = 0; a < w->block[i].order; a++)
        for (int c = a + 1; c < w->block[i].order; c++)
          *out++ = correlation(w, g, w->block + i, a, c);
  return out;
}

/* ---- construction ---------------------------------------------------------------------------- */

static curve_solution *new_solution(const curves *w, const elbo_memory *mem) {
  const size_t p = (size_t)w->spec.p;
  curve_solution *at = mem->get(mem->ctx, sizeof *at);
  at->sd = elbo_doubles(mem, (size_t)w->smooth.n);
  at->x = elbo_doubles(mem, p);
  at->M_inverse = elbo_doubles(mem, p * p);
  at->P = elbo_doubles(mem, p * p);
  return at;
}

void curves_smooth_columns(curves *w, const elbo_memory *mem) {
  curve_smooth *c = &w->smooth;
  c->n = w->spec.n_smooth;
  for (int s = 0; s < c->n; s++) c->columns += w->spec.smooth_size[s];
  c->first = w->spec.p - c->columns;
  c->start = elbo_ints(mem, (size_t)c->n + 1);
  c->of = elbo_ints(mem, (size_t)w->spec.p);
  c->start[0] = c->first;
  for (int s = 0; s < c->n; s++) {
    c->start[s + 1] = c->start[s] + w->spec.smooth_size[s];
    for (int a = c->start[s]; a < c->start[s + 1]; a++) c->of[a] = s;
  }
}

static void read_laws(curves *w, const elbo_memory *mem) {
  const mixture_curves_spec *spec = &w->spec;
  curve_smooth *c = &w->smooth;
  c->constant = elbo_doubles(mem, (size_t)c->n);
  c->prior = mem->get(mem->ctx, (size_t)larger(c->n, 1) * sizeof *c->prior);
  for (int s = 0; s < c->n; s++) {
    c->constant[s] = spec->smooth_constant ? spec->smooth_constant[s] / sd_unit(w, s) : NAN;
    c->prior[s] = (sd_prior){SD_FLAT, 0.0, 0.0};
    if (spec->smooth_family == NULL || !sd_free(w, s)) continue;
    c->prior[s] = (sd_prior){(sd_family)spec->smooth_family[s], spec->smooth_df[s],
                             spec->smooth_scale[s] / sd_unit(w, s)};
  }
}

/* Smooths as their law has them, with half of what the response has. */
void curves_smooth_build(curves *w, const elbo_memory *mem) {
  curve_smooth *c = &w->smooth;
  const size_t p = (size_t)w->spec.p, own = (size_t)c->columns, k = (size_t)w->spec.k,
               n = (size_t)c->n;
  read_laws(w, mem);
  c->sd = elbo_doubles(mem, n * k);
  c->mean = elbo_doubles(mem, own * k);
  c->root = elbo_doubles(mem, own * own * k);
  double **const vectors[] = {&c->linear, &c->rhs, &c->root_of};
  for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) *vectors[i] = elbo_doubles(mem, p);
  c->best = new_solution(w, mem);
  c->trial = new_solution(w, mem);
  memset(c->mean, 0, own * k * sizeof(double));
  memset(c->root, 0, own * own * k * sizeof(double));
  for (size_t j = 0; j < k; j++) {
    for (size_t a = 0; a < own; a++) c->root[own * own * j + a * (own + 1)] = 1.0;
    for (int s = 0; s < c->n; s++)
      c->sd[(size_t)s + n * j] =
          sd_free(w, s) ? sqrt(0.5 * w->spread / size_of(c, s)) : c->constant[s];
  }
}

/* The fields of each method. */
void curves_smooth_fields(curves *w, mixture_part *part, const elbo_memory *mem) {
  curve_smooth *c = &w->smooth;
  const int own = c->columns, k = w->spec.k;
  double **const of_sd[] = {&c->field_sd, &c->shape, &c->rate};
  for (size_t i = 0; i < sizeof of_sd / sizeof *of_sd; i++)
    *of_sd[i] = elbo_doubles(mem, (size_t)(c->n * k));
  c->field_cov = elbo_doubles(mem, (size_t)(own * own * k));
  if (c->n == 0) return;
  if (is_vb(w)) {
    part->field[part->n_field++] = (mixture_field){"smooth_shape", c->shape, 2, {c->n, k, 0}, 1};
    part->field[part->n_field++] = (mixture_field){"smooth_rate", c->rate, 2, {c->n, k, 0}, 1};
    return;
  }
  part->field[part->n_field++] = (mixture_field){"smooth_sd", c->field_sd, 2, {c->n, k, 0}, 1};
  if (w->beta_cov)
    part->field[part->n_field++] = (mixture_field){"smooth_cov", c->field_cov, 3, {own, own, k}, 1};
}
