#include "sky/profile.h"

#include <math.h>
#include <string.h>

#include "math/small.h"

#define TWO_PI 6.283185307179586476925286766559

/* The exponential and de Vaucouleurs laws of surface brightness, with the outer edges of SDSS, as
 * mixtures of normals nearest in Kullback-Leibler divergence (data-raw/sky_profiles.R); variances
 * in units of the squared half-light radius.  The idea is Hogg & Lang's (2013, PASP 125:719). */
enum { N_EXP = 4, N_DEV = 6 };
static const double exp_weight[N_EXP] = {0.003493884617, 0.046490901697, 0.322311096867,
                                         0.627704116819};
static const double exp_variance[N_EXP] = {0.008201280394, 0.061233725625, 0.308027478704,
                                           1.289386175204};
static const double dev_weight[N_DEV] = {0.01085252536, 0.05145403953, 0.13230671498,
                                         0.22679264168, 0.28647678399, 0.29211729446};
static const double dev_variance[N_DEV] = {0.0002256859067, 0.0035985861355, 0.0299791166839,
                                           0.1873264143234, 1.0402344878299, 7.1741737007602};

/* With M = [a, b; b, -a] and e^2 = a^2 + b^2, exp(2 M) = cosh 2e I + sinh 2e / e M.  Here are
 * c = cosh 2e, s = sinh 2e / e, d = s' / e and h = d' / e, by series where they cancel:
 * s = sum_k 2^(2k + 1) e^(2k) / (2k + 1)!. */
static void hyperbolic(double e2, double *c, double *s, double *d, double *h) {
  const double e = sqrt(e2);
  *c = cosh(2.0 * e);
  if (e2 > 1.0) {
    *s = sinh(2.0 * e) / e;
    *d = (2.0 * *c - *s) / e2;
    *h = (4.0 * *s - 3.0 * *d) / e2;
    return;
  }
  double term = 2.0; /* 2^(2k + 1) / (2k + 1)! */
  double power[14] = {1.0};
  *s = term;
  *d = *h = 0.0;
  for (int k = 1; k < 14; k++) {
    power[k] = power[k - 1] * e2;
    term *= 4.0 / (2.0 * k * (2.0 * k + 1.0));
    *s += term * power[k];
    *d += 2.0 * k * term * power[k - 1];
    if (k > 1) *h += 2.0 * k * (2.0 * k - 2.0) * term * power[k - 2];
  }
}

void sky_shape(const double *shape, double *matrix, double *slope, double *second) {
  const double l = shape[SKY_LOG_RADIUS], a = shape[SKY_A], b = shape[SKY_B], scale = exp(2.0 * l);
  double c, s, d, h;
  hyperbolic(a * a + b * b, &c, &s, &d, &h);
  matrix[0] = scale * (c + s * a);
  matrix[1] = scale * s * b;
  matrix[2] = scale * (c - s * a);
  if (slope == NULL) return;
  for (int i = 0; i < 3; i++) slope[i] = 2.0 * matrix[i];
  slope[3] = scale * (2.0 * s * a + s + d * a * a);
  slope[4] = scale * d * a * b;
  slope[5] = scale * (2.0 * s * a - s - d * a * a);
  slope[6] = scale * (2.0 * s * b + d * a * b);
  slope[7] = scale * (s + d * b * b);
  slope[8] = scale * (2.0 * s * b - d * a * b);
  if (second == NULL) return;
  for (int i = 0; i < 9; i++) second[i] = 2.0 * slope[i];
  const double haaa = 3.0 * d * a + h * a * a * a, haab = d * b + h * a * a * b;
  const double habb = d * a + h * a * b * b;
  second[9] = scale * (2.0 * s + 2.0 * d * a * a + haaa);
  second[10] = scale * haab;
  second[11] = scale * (2.0 * s + 2.0 * d * a * a - haaa);
  second[12] = scale * (2.0 * d * a * b + haab);
  second[13] = scale * habb;
  second[14] = scale * (2.0 * d * a * b - haab);
  second[15] = scale * (2.0 * s + 2.0 * d * b * b + habb);
  second[16] = scale * (3.0 * d * b + h * b * b * b);
  second[17] = scale * (2.0 * s + 2.0 * d * b * b - habb);
}

void sky_transform(const double *affine, double *S) {
  const double p = affine[2], q = affine[3], r = affine[4], s = affine[5];
  const double xx = S[0], xy = S[1], yy = S[2];
  S[0] = p * p * xx + 2.0 * p * q * xy + q * q * yy;
  S[1] = p * r * xx + (p * s + q * r) * xy + q * s * yy;
  S[2] = r * r * xx + 2.0 * r * s * xy + s * s * yy;
}

void sky_warp(const sky_image *image, double x, double y, double *A) {
  const double u = (2.0 * x - 1.0) / image->nx - 1.0, v = (2.0 * y - 1.0) / image->ny - 1.0;
  const double basis[6] = {1.0, u, v, u * u, u * v, v * v};
  double lab[SKY_N_SHAPE] = {0.0};
  if (image->warp != NULL)
    for (int k = 0; k < 3; k++)
      lab[SKY_LOG_RADIUS + k] = 0.5 * dot(image->warp + 6 * k, basis, 6);
  sky_shape(lab, A, NULL, NULL); /* which is exp 2 [..] */
}

/* The point-spread function's normals under A; covariance and mean are room for them. */
static sky_psf warped(const sky_psf *psf, const double *A, double *mean, double *covariance) {
  const double affine[6] = {0.0, 0.0, A[0], A[1], A[1], A[2]};
  const sky_psf here = {psf->n, psf->weight, mean, covariance};
  memcpy(covariance, psf->covariance, 3 * (size_t)psf->n * sizeof *covariance);
  for (int k = 0; k < psf->n; k++) {
    const double *m = psf->mean + 2 * k;
    sky_transform(affine, covariance + 3 * k);
    mean[2 * k] = A[0] * m[0] + A[1] * m[1];
    mean[2 * k + 1] = A[1] * m[0] + A[2] * m[1];
  }
  return here;
}

/* One law of the profile, of n normals, through the point-spread function. */
typedef struct {
  int n;
  const double *weight, *variance;
  double part, sign;
} profile_law;

static int add_law(const sky_psf *psf, const double *at, const double *matrix,
                   const profile_law *law, sky_normal *normal) {
  int count = 0;
  for (int k = 0; k < psf->n; k++)
    for (int m = 0; m < law->n; m++) {
      sky_normal *c = normal + count++;
      const double *C = psf->covariance + 3 * k;
      const double v = law->variance[m];
      const double xx = C[0] + v * matrix[0], xy = C[1] + v * matrix[1];
      const double yy = C[2] + v * matrix[2], det = xx * yy - xy * xy;
      c->density = psf->weight[k] * law->weight[m] / (TWO_PI * sqrt(det));
      c->part = law->part;
      c->sign = law->sign;
      c->x = at[0] + psf->mean[2 * k];
      c->y = at[1] + psf->mean[2 * k + 1];
      c->xx = yy / det;
      c->xy = -xy / det;
      c->yy = xx / det;
      c->v = v;
    }
  return count;
}

int sky_profile(const sky_image *image, const double *A, sky_type type, const double *shape,
                sky_normal *normal) {
  static const double one = 1.0, zero = 0.0;
  const double *map = image->affine;
  const double at[2] = {map[0] + map[2] * shape[SKY_X] + map[3] * shape[SKY_Y],
                        map[1] + map[4] * shape[SKY_X] + map[5] * shape[SKY_Y]};
  double matrix[3] = {0.0, 0.0, 0.0}, mean[2 * SKY_MAX_PSF], covariance[3 * SKY_MAX_PSF];
  const sky_psf psf = warped(&image->psf, A, mean, covariance);
  const profile_law point = {1, &one, &zero, 1.0, 0.0};
  if (type == SKY_STAR) return add_law(&psf, at, matrix, &point, normal);
  const double dev = type == SKY_COMPOSITE ? shape[SKY_DEV] : type == SKY_DE_VAUCOULEURS;
  const profile_law disc = {N_EXP, exp_weight, exp_variance, 1.0 - dev, -1.0};
  const profile_law bulge = {N_DEV, dev_weight, dev_variance, dev, 1.0};
  sky_shape(shape, matrix, NULL, NULL);
  sky_transform(map, matrix);
  int n = 0;
  if (type != SKY_DE_VAUCOULEURS) n += add_law(&psf, at, matrix, &disc, normal);
  if (type != SKY_EXPONENTIAL) n += add_law(&psf, at, matrix, &bulge, normal + n);
  return n;
}
