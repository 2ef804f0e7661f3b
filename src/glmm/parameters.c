/* The free parameters of the Gaussian mixed model: a Cholesky row for each latent term, then the
 * logarithm of each free residual sd, then the sd of each smooth term, of either sign
 * (glmm/smooth.c).
 *
 * A covariance block is L L' with the rows of L free: no bounds, zero and singular covariances are
 * ordinary points, and the objective is even in each column, so a boundary optimum is a
 * stationary point that Newton's method reaches.  A constant sd fixes the length of its row, which
 * then is given by angles; a constant correlation of two terms fixes the direction of the second
 * row. */
#include "glmm/parameters.h"

#include <math.h>
#include <string.h>

#include "math/la.h"

static int block_of(const lmm_parameters *par, int row) {
  int b = 0;
  while (par->start[b + 1] <= row) b++;
  return b;
}

static int block_start(const lmm_parameters *par, int row) {
  return par->start[block_of(par, row)];
}

static int block_end(const lmm_parameters *par, int row) {
  return par->start[block_of(par, row) + 1];
}

static int local(const lmm_parameters *par, int row) { return row - block_start(par, row); }

int lmm_row_size(const lmm_parameters *par, int row) {
  switch (par->kind[row]) {
    case LMM_ROW_FREE:
      return local(par, row) + 1;
    case LMM_ROW_LENGTH:
      return local(par, row);
    case LMM_ROW_DIRECTION:
      return 1;
    default:
      return 0;
  }
}

static void scaling_matrices(lmm_parameters *par, const lmm_scaling *s) {
  const int q = par->q;
  memset(par->T, 0, (size_t)(q * q) * sizeof(double));
  memset(par->Ti, 0, (size_t)(q * q) * sizeof(double));
  /* Z u = sum (Z_k - shift_k) scale_k (T u)_k, the intercept taking sum shift_k u_k. */
  for (int k = 0; k < q; k++) {
    par->T[k + q * k] = s->y_scale / s->z_scale[k];
    par->Ti[k + q * k] = s->z_scale[k] / s->y_scale;
  }
  for (int k = 0; k < q; k++)
    if (s->z_intercept[k] >= 0) {
      const int i = s->z_intercept[k];
      par->T[i + q * k] = s->y_scale * s->z_shift[k];
      par->Ti[i + q * k] = -s->z_shift[k] * s->z_scale[k] / s->y_scale;
    }
}

void lmm_parameters_init(lmm_parameters *par, const lmm_stats *stats, const lmm_law *law,
                         const elbo_memory *mem) {
  const int q = stats->q, n_level = stats->n_level;
  const lmm_scaling *s = &stats->scaling;
  const size_t Q = (size_t)q;
  memset(par, 0, sizeof *par);
  par->q = q;
  par->n_block = law->n_block;
  par->n_level = n_level;
  par->sigma_scale = s->y_scale * s->root_weight_scale;
  par->start = elbo_ints(mem, (size_t)law->n_block + 1);
  par->kind = elbo_ints(mem, Q);
  par->eta_of_row = elbo_ints(mem, Q);
  par->no_law = elbo_ints(mem, Q);
  par->pair_a = elbo_ints(mem, Q * Q);
  par->pair_b = elbo_ints(mem, Q * Q);
  par->length = elbo_doubles(mem, Q);
  par->cor = elbo_doubles(mem, (size_t)law->n_block);
  par->sigma = elbo_doubles(mem, (size_t)n_level);
  par->eta_of_sigma = elbo_ints(mem, (size_t)n_level);
  par->T = elbo_doubles(mem, Q * Q);
  par->Ti = elbo_doubles(mem, Q * Q);
  scaling_matrices(par, s);
  par->start[0] = 0;
  for (int b = 0; b < law->n_block; b++) {
    par->cor[b] = law->cor[b];
    par->start[b + 1] = par->start[b];
    while (par->start[b + 1] < q && law->block[par->start[b + 1]] == b) par->start[b + 1]++;
  }
  for (int b = 0; b < law->n_block; b++)
    for (int r = par->start[b]; r < par->start[b + 1]; r++) {
      const int held = !isnan(law->sd[r]), turned = !isnan(par->cor[b]) && r > par->start[b];
      par->length[r] = held ? law->sd[r] * par->T[r + q * r] : 0.0;
      par->kind[r] = held && isinf(law->sd[r]) ? LMM_ROW_NO_LAW
                     : held && turned          ? LMM_ROW_FIXED
                     : held                    ? LMM_ROW_LENGTH
                     : turned                  ? LMM_ROW_DIRECTION
                                               : LMM_ROW_FREE;
      if (par->kind[r] == LMM_ROW_NO_LAW) {
        par->no_law[par->n_no_law++] = r;
        par->length[r] = 0.0;
      } else {
        for (int c = par->start[b]; c <= r; c++) {
          par->pair_a[par->n_pair] = r;
          par->pair_b[par->n_pair++] = c;
        }
      }
      par->eta_of_row[r] = par->n_eta;
      par->n_eta += lmm_row_size(par, r);
    }
  for (int l = 0; l < n_level; l++) {
    const int held = !isnan(law->sigma[l]);
    par->sigma[l] = held ? law->sigma[l] * par->sigma_scale : NAN;
    par->eta_of_sigma[l] = held ? -1 : par->n_eta++;
    par->n_sigma += !held;
  }
  for (int k = 0; k < law->n_smooth; k++) par->n_smooth += isnan(law->smooth_sd[k]);
  par->n_eta += par->n_smooth;
}

/* Element c of the unit vector with angles phi (j of them), differentiated with respect to angles
 * k and l (-1: not): cos phi_c prod_{i < c} sin phi_i, the last without a cosine. */
static double polar(const double *phi, int j, int c, int k, int l) {
  double product = 1.0;
  for (int i = 0; i < j; i++) {
    const int order = (i == k) + (i == l);
    const double s = sin(phi[i]), co = cos(phi[i]);
    if (i < c)
      product *= order == 0 ? s : order == 1 ? co : -s;
    else if (i == c)
      product *= order == 0 ? co : order == 1 ? -s : -co;
    else if (order > 0)
      return 0.0;
  }
  return product;
}

/* Row r of L (its local columns), differentiated by its parameters k and l (-1: not). */
static void row_of_L(const lmm_parameters *par, const double *eta, int r, int k, int l,
                     double *out) {
  const double *x = eta + par->eta_of_row[r];
  const int j = local(par, r), order = (k >= 0) + (l >= 0);
  for (int c = 0; c <= j; c++) out[c] = 0.0;
  switch (par->kind[r]) {
    case LMM_ROW_FREE:
      if (order == 0)
        for (int c = 0; c <= j; c++) out[c] = x[c];
      else if (order == 1)
        out[k >= 0 ? k : l] = 1.0;
      break;
    case LMM_ROW_LENGTH:
      for (int c = 0; c <= j; c++) out[c] = par->length[r] * polar(x, j, c, k, l);
      break;
    case LMM_ROW_DIRECTION:
    case LMM_ROW_FIXED: {
      const double cor = par->cor[block_of(par, r)];
      const double length = par->kind[r] == LMM_ROW_FIXED ? par->length[r]
                            : order == 0                  ? x[0]
                            : order == 1                  ? 1.0
                                                          : 0.0;
      out[0] = length * cor;
      out[1] = length * sqrt(1.0 - cor * cor);
      break;
    }
    default:
      break;
  }
}

void lmm_parameters_unpack(const lmm_parameters *par, const double *eta, double *L, double *Sigma,
                           double *variance) {
  const int q = par->q;
  double row[LMM_MAX_TERMS];
  memset(L, 0, (size_t)(q * q) * sizeof(double));
  for (int r = 0; r < q; r++) {
    row_of_L(par, eta, r, -1, -1, row);
    for (int c = 0; c <= local(par, r); c++) L[r + q * (block_start(par, r) + c)] = row[c];
  }
  for (int i = 0; i < q; i++)
    for (int j = 0; j < q; j++) {
      double sum = 0.0;
      for (int k = 0; k < q; k++) sum += L[i + q * k] * L[j + q * k];
      Sigma[i + q * j] = sum;
    }
  for (int l = 0; l < par->n_level; l++) {
    const double sigma = par->eta_of_sigma[l] < 0 ? par->sigma[l] : exp(eta[par->eta_of_sigma[l]]);
    variance[l] = sigma * sigma;
  }
}

/* Column c of L has no variance of its own: what rows have in it turns into their last columns. */
static void empty_column(const lmm_parameters *par, double *eta, int first, int last, int c) {
  for (int r = c + 1; r < last; r++) {
    double *x = eta + par->eta_of_row[r];
    const double length = hypot(x[c - first], x[r - first]);
    if (length == 0.0) continue;
    const double sine = x[c - first] / length, cosine = x[r - first] / length;
    for (int below = r; below < last; below++) {
      double *row = eta + par->eta_of_row[below];
      const double at_c = row[c - first], at_r = row[r - first];
      row[r - first] = cosine * at_r + sine * at_c;
      row[c - first] = cosine * at_c - sine * at_r;
    }
    x[c - first] = 0.0;
  }
}

void lmm_parameters_round(const lmm_parameters *par, double small, double *eta) {
  for (int b = 0; b < par->n_block; b++) {
    const int first = par->start[b], last = par->start[b + 1];
    int free = 1;
    for (int r = first; r < last; r++) free &= par->kind[r] == LMM_ROW_FREE;
    for (int c = first; c < last && free; c++) {
      double *diagonal = eta + par->eta_of_row[c] + (c - first);
      if (fabs(*diagonal) >= small) continue;
      *diagonal = 0.0;
      empty_column(par, eta, first, last, c);
    }
  }
}

void lmm_parameters_pack_root(const lmm_parameters *par, const double *L, const double *variance,
                              double *eta) {
  const int q = par->q;
  for (int r = 0; r < q; r++) {
    const int first = block_start(par, r), j = r - first;
    double *x = eta + par->eta_of_row[r];
    double rest = 0.0;
    switch (par->kind[r]) {
      case LMM_ROW_FREE:
        for (int c = 0; c <= j; c++) x[c] = L[r + q * (first + c)];
        break;
      case LMM_ROW_LENGTH: /* from the last column back: tan phi_c = |rest| / L_c */
        rest = L[r + q * r];
        for (int c = j - 1; c >= 0; c--) {
          x[c] = atan2(rest, L[r + q * (first + c)]);
          rest = hypot(rest, L[r + q * (first + c)]);
        }
        break;
      case LMM_ROW_DIRECTION:
        for (int c = 0; c <= j; c++) rest = hypot(rest, L[r + q * (first + c)]);
        x[0] = rest;
        break;
      default:
        break;
    }
  }
  for (int l = 0; l < par->n_level; l++)
    if (par->eta_of_sigma[l] >= 0) eta[par->eta_of_sigma[l]] = 0.5 * log(variance[l]);
}

void lmm_parameters_canonical(const lmm_parameters *par, double *L, const double *variance,
                              double *eta) {
  const int q = par->q;
  for (int c = 0; c < q; c++)
    for (int r = q - 1; L[c * (q + 1)] < 0.0 && r >= c; r--) L[r + q * c] = -L[r + q * c];
  lmm_parameters_pack_root(par, L, variance, eta);
}

void lmm_parameters_pack(const lmm_parameters *par, const double *Sigma, const double *variance,
                         double *eta) {
  const int q = par->q;
  double block[LMM_MAX_TERMS * LMM_MAX_TERMS], chol[LMM_MAX_TERMS * LMM_MAX_TERMS];
  double L[LMM_MAX_TERMS * LMM_MAX_TERMS];
  memset(L, 0, (size_t)(q * q) * sizeof(double));
  for (int b = 0; b < par->n_block; b++) {
    const int first = par->start[b], n = par->start[b + 1] - first;
    for (int i = 0; i < n; i++)
      for (int j = 0; j < n; j++) block[i + n * j] = Sigma[first + i + q * (first + j)];
    la_chol_semidefinite(block, n, 1e-15, chol);
    for (int i = 0; i < n; i++)
      for (int j = 0; j <= i; j++) L[first + i + q * (first + j)] = chol[i + n * j];
  }
  lmm_parameters_pack_root(par, L, variance, eta);
}

void lmm_parameters_sigma_jacobian(const lmm_parameters *par, const double *eta, double *jacobian) {
  const int q = par->q;
  double d[LMM_MAX_TERMS], row[LMM_MAX_TERMS];
  memset(jacobian, 0, (size_t)(q * q) * (size_t)par->n_eta * sizeof(double));
  for (int r = 0; r < q; r++)
    for (int k = 0; k < lmm_row_size(par, r); k++) {
      double *out = jacobian + (size_t)(q * q) * (size_t)(par->eta_of_row[r] + k);
      row_of_L(par, eta, r, k, -1, d);
      for (int c = block_start(par, r); c < block_end(par, r); c++) {
        double dot = 0.0;
        const int n = local(par, r) < local(par, c) ? local(par, r) : local(par, c);
        row_of_L(par, eta, c, -1, -1, row);
        for (int i = 0; i <= n; i++) dot += d[i] * row[i];
        out[r + q * c] += dot;
        out[c + q * r] += dot;
      }
    }
}

void lmm_parameters_sigma_curvature(const lmm_parameters *par, const double *eta, const double *G,
                                    double *curvature) {
  const int q = par->q;
  double d[LMM_MAX_TERMS], e[LMM_MAX_TERMS], both[LMM_MAX_TERMS], row[LMM_MAX_TERMS];
  for (int r = 0; r < q; r++)
    for (int k = 0; k < lmm_row_size(par, r); k++) {
      const int at = par->eta_of_row[r] + k;
      row_of_L(par, eta, r, k, -1, d);
      for (int s = block_start(par, r); s < block_end(par, r); s++)
        for (int l = 0; l < lmm_row_size(par, s); l++) {
          const int n = local(par, r) < local(par, s) ? local(par, r) : local(par, s);
          double sum = 0.0;
          row_of_L(par, eta, s, l, -1, e);
          for (int i = 0; i <= n; i++) sum += d[i] * e[i];
          sum *= G[r + q * s];
          if (r == s) {
            row_of_L(par, eta, r, k, l, both);
            for (int c = block_start(par, r); c < block_end(par, r); c++) {
              const int most = local(par, r) < local(par, c) ? local(par, r) : local(par, c);
              row_of_L(par, eta, c, -1, -1, row);
              for (int i = 0; i <= most; i++) sum += G[r + q * c] * both[i] * row[i];
            }
          }
          curvature[at + par->n_eta * (par->eta_of_row[s] + l)] += 2.0 * sum;
        }
    }
}

int lmm_direction(const lmm_parameters *par, int e, int level, int first, int q, int *a, int *b) {
  *a = *b = 0;
  if (e >= par->n_pair) return level && e - par->n_pair == first;
  *a = par->pair_a[e] - first;
  *b = par->pair_b[e] - first;
  return !level && *a >= 0 && *b >= 0 && *a < q && *b < q;
}

/* Ti A Ti' */
static void to_user(const lmm_parameters *par, const double *A, double *out) {
  const int q = par->q;
  double half[LMM_MAX_TERMS * LMM_MAX_TERMS];
  la_multiply(par->Ti, A, q, q, q, half);
  la_multiply_t(half, par->Ti, q, q, q, out);
}

void lmm_parameters_natural(const lmm_parameters *par, const double *eta, double *sigma_u,
                            double *jacobian_u, double *sigma) {
  const int q = par->q;
  double L[LMM_MAX_TERMS * LMM_MAX_TERMS], Sigma[LMM_MAX_TERMS * LMM_MAX_TERMS];
  lmm_parameters_unpack(par, eta, L, Sigma, sigma);
  to_user(par, Sigma, sigma_u);
  lmm_parameters_sigma_jacobian(par, eta, jacobian_u);
  for (int k = 0; k < par->n_eta; k++) {
    double *J = jacobian_u + (size_t)(q * q) * (size_t)k;
    memcpy(Sigma, J, (size_t)(q * q) * sizeof(double));
    to_user(par, Sigma, J);
  }
  for (int l = 0; l < par->n_level; l++) sigma[l] = sqrt(sigma[l]) / par->sigma_scale;
}
