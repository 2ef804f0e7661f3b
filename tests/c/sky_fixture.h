/* Two small images of the same four sources, one of each type: another scale and rotation, another
 * band, dead pixels, a mesh of the sky. */
#ifndef ELBO_SKY_FIXTURE_H
#define ELBO_SKY_FIXTURE_H

#include <math.h>
#include <stdlib.h>

#include "sky/field.h"

enum { FIX_NX = 40, FIX_NY = 34, FIX_N = 4, FIX_B = 2, FIX_THETA = FIX_B + SKY_N_SHAPE };

static void *fixture_get(void *ctx, size_t bytes) {
  (void)ctx;
  return calloc(bytes + 1, 1);
}
static const elbo_memory fixture_memory = {fixture_get, NULL};

static const sky_law fixture_law = {1e-3, 0.5, {7.0, 6.5}, 1.0, 0.3, 0.6, 0.3};

typedef struct {
  sky_spec spec;
  sky_image image[2];
  double count[2][FIX_NX * FIX_NY], use[2][FIX_NX * FIX_NY], base[2][FIX_NX * FIX_NY];
  double exposure[2][FIX_NX], reach[FIX_N * 2], theta[FIX_THETA * FIX_N], node[6 + 1];
  int type[FIX_N], held[FIX_N];
} sky_fixture;

static void fixture_make(sky_fixture *x, int threads) {
  static const double weight[2] = {0.7, 0.3}, mean[4] = {0.1, -0.05, -0.2, 0.1};
  static const double covariance[6] = {1.2, 0.2, 1.5, 5.0, -0.6, 4.0};
  static const double affine[2][6] = {{0, 0, 1, 0, 0, 1}, {1.7, -0.6, 0.99, 0.08, -0.06, 1.01}};
  static const double theta[FIX_N][FIX_THETA] = {{900, 700, 12.3, 11.8, 0, 0, 0, 0},
                                                 {2000, 1500, 15.1, 14.2, 0.4, 0.3, -0.2, 0},
                                                 {1500, 2500, 27.6, 20.4, 0.7, -0.1, 0.25, 0},
                                                 {3000, 1000, 24.2, 12.9, 0.9, 0.2, 0.1, 0.4}};
  static const double of_second[SKY_N_WARP] = {0.02, 0.05, -0.03, 0.01,  0.02, 0.03,
                                               0.01, 0.04, 0.02,  -0.02, 0.01, 0.0,
                                               0.0,  0.03, -0.05, 0.02,  0.0,  0.01};
  static const double *const warp[2] = {NULL, of_second};
  static const double node[7] = {20, 22, 25, 21, 20, 19, 30};
  unsigned state = 7;
  for (int s = 0; s < FIX_N; s++) {
    for (int k = 0; k < FIX_THETA; k++) x->theta[k + FIX_THETA * s] = theta[s][k];
    x->type[s] = s;
    x->held[s] = 0;
    x->reach[2 * s] = x->reach[2 * s + 1] = 12.0;
  }
  for (int i = 0; i < 7; i++) x->node[i] = node[i];
  for (int b = 0; b < 2; b++) {
    sky_image image = {FIX_NX,
                       FIX_NY,
                       b,
                       x->count[b],
                       x->use[b],
                       x->base[b],
                       x->exposure[b],
                       b == 0 ? 1.5 : 2.0,
                       0.02,
                       {0},
                       {2, weight, mean, covariance},
                       warp[b],
                       b == 0 ? 2 : 1,
                       b == 0 ? 3 : 1};
    for (int i = 0; i < 6; i++) image.affine[i] = affine[b][i];
    x->image[b] = image;
    for (int i = 0; i < FIX_NX; i++) x->exposure[b][i] = 1.0 + 0.01 * i + b;
    for (int p = 0; p < FIX_NX * FIX_NY; p++) {
      state = state * 1103515245u + 12345u;
      x->use[b][p] = (state >> 16) % 50 != 0;
      x->base[b][p] = 3.0;
      x->count[b][p] = x->use[b][p] > 0 ? 30.0 + (state >> 16) % 30 : 0.0;
    }
  }
  sky_spec spec = {FIX_N, FIX_B, 2, threads, x->image, x->type, x->held, x->reach, &fixture_law};
  x->spec = spec;
}

/* Counts about the mean at the truth of the fixture. */
static inline void fixture_draw(sky_fixture *x) {
  sky_field f;
  unsigned state = 11;
  sky_field_open(&f, &x->spec, x->theta, x->node, &fixture_memory);
  for (int b = 0; b < 2; b++)
    for (int p = 0; p < FIX_NX * FIX_NY; p++) {
      double u = 0.0; /* nearly normal */
      for (int k = 0; k < 12; k++) {
        state = state * 1103515245u + 12345u;
        u += (double)((state >> 16) & 32767) / 32768.0 - 0.5;
      }
      const double mu = f.mean[b][p];
      x->count[b][p] = x->use[b][p] * floor(fmax(0.0, mu + sqrt(mu) * u) + 0.5);
    }
}

#endif
