/* Weights without covariates: the counts n_j = sum_i freq_i r_ij suffice. */
#include "mixture/weights.h"

#include <math.h>
#include <string.h>

#include "math/dirichlet.h"
#include "math/simplex.h"
#include "mixture/membership.h"

typedef struct {
  int k;
  const double *alpha; /* Dirichlet: k, or NULL: flat; stick-breaking: 1 */
  double *weight;      /* k; under vb E[weight] */
  double *log_weight;  /* k; under vb E[log weight] */
  /* em: base and signs of the coordinates */
  int base;
  double *sign;
  double *dirichlet; /* vb: k, of q(weight) = Dirichlet */
  /* vb: q(v) = beta(a, b) of the stick at each position, 2 x (k - 1); E[log v] and E[log(1 -
   * v)], laid out likewise; and the position, 1 .. k, of each component. */
  double *stick, *log_stick, *position;
  int *order; /* k: the component at each position */
} weights_work;

/* ---- what every law has in common ------------------------------------------------------------ */

static void log_density(const void *work, const mixture_chunk *chunk, double *scratch,
                        double *out) {
  const weights_work *w = work;
  (void)scratch;
  for (int j = 0; j < w->k; j++, out += chunk->ld)
    for (int i = 0; i < chunk->n_unit; i++) out[i] += w->log_weight[j];
}

static void accumulate(const void *work, const mixture_chunk *chunk, const double *r,
                       double *scratch, double *stat) {
  const weights_work *w = work;
  (void)scratch;
  for (int j = 0; j < w->k; j++, r += chunk->ld)
    for (int i = 0; i < chunk->n_unit; i++) stat[j] += r[i];
}

static void basis(const void *work, const mixture_chunk *chunk, int j, double *scratch,
                  double *out) {
  (void)work, (void)j, (void)scratch;
  for (int i = 0; i < chunk->ld; i++) out[i] = 1.0;
}

static elbo_status expected(const void *work, const double *stat, const double *r, double *value) {
  const weights_work *w = work;
  (void)r;
  *value = simplex_value(stat, w->log_weight, w->k);
  return ELBO_OK;
}

static void theta(const void *work, double *out) {
  const weights_work *w = work;
  memcpy(out, w->weight, (size_t)w->k * sizeof(double));
}

static elbo_status prepare_weight(void *work, int *component) {
  weights_work *w = work;
  (void)component;
  for (int j = 0; j < w->k; j++) w->log_weight[j] = log(w->weight[j]);
  return ELBO_OK;
}

/* ---- weights held ---------------------------------------------------------------------------- */

static elbo_status held_m_step(void *work, const double *stat, const double *r, int *component) {
  (void)work, (void)stat, (void)r, (void)component;
  return ELBO_OK;
}

static double held_log_prior(const void *work) {
  (void)work;
  return 0.0;
}

static void held_pack(const void *work, double *eta) { (void)work, (void)eta; }

static elbo_status held_unpack(void *work, const double *eta) {
  (void)work, (void)eta;
  return ELBO_OK;
}

static elbo_status held_derivative(void *work, const double *stat, const double *r, double *out) {
  (void)work, (void)stat, (void)r, (void)out;
  return ELBO_OK;
}

/* ---- em: points, under a Dirichlet prior their mode ------------------------------------------ */

static elbo_status em_m_step(void *work, const double *stat, const double *r, int *component) {
  weights_work *w = work;
  (void)r;
  *component = simplex_mode(stat, w->alpha, w->k, w->weight);
  return *component < 0 ? ELBO_OK : ELBO_E_UNBOUNDED;
}

static double em_log_prior(const void *work) {
  const weights_work *w = work;
  return simplex_log_prior(w->alpha, w->log_weight, w->k);
}

static void em_pack(const void *work, double *eta) {
  const weights_work *w = work;
  simplex_pack(w->weight, w->sign, w->k, w->base, eta);
}

static elbo_status em_unpack(void *work, const double *eta) {
  weights_work *w = work;
  return simplex_unpack(eta, w->k, w->base, w->weight, w->sign) ? ELBO_OK : ELBO_E_NOT_PD;
}

static void em_anchor(void *work) {
  weights_work *w = work;
  w->base = simplex_base(w->weight, w->k);
}

static elbo_status em_restore(void *work, int *component) {
  (void)component;
  em_anchor(work);
  return ELBO_OK;
}

static elbo_status em_gradient(void *work, const double *stat, const double *r, double *gradient) {
  const weights_work *w = work;
  (void)r;
  simplex_gradient(stat, w->alpha, w->weight, w->sign, w->k, w->base, gradient);
  return ELBO_OK;
}

/* ---- vb: q(weight) = Dirichlet(a), natural parameters a (up to a constant) of T = log weight - */

static elbo_status dirichlet_prepare(void *work, int *component) {
  weights_work *w = work;
  double sum = 0.0;
  (void)component;
  for (int j = 0; j < w->k; j++) {
    if (!(w->dirichlet[j] > 0.0)) return ELBO_E_NOT_PD;
    sum += w->dirichlet[j];
  }
  for (int j = 0; j < w->k; j++) w->weight[j] = w->dirichlet[j] / sum;
  dirichlet_expected_log(w->dirichlet, w->k, w->log_weight);
  return ELBO_OK;
}

static elbo_status dirichlet_target(void *work, const double *stat, const double *r, double *eta) {
  const weights_work *w = work;
  (void)r;
  for (int j = 0; j < w->k; j++) eta[j] = w->alpha[j] + stat[j];
  return ELBO_OK;
}

static elbo_status dirichlet_m_step(void *work, const double *stat, const double *r,
                                    int *component) {
  (void)component;
  weights_work *w = work;
  return dirichlet_target(w, stat, r, w->dirichlet);
}

static double dirichlet_log_prior(const void *work) {
  const weights_work *w = work;
  return -dirichlet_kl(w->dirichlet, w->alpha, w->k);
}

static void dirichlet_pack(const void *work, double *eta) {
  const weights_work *w = work;
  memcpy(eta, w->dirichlet, (size_t)w->k * sizeof(double));
}

static elbo_status dirichlet_unpack(void *work, const double *eta) {
  weights_work *w = work;
  int component;
  memcpy(w->dirichlet, eta, (size_t)w->k * sizeof(double));
  return dirichlet_prepare(w, &component);
}

static void dirichlet_moments(const void *work, double *m) {
  const weights_work *w = work;
  memcpy(m, w->log_weight, (size_t)w->k * sizeof(double));
}

/* ---- vb: stick-breaking (Blei & Jordan 2006, Bayesian Analysis 1:121)
 * -------------------------------
 *
 *   weight at position s = v_s prod_{l < s} (1 - v_l),  v_s ~ beta(1, alpha),  v_k = 1,
 *
 * q(v_s) = beta(a_s, b_s).  The law depends on which component is at which position.  The
 * positions are part of q, so that relabelling components changes nothing, and the M-step
 * chooses them best. */

static elbo_status stick_prepare(void *work, int *component) {
  weights_work *w = work;
  const int k = w->k;
  double rest = 1.0, log_rest = 0.0;
  (void)component;
  for (int s = 0; s < k; s++) w->order[s] = -1;
  for (int j = 0; j < k; j++) {
    const int s = (int)w->position[j] - 1;
    if (s < 0 || s >= k || w->order[s] >= 0) return ELBO_E_NOT_PD;
    w->order[s] = j;
  }
  for (int s = 0; s < k; s++) {
    const double *q = w->stick + 2 * s;
    double *log_v = w->log_stick + 2 * s;
    const int j = w->order[s], last = s == k - 1;
    if (!last && !(q[0] > 0.0 && q[1] > 0.0)) return ELBO_E_NOT_PD;
    if (!last) dirichlet_expected_log(q, 2, log_v);
    w->weight[j] = last ? rest : rest * q[0] / (q[0] + q[1]);
    w->log_weight[j] = last ? log_rest : log_rest + log_v[0];
    if (last) break;
    rest *= q[1] / (q[0] + q[1]);
    log_rest += log_v[1];
  }
  return ELBO_OK;
}

static elbo_status stick_target(void *work, const double *stat, const double *r, double *eta) {
  const weights_work *w = work;
  double behind = stat[w->order[w->k - 1]];
  (void)r;
  for (int s = w->k - 2; s >= 0; s--) {
    eta[2 * s] = 1.0 + stat[w->order[s]];
    eta[2 * s + 1] = w->alpha[0] + behind;
    behind += stat[w->order[s]];
  }
  return ELBO_OK;
}

/* What of the ELBO depends on the order, the sticks at their best: with S_s the counts behind s,
 *
 *   log Gamma(alpha + n_k) - log Gamma(1 + n_k) - sum_{s < k - 1} log(alpha + S_s),  n_k = S_{k-1}
 *
 * (sum_s log Beta(1 + n_s, alpha + S_s), telescoped). */
static double value_of_order(const double *count, const int *order, int k, double alpha) {
  double behind = count[order[k - 1]], sum = lgamma(alpha + behind) - lgamma(1.0 + behind);
  for (int s = k - 2; s > 0; s--) {
    behind += count[order[s]];
    sum -= log(alpha + behind);
  }
  return sum;
}

/* The element at `from` moves to the end, those behind it up by one. */
static void move_last(int *order, int k, int from) {
  const int moved = order[from];
  for (int s = from; s < k - 1; s++) order[s] = order[s + 1];
  order[k - 1] = moved;
}

static void move_back(int *order, int k, int to) {
  const int moved = order[k - 1];
  for (int s = k - 1; s > to; s--) order[s] = order[s - 1];
  order[to] = moved;
}

/* The best order: decreasing counts, as the sum above says of any two neighbours, save that the
 * last position, which has no stick, may be worth more (alpha > 1): the best of k candidates. */
static void best_order(const double *count, int *order, int k, double alpha) {
  for (int s = 1; s < k; s++) {
    const int j = order[s];
    int at = s;
    for (; at > 0 && count[order[at - 1]] < count[j]; at--) order[at] = order[at - 1];
    order[at] = j;
  }
  int last = k - 1;
  double best = value_of_order(count, order, k, alpha);
  for (int s = 0; s < k - 1; s++) {
    move_last(order, k, s);
    const double value = value_of_order(count, order, k, alpha);
    move_back(order, k, s);
    if (value > best) {
      best = value;
      last = s;
    }
  }
  move_last(order, k, last);
}

static elbo_status stick_m_step(void *work, const double *stat, const double *r, int *component) {
  weights_work *w = work;
  (void)component;
  best_order(stat, w->order, w->k, w->alpha[0]);
  for (int s = 0; s < w->k; s++) w->position[w->order[s]] = s + 1;
  return stick_target(work, stat, r, w->stick);
}

static double stick_log_prior(const void *work) {
  const weights_work *w = work;
  const double prior[2] = {1.0, w->alpha[0]};
  double sum = 0.0;
  for (int s = 0; s < w->k - 1; s++) sum -= dirichlet_kl(w->stick + 2 * s, prior, 2);
  return sum;
}

static size_t stick_bytes(const weights_work *w) { return 2 * (size_t)(w->k - 1) * sizeof(double); }

static void stick_pack(const void *work, double *eta) {
  const weights_work *w = work;
  memcpy(eta, w->stick, stick_bytes(w));
}

static elbo_status stick_unpack(void *work, const double *eta) {
  weights_work *w = work;
  int component;
  memcpy(w->stick, eta, stick_bytes(w));
  return stick_prepare(w, &component);
}

static void stick_moments(const void *work, double *m) {
  const weights_work *w = work;
  memcpy(m, w->log_stick, stick_bytes(w));
}

/* ---- which functions, fields and start ------------------------------------------------------- */

static void set_field(mixture_part *part, const char *name, double *value, int n1, int n2,
                      int by_component) {
  const mixture_field field = {name, value, n2 > 0 ? 2 : 1, {n1, n2, 0}, by_component};
  part->field[part->n_field++] = field;
}

static void held_part(mixture_part *part, weights_work *w, const double *constant) {
  memcpy(w->weight, constant, (size_t)w->k * sizeof(double));
  set_field(part, "weight", w->weight, w->k, 0, 1);
  part->prepare = prepare_weight;
  part->m_step = held_m_step;
  part->log_prior = held_log_prior;
  part->pack = held_pack;
  part->unpack = held_unpack;
  part->gradient = part->target = held_derivative;
  part->moments = held_pack;
}

static void em_part(mixture_part *part, weights_work *w, const elbo_memory *mem) {
  w->sign = elbo_doubles(mem, (size_t)w->k);
  for (int j = 0; j < w->k; j++) {
    w->sign[j] = 1.0;
    w->weight[j] = 1.0 / w->k;
  }
  set_field(part, "weight", w->weight, w->k, 0, 1);
  part->n_eta = w->k - 1;
  part->restore = em_restore;
  part->prepare = prepare_weight;
  part->m_step = em_m_step;
  part->log_prior = em_log_prior;
  part->pack = em_pack;
  part->unpack = em_unpack;
  part->anchor = em_anchor;
  part->gradient = em_gradient;
  part->n_basis = 1;
  part->basis = basis;
}

static void dirichlet_part(mixture_part *part, weights_work *w, int n_unit,
                           const elbo_memory *mem) {
  if (w->alpha == NULL) {
    double *ones = elbo_doubles(mem, (size_t)w->k);
    for (int j = 0; j < w->k; j++) ones[j] = 1.0;
    w->alpha = ones;
  }
  w->dirichlet = elbo_doubles(mem, (size_t)w->k);
  for (int j = 0; j < w->k; j++) w->dirichlet[j] = w->alpha[j] + (double)n_unit / w->k;
  set_field(part, "alpha", w->dirichlet, w->k, 0, 1);
  part->n_eta = w->k;
  part->prepare = dirichlet_prepare;
  part->m_step = dirichlet_m_step;
  part->log_prior = dirichlet_log_prior;
  part->pack = dirichlet_pack;
  part->unpack = dirichlet_unpack;
  part->target = dirichlet_target;
  part->moments = dirichlet_moments;
}

static void stick_part(mixture_part *part, weights_work *w, int n_unit, const elbo_memory *mem) {
  const int k = w->k;
  w->stick = elbo_doubles(mem, 2 * (size_t)k);
  w->log_stick = elbo_doubles(mem, 2 * (size_t)k);
  w->position = elbo_doubles(mem, (size_t)k);
  w->order = elbo_ints(mem, (size_t)k);
  for (int s = 0; s < k; s++) {
    w->stick[2 * s] = 1.0 + (double)n_unit / k;
    w->stick[2 * s + 1] = w->alpha[0] + (double)n_unit * (k - 1 - s) / k;
    w->position[s] = s + 1;
  }
  set_field(part, "stick", w->stick, 2, k - 1, 0);
  set_field(part, "position", w->position, k, 0, 1);
  part->n_eta = 2 * (k - 1);
  part->prepare = stick_prepare;
  part->m_step = stick_m_step;
  part->log_prior = stick_log_prior;
  part->pack = stick_pack;
  part->unpack = stick_unpack;
  part->target = stick_target;
  part->moments = stick_moments;
}

elbo_status mixture_weights_part(mixture_part *part, const mixture_weights_spec *spec,
                                 const elbo_memory *mem) {
  if (spec->W != NULL && spec->method == MIXTURE_VB)
    return mixture_membership_vb_part(part, spec, mem);
  if (spec->W != NULL) return mixture_membership_part(part, spec, mem);
  weights_work *w = mem->get(mem->ctx, sizeof *w);
  memset(w, 0, sizeof *w);
  memset(part, 0, sizeof *part);
  w->k = spec->k;
  w->alpha = spec->law == MIXTURE_WEIGHTS_FLAT ? NULL : spec->alpha;
  w->weight = elbo_doubles(mem, (size_t)spec->k);
  w->log_weight = elbo_doubles(mem, (size_t)spec->k);
  part->work = w;
  part->by_unit = 1;
  part->n_stat = (size_t)spec->k;
  part->n_theta = spec->k;
  part->log_density = log_density;
  part->accumulate = accumulate;
  part->expected = expected;
  part->theta = theta;
  if (spec->constant != NULL)
    held_part(part, w, spec->constant);
  else if (spec->method != MIXTURE_VB)
    em_part(part, w, mem);
  else if (spec->law == MIXTURE_WEIGHTS_STICK_BREAKING)
    stick_part(part, w, spec->n_unit, mem);
  else
    dirichlet_part(part, w, spec->n_unit, mem);
  int component;
  return part->prepare(w, &component);
}

elbo_status mixture_weights_make(mixture_part *part, const mixture_spec *s,
                                 const mixture_arguments *from, const elbo_memory *mem) {
  mixture_weights_spec w = {.method = s->method, .k = s->k, .n_unit = s->units.n_unit};
  w.n_w = argument_int(from, "n_w", 0, s->units.n_unit + 1000);
  w.W = argument_doubles(from, "W", w.n_unit, w.n_w, 1);
  w.constant = argument_doubles(from, "constant", 1, s->k, 1);
  w.law = (mixture_weights_law)argument_int(from, "law", MIXTURE_WEIGHTS_FLAT,
                                            MIXTURE_WEIGHTS_STICK_BREAKING);
  w.alpha = argument_doubles(from, "alpha", 1, w.law == MIXTURE_WEIGHTS_DIRICHLET ? s->k : 1,
                             w.law == MIXTURE_WEIGHTS_FLAT);
  w.coefficient_sd = argument_double(from, "coefficient_sd");
  return mixture_weights_part(part, &w, mem);
}
