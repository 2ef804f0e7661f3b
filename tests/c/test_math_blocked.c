/* The order of elimination against elimination done set by set; factor, log-determinant, solutions
 * and selected inverse of block matrices against LAPACK's of the same matrix in full. */
#include "math/blocked.h"

#include <string.h>

#include "math/la.h"
#include "math/order.h"
#include "math/small.h"
#include "reference.h"

/* ---- order ----------------------------------------------------------------------------------- */

/* A random graph of n nodes with cliques of 2 .. 4 nodes and edges. */
static order_graph random_graph(int n, int n_clique, int n_edge, char *adjacent) {
  char *in = (char *)test_get(NULL, (size_t)(n * n_clique + 1));
  memset(in, 0, (size_t)(n * n_clique + 1));
  memset(adjacent, 0, (size_t)(n * n));
  for (int c = 0; c < n_clique; c++)
    for (int k = 0; k < 4; k++) in[c * n + (int)(random_uniform() * n)] = 1;
  char *edges = (char *)test_get(NULL, (size_t)(n * n));
  memset(edges, 0, (size_t)(n * n));
  for (int e = 0; e < n_edge; e++) {
    const int i = (int)(random_uniform() * n), j = (int)(random_uniform() * n);
    if (i != j) edges[i + n * j] = edges[j + n * i] = 1;
  }
  size_t *first[3];
  int *list[3], *weight = new_ints(n);
  for (int a = 0; a < 3; a++) {
    first[a] = (size_t *)test_get(NULL, (size_t)(n + n_clique + 2) * sizeof(size_t));
    list[a] = new_ints(n * (n + n_clique));
    first[a][0] = 0;
  }
  for (int i = 0; i < n; i++) {
    weight[i] = 1 + i % 3;
    first[0][i + 1] = first[0][i];
    first[1][i + 1] = first[1][i];
    for (int c = 0; c < n_clique; c++)
      if (in[c * n + i]) list[0][first[0][i + 1]++] = c;
    for (int j = 0; j < n; j++)
      if (edges[i + n * j]) list[1][first[1][i + 1]++] = j;
  }
  for (int c = 0; c < n_clique; c++) {
    first[2][c + 1] = first[2][c];
    for (int i = 0; i < n; i++)
      if (in[c * n + i]) list[2][first[2][c + 1]++] = i;
  }
  for (int i = 0; i < n; i++)
    for (int j = 0; j < n; j++) {
      adjacent[i + n * j] = edges[i + n * j];
      for (int c = 0; c < n_clique; c++)
        if (i != j && in[c * n + i] && in[c * n + j]) adjacent[i + n * j] = 1;
    }
  return (order_graph){n,       weight,  first[0], first[1], first[2],
                       list[0], list[1], list[2],  n_clique};
}

/* Each node once; what a step leaves to the rest is what elimination node by node leaves. */
static void test_order(int n, int n_clique, int n_edge) {
  char *adjacent = (char *)test_get(NULL, (size_t)(n * n));
  const order_graph graph = random_graph(n, n_clique, n_edge, adjacent);
  order_steps steps;
  order_minimum_degree(&graph, &steps, &test_memory);
  int *seen = new_ints(n), *last = new_ints(n), n_seen = 0, wrong = 0;
  for (int s = 0; s < steps.n_step; s++) {
    for (int k = steps.first[s]; k < steps.first[s + 1]; k++) {
      const int p = steps.node[k];
      n_seen += !seen[p]++;
      for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++)
          if (i != j && !seen[i] && !seen[j] && adjacent[p + n * i] && adjacent[p + n * j])
            adjacent[i + n * j] = 1;
    }
    const int p = steps.node[steps.first[s]];
    for (int i = 0; i < n; i++) last[i] = 0;
    for (int l = 0; l < steps.n_list[s]; l++) last[steps.list[s][l]]++;
    for (int i = 0; i < n; i++) wrong += last[i] != (!seen[i] && adjacent[p + n * i]);
  }
  CHECK(n_seen == n && steps.first[steps.n_step] == n);
  CHECK(wrong == 0);
  test_free();
}

/* A tree loses its leaves one after the other: no step leaves more than one neighbour. */
static void test_tree(int n) {
  char *none = (char *)test_get(NULL, (size_t)(n * n));
  order_graph graph = random_graph(n, 0, 0, none);
  size_t *first = (size_t *)test_get(NULL, (size_t)(n + 1) * sizeof(size_t));
  int *edge = new_ints(2 * n), *weight = new_ints(n);
  first[0] = 0;
  for (int i = 0; i < n; i++) weight[i] = 1;
  graph.weight = weight;
  for (int i = 0; i < n; i++) {
    first[i + 1] = first[i];
    if (i > 0) edge[first[i + 1]++] = (i - 1) / 2;
    for (int j = 2 * i + 1; j <= 2 * i + 2 && j < n; j++) edge[first[i + 1]++] = j;
  }
  graph.first_edge = first;
  graph.edge = edge;
  order_steps steps;
  order_minimum_degree(&graph, &steps, &test_memory);
  int most = 0;
  for (int s = 0; s < steps.n_step; s++) most = larger(most, steps.n_list[s]);
  CHECK(most <= 1);
  test_free();
}

/* ---- blocks ---------------------------------------------------------------------------------- */

/* Factors with levels[f] levels of columns[f] columns; each of `rows` rows has a level of each, the
 * last nested in the first where `nested`. */
typedef struct {
  int n_factor, levels[4], columns[4], rows, nested;
} design;

/* A = I + sum over rows of z z', full (n x n, nodes in order), and its pattern. */
static void random_blocks(const design *d, blocked_pattern *P, double **A, int *first, int *n) {
  int n_node = 0, offset[5] = {0};
  for (int f = 0; f < d->n_factor; f++) n_node = offset[f + 1] = offset[f] + d->levels[f];
  int *size = new_ints(n_node);
  *n = 0;
  for (int f = 0; f < d->n_factor; f++)
    for (int l = 0; l < d->levels[f]; l++) {
      first[offset[f] + l] = *n;
      size[offset[f] + l] = d->columns[f];
      *n += d->columns[f];
    }
  *A = new_doubles(*n * *n);
  char *touch = (char *)test_get(NULL, (size_t)(n_node * n_node));
  memset(touch, 0, (size_t)(n_node * n_node));
  double *z = new_doubles(*n);
  for (int i = 0; i < *n; i++) (*A)[i * (*n + 1)] = 1.0;
  for (int r = 0; r < d->rows; r++) {
    int level[4];
    for (int i = 0; i < *n; i++) z[i] = 0.0;
    for (int f = 0; f < d->n_factor; f++) {
      level[f] = (int)(random_uniform() * d->levels[f]);
      if (d->nested && f > 0) level[f] = level[f - 1] * d->levels[f] / d->levels[f - 1];
      for (int k = 0; k < d->columns[f]; k++)
        z[first[offset[f] + level[f]] + k] = k == 0 ? 1.0 : random_normal();
    }
    for (int f = 0; f < d->n_factor; f++)
      for (int g = 0; g < f; g++) touch[offset[f] + level[f] + n_node * (offset[g] + level[g])] = 1;
    for (int i = 0; i < *n; i++)
      for (int j = 0; j < *n; j++) (*A)[i + *n * j] += z[i] * z[j];
  }
  int *cell_i = new_ints(n_node * n_node), *cell_j = new_ints(n_node * n_node);
  size_t n_cell = 0;
  for (int i = 0; i < n_node; i++)
    for (int j = 0; j < n_node; j++)
      if (touch[i + n_node * j]) {
        cell_i[n_cell] = i;
        cell_j[n_cell++] = j;
      }
  *P = (blocked_pattern){n_node, d->levels[0], size, n_cell, cell_i, cell_j};
}

/* The block of nodes i and j of `full`, to where it is in `put`, laid out as b->L, or (put NULL)
 * the largest difference between it and what is there in b->Z. */
static double visit_block(const blocked *b, int i, int j, size_t at, int ld, double *full, int n,
                          const int *first, double *put) {
  const int swap = i != j && !blocked_rows_are_first(b, i, j);
  const int row = swap ? j : i, column = swap ? i : j;
  double apart = 0.0;
  for (int r = 0; r < b->size[row]; r++)
    for (int c = 0; c < (i == j ? r + 1 : b->size[column]); c++) {
      const double x = full[first[row] + r + n * (first[column] + c)];
      const size_t to = at + (size_t)r + (size_t)ld * (size_t)c;
      if (put)
        put[to] = x;
      else
        apart = fmax(apart, isnan(b->Z[to]) ? HUGE_VAL : fabs(b->Z[to] - x));
    }
  return apart;
}

static double visit_blocks(const blocked *b, const blocked_pattern *P, double *full, int n,
                           const int *first, double *put) {
  double apart = 0.0;
  for (int i = 0; i < P->n_node; i++) {
    int ld;
    const size_t at = blocked_diagonal(b, i, &ld);
    apart = fmax(apart, visit_block(b, i, i, at, ld, full, n, first, put));
  }
  for (size_t c = 0; c < P->n_cell; c++) {
    const int i = P->cell_i[c], j = P->cell_j[c], ld = blocked_ld(b, i, j);
    apart = fmax(apart, visit_block(b, i, j, b->cell[c], ld, full, n, first, put));
  }
  return apart;
}

/* Symmetric matrices on the pattern of A, the first and last of nodes by themselves, of one factor
 * each; the traces of their products with the inverse in full. */
static void test_curvature(blocked *b, const blocked_pattern *P, const double *A,
                           const double *inverse, int n, const int *first) {
  enum { K = 3 };
  double *B[K], *product[K], out[K * K];
  for (int k = 0; k < K; k++) {
    double *full = new_doubles(n * n);
    for (int i = 0; i < P->n_node; i++)
      for (int j = 0; j < P->n_node; j++)
        for (int r = 0; r < P->size[i]; r++)
          for (int c = 0; c < P->size[j]; c++) {
            const int row = first[i] + r, column = first[j] + c;
            const int at = row + n * column, other = column + n * row;
            const int none = k != 1 && (i != j || (i < P->n_leaf) != (k == 0));
            if (other <= at && A[at] != 0.0 && !none) full[at] = full[other] = random_normal();
          }
    B[k] = new_doubles((int)b->panel[b->n_super]);
    visit_blocks(b, P, full, n, first, B[k]);
    product[k] = new_doubles(n * n);
    la_multiply(inverse, full, n, n, n, product[k]);
  }
  int there[2 * K];
  blocked_curvature(b, K, B, there, out);
  for (int k = 0; k < K; k++)
    for (int l = 0; l <= k; l++) {
      double sum = 0.0;
      for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) sum += product[k][i + n * j] * product[l][j + n * i];
      CHECK_CLOSE(out[k + K * l], sum, 1e-11);
    }
}

/* The inverse of A + t B + t^2 C to second order, on the pattern, of random B and C, of the nodes'
 * own blocks alone where `own`. */
static void test_second(blocked *b, const blocked_pattern *P, const double *A,
                        const double *inverse, int n, const int *first, int own) {
  double *full[2], *B[2], *ZB = new_doubles(n * n), *ZBZ = new_doubles(n * n);
  double *second = new_doubles(n * n), *ZC = new_doubles(n * n), *ZCZ = new_doubles(n * n);
  for (int k = 0; k < 2; k++) {
    full[k] = new_doubles(n * n);
    for (int i = 0; i < P->n_node; i++)
      for (int j = 0; j < P->n_node; j++)
        for (int r = 0; r < P->size[i]; r++)
          for (int c = 0; c < P->size[j]; c++) {
            const int row = first[i] + r, column = first[j] + c;
            const int at = row + n * column, other = column + n * row;
            if (other <= at && A[at] != 0.0 && (!own || i == j))
              full[k][at] = full[k][other] = random_normal();
          }
    B[k] = new_doubles((int)b->panel[b->n_super]);
    visit_blocks(b, P, full[k], n, first, B[k]);
  }
  la_multiply(inverse, full[0], n, n, n, ZB);
  la_multiply(ZB, inverse, n, n, n, ZBZ);
  la_multiply(ZB, ZBZ, n, n, n, second);
  la_multiply(inverse, full[1], n, n, n, ZC);
  la_multiply(ZC, inverse, n, n, n, ZCZ);
  double most = 1.0;
  for (int i = 0; i < n * n; i++) {
    ZBZ[i] = -ZBZ[i];
    second[i] -= ZCZ[i];
    most = fmax(most, fabs(second[i]));
  }
  blocked_second(b, B[0], B[1], new_doubles((int)blocked_second_size(b)));
  blocked of_one = *b, of_two = *b;
  of_one.Z = B[0];
  of_two.Z = B[1];
  CHECK(visit_blocks(&of_one, P, ZBZ, n, first, NULL) < 1e-12 * most);
  CHECK(visit_blocks(&of_two, P, second, n, first, NULL) < 1e-12 * most);
}

static void test_blocks(design d) {
  enum { K = 3 };
  blocked_pattern P;
  blocked b, two;
  double *A, log_det, *R, *x, *expected;
  int n, first[2000];
  random_blocks(&d, &P, &A, first, &n);
  double *inverse = copy_doubles(A, n * n);
  blocked_plan(&b, &P, 1, &test_memory);
  CHECK(b.n == n);
  blocked_clear(&b);
  visit_blocks(&b, &P, A, n, first, b.L);
  CHECK(blocked_factor(&b, &log_det) == ELBO_OK);
  CHECK(la_chol(inverse, n) == ELBO_OK);
  CHECK_CLOSE(log_det, la_log_det_from_chol(inverse, n), 1e-12);
  CHECK(la_inverse_from_chol(inverse, n) == ELBO_OK);
  blocked_inverse(&b);
  CHECK(visit_blocks(&b, &P, inverse, n, first, NULL) < 1e-12);
  test_second(&b, &P, A, inverse, n, first, 0);
  test_second(&b, &P, A, inverse, n, first, 1);

  R = new_doubles(K * n);
  x = new_doubles(K * n);
  expected = new_doubles(K * n);
  for (int i = 0; i < P.n_node; i++)
    for (int c = 0; c < P.size[i]; c++)
      for (int k = 0; k < K; k++)
        R[k + K * (b.place[i] + c)] = x[first[i] + c + n * k] = random_normal();
  la_multiply(inverse, x, n, n, K, expected);
  blocked_forward(&b, K, R);
  double sum = 0.0;
  for (int i = 0; i < n; i++) sum += R[K * i] * R[K * i + 1];
  CHECK_CLOSE(sum, dot(x, expected + n, n), 1e-11); /* x'A^{-1}y from one side alone */
  blocked_backward(&b, K, R);
  double apart = 0.0;
  for (int i = 0; i < P.n_node; i++)
    for (int c = 0; c < P.size[i]; c++)
      for (int k = 0; k < K; k++)
        apart = fmax(apart, fabs(R[k + K * (b.place[i] + c)] - expected[first[i] + c + n * k]));
  CHECK(apart < 1e-12);

  test_curvature(&b, &P, A, inverse, n, first);

  blocked_plan(&two, &P, 2, &test_memory); /* the same bits by two threads */
  blocked_clear(&two);
  visit_blocks(&two, &P, A, n, first, two.L);
  CHECK(blocked_factor(&two, &log_det) == ELBO_OK);
  blocked_inverse(&two);
  const size_t bytes = b.panel[b.n_super] * sizeof(double);
  CHECK(memcmp(b.L, two.L, bytes) == 0 && memcmp(b.Z, two.Z, bytes) == 0);
  test_free();
}

/* Entries of a nested design: no fill, so about as many as A has. */
static void test_nested(void) {
  const design d = {3, {400, 40, 4}, {1, 1, 1}, 1200, 1};
  blocked_pattern P;
  blocked b;
  double *A;
  int n, first[2000];
  random_blocks(&d, &P, &A, first, &n);
  blocked_plan(&b, &P, 1, &test_memory);
  CHECK(b.panel[b.n_super] < 2 * ((size_t)n + P.n_cell));
  test_free();
}

static void test_not_positive_definite(void) {
  const design d = {2, {20, 10}, {1, 1}, 60, 0};
  blocked_pattern P;
  blocked b;
  double *A, log_det;
  int n, first[2000];
  random_blocks(&d, &P, &A, first, &n);
  blocked_plan(&b, &P, 1, &test_memory);
  for (int bad = 0; bad < n; bad += 25) {
    const double kept = A[bad * (n + 1)];
    A[bad * (n + 1)] = bad == 0 ? NAN : -1.0;
    blocked_clear(&b);
    visit_blocks(&b, &P, A, n, first, b.L);
    CHECK(blocked_factor(&b, &log_det) == ELBO_E_NOT_PD);
    A[bad * (n + 1)] = kept;
  }
  test_free();
}

int main(void) {
  random_seed(2);
  for (int run = 0; run < 20; run++) test_order(12, 6, 4);
  for (int run = 0; run < 10; run++) test_order(60, 40, 10);
  test_order(100, 70, 0);
  test_order(80, 0, 90);
  test_order(30, 200, 0);
  test_order(1, 0, 0);
  test_tree(127);
  test_blocks((design){1, {30}, {2}, 200, 0});
  test_blocks((design){1, {6}, {11}, 200, 0});
  test_blocks((design){2, {40, 10}, {1, 1}, 100, 0});
  test_blocks((design){2, {60, 50}, {1, 1}, 130, 0});
  test_blocks((design){2, {200, 150}, {1, 2}, 420, 0});
  test_blocks((design){2, {20, 8}, {10, 9}, 120, 0});
  test_blocks((design){3, {60, 30, 5}, {2, 1, 3}, 200, 0});
  test_blocks((design){3, {90, 30, 5}, {1, 2, 1}, 250, 1});
  test_blocks((design){4, {100, 60, 20, 4}, {1, 2, 1, 1}, 220, 0});
  test_blocks((design){4, {120, 40, 10, 2}, {2, 1, 2, 1}, 300, 1});
  test_nested();
  test_not_positive_definite();
  return FINISH();
}
