/* The order of elimination, supernodes, and where everything lies. */
#include <stdlib.h>
#include <string.h>

#include "math/blocked.h"
#include "math/order.h"
#include "math/small.h"
#include "math/threads.h"

static size_t *sizes(const elbo_memory *mem, size_t n) {
  size_t *x = mem->get(mem->ctx, (n > 0 ? n : 1) * sizeof(size_t));
  memset(x, 0, n * sizeof(size_t));
  return x;
}

static int *integers(const elbo_memory *mem, size_t n) {
  int *x = elbo_ints(mem, n > 0 ? n : 1);
  memset(x, 0, n * sizeof(int));
  return x;
}

/* ---- the graph of what is not a leaf ----------------------------------------------------------
 */

/* Leaves are cliques of the rest, cells between other nodes are edges.  Nodes are counted from
 * n_leaf here.  which: the cell by which a node is in a clique, aligned with g->clique. */
static void rest_graph(const blocked_pattern *P, order_graph *g, size_t **which,
                       const elbo_memory *mem) {
  const int n = P->n_node - P->n_leaf, leaf = P->n_leaf;
  size_t *clique = sizes(mem, (size_t)n + 2), *edge = sizes(mem, (size_t)n + 2);
  size_t *member = sizes(mem, (size_t)leaf + 2);
  for (size_t c = 0; c < P->n_cell; c++) {
    const int low = smaller(P->cell_i[c], P->cell_j[c]), high = larger(P->cell_i[c], P->cell_j[c]);
    if (low < leaf) {
      clique[high - leaf + 2]++;
      member[low + 2]++;
    } else {
      edge[high - leaf + 2]++;
      edge[low - leaf + 2]++;
    }
  }
  for (int i = 2; i <= n + 1; i++) {
    clique[i] += clique[i - 1];
    edge[i] += edge[i - 1];
  }
  for (int i = 2; i <= leaf + 1; i++) member[i] += member[i - 1];
  int *cliques = integers(mem, clique[n + 1]), *edges = integers(mem, edge[n + 1]);
  int *members = integers(mem, member[leaf + 1]);
  *which = sizes(mem, clique[n + 1]);
  for (size_t c = 0; c < P->n_cell; c++) {
    const int low = smaller(P->cell_i[c], P->cell_j[c]), high = larger(P->cell_i[c], P->cell_j[c]);
    if (low < leaf) {
      (*which)[clique[high - leaf + 1]] = c;
      cliques[clique[high - leaf + 1]++] = low;
      members[member[low + 1]++] = high - leaf;
    } else {
      edges[edge[high - leaf + 1]++] = low - leaf;
      edges[edge[low - leaf + 1]++] = high - leaf;
    }
  }
  *g = (order_graph){n, P->size + leaf, clique, edge, member, cliques, edges, members, leaf};
}

/* ---- supernodes ------------------------------------------------------------------------------ */

/* Steps of the elimination, joined where that adds few zeros: step s belongs to supernode top[s],
 * the last of its steps. */
typedef struct {
  int n;
  int *parent, *top, *columns, *rows, *step_of;
  double *zeros;
} joined_steps;

/* Zeros that are worth one panel in place of two (Chen, Davis, Hager & Rajamanickam 2008). */
static int worth_joining(int columns, double zeros, double entries) {
  if (zeros <= 0.0 || columns <= 4) return 1;
  if (columns <= 16) return zeros < 0.5 * entries;
  return zeros < (columns <= 48 ? 0.1 : 0.05) * entries;
}

static void join_steps(joined_steps *j, const order_graph *g, const order_steps *steps,
                       const elbo_memory *mem) {
  const int n = steps->n_step;
  j->n = n;
  j->parent = integers(mem, (size_t)n);
  j->top = integers(mem, (size_t)n);
  j->columns = integers(mem, (size_t)n);
  j->rows = integers(mem, (size_t)n);
  j->step_of = integers(mem, (size_t)g->n);
  j->zeros = elbo_doubles(mem, (size_t)n + 1);
  for (int s = 0; s < n; s++) {
    j->zeros[s] = 0.0;
    for (int k = steps->first[s]; k < steps->first[s + 1]; k++) {
      j->step_of[steps->node[k]] = s;
      j->columns[s] += g->weight[steps->node[k]];
    }
  }
  for (int s = 0; s < n; s++) {
    j->parent[s] = n;
    j->top[s] = s;
    for (int k = 0; k < steps->n_list[s]; k++) {
      j->parent[s] = smaller(j->parent[s], j->step_of[steps->list[s][k]]);
      j->rows[s] += g->weight[steps->list[s][k]];
    }
  }
  for (int s = 0; s < n; s++) { /* children come before, and have taken in their own */
    const int t = j->parent[s];
    if (t == n) continue;
    const double height = j->columns[t] + j->rows[t];
    const double zeros = j->zeros[s] + j->zeros[t] + j->columns[s] * (height - j->rows[s]);
    const int columns = j->columns[s] + j->columns[t];
    if (!worth_joining(columns, zeros, columns * (0.5 * columns + j->rows[t]))) continue;
    j->top[s] = t;
    j->columns[t] = columns;
    j->zeros[t] = zeros;
  }
  for (int s = n - 1; s >= 0; s--) j->top[s] = j->top[j->top[s]];
}

/* ---- places ---------------------------------------------------------------------------------- */

/* Columns: the leaves', then supernode by supernode, in each step by step. */
static void place_nodes(blocked *b, const order_graph *g, const order_steps *steps,
                        const joined_steps *j, int *super_of, const elbo_memory *mem) {
  int column = 0, J = 0;
  for (; J < b->n_leaf; J++) {
    b->place[J] = b->start[J] = column;
    column += b->size[J];
  }
  int *next = integers(mem, (size_t)j->n + 1);
  for (int s = 0; s < j->n; s++) {
    if (j->top[s] != s) continue;
    super_of[s] = J;
    b->start[J++] = next[s] = column;
    column += j->columns[s];
  }
  b->start[J] = b->n = column;
  b->n_super = J;
  for (int s = 0; s < j->n; s++)
    for (int k = steps->first[s]; k < steps->first[s + 1]; k++) {
      const int node = steps->node[k], top = j->top[s];
      b->place[b->n_leaf + node] = next[top];
      next[top] += g->weight[node];
    }
  for (J = 0; J < b->n_super; J++)
    for (int c = b->start[J]; c < b->start[J + 1]; c++) b->owner[c] = J;
}

static void measure_panels(blocked *b, const order_graph *g, const joined_steps *j,
                           const int *super_of) {
  for (int J = 0; J < b->n_super; J++) b->n_row[J] = b->start[J + 1] - b->start[J];
  for (int l = 0; l < b->n_leaf; l++)
    for (size_t s = g->first_member[l]; s < g->first_member[l + 1]; s++)
      b->n_row[l] += g->weight[g->member[s]];
  for (int s = 0; s < j->n; s++)
    if (j->top[s] == s) b->n_row[super_of[s]] += j->rows[s];
  for (int J = 0; J < b->n_super; J++) {
    const int columns = b->start[J + 1] - b->start[J];
    b->panel[J + 1] = b->panel[J] + (size_t)b->n_row[J] * (size_t)columns;
    b->first_below[J + 1] = b->first_below[J] + (size_t)(b->n_row[J] - columns);
  }
}

/* The rest's nodes are taken by place, so that what is below a leaf comes in order. */
static void leaf_rows(blocked *b, const order_graph *g, const size_t *which,
                      const elbo_memory *mem) {
  int *filled = integers(mem, (size_t)b->n_leaf), *node_at = integers(mem, (size_t)b->n);
  for (int i = 0; i < g->n; i++) node_at[b->place[b->n_leaf + i]] = i + 1;
  for (int c = 0; c < b->n; c++) {
    const int i = node_at[c] - 1;
    if (i < 0) continue;
    for (size_t s = g->first_clique[i]; s < g->first_clique[i + 1]; s++) {
      const int l = g->clique[s];
      b->cell[which[s]] = b->panel[l] + (size_t)(b->size[l] + filled[l]);
      for (int k = 0; k < g->weight[i]; k++)
        b->below[b->first_below[l] + (size_t)filled[l]++] = c + k;
    }
  }
}

static int ascending(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

static void rest_rows(blocked *b, const order_graph *g, const order_steps *steps,
                      const joined_steps *j, const int *super_of) {
  for (int s = 0; s < j->n; s++) {
    if (j->top[s] != s) continue;
    int *rows = b->below + b->first_below[super_of[s]], n = 0;
    for (int k = 0; k < steps->n_list[s]; k++) {
      const int node = steps->list[s][k], c = b->place[b->n_leaf + node];
      for (int l = 0; l < g->weight[node]; l++) rows[n++] = c + l;
    }
    qsort(rows, (size_t)n, sizeof(int), ascending);
  }
}

int blocked_find(const blocked *b, int row, int column, size_t *at) {
  const int high = larger(row, column), low = smaller(row, column), J = b->owner[low];
  const int columns = b->start[J + 1] - b->start[J];
  size_t place = (size_t)(high - b->start[J]);
  if (high >= b->start[J + 1]) {
    const int *rows = b->below + b->first_below[J];
    const int *found =
        bsearch(&high, rows, (size_t)(b->n_row[J] - columns), sizeof(int), ascending);
    if (found == NULL) return 0;
    place = (size_t)columns + (size_t)(found - rows);
  }
  *at = b->panel[J] + place + (size_t)b->n_row[J] * (size_t)(low - b->start[J]);
  return 1;
}

static void rest_cells(blocked *b, const blocked_pattern *P) {
  for (size_t c = 0; c < P->n_cell; c++)
    if (smaller(P->cell_i[c], P->cell_j[c]) >= P->n_leaf)
      blocked_find(b, b->place[P->cell_i[c]], b->place[P->cell_j[c]], b->cell + c);
}

/* Updates need a strip of what is below a panel, the inverse all of it, second derivatives two more
 * panels; leaves a strip a thread. */
static size_t space_size(const blocked *b, int threads) {
  size_t most = 1;
  for (int J = 0; J < b->n_super; J++) {
    const int columns = b->start[J + 1] - b->start[J];
    const size_t below = (size_t)(b->n_row[J] - columns);
    size_t needs = below * (size_t)columns * (size_t)(J < b->n_leaf ? threads : 1);
    if (columns > BLOCKED_NARROW) {
      const size_t update = below * (size_t)smaller((int)below, BLOCKED_STRIP);
      needs += factor_inverse_size(columns) + below * below;
      if (update > needs) needs = update;
    }
    needs += 2 * below * (size_t)columns + square(columns);
    if (needs > most) most = needs;
  }
  return most;
}

/* Columns of the rest in tiles: as many as stay in cache, and as many tiles as threads that have
 * about as much to do each. */
static void tile_columns(blocked *b, int threads, const elbo_memory *mem) {
  const size_t most = (size_t)1 << 16; /* doubles */
  const int first = b->start[b->n_leaf];
  double *work = elbo_doubles(mem, (size_t)b->n + 1), total = 0.0, sum = 0.0;
  size_t size = 0;
  b->tile = integers(mem, (size_t)(b->n - first) + 2);
  for (int c = 0; c < b->n; c++) work[c] = c < first ? 0.0 : 1.0;
  for (int l = 0; l < b->n_leaf; l++)
    for (size_t s = b->first_below[l]; s < b->first_below[l + 1]; s++)
      work[b->below[s]] += (double)(b->first_below[l + 1] - s);
  for (int c = first; c < b->n; c++) total += work[c];
  b->tile[0] = first;
  for (int c = first; c < b->n; c++) {
    const int J = b->owner[c];
    sum += work[c];
    size += (size_t)(b->n_row[J] - (c - b->start[J]));
    if (c + 1 < b->n && size < most && sum < total / threads) continue;
    b->tile[++b->n_tile] = c + 1;
    size = 0;
    sum = 0.0;
  }
}

/* What the plan is made from, and where nodes and supernodes are; nothing is laid out yet. */
typedef struct {
  order_graph g;
  order_steps steps;
  joined_steps j;
  size_t *which;
  int *super_of;
} plan_parts;

static void find_structure(blocked *b, const blocked_pattern *P, plan_parts *plan,
                           const elbo_memory *mem) {
  const int n_node = P->n_node;
  int n = 0;
  for (int i = 0; i < n_node; i++) n += P->size[i];
  rest_graph(P, &plan->g, &plan->which, mem);
  order_minimum_degree(&plan->g, &plan->steps, mem);
  join_steps(&plan->j, &plan->g, &plan->steps, mem);
  memset(b, 0, sizeof *b);
  b->n_node = n_node;
  b->n_leaf = P->n_leaf;
  b->size = P->size;
  b->place = integers(mem, (size_t)n_node);
  b->start = integers(mem, (size_t)n_node + 1);
  b->n_row = integers(mem, (size_t)n_node);
  b->owner = integers(mem, (size_t)n);
  b->panel = sizes(mem, (size_t)n_node + 1);
  b->first_below = sizes(mem, (size_t)n_node + 1);
  b->cell = sizes(mem, P->n_cell);
  plan->super_of = integers(mem, (size_t)plan->j.n);
  place_nodes(b, &plan->g, &plan->steps, &plan->j, plan->super_of, mem);
  measure_panels(b, &plan->g, &plan->j, plan->super_of);
}

void blocked_measure(const blocked_pattern *P, blocked_cost *cost, const elbo_memory *mem) {
  blocked b;
  plan_parts plan;
  find_structure(&b, P, &plan, mem);
  memset(cost, 0, sizeof *cost);
  cost->entries = (double)b.panel[b.n_super];
  cost->space = (double)space_size(&b, 1);
  for (int J = 0; J < b.n_super; J++) {
    const double c = b.start[J + 1] - b.start[J], m = b.n_row[J] - c;
    const double products = c * c * c + 2.0 * c * c * m + 3.0 * c * m * m;
    *(c <= BLOCKED_NARROW ? &cost->narrow : &cost->wide) += products;
  }
}

void blocked_plan(blocked *b, const blocked_pattern *P, int threads, const elbo_memory *mem) {
  plan_parts plan;
  find_structure(b, P, &plan, mem);
  b->below = integers(mem, b->first_below[b->n_super]);
  leaf_rows(b, &plan.g, plan.which, mem);
  rest_rows(b, &plan.g, &plan.steps, &plan.j, plan.super_of);
  rest_cells(b, P);
  threads = threads_for(threads, b->n);
  for (int i = 0; i < P->n_leaf; i++) /* wide panels share one workspace */
    if (P->size[i] > BLOCKED_NARROW) b->wide_leaves = 1;
  tile_columns(b, threads, mem);
  b->L = elbo_doubles(mem, b->panel[b->n_super] + 1);
  b->Z = elbo_doubles(mem, b->panel[b->n_super] + 1);
  b->space = elbo_doubles(mem, space_size(b, threads));
  b->relative = integers(mem, (size_t)threads * (size_t)b->n);
  product_work_bind(&b->work, threads, elbo_doubles(mem, product_work_size(threads)));
}
