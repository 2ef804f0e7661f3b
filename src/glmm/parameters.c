/* The free parameters of the Gaussian mixed model: those of the law of each block of Sigma
 * (law/latent_law.h), then the logarithm of each free residual sd, then the sd of each smooth term,
 * of either sign (glmm/smooth.c). */
#include "glmm/parameters.h"

#include <math.h>
#include <string.h>

#include "math/la.h"
#include "math/small.h"

int lmm_block_of(const lmm_parameters *par, int row) {
  int b = 0;
  while (par->start[b + 1] <= row) b++;
  return b;
}

int lmm_block_of_eta(const lmm_parameters *par, int k) {
  int b = par->n_block - 1;
  while (par->eta_of_block[b] > k) b--;
  return b;
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

/* The law of block b: constants and units in those of the scaled variables.  Sds that are the same
 * in the caller's units are so up to the scales of their columns. */
static void init_law(lmm_parameters *par, const lmm_law *law, int b, const elbo_memory *mem) {
  const int first = par->start[b], q = par->start[b + 1] - first;
  double sd[LMM_MAX_TERMS], unit[LMM_MAX_TERMS];
  latent_terms terms = {.q = q, .sd = sd, .cor = law->cor[b], .unit = unit};
  if (law->kind) terms.kind = (latent_kind)law->kind[b];
  if (law->common) terms.common = law->common[b];
  if (law->matrix) terms.matrix = law->matrix[b];
  const int common = terms.common || terms.kind == LATENT_MULTIPLE;
  for (int i = 0; i < q; i++) {
    const double to_scaled = par->T[(first + i) * (par->q + 1)];
    const double to_first = par->T[first * (par->q + 1)];
    unit[i] = common ? to_scaled / to_first : 1.0;
    sd[i] = law->sd[first + i] * (common ? to_first : to_scaled);
  }
  latent_law_init(par->law + b, &terms, mem);
}

/* Place of block b in the lists of rows, of pairs and in eta. */
static void list_rows(lmm_parameters *par, int b) {
  const latent_law *law = par->law + b;
  par->eta_of_block[b] = par->n_eta;
  for (int i = 0; i < law->q; i++) {
    const int r = par->start[b] + i;
    par->kind[r] = law->row[i];
    par->length[r] = law->length[i];
    par->eta_of_row[r] = par->n_eta + law->eta_of_row[i];
    if (par->kind[r] == LATENT_ROW_NO_LAW) {
      par->no_law[par->n_no_law++] = r;
      continue;
    }
    for (int c = law->kind == LATENT_DIAGONAL ? r : par->start[b]; c <= r; c++) {
      par->pair_a[par->n_pair] = r;
      par->pair_b[par->n_pair++] = c;
    }
  }
  par->n_eta += law->n_eta;
}

void lmm_parameters_init(lmm_parameters *par, const lmm_stats *stats, const lmm_law *law,
                         const elbo_memory *mem) {
  const int q = stats->q, n_level = stats->n_level, n_block = law->n_block;
  const lmm_scaling *s = &stats->scaling;
  const size_t Q = (size_t)q;
  memset(par, 0, sizeof *par);
  par->q = q;
  par->n_block = n_block;
  par->n_level = n_level;
  par->sigma_scale = s->y_scale * s->root_weight_scale;
  par->law = (latent_law *)mem->get(mem->ctx, (size_t)larger(n_block, 1) * sizeof *par->law);
  par->start = elbo_ints(mem, (size_t)n_block + 1);
  par->eta_of_block = elbo_ints(mem, (size_t)n_block);
  par->kind = elbo_ints(mem, Q);
  par->eta_of_row = elbo_ints(mem, Q);
  par->no_law = elbo_ints(mem, Q);
  par->pair_a = elbo_ints(mem, Q * Q);
  par->pair_b = elbo_ints(mem, Q * Q);
  par->length = elbo_doubles(mem, Q);
  par->sigma = elbo_doubles(mem, (size_t)n_level);
  par->eta_of_sigma = elbo_ints(mem, (size_t)n_level);
  par->T = elbo_doubles(mem, Q * Q);
  par->Ti = elbo_doubles(mem, Q * Q);
  scaling_matrices(par, s);
  par->start[0] = 0;
  for (int b = 0; b < n_block; b++) {
    par->start[b + 1] = par->start[b];
    while (par->start[b + 1] < q && law->block[par->start[b + 1]] == b) par->start[b + 1]++;
    init_law(par, law, b, mem);
    list_rows(par, b);
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

/* ---- Sigma ----------------------------------------------------------------------------------- */

/* Block b of A (q x q), and back. */
static void take(const lmm_parameters *par, int b, const double *A, double *block) {
  const int first = par->start[b], n = par->start[b + 1] - first;
  for (int i = 0; i < n; i++)
    for (int j = 0; j < n; j++) block[i + n * j] = A[first + i + par->q * (first + j)];
}

static void put(const lmm_parameters *par, int b, const double *block, double *A) {
  const int first = par->start[b], n = par->start[b + 1] - first;
  for (int i = 0; i < n; i++)
    for (int j = 0; j < n; j++) A[first + i + par->q * (first + j)] = block[i + n * j];
}

void lmm_parameters_unpack(const lmm_parameters *par, const double *eta, double *L, double *Sigma,
                           double *variance) {
  const int q = par->q;
  double block[LMM_MAX_TERMS * LMM_MAX_TERMS];
  memset(L, 0, square(q) * sizeof(double));
  for (int b = 0; b < par->n_block; b++) {
    latent_law_root(par->law + b, eta + par->eta_of_block[b], block);
    put(par, b, block, L);
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

void lmm_parameters_round(const lmm_parameters *par, double small, double *eta) {
  for (int b = 0; b < par->n_block; b++)
    latent_law_round(par->law + b, small, eta + par->eta_of_block[b]);
}

static void pack_variance(const lmm_parameters *par, const double *variance, double *eta) {
  for (int l = 0; l < par->n_level; l++)
    if (par->eta_of_sigma[l] >= 0) eta[par->eta_of_sigma[l]] = 0.5 * log(variance[l]);
}

void lmm_parameters_pack_root(const lmm_parameters *par, const double *L, const double *variance,
                              double *eta) {
  double block[LMM_MAX_TERMS * LMM_MAX_TERMS];
  for (int b = 0; b < par->n_block; b++) {
    take(par, b, L, block);
    latent_law_pack(par->law + b, block, eta + par->eta_of_block[b]);
  }
  pack_variance(par, variance, eta);
}

void lmm_parameters_canonical(const lmm_parameters *par, const double *variance, double *eta) {
  for (int b = 0; b < par->n_block; b++)
    latent_law_canonical(par->law + b, eta + par->eta_of_block[b]);
  pack_variance(par, variance, eta);
}

void lmm_parameters_pack(const lmm_parameters *par, const double *Sigma, const double *variance,
                         double *eta) {
  double block[LMM_MAX_TERMS * LMM_MAX_TERMS], L[LMM_MAX_TERMS * LMM_MAX_TERMS];
  for (int b = 0; b < par->n_block; b++) {
    take(par, b, Sigma, block);
    la_chol_semidefinite(block, par->law[b].q, 1e-15, L);
    latent_law_pack(par->law + b, L, eta + par->eta_of_block[b]);
  }
  pack_variance(par, variance, eta);
}

void lmm_parameters_sigma_jacobian(const lmm_parameters *par, const double *eta, double *jacobian) {
  double block[LMM_MAX_TERMS * LMM_MAX_TERMS];
  memset(jacobian, 0, square(par->q) * (size_t)par->n_eta * sizeof(double));
  for (int b = 0; b < par->n_block; b++)
    for (int k = 0, at = par->eta_of_block[b]; k < par->law[b].n_eta; k++) {
      latent_law_slope(par->law + b, eta + at, k, block);
      put(par, b, block, jacobian + square(par->q) * (size_t)(at + k));
    }
}

void lmm_parameters_sigma_curvature(const lmm_parameters *par, const double *eta, const double *G,
                                    double *curvature) {
  double block[LMM_MAX_TERMS * LMM_MAX_TERMS];
  for (int b = 0; b < par->n_block; b++) {
    const int at = par->eta_of_block[b];
    take(par, b, G, block);
    latent_law_curvature(par->law + b, eta + at, block, par->n_eta,
                         curvature + at * (par->n_eta + 1));
  }
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
