/* q is the quadrature's posterior of v at some theta: masses at the nodes of each group.  With v
 * rather than u as the latent variable a variance of zero is no obstacle.  The M-step climbs E log
 * p(y, v | theta), concave in (beta, L), by a step of Newton's method; then the law of v may have
 * any covariance T T', whose best is the mean of E v v', and (beta, L, T) is the same model as
 * (beta, L T, I): parameter-expanded EM (Liu, Rubin & Wu 1998, Biometrika 85:755).
 *
 * Under a prior there is no expansion.
 *
 * Where there are too few nodes for a posterior (w->few) a step climbs the quadrature's
 * value itself. */
#include "general/em.h"

#include <math.h>
#include <string.h>

#include "general/parameters.h"
#include "math/la.h"
#include "math/small.h"

enum { HALVINGS = 40 };

elbo_status general_e_step(void *work) {
  general_work *w = (general_work *)work;
  const int q = w->rows.q;
  const elbo_status status = general_evaluate(w, GENERAL_VALUE);
  if (status != ELBO_OK) return status;
  memcpy(w->q_theta, w->theta, (size_t)w->par.n_theta * sizeof(double));
  memcpy(w->q_mode, w->mode, (size_t)w->rows.m * (size_t)q * sizeof(double));
  memset(w->q_inverse, 0, square(q) * sizeof(double));
  for (int c = 0; c < q; c++) w->q_inverse[c * (q + 1)] = 1.0;
  w->q_value = w->at.value;
  w->q_log_prior = w->log_prior;
  w->q_exact = 1;
  return general_parameters_set(&w->q_par, w->q_theta, w->q_L);
}

elbo_status general_elbo(void *work, double *value) {
  general_work *w = (general_work *)work;
  if (w->few) return general_log_evidence(work, value);
  elbo_status status = ELBO_OK;
  if (!w->q_exact && !w->change_known) {
    status = general_change(w, &w->change);
    w->change_known = status == ELBO_OK;
  }
  *value = w->q_value + (w->q_exact ? 0.0 : w->change);
  return status;
}

elbo_status general_log_evidence(void *work, double *value) {
  general_work *w = (general_work *)work;
  const elbo_status status = general_evaluate(w, GENERAL_VALUE);
  *value = w->at.value;
  return status;
}

elbo_status general_kl(void *work, double *value) {
  general_work *w = (general_work *)work;
  double elbo;
  elbo_status status = general_elbo(work, &elbo);
  if (status == ELBO_OK) status = general_evaluate(w, GENERAL_VALUE);
  *value = w->at.value - elbo;
  return status;
}

double general_rounding(void *work) {
  const general_work *w = (general_work *)work;
  return 1e-9 * (1.0 + fabs(w->at.value)) + 2.0 * w->accuracy + general_noise(w);
}

/* ---- M-step ---------------------------------------------------------------------------------- */

elbo_status general_newton_step(double *H, const double *g, int n, double *step, double *work) {
  double *unit = work, *values = work + n, *eigen = work + 2 * n;
  for (int j = 0; j < n; j++) {
    const double d = fabs(H[j * (n + 1)]);
    unit[j] = d > 0.0 ? 1.0 / sqrt(d) : 0.0;
    step[j] = 0.0;
  }
  for (int j = 0; j < n; j++)
    for (int i = 0; i < n; i++) H[i + n * j] *= -unit[i] * unit[j];
  if (n == 0) return ELBO_OK;
  if (la_eigen(H, n, values, eigen) != ELBO_OK) return ELBO_E_NOT_FINITE;
  const double largest = fmax(fabs(values[0]), fabs(values[n - 1]));
  for (int k = 0; k < n; k++) {
    double along = 0.0;
    if (!(fabs(values[k]) > 1e-10 * largest)) continue;
    for (int i = 0; i < n; i++) along += H[i + n * k] * unit[i] * g[i];
    for (int i = 0; i < n; i++) step[i] += unit[i] * H[i + n * k] * along / fabs(values[k]);
  }
  return ELBO_OK;
}

/* What a step must raise, less its value before. */
static elbo_status judge(general_work *w, double before, double *gain) {
  if (!w->few) return general_change(w, gain);
  const elbo_status status = general_evaluate(w, GENERAL_VALUE);
  *gain = w->at.value - before;
  return status;
}

/* From theta where the Hessian is known. */
static elbo_status climb(general_work *w) {
  const int n = w->par.n_theta;
  double *g = w->step_space, *step = g + n, *before = step + n, *H = before + n;
  double *work = H + square(n), gain, factor = 1.0;
  const double value = w->at.value;
  general_chain(&w->par, w->theta, w->few ? w->at.gradient : w->at.score, g, w->at.complete,
                w->at.score, H, w->scratch);
  elbo_status status = general_add_prior(w, g, H);
  if (status == ELBO_OK) status = general_newton_step(H, g, n, step, work);
  memcpy(before, w->theta, (size_t)n * sizeof(double));
  for (int h = 0; h < HALVINGS && status == ELBO_OK; h++, factor *= 0.5) {
    for (int k = 0; k < n; k++) w->theta[k] = before[k] + factor * step[k];
    if (general_set_theta(w, w->theta) == ELBO_OK && judge(w, value, &gain) == ELBO_OK &&
        gain > 0.0)
      return ELBO_OK;
  }
  memcpy(w->theta, before, (size_t)n * sizeof(double));
  return status == ELBO_OK ? general_set_theta(w, w->theta) : status;
}

/* L to L T, T T' the mean of E v v' in blocks that take any covariance. */
static elbo_status expand(general_work *w, const double *second) {
  const general_parameters *par = &w->par;
  const int q = par->q;
  double S[GENERAL_MAX_TERMS * GENERAL_MAX_TERMS], T[GENERAL_MAX_TERMS * GENERAL_MAX_TERMS];
  double block[GENERAL_MAX_TERMS * GENERAL_MAX_TERMS];
  memset(T, 0, square(q) * sizeof(double));
  for (int b = 0; b < par->n_block; b++) {
    const int first = par->start[b], n = par->law[b].q, closed = latent_law_closed(par->law + b);
    const int free = closed && par->law[b].kind == LATENT_FREE;
    for (int j = 0; j < n; j++)
      for (int i = 0; i < n; i++)
        S[i + n * j] = !free
                           ? (i == j ? 1.0 : 0.0)
                           : second[first + larger(i, j) + q * (first + smaller(i, j))] / w->rows.m;
    elbo_status status = la_chol(S, n);
    if (status != ELBO_OK) return status;
    for (int j = 0; j < n; j++)
      for (int i = j; i < n; i++) T[first + i + q * (first + j)] = S[i + n * j];
  }
  la_multiply(w->L, T, q, q, q, block);
  la_lower_inverse(T, q, w->q_inverse);
  general_parameters_pack(par, block, w->theta);
  return general_set_theta(w, w->theta);
}

elbo_status general_m_step(void *work) {
  general_work *w = (general_work *)work;
  double second[GENERAL_MAX_TERMS * GENERAL_MAX_TERMS];
  elbo_status status = general_evaluate(w, GENERAL_HESSIAN);
  if (status != ELBO_OK) return status;
  memcpy(second, w->at.second, square(w->rows.q) * sizeof(double));
  w->q_exact = 0;
  status = climb(w);
  return status == ELBO_OK && !w->few && !w->prior ? expand(w, second) : status;
}
