/* Rows to sufficient statistics: what is kept of every cell against the cross-products of its
 * rows, computed directly. */
#include <string.h>

#include "math/simd.h"
#include "glmm/groups.h"
#include "glmm/simulate.h"
#include "glmm/close.h"
#include "reference.h"

typedef struct {
  lmm_rows rows;
  lmm_law law;
  double *X, *y, *Z, *weight;
  int *group, *level;
} example;

/* `first` rows in the first group, then 1, 2, ... in turn up to 6; X = [1, 10 + normal,
 * normal]; Z = [1, 2 + normal, normal] as far as they go; levels in turn within groups. */
static example new_example(int q, int m, int n_level, int weighted, int first) {
  example e;
  memset(&e, 0, sizeof e);
  int n = first;
  for (int g = 1; g < m; g++) n += 1 + (g - 1) % 6;
  e.X = new_doubles(3 * n);
  e.y = new_doubles(n);
  e.Z = new_doubles(q * n);
  e.group = new_ints(n);
  e.level = new_ints(n);
  e.weight = new_doubles(n);
  for (int g = 0, i = 0; g < m; g++)
    for (int k = 0; k < (g == 0 ? first : 1 + (g - 1) % 6); k++, i++) {
      e.group[i] = g + 1;
      e.level[i] = 1 + (k * n_level) / (g == 0 ? first : 1 + (g - 1) % 6);
      e.weight[i] = 0.2 + 3.0 * random_uniform();
      e.X[i] = 1.0;
      e.X[i + n] = 10.0 + random_normal();
      e.X[i + 2 * n] = random_normal();
      for (int c = 0; c < q; c++)
        e.Z[i + n * c] = c == 0 ? 1.0 : (c == 1 ? 2.0 : 0.0) + random_normal();
      e.y[i] = 100.0 + 7.0 * random_normal();
    }
  int *block = new_ints(q);
  double *sd = new_doubles(q), *cor = new_doubles(1), *sigma = new_doubles(n_level);
  for (int c = 0; c < q; c++) sd[c] = NAN;
  for (int l = 0; l < n_level; l++) sigma[l] = NAN;
  cor[0] = NAN;
  const lmm_rows rows = {.n = n,
                         .p = 3,
                         .q = q,
                         .m = m,
                         .n_level = n_level,
                         .X = e.X,
                         .y = e.y,
                         .Z = e.Z,
                         .weight = weighted ? e.weight : NULL,
                         .group = e.group,
                         .level = e.level};
  const lmm_law law = {
      .method = LMM_EM, .n_block = q > 0, .block = block, .sd = sd, .cor = cor, .sigma = sigma};
  e.rows = rows;
  e.law = law;
  return e;
}

/* Row i as the statistics see it: [Z X y], shifted, scaled and whitened. */
static void scaled_row(const lmm_rows *rows, const lmm_scaling *s, int i, double *out) {
  const int n = rows->n, q = rows->q, p = rows->p;
  const double root = rows->weight ? sqrt(rows->weight[i]) * s->root_weight_scale : 1.0;
  for (int c = 0; c < q; c++) out[c] = (rows->Z[i + n * c] - s->z_shift[c]) * s->z_scale[c] * root;
  for (int j = 0; j < p; j++)
    out[q + j] = (rows->X[i + n * j] - s->x_shift[j]) * s->x_scale[j] * root;
  out[q + p] = (rows->y[i] - s->y_shift) * s->y_scale * root;
}

/* Cross-products of the rows of a level in a group (-1: in all), (q + p + 1) square. */
static void direct_products(const lmm_rows *rows, const lmm_scaling *s, int group, int level,
                            double *out) {
  const int n_col = rows->q + rows->p + 1;
  double *row = new_doubles(n_col);
  for (int i = 0; i < n_col * n_col; i++) out[i] = 0.0;
  for (int i = 0; i < rows->n; i++) {
    if ((group >= 0 && rows->group[i] != group + 1) || rows->level[i] != level + 1) continue;
    scaled_row(rows, s, i, row);
    for (int a = 0; a < n_col; a++)
      for (int b = 0; b < n_col; b++) out[a + n_col * b] += row[a] * row[b];
  }
}

static int rows_of_cell(const lmm_rows *rows, int group, int level) {
  int n = 0;
  for (int i = 0; i < rows->n; i++) n += rows->group[i] == group + 1 && rows->level[i] == level + 1;
  return n;
}

static int min_int(int a, int b) { return a < b ? a : b; }

/* `a`, the sum of products of columns i and j, differs from the direct one by little of what
 * the sum could be (Cauchy and Schwarz). */
static void check_product(double a, const double *direct, int n_col, int i, int j, double tol) {
  const double bound = sqrt(direct[i * (n_col + 1)] * direct[j * (n_col + 1)]);
  CHECK(fabs(a - direct[i + n_col * j]) <= tol * bound);
}

/* Every cell: R'R = Z'Z and R'[X y] = Z'[X y]; every level: within + between = all. */
static void check_products(const lmm_stats *st, const lmm_rows *rows, double tol) {
  const int q = st->q, p1 = st->p + 1, n_col = q + p1, m = st->m; /* no groups, no cells */
  double *direct = new_doubles(n_col * n_col), *total = new_doubles(p1 * p1 * st->n_level);
  int *seen = new_ints(m);
  for (int i = 0; i < p1 * p1 * st->n_level; i++) total[i] = st->within[i];
  for (int r = 0; r < st->n_run; r++) {
    const lmm_run *run = st->run + r;
    const int K = q * run->n_cell;
    for (int at = 0; at < run->n_block * SIMD_LANES; at++) {
      const int group = st->group_of_lane[run->first_block * SIMD_LANES + at];
      const double *data = run->data + at / SIMD_LANES * K * n_col * SIMD_LANES + at % SIMD_LANES;
      if (group >= 0) seen[group]++;
      for (int c = 0; c < run->n_cell; c++) {
        double *kept = new_doubles(n_col * n_col);
        for (int i = c * q; i < (c + 1) * q; i++)
          for (int a = 0; a < n_col; a++)
            for (int b = 0; b < n_col; b++)
              kept[a + n_col * b] +=
                  data[(i * n_col + a) * SIMD_LANES] * data[(i * n_col + b) * SIMD_LANES];
        if (group < 0) {
          CHECK(largest(kept, n_col * n_col) == 0.0); /* a lane without a group is empty */
          continue;
        }
        const int block_cell = at / SIMD_LANES * run->n_cell + c;
        const int n_between = run->n_between[block_cell * SIMD_LANES + at % SIMD_LANES];
        CHECK(n_between == min_int(rows_of_cell(rows, group, run->level[c]), q));
        direct_products(rows, &st->scaling, group, run->level[c], direct);
        for (int a = 0; a < n_col; a++)
          for (int b = 0; b < n_col; b++) {
            if (a < q || b < q)
              check_product(kept[a + n_col * b], direct, n_col, a, b, tol);
            else
              total[a - q + p1 * (b - q + p1 * run->level[c])] += kept[a + n_col * b];
          }
      }
    }
  }
  for (int g = 0; g < m; g++) CHECK(seen[g] == 1);
  for (int l = 0; l < st->n_level; l++) {
    direct_products(rows, &st->scaling, -1, l, direct);
    for (int a = 0; a < p1; a++)
      for (int b = 0; b <= a; b++)
        check_product(total[a + p1 * (b + p1 * l)], direct, n_col, q + a, q + b, tol);
  }
}

static void check_counts(const lmm_stats *st, const lmm_rows *rows) {
  double log_weight = 0.0;
  for (int i = 0; i < rows->n; i++) log_weight += rows->weight ? log(rows->weight[i]) : 0.0;
  /* The scaled weights are w scale^2. */
  log_weight += 2.0 * rows->n * log(st->scaling.root_weight_scale);
  CHECK_CLOSE(st->log_weight, log_weight, 1e-13);
  for (int l = 0; l < st->n_level; l++) {
    double all = 0.0, distinct = 0.0, lanes = 0.0;
    for (int g = 1; g <= rows->m; g++) {
      const int cell = rows_of_cell(rows, g - 1, l);
      all += cell;
      if (cell > rows->q) distinct += cell - rows->q;
    }
    for (int r = 0; r < st->n_run; r++)
      for (int c = 0; c < st->run[r].n_cell; c++)
        if (st->run[r].level[c] == l) lanes += SIMD_LANES * st->run[r].n_block;
    CHECK(st->n_rows[l] == all);
    CHECK(st->n_distinct[l] == distinct);
    CHECK(st->n_within[l] == all - rows->q * lanes);
  }
}

static lmm_stats build(const example *e) {
  lmm_stats stats;
  CHECK(lmm_stats_build(&stats, &e->rows, &e->law, &test_memory) == ELBO_OK);
  return stats;
}

/* Groups of 1 to 6 rows (fewer than q among them), cells that do not occur, weights. */
static void test_products(void) {
  for (int q = 0; q <= 4; q++)
    for (int n_level = 1; n_level <= 3; n_level++)
      for (int weighted = 0; weighted < 2; weighted++) {
        const example e = new_example(q, 19, n_level, weighted, 7);
        const lmm_stats stats = build(&e);
        check_products(&stats, &e.rows, 1e-13);
        check_counts(&stats, &e.rows);
        test_free();
      }
}

/* A cell of more rows than one chunk of 512, its last chunk of fewer rows than q among others.
 */
static void test_chunks(void) {
  static const int first[] = {511, 512, 513, 1026, 1500};
  for (int i = 0; i < 5; i++) {
    const example e = new_example(3, 3, 1, 1, first[i]);
    const lmm_stats stats = build(&e);
    check_products(&stats, &e.rows, 1e-12);
    check_counts(&stats, &e.rows);
    test_free();
  }
}

static void shuffle(example *e) {
  const int n = e->rows.n, p = e->rows.p, q = e->rows.q;
  for (int i = n - 1; i > 0; i--) {
    const int j = (int)(random_uniform() * (i + 1));
    double *column[16];
    int n_column = 0;
    for (int c = 0; c < p; c++) column[n_column++] = e->X + n * c;
    for (int c = 0; c < q; c++) column[n_column++] = e->Z + n * c;
    column[n_column++] = e->y;
    column[n_column++] = e->weight;
    for (int c = 0; c < n_column; c++) {
      const double x = column[c][i];
      column[c][i] = column[c][j];
      column[c][j] = x;
    }
    int *key[2] = {e->group, e->level};
    for (int c = 0; c < 2; c++) {
      const int x = key[c][i];
      key[c][i] = key[c][j];
      key[c][j] = x;
    }
  }
}

static void test_order(void) {
  for (int n_level = 1; n_level <= 3; n_level++) {
    example e = new_example(2, 19, n_level, 1, 700);
    const lmm_stats sorted = build(&e);
    shuffle(&e);
    const lmm_stats stats = build(&e);
    check_products(&stats, &e.rows, 1e-12);
    check_counts(&stats, &e.rows);
    CHECK(distance(stats.within, sorted.within, 16 * n_level) < 1e-13);
    CHECK(stats.n_run == sorted.n_run && stats.n_block == sorted.n_block);
    test_free();
  }
}

/* Groups with the same levels share a run; the level of a group may be any. */
static void test_runs(void) {
  enum { M = 40 };
  example e = new_example(1, M, 4, 0, 1);
  for (int i = 0; i < e.rows.n; i++) e.level[i] = 1 + e.group[i] % 4;
  const lmm_stats stats = build(&e);
  CHECK(stats.n_run == 4);
  for (int r = 0; r < stats.n_run; r++)
    CHECK(stats.run[r].n_cell == 1 && stats.run[r].n_block == 2);
  check_products(&stats, &e.rows, 1e-13);
  test_free();
}

/* Data far from zero: all columns moved by 1e9 give what the columns themselves give.  They
 * are multiples of 2^-10, so that moving them is exact. */
static void test_offsets(void) {
  for (int weighted = 0; weighted < 2; weighted++) {
    example e = new_example(2, 19, 1, weighted, 600);
    const int n = e.rows.n;
    double *moved[4] = {e.X + n, e.X + 2 * n, e.Z + n, e.y};
    for (int c = 0; c < 4; c++)
      for (int i = 0; i < n; i++) moved[c][i] = nearbyint(moved[c][i] * 1024.0) / 1024.0;
    const lmm_stats near = build(&e);
    for (int c = 0; c < 4; c++)
      for (int i = 0; i < n; i++) moved[c][i] += 1e9;
    const lmm_stats far = build(&e);
    /* Not 1e-15 times 1e18: the means, which round to 1e-7, do not reach within cells. */
    CHECK(far.scaling.y_scale == near.scaling.y_scale);
    CHECK(distance(far.within, near.within, 16) < 1e-12);
    CHECK_CLOSE(far.scaling.y_shift - near.scaling.y_shift, 1e9, 1e-15);
    test_free();
  }
}

/* Units: powers of two bring 1e150 and 1e-150 to the same statistics. */
static void test_units(void) {
  example e = new_example(2, 19, 1, 0, 9);
  const int n = e.rows.n;
  const lmm_stats plain = build(&e);
  for (int i = 0; i < n; i++) {
    e.X[i + n] *= ldexp(1.0, 500);
    e.Z[i + n] *= ldexp(1.0, -500);
    e.y[i] *= ldexp(1.0, 500);
  }
  const lmm_stats scaled = build(&e);
  CHECK(distance(scaled.within, plain.within, 16) < 1e-15);
  CHECK(scaled.scaling.y_scale == ldexp(plain.scaling.y_scale, -500));
  CHECK(scaled.scaling.z_scale[1] == ldexp(plain.scaling.z_scale[1], 500));
  test_free();
}

/* Where no intercept could absorb it nothing is shifted, and nor is a block with constants. */
static void test_shifts(void) {
  example e = new_example(2, 19, 1, 0, 9);
  lmm_stats stats = build(&e);
  CHECK(stats.scaling.x_intercept == 0);
  CHECK(stats.scaling.z_intercept[0] == -1 && stats.scaling.z_intercept[1] == 0);
  CHECK(fabs(stats.scaling.x_shift[1] - 10.0) < 1.0 && fabs(stats.scaling.z_shift[1] - 2.0) < 1.0);
  double sd[2] = {NAN, 1.0};
  e.law.sd = sd;
  stats = build(&e);
  CHECK(stats.scaling.z_intercept[1] == -1 && stats.scaling.z_shift[1] == 0.0);
  check_products(&stats, &e.rows, 1e-13);
  e.X[3] = e.Z[3] = 2.0; /* no constant column any more */
  stats = build(&e);
  CHECK(stats.scaling.x_intercept == -1 && stats.scaling.y_shift == 0.0);
  CHECK(stats.scaling.x_shift[1] == 0.0);
  check_products(&stats, &e.rows, 1e-13);
  test_free();
}

/* ---- simulation ------------------------------------------------------------------------------ */

/* All responses of the between rows, a lane after the other. */
static int between_responses(const lmm_stats *st, double *y) {
  const int n_col = st->q + st->p + 1;
  int n = 0;
  for (int r = 0; r < st->n_run; r++) {
    const lmm_run *run = st->run + r;
    const int K = st->q * run->n_cell;
    for (int at = 0; at < run->n_block * SIMD_LANES; at++)
      for (int i = 0; i < K; i++, n++) {
        const int from = at / SIMD_LANES * K * n_col + i * n_col + n_col - 1;
        if (y) y[n] = run->data[from * SIMD_LANES + at % SIMD_LANES];
      }
  }
  return n;
}

/* A draw is linear in its normal numbers, so drawing with each of them at one in turn gives the
 * covariance of the draw exactly: R Sigma R' + variance between, variance X'X within. */
static void test_simulated_covariance(void) {
  const int q = 2, n_level = 2;
  const example e = new_example(q, 19, n_level, 1, 9);
  lmm_stats st = build(&e);
  const int p = st.p, p1 = p + 1, n_col = q + p1, n_draws = (int)lmm_n_draws(&st);
  const int n = between_responses(&st, NULL);
  const double L[4] = {2, 1, 0, 3}, Sigma[4] = {4, 2, 2, 10}, variance[2] = {0.5, 3.0};
  const double zero[3] = {0, 0, 0};
  double *within = copy_doubles(st.within, n_level * p1 * p1), *V = new_doubles(n * n);
  double *draws = new_doubles(n_draws), *y = new_doubles(n), *XX = new_doubles(n_level * p * p);
  double *memory = new_doubles((int)lmm_simulate_size(&st));
  for (int d = 0; d < n_draws; d++) {
    draws[d] = 1.0;
    lmm_stats_simulate(&st, L, zero, variance, draws, zero, memory);
    draws[d] = 0.0;
    between_responses(&st, y);
    for (int i = 0; i < n; i++)
      for (int j = 0; j < n && y[i] != 0.0; j++) V[i + n * j] += y[i] * y[j];
    for (int l = 0; l < n_level; l++) {
      const double *W = st.within + l * p1 * p1;
      for (int j = 0; j < p; j++)
        for (int k = 0; k < p; k++)
          XX[j + p * (k + p * l)] += W[p + p1 * j] * W[p + p1 * k] / variance[l];
      /* A unit vector's square, but for the intercept, of which nothing is within. */
      if (d / p == l) CHECK_CLOSE(W[p + p1 * p], d % p == 0 ? 0.0 : variance[l], 1e-14);
    }
  }
  for (int l = 0; l < n_level; l++)
    for (int j = 0; j < p; j++)
      for (int k = 0; k <= j; k++)
        CHECK_CLOSE(XX[j + p * (k + p * l)], within[j + p1 * (k + p1 * l)], 1e-12);
  int first = 0;
  for (int r = 0; r < st.n_run; r++) {
    const lmm_run *run = st.run + r;
    const int K = q * run->n_cell;
    for (int at = 0; at < run->n_block * SIMD_LANES; at++, first += K) {
      const double *data = run->data + at / SIMD_LANES * K * n_col * SIMD_LANES + at % SIMD_LANES;
      for (int i = 0; i < K; i++)
        for (int j = 0; j < n; j++) { /* other groups are independent */
          double expected = 0.0;
          const int other = j - first, real = data[i * n_col * SIMD_LANES] != 0.0 ||
                                              data[(i * n_col + 1) * SIMD_LANES] != 0.0;
          if (other >= 0 && other < K && real)
            for (int a = 0; a < q; a++)
              for (int b = 0; b < q; b++)
                expected += data[(i * n_col + a) * SIMD_LANES] * Sigma[a + q * b] *
                            data[(other * n_col + b) * SIMD_LANES];
          if (other == i && real) expected += variance[run->level[i / q]];
          CHECK_CLOSE(V[first + i + n * j], expected, 1e-12);
        }
    }
  }
  test_free();
}

/* Without noise the response is X beta: [X y]'[X y] follows from X'X. */
static void test_simulated_mean(void) {
  const example e = new_example(2, 19, 2, 1, 9);
  lmm_stats st = build(&e);
  const int p = st.p, p1 = p + 1, n_col = 2 + p1;
  const double L[4] = {2, 1, 0, 3}, variance[2] = {0.5, 3.0}, beta[3] = {0.7, -1.5, 2.0};
  const double chi_square[2] = {11.0, 0.0};
  double *none = new_doubles((int)lmm_n_draws(&st));
  lmm_stats_simulate(&st, L, beta, variance, none, chi_square,
                     new_doubles((int)lmm_simulate_size(&st)));
  for (int l = 0; l < 2; l++) {
    const double *W = st.within + l * p1 * p1;
    double square = chi_square[l] * variance[l];
    for (int j = 0; j < p; j++) {
      double score = 0.0;
      for (int k = 0; k < p; k++) score += W[j >= k ? j + p1 * k : k + p1 * j] * beta[k];
      CHECK_CLOSE(W[p + p1 * j], score, 1e-13);
      square += beta[j] * score;
    }
    CHECK_CLOSE(W[p + p1 * p], square, 1e-13);
  }
  for (int r = 0; r < st.n_run; r++)
    for (int i = 0; i < st.run[r].n_block * 2 * st.run[r].n_cell; i++)
      for (int lane = 0; lane < SIMD_LANES; lane++) {
        const double *row = st.run[r].data + i * n_col * SIMD_LANES + lane;
        double fitted = 0.0;
        for (int j = 0; j < p; j++) fitted += row[(2 + j) * SIMD_LANES] * beta[j];
        CHECK_CLOSE(row[(n_col - 1) * SIMD_LANES], fitted, 1e-14);
      }
  test_free();
}

/* Within rows of a level less the rank of X in them; the intercept is nothing within. */
static void test_chi_square_df(void) {
  const example e = new_example(1, 19, 1, 0, 9);
  const lmm_stats st = build(&e);
  double *memory = new_doubles((int)lmm_simulate_size(&st));
  CHECK(lmm_chi_square_df(&st, 0, memory) == e.rows.n - 19 - 2);
  test_free();
}

int main(void) {
  test_products();
  test_chunks();
  test_order();
  test_runs();
  test_offsets();
  test_units();
  test_shifts();
  test_simulated_covariance();
  test_simulated_mean();
  test_chi_square_df();
  return FINISH();
}
