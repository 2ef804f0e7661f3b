/* Membership coefficients as points: Newton's method on the concave
 *
 *   sum_ij r_ij (x_ij - log sum_l exp x_il) - sum_{j > 1} |b_j|^2 / (2 sd^2),
 *
 * whose gradient is W' (r - n p) and whose information is W' n (diag p - p p') W, by blocks (j,
 * l), with n_i = sum_j r_ij.
 *
 * Without a prior there need be no maximum: where covariates separate a component from others,
 * or a component has no members, coefficients run to infinity.  Newton's method then goes on by
 * steps that change x by about one each, as the derivatives fall like exp(-x), while at a
 * maximum steps and gain vanish together.  So it is unbounded where a step has nothing to gain
 * but moves x. */
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

/* No more to gain than this, on the scale of the log likelihood, while x moves by that. */
static const double NOTHING = 1e-10, MOVES = 0.5, MOVES_RELATIVE = 0.01;
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
  double *information;                 /* D x D */
  double *packed;                      /* packed_size(p) */
  double *zero;                        /* p */
  double *block, *x, *lse, *total, *h; /* BLOCK x p, BLOCK x k, and three times BLOCK */
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

static void accumulate(const void *work, const mixture_chunk *chunk, const double *r,
                       double *scratch, double *stat) {
  (void)work, (void)chunk, (void)r, (void)scratch, (void)stat;
}

/* ---- the objective and its derivatives ------------------------------------------------------- */

/* Gradient and information of a block, x being probabilities by now. */
static void add_derivatives(membership_work *w, int unit, int n, const double *r) {
  const int p = w->p, k = w->k;
  const size_t N = (size_t)w->n;
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

/* max_i |w_i' b_j| over units, j > 0: largest, and in which component. */
static double largest_predictor(const membership_work *w, const double *b, int *component) {
  double most = 0.0;
  for (int j = 1; j < w->k; j++)
    for (int i = 0; i < w->n; i++) {
      double sum = 0.0;
      for (int c = 0; c < w->p; c++)
        sum += w->W[(size_t)i + (size_t)w->n * (size_t)c] * b[c + w->p * j];
      if (!(fabs(sum) > most)) continue;
      most = fabs(sum);
      if (component != NULL) *component = j;
    }
  return most;
}

/* step = information^{-1} gradient, both with the prior, and gain = gradient' step / 2.  The
 * matrix is factored with unit diagonal, as covariates come in any unit. */
static elbo_status newton_step(membership_work *w, double *gain) {
  const int D = w->D;
  double *A = w->information;
  for (int i = 0; i < D; i++) {
    A[i + D * i] += 1.0 / (w->sd * w->sd);
    w->gradient[i] -= w->b[w->p + i] / (w->sd * w->sd);
    w->scale[i] = 1.0 / sqrt(A[i + D * i]);
  }
  for (int j = 0; j < D; j++)
    for (int i = j; i < D; i++) A[i + D * j] *= w->scale[i] * w->scale[j];
  elbo_status status = la_chol(A, D);
  if (status == ELBO_OK) status = la_inverse_from_chol(A, D);
  if (status != ELBO_OK) return status;
  *gain = 0.0;
  for (int i = 0; i < D; i++) {
    double sum = 0.0;
    for (int j = 0; j < D; j++) sum += A[i + D * j] * w->scale[j] * w->gradient[j];
    w->step[i] = w->scale[i] * sum;
    *gain += 0.5 * w->gradient[i] * w->step[i];
  }
  return ELBO_OK;
}

/* The Newton step from b, the objective there, and whether b is on its way to infinity. */
static elbo_status examine(membership_work *w, const double *r, double *value, double *gain,
                           int *component) {
  *component = -1;
  *value = likelihood(w, w->b, r, 1) + log_prior_of(w, w->b);
  const elbo_status status = newton_step(w, gain);
  if (!isinf(w->sd)) return status;
  if (status == ELBO_OK && *gain > NOTHING) return ELBO_OK;
  if (status == ELBO_OK) memcpy(w->next + w->p, w->step, (size_t)w->D * sizeof(double));
  const double far = largest_predictor(w, w->b, component);
  /* No information at all: only coefficients that are far out already have none. */
  if (status != ELBO_OK) return far > 20.0 ? ELBO_E_UNBOUNDED : status;
  const double moves = largest_predictor(w, w->next, component);
  if (moves > MOVES && moves > MOVES_RELATIVE * far) return ELBO_E_UNBOUNDED;
  *component = -1;
  return ELBO_OK;
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
  double value, gain;
  (void)stat;
  for (int steps = 0; steps < MOST_STEPS; steps++) {
    const elbo_status status = examine(w, r, &value, &gain, component);
    if (status != ELBO_OK) return status;
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

static elbo_status gradient(void *work, const double *stat, const double *r, double *out) {
  membership_work *w = work;
  double value, gain;
  int component;
  (void)stat;
  const elbo_status status = examine(w, r, &value, &gain, &component);
  memcpy(out, w->gradient, (size_t)w->D * sizeof(double));
  return status;
}

static void get_memory(membership_work *w, const elbo_memory *mem) {
  const size_t k = (size_t)w->k, p = (size_t)w->p, D = (size_t)w->D;
  w->b = elbo_doubles(mem, p * k);
  w->next = elbo_doubles(mem, p * k);
  w->gradient = elbo_doubles(mem, D);
  w->step = elbo_doubles(mem, D);
  w->scale = elbo_doubles(mem, D);
  w->information = elbo_doubles(mem, D * D);
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
  if (spec->method == MIXTURE_VB) return mixture_membership_vb_part(part, spec, mem);
  membership_work *w = mem->get(mem->ctx, sizeof *w);
  memset(w, 0, sizeof *w);
  memset(part, 0, sizeof *part);
  w->k = spec->k;
  w->p = spec->n_w;
  w->n = spec->n_unit;
  w->D = spec->n_w * (spec->k - 1);
  w->W = spec->W;
  w->sd = spec->coefficient_sd;
  w->kernel = row_kernels_current();
  get_memory(w, mem);
  const mixture_field field = {"coefficient", w->b, 2, {w->p, w->k, 0}, 1};
  part->work = w;
  part->by_unit = 1;
  part->keeps_r = 1;
  part->n_scratch = (size_t)(w->p + w->k + 1);
  part->n_eta = part->n_theta = w->D;
  part->n_field = 1;
  part->field[0] = field;
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
  return ELBO_OK;
}
