#include "mixture/normal.h"

#include <math.h>
#include <string.h>

#include "math/la.h"
#include "law/exponential_family.h"
#include "math/rows.h"
#include "math/small.h"
#include "mixture/normal_vb.h"

/* Under every method the law of a row is, for the E-step, a normal one times a constant,
 *
 *   l_ij = constant_j - 1/2 |M_j (y_i - mean_j)|^2,   M_j lower triangular, M_j' M_j = P_j,
 *
 * with each response in a unit near its standard deviation (a power of two; the constant has the
 * logarithms), or all in one where the covariance model takes the responses to be alike, and
 * P_j = Sigma_j^{-1}, or under vb E_q[Sigma_j^{-1}].  Statistics of a component are the
 * cross-products of (1, y - centre_j), packed, centre_j the mean at which they were gathered; the
 * centres follow. */
typedef struct {
  double *inside;  /* in the unit, as all of this part */
  double *outside; /* as the caller has it: a field */
  size_t size;
  const double *factor; /* of the entries, over and over */
  size_t n_factor;
} normal_field;

typedef struct {
  mixture_normal_spec spec; /* priors inside */
  double *unit, log_unit;   /* d, and the sum of their logarithms */
  double *unit_square;      /* d x d */
  double *mean;             /* d x k */
  covariance_work cov;      /* joint, em */
  normal_vb vb;
  double *M;             /* d x d x k, by row */
  double *P;             /* d x d x k; only where responses are missing */
  double *constant;      /* k */
  int *missing;          /* n_row: how many responses are missing; NULL where none is */
  double *centre, *sd;   /* d: of the data */
  double *n, *W, *G;     /* k, d x d x k, d x d x k: scratch of the M-step and the gradient */
  double *one, *two;     /* d x d */
  normal_field field[2]; /* means, and covariances or scales */
} normal_work;

static size_t stat_size(int d) { return packed_size(d + 1); }

/* ---- rows with missing responses ------------------------------------------------------------- */

/* A row of which m responses are missing, under a law with precision P: with v = P_mo t_o and
 * P_mm = L L', the missing ones are N(-P_mm^{-1} v, P_mm^{-1}) given the others, and integrating
 * them out leaves exp(-1/2 (t_o' P_oo t_o - |L^{-1} v|^2)) (2 pi)^{m/2} / |L|. */
typedef struct {
  double *t;       /* d: residuals, those missing at their conditional means */
  double *L;       /* m x m within d x d */
  double *v;       /* m */
  int *is_missing; /* d */
} gap;

static double *gap_bind(gap *g, int d, double *scratch) {
  g->t = scratch;
  g->v = g->t + d;
  g->L = g->v + d;
  g->is_missing = (int *)(g->L + d * d);
  return g->L + d * d + d;
}

static size_t gap_size(int d) { return (size_t)(d * d) + 3 * (size_t)d; }

/* log density less the constant; fills t and L. */
static double gap_density(const normal_work *w, int row, int j, gap *g) {
  const int d = w->spec.d, m = w->missing[row];
  const double *P = w->P + square(w->spec.d) * (size_t)j, *mean = w->mean + d * j;
  double quadratic = 0.0, log_unit = 0.0;
  for (int a = 0; a < d; a++) {
    const double y = w->spec.Y[(size_t)w->spec.n_row * (size_t)a + (size_t)row];
    g->is_missing[a] = isnan(y);
    g->t[a] = g->is_missing[a] ? 0.0 : y / w->unit[a] - mean[a];
    if (g->is_missing[a]) log_unit += log(w->unit[a]);
  }
  for (int a = 0, p = 0; a < d; a++) {
    double sum = 0.0;
    for (int b = 0; b < d; b++) sum += P[a + d * b] * g->t[b];
    quadratic += g->t[a] * sum;
    if (!g->is_missing[a]) continue;
    for (int b = 0, q = 0; b < d; b++)
      if (g->is_missing[b]) g->L[p + m * q++] = P[a + d * b];
    g->v[p++] = sum;
  }
  la_chol(g->L, m); /* a principal block of a positive definite matrix */
  double half_log_det = 0.0;
  for (int p = 0; p < m; p++) { /* v = L^{-1} v */
    for (int q = 0; q < p; q++) g->v[p] -= g->L[p + m * q] * g->v[q];
    g->v[p] /= g->L[p + m * p];
    quadratic -= g->v[p] * g->v[p];
    half_log_det += log(g->L[p + m * p]);
  }
  for (int p = m - 1; p >= 0; p--) { /* v = L^{-T} v */
    for (int q = p + 1; q < m; q++) g->v[p] -= g->L[q + m * p] * g->v[q];
    g->v[p] /= g->L[p + m * p];
  }
  for (int a = 0, p = 0; a < d; a++)
    if (g->is_missing[a]) g->t[a] = -g->v[p++];
  return -0.5 * quadratic + m * 0.5 * LOG_2PI + log_unit - half_log_det;
}

/* Adds r (1, t)(1, t)' and the covariance r P_mm^{-1} of what is missing. */
static void gap_accumulate(gap *g, int d, int m, double r, double *stat) {
  la_inverse_from_chol(g->L, m);
  for (int a = 0, p = -1; a <= d; a++) {
    const double ta = a > 0 ? g->t[a - 1] : 1.0;
    const int a_missing = a > 0 && g->is_missing[a - 1];
    if (a_missing) p++;
    for (int b = 0, q = -1; b <= a; b++, stat++) {
      const int b_missing = b > 0 && g->is_missing[b - 1];
      if (b_missing) q++;
      *stat += r * ta * (b > 0 ? g->t[b - 1] : 1.0);
      if (a_missing && b_missing) *stat += r * g->L[p + m * q];
    }
  }
}

/* ---- the pass -------------------------------------------------------------------------------- */

/* Rows of the chunk, missing responses at the data's mean: the kernels need finite numbers. */
static void load(const normal_work *w, const mixture_chunk *c, double *block) {
  const int d = w->spec.d, ld = c->ld;
  rows_load(w->spec.Y, (size_t)w->spec.n_row, d, (size_t)c->row, c->n_row, ld, block);
  for (int a = 0; a < d; a++) {
    const double inverse = 1.0 / w->unit[a];
    for (int i = 0; i < ld; i++) block[i + ld * a] *= inverse;
  }
  if (w->missing == NULL) return;
  for (int a = 0; a < d; a++)
    for (int i = 0; i < ld; i++)
      if (isnan(block[i + ld * a])) block[i + ld * a] = w->centre[a];
}

static void log_density(const void *work, const mixture_chunk *c, double *scratch, double *out) {
  const normal_work *w = work;
  const int d = w->spec.d, k = w->spec.k, ld = c->ld;
  const row_kernels *kernels = row_kernels_current();
  load(w, c, scratch);
  double *before = scratch + (size_t)ld * (size_t)d;
  gap g;
  if (w->missing) gap_bind(&g, d, before + ld);
  for (int j = 0; j < k; j++, out += ld) {
    if (w->missing) memcpy(before, out, (size_t)ld * sizeof(double));
    kernels->quadratic(ld, d, scratch, w->mean + d * j, d, 1, w->M + square(w->spec.d) * (size_t)j,
                       w->constant[j], out);
    if (w->missing == NULL) continue;
    for (int i = 0; i < c->n_row; i++)
      if (w->missing[c->row + i])
        out[i] = before[i] + w->constant[j] + gap_density(w, c->row + i, j, &g);
  }
}

static void accumulate(const void *work, const mixture_chunk *c, const double *r, double *scratch,
                       double *stat) {
  const normal_work *w = work;
  const int d = w->spec.d, k = w->spec.k, ld = c->ld;
  const row_kernels *kernels = row_kernels_current();
  load(w, c, scratch);
  double *complete = scratch + (size_t)ld * (size_t)d;
  gap g;
  if (w->missing) gap_bind(&g, d, complete + ld);
  for (int j = 0; j < k; j++, r += ld, stat += stat_size(d)) {
    const double *weight = r;
    if (w->missing) {
      memcpy(complete, r, (size_t)ld * sizeof(double));
      for (int i = 0; i < c->n_row; i++) {
        const int m = w->missing[c->row + i];
        if (m == 0 || !(r[i] > 0.0)) continue;
        complete[i] = 0.0;
        gap_density(w, c->row + i, j, &g);
        gap_accumulate(&g, d, m, r[i], stat);
      }
      weight = complete;
    }
    kernels->crossprod(ld, d, scratch, w->mean + d * j, weight, stat);
  }
}

static void basis(const void *work, const mixture_chunk *c, int j, double *scratch, double *out) {
  const normal_work *w = work;
  load(w, c, scratch);
  rows_products(c->ld, w->spec.d, scratch, w->mean + w->spec.d * j, out);
}

static void refer(const void *work, int j, double *stat) {
  const normal_work *w = work;
  const size_t d = (size_t)w->spec.d, k = (size_t)w->spec.k;
  for (size_t l = 0; l < k; l++)
    memcpy(stat + k * stat_size(w->spec.d) + d * l, w->mean + d * (size_t)j, d * sizeof(double));
}

static void finish(const void *work, double *stat) {
  const normal_work *w = work;
  memcpy(stat + (size_t)w->spec.k * stat_size(w->spec.d), w->mean,
         (size_t)(w->spec.d * w->spec.k) * sizeof(double));
}

/* n_j, and the scatter (d x d) about `about`, of the statistics. */
static double scatter(const normal_work *w, const double *stat, int j, const double *about,
                      double *S) {
  const int d = w->spec.d;
  const double *own = stat + stat_size(d) * (size_t)j;
  const double *centre = stat + stat_size(d) * (size_t)w->spec.k + d * j;
  const double n = own[0];
  for (int a = 0; a < d; a++) {
    const double *row = own + packed_size(a + 1); /* s_a, SS_a0 .. SS_aa */
    const double da = about[a] - centre[a];
    for (int b = 0; b <= a; b++) {
      const double db = about[b] - centre[b], sb = own[packed_size(b + 1)];
      S[a + d * b] = S[b + d * a] = row[1 + b] - row[0] * db - da * sb + n * da * db;
    }
  }
  return n;
}

/* sum r (y - about) of component j. */
static void deviation(const normal_work *w, const double *stat, int j, const double *about,
                      double *s) {
  const int d = w->spec.d;
  const double *own = stat + stat_size(d) * (size_t)j;
  const double *centre = stat + stat_size(d) * (size_t)w->spec.k + d * j;
  for (int a = 0; a < d; a++) s[a] = own[packed_size(a + 1)] - own[0] * (about[a] - centre[a]);
}

/* n and W: counts, and scatter about the averages (d x k), which start anywhere finite and stay
 * there where n_j is zero. */
static void summarise(normal_work *w, const double *stat, double *average) {
  const int d = w->spec.d;
  for (int j = 0; j < w->spec.k; j++, average += d) {
    const double n = stat[stat_size(d) * (size_t)j];
    if (n > 0.0) {
      deviation(w, stat, j, average, w->one);
      for (int a = 0; a < d; a++) average[a] += w->one[a] / n;
    }
    w->n[j] = scatter(w, stat, j, average, w->W + square(w->spec.d) * (size_t)j);
  }
}

/* sum_j n_j constant_j - 1/2 tr(M_j S_j M_j'). */
static elbo_status expected(const void *work, const double *stat, const double *r, double *value) {
  const normal_work *w = work;
  const int d = w->spec.d;
  (void)r;
  *value = 0.0;
  for (int j = 0; j < w->spec.k; j++) {
    const double *M = w->M + square(w->spec.d) * (size_t)j;
    const double n = scatter(w, stat, j, w->mean + d * j, w->one);
    double trace = 0.0;
    for (int a = 0; a < d; a++) {
      double along = 0.0;
      for (int b = 0; b <= a; b++) {
        double sum = 0.0;
        for (int e = 0; e <= a; e++) sum += w->one[b + d * e] * M[e + d * a];
        along += M[b + d * a] * sum;
      }
      trace += along;
    }
    if (n > 0.0) *value += n * w->constant[j] - 0.5 * trace;
  }
  return ELBO_OK;
}

/* ---- em: means and covariances are points ---------------------------------------------------- */

/* The density of an inverse Wishart adds this to n_j, and its scale to the scatter. */
static double prior_count(const normal_work *w) { return w->spec.prior_df + w->spec.d + 1.0; }

/* Does the prior speak of Sigma_j?  Of each distinct one, once. */
static int has_prior(const normal_work *w, int j) {
  return w->spec.prior_scale != NULL && j < w->cov.n_distinct;
}

static elbo_status m_step(void *work, const double *stat, const double *r, int *component) {
  normal_work *w = work;
  const size_t d2 = square(w->spec.d);
  (void)r;
  summarise(w, stat, w->mean);
  for (int j = 0; j < w->spec.k; j++) {
    if (!has_prior(w, j)) continue;
    w->n[j] += prior_count(w);
    for (size_t i = 0; i < d2; i++) w->W[d2 * (size_t)j + i] += w->spec.prior_scale[i];
  }
  return covariance_m_step(&w->cov, w->n, w->W, component);
}

static elbo_status factor(normal_work *w, int *component) {
  const int d = w->spec.d;
  const size_t d2 = square(w->spec.d);
  elbo_status status = covariance_check(&w->cov, component);
  for (int j = 0; j < w->spec.k && status == ELBO_OK; j++) {
    double *M = w->M + d2 * (size_t)j;
    memcpy(w->one, w->cov.Sigma + d2 * (size_t)j, d2 * sizeof(double));
    status = la_chol(w->one, d);
    if (status != ELBO_OK) break;
    w->constant[j] = -0.5 * (d * LOG_2PI + la_log_det_from_chol(w->one, d)) - w->log_unit;
    la_lower_inverse(w->one, d, w->two);
    for (int a = 0; a < d; a++)
      for (int b = 0; b < d; b++) M[b + d * a] = w->two[a + d * b];
  }
  return status;
}

static void export_fields(const normal_work *w) {
  for (const normal_field *f = w->field; f < w->field + 2; f++)
    for (size_t i = 0; i < f->size; i++) f->outside[i] = f->inside[i] * f->factor[i % f->n_factor];
}

static void import_fields(normal_work *w) {
  for (const normal_field *f = w->field; f < w->field + 2; f++)
    for (size_t i = 0; i < f->size; i++) f->inside[i] = f->outside[i] / f->factor[i % f->n_factor];
}

/* What follows from new parameters: the fields, and P = M' M where rows with missing responses
 * need it. */
static void follow(normal_work *w) {
  const int d = w->spec.d;
  export_fields(w);
  if (w->missing == NULL) return;
  for (int j = 0; j < w->spec.k; j++) {
    const double *M = w->M + square(w->spec.d) * (size_t)j; /* by row: M' by column */
    la_multiply_t(M, M, d, d, d, w->P + square(w->spec.d) * (size_t)j);
  }
}

static elbo_status prepare(void *work, int *component) {
  normal_work *w = work;
  const elbo_status status = factor(w, component);
  if (status == ELBO_OK) follow(w);
  return status;
}

static elbo_status restore(void *work, int *component) {
  normal_work *w = work;
  import_fields(w);
  return covariance_restore(&w->cov, w->cov.Sigma, component);
}

static double log_prior(const void *work) {
  const normal_work *w = work;
  const int d = w->spec.d;
  const double df = w->spec.prior_df;
  if (w->spec.prior_scale == NULL) return 0.0;
  double sum = 0.0, constant;
  memcpy(w->one, w->spec.prior_scale, square(w->spec.d) * sizeof(double));
  la_chol(w->one, d); /* positive definite: checked on the way in */
  constant = law_wishart_log_constant(d, df, la_log_det_from_chol(w->one, d));
  constant -= (d + 1.0) * w->log_unit; /* to the density of Sigma as the caller has it */
  for (int j = 0; j < w->cov.n_distinct; j++) {
    const double *M = w->M + square(w->spec.d) * (size_t)j;
    const double log_det = -2.0 * (w->constant[j] + w->log_unit) - d * LOG_2PI;
    double trace = 0.0;
    for (int a = 0; a < d; a++)
      for (int b = 0; b <= a; b++)
        for (int e = 0; e <= a; e++)
          trace += M[b + d * a] * M[e + d * a] * w->spec.prior_scale[b + d * e];
    sum += constant - 0.5 * prior_count(w) * log_det - 0.5 * trace;
  }
  return sum;
}

/* Free coordinates: means from the data's mean in units of the data's standard deviations, then
 * those of the covariances. */
static void pack(const void *work, double *eta) {
  const normal_work *w = work;
  const int d = w->spec.d, size = d * w->spec.k;
  for (int i = 0; i < size; i++) eta[i] = (w->mean[i] - w->centre[i % d]) / w->sd[i % d];
  covariance_pack(&w->cov, eta + size);
}

static elbo_status unpack(void *work, const double *eta) {
  normal_work *w = work;
  const int d = w->spec.d, size = d * w->spec.k;
  for (int i = 0; i < size; i++) w->mean[i] = w->centre[i % d] + w->sd[i % d] * eta[i];
  return covariance_unpack(&w->cov, eta + size);
}

static void anchor(void *work) {
  normal_work *w = work;
  covariance_anchor(&w->cov);
}

/* By mean_j: P_j s_j; by Sigma_j: (P_j S_j P_j - n_j P_j) / 2. */
static elbo_status gradient(void *work, const double *stat, const double *r, double *out) {
  normal_work *w = work;
  const int d = w->spec.d;
  const size_t d2 = square(w->spec.d);
  (void)r;
  for (int j = 0; j < w->spec.k; j++) {
    const double *M = w->M + d2 * (size_t)j, *mean = w->mean + d * j;
    double *P = w->W, *G = w->G + d2 * (size_t)j;
    la_multiply_t(M, M, d, d, d, P);
    deviation(w, stat, j, mean, w->one);
    la_multiply(P, w->one, d, d, 1, w->two);
    for (int a = 0; a < d; a++) *out++ = w->two[a] * w->sd[a];
    double n = scatter(w, stat, j, mean, w->one);
    if (has_prior(w, j)) {
      n += prior_count(w);
      for (size_t i = 0; i < d2; i++) w->one[i] += w->spec.prior_scale[i];
    }
    la_multiply(P, w->one, d, d, d, w->two);
    la_multiply(w->two, P, d, d, d, G);
    for (size_t i = 0; i < d2; i++) G[i] = 0.5 * (G[i] - n * P[i]);
  }
  covariance_gradient(&w->cov, w->G, out);
  return ELBO_OK;
}

/* Means, standard deviations, correlations in the order (1, 2), (1, 3), ..., (2, 3), ...: from mean
 * (d x k) and Sigma (d x d x k). */
static void theta(const void *work, double *out) {
  const normal_work *w = work;
  const int d = w->spec.d;
  for (int i = 0; i < d * w->spec.k; i++) *out++ = w->mean[i] * w->unit[i % d];
  for (int j = 0; j < w->spec.k; j++)
    for (int a = 0; a < d; a++)
      *out++ =
          sqrt(w->cov.Sigma[square(w->spec.d) * (size_t)j + (size_t)(a * (d + 1))]) * w->unit[a];
  for (int j = 0; j < w->spec.k; j++) {
    const double *S = w->cov.Sigma + square(w->spec.d) * (size_t)j;
    for (int a = 0; a < d; a++)
      for (int b = a + 1; b < d; b++) *out++ = la_correlation(S, d, a, b);
  }
}

/* ---- vb: laws of means and covariances ------------------------------------------------------- */

static elbo_status vb_prepare(void *work, int *component) {
  normal_work *w = work;
  const elbo_status status = normal_vb_prepare(&w->vb, w->M, w->constant, component);
  if (status != ELBO_OK) return status;
  for (int j = 0; j < w->spec.k; j++) w->constant[j] -= w->log_unit;
  follow(w);
  return ELBO_OK;
}

static elbo_status vb_restore(void *work, int *component) {
  (void)component;
  import_fields(work);
  return ELBO_OK;
}

/* The averages are put where em has its G. */
static const double *vb_summarise(normal_work *w, const double *stat) {
  memcpy(w->G, w->mean, (size_t)(w->spec.d * w->spec.k) * sizeof(double));
  summarise(w, stat, w->G);
  return w->G;
}

static elbo_status vb_m_step(void *work, const double *stat, const double *r, int *component) {
  normal_work *w = work;
  (void)r;
  (void)component;
  normal_vb_m_step(&w->vb, w->n, vb_summarise(w, stat), w->W);
  return ELBO_OK;
}

static elbo_status vb_target(void *work, const double *stat, const double *r, double *eta) {
  normal_work *w = work;
  (void)r;
  normal_vb_target(&w->vb, w->n, vb_summarise(w, stat), w->W, eta);
  return ELBO_OK;
}

static double vb_log_prior(const void *work) {
  return normal_vb_log_prior(&((const normal_work *)work)->vb);
}

static void vb_pack(const void *work, double *eta) {
  normal_vb_pack(&((const normal_work *)work)->vb, eta);
}

static elbo_status vb_unpack(void *work, const double *eta) {
  return normal_vb_unpack(&((normal_work *)work)->vb, eta);
}

static void vb_moments(const void *work, double *m) {
  normal_vb_moments(&((const normal_work *)work)->vb, m);
}

static void vb_theta(const void *work, double *out) {
  const normal_work *w = work;
  normal_vb_theta(&w->vb, out);
  for (int i = 0; i < 2 * w->spec.d * w->spec.k; i++) /* means, sds */
    out[i] *= w->unit[i % w->spec.d];
}

/* An array inside, and its field for the caller. */
static double *outside(normal_work *w, int which, double *inside, size_t size,
                       const elbo_memory *mem) {
  const double *factor[] = {w->unit, w->unit_square};
  const size_t n_factor[] = {(size_t)w->spec.d, square(w->spec.d)};
  const normal_field f = {inside, elbo_doubles(mem, size), size, factor[which], n_factor[which]};
  w->field[which] = f;
  return f.outside;
}

static mixture_field field(const char *name, double *value, int n_dim, int first, int second,
                           int third) {
  const mixture_field f = {.name = name,
                           .value = value,
                           .n_dim = n_dim,
                           .dim = {first, second, third},
                           .by_component = 1};
  return f;
}

/* What of the em part is another under vb. */
static void to_vb(mixture_part *part, normal_work *w, const elbo_memory *mem) {
  const mixture_normal_spec *s = &w->spec;
  const int d = s->d, k = s->k;
  normal_vb *vb = &w->vb;
  normal_vb_init(vb, s->model, d, k, w->centre, w->sd, s->prior_mean, s->prior_kappa, s->prior_df,
                 s->prior_scale, mem);
  w->mean = vb->q.mean;
  part->n_eta = vb->n_eta;
  part->n_field = 4;
  const size_t D = (size_t)d, n_scale = D * D * (size_t)vb->n_group;
  double *mean = outside(w, 0, vb->q.mean, D * (size_t)k, mem);
  double *scale = outside(w, 1, vb->q.scale, n_scale, mem);
  part->field[0] = field("mean", mean, 2, d, k, 1);
  part->field[1] = field("kappa", vb->q.kappa, 1, k, 1, 1);
  part->field[2] = field("df", vb->q.df, 1, vb->n_group, 1, 1);
  part->field[3] = field("scale", scale, 3, d, d, vb->n_group);
  part->field[2].by_component = part->field[3].by_component = vb->n_group == k;
  part->restore = vb_restore;
  part->anchor = NULL;
  part->gradient = NULL;
  part->prepare = vb_prepare;
  part->m_step = vb_m_step;
  part->target = vb_target;
  part->log_prior = vb_log_prior;
  part->pack = vb_pack;
  part->unpack = vb_unpack;
  part->moments = vb_moments;
  part->theta = vb_theta;
}

/* ---- making the part ------------------------------------------------------------------------- */

/* Number, mean and variance of what is there of y; rows that lack it are counted in `missing`. */
static double summary_of(const double *y, int n, int *missing, double *mean, double *variance) {
  double sum = 0.0, rest = 0.0, seen = 0.0;
  for (int i = 0; i < n; i++) {
    if (isnan(y[i])) {
      missing[i]++;
    } else {
      seen += 1.0;
      sum += y[i];
    }
  }
  const double share = seen > 0.0 ? 1.0 / seen : 0.0;
  *mean = sum * share;
  *variance = 0.0;
  for (int i = 0; i < n; i++)
    if (!isnan(y[i])) {
      rest += y[i] - *mean;
      *variance += (y[i] - *mean) * share * (y[i] - *mean);
    }
  *mean += rest * share; /* what rounding took */
  return seen;
}

/* Centre and standard deviations of the data, and which rows have gaps: in one reading, by blocks
 * that stay in the cache (Chan, Golub & LeVeque 1983). */
static void describe(normal_work *w, int *missing) {
  enum { BLOCK = 2048 };
  const int n = w->spec.n_row, d = w->spec.d;
  int any = 0;
  memset(missing, 0, (size_t)n * sizeof(int));
  for (int a = 0; a < d; a++) {
    double seen = 0.0, mean = 0.0, variance = 0.0;
    for (int first = 0; first < n; first += BLOCK) {
      double centre, spread;
      const double more = summary_of(w->spec.Y + (size_t)n * (size_t)a + first,
                                     smaller(BLOCK, n - first), missing + first, &centre, &spread);
      if (!(more > 0.0)) continue;
      const double share = more / (seen + more), apart = centre - mean;
      mean = seen > 0.0 ? mean + apart * share : centre;
      variance += share * (spread - variance);
      if (seen > 0.0) variance += (apart * share) * (apart * (1.0 - share));
      seen += more;
    }
    w->centre[a] = mean;
    w->sd[a] = variance > 0.0 ? sqrt(variance) : 1.0;
  }
  for (int i = 0; i < n; i++) any = any || missing[i] > 0;
  w->missing = any ? missing : NULL;
}

static void choose_units(normal_work *w) {
  const int d = w->spec.d, alone = covariance_scales(w->spec.model);
  double log_sd = 0.0;
  for (int a = 0; a < d; a++) log_sd += log2(w->sd[a]) / d;
  for (int a = 0; a < d; a++) {
    w->unit[a] = exp2(round(alone ? log2(w->sd[a]) : log_sd));
    w->log_unit += log(w->unit[a]);
    w->centre[a] /= w->unit[a];
    w->sd[a] /= w->unit[a];
  }
  for (int a = 0; a < d; a++)
    for (int b = 0; b < d; b++) w->unit_square[a + d * b] = w->unit[a] * w->unit[b];
}

/* A copy of n numbers in other units. */
static const double *converted(const double *x, size_t n, const double *factor,
                               const elbo_memory *mem) {
  if (x == NULL) return NULL;
  double *copy = elbo_doubles(mem, n);
  for (size_t i = 0; i < n; i++) copy[i] = x[i] / factor[i];
  return copy;
}

elbo_status mixture_normal_part(mixture_part *part, const mixture_normal_spec *spec,
                                const elbo_memory *mem) {
  const int d = spec->d, k = spec->k;
  const size_t D = (size_t)d, K = (size_t)k;
  normal_work *w = mem->get(mem->ctx, sizeof *w);
  memset(w, 0, sizeof *w);
  w->spec = *spec;
  w->mean = elbo_doubles(mem, D * K);
  w->M = elbo_doubles(mem, D * D * K);
  w->constant = elbo_doubles(mem, K);
  w->centre = elbo_doubles(mem, D);
  w->sd = elbo_doubles(mem, D);
  w->n = elbo_doubles(mem, K);
  w->W = elbo_doubles(mem, D * D * K);
  w->G = elbo_doubles(mem, D * D * K);
  w->one = elbo_doubles(mem, D * D);
  w->two = elbo_doubles(mem, D * D);
  w->unit = elbo_doubles(mem, D);
  w->unit_square = elbo_doubles(mem, D * D);
  describe(w, elbo_ints(mem, (size_t)spec->n_row));
  choose_units(w);
  w->spec.prior_mean = converted(spec->prior_mean, D, w->unit, mem);
  w->spec.prior_scale = converted(spec->prior_scale, D * D, w->unit_square, mem);
  if (w->missing) w->P = elbo_doubles(mem, D * D * K);
  for (int j = 0; j < k; j++) memcpy(w->mean + d * j, w->centre, D * sizeof(double));
  for (int a = 0; a < d; a++) w->one[a] = w->sd[a] * w->sd[a];
  double *mean = NULL, *covariance = NULL;
  if (spec->method != MIXTURE_VB) {
    covariance_init(&w->cov, spec->model, d, k, w->one, mem);
    mean = outside(w, 0, w->mean, D * K, mem);
    covariance = outside(w, 1, w->cov.Sigma, D * D * K, mem);
  }
  const mixture_part em = {
      .work = w,
      .readings = 1,
      .n_stat = stat_size(d) * K + D * K,
      .n_scratch = D + 1 + (w->missing ? gap_size(d) / SIMD_LANES + 1 : 0),
      .n_eta = d * k + w->cov.n_eta,
      .n_theta = k * (2 * d + d * (d - 1) / 2),
      .n_field = 2,
      .field = {field("mean", mean, 2, d, k, 1), field("covariance", covariance, 3, d, d, k)},
      .restore = restore,
      .prepare = prepare,
      .log_density = log_density,
      .accumulate = accumulate,
      .n_basis = (int)stat_size(d),
      .basis = w->missing ? NULL : basis, /* what is missing depends on the component */
      .refer = refer,
      .finish = finish,
      .m_step = m_step,
      .expected = expected,
      .log_prior = log_prior,
      .pack = pack,
      .unpack = unpack,
      .anchor = anchor,
      .gradient = gradient,
      .theta = theta,
  };
  *part = em;
  if (spec->method == MIXTURE_VB) to_vb(part, w, mem);
  return ELBO_OK;
}

elbo_status mixture_normal_make(mixture_part *part, const mixture_spec *s,
                                const mixture_arguments *from, const elbo_memory *mem) {
  const int vb = s->method == MIXTURE_VB;
  mixture_normal_spec n = {.method = s->method, .k = s->k, .n_row = s->units.n_row};
  n.d = argument_int(from, "d", 1, 10000);
  n.Y = argument_doubles(from, "Y", n.n_row, n.d, 0);
  n.model = (covariance_model)argument_int(from, "model", COVARIANCE_EII, COVARIANCE_VVV);
  n.prior_df = argument_double(from, "prior_df");
  n.prior_scale = argument_doubles(from, "prior_scale", n.d, n.d, !vb);
  if (vb) n.prior_mean = argument_doubles(from, "prior_mean", 1, n.d, 0);
  if (vb) n.prior_kappa = argument_double(from, "prior_kappa");
  return mixture_normal_part(part, &n, mem);
}
