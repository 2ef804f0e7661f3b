#include "sky/vb_source.h"

#include <math.h>
#include <string.h>

#include "math/la.h"
#include "math/logistic.h"
#include "math/small.h"

/* Of the ELBO: less is not worth a step. */
#define ENOUGH 1e-9

enum { HALVINGS = 10 };

static double *mean_of(const sky_vb *w, int s, int t) {
  return w->mean + ((size_t)s * SKY_N_TYPES + (size_t)t) * (size_t)w->n;
}

static double *root_of(const sky_vb *w, int s, int t) {
  return w->root + ((size_t)s * SKY_N_TYPES + (size_t)t) * square(w->n);
}

/* ---- scales ---------------------------------------------------------------------------------- */

void sky_vb_to_theta(const int *free, int n, int n_band, const double *eta, double *theta,
                     double *slope) {
  for (int a = 0; a < n; a++) {
    const int k = free[a];
    double x = eta[a], d = 1.0;
    if (k < n_band) {
      x = exp(fmin(x, 200.0));
      d = x;
    } else if (k == n_band + SKY_DEV) {
      x = fmin(SKY_LARGEST_DEV, fmax(1.0 - SKY_LARGEST_DEV, logistic(x)));
      d = x * (1.0 - x);
    } else if (k == n_band + SKY_LOG_RADIUS) {
      x = fmin(SKY_LARGEST_RADIUS, fmax(SKY_LEAST_RADIUS, x));
    }
    theta[k] = x;
    slope[a] = d;
  }
}

static double to_eta(int k, int n_band, double theta) {
  if (k < n_band) return log(theta);
  if (k == n_band + SKY_DEV) return log(theta) - log1p(-theta);
  return theta;
}

/* ---- one source ------------------------------------------------------------------------------ */

sky_vb_q sky_vb_source(sky_vb *w, int s, sky_type type, double share) {
  sky_vb_q l = {.w = w, .s = s, .type = type, .share = share};
  l.n = sky_free_parameters(w->field.spec, type, w->field.spec->held[s], l.free);
  l.n_point = 2 * l.n;
  l.mean = mean_of(w, s, (int)type);
  l.root = root_of(w, s, (int)type);
  l.pixels = sky_source_pixels(&w->field, s);
  l.others = w->local;
  l.moments = w->local + 2 * l.pixels;
  l.light = l.moments + 2 * l.pixels;
  l.planes = l.light + (size_t)l.n_point * l.pixels;
  l.row = l.planes + SKY_MAX_PLANES * l.pixels;
  return l;
}

size_t sky_vb_source_size(const sky_vb *w) {
  size_t most = 0, widest = 0;
  for (int s = 0; s < w->field.spec->n; s++)
    if (sky_source_pixels(&w->field, s) > most) most = sky_source_pixels(&w->field, s);
  for (int b = 0; b < w->field.spec->n_image; b++)
    if ((size_t)w->field.spec->image[b].nx > widest) widest = (size_t)w->field.spec->image[b].nx;
  return (4 + 2 * (size_t)w->n + SKY_MAX_PLANES) * most + widest + 1;
}

void sky_vb_point(const sky_vb_q *l, int k, double *theta, double *slope) {
  const sky_field *f = &l->w->field;
  double eta[SKY_MAX_FREE];
  const double far = (k % 2 ? -1.0 : 1.0) * sqrt((double)l->n);
  const double *column = l->root + (size_t)(k / 2) * (size_t)l->n;
  memcpy(theta, sky_theta_of(f, l->s), (size_t)l->w->n * sizeof *theta);
  for (int a = 0; a < l->n; a++) eta[a] = l->mean[a] + far * column[a];
  sky_vb_to_theta(l->free, l->n, f->spec->n_band, eta, theta, slope);
}

void sky_vb_fill(const sky_vb_q *l, const double *theta) {
  const sky_field *f = &l->w->field;
  double *planes = l->planes;
  for (int b = 0; b < f->spec->n_image; b++) {
    const sky_patch *patch = sky_patch_of(f, l->s, b);
    sky_patch_fill(f->spec->image + b, patch, l->type, theta + f->spec->n_band, planes, l->row);
    planes += (size_t)sky_planes(l->type) * patch_size(patch);
  }
}

void sky_vb_shine(sky_vb_q *l) {
  const sky_field *f = &l->w->field;
  double theta[SKY_MAX_FREE], slope[SKY_MAX_FREE], *out = l->light;
  const double weight = 1.0 / l->n_point;
  memset(l->moments, 0, 2 * l->pixels * sizeof *l->moments);
  for (int k = 0; k < l->n_point; k++) {
    size_t at = 0;
    sky_vb_point(l, k, theta, slope);
    for (int b = 0; b < f->spec->n_image; b++) {
      const sky_image *image = f->spec->image + b;
      const sky_patch *patch = sky_patch_of(f, l->s, b);
      const size_t size = patch_size(patch);
      const double flux = theta[image->band];
      sky_patch_light(image, patch, l->type, theta + f->spec->n_band, out, l->row);
      for (size_t p = 0; p < size; p++, at++, out++) {
        *out *= flux;
        l->moments[at] += weight * *out;
        l->moments[at + l->pixels] += weight * *out * *out;
      }
    }
  }
}

/* A pixel of the source: what is counted there, and m and v with it in. */
typedef struct {
  double y, used, kept, kept_variance, own, m, v;
} pixel;

static pixel pixel_at(const sky_vb_q *l, int b, const sky_patch *patch, size_t p, size_t at) {
  const sky_field *f = &l->w->field;
  const sky_image *image = f->spec->image + b;
  const size_t width = (size_t)patch_width(patch);
  const size_t q =
      ((size_t)patch->y0 + p / width) * (size_t)image->nx + (size_t)patch->x0 + p % width;
  const size_t first = patch->at / SKY_MAX_PLANES;
  const double own = l->others[at] + l->share * l->moments[at];
  const double squares = l->others[at + l->pixels] + l->share * l->moments[at + l->pixels];
  pixel x = {image->count[q],
             image->use[q],
             f->kept[first + p],
             l->w->kept_variance[first + p],
             own,
             0.0,
             0.0};
  x.m = x.kept + own;
  x.v = fmax(x.kept_variance + squares - own * own, 0.0);
  return x;
}

/* E of the log-likelihood above that of the other sources alone. */
static double expected_likelihood(sky_vb_q *l) {
  const sky_field *f = &l->w->field;
  double sum = 0.0;
  size_t at = 0;
  l->misfit = 1.0;
  for (int b = 0; b < f->spec->n_image; b++) {
    const sky_patch *patch = sky_patch_of(f, l->s, b);
    for (size_t p = 0; p < patch_size(patch); p++, at++) {
      const pixel x = pixel_at(l, b, patch, p, at);
      if (x.used == 0.0 || !(x.kept > 0.0)) continue;
      sum += x.y * (log1p(x.own / x.kept) -
                    0.5 * (x.v / (x.m * x.m) - x.kept_variance / (x.kept * x.kept))) -
             x.own;
      const double off = f->spec->image[b].doubt * x.own;
      l->misfit += off * off / x.m;
    }
  }
  return sum;
}

/* E log N(x; mean, sd) for x ~ N(m, v), and its slope and curvature in m. */
static double expected_normal(double m, double v, double mean, double sd, double *slope,
                              double *curvature) {
  const double z = (m - mean) / sd;
  *slope = -z / sd;
  *curvature = -1.0 / (sd * sd);
  return -0.5 * (z * z + v / (sd * sd)) - log(sd) - 0.5 * LOG_2PI;
}

double sky_vb_rest(const sky_vb_q *l, double *gradient, double *hessian) {
  const sky_law *law = l->w->field.spec->law;
  const int B = l->w->field.spec->n_band, galaxy = l->type != SKY_STAR;
  double sum = 0.5 * l->n * (1.0 + LOG_2PI);
  for (int a = 0; a < l->n; a++) {
    const int k = l->free[a] - B;
    double v = 0.0, slope = 0.0, curvature = 0.0;
    for (int c = 0; c <= a; c++) v += l->root[a + l->n * c] * l->root[a + l->n * c];
    sum += log(l->root[a + l->n * a]);
    if (k < 0) {
      sum +=
          expected_normal(l->mean[a], v, law->flux_mean[galaxy], law->flux_sd, &slope, &curvature);
    } else if (k == SKY_X) {
      sum += log(law->density);
    } else if (k == SKY_LOG_RADIUS) {
      sum += expected_normal(l->mean[a], v, law->radius_mean, law->radius_sd, &slope, &curvature);
    } else if (k == SKY_A || k == SKY_B) {
      sum += expected_normal(l->mean[a], v, 0.0, law->shape_sd, &slope, &curvature);
    } else if (k == SKY_DEV) { /* Beta(2, 2), in its logit: E log(6 d^2 (1 - d)^2) by cubature */
      sum += log(6.0);
      for (int i = 0; i < l->n_point; i++) {
        const double far = (i % 2 ? -1.0 : 1.0) * sqrt((double)l->n);
        const double eta = l->mean[a] + far * l->root[a + l->n * (i / 2)];
        const double d = logistic(eta);
        sum -= 2.0 * (softplus(-eta) + softplus(eta)) / l->n_point;
        slope += 2.0 * (1.0 - 2.0 * d) / l->n_point;
        curvature -= 4.0 * d * (1.0 - d) / l->n_point;
      }
    }
    if (gradient != NULL) gradient[a] += slope;
    if (hessian != NULL) hessian[a + l->n * a] += curvature;
  }
  return sum;
}

/* What of the ELBO depends on this q. */
static double assess(sky_vb_q *l) {
  sky_vb_shine(l);
  l->likelihood = expected_likelihood(l);
  l->rest = sky_vb_rest(l, NULL, NULL);
  const double value = l->likelihood + l->share * l->rest;
  return isfinite(value) ? value : -HUGE_VAL;
}

/* The derivative of the likelihood in eta of point k, over its share and weight. */
static void point_slopes(const sky_vb_q *l, int k, double *g) {
  const sky_field *f = &l->w->field;
  const int B = f->spec->n_band;
  double theta[SKY_MAX_FREE], slope[SKY_MAX_FREE];
  const double *planes = l->planes, *light = l->light + (size_t)k * l->pixels;
  size_t at = 0;
  memset(g, 0, (size_t)l->n * sizeof *g);
  sky_vb_point(l, k, theta, slope);
  sky_vb_fill(l, theta);
  for (int b = 0; b < f->spec->n_image; b++) {
    const sky_patch *patch = sky_patch_of(f, l->s, b);
    const size_t size = patch_size(patch);
    const int band = f->spec->image[b].band;
    for (size_t p = 0; p < size; p++, at++) {
      const pixel x = pixel_at(l, b, patch, p, at);
      if (x.used == 0.0 || !(x.kept > 0.0)) continue;
      const double im = 1.0 / x.m;
      const double in_light = x.y * im * (1.0 + x.v * im * im - (light[at] - x.own) * im) - 1.0;
      for (int a = 0; a < l->n; a++) {
        const int j = l->free[a];
        if (j < B)
          g[a] += j == band ? in_light * light[at] : 0.0;
        else
          g[a] += in_light * theta[band] * planes[p + (size_t)(j - B + 1) * size];
      }
    }
    planes += (size_t)sky_planes(l->type) * size;
  }
  for (int a = 0; a < l->n; a++)
    if (l->free[a] >= B) g[a] *= slope[a];
}

/* Gradient in the mean and E of the Hessian, by Stein's identity E[g (eta - mean)'] = E[H] S. */
static void differentiate(sky_vb_q *l) {
  double g[SKY_MAX_FREE], along[SKY_MAX_FREE * SKY_MAX_FREE], inverse[SKY_MAX_FREE * SKY_MAX_FREE];
  const int n = l->n;
  memset(l->gradient, 0, sizeof l->gradient);
  memset(along, 0, sizeof along);
  for (int k = 0; k < l->n_point; k++) {
    const double far = (k % 2 ? -1.0 : 1.0) * sqrt((double)n);
    point_slopes(l, k, g);
    for (int a = 0; a < n; a++) {
      l->gradient[a] += g[a] / l->n_point;
      along[a + n * (k / 2)] += far * g[a] / l->n_point;
    }
  }
  la_lower_inverse(l->root, n, inverse);
  la_multiply(along, inverse, n, n, n, l->hessian);
  for (int i = 0; i < n; i++)
    for (int j = 0; j < i; j++)
      l->hessian[i + n * j] = l->hessian[j + n * i] =
          0.5 * (l->hessian[i + n * j] + l->hessian[j + n * i]);
  sky_vb_rest(l, l->gradient, l->hessian);
}

/* The root of the inverse of a precision; 0 where it has none. */
static int root_of_inverse(double *precision, int n, double *root) {
  if (la_chol(precision, n) != ELBO_OK || la_inverse_from_chol(precision, n) != ELBO_OK) return 0;
  memcpy(root, precision, square(n) * sizeof *root);
  return la_chol(root, n) == ELBO_OK;
}

/* A step along the natural gradient: precision (1 - r) P - r E[H], mean + r S E[g]. */
static int step(sky_vb_q *l, const double *precision, const double *old_mean, double factor) {
  const int n = l->n, B = l->w->field.spec->n_band;
  double P[SKY_MAX_FREE * SKY_MAX_FREE];
  for (size_t i = 0; i < square(n); i++)
    P[i] = (1.0 - factor) * precision[i] - factor * l->hessian[i];
  if (!root_of_inverse(P, n, l->root)) return 0;
  for (int a = 0; a < n; a++) {
    const double most = l->free[a] == B + SKY_X || l->free[a] == B + SKY_Y ? 1.0 : 2.0;
    const double move = factor * dot(P + n * a, l->gradient, n);
    l->mean[a] = old_mean[a] + fmin(most, fmax(-most, move));
  }
  return 1;
}

double sky_vb_climb(sky_vb_q *l, int most) {
  const int n = l->n;
  double mean[SKY_MAX_FREE], root[SKY_MAX_FREE * SKY_MAX_FREE];
  double precision[SKY_MAX_FREE * SKY_MAX_FREE], L[SKY_MAX_FREE * SKY_MAX_FREE];
  const double first = assess(l);
  double value = first;
  for (int it = 0; it < most; it++) {
    double factor = 1.0, next = -HUGE_VAL;
    differentiate(l);
    memcpy(mean, l->mean, (size_t)n * sizeof *mean);
    memcpy(root, l->root, square(n) * sizeof *root);
    la_lower_inverse(root, n, L);
    for (int i = 0; i < n; i++)
      for (int j = 0; j < n; j++) {
        double sum = 0.0;
        for (int k = larger(i, j); k < n; k++) sum += L[k + n * i] * L[k + n * j];
        precision[i + n * j] = sum;
      }
    for (int h = 0; h < HALVINGS; h++, factor *= 0.5) {
      next = step(l, precision, mean, factor) ? assess(l) : -HUGE_VAL;
      if (next >= value) break;
    }
    if (!(next >= value)) { /* nothing more to gain */
      memcpy(l->mean, mean, (size_t)n * sizeof *mean);
      memcpy(l->root, root, square(n) * sizeof *root);
      return assess(l) - first;
    }
    const double rise = next - value;
    value = next;
    if (rise < ENOUGH) break;
  }
  return value - first;
}

/* Of a normal so narrow Stein's identity gives the Hessian itself. */
void sky_vb_start(sky_vb_q *l, const double *theta) {
  const int n = l->n;
  double P[SKY_MAX_FREE * SKY_MAX_FREE];
  memset(l->root, 0, square(n) * sizeof *l->root);
  for (int a = 0; a < n; a++) {
    l->mean[a] = to_eta(l->free[a], l->w->field.spec->n_band, theta[l->free[a]]);
    l->root[a + n * a] = 1e-4;
  }
  sky_vb_shine(l);
  differentiate(l);
  for (double ridge = 1.0; ridge < 1e12; ridge *= 10.0) {
    for (size_t i = 0; i < square(n); i++) P[i] = -l->hessian[i];
    for (int a = 0; a < n; a++) P[a + n * a] = fmax(P[a + n * a], 0.0) + (ridge - 1.0) * 1e-3;
    if (root_of_inverse(P, n, l->root)) return;
  }
  memset(l->root, 0, square(n) * sizeof *l->root);
  for (int a = 0; a < n; a++) l->root[a + n * a] = 0.1;
}
