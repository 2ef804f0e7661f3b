#include "sky/detect.h"

#include <math.h>
#include <string.h>

#include "math/small.h"
#include "math/threads.h"

enum { HALF_MOST = 24, SIDE_MOST = 2 * HALF_MOST + 1 };

/* The profile at the centres of pixels about its own, out to where it has fallen to a thousandth.
 * */
static int kernel(const sky_psf *psf, double *k) {
  double at[SKY_MAX_PSF][4], top = 0.0;
  int half = 1;
  for (int c = 0; c < psf->n; c++) {
    const double *C = psf->covariance + 3 * c, det = C[0] * C[2] - C[1] * C[1];
    at[c][0] = psf->weight[c] / sqrt(det);
    at[c][1] = C[2] / det;
    at[c][2] = -C[1] / det;
    at[c][3] = C[0] / det;
    top += at[c][0];
    /* Where this normal alone is a thousandth of the top, at most. */
    const double far = sqrt(2.0 * log(1000.0) * fmax(C[0], C[2]));
    if (at[c][0] > 0.02 * top) half = larger(half, (int)ceil(0.8 * far));
  }
  half = smaller(half, HALF_MOST);
  for (int j = -half; j <= half; j++)
    for (int i = -half; i <= half; i++) {
      double value = 0.0;
      for (int c = 0; c < psf->n; c++) {
        const double dx = i - psf->mean[2 * c], dy = j - psf->mean[2 * c + 1];
        value += at[c][0] *
                 exp(-0.5 * (at[c][1] * dx * dx + 2.0 * at[c][2] * dx * dy + at[c][3] * dy * dy));
      }
      k[(i + half) + (2 * half + 1) * (j + half)] = value / 6.283185307179586;
    }
  return half;
}

/* Row j of out = sum over the kernel (to the power given) of the image. */
static void filter_row(const sky_image *image, const double *in, const double *k, int half, int j,
                       double *out) {
  const int side = 2 * half + 1, nx = image->nx;
  memset(out, 0, (size_t)nx * sizeof *out);
  for (int dj = larger(-half, -j); dj <= smaller(half, image->ny - 1 - j); dj++) {
    const double *from = in + (size_t)(j + dj) * (size_t)nx;
    const double *kj = k + side * (dj + half);
    for (int di = -half; di <= half; di++) {
      const double weight = kj[di + half];
      const int lo = larger(0, -di), hi = smaller(nx, nx - di);
      double *restrict to = out;
      for (int i = lo; i < hi; i++) to[i] += weight * from[i + di];
    }
  }
}

/* Score and information of a unit of flux in each pixel. */
static void ingredients(const sky_field *f, int b, double doubt, double *score, double *info) {
  const sky_image *image = f->spec->image + b;
  const double *ratio = f->ratio[b], *mean = f->mean[b];
  for (int j = 0; j < image->ny; j++)
    for (int i = 0; i < image->nx; i++) {
      const size_t p = (size_t)j * (size_t)image->nx + (size_t)i;
      /* f->scratch holds the light of sources here. */
      const double light = doubt * f->scratch[b][p];
      const double e = image->exposure[i] * image->use[p], V = mean[p] + light * light;
      score[p] = e * ratio[p] * mean[p] / V;
      info[p] = e * e / V;
    }
}

void sky_filter(const sky_field *f, int b, const sky_psf *psf, double doubt, double *z,
                double *flux, double *memory) {
  const sky_image *image = f->spec->image + b;
  const size_t size = (size_t)image->nx * (size_t)image->ny;
  double k[SIDE_MOST * SIDE_MOST], k2[SIDE_MOST * SIDE_MOST];
  const int half = kernel(psf, k), side = 2 * half + 1;
  double *score = memory, *info = memory + size;
  for (int i = 0; i < side * side; i++) k2[i] = k[i] * k[i];
  memset(f->scratch[b], 0, size * sizeof(double));
  for (int s = 0; s < f->spec->n; s++) {
    const sky_patch *patch = sky_patch_of(f, s, b);
    const double F = sky_theta_of(f, s)[image->band], *light = f->planes + patch->at;
    for (int j = patch->y0; j <= patch->y1; j++)
      for (int i = patch->x0; i <= patch->x1; i++)
        f->scratch[b][(size_t)j * (size_t)image->nx + (size_t)i] += F * *light++;
  }
  ingredients(f, b, doubt, score, info);
  const int threads = threads_for(f->spec->threads, image->ny);
  (void)threads;
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int j = 0; j < image->ny; j++) {
    const size_t at = (size_t)j * (size_t)image->nx;
    filter_row(image, score, k, half, j, z + at);
    filter_row(image, info, k2, half, j, flux + at);
  }
  for (size_t p = 0; p < size; p++) {
    const double I = flux[p];
    flux[p] = I > 0.0 ? z[p] / I : 0.0;
    z[p] = I > 0.0 ? z[p] / sqrt(I) : 0.0;
  }
}

int sky_peaks(const double *z, int nx, int ny, double least, int most, int *peak) {
  int found = 0;
  for (int j = 0; j < ny; j++)
    for (int i = 0; i < nx; i++) {
      const int p = i + nx * j;
      int highest = z[p] > least;
      for (int dj = -1; highest && dj <= 1; dj++)
        for (int di = -1; highest && di <= 1; di++) {
          const int q = p + di + nx * dj;
          if (q == p || i + di < 0 || i + di >= nx || j + dj < 0 || j + dj >= ny) continue;
          highest = q < p ? z[p] > z[q] : z[p] >= z[q];
        }
      if (highest && found < most) peak[found] = p;
      found += highest;
    }
  return found;
}
