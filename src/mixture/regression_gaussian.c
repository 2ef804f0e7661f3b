#include "mixture/regression_gaussian.h"

#include <float.h>

#include "mixture/regression_coordinates.h"

static const double RESIDUAL_OF_ROUNDING = 1e-25; /* a variance beside the response's */
static const double SEEN_OF_SQUARE = 1e-10;       /* of one sum of squares less another */

/* ---- rows ------------------------------------------------------------------------------------ */

/* y~ times the root of the weight. */
static void load_response(const regression *w, const mixture_chunk *chunk, double *out) {
  const int n = chunk->n_row;
  const double *y = w->spec.y + chunk->row, centre = w->y_centre, scale = w->y_scale;
  const double *offset = w->spec.offset ? w->spec.offset + chunk->row : NULL;
  const double *root = w->root_weight ? w->root_weight + chunk->row : NULL;
  for (int i = 0; i < n; i++) out[i] = (y[i] - (offset ? offset[i] : 0.0) - centre) * scale;
  if (root)
    for (int i = 0; i < n; i++) out[i] *= root[i];
  for (int i = n; i < chunk->ld; i++) out[i] = out[n - 1];
}

/* out = y - x gamma for a block x (ld x p). */
static void residuals(int ld, int p, const double *x, const double *y, const double *gamma,
                      double *out) {
  for (int i = 0; i < ld; i += SIMD_LANES) {
    v8 e = *(const v8 *)(y + i);
    for (int b = 0; b < p; b++) e -= gamma[b] * *(const v8 *)(x + (size_t)ld * (size_t)b + i);
    *(v8 *)(out + i) = e;
  }
}

static void log_density(const void *work, const mixture_chunk *chunk, double *scratch,
                        double *out) {
  const regression *w = (const regression *)work;
  const int p = w->spec.p, ld = chunk->ld;
  const size_t n_M = (size_t)(p + 1) * (size_t)w->n_quadratic;
  regression_load(w, chunk->row, chunk->n_row, ld, scratch);
  load_response(w, chunk, scratch + (size_t)ld * (size_t)p);
  for (int j = 0; j < w->spec.k; j++, out += ld) {
    const double constant = -0.5 * (LOG_2PI + w->log_variance[sigma_of(w, j)]) + log(w->y_scale);
    w->kernels->quadratic(ld, p + 1, scratch, w->zeros, w->n_quadratic, 0, w->M + n_M * (size_t)j,
                          constant, out);
    if (w->row_constant)
      for (int i = 0; i < chunk->n_row; i++) out[i] += w->row_constant[chunk->row + i];
  }
}

static void accumulate(const void *work, const mixture_chunk *chunk, const double *r,
                       double *scratch, double *stat) {
  const regression *w = (const regression *)work;
  const int p = w->spec.p, k = w->spec.k, ld = chunk->ld;
  double *e = scratch + (size_t)ld * (size_t)p, *y = e + ld;
  double *sum_constant = stat + (packed_size(p + 2) + (size_t)p) * (size_t)k;
  regression_load(w, chunk->row, chunk->n_row, ld, scratch);
  load_response(w, chunk, y);
  for (int j = 0; j < k; j++, r += ld, stat += packed_size(p + 2)) {
    residuals(ld, p, scratch, y, w->gamma + p * j, e);
    w->kernels->crossprod(ld, p + 1, scratch, w->zeros, r, stat);
    if (w->row_constant) *sum_constant += dot(r, w->row_constant + chunk->row, chunk->n_row);
  }
}

static void basis(const void *work, const mixture_chunk *chunk, int j, double *scratch,
                  double *out) {
  const regression *w = (const regression *)work;
  const int p = w->spec.p, ld = chunk->ld;
  double *e = scratch + (size_t)ld * (size_t)p, *y = e + ld;
  regression_load(w, chunk->row, chunk->n_row, ld, scratch);
  load_response(w, chunk, y);
  residuals(ld, p, scratch, y, w->gamma + p * j, e);
  rows_products(ld, p + 1, scratch, w->zeros, out);
}

static void refer(const void *work, int j, double *stat) {
  const regression *w = (const regression *)work;
  const size_t p = (size_t)w->spec.p, k = (size_t)w->spec.k;
  for (size_t l = 0; l < k; l++)
    memcpy(stat + packed_size(w->spec.p + 2) * k + p * l, w->gamma + p * (size_t)j,
           p * sizeof(double));
}

static void finish(const void *work, double *stat) {
  const regression *w = (const regression *)work;
  memcpy(stat + packed_size(w->spec.p + 2) * (size_t)w->spec.k, w->gamma,
         (size_t)(w->spec.p * w->spec.k) * sizeof(double));
}

/* Rows of M: (-gamma, 1) / sigma; under vb these with E[1 / sigma^2], and below them the columns of
 * the root of V, since E (y - x' gamma)^2 = (y - x' E[gamma])^2 + x' V x. */
static void build_M(regression *w) {
  const int p = w->spec.p, d = p + 1;
  memset(w->M, 0, (size_t)(d * w->n_quadratic * w->spec.k) * sizeof(double));
  for (int j = 0; j < w->spec.k; j++) {
    double *M = w->M + d * w->n_quadratic * j;
    const double root_precision = sqrt(w->precision[sigma_of(w, j)]);
    for (int b = 0; b < p; b++) M[b] = -root_precision * w->gamma[b + p * j];
    M[p] = root_precision;
    for (int a = 1; a < w->n_quadratic; a++)
      for (int b = a - 1; b < p; b++)
        M[b + d * a] = root_precision * w->root[b + p * (a - 1) + p * p * j];
  }
}

/* Residuals that are smaller beside the response are rounding: rows fitted without error. An
 * inverse gamma law of sigma is the one that holds it away from zero. */
elbo_status regression_gaussian_prepare(regression *w, int *component) {
  const double least =
      w->sigma_prior.family == SD_INVERSE_GAMMA ? 0.0 : RESIDUAL_OF_ROUNDING * w->spread;
  for (int s = 0; s < w->n_sigma; s++) {
    if (!sigma_free(w, s) || 1.0 / w->precision[s] > least) continue;
    if (!w->spec.linear.common_sigma) *component = s;
    return ELBO_E_UNBOUNDED;
  }
  build_M(w);
  return ELBO_OK;
}

/* ---- statistics ------------------------------------------------------------------------------ */

void regression_normal_equations(const regression *w, const double *stat, int j, double *A,
                                 double *b) {
  const int p = w->spec.p;
  const double *S = stat_cross(w, stat, j), *last = S + packed_size(p + 1);
  for (int a = 0; a < p; a++) {
    const double *row = S + packed_size(a + 1);
    for (int c = 0; c <= a; c++) A[a + p * c] = A[c + p * a] = row[c + 1];
    b[a] = last[a + 1];
  }
}

double regression_square_told(const regression *w, const double *stat, int j) {
  const int p = w->spec.p;
  const double *S = stat_cross(w, stat, j), *from = stat_origin(w, stat, j);
  const double *gamma = w->gamma + p * j, *V = w->V ? w->V + p * p * j : NULL;
  double sum = S[packed_size(p + 2) - 1];
  for (int a = 0; a < p; a++) {
    const double *row = S + packed_size(a + 1), step = gamma[a] - from[a];
    sum -= 2.0 * step * S[packed_size(p + 1) + (size_t)a + 1];
    for (int c = 0; c <= a; c++) {
      const double second = step * (gamma[c] - from[c]) + (V ? V[a + p * c] : 0.0);
      sum += (c == a ? 1.0 : 2.0) * second * row[c + 1];
    }
  }
  return sum;
}

/* What a step of the coefficients leaves of a sum of squares is known to its rounding only: it is
 * never said to be less than a part of it, and seen at the residuals of the next pass. */
double regression_square(const regression *w, const double *stat, int j) {
  const double before = stat_cross(w, stat, j)[packed_size(w->spec.p + 2) - 1];
  return fmax(regression_square_told(w, stat, j), SEEN_OF_SQUARE * before);
}

void regression_residual_sums(const regression *w, const double *stat, int s, double *n,
                              double *S) {
  *n = *S = 0.0;
  for (int j = sigma_first(w, s); j < sigma_last(w, s); j++) {
    *n += stat_cross(w, stat, j)[0];
    *S += regression_square(w, stat, j);
  }
}

static elbo_status expected(const void *work, const double *stat, const double *r, double *value) {
  const regression *w = (const regression *)work;
  const int k = w->spec.k;
  (void)r;
  *value = *stat_origin(w, stat, k);
  for (int j = 0; j < k; j++) {
    const int s = sigma_of(w, j);
    const double n = stat_cross(w, stat, j)[0];
    *value += n * (log(w->y_scale) - 0.5 * (LOG_2PI + w->log_variance[s])) -
              0.5 * w->precision[s] * regression_square(w, stat, j);
  }
  return ELBO_OK;
}

/* A residual is off by the rounding of the response and of each term of x'gamma; a sum of squares,
 * of e, less what a step took from it, by that of e. */
static double rounding(const void *work, const double *stat) {
  const regression *w = (const regression *)work;
  const int p = w->spec.p;
  double sum = 0.0;
  for (int j = 0; j < w->spec.k; j++) {
    const double *S = stat_cross(w, stat, j), precision = w->precision[sigma_of(w, j)];
    const double square = S[packed_size(p + 2) - 1] * precision;
    double size = sqrt(S[packed_size(p + 2) - 1]);
    for (int a = 0; a < p; a++)
      size += 2.0 * fabs(w->gamma[a + p * j]) * sqrt(S[packed_size(a + 2) - 1]);
    const double lost = DBL_EPSILON * size * sqrt(precision);
    sum += DBL_EPSILON * square + 2.0 * sqrt(square) * lost + lost * lost;
  }
  return sum;
}

void regression_gaussian(mixture_part *part, const regression *w) {
  const size_t p = (size_t)w->spec.p, k = (size_t)w->spec.k;
  part->n_stat = (packed_size(w->spec.p + 2) + p) * k + 1;
  part->n_scratch = p + 2;
  part->log_density = log_density;
  part->accumulate = accumulate;
  part->finish = finish;
  part->expected = expected;
  part->rounding = rounding;
  if (w->spec.method != MIXTURE_EM) return;
  part->n_basis = (int)packed_size(w->spec.p + 2);
  part->basis = basis;
  part->refer = refer;
}
