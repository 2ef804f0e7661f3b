/* The mean of each pixel against the normals written out, derivatives against differences. */
#include "sky_fixture.h"

#include <string.h>

#include "harness.h"
#include "math/la.h"
#include "math/small.h"
#include "sky/information.h"
#include "sky/psf.h"

static double normal_at(double dx, double dy, double xx, double xy, double yy) {
  const double det = xx * yy - xy * xy;
  return exp(-0.5 * (yy * dx * dx - 2.0 * xy * dx * dy + xx * dy * dy) / det) /
         (8.0 * atan(1.0) * sqrt(det));
}

/* exp [l + a, b; b, l - a] as (xx, xy, yy), by its series. */
static void exp_of(double l, double a, double b, double *A) {
  const double M[3] = {l + a, b, l - a};
  double term[3] = {1, 0, 1};
  A[0] = A[2] = 1.0;
  A[1] = 0.0;
  for (int k = 1; k < 40; k++) {
    const double xx = (term[0] * M[0] + term[1] * M[1]) / k;
    const double xy = (term[0] * M[1] + term[1] * M[2]) / k;
    const double yy = (term[1] * M[1] + term[2] * M[2]) / k;
    term[0] = xx;
    term[1] = xy;
    term[2] = yy;
    for (int i = 0; i < 3; i++) A[i] += term[i];
  }
}

/* The image's A at (x, y), from the definition of its polynomials. */
static void warp_at(const sky_image *im, double x, double y, double *A) {
  const double u = (x - 0.5) / FIX_NX * 2 - 1, v = (y - 0.5) / FIX_NY * 2 - 1;
  double lab[3] = {0.0};
  for (int k = 0; k < 3 && im->warp != NULL; k++) {
    const double *c = im->warp + 6 * k;
    lab[k] = c[0] + c[1] * u + c[2] * v + c[3] * u * u + c[4] * u * v + c[5] * v * v;
  }
  exp_of(lab[0], lab[1], lab[2], A);
}

/* A star's light at a pixel of an image, from the definition. */
static void test_star(void) {
  static sky_fixture x;
  fixture_make(&x, 1);
  sky_field f;
  sky_field_open(&f, &x.spec, x.theta, x.node, &fixture_memory);
  for (int b = 0; b < 2; b++) {
    const sky_patch *patch = sky_patch_of(&f, 0, b);
    const sky_image *im = x.image + b;
    const double *A = im->affine, sx = x.theta[2], sy = x.theta[3];
    const double cx = A[0] + A[2] * sx + A[3] * sy, cy = A[1] + A[4] * sx + A[5] * sy;
    double worst = 0.0, peak = 0.0, W[3];
    warp_at(im, cx, cy, W);
    CHECK(patch_size(patch) > 100);
    for (int j = patch->y0; j <= patch->y1; j++)
      for (int i = patch->x0; i <= patch->x1; i++) {
        double light = 0.0;
        for (int k = 0; k < 2; k++) {
          const double *m = im->psf.mean + 2 * k, *C = im->psf.covariance + 3 * k;
          const double mx = W[0] * m[0] + W[1] * m[1], my = W[1] * m[0] + W[2] * m[1];
          /* W C W */
          const double p = W[0] * C[0] + W[1] * C[1], q = W[0] * C[1] + W[1] * C[2];
          const double r = W[1] * C[0] + W[2] * C[1], s = W[1] * C[1] + W[2] * C[2];
          light += im->psf.weight[k] * normal_at(i + 1 - cx - mx, j + 1 - cy - my,
                                                 p * W[0] + q * W[1], p * W[1] + q * W[2],
                                                 r * W[1] + s * W[2]);
        }
        light *= x.exposure[b][i] * x.use[b][i + FIX_NX * j];
        const double ours =
            f.planes[patch->at + (size_t)((i - patch->x0) + (j - patch->y0) * patch_width(patch))];
        worst = fmax(worst, fabs(ours - light));
        peak = fmax(peak, light);
      }
    /* Beyond seven sds a normal is 2e-11 of its peak, and left out. */
    CHECK(worst < 3e-11 * peak);
  }
}

/* exp of a symmetric 2 x 2 matrix by its series. */
static void test_shape(void) {
  static const double at[4][SKY_N_SHAPE] = {{0, 0, 0.3, 0.2, -0.1, 0},
                                            {0, 0, -0.5, 0, 0, 0},
                                            {0, 0, 0.2, 1.3, 0.4, 0},
                                            {0, 0, 1.0, 1e-4, 2e-4, 0}};
  for (int t = 0; t < 4; t++) {
    const double M[3] = {2 * (at[t][2] + at[t][3]), 2 * at[t][4], 2 * (at[t][2] - at[t][3])};
    double term[3] = {1, 0, 1}, sum[3] = {1, 0, 1}, S[3], slope[9], second[18];
    for (int k = 1; k < 60; k++) {
      const double a = (term[0] * M[0] + term[1] * M[1]) / k;
      const double b = (term[0] * M[1] + term[1] * M[2]) / k;
      const double c = (term[1] * M[1] + term[2] * M[2]) / k;
      term[0] = a;
      term[1] = b;
      term[2] = c;
      for (int i = 0; i < 3; i++) sum[i] += term[i];
    }
    sky_shape(at[t], S, slope, second);
    for (int i = 0; i < 3; i++) CHECK_CLOSE(S[i], sum[i], 1e-13);
    for (int k = 0; k < 3; k++) {
      double up[SKY_N_SHAPE], down[SKY_N_SHAPE], Su[3], Sd[3], slope_u[9], slope_d[9];
      memcpy(up, at[t], sizeof up);
      memcpy(down, at[t], sizeof down);
      up[2 + k] += 1e-5;
      down[2 + k] -= 1e-5;
      sky_shape(up, Su, slope_u, NULL);
      sky_shape(down, Sd, slope_d, NULL);
      static const int second_of[3][3] = {{0, 1, 2}, {1, 3, 4}, {2, 4, 5}};
      for (int i = 0; i < 3; i++) {
        CHECK_CLOSE(slope[i + 3 * k], (Su[i] - Sd[i]) / 2e-5, 1e-8);
        for (int l = 0; l < 3; l++)
          CHECK_CLOSE(second[i + 3 * second_of[k][l]],
                      (slope_u[i + 3 * l] - slope_d[i + 3 * l]) / 2e-5, 1e-7);
      }
    }
  }
}

static double value_of(sky_field *f, const double *eta) {
  double value = NAN;
  CHECK(sky_field_unpack(f, eta) == ELBO_OK);
  sky_field_fill(f);
  sky_field_mean(f);
  sky_field_ratio(f);
  CHECK(sky_field_value(f, &value) == ELBO_OK);
  return value;
}

static void test_derivatives(void) {
  static sky_fixture x;
  fixture_make(&x, 1);
  sky_field f;
  sky_field_open(&f, &x.spec, x.theta, x.node, &fixture_memory);
  enum { N = 4 + 7 + 7 + 8 + 7 };
  double eta[N], g[N], up[N], down[N], other[N], v[N], Hv[N], back[N];
  CHECK(f.n_eta == N);
  sky_field_pack(&f, eta);
  memcpy(other, eta, sizeof eta);
  value_of(&f, eta);
  sky_field_gradient(&f, g);
  for (int a = 0; a < N; a++) {
    const double h = 1e-4 * fmax(0.1, fabs(eta[a])) * (eta[a] > 100 ? 10 : 1);
    other[a] = eta[a] + h;
    const double high = value_of(&f, other);
    other[a] = eta[a] - h;
    const double low = value_of(&f, other);
    other[a] = eta[a];
    /* Differences of a value of about 1e5 are right to 1e-10 / h, and to h^2 of its curvature. */
    CHECK_CLOSE(g[a], (high - low) / (2 * h), 1e-5);
  }
  for (int t = 0; t < 3; t++) {
    for (int a = 0; a < N; a++)
      v[a] = sin(1.0 + a * (t + 1.3)) * (eta[a] > 100 ? 10.0 : eta[a] > 15 ? 0.1 : 0.01);
    value_of(&f, eta);
    sky_field_curvature(&f);
    sky_field_product(&f, v, Hv);
    for (int a = 0; a < N; a++) other[a] = eta[a] + 1e-3 * v[a];
    value_of(&f, other);
    sky_field_gradient(&f, up);
    for (int a = 0; a < N; a++) other[a] = eta[a] - 1e-3 * v[a];
    value_of(&f, other);
    sky_field_gradient(&f, down);
    for (int a = 0; a < N; a++) CHECK_CLOSE(Hv[a], (up[a] - down[a]) / 2e-3, 2e-5);
  }
  /* The preconditioner is positive definite. */
  value_of(&f, eta);
  sky_field_curvature(&f);
  sky_field_precondition(&f, v, back);
  CHECK(dot(v, back, N) > 0.0);
}

/* Whatever the threads, the same bits. */
static void test_threads(void) {
  static sky_fixture x[2];
  double value[2], g[2][40], Hv[2][40];
  for (int t = 0; t < 2; t++) {
    sky_field f;
    fixture_make(x + t, t == 0 ? 1 : 3);
    sky_field_open(&f, &x[t].spec, x[t].theta, x[t].node, &fixture_memory);
    CHECK(sky_field_value(&f, value + t) == ELBO_OK);
    sky_field_gradient(&f, g[t]);
    sky_field_curvature(&f);
    sky_field_product(&f, g[0], Hv[t]);
    CHECK(memcmp(g[0], g[t], sizeof(double) * (size_t)f.n_eta) == 0);
    CHECK(memcmp(Hv[0], Hv[t], sizeof(double) * (size_t)f.n_eta) == 0);
  }
  CHECK(value[0] == value[1]);
}

/* Blocks of the inverse against the inverse of all of the Hessian, column by column of it. */
static void test_information(void) {
  static sky_fixture x;
  enum { N = 33 };
  double dense[N * N], unit[N], covariance[FIX_THETA * FIX_THETA * FIX_N], nodes[49];
  int expected = -1;
  sky_field f;
  fixture_make(&x, 1);
  sky_field_open(&f, &x.spec, x.theta, x.node, &fixture_memory);
  for (int b = 0; b < 2; b++) /* counts at their mean: at a maximum */
    for (int p = 0; p < FIX_NX * FIX_NY; p++) x.count[b][p] = x.use[b][p] * f.mean[b][p];
  CHECK(sky_information(&f, NULL, covariance, nodes, &expected, &fixture_memory) == ELBO_OK);
  CHECK(expected == 0);
  for (int a = 0; a < N; a++) {
    memset(unit, 0, sizeof unit);
    unit[a] = -1.0;
    sky_field_product(&f, unit, dense + N * a);
  }
  CHECK(la_chol(dense, N) == ELBO_OK);
  CHECK(la_inverse_from_chol(dense, N) == ELBO_OK);
  for (int s = 0; s < FIX_N; s++)
    for (int i = f.first[s]; i < f.first[s + 1]; i++)
      for (int k = f.first[s]; k < f.first[s + 1]; k++)
        CHECK_CLOSE(covariance[f.free[i] + FIX_THETA * (f.free[k] + FIX_THETA * s)],
                    dense[i + N * k], 1e-9);
  for (int i = 0; i < 7; i++)
    for (int k = 0; k < 7; k++) CHECK_CLOSE(nodes[i + 7 * k], dense[26 + i + N * (26 + k)], 1e-9);
}

/* The means of star 0's patch in image 0 at flux, x, y and a warp (l, a, b) everywhere. */
static void star_means(sky_fixture *x, const double *at, double *mean, size_t *size) {
  static double warp[SKY_N_WARP];
  sky_field f;
  for (int k = 0; k < 3; k++) warp[6 * k] = at[3 + k];
  x->image[0].warp = warp;
  x->theta[0] = 900 * at[0];
  x->theta[2] = at[1];
  x->theta[3] = at[2];
  sky_field_open(&f, &x->spec, x->theta, x->node, &fixture_memory);
  const sky_patch *patch = sky_patch_of(&f, 0, 0);
  *size = 0;
  for (int j = patch->y0; j <= patch->y1; j++)
    for (int i = patch->x0; i <= patch->x1; i++) mean[(*size)++] = f.mean[0][i + FIX_NX * j];
}

/* What a star tells of the warp about it, against differences of the mean: score and information
 * of flux, position and warp, the first three profiled. */
static void test_warp_score(void) {
  static sky_fixture x;
  static double mean[FIX_NX * FIX_NY], up[FIX_NX * FIX_NY], down[FIX_NX * FIX_NY];
  static double slope[6][FIX_NX * FIX_NY];
  double at[6] = {1.0, 12.3, 11.8, 0.0, 0.0, 0.0}, g[6] = {0.0}, I[36] = {0.0}, A[9], W[9], y[3];
  double score[3], information[9];
  const int star = 0;
  size_t size;
  fixture_make(&x, 1);
  for (int s = 1; s < FIX_N; s++) x.theta[FIX_THETA * s] = 1e-9; /* the others are warped too */
  star_means(&x, at, mean, &size);
  for (int a = 0; a < 6; a++) {
    const double h = 1e-4, keep = at[a];
    at[a] = keep + h;
    star_means(&x, at, up, &size);
    at[a] = keep - h;
    star_means(&x, at, down, &size);
    at[a] = keep;
    for (size_t p = 0; p < size; p++) slope[a][p] = (up[p] - down[p]) / (2 * h);
  }
  star_means(&x, at, mean, &size);
  sky_field f;
  sky_field_open(&f, &x.spec, x.theta, x.node, &fixture_memory);
  const sky_patch *patch = sky_patch_of(&f, 0, 0);
  for (size_t p = 0; p < size; p++) {
    const int i = patch->x0 + (int)p % patch_width(patch);
    const int j = patch->y0 + (int)p / patch_width(patch);
    if (x.use[0][i + FIX_NX * j] == 0.0) continue;
    for (int a = 0; a < 6; a++) {
      g[a] += (x.count[0][i + FIX_NX * j] / mean[p] - 1.0) * slope[a][p];
      for (int c = 0; c < 6; c++) I[c + 6 * a] += slope[a][p] * slope[c][p] / mean[p];
    }
  }
  for (int a = 0; a < 3; a++)
    for (int c = 0; c < 3; c++) A[c + 3 * a] = I[c + 6 * a];
  CHECK(la_chol(A, 3) == ELBO_OK && la_inverse_from_chol(A, 3) == ELBO_OK);
  for (int a = 0; a < 3; a++) y[a] = dot(A + 3 * a, g, 3);
  sky_psf_score(&f, 0, &star, 1, score, information);
  for (int a = 0; a < 3; a++) {
    double s = g[3 + a];
    for (int c = 0; c < 3; c++) s -= I[c + 6 * (3 + a)] * y[c];
    CHECK(fabs(score[a] - s) < 1e-5 * sqrt(I[7 * (3 + a)]));
    la_multiply(A, I + 6 * (3 + a), 3, 3, 1, W);
    for (int c = 0; c < 3; c++) {
      double v = I[3 + c + 6 * (3 + a)];
      for (int k = 0; k < 3; k++) v -= I[k + 6 * (3 + c)] * W[k];
      CHECK(fabs(information[c + 3 * a] - v) < 1e-5 * I[7 * (3 + a)]);
    }
  }
}

int main(void) {
  test_warp_score();
  test_information();
  test_star();
  test_shape();
  test_derivatives();
  test_threads();
  return FINISH();
}
