/* Membership coefficients as points: Newton's method on the concave
 *
 *   sum_ij r_ij (x_ij - log sum_l exp x_il) - sum_{j > 1} |b_j|^2 / (2 sd^2),
 *
 * whose gradient is W' (r - n p) and whose information is W' n (diag p - p p') W, by blocks (j,
 * l), with n_i = sum_j r_ij.
 *
 * Without a prior there need be no maximum: where covariates separate a component from others,
 * coefficients run to infinity, along a direction in which the likelihood rises to a limit.  It is
 * the estimate: b is put so far out along the direction that the units are there to all digits
 * of a double, and stays, as nothing says more of that direction.  Unbounded is only a component
 * without members. */
#include "mixture/membership.h"

#include <math.h>
#include <string.h>

#include "math/la.h"
#include "math/rows.h"
#include "math/small.h"

enum {
  BLOCK = 256,
  /* Of an M-step: enough from a start that is near.  Where the first r, of labels, happen to be
   * separated though the mixture is not, coefficients do not run far before r is seen again. */
  MOST_STEPS = 5,
  HALVINGS = 30
};

/* e^-40 = 4e-18: so far out no digit of a double tells a probability from its limit. */
static const double FAR = 40.0;
/* The part of what units could say of a direction below which it is flat. */
static const double FLAT = 1e-6;
/* A component of fewer members is empty. */
static const double NOBODY = 1e-3;
/* With less to gain, one more Newton step ends at rounding. */
static const double NEARLY_THERE = 1e-12;
/* A fall of the objective that rounding explains, relative to 1 + its size. */
static const double ROUNDING = 1e-12;

typedef struct {
  int k, p, n, D; /* components, covariates, units, coefficients: D = p (k - 1) */
  const double *W;
  double sd;
  const row_kernels *kernel;
  double *b; /* p x k, the first column zero */
  /* memory of the serial functions */
  double *next;                        /* p x k */
  double *gradient, *step, *scale;     /* D */
  double *firm;                        /* D: not at the boundary, though it looks flat */
  double *plain;                       /* p: sums of n_i w_i^2 */
  double *information, *L;             /* D x D */
  double *packed;                      /* packed_size(p) */
  double *zero;                        /* p */
  double *block, *x, *lse, *total, *h; /* BLOCK x p, BLOCK x k, and three times BLOCK */
  double *moved;                       /* BLOCK x k */
} membership_work;

/* x (ld x k) = block (ld x p) b (p x k). */
static void predictors(const membership_work *w, int ld, const double *block, const double *b,
                       double *x) {
  for (int j = 0; j < w->k; j++, x += ld)
    for (int i = 0; i < ld; i++) {
      double sum = 0.0;
      for (int c = 0; c < w->p; c++) sum += block[i + ld * c] * b[c + w->p * j];
      x[i] = sum;
    }
}

static void load(const membership_work *w, int unit, int n, int ld, double *block) {
  rows_load(w->W, (size_t)w->n, w->p, (size_t)unit, n, ld, block);
}

static void log_density(const void *work, const mixture_chunk *chunk, double *scratch,
                        double *out) {
  const membership_work *w = work;
  const int ld = chunk->ld;
  double *x = scratch + ld * w->p, *lse = x + ld * w->k;
  load(w, chunk->unit, chunk->n_unit, ld, scratch);
  predictors(w, ld, scratch, w->b, x);
  for (int i = 0; i < ld * w->k; i++) out[i] += x[i];
  w->kernel->posterior(ld, w->k, x, lse);
  for (int j = 0; j < w->k; j++)
    for (int i = 0; i < ld; i++) out[i + ld * j] -= lse[i];
}

/* By b_j: (r_ij - n_i p_ij) w_i. */
static void scores(const void *work, const mixture_chunk *chunk, const double *r, double *scratch,
                   double *out) {
  const membership_work *w = work;
  const int ld = chunk->ld;
  double *x = scratch + ld * w->p, *total = x + ld * w->k;
  load(w, chunk->unit, chunk->n_unit, ld, scratch);
  predictors(w, ld, scratch, w->b, x);
  w->kernel->posterior(ld, w->k, x, total);
  memset(total, 0, (size_t)ld * sizeof(double));
  for (int j = 0; j < w->k; j++)
    for (int i = 0; i < ld; i++) total[i] += r[i + ld * j];
  for (int j = 1; j < w->k; j++)
    for (int c = 0; c < w->p; c++, out += ld)
      for (int i = 0; i < ld; i++)
        out[i] += (r[i + ld * j] - total[i] * x[i + ld * j]) * scratch[i + ld * c];
}

static void accumulate(const void *work, const mixture_chunk *chunk, const double *r,
                       double *scratch, double *stat) {
  (void)work, (void)chunk, (void)r, (void)scratch, (void)stat;
}

/* ---- the objective and its derivatives ------------------------------------------------------- */

/* Gradient and information of a block, x being probabilities by now. */
static void add_derivatives(membership_work *w, int unit, int n, const double *r) {
  const int p = w->p, k = w->k;
  const size_t N = (size_t)w->n;
  for (int c = 0; c < p; c++)
    for (int i = 0; i < n; i++)
      w->plain[c] += w->total[i] * w->block[i + BLOCK * c] * w->block[i + BLOCK * c];
  for (int j = 1; j < k; j++) {
    const double *pj = w->x + BLOCK * j;
    for (int i = 0; i < n; i++)
      w->h[i] = r[(size_t)unit + (size_t)i + N * (size_t)j] - w->total[i] * pj[i];
    for (int c = 0; c < p; c++) {
      double sum = 0.0;
      for (int i = 0; i < n; i++) sum += w->h[i] * w->block[i + BLOCK * c];
      w->gradient[c + p * (j - 1)] += sum;
    }
    for (int l = 1; l <= j; l++) {
      const double *pl = w->x + BLOCK * l;
      for (int i = 0; i < BLOCK; i++)
        w->h[i] = w->total[i] * pj[i] * (j == l ? 1.0 - pj[i] : pl[i]);
      /* The first covariate is the constant, as the first of crossprod is, whose weights are
       * positive. */
      memset(w->packed, 0, packed_size(p) * sizeof(double));
      w->kernel->crossprod(BLOCK, p - 1, w->block + BLOCK, w->zero, w->h, w->packed);
      const double sign = j == l ? 1.0 : -1.0;
      double *to = w->information + p * (j - 1) + w->D * p * (l - 1);
      for (int c = 0, at = 0; c < p; c++)
        for (int d = 0; d <= c; d++, at++) {
          to[c + w->D * d] += sign * w->packed[at];
          if (c != d) to[d + w->D * c] += sign * w->packed[at];
        }
    }
  }
}

/* sum_ij r_ij log p_ij at b; with derivatives also gradient and information (the lower blocks). */
static double likelihood(membership_work *w, const double *b, const double *r, int derivatives) {
  double value = 0.0;
  if (derivatives) {
    memset(w->gradient, 0, (size_t)w->D * sizeof(double));
    memset(w->information, 0, (size_t)(w->D * w->D) * sizeof(double));
    memset(w->plain, 0, (size_t)w->p * sizeof(double));
  }
  for (int unit = 0; unit < w->n; unit += BLOCK) {
    const int n = w->n - unit < BLOCK ? w->n - unit : BLOCK;
    load(w, unit, n, BLOCK, w->block);
    predictors(w, BLOCK, w->block, b, w->x);
    memset(w->total, 0, BLOCK * sizeof(double));
    for (int j = 0; j < w->k; j++) {
      const double *rj = r + (size_t)unit + (size_t)w->n * (size_t)j;
      for (int i = 0; i < n; i++) {
        w->total[i] += rj[i];
        value += rj[i] * w->x[i + BLOCK * j];
      }
    }
    w->kernel->posterior(BLOCK, w->k, w->x, w->lse);
    for (int i = 0; i < n; i++) value -= w->total[i] * w->lse[i];
    if (derivatives) add_derivatives(w, unit, n, r);
  }
  return value;
}

static double log_prior_of(const membership_work *w, const double *b) {
  if (isinf(w->sd)) return 0.0;
  double square = 0.0;
  for (int i = w->p; i < w->p * w->k; i++) square += b[i] * b[i];
  return -0.5 * square / (w->sd * w->sd) - w->D * (log(w->sd) + 0.5 * LOG_2PI);
}

/* Gradient and information with the prior, at b; the value. */
static double derivatives(membership_work *w, const double *r) {
  const double value = likelihood(w, w->b, r, 1), precision = 1.0 / (w->sd * w->sd);
  for (int a = 0; a < w->D; a++) {
    w->information[a + w->D * a] += precision;
    w->gradient[a] -= w->b[w->p + a] * precision;
  }
  return value + log_prior_of(w, w->b);
}

/* information = scale^-1 L L' scale^-1, with a pivot of zero where a column, given those before it,
 * is flat.  The scale is that of units in doubt, as covariates come in any unit. */
static void factor(membership_work *w) {
  const int D = w->D;
  double *L = w->L;
  for (int a = 0; a < D; a++) {
    const double most = w->plain[a % w->p] + 1.0 / (w->sd * w->sd);
    w->scale[a] = most > 0.0 ? 1.0 / sqrt(most) : 0.0;
    for (int c = 0; c <= a; c++) {
      double sum = w->information[a + D * c] * w->scale[a] * w->scale[c];
      for (int e = 0; e < c; e++) sum -= L[a + D * e] * L[c + D * e];
      if (c < a)
        L[a + D * c] = L[c + D * c] > 0.0 ? sum / L[c + D * c] : 0.0;
      else
        L[a + D * a] = sum > (isinf(w->sd) && !(w->firm[a] > 0.0) ? FLAT : 0.0) ? sqrt(sum) : 0.0;
    }
  }
}

/* step = information^{-1} gradient, zero in flat columns, and gain = gradient' step / 2. */
static double newton_step(membership_work *w) {
  const int D = w->D;
  double gain = 0.0;
  for (int a = 0; a < D; a++) {
    double sum = w->scale[a] * w->gradient[a];
    for (int c = 0; c < a; c++) sum -= w->L[a + D * c] * w->step[c];
    w->step[a] = w->L[a + D * a] > 0.0 ? sum / w->L[a + D * a] : 0.0;
  }
  for (int a = D - 1; a >= 0; a--) {
    double sum = w->step[a];
    for (int c = a + 1; c < D; c++) sum -= w->L[c + D * a] * w->step[c];
    w->step[a] = w->L[a + D * a] > 0.0 ? sum / w->L[a + D * a] : 0.0;
  }
  for (int a = 0; a < D; a++) {
    w->step[a] *= w->scale[a];
    gain += 0.5 * w->gradient[a] * w->step[a];
  }
  return gain;
}

/* ---- the boundary ---------------------------------------------------------------------------- */

/* The direction of the flat column a, one there, to the columns of w->next behind the first. */
static void flat_direction(membership_work *w, int a) {
  const int D = w->D;
  double *d = w->next + w->p;
  memset(d, 0, (size_t)D * sizeof(double));
  d[a] = 1.0;
  for (int c = a - 1; c >= 0; c--) {
    if (!(w->L[c + D * c] > 0.0)) continue;
    double sum = w->L[a + D * c];
    for (int e = c + 1; e < a; e++) sum += w->L[e + D * c] * d[e] * w->scale[a] / w->scale[e];
    d[c] = -sum / w->L[c + D * c] * w->scale[c] / w->scale[a];
  }
}

/* The largest change of a difference of predictors along w->next; or, given that, how far to go by
 * sign until all that change are `apart`. */
static double look_along(membership_work *w, double most, double sign, double apart) {
  const double enough = 1e-4 * most;
  double out = 0.0;
  for (int unit = 0; unit < w->n; unit += BLOCK) {
    const int n = w->n - unit < BLOCK ? w->n - unit : BLOCK;
    load(w, unit, n, BLOCK, w->block);
    predictors(w, BLOCK, w->block, w->b, w->x);
    predictors(w, BLOCK, w->block, w->next, w->moved);
    for (int i = 0; i < n; i++) {
      int top = 0;
      for (int j = 1; j < w->k; j++)
        if (w->x[i + BLOCK * j] > w->x[i + BLOCK * top]) top = j;
      for (int j = 0; j < w->k; j++) {
        const double v = w->moved[i + BLOCK * top] - w->moved[i + BLOCK * j];
        if (most > 0.0 && sign * v > enough)
          out = fmax(out, (apart - w->x[i + BLOCK * top] + w->x[i + BLOCK * j]) / (sign * v));
        else if (!(most > 0.0))
          out = fmax(out, fabs(v));
      }
    }
  }
  return out;
}

/* b to where all that changes along w->next is FAR apart, one way or the other, unless that lowers
 * the objective; 0 if it does.  Nothing moves where it is there already. */
static int go_out(membership_work *w, const double *r, double *value, int *moved) {
  const double most = look_along(w, 0.0, 0.0, 0.0), tolerance = ROUNDING * (1.0 + fabs(*value));
  double *b = w->b + w->p, *d = w->next + w->p, slope = 0.0;
  if (!(most > 0.0)) return 0;
  for (int a = 0; a < w->D; a++) slope += w->gradient[a] * d[a];
  for (int way = 0; way < 2; way++) {
    const double sign = (slope < 0.0) == (way == 0) ? -1.0 : 1.0;
    const double far = sign * look_along(w, most, sign, FAR);
    for (int a = 0; a < w->D; a++) b[a] += far * d[a];
    const double next = likelihood(w, w->b, r, 0);
    if (next >= *value - tolerance) {
      *moved = far != 0.0;
      *value = fmax(next, *value);
      return 1;
    }
    for (int a = 0; a < w->D; a++) b[a] -= far * d[a];
  }
  return 0;
}

/* Whether b is out along the direction of the flat column a, but for a little. */
static int is_out(membership_work *w, int a) {
  flat_direction(w, a);
  const double most = look_along(w, 0.0, 0.0, 0.0), apart = FAR - 4.0;
  return !(most > 0.0) || look_along(w, most, 1.0, apart) == 0.0 ||
         look_along(w, most, -1.0, apart) == 0.0;
}

/* Out along the first flat direction that can be taken; 1 if b moved, which leaves w->L behind. */
static int to_boundary(membership_work *w, const double *r, double *value) {
  for (int a = 0; a < w->D; a++) {
    int moved = 0;
    if (w->L[a + w->D * a] > 0.0) continue;
    flat_direction(w, a);
    if (!go_out(w, r, value, &moved)) {
      w->firm[a] = 1.0;
      factor(w);
    }
    if (moved) return 1;
  }
  return 0;
}

/* Out along b's own direction among the flat ones, which is where it is going: to FAR apart,
 * whatever r says, as the laws of z follow.  That the objective does not mind is for the engine to
 * see. */
static int settle(void *work, const double *stat, const double *r) {
  membership_work *w = work;
  double *b = w->b + w->p, *d = w->next + w->p;
  (void)stat;
  if (isfinite(w->sd)) return 0;
  memset(w->firm, 0, (size_t)w->D * sizeof(double));
  derivatives(w, r);
  factor(w);
  memset(w->step, 0, (size_t)w->D * sizeof(double));
  for (int a = 0; a < w->D; a++) {
    if (w->L[a + w->D * a] > 0.0) continue;
    flat_direction(w, a);
    for (int c = 0; c < w->D; c++) w->step[c] += b[a] * d[c];
  }
  memcpy(d, w->step, (size_t)w->D * sizeof(double));
  const double most = look_along(w, 0.0, 0.0, 0.0);
  const double far = most > 0.0 ? look_along(w, most, 1.0, FAR) : 0.0;
  for (int a = 0; a < w->D; a++) b[a] += far * d[a];
  return far > 0.0;
}

/* A component without members, or -1. */
static int empty_component(const membership_work *w, const double *r) {
  for (int j = 0; j < w->k; j++) {
    const double *rj = r + (size_t)w->n * (size_t)j;
    double size = 0.0;
    for (int i = 0; i < w->n; i++) size += rj[i];
    if (size < NOBODY) return j;
  }
  return -1;
}

/* ---- em -------------------------------------------------------------------------------------- */

/* The first component becomes the baseline: a permutation may have left another one there. */
static elbo_status restore(void *work, int *component) {
  membership_work *w = work;
  (void)component;
  for (int j = w->k - 1; j >= 0; j--)
    for (int c = 0; c < w->p; c++) w->b[c + w->p * j] -= w->b[c];
  return ELBO_OK;
}

static elbo_status prepare(void *work, int *component) {
  (void)work, (void)component;
  return ELBO_OK;
}

/* Moves b by the step, halved until the objective does not fall; 0 if it always does. */
static int move(membership_work *w, const double *r, double value) {
  double factor = 1.0;
  for (int h = 0; h < HALVINGS; h++, factor *= 0.5) {
    for (int i = 0; i < w->D; i++) w->next[w->p + i] = w->b[w->p + i] + factor * w->step[i];
    const double next = likelihood(w, w->next, r, 0) + log_prior_of(w, w->next);
    if (!(next >= value - ROUNDING * (1.0 + fabs(value)))) continue;
    memcpy(w->b + w->p, w->next + w->p, (size_t)w->D * sizeof(double));
    return 1;
  }
  return 0;
}

static elbo_status m_step(void *work, const double *stat, const double *r, int *component) {
  membership_work *w = work;
  (void)stat;
  *component = isinf(w->sd) ? empty_component(w, r) : -1;
  if (*component >= 0) return ELBO_E_UNBOUNDED;
  memset(w->firm, 0, (size_t)w->D * sizeof(double));
  for (int steps = 0; steps < MOST_STEPS; steps++) {
    double value = derivatives(w, r);
    factor(w);
    if (isinf(w->sd) && to_boundary(w, r, &value)) continue;
    const double gain = newton_step(w);
    if (isnan(gain)) return ELBO_E_NOT_FINITE;
    const int last = gain <= NEARLY_THERE; /* too small a step for the objective to show */
    if (last)
      for (int i = 0; i < w->D; i++) w->b[w->p + i] += w->step[i];
    if (last || !move(w, r, value)) break;
  }
  return ELBO_OK;
}

static elbo_status expected(const void *work, const double *stat, const double *r, double *value) {
  membership_work *w = (membership_work *)work; /* its scratch is written */
  (void)stat;
  *value = likelihood(w, w->b, r, 0);
  return ELBO_OK;
}

static double log_prior(const void *work) {
  const membership_work *w = work;
  return log_prior_of(w, w->b);
}

static void pack(const void *work, double *eta) {
  const membership_work *w = work;
  memcpy(eta, w->b + w->p, (size_t)w->D * sizeof(double));
}

static elbo_status unpack(void *work, const double *eta) {
  membership_work *w = work;
  memcpy(w->b + w->p, eta, (size_t)w->D * sizeof(double));
  return ELBO_OK;
}

/* Zero along directions in which b is at the boundary: to rounding it is so anyhow. */
static elbo_status gradient(void *work, const double *stat, const double *r, double *out) {
  membership_work *w = work;
  (void)stat;
  const double value = derivatives(w, r);
  memcpy(out, w->gradient, (size_t)w->D * sizeof(double));
  if (isnan(value)) return ELBO_E_NOT_FINITE;
  memset(w->firm, 0, (size_t)w->D * sizeof(double));
  factor(w);
  for (int a = 0; a < w->D; a++) {
    if (w->L[a + w->D * a] > 0.0 || isfinite(w->sd) || !is_out(w, a)) continue;
    out[a] = 0.0;
    for (int c = 0; c < a; c++) out[a] -= w->next[w->p + c] * out[c];
  }
  return ELBO_OK;
}

static void get_memory(membership_work *w, const elbo_memory *mem) {
  const size_t k = (size_t)w->k, p = (size_t)w->p, D = (size_t)w->D;
  w->b = elbo_doubles(mem, p * k);
  w->next = elbo_doubles(mem, p * k);
  w->gradient = elbo_doubles(mem, D);
  w->step = elbo_doubles(mem, D);
  w->scale = elbo_doubles(mem, D);
  w->information = elbo_doubles(mem, D * D);
  w->L = elbo_doubles(mem, D * D);
  w->firm = elbo_doubles(mem, D);
  w->plain = elbo_doubles(mem, p);
  w->moved = elbo_doubles(mem, BLOCK * k);
  w->packed = elbo_doubles(mem, packed_size(w->p));
  w->zero = elbo_doubles(mem, p);
  w->block = elbo_doubles(mem, BLOCK * p);
  w->x = elbo_doubles(mem, BLOCK * k);
  w->lse = elbo_doubles(mem, BLOCK);
  w->total = elbo_doubles(mem, BLOCK);
  w->h = elbo_doubles(mem, BLOCK);
  memset(w->b, 0, p * k * sizeof(double));
  memset(w->next, 0, p * k * sizeof(double));
  memset(w->zero, 0, p * sizeof(double));
}

elbo_status mixture_membership_part(mixture_part *part, const mixture_weights_spec *spec,
                                    const elbo_memory *mem) {
  membership_work *w = mem->get(mem->ctx, sizeof *w);
  *w = (membership_work){.k = spec->k,
                         .p = spec->n_w,
                         .n = spec->n_unit,
                         .D = spec->n_w * (spec->k - 1),
                         .W = spec->W,
                         .sd = spec->coefficient_sd,
                         .kernel = row_kernels_current()};
  get_memory(w, mem);
  *part = membership_part(spec, w);
  part->n_scratch = (size_t)(w->p + w->k + 1);
  part->n_eta = w->D;
  part->field[part->n_field++] = (mixture_field){"coefficient", w->b, 2, {w->p, w->k, 0}, 1};
  part->restore = restore;
  part->prepare = prepare;
  part->log_density = log_density;
  part->accumulate = accumulate;
  part->m_step = m_step;
  part->expected = expected;
  part->log_prior = log_prior;
  part->pack = part->theta = pack;
  part->unpack = unpack;
  part->gradient = gradient;
  part->scores = scores;
  part->settle = settle;
  return ELBO_OK;
}
