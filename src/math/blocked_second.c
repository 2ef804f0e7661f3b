/* The inverse of A + t B + t^2 C to second order in t, on the pattern of the factor alone.  Panel
 * by panel, J its own rows and R those below, with K what is left of the matrix for J, P =
 * K_JJ^{-1} and F = K_RJ P, all of them polynomials in t,
 *   K_RR - F K_RJ'  is left for the panels after,
 * and from the last panel, as in the selected inverse,
 *   Z_RJ = -Z_RR F,   Z_JJ = P - F'Z_RJ. */
#include <string.h>

#include "math/blocked.h"
#include "math/blocked_panel.h"
#include "math/small.h"

static product_view by_column(const double *at, size_t ld) { return (product_view){at, 1, ld}; }
static product_view by_row(const double *at, size_t ld) { return (product_view){at, ld, 1}; }

/* Space of one panel: K_RJ, F to order two (rows of the panel apart), P to order one and a
 * product, both square, and what products with Z_RR need. */
typedef struct {
  double *K0, *F0, *F1, *F2, *P0, *P1, *product, *Y1, *Y2, *once, *rest;
} second_space;

static size_t panel_size(const panel *p) {
  const size_t m = (size_t)p->n_below, c = (size_t)p->columns;
  const size_t strip = m * (size_t)smaller(p->n_below, BLOCKED_STRIP);
  const size_t full = p->columns > BLOCKED_NARROW ? m * m : 1;
  return 4 * p->ld * c + 3 * c * c + 3 * m * c + factor_inverse_size(p->columns) +
         (full > strip ? full : strip) + 1;
}

size_t blocked_second_size(const blocked *b) {
  size_t most = 0;
  for (int J = 0; J < b->n_super; J++) {
    const panel p = panel_of(b, J);
    if (panel_size(&p) > most) most = panel_size(&p);
  }
  return most;
}

static second_space lay_out(const panel *p, double *next) {
  second_space s;
  const size_t below = p->ld * (size_t)p->columns, own = square(p->columns);
  const size_t product = (size_t)p->n_below * (size_t)p->columns;
  double **const by_panel[] = {&s.K0, &s.F0, &s.F1, &s.F2}, **const by_own[] = {&s.P0, &s.P1};
  for (int i = 0; i < 4; i++, next += below) *by_panel[i] = next;
  for (int i = 0; i < 2; i++, next += own) *by_own[i] = next;
  s.product = next;
  s.Y1 = s.product + own;
  s.Y2 = s.Y1 + product;
  s.once = s.Y2 + product;
  s.rest = s.once + product;
  return s;
}

/* C (rows x columns, ld apart) += sign A S, S symmetric. */
static void add_product(const blocked *b, int rows, int columns, double sign, const double *A,
                        size_t ld_A, const double *S, size_t ld_S, double *C, size_t ld) {
  product_update(&b->work, 0, rows, columns, columns, sign, by_column(A, ld_A),
                 by_column(S, ld_S), C, ld);
}

/* F0 = L_RJ L_JJ^{-1}. */
static void find_F0(const blocked *b, int J, const panel *p, double *F0) {
  const double *L = b->L + b->panel[J];
  memcpy(F0, L + p->columns, (p->ld * (size_t)p->columns - (size_t)p->columns) * sizeof(double));
  factor_solve(&b->work, p->n_below, p->columns, L, p->ld, F0, p->ld);
}

/* P and F of a panel; those of orders one and two in place of K when this is done. */
static void find_P(const blocked *b, const panel *p, int J, double *B, double *C,
                   second_space *s) {
  const int c = p->columns;
  const size_t n = (size_t)c, bytes = square(c) * sizeof(double);
  for (int k = 0; k < c; k++)
    memcpy(s->P0 + n * (size_t)k, b->L + b->panel[J] + p->ld * (size_t)k, n * sizeof(double));
  factor_inverse(&b->work, c, s->P0, n, s->rest);
  factor_mirror(c, B, p->ld);
  factor_mirror(c, C, p->ld);
  memset(s->product, 0, bytes); /* P1 = -P0 B P0 */
  memset(s->P1, 0, bytes);
  add_product(b, c, c, 1.0, B, p->ld, s->P0, n, s->product, n);
  product_update(&b->work, 0, c, c, c, -1.0, by_column(s->P0, n), by_row(s->product, n), s->P1, n);
  memset(s->product, 0, bytes); /* P2 = -P0 (C P0 + B P1) */
  add_product(b, c, c, 1.0, C, p->ld, s->P0, n, s->product, n);
  add_product(b, c, c, 1.0, B, p->ld, s->P1, n, s->product, n);
  for (int k = 0; k < c; k++) {
    memcpy(B + p->ld * (size_t)k, s->P1 + n * (size_t)k, n * sizeof(double));
    memset(C + p->ld * (size_t)k, 0, n * sizeof(double));
  }
  product_update(&b->work, 0, c, c, c, -1.0, by_column(s->P0, n), by_row(s->product, n), C, p->ld);
}

static int any(const panel *p, const double *K) {
  for (int k = 0; k < p->columns; k++)
    for (int i = 0; i < p->n_below; i++)
      if (K[p->ld * (size_t)k + (size_t)i] != 0.0) return 1;
  return 0;
}

/* A panel eliminated from B and C, which then have P and F there. */
static void eliminate(blocked *b, int J, double *B_all, double *C_all, double *space) {
  const panel p = panel_of(b, J);
  const int c = p.columns, m = p.n_below;
  double *B = B_all + b->panel[J], *C = C_all + b->panel[J], *B_R = B + c, *C_R = C + c;
  const double *L = b->L + b->panel[J];
  second_space s = lay_out(&p, space);
  find_P(b, &p, J, B, C, &s);
  if (m == 0) return;
  const int some_B = any(&p, B_R), some_C = any(&p, C_R);
  const size_t bytes = p.ld * (size_t)c * sizeof(double);
  memset(s.K0, 0, bytes); /* L_RJ L_JJ' */
  for (int k = 0; k < c; k++)
    for (int l = 0; l <= k; l++) {
      const double factor = L[p.ld * (size_t)l + (size_t)k], *x = L + c + p.ld * (size_t)l;
      for (int i = 0; i < m; i++) s.K0[p.ld * (size_t)k + (size_t)i] += factor * x[i];
    }
  find_F0(b, J, &p, s.F0);
  memset(s.F1, 0, bytes);
  memset(s.F2, 0, bytes);
  add_product(b, m, c, 1.0, s.K0, p.ld, B, p.ld, s.F1, p.ld);
  add_product(b, m, c, 1.0, s.K0, p.ld, C, p.ld, s.F2, p.ld);
  if (some_B) {
    add_product(b, m, c, 1.0, B_R, p.ld, s.P0, (size_t)c, s.F1, p.ld);
    add_product(b, m, c, 1.0, B_R, p.ld, B, p.ld, s.F2, p.ld);
    panel_subtract(b, &p, s.F0, B_R, B_all, s.rest);
    panel_subtract(b, &p, s.F1, B_R, C_all, s.rest);
  }
  if (some_C) {
    add_product(b, m, c, 1.0, C_R, p.ld, s.P0, (size_t)c, s.F2, p.ld);
    panel_subtract(b, &p, s.F0, C_R, C_all, s.rest);
  }
  panel_subtract(b, &p, s.F1, s.K0, B_all, s.rest);
  panel_subtract(b, &p, s.F2, s.K0, C_all, s.rest);
  for (int k = 0; k < c; k++) {
    const size_t at = p.ld * (size_t)k;
    memcpy(B_R + at, s.F1 + at, (size_t)m * sizeof(double));
    memcpy(C_R + at, s.F2 + at, (size_t)m * sizeof(double));
  }
}

/* Y += Z_RR G, Z any of the orders. */
static void add_below(blocked *b, const panel *p, const double *Z, const double *G,
                      second_space *s, double *Y) {
  panel_inverse_product(b, Z, p, G, b->relative, s->rest, s->once);
  add_to(Y, s->once, (size_t)p->n_below * (size_t)p->columns);
}

/* Own rows (ld apart) += sign F'Y. */
static void add_own(const blocked *b, const panel *p, double sign, const double *F,
                    const double *Y, size_t ld_Y, double *own) {
  product_update(&b->work, 0, p->columns, p->columns, p->n_below, sign, by_row(F, p->ld),
                 by_row(Y, ld_Y), own, p->ld);
}

static void invert(blocked *b, int J, double *B_all, double *C_all, double *space) {
  const panel p = panel_of(b, J);
  const int c = p.columns, m = p.n_below;
  if (m == 0) return;
  double *B = B_all + b->panel[J], *C = C_all + b->panel[J], *F1 = B + c, *F2 = C + c;
  const double *Z_R = b->Z + b->panel[J] + c;
  const size_t n = (size_t)m;
  second_space s = lay_out(&p, space);
  find_F0(b, J, &p, s.F0);
  memset(s.Y1, 0, n * (size_t)c * sizeof(double));
  memset(s.Y2, 0, n * (size_t)c * sizeof(double));
  add_below(b, &p, B_all, s.F0, &s, s.Y1);
  add_below(b, &p, b->Z, F1, &s, s.Y1);
  add_below(b, &p, C_all, s.F0, &s, s.Y2);
  add_below(b, &p, B_all, F1, &s, s.Y2);
  add_below(b, &p, b->Z, F2, &s, s.Y2);
  add_own(b, &p, 1.0, s.F0, s.Y1, n, B);
  add_own(b, &p, -1.0, F1, Z_R, p.ld, B);
  add_own(b, &p, 1.0, s.F0, s.Y2, n, C);
  add_own(b, &p, 1.0, F1, s.Y1, n, C);
  add_own(b, &p, -1.0, F2, Z_R, p.ld, C);
  for (int k = 0; k < c; k++)
    for (size_t i = 0; i < n; i++) {
      F1[p.ld * (size_t)k + i] = -s.Y1[n * (size_t)k + i];
      F2[p.ld * (size_t)k + i] = -s.Y2[n * (size_t)k + i];
    }
}

void blocked_second(blocked *b, double *B, double *C, double *space) {
  for (int J = 0; J < b->n_super; J++) eliminate(b, J, B, C, space);
  for (int J = b->n_super - 1; J >= 0; J--) invert(b, J, B, C, space);
}
