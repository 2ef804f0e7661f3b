#include "math/dirichlet.h"

#include <math.h>

#include "math/digamma.h"

static double total(const double *x, int n) {
  double sum = 0.0;
  for (int i = 0; i < n; i++) sum += x[i];
  return sum;
}

double dirichlet_log_constant(const double *alpha, int n) {
  double sum = lgamma(total(alpha, n));
  for (int i = 0; i < n; i++) sum -= lgamma(alpha[i]);
  return sum;
}

void dirichlet_expected_log(const double *alpha, int n, double *expected_log) {
  const double all = math_digamma(total(alpha, n));
  for (int i = 0; i < n; i++) expected_log[i] = math_digamma(alpha[i]) - all;
}

double dirichlet_kl(const double *alpha, const double *prior, int n) {
  const double all = math_digamma(total(alpha, n));
  double sum = dirichlet_log_constant(alpha, n) - dirichlet_log_constant(prior, n);
  for (int i = 0; i < n; i++) sum += (alpha[i] - prior[i]) * (math_digamma(alpha[i]) - all);
  return sum;
}
