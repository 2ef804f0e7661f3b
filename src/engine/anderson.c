/* EM steps extrapolated from the last few of them (Anderson 1965, J. ACM 12:547; for EM: Henderson
 * & Varadhan 2019, JCGS 28:834).  With F the EM map and r(x) = F(x) - x, the moves dx and the
 * changes dr of r that went with them say, as secants, where r is zero:
 *
 *   x' = F(x) - sum_i gamma_i (dx_i + dr_i),   gamma by least squares of r on the dr_i,
 *
 * so that x' is an affine combination of maps, and keeps what is linear in them, as a sum of one.
 * One map is made for each step.  A step that lowers the objective, or, without one, from which the
 * map goes further than before, gives way to F(x), but what it showed is kept. */
#include <math.h>
#include <string.h>

#include "engine/ascent.h"
#include "math/small.h"

/* Of a secant's length, what is left beside newer ones: less is rounding. */
static const double DEPENDENT = 1e-10;
/* Steps within `enough` that do not become shorter: rounding is reached, as along a ridge. */
enum { STALLED = 5 };
/* Without an objective: how much further the map may go than at the step before. */
static const double FURTHER = 2.0;

typedef struct {
  int n, most, used;
  double *moves, *changes; /* n x most, the oldest first */
  double *basis, *upper, *gamma;
} secants;

size_t ascent_anderson_size(const elbo_model *model) {
  const size_t n = (size_t)model->n_eta, m = (size_t)model->schedule.memory;
  return m * (3 * n + m + 1) + (m > 0 ? 3 * n : 0);
}

static secants no_secants(const ascent *a) {
  const size_t n = (size_t)a->model->n_eta, m = (size_t)a->model->schedule.memory;
  secants s = {.n = a->model->n_eta, .most = smaller(a->model->schedule.memory, a->model->n_eta)};
  s.moves = a->memory;
  s.changes = s.moves + n * m;
  s.basis = s.changes + n * m;
  s.upper = s.basis + n * m;
  s.gamma = s.upper + m * m;
  return s;
}

/* Keeps the move from x to y and how it changed r. */
static void remember(secants *s, const double *x, const double *y, const double *rx,
                     const double *ry) {
  const size_t n = (size_t)s->n;
  if (s->used == s->most) {
    s->used--;
    memmove(s->moves, s->moves + n, n * (size_t)s->used * sizeof(double));
    memmove(s->changes, s->changes + n, n * (size_t)s->used * sizeof(double));
  }
  double *move = s->moves + n * (size_t)s->used, *change = s->changes + n * (size_t)s->used;
  for (int i = 0; i < s->n; i++) {
    move[i] = y[i] - x[i];
    change[i] = ry[i] - rx[i];
  }
  s->used++;
}

/* Least squares of r on the changes, each coordinate in units of its size, by Gram and Schmidt's
 * method, the newest first; those that depend on newer ones have gamma = 0. */
static void regress(secants *s, const double *r, const double *size) {
  const int n = s->n, m = s->used;
  for (int k = 0; k < m; k++) {
    const double *change = s->changes + (size_t)n * (size_t)(m - 1 - k);
    double *own = s->basis + (size_t)n * (size_t)k;
    for (int i = 0; i < n; i++) own[i] = size[i] > 0.0 ? change[i] / size[i] : 0.0;
    const double length = sqrt(dot(own, own, n));
    for (int j = 0; j < k; j++) {
      const double *other = s->basis + (size_t)n * (size_t)j;
      const double along = dot(own, other, n);
      s->upper[j + k * s->most] = along;
      for (int i = 0; i < n; i++) own[i] -= along * other[i];
    }
    const double left = sqrt(dot(own, own, n));
    const int independent = left > DEPENDENT * length;
    s->upper[k + k * s->most] = independent ? left : 0.0;
    s->gamma[k] = 0.0;
    for (int i = 0; i < n; i++) {
      own[i] = independent ? own[i] / left : 0.0;
      if (size[i] > 0.0) s->gamma[k] += own[i] * r[i] / size[i];
    }
  }
  for (int k = m - 1; k >= 0; k--) {
    for (int j = k + 1; j < m; j++) s->gamma[k] -= s->upper[k + j * s->most] * s->gamma[j];
    const double pivot = s->upper[k + k * s->most];
    s->gamma[k] = pivot > 0.0 ? s->gamma[k] / pivot : 0.0;
  }
}

static void extrapolate(secants *s, const double *mapped, const double *r, const double *size,
                        double *out) {
  const size_t n = (size_t)s->n;
  regress(s, r, size);
  memcpy(out, mapped, n * sizeof(double));
  for (int k = 0; k < s->used; k++) {
    const size_t column = n * (size_t)(s->used - 1 - k);
    for (size_t i = 0; i < n; i++)
      out[i] -= s->gamma[k] * (s->moves[column + i] + s->changes[column + i]);
  }
}

/* As ascent_distance(), but a guess that may lead anywhere says nothing of sizes. */
static double relative(const double *x, const double *y, const double *size, int n) {
  double most = 0.0;
  for (int i = 0; i < n; i++)
    if (x[i] != y[i]) most = fmax(most, fabs(x[i] - y[i]) / size[i]);
  return most;
}

static elbo_status step_to(ascent *a, const double *eta, elbo_step name, int rises) {
  elbo_status status = a->model->unpack(a->work, eta);
  if (status == ELBO_OK) status = a->model->e_step(a->work);
  return status == ELBO_OK ? ascent_record(a, name, rises) : status;
}

/* Whether eta is no lower than here; if so it is where things are then. */
static int take(ascent *a, const double *eta) {
  double value;
  elbo_status status = a->model->unpack(a->work, eta);
  if (status == ELBO_OK) status = a->model->e_step(a->work);
  if (status == ELBO_OK && a->model->elbo) status = a->model->elbo(a->work, &value);
  if (status != ELBO_OK || (a->model->elbo && !(value >= a->elbo - a->rounding))) return 0;
  a->result->iterations++;
  a->result->anderson++;
  return ascent_record(a, ELBO_STEP_ANDERSON, 0) == ELBO_OK;
}

elbo_status ascent_anderson(ascent *a, double enough) {
  const elbo_model *m = a->model;
  const size_t bytes = (size_t)m->n_eta * sizeof(double);
  secants s = no_secants(a);
  double *x = a->eta, *mapped = a->eta1, *r = a->step, *next = a->values;
  double *old_x = s.gamma + m->schedule.memory, *old_r = old_x + m->n_eta;
  double *back = old_r + m->n_eta, last = HUGE_VAL, least = HUGE_VAL;
  int bold = 0, first = 1, stalled = 0;
  for (;;) {
    if (ascent_exhausted(a)) return ELBO_MAX_ITER;
    if (ascent_stop_requested(a)) return ELBO_STOPPED;
    m->pack(a->work, x);
    elbo_status status = m->m_step(a->work);
    const int doubtful = bold && m->elbo == NULL;
    if (status == ELBO_OK) {
      a->result->iterations++;
      a->result->em++;
      status = ascent_record(a, m->m_name, 1);
    }
    if (status != ELBO_OK && !doubtful) return status;
    if (status == ELBO_OK) {
      m->pack(a->work, mapped);
      for (int i = 0; i < m->n_eta; i++) r[i] = mapped[i] - x[i];
      if (!first) remember(&s, old_x, x, old_r, r);
    }
    const double movement = status == ELBO_OK ? ascent_distance(a, mapped, x) : HUGE_VAL;
    if (doubtful && !(movement <= FURTHER * last)) {
      bold = 0;
      status = step_to(a, back, m->e_name, 0);
      if (status != ELBO_OK) return status;
      continue;
    }
    a->result->movement = movement;
    if (s.used > 0) {
      extrapolate(&s, mapped, r, a->size, next);
      a->result->movement = fmax(movement, relative(next, x, a->size, m->n_eta));
    }
    stalled = movement <= enough && movement > 0.5 * least ? stalled + 1 : 0;
    least = fmin(least, movement);
    if (movement <= 1e-14 || stalled > STALLED || (s.used > 0 && a->result->movement <= enough))
      return step_to(a, mapped, m->e_name, 1);
    memcpy(old_x, x, bytes);
    memcpy(old_r, r, bytes);
    memcpy(back, mapped, bytes);
    last = movement;
    first = 0;
    bold = s.used > 0 && take(a, next);
    if (!bold) status = step_to(a, mapped, m->e_name, 1);
    if (status != ELBO_OK) return status;
  }
}
