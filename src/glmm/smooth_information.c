/* Derivatives of the objective of the mixed model with smooth terms. */
#include <string.h>

#include "glmm/smooth.h"
#include "glmm/smooth_inside.h"

/* P restricted to what is integrated, 0 elsewhere; its trace with products follows from there. */
static void integrated(const lmm_work *w, double *P) {
  const lmm_smooth *s = &w->smooth;
  const int p = w->stats->p;
  memcpy(P, integrates_beta(w) ? s->M_inverse : s->P, square(p) * sizeof(double));
  if (w->method == LMM_JOINT) memset(P, 0, square(p) * sizeof(double));
  for (int j = 0; j < s->first && !integrates_beta(w); j++) P[j * (p + 1)] = 0.0;
}

/* d M / d sd_k = E A R + R A E, with E the units of term k. */
static void precision_slope(const lmm_smooth *s, int p, int k, double *out) {
  memset(out, 0, square(p) * sizeof(double));
  for (int i = s->start[k]; i < s->start[k + 1]; i++)
    for (int j = 0; j < p; j++) {
      const double part = s->unit[i] * s->A[i + p * j] * s->root[j];
      out[i + p * j] += part;
      out[j + p * i] += part;
    }
}

static double trace_of(const double *A, const double *B, int p) {
  double sum = 0.0;
  for (int i = 0; i < p; i++)
    for (int j = 0; j < p; j++) sum += A[i + p * j] * B[j + p * i];
  return sum;
}

/* sum over the rows of term k of E_i F_i., with column i of G: tr(E F G). */
static double trace_term(const lmm_smooth *s, int p, int k, const double *F, const double *G) {
  double sum = 0.0;
  for (int i = s->start[k]; i < s->start[k + 1]; i++)
    for (int j = 0; j < p; j++) sum += s->unit[i] * F[i + p * j] * G[j + p * i];
  return sum;
}

static void add_symmetric(double *hessian, int n, int i, int j, double part) {
  hessian[i + n * j] += part;
  if (i != j) hessian[j + n * i] += part;
}

/* -log |M| / 2 over what is integrated: by the sds, and by them and what V depends on.  With P the
 * inverse and ' for derivatives, tr(P M') and tr(P M'') - tr(P M' P M'). */
static void add_log_det(lmm_work *w, double *gradient, double *hessian) {
  const lmm_smooth *s = &w->smooth;
  const int p = w->stats->p, n_eta = w->par.n_eta, n_v = n_eta - w->par.n_smooth;
  double *P = s->scratch, *slope = P + square(p), *RP = slope + square(p), *PRS = RP + square(p);
  double *PM = PRS + square(p); /* P dM / d sd_k, k = 0, ... */
  integrated(w, P);
  for (int j = 0; j < p; j++)
    for (int k = 0; k < p; k++) RP[j + p * k] = s->root[j] * P[j + p * k];
  for (int k = 0; k < s->n; k++) {
    precision_slope(s, p, k, slope);
    la_multiply(P, slope, p, p, p, PM + square(p) * (size_t)k);
  }
  for (int k = 0; k < s->n; k++) {
    const double *PMk = PM + square(p) * (size_t)k;
    const int at = s->eta_of[k];
    if (at < 0) continue;
    gradient[at] -= trace_term(s, p, k, s->A, RP);
    for (int l = 0; l <= k; l++) {
      double sum = 0.0;
      if (s->eta_of[l] < 0) continue;
      for (int i = s->start[k]; i < s->start[k + 1]; i++)
        for (int j = s->start[l]; j < s->start[l + 1]; j++)
          sum += s->unit[i] * s->unit[j] * s->A[i + p * j] * P[i + p * j];
      add_symmetric(hessian, n_eta, at, s->eta_of[l],
                    0.5 * trace_of(PMk, PM + square(p) * (size_t)l, p) - sum);
    }
  }
  for (int e = 0; e < n_v; e++) { /* dA = -S, S the spread */
    const double *S = w->spread_eta + square(p) * (size_t)e;
    la_multiply(S, RP, p, p, p, slope); /* S R P */
    for (int j = 0; j < p; j++)
      for (int k = 0; k < p; k++) PRS[j + p * k] = slope[k + p * j] * s->root[k]; /* P R S R */
    for (int k = 0; k < s->n; k++)
      if (s->eta_of[k] >= 0)
        add_symmetric(
            hessian, n_eta, s->eta_of[k], e,
            trace_term(s, p, k, S, RP) - 0.5 * trace_of(PM + square(p) * (size_t)k, PRS, p));
  }
}

/* The penalised sum of squares at its best: by the sds, with c and the rest fixed; and, in `cross`
 * (n_eta x p), by every eta and by (beta, c). */
static void add_quadratic(lmm_work *w, double *gradient, double *hessian, double *cross) {
  const lmm_smooth *s = &w->smooth;
  const int p = w->stats->p, n_eta = w->par.n_eta, n_v = n_eta - w->par.n_smooth;
  double *Ec = s->scratch, *AEc = Ec + p;
  for (int e = 0; e < n_v; e++)
    for (int j = 0; j < p; j++) cross[e + n_eta * j] = w->cross_eta[e + n_eta * j] * s->root[j];
  for (int k = 0; k < s->n; k++) {
    const int at = s->eta_of[k];
    if (at < 0) continue;
    memset(Ec, 0, (size_t)p * sizeof(double));
    for (int j = s->start[k]; j < s->start[k + 1]; j++) Ec[j] = s->unit[j] * s->c[j];
    la_multiply(s->A, Ec, p, p, 1, AEc);
    for (int j = 0; j < p; j++) {
      gradient[at] += Ec[j] * s->gradient[j];
      cross[at + n_eta * j] = -s->root[j] * AEc[j];
    }
    for (int j = s->start[k]; j < s->start[k + 1]; j++)
      cross[at + n_eta * j] += s->unit[j] * s->gradient[j];
    for (int l = 0; l <= k; l++) {
      double sum = 0.0;
      for (int j = s->start[l]; j < s->start[l + 1]; j++) sum += s->unit[j] * s->c[j] * AEc[j];
      if (s->eta_of[l] >= 0) add_symmetric(hessian, n_eta, at, s->eta_of[l], -sum);
    }
    for (int e = 0; e < n_v; e++) {
      double sum = 0.0;
      for (int j = 0; j < p; j++) sum += Ec[j] * w->cross_eta[e + n_eta * j];
      add_symmetric(hessian, n_eta, at, e, sum);
    }
  }
}

/* From everything fixed but eta to c at its best: hessian += X_c P X_c' and cross_eta = X_beta -
 * X_c P M_c,beta, where X is `cross`; zero for c, which has been taken care of. */
static void profile_c(lmm_work *w, double *hessian, const double *cross, double *XP) {
  const lmm_smooth *s = &w->smooth;
  const int p = w->stats->p, n_eta = w->par.n_eta, first = s->first, n_c = s->n_column;
  for (int e = 0; e < n_eta; e++)
    for (int j = 0; j < n_c; j++) {
      XP[e + n_eta * j] = 0.0;
      for (int k = 0; k < n_c; k++)
        XP[e + n_eta * j] += cross[e + n_eta * (first + k)] * s->P[first + k + p * (first + j)];
    }
  for (int e = 0; e < n_eta; e++) {
    for (int f = 0; f < n_eta; f++)
      for (int j = 0; j < n_c; j++)
        hessian[e + n_eta * f] += XP[e + n_eta * j] * cross[f + n_eta * (first + j)];
    for (int i = 0; i < p; i++) {
      w->cross_eta[e + n_eta * i] = i < first ? cross[e + n_eta * i] : 0.0;
      for (int j = 0; j < n_c && i < first; j++)
        w->cross_eta[e + n_eta * i] -=
            XP[e + n_eta * j] * s->root[first + j] * s->A[first + j + p * i];
    }
  }
}

/* spread_eta of the sds: S with C S C = d C / d sd in the block of beta, that is
 * -C_bb^{-1} (M^{-1} dM M^{-1})_bb C_bb^{-1}. */
static elbo_status spread_of_sds(lmm_work *w) {
  const lmm_smooth *s = &w->smooth;
  const int p = w->stats->p, first = s->first;
  double *slope = s->scratch, *half = slope + square(p), *block = half + square(p), ignored;
  double *inverse = block + square(p);
  for (int j = 0; j < first; j++)
    for (int k = 0; k < first; k++) inverse[j + first * k] = s->M_inverse[j + p * k];
  if (smooth_invert(inverse, first, &ignored) != ELBO_OK) return ELBO_E_NOT_PD;
  for (int k = 0; k < s->n; k++) {
    if (s->eta_of[k] < 0) continue;
    double *out = w->spread_eta + square(p) * (size_t)s->eta_of[k];
    precision_slope(s, p, k, slope);
    la_multiply(s->M_inverse, slope, p, p, p, half);
    la_multiply(half, s->M_inverse, p, p, p, slope);
    for (int i = 0; i < first; i++)
      for (int j = 0; j < first; j++) block[i + first * j] = -slope[i + p * j];
    la_multiply(inverse, block, first, first, first, half);
    la_multiply(half, inverse, first, first, first, block);
    memset(out, 0, square(p) * sizeof(double));
    for (int i = 0; i < first; i++)
      for (int j = 0; j < first; j++) out[i + p * j] = block[i + first * j];
  }
  return ELBO_OK;
}

elbo_status lmm_smooth_information(lmm_work *w, double *gradient, double *hessian) {
  const lmm_smooth *s = &w->smooth;
  const int p = w->stats->p, n_eta = w->par.n_eta;
  double part[3], *cross = s->scratch + (5 + (size_t)s->n) * square(p);
  add_log_det(w, gradient, hessian);
  add_quadratic(w, gradient, hessian, cross);
  for (int k = 0; k < s->n; k++) {
    const int at = s->eta_of[k];
    if (at < 0) continue;
    smooth_log_prior(w, k, part);
    gradient[at] += 2.0 * s->sd[k] * part[1];
    hessian[at * (n_eta + 1)] += 2.0 * part[1] + 4.0 * s->sd[k] * s->sd[k] * part[2];
  }
  profile_c(w, hessian, cross, cross + (size_t)n_eta * (size_t)p);
  return spread_of_sds(w);
}
