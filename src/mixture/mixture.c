/* The mixture: the objective, its steps and its derivatives.  It knows parts only by their
 * table. */
#include "mixture/mixture.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "math/la.h"
#include "math/rows.h"
#include "math/small.h"
#include "math/threads.h"
#include "mixture/metric.h"
#include "mixture/observed.h"
#include "mixture/pass.h"

enum {
  CHUNK_ROWS = 512, /* with ten columns and eight components, 74 kB: the second cache holds it */
  SLOTS = 32        /* sums over chunks are kept apart by slot, and slots added in order */
};

/* ---- memory ---------------------------------------------------------------------------------- */

static int unit_row(const mixture_units *u, int unit) { return u->first ? u->first[unit] : unit; }

/* Chunks of whole units, about CHUNK_ROWS rows each.  With chunk = NULL they are only counted. */
static int cut(const mixture_units *u, mixture_chunk *chunk) {
  int n = 0;
  for (int unit = 0; unit < u->n_unit; n++) {
    int end = unit + 1;
    while (end < u->n_unit && unit_row(u, end + 1) - unit_row(u, unit) <= CHUNK_ROWS) end++;
    if (chunk) {
      mixture_chunk *c = chunk + n;
      c->unit = unit;
      c->n_unit = end - unit;
      c->row = unit_row(u, unit);
      c->n_row = unit_row(u, end) - c->row;
      c->ld = rows_padded(c->n_row);
    }
    unit = end;
  }
  return n;
}

static void pass_init(mixture *w, mixture_pass *pass, int keep, const elbo_memory *mem) {
  const size_t k = (size_t)w->spec.k;
  pass->stat = elbo_doubles(mem, w->n_stat);
  pass->size = elbo_doubles(mem, k);
  pass->r = keep ? elbo_doubles(mem, (size_t)w->spec.units.n_unit * k) : NULL;
}

static elbo_status prepare(mixture *w) {
  elbo_status status = ELBO_OK;
  w->here = NULL;
  for (int p = 0; p < w->spec.n_part && status == ELBO_OK; p++) {
    w->part = p;
    status = w->spec.part[p].prepare(w->spec.part[p].work, &w->component);
  }
  return status;
}

elbo_status mixture_init(mixture *w, const mixture_spec *spec, const elbo_memory *mem) {
  const size_t k = (size_t)spec->k;
  size_t scratch = 3 * k + 1; /* densities by unit and by row, responsibilities by row; lse */
  size_t part_scratch = 0;
  size_t work_per_row = 0, n_kept = 0;
  int keep = 0;
  memset(w, 0, sizeof *w);
  w->spec = *spec;
  w->component = -1;
  /* Where every part speaks of units, nothing here has to know of rows. */
  int by_row = 0;
  for (int p = 0; p < spec->n_part; p++) by_row = by_row || !spec->part[p].by_unit;
  mixture_units *units = &w->spec.units;
  if (!by_row) {
    units->n_row = units->n_unit;
    units->first = NULL;
  }
  for (int p = 0; p < spec->n_part; p++) {
    const mixture_part *part = spec->part + p;
    w->stat_at[p] = w->n_stat;
    w->n_stat += part->n_stat;
    w->n_eta += part->n_eta;
    w->n_theta += part->n_theta;
    if (part->n_scratch > part_scratch) part_scratch = part->n_scratch;
    keep = keep || part->keeps_r;
    w->passes = fmax(w->passes, part->readings);
    for (int f = 0; f < part->n_field; f++) n_kept += mixture_field_size(part->field + f);
    work_per_row += part->n_stat + (part->keeps_r ? 10 * (size_t)part->n_theta : 0);
  }
  w->n_chunk = cut(units, NULL);
  w->chunk = mem->get(mem->ctx, (size_t)w->n_chunk * sizeof(mixture_chunk));
  cut(units, w->chunk);
  for (int c = 0; c < w->n_chunk; c++)
    if (w->chunk[c].ld > w->largest_ld) w->largest_ld = w->chunk[c].ld;
  w->n_slot = w->n_chunk < SLOTS ? w->n_chunk : SLOTS;
  w->slot_first = elbo_ints(mem, (size_t)w->n_slot + 1);
  for (int s = 0; s <= w->n_slot; s++)
    w->slot_first[s] = (int)((long long)w->n_chunk * s / (w->n_slot > 0 ? w->n_slot : 1));
  w->slot_stat = elbo_doubles(mem, (size_t)w->n_slot * (w->n_stat + k + 1));
  w->spec.threads = threads_for(spec->threads, w->n_slot);
  w->n_scratch = (scratch + part_scratch) * (size_t)w->largest_ld;
  w->thread_scratch = elbo_doubles(mem, (size_t)w->spec.threads * w->n_scratch);
  pass_init(w, &w->q, keep, mem);
  pass_init(w, &w->next, keep, mem);
  w->eta = elbo_doubles(mem, (size_t)w->n_eta);
  const size_t n_value = (size_t)(w->n_eta > w->n_theta ? w->n_eta : w->n_theta);
  w->by_component = elbo_doubles(mem, k);
  w->at = elbo_doubles(mem, (size_t)w->n_eta);
  w->h = elbo_doubles(mem, (size_t)w->n_eta);
  w->kept = elbo_doubles(mem, n_kept);
  w->low = elbo_doubles(mem, n_value);
  w->high = elbo_doubles(mem, n_value);
  memset(w->h, 0, (size_t)w->n_eta * sizeof(double));
  mixture_metric_init(w, mem);
  mixture_observed_init(w, mem);
  /* By differences, a Hessian is two passes for each parameter, and only confirms. */
  const double cost = (double)w->n_eta * (double)units->n_row * (double)work_per_row;
  w->second_order = spec->method != MIXTURE_JOINT && w->n_eta <= 600 && cost < 1e7;
  if (w->second_order && spec->method == MIXTURE_VB)
    w->V = elbo_doubles(mem, (size_t)w->n_eta * (size_t)w->n_eta);
  return prepare(w);
}

/* ---- the pass at the present parameters ------------------------------------------------------ */

/* Unless there was one. */
static elbo_status refresh(mixture *w) {
  if (w->here) return ELBO_OK;
  const elbo_status status = mixture_run_pass(w, NULL, &w->next);
  if (status == ELBO_OK) w->here = &w->next;
  return status;
}

/* ---- the objective --------------------------------------------------------------------------- */

double mixture_log_prior(const mixture *w) {
  double sum = 0.0;
  for (int p = 0; p < w->spec.n_part; p++) sum += w->spec.part[p].log_prior(w->spec.part[p].work);
  return sum;
}

/* sum_ij freq_i r_ij l_ij, r of the pass, l at the present parameters. */
static elbo_status expected(const mixture *w, const mixture_pass *pass, double *value) {
  *value = 0.0;
  for (int p = 0; p < w->spec.n_part; p++) {
    const mixture_part *part = w->spec.part + p;
    double term;
    const elbo_status status =
        part->expected(part->work, pass->stat + w->stat_at[p], pass->r, &term);
    if (status != ELBO_OK) return status;
    *value += term;
  }
  return isfinite(*value) ? ELBO_OK : ELBO_E_NOT_FINITE;
}

static elbo_status elbo_value(void *work, double *value) {
  mixture *w = work;
  const elbo_status status = expected(w, &w->q, value);
  *value += w->entropy + mixture_log_prior(w);
  w->size = fabs(*value);
  return status;
}

/* Of sums over units, which a pass need not take in the order of the statistics; and in parts. */
static double rounding(void *work) {
  enum { OPERATIONS = 8 }; /* roundings that go into a term and do not cancel */
  const mixture *w = work;
  double sum = 0.0;
  for (int p = 0; p < w->spec.n_part; p++) {
    const mixture_part *part = w->spec.part + p;
    if (part->rounding) sum += part->rounding(part->work, w->q.stat + w->stat_at[p]);
  }
  return 1e-9 * (1.0 + w->size) + OPERATIONS * sum;
}

static elbo_status log_evidence(void *work, double *value) {
  mixture *w = work;
  const elbo_status status = refresh(w);
  if (status == ELBO_OK) *value = w->here->value + mixture_log_prior(w);
  return status;
}

static elbo_status kl_value(void *work, double *value) {
  double bound = NAN;
  elbo_status status = log_evidence(work, value);
  if (status == ELBO_OK) status = elbo_value(work, &bound);
  *value -= bound;
  return status;
}

/* ---- steps ----------------------------------------------------------------------------------- */

/* q to the laws of z at the present parameters: their entropy is what the sum of l leaves of the
 * value, sum_i log sum_j exp l_ij = sum_ij r_ij (l_ij - log r_ij). */
static elbo_status e_step(void *work) {
  mixture *w = work;
  double sum;
  elbo_status status = refresh(w);
  if (status == ELBO_OK) status = expected(w, w->here, &sum);
  if (status != ELBO_OK) return status;
  w->entropy = w->here->value - sum;
  if (w->here == &w->next) {
    const mixture_pass old = w->q;
    w->q = w->next;
    w->next = old;
    w->here = &w->q;
  }
  return ELBO_OK;
}

static elbo_status m_step(void *work) {
  mixture *w = work;
  elbo_status status = ELBO_OK;
  w->here = NULL;
  for (int p = 0; p < w->spec.n_part && status == ELBO_OK; p++) {
    const mixture_part *part = w->spec.part + p;
    w->part = p;
    status = part->m_step(part->work, w->q.stat + w->stat_at[p], w->q.r, &w->component);
  }
  return status == ELBO_OK ? prepare(w) : status;
}

elbo_status mixture_start(mixture *w, const int *label, const double *probability) {
  const mixture_partition given = {label, probability};
  const elbo_status status = mixture_run_pass(w, &given, &w->q);
  w->here = NULL;
  return status == ELBO_OK ? m_step(w) : status;
}

/* ---- coordinates ----------------------------------------------------------------------------- */

static void pack(void *work, double *eta) {
  const mixture *w = work;
  for (int p = 0; p < w->spec.n_part; eta += w->spec.part[p++].n_eta)
    w->spec.part[p].pack(w->spec.part[p].work, eta);
}

static elbo_status unpack(void *work, const double *eta) {
  mixture *w = work;
  elbo_status status = ELBO_OK;
  w->here = NULL;
  for (int p = 0; p < w->spec.n_part && status == ELBO_OK; eta += w->spec.part[p++].n_eta)
    status = w->spec.part[p].unpack(w->spec.part[p].work, eta);
  return status == ELBO_OK ? prepare(w) : status;
}

static void anchor(void *work) {
  const mixture *w = work;
  for (int p = 0; p < w->spec.n_part; p++)
    if (w->spec.part[p].anchor) w->spec.part[p].anchor(w->spec.part[p].work);
}

void mixture_theta(const mixture *w, double *theta) {
  for (int p = 0; p < w->spec.n_part; theta += w->spec.part[p++].n_theta)
    w->spec.part[p].theta(w->spec.part[p].work, theta);
}

static void moments(const mixture *w, double *m) {
  for (int p = 0; p < w->spec.n_part; m += w->spec.part[p++].n_eta)
    w->spec.part[p].moments(w->spec.part[p].work, m);
}

/* ---- derivatives ----------------------------------------------------------------------------- */

/* em: by Fisher's identity the part's gradient of expected + log prior.
 * vb: the gradient is V times it, V = dm / deta. */
elbo_status mixture_slope(mixture *w, double *out) {
  elbo_status status = refresh(w);
  const int vb = w->spec.method == MIXTURE_VB;
  double *g = out;
  for (int p = 0; p < w->spec.n_part && status == ELBO_OK; g += w->spec.part[p++].n_eta) {
    const mixture_part *part = w->spec.part + p;
    if (part->n_eta == 0) continue;
    status = (vb ? part->target : part->gradient)(part->work, w->here->stat + w->stat_at[p],
                                                  w->here->r, g);
  }
  if (status != ELBO_OK || !vb) return status;
  pack(w, w->at);
  for (int a = 0; a < w->n_eta; a++) out[a] -= w->at[a];
  return ELBO_OK;
}

typedef enum { SLOPE, MOMENTS, THETA } quantity;

static elbo_status evaluate(mixture *w, quantity what, double *out) {
  if (what == SLOPE) return mixture_slope(w, out);
  if (what == MOMENTS) moments(w, out);
  if (what == THETA) mixture_theta(w, out);
  return ELBO_OK;
}

static elbo_status evaluate_at(mixture *w, int a, double value, quantity what, double *out) {
  const double kept = w->eta[a];
  w->eta[a] = value;
  elbo_status status = unpack(w, w->eta);
  w->eta[a] = kept;
  return status == ELBO_OK ? evaluate(w, what, out) : status;
}

/* Central difference of n values by eta_a, the step made smaller where it leaves the parameter
 * space. */
static elbo_status difference(mixture *w, quantity what, int a, int n, double *out) {
  elbo_status status = ELBO_E_NOT_PD;
  for (int tries = 0; tries < 12 && status != ELBO_OK; tries++) {
    if (tries > 0) w->h[a] *= 0.1;
    status = evaluate_at(w, a, w->eta[a] - w->h[a], what, w->low);
    if (status == ELBO_OK) status = evaluate_at(w, a, w->eta[a] + w->h[a], what, w->high);
  }
  if (status != ELBO_OK) return status;
  for (int i = 0; i < n; i++) out[i] = (w->high[i] - w->low[i]) / (2.0 * w->h[a]);
  return ELBO_OK;
}

/* The step for eta_a is a small part of the distance over which things change: the objective (em),
 * 1 / sqrt of its curvature, or q (vb), 1 / sqrt of V_aa. */
static double step_by(const mixture *w, int a, double curvature) {
  const double most = 1e-4 * fmax(1.0, fabs(w->eta[a]));
  const double h = fabs(curvature) > 0.0 ? 2e-4 / sqrt(fabs(curvature)) : most;
  return w->spec.method == MIXTURE_VB ? h : fmin(h, most);
}

/* By a first difference: of the slope to one side, or of moments. */
static elbo_status find_step(mixture *w, int a, const double *slope, double *column) {
  const double size = fabs(w->eta[a]);
  elbo_status status = ELBO_OK;
  if (w->spec.method != MIXTURE_VB) {
    const double h = 1e-5 * fmax(1.0, size);
    status = evaluate_at(w, a, w->eta[a] + h, SLOPE, column);
    w->h[a] = status == ELBO_OK ? step_by(w, a, (column[a] - slope[a]) / h) : h;
    return ELBO_OK;
  }
  w->h[a] = 1e-6 * (size > 0.0 ? size : 1.0);
  for (int round = 0; round < 2 && status == ELBO_OK; round++) {
    status = difference(w, MOMENTS, a, w->n_eta, column);
    if (status == ELBO_OK) w->h[a] = step_by(w, a, column[a]);
  }
  return status;
}

/* The metric, which also says what steps suit differences of the slope. */
static elbo_status metric(void *work, double *out) {
  mixture *w = work;
  const elbo_status status = mixture_metric_at(w, out);
  if (status != ELBO_OK) return status;
  pack(w, w->eta);
  for (int a = 0; a < w->n_eta; a++) w->h[a] = step_by(w, a, out[a * (w->n_eta + 1)]);
  return ELBO_OK;
}

/* One column for each eta: by central differences of the slope, which is exact (Jamshidian &
 * Jennrich 2000, JRSS B 62:257).  hessian: d slope / d eta; V and jacobian (of moments and theta)
 * may be NULL. */
static elbo_status differentiate(mixture *w, const double *slope, double *hessian, double *V,
                                 double *jacobian) {
  const size_t n = (size_t)w->n_eta;
  elbo_status status = ELBO_OK;
  for (int a = 0; a < w->n_eta && status == ELBO_OK; a++) {
    double *column = hessian + n * (size_t)a;
    /* Kept from one Hessian to the next; not under vb, where an emptied component changes V a
     * thousandfold. */
    if (w->spec.method == MIXTURE_VB || !(w->h[a] > 0.0)) status = find_step(w, a, slope, column);
    if (status == ELBO_OK) status = difference(w, SLOPE, a, w->n_eta, column);
    if (status == ELBO_OK && V) status = difference(w, MOMENTS, a, w->n_eta, V + n * (size_t)a);
    if (status == ELBO_OK && jacobian)
      status = difference(w, THETA, a, w->n_theta, jacobian + (size_t)w->n_theta * (size_t)a);
  }
  return status;
}

static void symmetrise(double *A, int n) {
  for (int j = 0; j < n; j++)
    for (int i = 0; i < j; i++) A[i + n * j] = A[j + n * i] = 0.5 * (A[i + n * j] + A[j + n * i]);
}

/* Under vb the gradient is V (eta* - eta) and the Hessian, at the optimum, -V (I - d eta* / d eta):
 * minus its inverse is the linear response covariance of the sufficient statistics, seen from eta
 * (Giordano, Broderick & Jordan 2018, JMLR 19(51), theorem 1). */
elbo_status mixture_information(mixture *w, double *gradient, double *hessian, double *V,
                                double *jacobian) {
  const int n = w->n_eta;
  const size_t n2 = square(n);
  pack(w, w->eta);
  elbo_status status = mixture_slope(w, gradient);
  if (status == ELBO_OK)
    status = mixture_observed_known(w) ? mixture_observed(w, w->here, w->eta, hessian, jacobian)
                                       : differentiate(w, gradient, hessian, V, jacobian);
  const elbo_status back = unpack(w, w->eta);
  if (status == ELBO_OK) status = back;
  if (status != ELBO_OK) return status;
  if (V) {
    symmetrise(V, n);
    memcpy(w->low, gradient, (size_t)n * sizeof(double));
    la_multiply(V, w->low, n, n, 1, gradient);
    for (int j = 0; j < n; j++) { /* hessian = V hessian, a column at a time */
      memcpy(w->low, hessian + (size_t)n * (size_t)j, (size_t)n * sizeof(double));
      la_multiply(V, w->low, n, n, 1, hessian + (size_t)n * (size_t)j);
    }
  }
  symmetrise(hessian, n);
  for (size_t i = 0; i < n2; i++)
    if (!isfinite(hessian[i])) return ELBO_E_NOT_FINITE;
  return ELBO_OK;
}

static elbo_status gradient(void *work, double *out) { return mixture_slope(work, out); }

static elbo_status hessian(void *work, double *value, double *gradient, double *hessian) {
  mixture *w = work;
  const elbo_status status = log_evidence(w, value);
  return status == ELBO_OK ? mixture_information(w, gradient, hessian, w->V, NULL) : status;
}

/* The fields of all parts to w->kept, or back. */
static void copy_fields(mixture *w, int back) {
  double *kept = w->kept;
  for (int p = 0; p < w->spec.n_part; p++)
    for (int f = 0; f < w->spec.part[p].n_field; f++) {
      const mixture_field *field = w->spec.part[p].field + f;
      const size_t n = mixture_field_size(field);
      memcpy(back ? field->value : kept, back ? kept : field->value, n * sizeof(double));
      kept += n;
    }
}

static void keep(void *work) { copy_fields(work, 0); }

static elbo_status put_back(void *work) {
  copy_fields(work, 1);
  return mixture_restore(work);
}

/* V times a step: by central differences of the moments along it. */
static elbo_status along(mixture *w, const double *step, double h, double *out) {
  elbo_status status = ELBO_OK;
  for (int side = 0; side < 2 && status == ELBO_OK; side++) {
    for (int a = 0; a < w->n_eta; a++) w->eta[a] = w->at[a] + (side ? h : -h) * step[a];
    status = unpack(w, w->eta);
    if (status == ELBO_OK) moments(w, side ? w->high : w->low);
  }
  for (int a = 0; a < w->n_eta; a++) out[a] = (w->high[a] - w->low[a]) / (2.0 * h);
  return status;
}

/* vb: the step is the natural gradient, and the gradient V times it.  h is a small part of the
 * distance over which q changes, of which a first difference tells. */
static elbo_status natural_vb(mixture *w, double *gradient, double *step) {
  const int n = w->n_eta;
  elbo_status status = mixture_slope(w, step);
  if (status != ELBO_OK) return status;
  if (!(dot(step, step, n) > 0.0)) { /* no step */
    memset(gradient, 0, (size_t)n * sizeof(double));
    return isnan(dot(step, step, n)) ? ELBO_E_RANK : ELBO_OK;
  }
  double h = 1e-6 * sqrt(fmax(dot(w->at, w->at, n), 1.0) / dot(step, step, n));
  for (int tries = 0, found = 0; tries < 12 && found < 2; tries++) {
    if (!isfinite(h)) return ELBO_E_RANK; /* rounding: no gradient along so small a step */
    status = along(w, step, h, gradient);
    if (status == ELBO_OK && ++found < 2)
      h = 2e-4 / sqrt(dot(gradient, step, n));
    else
      h *= 0.1; /* it left the parameter space */
  }
  return status;
}

/* em: the step is that of EM. */
static elbo_status natural_em(mixture *w, double *gradient, double *step) {
  elbo_status status = mixture_slope(w, gradient);
  if (status == ELBO_OK) status = m_step(w);
  if (status != ELBO_OK) return status;
  pack(w, step);
  for (int a = 0; a < w->n_eta; a++) step[a] -= w->at[a];
  return ELBO_OK;
}

static elbo_status natural(void *work, double *gradient, double *step) {
  mixture *w = work;
  elbo_status status = refresh(w);
  mixture_pass *here = w->here;
  pack(w, w->at);
  if (status == ELBO_OK)
    status = w->spec.method == MIXTURE_VB ? natural_vb(w, gradient, step)
                                          : natural_em(w, gradient, step);
  const elbo_status back = unpack(w, w->at);
  w->here = here; /* no pass is made again */
  return status == ELBO_OK ? back : status;
}

/* Boundary points, one of each part, with the laws of z as they are here. */
static int propose(void *work, int from) {
  mixture *w = work;
  for (int p = from; p < w->spec.n_part; p++) {
    const mixture_part *part = w->spec.part + p;
    if (part->settle == NULL || refresh(w) != ELBO_OK) continue;
    if (!part->settle(part->work, w->here->stat + w->stat_at[p], w->here->r)) continue;
    w->here = NULL;
    if (prepare(w) == ELBO_OK) return p;
    if (put_back(w) != ELBO_OK) return -1;
  }
  return -1;
}

/* ---- components, and what leaves ------------------------------------------------------------- */

elbo_status mixture_restore(mixture *w) {
  elbo_status status = ELBO_OK;
  w->here = NULL;
  for (int p = 0; p < w->spec.n_part && status == ELBO_OK; p++)
    if (w->spec.part[p].restore)
      status = w->spec.part[p].restore(w->spec.part[p].work, &w->component);
  return status == ELBO_OK ? prepare(w) : status;
}

elbo_status mixture_permute(mixture *w, const int *order) {
  for (int p = 0; p < w->spec.n_part; p++)
    for (int f = 0; f < w->spec.part[p].n_field; f++) {
      const mixture_field *field = w->spec.part[p].field + f;
      size_t stride = 1;
      if (!field->by_component) continue;
      for (int i = 0; i < field->n_dim - 1; i++) stride *= (size_t)field->dim[i];
      for (size_t i = 0; i < stride; i++) { /* an entry at a time, over components */
        for (int j = 0; j < w->spec.k; j++)
          w->by_component[j] = field->value[i + stride * (size_t)order[j]];
        for (int j = 0; j < w->spec.k; j++)
          field->value[i + stride * (size_t)j] = w->by_component[j];
      }
    }
  return mixture_restore(w);
}

static double passes(const void *work) { return ((const mixture *)work)->passes; }

elbo_model mixture_model(const mixture *w) {
  const mixture_method method = w->spec.method;
  const elbo_model model = {
      .n_eta = w->n_eta,
      .e_name = method == MIXTURE_VB ? ELBO_STEP_LOCAL : ELBO_STEP_E,
      .m_name = method == MIXTURE_VB ? ELBO_STEP_GLOBAL : ELBO_STEP_M,
      .e_step = e_step,
      .m_step = m_step,
      .elbo = elbo_value,
      .rounding = rounding,
      .log_evidence = method == MIXTURE_EM ? log_evidence : NULL,
      .kl = method == MIXTURE_EM ? kl_value : NULL,
      .objective = {.value = log_evidence,
                    .gradient = method == MIXTURE_EM ? gradient : NULL,
                    .hessian = hessian,
                    .metric = w->metric.n_chunk > 0 ? metric : NULL,
                    .natural = method == MIXTURE_JOINT ? NULL : natural},
      .pack = method == MIXTURE_JOINT ? NULL : pack,
      .unpack = unpack,
      .schedule = {.em_first = 10,
                   .em_until = 1e-2,
                   .second_order =
                       w->second_order ? ELBO_SECOND_ORDER_DENSE : ELBO_SECOND_ORDER_NONE},
      .anchor = anchor,
      .propose = method == MIXTURE_EM ? propose : NULL,
      .keep = keep,
      .put_back = put_back,
      .passes = passes,
  };
  return model;
}
