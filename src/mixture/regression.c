/* The mixture of regressions, put together: memory, priors, fields, and which functions serve. */
#include "mixture/regression.h"

#include "law/exponential_family.h"
#include "mixture/regression_coordinates.h"
#include "mixture/regression_em.h"
#include "mixture/regression_gaussian.h"
#include "mixture/regression_gaussian_em.h"
#include "mixture/regression_gaussian_vb.h"
#include "mixture/regression_glm.h"
#include "mixture/regression_glm_em.h"
#include "mixture/regression_glm_vb.h"
#include "mixture/regression_inside.h"
#include "mixture/regression_vb.h"

/* Of each family its rows, and its steps by method. */
static const struct {
  void (*rows)(mixture_part *, const regression *);
  void (*em)(mixture_part *, const regression *), (*vb)(mixture_part *, const regression *);
} law[] = {
    [REGRESSION_GAUSSIAN] = {regression_gaussian, regression_gaussian_em, regression_gaussian_vb},
    [REGRESSION_BINOMIAL] = {regression_glm, regression_glm_em, regression_glm_vb},
    [REGRESSION_POISSON] = {regression_glm, regression_glm_em, regression_glm_vb},
};

static void build_prior(regression *w) {
  const mixture_regression_spec *spec = &w->spec;
  const int p = spec->p;
  w->prior_constant = 0.0;
  memset(w->prior_precision, 0, square(p) * sizeof(double));
  memset(w->prior_linear, 0, (size_t)p * sizeof(double));
  for (int i = 0; spec->linear.beta_sd && i < p; i++) {
    if (isinf(spec->linear.beta_sd[i])) continue;
    const double mean = (spec->linear.beta_mean[i] - w->origin[i]) / spec->linear.beta_sd[i];
    w->prior_constant -= 0.5 * mean * mean + log(spec->linear.beta_sd[i] / w->B[i + p * i]);
    w->n_proper++;
    for (int a = 0; a < p; a++) {
      const double ba = w->B[i + p * a] / spec->linear.beta_sd[i];
      w->prior_linear[a] += ba * mean;
      for (int b = 0; b < p; b++)
        w->prior_precision[a + p * b] += ba * (w->B[i + p * b] / spec->linear.beta_sd[i]);
    }
  }
  w->sigma_prior = linear_sigma_prior(&spec->linear, w->y_scale);
  linear_sigma_constants(&spec->linear, w->n_sigma, w->y_scale, w->sigma_constant);
}

/* What of a row's log density has no parameter; gaussian rows: beyond 1/2 log 2 pi. */
static double constant_of(const mixture_regression_spec *spec, int i) {
  const double y = spec->y[i], weight = spec->weights ? spec->weights[i] : 1.0;
  switch (spec->family) {
    case REGRESSION_BINOMIAL:
      return lgamma(weight + 1.0) - lgamma(y + 1.0) - lgamma(weight - y + 1.0);
    case REGRESSION_POISSON:
      return -lgamma(y + 1.0);
    default:
      return 0.5 * log(weight);
  }
}

static void build_rows(regression *w, const elbo_memory *mem) {
  const mixture_regression_spec *spec = &w->spec;
  const int n = spec->units.n_row, gaussian = spec->family == REGRESSION_GAUSSIAN;
  const int *first = spec->units.first;
  if (!gaussian || spec->weights) {
    w->row_constant = elbo_doubles(mem, (size_t)n);
    for (int i = 0; i < n; i++) w->row_constant[i] = constant_of(spec, i);
  }
  if (gaussian && spec->weights) {
    w->root_weight = elbo_doubles(mem, (size_t)n);
    for (int i = 0; i < n; i++) w->root_weight[i] = sqrt(spec->weights[i]);
  }
  if (gaussian || !first) return;
  w->unit_of_row = elbo_ints(mem, (size_t)n);
  for (int u = 0; u < spec->units.n_unit; u++)
    for (int i = first[u]; i < first[u + 1]; i++) w->unit_of_row[i] = u;
}

static void allocate(regression *w, const elbo_memory *mem) {
  const int p = w->spec.p, gaussian = w->n_sigma > 0, vb = w->spec.method == MIXTURE_VB;
  const size_t pp = square(p), n = (size_t)p, k = (size_t)w->spec.k, n_sigma = (size_t)w->n_sigma;
  double **const of_p[] = {&w->centre, &w->scale,  &w->origin, &w->reach, &w->prior_linear,
                           &w->unit,   &w->linear, &w->step,   &w->trial};
  double **const of_pp[] = {&w->B, &w->B_inverse, &w->prior_precision, &w->A,
                            &w->L, &w->inverse,   &w->trial_V,         &w->trial_root};
  double **const of_natural[] = {&w->from, &w->goal, &w->mix};
  for (size_t i = 0; i < sizeof of_p / sizeof of_p[0]; i++) *of_p[i] = elbo_doubles(mem, n);
  for (size_t i = 0; i < sizeof of_pp / sizeof of_pp[0]; i++) *of_pp[i] = elbo_doubles(mem, pp);
  for (size_t i = 0; i < sizeof of_natural / sizeof of_natural[0]; i++)
    *of_natural[i] = elbo_doubles(mem, (size_t)law_normal_size(p));
  w->zeros = elbo_doubles(mem, n + 1);
  memset(w->zeros, 0, (n + 1) * sizeof(double));
  w->beta = elbo_doubles(mem, n * k);
  w->gamma = elbo_doubles(mem, n * k);
  if (gaussian) {
    w->sigma_constant = elbo_doubles(mem, n_sigma);
    w->precision = elbo_doubles(mem, n_sigma);
    w->log_variance = elbo_doubles(mem, n_sigma);
    w->n_quadratic = vb ? p + 1 : 1;
    w->M = elbo_doubles(mem, (n + 1) * (size_t)w->n_quadratic * k);
    w->sigma = vb ? NULL : elbo_doubles(mem, n_sigma);
    w->shape = vb ? elbo_doubles(mem, n_sigma) : NULL;
    w->rate = vb ? elbo_doubles(mem, n_sigma) : NULL;
  } else {
    w->block = elbo_doubles(mem, regression_glm_block(p));
    w->plain = elbo_doubles(mem, n);
    w->boundary = vb ? NULL : elbo_doubles(mem, n * k);
    if (!vb) memset(w->boundary, 0, n * k * sizeof(double));
  }
  if (!vb) return;
  w->cov = elbo_doubles(mem, pp * k);
  w->V = elbo_doubles(mem, pp * k);
  w->root = elbo_doubles(mem, pp * k);
}

static void add_field(mixture_part *part, const char *name, double *value, int n_dim, int d0,
                      int d1, int d2, int by_component) {
  part->field[part->n_field++] = (mixture_field){name, value, n_dim, {d0, d1, d2}, by_component};
}

static void add_fields(mixture_part *part, const regression *w) {
  const int p = w->spec.p, k = w->spec.k, each = !w->spec.linear.common_sigma, vb = w->cov != NULL;
  add_field(part, vb ? "mean" : "coefficients", w->beta, 2, p, k, 0, 1);
  if (vb) add_field(part, "cov", w->cov, 3, p, p, k, 1);
  if (w->boundary) add_field(part, "boundary", w->boundary, 2, p, k, 0, 1);
  if (w->n_sigma == 0) return;
  if (vb) {
    add_field(part, "shape", w->shape, 1, w->n_sigma, 0, 0, each);
    add_field(part, "rate", w->rate, 1, w->n_sigma, 0, 0, each);
  } else {
    add_field(part, "sigma", w->sigma, 1, w->n_sigma, 0, 0, each);
  }
}

elbo_status mixture_regression_part(mixture_part *part, const mixture_regression_spec *spec,
                                    const elbo_memory *mem) {
  regression *w = (regression *)mem->get(mem->ctx, sizeof *w);
  memset(w, 0, sizeof *w);
  w->spec = *spec;
  w->kernels = row_kernels_current();
  if (spec->family == REGRESSION_GAUSSIAN) w->n_sigma = spec->linear.common_sigma ? 1 : spec->k;
  allocate(w, mem);
  regression_coordinates(w);
  build_prior(w);
  build_rows(w, mem);

  memset(part, 0, sizeof *part);
  part->work = w;
  add_fields(part, w);
  part->n_theta = spec->p * spec->k + w->n_sigma;
  law[spec->family].rows(part, w);
  if (spec->method == MIXTURE_VB) {
    law[spec->family].vb(part, w);
    return regression_vb(part, w);
  }
  law[spec->family].em(part, w);
  regression_em(part, w);
  return ELBO_OK;
}

elbo_status mixture_regression_make(mixture_part *part, const mixture_spec *s,
                                    const mixture_arguments *from, const elbo_memory *mem) {
  const int n = s->units.n_row;
  mixture_regression_spec r = {.method = s->method, .k = s->k, .units = s->units};
  r.family =
      (regression_family)argument_int(from, "family", REGRESSION_GAUSSIAN, REGRESSION_POISSON);
  r.p = argument_int(from, "p", 0, 10000);
  r.X = argument_doubles(from, "X", n, r.p, 0);
  r.y = argument_doubles(from, "y", n, 1, 0);
  r.weights = argument_doubles(from, "weights", n, 1, 1);
  r.offset = argument_doubles(from, "offset", n, 1, 1);
  r.linear = linear_read(from, r.p, s->k);
  return mixture_regression_part(part, &r, mem);
}
