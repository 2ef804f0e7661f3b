#include "sky/patch.h"

#include <math.h>
#include <string.h>

#include "math/small.h"

int sky_planes(sky_type type) { return type == SKY_STAR ? 3 : type == SKY_COMPOSITE ? 7 : 6; }

/* The normals of a source, about the corner of its patch: pixel (i, j) of the patch is at
 * (i + 1, j + 1). */
static int normals_about(const sky_image *image, const sky_patch *patch, sky_type type,
                         const double *shape, sky_normal *normal) {
  const int n = sky_profile(image, patch->warp, type, shape, normal);
  for (int c = 0; c < n; c++) {
    normal[c].x -= patch->x0;
    normal[c].y -= patch->y0;
  }
  return n;
}

/* A normal is left out beyond seven of its standard deviations, where it is 2e-11 of its peak. */
enum { FAR = 49 };

/* density exp(..) of a normal at row j and pixels lo..hi of a patch: along a row it is a sequence
 * whose ratios have a constant ratio, so it takes four exponentials.  0 where it is nothing. */
static int normal_row(const sky_normal *c, int j, int width, double *g, int *lo, int *hi) {
  const double dy = j + 1.0 - c->y, centre = c->x - c->xy / c->xx * dy;
  const double rest = (c->yy - c->xy * c->xy / c->xx) * dy * dy;
  if (!(rest <= FAR)) return 0;
  const double half = sqrt((FAR - rest) / c->xx);
  if (centre - half > width || centre + half < 1.0) return 0;
  *lo = larger(0, (int)ceil(centre - half - 1.0));
  *hi = smaller(width - 1, (int)floor(centre + half - 1.0));
  if (*lo > *hi) return 0;
  const int start = centre < *lo + 1.0 ? *lo : centre > *hi + 1.0 ? *hi : (int)(centre - 0.5);
  const double dx = start + 1.0 - centre; /* the row is exp(-rest / 2 - xx dx^2 / 2) */
  const double top = c->density * exp(-0.5 * (rest + c->xx * dx * dx)), q = exp(-c->xx);
  double value = top, ratio = exp(-c->xx * (dx + 0.5));
  for (int i = start; i <= *hi; i++) {
    g[i] = value;
    value *= ratio;
    ratio *= q;
  }
  value = top;
  ratio = exp(c->xx * (dx - 0.5));
  for (int i = start - 1; i >= *lo; i--) {
    value *= ratio;
    ratio *= q;
    g[i] = value;
  }
  return 1;
}

/* f and its slopes in the centre. */
static void add_light(const sky_normal *c, int j, int lo, int hi, const double *restrict g,
                      double *restrict f, double *restrict fx, double *restrict fy) {
  double ux = c->part * (c->xx * (lo + 1.0 - c->x) + c->xy * (j + 1.0 - c->y));
  double uy = c->part * (c->xy * (lo + 1.0 - c->x) + c->yy * (j + 1.0 - c->y));
  const double step_x = c->part * c->xx, step_y = c->part * c->xy;
  for (int i = lo; i <= hi; i++) {
    f[i] += c->part * g[i];
    fx[i] += g[i] * ux;
    fy[i] += g[i] * uy;
    ux += step_x;
    uy += step_y;
  }
}

/* Slopes in the shape matrix: that of a normal in its covariance is half its second derivative. */
static void add_shape(const sky_normal *c, int j, int lo, int hi, const double *restrict g,
                      double *restrict sxx, double *restrict sxy, double *restrict syy) {
  const double v = c->part * c->v;
  double ux = c->xx * (lo + 1.0 - c->x) + c->xy * (j + 1.0 - c->y);
  double uy = c->xy * (lo + 1.0 - c->x) + c->yy * (j + 1.0 - c->y);
  for (int i = lo; i <= hi; i++) {
    const double vg = v * g[i];
    sxx[i] += 0.5 * vg * (ux * ux - c->xx);
    sxy[i] += vg * (ux * uy - c->xy);
    syy[i] += 0.5 * vg * (uy * uy - c->yy);
    ux += c->xx;
    uy += c->xy;
  }
}

/* Slopes in this image's coordinates and shape matrix to those in the source's own, and all times
 * the electrons of a unit of flux. */
static void finish(const sky_image *image, const sky_patch *patch, const double *slope, int n_plane,
                   double **plane) {
  const double *A = image->affine;
  size_t p = 0;
  for (int j = patch->y0; j <= patch->y1; j++)
    for (int i = patch->x0; i <= patch->x1; i++, p++) {
      const double e = image->exposure[i] * image->use[(size_t)j * (size_t)image->nx + (size_t)i];
      const double fx = plane[1][p], fy = plane[2][p];
      plane[0][p] *= e;
      plane[1][p] = e * (A[2] * fx + A[4] * fy);
      plane[2][p] = e * (A[3] * fx + A[5] * fy);
      if (n_plane == 3) continue;
      const double s[3] = {e * plane[3][p], e * plane[4][p], e * plane[5][p]};
      for (int k = 0; k < 3; k++) plane[3 + k][p] = dot(s, slope + 3 * k, 3);
      if (n_plane == 7) plane[6][p] *= e;
    }
}

/* The slope (3 x 3) and second derivatives (3 x 6) of the shape matrix as this image shows it. */
static void shape_here(const sky_image *image, const double *shape, double *slope, double *second) {
  double matrix[3];
  sky_shape(shape, matrix, slope, second);
  for (int k = 0; k < 3; k++) sky_transform(image->affine, slope + 3 * k);
  for (int k = 0; second != NULL && k < 6; k++) sky_transform(image->affine, second + 3 * k);
}

void sky_patch_fill(const sky_image *image, const sky_patch *patch, sky_type type,
                    const double *shape, double *planes, double *row) {
  const size_t size = patch_size(patch);
  const int width = patch_width(patch), height = patch_height(patch);
  const int n_plane = sky_planes(type);
  sky_normal normal[SKY_MAX_NORMALS];
  double slope[9], *plane[SKY_MAX_PLANES];
  memset(planes, 0, (size_t)n_plane * size * sizeof *planes);
  for (int k = 0; k < n_plane; k++) plane[k] = planes + (size_t)k * size;
  if (size == 0) return;
  const int n = normals_about(image, patch, type, shape, normal);
  for (int c = 0; c < n; c++)
    for (int j = 0; j < height; j++) {
      const size_t at = (size_t)j * (size_t)width;
      int lo, hi;
      if (!normal_row(normal + c, j, width, row, &lo, &hi)) continue;
      add_light(normal + c, j, lo, hi, row, plane[0] + at, plane[1] + at, plane[2] + at);
      if (n_plane > 3)
        add_shape(normal + c, j, lo, hi, row, plane[3] + at, plane[4] + at, plane[5] + at);
      for (int i = lo; n_plane == 7 && i <= hi; i++)
        plane[6][at + (size_t)i] += normal[c].sign * row[i];
    }
  if (type != SKY_STAR) shape_here(image, shape, slope, NULL);
  finish(image, patch, slope, n_plane, plane);
}

void sky_patch_light(const sky_image *image, const sky_patch *patch, sky_type type,
                     const double *shape, double *light, double *row) {
  const size_t size = patch_size(patch);
  const int width = patch_width(patch), height = patch_height(patch);
  sky_normal normal[SKY_MAX_NORMALS];
  memset(light, 0, size * sizeof *light);
  if (size == 0) return;
  const int n = normals_about(image, patch, type, shape, normal);
  for (int c = 0; c < n; c++)
    for (int j = 0; j < height; j++) {
      double *restrict out = light + (size_t)j * (size_t)width;
      int lo, hi;
      if (!normal_row(normal + c, j, width, row, &lo, &hi)) continue;
      for (int i = lo; i <= hi; i++) out[i] += normal[c].part * row[i];
    }
  for (int j = patch->y0; j <= patch->y1; j++)
    for (int i = patch->x0; i <= patch->x1; i++)
      *light++ *= image->exposure[i] * image->use[(size_t)j * (size_t)image->nx + (size_t)i];
}

/* ---- second derivatives ---------------------------------------------------------------------- */

/* m[a + 5 b] += sum_i w_i ux^a uy^b for a + b <= order. */
static void add_moments(const sky_normal *c, int j, int lo, int hi, const double *w, int order,
                        double *m) {
  for (int i = lo; i <= hi; i++) {
    const double ux = c->xx * (i + 1.0 - c->x) + c->xy * (j + 1.0 - c->y);
    const double uy = c->xy * (i + 1.0 - c->x) + c->yy * (j + 1.0 - c->y);
    double along_y = w[i];
    for (int b = 0; b <= order; b++, along_y *= uy) {
      double term = along_y;
      for (int a = 0; a + b <= order; a++, term *= ux) m[a + 5 * b] += term;
    }
  }
}

/* sum w N^(a, b) / N: derivatives of a normal in its centre, by the recursion of Hermite
 * polynomials in two variables, H_(k + e_i) = u_i H_k - sum_j P_ij k_j H_(k - e_j). */
static void derivatives(const sky_normal *c, const double *m, int order, double *D) {
  /* H as polynomials: coefficient[k][a + 5 b] of ux^a uy^b, k = a' + 5 b' the order. */
  double H[25][25];
  memset(H, 0, sizeof H);
  H[0][0] = 1.0;
  for (int total = 1; total <= order; total++)
    for (int kb = 0; kb <= total; kb++) {
      const int ka = total - kb, by_x = ka > 0, k = ka + 5 * kb;
      const int la = by_x ? ka - 1 : ka, lb = by_x ? kb : kb - 1; /* the order below */
      const double *below = H[la + 5 * lb];
      const double px = by_x ? c->xx : c->xy, py = by_x ? c->xy : c->yy;
      for (int t = 0; t < 25; t++)
        if (below[t] != 0.0) H[k][t + (by_x ? 1 : 5)] += below[t];
      for (int t = 0; t < 25; t++) {
        if (la > 0) H[k][t] -= px * la * H[la - 1 + 5 * lb][t];
        if (lb > 0) H[k][t] -= py * lb * H[la + 5 * (lb - 1)][t];
      }
    }
  for (int kb = 0; kb <= order; kb++)
    for (int ka = 0; ka + kb <= order; ka++) {
      double sum = 0.0;
      for (int t = 0; t < 25; t++) sum += H[ka + 5 * kb][t] * m[t];
      D[ka + 5 * kb] = sum;
    }
}

/* Adds one normal's second derivatives in (x, y, Sxx, Sxy, Syy) to H (5 x 5), slopes in S to GS
 * (3), and the slopes in all five, by sign, to GD. */
static void add_curvature(const sky_normal *c, const double *D, double *H, double *GS, double *GD) {
  static const int order[5][2] = {{1, 0}, {0, 1}, {2, 0}, {1, 1}, {0, 2}};
  const double factor[5] = {1.0, 1.0, 0.5 * c->v, c->v, 0.5 * c->v};
  for (int i = 0; i < 5; i++) {
    const double slope = factor[i] * D[order[i][0] + 5 * order[i][1]];
    if (i > 1) GS[i - 2] += c->part * slope;
    GD[i] += c->sign * slope;
    for (int k = 0; k < 5; k++)
      H[i + 5 * k] += c->part * factor[i] * factor[k] *
                      D[order[i][0] + order[k][0] + 5 * (order[i][1] + order[k][1])];
  }
}

/* From (x, y, S) of the image to (x, y, log_radius, a, b, dev) of the source. */
static void to_source(const sky_image *image, const double *shape, const double *H,
                      const double *GS, const double *GD, int n, double *hessian) {
  static const int second_of[3][3] = {{0, 1, 2}, {1, 3, 4}, {2, 4, 5}};
  const double *A = image->affine;
  double slope[9], second[18], J[25] = {0.0};
  J[0] = A[2];
  J[1] = A[4];
  J[5] = A[3];
  J[6] = A[5];
  if (n > 2) {
    shape_here(image, shape, slope, second);
    for (int k = 0; k < 3; k++)
      for (int i = 0; i < 3; i++) J[2 + i + 5 * (2 + k)] = slope[i + 3 * k];
  }
  memset(hessian, 0, square(n) * sizeof *hessian);
  const int inner = smaller(n, 5);
  for (int i = 0; i < inner; i++) {
    for (int k = 0; k < inner; k++) {
      double sum = 0.0;
      for (int r = 0; r < 5; r++) sum += J[r + 5 * i] * dot(H + 5 * r, J + 5 * k, 5);
      if (i > 1 && k > 1) sum += dot(GS, second + 3 * second_of[i - 2][k - 2], 3);
      hessian[i + n * k] = sum;
    }
    if (n == 6) hessian[i + n * 5] = hessian[5 + n * i] = dot(GD, J + 5 * i, 5);
  }
}

void sky_patch_curvature(const sky_image *image, const sky_patch *patch, sky_type type,
                         const double *shape, const double *r, double *hessian, double *row) {
  const int width = patch_width(patch), height = patch_height(patch);
  const int n_free = sky_planes(type) - 1, order = type == SKY_STAR ? 2 : 4;
  sky_normal normal[SKY_MAX_NORMALS];
  double H[25] = {0.0}, GS[3] = {0.0}, GD[5] = {0.0}, *w = row + image->nx;
  const int n = patch_size(patch) > 0 ? normals_about(image, patch, type, shape, normal) : 0;
  for (int c = 0; c < n; c++) {
    double m[25] = {0.0}, D[25] = {0.0};
    for (int j = 0; j < height; j++) {
      const double *rj = r + (size_t)(patch->y0 + j) * (size_t)image->nx + (size_t)patch->x0;
      int lo, hi;
      if (!normal_row(normal + c, j, width, row, &lo, &hi)) continue;
      for (int i = lo; i <= hi; i++) w[i] = row[i] * rj[i] * image->exposure[patch->x0 + i];
      add_moments(normal + c, j, lo, hi, w, order, m);
    }
    derivatives(normal + c, m, order, D);
    add_curvature(normal + c, D, H, GS, GD);
  }
  to_source(image, shape, H, GS, GD, n_free, hessian);
}
