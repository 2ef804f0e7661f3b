/* Derivatives of the objective of several factors.  With s = Z'V^{-1}r by level, B = Z'V^{-1}X and
 * P = Z'V^{-1}Z, direction E of Sigma_f has
 *   first    kappa (sum over levels of s s' + B C B' - P)
 * and, with U = root E, the residual variance of a level with n rows
 *   first    ([X r] - Z U)'W([X r] - Z U) / (2 v^2) - (n - tr(Z'WZ root M^{-1} root') / v) / (2 v).
 * With f_i = dV_i V^{-1}r,
 *   average  f_i'V^{-1}f_j / 2, with what is known of beta taken out (Gilmour, Thompson & Cullis
 *            1995, Biometrics 51:1440)
 *   second   tr(V^{-1} dV_i V^{-1} dV_j) / 2 - f_i'V^{-1}f_j   (glmm/blocked_hessian.c). */
#include <math.h>
#include <string.h>

#include "glmm/blocked_product.h"
#include "glmm/blocked_state.h"
#include "glmm/cross.h"
#include "math/la.h"

/* ---- first derivatives ----------------------------------------------------------------------- */

size_t crossed_scratch_size(int q, int p, int n_level, int n_par) {
  const size_t n = (size_t)n_par;
  return 4 * square(q) + 2 * (size_t)(p + 1) + (size_t)n_level * (size_t)(p + 1) + n +
         2 * square(n_par) + 2 * square(p + 1) + n * square(p) + square(q) + (size_t)q;
}

static double *lay_out(crossed *c, crossed_terms *t) {
  const int q = c->stats->q;
  double *next = c->scratch + c->p1; /* crossed_level_forms() has the first */
  double **const by_term[] = {&t->ss, &t->BCB, &t->P, &t->Sigma};
  for (int a = 0; a < 4; a++, next += square(q)) *by_term[a] = next;
  t->at = next;
  t->trace = t->at + c->p1;
  return t->trace + c->n_level;
}

/* [B s] by place into c->left, s at the origin. */
static void find_scores(crossed *c) {
  const size_t size = (size_t)c->n * (size_t)c->p1;
  crossed_solve(c);
  crossed_by_root(c, c->root, 0, c->p1, c->E, c->U);
  crossed_product(c, c->p1, c->U, c->product);
  for (size_t i = 0; i < size; i++) c->left[i] = c->by_place[i] - c->product[i];
  crossed_level_forms(c, c->U, c->product, c->form, NULL);
}

static void find_first(crossed *c, const lmm_point *point, crossed_terms *t) {
  const lmm_crossed *d = c->cells;
  const int q = c->stats->q, p1 = c->p1, p = p1 - 1;
  for (int j = 0; j < p; j++) t->at[j] = c->origin[j] - point->beta[j];
  t->at[p] = 1.0;
  memset(t->ss, 0, 3 * square(q) * sizeof(double)); /* BCB and P come after */
  find_scores(c);
  for (int i = 0; i < d->n_node; i++) {
    const int first = d->first[d->factor_of[i]];
    const double *rows = c->left + (size_t)p1 * (size_t)c->b.place[i];
    for (int a = 0; a < d->size[i]; a++) {
      const double s = dot(rows + p1 * a, t->at, p1);
      for (int b = 0; b < d->size[i]; b++) {
        const size_t at = (size_t)(first + a + q * (first + b));
        t->ss[at] += s * dot(rows + p1 * b, t->at, p1);
        for (int j = 0; j < p && point->C; j++)
          t->BCB[at] += rows[p1 * a + j] * dot(point->C + p * j, rows + p1 * b, p);
      }
    }
  }
}

/* x'F x, x p1. */
static double form_at(const double *F, const double *x, int p1) {
  double sum = 0.0;
  for (int j = 0; j < p1; j++)
    for (int k = 0; k <= j; k++) sum += (k == j ? 1.0 : 2.0) * x[j] * x[k] * F[j + p1 * k];
  return sum;
}

/* That of the data is added. */
static void add_data_gradient(const crossed *c, const lmm_point *point, const crossed_terms *t,
                              double *out) {
  const int q = c->stats->q, p1 = c->p1, p = p1 - 1;
  for (int e = 0; e < point->n_pair; e++) {
    const int a = point->pair_a[e], b = point->pair_b[e];
    out[e] += (a == b ? 0.5 : 1.0) * (t->ss[a + q * b] + t->BCB[a + q * b]);
  }
  for (int l = 0; l < c->n_level; l++) {
    const double *F = c->form + square(p1) * (size_t)l, v = c->variance[l];
    double sum = form_at(F, t->at, p1);
    for (int j = 0; j < p && point->C; j++)
      for (int k = 0; k < p; k++) sum += point->C[j + p * k] * at_lower(F, p1, j, k);
    out[point->n_pair + l] += 0.5 * sum / (v * v);
  }
}

/* ---- with beta ------------------------------------------------------------------------------- */

static void find_cross(const crossed *c, const lmm_point *point, const crossed_terms *t,
                       lmm_derivatives *out) {
  const lmm_crossed *d = c->cells;
  const int p1 = c->p1, p = p1 - 1, n_pair = point->n_pair, n = n_pair + c->n_level;
  memset(out->cross, 0, (size_t)(n * p) * sizeof(double));
  memset(out->spread, 0, (size_t)n * square(p) * sizeof(double));
  for (int i = 0; i < d->n_node; i++) {
    const int f = d->factor_of[i], first = d->first[f], last = d->first[f + 1];
    const double *rows = c->left + (size_t)p1 * (size_t)c->b.place[i];
    for (int e = 0; e < n_pair; e++) {
      const int a = point->pair_a[e], b = point->pair_b[e];
      if (a < first || a >= last) continue;
      const double kappa = a == b ? 0.5 : 1.0;
      const double *A = rows + p1 * (a - first), *B = rows + p1 * (b - first);
      const double s_a = dot(A, t->at, p1), s_b = dot(B, t->at, p1);
      for (int j = 0; j < p; j++) {
        out->cross[e + n * j] -= kappa * (s_a * B[j] + s_b * A[j]);
        for (int k = 0; k <= j; k++)
          out->spread[e + n * (j + p * k)] += kappa * (A[j] * B[k] + B[j] * A[k]);
      }
    }
  }
  for (int l = 0; l < c->n_level; l++) {
    const double *F = c->form + square(p1) * (size_t)l;
    const double scale = 1.0 / (c->variance[l] * c->variance[l]);
    for (int j = 0; j < p; j++) {
      for (int k = 0; k < p1; k++)
        out->cross[n_pair + l + n * j] -= scale * at_lower(F, p1, j, k) * t->at[k];
      for (int k = 0; k <= j; k++)
        out->spread[n_pair + l + n * (j + p * k)] = scale * F[j + p1 * k];
    }
  }
}

/* ---- f_i'V^{-1}f_j --------------------------------------------------------------------------- */

/* Columns E_i s by place, n x n_pair by row; s (n). */
static void pair_columns(const crossed *c, const lmm_point *point, const double *s, double *out) {
  const lmm_crossed *d = c->cells;
  const int n_pair = point->n_pair;
  memset(out, 0, (size_t)c->n * (size_t)n_pair * sizeof(double));
  for (int i = 0; i < d->n_node; i++) {
    const int f = d->factor_of[i], first = d->first[f], last = d->first[f + 1];
    const double *own = s + c->b.place[i];
    double *to = out + (size_t)n_pair * (size_t)c->b.place[i];
    for (int e = 0; e < n_pair; e++) {
      const int a = point->pair_a[e] - first, b = point->pair_b[e] - first;
      if (a < 0 || a >= last - first) continue;
      to[n_pair * a + e] = own[b];
      to[n_pair * b + e] = own[a];
    }
  }
}

/* Z'D^{-1}f of the levels, Z'W(r - Z u) / v^2, into their columns of N (n x n_par, by row), all but
 * the rest's; `at` takes [X r] to r; u (n). */
static void level_columns(const crossed *c, const double *at, const double *u, int n_pair,
                          double *N) {
  const lmm_crossed *d = c->cells;
  const int p = c->p1 - 1, n_par = n_pair + c->n_level;
  const double *response = c->response;
  for (size_t e = 0; e < d->n_own; e++) {
    const int i = d->own_node[e], n = d->size[i], l = d->own_level[e], place = c->b.place[i];
    const double *from = d->own + d->first_own[e];
    const double scale = 1.0 / (c->variance[l] * c->variance[l]);
    for (int a = 0; a < n; a++, from += n + c->p1, response++) {
      if (l == c->rest) continue;
      const double r = dot(from + n, at, p) + *response * at[p];
      N[(size_t)n_par * (size_t)(place + a) + (size_t)(n_pair + l)] +=
          scale * (r - dot(from, u + place, n));
    }
  }
  for (size_t k = 0; k < d->n_cell; k++) {
    const int ni = d->size[d->cell_i[k]], nj = d->size[d->cell_j[k]];
    const int at_i = c->b.place[d->cell_i[k]], at_j = c->b.place[d->cell_j[k]];
    const double *B = d->value + d->first_value[k];
    for (size_t e = d->first_entry[k]; e < d->first_entry[k + 1]; e++) {
      const int l = d->entry_level[e];
      if (l == c->rest) {
        B += ni * nj;
        continue;
      }
      const double scale = 1.0 / (c->variance[l] * c->variance[l]);
      double *column = N + n_pair + l;
      for (int b = 0; b < nj; b++)
        for (int a = 0; a < ni; a++, B++) {
          column[(size_t)n_par * (size_t)(at_i + a)] -= scale * *B * u[at_j + b];
          column[(size_t)n_par * (size_t)(at_j + b)] -= scale * *B * u[at_i + a];
        }
    }
  }
}

/* Adds f_i'V^{-1}f_j (n x n) of the r that `at` (p1) makes of [X r]. */
static void add_working(crossed *c, const lmm_point *point, const double *at, double *A) {
  const int p1 = c->p1, n_pair = point->n_pair, n = n_pair + c->n_level;
  const size_t rows = (size_t)c->n;
  double *s = c->by_n[0], *u = c->by_n[1], *columns = c->product, *N = c->forward, *R = c->E;
  c->solved = 0;
  for (size_t i = 0; i < rows; i++) {
    s[i] = dot(c->left + (size_t)p1 * i, at, p1);
    u[i] = dot(c->U + (size_t)p1 * i, at, p1);
  }
  pair_columns(c, point, s, columns);
  crossed_product(c, n_pair, columns, R);
  memset(N, 0, rows * (size_t)n * sizeof(double));
  for (size_t i = 0; i < rows; i++)
    memcpy(N + (size_t)n * i, R + (size_t)n_pair * i, (size_t)n_pair * sizeof(double));
  if (c->n_level > 1) level_columns(c, at, u, n_pair, N);
  for (size_t i = 0; i < rows; i++) { /* s is the sum of all, by their variances */
    double *h = N + (size_t)n * i + n_pair, left = s[i];
    for (int l = 0; l < c->n_level; l++)
      if (l != c->rest) left -= c->variance[l] * h[l];
    h[c->rest] = left / c->variance[c->rest];
  }
  crossed_by_root(c, c->root, 1, n, N, R);
  blocked_forward(&c->b, n, R);
  for (size_t i = 0; i < rows; i++) {
    const double *x = columns + (size_t)n_pair * i, *h = N + (size_t)n * i, *y = R + (size_t)n * i;
    for (int e = 0; e < n; e++)
      for (int f = 0; f <= e; f++) A[e + n * f] += (f < n_pair ? h[e] * x[f] : 0.0) - y[e] * y[f];
  }
  for (int l = 0; l < c->n_level; l++)
    A[(n_pair + l) * (n + 1)] +=
        form_at(c->form + square(p1) * (size_t)l, at, p1) / pow(c->variance[l], 3.0);
}

/* ---- second derivatives ---------------------------------------------------------------------- */

/* X'V^{-1}X inverted (p x p). */
static elbo_status coefficient_covariance(const crossed *c, double *C) {
  const int p1 = c->p1, p = p1 - 1;
  for (int j = 0; j < p; j++)
    for (int k = 0; k < p; k++) {
      C[j + p * k] = 0.0;
      for (int l = 0; l < c->n_level; l++)
        C[j + p * k] += at_lower(c->form + square(p1) * (size_t)l, p1, j, k) / c->variance[l];
    }
  /* [X r]'V^{-1}[X r] = [X r]'D^{-1}([X r] - Z U), the form less U'Z'D^{-1}([X r] - Z U). */
  for (int i = 0; i < c->n; i++) {
    const double *u = c->U + (size_t)p1 * (size_t)i, *b = c->left + (size_t)p1 * (size_t)i;
    for (int j = 0; j < p; j++)
      for (int k = 0; k < p; k++) C[j + p * k] += 0.5 * (u[j] * b[k] + b[j] * u[k]);
  }
  const elbo_status status = la_chol(C, p);
  return status == ELBO_OK ? la_inverse_from_chol(C, p) : status;
}

/* The Hessian that, once its user has added what beta adds, is the average information's. */
static void average_hessian(const crossed *c, const lmm_point *point, const double *A,
                            double *space, lmm_derivatives *out) {
  const int p1 = c->p1, p = p1 - 1, n = point->n_pair + c->n_level;
  double *C = space, *CS = C + square(p);
  for (int e = 0; e < n; e++)
    for (int f = 0; f <= e; f++)
      out->hessian[e + n * f] = (point->log_det ? -0.5 : -1.0) * A[e + n * f];
  if (!point->log_det || p == 0 || coefficient_covariance(c, C) != ELBO_OK) return;
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

/* -f_i'V^{-1}f_j of r and, where C = K K' is known, of the columns of X K; and the traces. */
static void exact_hessian(crossed *c, const lmm_point *point, const crossed_terms *t, double *A,
                          double *space, lmm_derivatives *out) {
  const int p = c->p1 - 1, n = point->n_pair + c->n_level;
  double *K = space, *at = K + square(p);
  if (point->C) la_chol_semidefinite(point->C, p, 0.0, K);
  for (int k = 0; k < p && point->C; k++) {
    memcpy(at, K + p * k, (size_t)p * sizeof(double));
    for (int j = 0; j < k; j++) at[j] = 0.0;
    at[p] = 0.0;
    add_working(c, point, at, A);
  }
  for (size_t i = 0; i < square(n); i++) out->hessian[i] = -A[i];
  if (!point->log_det) return;
  crossed_second_traces(c, point, t, A);
  for (int e = 0; e < n; e++)
    for (int f = 0; f <= e; f++) out->hessian[e + n * f] += 0.5 * A[e + n * f];
}

void crossed_derivatives(void *state, const lmm_point *point, lmm_derivatives *out) {
  crossed *c = (crossed *)state;
  const int n = point->n_pair + c->n_level;
  crossed_terms t;
  double *A = lay_out(c, &t), *space = A + square(n);
  find_first(c, point, &t);
  crossed_volume_gradient(c, point, &t, out->gradient);
  add_data_gradient(c, point, &t, out->gradient);
  find_cross(c, point, &t, out);
  memset(A, 0, square(n) * sizeof(double));
  add_working(c, point, t.at, A);
  if (point->average)
    average_hessian(c, point, A, space, out);
  else
    exact_hessian(c, point, &t, A, space, out);
}

void lmm_blocked_traces(const glmm_solver *solver, const lmm_point *point, double *T) {
  crossed *c = (crossed *)solver->state;
  crossed_terms t;
  lay_out(c, &t);
  crossed_second_traces(c, point, &t, T);
}
