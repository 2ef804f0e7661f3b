/* What an ascent leaves near the boundary of the parameter space: the objective is even in each
 * column of L, so Newton's method comes arbitrarily near but not onto it. */
#include "glmm/settle.h"

#include <math.h>
#include <string.h>

#include "glmm/parameters.h"
#include "glmm/work.h"
#include "law/sd_prior.h"

enum { SMALL_EXPONENT = -17 }; /* 2^-17 = 7.6e-6 of the residual sd or of the row */

static double residual_sd(const lmm_work *w) {
  double most = 0.0;
  for (int l = 0; l < w->par.n_level; l++) most = fmax(most, w->variance[l]);
  return sqrt(most);
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
  const lmm_parameters *par = &w->par;
  const double small = scalbn(1.0, SMALL_EXPONENT), small_sd = small * residual_sd(w);
  const int of_laws = par->q + par->n_block; /* block after block its terms, and rho */
  const int n = of_laws + (has_smooth(w) ? w->smooth.n : 0);
  for (int at = from; at < n; at++) {
    int b = 0;
    while (at < of_laws && at >= par->start[b + 1] + b + 1) b++;
    const int moved = at >= of_laws
                          ? move_smooth(w, at - of_laws, small)
                          : latent_law_settle(par->law + b, at - par->start[b] - b, small, small_sd,
                                              w->eta + par->eta_of_block[b]);
    if (!moved) continue;
    lmm_set_eta(w);
    return at;
  }
  return -1;
}

static int has_edge(int family) { return family == SD_EXPONENTIAL || family == SD_NORMAL; }

void lmm_stop_at_edge(const void *work, const double *from, double *to) {
  const lmm_work *w = (const lmm_work *)work;
  const lmm_parameters *par = &w->par;
  const lmm_smooth *s = &w->smooth;
  for (int b = 0; b < par->n_block; b++)
    for (int r = 0; r < par->start[b + 1] - par->start[b]; r++)
      if (w->prior->family && has_edge(w->prior->family[par->start[b] + r]))
        latent_law_stop_at_zero(par->law + b, r, from + par->eta_of_block[b],
                                to + par->eta_of_block[b]);
  for (int k = 0; has_smooth(w) && s->family && k < s->n; k++) {
    const int at = s->eta_of[k];
    if (at >= 0 && has_edge(s->family[k]) && from[at] * to[at] < 0.0) to[at] = 0.0;
  }
}
