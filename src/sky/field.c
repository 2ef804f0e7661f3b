#include "sky/field.h"

#include <math.h>
#include <string.h>

#include "math/la.h"
#include "math/small.h"
#include "math/threads.h"

enum { STRIP = 32 }; /* rows of an image that are summed together: sums do not depend on threads */

/* ---- layout ---------------------------------------------------------------------------------- */

static int nodes_of(const sky_image *image) { return image->mesh_x * image->mesh_y; }
static size_t pixels(const sky_image *image) { return (size_t)image->nx * (size_t)image->ny; }
static int strips_of(const sky_image *image) { return (image->ny + STRIP - 1) / STRIP; }

static int bounded(double x, int most) { return x < -1.0 ? -1 : x > (double)most ? most : (int)x; }

static void lay_patch(const sky_field *f, int s, int b, sky_patch *patch) {
  const sky_image *image = f->spec->image + b;
  const double *A = image->affine, *shape = sky_theta_of(f, s) + f->spec->n_band;
  const double x = A[0] + A[2] * shape[SKY_X] + A[3] * shape[SKY_Y] - 1.0;
  const double y = A[1] + A[4] * shape[SKY_X] + A[5] * shape[SKY_Y] - 1.0;
  const double reach = f->spec->reach[(size_t)s * (size_t)f->spec->n_image + (size_t)b];
  patch->source = s;
  patch->image = b;
  sky_warp(image, x + 1.0, y + 1.0, patch->warp);
  patch->x0 = larger(0, bounded(ceil(x - reach), image->nx));
  patch->x1 = smaller(image->nx - 1, bounded(floor(x + reach), image->nx));
  patch->y0 = larger(0, bounded(ceil(y - reach), image->ny));
  patch->y1 = smaller(image->ny - 1, bounded(floor(y + reach), image->ny));
  if (patch->x1 < patch->x0 || patch->y1 < patch->y0) {
    patch->x0 = patch->y0 = 0;
    patch->x1 = patch->y1 = -1;
  }
}

int sky_free_parameters(const sky_spec *spec, sky_type type, int held, int *free) {
  const int B = spec->n_band;
  int n = 0;
  for (int b = 0; b < B; b++) free[n++] = b;
  if (!(held & 1)) {
    free[n++] = B + SKY_X;
    free[n++] = B + SKY_Y;
  }
  if (type == SKY_STAR || (held & 2)) return n;
  for (int k = SKY_LOG_RADIUS; k <= SKY_B; k++) free[n++] = B + k;
  if (type == SKY_COMPOSITE) free[n++] = B + SKY_DEV;
  return n;
}

static void lay_parameters(sky_field *f, const elbo_memory *mem) {
  const sky_spec *spec = f->spec;
  f->first = elbo_ints(mem, (size_t)spec->n + 1);
  f->free = elbo_ints(mem, (size_t)spec->n * SKY_MAX_FREE + 1);
  f->first[0] = 0;
  for (int s = 0; s < spec->n; s++)
    f->first[s + 1] = f->first[s] + sky_free_parameters(spec, (sky_type)spec->type[s],
                                                        spec->held[s], f->free + f->first[s]);
  f->n_node = 0;
  for (int b = 0; b < spec->n_image; b++) f->n_node += nodes_of(spec->image + b);
  f->n_eta = f->first[spec->n] + f->n_node;
}

static void lay_patches(sky_field *f, const elbo_memory *mem) {
  const sky_spec *spec = f->spec;
  const size_t n_patch = (size_t)spec->n * (size_t)spec->n_image;
  size_t at = 0;
  f->patch = mem->get(mem->ctx, (n_patch + 1) * sizeof *f->patch);
  for (size_t i = 0; i < n_patch; i++) {
    sky_patch *patch = f->patch + i;
    lay_patch(f, (int)(i / (size_t)spec->n_image), (int)(i % (size_t)spec->n_image), patch);
    patch->at = at;
    at += SKY_MAX_PLANES * patch_size(patch);
  }
  f->planes = elbo_doubles(mem, at + 1);
  f->kept = elbo_doubles(mem, at / SKY_MAX_PLANES + 1);
}

void sky_field_open(sky_field *f, const sky_spec *spec, const double *theta, const double *node,
                    const elbo_memory *mem) {
  int widest = 0;
  const size_t m = (size_t)spec->n_image;
  memset(f, 0, sizeof *f);
  f->spec = spec;
  f->n_theta = spec->n_band + SKY_N_SHAPE;
  f->theta = elbo_doubles(mem, (size_t)spec->n * (size_t)f->n_theta + 1);
  memcpy(f->theta, theta, (size_t)spec->n * (size_t)f->n_theta * sizeof *theta);
  lay_parameters(f, mem);
  lay_patches(f, mem);
  f->node = elbo_doubles(mem, (size_t)f->n_node + 1);
  memcpy(f->node, node, (size_t)f->n_node * sizeof *node);
  f->mean = mem->get(mem->ctx, 3 * m * sizeof *f->mean);
  f->ratio = f->mean + m;
  f->scratch = f->ratio + m;
  for (int b = 0; b < spec->n_image; b++) {
    const sky_image *image = spec->image + b;
    f->mean[b] = elbo_doubles(mem, 3 * pixels(image));
    f->ratio[b] = f->mean[b] + pixels(image);
    f->scratch[b] = f->ratio[b] + pixels(image);
    f->n_strip += strips_of(image);
    widest = larger(widest, image->nx);
  }
  f->rows = elbo_doubles(mem, 2 * (size_t)widest * (size_t)larger(1, spec->threads));
  f->strips = elbo_doubles(mem, (size_t)f->n_strip * (size_t)larger(1, f->n_node));
  f->curvature = elbo_doubles(mem, (size_t)spec->n * square(SKY_MAX_FREE) + 1);
  f->factor = elbo_doubles(mem, (size_t)spec->n * square(SKY_MAX_FREE) + 1);
  f->node_factor = elbo_doubles(mem, 3 * square(f->n_node) + 1);
  sky_field_fill(f);
  sky_field_mean(f);
  sky_field_ratio(f);
}

/* ---- planes and the mean --------------------------------------------------------------------- */

static int widest_of(const sky_field *f) {
  int widest = 0;
  for (int b = 0; b < f->spec->n_image; b++) widest = larger(widest, f->spec->image[b].nx);
  return widest;
}

void sky_field_fill_source(sky_field *f, int s, int thread) {
  double *row = f->rows + 2 * (size_t)widest_of(f) * (size_t)thread;
  for (int b = 0; b < f->spec->n_image; b++) {
    const sky_patch *patch = sky_patch_of(f, s, b);
    sky_patch_fill(f->spec->image + b, patch, (sky_type)f->spec->type[s],
                   sky_theta_of(f, s) + f->spec->n_band, f->planes + patch->at, row);
  }
}

void sky_field_fill(sky_field *f) {
  const int threads = threads_for(f->spec->threads, f->spec->n);
  (void)threads;
#pragma omp parallel for num_threads(threads) schedule(dynamic)
  for (int s = 0; s < f->spec->n; s++) sky_field_fill_source(f, s, threads_this());
}

void sky_hat(int i, int n, int mesh, int *k, double *part) {
  const double at = n > 1 && mesh > 1 ? (double)i * (mesh - 1) / (n - 1) : 0.0;
  *k = smaller((int)at, larger(0, mesh - 2));
  *part = at - *k;
}

static const double *nodes_at(const sky_field *f, const double *node, int b) {
  for (int i = 0; i < b; i++) node += nodes_of(f->spec->image + i);
  return node;
}

/* out = (or +=) gain sum_j c_j phi_j over a row of the image. */
static void add_sky_row(const sky_image *image, const double *c, int j, double *out) {
  int ky, kx;
  double py, px;
  if (image->mesh_x == 0) return;
  sky_hat(j, image->ny, image->mesh_y, &ky, &py);
  const double *below = c + (size_t)ky * (size_t)image->mesh_x;
  const double *above = image->mesh_y > 1 ? below + image->mesh_x : below;
  for (int i = 0; i < image->nx; i++) {
    sky_hat(i, image->nx, image->mesh_x, &kx, &px);
    const int next = image->mesh_x > 1 ? kx + 1 : kx;
    out[i] += image->gain * ((1.0 - py) * ((1.0 - px) * below[kx] + px * below[next]) +
                             py * ((1.0 - px) * above[kx] + px * above[next]));
  }
}

const double *sky_slope_plane(const sky_field *f, int s, int b, int parameter, double *factor) {
  const int B = f->spec->n_band, band = f->spec->image[b].band;
  const sky_patch *patch = sky_patch_of(f, s, b);
  const double *planes = f->planes + patch->at;
  *factor = parameter < B ? (parameter == band ? 1.0 : 0.0) : sky_theta_of(f, s)[band];
  return parameter < B ? planes : planes + (size_t)(parameter - B + 1) * patch_size(patch);
}

/* out += factor plane over the rows j0..j1 of the image. */
static void add_plane(const sky_image *image, const sky_patch *patch, const double *plane,
                      double factor, int j0, int j1, double *out) {
  const int width = patch_width(patch);
  if (factor == 0.0) return;
  for (int j = larger(j0, patch->y0); j <= smaller(j1, patch->y1); j++) {
    double *restrict to = out + (size_t)j * (size_t)image->nx + (size_t)patch->x0;
    const double *restrict from = plane + (size_t)(j - patch->y0) * (size_t)width;
    for (int i = 0; i < width; i++) to[i] += factor * from[i];
  }
}

/* A strip of base + what the sources and the sky add: dmu/deta' v. */
static void mean_strip(sky_field *f, int b, int strip) {
  const sky_image *image = f->spec->image + b;
  const int j0 = strip * STRIP, j1 = smaller(image->ny, j0 + STRIP) - 1;
  const size_t at = (size_t)j0 * (size_t)image->nx;
  memcpy(f->mean[b] + at, image->base + at,
         (size_t)(j1 - j0 + 1) * (size_t)image->nx * sizeof(double));
  for (int j = j0; j <= j1; j++)
    add_sky_row(image, nodes_at(f, f->node, b), j, f->mean[b] + (size_t)j * (size_t)image->nx);
  for (int s = 0; s < f->spec->n; s++) {
    const sky_patch *patch = sky_patch_of(f, s, b);
    add_plane(image, patch, f->planes + patch->at, sky_theta_of(f, s)[image->band], j0, j1,
              f->mean[b]);
  }
}

/* A strip of dmu/deta' v, in scratch, times -use count / mu^2. */
static void move_strip(sky_field *f, int b, int strip, const double *v) {
  const sky_image *image = f->spec->image + b;
  const int j0 = strip * STRIP, j1 = smaller(image->ny, j0 + STRIP) - 1;
  const size_t at = (size_t)j0 * (size_t)image->nx,
               size = (size_t)(j1 - j0 + 1) * (size_t)image->nx;
  double *move = f->scratch[b];
  memset(move + at, 0, size * sizeof *move);
  for (int j = j0; j <= j1; j++)
    add_sky_row(image, nodes_at(f, v + f->first[f->spec->n], b), j,
                move + (size_t)j * (size_t)image->nx);
  for (int s = 0; s < f->spec->n; s++)
    for (int a = f->first[s]; a < f->first[s + 1]; a++) {
      double factor;
      const double *plane = sky_slope_plane(f, s, b, f->free[a], &factor);
      add_plane(image, sky_patch_of(f, s, b), plane, factor * v[a], j0, j1, move);
    }
  for (size_t p = at; p < at + size; p++)
    move[p] *= -image->use[p] * image->count[p] / (f->mean[b][p] * f->mean[b][p]);
}

/* task(f, b, strip, index, v) for all strips of all images; index numbers them. */
typedef void (*strip_task)(sky_field *f, int b, int strip, int index, const double *v);

static void over_strips(sky_field *f, strip_task task, const double *v) {
  const int threads = threads_for(f->spec->threads, f->n_strip);
  (void)threads;
#pragma omp parallel for num_threads(threads) schedule(dynamic)
  for (int t = 0; t < f->n_strip; t++) {
    int b = 0, strip = t;
    while (strip >= strips_of(f->spec->image + b)) strip -= strips_of(f->spec->image + b++);
    task(f, b, strip, t, v);
  }
}

static void mean_task(sky_field *f, int b, int strip, int index, const double *v) {
  (void)index;
  (void)v;
  mean_strip(f, b, strip);
}

static void move_task(sky_field *f, int b, int strip, int index, const double *v) {
  (void)index;
  move_strip(f, b, strip, v);
}

void sky_field_mean(sky_field *f) { over_strips(f, mean_task, NULL); }

static void strip_range(const sky_image *image, int strip, size_t *from, size_t *to) {
  *from = (size_t)strip * STRIP * (size_t)image->nx;
  *to = (size_t)smaller(image->ny, (strip + 1) * STRIP) * (size_t)image->nx;
}

static void ratio_task(sky_field *f, int b, int strip, int index, const double *v) {
  const sky_image *image = f->spec->image + b;
  size_t from, to;
  (void)index;
  (void)v;
  strip_range(image, strip, &from, &to);
  for (size_t p = from; p < to; p++)
    f->ratio[b][p] = image->use[p] > 0.0 ? image->count[p] / f->mean[b][p] - 1.0 : 0.0;
}

void sky_field_ratio(sky_field *f) { over_strips(f, ratio_task, NULL); }

static void value_task(sky_field *f, int b, int strip, int index, const double *v) {
  const sky_image *image = f->spec->image + b;
  double sum = 0.0;
  size_t from, to;
  (void)v;
  strip_range(image, strip, &from, &to);
  for (size_t p = from; p < to; p++) {
    const double mu = f->mean[b][p], y = image->count[p];
    if (image->use[p] == 0.0) continue;
    sum += mu > 0.0 ? (y > 0.0 ? y * log(mu / y) + (y - mu) : -mu) : -HUGE_VAL;
  }
  f->strips[index] = sum;
}

double sky_field_pixels(sky_field *f) {
  double sum = 0.0;
  over_strips(f, value_task, NULL);
  for (int t = 0; t < f->n_strip; t++) sum += f->strips[t];
  return sum;
}

double sky_field_size(const sky_field *f) {
  double sum = 0.0;
  for (int b = 0; b < f->spec->n_image; b++) sum += (double)pixels(f->spec->image + b);
  return sum;
}

elbo_status sky_field_value(sky_field *f, double *value) {
  *value = sky_field_pixels(f);
  for (int s = 0; s < f->spec->n; s++)
    *value += sky_law_value(f->spec->law, f->spec->n_band, sky_theta_of(f, s),
                            f->free + f->first[s], f->first[s + 1] - f->first[s], NULL, NULL, 1.0);
  return isfinite(*value) ? ELBO_OK : ELBO_E_NOT_FINITE;
}

/* ---- eta ------------------------------------------------------------------------------------- */

void sky_field_pack(const sky_field *f, double *eta) {
  for (int s = 0; s < f->spec->n; s++)
    for (int a = f->first[s]; a < f->first[s + 1]; a++) eta[a] = sky_theta_of(f, s)[f->free[a]];
  memcpy(eta + f->first[f->spec->n], f->node, (size_t)f->n_node * sizeof *eta);
}

elbo_status sky_field_unpack(sky_field *f, const double *eta) {
  const int B = f->spec->n_band;
  for (int a = 0; a < f->n_eta; a++)
    if (!isfinite(eta[a])) return ELBO_E_NOT_FINITE;
  for (int s = 0; s < f->spec->n; s++)
    for (int a = f->first[s]; a < f->first[s + 1]; a++) {
      if (f->free[a] < B && !(eta[a] > 0.0)) return ELBO_E_NOT_FINITE;
      if (f->free[a] == B + SKY_DEV && !(eta[a] > 0.0 && eta[a] < 1.0)) return ELBO_E_NOT_FINITE;
    }
  for (int s = 0; s < f->spec->n; s++)
    for (int a = f->first[s]; a < f->first[s + 1]; a++) sky_theta_of(f, s)[f->free[a]] = eta[a];
  memcpy(f->node, eta + f->first[f->spec->n], (size_t)f->n_node * sizeof *eta);
  return ELBO_OK;
}

/* ---- the law of shapes ----------------------------------------------------------------------- */

double sky_level_at(const sky_field *f, int b, int i, int j) {
  const sky_image *image = f->spec->image + b;
  const double *node = f->node;
  int kx, ky;
  double px, py;
  for (int o = 0; o < b; o++) node += f->spec->image[o].mesh_x * f->spec->image[o].mesh_y;
  if (image->mesh_x == 0) return image->base[(size_t)j * (size_t)image->nx + (size_t)i];
  sky_hat(i, image->nx, image->mesh_x, &kx, &px);
  sky_hat(j, image->ny, image->mesh_y, &ky, &py);
  node += kx + image->mesh_x * ky;
  const int right = image->mesh_x > 1, up = image->mesh_y > 1 ? image->mesh_x : 0;
  return image->base[(size_t)j * (size_t)image->nx + (size_t)i] +
         image->gain * ((1.0 - py) * ((1.0 - px) * node[0] + px * node[right]) +
                        py * ((1.0 - px) * node[up] + px * node[up + right]));
}

double sky_law_value(const sky_law *law, int n_band, const double *theta, const int *free, int n,
                     double *gradient, double *matrix, double sign) {
  double value = 0.0;
  for (int a = 0; law != NULL && a < n; a++) {
    const int k = free[a] - n_band;
    const double x = theta[free[a]];
    double slope, curvature;
    if (k < SKY_LOG_RADIUS) continue;
    if (k == SKY_DEV) {
      value += log(x) + log1p(-x);
      slope = 1.0 / x - 1.0 / (1.0 - x);
      curvature = -1.0 / (x * x) - 1.0 / ((1.0 - x) * (1.0 - x));
    } else {
      const double sd = k == SKY_LOG_RADIUS ? law->radius_sd : law->shape_sd;
      const double z = (x - (k == SKY_LOG_RADIUS ? law->radius_mean : 0.0)) / sd;
      value -= 0.5 * z * z;
      slope = -z / sd;
      curvature = -1.0 / (sd * sd);
    }
    if (gradient != NULL) gradient[a] += slope;
    if (matrix != NULL) matrix[a + n * a] += sign * curvature;
  }
  return value;
}

/* ---- derivatives ----------------------------------------------------------------------------- */

/* sum over a patch of plane w. */
static double plane_dot(const sky_image *image, const sky_patch *patch, const double *plane,
                        const double *w) {
  const int width = patch_width(patch);
  double sum = 0.0;
  for (int j = patch->y0; j <= patch->y1; j++, plane += width)
    sum += dot(plane, w + (size_t)j * (size_t)image->nx + (size_t)patch->x0, width);
  return sum;
}

/* out[a] = sum over patches of source s of slope_a w, for its free parameters. */
static void source_slopes(const sky_field *f, int s, double *const *w, double *out) {
  for (int a = f->first[s]; a < f->first[s + 1]; a++) {
    out[a] = 0.0;
    for (int b = 0; b < f->spec->n_image; b++) {
      double factor;
      const double *plane = sky_slope_plane(f, s, b, f->free[a], &factor);
      if (factor != 0.0)
        out[a] += factor * plane_dot(f->spec->image + b, sky_patch_of(f, s, b), plane, w[b]);
    }
  }
}

void sky_nodes_sum(const sky_field *f, int b, const double *w, double *out) {
  const sky_image *image = f->spec->image + b;
  const int mesh = image->mesh_x;
  for (int j = 0; mesh > 0 && j < image->ny; j++) {
    int ky, kx;
    double py, px;
    sky_hat(j, image->ny, image->mesh_y, &ky, &py);
    for (int i = 0; i < image->nx; i++) {
      const double weight = image->gain * w[(size_t)j * (size_t)image->nx + (size_t)i];
      sky_hat(i, image->nx, mesh, &kx, &px);
      out[kx + mesh * ky] += (1.0 - px) * (1.0 - py) * weight;
      if (mesh > 1) out[kx + 1 + mesh * ky] += px * (1.0 - py) * weight;
      if (image->mesh_y > 1) out[kx + mesh * (ky + 1)] += (1.0 - px) * py * weight;
      if (mesh > 1 && image->mesh_y > 1) out[kx + 1 + mesh * (ky + 1)] += px * py * weight;
    }
  }
}

static void all_slopes(sky_field *f, double *const *w, double *out) {
  const int threads = threads_for(f->spec->threads, f->spec->n);
  (void)threads;
#pragma omp parallel for num_threads(threads) schedule(dynamic)
  for (int s = 0; s < f->spec->n; s++) source_slopes(f, s, w, out);
  double *node = out + f->first[f->spec->n];
  memset(node, 0, (size_t)f->n_node * sizeof *node);
  for (int b = 0; b < f->spec->n_image; b++) {
    sky_nodes_sum(f, b, w[b], node);
    node += nodes_of(f->spec->image + b);
  }
}

void sky_field_gradient(sky_field *f, double *gradient) {
  all_slopes(f, f->ratio, gradient);
  for (int s = 0; s < f->spec->n; s++)
    sky_law_value(f->spec->law, f->spec->n_band, sky_theta_of(f, s), f->free + f->first[s],
                  f->first[s + 1] - f->first[s], gradient + f->first[s], NULL, 1.0);
}

void sky_field_product(sky_field *f, const double *v, double *out) {
  over_strips(f, move_task, v);
  all_slopes(f, f->scratch, out);
  for (int s = 0; s < f->spec->n; s++) {
    const int n = f->first[s + 1] - f->first[s];
    const double *H = f->curvature + (size_t)s * square(SKY_MAX_FREE);
    for (int i = 0; i < n; i++) out[f->first[s] + i] += dot(H + n * i, v + f->first[s], n);
  }
}
