/* Several grouping factors beyond Laplace's method: importance sampling from its q.
 *
 * With v = mode + L^{-T} z, L L' = H, z ~ N(0, I), the likelihood is that of Laplace's method
 * times the mean of the weights exp(h(v) - h(mode) + z'z / 2) (Pinheiro & Bates 1995, J. Comp.
 * Graph. Stat. 4:12), and its score the weighted mean of the slopes of h at v (Fisher's identity).
 * With the draws fixed that score is climbed to zero by steps whose metric is Laplace's information
 * at the start.  What pairs of draws say differs by chance, which is the Monte Carlo error. */
#include "general/importance.h"

#include <math.h>
#include <string.h>

#include "general/em.h"
#include "general/model.h"
#include "general/parameters.h"
#include "math/la.h"
#include "math/small.h"

enum { MOST_STEPS = 30, HALVINGS = 8 };

/* g' I^{-1} g at which a step is no longer worth its while: a hundredth of a standard error. */
static const double ENOUGH = 1e-4;

/* Effective share of the draws below which the score is that of a few of them: its zero is theirs,
 * and by other draws worse than Laplace's estimates. */
static const double LEAST_SHARE = 0.1;

typedef struct {
  general_work *w;
  const double *z;
  const elbo_hooks *hooks;    /* asked before each draw, or NULL */
  int n_pair, n;              /* n: of theta */
  double *log_weight, *slope; /* 2 n_pair; n_inner x 2 n_pair */
  double *score, *spread;     /* n; n x n: of the mean of the draws */
  double *one, *pair, *H;     /* n_inner; n_inner; n x n */
} sampler;

/* Weights relative to the largest, and slopes, of all draws at theta. */
static elbo_status draw_all(sampler *s, double *largest) {
  general_work *w = s->w;
  const size_t size = (size_t)w->crossed->n;
  const general_point at = {w->theta, w->L, &w->par.response};
  elbo_status status = general_evaluate(w, GENERAL_GRADIENT);
  if (status != ELBO_OK) return status;
  const double h = general_crossed_at_mode(w->crossed, &w->rows, &at);
  *largest = -HUGE_VAL;
  for (int k = 0; k < 2 * s->n_pair; k++) {
    const double *z = s->z + size * (size_t)(k / 2);
    double *slope = s->slope + (size_t)w->par.n_inner * (size_t)k;
    const double sign = k % 2 ? -1.0 : 1.0;
    if (s->hooks != NULL && s->hooks->poll != NULL && s->hooks->poll(s->hooks->ctx))
      return ELBO_E_NOT_FINITE; /* as a look that failed: Laplace's answer stays */
    s->log_weight[k] = general_crossed_draw(w->crossed, &w->rows, &at, z, sign, slope) - h +
                       0.5 * dot(z, z, w->crossed->n);
    *largest = fmax(*largest, s->log_weight[k]);
  }
  w->known = GENERAL_NOTHING; /* rows are at the last draw */
  return isfinite(*largest) ? ELBO_OK : ELBO_E_NOT_FINITE;
}

/* The value, the score by theta, and what these vary by from pair to pair. */
static elbo_status look(sampler *s, general_importance *out) {
  general_work *w = s->w;
  const int n = s->n, N = w->par.n_inner;
  double largest, sum = 0.0, squares = 0.0, between = 0.0;
  const elbo_status status = draw_all(s, &largest);
  if (status != ELBO_OK) return status;
  const double laplace = w->at.value;
  for (int k = 0; k < 2 * s->n_pair; k++) {
    s->log_weight[k] = exp(s->log_weight[k] - largest);
    sum += s->log_weight[k];
    squares += s->log_weight[k] * s->log_weight[k];
  }
  memset(s->one, 0, (size_t)N * sizeof(double));
  for (int k = 0; k < 2 * s->n_pair; k++)
    for (int a = 0; a < N; a++)
      s->one[a] += s->log_weight[k] / sum * s->slope[(size_t)N * (size_t)k + (size_t)a];
  general_chain(&w->par, w->theta, s->one, s->score, NULL, NULL, NULL, NULL);
  memset(s->spread, 0, square(n) * sizeof(double));
  for (int j = 0; j < s->n_pair; j++) {
    const double up = s->log_weight[2 * j] / sum, down = s->log_weight[2 * j + 1] / sum;
    const double *a_up = s->slope + (size_t)N * (size_t)(2 * j), *a_down = a_up + N;
    for (int a = 0; a < N; a++)
      s->pair[a] = up * (a_up[a] - s->one[a]) + down * (a_down[a] - s->one[a]);
    double *by_theta = s->H; /* a row of it is room enough */
    general_chain(&w->par, w->theta, s->pair, by_theta, NULL, NULL, NULL, NULL);
    for (int b = 0; b < n; b++)
      for (int a = 0; a < n; a++) s->spread[a + n * b] += by_theta[a] * by_theta[b];
    between += (up + down - 1.0 / s->n_pair) * (up + down - 1.0 / s->n_pair);
  }
  out->value = laplace + largest + log(sum / (2.0 * s->n_pair));
  out->error = sqrt(between);
  out->effective = sum * sum / squares / (2.0 * s->n_pair);
  return general_add_prior(w, s->score, NULL);
}

static void open_sampler(sampler *s) {
  const elbo_memory *mem = s->w->mem;
  const size_t n = (size_t)s->n + 1, N = (size_t)s->w->par.n_inner + 1, m = 2 * (size_t)s->n_pair;
  s->log_weight = elbo_doubles(mem, m);
  s->slope = elbo_doubles(mem, N * m);
  s->one = elbo_doubles(mem, N);
  s->pair = elbo_doubles(mem, N);
  s->H = elbo_doubles(mem, n * n);
}

/* Steps until the score is zero; ELBO_MAX_ITER where it does not come to that. */
static elbo_status climb(sampler *s, const double *hessian, general_importance *out) {
  general_work *w = s->w;
  const int n = s->n;
  double *step = w->step_space, *work = step + n;
  double *from = elbo_doubles(w->mem, (size_t)n + 1);
  for (int k = 0; k <= MOST_STEPS; k++) {
    const double least = out->value - out->error; /* the value is known no better */
    memcpy(s->H, hessian, square(n) * sizeof(double));
    elbo_status status = general_newton_step(s->H, s->score, n, step, work);
    if (status != ELBO_OK || dot(s->score, step, n) < ENOUGH) return status;
    memcpy(from, w->theta, (size_t)n * sizeof *from);
    double factor = 1.0;
    for (int h = 0; h < HALVINGS; h++, factor *= 0.5) {
      for (int j = 0; j < n; j++) w->theta[j] = from[j] + factor * step[j];
      status = general_set_theta(w, w->theta);
      if (status == ELBO_OK) status = look(s, out);
      if (status == ELBO_OK && out->value >= least) break;
    }
    if (status != ELBO_OK) return status;
  }
  return ELBO_MAX_ITER;
}

elbo_status general_importance_climb(general_work *w, const double *z, int n_pair,
                                     const elbo_hooks *hooks, general_importance *out,
                                     double *score, double *spread) {
  const int n = w->par.n_theta;
  sampler s = {
      .w = w, .z = z, .n_pair = n_pair, .hooks = hooks, .n = n, .score = score, .spread = spread};
  double *hessian = elbo_doubles(w->mem, square(n) + 1), value;
  double *laplace = elbo_doubles(w->mem, (size_t)n + 1);
  open_sampler(&s);
  memcpy(laplace, w->theta, (size_t)n * sizeof *laplace);
  elbo_status status = general_hessian(w, &value, w->step_space, hessian);
  if (status == ELBO_OK) status = look(&s, out);
  if (status != ELBO_OK) return status;
  const general_importance first = *out;
  out->corrected = 0;
  if (out->effective < LEAST_SHARE) return ELBO_OK;
  status = climb(&s, hessian, out);
  out->corrected =
      status == ELBO_OK && out->effective >= LEAST_SHARE && out->value >= first.value - first.error;
  if (out->corrected) return ELBO_OK;
  status = general_set_theta(w, laplace);
  return status == ELBO_OK ? look(&s, out) : status;
}
