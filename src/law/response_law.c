/* What is the same for all laws of responses: rows, weights, expectations by quadrature. */
#include "law/response_law.h"

#include <math.h>
#include <string.h>

#include "math/small.h"

elbo_status response_law_init(response_law *law, response_family family, response_link link,
                              int n_own, const elbo_memory *mem) {
  memset(law, 0, sizeof *law);
  law->family = family;
  law->link = link;
  law->n_own = n_own;
  law->natural = elbo_doubles(mem, (size_t)larger(n_own, 1));
  if (n_own < 0 || n_own > RESPONSE_MAX_OWN) return ELBO_E_NOT_FINITE;
  switch (family) {
    case RESPONSE_GAUSSIAN:
      response_gaussian(law);
      return link == RESPONSE_IDENTITY && n_own <= 1 ? ELBO_OK : ELBO_E_NOT_FINITE;
    case RESPONSE_BINOMIAL:
      response_binomial(law);
      return law->point != NULL && n_own == 0 ? ELBO_OK : ELBO_E_NOT_FINITE;
    case RESPONSE_POISSON:
      response_poisson(law);
      return link == RESPONSE_LOG && n_own == 0 ? ELBO_OK : ELBO_E_NOT_FINITE;
    case RESPONSE_NEGATIVE_BINOMIAL:
      response_negative_binomial(law);
      return link == RESPONSE_LOG && n_own == 1 ? ELBO_OK : ELBO_E_NOT_FINITE;
    case RESPONSE_CUMULATIVE:
      response_cumulative(law);
      return law->point != NULL && n_own >= 1 ? ELBO_OK : ELBO_E_NOT_FINITE;
  }
  return ELBO_E_NOT_FINITE;
}

elbo_status response_law_set(response_law *law, const double *psi) {
  law->psi = psi;
  return law->set == NULL || law->set(law) ? ELBO_OK : ELBO_E_NOT_FINITE;
}

void response_law_psi(const response_law *law, const double *natural, double *psi) {
  for (int l = 0; l < law->n_own; l++)
    psi[l] = law->family != RESPONSE_CUMULATIVE ? log(natural[l])
             : l == 0                           ? natural[0]
                                                : log(natural[l] - natural[l - 1]);
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* The weight of a gaussian row is a precision, and takes the place of its trials. */
static double trials(const response_law *law, const response_rows *rows, int i) {
  const double *size = law->family == RESPONSE_GAUSSIAN ? rows->weight : rows->size;
  return size ? size[i] : 1.0;
}

static double multiplier(const response_law *law, const response_rows *rows, int i) {
  return law->family == RESPONSE_GAUSSIAN || rows->weight == NULL ? 1.0 : rows->weight[i];
}

double response_law_constant(const response_law *law, const response_rows *rows) {
  double sum = 0.0;
  for (int i = 0; i < rows->n; i++)
    sum += multiplier(law, rows, i) * law->constant(law, rows->y[i], trials(law, rows, i));
  return sum;
}

static void spread(double *to, int n, int i, const double *from, int size, double weight) {
  for (int l = 0; l < size && to != NULL; l++) to[i + n * l] = weight * from[l];
}

void response_law_at(const response_law *law, const response_rows *rows, const double *x,
                     const response_values *out) {
  const int n = rows->n, n_own = law->n_own, n_packed = (int)packed_size(n_own);
  const int by_psi = n_own > 0 && (out->own || out->own_own || out->x_own || out->xx_own);
  for (int i = 0; i < n; i++) {
    const double y = rows->y[i], size = trials(law, rows, i), weight = multiplier(law, rows, i);
    response_point at;
    response_own own;
    law->point(law, y, size, x[i], &at);
    if (out->value) out->value[i] = weight * at.value;
    if (out->x) out->x[i] = weight * at.x;
    if (out->xx) out->xx[i] = weight * at.xx;
    if (out->xxx) out->xxx[i] = weight * at.xxx;
    if (!by_psi) continue;
    law->own(law, y, size, x[i], &own);
    spread(out->own, n, i, own.own, n_own, weight);
    spread(out->x_own, n, i, own.x_own, n_own, weight);
    spread(out->xx_own, n, i, own.xx_own, n_own, weight);
    spread(out->own_own, n, i, own.own_own, n_packed, weight);
  }
}

/* ---- expectations ---------------------------------------------------------------------------- */

static void expect_row(const response_law *law, const response_rule *rule, double y, double size,
                       double mean, double sd, response_expectation *out) {
  response_expectation e = {0};
  if (law->expect) {
    law->expect(law, y, size, mean, sd, out);
    return;
  }
  for (int q = 0; q < rule->n_node; q++) {
    const double z = rule->node[q], w = rule->weight[q];
    response_point at;
    law->point(law, y, size, mean + sd * z, &at);
    e.value += w * at.value;
    e.m += w * at.x;
    e.s += w * z * at.x;
    e.mm += w * at.xx;
    e.ms += w * z * at.xx;
    e.ss += w * z * z * at.xx;
  }
  *out = e;
}

static void expect_own(const response_law *law, const response_rows *rows,
                       const response_rule *rule, int i, double mean, double sd,
                       const response_expected_own *out) {
  const int n = rows->n, n_own = law->n_own, n_packed = (int)packed_size(n_own);
  const double y = rows->y[i], size = trials(law, rows, i), weight = multiplier(law, rows, i);
  for (int l = 0; l < n_own; l++) {
    if (out->m_own) out->m_own[i + n * l] = 0.0;
    if (out->s_own) out->s_own[i + n * l] = 0.0;
  }
  for (int q = 0; q < rule->n_node; q++) {
    const double z = rule->node[q], w = weight * rule->weight[q];
    response_own own;
    law->own(law, y, size, mean + sd * z, &own);
    for (int l = 0; l < n_own; l++) {
      if (out->own) out->own[l] += w * own.own[l];
      if (out->m_own) out->m_own[i + n * l] += w * own.x_own[l];
      if (out->s_own) out->s_own[i + n * l] += w * z * own.x_own[l];
    }
    for (int l = 0; l < n_packed && out->own_own; l++) out->own_own[l] += w * own.own_own[l];
  }
}

void response_law_expect(const response_law *law, const response_rows *rows,
                         const response_rule *rule, const double *mean, const double *sd,
                         response_expectation *out, const response_expected_own *own) {
  if (own && own->own) memset(own->own, 0, (size_t)law->n_own * sizeof(double));
  if (own && own->own_own) memset(own->own_own, 0, packed_size(law->n_own) * sizeof(double));
  for (int i = 0; i < rows->n; i++) {
    const double weight = multiplier(law, rows, i);
    response_expectation *e = out + i;
    expect_row(law, rule, rows->y[i], trials(law, rows, i), mean[i], sd[i], e);
    e->value *= weight;
    e->m *= weight;
    e->s *= weight;
    e->mm *= weight;
    e->ms *= weight;
    e->ss *= weight;
    if (own && law->n_own > 0) expect_own(law, rows, rule, i, mean[i], sd[i], own);
  }
}

/* As glm() starts: the response drawn a little away from the ends of its range. */
double response_law_guess(const response_law *law, double y, double size) {
  const double share = (y + 0.5) / (size + 1.0);
  if (law->family == RESPONSE_GAUSSIAN) return y;
  if (law->family == RESPONSE_CUMULATIVE) return 0.0;
  if (law->link == RESPONSE_LOG) return log(y + 0.1);
  if (law->link == RESPONSE_CLOGLOG) return log(-log1p(-share));
  /* The quantile of the logistic law; of the normal law it is about 1.7 times smaller. */
  return log(share / (1.0 - share)) / (law->link == RESPONSE_PROBIT ? 1.7 : 1.0);
}
