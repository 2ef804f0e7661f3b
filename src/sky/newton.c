/* Second derivatives of the log-likelihood, as Newton's method by conjugate gradients uses them.
 * With w = use count / mu^2 and r = use (count / mu - 1) the Hessian is
 *   -sum_p w dmu dmu'  +  sum_p r d2mu:
 * the first part through the planes, the second, which is zero in expectation, a block a source. */
#include <math.h>
#include <string.h>

#include "math/la.h"
#include "math/small.h"
#include "math/threads.h"
#include "sky/field.h"

static double weighted_dot(const sky_image *image, const sky_patch *patch, const double *a,
                           const double *b, const double *w) {
  const int width = patch_width(patch);
  double sum = 0.0;
  for (int j = patch->y0; j <= patch->y1; j++, a += width, b += width) {
    const double *row = w + (size_t)j * (size_t)image->nx + (size_t)patch->x0;
    for (int i = 0; i < width; i++) sum += a[i] * b[i] * row[i];
  }
  return sum;
}

void sky_source_gram(const sky_field *f, int s, double *const *w, double *gram) {
  const int n = f->first[s + 1] - f->first[s], *free = f->free + f->first[s];
  memset(gram, 0, square(n) * sizeof *gram);
  for (int b = 0; b < f->spec->n_image; b++)
    for (int i = 0; i < n; i++) {
      double fi, fk;
      const double *pi = sky_slope_plane(f, s, b, free[i], &fi);
      for (int k = i; fi != 0.0 && k < n; k++) {
        const double *pk = sky_slope_plane(f, s, b, free[k], &fk);
        if (fk == 0.0) continue;
        gram[k + n * i] +=
            fi * fk * weighted_dot(f->spec->image + b, sky_patch_of(f, s, b), pi, pk, w[b]);
      }
    }
  fill_upper(gram, n);
}

/* Entries of the Gram matrix of the hat functions of one image: rows of the image are summed to the
 * intervals of the mesh first. */
static void image_gram(const sky_image *image, const double *w, int at, int n, double *gram) {
  const int mesh = image->mesh_x;
  for (int j = 0; j < image->ny; j++) {
    int ky, kx;
    double py, px;
    sky_hat(j, image->ny, image->mesh_y, &ky, &py);
    const double y[2] = {1.0 - py, py};
    const int rows = image->mesh_y > 1 ? 2 : 1, columns = mesh > 1 ? 2 : 1;
    for (int i = 0; i < image->nx;) {
      double sum[3] = {0.0};
      sky_hat(i, image->nx, mesh, &kx, &px);
      for (int k = kx; i < image->nx && k == kx; i++) {
        const double p = w[(size_t)j * (size_t)image->nx + (size_t)i];
        sky_hat(i, image->nx, mesh, &k, &px);
        if (k != kx) break;
        sum[0] += p * (1.0 - px) * (1.0 - px);
        sum[1] += p * (1.0 - px) * px;
        sum[2] += p * px * px;
      }
      for (int a = 0; a < rows * columns; a++)
        for (int c = 0; c < rows * columns; c++) {
          const int ax = a % columns, ay = a / columns, cx = c % columns, cy = c / columns;
          const int row = at + kx + ax + mesh * (ky + ay), column = at + kx + cx + mesh * (ky + cy);
          gram[row + n * column] += image->gain * image->gain * y[ay] * y[cy] * sum[ax + cx];
        }
    }
  }
}

void sky_nodes_gram(const sky_field *f, double *const *w, double *gram) {
  int at = 0;
  memset(gram, 0, square(f->n_node) * sizeof *gram);
  for (int b = 0; b < f->spec->n_image; b++) {
    const sky_image *image = f->spec->image + b;
    if (image->mesh_x > 0) image_gram(image, w[b], at, f->n_node, gram);
    at += image->mesh_x * image->mesh_y;
  }
}

void sky_field_weights(sky_field *f) {
  for (int b = 0; b < f->spec->n_image; b++) {
    const sky_image *image = f->spec->image + b;
    const size_t size = (size_t)image->nx * (size_t)image->ny;
    for (size_t p = 0; p < size; p++)
      f->scratch[b][p] = image->use[p] * image->count[p] / (f->mean[b][p] * f->mean[b][p]);
  }
}

/* sum_p r d2mu of one source, n x n. */
static void source_curvature(const sky_field *f, int s, double *out, double *row) {
  const int n = f->first[s + 1] - f->first[s], B = f->spec->n_band;
  const int *free = f->free + f->first[s];
  const int planes = sky_planes((sky_type)f->spec->type[s]);
  const double *theta = sky_theta_of(f, s);
  memset(out, 0, square(n) * sizeof *out);
  for (int b = 0; b < f->spec->n_image; b++) {
    const sky_image *image = f->spec->image + b;
    const sky_patch *patch = sky_patch_of(f, s, b);
    const size_t size = patch_size(patch);
    double H[SKY_N_SHAPE * SKY_N_SHAPE], slope[SKY_N_SHAPE];
    if (size == 0) continue;
    sky_patch_curvature(image, patch, (sky_type)f->spec->type[s], theta + B, f->ratio[b], H, row);
    for (int k = 1; k < planes; k++) {
      const double *plane = f->planes + patch->at + (size_t)k * size;
      slope[k - 1] = 0.0;
      for (int j = 0; j < patch_height(patch); j++)
        slope[k - 1] += dot(plane + (size_t)j * (size_t)patch_width(patch),
                            f->ratio[b] + (size_t)(patch->y0 + j) * (size_t)image->nx + patch->x0,
                            patch_width(patch));
    }
    for (int i = 0; i < n; i++)
      for (int k = 0; k < n; k++) {
        const int gi = free[i] - B, gk = free[k] - B;
        if (gi >= 0 && gk >= 0) out[i + n * k] += theta[image->band] * H[gi + (planes - 1) * gk];
        if (free[i] == image->band && gk >= 0) out[i + n * k] += slope[gk];
        if (free[k] == image->band && gi >= 0) out[i + n * k] += slope[gi];
      }
  }
  sky_law_value(f->spec->law, B, theta, free, n, NULL, out, 1.0);
}

/* The Cholesky factor of gram - curvature, or where that is not positive definite of the Gram
 * matrix with a ridge. */
static void block_factor(const double *gram, const double *curvature, int n, double *factor) {
  for (size_t i = 0; i < square(n); i++) factor[i] = gram[i] - curvature[i];
  for (double ridge = 1e-10; la_chol(factor, n) != ELBO_OK; ridge *= 100.0) {
    memcpy(factor, gram, square(n) * sizeof *factor);
    for (int i = 0; i < n; i++) {
      double *d = factor + (size_t)i * (size_t)(n + 1);
      *d = *d > 0.0 ? *d * (1.0 + ridge) : 1.0;
    }
    if (!(ridge < 1e10)) {
      memset(factor, 0, square(n) * sizeof *factor);
      for (int i = 0; i < n; i++) factor[(size_t)i * (size_t)(n + 1)] = 1.0;
      return;
    }
  }
}

void sky_field_curvature(sky_field *f) {
  const int threads = threads_for(f->spec->threads, f->spec->n);
  size_t widest = 0;
  (void)threads;
  for (int b = 0; b < f->spec->n_image; b++)
    if ((size_t)f->spec->image[b].nx > widest) widest = (size_t)f->spec->image[b].nx;
  sky_field_weights(f);
#pragma omp parallel for num_threads(threads) schedule(dynamic)
  for (int s = 0; s < f->spec->n; s++) {
    const size_t at = (size_t)s * square(SKY_MAX_FREE);
    double gram[SKY_MAX_FREE * SKY_MAX_FREE];
    source_curvature(f, s, f->curvature + at, f->rows + 2 * widest * (size_t)threads_this());
    sky_source_gram(f, s, f->scratch, gram);
    block_factor(gram, f->curvature + at, f->first[s + 1] - f->first[s], f->factor + at);
  }
  if (f->n_node > 0) {
    /* The nodes have no second derivatives of their own; strips is room for their Gram matrix. */
    double *zero = f->node_factor + square(f->n_node);
    memset(zero, 0, square(f->n_node) * sizeof *zero);
    double *gram = zero + square(f->n_node);
    sky_nodes_gram(f, f->scratch, gram);
    block_factor(gram, zero, f->n_node, f->node_factor);
  }
}

/* x from L L' x = b, in place. */
static void solve(const double *L, int n, double *x) {
  for (int i = 0; i < n; i++) {
    for (int k = 0; k < i; k++) x[i] -= L[i + n * k] * x[k];
    x[i] /= L[i + n * i];
  }
  for (int i = n - 1; i >= 0; i--) {
    for (int k = i + 1; k < n; k++) x[i] -= L[k + n * i] * x[k];
    x[i] /= L[i + n * i];
  }
}

void sky_field_precondition(const sky_field *f, const double *v, double *out) {
  const int nodes = f->first[f->spec->n];
  memcpy(out, v, (size_t)f->n_eta * sizeof *out);
  for (int s = 0; s < f->spec->n; s++)
    solve(f->factor + (size_t)s * square(SKY_MAX_FREE), f->first[s + 1] - f->first[s],
          out + f->first[s]);
  solve(f->node_factor, f->n_node, out + nodes);
}
