#include "advi/advi.h"

#include <math.h>
#include <string.h>

#include "math/la.h"
#include "math/small.h"

/* Of what is left of the largest eigenvalue of a precision, the least. */
static const double LEAST = 1e-10;
/* Differences of a gradient are over this part of a unit: what they are off, by the third
 * derivative and by rounding, is about as much of theirs. */
static const double STEP = 1e-7;

static int n_eta_of(advi_family family, int d) {
  return family == ADVI_LAPLACE ? d : family == ADVI_MEAN_FIELD ? 2 * d : d + d * (d + 1) / 2;
}

size_t advi_size(const advi_target *target, advi_family family, int n) {
  const size_t d = (size_t)target->d, dn = d * (size_t)n;
  const size_t hessians = target->hessian ? d * dn : 0;
  return 2 * dn + hessians + 4 * d * d + 4 * d + la_eigen_size(target->d) +
         (size_t)n_eta_of(family, target->d);
}

void advi_bind(advi *w, const advi_target *target, advi_family family, int n, const double *z,
               double *memory) {
  const size_t d = (size_t)target->d, dn = d * (size_t)n;
  memset(w, 0, sizeof *w);
  w->target = *target;
  w->family = family;
  w->n = n;
  w->n_eta = n_eta_of(family, target->d);
  w->z = z;
  w->x = memory;
  w->g = w->x + dn;
  w->hessians = w->g + dn;
  w->precision = w->hessians + (target->hessian ? d * dn : 0);
  w->inverse = w->precision + d * d;
  w->root = w->inverse + d * d;
  w->spectrum = w->root + d * d;
  w->units = w->spectrum + d * d;
  w->moved = w->units + d;
  w->probe = w->moved + 2 * d;
  w->eigen = w->probe + d;
  w->eta = w->eigen + la_eigen_size(target->d);
}

/* ---- points ---------------------------------------------------------------------------------- */

/* Where S_jk is in eta, k <= j: column by column after m. */
static size_t place(const advi *w, int j, int k) {
  const size_t d = (size_t)w->target.d, column = (size_t)k;
  return d + column * d - column * (column + 1) / 2 + (size_t)j;
}

static size_t diagonal(const advi *w, int j) {
  return w->family == ADVI_MEAN_FIELD ? (size_t)w->target.d + (size_t)j : place(w, j, j);
}

/* out = v_m + S(v) z */
static void move(const advi *w, const double *v, const double *z, double *out) {
  const int d = w->target.d;
  memcpy(out, v, (size_t)d * sizeof(double));
  if (w->family == ADVI_MEAN_FIELD)
    for (int j = 0; j < d; j++) out[j] += v[d + j] * z[j];
  if (w->family == ADVI_FULL)
    for (int k = 0; k < d; k++)
      for (int j = k; j < d; j++) out[j] += v[place(w, j, k)] * z[k];
}

/* out += weight A'g, A being the derivative of a point by eta. */
static void pull_back(const advi *w, const double *g, const double *z, double weight, double *out) {
  const int d = w->target.d;
  for (int j = 0; j < d; j++) out[j] += weight * g[j];
  if (w->family == ADVI_MEAN_FIELD)
    for (int j = 0; j < d; j++) out[d + j] += weight * g[j] * z[j];
  if (w->family == ADVI_FULL)
    for (int k = 0; k < d; k++)
      for (int j = k; j < d; j++) out[place(w, j, k)] += weight * g[j] * z[k];
}

static elbo_status value_at(void *work, const double *eta, double *value) {
  advi *w = work;
  const int d = w->target.d;
  double entropy = 0.0, sum = 0.0, one;
  for (int j = 0; w->family != ADVI_LAPLACE && j < d; j++) {
    if (!(eta[diagonal(w, j)] > 0.0)) return ELBO_E_NOT_FINITE;
    entropy += log(eta[diagonal(w, j)]);
  }
  for (int i = 0; i < w->n; i++) {
    move(w, eta, w->z + (size_t)d * (size_t)i, w->probe);
    w->values++;
    const elbo_status status = w->target.value(w->target.ctx, w->probe, &one);
    if (status != ELBO_OK) return status;
    sum += one;
  }
  *value = sum / w->n + entropy;
  return ELBO_OK;
}

/* ---- the metric ------------------------------------------------------------------------------ */

/* out = H(x) v by a difference of gradients, g being that at x. */
static elbo_status difference(advi *w, const double *x, const double *g, const double *v,
                              double *out) {
  const int d = w->target.d;
  double *at = w->probe, size = 0.0;
  for (int j = 0; j < d; j++) size = fmax(size, fabs(v[j]) / w->units[j]);
  if (size == 0.0) {
    memset(out, 0, (size_t)d * sizeof(double));
    return ELBO_OK;
  }
  for (int j = 0; j < d; j++) at[j] = x[j] + STEP / size * v[j];
  w->gradients++;
  const elbo_status status = w->target.gradient(w->target.ctx, at, out);
  for (int j = 0; j < d; j++) out[j] = (out[j] - g[j]) * (size / STEP);
  return status;
}

/* H(x), d x d, symmetric. */
static elbo_status whole_hessian(advi *w, const double *x, const double *g, double *H) {
  const int d = w->target.d;
  if (w->target.hessian) {
    w->hessians_made++;
    return w->target.hessian(w->target.ctx, x, H);
  }
  double *v = w->eigen; /* long enough, and free here */
  for (int j = 0; j < d; j++) {
    memset(v, 0, (size_t)d * sizeof(double));
    v[j] = w->units[j];
    const elbo_status status = difference(w, x, g, v, H + (size_t)d * (size_t)j);
    if (status != ELBO_OK) return status;
    for (int i = 0; i < d; i++) H[i + d * j] /= w->units[j];
  }
  for (int j = 0; j < d; j++)
    for (int i = 0; i < j; i++) H[i + d * j] = H[j + d * i] = 0.5 * (H[i + d * j] + H[j + d * i]);
  return ELBO_OK;
}

/* |-H| = V |Lambda| V' at m, its inverse and a lower root of that. */
static elbo_status find_metric(advi *w, const double *eta) {
  const int d = w->target.d;
  double *V = w->spectrum, *values = w->probe, most = 0.0;
  w->gradients++;
  elbo_status status = w->target.gradient(w->target.ctx, eta, w->moved);
  if (status == ELBO_OK) status = whole_hessian(w, eta, w->moved, w->precision);
  if (status != ELBO_OK) return status;
  for (int j = 0; j < d; j++)
    for (int i = 0; i < d; i++) V[i + d * j] = -w->precision[i + d * j] * w->units[i] * w->units[j];
  status = la_eigen(V, d, values, w->eigen);
  if (status != ELBO_OK) return status;
  for (int j = 0; j < d; j++) most = fmax(most, fabs(values[j]));
  for (int j = 0; j < d; j++) values[j] = fmax(fabs(values[j]), LEAST * most);
  for (int j = 0; j < d; j++)
    for (int i = 0; i < d; i++) {
      double direct = 0.0, inverse = 0.0;
      for (int k = 0; k < d; k++) {
        const double both = V[i + d * k] * V[j + d * k];
        direct += both * values[k];
        inverse += both / values[k];
      }
      w->precision[i + d * j] = direct / (w->units[i] * w->units[j]);
      w->inverse[i + d * j] = inverse * w->units[i] * w->units[j];
    }
  w->metric_known = 1;
  memcpy(w->root, w->inverse, square(d) * sizeof(double));
  return la_chol(w->root, d);
}

/* out = M^{-1} v: in the coordinates (m, S) = (root a, root B), in which a normal p has minus the
 * Hessian one, and two for the diagonal of B.  A diagonal S has its own. */
static elbo_status precondition_by(void *work, const double *v, double *out) {
  const advi *w = work;
  const int d = w->target.d;
  la_multiply(w->inverse, v, d, d, 1, out);
  if (w->family == ADVI_MEAN_FIELD)
    for (int j = 0; j < d; j++) {
      const double s = w->eta[d + j];
      out[d + j] = v[d + j] / (w->precision[j + d * j] + 1.0 / (s * s));
    }
  if (w->family == ADVI_FULL)
    for (int k = 0; k < d; k++) {
      double *b = w->probe;
      for (int j = k; j < d; j++) {
        b[j] = 0.0;
        for (int i = j; i < d; i++) b[j] += w->root[i + d * j] * v[place(w, i, k)];
      }
      b[k] *= 0.5;
      for (int i = k; i < d; i++) {
        out[place(w, i, k)] = 0.0;
        for (int j = k; j <= i; j++) out[place(w, i, k)] += w->root[i + d * j] * b[j];
      }
    }
  return ELBO_OK;
}

/* ---- derivatives ----------------------------------------------------------------------------- */

/* Standard deviations of q, or where it has none by the last metric; no finer than what rounding
 * leaves of a point. */
static void find_units(advi *w, const double *eta) {
  const int d = w->target.d;
  for (int j = 0; j < d; j++) {
    double variance = w->metric_known ? 1.0 / w->precision[j + d * j] : 1.0;
    if (w->family == ADVI_MEAN_FIELD) variance = eta[d + j] * eta[d + j];
    if (w->family == ADVI_FULL) variance = 0.0;
    for (int k = 0; w->family == ADVI_FULL && k <= j; k++)
      variance += eta[place(w, j, k)] * eta[place(w, j, k)];
    w->units[j] = fmax(sqrt(variance), 1e-6 * fabs(eta[j]));
  }
}

static elbo_status gradients_at(advi *w, const double *eta) {
  const size_t d = (size_t)w->target.d;
  elbo_status status = ELBO_OK;
  memcpy(w->eta, eta, (size_t)w->n_eta * sizeof(double));
  find_units(w, eta);
  for (int i = 0; i < w->n && status == ELBO_OK; i++) {
    double *x = w->x + d * (size_t)i;
    move(w, eta, w->z + d * (size_t)i, x);
    w->gradients++;
    status = w->target.gradient(w->target.ctx, x, w->g + d * (size_t)i);
  }
  return status;
}

/* The gradient of the objective from those at the points. */
static void add_up(const advi *w, const double *eta, double *gradient) {
  const size_t d = (size_t)w->target.d;
  memset(gradient, 0, (size_t)w->n_eta * sizeof(double));
  for (int i = 0; i < w->n; i++)
    pull_back(w, w->g + d * (size_t)i, w->z + d * (size_t)i, 1.0 / w->n, gradient);
  for (int j = 0; w->family != ADVI_LAPLACE && j < w->target.d; j++)
    gradient[diagonal(w, j)] += 1.0 / eta[diagonal(w, j)];
}

static elbo_status gradient_at(void *work, const double *eta, double *gradient) {
  advi *w = work;
  const size_t d = (size_t)w->target.d;
  elbo_status status = gradients_at(w, eta);
  for (int i = 0; w->target.hessian && i < w->n && status == ELBO_OK; i++) {
    w->hessians_made++;
    status =
        w->target.hessian(w->target.ctx, w->x + d * (size_t)i, w->hessians + d * d * (size_t)i);
  }
  if (status != ELBO_OK) return status;
  add_up(w, eta, gradient);
  return find_metric(w, eta);
}

static elbo_status product_with(void *work, const double *v, double *out) {
  advi *w = work;
  const int d = w->target.d;
  memset(out, 0, (size_t)w->n_eta * sizeof(double));
  for (int i = 0; i < w->n; i++) {
    const size_t at = (size_t)d * (size_t)i;
    double *u = w->moved, *Hu = w->moved + d;
    elbo_status status = ELBO_OK;
    move(w, v, w->z + at, u);
    if (w->target.hessian)
      la_multiply(w->hessians + (size_t)d * at, u, d, d, 1, Hu);
    else
      status = difference(w, w->x + at, w->g + at, u, Hu);
    if (status != ELBO_OK) return status;
    pull_back(w, Hu, w->z + at, 1.0 / w->n, out);
  }
  for (int j = 0; w->family != ADVI_LAPLACE && j < d; j++) {
    const size_t at = diagonal(w, j);
    out[at] -= v[at] / (w->eta[at] * w->eta[at]);
  }
  return ELBO_OK;
}

newton_cg_objective advi_objective(const advi *w) {
  const newton_cg_objective f = {.n = w->n_eta,
                                 .value = value_at,
                                 .gradient = gradient_at,
                                 .product = product_with,
                                 .precondition = precondition_by};
  return f;
}

elbo_status advi_at(advi *w, const double *eta, double *value, double *gradient) {
  elbo_status status = value_at(w, eta, value);
  if (status == ELBO_OK) status = gradients_at(w, eta);
  if (status == ELBO_OK) add_up(w, eta, gradient);
  return status;
}

/* Entry c of eta moves coordinate *j of a point, by the returned part of a draw. */
static double entry(const advi *w, int c, const double *z, int *j) {
  const int d = w->target.d;
  int k = 0;
  *j = c < d ? c : c - d;
  if (c < d) return 1.0;
  if (w->family == ADVI_MEAN_FIELD) return z[*j];
  while (place(w, d - 1, k) < (size_t)c) k++;
  *j = d - 1 - (int)(place(w, d - 1, k) - (size_t)c);
  return z[k];
}

/* -(1/n) sum A'HA, column by column. */
elbo_status advi_information(advi *w, const double *eta, double *information) {
  const int d = w->target.d, n_eta = w->n_eta;
  double *H = w->spectrum, *column = w->moved;
  elbo_status status = gradients_at(w, eta);
  memset(information, 0, square(n_eta) * sizeof(double));
  for (int i = 0; i < w->n && status == ELBO_OK; i++) {
    const size_t at = (size_t)d * (size_t)i;
    const double *z = w->z + at;
    status = whole_hessian(w, w->x + at, w->g + at, H);
    for (int c = 0; c < n_eta && status == ELBO_OK; c++) {
      int j;
      const double weight = entry(w, c, z, &j);
      for (int r = 0; r < d; r++) column[r] = H[r + d * j] * weight;
      pull_back(w, column, z, -1.0 / w->n, information + (size_t)n_eta * (size_t)c);
    }
  }
  for (int j = 0; w->family != ADVI_LAPLACE && j < d; j++) {
    const size_t at = diagonal(w, j);
    information[at + (size_t)n_eta * at] += 1.0 / (eta[at] * eta[at]);
  }
  return status;
}
