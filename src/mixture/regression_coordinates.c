#include "mixture/regression_coordinates.h"

/* ---- scales ---------------------------------------------------------------------------------- */

static int is_constant(const double *x, int n) {
  for (int i = 1; i < n; i++)
    if (x[i] != x[0]) return 0;
  return n > 0;
}

static double mean_of(const double *x, int n) {
  double sum = 0.0;
  for (int i = 0; i < n; i++) sum += x[i] / n;
  return sum;
}

static void scale_columns(regression *w, int intercept) {
  const int n = w->spec.units.n_row;
  for (int b = 0; b < w->spec.p; b++) {
    const double *x = w->spec.X + (size_t)n * (size_t)b;
    w->centre[b] = intercept >= 0 && !is_constant(x, n) ? mean_of(x, n) : 0.0;
    w->scale[b] = linear_scale(x, n, w->centre[b]);
    w->reach[b] = 0.0;
    for (int i = 0; i < n; i++)
      w->reach[b] = fmax(w->reach[b], fabs(x[i] - w->centre[b]) * w->scale[b]);
  }
}

/* A prior that keeps the intercept this near its mean, beside the distance of the response from
 * there, would be lost in the rounding of a difference from the response's own centre. */
static const double NEAR = 1e-6;

static double centre_of_response(const mixture_regression_spec *s, int intercept, double centre) {
  if (intercept < 0 || s->linear.beta_sd == NULL) return centre;
  const double value = s->X[(size_t)s->units.n_row * (size_t)intercept];
  const double mean = value * s->linear.beta_mean[intercept];
  const double sd = fabs(value) * s->linear.beta_sd[intercept];
  return sd < NEAR * fabs(centre - mean) ? mean : centre;
}

static void scale_response(regression *w, int intercept) {
  const mixture_regression_spec *s = &w->spec;
  w->y_centre = 0.0;
  w->y_scale = 1.0;
  if (s->family != REGRESSION_GAUSSIAN) return;
  const linear_units units =
      linear_response(s->y, s->offset, s->weights, s->units.n_row, intercept >= 0);
  w->y_centre = centre_of_response(s, intercept, units.centre);
  w->y_scale = units.scale;
  w->spread = units.spread;
}

/* beta = B gamma + origin. */
static void build_map(regression *w, int intercept) {
  const int p = w->spec.p;
  memset(w->B, 0, square(p) * sizeof(double));
  memset(w->B_inverse, 0, square(p) * sizeof(double));
  memset(w->origin, 0, (size_t)p * sizeof(double));
  for (int b = 0; b < p; b++) {
    w->B[b + p * b] = w->scale[b] / w->y_scale;
    w->B_inverse[b + p * b] = w->y_scale / w->scale[b];
  }
  if (intercept < 0) return;
  const double value = w->spec.X[(size_t)w->spec.units.n_row * (size_t)intercept];
  w->origin[intercept] = w->y_centre / value;
  for (int b = 0; b < p; b++) {
    if (b == intercept) continue;
    w->B[intercept + p * b] = -w->centre[b] / value * w->B[b + p * b];
    w->B_inverse[intercept + p * b] =
        w->centre[b] / value * w->B_inverse[intercept + p * intercept];
  }
}

void regression_coordinates(regression *w) {
  const int intercept = linear_intercept(w->spec.X, w->spec.units.n_row, w->spec.p);
  scale_columns(w, intercept);
  scale_response(w, intercept);
  build_map(w, intercept);
}

/* ---- rows and coefficients ------------------------------------------------------------------- */

void regression_load(const regression *w, int row, int n, int ld, double *block) {
  const size_t n_row = (size_t)w->spec.units.n_row;
  const double *root = w->root_weight ? w->root_weight + row : NULL;
  for (int b = 0; b < w->spec.p; b++, block += ld) {
    const double *x = w->spec.X + n_row * (size_t)b + row, centre = w->centre[b],
                 scale = w->scale[b];
    for (int i = 0; i < n; i++) block[i] = (x[i] - centre) * scale;
    if (root)
      for (int i = 0; i < n; i++) block[i] *= root[i];
    for (int i = n; i < ld; i++) block[i] = block[n - 1];
  }
}

void regression_set_gamma(const regression *w, int j, const double *gamma) {
  const int p = w->spec.p;
  double *beta = w->beta + p * j;
  memmove(w->gamma + p * j, gamma, (size_t)p * sizeof(double));
  multiply(w->B, w->gamma + p * j, p, beta);
  for (int b = 0; b < p; b++) beta[b] += w->origin[b];
}

void regression_get_gamma(const regression *w) {
  const int p = w->spec.p;
  for (int j = 0; j < w->spec.k; j++) {
    for (int b = 0; b < p; b++) w->trial[b] = w->beta[b + p * j] - w->origin[b];
    multiply(w->B_inverse, w->trial, p, w->gamma + p * j);
  }
}
