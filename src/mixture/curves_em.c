/* The mixture of curves with parameters as points: the best variances, free coordinates, gradient,
 * priors, theta.
 *
 * A block of Gamma has a latent law (law/latent_law.h), of a multiple that of its factor: zero and
 * singular covariances are ordinary points, where the gradient by what vanished is zero. */
#include "math/la.h"
#include "law/exponential_family.h"
#include "mixture/curves_cells.h"
#include "mixture/curves_em.h"
#include "mixture/curves_factor.h"
#include "mixture/curves_parameters.h"
#include "mixture/curves_smooth.h"
#include "mixture/curves_sums.h"

static const double NOTHING = 1e-10;            /* a variance relative to the residuals' */
static const double SEEN_OF_SQUARE = 1e-10;    /* of one sum of squares less another */
static const double FADED = 1e-4, ZERO = 1e-14; /* beside the largest eigenvalue */

/* ---- variances ------------------------------------------------------------------------------- */

/* A block of Gamma, or its multiple (1 x 1). */
static void block_of(const curves *w, int g, const curve_block *b, double *out) {
  curves_take(w, b, gamma_at(w, g), out);
  if (b->multiple) out[0] = multiple_of(w, g, b);
}

/* The block of A (q x q) that goes with it in tr(A dGamma): of a multiple tr(A matrix). */
static void dual_of(const curves *w, const curve_block *b, const double *A, double *out) {
  const int q = w->spec.q, at = b->first * (q + 1);
  curves_take(w, b, A, out);
  if (!b->multiple) return;
  out[0] = 0.0;
  for (int a = 0; a < b->size; a++)
    for (int c = 0; c < b->size; c++) out[0] += w->matrix[at + a + q * c] * A[at + a + q * c];
}

/* L of a block, or the root of its multiple (1 x 1). */
static void root_of(const curves *w, int g, const curve_block *b, double *between, double *L) {
  block_of(w, g, b, between);
  la_chol_semidefinite(between, b->order, 1e-15, L);
}

/* What the prior's density adds to n: the power of |Gamma|. */
static double prior_count(const curves *w, const curve_block *b) {
  return w->covariance_scale ? b->df + b->order + 1.0 : 0.0;
}

void curves_em_gamma(curves *w, int g, double n, const double *H) {
  for (int i = 0; i < w->n_block; i++) {
    const curve_block *b = w->block + i;
    const double count = n * b->count + prior_count(w, b);
    if (b->held || !(count > 0.0)) continue;
    curves_second_moment(w, g, b, n, H, w->two);
    if (w->covariance_scale) {
      curves_take(w, b, w->covariance_scale, w->three);
      for (int a = 0; a < b->order * b->order; a++) w->two[a] += w->three[a];
    }
    for (int a = 0; a < b->order * b->order; a++) w->two[a] /= count;
    curves_put(w, b, w->two, gamma_at(w, g));
  }
}

/* Blocks of order one by the MM algorithm, with coefficients and sigma held (Zhou, Hu, Zhou & Lange
 * 2019, J. Comput. Graph. Stat. 28:350): c becomes c (W / T)^{1/2}, W = T + H.  EM creeps where a
 * variance is small beside the noise, and on its way to zero; this does not. */
void curves_mm_gamma(const curves *w, int g, const double *T, const double *H) {
  for (int i = 0; i < w->n_block; i++) {
    const curve_block *b = w->block + i;
    double c, t, h;
    if (b->held || b->order > 1) continue;
    block_of(w, g, b, &c);
    dual_of(w, b, T, &t);
    dual_of(w, b, H, &h);
    if (t > 0.0) c *= sqrt(fmax(t + h, 0.0) / t);
    curves_put(w, b, &c, gamma_at(w, g));
  }
}

/* The normal equations of L: N += A E' over its entries (a, c), c <= a, and the score H L. */
static void add_equations(int o, const double *A, const double *E, const double *H, const double *L,
                          double *N, double *score) {
  const int size = (int)packed_size(o);
  int row = 0;
  for (int a = 0; a < o; a++)
    for (int c = 0; c <= a; c++, row++) {
      int column = 0;
      for (int a2 = 0; a2 < o; a2++)
        for (int c2 = 0; c2 <= a2; c2++) N[row + size * column++] += A[a + o * a2] * E[c + o * c2];
      for (int e = c; e < o; e++) score[row] += H[a + o * e] * L[e + o * c];
    }
}

/* E = n I + L'H L: sum r E[b b'] of standardised deviations b, u = L b. */
static void standard_moment(int o, double n, const double *H, const double *L, double *between,
                            double *E) {
  la_multiply(H, L, o, o, o, between);
  for (int a = 0; a < o; a++)
    for (int c = 0; c < o; c++) {
      E[a + o * c] = a == c ? n : 0.0;
      for (int e = a; e < o; e++) E[a + o * c] += L[e + o * a] * between[e + o * c];
    }
}

/* A free block L L' by EM over standardised deviations b, u = L b, whose L is a coefficient:
 * y = X beta + Z L b + e (Meng & van Dyk 1998, J. R. Stat. Soc. B 60:559).  It is fast where EM
 * over u is slow, and turns the range of a singular covariance, which EM over u cannot.
 * A = S'S / sigma^2. */
void curves_em_root(const curves *w, const double *stat, const double *r, int g,
                    const curve_block *b) {
  const int o = b->order, size = (int)packed_size(o), common = w->spec.common_covariance;
  double *L = w->root, *A = L + o * o, *H = A + o * o, *E = H + o * o, *N = w->equations;
  double *score = N + size * size;
  memset(N, 0, (size_t)(size * size + size) * sizeof(double));
  root_of(w, g, b, w->one, L);
  for (int j = first_of(common, g); j < last_of(common, w->spec.k, g); j++)
    for (int i = 0; i < w->n_design; i++) {
      const curve_design *d = w->design + i;
      curves_cell(w, stat, r, i, j);
      if (!(w->cell->n > 0.0)) continue;
      curves_cell_H(w, d, j, w->cell_H);
      curves_take(w, b, w->cell_H, H);
      standard_moment(o, w->cell->n, H, L, w->one, E);
      memset(A, 0, square(o) * sizeof(double));
      curves_add_crossprod(d->S + d->m * b->first, d->m, o, 1.0 / w->variance[sigma_of(w, j)], A);
      add_equations(o, A, E, H, L, N, score);
    }
  if (la_chol(N, size) != ELBO_OK) return; /* nothing to learn from: the block stays */
  for (int a = 0; a < size; a++) {
    for (int c = 0; c < a; c++) score[a] -= N[a + size * c] * score[c];
    score[a] /= N[a + size * a];
  }
  for (int a = size - 1; a >= 0; a--) {
    for (int c = a + 1; c < size; c++) score[a] -= N[c + size * a] * score[c];
    score[a] /= N[a + size * a];
  }
  for (int a = 0, at = 0; a < o; a++)
    for (int c = 0; c <= a; c++) L[a + o * c] += score[at++];
  la_multiply_t(L, L, o, o, o, A);
  curves_put(w, b, A, gamma_at(w, g));
}

/* What a step of the curves leaves of a sum of squares is known to its rounding only: it is not
 * said to be less than a part of it. */
void curves_em_sigma(curves *w, int s, double rows, double sum_square) {
  if (!sigma_free(w, s) || !(rows > 0.0)) return;
  const double seen = fmax(sum_square, SEEN_OF_SQUARE * rows * w->variance[s]);
  w->variance[s] = sd_prior_mode(&w->sigma_prior, rows, seen);
  w->log_variance[s] = log(w->variance[s]);
}

/* ---- fields ---------------------------------------------------------------------------------- */

static void publish(const curves *w) {
  const int q = w->spec.q;
  for (int j = 0; j < w->spec.k; j++) curves_publish_beta(w, j);
  for (int g = 0; g < w->n_gamma; g++)
    for (int a = 0; a < q; a++)
      for (int b = 0; b < q; b++)
        w->covariance[a + q * b + q * q * g] = gamma_at(w, g)[a + q * b] * gamma_unit(w, a, b);
  for (int s = 0; s < w->n_sigma; s++) w->sigma[s] = sqrt(w->variance[s]) / w->y_scale;
  curves_smooth_publish(w);
}

static elbo_status prepare(void *work, int *component) {
  curves *w = work;
  publish(w);
  return curves_factor(w, component);
}

static void set_sigma(curves *w, int s, double sigma) {
  w->variance[s] = sigma * sigma;
  w->log_variance[s] = 2.0 * log(sigma);
}

/* The coordinates of a block are kept, as Gamma has forgotten the signs of its root, on which the
 * gradient depends. */
static double *eta_of(const curves *w, int g, const curve_block *b) {
  return w->eta + w->n_eta * g + b->eta_at;
}

void curves_em_take_eta(const curves *w) {
  for (int g = 0; g < w->n_gamma; g++)
    for (int i = 0; i < w->n_block; i++) {
      const curve_block *b = w->block + i;
      root_of(w, g, b, w->one, w->two);
      latent_law_pack(&b->law, w->two, eta_of(w, g, b));
    }
}

static elbo_status restore(void *work, int *component) {
  curves *w = work;
  const int q = w->spec.q;
  (void)component;
  for (int j = 0; j < w->spec.k; j++) curves_read_beta(w, j);
  for (int g = 0; g < w->n_gamma; g++)
    for (int a = 0; a < q; a++)
      for (int b = 0; b < q; b++)
        gamma_at(w, g)[a + q * b] = w->covariance[a + q * b + q * q * g] / gamma_unit(w, a, b);
  for (int s = 0; s < w->n_sigma; s++) set_sigma(w, s, w->sigma[s] * w->y_scale);
  curves_em_take_eta(w);
  return curves_smooth_restore(w);
}

static double *sds(const curves *w, int g, const curve_block *b, double *out) {
  const int q = w->spec.q;
  const double *Gamma = w->covariance + q * q * g;
  if (b->multiple) *out++ = sqrt(multiple_of(w, g, b)) / w->y_scale;
  for (int a = b->first; !b->multiple && a < b->first + b->size; a++)
    *out++ = sqrt(Gamma[a * (q + 1)]);
  return out;
}

static double correlation(const curves *w, int g, const curve_block *b, int a, int c) {
  const int q = w->spec.q;
  return la_correlation(gamma_at(w, g) + b->first * (q + 1), q, a, c);
}

static void theta(const void *work, double *out) {
  const curves *w = work;
  out = curves_theta(w, sds, correlation, out);
  memcpy(out, w->sigma, (size_t)w->n_sigma * sizeof(double));
}

/* ---- priors ---------------------------------------------------------------------------------- */

/* Densities of the scaled parameters, and the Jacobian to the user's units. */
static double log_prior_gamma(const curves *w, int g) {
  double sum = 0.0;
  for (int i = 0; i < w->n_block && w->covariance_scale; i++) {
    const curve_block *b = w->block + i;
    if (b->held) continue;
    curves_take(w, b, w->covariance_scale, w->one);
    block_of(w, g, b, w->two);
    if (b->multiple) sum += 2.0 * log(w->y_scale);
    for (int a = b->first; !b->multiple && a < b->first + b->size; a++)
      sum -= 0.5 * (b->order + 1.0) * log(gamma_unit(w, a, a));
    sum += law_wishart_log_density(b->order, b->df, w->one, w->two, w->prior_work);
  }
  return sum;
}

static double log_prior(const void *work) {
  const curves *w = work;
  const int p = w->spec.p;
  double sum = 0.0, by_x;
  for (int j = 0; j < w->spec.k; j++)
    for (int a = 0; a < p; a++) {
      const double precision = w->beta_precision[a], from = w->beta[a + p * j] - w->beta_mean[a];
      if (precision > 0.0)
        sum += 0.5 * (log(precision) - LOG_2PI - precision * from * from) - log(beta_unit(w, a));
    }
  for (int g = 0; g < w->n_gamma; g++) sum += log_prior_gamma(w, g);
  for (int s = 0; s < w->n_sigma; s++)
    if (sigma_free(w, s) && w->sigma_prior.family != SD_FLAT)
      sum += sd_prior_log_density(&w->sigma_prior, w->variance[s], &by_x) + log(w->y_scale);
  return sum + curves_smooth_log_prior(w);
}

/* ---- free coordinates ------------------------------------------------------------------------ */

static void pack(const void *work, double *eta) {
  const curves *w = work;
  const int size = w->spec.p * w->spec.k;
  memcpy(eta, w->beta, (size_t)size * sizeof(double));
  curves_smooth_pack(w, eta, eta + size);
  eta += size + curves_smooth_n_eta(w);
  const int size_of_gamma = w->n_gamma * w->n_eta;
  memcpy(eta, w->eta, (size_t)size_of_gamma * sizeof(double));
  eta += size_of_gamma;
  for (int s = 0; s < w->n_sigma; s++)
    if (sigma_free(w, s)) *eta++ = 0.5 * w->log_variance[s];
}

static elbo_status unpack(void *work, const double *eta) {
  curves *w = work;
  const int size = w->spec.p * w->spec.k;
  memcpy(w->beta, eta, (size_t)size * sizeof(double));
  const elbo_status status = curves_smooth_unpack(w, eta + size);
  eta += size + curves_smooth_n_eta(w);
  const int size_of_gamma = w->n_gamma * w->n_eta;
  memcpy(w->eta, eta, (size_t)size_of_gamma * sizeof(double));
  eta += size_of_gamma;
  for (int g = 0; g < w->n_gamma; g++)
    for (int i = 0; i < w->n_block; i++) {
      const curve_block *b = w->block + i;
      const int o = b->order;
      latent_law_root(&b->law, eta_of(w, g, b), w->one);
      la_multiply_t(w->one, w->one, o, o, o, w->two);
      curves_put(w, b, w->two, gamma_at(w, g));
    }
  for (int s = 0; s < w->n_sigma; s++)
    if (sigma_free(w, s)) set_sigma(w, s, exp(*eta++));
  for (int s = 0; s < w->n_sigma; s++)
    if (!isfinite(w->log_variance[s])) return ELBO_E_NOT_PD;
  return status;
}

/* Twice the derivative by a block: H of it, of a multiple tr(B H); and of the prior
 * Gamma^{-1} (S - (df + order + 1) Gamma) Gamma^{-1}. */
static elbo_status derivative_of_block(const curves *w, int g, const curve_block *b,
                                       const double *H, double *out) {
  const int o = b->order;
  dual_of(w, b, H, out);
  if (w->covariance_scale == NULL) return ELBO_OK;
  double *inverse = w->three, *S = w->two;
  block_of(w, g, b, inverse);
  elbo_status status = la_chol(inverse, o);
  if (status == ELBO_OK) status = la_inverse_from_chol(inverse, o);
  if (status != ELBO_OK) return status;
  curves_take(w, b, w->covariance_scale, S);
  la_multiply(inverse, S, o, o, o, w->four);
  la_multiply(w->four, inverse, o, o, o, S);
  for (int a = 0; a < o * o; a++) out[a] += S[a] - prior_count(w, b) * inverse[a];
  return ELBO_OK;
}

/* d = tr(G dGamma) / 2. */
static elbo_status gradient_of_gamma(const curves *w, int g, double **out) {
  for (int i = 0; i < w->n_block; i++) {
    const curve_block *b = w->block + i;
    if (b->held) continue;
    const elbo_status status =
        derivative_of_block(w, g, b, w->totals->H + square(w->spec.q) * (size_t)g, w->one);
    if (status != ELBO_OK) return status;
    for (int k = 0; k < b->law.n_eta; k++, (*out)++) {
      latent_law_slope(&b->law, eta_of(w, g, b), k, w->two);
      **out = 0.0;
      for (int a = 0; a < b->order * b->order; a++) **out += 0.5 * w->one[a] * w->two[a];
    }
  }
  return ELBO_OK;
}

static elbo_status gradient(void *work, const double *stat, const double *r, double *out) {
  const curves *w = work;
  const int p = w->spec.p;
  curves_collect(w, stat, r, OF_COEFFICIENTS | OF_VARIANCES);
  double *coefficients = out;
  for (int i = 0; i < p * w->spec.k; i++)
    *out++ = w->totals->b[i] + w->beta_precision[i % p] * (w->beta_mean[i % p] - w->beta[i]);
  for (int j = 0; j < w->spec.k && w->smooth.n > 0; j++)
    curves_smooth_gradient(w, j, w->totals->K + square(p) * (size_t)j, w->totals->b + p * j,
                           coefficients + w->smooth.first + p * j, &out);
  for (int g = 0; g < w->n_gamma; g++) {
    const elbo_status status = gradient_of_gamma(w, g, &out);
    if (status != ELBO_OK) return status;
  }
  for (int s = 0; s < w->n_sigma; s++) {
    const double x = w->variance[s];
    double by_x;
    if (!sigma_free(w, s)) continue;
    sd_prior_log_density(&w->sigma_prior, x, &by_x);
    *out++ = 2.0 * x * by_x + w->totals->square[s] / x - w->totals->rows[s];
  }
  return ELBO_OK;
}

/* ---- the boundary ---------------------------------------------------------------------------- */

/* A block of order one whose variance is nothing beside the residuals', and is not asked for more,
 * is put at zero. */
static int drop_variance(const curves *w, int g, const curve_block *b) {
  const int common = w->spec.common_covariance, at = b->reference * (w->spec.q + 1);
  const double c = gamma_at(w, g)[at], zero = 0.0;
  double h, least = HUGE_VAL;
  for (int j = first_of(common, g); j < last_of(common, w->spec.k, g); j++)
    least = fmin(least, w->variance[sigma_of(w, j)]);
  dual_of(w, b, w->totals->H + square(w->spec.q) * (size_t)g, &h);
  if (b->held || !(c > 0.0) || !(c < NOTHING * least) || h > 0.0) return 0;
  curves_put(w, b, &zero, gamma_at(w, g));
  return 1;
}

/* Eigenvalues of a free block that fade are put at zero where the objective says so: towards a
 * covariance that loses a dimension EM creeps, and Newton's method covers a third of the way in a
 * step. */
static int drop_dimensions(const curves *w, int g, const curve_block *b) {
  const int o = b->order, q = w->spec.q;
  double *vectors = w->one, *H = w->two, *values = w->spectrum, *Gamma = w->three;
  int moved = 0;
  curves_take(w, b, gamma_at(w, g), vectors);
  if (la_eigen(vectors, o, values, w->spectrum + o) != ELBO_OK) return 0;
  curves_take(w, b, w->totals->H + square(q) * (size_t)g, H);
  for (int k = 0; k < o - 1 && values[k] < FADED * values[o - 1]; k++) {
    double h = 0.0;
    for (int a = 0; a < o; a++)
      for (int c = 0; c < o; c++) h += vectors[a + o * k] * H[a + o * c] * vectors[c + o * k];
    if (values[k] <= ZERO * values[o - 1] || h > 0.0) continue; /* gone before, or asked for more */
    values[k] = 0.0;
    moved = 1;
  }
  if (!moved) return 0;
  for (int a = 0; a < o; a++)
    for (int c = 0; c < o; c++) {
      Gamma[a + o * c] = 0.0;
      for (int k = 0; k < o; k++)
        Gamma[a + o * c] += fmax(values[k], 0.0) * vectors[a + o * k] * vectors[c + o * k];
    }
  curves_put(w, b, Gamma, gamma_at(w, g));
  return 1;
}

static int settle(void *work, const double *stat, const double *r) {
  curves *w = work;
  int moved = 0;
  curves_collect(w, stat, r, OF_VARIANCES);
  for (int g = 0; g < w->n_gamma && w->covariance_scale == NULL; g++)
    for (int i = 0; i < w->n_block; i++)
      moved |= (w->block[i].order > 1 ? drop_dimensions : drop_variance)(w, g, w->block + i);
  if (moved) curves_em_take_eta(w);
  for (int j = 0; j < w->spec.k && w->smooth.n > 0; j++) {
    curves_sums(w, stat, r, j, OF_COEFFICIENTS);
    moved |= curves_smooth_settle(w, j);
  }
  return moved;
}

/* ---- construction ---------------------------------------------------------------------------- */

/* Blocks of order 1 are normal laws of one term, whose sd of a multiple may be held. */
static void give_laws(curves *w, const elbo_memory *mem) {
  double *sd = elbo_doubles(mem, (size_t)larger(w->spec.q, 1));
  w->n_eta = 0;
  for (int i = 0; i < w->n_block; i++) {
    curve_block *b = w->block + i;
    for (int a = 0; a < b->order; a++)
      sd[a] = b->held ? w->spec.multiple_constant[i] * w->y_scale : NAN;
    const latent_terms terms = {.kind = LATENT_FREE, .q = b->order, .sd = sd, .cor = NAN};
    latent_law_init(&b->law, &terms, mem);
    b->eta_at = w->n_eta;
    w->n_eta += b->law.n_eta;
  }
}

elbo_status curves_em(mixture_part *part, curves *w, const elbo_memory *mem) {
  const int p = w->spec.p, q = w->spec.q, k = w->spec.k;
  int most = 1;
  for (int i = 0; i < w->n_block; i++) most = larger(most, w->block[i].order);
  give_laws(w, mem);
  w->root = elbo_doubles(mem, 4 * square(most));
  w->equations = elbo_doubles(mem, packed_size(most) * (packed_size(most) + 1));
  w->covariance = elbo_doubles(mem, square(q) * (size_t)w->n_gamma);
  w->sigma = elbo_doubles(mem, (size_t)w->n_sigma);
  w->eta = elbo_doubles(mem, (size_t)larger(w->n_eta * w->n_gamma, 1));
  w->spectrum = elbo_doubles(mem, (size_t)most + la_eigen_size(most));
  curves_em_take_eta(w);
  part->field[part->n_field++] = (mixture_field){"coefficients", w->coefficients, 2, {p, k, 0}, 1};
  part->field[part->n_field++] = (mixture_field){
      "covariance", w->covariance, 3, {q, q, w->n_gamma}, !w->spec.common_covariance};
  part->field[part->n_field++] =
      (mixture_field){"sigma", w->sigma, 1, {w->n_sigma, 0, 0}, !w->spec.linear.common_sigma};
  curves_smooth_fields(w, part, mem);
  for (int j = 0; j < k; j++) curves_smooth_spread(w, j);
  part->n_eta = p * k + curves_smooth_n_eta(w) + w->n_gamma * w->n_eta;
  for (int s = 0; s < w->n_sigma; s++) part->n_eta += sigma_free(w, s);
  part->restore = restore;
  part->prepare = prepare;
  part->log_prior = log_prior;
  part->pack = pack;
  part->unpack = unpack;
  if (w->spec.method == MIXTURE_EM) {
    part->gradient = gradient;
    part->settle = settle;
  }
  part->theta = theta;
  return ELBO_OK;
}
