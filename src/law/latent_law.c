/* Laws of latent terms: eta <-> Sigma and the chain rules. */
#include "law/latent_law.h"

#include <math.h>
#include <string.h>

#include "math/la.h"
#include "math/small.h"

/* ---- set-up ---------------------------------------------------------------------------------- */

static int row_kind(const latent_terms *terms, int r) {
  const int held = !isnan(terms->sd[r]), turned = !isnan(terms->cor) && r == 1;
  return held && isinf(terms->sd[r])  ? LATENT_ROW_NO_LAW
         : terms->kind != LATENT_FREE ? LATENT_ROW_SHARED
         : held && turned             ? LATENT_ROW_FIXED
         : held                       ? LATENT_ROW_LENGTH
         : turned                     ? LATENT_ROW_DIRECTION
                                      : LATENT_ROW_FREE;
}

static void init_shared(latent_law *law, const latent_terms *terms) {
  const int q = law->q, correlated = law->kind == LATENT_SYMMETRIC || law->kind == LATENT_AR1;
  const double least = law->kind == LATENT_SYMMETRIC && q > 1 ? -1.0 / (q - 1.0) : -1.0;
  law->common = terms->common || law->kind == LATENT_MULTIPLE;
  law->squared = correlated && !law->common && q > 1;
  for (int i = 0; i < q; i++) {
    const int first = law->common && i > 0;
    law->eta_of_sd[i] = first ? law->eta_of_sd[0] : !isnan(terms->sd[i]) ? -1 : law->n_eta++;
    if (first) law->length[i] = law->length[0];
  }
  law->centre = 0.5 * (1.0 + least);
  law->radius = 0.5 * (1.0 - least);
  if (correlated && q > 1 && isnan(law->cor)) law->eta_of_cor = law->n_eta++;
}

void latent_law_init(latent_law *law, const latent_terms *terms, const elbo_memory *mem) {
  const int q = terms->q;
  memset(law, 0, sizeof *law);
  law->kind = terms->kind;
  law->q = q;
  law->cor = terms->cor;
  law->eta_of_cor = -1;
  law->row = elbo_ints(mem, (size_t)q);
  law->eta_of_row = elbo_ints(mem, (size_t)q);
  law->eta_of_sd = elbo_ints(mem, (size_t)q);
  law->length = elbo_doubles(mem, (size_t)q);
  law->unit = elbo_doubles(mem, (size_t)q);
  if (terms->kind == LATENT_MULTIPLE) {
    law->matrix = elbo_doubles(mem, square(q));
    law->matrix_root = elbo_doubles(mem, square(q));
    memcpy(law->matrix, terms->matrix, square(q) * sizeof(double));
    la_chol_semidefinite(law->matrix, q, 1e-14, law->matrix_root);
  }
  for (int r = 0; r < q; r++) {
    law->row[r] = row_kind(terms, r);
    law->length[r] = isfinite(terms->sd[r]) ? terms->sd[r] : 0.0;
    law->unit[r] = terms->unit ? terms->unit[r] : 1.0;
    law->eta_of_sd[r] = -1;
  }
  if (law->kind != LATENT_FREE) init_shared(law, terms);
  for (int r = 0; r < q && law->kind == LATENT_FREE; r++) {
    law->eta_of_row[r] = law->n_eta;
    law->n_eta += latent_law_row_size(law, r);
  }
}

int latent_law_row_size(const latent_law *law, int r) {
  switch (law->row[r]) {
    case LATENT_ROW_FREE:
      return r + 1;
    case LATENT_ROW_LENGTH:
      return r;
    case LATENT_ROW_DIRECTION:
      return 1;
    default:
      return 0;
  }
}

/* ---- a free covariance ----------------------------------------------------------------------- */

/* Element c of the unit vector with angles phi (j of them), differentiated with respect to angles
 * k and l (-1: not): cos phi_c prod_{i < c} sin phi_i, the last without a cosine. */
static double polar(const double *phi, int j, int c, int k, int l) {
  double product = 1.0;
  for (int i = 0; i < j; i++) {
    const int order = (i == k) + (i == l);
    const double s = sin(phi[i]), co = cos(phi[i]);
    if (i < c)
      product *= order == 0 ? s : order == 1 ? co : -s;
    else if (i == c)
      product *= order == 0 ? co : order == 1 ? -s : -co;
    else if (order > 0)
      return 0.0;
  }
  return product;
}

/* Row r of L, differentiated by its parameters k and l (-1: not). */
static void row_of_L(const latent_law *law, const double *eta, int r, int k, int l, double *out) {
  const double *x = eta + law->eta_of_row[r];
  const int order = (k >= 0) + (l >= 0);
  for (int c = 0; c <= r; c++) out[c] = 0.0;
  switch (law->row[r]) {
    case LATENT_ROW_FREE:
      if (order == 0)
        for (int c = 0; c <= r; c++) out[c] = x[c];
      else if (order == 1)
        out[k >= 0 ? k : l] = 1.0;
      break;
    case LATENT_ROW_LENGTH:
      for (int c = 0; c <= r; c++) out[c] = law->length[r] * polar(x, r, c, k, l);
      break;
    case LATENT_ROW_DIRECTION:
    case LATENT_ROW_FIXED: {
      const double length = law->row[r] == LATENT_ROW_FIXED ? law->length[r]
                            : order == 0                    ? x[0]
                            : order == 1                    ? 1.0
                                                            : 0.0;
      out[0] = length * law->cor;
      out[1] = length * sqrt(1.0 - law->cor * law->cor);
      break;
    }
    default:
      break;
  }
}

/* The row and its parameter that eta_k is. */
static int row_of_eta(const latent_law *law, int k, int *own) {
  int r = law->q - 1;
  while (law->eta_of_row[r] > k) r--;
  *own = k - law->eta_of_row[r];
  return r;
}

static void free_slope(const latent_law *law, const double *eta, int k, double *slope) {
  const int q = law->q;
  double d[LATENT_MAX_TERMS], row[LATENT_MAX_TERMS];
  int own;
  const int r = row_of_eta(law, k, &own);
  row_of_L(law, eta, r, own, -1, d);
  for (int c = 0; c < q; c++) {
    double sum = 0.0;
    row_of_L(law, eta, c, -1, -1, row);
    for (int i = 0; i <= smaller(r, c); i++) sum += d[i] * row[i];
    slope[r + q * c] += sum;
    slope[c + q * r] += sum;
  }
}

static void free_curvature(const latent_law *law, const double *eta, const double *G, int ld,
                           double *curvature) {
  const int q = law->q;
  double d[LATENT_MAX_TERMS], e[LATENT_MAX_TERMS], both[LATENT_MAX_TERMS], row[LATENT_MAX_TERMS];
  for (int r = 0; r < q; r++)
    for (int k = 0; k < latent_law_row_size(law, r); k++) {
      row_of_L(law, eta, r, k, -1, d);
      for (int s = 0; s < q; s++)
        for (int l = 0; l < latent_law_row_size(law, s); l++) {
          double sum = 0.0;
          row_of_L(law, eta, s, l, -1, e);
          for (int i = 0; i <= smaller(r, s); i++) sum += d[i] * e[i];
          sum *= G[r + q * s];
          if (r == s) {
            row_of_L(law, eta, r, k, l, both);
            for (int c = 0; c < q; c++) {
              row_of_L(law, eta, c, -1, -1, row);
              for (int i = 0; i <= smaller(r, c); i++) sum += G[r + q * c] * both[i] * row[i];
            }
          }
          curvature[law->eta_of_row[r] + k + ld * (law->eta_of_row[s] + l)] += 2.0 * sum;
        }
    }
}

static void free_pack(const latent_law *law, const double *L, double *eta) {
  const int q = law->q;
  for (int r = 0; r < q; r++) {
    double *x = eta + law->eta_of_row[r], rest = 0.0;
    switch (law->row[r]) {
      case LATENT_ROW_FREE:
        for (int c = 0; c <= r; c++) x[c] = L[r + q * c];
        break;
      case LATENT_ROW_LENGTH: /* from the last column back: tan phi_c = |rest| / L_c */
        rest = L[r + q * r];
        for (int c = r - 1; c >= 0; c--) {
          x[c] = atan2(rest, L[r + q * c]);
          rest = hypot(rest, L[r + q * c]);
        }
        break;
      case LATENT_ROW_DIRECTION:
        for (int c = 0; c <= r; c++) rest = hypot(rest, L[r + q * c]);
        x[0] = rest;
        break;
      default:
        break;
    }
  }
}

/* Column c of L has no variance of its own: what rows have in it turns into their last columns. */
static void empty_column(const latent_law *law, double *eta, int c) {
  for (int r = c + 1; r < law->q; r++) {
    double *x = eta + law->eta_of_row[r];
    const double length = hypot(x[c], x[r]);
    if (length == 0.0) continue;
    const double sine = x[c] / length, cosine = x[r] / length;
    for (int below = r; below < law->q; below++) {
      double *row = eta + law->eta_of_row[below];
      const double at_c = row[c], at_r = row[r];
      row[r] = cosine * at_r + sine * at_c;
      row[c] = cosine * at_c - sine * at_r;
    }
    x[c] = 0.0;
  }
}

void latent_law_round(const latent_law *law, double small, double *eta) {
  for (int r = 0; r < law->q; r++)
    if (law->row[r] != LATENT_ROW_FREE) return;
  for (int c = 0; c < law->q; c++) {
    double *diagonal = eta + law->eta_of_row[c] + c;
    if (fabs(*diagonal) >= small) continue;
    *diagonal = 0.0;
    empty_column(law, eta, c);
  }
}

/* ---- the other kinds ------------------------------------------------------------------------- */

/* unit_i s_i and its first and second derivatives by the eta it depends on. */
static void sd_of(const latent_law *law, const double *eta, int i, double *s) {
  const double x = law->eta_of_sd[i] < 0 ? law->length[i] : eta[law->eta_of_sd[i]];
  const int squared = law->squared && law->eta_of_sd[i] >= 0;
  s[0] = law->unit[i] * (squared ? x * x : x);
  s[1] = law->unit[i] * (squared ? 2.0 * x : 1.0);
  s[2] = law->unit[i] * (squared ? 2.0 : 0.0);
}

/* R_ij and its first and second derivatives by the eta of rho. */
static void cor_of(const latent_law *law, const double *eta, int i, int j, double *R) {
  R[0] = i == j ? 1.0 : 0.0;
  R[1] = R[2] = 0.0;
  if (law->matrix) R[0] = law->matrix[i + law->q * j];
  if (i == j || law->kind == LATENT_DIAGONAL || law->matrix) return;
  const int held = law->eta_of_cor < 0, apart = larger(i, j) - smaller(i, j);
  const int lag = law->kind == LATENT_AR1 ? apart : 1;
  const double phi = held ? 0.0 : eta[law->eta_of_cor];
  const double rho = held ? law->cor : law->centre + law->radius * sin(phi);
  R[0] = pow(rho, lag);
  if (held) return;
  const double slope = law->radius * cos(phi), bend = -law->radius * sin(phi);
  const double first = lag * pow(rho, lag - 1);
  const double second = lag > 1 ? lag * (lag - 1.0) * pow(rho, lag - 2) : 0.0;
  R[1] = first * slope;
  R[2] = second * slope * slope + first * bend;
}

/* ---- the root of R ---- */

/* A function of the eta of rho, with its first and second derivative. */
typedef struct {
  double x, d, dd;
} jet;

static jet constant(double x) { return (jet){x, 0.0, 0.0}; }

static jet add(double a, double b, jet y) { return (jet){a + b * y.x, b * y.d, b * y.dd}; }

static jet times(jet a, jet b) {
  return (jet){a.x * b.x, a.d * b.x + a.x * b.d, a.dd * b.x + 2.0 * a.d * b.d + a.x * b.dd};
}

/* y^power for y > 0, or a whole power that is not negative. */
static jet power_of(jet y, double power) {
  const double first = power == 0.0 ? 0.0 : power * pow(y.x, power - 1.0);
  const double bend = power * (power - 1.0);
  const double second = bend == 0.0 ? 0.0 : bend * pow(y.x, power - 2.0);
  return (jet){pow(y.x, power), first * y.d, second * y.d * y.d + first * y.dd};
}

/* size sin(angle), the angle moving at `speed` with eta; within rounding of zero it is zero. */
static jet sine(double size, double angle, double speed) {
  const double s = size * sin(angle), c = size * cos(angle);
  return (jet){fabs(s) > 1e-7 * size ? s : 0.0, speed * c, -speed * speed * s};
}

/* Entry i >= j of Cholesky's root of R, analytic in the eta of rho where R is singular too, since
 * with rho = centre + radius sin(phi) both sqrt(1 - rho) and sqrt(1 + (q - 1) rho), or sqrt(1 -
 * rho^2), are sines. */
static jet cor_root(const latent_law *law, const double *eta, int i, int j) {
  const double quarter = atan(1.0), q = law->q;
  if (law->matrix) return constant(law->matrix_root[i + law->q * j]);
  if (law->q == 1 || law->kind == LATENT_DIAGONAL) return constant(i == j ? 1.0 : 0.0);
  const int held = law->eta_of_cor < 0;
  const double phi = held ? asin((law->cor - law->centre) / law->radius) : eta[law->eta_of_cor];
  const double speed = held ? 0.0 : 1.0;
  const jet turn = {sin(phi), speed * cos(phi), -speed * sin(phi)};
  const jet rho = add(law->centre, law->radius, turn);
  if (law->kind == LATENT_AR1) {
    const jet lag = power_of(rho, i - j);
    return j == 0 ? lag : times(lag, sine(1.0, 2.0 * quarter - phi, -speed));
  }
  if (j == 0) return i == 0 ? constant(1.0) : rho;
  const jet rest = sine(sqrt(2.0 * law->radius), quarter - 0.5 * phi, -0.5 * speed);
  const jet before = power_of(add(1.0, j - 1.0, rho), -0.5);
  if (i > j) return times(times(rho, rest), times(before, power_of(add(1.0, j, rho), -0.5)));
  const jet pivot = j < law->q - 1 ? power_of(add(1.0, j, rho), 0.5)
                                   : sine(sqrt(2.0 * law->radius * (q - 1.0)),
                                          quarter + 0.5 * phi, 0.5 * speed);
  return times(times(rest, pivot), before);
}

static void shared_root(const latent_law *law, const double *eta, double *L) {
  const int q = law->q;
  double s[3];
  memset(L, 0, square(q) * sizeof(double));
  for (int i = 0; i < q; i++) {
    if (law->row[i] == LATENT_ROW_NO_LAW) continue;
    sd_of(law, eta, i, s);
    for (int j = 0; j <= i; j++) L[i + q * j] = s[0] * cor_root(law, eta, i, j).x;
  }
}

static void shared_root_slope(const latent_law *law, const double *eta, int k, int l,
                              double *slope) {
  const int q = law->q, by_cor = (k == law->eta_of_cor) + (l >= 0 && l == law->eta_of_cor);
  const int by_sd = (l >= 0 ? 2 : 1) - by_cor;
  double s[3];
  for (int i = 0; i < q; i++) {
    const int moved = law->eta_of_sd[i];
    if (k != law->eta_of_cor && k != moved) continue;
    if (l >= 0 && l != law->eta_of_cor && l != moved) continue;
    sd_of(law, eta, i, s);
    for (int j = 0; j <= i; j++) {
      const jet C = cor_root(law, eta, i, j);
      slope[i + q * j] = s[by_sd] * (by_cor == 0 ? C.x : by_cor == 1 ? C.d : C.dd);
    }
  }
}

static void shared_slope(const latent_law *law, const double *eta, int k, double *slope) {
  const int q = law->q;
  double si[3], sj[3], R[3];
  for (int i = 0; i < q; i++)
    for (int j = 0; j < q; j++) {
      sd_of(law, eta, i, si);
      sd_of(law, eta, j, sj);
      cor_of(law, eta, i, j, R);
      slope[i + q * j] = k == law->eta_of_cor ? si[0] * sj[0] * R[1]
                                              : ((law->eta_of_sd[i] == k ? si[1] * sj[0] : 0.0) +
                                                 (law->eta_of_sd[j] == k ? si[0] * sj[1] : 0.0)) *
                                                    R[0];
    }
}

/* d^2 (s_i s_j) by the sds k and l, or (l = -1) its first derivative by k. */
static double product_slope(const latent_law *law, int i, int j, const double *si, const double *sj,
                            int k, int l) {
  const int ik = law->eta_of_sd[i] == k, jk = law->eta_of_sd[j] == k;
  const int il = law->eta_of_sd[i] == l, jl = law->eta_of_sd[j] == l;
  if (l < 0) return ik * si[1] * sj[0] + jk * si[0] * sj[1];
  return (ik && il) * si[2] * sj[0] + (ik && jl) * si[1] * sj[1] + (jk && il) * si[1] * sj[1] +
         (jk && jl) * si[0] * sj[2];
}

static void shared_curvature(const latent_law *law, const double *eta, const double *G, int ld,
                             double *curvature) {
  const int q = law->q, c = law->eta_of_cor;
  double si[3], sj[3], R[3];
  for (int i = 0; i < q; i++)
    for (int j = 0; j < q; j++) {
      const double g = G[i + q * j];
      sd_of(law, eta, i, si);
      sd_of(law, eta, j, sj);
      cor_of(law, eta, i, j, R);
      for (int k = 0; k < law->n_eta; k++)
        for (int l = 0; l < law->n_eta; l++)
          curvature[k + ld * l] += g * (k == c && l == c ? si[0] * sj[0] * R[2]
                                        : k == c ? product_slope(law, i, j, si, sj, l, -1) * R[1]
                                        : l == c ? product_slope(law, i, j, si, sj, k, -1) * R[1]
                                                 : product_slope(law, i, j, si, sj, k, l) * R[0]);
    }
}

/* The mean variance s^2 of terms in their units, or of a multiple tr(R^{-1} S) over the rank of R,
 * on its range. */
static double mean_variance(const latent_law *law, const double *S) {
  const int q = law->q;
  double L[LATENT_MAX_TERMS * LATENT_MAX_TERMS], inverse[LATENT_MAX_TERMS * LATENT_MAX_TERMS];
  double sum = 0.0;
  int n = 0;
  if (law->kind != LATENT_MULTIPLE) {
    for (int i = 0; i < q; i++) sum += S[i * (q + 1)] / (law->unit[i] * law->unit[i]);
    return sum / q;
  }
  const double one = 1.0;
  shared_root(law, &one, L);
  la_lower_inverse(L, q, inverse);
  for (int i = 0; i < q; i++) {
    n += L[i * (q + 1)] > 0.0;
    for (int a = 0; a <= i; a++)
      for (int b = 0; b <= i; b++) sum += inverse[i + q * a] * S[a + q * b] * inverse[i + q * b];
  }
  return n > 0 ? sum / n : 0.0;
}

/* rho: the mean of all correlations, or of neighbours'; with a common sd the mean covariance over
 * the mean variance. */
static double mean_correlation(const latent_law *law, const double *S) {
  const int q = law->q;
  const double variance = law->common ? mean_variance(law, S) : 0.0;
  double sum = 0.0;
  int n = 0;
  for (int i = 1; i < q; i++)
    for (int j = law->kind == LATENT_AR1 ? i - 1 : 0; j < i; j++, n++) {
      const double scale = law->common ? variance * law->unit[i] * law->unit[j]
                                       : sqrt(S[i * (q + 1)] * S[j * (q + 1)]);
      sum += scale > 0.0 ? S[i + q * j] / scale : 0.0;
    }
  return sum / n;
}

static void shared_pack(const latent_law *law, const double *L, double *eta) {
  const int q = law->q;
  double S[LATENT_MAX_TERMS * LATENT_MAX_TERMS];
  la_multiply_t(L, L, q, q, q, S);
  for (int i = 0; i < (law->common ? 1 : q); i++) {
    const double sd =
        law->common ? sqrt(mean_variance(law, S)) : sqrt(S[i * (q + 1)]) / law->unit[i];
    if (law->eta_of_sd[i] >= 0) eta[law->eta_of_sd[i]] = law->squared ? sqrt(sd) : sd;
  }
  if (law->eta_of_cor < 0) return;
  const double sine = (mean_correlation(law, S) - law->centre) / law->radius;
  eta[law->eta_of_cor] = asin(fmax(-1.0, fmin(1.0, sine)));
}

/* ---- any kind -------------------------------------------------------------------------------- */

void latent_law_analytic_root(const latent_law *law, const double *eta, double *L) {
  const int q = law->q;
  double row[LATENT_MAX_TERMS];
  if (law->kind != LATENT_FREE) {
    shared_root(law, eta, L);
    return;
  }
  memset(L, 0, square(q) * sizeof(double));
  for (int r = 0; r < q; r++) {
    row_of_L(law, eta, r, -1, -1, row);
    for (int c = 0; c <= r; c++) L[r + q * c] = row[c];
  }
}

/* Where an sd is zero its column is left over, and Cholesky's root has it empty. */
void latent_law_root(const latent_law *law, const double *eta, double *L) {
  const int q = law->q;
  double Sigma[LATENT_MAX_TERMS * LATENT_MAX_TERMS];
  int vanished = 0;
  latent_law_analytic_root(law, eta, L);
  for (int i = 0; i < q && law->kind != LATENT_FREE; i++)
    vanished |= L[i] == 0.0 && L[i * (q + 1)] == 0.0;
  if (!vanished) return;
  la_multiply_t(L, L, q, q, q, Sigma);
  la_chol_semidefinite(Sigma, q, 1e-14, L);
}

void latent_law_root_slope(const latent_law *law, const double *eta, int k, int l, double *slope) {
  const int q = law->q;
  double row[LATENT_MAX_TERMS];
  int own, other = -1;
  memset(slope, 0, square(q) * sizeof(double));
  if (law->kind != LATENT_FREE) {
    shared_root_slope(law, eta, k, l, slope);
    return;
  }
  const int r = row_of_eta(law, k, &own);
  if (l >= 0 && row_of_eta(law, l, &other) != r) return;
  row_of_L(law, eta, r, own, other, row);
  for (int c = 0; c <= r; c++) slope[r + q * c] = row[c];
}

void latent_law_slope(const latent_law *law, const double *eta, int k, double *slope) {
  memset(slope, 0, square(law->q) * sizeof(double));
  (law->kind == LATENT_FREE ? free_slope : shared_slope)(law, eta, k, slope);
}

void latent_law_curvature(const latent_law *law, const double *eta, const double *G, int ld,
                          double *curvature) {
  (law->kind == LATENT_FREE ? free_curvature : shared_curvature)(law, eta, G, ld, curvature);
}

void latent_law_pack(const latent_law *law, const double *L, double *eta) {
  (law->kind == LATENT_FREE ? free_pack : shared_pack)(law, L, eta);
}

void latent_law_canonical(const latent_law *law, double *eta) {
  double L[LATENT_MAX_TERMS * LATENT_MAX_TERMS];
  const int q = law->q;
  if (law->kind == LATENT_FREE) {
    latent_law_root(law, eta, L);
    for (int c = 0; c < q; c++)
      for (int r = q - 1; L[c * (q + 1)] < 0.0 && r >= c; r--) L[r + q * c] = -L[r + q * c];
    free_pack(law, L, eta);
    return;
  }
  for (int k = 0; k < law->n_eta; k++)
    eta[k] = k == law->eta_of_cor ? asin(sin(eta[k])) : fabs(eta[k]);
}

/* Row r of a free root: its length, or its last entry or angle. */
static int settle_row(const latent_law *law, int r, double small, double small_sd, double *eta) {
  const double pi = acos(-1.0);
  const int size = latent_law_row_size(law, r);
  double *x = eta + law->eta_of_row[r], *last = x + size - 1, length = 0.0;
  if (size == 0) return 0;
  if (law->row[r] == LATENT_ROW_LENGTH) {
    const double nearest = pi * nearbyint(*last / pi);
    if (*last == nearest || !(fabs(*last - nearest) < small)) return 0;
    *last = nearest;
    return 1;
  }
  for (int c = 0; c < size; c++) length = hypot(length, x[c]);
  if (length > 0.0 && length < small_sd) {
    memset(x, 0, (size_t)size * sizeof(double));
    return 1;
  }
  if (size < 2 || *last == 0.0 || !(fabs(*last) < small * length)) return 0;
  *last = 0.0;
  return 1;
}

static int settle_sd(const latent_law *law, int i, double small_sd, double *eta) {
  if (law->eta_of_sd[i] < 0 || (law->common && i > 0)) return 0;
  double *x = eta + law->eta_of_sd[i];
  const double sd = law->unit[i] * (law->squared ? *x * *x : fabs(*x));
  if (*x == 0.0 || sd >= small_sd) return 0;
  *x = 0.0;
  return 1;
}

/* rho has its bounds at odd multiples of pi / 2. */
static int settle_cor(const latent_law *law, double small, double *eta) {
  const double pi = acos(-1.0);
  if (law->eta_of_cor < 0) return 0;
  double *x = eta + law->eta_of_cor;
  const double nearest = pi * (nearbyint(*x / pi - 0.5) + 0.5);
  if (*x == nearest || !(fabs(*x - nearest) < small)) return 0;
  *x = nearest;
  return 1;
}

int latent_law_settle(const latent_law *law, int at, double small, double small_sd, double *eta) {
  return at == law->q                ? settle_cor(law, small, eta)
         : law->kind == LATENT_FREE ? settle_row(law, at, small, small_sd, eta)
                                    : settle_sd(law, at, small_sd, eta);
}

void latent_law_stop_at_zero(const latent_law *law, int r, const double *from, double *to) {
  const int of_row = law->kind == LATENT_FREE;
  if (of_row ? law->row[r] != LATENT_ROW_FREE : law->eta_of_sd[r] < 0 || law->squared) return;
  const int first = of_row ? law->eta_of_row[r] : law->eta_of_sd[r];
  const int size = of_row ? latent_law_row_size(law, r) : 1;
  if (dot(from + first, to + first, size) < 0.0)
    memset(to + first, 0, (size_t)size * sizeof(double));
}

int latent_law_turned(const latent_law *law, const double *from, const double *to) {
  int turned = 0;
  if (law->kind != LATENT_FREE || isnan(law->cor)) return 0;
  for (int r = 0; r < law->q && r < 2; r++)
    if (latent_law_row_size(law, r) == 1)
      turned |= from[law->eta_of_row[r]] * to[law->eta_of_row[r]] < 0.0;
  return turned;
}

int latent_law_closed(const latent_law *law) {
  int free = law->kind == LATENT_FREE || law->kind == LATENT_DIAGONAL ||
             law->kind == LATENT_MULTIPLE || (law->kind == LATENT_SYMMETRIC && law->common);
  for (int r = 0; r < law->q; r++)
    free = free &&
           (law->kind == LATENT_FREE ? law->row[r] == LATENT_ROW_FREE
                                     : law->row[r] == LATENT_ROW_SHARED && law->eta_of_sd[r] >= 0);
  return free && (law->kind != LATENT_SYMMETRIC || law->q == 1 || law->eta_of_cor >= 0);
}
