#include "sky/local.h"

#include <math.h>
#include <string.h>

#include "math/la.h"
#include "math/small.h"
#include "sky/em.h"

/* Of log-likelihood: less is not worth a step. */
#define ENOUGH 3e-3

/* That a source is there, for it to be kept: a false one is worse than one that is missed. */
#define ODDS 8.0

/* A candidate being fitted: its planes, and the mean without it. */
typedef struct {
  sky_field *f;
  int s, n, free[SKY_MAX_FREE];
  sky_candidate *c;
  double *planes, *row, law_value;
  const sky_candidate *star; /* what a galaxy is beside, or NULL */
  double gradient[SKY_MAX_FREE], information[SKY_MAX_FREE * SKY_MAX_FREE];
} local;

size_t sky_source_pixels(const sky_field *f, int s) {
  size_t sum = 0;
  for (int b = 0; b < f->spec->n_image; b++) sum += patch_size(sky_patch_of(f, s, b));
  return sum;
}

size_t sky_local_size(const sky_field *f) {
  size_t most = 0, widest = 0;
  for (int s = 0; s < f->spec->n; s++)
    if (sky_source_pixels(f, s) > most) most = sky_source_pixels(f, s);
  for (int b = 0; b < f->spec->n_image; b++)
    if ((size_t)f->spec->image[b].nx > widest) widest = (size_t)f->spec->image[b].nx;
  return SKY_MAX_PLANES * most + widest + 1;
}

void sky_take_out(sky_field *f, int s) {
  for (int b = 0; b < f->spec->n_image; b++) {
    const sky_patch *patch = sky_patch_of(f, s, b);
    const double flux = sky_theta_of(f, s)[f->spec->image[b].band];
    const double *light = f->planes + patch->at;
    double *kept = f->kept + patch->at / SKY_MAX_PLANES;
    const int width = patch_width(patch);
    for (int j = 0; j < patch_height(patch); j++)
      for (int i = 0; i < width; i++) {
        const size_t p = (size_t)j * (size_t)width + (size_t)i;
        const size_t q =
            (size_t)(patch->y0 + j) * (size_t)f->spec->image[b].nx + (size_t)(patch->x0 + i);
        kept[p] = f->mean[b][q] - flux * light[p];
      }
  }
}

static double square_of(double x) { return x * x; }

/* The sky in the middle of a patch. */
static double level_about(const sky_field *f, const sky_patch *patch, int b) {
  if (patch_size(patch) == 0) return 0.0;
  return sky_level_at(f, b, (patch->x0 + patch->x1) / 2, (patch->y0 + patch->y1) / 2);
}

/* Gain over nothing at the candidate's theta, with the law of its shape; score and expected
 * information. */
static double assess(local *l, int derivatives) {
  const sky_field *f = l->f;
  const int B = f->spec->n_band, n = l->n;
  double gain = 0.0, *planes = l->planes, own = 0.0, excess = 0.0, as_one = 0.0;
  if (derivatives) memset(l->gradient, 0, sizeof l->gradient);
  if (derivatives) memset(l->information, 0, sizeof l->information);
  for (int b = 0; b < f->spec->n_image; b++) {
    const sky_image *image = f->spec->image + b;
    const sky_patch *patch = sky_patch_of(f, l->s, b);
    const int width = patch_width(patch);
    const size_t size = patch_size(patch);
    const double flux = l->c->theta[image->band], *kept = f->kept + patch->at / SKY_MAX_PLANES;
    const double sky = level_about(f, patch, b);
    sky_patch_fill(image, patch, l->c->type, l->c->theta + B, planes, l->row);
    for (int j = 0; j < patch_height(patch); j++) {
      const size_t at = (size_t)(patch->y0 + j) * (size_t)image->nx + (size_t)patch->x0;
      for (int i = 0; i < width; i++) {
        const size_t p = (size_t)j * (size_t)width + (size_t)i;
        const double lambda = flux * planes[p], mu = kept[p] + lambda;
        if (image->use[at + (size_t)i] == 0.0 || lambda <= 0.0) continue;
        const double y = image->count[at + (size_t)i];
        if (!(kept[p] > 0.0)) continue;
        gain += y * log1p(lambda / kept[p]) - lambda;
        if (!derivatives) continue;
        own += lambda;
        as_one += square_of(image->doubt * lambda) / mu;
        excess += lambda * square_of(image->doubt * fmax(mu - sky, 0.0)) / mu;
        double slope[SKY_MAX_FREE];
        for (int a = 0; a < n; a++)
          slope[a] = l->free[a] >= B ? flux * planes[p + (size_t)(l->free[a] - B + 1) * size]
                                     : (l->free[a] == image->band ? planes[p] : 0.0);
        for (int a = 0; a < n; a++) {
          l->gradient[a] += (y / mu - 1.0) * slope[a];
          for (int c = a; c < n; c++) l->information[c + n * a] += slope[a] * slope[c] / mu;
        }
      }
    }
    planes += sky_planes(l->c->type) * (int)size;
  }
  if (derivatives) fill_upper(l->information, n);
  if (derivatives) {
    l->c->spread = own > 0.0 ? 1.0 + excess / own : 1.0;
    l->c->misfit = 1.0 + as_one;
  }
  l->law_value =
      sky_law_value(f->spec->law, B, l->c->theta, l->free, n, derivatives ? l->gradient : NULL,
                    derivatives ? l->information : NULL, -1.0);
  l->c->likelihood = gain;
  return gain + l->law_value;
}

static void climb(local *l, int max_iter) {
  sky_field *f = l->f;
  double step[SKY_MAX_FREE], work[SKY_MAX_FREE * SKY_MAX_FREE], old[SKY_MAX_FREE];
  l->c->gain = assess(l, 1);
  for (int it = 0; it < max_iter; it++) {
    double factor = 1.0, gain = -HUGE_VAL;
    sky_scoring_step(l->information, l->gradient, l->n, work, step);
    if (0.5 * dot(step, l->gradient, l->n) < ENOUGH) return;
    memcpy(old, l->c->theta, sizeof old);
    for (int h = 0; h < 10; h++, factor *= 0.4) {
      sky_limit_step(f->spec->n_band, l->free, l->n, step, factor, old, l->c->theta);
      gain = assess(l, 0);
      if (gain > l->c->gain) break;
    }
    const double rise = gain - l->c->gain;
    if (!(rise > 0.0)) {
      memcpy(l->c->theta, old, sizeof old);
      assess(l, 1);
      return;
    }
    l->c->gain = assess(l, 1);
    if (rise < ENOUGH) return;
  }
}

static double log_normal(double x, double mean, double sd) {
  const double z = (x - mean) / sd;
  return -0.5 * z * z - log(sd) - 0.5 * LOG_2PI;
}

double sky_tempered(const sky_candidate *star, const sky_candidate *c) {
  if (star == NULL || star == c) return c->likelihood / c->spread;
  return star->likelihood / star->spread + (c->likelihood - star->likelihood) / star->misfit;
}

/* The rest of log p(theta) under the law, + n/2 log 2 pi - log det information / 2. */
static double laplace(local *l) {
  const sky_law *law = l->f->spec->law;
  const int B = l->f->spec->n_band, galaxy = l->c->type != SKY_STAR;
  const sky_candidate *star = l->star;
  double sum = l->law_value + log(law->density) + sky_tempered(star, l->c);
  double work[SKY_MAX_FREE * SKY_MAX_FREE];
  for (int b = 0; b < B; b++) {
    const double log_flux = log(l->c->theta[b]);
    sum += log_normal(log_flux, law->flux_mean[galaxy], law->flux_sd) - log_flux;
  }
  sum += galaxy ? log(law->galaxies) : log1p(-law->galaxies);
  if (galaxy) sum -= log(law->radius_sd) + 2.0 * log(law->shape_sd) + 1.5 * LOG_2PI;
  if (l->c->type == SKY_COMPOSITE) sum += log(6.0);
  /* Of a likelihood to the power of 1 / spread, beside the law. */
  double of_law[SKY_MAX_FREE * SKY_MAX_FREE] = {0.0}, unused[SKY_MAX_FREE] = {0.0};
  sky_law_value(law, B, l->c->theta, l->free, l->n, unused, of_law, -1.0);
  for (size_t i = 0; i < square(l->n); i++)
    work[i] = (l->information[i] - of_law[i]) / l->c->spread + of_law[i];
  if (la_chol(work, l->n) != ELBO_OK) return -HUGE_VAL;
  sum += 0.5 * l->n * LOG_2PI - 0.5 * la_log_det_from_chol(work, l->n);
  if (galaxy && la_inverse_from_chol(work, l->n) == ELBO_OK)
    for (int a = 0; a < l->n; a++)
      if (l->free[a] == B + SKY_LOG_RADIUS) l->c->radius_var = work[a + l->n * a];
  return sum;
}

/* Maximises the likelihood over one source, starting from candidate->theta; star: the same source
 * as a star, which a galaxy's evidence is beside, or NULL. */
static void fit_one(sky_field *f, int s, const sky_candidate *star, sky_candidate *c, int max_iter,
                    double *memory) {
  local l = {.f = f, .s = s, .c = c, .star = star};
  l.planes = memory;
  l.row = memory + SKY_MAX_PLANES * sky_source_pixels(f, s);
  l.n = sky_free_parameters(f->spec, c->type, f->spec->held[s], l.free);
  c->radius_var = NAN;
  sky_take_out(f, s);
  climb(&l, max_iter);
  c->evidence = laplace(&l);
}

/* Puts the candidate in the place of source s, mean and planes following. */
static void put(sky_field *f, int s, const sky_candidate *c, int *type) {
  memcpy(sky_theta_of(f, s), c->theta, (size_t)f->n_theta * sizeof(double));
  type[s] = (int)c->type;
  sky_field_fill_source(f, s, 0);
  for (int b = 0; b < f->spec->n_image; b++) {
    const sky_patch *patch = sky_patch_of(f, s, b);
    const double flux = c->theta[f->spec->image[b].band], *light = f->planes + patch->at;
    const double *kept = f->kept + patch->at / SKY_MAX_PLANES;
    const int width = patch_width(patch);
    for (int j = 0; j < patch_height(patch); j++)
      for (int i = 0; i < width; i++) {
        const size_t p = (size_t)j * (size_t)width + (size_t)i;
        f->mean[b][(size_t)(patch->y0 + j) * (size_t)f->spec->image[b].nx +
                   (size_t)(patch->x0 + i)] = kept[p] + flux * light[p];
      }
  }
}

static void start_candidate(const sky_field *f, int s, sky_type type, const sky_candidate *best,
                            sky_candidate *c) {
  const sky_law *law = f->spec->law;
  double *shape = c->theta + f->spec->n_band;
  const double *from = best != NULL ? best->theta : sky_theta_of(f, s);
  const sky_type was = best != NULL ? best->type : (sky_type)f->spec->type[s];
  memcpy(c->theta, from, (size_t)f->n_theta * sizeof(double));
  c->type = type;
  if (was == SKY_STAR && type != SKY_STAR) {
    shape[SKY_LOG_RADIUS] = law->radius_mean - 0.5;
    shape[SKY_A] = shape[SKY_B] = 0.0;
  }
  if (type == SKY_COMPOSITE && was != SKY_COMPOSITE) shape[SKY_DEV] = 0.5;
}

/* By how much log-likelihood a galaxy of one profile must beat a star for the next to be tried. */
static const double worth[SKY_N_TYPES] = {-HUGE_VAL, -HUGE_VAL, 1.0, 15.0};

int sky_try_types(sky_field *f, int s, int allowed, int max_iter, sky_candidate *c,
                  double *memory) {
  const int was = f->spec->type[s];
  const sky_candidate *star = NULL, *galaxy = NULL;
  int tried = 0, galaxies = 0;
  for (int t = 0; t < SKY_N_TYPES; t++) {
    const double beside = star != NULL ? star->gain : -HUGE_VAL;
    if (!(allowed & (1 << t)) && (allowed != 0 || t != was)) continue;
    if (t != was && galaxy != NULL && galaxy->gain < beside + worth[t]) continue;
    start_candidate(f, s, (sky_type)t, t != was ? galaxy : NULL, c + t);
    fit_one(f, s, star, c + t, max_iter, memory);
    tried |= 1 << t;
    galaxies += t != SKY_STAR;
    if (t == SKY_STAR)
      star = c + t;
    else if (galaxy == NULL || c[t].gain > galaxy->gain)
      galaxy = c + t;
  }
  for (int t = SKY_EXPONENTIAL; t < SKY_N_TYPES; t++)
    if (tried & (1 << t)) c[t].evidence -= log(galaxies);
  return tried;
}

void sky_tell(const sky_candidate *c, int tried, int n_band, int best, double *told) {
  const sky_candidate *galaxy = NULL;
  for (int t = SKY_EXPONENTIAL; t < SKY_N_TYPES; t++)
    if (tried & (1 << t) && (galaxy == NULL || c[t].gain > galaxy->gain)) galaxy = c + t;
  told[SKY_TOLD_RADIUS] = galaxy != NULL ? galaxy->theta[n_band + SKY_LOG_RADIUS] : NAN;
  told[SKY_TOLD_RADIUS_VAR] = galaxy != NULL ? galaxy->radius_var : NAN;
  told[SKY_TOLD_SPREAD] = c[best].spread;
}

void sky_sweep(sky_field *f, const int *order, int n_order, int allowed, int remove, int max_iter,
               int *type, double *evidence, double *told, double *memory) {
  for (int o = 0; o < n_order; o++) {
    const int s = order[o];
    sky_candidate c[SKY_N_TYPES];
    const int tried = sky_try_types(f, s, allowed, max_iter, c, memory);
    int best = -1;
    for (int t = 0; t < SKY_N_TYPES; t++) {
      const int here = tried & (1 << t);
      evidence[t + SKY_N_TYPES * s] = here ? c[t].evidence : -HUGE_VAL;
      if (here && (best < 0 || c[t].evidence > c[best].evidence)) best = t;
    }
    if (best < 0) continue;
    sky_tell(c, tried, f->spec->n_band, best, told + SKY_N_TOLD * s);
    if (remove && !(c[best].evidence > log(ODDS)))
      for (int b = 0; b < f->spec->n_band; b++) c[best].theta[b] = 0.0;
    put(f, s, c + best, type);
  }
}
