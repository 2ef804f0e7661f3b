/* theta = (beta, eta, psi) <-> (beta, L, psi), chain rules, the caller's units. */
#include "general/parameters.h"

#include <math.h>
#include <string.h>

#include "math/la.h"
#include "math/small.h"

static void init_law(general_parameters *par, const general_input *in, int b,
                     const elbo_memory *mem) {
  const int first = par->start[b], q = par->start[b + 1] - first;
  const double *scale = par->z_scale + first;
  double sd[GENERAL_MAX_TERMS], unit[GENERAL_MAX_TERMS];
  latent_terms terms = {.q = q, .sd = sd, .cor = in->cor[b], .unit = unit};
  if (in->kind) terms.kind = (latent_kind)in->kind[b];
  if (in->common) terms.common = in->common[b];
  for (int k = 0; k < q; k++) {
    unit[k] = terms.common ? scale[0] / scale[k] : 1.0;
    sd[k] = in->sd[first + k] / scale[terms.common ? 0 : k];
  }
  latent_law_init(par->law + b, &terms, mem);
  par->eta_of_block[b] = par->n_eta;
  par->n_eta += par->law[b].n_eta;
}

elbo_status general_parameters_init(general_parameters *par, const general_input *in,
                                    const general_rows *rows, const elbo_memory *mem) {
  memset(par, 0, sizeof *par);
  par->p = in->p;
  par->q = in->q;
  par->n_own = in->n_own;
  par->n_block = in->n_block;
  par->R = rows->R;
  par->z_scale = rows->z_scale;
  par->law = mem->get(mem->ctx, (size_t)larger(in->n_block, 1) * sizeof *par->law);
  par->start = elbo_ints(mem, (size_t)in->n_block + 1);
  par->eta_of_block = elbo_ints(mem, (size_t)in->n_block + 1);
  par->start[0] = 0;
  for (int b = 0; b < in->n_block; b++) {
    par->start[b + 1] = par->start[b];
    while (par->start[b + 1] < in->q && in->block[par->start[b + 1]] == b) par->start[b + 1]++;
    init_law(par, in, b, mem);
  }
  par->n_root = in->q * (in->q + 1) / 2;
  par->n_theta = par->p + par->n_eta + par->n_own;
  par->n_inner = par->p + par->n_root + par->n_own;
  return response_law_init(&par->response, in->family, in->link, in->n_own, mem);
}

elbo_status general_parameters_set(general_parameters *par, const double *theta, double *L) {
  const int q = par->q;
  double block[GENERAL_MAX_TERMS * GENERAL_MAX_TERMS];
  memset(L, 0, square(q) * sizeof(double));
  for (int b = 0; b < par->n_block; b++) {
    const int first = par->start[b], n = par->law[b].q;
    latent_law_analytic_root(par->law + b, theta + par->p + par->eta_of_block[b], block);
    for (int j = 0; j < n; j++)
      for (int i = j; i < n; i++) L[first + i + q * (first + j)] = block[i + n * j];
  }
  for (int k = 0; k < par->n_theta; k++)
    if (!isfinite(theta[k])) return ELBO_E_NOT_FINITE;
  return response_law_set(&par->response, theta + par->p + par->n_eta);
}

void general_parameters_pack(const general_parameters *par, const double *L, double *theta) {
  const int q = par->q;
  double block[GENERAL_MAX_TERMS * GENERAL_MAX_TERMS];
  for (int b = 0; b < par->n_block; b++) {
    const int first = par->start[b], n = par->law[b].q;
    for (int j = 0; j < n; j++)
      for (int i = 0; i < n; i++) block[i + n * j] = L[first + i + q * (first + j)];
    latent_law_pack(par->law + b, block, theta + par->p + par->eta_of_block[b]);
  }
}

/* ---- chain rules ----------------------------------------------------------------------------- */

/* d L / d eta_k, l < 0, or d^2 L / d eta_k d eta_l: n_root, by row. */
static void root_slope(const general_parameters *par, const double *eta, int k, int l,
                       double *out) {
  int b = par->n_block - 1;
  double slope[GENERAL_MAX_TERMS * GENERAL_MAX_TERMS];
  memset(out, 0, (size_t)par->n_root * sizeof(double));
  while (par->eta_of_block[b] > k) b--;
  const int at = par->eta_of_block[b], first = par->start[b], q = par->law[b].q;
  if (l >= 0 && (l < at || l >= at + par->law[b].n_eta)) return;
  latent_law_root_slope(par->law + b, eta + at, k - at, l < 0 ? -1 : l - at, slope);
  for (int r = 0; r < q; r++)
    for (int c = 0; c <= r; c++) out[general_packed(first + r, first + c)] = slope[r + q * c];
}

/* J' of an inner vector, whose entries are `stride` apart: beta and psi as they are. */
static void pull(const general_parameters *par, const double *J, const double *inner, int stride,
                 double *theta) {
  const int p = par->p, n_root = par->n_root;
  for (int j = 0; j < p; j++) theta[j] = inner[(size_t)stride * (size_t)j];
  for (int k = 0; k < par->n_eta; k++) {
    theta[p + k] = 0.0;
    for (int a = 0; a < n_root; a++)
      theta[p + k] += J[a + n_root * k] * inner[(size_t)stride * (size_t)(p + a)];
  }
  for (int l = 0; l < par->n_own; l++)
    theta[p + par->n_eta + l] = inner[(size_t)stride * (size_t)(p + n_root + l)];
}

void general_chain(const general_parameters *par, const double *theta, const double *gradient,
                   double *gradient_theta, const double *hessian, const double *slope,
                   double *hessian_theta, double *work) {
  const int n = par->n_inner, N = par->n_theta, p = par->p, n_root = par->n_root;
  double J[GENERAL_MAX_ROOT * GENERAL_MAX_ROOT], second[GENERAL_MAX_ROOT];
  for (int k = 0; k < par->n_eta; k++) root_slope(par, theta + p, k, -1, J + n_root * k);
  pull(par, J, gradient, 1, gradient_theta);
  if (hessian == NULL) return;
  double *full = work, *half = work + square(n);
  memcpy(full, hessian, square(n) * sizeof(double));
  fill_upper(full, n);
  for (int a = 0; a < n; a++)
    pull(par, J, full + (size_t)n * (size_t)a, 1, half + (size_t)N * (size_t)a);
  for (int k = 0; k < N; k++) pull(par, J, half + k, N, hessian_theta + (size_t)N * (size_t)k);
  for (int k = 0; k < par->n_eta; k++)
    for (int l = 0; l < par->n_eta; l++) {
      root_slope(par, theta + p, k, l, second);
      hessian_theta[p + l + N * (p + k)] += dot(second, slope + p, n_root);
    }
}

/* ---- the caller's units ---------------------------------------------------------------------- */

void general_natural_beta(const general_parameters *par, const double *theta, double *beta) {
  const int p = par->p;
  for (int j = p - 1; j >= 0; j--) {
    double rest = theta[j];
    for (int k = j + 1; k < p; k++) rest -= par->R[j + p * k] * beta[k];
    beta[j] = rest / par->R[j + p * j];
  }
}

void general_natural_sigma(const general_parameters *par, const double *theta, double *Sigma,
                           double *slope) {
  const int q = par->q;
  double block[GENERAL_MAX_TERMS * GENERAL_MAX_TERMS];
  double root[GENERAL_MAX_TERMS * GENERAL_MAX_TERMS];
  memset(Sigma, 0, square(q) * sizeof(double));
  memset(slope, 0, square(q) * (size_t)par->n_eta * sizeof(double));
  for (int b = 0; b < par->n_block; b++) {
    const int first = par->start[b], n = par->law[b].q, at = par->eta_of_block[b];
    const double *eta = theta + par->p + at, *scale = par->z_scale + first;
    latent_law_root(par->law + b, eta, root);
    la_multiply_t(root, root, n, n, n, block);
    for (int k = -1; k < par->law[b].n_eta; k++) {
      double *to = k < 0 ? Sigma : slope + square(q) * (size_t)(at + k);
      if (k >= 0) latent_law_slope(par->law + b, eta, k, block);
      for (int j = 0; j < n; j++)
        for (int i = 0; i < n; i++)
          to[first + i + q * (first + j)] = scale[i] * scale[j] * block[i + n * j];
    }
  }
}

void general_natural_own(const general_parameters *par, double *slope) {
  const int n = par->n_own;
  const response_law *law = &par->response;
  memset(slope, 0, square(n) * sizeof(double));
  for (int l = 0; l < n; l++)
    for (int k = 0; k <= l; k++)
      slope[l + n * k] = law->family != RESPONSE_CUMULATIVE ? law->natural[l]
                         : k == 0                           ? 1.0
                                                            : exp(law->psi[k]);
}

/* R' x of the entries for beta of a vector, `stride` apart, in place. */
static void turn_beta(const general_parameters *par, double *x, int stride, double *work) {
  const int p = par->p;
  for (int j = 0; j < p; j++) {
    work[j] = 0.0;
    for (int k = 0; k <= j; k++) work[j] += par->R[k + p * j] * x[(size_t)stride * (size_t)k];
  }
  for (int j = 0; j < p; j++) x[(size_t)stride * (size_t)j] = work[j];
}

void general_natural_score(const general_parameters *par, double *score, double *work) {
  turn_beta(par, score, 1, work);
}

void general_natural_derivatives(const general_parameters *par, double *gradient, double *hessian,
                                 double *work) {
  const int N = par->n_theta;
  turn_beta(par, gradient, 1, work);
  for (int c = 0; c < N; c++) turn_beta(par, hessian + (size_t)N * (size_t)c, 1, work);
  for (int r = 0; r < N; r++) turn_beta(par, hessian + r, N, work);
}

void general_from_natural(const general_parameters *par, const double *beta, const double *Sigma,
                          const double *own, double *theta) {
  const int p = par->p, q = par->q;
  double S[GENERAL_MAX_TERMS * GENERAL_MAX_TERMS], L[GENERAL_MAX_TERMS * GENERAL_MAX_TERMS];
  for (int j = 0; j < p; j++) {
    theta[j] = 0.0;
    for (int k = j; k < p; k++) theta[j] += par->R[j + p * k] * beta[k];
  }
  for (int j = 0; j < q; j++)
    for (int i = 0; i < q; i++)
      S[i + q * j] = Sigma[i + q * j] / (par->z_scale[i] * par->z_scale[j]);
  la_chol_semidefinite(S, q, 1e-15, L);
  general_parameters_pack(par, L, theta);
  response_law_psi(&par->response, own, theta + par->p + par->n_eta);
}
