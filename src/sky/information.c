#include "sky/information.h"

#include <math.h>
#include <string.h>

#include "math/la.h"
#include "math/skyline.h"
#include "math/small.h"

static int overlap(const sky_patch *a, const sky_patch *b) {
  return patch_size(a) > 0 && patch_size(b) > 0 && a->x0 <= b->x1 && b->x0 <= a->x1 &&
         a->y0 <= b->y1 && b->y0 <= a->y1;
}

int sky_neighbours(const sky_field *f, int s, int t) {
  for (int b = 0; b < f->spec->n_image; b++)
    if (overlap(sky_patch_of(f, s, b), sky_patch_of(f, t, b))) return 1;
  return 0;
}

/* sum over both patches of slope a of s times slope c of t times w. */
static double cross_entry(const sky_field *f, int s, int a, int t, int c) {
  double sum = 0.0;
  for (int b = 0; b < f->spec->n_image; b++) {
    const sky_image *image = f->spec->image + b;
    const sky_patch *p = sky_patch_of(f, s, b), *q = sky_patch_of(f, t, b);
    double fs, ft, here = 0.0;
    const double *ps = sky_slope_plane(f, s, b, a, &fs), *pt = sky_slope_plane(f, t, b, c, &ft);
    if (fs == 0.0 || ft == 0.0 || !overlap(p, q)) continue;
    const int x0 = larger(p->x0, q->x0), x1 = smaller(p->x1, q->x1);
    for (int j = larger(p->y0, q->y0); j <= smaller(p->y1, q->y1); j++) {
      const double *us = ps + (size_t)(j - p->y0) * (size_t)patch_width(p) + (x0 - p->x0);
      const double *ut = pt + (size_t)(j - q->y0) * (size_t)patch_width(q) + (x0 - q->x0);
      const double *w = f->scratch[b] + (size_t)j * (size_t)image->nx + x0;
      for (int i = 0; i <= x1 - x0; i++) here += us[i] * ut[i] * w[i];
    }
    sum += fs * ft * here;
  }
  return sum;
}

static skyline lay_out(const sky_field *f, const elbo_memory *mem) {
  const int n = f->first[f->spec->n];
  int *first = elbo_ints(mem, (size_t)n + 1);
  for (int s = 0; s < f->spec->n; s++) {
    int t = 0;
    while (t < s && !sky_neighbours(f, s, t)) t++;
    for (int i = f->first[s]; i < f->first[s + 1]; i++) first[i] = f->first[t];
  }
  size_t *start = mem->get(mem->ctx, ((size_t)n + 1) * sizeof *start);
  const size_t size = skyline_layout(n, first, start);
  skyline A = {n, first, start, elbo_doubles(mem, size + 1)};
  return A;
}

/* Minus the Hessian of the sources; own: its blocks, or NULL; `curved` with the second derivatives
 * of the mean. */
static void fill_information(const sky_field *f, const double *own, skyline *A, int curved) {
  memset(A->value, 0, A->start[A->n] * sizeof *A->value);
  for (int s = 0; s < f->spec->n; s++) {
    const int n = f->first[s + 1] - f->first[s];
    double gram[SKY_MAX_FREE * SKY_MAX_FREE];
    const double *H = f->curvature + (size_t)s * square(SKY_MAX_FREE);
    if (own == NULL) sky_source_gram(f, s, f->scratch, gram);
    for (int i = 0; i < n; i++)
      for (int k = 0; k <= i; k++)
        *skyline_at(A, f->first[s] + i, f->first[s] + k) =
            own != NULL ? own[square(SKY_MAX_FREE) * (size_t)s + (size_t)(i + n * k)]
                        : gram[i + n * k] - (curved ? H[i + n * k] : 0.0);
    for (int t = 0; t < s; t++) {
      if (!sky_neighbours(f, s, t)) continue;
      for (int i = f->first[s]; i < f->first[s + 1]; i++)
        for (int k = f->first[t]; k < f->first[t + 1]; k++)
          *skyline_at(A, i, k) = cross_entry(f, s, f->free[i], t, f->free[k]);
    }
  }
}

/* sum_p w dmu/da g phi_j for parameter a of source s, into out (all nodes). */
static void border_row(const sky_field *f, int s, int a, double *out) {
  int at = 0;
  for (int b = 0; b < f->spec->n_image; b++) {
    const sky_image *image = f->spec->image + b;
    const sky_patch *patch = sky_patch_of(f, s, b);
    const int mesh = image->mesh_x;
    double factor;
    const double *plane = sky_slope_plane(f, s, b, a, &factor);
    for (int j = patch->y0; mesh > 0 && factor != 0.0 && j <= patch->y1; j++) {
      int ky, kx;
      double py, px;
      sky_hat(j, image->ny, image->mesh_y, &ky, &py);
      for (int i = patch->x0; i <= patch->x1; i++) {
        const double w = image->gain * factor * *plane++ *
                         f->scratch[b][(size_t)j * (size_t)image->nx + (size_t)i];
        sky_hat(i, image->nx, mesh, &kx, &px);
        double *node = out + at + kx + mesh * ky;
        node[0] += (1.0 - px) * (1.0 - py) * w;
        if (mesh > 1) node[1] += px * (1.0 - py) * w;
        if (image->mesh_y > 1) node[mesh] += (1.0 - px) * py * w;
        if (mesh > 1 && image->mesh_y > 1) node[mesh + 1] += px * py * w;
      }
    }
    at += mesh * image->mesh_y;
  }
}

/* Y = L^{-1} B (n x nodes) and the covariance of the nodes, (D - Y'Y)^{-1}. */
static elbo_status border(const sky_field *f, const skyline *L, double *Y,
                          double *node_covariance) {
  const int n = L->n, m = f->n_node;
  double row[1024];
  if (m == 0) return ELBO_OK;
  if (m > 1024) return ELBO_E_RANK;
  for (int s = 0; s < f->spec->n; s++)
    for (int i = f->first[s]; i < f->first[s + 1]; i++) {
      memset(row, 0, (size_t)m * sizeof *row);
      border_row(f, s, f->free[i], row);
      for (int j = 0; j < m; j++) Y[(size_t)i + (size_t)n * (size_t)j] = row[j];
    }
  sky_nodes_gram(f, f->scratch, node_covariance);
  for (int j = 0; j < m; j++) skyline_forward(L, Y + (size_t)n * (size_t)j);
  for (int j = 0; j < m; j++)
    for (int k = 0; k < m; k++)
      node_covariance[k + m * j] -= dot(Y + (size_t)n * (size_t)j, Y + (size_t)n * (size_t)k, n);
  const elbo_status status = la_chol(node_covariance, m);
  return status == ELBO_OK ? la_inverse_from_chol(node_covariance, m) : status;
}

/* Blocks of Z + X C X', X = L'^{-1} Y, C the covariance of the nodes. */
static void blocks(const sky_field *f, const skyline *Z, const double *X, const double *C,
                   double *covariance) {
  const int m = f->n_node, N = f->n_theta;
  memset(covariance, 0, (size_t)f->spec->n * square(N) * sizeof *covariance);
  for (int s = 0; s < f->spec->n; s++) {
    double *out = covariance + (size_t)s * square(N);
    for (int i = f->first[s]; i < f->first[s + 1]; i++)
      for (int k = f->first[s]; k <= i; k++) {
        double sum = *skyline_at(Z, i, k);
        for (int a = 0; a < m; a++)
          for (int c = 0; c < m; c++)
            sum += X[(size_t)i + (size_t)Z->n * (size_t)a] * C[a + m * c] *
                   X[(size_t)k + (size_t)Z->n * (size_t)c];
        out[f->free[i] + N * f->free[k]] = out[f->free[k] + N * f->free[i]] = sum;
      }
  }
}

elbo_status sky_information(sky_field *f, const double *own, double *covariance,
                            double *node_covariance, int *expected, const elbo_memory *mem) {
  skyline A = lay_out(f, mem), Z = A;
  const size_t size = A.start[A.n] + 1, n = (size_t)A.n, m = (size_t)f->n_node;
  double *Y = elbo_doubles(mem, n * m + 1);
  Z.value = elbo_doubles(mem, size);
  sky_field_ratio(f);
  if (own == NULL) sky_field_curvature(f);
  elbo_status status = ELBO_E_NOT_PD;
  for (*expected = 0; status != ELBO_OK && *expected < (own == NULL ? 2 : 1); ++*expected) {
    sky_field_weights(f);
    fill_information(f, own, &A, !*expected);
    status = skyline_chol(&A);
    if (status == ELBO_OK) status = border(f, &A, Y, node_covariance);
  }
  --*expected;
  if (status != ELBO_OK) return status;
  skyline_inverse(&A, &Z, elbo_doubles(mem, n + 1));
  for (size_t j = 0; j < m; j++) skyline_backward(&A, Y + n * j);
  blocks(f, &Z, Y, node_covariance, covariance);
  return ELBO_OK;
}
