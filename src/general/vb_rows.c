/* Expectations of the rows' log densities under normal predictors x = mean + sd z: by the rule, of
 * which derivatives are exact, or in closed form. */
#include "general/vb_rows.h"

#include <math.h>

#include "math/quadrature.h"
#include "math/simd.h"
#include "math/small.h"

enum { CHUNK = 16 };

/* Of the predictor: below it the rule is exact to all digits, and derivatives by the variance are
 * those by x (Stein's identity), which divide by nothing. */
static const double SMALL_SD = 1e-3;

elbo_status vb_rule_init(vb_rule *rule, int each, const elbo_memory *mem) {
  if (each % SIMD_LANES != 0) return ELBO_E_RANK; /* sum_nodes() takes as many at a time */
  double *scaled = elbo_doubles(mem, (size_t)each), *work = elbo_doubles(mem, 2 * (size_t)each);
  rule->each = each;
  rule->node = elbo_doubles(mem, (size_t)each);
  rule->weight = elbo_doubles(mem, (size_t)each);
  return quadrature_normal(each, rule->node, rule->weight, scaled, work);
}

void vb_row_space_init(vb_row_space *s, const vb_rule *rule, const elbo_memory *mem) {
  const size_t n = (size_t)CHUNK * (size_t)rule->each;
  double **block[] = {&s->x, &s->value, &s->first, &s->second, &s->third};
  for (int k = 0; k < 5; k++) *block[k] = elbo_doubles(mem, n);
}

static double lanes(v8 x) {
  return ((x[0] + x[4]) + (x[1] + x[5])) + ((x[2] + x[6]) + (x[3] + x[7]));
}

/* By mean and sd to by mean and variance. */
static void by_variance(const response_expectation *e, double sd, vb_row *out) {
  const double slope = e->s / sd;
  *out = (vb_row){.value = e->value,
                  .d1 = e->m,
                  .d2 = 0.5 * slope,
                  .d11 = e->mm,
                  .d12 = 0.5 * e->ms / sd,
                  .d22 = 0.25 * (e->ss - slope) / (sd * sd)};
}

/* From f and its derivatives at the nodes of one row. */
static void sum_nodes(const vb_rule *rule, double sd, const double *value, const double *first,
                      const double *second, const double *third, vb_row *out) {
  v8 sum[6] = {{0}};
  for (int k = 0; k < rule->each; k += SIMD_LANES) {
    const v8 z = *(const v8 *)(rule->node + k), w = *(const v8 *)(rule->weight + k);
    const v8 f1 = w * *(const v8 *)(first + k), f2 = w * *(const v8 *)(second + k);
    sum[0] += w * *(const v8 *)(value + k);
    sum[1] += f1;
    sum[2] += z * f1;
    sum[3] += f2;
    sum[4] += sd < SMALL_SD ? w * *(const v8 *)(third + k) : z * f2;
    sum[5] += z * z * f2;
  }
  const response_expectation e = {lanes(sum[0]), lanes(sum[1]), lanes(sum[2]),
                                  lanes(sum[3]), lanes(sum[4]), lanes(sum[5])};
  if (sd < SMALL_SD)
    *out = (vb_row){e.value, e.m, 0.5 * e.mm, e.mm, 0.5 * e.ms, 0.0};
  else
    by_variance(&e, sd, out);
}

/* Closed forms are those of E e^x, whose derivatives by x are all the same. */
static void closed_rows(const general_rows *rows, const response_law *law, int first, int n,
                        const double *mean, const double *variance, vb_row *out) {
  for (int i = 0; i < n; i++) {
    response_expectation e;
    law->expect(law, rows->y[first + i], rows->size[first + i], mean[i], sqrt(variance[i]), &e);
    out[i] = (vb_row){e.value, e.m, 0.5 * e.mm, e.mm, 0.5 * e.mm, 0.25 * e.mm};
  }
}

static void node_rows(const general_rows *rows, const response_law *law, const vb_rule *rule,
                      int first, int n, const double *mean, const double *variance,
                      vb_row_space *s, vb_row *out) {
  const int each = rule->each;
  for (int from = 0; from < n; from += CHUNK) {
    const int m = smaller(CHUNK, n - from);
    int any_small = 0;
    for (int i = 0; i < m; i++) {
      const double sd = sqrt(variance[from + i]), centre = mean[from + i];
      any_small |= sd < SMALL_SD;
      for (int k = 0; k < each; k++) s->x[each * i + k] = centre + sd * rule->node[k];
    }
    const response_block block = {s->value, s->first, s->second, any_small ? s->third : NULL};
    response_law_block(law, m, each, rows->y + first + from, rows->size + first + from, s->x,
                       &block);
    for (int i = 0; i < m; i++)
      sum_nodes(rule, sqrt(variance[from + i]), s->value + each * i, s->first + each * i,
                s->second + each * i, s->third + each * i, out + from + i);
  }
}

void vb_rows(const general_rows *rows, const response_law *law, const vb_rule *rule, int first,
             int n, const double *mean, const double *variance, vb_row_space *s, vb_row *out) {
  if (law->expect)
    closed_rows(rows, law, first, n, mean, variance, out);
  else
    node_rows(rows, law, rule, first, n, mean, variance, s, out);
  for (int i = 0; i < n && rows->weight; i++) {
    const double w = rows->weight[first + i];
    out[i].value *= w;
    out[i].d1 *= w;
    out[i].d2 *= w;
    out[i].d11 *= w;
    out[i].d12 *= w;
    out[i].d22 *= w;
  }
}
