/* What Laplace's q = N(mode, H^{-1}) says of the model beside its approximation of the
 * log-likelihood: its ELBO. */
#include "general/normal.h"

#include <math.h>
#include <string.h>

#include "math/la.h"
#include "math/small.h"

/* Mean and sd of the predictor of each row, and E log p(v) - E log q(v). */
static elbo_status of_groups(const general_work *w, const double *mean, const double *cov,
                             double *x, double *sd, double *rest) {
  const general_rows *r = &w->rows;
  const int p = r->p, q = r->q;
  double a[GENERAL_MAX_TERMS], root[GENERAL_MAX_TERMS * GENERAL_MAX_TERMS];
  for (int g = 0; g < r->m; g++) {
    const double *v = mean + (size_t)q * (size_t)g, *C = cov + square(q) * (size_t)g;
    memcpy(root, C, square(q) * sizeof(double));
    const elbo_status status = la_chol(root, q);
    if (status != ELBO_OK) return status;
    *rest += 0.5 * (la_log_det_from_chol(root, q) + q - dot(v, v, q));
    for (int c = 0; c < q; c++) *rest -= 0.5 * C[c * (q + 1)];
    for (int i = r->first[g]; i < r->first[g + 1]; i++) {
      for (int c = 0; c < q; c++) {
        a[c] = 0.0;
        for (int k = c; k < q; k++)
          a[c] += w->L[k + q * c] * r->Z[(size_t)q * (size_t)i + (size_t)k];
      }
      x[i] = r->offset[i] + dot(r->X + (size_t)p * (size_t)i, w->theta, p) + dot(a, v, q);
      sd[i] = sqrt(fmax(la_quadratic(C, a, q), 0.0));
    }
  }
  return ELBO_OK;
}

elbo_status general_normal_elbo(general_work *w, const response_rule *rule, const double *mean,
                                const double *cov, double *value) {
  const general_rows *r = &w->rows;
  const size_t n = (size_t)r->n;
  const response_rows rows = {r->n, r->y, r->size, r->weight};
  double *x = elbo_doubles(w->mem, n), *sd = elbo_doubles(w->mem, n);
  response_expectation *out = w->mem->get(w->mem->ctx, n * sizeof *out);
  elbo_status status = general_evaluate(w, GENERAL_GRADIENT);
  *value = response_law_constant(&w->par.response, &rows) + (w->prior ? w->log_prior : 0.0);
  if (status != ELBO_OK) return status;
  if (w->crossed)
    general_crossed_normal(w->crossed, r, x, sd, value);
  else
    status = of_groups(w, mean, cov, x, sd, value);
  response_law_expect(&w->par.response, &rows, rule, x, sd, out, NULL);
  for (size_t i = 0; i < n; i++) *value += out[i].value;
  return status;
}
