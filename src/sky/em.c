/* The E-step attributes the electrons of a pixel: of those of count y the source with mean lambda
 * gets y lambda / mu in expectation (the attributions are multinomial), so mu is all there is to
 * compute.  The expected complete log-likelihood of a source is then
 *   Q_s = sum_p a_p log lambda_p - lambda_p,   a_p = count_p lambda_p / mu_p at the old theta,
 * whose slope at the old theta is the score (Fisher's identity).  Q_s has no closed maximum: the
 * M-step is a step of scoring on it, halved until Q_s rises (Lange 1995, JRSS B 57:425).  The sky's
 * coefficients have one, their share of the photons over their exposure. */
#include "sky/em.h"

#include <math.h>
#include <string.h>

#include "math/la.h"
#include "math/small.h"
#include "math/threads.h"

enum { HALVINGS = 12, EM_FIRST = 3 };

static const double nothing = 1e-200; /* keeps the logarithm of light beyond a normal's edge */

void sky_em_open(sky_em *w, const sky_spec *spec, const double *theta, const double *node,
                 const elbo_memory *mem) {
  memset(w, 0, sizeof *w);
  sky_field_open(&w->field, spec, theta, node, mem);
  w->gain = elbo_doubles(mem, (size_t)spec->n + 1);
  w->node_sum = elbo_doubles(mem, 2 * (size_t)w->field.n_node + 1);
}

void sky_scoring_step(double *information, const double *gradient, int n, double *work,
                      double *step) {
  for (double ridge = 0.0;; ridge = ridge > 0.0 ? 10.0 * ridge : 1e-8) {
    memcpy(work, information, square(n) * sizeof *work);
    for (int i = 0; i < n; i++) {
      double *d = work + (size_t)i * (size_t)(n + 1);
      *d = *d > 0.0 ? *d * (1.0 + ridge) : 1.0;
    }
    if (la_chol(work, n) == ELBO_OK) break;
    if (!(ridge < 1e8)) {
      memset(step, 0, (size_t)n * sizeof *step);
      return;
    }
  }
  memcpy(step, gradient, (size_t)n * sizeof *step);
  for (int i = 0; i < n; i++) {
    for (int k = 0; k < i; k++) step[i] -= work[i + n * k] * step[k];
    step[i] /= work[i + n * i];
  }
  for (int i = n - 1; i >= 0; i--) {
    for (int k = i + 1; k < n; k++) step[i] -= work[k + n * i] * step[k];
    step[i] /= work[i + n * i];
  }
}

void sky_limit_step(int n_band, const int *free, int n, const double *step, double factor,
                    const double *from, double *theta) {
  for (int a = 0; a < n; a++) {
    const int k = free[a];
    double value = from[k] + factor * step[a];
    if (k < n_band) value = fmax(value, 0.1 * from[k]);
    if (k == n_band + SKY_X || k == n_band + SKY_Y)
      value = fmin(from[k] + 1.0, fmax(from[k] - 1.0, value));
    if (k == n_band + SKY_DEV) value = fmin(SKY_LARGEST_DEV, fmax(1.0 - SKY_LARGEST_DEV, value));
    if (k == n_band + SKY_LOG_RADIUS) {
      value = fmin(from[k] + 0.7, fmax(from[k] - 0.7, value));
      value = fmin(SKY_LARGEST_RADIUS, fmax(SKY_LEAST_RADIUS, value));
    }
    if (k == n_band + SKY_A || k == n_band + SKY_B)
      value = fmin(SKY_LARGEST_SHAPE, fmax(-SKY_LARGEST_SHAPE, value));
    theta[k] = value;
  }
}

/* ---- M-step ---------------------------------------------------------------------------------- */

/* The score of source s and the information of its own photons, with the first planes kept. */
static void source_score(sky_em *w, int s, double *gradient, double *information) {
  const sky_field *f = &w->field;
  const int n = f->first[s + 1] - f->first[s];
  memset(gradient, 0, (size_t)n * sizeof *gradient);
  memset(information, 0, square(n) * sizeof *information);
  for (int b = 0; b < f->spec->n_image; b++) {
    const sky_image *image = f->spec->image + b;
    const sky_patch *patch = sky_patch_of(f, s, b);
    const int width = patch_width(patch), *free = f->free + f->first[s];
    const double flux = sky_theta_of(f, s)[image->band];
    const double *plane[SKY_MAX_FREE];
    double factor[SKY_MAX_FREE];
    for (int a = 0; a < n; a++) plane[a] = sky_slope_plane(f, s, b, free[a], factor + a);
    const double *light = f->planes + patch->at;
    memcpy(f->kept + patch->at / SKY_MAX_PLANES, light, patch_size(patch) * sizeof(double));
    for (int j = 0; j < patch_height(patch); j++)
      for (int i = 0; i < width; i++) {
        const size_t p = (size_t)j * (size_t)width + (size_t)i;
        const double r =
            f->ratio[b][(size_t)(patch->y0 + j) * (size_t)image->nx + (size_t)(patch->x0 + i)];
        const double lambda = flux * light[p];
        if (!(lambda > nothing)) continue;
        const double own = (r + 1.0) / lambda;
        for (int a = 0; a < n; a++) {
          const double da = factor[a] * plane[a][p];
          gradient[a] += r * da;
          for (int c = a; c < n; c++) information[c + n * a] += own * da * factor[c] * plane[c][p];
        }
      }
  }
  fill_upper(information, n);
  sky_law_value(f->spec->law, f->spec->n_band, sky_theta_of(f, s), f->free + f->first[s], n,
                gradient, information, -1.0);
}

/* log p of the shape of source s with these parameters. */
static double log_law(const sky_field *f, int s, const double *theta) {
  return sky_law_value(f->spec->law, f->spec->n_band, theta, f->free + f->first[s],
                       f->first[s + 1] - f->first[s], NULL, NULL, 1.0);
}

/* Q_s at the present theta less Q_s at that of the kept planes and `old` fluxes. */
static double source_gain(const sky_em *w, int s, const double *old) {
  const sky_field *f = &w->field;
  double gain = log_law(f, s, sky_theta_of(f, s)) - log_law(f, s, old);
  for (int b = 0; b < f->spec->n_image; b++) {
    const sky_image *image = f->spec->image + b;
    const sky_patch *patch = sky_patch_of(f, s, b);
    const int width = patch_width(patch);
    const double *light = f->planes + patch->at, *kept = f->kept + patch->at / SKY_MAX_PLANES;
    const double new_flux = sky_theta_of(f, s)[image->band], old_flux = old[image->band];
    for (int j = 0; j < patch_height(patch); j++)
      for (int i = 0; i < width; i++) {
        const size_t p = (size_t)j * (size_t)width + (size_t)i;
        const double r =
            f->ratio[b][(size_t)(patch->y0 + j) * (size_t)image->nx + (size_t)(patch->x0 + i)];
        const double was = old_flux * kept[p], is = new_flux * light[p];
        if (was > 0.0 || is > 0.0)
          gain += (r + 1.0) * was * log((is + nothing) / (was + nothing)) - (is - was);
      }
  }
  return gain;
}

static void maximise_source(sky_em *w, int s, int thread) {
  sky_field *f = &w->field;
  const int n = f->first[s + 1] - f->first[s];
  double gradient[SKY_MAX_FREE], step[SKY_MAX_FREE], old[SKY_MAX_FREE];
  double information[SKY_MAX_FREE * SKY_MAX_FREE], work[SKY_MAX_FREE * SKY_MAX_FREE];
  source_score(w, s, gradient, information);
  sky_scoring_step(information, gradient, n, work, step);
  memcpy(old, sky_theta_of(f, s), (size_t)f->n_theta * sizeof *old);
  double factor = 1.0;
  for (int h = 0; h < HALVINGS; h++, factor *= 0.5) {
    sky_limit_step(f->spec->n_band, f->free + f->first[s], n, step, factor, old,
                   sky_theta_of(f, s));
    sky_field_fill_source(f, s, thread);
    w->gain[s] = source_gain(w, s, old);
    if (w->gain[s] >= 0.0) return;
  }
  memcpy(sky_theta_of(f, s), old, (size_t)f->n_theta * sizeof *old);
  sky_field_fill_source(f, s, thread);
  w->gain[s] = 0.0;
}

/* c_j <- c_j sum g phi_j count / mu / sum g phi_j; returns the gain. */
static double maximise_sky(sky_em *w) {
  sky_field *f = &w->field;
  double *photons = w->node_sum, *exposure = photons + f->n_node, gain = 0.0;
  int at = 0;
  memset(w->node_sum, 0, 2 * (size_t)f->n_node * sizeof(double));
  for (int b = 0; b < f->spec->n_image; b++) {
    const sky_image *image = f->spec->image + b;
    const size_t size = (size_t)image->nx * (size_t)image->ny;
    if (image->mesh_x == 0) continue;
    for (size_t p = 0; p < size; p++) f->scratch[b][p] = f->ratio[b][p] + image->use[p];
    sky_nodes_sum(f, b, f->scratch[b], photons + at);
    sky_nodes_sum(f, b, image->use, exposure + at);
    at += image->mesh_x * image->mesh_y;
  }
  for (int j = 0; j < f->n_node; j++) {
    if (!(exposure[j] > 0.0)) continue;
    const double old = f->node[j], ratio = photons[j] / exposure[j];
    f->node[j] = old * ratio;
    if (ratio > 0.0) gain += old * (photons[j] * log(ratio) - exposure[j] * (ratio - 1.0));
  }
  return gain;
}

static elbo_status e_step(void *work) {
  sky_em *w = work;
  sky_field_ratio(&w->field);
  const elbo_status status = sky_field_value(&w->field, &w->evidence);
  w->elbo = w->evidence;
  return status;
}

static elbo_status m_step(void *work) {
  sky_em *w = work;
  sky_field *f = &w->field;
  const int threads = threads_for(f->spec->threads, f->spec->n);
  (void)threads;
#pragma omp parallel for num_threads(threads) schedule(dynamic)
  for (int s = 0; s < f->spec->n; s++) maximise_source(w, s, threads_this());
  for (int s = 0; s < f->spec->n; s++) w->elbo += w->gain[s];
  w->elbo += maximise_sky(w);
  sky_field_mean(f);
  return sky_field_value(f, &w->evidence);
}

/* ---- the model as the engine sees it --------------------------------------------------------- */

static elbo_status elbo(void *work, double *value) {
  *value = ((sky_em *)work)->elbo;
  return isfinite(*value) ? ELBO_OK : ELBO_E_NOT_FINITE;
}

static elbo_status log_evidence(void *work, double *value) {
  *value = ((sky_em *)work)->evidence;
  return ELBO_OK;
}

static elbo_status kl(void *work, double *value) {
  const sky_em *w = work;
  *value = fmax(0.0, w->evidence - w->elbo);
  return ELBO_OK;
}

/* A sum of as many terms as pixels, each of the size of its rounding. */
static double rounding(void *work) {
  const sky_em *w = work;
  return 1e-9 + 1e-13 * (fabs(w->elbo) + sky_field_size(&w->field));
}

static void pack(void *work, double *eta) { sky_field_pack(&((sky_em *)work)->field, eta); }

static elbo_status unpack(void *work, const double *eta) {
  sky_em *w = work;
  elbo_status status = sky_field_unpack(&w->field, eta);
  if (status != ELBO_OK) return status;
  sky_field_fill(&w->field);
  sky_field_mean(&w->field);
  return e_step(w);
}

static elbo_status objective(void *work, double *value) {
  *value = ((sky_em *)work)->evidence;
  return isfinite(*value) ? ELBO_OK : ELBO_E_NOT_FINITE;
}

elbo_model sky_em_model(sky_em *w) {
  elbo_model model = {.n_eta = w->field.n_eta,
                      .e_name = ELBO_STEP_E,
                      .m_name = ELBO_STEP_M,
                      .e_step = e_step,
                      .m_step = m_step,
                      .elbo = elbo,
                      .rounding = rounding,
                      .log_evidence = log_evidence,
                      .kl = kl,
                      .objective = {.value = objective},
                      .pack = pack,
                      .unpack = unpack};
  return model;
}

/* ---- Newton's method ------------------------------------------------------------------------- */

static elbo_status value_at(void *work, const double *eta, double *value) {
  const elbo_status status = unpack(work, eta);
  *value = ((sky_em *)work)->evidence;
  return status;
}

static elbo_status gradient_at(void *work, const double *eta, double *gradient) {
  sky_em *w = work;
  const elbo_status status = unpack(w, eta);
  if (status != ELBO_OK) return status;
  sky_field_gradient(&w->field, gradient);
  sky_field_curvature(&w->field);
  return ELBO_OK;
}

static elbo_status product(void *work, const double *v, double *out) {
  sky_field_product(&((sky_em *)work)->field, v, out);
  return ELBO_OK;
}

static elbo_status precondition(void *work, const double *v, double *out) {
  sky_field_precondition(&((sky_em *)work)->field, v, out);
  return ELBO_OK;
}

static elbo_status by_newton(sky_em *w, const elbo_control *control, const elbo_hooks *hooks,
                             const elbo_memory *mem, elbo_result *result) {
  const int n = w->field.n_eta;
  const newton_cg_objective of = {n, value_at, gradient_at, product, precondition, rounding};
  const newton_cg_control how = {
      .tol = control->tol, .max_iter = control->max_iter, .max_products = 100};
  double *eta = elbo_doubles(mem, (size_t)n + 1);
  newton_cg_result end;
  pack(w, eta);
  const elbo_status status =
      newton_cg(&of, w, &how, hooks, eta, elbo_doubles(mem, newton_cg_size(n)), &end);
  if (status < 0) return status;
  result->newton = end.iterations;
  result->iterations += end.iterations;
  result->gain = end.gain;
  result->gradient = end.gradient;
  result->objective = end.value;
  const elbo_status at_end = unpack(w, eta);
  return at_end == ELBO_OK ? status : at_end;
}

elbo_status sky_em_ascend(sky_em *w, const elbo_control *control, const elbo_hooks *hooks,
                          const elbo_memory *mem, elbo_result *result) {
  const elbo_model model = sky_em_model(w);
  const int newton = control->accelerate == ELBO_ACCELERATE_AUTO;
  elbo_control first = *control;
  if (newton) {
    first.accelerate = ELBO_ACCELERATE_NONE;
    first.max_iter = smaller(control->max_iter, EM_FIRST);
  }
  elbo_status status =
      elbo_ascend(&model, w, &first, hooks, elbo_doubles(mem, elbo_ascend_size(&model)), result);
  if (newton && (status == ELBO_OK || status == ELBO_MAX_ITER) &&
      first.max_iter < control->max_iter)
    status = by_newton(w, control, hooks, mem, result);
  result->status = status;
  return status;
}
