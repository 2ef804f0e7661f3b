/* The flat vector of statistics: what chunks add up to and merge to, in any way, against one pass;
 * sums about shifts against exact arithmetic; what is refused. */
#include <string.h>

#include "glmm/fit.h"
#include "glmm/survey.h"
#include "lmm_fixture.h"

enum { P = 3, M = 12 };

typedef struct {
  lmm_rows rows;
  double *X, *y, *Z, *weight;
  int *group, *level;
} data;

/* Groups of 1 to 7 rows, their order shuffled; X = [1, 10 + normal, normal], Z = [1, 2 + normal];
 * columns moved by `far`. */
static data new_data(int q, int n_level, int weighted, double far) {
  data d;
  memset(&d, 0, sizeof d);
  int n = 0;
  for (int g = 0; g < M; g++) n += 1 + g % 7;
  d.X = new_doubles(n * P);
  d.y = new_doubles(n);
  d.Z = new_doubles(n * q);
  d.weight = new_doubles(n);
  d.group = new_ints(n);
  d.level = new_ints(n);
  int *order = new_ints(n);
  for (int i = 0; i < n; i++) order[i] = i;
  for (int i = n - 1; i > 0; i--) {
    const int j = (int)(random_uniform() * (i + 1)), kept = order[i];
    order[i] = order[j];
    order[j] = kept;
  }
  for (int g = 0, at = 0; g < M; g++)
    for (int k = 0; k < 1 + g % 7; k++, at++) {
      const int i = order[at];
      d.group[i] = g + 1;
      d.level[i] = 1 + (k + g) % n_level;
      d.weight[i] = 0.2 + 3.0 * random_uniform();
      d.X[i] = 1.0;
      for (int j = 1; j < P; j++) d.X[i + n * j] = 10.0 * (j == 1) + random_normal();
      for (int c = 0; c < q; c++) d.Z[i + n * c] = c == 0 ? 1.0 : 2.0 + random_normal();
      d.y[i] = far + 0.125 * nearbyint(80.0 * (g + random_normal())) / 8.0;
    }
  d.rows = (lmm_rows){.n = n, .p = P, .q = q, .m = q > 0 ? M : 0, .n_level = n_level};
  d.rows.X = d.X, d.rows.y = d.y, d.rows.Z = d.Z;
  d.rows.weight = weighted ? d.weight : NULL;
  d.rows.group = d.group, d.rows.level = n_level > 1 ? d.level : NULL;
  return d;
}

/* Rows first..last - 1. */
static lmm_rows chunk_of(const data *d, int first, int last) {
  const int n = d->rows.n, size = last - first;
  lmm_rows rows = d->rows;
  double *X = new_doubles(size * P), *Z = new_doubles(size * rows.q);
  for (int j = 0; j < P; j++)
    for (int i = 0; i < size; i++) X[i + size * j] = d->X[first + i + n * j];
  for (int j = 0; j < rows.q; j++)
    for (int i = 0; i < size; i++) Z[i + size * j] = d->Z[first + i + n * j];
  rows.n = size;
  rows.X = X;
  rows.Z = Z;
  rows.y += first;
  rows.group += first;
  if (rows.weight) rows.weight += first;
  if (rows.level) rows.level += first;
  return rows;
}

static double *open_for(const data *d) {
  const lmm_rows *rows = &d->rows;
  const lmm_shape shape = {.p = P, .q = rows->q, .m = rows->m, .n_level = rows->n_level};
  double *survey = new_doubles((int)lmm_survey_size(rows->q + P + 1));
  lmm_survey_rows(rows, survey);
  return lmm_stats_open(survey, &shape, &test_memory);
}

static double *whole(const data *d) {
  return lmm_stats_add(open_for(d), &d->rows, &test_memory, &test_memory);
}

/* [Z X y]'[Z X y] of a cell about its pivot `about`, from its between rows and, where there is one,
 * with their pivot. */
static void cell_products(const lmm_flat *f, size_t cell, const double *about, double *out) {
  const int q = f->shape.q, n_col = q + P + 1;
  double *row = new_doubles(n_col);
  memset(out, 0, (size_t)(n_col * n_col) * sizeof(double));
  for (int r = 0; r < q; r++) {
    const double *from = f->between + (cell * (size_t)q + (size_t)r) * (size_t)n_col;
    for (int c = 0; c < n_col; c++) {
      const double move = f->z_one < 0 || c == f->z_one
                              ? 0.0
                              : f->pivot[cell * (size_t)n_col + (size_t)c] - about[c];
      row[c] = from[c] + (f->z_one < 0 ? 0.0 : move * from[f->z_one]);
    }
    for (int a = 0; a < n_col; a++)
      for (int b = 0; b < n_col; b++) out[a + n_col * b] += row[a] * row[b];
  }
}

/* Two vectors of the same rows: the same but for the rotation of the between rows. */
static void check_same(const double *a, const double *b, double tol) {
  lmm_flat f, g;
  CHECK(lmm_stats_check(a, (size_t)a[FLAT_SIZE]) && lmm_stats_check(b, (size_t)b[FLAT_SIZE]));
  lmm_flat_parts(a, &f);
  lmm_flat_parts(b, &g);
  const int q = f.shape.q, n_col = q + P + 1, p1 = P + 1;
  CHECK(f.size == g.size && f.n_cell == g.n_cell && a[FLAT_N] == b[FLAT_N]);
  CHECK(fabs(a[FLAT_LOG_WEIGHT] - b[FLAT_LOG_WEIGHT]) <= tol * (1.0 + fabs(a[FLAT_LOG_WEIGHT])));
  CHECK(memcmp(f.shift, g.shift, (size_t)(4 * n_col + P) * sizeof(double)) == 0);
  CHECK(memcmp(f.n_rows, g.n_rows, (size_t)f.shape.n_level * sizeof(double)) == 0);
  CHECK(memcmp(f.group, g.group, 3 * f.n_cell * sizeof(double)) == 0);
  double *A = new_doubles(n_col * n_col), *B = new_doubles(n_col * n_col);
  double *all_a = new_doubles(p1 * p1), *all_b = new_doubles(p1 * p1), *none = new_doubles(n_col);
  for (int l = 0; l < f.shape.n_level; l++) {
    /* Where a cell has no full rank the between rows may differ, the sum may not. */
    memcpy(all_a, f.within + l * p1 * p1, (size_t)(p1 * p1) * sizeof(double));
    memcpy(all_b, g.within + l * p1 * p1, (size_t)(p1 * p1) * sizeof(double));
    for (size_t c = 0; c < f.n_cell; c++) {
      if (f.level[c] != l + 1) continue;
      const double *about = f.z_one < 0 ? none : f.pivot + c * (size_t)n_col;
      cell_products(&f, c, about, A);
      cell_products(&g, c, about, B);
      for (int i = 0; i < n_col; i++)
        for (int j = 0; j < n_col; j++) {
          const double size = sqrt(A[i * (n_col + 1)] * A[j * (n_col + 1)]);
          const double off = fabs(A[i + n_col * j] - B[i + n_col * j]);
          if (i < q || j < q) CHECK(off <= tol * (size + 1.0));
          if (i < q || j < q || j > i) continue;
          all_a[i - q + p1 * (j - q)] += A[i + n_col * j];
          all_b[i - q + p1 * (j - q)] += B[i + n_col * j];
        }
    }
    for (int i = 0; i < p1; i++)
      for (int j = 0; j <= i; j++)
        CHECK(fabs(all_a[i + p1 * j] - all_b[i + p1 * j]) <=
              tol * (1e-3 + sqrt(all_a[i * (p1 + 1)] * all_a[j * (p1 + 1)])));
  }
}

/* Chunks of `size` rows (0: of none and of one in turn), added one after the other. */
static void test_chunks(void) {
  static const int sizes[] = {0, 1, 2, 5, 17, 1000};
  for (int q = 0; q <= 2; q++)
    for (int n_level = 1; n_level <= 2; n_level++)
      for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        const data d = new_data(q, n_level, (int)(s % 2), 100.0);
        double *flat = open_for(&d);
        int turn = 1;
        for (int first = 0; first < d.rows.n;) {
          turn = !turn;
          int size = sizes[s] > 0 ? sizes[s] : turn;
          if (first + size > d.rows.n) size = d.rows.n - first;
          const lmm_rows rows = chunk_of(&d, first, first + size);
          flat = lmm_stats_add(flat, &rows, &test_memory, &test_memory);
          first += size;
        }
        check_same(flat, whole(&d), 1e-13);
        CHECK(lmm_stats_complete(flat));
        test_free();
      }
}

/* Parts of a third each, merged in every order and with an empty one. */
static void test_merge(void) {
  static const int order[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
  for (int q = 0; q <= 2; q++)
    for (int o = 0; o < 6; o++) {
      const data d = new_data(q, 1 + o % 2, o % 2, 1e6);
      const int n = d.rows.n;
      double *part[3], *opened = open_for(&d);
      for (int k = 0; k < 3; k++) {
        const lmm_rows rows = chunk_of(&d, k * n / 3, (k + 1) * n / 3);
        part[k] = lmm_stats_add(opened, &rows, &test_memory, &test_memory);
        CHECK(lmm_stats_mergeable(part[k], part[0]));
      }
      double *left = lmm_stats_merge(part[order[o][0]], part[order[o][1]], &test_memory,
                                     &test_memory);
      left = lmm_stats_merge(left, opened, &test_memory, &test_memory);
      left = lmm_stats_merge(left, part[order[o][2]], &test_memory, &test_memory);
      double *right = lmm_stats_merge(part[order[o][1]], part[order[o][2]], &test_memory,
                                      &test_memory);
      right = lmm_stats_merge(part[order[o][0]], right, &test_memory, &test_memory);
      check_same(left, whole(&d), 1e-13);
      check_same(right, whole(&d), 1e-13);
      test_free();
    }
}

/* A survey of chunks fixes the shifts of a survey of all rows, to the rounding of their sum. */
static void test_survey(void) {
  const data d = new_data(2, 1, 1, 1e8);
  const int n = d.rows.n, n_col = 2 + P + 1;
  double *all = new_doubles((int)lmm_survey_size(n_col)), *sum = NULL;
  lmm_survey_rows(&d.rows, all);
  for (int first = 0; first < n; first += 4) {
    const lmm_rows rows = chunk_of(&d, first, first + 4 < n ? first + 4 : n);
    double *more = new_doubles((int)lmm_survey_size(n_col));
    lmm_survey_rows(&rows, more);
    if (sum == NULL) sum = more;
    else lmm_survey_merge(sum, more, n_col);
  }
  CHECK(sum[SURVEY_N] == n && sum[SURVEY_WEIGHT] == all[SURVEY_WEIGHT]);
  for (int c = 0; c < n_col; c++) {
    CHECK_CLOSE(sum[SURVEY_COLUMNS + c], all[SURVEY_COLUMNS + c], 1e-14);
    for (int k = 1; k < 3; k++)
      CHECK(sum[SURVEY_COLUMNS + c + k * n_col] == all[SURVEY_COLUMNS + c + k * n_col]);
  }
  test_free();
}

/* Deviations from the mean of a group are multiples of 1/64 here, so that their squares add up
 * exactly in doubles, wherever the groups are: 1e9 from each other, rows merged one by one. */
static void test_exact_within(void) {
  data d = new_data(1, 1, 0, 0.0);
  const int n = d.rows.n;
  double exact = 0.0, *sum = new_doubles(M), *count = new_doubles(M), *flat;
  for (int i = 0; i < n; i++) {
    sum[d.group[i] - 1] += d.y[i];
    count[d.group[i] - 1] += 1.0;
  }
  for (int i = 0; i < n; i++) {
    const int g = d.group[i] - 1;
    exact += pow(d.y[i] - sum[g] / count[g], 2.0);
  }
  for (int i = 0; i < n; i++) d.y[i] += 1e9 * d.group[i];
  flat = open_for(&d);
  for (int i = 0; i < n; i++) {
    const lmm_rows rows = chunk_of(&d, i, i + 1);
    flat = lmm_stats_add(flat, &rows, &test_memory, &test_memory);
  }
  lmm_flat f;
  lmm_flat_parts(flat, &f);
  /* The shift, the mean of all, rounds to 1e-6; what it moves moves all rows of a group alike but
   * for the rounding of y - shift to 53 bits of 1e10. */
  const double scale = f.scale[1 + P], within = f.within[(P + 1) * (P + 1) - 1] / (scale * scale);
  CHECK_CLOSE(within, exact, 1e-7);
  const double *once = whole(&d);
  lmm_flat_parts(once, &f);
  CHECK_CLOSE(within, f.within[(P + 1) * (P + 1) - 1] / (scale * scale), 1e-12);
  test_free();
}

/* What a model says of merged statistics: objective, gradient and Hessian are those of one pass. */
static void test_model(void) {
  for (int q = 1; q <= 2; q++) {
    const data d = new_data(q, 2, 1, 1000.0);
    const int n = d.rows.n;
    double *sd = new_doubles(q), *cor = new_doubles(1), sigma[2] = {NAN, NAN};
    for (int k = 0; k < q; k++) sd[k] = NAN;
    cor[0] = NAN;
    const lmm_law law = {.method = LMM_EM, .n_block = 1, .block = new_ints(q), .sd = sd,
                         .cor = cor, .sigma = sigma};
    const lmm_rows first = chunk_of(&d, 0, n / 2), second = chunk_of(&d, n / 2, n);
    double *opened = open_for(&d);
    const double *merged =
        lmm_stats_merge(lmm_stats_add(opened, &second, &test_memory, &test_memory),
                        lmm_stats_add(opened, &first, &test_memory, &test_memory), &test_memory,
                        &test_memory);
    const lmm_basis all = {0};
    fixture one, two;
    const example e = {d.rows, law};
    fixture_init(&one, &e);
    CHECK(lmm_stats_close(merged, &law, &all, &two.stats, new_doubles(P), &test_memory) == ELBO_OK);
    CHECK(lmm_work_init(&two.work, &two.stats, &law, &test_memory) == ELBO_OK);
    two.model = lmm_model(&two.work);
    const int n_eta = one.model.n_eta;
    double *eta = random_eta(&one.work.par), *g1 = new_doubles(n_eta), *g2 = new_doubles(n_eta);
    double *h1 = new_doubles(n_eta * n_eta), *h2 = new_doubles(n_eta * n_eta), v1, v2;
    CHECK(one.model.unpack(&one.work, eta) == ELBO_OK);
    CHECK(two.model.unpack(&two.work, eta) == ELBO_OK);
    CHECK(one.model.objective.hessian(&one.work, &v1, g1, h1) == ELBO_OK);
    CHECK(two.model.objective.hessian(&two.work, &v2, g2, h2) == ELBO_OK);
    CHECK_CLOSE(v1, v2, 1e-13);
    CHECK(distance(g1, g2, n_eta) < 1e-11 * (1.0 + largest(g1, n_eta)));
    CHECK(distance(h1, h2, n_eta * n_eta) < 1e-11 * (1.0 + largest(h1, n_eta * n_eta)));

    test_free();
  }
}

/* Objective, coefficients and their covariance on `flat`, Sigma = 2 I + .5, sigma = (.8, 1.3). */
static void look(const double *flat, const lmm_law *law, const lmm_basis *basis, double *out) {
  lmm_fit f = {.law = *law};
  const double scales[6] = {2.5, 0.5, 0.5, 2.5, 0.8, 1.3};
  CHECK(lmm_fit_open(&f, flat, basis, &test_memory) == ELBO_OK);
  CHECK(lmm_fit_evaluate(&f, scales, out) == ELBO_OK);
}

/* Coefficients held are taken off the response, the intercept too; terms change places; and a law
 * that holds an sd has the columns of Z where they are: all as of rows that are made so. */
static void test_basis(void) {
  const data d = new_data(2, 2, 1, 1000.0);
  const int n = d.rows.n, order[2] = {1, 0};
  const double free_sd[2] = {NAN, NAN}, one_sd[2] = {NAN, 1.5}, cor[1] = {NAN};
  const double sigma[2] = {NAN, NAN};
  const double *flat = whole(&d);
  for (int held = -1; held < P; held++)
    for (int sds = 0; sds < 2; sds++)
      for (int turned = 0; turned < 2; turned++) {
        const lmm_law law = {.method = LMM_EM, .n_block = 1, .block = new_ints(2), .cor = cor,
                             .sd = sds ? one_sd : free_sd, .sigma = sigma};
        const double value = held == 0 ? 990.0 : 0.7;
        const int p = held < 0 ? P : P - 1;
        double *map = new_doubles(P * p), *origin = new_doubles(P), *y = copy_doubles(d.y, n);
        double *X = new_doubles(n * p), *Z = copy_doubles(d.Z, 2 * n), a[13], b[13];
        for (int j = 0, k = 0; j < P; j++) {
          if (j == held) continue;
          map[j + P * k] = 1.0;
          memcpy(X + n * k++, d.X + n * j, (size_t)n * sizeof(double));
        }
        if (held >= 0) origin[held] = value;
        for (int i = 0; i < n && held >= 0; i++) y[i] -= value * d.X[i + n * held];
        for (int k = 0; k < 2 && turned; k++)
          memcpy(Z + n * k, d.Z + n * order[k], (size_t)n * sizeof(double));
        lmm_rows rows = d.rows;
        rows.p = p, rows.X = X, rows.y = y, rows.Z = Z;
        const lmm_basis whole_basis = {0};
        lmm_basis basis = {p, map, origin, turned ? order : NULL};
        if (held < 0) basis.map = NULL;
        look(lmm_stats_of_rows(&rows, 0, &test_memory, &test_memory), &law, &whole_basis, a);
        look(flat, &law, &basis, b);
        for (int i = 0; i < 1 + p + p * p; i++) CHECK_CLOSE(b[i], a[i], 1e-11);
      }
  test_free();
}

/* Every number of the header changed, a cell out of order, a size too short, no number. */
static void test_refused(void) {
  const data d = new_data(2, 2, 1, 5.0);
  double *flat = whole(&d);
  const size_t size = (size_t)flat[FLAT_SIZE];
  lmm_flat f;
  lmm_flat_parts(flat, &f);
  CHECK(lmm_stats_check(flat, size));
  CHECK(!lmm_stats_check(flat, size - 1) && !lmm_stats_check(flat, FLAT_HEADER - 1));
  CHECK(!lmm_stats_check(NULL, 0));
  for (int i = 0; i <= FLAT_N_CELL; i++) {
    static const double bad[] = {-1.0, 0.5, 1e300, NAN, HUGE_VAL};
    const double kept = flat[i];
    for (int b = 0; b < 5; b++) {
      flat[i] = bad[b];
      CHECK(!lmm_stats_check(flat, size));
    }
    flat[i] = kept;
  }
  double *where[] = {f.group + 1, f.level, f.count + 2, f.scale, f.n_rows, f.within, f.between};
  for (int k = 0; k < 7; k++) {
    const double kept = *where[k];
    *where[k] = k < 5 ? 77777.5 : NAN;
    CHECK(!lmm_stats_check(flat, size));
    *where[k] = kept;
  }
  CHECK(lmm_stats_check(flat, size));
  double *other = copy_doubles(flat, (int)size);
  lmm_flat_parts(other, &f);
  f.shift[3] += 1.0;
  CHECK(!lmm_stats_mergeable(flat, other) && lmm_stats_mergeable(flat, flat));
  /* Groups without rows. */
  const lmm_rows some = chunk_of(&d, 0, 3);
  CHECK(!lmm_stats_complete(lmm_stats_add(open_for(&d), &some, &test_memory, &test_memory)));
  test_free();
}

/* A response that was drawn goes back to where it came from. */
static void test_put_response(void) {
  const data d = new_data(2, 2, 1, 5.0);
  const double sd[2] = {NAN, NAN}, cor[1] = {NAN}, sigma[2] = {NAN, NAN};
  const lmm_law law = {.method = LMM_EM, .n_block = 1, .block = new_ints(2), .sd = sd, .cor = cor,
                       .sigma = sigma};
  const lmm_basis all = {0};
  double *flat = whole(&d), *kept = copy_doubles(flat, (int)flat[FLAT_SIZE]);
  lmm_stats st, again;
  CHECK(lmm_stats_close(flat, &law, &all, &st, new_doubles(P), &test_memory) == ELBO_OK);
  lmm_stats_put_response(&st, flat);
  CHECK(lmm_stats_check(flat, (size_t)flat[FLAT_SIZE]));
  CHECK(lmm_stats_close(flat, &law, &all, &again, new_doubles(P), &test_memory) == ELBO_OK);
  for (int r = 0; r < st.n_run; r++) {
    const int size = st.run[r].n_block * 2 * st.run[r].n_cell * (2 + P + 1) * 8;
    CHECK(distance(st.run[r].data, again.run[r].data, size) == 0.0);
  }
  lmm_flat f;
  lmm_flat_parts(flat, &f);
  CHECK(distance(kept, flat, (int)f.size) > 0.0); /* the pivots are gone */
  f.within[P] += 1.0;
  st.within[P] += 2.0;
  lmm_stats_put_response(&st, flat);
  CHECK(f.within[P] == st.within[P]);
  test_free();
}

int main(void) {
  random_seed(3);
  test_chunks();
  test_merge();
  test_survey();
  test_exact_within();
  test_model();
  test_basis();
  test_refused();
  test_put_response();
  return FINISH();
}
