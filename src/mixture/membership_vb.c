/* Membership coefficients under variational Bayes: q(b_2, ..., b_k) = N(m, S), all of them jointly.
 *
 * The expectation of log sum exp has no closed form.  With x = (x_i2, ..., x_ik) ~ N(mu, Sigma)
 * under q, x_i1 = 0, Jensen's inequality after tilting by any vector a gives (Saul & Jordan 1999
 * for two classes, Knowles & Minka 2011 for more) E log(1 + sum_j exp x_j) <= T,
 *
 *   T = a' Sigma a / 2 + log(1 + sum_j exp(mu_j + Sigma_jj / 2 - (Sigma a)_j)),
 *
 * convex in a, and at its least where a = rho, the probabilities that T's last term makes of its
 * exponents.  There T equals the second-order expansion at mu, up to terms of order Sigma^2, and
 *
 *   dT/dmu = rho,  dT/dSigma = (diag rho - rho rho') / 2:
 *
 * tighter than Boehning's bound, whose curvature is the largest there can be.  a is profiled out,
 * so the ELBO is a true lower bound.  The factor is updated by natural gradients (Khan & Lin 2017):
 * with L(m, S) the expected log likelihood so bounded,
 *
 *   S^{-1} = I / sd^2 - 2 dL/dS,  S^{-1} m = dL/dm - 2 dL/dS m. */
#include <math.h>
#include <string.h>

#include "math/la.h"
#include "math/rows.h"
#include "math/small.h"
#include "mixture/membership.h"

enum { MOST_STEPS = 20, HALVINGS = 30, MOST_TILTS = 50 };

/* Falls of an objective that rounding explains, relative to 1 + its size: of T, of the ELBO. */
static const double ROUNDING_T = 1e-14, ROUNDING = 1e-11;

typedef struct {
  int k, p, n, K, D; /* K = k - 1 components with coefficients, D = p K of these */
  const double *W;
  double sd;
  /* Fields: mean (p x k), and root (D x p x k): b = mean + root' z with z ~ N(0, I), so that a
   * permutation of components is one of the last index. */
  double *mean, *root;
  /* From them, for components 2 .. k: S, its inverse P (D x D), log |S|. */
  double *S, *P, log_det;
  /* memory of the serial functions */
  double *gradient, *curvature, *A; /* D, D x D: dL/dm and -2 dL/dS; D x D */
  double *eta, *step, *trial;       /* n_eta each */
  double *row;                      /* row_size() */
} membership_work;

static size_t eta_size(const membership_work *w) { return (size_t)w->D + packed_size(w->D); }

/* ---- one unit -------------------------------------------------------------------------------- */

/* A unit's predictor under q, and its tilt; all of it scratch. */
typedef struct {
  double *mu, *Sigma;                /* K, K x K */
  double *a, *rho, *trial, *Sigma_a; /* K each */
  double *system;                    /* K x (K + 1) */
} tilt;

static size_t row_size(int K) { return (size_t)(2 * K * K + 6 * K); }

static tilt bind_tilt(double *memory, int K) {
  tilt t;
  t.mu = memory;
  t.a = t.mu + K;
  t.rho = t.a + K;
  t.trial = t.rho + K;
  t.Sigma_a = t.trial + K;
  t.Sigma = t.Sigma_a + K;
  t.system = t.Sigma + K * K;
  return t;
}

/* mu and Sigma of unit i. */
static void predictor(const membership_work *w, int i, tilt *t) {
  const int p = w->p, D = w->D, K = w->K;
  const double *W = w->W + i;
  const size_t n = (size_t)w->n;
  for (int j = 0; j < K; j++) {
    t->mu[j] = 0.0;
    for (int c = 0; c < p; c++) t->mu[j] += W[n * (size_t)c] * w->mean[c + p * (j + 1)];
    for (int l = 0; l <= j; l++) {
      const double *S = w->S + p * j + D * p * l;
      double sum = 0.0;
      for (int d = 0; d < p; d++) {
        double inner = 0.0;
        for (int c = 0; c < p; c++) inner += W[n * (size_t)c] * S[c + D * d];
        sum += inner * W[n * (size_t)d];
      }
      t->Sigma[j + K * l] = t->Sigma[l + K * j] = sum;
    }
  }
}

/* T at a, and rho there. */
static double bound(tilt *t, const double *a, int K) {
  double half_square = 0.0, most = 0.0, sum;
  for (int j = 0; j < K; j++) {
    t->Sigma_a[j] = 0.0;
    for (int l = 0; l < K; l++) t->Sigma_a[j] += t->Sigma[j + K * l] * a[l];
    half_square += 0.5 * a[j] * t->Sigma_a[j];
    t->rho[j] = t->mu[j] + 0.5 * t->Sigma[j + K * j] - t->Sigma_a[j];
    most = fmax(most, t->rho[j]);
  }
  sum = exp(-most);
  for (int j = 0; j < K; j++) sum += t->rho[j] = exp(t->rho[j] - most);
  for (int j = 0; j < K; j++) t->rho[j] /= sum;
  return half_square + most + log(sum);
}

/* Solves A x = b by elimination with row exchanges; A and b, n x (n + 1), are overwritten, x is
 * left in the last column. */
static void solve(double *A, int n) {
  for (int c = 0; c < n; c++) {
    int pivot = c;
    for (int i = c + 1; i < n; i++)
      if (fabs(A[i + n * c]) > fabs(A[pivot + n * c])) pivot = i;
    for (int d = c; d <= n && pivot != c; d++) {
      const double x = A[c + n * d];
      A[c + n * d] = A[pivot + n * d];
      A[pivot + n * d] = x;
    }
    for (int i = 0; i < n; i++) {
      if (i == c) continue;
      const double factor = A[i + n * c] / A[c + n * c];
      for (int d = c + 1; d <= n; d++) A[i + n * d] -= factor * A[c + n * d];
    }
  }
  for (int c = 0; c < n; c++) A[c + n * n] /= A[c + n * c];
}

/* Newton's direction of T in a, whose gradient is Sigma (a - rho) and whose Hessian is
 * Sigma (I + H Sigma), H = diag rho - rho rho': (I + H Sigma)^{-1} (rho - a). */
static void tilt_step(tilt *t, int K) {
  double *A = t->system;
  for (int l = 0; l < K; l++) {
    double mean = 0.0;
    for (int j = 0; j < K; j++) mean += t->rho[j] * t->Sigma[j + K * l];
    for (int j = 0; j < K; j++)
      A[j + K * l] = (j == l ? 1.0 : 0.0) + t->rho[j] * (t->Sigma[j + K * l] - mean);
  }
  for (int j = 0; j < K; j++) A[j + K * K] = t->rho[j] - t->a[j];
  solve(A, K);
}

/* Along the step from a, T and its slope there given; rho is left at the end.  The step is
 * halved until T falls by a part of what the slope promises, up to rounding. */
static double search(tilt *t, int K, double value, double slope) {
  double next = value, factor = 1.0;
  for (int h = 0; h < HALVINGS; h++, factor *= 0.5) {
    for (int j = 0; j < K; j++) t->trial[j] = t->a[j] + factor * t->system[j + K * K];
    next = bound(t, t->trial, K);
    if (next <= value + 1e-4 * factor * slope + ROUNDING_T * (1.0 + fabs(value))) break;
  }
  memcpy(t->a, t->trial, (size_t)K * sizeof(double));
  return next;
}

/* The least T over a; rho is left at it. */
static double tightest_bound(tilt *t, int K) {
  memset(t->a, 0, (size_t)K * sizeof(double));
  double value = bound(t, t->a, K);
  for (int steps = 0; steps < MOST_TILTS; steps++) {
    double apart = 0.0, slope = 0.0;
    for (int j = 0; j < K; j++) apart = fmax(apart, fabs(t->rho[j] - t->a[j]));
    /* What depends on a has an error of apart^2. */
    if (apart < 1e-9) break;
    tilt_step(t, K);
    for (int l = 0; l < K; l++)
      for (int j = 0; j < K; j++)
        slope += t->system[l + K * K] * t->Sigma[l + K * j] * (t->a[j] - t->rho[j]);
    value = search(t, K, value, slope);
  }
  return value;
}

/* ---- passes over units ----------------------------------------------------------------------- */

static void log_density(const void *work, const mixture_chunk *chunk, double *scratch,
                        double *out) {
  const membership_work *w = work;
  tilt t = bind_tilt(scratch, w->K);
  for (int i = 0; i < chunk->n_unit; i++) {
    predictor(w, chunk->unit + i, &t);
    const double T = tightest_bound(&t, w->K);
    out[i] -= T;
    for (int j = 0; j < w->K; j++) out[i + chunk->ld * (j + 1)] += t.mu[j] - T;
  }
}

static void accumulate(const void *work, const mixture_chunk *chunk, const double *r,
                       double *scratch, double *stat) {
  (void)work, (void)chunk, (void)r, (void)scratch, (void)stat;
}

/* dL/dm += w (r - n rho), -2 dL/dS += n (diag rho - rho rho') x w w', the lower blocks. */
static void add_derivatives(membership_work *w, int i, const double *r, double total,
                            const tilt *t) {
  const int p = w->p, D = w->D, K = w->K;
  const double *W = w->W + i;
  const size_t n = (size_t)w->n;
  for (int j = 0; j < K; j++) {
    const double residual = r[(size_t)i + n * (size_t)(j + 1)] - total * t->rho[j];
    for (int c = 0; c < p; c++) w->gradient[c + p * j] += residual * W[n * (size_t)c];
    for (int l = 0; l <= j; l++) {
      const double h = total * t->rho[j] * ((j == l ? 1.0 : 0.0) - t->rho[l]);
      double *to = w->curvature + p * j + D * p * l;
      for (int d = 0; d < p; d++)
        for (int c = 0; c < p; c++) to[c + D * d] += h * W[n * (size_t)c] * W[n * (size_t)d];
    }
  }
}

/* L; with derivatives also gradient and curvature (both triangles). */
static double likelihood(membership_work *w, const double *r, int derivatives) {
  const int D = w->D;
  tilt t = bind_tilt(w->row, w->K);
  double value = 0.0;
  if (derivatives) {
    memset(w->gradient, 0, (size_t)D * sizeof(double));
    memset(w->curvature, 0, (size_t)(D * D) * sizeof(double));
  }
  for (int i = 0; i < w->n; i++) {
    double total = r[i];
    predictor(w, i, &t);
    for (int j = 0; j < w->K; j++) {
      const double rij = r[(size_t)i + (size_t)w->n * (size_t)(j + 1)];
      total += rij;
      value += rij * t.mu[j];
    }
    value -= total * tightest_bound(&t, w->K);
    if (derivatives) add_derivatives(w, i, r, total, &t);
  }
  for (int j = 0; j < D && derivatives; j++)
    for (int i = j + 1; i < D; i++) w->curvature[j + D * i] = w->curvature[i + D * j];
  return value;
}

/* ---- q --------------------------------------------------------------------------------------- */

/* The first component becomes the baseline: a permutation may have left another one there. */
static elbo_status restore(void *work, int *component) {
  membership_work *w = work;
  const int p = w->p, D = w->D;
  (void)component;
  for (int j = w->k - 1; j >= 0; j--)
    for (int c = 0; c < p; c++) {
      w->mean[c + p * j] -= w->mean[c];
      for (int s = 0; s < D; s++) w->root[s + D * (c + p * j)] -= w->root[s + D * c];
    }
  return ELBO_OK;
}

static elbo_status prepare(void *work, int *component) {
  membership_work *w = work;
  const int D = w->D;
  const double *root = w->root + D * w->p;
  (void)component;
  for (int i = 0; i < D; i++)
    for (int j = 0; j <= i; j++) {
      double sum = 0.0;
      for (int s = 0; s < D; s++) sum += root[s + D * i] * root[s + D * j];
      w->S[i + D * j] = w->S[j + D * i] = w->P[i + D * j] = w->P[j + D * i] = sum;
    }
  const elbo_status status = la_chol(w->P, D);
  if (status != ELBO_OK) return status;
  w->log_det = la_log_det_from_chol(w->P, D);
  return la_inverse_from_chol(w->P, D);
}

/* Natural parameters (S^{-1} m, -S^{-1} / 2): T = (b, lower triangle of b b'), so that off-diagonal
 * entries count twice. */
static void natural(int D, const double *P, const double *P_m, double *eta) {
  memcpy(eta, P_m, (size_t)D * sizeof(double));
  eta += D;
  for (int j = 0; j < D; j++)
    for (int i = j; i < D; i++) *eta++ = (i == j ? -0.5 : -1.0) * P[i + D * j];
}

static void pack(const void *work, double *eta) {
  const membership_work *w = work;
  la_multiply(w->P, w->mean + w->p, w->D, w->D, 1, w->gradient);
  natural(w->D, w->P, w->gradient, eta);
}

static elbo_status unpack(void *work, const double *eta) {
  membership_work *w = work;
  const int D = w->D;
  double *S = w->A, *root = w->root + D * w->p;
  const double *at = eta + D;
  for (int j = 0; j < D; j++)
    for (int i = j; i < D; i++) S[i + D * j] = (i == j ? -2.0 : -1.0) * *at++;
  elbo_status status = la_chol(S, D);
  if (status == ELBO_OK) status = la_inverse_from_chol(S, D);
  if (status != ELBO_OK) return status;
  la_multiply(S, eta, D, D, 1, w->mean + w->p);
  status = la_chol(S, D);
  for (int j = 0; j < D; j++)
    for (int s = 0; s < D; s++) root[s + D * j] = S[j + D * s];
  return status;
}

static void moments(const void *work, double *m) {
  const membership_work *w = work;
  const double *mean = w->mean + w->p;
  memcpy(m, mean, (size_t)w->D * sizeof(double));
  m += w->D;
  for (int j = 0; j < w->D; j++)
    for (int i = j; i < w->D; i++) *m++ = w->S[i + w->D * j] + mean[i] * mean[j];
}

/* -KL(q || prior); the entropy of q where the prior is flat. */
static double log_prior(const void *work) {
  const membership_work *w = work;
  const double *mean = w->mean + w->p;
  double sum = w->D + w->log_det, square = 0.0;
  for (int i = 0; i < w->D; i++) square += w->S[i + w->D * i] + mean[i] * mean[i];
  sum += isinf(w->sd) ? w->D * LOG_2PI : -2.0 * w->D * log(w->sd) - square / (w->sd * w->sd);
  return 0.5 * sum;
}

static elbo_status expected(const void *work, const double *stat, const double *r, double *value) {
  (void)stat;
  *value = likelihood((membership_work *)work, r, 0); /* its scratch is written */
  return ELBO_OK;
}

/* Natural parameters from gradient and curvature. */
static void target_from_derivatives(membership_work *w, double *eta) {
  const int D = w->D;
  la_multiply(w->curvature, w->mean + w->p, D, D, 1, w->step);
  for (int i = 0; i < D; i++) {
    w->gradient[i] += w->step[i];
    w->curvature[i + D * i] += 1.0 / (w->sd * w->sd);
  }
  natural(D, w->curvature, w->gradient, eta);
}

static elbo_status target(void *work, const double *stat, const double *r, double *eta) {
  membership_work *w = work;
  (void)stat;
  likelihood(w, r, 1);
  target_from_derivatives(w, eta);
  return ELBO_OK;
}

/* Towards the target, halved until the ELBO does not fall; natural parameters between two points of
 * the space are in it.  *value is the ELBO before, *gain what it rose by. */
static void ascend(membership_work *w, const double *r, double *value, double *gain) {
  int component;
  const size_t n = eta_size(w);
  *gain = 0.0;
  *value = likelihood(w, r, 1) + log_prior(w);
  target_from_derivatives(w, w->step);
  pack(w, w->eta);
  for (size_t i = 0; i < n; i++) w->step[i] -= w->eta[i];
  for (int h = 0; h <= HALVINGS; h++) {
    /* The last, without a step, restores q. */
    const double factor = h < HALVINGS ? ldexp(1.0, -h) : 0.0;
    for (size_t i = 0; i < n; i++) w->trial[i] = w->eta[i] + factor * w->step[i];
    if (unpack(w, w->trial) != ELBO_OK || prepare(w, &component) != ELBO_OK) continue;
    *gain = likelihood(w, r, 0) + log_prior(w) - *value;
    if (*gain >= -ROUNDING * (1.0 + fabs(*value))) break;
  }
}

static elbo_status m_step(void *work, const double *stat, const double *r, int *component) {
  membership_work *w = work;
  double value, gain;
  (void)stat, (void)component;
  for (int steps = 0; steps < MOST_STEPS; steps++) {
    ascend(w, r, &value, &gain);
    if (gain <= ROUNDING * (1.0 + fabs(value))) break;
  }
  return ELBO_OK;
}

static void theta(const void *work, double *out) {
  const membership_work *w = work;
  memcpy(out, w->mean + w->p, (size_t)w->D * sizeof(double));
}

/* ---- memory, fields and start ---------------------------------------------------------------- */

static void get_memory(membership_work *w, const elbo_memory *mem) {
  const size_t D = (size_t)w->D, n_b = (size_t)(w->p * w->k);
  double **vector[] = {&w->eta, &w->step, &w->trial},
         **matrix[] = {&w->S, &w->P, &w->curvature, &w->A};
  for (int i = 0; i < 3; i++) *vector[i] = elbo_doubles(mem, eta_size(w));
  for (int i = 0; i < 4; i++) *matrix[i] = elbo_doubles(mem, D * D);
  w->mean = elbo_doubles(mem, n_b);
  w->root = elbo_doubles(mem, D * n_b);
  w->gradient = elbo_doubles(mem, D);
  w->row = elbo_doubles(mem, row_size(w->K));
  memset(w->mean, 0, n_b * sizeof(double));
  memset(w->root, 0, D * n_b * sizeof(double));
}

/* All means zero and, one component at a time, the precision that 1 / k^2 of the units would
 * give. */
static elbo_status start(membership_work *w) {
  const int p = w->p, D = w->D, n_square = w->k * w->k;
  const size_t n = (size_t)w->n;
  int component;
  memset(w->P, 0, (size_t)(D * D) * sizeof(double));
  for (int c = 0; c < p && D > 0; c++)
    for (int d = 0; d <= c; d++) {
      double sum = 0.0;
      for (size_t i = 0; i < n; i++) sum += w->W[i + n * (size_t)c] * w->W[i + n * (size_t)d];
      sum = sum / n_square + (c == d ? 1.0 / (w->sd * w->sd) : 0.0);
      for (int j = 0; j < w->K; j++) w->P[p * j + c + D * (p * j + d)] = sum;
    }
  memset(w->gradient, 0, (size_t)D * sizeof(double));
  natural(D, w->P, w->gradient, w->eta);
  const elbo_status status = unpack(w, w->eta);
  return status == ELBO_OK ? prepare(w, &component) : status;
}

elbo_status mixture_membership_vb_part(mixture_part *part, const mixture_weights_spec *spec,
                                       const elbo_memory *mem) {
  membership_work *w = mem->get(mem->ctx, sizeof *w);
  const int K = spec->k - 1, D = spec->n_w * K;
  *w = (membership_work){.k = spec->k,
                         .p = spec->n_w,
                         .n = spec->n_unit,
                         .K = K,
                         .D = D,
                         .W = spec->W,
                         .sd = spec->coefficient_sd};
  get_memory(w, mem);
  const mixture_field mean = {"mean", w->mean, 2, {w->p, w->k, 0}, 1};
  const mixture_field root = {"root", w->root, 3, {D, w->p, w->k}, 1};
  *part = membership_part(spec, w);
  part->n_scratch = (row_size(w->K) + SIMD_LANES - 1) / SIMD_LANES; /* a chunk has as many rows */
  part->n_eta = (int)eta_size(w);
  part->n_field = 2;
  part->field[0] = mean;
  part->field[1] = root;
  part->restore = restore;
  part->prepare = prepare;
  part->log_density = log_density;
  part->accumulate = accumulate;
  part->m_step = m_step;
  part->expected = expected;
  part->log_prior = log_prior;
  part->pack = pack;
  part->unpack = unpack;
  part->target = target;
  part->moments = moments;
  part->theta = theta;
  return start(w);
}
