/* Sums of rows by level of a factor, and by pairs of levels. */
#include "glmm/crossed_sums.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "glmm/survey.h"
#include "math/rows.h"
#include "math/small.h"
#include "math/threads.h"

/* Whole numbers that a double holds. */
static const double MOST_KEYS = 9007199254740992.0;

/* ---- parts ----------------------------------------------------------------------------------- */

static size_t n_tables(int n_factor) { return (size_t)n_factor * ((size_t)n_factor + 1) / 2; }

static size_t counts_size(int n_factor) { return 2 * (size_t)n_factor + 1 + n_tables(n_factor); }

void lmm_sums_parts(const double *flat, lmm_sums *s) {
  lmm_flat_parts(flat, &s->flat);
  s->n_factor = s->flat.shape.n_factor;
  s->n_table = (int)n_tables(s->n_factor);
  s->first = s->flat.tables;
  s->n_unit = s->first + s->n_factor + 1;
  s->n_entry = s->n_unit + s->n_factor;
}

/* The factors of table t, f >= g. */
static void factors_of(int n_factor, int t, int *f, int *g) {
  *f = *g = t;
  if (t < n_factor) return;
  t -= n_factor;
  for (*f = 1; t >= *f; ++*f) t -= *f;
  *g = t;
}

/* All but where it lies. */
static lmm_table shape_of_table(const lmm_sums *s, int t) {
  lmm_table table;
  factors_of(s->n_factor, t, &table.f, &table.g);
  table.rows = (int)(s->first[table.f + 1] - s->first[table.f]);
  table.columns = (int)(s->first[table.g + 1] - s->first[table.g]);
  if (table.f == table.g) table.columns += s->flat.shape.p + 1;
  table.n = (size_t)s->n_entry[t];
  table.width = (size_t)table.rows * (size_t)table.columns;
  table.key = table.value = NULL;
  return table;
}

lmm_table lmm_sums_table(const lmm_sums *s, int t) {
  double *at = s->flat.tables + counts_size(s->n_factor);
  for (int before = 0; before < t; before++) {
    const lmm_table other = shape_of_table(s, before);
    at += other.n * (1 + other.width);
  }
  lmm_table table = shape_of_table(s, t);
  table.key = at;
  table.value = at + table.n;
  return table;
}

/* Keys of a table are below this. */
static double n_keys(const lmm_sums *s, const lmm_table *t) {
  const double of_g = t->f == t->g ? 1.0 : s->n_unit[t->g];
  return s->n_unit[t->f] * of_g * s->flat.shape.n_level;
}

lmm_place lmm_sums_place(const lmm_sums *s, const lmm_table *t, size_t entry) {
  const uint64_t key = (uint64_t)t->key[entry], n_level = (uint64_t)s->flat.shape.n_level;
  const uint64_t unit = key / n_level, n_g = (uint64_t)s->n_unit[t->g];
  lmm_place place = {(int)unit, (int)unit, (int)(key % n_level)};
  if (t->f != t->g) {
    place.unit_f = (int)(unit / n_g);
    place.unit_g = (int)(unit % n_g);
  }
  return place;
}

int lmm_sums_fit(const lmm_shape *shape) {
  for (int f = 0; f < shape->n_factor; f++)
    for (int g = 0; g < f; g++)
      if ((double)shape->n_unit[f] * shape->n_unit[g] * shape->n_level >= MOST_KEYS) return 0;
  return 1;
}

/* ---- open ------------------------------------------------------------------------------------ */

/* A vector of the shape for n_entry entries by table; columns are not set. */
static double *new_sums(const lmm_shape *shape, const double *n_entry, const elbo_memory *out,
                        lmm_sums *s) {
  const int n_factor = shape->n_factor, n_table = (int)n_tables(n_factor), p1 = shape->p + 1;
  size_t size = counts_size(n_factor), total = 0;
  for (int t = 0; t < n_table; t++) {
    int f, g;
    factors_of(n_factor, t, &f, &g);
    const int rows = shape->first[f + 1] - shape->first[f];
    const int columns = shape->first[g + 1] - shape->first[g] + (f == g ? p1 : 0);
    size += (size_t)n_entry[t] * (1 + (size_t)rows * (size_t)columns);
    total += (size_t)n_entry[t];
  }
  double *flat = lmm_flat_new(shape, size, out);
  flat[FLAT_N_CELL] = (double)total;
  lmm_sums_parts(flat, s);
  for (int f = 0; f <= n_factor; f++) s->first[f] = shape->first[f];
  for (int f = 0; f < n_factor; f++) s->n_unit[f] = shape->n_unit[f];
  memcpy(s->n_entry, n_entry, (size_t)n_table * sizeof(double));
  return flat;
}

double *lmm_sums_open(const double *survey, const lmm_shape *shape, const elbo_memory *out) {
  enum { MOST = LMM_MAX_TERMS * (LMM_MAX_TERMS + 1) / 2 };
  const double none[MOST] = {0.0};
  lmm_sums s;
  double *flat = new_sums(shape, none, out, &s);
  lmm_flat_open_columns(flat, survey, shape);
  return flat;
}

/* ---- entries of rows ------------------------------------------------------------------------- */

/* Up to three numbers from 0 that make the key of a row, the last counting fastest; one is NULL
 * where there is one level. */
typedef struct {
  int n_digit, size[3];
  const int *of_row[3];
} row_keys;

static row_keys keys_of(const lmm_rows *rows, const lmm_table *t) {
  row_keys keys = {0};
  const int *const of_row[] = {rows->groups[t->f], t->f == t->g ? NULL : rows->groups[t->g],
                               rows->level};
  const int size[] = {rows->n_unit[t->f], rows->n_unit[t->g], rows->n_level};
  for (int d = 0; d < 3; d++) {
    if (of_row[d] == NULL) continue;
    keys.of_row[keys.n_digit] = of_row[d];
    keys.size[keys.n_digit++] = size[d];
  }
  return keys;
}

static uint64_t key_of(const row_keys *keys, int row) {
  uint64_t key = 0;
  for (int d = 0; d < keys->n_digit; d++)
    key = key * (uint64_t)keys->size[d] + (uint64_t)(keys->of_row[d][row] - 1);
  return key;
}

/* Rows in the order of their keys, by counting, the digit that counts fastest first. */
static int *sort_rows(const row_keys *keys, int n, int *count, int *half, int *order) {
  int *from = NULL, *to = half;
  for (int d = keys->n_digit - 1; d >= 0; d--) {
    const int *digit = keys->of_row[d];
    memset(count, 0, ((size_t)keys->size[d] + 1) * sizeof(int));
    for (int i = 0; i < n; i++) count[digit[i]]++;
    for (int l = 1; l <= keys->size[d]; l++) count[l] += count[l - 1];
    for (int i = 0; i < n; i++) {
      const int row = from ? from[i] : i;
      to[count[digit[row] - 1]++] = row;
    }
    from = to;
    to = to == half ? order : half;
  }
  return from;
}

/* What finding the entries of a table leaves behind. */
typedef struct {
  lmm_table table;
  int *of_row; /* n: entry of each row */
  int *order, *count;
} row_table;

/* The entry of each row, from 0 in the order of keys; their number. */
static void find_entries(row_table *t, const lmm_rows *rows) {
  const int n = rows->n;
  const row_keys keys = keys_of(rows, &t->table);
  t->table.n = 0;
  if (keys.n_digit == 1) { /* the levels that occur */
    int *at = t->count;
    memset(at, 0, ((size_t)keys.size[0] + 1) * sizeof(int));
    for (int i = 0; i < n; i++) at[keys.of_row[0][i]] = 1;
    for (int l = 1; l <= keys.size[0]; l++) {
      const int occurs = at[l];
      at[l] = (int)t->table.n;
      t->table.n += (size_t)occurs;
    }
    for (int i = 0; i < n; i++) t->of_row[i] = at[keys.of_row[0][i]];
    return;
  }
  int *sorted = sort_rows(&keys, n, t->count, t->of_row, t->order);
  int *other = sorted == t->order ? t->of_row : t->order;
  uint64_t last = 0;
  for (int i = 0; i < n; i++) {
    const uint64_t key = key_of(&keys, sorted[i]);
    t->table.n += i == 0 || key != last;
    last = key;
    other[sorted[i]] = (int)t->table.n - 1;
  }
  t->of_row = other;
}

static void write_keys(const row_table *t, const lmm_rows *rows) {
  const row_keys keys = keys_of(rows, &t->table);
  for (int i = 0; i < rows->n; i++) t->table.key[t->of_row[i]] = (double)key_of(&keys, i);
}

/* ---- sums ------------------------------------------------------------------------------------ */

enum { BLOCK = 256 };

/* Column c of [Z X y] as the sums have it, rows `row` to row + n - 1, in steps of `stride`. */
static void load_column(const lmm_flat *f, const lmm_rows *rows, int c, int row, int n, int stride,
                        double *out) {
  const double *x = lmm_column(rows, c) + row, shift = f->shift[c], scale = f->scale[c];
  if (c < f->shape.q + f->shape.p && f->low[c] == 1.0 && f->high[c] == 1.0)
    for (int i = 0; i < n; i++) out[i * stride] = 1.0;
  else
    for (int i = 0; i < n; i++) out[i * stride] = (x[i] - shift) * scale;
}

/* Scaled weights. */
static void load_weights(const lmm_flat *f, const lmm_rows *rows, int row, int n, double *out) {
  const double scale = f->header[FLAT_ROOT_WEIGHT];
  for (int i = 0; i < n; i++) out[i] = rows->weight ? rows->weight[row + i] * scale * scale : 1.0;
}

/* Adds the rows to a table, its columns side by side: BLOCK x (rows + columns) doubles of space. */
static void sum_table(const row_table *t, const lmm_sums *s, const lmm_rows *rows, double *space) {
  const lmm_table *table = &t->table;
  const int r = table->rows, k = table->columns, q = s->flat.shape.q;
  const int left = (int)s->first[table->f], right = (int)s->first[table->g];
  const int of_z = table->f == table->g ? r : k; /* then [X y] */
  double weight[BLOCK], *L = space, *R = space + BLOCK * r;
  memset(table->value, 0, table->n * table->width * sizeof(double));
  for (int row = 0; row < rows->n; row += BLOCK) {
    const int n = smaller(BLOCK, rows->n - row), *entry = t->of_row + row;
    load_weights(&s->flat, rows, row, n, weight);
    for (int a = 0; a < r; a++) load_column(&s->flat, rows, left + a, row, n, r, L + a);
    for (int b = 0; b < k; b++)
      load_column(&s->flat, rows, b < of_z ? right + b : q + b - of_z, row, n, k, R + b);
    if (r * k == 1) {
      for (int i = 0; i < n; i++) table->value[entry[i]] += weight[i] * L[i] * R[i];
      continue;
    }
    for (int i = 0; i < n; i++) {
      double *to = table->value + table->width * (size_t)entry[i];
      for (int a = 0; a < r; a++, to += k) {
        const double z = weight[i] * L[i * r + a];
        for (int b = 0; b < k; b++) to[b] += z * R[i * k + b];
      }
    }
  }
}

/* [X y]'W[X y] by level (lower), of the rows in the order of levels: blocks of one level each. */
static void sum_within(const lmm_sums *s, const lmm_rows *rows, const int *order, double *space) {
  const lmm_flat *f = &s->flat;
  const int q = f->shape.q, p1 = f->shape.p + 1;
  const row_kernels *kernels = row_kernels_current();
  int row = 0;
  for (int l = 0; l < rows->n_level; l++)
    for (int left = (int)f->n_rows[l], n; left > 0; left -= n, row += n) {
      double weight[BLOCK];
      n = smaller(BLOCK, left);
      memset(space, 0, (size_t)(BLOCK * p1) * sizeof(double));
      for (int i = 0; i < n; i++) {
        const int at = order ? order[row + i] : row + i;
        load_weights(f, rows, at, 1, weight + i);
        for (int c = 0; c < p1 && order; c++)
          load_column(f, rows, q + c, at, 1, 1, space + BLOCK * c + i);
      }
      for (int c = 0; c < p1; c++) {
        double *x = space + BLOCK * c;
        if (!order) load_column(f, rows, q + c, row, n, 1, x);
        for (int i = 0; i < n; i++) x[i] *= sqrt(weight[i]);
      }
      kernels->outer(BLOCK, p1, space, f->within + square(p1) * (size_t)l);
    }
}

/* ---- add ------------------------------------------------------------------------------------- */

/* Memory of the tables, so that they can be made side by side. */
static row_table *open_tables(const lmm_sums *s, const lmm_rows *rows, const elbo_memory *mem) {
  row_table *tables = mem->get(mem->ctx, (size_t)s->n_table * sizeof(row_table));
  for (int t = 0; t < s->n_table; t++) {
    row_table *table = tables + t;
    table->table = shape_of_table(s, t);
    const row_keys keys = keys_of(rows, &table->table);
    int most = 0;
    for (int d = 0; d < keys.n_digit; d++) most = larger(most, keys.size[d]);
    table->count = elbo_ints(mem, (size_t)most + 1);
    table->of_row = elbo_ints(mem, (size_t)rows->n);
    table->order = keys.n_digit > 1 ? elbo_ints(mem, (size_t)rows->n) : NULL;
  }
  return tables;
}

/* Rows by level, and their number by level; NULL where there is one level. */
static int *order_levels(lmm_sums *s, const lmm_rows *rows, const elbo_memory *mem) {
  const row_keys keys = {1, {rows->n_level}, {rows->level}};
  const int n = rows->n;
  if (rows->level == NULL) {
    s->flat.n_rows[0] = n;
    return NULL;
  }
  for (int i = 0; i < n; i++) s->flat.n_rows[rows->level[i] - 1] += 1.0;
  int *order = elbo_ints(mem, (size_t)n), *count = elbo_ints(mem, (size_t)rows->n_level + 1);
  return sort_rows(&keys, n, count, order, order);
}

static double *of_rows(const double *flat, const lmm_rows *rows, const elbo_memory *mem,
                       const elbo_memory *out) {
  enum { MOST = LMM_MAX_TERMS * (LMM_MAX_TERMS + 1) / 2 };
  lmm_sums old, s;
  double n_entry[MOST];
  lmm_sums_parts(flat, &old);
  lmm_shape shape = old.flat.shape;
  shape.first = rows->first;
  shape.n_unit = rows->n_unit;
  row_table *tables = open_tables(&old, rows, mem);
  const int n_table = old.n_table, threads = threads_for(rows->threads, n_table);
  (void)threads;
#ifdef _OPENMP
#pragma omp parallel for num_threads(threads) schedule(dynamic)
#endif
  for (int t = 0; t < n_table; t++) find_entries(tables + t, rows);
  for (int t = 0; t < n_table; t++) n_entry[t] = (double)tables[t].table.n;
  double *made = new_sums(&shape, n_entry, out, &s);
  lmm_flat_copy_columns(made, flat);
  made[FLAT_N] = rows->n;
  const int *order = order_levels(&s, rows, mem);
  const size_t space = BLOCK * (size_t)(shape.q + shape.p + 1 + shape.q);
  double *memory = elbo_doubles(mem, space * (size_t)(n_table + 1));
#ifdef _OPENMP
#pragma omp parallel for num_threads(threads) schedule(dynamic)
#endif
  for (int t = 0; t <= n_table; t++) {
    double *own = memory + space * (size_t)t;
    if (t == n_table) {
      sum_within(&s, rows, order, own);
      continue;
    }
    tables[t].table = lmm_sums_table(&s, t);
    write_keys(tables + t, rows);
    sum_table(tables + t, &s, rows, own);
  }
  for (int i = 0; rows->weight != NULL && i < rows->n; i++)
    made[FLAT_LOG_WEIGHT] += log(rows->weight[i]) + 2.0 * log(made[FLAT_ROOT_WEIGHT]);
  return made;
}

double *lmm_sums_add(const double *flat, const lmm_rows *rows, const elbo_memory *mem,
                     const elbo_memory *out) {
  if (flat[FLAT_N] == 0.0) return of_rows(flat, rows, mem, out);
  return lmm_sums_merge(flat, of_rows(flat, rows, mem, mem), out);
}

/* ---- merge ----------------------------------------------------------------------------------- */

/* Entries of both, in the order of keys, into `to` (keys and values NULL: counted alone). */
static size_t merge_tables(const lmm_table *a, const lmm_table *b, lmm_table *to) {
  const size_t width = a->width;
  size_t n = 0;
  for (size_t i = 0, j = 0; i < a->n || j < b->n; n++) {
    const int from_a = j == b->n || (i < a->n && a->key[i] <= b->key[j]);
    const int from_b = i == a->n || (j < b->n && b->key[j] <= a->key[i]);
    if (to->key != NULL) {
      double *value = to->value + width * n;
      to->key[n] = from_a ? a->key[i] : b->key[j];
      memcpy(value, from_a ? a->value + width * i : b->value + width * j, width * sizeof(double));
      if (from_a && from_b) add_to(value, b->value + width * j, width);
    }
    i += (size_t)from_a;
    j += (size_t)from_b;
  }
  return n;
}

double *lmm_sums_merge(const double *a, const double *b, const elbo_memory *out) {
  enum { MOST = LMM_MAX_TERMS * (LMM_MAX_TERMS + 1) / 2 };
  lmm_sums f, g, to;
  double n_entry[MOST];
  int first[LMM_MAX_TERMS + 1], n_unit[LMM_MAX_TERMS];
  lmm_sums_parts(a, &f);
  lmm_sums_parts(b, &g);
  for (int t = 0; t < f.n_table; t++) {
    const lmm_table x = lmm_sums_table(&f, t), y = lmm_sums_table(&g, t);
    lmm_table none = {0};
    n_entry[t] = (double)merge_tables(&x, &y, &none);
  }
  lmm_shape shape = f.flat.shape;
  for (int k = 0; k <= f.n_factor; k++) first[k] = (int)f.first[k];
  for (int k = 0; k < f.n_factor; k++) n_unit[k] = (int)f.n_unit[k];
  shape.first = first;
  shape.n_unit = n_unit;
  double *made = new_sums(&shape, n_entry, out, &to);
  lmm_flat_copy_columns(made, a);
  const size_t n_level = (size_t)shape.n_level;
  made[FLAT_N] = a[FLAT_N] + b[FLAT_N];
  made[FLAT_LOG_WEIGHT] = a[FLAT_LOG_WEIGHT] + b[FLAT_LOG_WEIGHT];
  for (size_t i = 0; i < n_level * (1 + square(shape.p + 1)); i++)
    to.flat.n_rows[i] = f.flat.n_rows[i] + g.flat.n_rows[i];
  for (int t = 0; t < f.n_table; t++) {
    const lmm_table x = lmm_sums_table(&f, t), y = lmm_sums_table(&g, t);
    lmm_table z = lmm_sums_table(&to, t);
    merge_tables(&x, &y, &z);
  }
  return made;
}

/* ---- checks ---------------------------------------------------------------------------------- */

static int is_whole(double x, double least, double most) {
  return x >= least && x <= most && x == floor(x);
}

/* Numbers of terms, units and entries, and that the tables fill the vector. */
static int counts_are_sound(const lmm_sums *s) {
  const lmm_flat *f = &s->flat;
  const double q = f->shape.q;
  double size = (double)(lmm_flat_fixed_size(&f->shape) + counts_size(s->n_factor));
  for (int k = 0; k < s->n_factor; k++)
    if (!is_whole(s->first[k + 1], s->first[k] + 1, q) || !is_whole(s->n_unit[k], 1, 2147483647))
      return 0;
  if (s->first[0] != 0.0 || s->first[s->n_factor] != q) return 0;
  for (int t = 0; t < s->n_table; t++) {
    if (!is_whole(s->n_entry[t], 0, (double)f->size)) return 0;
    const lmm_table table = shape_of_table(s, t);
    if (!(n_keys(s, &table) < MOST_KEYS)) return 0;
    size += (double)table.n * (1.0 + (double)table.width);
  }
  return size == (double)f->size;
}

int lmm_sums_check(const double *flat, size_t size) {
  lmm_sums s;
  if (!lmm_flat_check_columns(flat, size) || flat[FLAT_FACTORS] < 1) return 0;
  lmm_sums_parts(flat, &s);
  if (lmm_flat_fixed_size(&s.flat.shape) + counts_size(s.n_factor) > size) return 0;
  if (!counts_are_sound(&s)) return 0;
  for (int t = 0; t < s.n_table; t++) {
    const lmm_table table = lmm_sums_table(&s, t);
    const double most = n_keys(&s, &table) - 1.0;
    for (size_t i = 0; i < table.n; i++)
      if (!is_whole(table.key[i], i > 0 ? table.key[i - 1] + 1.0 : 0.0, most)) return 0;
  }
  return 1;
}

int lmm_sums_complete(const double *flat) {
  lmm_sums s;
  lmm_sums_parts(flat, &s);
  for (int f = 0; f < s.n_factor; f++) {
    const lmm_table table = lmm_sums_table(&s, f);
    double units = 0.0;
    int last = -1;
    for (size_t i = 0; i < table.n; i++) {
      const int unit = lmm_sums_place(&s, &table, i).unit_f;
      units += unit != last;
      last = unit;
    }
    if (units != s.n_unit[f]) return 0;
  }
  return flat[FLAT_N] > 0.0;
}

int lmm_sums_mergeable(const double *a, const double *b) {
  lmm_sums f, g;
  if (!lmm_stats_mergeable(a, b)) return 0;
  lmm_sums_parts(a, &f);
  lmm_sums_parts(b, &g);
  for (int k = 0; k < 2 * f.n_factor + 1; k++)
    if (f.first[k] != g.first[k]) return 0;
  return 1;
}
