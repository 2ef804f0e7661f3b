/* Smooth terms of the Gaussian mixed model: curves X_s b with b ~ N(0, sd^2 I), a latent vector of
 * all rows (Wahba 1978, JRSS B 40:364; Wood 2017, Generalized Additive Models, 5.8).
 *
 * Their columns are the last of X, so that V and all that is done to groups stay as they are.  With
 * b = root c, c ~ N(0, I), root = unit sd, and R = diag(1, root), D = diag(0, I) over (beta, c),
 * everything follows from A = X'V^{-1}X:
 *
 *   M = R A R + D     precision of (beta, c),
 *   R M^{-1} R        covariance of (beta, b), the C of the rest of the model,
 *   log |V + X_s root^2 X_s'| = log |V| + log |M_cc|,
 *
 * and of reml, where beta is integrated too, log |M| in place of log |M_cc|.  In c nothing is
 * divided by sd: a straight line, sd = 0, is a point like others, and the objective is even in sd.
 *
 * Under em q(c) is normal given beta.  Its covariance P is kept with an identity for beta, which
 * has neither entropy nor divergence, so that one code serves em and reml. */
#include "glmm/smooth.h"

#include <math.h>
#include <string.h>

#include "glmm/cross.h"
#include "glmm/smooth_inside.h"
#include "glmm/close.h"

/* ---- set-up ---------------------------------------------------------------------------------- */

void lmm_smooth_init(lmm_work *w, const lmm_law *law, const elbo_memory *mem) {
  const int p = w->stats->p, n = law->n_smooth;
  const lmm_scaling *scaling = &w->stats->scaling;
  lmm_smooth *s = &w->smooth;
  if (n == 0) return;
  s->n = n;
  s->n_column = lmm_law_smooth_columns(law);
  s->first = p - s->n_column;
  s->start = elbo_ints(mem, (size_t)n + 1);
  s->eta_of = elbo_ints(mem, (size_t)n);
  double **of_term[] = {&s->sd, &s->to_user, &s->extent, &s->q_sd};
  for (size_t i = 0; i < sizeof of_term / sizeof *of_term; i++)
    *of_term[i] = elbo_doubles(mem, (size_t)n);
  double **of_column[] = {&s->unit, &s->root, &s->gradient, &s->c, &s->q_c, &s->q_next_c};
  for (size_t i = 0; i < sizeof of_column / sizeof *of_column; i++)
    *of_column[i] = elbo_doubles(mem, (size_t)p);
  double **matrix[] = {&s->A, &s->M_inverse, &s->P, &s->C, &s->q_P, &s->q_next_P};
  for (size_t i = 0; i < sizeof matrix / sizeof *matrix; i++)
    *matrix[i] = elbo_doubles(mem, square(p));
  s->scratch =
      elbo_doubles(mem, (5 + (size_t)n) * square(p) + 2 * (size_t)w->par.n_eta * (size_t)p);
  int eta = w->par.n_eta - w->par.n_smooth;
  s->start[0] = s->first;
  for (int j = 0; j < p; j++) {
    s->c[j] = s->unit[j] = 0.0;
    s->root[j] = 1.0;
  }
  for (int k = 0; k < n; k++) {
    const int start = s->start[k];
    s->start[k + 1] = start + law->smooth_size[k];
    s->to_user[k] = scaling->x_scale[start] / scaling->y_scale;
    for (int j = start; j < s->start[k + 1]; j++)
      s->unit[j] = scaling->x_scale[start] / scaling->x_scale[j];
    s->eta_of[k] = isnan(law->smooth_sd[k]) ? eta++ : -1;
    s->sd[k] = s->eta_of[k] < 0 ? law->smooth_sd[k] / s->to_user[k] : 0.0;
  }
  lmm_smooth_unpack(w);
}

static void set_roots(lmm_smooth *s) {
  for (int k = 0; k < s->n; k++)
    for (int j = s->start[k]; j < s->start[k + 1]; j++) s->root[j] = s->unit[j] * s->sd[k];
}

void lmm_smooth_unpack(lmm_work *w) {
  lmm_smooth *s = &w->smooth;
  for (int k = 0; k < s->n; k++)
    if (s->eta_of[k] >= 0) s->sd[k] = w->eta[s->eta_of[k]];
  set_roots(s);
}

void lmm_smooth_pack(const lmm_work *w, double *eta) {
  const lmm_smooth *s = &w->smooth;
  for (int k = 0; k < s->n; k++)
    if (s->eta_of[k] >= 0) eta[s->eta_of[k]] = s->sd[k];
}

void lmm_smooth_ridge(lmm_work *w, double *A) {
  lmm_smooth *s = &w->smooth;
  const int p = w->stats->p;
  for (int k = 0; k < s->n; k++) {
    s->extent[k] = 0.0;
    for (int j = s->start[k]; j < s->start[k + 1]; j++) {
      s->extent[k] += s->unit[j] * s->unit[j] * A[j * (p + 1)];
      A[j * (p + 1)] = 1.000001 * A[j * (p + 1)] + 1e-12;
    }
  }
}

void lmm_smooth_start(const lmm_work *w, int k, double variance, double *eta) {
  const lmm_smooth *s = &w->smooth;
  if (s->eta_of[k] >= 0)
    eta[s->eta_of[k]] = s->extent[k] > 0.0 ? sqrt(variance * w->stats->n / s->extent[k]) : 0.0;
}

/* ---- coefficients ---------------------------------------------------------------------------- */

/* R A R + D over (beta, c), or, with `given`, of c alone with an identity for beta. */
static void precision(const lmm_smooth *s, int p, int given, double *M) {
  for (int j = 0; j < p; j++)
    for (int k = 0; k < p; k++) {
      const int outside = given && (j < s->first || k < s->first);
      M[j + p * k] = outside ? 0.0 : s->root[j] * s->A[j + p * k] * s->root[k];
      if (j == k && (outside || j >= s->first)) M[j + p * k] += 1.0;
    }
}

/* X'V^{-1}(y - X beta), with r = y - X origin in w->cross. */
static void score(lmm_work *w, const double *beta) {
  const int p = w->stats->p;
  const double *delta = from_origin(w, beta, w->origin);
  for (int j = 0; j < p; j++) {
    w->smooth.gradient[j] = w->cross[p + (p + 1) * j];
    for (int k = 0; k < p; k++) w->smooth.gradient[j] -= w->smooth.A[j + p * k] * delta[k];
  }
}

elbo_status lmm_smooth_solve(lmm_work *w, int beta_given, double *beta, double *C,
                             double *quadratic, double *log_det) {
  lmm_smooth *s = &w->smooth;
  const int p = w->stats->p, all = integrates_beta(w), points = w->method == LMM_JOINT;
  double log_det_all, log_det_c, *move = s->scratch;
  for (int j = 0; j < p; j++)
    for (int k = 0; k < p; k++) s->A[j + p * k] = at_lower(w->cross, p + 1, j, k);
  precision(s, p, 0, s->M_inverse);
  precision(s, p, 1, s->P);
  if (smooth_invert(s->M_inverse, p, &log_det_all) != ELBO_OK ||
      smooth_invert(s->P, p, &log_det_c) != ELBO_OK)
    return ELBO_E_NOT_PD;
  for (int j = 0; j < p; j++)
    for (int k = 0; k < p; k++) {
      const int c = j >= s->first && k >= s->first;
      C[j + p * k] = s->root[j] * s->M_inverse[j + p * k] * s->root[k];
      s->C[j + p * k] = all      ? C[j + p * k]
                        : points ? 0.0
                        : c      ? s->root[j] * s->P[j + p * k] * s->root[k]
                                 : 0.0;
    }
  /* A Newton step from the origin and the c of before, exact since all is quadratic. */
  for (int j = 0; j < p; j++)
    if (j >= s->first)
      beta[j] = s->root[j] * s->c[j];
    else if (!beta_given)
      beta[j] = w->origin[j];
  score(w, beta);
  const double *inverse = beta_given ? s->P : s->M_inverse;
  for (int j = 0; j < p; j++) move[j] = s->root[j] * s->gradient[j] - s->c[j];
  for (int j = 0; j < p; j++) {
    if (j < s->first && beta_given) continue;
    double sum = 0.0;
    for (int k = beta_given ? s->first : 0; k < p; k++) sum += inverse[j + p * k] * move[k];
    if (j < s->first)
      beta[j] += sum;
    else
      s->c[j] += sum;
  }
  *quadratic = 0.0;
  for (int j = s->first; j < p; j++) {
    beta[j] = s->root[j] * s->c[j];
    *quadratic += s->c[j] * s->c[j];
  }
  score(w, beta);
  *quadratic += residual_square(w->cross, from_origin(w, beta, w->origin), p);
  *log_det = all ? log_det_all : log_det_c;
  if (points) { /* -2 log p(b) less its square */
    *log_det = s->n_column * LOG_2PI;
    for (int k = 0; k < s->n; k++)
      *log_det += 2.0 * smooth_columns(s, k) * log(fabs(s->sd[k] * s->to_user[k]));
  }
  return ELBO_OK;
}
