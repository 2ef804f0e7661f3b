/* Sums of several factors in the columns that a law allows. */
#include "glmm/crossed.h"

#include <math.h>
#include <string.h>

#include "math/small.h"

static int terms_of(const lmm_crossed *c, int f) { return c->first[f + 1] - c->first[f]; }

static size_t *sizes(const elbo_memory *mem, size_t n) {
  return (size_t *)mem->get(mem->ctx, n * sizeof(size_t));
}

/* ---- nodes ----------------------------------------------------------------------------------- */

static void number_nodes(lmm_crossed *c, const lmm_sums *s, const elbo_memory *mem) {
  const int n_factor = s->n_factor;
  int most = 0, next = 0;
  c->n_factor = n_factor;
  c->first = elbo_ints(mem, (size_t)n_factor + 1);
  c->n_unit = elbo_ints(mem, (size_t)n_factor);
  c->first_node = elbo_ints(mem, (size_t)n_factor);
  for (int f = 0; f <= n_factor; f++) c->first[f] = (int)s->first[f];
  for (int f = 0; f < n_factor; f++) c->n_unit[f] = (int)s->n_unit[f];
  for (int f = 1; f < n_factor; f++)
    if ((double)c->n_unit[f] * terms_of(c, f) > (double)c->n_unit[most] * terms_of(c, most))
      most = f;
  for (int k = 0; k < n_factor; k++) {
    const int f = k == 0 ? most : k <= most ? k - 1 : k;
    c->first_node[f] = next;
    next += c->n_unit[f];
  }
  c->n_node = next;
  c->factor_of = elbo_ints(mem, (size_t)next);
  c->size = elbo_ints(mem, (size_t)next);
  for (int f = 0; f < n_factor; f++)
    for (int l = 0; l < c->n_unit[f]; l++) {
      c->factor_of[c->first_node[f] + l] = f;
      c->size[c->first_node[f] + l] = terms_of(c, f);
    }
  c->diagonal = sizes(mem, (size_t)next + 1);
  c->diagonal[0] = 0;
  c->n = 0;
  for (int i = 0; i < next; i++) {
    c->diagonal[i + 1] = c->diagonal[i] + square(c->size[i]);
    c->n += c->size[i];
  }
}

/* ---- columns --------------------------------------------------------------------------------- */

/* T (k x k, by row): new terms of factor f from those of the flat vector. */
static void terms_matrix(const lmm_sums *s, const lmm_transform *t, int f, double *T) {
  const lmm_flat *flat = &s->flat;
  const int first = (int)s->first[f], k = (int)s->first[f + 1] - first;
  int one = -1;
  for (int a = k - 1; a >= 0; a--)
    if (flat->low[first + a] == 1.0 && flat->high[first + a] == 1.0) one = a;
  memset(T, 0, square(k) * sizeof(double));
  for (int a = 0; a < k; a++) {
    T[k * a + t->z[first + a] - first] = t->z_factor[first + a];
    if (one >= 0) T[k * a + one] += t->z_add[first + a] * t->z_factor[first + a];
  }
}

/* out (n x columns, by row) = T (n x n, by row) from. */
static void by_terms(int n, const double *T, const double *from, int columns, double *out) {
  for (int a = 0; a < n; a++)
    for (int c = 0; c < columns; c++) {
      double sum = 0.0;
      for (int b = 0; b < n; b++) sum += T[n * a + b] * from[columns * b + c];
      out[columns * a + c] = sum;
    }
}

/* Sums of levels in the new columns. */
static void close_own(lmm_crossed *c, const lmm_sums *s, const lmm_transform *t,
                      const elbo_memory *mem) {
  const int p1 = s->flat.shape.p + 1, n1 = t->n + 1;
  double T[LMM_MAX_TERMS * LMM_MAX_TERMS];
  double *half = elbo_doubles(mem, (size_t)LMM_MAX_TERMS * (size_t)(LMM_MAX_TERMS + p1));
  size_t at = 0, size = 0;
  for (int f = 0; f < s->n_factor; f++) {
    const size_t n = (size_t)s->n_entry[f], k = (size_t)terms_of(c, f);
    c->n_own += n;
    size += n * k * (k + (size_t)n1);
  }
  c->own_node = elbo_ints(mem, c->n_own + 1);
  c->own_level = elbo_ints(mem, c->n_own + 1);
  c->first_own = sizes(mem, c->n_own + 1);
  c->own = elbo_doubles(mem, size + 1);
  c->first_own[0] = 0;
  for (int f = 0; f < s->n_factor; f++) {
    const lmm_table table = lmm_sums_table(s, f);
    const int k = table.rows, from_size = table.columns, to_size = k + n1;
    terms_matrix(s, t, f, T);
    for (size_t e = 0; e < table.n; e++, at++) {
      const lmm_place place = lmm_sums_place(s, &table, e);
      double *to = c->own + c->first_own[at];
      c->own_node[at] = lmm_node(c, f, place.unit_f);
      c->own_level[at] = place.level;
      c->first_own[at + 1] = c->first_own[at] + (size_t)(k * to_size);
      by_terms(k, T, table.value + table.width * e, from_size, half);
      for (int a = 0; a < k; a++, to += to_size) {
        const double *row = half + from_size * a;
        for (int b = 0; b < k; b++) to[b] = dot(row, T + k * b, k);
        for (int j = 0; j < n1; j++)
          to[k + j] = t->xy ? dot(row + k, t->xy + (size_t)p1 * (size_t)j, p1) : row[k + j];
      }
    }
  }
}

static void close_cells(lmm_crossed *c, const lmm_sums *s, const lmm_transform *t,
                        const elbo_memory *mem) {
  double Tf[LMM_MAX_TERMS * LMM_MAX_TERMS], Tg[LMM_MAX_TERMS * LMM_MAX_TERMS];
  double half[LMM_MAX_TERMS * LMM_MAX_TERMS];
  size_t n_entry = 0, size = 0, at = 0, entry = 0, next = 0;
  for (int k = s->n_factor; k < s->n_table; k++) {
    const lmm_table table = lmm_sums_table(s, k);
    n_entry += table.n;
    size += table.n * table.width;
  }
  c->cell_i = elbo_ints(mem, n_entry + 1);
  c->cell_j = elbo_ints(mem, n_entry + 1);
  c->first_entry = sizes(mem, n_entry + 1);
  c->first_value = sizes(mem, n_entry + 1);
  c->entry_level = elbo_ints(mem, n_entry + 1);
  c->value = elbo_doubles(mem, size + 1);
  for (int k = s->n_factor; k < s->n_table; k++) {
    const lmm_table table = lmm_sums_table(s, k);
    const int ni = table.rows, nj = table.columns;
    int last_i = -1, last_j = -1;
    terms_matrix(s, t, table.f, Tf);
    terms_matrix(s, t, table.g, Tg);
    for (size_t e = 0; e < table.n; e++, entry++, next += table.width) {
      const lmm_place place = lmm_sums_place(s, &table, e);
      const int i = lmm_node(c, table.f, place.unit_f), j = lmm_node(c, table.g, place.unit_g);
      double *to = c->value + next;
      if (i != last_i || j != last_j) {
        c->cell_i[at] = last_i = i;
        c->cell_j[at] = last_j = j;
        c->first_entry[at] = entry;
        c->first_value[at++] = next;
      }
      c->entry_level[entry] = place.level;
      if (table.width == 1) {
        *to = Tf[0] * Tg[0] * table.value[e];
        continue;
      }
      by_terms(ni, Tf, table.value + table.width * e, nj, half);
      for (int a = 0; a < ni; a++)
        for (int b = 0; b < nj; b++) to[a + ni * b] = dot(half + nj * a, Tg + nj * b, nj);
    }
  }
  c->n_cell = at;
  c->first_entry[at] = entry;
  c->first_value[at] = next;
}

/* ---- all ------------------------------------------------------------------------------------- */

void lmm_crossed_close(const double *flat, const lmm_transform *t, int threads, lmm_stats *st,
                       const elbo_memory *mem) {
  lmm_crossed *c = (lmm_crossed *)mem->get(mem->ctx, sizeof(lmm_crossed));
  lmm_sums s;
  memset(c, 0, sizeof *c);
  lmm_sums_parts(flat, &s);
  number_nodes(c, &s, mem);
  c->threads = larger(1, threads);
  c->n_level = st->n_level;
  close_own(c, &s, t, mem);
  close_cells(c, &s, t, mem);
  st->crossed = c;
  st->m = c->n_unit[0];
  /* Rows of a level beyond the columns of Z that it has. */
  for (size_t e = 0; e < c->n_own; e++) st->n_distinct[c->own_level[e]] -= c->size[c->own_node[e]];
  for (int l = 0; l < st->n_level; l++) st->n_distinct[l] = fmax(0.0, st->n_distinct[l]);
}
