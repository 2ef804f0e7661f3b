/* What an ascent leaves near the boundary of the parameter space: the objective is even in each
 * column of L, so Newton's method comes arbitrarily near but not onto it. */
#include "glmm/settle.h"

#include <math.h>
#include <string.h>

#include "glmm/parameters.h"
#include "glmm/work.h"

enum { SMALL_EXPONENT = -17 }; /* 2^-17 = 7.6e-6 of the residual sd or of the row */

static double residual_sd(const lmm_work *w) {
  double most = 0.0;
  for (int l = 0; l < w->par.n_level; l++) most = fmax(most, w->variance[l]);
  return sqrt(most);
}

/* A variance within rounding of zero goes there, a covariance to singular; 1 if row r moved. */
static int move_row(lmm_work *w, int r, double small) {
  const lmm_parameters *par = &w->par;
  const int size = lmm_row_size(par, r);
  double *x = w->eta + par->eta_of_row[r], length = 0.0;
  if (size == 0) return 0;
  double *last = x + size - 1;
  if (par->kind[r] == LATENT_ROW_LENGTH) {
    const double pi = acos(-1.0), nearest = pi * nearbyint(*last / pi);
    if (*last == nearest || !(fabs(*last - nearest) < small)) return 0;
    *last = nearest;
    return 1;
  }
  for (int c = 0; c < size; c++) length = hypot(length, x[c]);
  if (length > 0.0 && length < small * residual_sd(w)) {
    memset(x, 0, (size_t)size * sizeof(double));
    return 1;
  }
  if (size < 2 || *last == 0.0 || !(fabs(*last) < small * length)) return 0;
  *last = 0.0;
  return 1;
}

/* The sd of term r of a law whose terms share parameters. */
static int move_shared_sd(lmm_work *w, int r, double small) {
  const int b = lmm_block_of(&w->par, r), i = r - w->par.start[b];
  const latent_law *law = w->par.law + b;
  if (law->kind == LATENT_FREE || law->eta_of_sd[i] < 0 || (law->common && i > 0)) return 0;
  double *x = w->eta + w->par.eta_of_block[b] + law->eta_of_sd[i];
  const double sd = law->unit[i] * (law->squared ? *x * *x : fabs(*x));
  if (*x == 0.0 || sd >= small * residual_sd(w)) return 0;
  *x = 0.0;
  return 1;
}

/* The correlation of such a law, which has its bounds at odd multiples of pi / 2. */
static int move_shared_cor(lmm_work *w, int b, double small) {
  const latent_law *law = w->par.law + b;
  const double pi = acos(-1.0);
  if (law->eta_of_cor < 0) return 0;
  double *x = w->eta + w->par.eta_of_block[b] + law->eta_of_cor;
  const double nearest = pi * (nearbyint(*x / pi - 0.5) + 0.5);
  if (*x == nearest || !(fabs(*x - nearest) < small)) return 0;
  *x = nearest;
  return 1;
}

static int move_smooth(lmm_work *w, int k, double small) {
  const lmm_smooth *s = &w->smooth;
  const double sd = fabs(s->sd[k]);
  if (s->eta_of[k] < 0 || sd == 0.0 || sd >= small * residual_sd(w)) return 0;
  w->eta[s->eta_of[k]] = 0.0;
  return 1;
}

int lmm_propose(void *work, int from) {
  lmm_work *w = (lmm_work *)work;
  const double small = scalbn(1.0, SMALL_EXPONENT);
  const int q = w->par.q, after = q + w->par.n_block;
  const int n = after + (has_smooth(w) ? w->smooth.n : 0);
  for (int at = from; at < n; at++) {
    const int moved = at >= after ? move_smooth(w, at - after, small)
                      : at >= q   ? move_shared_cor(w, at - q, small)
                                  : move_row(w, at, small) || move_shared_sd(w, at, small);
    if (!moved) continue;
    lmm_set_eta(w);
    return at;
  }
  return -1;
}
