/* What the files of smooth terms share. */
#ifndef ELBO_GLMM_SMOOTH_INSIDE_H
#define ELBO_GLMM_SMOOTH_INSIDE_H

#include "glmm/types.h"
#include "math/la.h"
#include "math/small.h"

static inline int smooth_columns(const lmm_smooth *s, int k) {
  return s->start[k + 1] - s->start[k];
}

static inline elbo_status smooth_invert(double *M, int p, double *log_det) {
  if (la_chol(M, p) != ELBO_OK) return ELBO_E_NOT_PD;
  *log_det = la_log_det_from_chol(M, p);
  return la_inverse_from_chol(M, p);
}

/* sum E_q[c^2] of term k, in the coordinates of q. */
static inline double smooth_second(const lmm_work *w, int k) {
  const lmm_smooth *s = &w->smooth;
  const int p = w->stats->p, points = w->method == LMM_JOINT;
  double sum = 0.0;
  for (int j = s->start[k]; j < s->start[k + 1]; j++)
    sum += s->q_c[j] * s->q_c[j] + (points ? 0.0 : s->q_P[j * (p + 1)]);
  return sum;
}

/* What the prior of the sd of term k adds to the objective: value, and derivatives by sd^2. */
void smooth_log_prior(const lmm_work *work, int k, double *out);

#endif
