/* One group: its mode, the quadrature, derivatives.  Notation: f_i(x) is the log density of row i
 * times its weight, a_i = L' Z_i, so that x_i = b_i + a_i'v. */
#include "general/group.h"

#include <math.h>
#include <string.h>

#include "general/nodes.h"
#include "math/quadrature.h"
#include "math/rows.h"
#include "math/simd.h"
#include "math/small.h"

enum { MOST_STEPS = 200, MOST_HALVINGS = 60, CHUNK = 64, MOST_SPACE = 1 << 19 };

/* ---- memory ---------------------------------------------------------------------------------- */

enum { MOST_HERMITE = 11 };

/* What is left out beyond has some 1e-11 of the mass; of several terms a window along their axes
 * leaves out more. */
static const double FALL = 24.0;

static elbo_status one_dimension(general_rule *rule, double *node, double *scaled, double *work) {
  const int each = rule->each;
  if (rule->fall == 0.0) return quadrature_normal(each, node, work, scaled, work + each);
  for (int k = 0; k < each; k++) {
    node[k] = (2.0 * k - (each - 1)) / (each - 1);
    scaled[k] = 2.0 / (each - 1);
  }
  return ELBO_OK;
}

elbo_status general_rule_init(general_rule *rule, int each, int few, int q,
                              const elbo_memory *mem) {
  double *node = elbo_doubles(mem, (size_t)each), *scaled = elbo_doubles(mem, (size_t)each);
  double *work = elbo_doubles(mem, 3 * (size_t)each);
  rule->each = each;
  rule->fall = few || q != 1 || each <= MOST_HERMITE ? 0.0 : FALL;
  const elbo_status status = one_dimension(rule, node, scaled, work);
  rule->n_node = 1;
  for (int d = 0; d < q; d++) rule->n_node *= each;
  rule->padded = rows_padded(rule->n_node);
  rule->z = elbo_doubles(mem, (size_t)larger(q, 1) * (size_t)rule->padded);
  rule->scaled = elbo_doubles(mem, (size_t)rule->padded);
  memset(rule->z, 0, (size_t)larger(q, 1) * (size_t)rule->padded * sizeof(double));
  for (int k = 0; k < rule->padded; k++) {
    rule->scaled[k] = k < rule->n_node ? 1.0 : 0.0;
    for (int d = 0, rest = k; d < q && k < rule->n_node; d++, rest /= each) {
      rule->z[k + rule->padded * d] = node[rest % each];
      rule->scaled[k] *= scaled[rest % each];
    }
  }
  return status;
}

void general_space_init(general_space *s, const general_rows *rows, int n_own,
                        const general_rule *rule, const elbo_memory *mem) {
  const size_t n = (size_t)rows->most + SIMD_LANES, q = (size_t)larger(rows->q, 1);
  const int n_inner = rows->p + rows->q * (rows->q + 1) / 2 + n_own;
  const size_t inner = (size_t)larger(n_inner, 1);
  s->chunk = smaller(CHUNK, rule->padded);
  while (s->chunk > SIMD_LANES && (size_t)s->chunk * n > MOST_SPACE) s->chunk -= SIMD_LANES;
  const size_t chunk = (size_t)s->chunk;
  double **row[] = {&s->b, &s->at, &s->at_value, &s->at_x, &s->at_xx, &s->at_xxx};
  double **block[] = {&s->x, &s->value, &s->first, &s->second};
  double **node[] = {&s->v, &s->z, &s->node_slope};
  for (int k = 0; k < 6; k++) *row[k] = elbo_doubles(mem, n);
  for (int k = 0; k < 4; k++) *block[k] = elbo_doubles(mem, n * chunk);
  for (int k = 0; k < 3; k++) *node[k] = elbo_doubles(mem, q * chunk);
  s->a = elbo_doubles(mem, n * q);
  s->moment = elbo_doubles(mem, n * (size_t)general_n_moment(rows->q));
  s->e = elbo_doubles(mem, chunk);
  s->h = elbo_doubles(mem, chunk);
  s->slope = elbo_doubles(mem, inner * chunk);
  s->weighted = elbo_doubles(mem, chunk);
  s->score = elbo_doubles(mem, inner);
  s->complete = elbo_doubles(mem, inner * inner);
  s->spread = elbo_doubles(mem, inner * inner);
}

/* ---- small matrices -------------------------------------------------------------------------- */

/* Lower root of a positive definite matrix, its inverse, and log |root|. */
static double root_of(const double *A, int q, double *C, double *inverse) {
  double log_det = 0.0;
  for (int j = 0; j < q; j++)
    for (int i = j; i < q; i++) {
      double rest = A[i + q * j];
      for (int k = 0; k < j; k++) rest -= C[i + q * k] * C[j + q * k];
      C[i + q * j] = i == j ? sqrt(rest) : rest / C[j + q * j];
    }
  for (int j = 0; j < q; j++) {
    log_det += log(C[j + q * j]);
    for (int i = 0; i < q; i++) {
      double rest = i == j ? 1.0 : 0.0;
      for (int k = j; k < i; k++) rest -= C[i + q * k] * inverse[k + q * j];
      inverse[i + q * j] = i < j ? 0.0 : rest / C[i + q * i];
    }
  }
  return log_det;
}

/* (C C')^{-1} x, by C^{-1}. */
static void solve(const double *inverse, int q, const double *x, double *out) {
  double half[GENERAL_MAX_TERMS];
  for (int i = 0; i < q; i++) {
    half[i] = 0.0;
    for (int k = 0; k <= i; k++) half[i] += inverse[i + q * k] * x[k];
  }
  for (int i = 0; i < q; i++) {
    out[i] = 0.0;
    for (int k = i; k < q; k++) out[i] += inverse[k + q * i] * half[k];
  }
}

/* ---- the rows of a group --------------------------------------------------------------------- */

typedef struct {
  const general_rows *rows;
  const general_point *at;
  int first, n, p, q;
  const double *y, *size, *weight, *X, *Z;
  double h, log_det; /* at the mode; log |C|, less that of the half widths of a window */
  double middle[GENERAL_MAX_TERMS], half[GENERAL_MAX_TERMS]; /* of the window, as z */
  double C[GENERAL_MAX_TERMS * GENERAL_MAX_TERMS], inverse[GENERAL_MAX_TERMS * GENERAL_MAX_TERMS];
} group;

static void open_group(group *G, const general_rows *rows, const general_point *at, int g,
                       general_space *s) {
  const int p = rows->p, q = rows->q, first = rows->first[g];
  const size_t from = (size_t)first;
  G->rows = rows;
  G->at = at;
  G->first = first;
  G->n = rows->first[g + 1] - first;
  G->p = p;
  G->q = q;
  G->y = rows->y + from;
  G->size = rows->size + from;
  G->weight = rows->weight ? rows->weight + from : NULL;
  G->X = rows->X + from * (size_t)p;
  G->Z = rows->Z + from * (size_t)q;
  for (int i = 0; i < G->n; i++) {
    const double *z = G->Z + (size_t)q * (size_t)i;
    s->b[i] = rows->offset[first + i] + dot(G->X + (size_t)p * (size_t)i, at->beta, p);
    for (int c = 0; c < q; c++) {
      double sum = 0.0;
      for (int r = c; r < q; r++) sum += at->L[r + q * c] * z[r];
      s->a[q * i + c] = sum;
    }
  }
}

static double weight_of(const group *G, int i) { return G->weight ? G->weight[i] : 1.0; }

/* h at v, with f and its derivatives for every row. */
static double log_joint(const group *G, const double *v, general_space *s) {
  const int q = G->q, padded = rows_padded(G->n);
  const response_block block = {s->at_value, s->at_x, s->at_xx, s->at_xxx};
  double h = 0.0;
  for (int i = 0; i < G->n; i++) s->at[i] = s->b[i] + dot(s->a + q * i, v, q);
  for (int i = G->n; i < padded; i++) s->at[i] = 0.0;
  response_law_block(G->at->response, padded, 1, G->y, G->size, s->at, &block);
  for (int i = 0; i < G->n && G->weight; i++) {
    s->at_value[i] *= G->weight[i];
    s->at_x[i] *= G->weight[i];
    s->at_xx[i] *= G->weight[i];
    s->at_xxx[i] *= G->weight[i];
  }
  for (int i = 0; i < G->n; i++) h += s->at_value[i];
  for (int c = 0; c < q; c++) h -= 0.5 * v[c] * v[c];
  return h;
}

/* C of H = I - sum f'' a a' at the point of log_joint(), and h'. */
static void curvature(group *G, const double *v, const general_space *s, double *slope) {
  const int q = G->q;
  double H[GENERAL_MAX_TERMS * GENERAL_MAX_TERMS];
  memset(H, 0, square(q) * sizeof(double));
  for (int c = 0; c < q; c++) {
    slope[c] = -v[c];
    H[c * (q + 1)] = 1.0;
  }
  for (int i = 0; i < G->n; i++) {
    const double *a = s->a + q * i;
    for (int c = 0; c < q; c++) {
      slope[c] += s->at_x[i] * a[c];
      for (int d = c; d < q; d++) H[d + q * c] -= s->at_xx[i] * a[c] * a[d];
    }
  }
  G->log_det = root_of(H, q, G->C, G->inverse);
}

/* Newton's method on the concave h, until a step is less than 1e-10 posterior sds; quadratic
 * convergence has then left less than rounding. */
static elbo_status find_mode(group *G, double *mode, general_space *s) {
  const int q = G->q;
  double slope[GENERAL_MAX_TERMS], step[GENERAL_MAX_TERMS], v[GENERAL_MAX_TERMS];
  double before = HUGE_VAL;
  G->h = log_joint(G, mode, s);
  if (!isfinite(G->h)) {
    memset(mode, 0, (size_t)q * sizeof(double));
    G->h = log_joint(G, mode, s);
  }
  for (int n = 0; n < MOST_STEPS; n++) {
    curvature(G, mode, s, slope);
    solve(G->inverse, q, slope, step);
    const double decrement = dot(slope, step, q);
    if (!isfinite(decrement) || !isfinite(G->h)) return ELBO_E_NOT_FINITE;
    if (decrement < 1e-20 || (decrement < 1e-14 && decrement > 0.5 * before)) return ELBO_OK;
    before = decrement;
    double factor = 1.0, h = -HUGE_VAL;
    for (int halving = 0; halving < MOST_HALVINGS; halving++, factor *= 0.5) {
      for (int c = 0; c < q; c++) v[c] = mode[c] + factor * step[c];
      h = log_joint(G, v, s);
      const double silent = 1e-14 * (1.0 + fabs(G->h)) * (1.0 + sqrt((double)G->n));
      if (h >= G->h + 1e-4 * factor * decrement || (decrement < silent && isfinite(h))) break;
    }
    memcpy(mode, v, (size_t)q * sizeof(double));
    G->h = h;
  }
  return ELBO_E_NOT_FINITE;
}

/* ---- the window ------------------------------------------------------------------------------ */

enum { MOST_LOOKS = 60 };

/* t > 0 where h has fallen by `fall` from the mode along sign times direction d of z, near enough
 * for windows not to jump with the parameters.  As far as the fall is a power of t a step of
 * Newton's method in logarithms finds it at once. */
static double falls_at(const group *G, const double *mode, int d, double sign, double fall,
                       general_space *s) {
  const int q = G->q;
  double v[GENERAL_MAX_TERMS], t = sqrt(2.0 * fall);
  for (int look = 0; look < MOST_LOOKS; look++) {
    double slope = 0.0;
    for (int c = 0; c < q; c++) v[c] = mode[c] + sign * t * G->inverse[d + q * c];
    const double fallen = G->h - log_joint(G, v, s);
    if (fabs(fallen - fall) < 1e-3 * fall) break;
    for (int c = 0; c < q; c++) {
      double by_v = v[c];
      for (int i = 0; i < G->n; i++) by_v -= s->at_x[i] * s->a[q * i + c];
      slope += sign * by_v * G->inverse[d + q * c];
    }
    const double power = t * slope / fallen;
    if (isfinite(power) && fallen > 0.0)
      t *= fmin(fmax(pow(fall / fallen, 1.0 / fmin(fmax(power, 1.0), 16.0)), 0.25), 4.0);
    else
      t *= 0.5;
  }
  return t;
}

/* z of the rule is middle + half times its nodes. */
static void find_window(group *G, const double *mode, const general_rule *rule, general_space *s) {
  for (int d = 0; d < G->q; d++) {
    G->middle[d] = 0.0;
    G->half[d] = 1.0;
    if (rule->fall == 0.0) continue;
    const double up = falls_at(G, mode, d, 1.0, rule->fall, s);
    const double down = falls_at(G, mode, d, -1.0, rule->fall, s);
    G->middle[d] = 0.5 * (up - down);
    G->half[d] = 0.5 * (up + down);
    G->log_det -= log(G->half[d]);
  }
}

/* ---- nodes ----------------------------------------------------------------------------------- */

static double lanes(v8 x) {
  return ((x[0] + x[4]) + (x[1] + x[5])) + ((x[2] + x[6]) + (x[3] + x[7]));
}

static double dot_lanes(const double *x, const double *y, int n) {
  v8 sum = {0};
  for (int k = 0; k < n; k += SIMD_LANES) sum += *(const v8 *)(x + k) * *(const v8 *)(y + k);
  return lanes(sum);
}

static double sum_lanes(const double *x, int n) {
  v8 sum = {0};
  for (int k = 0; k < n; k += SIMD_LANES) sum += *(const v8 *)(x + k);
  return lanes(sum);
}

/* y += a x */
static void add_lanes(double a, const double *x, double *y, int n) {
  for (int k = 0; k < n; k += SIMD_LANES) *(v8 *)(y + k) += a * *(const v8 *)(x + k);
}

/* v of nodes k0 .. k0 + n - 1, and h there, with f and its derivatives by row and node. */
static void at_nodes(const group *G, const general_rule *rule, const double *mode, int k0, int n,
                     general_space *s) {
  const int q = G->q;
  for (int d = 0; d < q; d++)
    for (int k = 0; k < n; k++)
      s->z[n * d + k] = G->middle[d] + G->half[d] * rule->z[rule->padded * d + k0 + k];
  for (int c = 0; c < q; c++) {
    double *v = s->v + n * c;
    for (int k = 0; k < n; k++) v[k] = mode[c];
    for (int d = c; d < q; d++) add_lanes(G->inverse[d + q * c], s->z + n * d, v, n);
  }
  memset(s->h, 0, (size_t)n * sizeof(double));
  for (int c = 0; c < q; c++)
    for (int k = 0; k < n; k++) s->h[k] -= 0.5 * s->v[n * c + k] * s->v[n * c + k];
}

/* f and its derivatives at the predictors b + a'v of the nodes; adds f to h. */
static void at_predictors(const group *G, int n, general_space *s) {
  const node_kernels *kernels = node_kernels_current();
  const response_block block = {s->value, s->first, s->second, NULL};
  kernels->predictors(G->n, G->q, n, s->b, s->a, s->v, s->x);
  response_law_block(G->at->response, G->n, n, G->y, G->size, s->x, &block);
  kernels->add_rows(G->n, n, G->weight, s->value, s->h);
}

/* The same where the mode is the only node: what is known there. */
static void at_mode_alone(const group *G, const double *mode, int n, general_space *s) {
  memset(s->z, 0, (size_t)(G->q * n) * sizeof(double));
  memset(s->first, 0, (size_t)n * (size_t)G->n * sizeof(double));
  memset(s->second, 0, (size_t)n * (size_t)G->n * sizeof(double));
  for (int k = 0; k < n; k++) s->h[k] = G->h;
  for (int c = 0; c < G->q; c++)
    for (int k = 0; k < n; k++) s->v[n * c + k] = mode[c];
  for (int i = 0; i < G->n; i++) {
    const size_t at = (size_t)n * (size_t)i;
    s->x[at] = s->at[i];
    s->first[at] = s->at_x[i] / weight_of(G, i);
    s->second[at] = s->at_xx[i] / weight_of(G, i);
  }
}

/* The nodes' masses, up to a factor, from h. */
static void masses(const group *G, const general_rule *rule, int k0, int n, general_space *s) {
  for (int k = 0; k < n; k++) s->e[k] = s->h[k] - G->h;
  row_kernels_current()->exp(n, s->e, s->e);
  for (int k = 0; k < n; k++) s->e[k] *= rule->scaled[k0 + k];
}

/* Where there is no mass derivatives may be infinite, and count for nothing; n_real nodes are no
 * padding. */
static void forget_massless(const group *G, int n, int n_real, general_space *s) {
  for (int k = 0; k < n && k < n_real; k++) {
    if (s->e[k] > 0.0) continue;
    for (int i = 0; i < G->n; i++)
      s->first[(size_t)n * (size_t)i + (size_t)k] = s->second[(size_t)n * (size_t)i + (size_t)k] =
          0.0;
  }
}

/* ---- derivatives over the nodes -------------------------------------------------------------- */

/* What the nodes sum to, before division by the total mass. */
typedef struct {
  double total;
  double v[GENERAL_MAX_TERMS], vv[GENERAL_MAX_TERMS * GENERAL_MAX_TERMS];
  double g[GENERAL_MAX_TERMS];                      /* h' */
  double zg[GENERAL_MAX_TERMS * GENERAL_MAX_TERMS]; /* z h'' s: z_d h'_c at d + q c */
} node_sums;

static void add_moments(int q, int n, const general_space *s, node_sums *sum) {
  for (int c = 0; c < q; c++) {
    const double *v = s->v + n * c;
    sum->v[c] += dot_lanes(s->e, v, n);
    for (int k = 0; k < n; k++) s->weighted[k] = s->e[k] * v[k];
    for (int d = c; d < q; d++) sum->vv[d + q * c] += dot_lanes(s->weighted, s->v + n * d, n);
  }
}

/* Slopes by the entries of L of each node, h' and its moments; D_r = sum_i Z_ir f_i'. */
static void node_slopes(const group *G, int n, general_space *s, node_sums *sum) {
  const int p = G->p, q = G->q;
  double *D = s->node_slope;
  node_kernels_current()->cross(G->n, q, n, G->Z, G->weight, s->first, D);
  for (int r = 0, at = p; r < q; r++)
    for (int c = 0; c <= r; c++, at++)
      for (int k = 0; k < n; k++) s->slope[n * at + k] = D[n * r + k] * s->v[n * c + k];
  for (int c = 0; c < q; c++) {
    for (int k = 0; k < n; k++) s->weighted[k] = -s->v[n * c + k];
    for (int r = c; r < q; r++) add_lanes(G->at->L[r + q * c], D + n * r, s->weighted, n);
    for (int k = 0; k < n; k++) s->weighted[k] *= s->e[k];
    sum->g[c] += sum_lanes(s->weighted, n);
    for (int d = 0; d < q; d++) sum->zg[d + q * c] += dot_lanes(s->z + n * d, s->weighted, n);
  }
}

/* By psi: slopes of each node, and (order) what the complete second derivatives have of it. */
static void own_slopes(const group *G, int n, int n_own, general_order order, general_space *s) {
  const int p = G->p, q = G->q, n_root = q * (q + 1) / 2, from = p + n_root, N = from + n_own;
  const response_law *law = G->at->response;
  memset(s->slope + n * from, 0, (size_t)(n_own * n) * sizeof(double));
  for (int i = 0; i < G->n; i++) {
    const double *X = G->X + (size_t)p * (size_t)i, *Z = G->Z + (size_t)q * (size_t)i;
    for (int k = 0; k < n; k++) {
      response_own own;
      const double w = weight_of(G, i), mass = w * s->e[k];
      if (s->e[k] == 0.0) continue;
      law->own(law, G->y[i], G->size[i], s->x[(size_t)n * (size_t)i + (size_t)k], &own);
      for (int l = 0; l < n_own; l++) {
        s->slope[n * (from + l) + k] += w * own.own[l];
        if (order < GENERAL_HESSIAN) continue;
        double *row = s->complete + from + l;
        for (int j = 0; j < p; j++) row[N * j] += mass * own.x_own[l] * X[j];
        for (int r = 0, at = p; r < q; r++)
          for (int c = 0; c <= r; c++, at++)
            row[N * at] += mass * own.x_own[l] * Z[r] * s->v[n * c + k];
        for (int m = 0; m <= l; m++)
          row[N * (from + m)] += mass * own.own_own[packed_size(l) + (size_t)m];
      }
    }
  }
}

/* E of the slopes by L and psi, and of all their products; moments of each row. */
static void slope_moments(const group *G, int n, int N, general_order order, general_space *s) {
  const node_kernels *kernels = node_kernels_current();
  for (int a = G->p; a < N; a++) s->score[a] += dot_lanes(s->e, s->slope + n * a, n);
  kernels->moments(G->n, G->q, n, order == GENERAL_HESSIAN, s->e, s->v, s->first, s->second,
                   s->moment);
  if (order < GENERAL_HESSIAN) return;
  kernels->cross(G->n, G->p, n, G->X, G->weight, s->first, s->slope); /* by beta */
  kernels->products(N, n, s->e, s->slope, s->spread);
}

/* ---- the derivative of the quadrature's own value -------------------------------------------- */

/* The value is -log |C| + log sum_k scaled_k exp h(v_k) + a constant, v_k = mode + C^{-T} z_k.
 * With masses p_k and g_k = h'(v_k) its derivative by what the nodes depend on is, adjoint to H and
 * the mode,
 *
 *   A = -H^{-1} / 2 - C^{-T} S C^{-1},   sum_k p_k g_k,
 *
 * S the symmetric part of the lower triangle, its diagonal halved, of (sum_k p_k z_k g_k') C^{-T}.
 * H moves with the mode by third derivatives, t_i = -f_i''' a_i'A a_i, and the mode with everything
 * by c = H^{-1} (sum_k p_k g_k + sum_i t_i a_i).  All of it vanishes as the nodes become many. */
static void adjoint_of_H(const group *G, const node_sums *sum, double *A) {
  const int q = G->q;
  const double *Ci = G->inverse;
  double T[GENERAL_MAX_TERMS * GENERAL_MAX_TERMS], S[GENERAL_MAX_TERMS * GENERAL_MAX_TERMS];
  for (int i = 0; i < q; i++)
    for (int j = 0; j < q; j++) {
      T[i + q * j] = 0.0; /* (C^{-T})_cj = Ci_jc */
      for (int c = 0; c <= j; c++) T[i + q * j] += sum->zg[i + q * c] * Ci[j + q * c] / sum->total;
    }
  for (int i = 0; i < q; i++)
    for (int j = 0; j <= i; j++) S[i + q * j] = S[j + q * i] = 0.5 * T[i + q * j];
  for (int i = 0; i < q; i++)
    for (int j = 0; j < q; j++) {
      A[i + q * j] = 0.0;
      for (int k = i; k < q; k++) {
        if (k >= j) A[i + q * j] -= 0.5 * Ci[k + q * i] * Ci[k + q * j];
        for (int l = j; l < q; l++) A[i + q * j] -= Ci[k + q * i] * S[k + q * l] * Ci[l + q * j];
      }
    }
}

/* Adds the derivatives by what moves the nodes to the gradient. */
static void add_movement(const group *G, const node_sums *sum, const double *mode, int n_own,
                         const general_space *s, double *gradient) {
  const int p = G->p, q = G->q, n_root = q * (q + 1) / 2;
  const response_law *law = G->at->response;
  double A[GENERAL_MAX_TERMS * GENERAL_MAX_TERMS], pull[GENERAL_MAX_TERMS], c[GENERAL_MAX_TERMS];
  double Aa[GENERAL_MAX_TERMS];
  adjoint_of_H(G, sum, A);
  for (int d = 0; d < q; d++) pull[d] = sum->g[d] / sum->total;
  for (int pass = 0; pass < 2; pass++) {
    if (pass == 1) solve(G->inverse, q, pull, c);
    for (int i = 0; i < G->n; i++) {
      const double *a = s->a + q * i, *X = G->X + (size_t)p * (size_t)i;
      const double *Z = G->Z + (size_t)q * (size_t)i;
      for (int d = 0; d < q; d++) Aa[d] = dot(A + q * d, a, q);
      const double aAa = dot(a, Aa, q), t = -s->at_xxx[i] * aAa;
      if (pass == 0) {
        for (int d = 0; d < q; d++) pull[d] += t * a[d];
        continue;
      }
      const double ac = dot(a, c, q), rho = t + s->at_xx[i] * ac;
      for (int j = 0; j < p; j++) gradient[j] += rho * X[j];
      for (int d = 0; d < q; d++) {
        const double by_a = rho * mode[d] + s->at_x[i] * c[d] - 2.0 * s->at_xx[i] * Aa[d];
        for (int r = d; r < q; r++) gradient[p + general_packed(r, d)] += by_a * Z[r];
      }
      if (n_own == 0) continue;
      response_own own;
      law->own(law, G->y[i], G->size[i], s->at[i], &own);
      for (int l = 0; l < n_own; l++)
        gradient[p + n_root + l] += weight_of(G, i) * (own.x_own[l] * ac - own.xx_own[l] * aAa);
    }
  }
}

/* ---- what a group adds ----------------------------------------------------------------------- */

static void add_row_hessian(const group *G, double scale, const general_space *s, int N,
                            double *complete) {
  const int p = G->p, q = G->q, n_moment = general_n_moment(q);
  for (int i = 0; i < G->n; i++) {
    const double *m = s->moment + n_moment * i;
    const double w = weight_of(G, i) * scale;
    const double *X = G->X + (size_t)p * (size_t)i, *Z = G->Z + (size_t)q * (size_t)i;
    for (int j = 0; j < p; j++) {
      const double x = w * m[1] * X[j];
      for (int k = j; k < p; k++) complete[k + N * j] += x * X[k];
    }
    for (int r = 0, at = p; r < q; r++)
      for (int c = 0; c <= r; c++, at++) {
        const double x = w * m[2 + c] * Z[r];
        for (int j = 0; j < p; j++) complete[at + N * j] += x * X[j];
        for (int u = 0, to = p; u <= r; u++)
          for (int d = 0; d <= u && to <= at; d++, to++)
            complete[at + N * to] +=
                w * Z[r] * Z[u] * m[2 + q + (c > d ? general_packed(c, d) : general_packed(d, c))];
      }
  }
}

static void add_group(const group *G, const node_sums *sum, const double *mode, int n_own,
                      int stay, general_order order, const general_space *s, general_sums *out) {
  const int p = G->p, q = G->q, N = p + q * (q + 1) / 2 + n_own, n_moment = general_n_moment(q);
  const double scale = 1.0 / sum->total;
  for (int c = 0; c < q; c++)
    for (int d = c; d < q; d++) out->second[d + q * c] += scale * sum->vv[d + q * c];
  for (int i = 0; i < G->n; i++) {
    const double slope = weight_of(G, i) * s->moment[n_moment * i];
    for (int j = 0; j < p; j++) s->score[j] += slope * G->X[(size_t)p * (size_t)i + (size_t)j];
  }
  for (int a = 0; a < N; a++) {
    s->score[a] *= scale;
    out->score[a] += s->score[a];
    out->gradient[a] += s->score[a];
  }
  if (!stay) add_movement(G, sum, mode, n_own, s, out->gradient);
  if (order < GENERAL_HESSIAN) return;
  add_row_hessian(G, scale, s, N, out->complete);
  for (int b = 0; b < N; b++)
    for (int a = b; a < N; a++) {
      out->complete[a + N * b] += scale * s->complete[a + N * b];
      out->spread[a + N * b] += scale * s->spread[a + N * b] - s->score[a] * s->score[b];
    }
}

static double own_constant(const group *G) {
  const response_law *law = G->at->response;
  double sum = 0.0;
  for (int i = 0; i < G->n; i++) sum += weight_of(G, i) * law->constant(law, G->y[i], G->size[i]);
  return sum;
}

/* Adds sum_k e_k v S' to with_slope. */
static void add_with_slope(int q, int n, int N, general_space *s, double *with_slope) {
  for (int c = 0; c < q; c++) {
    for (int k = 0; k < n; k++) s->weighted[k] = s->e[k] * s->v[n * c + k];
    for (int a = 0; a < N; a++)
      with_slope[c + q * a] += dot_lanes(s->weighted, s->slope + n * a, n);
  }
}

static void fill_posterior(const group *G, const node_sums *sum, int n_node, int N,
                           const double *score, general_posterior *out) {
  const int q = G->q;
  for (int c = 0; c < q; c++) out->mean[c] = sum->v[c] / sum->total;
  for (int c = 0; c < q; c++)
    for (int d = c; d < q; d++)
      out->cov[d + q * c] = out->cov[c + q * d] =
          sum->vv[d + q * c] / sum->total - out->mean[c] * out->mean[d];
  for (int c = 0; c < q && n_node == 1; c++)
    for (int d = 0; d < q; d++)
      out->cov[d + q * c] = dot(G->inverse + q * c, G->inverse + q * d, q);
  for (int a = 0; a < N && out->with_slope; a++)
    for (int c = 0; c < q; c++)
      out->with_slope[c + q * a] =
          out->with_slope[c + q * a] / sum->total - out->mean[c] * score[a];
}

elbo_status general_group(const general_rows *rows, const general_point *at,
                          const general_rule *rule, int g, general_order order, double *mode,
                          general_space *s, general_sums *sums, general_posterior *posterior) {
  const int n_own = at->response->n_own, p = rows->p, q = rows->q;
  const int N = p + q * (q + 1) / 2 + n_own;
  group G;
  node_sums sum = {0};
  open_group(&G, rows, at, g, s);
  const elbo_status status = find_mode(&G, mode, s);
  if (status != ELBO_OK) return status;
  const double log_det = G.log_det;
  find_window(&G, mode, rule, s);
  if (order > GENERAL_VALUE) {
    memset(s->moment, 0, (size_t)(general_n_moment(q) * G.n) * sizeof(double));
    memset(s->score, 0, (size_t)N * sizeof(double));
    if (order > GENERAL_GRADIENT) {
      memset(s->complete, 0, square(N) * sizeof(double));
      memset(s->spread, 0, square(N) * sizeof(double));
    }
  }
  for (int k0 = 0; k0 < rule->padded; k0 += s->chunk) {
    const int n = smaller(s->chunk, rule->padded - k0);
    if (rule->n_node == 1) {
      at_mode_alone(&G, mode, n, s);
    } else {
      at_nodes(&G, rule, mode, k0, n, s);
      at_predictors(&G, n, s);
    }
    masses(&G, rule, k0, n, s);
    sum.total += sum_lanes(s->e, n);
    if (order > GENERAL_VALUE || posterior) add_moments(q, n, s, &sum);
    if (order == GENERAL_VALUE) continue;
    forget_massless(&G, n, rule->n_node - k0, s);
    node_slopes(&G, n, s, &sum);
    if (n_own > 0) own_slopes(&G, n, n_own, order, s);
    slope_moments(&G, n, N, order, s);
    if (posterior && posterior->with_slope) add_with_slope(q, n, N, s, posterior->with_slope);
  }
  const double constant = n_own > 0 ? own_constant(&G) : 0.0;
  /* A window's nodes are many enough for their movement not to matter. */
  const int stay = rule->points || rule->fall > 0.0;
  const double integral = rule->points ? 0.0 : log(sum.total) - G.log_det;
  sums->value += constant + G.h + integral - 0.5 * q * LOG_2PI;
  if (order > GENERAL_VALUE) add_group(&G, &sum, mode, n_own, stay, order, s, sums);
  if (posterior) fill_posterior(&G, &sum, rule->n_node, N, s->score, posterior);
  if (posterior) posterior->laplace = constant + G.h - log_det;
  return isfinite(sums->value) ? ELBO_OK : ELBO_E_NOT_FINITE;
}

/* ---- between two points ---------------------------------------------------------------------- */

elbo_status general_group_change(const general_rows *rows, const general_point *from,
                                 const general_point *to, const double *inverse,
                                 const general_rule *rule, int g, double *mode, general_space *s,
                                 double *change) {
  const int q = rows->q, n_own = from->response->n_own;
  group G;
  double total = 0.0, sum = 0.0;
  open_group(&G, rows, from, g, s);
  const elbo_status status = find_mode(&G, mode, s);
  if (status != ELBO_OK) return status;
  find_window(&G, mode, rule, s);
  double constant = n_own > 0 ? -own_constant(&G) : 0.0;
  for (int c = 0; c < q; c++) constant += log(fabs(inverse[c * (q + 1)]));
  for (int k0 = 0; k0 < rule->padded; k0 += s->chunk) {
    const int n = smaller(s->chunk, rule->padded - k0);
    if (k0 > 0) open_group(&G, rows, from, g, s);
    at_nodes(&G, rule, mode, k0, n, s);
    at_predictors(&G, n, s);
    masses(&G, rule, k0, n, s);
    total += sum_lanes(s->e, n);
    for (int k = 0; k < n; k++)
      if (s->e[k] > 0.0) sum -= s->e[k] * s->h[k];
    open_group(&G, rows, to, g, s);
    for (int r = q - 1; r >= 0; r--) /* v to T^{-1} v, its last entries first */
      for (int k = 0; k < n; k++) {
        double moved = 0.0;
        for (int c = 0; c <= r; c++) moved += inverse[r + q * c] * s->v[n * c + k];
        s->v[n * r + k] = moved;
      }
    memset(s->h, 0, (size_t)n * sizeof(double));
    for (int c = 0; c < q; c++)
      for (int k = 0; k < n; k++) s->h[k] -= 0.5 * s->v[n * c + k] * s->v[n * c + k];
    at_predictors(&G, n, s);
    for (int k = 0; k < n; k++)
      if (s->e[k] > 0.0) sum += s->e[k] * s->h[k];
  }
  if (n_own > 0) constant += own_constant(&G);
  *change = constant + sum / total;
  return isfinite(*change) ? ELBO_OK : ELBO_E_NOT_FINITE;
}
