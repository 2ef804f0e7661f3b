/* What an ascent leaves near the boundary of the parameter space, put onto it. */
#include "glmm/settle.h"

#include <math.h>
#include <string.h>

#include "glmm/cross.h"
#include "glmm/objective.h"
#include "glmm/parameters.h"
#include "glmm/work.h"

static int settle_smooth(lmm_work *w, double small, double *before) {
  lmm_smooth *s = &w->smooth;
  int moved = 0;
  for (int k = 0; k < s->n; k++) {
    const double kept = s->sd[k];
    double after, *eta = w->eta + s->eta_of[k];
    if (s->eta_of[k] < 0 || kept == 0.0 || fabs(kept) >= small) continue;
    *eta = 0.0;
    lmm_set_eta(w);
    if (lmm_objective(w, 0, w->profile_beta, w->C, &after) == ELBO_OK &&
        after >= *before - 1e-9 * (1.0 + fabs(*before))) {
      *before = after;
      moved = 1;
    } else {
      *eta = kept;
      lmm_set_eta(w);
    }
  }
  return moved;
}

/* A variance within rounding of zero, or a covariance within rounding of singular, is put there
 * exactly when the objective does not mind: it is even in each column of L, so Newton's method
 * comes arbitrarily near but not onto the boundary. */
int lmm_settle(void *work) {
  enum { SMALL_EXPONENT = -17 }; /* 2^-17 = 7.6e-6 of the residual sd or of the row */
  lmm_work *w = (lmm_work *)work;
  const lmm_parameters *par = &w->par;
  const double small = scalbn(1.0, SMALL_EXPONENT);
  double before, after, residual = 0.0,
                        *kept = w->scratch + 3 * square(w->stats->p + 1) + 7 * square(par->q);
  int moved = 0;
  if (lmm_objective(w, 0, w->profile_beta, w->C, &before) != ELBO_OK) return 0;
  for (int l = 0; l < par->n_level; l++) residual = fmax(residual, w->variance[l]);
  residual = sqrt(residual);
  for (int r = 0; r < par->q; r++) {
    double *x = w->eta + par->eta_of_row[r], length = 0.0;
    const int size = lmm_row_size(par, r);
    int moved_row = 0;
    if (size == 0) continue;
    memcpy(kept, x, (size_t)size * sizeof(double));
    if (par->kind[r] == LATENT_ROW_LENGTH) {
      double *last = x + size - 1;
      const double nearest = acos(-1.0) * nearbyint(*last / acos(-1.0));
      if (*last != nearest && fabs(*last - nearest) < small) *last = nearest, moved_row = 1;
    } else {
      for (int c = 0; c < size; c++) length = hypot(length, x[c]);
      if (length > 0.0 && length < small * residual) {
        for (int c = 0; c < size; c++) x[c] = 0.0;
        moved_row = 1;
      } else if (size > 1 && x[size - 1] != 0.0 && fabs(x[size - 1]) < small * length) {
        x[size - 1] = 0.0;
        moved_row = 1;
      }
    }
    if (!moved_row) continue;
    lmm_set_eta(w);
    if (lmm_objective(w, 0, w->profile_beta, w->C, &after) == ELBO_OK &&
        after >= before - 1e-9 * (1.0 + fabs(before))) {
      before = after;
      moved = 1;
    } else {
      memcpy(x, kept, (size_t)size * sizeof(double));
      lmm_set_eta(w);
    }
  }
  if (has_smooth(w)) moved |= settle_smooth(w, small * residual, &before);
  return moved;
}
