/* Derivatives of the objective of several factors.  With s = Z'V^{-1}r by level, B = Z'V^{-1}X and
 * P = Z'V^{-1}Z, direction E of Sigma_f has
 *   first    kappa (sum over levels of s s' + B C B' - P)
 *   average  f_i'V^{-1}f_j / 2, f_i = Z E_i s, with what is known of beta taken out (Gilmour,
 *            Thompson & Cullis 1995, Biometrics 51:1440)
 * The residual variance follows from the others: V(c Sigma, c v) = c V.  Second derivatives proper
 * need P between all pairs of levels; they are differences of first ones, which are exact. */
#include <math.h>
#include <string.h>

#include "glmm/blocked_state.h"
#include "glmm/cross.h"
#include "math/la.h"

/* ---- traces ---------------------------------------------------------------------------------- */

/* S_i (q x q's block of i's factor) += B R_j Z', B n_i x n_j (or its transpose is stored), R_j the
 * root of j's factor, Z the inverse's block n_i x n_j by the strides given. */
static void add_trace(int ni, int nj, int q, const double *B, int b_row, int b_column,
                      const double *R, const double *Z, int z_row, int z_column, double *S) {
  double half[LMM_MAX_TERMS];
  for (int c = 0; c < ni; c++) { /* column c of R Z' */
    for (int a = 0; a < nj; a++) {
      half[a] = 0.0;
      for (int k = 0; k <= a; k++) half[a] += R[a + q * k] * Z[c * z_row + k * z_column];
    }
    for (int r = 0; r < ni; r++) {
      double sum = 0.0;
      for (int a = 0; a < nj; a++) sum += B[r * b_row + a * b_column] * half[a];
      S[r + q * c] += sum;
    }
  }
}

void crossed_factor_sum(crossed *c) {
  const lmm_crossed *d = c->cells;
  const int q = c->stats->q, step = q + 1;
  double *S = c->factor_sum, own[LMM_MAX_TERMS * LMM_MAX_TERMS];
  crossed_invert(c);
  memset(S, 0, square(q) * sizeof(double));
  for (int i = 0; i < d->n_node; i++) {
    int ld;
    const int n = d->size[i], first = d->first[d->factor_of[i]];
    const double *Z = c->b.Z + blocked_diagonal(&c->b, i, &ld);
    for (int a = 0; a < n; a++)
      for (int b = 0; b <= a; b++) own[a + n * b] = own[b + n * a] = Z[a + ld * b];
    add_trace(n, n, q, d->own + d->diagonal[i], 1, n, c->root + first * step, own, 1, n,
              S + first * step);
  }
  for (size_t e = 0; e < d->n_cell; e++) {
    const int i = d->cell_i[e], j = d->cell_j[e], ni = d->size[i], nj = d->size[j];
    const int fi = d->first[d->factor_of[i]] * step, fj = d->first[d->factor_of[j]] * step;
    const double *B = d->value + d->first_value[e], *Z = c->b.Z + c->b.cell[e];
    if (ni == 1 && nj == 1) {
      const double product = *B * *Z;
      S[fi] += c->root[fj] * product;
      S[fj] += c->root[fi] * product;
      continue;
    }
    const int ld = blocked_ld(&c->b, i, j);
    add_trace(ni, nj, q, B, 1, ni, c->root + fj, Z, 1, ld, S + fi);
    add_trace(nj, ni, q, B, ni, 1, c->root + fi, Z, ld, 1, S + fj);
  }
}

/* ---- first derivatives ----------------------------------------------------------------------- */

/* What they are made of: by term (q x q) the sums over levels of s s', of B C B' and P; beside
 * [X r]'V^{-1}[X r] (p1 x p1, lower), tr(P Sigma); rows of [B s] in c->left. */
typedef struct {
  double *ss, *BCB, *P, *Sigma, *cross, *delta;
  double trace, rank;
} first_terms;

size_t crossed_scratch_size(int q, int p, int n_pair) {
  const size_t n = (size_t)n_pair + 1;
  return 4 * square(q) + 2 * square(p + 1) + (size_t)(p + 1) + 6 * n + square(n_pair + 1) +
         square(p) + n * square(p);
}

static double *lay_out(crossed *c, first_terms *t) {
  const int q = c->stats->q, p1 = c->p1;
  double *next = c->scratch;
  double **const by_term[] = {&t->ss, &t->BCB, &t->P, &t->Sigma};
  for (int a = 0; a < 4; a++, next += square(q)) *by_term[a] = next;
  t->cross = next;
  t->delta = t->cross + 2 * square(p1);
  return t->delta + p1;
}

/* [B s] by place into c->left. */
static void find_scores(crossed *c, const double *delta) {
  const int p = c->p1 - 1;
  const size_t size = (size_t)c->n * (size_t)c->p1;
  crossed_solve(c);
  crossed_by_root(c, c->root, 0, c->p1, c->E, c->left);
  crossed_product(c, c->p1, c->left, c->product);
  for (size_t i = 0; i < size; i++) c->left[i] = (c->by_place[i] - c->product[i]) / c->v;
  for (int i = 0; i < c->n; i++) {
    double *row = c->left + (size_t)c->p1 * (size_t)i;
    for (int j = 0; j < p; j++) row[p] -= row[j] * delta[j];
  }
}

/* P root = S J / v, by the columns of the root from the last. */
static void find_P(const crossed *c, double *P) {
  const int q = c->stats->q;
  for (int k = q - 1; k >= 0; k--)
    for (int i = 0; i < q; i++) {
      double sum = c->factor_sum[i + q * k] * c->unit[k] / c->v;
      for (int a = k + 1; a < q; a++) sum -= P[i + q * a] * c->root[a + q * k];
      P[i + q * k] = sum / c->root[k * (q + 1)];
    }
}

static void find_first(crossed *c, const lmm_point *point, first_terms *t) {
  const lmm_crossed *d = c->cells;
  const int q = c->stats->q, p1 = c->p1, p = p1 - 1;
  double ignored = 0.0, *at_origin = t->cross + square(p1);
  for (int j = 0; j < p; j++) t->delta[j] = point->beta[j] - c->origin[j];
  memset(t->ss, 0, 3 * square(q) * sizeof(double)); /* BCB and P come after */
  memset(at_origin, 0, square(p1) * sizeof(double));
  crossed_objective(c, at_origin, &ignored);
  shift_cross(at_origin, t->delta, p, t->cross);
  find_scores(c, t->delta);
  for (int i = 0; i < d->n_node; i++) {
    const int first = d->first[d->factor_of[i]];
    const double *rows = c->left + (size_t)p1 * (size_t)c->b.place[i];
    for (int a = 0; a < d->size[i]; a++)
      for (int b = 0; b < d->size[i]; b++) {
        const size_t at = (size_t)(first + a + q * (first + b));
        t->ss[at] += rows[p1 * a + p] * rows[p1 * b + p];
        for (int j = 0; j < p && point->C; j++)
          t->BCB[at] += rows[p1 * a + j] * dot(point->C + p * j, rows + p1 * b, p);
      }
  }
  la_multiply_t(c->root, c->root, q, q, q, t->Sigma);
  t->trace = 0.0;
  t->rank = c->stats->n;
  if (!point->log_det) return;
  crossed_factor_sum(c);
  find_P(c, t->P);
  for (int k = 0; k < q; k++)
    for (int a = k; a < q; a++)
      t->trace += c->root[a + q * k] * c->factor_sum[a + q * k] * c->unit[k] / c->v;
  for (int f = 0; f < d->n_factor; f++)
    for (int k = d->first[f]; k < d->first[f + 1]; k++)
      t->rank -= c->unit[k] > 0.0 ? 0.0 : d->n_unit[f];
}

/* Of the data, and of log |V|: n_pair entries of Sigma, then v. */
static void find_gradient(const crossed *c, const lmm_point *point, const first_terms *t,
                          double *of_data, double *of_volume) {
  const int q = c->stats->q, p1 = c->p1, p = p1 - 1, n_pair = point->n_pair;
  for (int e = 0; e < n_pair; e++) {
    const int a = point->pair_a[e], b = point->pair_b[e];
    const double kappa = a == b ? 0.5 : 1.0;
    of_data[e] = kappa * (t->ss[a + q * b] + t->BCB[a + q * b]);
    of_volume[e] = -kappa * 0.5 * (t->P[a + q * b] + t->P[b + q * a]);
  }
  double data = t->cross[p + p1 * p];
  for (size_t i = 0; i < square(q); i++) data -= t->Sigma[i] * (t->ss[i] + t->BCB[i]);
  for (int j = 0; j < p && point->C; j++)
    for (int k = 0; k < p; k++) data += point->C[j + p * k] * at_lower(t->cross, p1, j, k);
  of_data[n_pair] = 0.5 * data / c->v;
  of_volume[n_pair] = point->log_det ? -0.5 * (t->rank - t->trace) / c->v : 0.0;
}

/* ---- with beta ------------------------------------------------------------------------------- */

static void find_cross(const crossed *c, const lmm_point *point, const first_terms *t,
                       lmm_derivatives *out) {
  const lmm_crossed *d = c->cells;
  const int q = c->stats->q, p1 = c->p1, p = p1 - 1, v = point->n_pair, n = v + 1;
  memset(out->cross, 0, (size_t)(n * p) * sizeof(double));
  memset(out->spread, 0, (size_t)n * square(p) * sizeof(double));
  for (int i = 0; i < d->n_node; i++) {
    const int f = d->factor_of[i], first = d->first[f], last = d->first[f + 1];
    const double *rows = c->left + (size_t)p1 * (size_t)c->b.place[i];
    for (int e = 0; e < point->n_pair; e++) {
      const int a = point->pair_a[e], b = point->pair_b[e];
      if (a < first || a >= last) continue;
      const double kappa = a == b ? 0.5 : 1.0;
      const double *A = rows + p1 * (a - first), *B = rows + p1 * (b - first);
      for (int j = 0; j < p; j++) {
        out->cross[e + n * j] -= kappa * (A[p] * B[j] + B[p] * A[j]);
        for (int k = 0; k <= j; k++)
          out->spread[e + n * (j + p * k)] += kappa * (A[j] * B[k] + B[j] * A[k]);
      }
    }
  }
  /* v, from the others and from X'V^{-1}[X r]. */
  for (int j = 0; j < p; j++) {
    double sum = -t->cross[p + p1 * j];
    for (int e = 0; e < v; e++)
      sum -= t->Sigma[point->pair_a[e] + q * point->pair_b[e]] * out->cross[e + n * j];
    out->cross[v + n * j] = sum / c->v;
    for (int k = 0; k <= j; k++) {
      sum = t->cross[j + p1 * k];
      for (int e = 0; e < v; e++)
        sum -= t->Sigma[point->pair_a[e] + q * point->pair_b[e]] * out->spread[e + n * (j + p * k)];
      out->spread[v + n * (j + p * k)] = sum / c->v;
    }
  }
}

/* ---- average information --------------------------------------------------------------------- */

/* Columns E_i s by place, n x n_pair by row. */
static void find_directions(const crossed *c, const lmm_point *point, double *columns) {
  const lmm_crossed *d = c->cells;
  const int p1 = c->p1, p = p1 - 1, n_pair = point->n_pair;
  memset(columns, 0, (size_t)c->n * (size_t)n_pair * sizeof(double));
  for (int i = 0; i < d->n_node; i++) {
    const int f = d->factor_of[i], first = d->first[f], last = d->first[f + 1];
    const double *rows = c->left + (size_t)p1 * (size_t)c->b.place[i];
    double *to = columns + (size_t)n_pair * (size_t)c->b.place[i];
    for (int e = 0; e < n_pair; e++) {
      const int a = point->pair_a[e] - first, b = point->pair_b[e] - first;
      if (a < 0 || a >= last - first) continue;
      to[n_pair * a + e] = rows[p1 * b + p];
      to[n_pair * b + e] = rows[p1 * a + p];
    }
  }
}

/* f_i'V^{-1}f_j for all parameters (n x n). */
static void find_working(crossed *c, const lmm_point *point, const first_terms *t, double *A) {
  const int q = c->stats->q, p1 = c->p1, p = p1 - 1, n_pair = point->n_pair, n = n_pair + 1;
  double *columns = c->product, *N = c->forward, *R = c->E;
  const double scale = 1.0 / c->v;
  c->solved = 0;
  find_directions(c, point, columns);
  crossed_product(c, n_pair, columns, N);
  crossed_by_root(c, c->root, 1, n_pair, N, R);
  for (size_t i = 0; i < (size_t)c->n * (size_t)n_pair; i++) R[i] *= scale;
  blocked_forward(&c->b, n_pair, R);
  memset(A, 0, square(n) * sizeof(double));
  for (int i = 0; i < c->n; i++) {
    const size_t at = (size_t)n_pair * (size_t)i;
    const double s = c->left[(size_t)p1 * (size_t)i + (size_t)p];
    for (int e = 0; e < n_pair; e++) {
      for (int f = 0; f <= e; f++)
        A[e + n * f] += columns[at + (size_t)e] * N[at + (size_t)f] * scale -
                        R[at + (size_t)e] * R[at + (size_t)f];
      A[n_pair + n * e] += s * columns[at + (size_t)e]; /* r'V^{-1}f_e, for now */
    }
  }
  fill_upper(A, n);
  double own = t->cross[p + p1 * p];
  for (int e = 0; e < n_pair; e++) {
    const double sigma = t->Sigma[point->pair_a[e] + q * point->pair_b[e]];
    double sum = A[n_pair + n * e];
    own -= 2.0 * sigma * sum;
    for (int f = 0; f < n_pair; f++) {
      const double other = t->Sigma[point->pair_a[f] + q * point->pair_b[f]];
      sum -= other * A[f + n * e];
      own += sigma * other * A[f + n * e];
    }
    A[e + n * n_pair] = sum * scale;
  }
  for (int e = 0; e < n_pair; e++) A[n_pair + n * e] = A[e + n * n_pair];
  A[n_pair + n * n_pair] = own * scale * scale;
}

/* The Hessian that, once its user has added what beta adds, is the average information's. */
static void average_hessian(const crossed *c, const lmm_point *point, const first_terms *t,
                            const double *A, double *space, lmm_derivatives *out) {
  const int p1 = c->p1, p = p1 - 1, n = point->n_pair + 1;
  double *C = space, *CS = C + square(p);
  for (int e = 0; e < n; e++)
    for (int f = 0; f <= e; f++)
      out->hessian[e + n * f] = (point->log_det ? -0.5 : -1.0) * A[e + n * f];
  for (int j = 0; j < p; j++)
    for (int k = 0; k < p; k++) C[j + p * k] = at_lower(t->cross, p1, j, k);
  if (!point->log_det || p == 0 || la_chol(C, p) != ELBO_OK ||
      la_inverse_from_chol(C, p) != ELBO_OK)
    return;
  for (int e = 0; e < n; e++)
    for (int j = 0; j < p; j++)
      for (int k = 0; k < p; k++) {
        double sum = 0.0;
        for (int l = 0; l < p; l++)
          sum += C[j + p * l] * out->spread[e + n * (l >= k ? l + p * k : k + p * l)];
        CS[square(p) * (size_t)e + (size_t)(j + p * k)] = sum;
      }
  for (int e = 0; e < n; e++)
    for (int f = 0; f <= e; f++) {
      double sum = 0.0;
      for (int j = 0; j < p; j++)
        for (int k = 0; k < p; k++) {
          sum += out->cross[e + n * j] * C[j + p * k] * out->cross[f + n * k];
          if (point->C)
            sum += CS[square(p) * (size_t)e + (size_t)(j + p * k)] *
                   CS[square(p) * (size_t)f + (size_t)(k + p * j)];
        }
      out->hessian[e + n * f] -= 0.5 * sum;
    }
}

/* ---- second derivatives ---------------------------------------------------------------------- */

/* The root of Sigma + step uu', directions without variance given little; 0 where that is no
 * covariance, as it always is for a positive step. */
static int grown_root(crossed *c, const double *Sigma, const double *u, double step) {
  const int q = c->stats->q;
  double grown[LMM_MAX_TERMS * LMM_MAX_TERMS], *root = c->root;
  for (int i = 0; i < q; i++)
    for (int j = 0; j < q; j++) grown[i + q * j] = Sigma[i + q * j] + step * u[i] * u[j];
  memcpy(root, grown, square(q) * sizeof(double));
  if (la_chol(root, q) == ELBO_OK) return 1;
  if (step < 0.0) return 0;
  la_chol_semidefinite(grown, q, 1e-15, root);
  crossed_give_variance(c);
  return 1;
}

/* The gradient (n) where Sigma has grown by step uu'; 0 where that is no covariance. */
static int gradient_beyond(crossed *c, const lmm_point *point, const double *Sigma, const double *u,
                           double step, double *gradient) {
  const int n = point->n_pair + 1;
  first_terms t;
  double *of_volume = lay_out(c, &t);
  if (!grown_root(c, Sigma, u, step)) return 0;
  c->factored = 0;
  if (crossed_factor(c) != ELBO_OK) return 0;
  find_first(c, point, &t);
  find_gradient(c, point, &t, gradient, of_volume);
  for (int e = 0; e < n; e++) gradient[e] += of_volume[e];
  return 1;
}

/* d gradient / d step at 0, relative error some 1e-8: central, or from one side at the boundary. */
static void slope_along(crossed *c, const lmm_point *point, const double *Sigma, const double *u,
                        const double *here, double *work, double *slope) {
  static const double STEP = 1e-4;
  const int n = point->n_pair + 1;
  double *ahead = work, *other = work + n;
  gradient_beyond(c, point, Sigma, u, STEP, ahead);
  if (gradient_beyond(c, point, Sigma, u, -STEP, other)) {
    for (int e = 0; e < n; e++) slope[e] = (ahead[e] - other[e]) / (2.0 * STEP);
  } else {
    gradient_beyond(c, point, Sigma, u, 2.0 * STEP, other);
    for (int e = 0; e < n; e++)
      slope[e] = (4.0 * ahead[e] - other[e] - 3.0 * here[e]) / (2.0 * STEP);
  }
}

/* H from slopes along u u', u = a_i e_i, and a_i e_i + a_j e_j; v from V(c Sigma, c v) = c V. */
static void exact_hessian(crossed *c, const lmm_point *point, double *H) {
  const int q = c->stats->q, n_pair = point->n_pair, n = n_pair + 1;
  double Sigma[LMM_MAX_TERMS * LMM_MAX_TERMS], root[LMM_MAX_TERMS * LMM_MAX_TERMS];
  double u[LMM_MAX_TERMS], length[LMM_MAX_TERMS];
  first_terms t;
  double *of_data = lay_out(c, &t) + n, *of_volume = of_data + n, *here = of_volume + n;
  double *work = here + n, *full = work + 2 * n;
  find_first(c, point, &t);
  find_gradient(c, point, &t, of_data, of_volume);
  for (int e = 0; e < n; e++) here[e] = of_data[e] + of_volume[e];
  memcpy(Sigma, t.Sigma, square(q) * sizeof(double));
  memcpy(root, c->root, square(q) * sizeof(double));
  for (int k = 0; k < q; k++)
    length[k] = sqrt(fmax(Sigma[k * (q + 1)], c->v / fmax(c->weight[k], 1e-300)));
  for (int pass = 0; pass < 2; pass++)
    for (int e = 0; e < n_pair; e++) {
      const int a = point->pair_a[e], b = point->pair_b[e];
      if ((a == b) != (pass == 0)) continue;
      memset(u, 0, sizeof u);
      u[a] = length[a];
      u[b] = length[b];
      double *row = full + n * e;
      slope_along(c, point, Sigma, u, here, work, row);
      for (int f = 0; f < n && a == b; f++) row[f] /= length[a] * length[a];
      for (int g = 0; g < n_pair && a != b; g++) {
        const int k = point->pair_a[g];
        if (k != point->pair_b[g] || (k != a && k != b)) continue;
        for (int f = 0; f < n; f++) row[f] -= length[k] * length[k] * full[n * g + f];
      }
      for (int f = 0; f < n && a != b; f++) row[f] /= length[a] * length[b];
    }
  memcpy(c->root, root, square(q) * sizeof(double));
  c->factored = 0;
  crossed_factor(c);
  for (int e = 0; e < n_pair; e++)
    for (int f = 0; f <= e; f++) H[e + n * f] = 0.5 * (full[n * e + f] + full[n * f + e]);
  for (int f = 0; f < n; f++) {
    double sum = -2.0 * of_data[f] - of_volume[f];
    for (int e = 0; e < n_pair; e++)
      sum -= Sigma[point->pair_a[e] + q * point->pair_b[e]] *
             (f == n_pair ? H[n_pair + n * e] : H[larger(e, f) + n * smaller(e, f)]);
    H[n_pair + n * f] = sum / c->v;
  }
}

void crossed_derivatives(void *state, const lmm_point *point, lmm_derivatives *out) {
  crossed *c = (crossed *)state;
  const int n = point->n_pair + 1;
  first_terms t;
  double *of_volume = lay_out(c, &t), *A = of_volume + 6 * n, *space = A + square(n);
  if (!point->average && point->log_det) exact_hessian(c, point, out->hessian);
  find_first(c, point, &t);
  find_gradient(c, point, &t, out->gradient, of_volume);
  for (int e = 0; e < n; e++) out->gradient[e] += of_volume[e];
  find_cross(c, point, &t, out);
  if (!point->average && point->log_det) return;
  find_working(c, point, &t, A);
  average_hessian(c, point, &t, A, space, out);
}
