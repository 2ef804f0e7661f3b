/* The mixture of curves: parameters, whatever their laws are: their units, blocks and priors, and
 * what stands in the fields of every method. */
#include "math/la.h"
#include "mixture/curves_parameters.h"

/* ---- blocks of Gamma ------------------------------------------------------------------------- */

void curves_take(const curves *w, const curve_block *b, const double *A, double *out) {
  const int q = w->spec.q, o = b->order;
  for (int a = 0; a < o; a++)
    for (int c = 0; c < o; c++) out[a + o * c] = A[b->first + a + q * (b->first + c)];
}

void curves_put(const curves *w, const curve_block *b, const double *block, double *A) {
  const int q = w->spec.q, o = b->size, at = b->first * (q + 1);
  for (int a = 0; a < o; a++)
    for (int c = 0; c < o; c++)
      A[at + a + q * c] = b->multiple ? block[0] * w->matrix[at + a + q * c] : block[a + o * c];
}

/* n Gamma + Gamma H Gamma; of a multiple c of a matrix B,
 * tr(B^{-1} of it) = c (n rank + c tr(B H)). */
void curves_second_moment(const curves *w, int g, const curve_block *block, double n,
                          const double *H, double *out) {
  const int q = w->spec.q, o = block->size, at = block->first * (q + 1);
  const double *Gamma = gamma_at(w, g) + at;
  H += at;
  if (block->multiple) {
    const double *B = w->matrix + at, c = multiple_of(w, g, block);
    double trace = 0.0;
    for (int a = 0; a < o; a++)
      for (int b = 0; b < o; b++) trace += B[a + q * b] * H[a + q * b];
    out[0] = c * (n * block->count + c * trace);
    return;
  }
  double *between = w->one;
  for (int a = 0; a < o; a++)
    for (int b = 0; b < o; b++) {
      double sum = 0.0;
      for (int c = 0; c < o; c++) sum += Gamma[a + q * c] * H[c + q * b];
      between[a + o * b] = sum;
    }
  for (int a = 0; a < o; a++)
    for (int b = 0; b <= a; b++) {
      double sum = n * Gamma[a + q * b];
      for (int c = 0; c < o; c++) sum += between[a + o * c] * Gamma[c + q * b];
      out[a + o * b] = out[b + o * a] = sum;
    }
}

/* ---- fields of both methods ------------------------------------------------------------------ */

void curves_publish_beta(const curves *w, int j) {
  const int p = w->spec.p;
  double *field = w->coefficients + p * j;
  for (int a = 0; a < p; a++) field[a] = w->beta[a + p * j] * beta_unit(w, a);
  if (w->intercept >= 0)
    field[w->intercept] +=
        w->y_centre / w->spec.X[(size_t)w->spec.units.n_row * (size_t)w->intercept];
}

void curves_read_beta(const curves *w, int j) {
  const int p = w->spec.p;
  double *beta = w->beta + p * j;
  memcpy(beta, w->coefficients + p * j, (size_t)p * sizeof(double));
  if (w->intercept >= 0)
    beta[w->intercept] -=
        w->y_centre / w->spec.X[(size_t)w->spec.units.n_row * (size_t)w->intercept];
  for (int a = 0; a < p; a++) beta[a] /= beta_unit(w, a);
}

/* ---- scales ---------------------------------------------------------------------------------- */

static void scale_all(curves *w, const elbo_memory *mem) {
  const int n = w->spec.units.n_row, p = w->spec.p, q = w->spec.q;
  w->x_scale = elbo_doubles(mem, (size_t)p);
  w->z_scale = elbo_doubles(mem, (size_t)q);
  for (int a = 0; a < p; a++) /* the law of a smooth is the same for all its columns */
    w->x_scale[a] = a > w->smooth.first && w->smooth.of[a] == w->smooth.of[a - 1]
                        ? w->x_scale[a - 1]
                        : linear_scale(w->spec.X + (size_t)n * (size_t)a, n, 0.0);
  for (int a = 0; a < q; a++)
    w->z_scale[a] = linear_scale(w->spec.Z + (size_t)n * (size_t)a, n, 0.0);
  w->intercept = linear_intercept(w->spec.X, n, w->smooth.first);
  const linear_units units =
      linear_response(w->spec.y, w->spec.offset, w->spec.weights, n, w->intercept >= 0);
  w->y_centre = units.centre;
  w->y_scale = units.scale;
  w->spread = units.spread;
}

/* ---- blocks and priors ----------------------------------------------------------------------- */

static int rank_of(const curves *w, const curve_block *b) {
  const int q = w->spec.q, o = b->size;
  int rank = 0;
  for (int a = 0; a < o; a++)
    for (int c = 0; c < o; c++) w->one[a + o * c] = w->matrix[b->first + a + q * (b->first + c)];
  la_chol_semidefinite(w->one, o, 1e-10, w->two);
  for (int a = 0; a < o; a++) rank += w->two[a + o * a] > 0.0;
  return rank;
}

static void build_blocks(curves *w, const elbo_memory *mem) {
  const mixture_curves_spec *s = &w->spec;
  const int q = s->q;
  w->block = mem->get(mem->ctx, (size_t)larger(s->n_block, 1) * sizeof *w->block);
  w->matrix = elbo_doubles(mem, square(q));
  for (int a = 0; a < q; a++)
    for (int b = 0; b < q; b++)
      w->matrix[a + q * b] =
          s->matrix ? s->matrix[a + q * b] / (w->z_scale[a] * w->z_scale[b]) : 0.0;
  for (int i = 0, first = 0; i < s->n_block; first += s->block_size[i++]) {
    curve_block *b = w->block + i;
    memset(b, 0, sizeof *b);
    b->first = b->reference = first;
    b->size = s->block_size[i];
    b->multiple = s->block_kind[i] == CURVES_MULTIPLE;
    b->order = b->multiple ? 1 : b->size;
    b->count = b->multiple ? rank_of(w, b) : 1;
    for (int a = first; b->multiple && a < first + b->size; a++)
      if (w->matrix[a * (q + 1)] > w->matrix[b->reference * (q + 1)]) b->reference = a;
    b->held = b->multiple && s->multiple_constant && !isnan(s->multiple_constant[i]);
    b->df = s->covariance_df ? s->covariance_df[i] : 0.0;
  }
}

static void build_priors(curves *w, const elbo_memory *mem) {
  const mixture_curves_spec *s = &w->spec;
  const int p = s->p, q = s->q;
  w->beta_mean = elbo_doubles(mem, (size_t)p);
  w->beta_precision = elbo_doubles(mem, (size_t)p);
  for (int a = 0; a < p; a++) {
    const double unit = beta_unit(w, a),
                 sd = s->linear.beta_sd ? s->linear.beta_sd[a] / unit : HUGE_VAL;
    double mean = s->linear.beta_mean ? s->linear.beta_mean[a] : 0.0;
    if (a == w->intercept) mean -= w->y_centre / s->X[(size_t)s->units.n_row * (size_t)a];
    w->beta_mean[a] = a < w->smooth.first ? mean / unit : 0.0;
    w->beta_precision[a] = a < w->smooth.first ? 1.0 / (sd * sd) : 0.0;
  }
  if (s->covariance_df) {
    w->covariance_scale = elbo_doubles(mem, square(q));
    for (int a = 0; a < q; a++)
      for (int b = 0; b < q; b++)
        w->covariance_scale[a + q * b] = s->covariance_scale[a + q * b] / gamma_unit(w, a, b);
    for (int i = 0; i < w->n_block; i++) /* a multiple has the units of y^2 only */
      if (w->block[i].multiple) {
        const int at = w->block[i].first * (q + 1);
        w->covariance_scale[at] = s->covariance_scale[at] * w->y_scale * w->y_scale;
      }
  }
  w->sigma_prior = linear_sigma_prior(&s->linear, w->y_scale);
  w->sigma_constant = elbo_doubles(mem, (size_t)w->n_sigma);
  linear_sigma_constants(&s->linear, w->n_sigma, w->y_scale, w->sigma_constant);
}

void curves_parameters(curves *w, const elbo_memory *mem) {
  scale_all(w, mem);
  build_blocks(w, mem);
  build_priors(w, mem);
}
