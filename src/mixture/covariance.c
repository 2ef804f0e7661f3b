#include "mixture/covariance.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "math/la.h"
#include "math/small.h"

static const double SINGULAR = 1e-12;  /* variance relative to the reference */
static const double EMPTY = 1e-150;    /* n_j below it: nothing is known of the component */
static const double SMALLEST = 1e-200; /* of a variance whose logarithm is taken */
static const double FAR = -0.99;       /* cosine: beyond it a column is rather of the other sign */
static const double SETTLED = 1e-14;   /* change of the mean log volume */
enum { MOST_ROUNDS = 100 };

/* Volume, shape and orientation: I none, E equal, V varying. */
static const char NAME[14][4] = {"EII", "VII", "EEI", "VEI", "EVI", "VVI", "EEE",
                                 "VEE", "EVE", "VVE", "EEV", "VEV", "EVV", "VVV"};

static int how_many(char letter, int k) { return letter == 'V' ? k : letter == 'E'; }

/* Index among n (1 or k) of what belongs to component j. */
static int which(int n, int j) { return n == 1 ? 0 : j; }

static size_t at(const covariance_work *cov, int j) { return square(cov->d) * (size_t)j; }

/* C = A' B, all d x d. */
static void cross(const double *A, const double *B, int d, double *C) {
  for (int b = 0; b < d; b++)
    for (int a = 0; a < d; a++) {
      double sum = 0.0;
      for (int c = 0; c < d; c++) sum += A[c + d * a] * B[c + d * b];
      C[a + d * b] = sum;
    }
}

static int is_empty(double n) { return !(n > EMPTY); }

int covariance_n_parameters(covariance_model model, int d, int k) {
  const char *name = NAME[model];
  return how_many(name[0], k) + how_many(name[1], k) * (d - 1) +
         how_many(name[2], k) * (d * (d - 1) / 2);
}

int covariance_scales(covariance_model model) {
  const char *name = NAME[model];
  return name[1] != 'I' && (name[2] == 'I' || name[2] == name[1]);
}

void covariance_init(covariance_work *cov, covariance_model model, int d, int k,
                     const double *reference, const elbo_memory *mem) {
  const char *name = NAME[model];
  const size_t vector = (size_t)d, square = vector * vector, all = (size_t)k;
  memset(cov, 0, sizeof *cov);
  cov->model = model;
  cov->d = d;
  cov->k = k;
  cov->frame_kind = name[2] == 'I' ? FRAME_AXES : name[1] == name[2] ? FRAME_LOWER : FRAME_ROTATION;
  cov->n_volume = how_many(name[0], k);
  cov->n_shape = how_many(name[1], k);
  cov->n_frame = how_many(name[2], k);
  cov->n_distinct = strchr(name, 'V') == NULL ? 1 : k;
  cov->n_eta = covariance_n_parameters(model, d, k);
  cov->volume = elbo_doubles(mem, all);
  cov->shape = elbo_doubles(mem, vector * all);
  cov->frame = elbo_doubles(mem, square * all);
  cov->Sigma = elbo_doubles(mem, square * all);
  cov->reference = elbo_doubles(mem, vector);
  cov->anchor = elbo_doubles(mem, square * all);
  cov->omega = elbo_doubles(mem, vector * all);
  cov->turned = elbo_doubles(mem, square * all);
  cov->ones = elbo_doubles(mem, all);
  cov->one = elbo_doubles(mem, square);
  cov->two = elbo_doubles(mem, square);
  cov->three = elbo_doubles(mem, square);
  cov->four = elbo_doubles(mem, square);
  cov->values = elbo_doubles(mem, vector);
  cov->eigen = elbo_doubles(mem, la_eigen_size(d));
  memcpy(cov->reference, reference, vector * sizeof(double));
  memset(cov->anchor, 0, square * all * sizeof(double));
  memset(cov->frame, 0, square * all * sizeof(double));
  memset(cov->Sigma, 0, square * all * sizeof(double));
  for (int j = 0; j < k; j++) {
    cov->volume[j] = cov->ones[j] = 1.0;
    for (int a = 0; a < d; a++) {
      const size_t diagonal = at(cov, j) + (size_t)(a * (d + 1));
      cov->shape[a + d * j] = cov->frame[diagonal] = cov->anchor[diagonal] = 1.0;
      cov->Sigma[diagonal] = reference[a];
    }
  }
  int component;
  covariance_restore(cov, cov->Sigma, &component);
  covariance_anchor(cov);
  cov->cold = 1;
}

/* Sigma_j = volume_j B_j diag(shape_j) B_j'. */
static void rebuild(covariance_work *cov) {
  const int d = cov->d;
  for (int j = 0; j < cov->k; j++) {
    const double *B = cov->frame + at(cov, j), *shape = cov->shape + d * j;
    double *Sigma = cov->Sigma + at(cov, j);
    for (int b = 0; b < d; b++)
      for (int a = b; a < d; a++) {
        double sum = 0.0;
        for (int c = 0; c < d; c++) sum += B[a + d * c] * shape[c] * B[b + d * c];
        Sigma[a + d * b] = Sigma[b + d * a] = cov->volume[j] * sum;
      }
  }
}

/* The variances volume * shape are the squared pivots of Cholesky (axes, lower) or variances along
 * the columns of a rotation, where those of the reference are sum_c B_ca^2 reference_c, and where
 * rounding leaves DBL_EPSILON of the largest. */
elbo_status covariance_check(const covariance_work *cov, int *component) {
  const int d = cov->d;
  double worst = HUGE_VAL;
  for (int j = 0; j < cov->n_distinct; j++) {
    const double *B = cov->frame + at(cov, j), *shape = cov->shape + d * j;
    double most = 0.0;
    for (int a = 0; a < d; a++) most = fmax(most, cov->volume[j] * shape[a]);
    for (int a = 0; a < d; a++) {
      double least = SINGULAR * cov->reference[a];
      if (cov->frame_kind == FRAME_ROTATION) {
        least = 0.0;
        for (int c = 0; c < d; c++)
          least += SINGULAR * B[c + d * a] * B[c + d * a] * cov->reference[c];
        least = fmax(least, 4.0 * d * DBL_EPSILON * most);
      }
      const double ratio = cov->volume[j] * shape[a] / least;
      if (ratio >= worst) continue;
      worst = ratio;
      *component = cov->n_distinct == 1 ? -1 : j;
    }
  }
  return worst > 1.0 ? ELBO_OK : ELBO_E_UNBOUNDED;
}

/* ---- the M-step: frames --- */

/* omega_j for the axes; rounding may have made it negative where it is zero. */
static void axes(covariance_work *cov, const double *W) {
  const int d = cov->d;
  for (int j = 0; j < cov->k; j++)
    for (int a = 0; a < d; a++)
      cov->omega[a + d * j] = fmax(W[at(cov, j) + (size_t)(a * (d + 1))], 0.0);
}

/* C = U diag(pivot) U', U unit lower triangular. */
static elbo_status unit_lower(const double *C, int d, double *U, double *pivot) {
  memcpy(U, C, square(d) * sizeof(double));
  const elbo_status status = la_chol(U, d);
  if (status != ELBO_OK) return ELBO_E_UNBOUNDED;
  for (int b = 0; b < d; b++) {
    const double root = U[b + d * b];
    for (int a = b; a < d; a++) U[a + d * b] /= root;
    pivot[b] = root * root;
  }
  return status;
}

/* EVV, VVV: B_j is the factor of W_j. */
static elbo_status own_lower(covariance_work *cov, const double *n, const double *W,
                             int *component) {
  for (int j = 0; j < cov->k; j++) {
    if (is_empty(n[j])) continue;
    const elbo_status status =
        unit_lower(W + at(cov, j), cov->d, cov->frame + at(cov, j), cov->omega + cov->d * j);
    if (status == ELBO_OK) continue;
    *component = j;
    return status;
  }
  return ELBO_OK;
}

/* sum_j W_j / volume_j. */
static void pool(const covariance_work *cov, const double *n, const double *W, double *sum) {
  const size_t size = at(cov, 1);
  memset(sum, 0, size * sizeof(double));
  for (int j = 0; j < cov->k; j++)
    if (!is_empty(n[j]))
      for (size_t i = 0; i < size; i++) sum[i] += W[at(cov, j) + i] / cov->volume[j];
}

static void share_shape(covariance_work *cov) {
  for (int j = 1; j < cov->k; j++)
    memcpy(cov->shape + cov->d * j, cov->shape, (size_t)cov->d * sizeof(double));
}

static void share_frame(covariance_work *cov) {
  for (int j = 1; j < cov->k; j++)
    memcpy(cov->frame + at(cov, j), cov->frame, at(cov, 1) * sizeof(double));
}

/* EEE, VEE: B is the factor of sum_j W_j / volume_j; omega_j the diagonal of B^{-1} W_j B^{-T}. */
static elbo_status common_lower(covariance_work *cov, const double *n, const double *W,
                                int *component) {
  const int d = cov->d;
  double *inverse = cov->two;
  pool(cov, n, W, cov->one);
  const elbo_status status = unit_lower(cov->one, d, cov->frame, cov->values);
  *component = -1;
  if (status != ELBO_OK) return status;
  share_frame(cov);
  la_lower_inverse(cov->frame, d, inverse);
  for (int j = 0; j < cov->k; j++) {
    la_multiply(inverse, W + at(cov, j), d, d, d, cov->three);
    for (int a = 0; a < d; a++) {
      double sum = 0.0;
      for (int c = 0; c <= a; c++) sum += cov->three[a + d * c] * inverse[a + d * c];
      cov->omega[a + d * j] = sum;
    }
  }
  return ELBO_OK;
}

/* Signs s of the columns of orthogonal R at which I + R diag(s) = (diag(s) + R) diag(s) is not
 * singular (O'Dorney 2014): by elimination each pivot gets the sign that keeps it from zero, the
 * present one while the pivot of R is above `least`. */
static void choose_signs(const double *R, int d, double least, double *X, double *sign) {
  memcpy(X, R, square(d) * sizeof(double));
  for (int c = 0; c < d; c++) {
    sign[c] = X[c + d * c] > least ? 1.0 : -1.0;
    const double pivot = X[c + d * c] + sign[c];
    for (int b = c + 1; b < d; b++)
      for (int a = c + 1; a < d; a++) X[a + d * b] -= X[a + d * c] * X[c + d * b] / pivot;
  }
}

/* R = B0' B of rotation f and its anchor, with columns of such signs (also in cov->values): they
 * are nothing to Sigma. */
static void from_anchor(const covariance_work *cov, int f, double least, double *R) {
  const int d = cov->d;
  cross(cov->anchor + at(cov, f), cov->frame + at(cov, f), d, R);
  choose_signs(R, d, least, cov->two, cov->values);
  for (int b = 0; b < d; b++)
    for (int a = 0; a < d; a++) R[a + d * b] *= cov->values[b];
}

/* The columns of frames of the signs that bring them near their anchors. */
static void align(covariance_work *cov) {
  const int d = cov->d;
  for (int f = 0; f < cov->n_frame; f++) {
    from_anchor(cov, f, 0.0, cov->one);
    for (int b = 0; b < d; b++)
      for (int a = 0; a < d; a++) cov->frame[at(cov, f) + (size_t)(a + d * b)] *= cov->values[b];
  }
}

/* EEV, VEV: B_j are the eigenvectors of W_j, in the same order for all. */
static elbo_status own_rotation(covariance_work *cov, const double *n, const double *W) {
  const int d = cov->d;
  for (int j = 0; j < cov->k; j++) {
    if (is_empty(n[j])) continue;
    memcpy(cov->frame + at(cov, j), W + at(cov, j), at(cov, 1) * sizeof(double));
    const elbo_status status = la_eigen(cov->frame + at(cov, j), d, cov->omega + d * j, cov->eigen);
    if (status != ELBO_OK) return status;
    for (int a = 0; a < d; a++) cov->omega[a + d * j] = fmax(cov->omega[a + d * j], 0.0);
  }
  align(cov);
  return ELBO_OK;
}

/* ---- EVE, VVE: a common rotation ------------------------------------------------------------- */

/* turned_j = B' W_j B, and omega_j its diagonal. */
static void turn(covariance_work *cov, const double *W) {
  const int d = cov->d;
  for (int j = 0; j < cov->k; j++) {
    cross(cov->frame, W + at(cov, j), d, cov->one);
    la_multiply(cov->one, cov->frame, d, d, d, cov->turned + at(cov, j));
  }
  axes(cov, cov->turned);
}

/* Columns a and b of X (rows x d) become c x_a + s x_b and c x_b - s x_a. */
static void rotate_columns(double *X, int d, int a, int b, double c, double s) {
  for (int i = 0; i < d; i++) {
    const double xa = X[i + d * a], xb = X[i + d * b];
    X[i + d * a] = c * xa + s * xb;
    X[i + d * b] = c * xb - s * xa;
  }
}

static void rotate_rows(double *X, int d, int a, int b, double c, double s) {
  for (int i = 0; i < d; i++) {
    const double xa = X[a + d * i], xb = X[b + d * i];
    X[a + d * i] = c * xa + s * xb;
    X[b + d * i] = c * xb - s * xa;
  }
}

/* Rotates columns a and b of B by the angle at which sum_j tr(W_j Sigma_j^{-1}) is least (Flury &
 * Gautschi 1986): the first becomes the smallest eigenvector, in their plane, of
 * sum_j (1 / v_ja - 1 / v_jb) W_j, with variances v_j = volume_j shape_j. */
static void rotate_pair(covariance_work *cov, const double *n, int a, int b) {
  const int d = cov->d;
  double difference = 0.0, off = 0.0; /* of the 2 x 2 matrix */
  for (int j = 0; j < cov->k; j++) {
    if (is_empty(n[j])) continue;
    const double *T = cov->turned + at(cov, j), *shape = cov->shape + d * j;
    const double weight = (1.0 / shape[a] - 1.0 / shape[b]) / cov->volume[j];
    difference += weight * (T[b + d * b] - T[a + d * a]);
    off += weight * T[a + d * b];
  }
  const double angle = 0.5 * atan2(-2.0 * off, difference), c = cos(angle), s = sin(angle);
  rotate_columns(cov->frame, d, a, b, c, s);
  for (int j = 0; j < cov->k; j++) {
    rotate_columns(cov->turned + at(cov, j), d, a, b, c, s);
    rotate_rows(cov->turned + at(cov, j), d, a, b, c, s);
  }
}

static void sweep(covariance_work *cov, const double *n) {
  for (int b = 1; b < cov->d; b++)
    for (int a = 0; a < b; a++) rotate_pair(cov, n, a, b);
  share_frame(cov);
  axes(cov, cov->turned);
}

/* Rounding in many rotations must not add up: the columns of B orthonormal (Gram & Schmidt). */
static void orthonormalise(double *B, int d) {
  for (int b = 0; b < d; b++) {
    double *x = B + d * b, norm = 0.0;
    for (int a = 0; a < b; a++) {
      double dot = 0.0;
      for (int i = 0; i < d; i++) dot += B[i + d * a] * x[i];
      for (int i = 0; i < d; i++) x[i] -= dot * B[i + d * a];
    }
    for (int i = 0; i < d; i++) norm += x[i] * x[i];
    for (int i = 0; i < d; i++) x[i] /= sqrt(norm);
  }
}

/* ---- the M-step: volumes and shapes, the alternation ----------------------------------------- */

/* shape_j in proportion to the sum of omega_l / volume_l over those components l that share it. */
static void shapes(covariance_work *cov, const double *n) {
  const int d = cov->d;
  for (int s = 0; s < cov->n_shape; s++) {
    const int first = cov->n_shape == 1 ? 0 : s, end = cov->n_shape == 1 ? cov->k : s + 1;
    double *shape = cov->shape + d * first, log_det = 0.0, used = 0.0;
    for (int j = first; j < end; j++) used = fmax(used, n[j]);
    if (is_empty(used)) continue;
    for (int a = 0; a < d; a++) {
      double sum = 0.0;
      for (int j = first; j < end; j++)
        if (!is_empty(n[j])) sum += cov->omega[a + d * j] / cov->volume[j];
      shape[a] = log(fmax(sum, SMALLEST));
      log_det += shape[a];
    }
    for (int a = 0; a < d; a++) shape[a] = exp(shape[a] - log_det / d);
  }
  if (cov->n_shape == 1) share_shape(cov);
}

/* volume_j: the mean of omega_ja / shape_ja over what shares it. */
static void volumes(covariance_work *cov, const double *n) {
  const int d = cov->d;
  double total = 0.0, count = 0.0;
  for (int j = 0; j < cov->k; j++) {
    double sum = 0.0;
    if (is_empty(n[j])) continue;
    for (int a = 0; a < d; a++) sum += cov->omega[a + d * j] / cov->shape[a + d * j];
    total += sum;
    count += n[j];
    if (cov->n_volume > 1) cov->volume[j] = fmax(sum / (d * n[j]), SMALLEST);
  }
  if (cov->n_volume > 1) return;
  for (int j = 0; j < cov->k; j++) cov->volume[j] = fmax(total / (d * count), SMALLEST);
}

/* sum_j n_j log volume_j / sum_j n_j: at its best volume the objective is a constant less d n / 2
 * times this. */
static double mean_log_volume(const covariance_work *cov, const double *n) {
  double sum = 0.0, count = 0.0;
  for (int j = 0; j < cov->k; j++) {
    if (is_empty(n[j])) continue;
    sum += n[j] * log(cov->volume[j]);
    count += n[j];
  }
  return sum / count;
}

/* Only common frames depend on volumes and shapes. */
static elbo_status next_frames(covariance_work *cov, const double *n, const double *W,
                               int *component) {
  if (cov->n_frame != 1) return ELBO_OK;
  if (cov->frame_kind == FRAME_LOWER) return common_lower(cov, n, W, component);
  sweep(cov, n);
  return ELBO_OK;
}

/* Volumes against a common shape, or a common rotation against shapes: no joint closed form. */
static int alternates(const covariance_work *cov) {
  return (cov->n_shape == 1 && cov->n_volume > 1) ||
         (cov->frame_kind == FRAME_ROTATION && cov->n_frame == 1);
}

/* From frames and their omega: shapes, volumes and what depends on them in turn, until nothing
 * moves. */
static elbo_status alternate(covariance_work *cov, const double *n, const double *W,
                             int *component) {
  shapes(cov, n);
  volumes(cov, n);
  double before, now = mean_log_volume(cov, n);
  for (int round = 1; round < MOST_ROUNDS && alternates(cov); round++) {
    const elbo_status status = next_frames(cov, n, W, component);
    if (status != ELBO_OK) return status;
    shapes(cov, n);
    volumes(cov, n);
    before = now;
    now = mean_log_volume(cov, n);
    if (!(before - now > SETTLED)) break;
  }
  return ELBO_OK;
}

/* Climbs from the present frame, which is the best one if it gets highest and makes no Sigma_j
 * singular. */
static void consider(covariance_work *cov, const double *n, const double *W, double *best,
                     double *least) {
  int component;
  share_frame(cov);
  turn(cov, W);
  alternate(cov, n, W, &component); /* sweeps do not fail */
  const double value = mean_log_volume(cov, n);
  if (!(value < *least) || covariance_check(cov, &component) != ELBO_OK) return;
  *least = value;
  memcpy(best, cov->frame, at(cov, 1) * sizeof(double));
}

/* EVE, VVE: there may be several maxima, so the first M-step climbs from the axes, from the
 * eigenvectors of each W_j and from those of their sum. */
static elbo_status choose_common_rotation(covariance_work *cov, const double *n, const double *W) {
  double *best = cov->three, least = HUGE_VAL;
  memcpy(best, cov->frame, at(cov, 1) * sizeof(double));
  consider(cov, n, W, best, &least);
  for (int c = 0; c <= cov->k; c++) {
    if (c < cov->k && is_empty(n[c])) continue;
    if (c < cov->k)
      memcpy(cov->frame, W + at(cov, c), at(cov, 1) * sizeof(double));
    else
      pool(cov, n, W, cov->frame);
    const elbo_status status = la_eigen(cov->frame, cov->d, cov->values, cov->eigen);
    if (status != ELBO_OK) return status;
    consider(cov, n, W, best, &least);
  }
  memcpy(cov->frame, best, at(cov, 1) * sizeof(double));
  return ELBO_OK;
}

static elbo_status start_common_rotation(covariance_work *cov, const double *n, const double *W) {
  orthonormalise(cov->frame, cov->d);
  if (cov->cold) {
    const elbo_status status = choose_common_rotation(cov, n, W);
    if (status != ELBO_OK) return status;
  }
  align(cov);
  share_frame(cov);
  turn(cov, W);
  return ELBO_OK;
}

static elbo_status start_frames(covariance_work *cov, const double *n, const double *W,
                                int *component) {
  switch (cov->frame_kind) {
    case FRAME_LOWER:
      return cov->n_frame == 1 ? common_lower(cov, n, W, component)
                               : own_lower(cov, n, W, component);
    case FRAME_ROTATION:
      return cov->n_frame == 1 ? start_common_rotation(cov, n, W) : own_rotation(cov, n, W);
    default:
      axes(cov, W);
      return ELBO_OK;
  }
}

/* A component of a shape of its own, with rows but no scatter, has no best shape. */
static elbo_status find_shapeless(const covariance_work *cov, const double *n, const double *W,
                                  int *component) {
  if (cov->n_shape <= 1) return ELBO_OK;
  for (int j = 0; j < cov->k; j++) {
    int scattered = is_empty(n[j]);
    for (int a = 0; a < cov->d; a++)
      if (W[at(cov, j) + (size_t)(a * (cov->d + 1))] > SINGULAR * n[j] * cov->reference[a])
        scattered = 1;
    if (scattered) continue;
    *component = j;
    return ELBO_E_UNBOUNDED;
  }
  return ELBO_OK;
}

elbo_status covariance_m_step(covariance_work *cov, const double *n, const double *W,
                              int *component) {
  double most = 0.0;
  for (int j = 0; j < cov->k; j++) most = fmax(most, n[j]);
  if (is_empty(most)) return ELBO_OK;
  elbo_status status = find_shapeless(cov, n, W, component);
  if (status != ELBO_OK) return status;
  status = start_frames(cov, n, W, component);
  if (status == ELBO_OK) status = alternate(cov, n, W, component);
  if (status != ELBO_OK) return status;
  cov->cold = 0;
  rebuild(cov);
  return covariance_check(cov, component);
}

elbo_status covariance_restore(covariance_work *cov, const double *Sigma, int *component) {
  cov->cold = 1;
  return covariance_m_step(cov, cov->ones, Sigma, component);
}

/* ---- free coordinates ------------------------------------------------------------------------ */

void covariance_anchor(covariance_work *cov) {
  memcpy(cov->anchor, cov->frame, at(cov, cov->k) * sizeof(double));
}

static void pack_lower(const double *X, int d, double **eta) {
  for (int b = 0; b < d; b++)
    for (int a = b + 1; a < d; a++) *(*eta)++ = X[a + d * b];
}

/* K of rotation f: R = (I + K) (I - K)^{-1} gives K = (R - R') (2 I + R + R')^{-1}. */
static void skew_of(const covariance_work *cov, int f, double *K) {
  const int d = cov->d;
  double *R = cov->one, *inverse = cov->two, *difference = cov->three;
  from_anchor(cov, f, FAR, R);
  for (int b = 0; b < d; b++)
    for (int a = 0; a < d; a++) {
      difference[a + d * b] = R[a + d * b] - R[b + d * a];
      inverse[a + d * b] = R[a + d * b] + R[b + d * a] + (a == b ? 2.0 : 0.0);
    }
  la_chol(inverse, d); /* I + R is not singular, thanks to the signs */
  la_inverse_from_chol(inverse, d);
  la_multiply(difference, inverse, d, d, d, K);
}

void covariance_pack(const covariance_work *cov, double *eta) {
  const int d = cov->d;
  for (int j = 0; j < cov->n_volume; j++) *eta++ = log(cov->volume[j]);
  for (int s = 0; s < cov->n_shape; s++)
    for (int a = 0; a < d - 1; a++) *eta++ = log(cov->shape[a + d * s]);
  for (int f = 0; f < cov->n_frame; f++) {
    if (cov->frame_kind == FRAME_ROTATION) {
      skew_of(cov, f, cov->one);
      pack_lower(cov->one, d, &eta);
    } else {
      pack_lower(cov->frame + at(cov, f), d, &eta);
    }
  }
}

/* B = B0 (I + K) (I - K)^{-1}; the latter is (I + K)^2 (I + K' K)^{-1}. */
static elbo_status rotate_anchor(const covariance_work *cov, const double *eta, int f, double *B) {
  const int d = cov->d;
  double *plus = cov->one, *square = cov->two, *inverse = cov->three;
  for (int b = 0; b < d; b++) {
    plus[b + d * b] = 1.0;
    for (int a = b + 1; a < d; a++) {
      plus[a + d * b] = *eta++;
      plus[b + d * a] = -plus[a + d * b];
    }
  }
  cross(plus, plus, d, inverse); /* (I + K)' (I + K) = I + K' K */
  elbo_status status = la_chol(inverse, d);
  if (status != ELBO_OK) return status;
  status = la_inverse_from_chol(inverse, d);
  if (status != ELBO_OK) return status;
  la_multiply(plus, plus, d, d, d, square);
  la_multiply(square, inverse, d, d, d, plus);
  la_multiply(cov->anchor + at(cov, f), plus, d, d, d, B);
  orthonormalise(B, d);
  return ELBO_OK;
}

static elbo_status unpack_frame(covariance_work *cov, const double *eta, int f) {
  const int d = cov->d;
  double *B = cov->frame + at(cov, f);
  if (cov->frame_kind == FRAME_ROTATION) return rotate_anchor(cov, eta, f, B);
  for (int b = 0; b < d; b++)
    for (int a = b + 1; a < d; a++) B[a + d * b] = *eta++;
  return ELBO_OK;
}

static void unpack_shape(covariance_work *cov, const double *eta, int s) {
  const int d = cov->d;
  double rest = 0.0;
  for (int a = 0; a < d - 1; a++) {
    cov->shape[a + d * s] = exp(eta[a]);
    rest -= eta[a];
  }
  cov->shape[d - 1 + d * s] = exp(rest);
}

elbo_status covariance_unpack(covariance_work *cov, const double *eta) {
  const int d = cov->d, n_lower = d * (d - 1) / 2;
  const double *shape = eta + cov->n_volume, *frame = shape + (d - 1) * cov->n_shape;
  for (int j = 0; j < cov->k; j++) cov->volume[j] = exp(eta[which(cov->n_volume, j)]);
  for (int s = 0; s < cov->n_shape; s++) unpack_shape(cov, shape + (d - 1) * s, s);
  for (int f = 0; f < cov->n_frame; f++) {
    const elbo_status status = unpack_frame(cov, frame + n_lower * f, f);
    if (status != ELBO_OK) return status;
  }
  if (cov->n_shape == 1) share_shape(cov);
  if (cov->n_frame == 1) share_frame(cov);
  cov->cold = 0;
  rebuild(cov);
  for (int j = 0; j < cov->k; j++)
    for (int a = 0; a < d; a++) {
      const double variance = cov->volume[j] * cov->shape[a + d * j];
      if (!(variance > 0.0 && isfinite(cov->Sigma[at(cov, j) + (size_t)(a * (d + 1))])))
        return ELBO_E_NOT_PD;
    }
  return ELBO_OK;
}

/* M = df/dB_j = 2 G_j B diag(v_j), variances v_j = volume_j shape_j; B is B_j but for signs. */
static void by_frame(const covariance_work *cov, int j, const double *G, const double *B,
                     double *M) {
  const int d = cov->d;
  la_multiply(G, B, d, d, d, M);
  for (int b = 0; b < d; b++)
    for (int a = 0; a < d; a++) M[a + d * b] *= 2.0 * cov->volume[j] * cov->shape[b + d * j];
}

/* df by the skew K that turns the anchor into B = B0 R: dB = (B0 + B) dK (I + R) / 2, so with
 * N' = (I + R) / 2 M' (B0 + B) it is N - N'. */
static void by_skew(const covariance_work *cov, int j, const double *G, double *gradient) {
  const int d = cov->d;
  double *R = cov->one, *M = cov->two, *B = cov->three, *sum = cov->four;
  const double *B0 = cov->anchor + at(cov, j);
  from_anchor(cov, j, FAR, R);
  la_multiply(B0, R, d, d, d, B);
  by_frame(cov, j, G, B, M);
  for (int i = 0; i < d * d; i++) B[i] += B0[i];
  cross(M, B, d, sum);
  for (int i = 0; i < d; i++) R[i * (d + 1)] += 1.0;
  la_multiply(R, sum, d, d, d, M);
  for (int b = 0; b < d; b++)
    for (int a = b + 1; a < d; a++) *gradient++ += 0.5 * (M[b + d * a] - M[a + d * b]);
}

static void by_lower(const covariance_work *cov, int j, const double *G, double *gradient) {
  const int d = cov->d;
  by_frame(cov, j, G, cov->frame + at(cov, j), cov->two);
  for (int b = 0; b < d; b++)
    for (int a = b + 1; a < d; a++) *gradient++ += cov->two[a + d * b];
}

void covariance_gradient(const covariance_work *cov, const double *G, double *gradient) {
  const int d = cov->d, n_lower = d * (d - 1) / 2;
  double *shape = gradient + cov->n_volume, *frame = shape + (d - 1) * cov->n_shape;
  memset(gradient, 0, (size_t)cov->n_eta * sizeof(double));
  for (int j = 0; j < cov->k; j++) {
    const double *B = cov->frame + at(cov, j), *Gj = G + at(cov, j);
    double last = 0.0;
    for (int a = d - 1; a >= 0; a--) { /* df by the logarithm of v_ja is v_ja b_a' G_j b_a */
      const double slope = cov->volume[j] * cov->shape[a + d * j] * la_quadratic(Gj, B + d * a, d);
      gradient[which(cov->n_volume, j)] += slope;
      if (a == d - 1)
        last = slope;
      else if (cov->n_shape > 0)
        shape[a + (d - 1) * which(cov->n_shape, j)] += slope - last;
    }
    double *own = frame + n_lower * which(cov->n_frame, j);
    if (cov->frame_kind == FRAME_ROTATION) by_skew(cov, j, Gj, own);
    if (cov->frame_kind == FRAME_LOWER) by_lower(cov, j, Gj, own);
  }
}
