#include "sky/vb.h"

#include <math.h>
#include <string.h>

#include "math/la.h"
#include "math/small.h"
#include "sky/information.h"
#include "sky/vb_source.h"

enum { HALVINGS = 10, STEPS = 25, MOVED = 2 };

/* Of the ELBO: a source that gains less on a visit is left alone. */
static const double QUIET = 1e-9;

static double *probability_of(const sky_vb *w, int s) { return w->probability + SKY_N_TYPES * s; }

/* ---- a source among the others --------------------------------------------------------------- */

/* The field and its variance without source s. */
static void take_out(sky_vb *w, int s) {
  sky_field *f = &w->field;
  sky_take_out(f, s);
  for (int b = 0; b < f->spec->n_image; b++) {
    const sky_patch *patch = sky_patch_of(f, s, b);
    const size_t size = patch_size(patch), width = (size_t)patch_width(patch);
    const double *own = f->planes + patch->at + size;
    double *kept = w->kept_variance + patch->at / SKY_MAX_PLANES;
    for (size_t p = 0; p < size; p++) {
      const size_t q = ((size_t)patch->y0 + p / width) * (size_t)f->spec->image[b].nx +
                       (size_t)patch->x0 + p % width;
      kept[p] = fmax(0.0, w->variance[b][q] - own[p]);
    }
  }
}

/* Its type of the highest probability. */
static int best_type(const sky_vb *w, int s) {
  const double *p = probability_of(w, s);
  int best = 0;
  for (int t = 1; t < SKY_N_TYPES; t++)
    if (p[t] > p[best]) best = t;
  return best;
}

/* Its planes, E lambda / flux and the variance of lambda, from sums over types of E lambda and
 * E lambda^2. */
static void keep_moments(sky_vb *w, int s, const double *first, const double *second) {
  sky_field *f = &w->field;
  double slope[SKY_MAX_FREE];
  const sky_vb_q best = sky_vb_source(w, s, (sky_type)best_type(w, s), 1.0);
  sky_vb_to_theta(best.free, best.n, f->spec->n_band, best.mean, sky_theta_of(f, s), slope);
  for (int b = 0; b < f->spec->n_image; b++) {
    const sky_patch *patch = sky_patch_of(f, s, b);
    const size_t size = patch_size(patch);
    const double flux = sky_theta_of(f, s)[f->spec->image[b].band];
    double *planes = f->planes + patch->at;
    for (size_t p = 0; p < size; p++, first++, second++) {
      planes[p] = *first / flux;
      planes[p + size] = fmax(0.0, *second - *first * *first);
    }
  }
}

/* Puts it back into the field. */
static void put(sky_vb *w, int s) {
  sky_field *f = &w->field;
  for (int b = 0; b < f->spec->n_image; b++) {
    const sky_patch *patch = sky_patch_of(f, s, b);
    const size_t size = patch_size(patch), width = (size_t)patch_width(patch);
    const double *planes = f->planes + patch->at;
    const double flux = sky_theta_of(f, s)[f->spec->image[b].band];
    const size_t first = patch->at / SKY_MAX_PLANES;
    for (size_t p = 0; p < size; p++) {
      const size_t q = ((size_t)patch->y0 + p / width) * (size_t)f->spec->image[b].nx +
                       (size_t)patch->x0 + p % width;
      f->mean[b][q] = f->kept[first + p] + flux * planes[p];
      w->variance[b][q] = w->kept_variance[first + p] + planes[p + size];
    }
  }
}

/* sum over types but `without` of probability times E lambda and E lambda^2, into w->local. */
static void sum_types(sky_vb *w, int s, int without) {
  const double *p = probability_of(w, s);
  const size_t n = 2 * sky_source_pixels(&w->field, s);
  memset(w->local, 0, n * sizeof *w->local);
  for (int t = 0; t < SKY_N_TYPES; t++) {
    if (t == without || !(p[t] > 0.0)) continue;
    sky_vb_q l = sky_vb_source(w, s, (sky_type)t, p[t]);
    sky_vb_shine(&l);
    for (size_t i = 0; i < n; i++) w->local[i] += p[t] * l.moments[i];
  }
}

static void keep_types(sky_vb *w, int s) {
  sum_types(w, s, -1);
  keep_moments(w, s, w->local, w->local + sky_source_pixels(&w->field, s));
}

/* A few steps of each of its types; what is gained. */
static double improve(sky_vb *w, int s) {
  const double *p = probability_of(w, s);
  double gain = 0.0;
  take_out(w, s);
  for (int t = 0; t < SKY_N_TYPES; t++) {
    if (!(p[t] > 0.0)) continue;
    sum_types(w, s, t);
    sky_vb_q l = sky_vb_source(w, s, (sky_type)t, p[t]);
    gain += sky_vb_climb(&l, 1);
    w->rest[t + SKY_N_TYPES * s] = l.rest;
  }
  keep_types(w, s);
  put(w, s);
  return gain;
}

/* ---- what a source is ------------------------------------------------------------------------ */

/* Probabilities from log odds, those below the least put to zero. */
static void probabilities(const double *evidence, double *p) {
  double top = -HUGE_VAL, sum = 0.0, kept = 0.0;
  for (int t = 0; t < SKY_N_TYPES; t++) top = fmax(top, evidence[t]);
  for (int t = 0; t < SKY_N_TYPES; t++) sum += p[t] = exp(evidence[t] - top);
  for (int t = 0; t < SKY_N_TYPES; t++)
    kept += p[t] = p[t] / sum < SKY_LEAST_PROBABILITY ? 0.0 : p[t] / sum;
  for (int t = 0; t < SKY_N_TYPES; t++) p[t] /= kept;
}

/* log prior of the types tried. */
static void log_types(const sky_law *law, int tried, double *out) {
  int galaxies = 0;
  for (int t = SKY_EXPONENTIAL; t < SKY_N_TYPES; t++) galaxies += (tried >> t) & 1;
  for (int t = 0; t < SKY_N_TYPES; t++)
    out[t] = !(tried & (1 << t)) ? -HUGE_VAL
             : t == SKY_STAR     ? log1p(-law->galaxies)
                                 : log(law->galaxies / galaxies);
}

void sky_vb_types(sky_vb *w, int s, int allowed, int *type, double *evidence, double *told) {
  const sky_field *f = &w->field;
  sky_candidate c[SKY_N_TYPES];
  const int tried = sky_try_types(&w->field, s, allowed, STEPS, c, w->work);
  double *prior = w->prior + SKY_N_TYPES * s;
  take_out(w, s);
  log_types(f->spec->law, tried, prior);
  for (int t = 0; t < SKY_N_TYPES; t++) {
    evidence[t] = -HUGE_VAL;
    if (!(tried & (1 << t))) continue;
    sky_vb_q l = sky_vb_source(w, s, (sky_type)t, 1.0);
    memset(w->local, 0, 2 * l.pixels * sizeof *w->local);
    sky_vb_start(&l, c[t].theta);
    sky_vb_climb(&l, STEPS);
    c[t].likelihood = l.likelihood;
    c[t].misfit = l.misfit;
    evidence[t] = l.rest + prior[t] + sky_tempered(t != SKY_STAR && tried & 1 ? c : NULL, c + t);
    w->rest[t + SKY_N_TYPES * s] = l.rest;
    for (int a = 0; a < l.n; a++)
      if (l.free[a] == f->spec->n_band + SKY_LOG_RADIUS) {
        c[t].theta[l.free[a]] = l.mean[a];
        c[t].radius_var = 0.0;
        for (int k = 0; k <= a; k++) c[t].radius_var += l.root[a + l.n * k] * l.root[a + l.n * k];
      }
  }
  probabilities(evidence, probability_of(w, s));
  type[s] = best_type(w, s);
  sky_tell(c, tried, f->spec->n_band, type[s], told);
  keep_types(w, s);
  put(w, s);
}

/* ---- all of them ----------------------------------------------------------------------------- */

/* A source that has no q yet: the second plane of its patches is 0. */
static void no_variance(sky_vb *w, int s) {
  for (int b = 0; b < w->field.spec->n_image; b++) {
    const sky_patch *patch = sky_patch_of(&w->field, s, b);
    const size_t size = patch_size(patch);
    memset(w->field.planes + patch->at + size, 0, size * sizeof(double));
  }
}

static void wake(sky_vb *w) {
  for (int s = 0; s < w->field.spec->n; s++) w->active[s] = 1;
}

/* Those of source s, but for the mean and the variance. */
static void keep_source(sky_vb *w, int s) {
  keep_types(w, s);
  for (int t = 0; t < SKY_N_TYPES; t++) {
    if (!(probability_of(w, s)[t] > 0.0)) continue;
    const sky_vb_q l = sky_vb_source(w, s, (sky_type)t, 1.0);
    w->rest[t + SKY_N_TYPES * s] = sky_vb_rest(&l, NULL, NULL);
  }
}

/* Planes, mean, variance and what does not depend on pixels, from the q of active sources. */
static void keep_all(sky_vb *w) {
  sky_field *f = &w->field;
  for (int b = 0; b < f->spec->n_image; b++) {
    const sky_image *image = f->spec->image + b;
    memset(w->variance[b], 0, (size_t)image->nx * (size_t)image->ny * sizeof **w->variance);
  }
  for (int s = 0; s < f->spec->n; s++) {
    if (w->active[s]) keep_source(w, s);
    for (int b = 0; b < f->spec->n_image; b++) {
      const sky_patch *patch = sky_patch_of(f, s, b);
      const size_t size = patch_size(patch), width = (size_t)patch_width(patch);
      const double *own = f->planes + patch->at + size;
      for (size_t p = 0; p < size; p++)
        w->variance[b][((size_t)patch->y0 + p / width) * (size_t)f->spec->image[b].nx +
                       (size_t)patch->x0 + p % width] += own[p];
    }
  }
  sky_field_mean(f);
}

/* Who overlaps whom: found once, as a sweep asks often. */
static void find_neighbours(sky_vb *w, const elbo_memory *mem) {
  const int n = w->field.spec->n;
  w->first = elbo_ints(mem, (size_t)n + 1);
  for (int fill = 0; fill < 2; fill++) {
    int at = 0;
    for (int s = 0; s < n; s++) {
      w->first[s] = at;
      for (int t = 0; t < n; t++) {
        if (t == s || !sky_neighbours(&w->field, s, t)) continue;
        if (fill) w->neighbour[at] = t;
        at++;
      }
    }
    w->first[n] = at;
    if (!fill) w->neighbour = elbo_ints(mem, (size_t)at + 1);
  }
}

void sky_vb_open(sky_vb *w, const sky_spec *spec, const double *theta, const double *node,
                 const sky_q *q, const elbo_memory *mem) {
  const size_t n = (size_t)spec->n * SKY_N_TYPES;
  memset(w, 0, sizeof *w);
  sky_field_open(&w->field, spec, theta, node, mem);
  sky_field *f = &w->field;
  w->n = f->n_theta;
  w->probability = elbo_doubles(mem, n + 1);
  w->prior = elbo_doubles(mem, n + 1);
  w->mean = elbo_doubles(mem, n * (size_t)w->n + 1);
  w->root = elbo_doubles(mem, n * square(w->n) + 1);
  w->rest = elbo_doubles(mem, n + 1);
  w->n_free = elbo_ints(mem, n + 1);
  w->active = elbo_ints(mem, (size_t)spec->n + 1);
  w->local = elbo_doubles(mem, sky_vb_source_size(w));
  w->work = elbo_doubles(mem, sky_local_size(f));
  w->variance = mem->get(mem->ctx, (size_t)spec->n_image * sizeof *w->variance);
  size_t kept = 1;
  for (int s = 0; s < spec->n; s++) kept += sky_source_pixels(f, s);
  w->kept_variance = elbo_doubles(mem, kept);
  for (int b = 0; b < spec->n_image; b++) {
    const size_t size = (size_t)spec->image[b].nx * (size_t)spec->image[b].ny;
    w->variance[b] = elbo_doubles(mem, size);
    memset(w->variance[b], 0, size * sizeof **w->variance);
  }
  memset(w->rest, 0, n * sizeof *w->rest);
  memset(w->probability, 0, n * sizeof *w->probability);
  memset(w->mean, 0, n * (size_t)w->n * sizeof *w->mean);
  memset(w->root, 0, n * square(w->n) * sizeof *w->root);
  if (q != NULL) {
    memcpy(w->probability, q->probability, n * sizeof *w->probability);
    memcpy(w->prior, q->prior, n * sizeof *w->prior);
    memcpy(w->mean, q->mean, n * (size_t)w->n * sizeof *w->mean);
    memcpy(w->root, q->root, n * square(w->n) * sizeof *w->root);
  }
  for (int i = 0; i < (int)n; i++) {
    int free[SKY_MAX_FREE];
    w->n_free[i] =
        sky_free_parameters(spec, (sky_type)(i % SKY_N_TYPES), spec->held[i / SKY_N_TYPES], free);
  }
  wake(w);
  if (q != NULL)
    keep_all(w);
  else
    for (int s = 0; s < spec->n; s++) no_variance(w, s);
}

/* E of the log-likelihood of all pixels, as sky_field_value() counts it, and all that q has. */
static elbo_status total(sky_vb *w) {
  sky_field *f = &w->field;
  double sum = sky_field_pixels(f);
  for (int b = 0; b < f->spec->n_image; b++) {
    const sky_image *image = f->spec->image + b;
    const size_t size = (size_t)image->nx * (size_t)image->ny;
    double lost = 0.0;
    for (size_t p = 0; p < size; p++)
      if (w->variance[b][p] > 0.0)
        lost +=
            image->use[p] * image->count[p] * w->variance[b][p] / (f->mean[b][p] * f->mean[b][p]);
    sum -= 0.5 * lost;
  }
  for (int s = 0; s < f->spec->n; s++)
    for (int t = 0; t < SKY_N_TYPES; t++) {
      const double p = probability_of(w, s)[t];
      const size_t i = (size_t)t + SKY_N_TYPES * (size_t)s;
      if (p > 0.0) sum += p * (w->rest[i] + w->prior[i] - log(p));
    }
  w->elbo = sum;
  return isfinite(sum) ? ELBO_OK : ELBO_E_NOT_FINITE;
}

/* A source that gains no more waits until one that overlaps it, or the sky, moves. */
static elbo_status all_sources(void *work) {
  sky_vb *w = work;
  const int n = w->field.spec->n;
  for (int s = 0; s < n; s++) {
    if (!w->active[s]) continue;
    if (w->hooks != NULL && w->hooks->poll != NULL && w->hooks->poll(w->hooks->ctx)) break;
    w->active[s] = improve(w, s) > QUIET;
    for (int i = w->first[s]; w->active[s] && i < w->first[s + 1]; i++)
      w->active[w->neighbour[i]] = 1;
  }
  sky_field_mean(&w->field); /* without what rounding left of many sums and differences */
  return total(w);
}

/* Newton's step for the nodes of the sky, which are points. */
static elbo_status sky_nodes(void *work) {
  sky_vb *w = work;
  sky_field *f = &w->field;
  const int m = f->n_node;
  const double before = w->elbo;
  if (m == 0) return ELBO_OK;
  double *gradient = f->node_factor + square(m), *old = gradient + m;
  memset(gradient, 0, (size_t)m * sizeof *gradient);
  for (int b = 0, at = 0; b < f->spec->n_image; b++) {
    const sky_image *image = f->spec->image + b;
    const size_t size = (size_t)image->nx * (size_t)image->ny;
    for (size_t p = 0; p < size; p++) {
      const double im = 1.0 / f->mean[b][p], y = image->use[p] * image->count[p];
      f->ratio[b][p] = y * im * (1.0 + w->variance[b][p] * im * im) - image->use[p];
      f->scratch[b][p] = y * im * im;
    }
    sky_nodes_sum(f, b, f->ratio[b], gradient + at);
    at += image->mesh_x * image->mesh_y;
  }
  sky_nodes_gram(f, f->scratch, f->node_factor);
  if (la_chol(f->node_factor, m) != ELBO_OK || la_inverse_from_chol(f->node_factor, m) != ELBO_OK)
    return ELBO_OK; /* some node sees no pixel: the sky stays */
  memcpy(old, f->node, (size_t)m * sizeof *old);
  double factor = 1.0;
  for (int h = 0; h < HALVINGS; h++, factor *= 0.5) {
    int positive = 1;
    for (int j = 0; j < m; j++) {
      f->node[j] = old[j] + factor * dot(f->node_factor + (size_t)m * (size_t)j, gradient, m);
      positive = positive && f->node[j] > 0.0;
    }
    sky_field_mean(f);
    if (!positive || total(w) != ELBO_OK || w->elbo < before) continue;
    if (w->elbo - before > QUIET * f->spec->n) wake(w);
    return ELBO_OK;
  }
  memcpy(f->node, old, (size_t)m * sizeof *old);
  sky_field_mean(f);
  return total(w);
}

static elbo_status elbo(void *work, double *value) {
  *value = ((sky_vb *)work)->elbo;
  return isfinite(*value) ? ELBO_OK : ELBO_E_NOT_FINITE;
}

static double rounding(void *work) {
  const sky_vb *w = work;
  return 1e-9 + 1e-13 * (fabs(w->elbo) + sky_field_size(&w->field));
}

/* eta: of each type that a source may be the mean and the root, of this the logarithm of the
 * diagonal; then the nodes. */
static void pack(void *work, double *eta) {
  const sky_vb *w = work;
  for (int i = 0; i < SKY_N_TYPES * w->field.spec->n; i++) {
    const double *mean = w->mean + (size_t)i * (size_t)w->n,
                 *root = w->root + (size_t)i * square(w->n);
    const int n = w->n_free[i];
    if (!(w->probability[i] > 0.0)) continue;
    for (int a = 0; a < n; a++) {
      *eta++ = mean[a];
      for (int b = 0; b < a; b++) *eta++ = root[a + n * b];
      *eta++ = log(root[a + n * a]);
    }
  }
  memcpy(eta, w->field.node, (size_t)w->field.n_node * sizeof *eta);
}

/* x = value; whether it was another. */
static int move(double *x, double value) {
  if (*x == value) return 0;
  *x = value;
  return 1;
}

static elbo_status unpack(void *work, const double *eta) {
  sky_vb *w = work;
  for (int i = 0; i < SKY_N_TYPES * w->field.spec->n; i++) {
    double *mean = w->mean + (size_t)i * (size_t)w->n, *root = w->root + (size_t)i * square(w->n);
    const int n = w->n_free[i];
    int moved = 0;
    if (!(w->probability[i] > 0.0)) continue;
    for (int a = 0; a < n; a++) {
      moved |= move(mean + a, *eta++);
      for (int b = 0; b < a; b++) moved |= move(root + a + n * b, *eta++);
      if (*eta != log(root[a + n * a])) /* whose exponential is off by rounding */
        moved |= move(root + a + n * a, exp(fmin(*eta, 50.0)));
      eta++;
    }
    if (moved) w->active[i / SKY_N_TYPES] = MOVED;
  }
  for (int j = 0; j < w->field.n_node; j++) {
    if (!(eta[j] > 0.0)) return ELBO_E_NOT_FINITE;
    w->field.node[j] = eta[j];
  }
  keep_all(w);
  for (int s = 0; s < w->field.spec->n; s++) {
    if (w->active[s] != MOVED) continue;
    for (int i = w->first[s]; i < w->first[s + 1]; i++)
      if (!w->active[w->neighbour[i]]) w->active[w->neighbour[i]] = 1;
  }
  return total(w);
}

static int eta_size(const sky_vb *w) {
  int size = w->field.n_node;
  for (int i = 0; i < SKY_N_TYPES * w->field.spec->n; i++)
    if (w->probability[i] > 0.0) size += w->n_free[i] + (int)packed_size(w->n_free[i]);
  return size;
}

elbo_status sky_vb_ascend(sky_vb *w, const elbo_control *control, const elbo_hooks *hooks,
                          const elbo_memory *mem, elbo_result *result) {
  const elbo_model model = {.n_eta = eta_size(w),
                            .e_name = ELBO_STEP_LOCAL,
                            .m_name = ELBO_STEP_GLOBAL,
                            .e_step = all_sources,
                            .m_step = sky_nodes,
                            .elbo = elbo,
                            .rounding = rounding,
                            .pack = pack,
                            .unpack = unpack,
                            .objective = {.value = elbo}};
  w->hooks = hooks;
  find_neighbours(w, mem);
  return elbo_ascend(&model, w, control, hooks, elbo_doubles(mem, elbo_ascend_size(&model)),
                     result);
}

/* ---- linear response ------------------------------------------------------------------------- */

/* Slopes of E lambda in theta: sky_slope_plane() multiplies those after the first by the flux. */
static void expected_slopes(sky_vb_q *l) {
  const sky_field *f = &l->w->field;
  const int B = f->spec->n_band, n_plane = sky_planes(l->type);
  double theta[SKY_MAX_FREE], slope[SKY_MAX_FREE], at_mean[SKY_MAX_FREE];
  sky_vb_to_theta(l->free, l->n, B, l->mean, sky_theta_of(f, l->s), at_mean);
  for (int b = 0; b < f->spec->n_image; b++) {
    const sky_patch *patch = sky_patch_of(f, l->s, b);
    memset(f->planes + patch->at, 0, SKY_MAX_PLANES * patch_size(patch) * sizeof(double));
  }
  for (int k = 0; k < l->n_point; k++) {
    const double *planes = l->planes;
    sky_vb_point(l, k, theta, slope);
    sky_vb_fill(l, theta);
    for (int b = 0; b < f->spec->n_image; b++) {
      const sky_patch *patch = sky_patch_of(f, l->s, b);
      const int band = f->spec->image[b].band;
      const size_t size = patch_size(patch);
      const double flux = theta[band] / sky_theta_of(f, l->s)[band] / l->n_point;
      for (int j = 0; j < n_plane; j++) {
        double factor = flux;
        for (int a = 0; a < l->n; a++)
          if (l->free[a] == B + j - 1) factor *= slope[a] / at_mean[a];
        double *out = f->planes + patch->at + (size_t)j * size;
        for (size_t p = 0; p < size; p++) out[p] += factor * planes[p + (size_t)j * size];
      }
      planes += (size_t)n_plane * size;
    }
  }
}

void sky_vb_precision(sky_vb *w, double *own) {
  const sky_field *f = &w->field;
  for (int s = 0; s < f->spec->n; s++) {
    double inverse[SKY_MAX_FREE * SKY_MAX_FREE], theta[SKY_MAX_FREE], slope[SKY_MAX_FREE];
    sky_vb_q l = sky_vb_source(w, s, (sky_type)f->spec->type[s], 1.0);
    double *out = own + (size_t)s * square(SKY_MAX_FREE);
    la_lower_inverse(l.root, l.n, inverse);
    sky_vb_to_theta(l.free, l.n, f->spec->n_band, l.mean, theta, slope);
    for (int i = 0; i < l.n; i++)
      for (int j = 0; j < l.n; j++) {
        double sum = 0.0;
        for (int k = larger(i, j); k < l.n; k++) sum += inverse[k + l.n * i] * inverse[k + l.n * j];
        out[i + l.n * j] = sum / (slope[i] * slope[j]);
      }
    expected_slopes(&l);
  }
}
