#include "sky/psf.h"

#include <math.h>
#include <string.h>

#include "math/la.h"
#include "math/small.h"

/* Of a log-likelihood: less is nothing to the choice of the number of normals. */
#define SETTLED 0.05

#define TWO_PI 6.283185307179586476925286766559

/* What EM counts: photons of each normal, and their first and second moments about the star. */
typedef struct {
  double n[SKY_MAX_PSF], first[2 * SKY_MAX_PSF], second[3 * SKY_MAX_PSF], value;
} moments;

/* Normals in coordinates A^{-1} (x, y), of which A is the warp at a star. */
typedef struct {
  int n;
  double top[SKY_MAX_PSF], P[3 * SKY_MAX_PSF];
} normals;

typedef struct {
  double det, xx, xy, yy; /* of A^{-1} */
} unwarp;

static unwarp unwarp_at(const sky_patch *patch) {
  const double *A = patch->warp, det = A[0] * A[2] - A[1] * A[1];
  const unwarp u = {1.0 / det, A[2] / det, -A[1] / det, A[0] / det};
  return u;
}

static void prepare(normals *N, int n, const double *weight, const double *covariance) {
  N->n = n;
  for (int k = 0; k < n; k++) {
    const double *C = covariance + 3 * k, det = C[0] * C[2] - C[1] * C[1];
    N->top[k] = weight[k] / (TWO_PI * sqrt(det));
    N->P[3 * k] = C[2] / det;
    N->P[3 * k + 1] = -C[1] / det;
    N->P[3 * k + 2] = C[0] / det;
  }
}

/* Adds (count / mu - 1) times the light of each normal, and its moments, over the patch of a star
 * at (x, y) with this flux; kept is the mean without it. */
static void add_star(const sky_image *image, const sky_patch *patch, const double *kept,
                     const normals *N, double flux, double x, double y, moments *m) {
  const unwarp u = unwarp_at(patch);
  for (int j = patch->y0; j <= patch->y1; j++)
    for (int i = patch->x0; i <= patch->x1; i++, kept++) {
      const size_t p = (size_t)j * (size_t)image->nx + (size_t)i;
      const double rx = i + 1.0 - x, ry = j + 1.0 - y, e = flux * image->exposure[i] * u.det;
      const double dx = u.xx * rx + u.xy * ry, dy = u.xy * rx + u.yy * ry;
      double light[SKY_MAX_PSF], lambda = 0.0;
      if (image->use[p] == 0.0) continue;
      for (int k = 0; k < N->n; k++) {
        const double *P = N->P + 3 * k;
        light[k] =
            e * N->top[k] * exp(-0.5 * (P[0] * dx * dx + 2.0 * P[1] * dx * dy + P[2] * dy * dy));
        lambda += light[k];
      }
      const double mu = *kept + lambda, r = image->count[p] / mu - 1.0;
      m->value += image->count[p] * log(mu) - mu;
      for (int k = 0; k < N->n; k++) {
        const double t = r * light[k];
        m->n[k] += t;
        m->first[2 * k] += t * dx;
        m->first[2 * k + 1] += t * dy;
        m->second[3 * k] += t * dx * dx;
        m->second[3 * k + 1] += t * dx * dy;
        m->second[3 * k + 2] += t * dy * dy;
      }
    }
}

/* Flux and position of a star: photons over exposure, and their mean weighed by precision. */
static void move_star(const normals *N, const double *weight, const moments *m, double exposure,
                      const double *warp, double *flux, double *x, double *y) {
  double A[3] = {0.0}, g[2] = {0.0}, photons = *flux * exposure;
  for (int k = 0; k < N->n; k++) {
    const double *P = N->P + 3 * k, own = *flux * exposure * weight[k] + m->n[k];
    for (int i = 0; i < 3; i++) A[i] += own * P[i];
    g[0] += P[0] * m->first[2 * k] + P[1] * m->first[2 * k + 1];
    g[1] += P[1] * m->first[2 * k] + P[2] * m->first[2 * k + 1];
    photons += m->n[k];
  }
  const double det = A[0] * A[2] - A[1] * A[1];
  if (det > 0.0) {
    const double dx = (A[2] * g[0] - A[1] * g[1]) / det, dy = (A[0] * g[1] - A[1] * g[0]) / det;
    *x += warp[0] * dx + warp[1] * dy;
    *y += warp[1] * dx + warp[2] * dy;
  }
  *flux = fmax(photons, 1e-3) / exposure;
}

static void take_out(sky_field *f, int s, int b) {
  const sky_image *image = f->spec->image + b;
  const sky_patch *patch = sky_patch_of(f, s, b);
  const double flux = sky_theta_of(f, s)[image->band], *light = f->planes + patch->at;
  double *kept = f->kept + patch->at / SKY_MAX_PLANES;
  for (int j = patch->y0; j <= patch->y1; j++)
    for (int i = patch->x0; i <= patch->x1; i++)
      *kept++ = f->mean[b][(size_t)j * (size_t)image->nx + (size_t)i] - flux * *light++;
}

/* Stars differ from each other by some thousandths, whatever the normals: each tells no more than
 * one of this many photons, however bright it is. */
#define MOST_PHOTONS 1e5
static double share_of(const sky_field *f, int b, int s) {
  const sky_image *image = f->spec->image + b;
  const double photons = sky_theta_of(f, s)[image->band] * image->exposure[image->nx / 2];
  return 1.0 / (1.0 + photons / MOST_PHOTONS);
}

/* One step over all stars; returns the log-likelihood before it, each star's times its share. */
static double step(sky_field *f, int b, const int *star, const double *share, int n_star, int n,
                   double *weight, double *covariance) {
  const sky_image *image = f->spec->image + b;
  normals N;
  moments all;
  double total = 0.0, value = 0.0;
  prepare(&N, n, weight, covariance);
  memset(&all, 0, sizeof all);
  for (int o = 0; o < n_star; o++) {
    const int s = star[o];
    const sky_patch *patch = sky_patch_of(f, s, b);
    double *theta = sky_theta_of(f, s), *at = theta + f->spec->n_band;
    const double *A = image->affine;
    double x = A[0] + A[2] * at[0] + A[3] * at[1], y = A[1] + A[4] * at[0] + A[5] * at[1];
    const double x0 = x, y0 = y, det = A[2] * A[5] - A[3] * A[4];
    const double exposure = image->exposure[smaller(image->nx - 1, larger(0, (int)(x - 0.5)))];
    const double expected = theta[image->band] * exposure;
    moments m;
    memset(&m, 0, sizeof m);
    add_star(image, patch, f->kept + patch->at / SKY_MAX_PLANES, &N, theta[image->band], x, y, &m);
    for (int k = 0; k < n; k++) {
      all.n[k] += share[o] * (expected * weight[k] + m.n[k]);
      for (int i = 0; i < 3; i++)
        all.second[3 * k + i] +=
            share[o] * (expected * weight[k] * covariance[3 * k + i] + m.second[3 * k + i]);
    }
    value += share[o] * m.value;
    move_star(&N, weight, &m, exposure, patch->warp, theta + image->band, &x, &y);
    at[0] += (A[5] * (x - x0) - A[3] * (y - y0)) / det;
    at[1] += (A[2] * (y - y0) - A[4] * (x - x0)) / det;
  }
  for (int k = 0; k < n; k++) {
    all.n[k] = fmax(all.n[k], 1e-8);
    total += all.n[k];
  }
  for (int k = 0; k < n; k++) {
    const double *S = all.second + 3 * k, own = all.n[k];
    const double xx = S[0] / own, xy = S[1] / own, yy = S[2] / own;
    weight[k] = own / total;
    if (!(xx > 0.04 && yy > 0.04 && xx * yy - xy * xy > 0.0016)) continue;
    covariance[3 * k] = xx;
    covariance[3 * k + 1] = xy;
    covariance[3 * k + 2] = yy;
  }
  return value;
}

double sky_psf_em(sky_field *f, int b, const int *star, int n_star, int n, int iterations,
                  double *weight, double *covariance, double *share) {
  double value = -INFINITY, last = INFINITY;
  for (int o = 0; o < n_star; o++) {
    take_out(f, star[o], b);
    share[o] = share_of(f, b, star[o]);
  }
  for (int i = 0; i < iterations; i++) {
    const double before = value;
    value = step(f, b, star, share, n_star, n, weight, covariance);
    const double gain = value - before, rate = gain / last;
    last = gain;
    /* What is still to come, by Aitken: the gains are a geometric series. */
    if (i > 2 && gain >= 0.0 && rate < 1.0 && gain * rate / (1.0 - rate) < SETTLED) break;
  }
  return value;
}

/* ---- how it varies ----------------------------------------------------------------------------*/

/* Of a star: flux (relative), position, and l, a, b of a further warp. */
enum { N_STAR = 6 };

/* The light of the normals here, over that of a unit of flux, and its slopes: in the position, -g';
 * in a warp, whose matrix M changes the covariance C by M C + C M, half of what that is against the
 * second derivatives, and the mean about the star by M times it. */
static void star_slopes(const sky_normal *normal, int n, const double *star, double px, double py,
                        double *slope) {
  memset(slope, 0, N_STAR * sizeof *slope);
  for (int k = 0; k < n; k++) {
    const sky_normal *c = normal + k;
    const double dx = px - c->x, dy = py - c->y;
    const double ux = c->xx * dx + c->xy * dy, uy = c->xy * dx + c->yy * dy;
    const double g = c->density * exp(-0.5 * (ux * dx + uy * dy));
    slope[0] += g;
    slope[1] += g * ux;
    slope[2] += g * uy;
    /* u'Cu / 2 - tr(PC) / 2 in direction M is u'M d - tr M, as C u = d. */
    const double ex = dx + c->x - star[0], ey = dy + c->y - star[1];
    slope[3] += g * (ux * ex + uy * ey - 2.0);
    slope[4] += g * (ux * ex - uy * ey);
    slope[5] += g * (ux * ey + uy * ex);
  }
}

/* Score and information of (l, a, b), the other three profiled: a Schur complement. */
static void profile_out(double *I, const double *g, double *score, double *information) {
  double A[9], B[9], x[3], W[9];
  for (int i = 0; i < 3; i++)
    for (int j = 0; j < 3; j++) {
      A[j + 3 * i] = I[j + N_STAR * i];
      B[j + 3 * i] = I[j + N_STAR * (3 + i)]; /* rows of flux and position, columns of the warp */
    }
  memset(score, 0, 3 * sizeof *score);
  memset(information, 0, 9 * sizeof *information);
  if (la_chol(A, 3) != ELBO_OK || la_inverse_from_chol(A, 3) != ELBO_OK) return;
  la_multiply(A, B, 3, 3, 3, W);
  for (int i = 0; i < 3; i++) x[i] = dot(A + 3 * i, g, 3);
  for (int i = 0; i < 3; i++) {
    score[i] = g[3 + i] - dot(B + 3 * i, x, 3);
    for (int j = 0; j < 3; j++)
      information[j + 3 * i] = I[3 + j + N_STAR * (3 + i)] - dot(B + 3 * j, W + 3 * i, 3);
  }
}

void sky_psf_tells(const sky_image *image, const sky_patch *patch, const double *shape,
                   double flux, const double *mu, double *score, double *information) {
  sky_normal normal[SKY_MAX_NORMALS];
  double g[N_STAR] = {0.0}, I[N_STAR * N_STAR] = {0.0}, slope[N_STAR];
  const int n = sky_profile(image, patch->warp, SKY_STAR, shape, normal);
  const double *map = image->affine;
  const double star[2] = {map[0] + map[2] * shape[SKY_X] + map[3] * shape[SKY_Y],
                          map[1] + map[4] * shape[SKY_X] + map[5] * shape[SKY_Y]};
  for (int j = patch->y0; j <= patch->y1; j++)
    for (int i = patch->x0; i <= patch->x1; i++, mu++) {
      const size_t p = (size_t)j * (size_t)image->nx + (size_t)i;
      if (image->use[p] == 0.0 || !(*mu > 0.0)) continue;
      const double e = flux * image->exposure[i];
      star_slopes(normal, n, star, i + 1.0, j + 1.0, slope);
      for (int a = 0; a < N_STAR; a++) {
        g[a] += (image->count[p] / *mu - 1.0) * e * slope[a];
        for (int c = 0; c < N_STAR; c++) I[c + N_STAR * a] += e * e * slope[a] * slope[c] / *mu;
      }
    }
  profile_out(I, g, score, information);
}

void sky_psf_score(sky_field *f, int b, const int *star, int n_star, double *score,
                   double *information) {
  const sky_image *image = f->spec->image + b;
  for (int o = 0; o < n_star; o++) {
    const sky_patch *patch = sky_patch_of(f, star[o], b);
    const double *theta = sky_theta_of(f, star[o]);
    double *mu = f->kept + patch->at / SKY_MAX_PLANES, *to = mu;
    for (int j = patch->y0; j <= patch->y1; j++)
      for (int i = patch->x0; i <= patch->x1; i++)
        *to++ = f->mean[b][(size_t)j * (size_t)image->nx + (size_t)i];
    sky_psf_tells(image, patch, theta + f->spec->n_band, theta[image->band], mu, score + 3 * o,
                  information + 9 * o);
  }
}
