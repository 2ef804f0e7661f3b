/* A binomial variable is a categorical one of two levels, no and yes.  For the E-step a discrete
 * variable is a table of (expected) log probabilities, with a zero in front for missing entries;
 * a gaussian one
 *
 *   l_ij = constant - half_precision (y - mean)^2
 *
 * with (expected) log and precision.  The statistics are counts, laid out as the tables, and by
 * gaussian variable n, sum (y - c), sum (y - c)^2, c, with c the mean at which they were
 * gathered. */
#include "mixture/classes.h"

#include <math.h>
#include <string.h>

#include "math/digamma.h"
#include "math/dirichlet.h"
#include "law/exponential_family.h"
#include "math/simplex.h"
#include "math/small.h"

/* A variance below this part of the data's is a collapsed one. */
static const double COLLAPSED = 1e-12;
/* Units that have a level in a component, of which one would be as much as a component needs. */
static const double NEXT_TO_NONE = 0.5;

typedef struct {
  mixture_classes_spec spec;
  int n_discrete, n_level, n_table, n_gaussian;
  int *levels;         /* n_discrete: L */
  int *level_at;       /* n_discrete: its first level among all n_level */
  int *code;           /* n_row x n_discrete: 0 missing, 1 .. L */
  const double *prior; /* n_level: Dirichlet; or NULL: flat */
  double *discrete;    /* n_level x k: probabilities, or under vb Dirichlet parameters */
  double *table; /* n_table x k: log probabilities by level, in front of each variable a zero */
  int *base;     /* n_discrete x k, em: of the coordinates */
  double *sign;  /* n_level x k */
  int *gaussian; /* n_gaussian: which variable */
  double *centre, *scale;       /* n_gaussian: mean and sd of the data, the units of eta */
  double *mean, *variance;      /* n_gaussian x k each, em */
  double *kappa, *shape, *rate; /* vb, with mean: precision ~ gamma(shape, rate), and given it the
                                    * mean ~ normal(mean, 1 / (kappa precision)) */
  double *constant, *half_precision;
} classes_work;

/* Of component j: the levels of discrete variable v, their table, their counts. */
static size_t level_of(const classes_work *w, int j, int v) {
  return (size_t)w->n_level * (size_t)j + (size_t)w->level_at[v];
}
static double *table_of(const classes_work *w, int j, int v) {
  return w->table + (size_t)w->n_table * (size_t)j + w->level_at[v] + v + 1;
}
static size_t stat_size(const classes_work *w) { return (size_t)(w->n_table + 4 * w->n_gaussian); }
static const double *counts_of(const classes_work *w, const double *stat, int j, int v) {
  return stat + stat_size(w) * (size_t)j + w->level_at[v] + v + 1;
}
/* Gaussian variable g: its statistics, and its place in n_gaussian x k. */
static const double *sums_of(const classes_work *w, const double *stat, int j, int g) {
  return stat + stat_size(w) * (size_t)j + w->n_table + 4 * g;
}
static int at_of(const classes_work *w, int j, int g) { return g + w->n_gaussian * j; }

static const double *prior_of(const classes_work *w, int v) {
  return w->prior == NULL ? NULL : w->prior + w->level_at[v];
}
static const double *column(const classes_work *w, int g) {
  return w->spec.Y + (size_t)w->spec.n_row * (size_t)w->gaussian[g];
}

/* ---- the pass -------------------------------------------------------------------------------- */

static void log_density(const void *work, const mixture_chunk *chunk, double *scratch,
                        double *out) {
  const classes_work *w = work;
  (void)scratch;
  for (int j = 0; j < w->spec.k; j++, out += chunk->ld) {
    for (int v = 0; v < w->n_discrete; v++) {
      const int *code = w->code + (size_t)w->spec.n_row * (size_t)v + chunk->row;
      const double *table = table_of(w, j, v) - 1;
      for (int i = 0; i < chunk->n_row; i++) out[i] += table[code[i]];
    }
    for (int g = 0; g < w->n_gaussian; g++) {
      const int at = at_of(w, j, g);
      const double *y = column(w, g) + chunk->row;
      const double constant = w->constant[at], half = w->half_precision[at], mean = w->mean[at];
      for (int i = 0; i < chunk->n_row; i++) {
        const double l = constant - half * (y[i] - mean) * (y[i] - mean);
        out[i] += isnan(l) ? 0.0 : l;
      }
    }
  }
}

static void accumulate(const void *work, const mixture_chunk *chunk, const double *r,
                       double *scratch, double *stat) {
  const classes_work *w = work;
  (void)scratch;
  for (int j = 0; j < w->spec.k; j++, r += chunk->ld, stat += stat_size(w)) {
    for (int v = 0; v < w->n_discrete; v++) {
      const int *code = w->code + (size_t)w->spec.n_row * (size_t)v + chunk->row;
      double *count = stat + w->level_at[v] + v;
      for (int i = 0; i < chunk->n_row; i++) count[code[i]] += r[i];
    }
    for (int g = 0; g < w->n_gaussian; g++) {
      double *sums = stat + w->n_table + 4 * g;
      const double *y = column(w, g) + chunk->row, mean = w->mean[at_of(w, j, g)];
      double n = 0.0, sum = 0.0, square = 0.0;
      for (int i = 0; i < chunk->n_row; i++) {
        const int missing = isnan(y[i]);
        const double d = missing ? 0.0 : y[i] - mean, ri = missing ? 0.0 : r[i];
        n += ri;
        sum += ri * d;
        square += ri * d * d;
      }
      sums[0] += n;
      sums[1] += sum;
      sums[2] += square;
    }
  }
}

/* Indicators of the levels, and of gaussian variables as in the statistics. */
static void basis(const void *work, const mixture_chunk *chunk, int j, double *scratch,
                  double *out) {
  const classes_work *w = work;
  const int ld = chunk->ld;
  (void)scratch;
  memset(out, 0, (size_t)ld * stat_size(w) * sizeof(double));
  for (int v = 0; v < w->n_discrete; v++) {
    const int *code = w->code + (size_t)w->spec.n_row * (size_t)v + chunk->row;
    const int first = w->level_at[v] + v;
    for (int i = 0; i < chunk->n_row; i++) out[i + ld * (first + code[i])] = 1.0;
  }
  for (int g = 0; g < w->n_gaussian; g++) {
    const double *y = column(w, g) + chunk->row, mean = w->mean[at_of(w, j, g)];
    double *own = out + (size_t)ld * (size_t)(w->n_table + 4 * g);
    for (int i = 0; i < chunk->n_row; i++) {
      if (isnan(y[i])) continue;
      own[i] = 1.0;
      own[i + ld] = y[i] - mean;
      own[i + 2 * ld] = (y[i] - mean) * (y[i] - mean);
    }
  }
}

static void refer(const void *work, int j, double *stat) {
  const classes_work *w = work;
  for (int l = 0; l < w->spec.k; l++, stat += stat_size(w))
    for (int g = 0; g < w->n_gaussian; g++) stat[w->n_table + 4 * g + 3] = w->mean[at_of(w, j, g)];
}

static void finish(const void *work, double *stat) {
  const classes_work *w = work;
  for (int j = 0; j < w->spec.k; j++, stat += stat_size(w))
    for (int g = 0; g < w->n_gaussian; g++) stat[w->n_table + 4 * g + 3] = w->mean[at_of(w, j, g)];
}

static elbo_status expected(const void *work, const double *stat, const double *r, double *value) {
  const classes_work *w = work;
  (void)r;
  *value = 0.0;
  for (int j = 0; j < w->spec.k; j++) {
    for (int v = 0; v < w->n_discrete; v++)
      *value += simplex_value(counts_of(w, stat, j, v), table_of(w, j, v), w->levels[v]);
    for (int g = 0; g < w->n_gaussian; g++) {
      const double *s = sums_of(w, stat, j, g);
      const int at = at_of(w, j, g);
      const double d = s[3] - w->mean[at];
      *value +=
          s[0] * w->constant[at] - w->half_precision[at] * (s[2] + 2.0 * d * s[1] + d * d * s[0]);
    }
  }
  return ELBO_OK;
}

/* ---- em -------------------------------------------------------------------------------------- */

static int has_variance_prior(const classes_work *w) { return w->spec.shape0 != NULL; }

static elbo_status em_prepare(void *work, int *component) {
  classes_work *w = work;
  for (int j = 0; j < w->spec.k; j++) {
    for (int v = 0; v < w->n_discrete; v++) {
      const double *p = w->discrete + level_of(w, j, v);
      double *log_p = table_of(w, j, v);
      for (int l = 0; l < w->levels[v]; l++) log_p[l] = log(p[l]);
    }
    for (int g = 0; g < w->n_gaussian; g++) {
      const int at = at_of(w, j, g);
      const double least = has_variance_prior(w) ? 0.0 : COLLAPSED * w->scale[g] * w->scale[g];
      if (!(w->variance[at] > least)) {
        *component = j;
        return ELBO_E_UNBOUNDED;
      }
      w->constant[at] = -0.5 * (LOG_2PI + log(w->variance[at]));
      w->half_precision[at] = 0.5 / w->variance[at];
    }
  }
  return ELBO_OK;
}

/* A variable of which a component has no entries keeps its parameters. */
static elbo_status em_m_step(void *work, const double *stat, const double *r, int *component) {
  classes_work *w = work;
  (void)r;
  for (int j = 0; j < w->spec.k; j++) {
    for (int v = 0; v < w->n_discrete; v++) {
      *component = simplex_mode(counts_of(w, stat, j, v), prior_of(w, v), w->levels[v],
                                w->discrete + level_of(w, j, v));
      if (*component >= 0) {
        *component = j;
        return ELBO_E_UNBOUNDED;
      }
    }
    for (int g = 0; g < w->n_gaussian; g++) {
      const double *s = sums_of(w, stat, j, g);
      const int at = at_of(w, j, g), variable = w->gaussian[g];
      double n = s[0], square = 0.0;
      if (n > 0.0) {
        w->mean[at] = s[3] + s[1] / n;
        square = fmax(s[2] - s[1] * s[1] / n, 0.0);
      }
      if (has_variance_prior(w)) {
        n += 2.0 * (w->spec.shape0[variable] + 1.0);
        square += 2.0 * w->spec.rate0[variable];
      }
      if (n > 0.0) w->variance[at] = square / n;
    }
  }
  return ELBO_OK;
}

static double em_log_prior(const void *work) {
  const classes_work *w = work;
  double sum = 0.0;
  for (int j = 0; j < w->spec.k; j++) {
    for (int v = 0; v < w->n_discrete; v++)
      sum += simplex_log_prior(prior_of(w, v), table_of(w, j, v), w->levels[v]);
    for (int g = 0; g < w->n_gaussian && has_variance_prior(w); g++) {
      const double a = w->spec.shape0[w->gaussian[g]], b = w->spec.rate0[w->gaussian[g]];
      const double x = w->variance[at_of(w, j, g)];
      sum += a * log(b) - lgamma(a) - (a + 1.0) * log(x) - b / x;
    }
  }
  return sum;
}

/* Component by component: of each discrete variable L - 1 coordinates (math/simplex.h), of each
 * gaussian one (mean - centre) / scale and log(sd / scale). */
static void em_pack(const void *work, double *eta) {
  const classes_work *w = work;
  for (int j = 0; j < w->spec.k; j++) {
    for (int v = 0; v < w->n_discrete; eta += w->levels[v++] - 1) {
      const size_t at = level_of(w, j, v);
      simplex_pack(w->discrete + at, w->sign + at, w->levels[v], w->base[v + w->n_discrete * j],
                   eta);
    }
    for (int g = 0; g < w->n_gaussian; g++) {
      const int at = at_of(w, j, g);
      *eta++ = (w->mean[at] - w->centre[g]) / w->scale[g];
      *eta++ = 0.5 * log(w->variance[at]) - log(w->scale[g]);
    }
  }
}

static elbo_status em_unpack(void *work, const double *eta) {
  classes_work *w = work;
  for (int j = 0; j < w->spec.k; j++) {
    for (int v = 0; v < w->n_discrete; eta += w->levels[v++] - 1) {
      const size_t at = level_of(w, j, v);
      if (!simplex_unpack(eta, w->levels[v], w->base[v + w->n_discrete * j], w->discrete + at,
                          w->sign + at))
        return ELBO_E_NOT_PD;
    }
    for (int g = 0; g < w->n_gaussian; g++) {
      const int at = at_of(w, j, g);
      const double sd = w->scale[g] * exp(eta[1]);
      w->mean[at] = w->centre[g] + w->scale[g] * *eta;
      w->variance[at] = sd * sd;
      if (!(isfinite(w->mean[at]) && isfinite(w->variance[at]))) return ELBO_E_NOT_PD;
      eta += 2;
    }
  }
  return ELBO_OK;
}

static void em_anchor(void *work) {
  classes_work *w = work;
  for (int j = 0; j < w->spec.k; j++)
    for (int v = 0; v < w->n_discrete; v++)
      w->base[v + w->n_discrete * j] = simplex_base(w->discrete + level_of(w, j, v), w->levels[v]);
}

static elbo_status em_restore(void *work, int *component) {
  (void)component;
  em_anchor(work);
  return ELBO_OK;
}

/* Levels of which a component has next to none, and would have fewer after every M-step: an ascent
 * comes arbitrarily near to a probability of zero, but only to its square root. */
static int em_settle(void *work, const double *stat, const double *r) {
  classes_work *w = work;
  int moved = 0;
  (void)r;
  for (int j = 0; j < w->spec.k; j++)
    for (int v = 0; v < w->n_discrete; v++)
      moved |= simplex_settle(counts_of(w, stat, j, v), prior_of(w, v), w->levels[v], NEXT_TO_NONE,
                              w->discrete + level_of(w, j, v));
  return moved;
}

static elbo_status em_gradient(void *work, const double *stat, const double *r, double *gradient) {
  const classes_work *w = work;
  (void)r;
  for (int j = 0; j < w->spec.k; j++) {
    for (int v = 0; v < w->n_discrete; gradient += w->levels[v++] - 1) {
      const size_t at = level_of(w, j, v);
      simplex_gradient(counts_of(w, stat, j, v), prior_of(w, v), w->discrete + at, w->sign + at,
                       w->levels[v], w->base[v + w->n_discrete * j], gradient);
    }
    for (int g = 0; g < w->n_gaussian; g++) {
      const double *s = sums_of(w, stat, j, g);
      const int at = at_of(w, j, g), variable = w->gaussian[g];
      const double d = s[3] - w->mean[at], x = w->variance[at];
      *gradient++ = w->scale[g] * (s[1] + d * s[0]) / x;
      *gradient = (s[2] + 2.0 * d * s[1] + d * d * s[0]) / x - s[0];
      if (has_variance_prior(w))
        *gradient += 2.0 * (w->spec.rate0[variable] / x - w->spec.shape0[variable] - 1.0);
      gradient++;
    }
  }
  return ELBO_OK;
}

/* ---- vb: q = product of Dirichlet and normal-gamma factors ----------------------------------- */

/* A normal-gamma law of (mu, lambda): lambda ~ gamma(shape, rate), mu ~ normal(mean, 1 / (kappa
 * lambda)). */
typedef struct {
  double mean, kappa, shape, rate;
} normal_gamma;

static normal_gamma q_of(const classes_work *w, int at) {
  const normal_gamma q = {w->mean[at], w->kappa[at], w->shape[at], w->rate[at]};
  return q;
}

static normal_gamma prior_of_gaussian(const classes_work *w, int g) {
  const int v = w->gaussian[g];
  const normal_gamma p = {w->spec.mean0[v], w->spec.kappa0[v], w->spec.shape0[v], w->spec.rate0[v]};
  return p;
}

/* In units of the data: y = centre + scale y'. */
static normal_gamma standardised(const classes_work *w, int g, normal_gamma q) {
  q.mean = (q.mean - w->centre[g]) / w->scale[g];
  q.rate /= w->scale[g] * w->scale[g];
  return q;
}

static double normal_gamma_kl(normal_gamma q, normal_gamma p) {
  const double d = q.mean - p.mean, ratio = p.kappa / q.kappa;
  return 0.5 * (ratio - log(ratio) - 1.0 + p.kappa * d * d * q.shape / q.rate) +
         p.shape * log(q.rate / p.rate) + lgamma(p.shape) - lgamma(q.shape) +
         (q.shape - p.shape) * math_digamma(q.shape) - (q.rate - p.rate) * q.shape / q.rate;
}

/* Natural parameters of T = (log lambda, lambda, lambda mu, lambda mu^2), up to a constant. */
static void normal_gamma_natural(normal_gamma q, double *eta) {
  eta[0] = q.shape - 0.5;
  eta[1] = -q.rate - 0.5 * q.kappa * q.mean * q.mean;
  eta[2] = q.kappa * q.mean;
  eta[3] = -0.5 * q.kappa;
}

static void normal_gamma_moments(normal_gamma q, double *m) {
  m[0] = math_digamma(q.shape) - log(q.rate);
  m[1] = q.shape / q.rate;
  m[2] = m[1] * q.mean;
  m[3] = m[2] * q.mean + 1.0 / q.kappa;
}

static elbo_status vb_prepare(void *work, int *component) {
  classes_work *w = work;
  (void)component;
  for (int j = 0; j < w->spec.k; j++) {
    for (int v = 0; v < w->n_discrete; v++) {
      const double *alpha = w->discrete + level_of(w, j, v);
      for (int l = 0; l < w->levels[v]; l++)
        if (!(alpha[l] > 0.0)) return ELBO_E_NOT_PD;
      dirichlet_expected_log(alpha, w->levels[v], table_of(w, j, v));
    }
    for (int g = 0; g < w->n_gaussian; g++) {
      const int at = at_of(w, j, g);
      const normal_gamma q = q_of(w, at);
      if (!(q.kappa > 0.0 && q.shape > 0.0 && q.rate > 0.0)) return ELBO_E_NOT_PD;
      w->constant[at] = 0.5 * (math_digamma(q.shape) - log(q.rate) - LOG_2PI - 1.0 / q.kappa);
      w->half_precision[at] = 0.5 * q.shape / q.rate;
    }
  }
  return ELBO_OK;
}

static elbo_status vb_m_step(void *work, const double *stat, const double *r, int *component) {
  classes_work *w = work;
  (void)r, (void)component;
  for (int j = 0; j < w->spec.k; j++) {
    for (int v = 0; v < w->n_discrete; v++) {
      const double *count = counts_of(w, stat, j, v), *prior = prior_of(w, v);
      double *alpha = w->discrete + level_of(w, j, v);
      for (int l = 0; l < w->levels[v]; l++) alpha[l] = prior[l] + count[l];
    }
    for (int g = 0; g < w->n_gaussian; g++) {
      const double *s = sums_of(w, stat, j, g), n = s[0];
      const int at = at_of(w, j, g);
      const normal_gamma p = prior_of_gaussian(w, g);
      const double mean = n > 0.0 ? s[3] + s[1] / n : p.mean, d = mean - p.mean;
      const double square = n > 0.0 ? fmax(s[2] - s[1] * s[1] / n, 0.0) : 0.0;
      w->kappa[at] = p.kappa + n;
      w->mean[at] = p.mean + d * n / w->kappa[at];
      w->shape[at] = p.shape + 0.5 * n;
      w->rate[at] = p.rate + 0.5 * (square + d * d * p.kappa * n / w->kappa[at]);
    }
  }
  return ELBO_OK;
}

static double vb_log_prior(const void *work) {
  const classes_work *w = work;
  double sum = 0.0;
  for (int j = 0; j < w->spec.k; j++) {
    for (int v = 0; v < w->n_discrete; v++)
      sum -= dirichlet_kl(w->discrete + level_of(w, j, v), prior_of(w, v), w->levels[v]);
    for (int g = 0; g < w->n_gaussian; g++)
      sum -= normal_gamma_kl(q_of(w, at_of(w, j, g)), prior_of_gaussian(w, g));
  }
  return sum;
}

/* Component by component: alpha of each discrete variable, then four of each gaussian one,
 * standardised. */
static void vb_pack(const void *work, double *eta) {
  const classes_work *w = work;
  for (int j = 0; j < w->spec.k; j++) {
    memcpy(eta, w->discrete + (size_t)w->n_level * (size_t)j, (size_t)w->n_level * sizeof(double));
    eta += w->n_level;
    for (int g = 0; g < w->n_gaussian; g++, eta += 4)
      normal_gamma_natural(standardised(w, g, q_of(w, at_of(w, j, g))), eta);
  }
}

static elbo_status vb_unpack(void *work, const double *eta) {
  classes_work *w = work;
  int component;
  for (int j = 0; j < w->spec.k; j++) {
    memcpy(w->discrete + (size_t)w->n_level * (size_t)j, eta, (size_t)w->n_level * sizeof(double));
    eta += w->n_level;
    for (int g = 0; g < w->n_gaussian; g++, eta += 4) {
      const int at = at_of(w, j, g);
      const double kappa = -2.0 * eta[3], mean = eta[2] / kappa;
      w->kappa[at] = kappa;
      w->mean[at] = w->centre[g] + w->scale[g] * mean;
      w->shape[at] = eta[0] + 0.5;
      w->rate[at] = w->scale[g] * w->scale[g] * (-eta[1] - 0.5 * kappa * mean * mean);
    }
  }
  return vb_prepare(w, &component);
}

static elbo_status vb_target(void *work, const double *stat, const double *r, double *eta) {
  const classes_work *w = work;
  (void)r;
  for (int j = 0; j < w->spec.k; j++) {
    for (int v = 0; v < w->n_discrete; v++) {
      const double *count = counts_of(w, stat, j, v), *prior = prior_of(w, v);
      for (int l = 0; l < w->levels[v]; l++) *eta++ = prior[l] + count[l];
    }
    for (int g = 0; g < w->n_gaussian; g++, eta += 4) {
      const double *s = sums_of(w, stat, j, g), scale = w->scale[g];
      const double d = (s[3] - w->centre[g]) / scale, sum = s[1] / scale;
      normal_gamma_natural(standardised(w, g, prior_of_gaussian(w, g)), eta);
      eta[0] += 0.5 * s[0];
      eta[1] -= 0.5 * (s[2] / (scale * scale) + d * (2.0 * sum + d * s[0]));
      eta[2] += sum + d * s[0];
      eta[3] -= 0.5 * s[0];
    }
  }
  return ELBO_OK;
}

static void vb_moments(const void *work, double *m) {
  const classes_work *w = work;
  for (int j = 0; j < w->spec.k; j++) {
    for (int v = 0; v < w->n_discrete; m += w->levels[v++])
      memcpy(m, table_of(w, j, v), (size_t)w->levels[v] * sizeof(double));
    for (int g = 0; g < w->n_gaussian; g++, m += 4)
      normal_gamma_moments(standardised(w, g, q_of(w, at_of(w, j, g))), m);
  }
}

/* ---- theta ----------------------------------------------------------------------------------- */

static double *theta_discrete(const classes_work *w, int v, int binomial, double *out) {
  for (int j = 0; j < w->spec.k; j++) {
    const double *x = w->discrete + level_of(w, j, v);
    double sum = 0.0; /* one, or under vb of the Dirichlet's parameters */
    for (int l = 0; l < w->levels[v]; l++) sum += x[l];
    for (int l = binomial; l < w->levels[v]; l++) *out++ = x[l] / sum;
  }
  return out;
}

static double *theta_gaussian(const classes_work *w, int g, double *out) {
  for (int j = 0; j < w->spec.k; j++) *out++ = w->mean[at_of(w, j, g)];
  for (int j = 0; j < w->spec.k; j++) {
    const int at = at_of(w, j, g);
    *out++ = w->spec.method == MIXTURE_VB ? law_mean_sd(w->shape[at], w->rate[at])
                                          : sqrt(w->variance[at]);
  }
  return out;
}

static void theta(const void *work, double *out) {
  const classes_work *w = work;
  for (int variable = 0, v = 0, g = 0; variable < w->spec.n_variable; variable++) {
    const int type = w->spec.type[variable];
    out = type == MIXTURE_GAUSSIAN ? theta_gaussian(w, g++, out)
                                   : theta_discrete(w, v++, type == MIXTURE_BINOMIAL, out);
  }
}

/* ---- memory, fields and start ---------------------------------------------------------------- */

static void count_variables(classes_work *w, const elbo_memory *mem) {
  const int n = w->spec.n_variable;
  w->levels = elbo_ints(mem, (size_t)n);
  w->level_at = elbo_ints(mem, (size_t)n);
  w->gaussian = elbo_ints(mem, (size_t)n);
  for (int variable = 0; variable < n; variable++) {
    const int type = w->spec.type[variable];
    if (type == MIXTURE_GAUSSIAN) {
      w->gaussian[w->n_gaussian++] = variable;
      continue;
    }
    w->levels[w->n_discrete] = type == MIXTURE_BINOMIAL ? 2 : w->spec.levels[variable];
    w->level_at[w->n_discrete] = w->n_level;
    w->n_level += w->levels[w->n_discrete++];
  }
  w->n_table = w->n_level + w->n_discrete;
}

/* Y to codes; 0 where a value is not a level. */
static int set_codes(classes_work *w, const elbo_memory *mem) {
  const size_t n = (size_t)w->spec.n_row;
  w->code = elbo_ints(mem, n * (size_t)w->n_discrete);
  for (int variable = 0, v = 0; variable < w->spec.n_variable; variable++) {
    if (w->spec.type[variable] == MIXTURE_GAUSSIAN) continue;
    const double *y = w->spec.Y + n * (size_t)variable;
    const double shift = w->spec.type[variable] == MIXTURE_BINOMIAL ? 1.0 : 0.0;
    int *code = w->code + n * (size_t)v;
    for (size_t i = 0; i < n; i++) {
      const double level = y[i] + shift;
      if (level < 1.0 || level > w->levels[v]) return 0;
      code[i] = isnan(level) ? 0 : (int)level;
    }
    v++;
  }
  return 1;
}

/* Every component at the shares of the levels among the data, or, under vb, at what a share of
 * 1/k of the data makes of the prior. */
static void start_discrete(classes_work *w) {
  const size_t n = (size_t)w->spec.n_row;
  const int k = w->spec.k, vb = w->spec.method == MIXTURE_VB;
  for (int v = 0; v < w->n_discrete; v++) {
    const int L = w->levels[v], *code = w->code + n * (size_t)v;
    double *first = w->discrete + w->level_at[v], observed = 0.0;
    for (int l = 0; l < L; l++) first[l] = 0.0;
    for (size_t i = 0; i < n; i++)
      if (code[i] > 0) first[code[i] - 1] += 1.0;
    for (int l = 0; l < L; l++) observed += first[l];
    for (int l = 0; l < L; l++)
      first[l] = vb               ? w->prior[w->level_at[v] + l] + first[l] / k
                 : observed > 0.0 ? first[l] / observed
                                  : 1.0 / L;
    for (int j = 1; j < k; j++)
      memcpy(w->discrete + level_of(w, j, v), first, (size_t)L * sizeof(double));
  }
}

/* Mean and sd of what is observed of y; 0 and 1 where that is nothing, sd 1 where it is
 * constant. */
static int centre_and_scale(const double *y, int n, double *centre, double *scale) {
  double sum = 0.0, square = 0.0;
  int observed = 0;
  for (int i = 0; i < n; i++)
    if (!isnan(y[i])) {
      observed++;
      sum += y[i];
    }
  *centre = observed > 0 ? sum / observed : 0.0;
  for (int i = 0; i < n; i++)
    if (!isnan(y[i])) square += (y[i] - *centre) * (y[i] - *centre);
  *scale = square > 0.0 ? sqrt(square / observed) : 1.0;
  return observed;
}

static void start_gaussian(classes_work *w) {
  for (int g = 0; g < w->n_gaussian; g++) {
    const int observed = centre_and_scale(column(w, g), w->spec.n_row, w->centre + g, w->scale + g);
    for (int j = 0; j < w->spec.k; j++) {
      const int at = at_of(w, j, g);
      const double variance = w->scale[g] * w->scale[g];
      w->mean[at] = w->centre[g];
      if (w->spec.method == MIXTURE_VB) {
        const normal_gamma p = prior_of_gaussian(w, g);
        w->kappa[at] = p.kappa + (double)observed / w->spec.k;
        w->shape[at] = p.shape + 0.5 * observed / w->spec.k;
        w->rate[at] = w->shape[at] * variance;
      } else {
        w->variance[at] = variance;
      }
    }
  }
}

static void set_field(mixture_part *part, const char *name, double *value, int n, int k) {
  const mixture_field field = {name, value, 2, {n, k, 0}, 1};
  if (n > 0) part->field[part->n_field++] = field;
}

static void set_prior(classes_work *w, const elbo_memory *mem) {
  const int vb = w->spec.method == MIXTURE_VB;
  if (isnan(w->spec.alpha) && !vb) return;
  double *prior = elbo_doubles(mem, (size_t)w->n_level);
  for (int l = 0; l < w->n_level; l++) prior[l] = isnan(w->spec.alpha) ? 1.0 : w->spec.alpha;
  w->prior = prior;
}

static void get_memory(classes_work *w, const elbo_memory *mem) {
  const size_t k = (size_t)w->spec.k, n_gaussian = (size_t)w->n_gaussian;
  double **of_gaussian[] = {&w->mean, &w->variance, &w->kappa,         &w->shape,
                            &w->rate, &w->constant, &w->half_precision};
  for (int i = 0; i < 7; i++) *of_gaussian[i] = elbo_doubles(mem, n_gaussian * k);
  w->centre = elbo_doubles(mem, n_gaussian);
  w->scale = elbo_doubles(mem, n_gaussian);
  w->discrete = elbo_doubles(mem, (size_t)w->n_level * k);
  w->sign = elbo_doubles(mem, (size_t)w->n_level * k);
  w->base = elbo_ints(mem, (size_t)w->n_discrete * k);
  w->table = elbo_doubles(mem, (size_t)w->n_table * k);
  memset(w->table, 0, (size_t)w->n_table * k * sizeof(double));
  for (size_t i = 0; i < (size_t)w->n_level * k; i++) w->sign[i] = 1.0;
}

static void em_part(mixture_part *part, classes_work *w) {
  const int k = w->spec.k;
  em_anchor(w);
  set_field(part, "probability", w->discrete, w->n_level, k);
  set_field(part, "mean", w->mean, w->n_gaussian, k);
  set_field(part, "variance", w->variance, w->n_gaussian, k);
  part->n_eta = k * (w->n_level - w->n_discrete + 2 * w->n_gaussian);
  part->restore = em_restore;
  part->prepare = em_prepare;
  part->m_step = em_m_step;
  part->log_prior = em_log_prior;
  part->pack = em_pack;
  part->unpack = em_unpack;
  part->anchor = em_anchor;
  part->gradient = em_gradient;
  part->settle = em_settle;
  part->n_basis = (int)stat_size(w);
  part->basis = basis;
  part->refer = refer;
}

static void vb_part(mixture_part *part, classes_work *w) {
  const int k = w->spec.k;
  set_field(part, "alpha", w->discrete, w->n_level, k);
  set_field(part, "mean", w->mean, w->n_gaussian, k);
  set_field(part, "kappa", w->kappa, w->n_gaussian, k);
  set_field(part, "shape", w->shape, w->n_gaussian, k);
  set_field(part, "rate", w->rate, w->n_gaussian, k);
  part->n_eta = k * (w->n_level + 4 * w->n_gaussian);
  part->prepare = vb_prepare;
  part->m_step = vb_m_step;
  part->log_prior = vb_log_prior;
  part->pack = vb_pack;
  part->unpack = vb_unpack;
  part->target = vb_target;
  part->moments = vb_moments;
}

elbo_status mixture_classes_part(mixture_part *part, const mixture_classes_spec *spec,
                                 const elbo_memory *mem) {
  classes_work *w = mem->get(mem->ctx, sizeof *w);
  memset(w, 0, sizeof *w);
  memset(part, 0, sizeof *part);
  w->spec = *spec;
  count_variables(w, mem);
  if (!set_codes(w, mem)) return ELBO_E_NOT_FINITE;
  set_prior(w, mem);
  get_memory(w, mem);
  start_discrete(w);
  start_gaussian(w);
  part->work = w;
  part->n_stat = stat_size(w) * (size_t)spec->k;
  for (int variable = 0; variable < spec->n_variable; variable++)
    part->n_theta += spec->type[variable] == MIXTURE_GAUSSIAN   ? 2 * spec->k
                     : spec->type[variable] == MIXTURE_BINOMIAL ? spec->k
                                                                : spec->k * spec->levels[variable];
  part->log_density = log_density;
  part->accumulate = accumulate;
  part->finish = finish;
  part->expected = expected;
  part->theta = theta;
  if (spec->method == MIXTURE_VB)
    vb_part(part, w);
  else
    em_part(part, w);
  int component;
  return part->prepare(w, &component);
}

elbo_status mixture_classes_make(mixture_part *part, const mixture_spec *s,
                                 const mixture_arguments *from, const elbo_memory *mem) {
  mixture_classes_spec c = {.method = s->method, .k = s->k, .n_row = s->units.n_row};
  c.n_variable = argument_int(from, "n_variable", 1, 100000);
  c.type = argument_ints(from, "type", c.n_variable, 0);
  c.levels = argument_ints(from, "levels", c.n_variable, 0);
  c.Y = argument_doubles(from, "Y", c.n_row, c.n_variable, 0);
  c.alpha = argument_double(from, "alpha");
  c.mean0 = argument_doubles(from, "mean0", 1, c.n_variable, 1);
  c.kappa0 = argument_doubles(from, "kappa0", 1, c.n_variable, 1);
  c.shape0 = argument_doubles(from, "shape0", 1, c.n_variable, 1);
  c.rate0 = argument_doubles(from, "rate0", 1, c.n_variable, 1);
  return mixture_classes_part(part, &c, mem);
}
