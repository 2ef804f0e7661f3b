/* Profile likelihood intervals without profiles.  The end of the interval of a parameter g is where
 *
 *   g is largest (or smallest) subject to f = least,
 *
 * f the objective of all parameters x: one point to be found by Newton's method, instead of a root
 * of a function each of whose values is an optimum (Venzon & Moolgavkar 1988, Appl. Statist.
 * 37:87).
 * At x, with gradient a and Hessian H of f and gradient c of g, the step is the one that goes
 * farthest along c on the quadratic model of f where that is `least`,
 *
 *   N a + t N c,   N = -(H + mu d2g)^{-1},   t^2 = 2 (f - least + a'N a / 2) / c'N c,
 *
 * with mu = -a'N c / c'N c the multiplier that makes a + mu c = 0 at the end, so that g may be
 * curved in x; from the optimum it goes to Wald's limit.
 *
 * x is eta, and with a coefficient of X this too, the others being at their best. */
#include "glmm/profile.h"

#include <math.h>
#include <string.h>

#include "glmm/information.h"
#include "glmm/lmm.h"
#include "glmm/parameters.h"
#include "glmm/work.h"
#include "math/la.h"
#include "math/small.h"

enum { STEPS = 30, HALVINGS = 6 };

typedef struct {
  lmm_fit *fit;
  const lmm_profiled *of;
  int n_eta, n;                 /* n: eta, and a coefficient */
  lmm_constraint constraint;    /* of the coefficient */
  double *x, *next, *step;      /* n */
  double f, *a, *H;             /* the objective and its derivatives */
  double g, *c, *G;             /* the parameter, on a scale without ends; G n_eta x n_eta */
  double *K, *N, *Na, *Nc;      /* K: -(H + mu G), N its inverse */
  double *E, *eigen;            /* q x q; la_eigen_size(n) */
  double *unit, *values;        /* n */
  double *Sigma, *slope, *sigma; /* in the caller's units, as lmm_parameters_natural() */
} search;

size_t lmm_profile_size(const lmm_fit *f) {
  const int p = f->stats.p, q = f->stats.q, n = f->work.par.n_eta + 1;
  return 9 * (size_t)n + 4 * square(n) + 2 * (size_t)p + square(q) * (size_t)(n + 1) +
         (size_t)f->stats.n_level + la_eigen_size(n);
}

static void lay_out(search *s, double *memory) {
  const size_t n = (size_t)s->n_eta + 1, p = (size_t)s->fit->stats.p, q2 = square(s->fit->stats.q);
  double **vector[] = {&s->x,  &s->next, &s->step, &s->a,    &s->c,
                       &s->Na, &s->Nc,   &s->unit, &s->values};
  double **matrix[] = {&s->H, &s->G, &s->K, &s->N};
  for (size_t i = 0; i < sizeof vector / sizeof *vector; i++, memory += n) *vector[i] = memory;
  for (size_t i = 0; i < sizeof matrix / sizeof *matrix; i++, memory += n * n) *matrix[i] = memory;
  s->constraint.of = memory;
  s->constraint.along = memory + p;
  s->E = memory + 2 * p;
  s->Sigma = s->E + q2;
  s->slope = s->Sigma + q2;
  s->sigma = s->slope + q2 * (n - 1);
  s->eigen = s->sigma + s->fit->stats.n_level;
}

/* ---- the parameter --------------------------------------------------------------------------- */

/* Adds to c and G what entry a, b of Sigma (in the caller's units) brings, by its own derivative
 * `first` of g. */
static void add_entry(search *s, int a, int b, double first) {
  const lmm_parameters *par = &s->fit->work.par;
  const int q = par->q;
  const double *Ti = par->Ti;
  for (int k = 0; k < s->n_eta; k++)
    s->c[k] += first * s->slope[square(q) * (size_t)k + (size_t)(a + q * b)];
  for (int i = 0; i < q; i++)
    for (int j = 0; j < q; j++)
      s->E[i + q * j] =
          0.5 * first * (Ti[a + q * i] * Ti[b + q * j] + Ti[a + q * j] * Ti[b + q * i]);
  lmm_parameters_sigma_curvature(par, s->fit->work.eta, s->E, s->G);
}

/* Adds to G second derivatives of g by entries a, b and c, d of Sigma. */
static void add_pair(search *s, int a, int b, int c, int d, double second) {
  const int n = s->n_eta;
  const size_t q = (size_t)s->fit->stats.q;
  const double *u = s->slope + (size_t)a + q * (size_t)b, *v = s->slope + (size_t)c + q * (size_t)d;
  for (int k = 0; k < n; k++)
    for (int l = 0; l < n; l++)
      s->G[k + n * l] += 0.5 * second * (u[q * q * (size_t)k] * v[q * q * (size_t)l] +
                                         u[q * q * (size_t)l] * v[q * q * (size_t)k]);
}

/* The sd of term a. */
static elbo_status find_sd(search *s) {
  const int a = s->of->a;
  const double v = s->Sigma[a * (s->fit->stats.q + 1)];
  if (!(v > 0.0)) return ELBO_STOPPED;
  s->g = sqrt(v);
  add_entry(s, a, a, 0.5 / s->g);
  add_pair(s, a, a, a, a, -0.25 / (v * s->g));
  return ELBO_OK;
}

/* Fisher's z of the correlation r of terms a and b. */
static elbo_status find_cor(search *s) {
  const int a = s->of->a, b = s->of->b, q = s->fit->stats.q;
  const double v = s->Sigma[a * (q + 1)], w = s->Sigma[b * (q + 1)], root = sqrt(v * w);
  const double r = s->Sigma[a + q * b] / root, z1 = 1.0 / (1.0 - r * r), z2 = 2.0 * r * z1 * z1;
  if (!(root > 0.0) || !(r * r < 1.0)) return ELBO_STOPPED;
  const double by_v = -0.5 * r / v, by_w = -0.5 * r / w, by_c = 1.0 / root;
  s->g = atanh(r);
  add_entry(s, a, a, z1 * by_v);
  add_entry(s, b, b, z1 * by_w);
  add_entry(s, a, b, z1 * by_c);
  add_pair(s, a, a, a, a, z1 * 0.75 * r / (v * v) + z2 * by_v * by_v);
  add_pair(s, b, b, b, b, z1 * 0.75 * r / (w * w) + z2 * by_w * by_w);
  add_pair(s, a, b, a, b, z2 * by_c * by_c);
  add_pair(s, a, a, b, b, 2.0 * (z1 * 0.25 * r / (v * w) + z2 * by_v * by_w));
  add_pair(s, a, a, a, b, 2.0 * (-z1 * 0.5 * by_c / v + z2 * by_v * by_c));
  add_pair(s, b, b, a, b, 2.0 * (-z1 * 0.5 * by_c / w + z2 * by_w * by_c));
  return ELBO_OK;
}

/* g, c and G at x, where eta is set. */
static elbo_status find_parameter(search *s) {
  const lmm_work *w = &s->fit->work;
  int at = s->n_eta;
  memset(s->c, 0, (size_t)s->n * sizeof(double));
  memset(s->G, 0, square(s->n_eta) * sizeof(double));
  if (s->of->kind == LMM_PROFILE_SD || s->of->kind == LMM_PROFILE_COR) {
    lmm_parameters_natural(&w->par, w->eta, s->Sigma, s->slope, s->sigma);
    return s->of->kind == LMM_PROFILE_SD ? find_sd(s) : find_cor(s);
  }
  if (s->of->kind == LMM_PROFILE_SIGMA) at = w->par.eta_of_sigma[s->of->a];
  if (s->of->kind == LMM_PROFILE_SMOOTH) at = w->smooth.eta_of[s->of->a];
  if (at < 0) return ELBO_STOPPED;
  s->g = s->x[at];
  s->c[at] = 1.0;
  return ELBO_OK;
}

/* What the caller calls the parameter. */
static elbo_status natural(const search *s, double *value) {
  const lmm_work *w = &s->fit->work;
  *value = s->g;
  if (s->of->kind == LMM_PROFILE_COR) *value = tanh(s->g);
  if (s->of->kind == LMM_PROFILE_SIGMA) *value = exp(s->g) / w->par.sigma_scale;
  if (s->of->kind == LMM_PROFILE_SMOOTH) {
    if (!(s->g > 0.0)) return ELBO_STOPPED;
    *value = s->g * w->smooth.to_user[s->of->a];
  }
  return isfinite(*value) ? ELBO_OK : ELBO_STOPPED;
}

/* ---- the objective --------------------------------------------------------------------------- */

static void set_point(search *s, const double *x) {
  lmm_work *w = &s->fit->work;
  memcpy(w->eta, x, (size_t)s->n_eta * sizeof(double));
  lmm_set_eta(w);
  memcpy(s->x, w->eta, (size_t)s->n_eta * sizeof(double)); /* rounded, perhaps */
  if (s->n == s->n_eta) return;
  s->x[s->n_eta] = x[s->n_eta];
  s->constraint.value = x[s->n_eta];
}

/* f, a and H at x, all but the coefficient that is asked for at its best. */
static elbo_status find_objective(search *s) {
  lmm_work *w = &s->fit->work;
  const int n = s->n, m = s->n_eta, p = s->fit->stats.p;
  double *H = s->K; /* n_eta x n_eta */
  const elbo_status status = lmm_profile_information(w, &s->f, s->a, H);
  if (status != ELBO_OK) return status;
  for (int k = 0; k < m; k++)
    for (int l = 0; l < m; l++) s->H[k + n * l] = H[k + m * l];
  if (n == m) return ELBO_OK;
  s->a[m] = -s->constraint.slope;
  s->H[m * (n + 1)] = -1.0 / s->constraint.variance;
  for (int k = 0; k < m; k++) {
    double sum = 0.0;
    for (int j = 0; j < p; j++) sum += w->cross_eta[k + m * j] * s->constraint.along[j];
    s->H[k + n * m] = s->H[m + n * k] = sum;
  }
  return ELBO_OK;
}

/* ---- the search ------------------------------------------------------------------------------ */

/* N from K, which is not positive definite, with the sizes of its eigenvalues (in units in which
 * the diagonal is one); flat directions are left alone. */
static elbo_status invert_spectrum(search *s, int n) {
  double *V = s->K, *unit = s->unit, *values = s->values;
  for (int k = 0; k < n; k++) {
    const double size = fabs(V[k * (n + 1)]);
    unit[k] = size > 0.0 ? 1.0 / sqrt(size) : 1.0;
  }
  for (int k = 0; k < n; k++)
    for (int l = 0; l < n; l++) V[k + n * l] *= unit[k] * unit[l];
  if (la_eigen(V, n, values, s->eigen) != ELBO_OK) return ELBO_E_NOT_PD;
  const double largest = fmax(fabs(values[0]), fabs(values[n - 1]));
  memset(s->N, 0, square(n) * sizeof(double));
  for (int e = 0; e < n; e++) {
    if (!(fabs(values[e]) > 1e-10 * largest)) continue;
    const double *v = V + n * e;
    for (int k = 0; k < n; k++)
      for (int l = 0; l < n; l++)
        s->N[k + n * l] += unit[k] * v[k] * unit[l] * v[l] / fabs(values[e]);
  }
  return ELBO_OK;
}

/* N from H + mu G. */
static elbo_status invert(search *s, double mu) {
  const int n = s->n, m = s->n_eta;
  for (int i = 0; i < n * n; i++) s->K[i] = -s->H[i];
  for (int k = 0; k < m; k++)
    for (int l = 0; l < m; l++) s->K[k + n * l] -= mu * s->G[k + m * l];
  memcpy(s->N, s->K, square(n) * sizeof(double));
  if ((la_chol(s->N, n) != ELBO_OK || la_inverse_from_chol(s->N, n) != ELBO_OK) &&
      invert_spectrum(s, n) != ELBO_OK)
    return ELBO_E_NOT_PD;
  la_multiply(s->N, s->a, n, n, 1, s->Na);
  la_multiply(s->N, s->c, n, n, 1, s->Nc);
  return ELBO_OK;
}

/* The step from x; `moves`: by how much it changes g, in standard errors. */
static elbo_status find_step(search *s, int side, double least, double *moves) {
  const int n = s->n;
  if (invert(s, 0.0) != ELBO_OK) return ELBO_STOPPED;
  const double mu = -dot(s->a, s->Nc, n) / dot(s->c, s->Nc, n);
  if (!isfinite(mu) || invert(s, mu) != ELBO_OK) return ELBO_STOPPED;
  const double cNc = dot(s->c, s->Nc, n), left = s->f - least + 0.5 * dot(s->a, s->Na, n);
  if (!(cNc > 0.0)) return ELBO_STOPPED;
  const double t = left > 0.0 ? side * sqrt(2.0 * left / cNc) : 0.0;
  for (int k = 0; k < n; k++) s->step[k] = s->Na[k] + t * s->Nc[k];
  *moves = fabs(dot(s->c, s->step, n)) / sqrt(cNc);
  return isfinite(*moves) ? ELBO_OK : ELBO_STOPPED;
}

/* As much of the step as leads to an objective that is not far below what is asked for. */
static elbo_status take_step(search *s, double least, double allowed) {
  double factor = 1.0;
  memcpy(s->Na, s->x, (size_t)s->n * sizeof(double));
  for (int h = 0; h < HALVINGS; h++, factor *= 0.5) {
    for (int k = 0; k < s->n; k++) s->next[k] = s->Na[k] + factor * s->step[k];
    set_point(s, s->next);
    if (find_objective(s) == ELBO_OK && s->f > least - 2.0 * allowed) return find_parameter(s);
  }
  return ELBO_STOPPED;
}

/* Whether x is where g is largest and not a saddle: K is positive definite where g does not move.
 * (f is even in variances at zero, so that Newton's method stays there.) */
static int is_end(search *s) {
  const int n = s->n, m = s->n_eta;
  if (invert(s, 0.0) != ELBO_OK) return 0;
  const double cNc = dot(s->c, s->Nc, n), mu = -dot(s->a, s->Nc, n) / cNc;
  if (!(cNc > 0.0) || !(fabs(mu) > 0.0)) return 0;
  for (int k = 0; k < n; k++)
    for (int l = 0; l < n; l++) {
      s->N[k + n * l] = -s->H[k + n * l] + 1e3 / cNc * s->c[k] * s->c[l];
      if (k < m && l < m) s->N[k + n * l] -= mu * s->G[k + m * l];
    }
  return la_chol(s->N, n) == ELBO_OK;
}

static elbo_status climb_out(search *s, int side, double least, double *limit) {
  const double first = s->g, allowed = s->f - least;
  double moves;
  for (int i = 0; i < STEPS; i++) {
    elbo_status status = find_step(s, side, least, &moves);
    if (status == ELBO_OK && moves < 1e-4) { /* quadratic: what is left is its square */
      if (!is_end(s)) return ELBO_STOPPED;
      for (int k = 0; k < s->n; k++) s->next[k] = s->x[k] + s->step[k];
      set_point(s, s->next);
      status = find_parameter(s);
      if (status == ELBO_OK && !(side * (s->g - first) > 0.0)) status = ELBO_STOPPED;
      return status == ELBO_OK ? natural(s, limit) : status;
    }
    if (status == ELBO_OK) status = take_step(s, least, allowed);
    if (status != ELBO_OK) return ELBO_STOPPED;
  }
  return ELBO_STOPPED;
}

elbo_status lmm_profile_limit(lmm_fit *fit, const lmm_profiled *of, int side, double least,
                              const double *eta, double *memory, double *limit) {
  lmm_work *w = &fit->work;
  const int p = fit->stats.p, of_beta = of->kind == LMM_PROFILE_BETA;
  search s = {.fit = fit, .of = of, .n_eta = w->par.n_eta, .n = w->par.n_eta + of_beta};
  if (of_beta && has_smooth(w)) return ELBO_STOPPED;
  lay_out(&s, memory);
  elbo_status status = lmm_start(w, eta);
  if (status != ELBO_OK) return status;
  memcpy(s.next, eta, (size_t)s.n_eta * sizeof(double));
  if (of_beta) {
    /* In the caller's units it is a combination of the scaled ones, and a constant. */
    double offset = fit->units.origin[of->a];
    for (int j = 0; j < p; j++) s.constraint.of[j] = fit->units.B[of->a + p * j];
    s.constraint.offset = offset;
    s.next[s.n_eta] = offset + dot(s.constraint.of, w->beta, p);
    w->constraint = &s.constraint;
  }
  set_point(&s, s.next);
  status = find_objective(&s);
  if (status == ELBO_OK) status = find_parameter(&s);
  if (status == ELBO_OK) status = climb_out(&s, side, least, limit);
  w->constraint = NULL;
  return status;
}
