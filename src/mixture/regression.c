/* The mixture of regressions: coordinates, fields, free parameters of em, and the constructor. */
#include "mixture/regression_inside.h"

/* ---- coordinates ----------------------------------------------------------------------------- */

static int is_constant(const double *x, int n) {
  for (int i = 1; i < n; i++)
    if (x[i] != x[0]) return 0;
  return n > 0;
}

/* The first column that is one number throughout, and not zero; or -1. */
static int find_intercept(const double *X, int n, int p) {
  for (int b = 0; b < p; b++)
    if (is_constant(X + (size_t)n * (size_t)b, n) && X[(size_t)n * (size_t)b] != 0.0) return b;
  return -1;
}

static double mean_of(const double *x, int n) {
  double sum = 0.0;
  for (int i = 0; i < n; i++) sum += x[i] / n;
  return sum;
}

static double mean_square(const double *x, int n, double centre) {
  double sum = 0.0;
  for (int i = 0; i < n; i++) sum += (x[i] - centre) * (x[i] - centre) / n;
  return sum;
}

static void scale_columns(regression *w, int intercept) {
  const int n = w->spec.units.n_row;
  for (int b = 0; b < w->spec.p; b++) {
    const double *x = w->spec.X + (size_t)n * (size_t)b;
    w->centre[b] = intercept >= 0 && !is_constant(x, n) ? mean_of(x, n) : 0.0;
    w->scale[b] = scale_of(mean_square(x, n, w->centre[b]));
    w->reach[b] = 0.0;
    for (int i = 0; i < n; i++)
      w->reach[b] = fmax(w->reach[b], fabs(x[i] - w->centre[b]) * w->scale[b]);
  }
}

static void scale_response(regression *w, int intercept) {
  const mixture_regression_spec *spec = &w->spec;
  const int n = spec->units.n_row;
  w->y_centre = 0.0;
  w->y_scale = 1.0;
  if (spec->family != REGRESSION_GAUSSIAN) return;
  const double *o = spec->offset;
  if (intercept >= 0) w->y_centre = mean_of(spec->y, n) - (o ? mean_of(o, n) : 0.0);
  double sum = 0.0, weighted = 0.0;
  for (int i = 0; i < n; i++) {
    const double y = spec->y[i] - (o ? o[i] : 0.0) - w->y_centre;
    sum += y * y / n;
    weighted += (spec->weights ? spec->weights[i] : 1.0) * y * y / n;
  }
  w->y_scale = scale_of(sum);
  w->spread = weighted * w->y_scale * w->y_scale;
  if (!(w->spread > 0.0)) w->spread = w->y_scale * w->y_scale; /* a single new row, say */
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

void regression_solve(const regression *w, const double *A, const double *b, double *x) {
  const int p = w->spec.p;
  double *unit = w->unit;
  for (int a = 0; a < p; a++) unit[a] = A[a + p * a] > 0.0 ? 1.0 / sqrt(A[a + p * a]) : 0.0;
  for (int a = 0; a < p; a++)
    for (int c = 0; c < p; c++) w->inverse[c + p * a] = A[c + p * a] * unit[a] * unit[c];
  la_chol_semidefinite(w->inverse, p, 1e-11, w->L);
  la_lower_inverse(w->L, p, w->inverse);
  memset(x, 0, (size_t)p * sizeof(double));
  for (int a = 0; a < p; a++) {
    double sum = 0.0;
    for (int c = 0; c <= a; c++) sum += w->inverse[a + p * c] * unit[c] * b[c];
    for (int c = 0; c <= a; c++) x[c] += w->inverse[a + p * c] * unit[c] * sum;
  }
  for (int c = 0; c < p; c++) {
    const double *column = w->inverse + p * c;
    unit[c] *= unit[c] * dot(column, column, p);
  }
}

/* ---- priors ---------------------------------------------------------------------------------- */

static void build_prior(regression *w) {
  const mixture_regression_spec *spec = &w->spec;
  const int p = spec->p;
  w->prior_constant = 0.0;
  memset(w->prior_precision, 0, square(p) * sizeof(double));
  memset(w->prior_linear, 0, (size_t)p * sizeof(double));
  for (int i = 0; spec->beta_sd && i < p; i++) {
    if (isinf(spec->beta_sd[i])) continue;
    const double mean = (spec->beta_mean[i] - w->origin[i]) / spec->beta_sd[i];
    w->prior_constant -= 0.5 * mean * mean + log(spec->beta_sd[i] / w->B[i + p * i]);
    w->n_proper++;
    for (int a = 0; a < p; a++) {
      const double ba = w->B[i + p * a] / spec->beta_sd[i];
      w->prior_linear[a] += ba * mean;
      for (int b = 0; b < p; b++)
        w->prior_precision[a + p * b] += ba * (w->B[i + p * b] / spec->beta_sd[i]);
    }
  }
  w->sigma_prior =
      (sd_prior){(sd_family)spec->sigma_family, spec->sigma_df, spec->sigma_scale * w->y_scale};
  for (int s = 0; s < w->n_sigma; s++)
    w->sigma_constant[s] = spec->sigma_constant ? spec->sigma_constant[s] * w->y_scale : NAN;
}

static double em_log_prior(const void *work) {
  const regression *w = (const regression *)work;
  const mixture_regression_spec *spec = &w->spec;
  double sum = 0.0, by_x;
  for (int j = 0; spec->beta_sd && j < spec->k; j++)
    for (int b = 0; b < spec->p; b++) {
      if (isinf(spec->beta_sd[b])) continue;
      const double z = (w->beta[b + spec->p * j] - spec->beta_mean[b]) / spec->beta_sd[b];
      sum -= 0.5 * (z * z + LOG_2PI) + log(spec->beta_sd[b]);
    }
  for (int s = 0; s < w->n_sigma && w->sigma_prior.family != SD_FLAT; s++)
    if (sigma_free(w, s))
      sum += sd_prior_log_density(&w->sigma_prior, 1.0 / w->precision[s], &by_x) + log(w->y_scale);
  return sum;
}

/* ---- parameters of em ------------------------------------------------------------------------ */

static elbo_status em_restore(void *work, int *component) {
  (void)component;
  regression_get_gamma((regression *)work);
  return ELBO_OK;
}

static elbo_status em_prepare(void *work, int *component) {
  regression *w = (regression *)work;
  for (int i = 0; i < w->spec.p * w->spec.k; i++)
    if (!isfinite(w->gamma[i])) return ELBO_E_NOT_FINITE;
  for (int s = 0; s < w->n_sigma; s++) {
    const double sigma = w->sigma[s] * w->y_scale;
    w->precision[s] = 1.0 / (sigma * sigma);
    w->log_variance[s] = 2.0 * log(sigma);
  }
  return w->n_sigma > 0 ? regression_gaussian_prepare(w, component) : ELBO_OK;
}

/* eta: gamma (p x k), then log of y_scale sigma where free. */
static void em_pack(const void *work, double *eta) {
  const regression *w = (const regression *)work;
  const int n = w->spec.p * w->spec.k;
  memcpy(eta, w->gamma, (size_t)n * sizeof(double));
  eta += n;
  for (int s = 0; s < w->n_sigma; s++)
    if (sigma_free(w, s)) *eta++ = 0.5 * w->log_variance[s];
}

static elbo_status em_unpack(void *work, const double *eta) {
  regression *w = (regression *)work;
  const int p = w->spec.p;
  for (int j = 0; j < w->spec.k; j++, eta += p) {
    for (int a = 0; a < p; a++) w->trial[a] = is_held(w, j, a) ? w->gamma[a + p * j] : eta[a];
    regression_set_gamma(w, j, w->trial);
  }
  for (int s = 0; s < w->n_sigma; s++) {
    if (!sigma_free(w, s)) continue;
    w->sigma[s] = exp(*eta++) / w->y_scale;
    if (!(w->sigma[s] > 0.0) || !isfinite(w->sigma[s])) return ELBO_E_NOT_PD;
  }
  return ELBO_OK;
}

static void em_theta(const void *work, double *theta) {
  const regression *w = (const regression *)work;
  const int n = w->spec.p * w->spec.k;
  memcpy(theta, w->beta, (size_t)n * sizeof(double));
  for (int s = 0; s < w->n_sigma; s++) theta[n + s] = w->sigma[s];
}

/* ---- construction ---------------------------------------------------------------------------- */

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
  const int p = w->spec.p, k = w->spec.k, each = !w->spec.common_sigma, vb = w->cov != NULL;
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

/* Linear predictor zero, or at the mean of gaussian rows; sigma that of their spread. */
static void start_em(regression *w) {
  for (int j = 0; j < w->spec.k; j++) regression_set_gamma(w, j, w->zeros);
  for (int s = 0; s < w->n_sigma; s++)
    w->sigma[s] = (sigma_free(w, s) ? sqrt(w->spread) : w->sigma_constant[s]) / w->y_scale;
}

elbo_status mixture_regression_part(mixture_part *part, const mixture_regression_spec *spec,
                                    const elbo_memory *mem) {
  regression *w = (regression *)mem->get(mem->ctx, sizeof *w);
  memset(w, 0, sizeof *w);
  w->spec = *spec;
  w->kernels = row_kernels_current();
  if (spec->family == REGRESSION_GAUSSIAN) w->n_sigma = spec->common_sigma ? 1 : spec->k;
  allocate(w, mem);
  const int intercept = find_intercept(spec->X, spec->units.n_row, spec->p);
  scale_columns(w, intercept);
  scale_response(w, intercept);
  build_map(w, intercept);
  build_prior(w);
  build_rows(w, mem);

  memset(part, 0, sizeof *part);
  part->work = w;
  add_fields(part, w);
  part->n_eta = spec->p * spec->k + n_free_sigma(w);
  part->n_theta = spec->p * spec->k + w->n_sigma;
  part->restore = em_restore;
  part->prepare = em_prepare;
  part->log_prior = em_log_prior;
  part->pack = em_pack;
  part->unpack = em_unpack;
  part->theta = em_theta;
  if (w->n_sigma > 0)
    regression_gaussian(part, w);
  else
    regression_glm(part, w);
  if (spec->method != MIXTURE_VB)
    start_em(w);
  else
    return regression_vb(part, w);
  return ELBO_OK;
}
