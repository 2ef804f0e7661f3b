#include "mixture/linear.h"

#include <math.h>

#include "math/small.h"

linear_priors linear_read(const mixture_arguments *from, int p, int k) {
  linear_priors out;
  out.common_sigma = argument_int(from, "common_sigma", 0, 1);
  out.sigma_constant = argument_doubles(from, "sigma_constant", 1, out.common_sigma ? 1 : k, 1);
  out.beta_mean = argument_doubles(from, "beta_mean", 1, p, 1);
  out.beta_sd = argument_doubles(from, "beta_sd", 1, p, 1);
  out.sigma_family = argument_int(from, "sigma_family", 0, 100);
  out.sigma_df = argument_double(from, "sigma_df");
  out.sigma_scale = argument_double(from, "sigma_scale");
  return out;
}

sd_prior linear_sigma_prior(const linear_priors *w, double y_scale) {
  return (sd_prior){(sd_family)w->sigma_family, w->sigma_df, w->sigma_scale * y_scale};
}

void linear_sigma_constants(const linear_priors *w, int n, double y_scale, double *out) {
  for (int s = 0; s < n; s++) out[s] = w->sigma_constant ? w->sigma_constant[s] * y_scale : NAN;
}

static int is_constant(const double *x, int n) {
  for (int i = 1; i < n; i++)
    if (x[i] != x[0]) return 0;
  return n > 0;
}

int linear_intercept(const double *X, int n, int p) {
  for (int a = 0; a < p; a++) {
    const double *x = X + (size_t)n * (size_t)a;
    if (is_constant(x, n) && x[0] != 0.0) return a;
  }
  return -1;
}

/* A power of two that brings numbers up to `most` near one. */
static double first_scale(double most) { return most > 0.0 ? ldexp(1.0, -ilogb(most)) : 1.0; }

double linear_scale(const double *x, int n, double centre) {
  double most = 0.0, sum = 0.0;
  for (int i = 0; i < n; i++) most = fmax(most, fabs(x[i] - centre));
  const double first = first_scale(most);
  for (int i = 0; i < n; i++) {
    const double near_one = (x[i] - centre) * first;
    sum += near_one * near_one / n;
  }
  return first * scale_of(sum);
}

linear_units linear_response(const double *y, const double *offset, const double *weights, int n,
                             int centred) {
  linear_units out = {0.0, 1.0, 1.0};
  double most = 0.0, sum = 0.0, weighted = 0.0;
  for (int i = 0; centred && i < n; i++) out.centre += (y[i] - (offset ? offset[i] : 0.0)) / n;
  for (int i = 0; i < n; i++)
    most = fmax(most, fabs(y[i] - (offset ? offset[i] : 0.0) - out.centre));
  const double first = first_scale(most);
  for (int i = 0; i < n; i++) {
    const double e = (y[i] - (offset ? offset[i] : 0.0) - out.centre) * first;
    sum += e * e / n;
    weighted += (weights ? weights[i] : 1.0) * e * e / n;
  }
  const double second = scale_of(sum);
  out.scale = first * second;
  if (weighted > 0.0) out.spread = weighted * second * second;
  return out;
}
