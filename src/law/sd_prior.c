#include "law/sd_prior.h"

#include <math.h>
#include <string.h>

#include "math/small.h"

/* Where the density has a slope by the sd at zero, that by x = sd^2 is infinite there; so it is
 * not, but times a derivative of x, which is zero, it has to be. */
static double root(double x) { return fmax(sqrt(x), 1e-75); }

/* What is there of a normal law of this mean and sd one above zero. */
static double log_above_zero(double mean) { return log(0.5 * erfc(-mean / sqrt(2.0))); }

double sd_prior_log_density(const sd_prior *prior, double x, double *by_x) {
  const double df = prior->df, a = prior->scale * prior->scale, pi = acos(-1.0);
  switch (prior->family) {
    case SD_HALF_T:
      *by_x = -0.5 * (df + 1.0) / (df * a + x);
      return log(2.0) + lgamma(0.5 * (df + 1.0)) - lgamma(0.5 * df) - 0.5 * log(df * pi) -
             log(prior->scale) - 0.5 * (df + 1.0) * log1p(x / (df * a));
    case SD_HALF_NORMAL:
      *by_x = -0.5 / a;
      return 0.5 * log(2.0 / pi) - log(prior->scale) - 0.5 * x / a;
    case SD_INVERSE_GAMMA: { /* s^(-df - 1) exp(-scale / s) */
      const double s = sqrt(x);
      *by_x = (prior->scale / s - (df + 1.0)) / (2.0 * x);
      return df * log(prior->scale) - lgamma(df) - (df + 1.0) * log(s) - prior->scale / s;
    }
    case SD_EXPONENTIAL:
      *by_x = -0.5 / (prior->scale * root(x));
      return -log(prior->scale) - sqrt(x) / prior->scale;
    case SD_NORMAL: {
      const double z = sqrt(x) / prior->scale - df;
      *by_x = -0.5 / a + 0.5 * df / (prior->scale * root(x));
      return -log(prior->scale) - 0.5 * (LOG_2PI + z * z) - log_above_zero(df);
    }
    case SD_GAMMA_PRECISION:
      *by_x = (a / x - df - 0.5) / x;
      return log(2.0) + df * log(a) - lgamma(df) - (df + 0.5) * log(x) - a / x;
    default:
      *by_x = 0.0;
      return 0.0;
  }
}

double sd_prior_curvature(const sd_prior *prior, double x) {
  switch (prior->family) {
    case SD_HALF_T: {
      const double c = prior->df * prior->scale * prior->scale;
      return 0.5 * (prior->df + 1.0) / ((c + x) * (c + x));
    }
    case SD_INVERSE_GAMMA:
      return ((prior->df + 1.0) - 1.5 * prior->scale / sqrt(x)) / (2.0 * x * x);
    case SD_EXPONENTIAL:
      return 0.25 / (prior->scale * pow(root(x), 3.0));
    case SD_NORMAL:
      return -0.25 * prior->df / (prior->scale * pow(root(x), 3.0));
    case SD_GAMMA_PRECISION:
      return (prior->df + 0.5 - 2.0 * prior->scale * prior->scale / x) / (x * x);
    default:
      return 0.0;
  }
}

/* The positive root of a z^2 + b z = c (a, c >= 0), without cancellation. */
static double positive_root(double a, double b, double c) {
  const double root = sqrt(b * b + 4.0 * a * c);
  return b > 0.0 ? 2.0 * c / (b + root) : (root - b) / (2.0 * a);
}

/* The root in log x of -n + S / x + 2 x (log p)'(x), which falls, by Newton's method inside a
 * bracket that starts where the law is flat. */
static double search_mode(const sd_prior *prior, double n, double S) {
  double low = -HUGE_VAL, high = HUGE_VAL, u = log(S / n), by_x;
  for (int i = 0; i < 200; i++) {
    const double x = exp(u);
    sd_prior_log_density(prior, x, &by_x);
    const double value = S / x - n + 2.0 * x * by_x;
    const double slope = -S / x + 2.0 * x * (by_x + x * sd_prior_curvature(prior, x));
    if (value > 0.0)
      low = u;
    else
      high = u;
    double next =
        slope < 0.0 ? u - fmax(-3.0, fmin(3.0, value / slope)) : u + (value > 0.0 ? 1.0 : -1.0);
    if (fabs(next - u) < 1e-15 * fmax(1.0, fabs(u))) break;
    if (!(next > low && next < high))
      next = isinf(low) || isinf(high) ? u + (value > 0.0 ? 1.0 : -1.0) : 0.5 * (low + high);
    u = next;
  }
  return exp(u);
}

/* Where the derivative by x, or by the sd, vanishes: a quadratic equation for most families. */
double sd_prior_mode(const sd_prior *prior, double n, double S) {
  const double df = prior->df, a = prior->scale * prior->scale;
  switch (prior->family) {
    case SD_HALF_T: {
      const double c = df * a;
      return positive_root(n + df + 1.0, n * c - S, S * c);
    }
    case SD_HALF_NORMAL:
      return positive_root(1.0 / a, n, S);
    case SD_INVERSE_GAMMA: {
      const double s = positive_root(n + df + 1.0, -prior->scale, S);
      return s * s;
    }
    case SD_EXPONENTIAL:
    case SD_NORMAL:
      return S > 0.0 ? search_mode(prior, n, S) : 0.0;
    case SD_GAMMA_PRECISION:
      return (S + 2.0 * a) / (n + 2.0 * df + 1.0);
    default:
      return S / n;
  }
}

const double sd_prior_power[SD_POWERS] = {1.0, 0.5, -0.5, -1.0};

void sd_prior_terms(const sd_prior *prior, double *constant, double *by_log, double *coefficient) {
  const double df = prior->df, scale = prior->scale, a = scale * scale, pi = acos(-1.0);
  *constant = *by_log = 0.0;
  memset(coefficient, 0, SD_POWERS * sizeof(double));
  switch (prior->family) {
    case SD_HALF_T:
      *constant =
          log(2.0) + lgamma(0.5 * (df + 1.0)) - lgamma(0.5 * df) - 0.5 * log(df * pi) - log(scale);
      break;
    case SD_HALF_NORMAL:
      *constant = 0.5 * log(2.0 / pi) - log(scale);
      coefficient[0] = -0.5 / a;
      break;
    case SD_INVERSE_GAMMA:
      *constant = df * log(scale) - lgamma(df);
      *by_log = -0.5 * (df + 1.0);
      coefficient[2] = -scale;
      break;
    case SD_EXPONENTIAL:
      *constant = -log(scale);
      coefficient[1] = -1.0 / scale;
      break;
    case SD_NORMAL:
      *constant = -log(scale) - 0.5 * (LOG_2PI + df * df) - log_above_zero(df);
      coefficient[0] = -0.5 / a;
      coefficient[1] = df / scale;
      break;
    case SD_GAMMA_PRECISION:
      *constant = log(2.0) + df * log(a) - lgamma(df);
      *by_log = -(df + 0.5);
      coefficient[3] = -a;
      break;
    default:
      break;
  }
}

double sd_prior_size(const sd_prior *prior, double x) {
  double constant, by_log, coefficient[SD_POWERS];
  sd_prior_terms(prior, &constant, &by_log, coefficient);
  double sum = fabs(constant) + fabs(by_log * log(x));
  for (int r = 0; r < SD_POWERS; r++)
    if (coefficient[r] != 0.0) sum += fabs(coefficient[r] * pow(x, sd_prior_power[r]));
  if (prior->family == SD_HALF_T)
    sum += 0.5 * (prior->df + 1.0) * log1p(x / (prior->df * prior->scale * prior->scale));
  return sum;
}
