#include "math/order.h"

#include <string.h>

#include "math/small.h"

/* What is left is eliminated at once where each node has this share of the rest as neighbours. */
static const double NEARLY_DENSE = 0.6;
enum { SAMPLE = 48, CHUNK = 1 << 16 };

/* Cliques are numbered on: the graph's, then one for each step.  A node's slots hold its cliques
 * from the front and its edges from the back: together they never grow, since a clique that comes
 * takes the place of the pivot or of a clique that it swallows. */
typedef struct {
  const order_graph *graph;
  order_steps *steps;
  const elbo_memory *mem;
  int *slot;
  size_t *first_slot;
  int *n_clique, *n_edge;
  int *degree, *next, *previous, *head; /* lists of nodes by degree */
  int *mark, *gone;                     /* by node: last step that saw it; eliminated */
  int *outside, *seen, *dead, *size;    /* by clique: weight outside of the pivot's; ... */
  int total, left, lowest, n_node;      /* weights; lowest degree; nodes eliminated */
  int *chunk, in_chunk;
} quotient;

static int clique_nodes(const quotient *q, int c, const int **nodes) {
  const order_graph *g = q->graph;
  if (c < g->n_clique) {
    *nodes = g->member + g->first_member[c];
    return (int)(g->first_member[c + 1] - g->first_member[c]);
  }
  *nodes = q->steps->list[c - g->n_clique];
  return q->steps->n_list[c - g->n_clique];
}

static void leave_list(quotient *q, int i) {
  if (q->previous[i] >= 0)
    q->next[q->previous[i]] = q->next[i];
  else
    q->head[q->degree[i]] = q->next[i];
  if (q->next[i] >= 0) q->previous[q->next[i]] = q->previous[i];
}

static void join_list(quotient *q, int i, int degree) {
  q->degree[i] = degree;
  q->previous[i] = -1;
  q->next[i] = q->head[degree];
  if (q->next[i] >= 0) q->previous[q->next[i]] = i;
  q->head[degree] = i;
  q->lowest = smaller(q->lowest, degree);
}

/* Weight of the neighbours of i in the graph as it is given. */
static int exact_degree(quotient *q, int i, int stamp) {
  const order_graph *g = q->graph;
  int degree = 0;
  q->mark[i] = stamp;
  for (size_t s = g->first_edge[i]; s < g->first_edge[i + 1]; s++) {
    const int j = g->edge[s];
    if (q->mark[j] != stamp) degree += g->weight[j];
    q->mark[j] = stamp;
  }
  for (size_t s = g->first_clique[i]; s < g->first_clique[i + 1]; s++) {
    const int c = g->clique[s];
    for (size_t t = g->first_member[c]; t < g->first_member[c + 1]; t++) {
      const int j = g->member[t];
      if (q->mark[j] != stamp) degree += g->weight[j];
      q->mark[j] = stamp;
    }
  }
  return degree;
}

/* 1 where a sample of nodes has nearly all others as neighbours: degrees cost squares. */
static int dense_from_the_start(quotient *q) {
  const int n = q->graph->n, by = n / SAMPLE + 1;
  double share = 0.0;
  int count = 0;
  for (int i = 0; i < n; i += by, count++)
    share += (double)exact_degree(q, i, -2 - i) / larger(1, q->total - q->graph->weight[i]);
  return share >= NEARLY_DENSE * count;
}

static void quotient_init(quotient *q) {
  const order_graph *g = q->graph;
  const elbo_memory *mem = q->mem;
  const int n = g->n, n_clique = g->n_clique + n;
  int **const by_node[] = {&q->n_clique, &q->n_edge, &q->degree, &q->next,
                           &q->previous, &q->mark,   &q->gone};
  int **const by_clique[] = {&q->outside, &q->seen, &q->dead, &q->size};
  for (int a = 0; a < 7; a++) {
    *by_node[a] = elbo_ints(mem, (size_t)n);
    memset(*by_node[a], 0, (size_t)n * sizeof(int));
  }
  for (int a = 0; a < 4; a++) {
    *by_clique[a] = elbo_ints(mem, (size_t)n_clique);
    memset(*by_clique[a], 0, (size_t)n_clique * sizeof(int));
  }
  q->first_slot = mem->get(mem->ctx, (size_t)(n + 1) * sizeof(size_t));
  q->total = q->n_node = q->in_chunk = 0;
  for (int i = 0; i < n; i++) q->total += g->weight[i];
  q->left = q->lowest = q->total;
  q->head = elbo_ints(mem, (size_t)q->total + 1);
  for (int d = 0; d <= q->total; d++) q->head[d] = -1;
}

static void fill_slots(quotient *q) {
  const order_graph *g = q->graph;
  const int n = g->n;
  q->slot = elbo_ints(q->mem, g->first_clique[n] + g->first_edge[n] + 1);
  q->first_slot[0] = 0;
  for (int i = 0; i < n; i++) {
    const size_t from = q->first_slot[i];
    q->n_clique[i] = (int)(g->first_clique[i + 1] - g->first_clique[i]);
    q->n_edge[i] = (int)(g->first_edge[i + 1] - g->first_edge[i]);
    q->first_slot[i + 1] = from + (size_t)q->n_clique[i] + (size_t)q->n_edge[i];
    for (int k = 0; k < q->n_clique[i]; k++)
      q->slot[from + (size_t)k] = g->clique[g->first_clique[i] + (size_t)k];
    for (int k = 0; k < q->n_edge[i]; k++)
      q->slot[q->first_slot[i + 1] - 1 - (size_t)k] = g->edge[g->first_edge[i] + (size_t)k];
    join_list(q, i, exact_degree(q, i, -2 - n - i));
  }
  for (int c = 0; c < g->n_clique; c++)
    for (size_t s = g->first_member[c]; s < g->first_member[c + 1]; s++)
      q->size[c] += g->weight[g->member[s]];
}

static int *edges_of(const quotient *q, int i) { return q->slot + q->first_slot[i + 1] - 1; }

static void eliminate(quotient *q, int i) {
  q->gone[i] = 1;
  q->left -= q->graph->weight[i];
  q->steps->node[q->n_node++] = i;
}

/* The neighbours of pivot p to the list of step s; their weight. */
static int gather(quotient *q, int p, int s) {
  order_steps *steps = q->steps;
  const int n = q->graph->n, stamp = s + 1;
  if (q->chunk == NULL || q->in_chunk + n > larger(CHUNK, 2 * n)) {
    q->chunk = elbo_ints(q->mem, (size_t)larger(CHUNK, 2 * n));
    q->in_chunk = 0;
  }
  int *list = steps->list[s] = q->chunk + q->in_chunk, count = 0, weight = 0;
  q->mark[p] = stamp;
  for (int k = 0; k < q->n_clique[p] + q->n_edge[p]; k++) {
    const int *nodes = edges_of(q, p) - (k - q->n_clique[p]);
    int n_nodes = 1;
    if (k < q->n_clique[p]) {
      const int c = q->slot[q->first_slot[p] + (size_t)k];
      if (q->dead[c]) continue;
      n_nodes = clique_nodes(q, c, &nodes);
      q->dead[c] = 1;
    }
    for (int l = 0; l < n_nodes; l++) {
      const int j = nodes[l];
      if (q->gone[j] || q->mark[j] == stamp) continue;
      q->mark[j] = stamp;
      list[count++] = j;
      weight += q->graph->weight[j];
    }
  }
  steps->n_list[s] = count;
  return weight;
}

/* The weight of each clique that a node of the list is in, outside of the list. */
static void weigh_outside(quotient *q, int s) {
  for (int l = 0; l < q->steps->n_list[s]; l++) {
    const int i = q->steps->list[s][l];
    for (int k = 0; k < q->n_clique[i]; k++) {
      const int c = q->slot[q->first_slot[i] + (size_t)k];
      if (q->dead[c]) continue;
      if (q->seen[c] != s + 1) q->outside[c] = q->size[c];
      q->seen[c] = s + 1;
      q->outside[c] -= q->graph->weight[i];
    }
  }
}

/* Cliques and edges that step s leaves to node i, and the weight of what they reach outside of its
 * list, at most. */
static int shorten(quotient *q, int i, int s) {
  int *clique = q->slot + q->first_slot[i], *edge = edges_of(q, i), kept = 0, reach = 0;
  for (int k = 0; k < q->n_clique[i]; k++) {
    const int c = clique[k];
    if (q->dead[c]) continue;
    if (q->outside[c] == 0) {
      q->dead[c] = 1; /* all of it is in the list */
      continue;
    }
    reach = smaller(reach + q->outside[c], q->total);
    clique[kept++] = c;
  }
  q->n_clique[i] = kept;
  kept = 0;
  for (int k = 0; k < q->n_edge[i]; k++) {
    const int j = edge[-k];
    if (q->gone[j] || q->mark[j] == s + 1) continue;
    reach = smaller(reach + q->graph->weight[j], q->total);
    edge[-kept++] = j;
  }
  q->n_edge[i] = kept;
  return reach;
}

static void step(quotient *q, int p, int s) {
  order_steps *steps = q->steps;
  const int *weight = q->graph->weight;
  leave_list(q, p);
  steps->first[s] = q->n_node;
  eliminate(q, p);
  int size = gather(q, p, s), count = 0;
  weigh_outside(q, s);
  int *list = steps->list[s];
  for (int l = 0; l < steps->n_list[s]; l++) {
    const int i = list[l], reach = shorten(q, i, s);
    leave_list(q, i);
    if (reach == 0) { /* its neighbours are those of the pivot: eliminated with it, no fill */
      eliminate(q, i);
      size -= weight[i];
      continue;
    }
    q->slot[q->first_slot[i] + (size_t)q->n_clique[i]++] = q->graph->n_clique + s;
    q->next[i] = reach;
    list[count++] = i;
  }
  for (int l = 0; l < count; l++)
    join_list(q, list[l], smaller(q->next[list[l]] + size, q->left) - weight[list[l]]);
  steps->n_list[s] = count;
  q->size[q->graph->n_clique + s] = size;
  q->in_chunk += count;
}

void order_minimum_degree(const order_graph *graph, order_steps *steps, const elbo_memory *mem) {
  const int n = graph->n;
  quotient q = {.graph = graph, .steps = steps, .mem = mem};
  steps->first = elbo_ints(mem, (size_t)n + 2);
  steps->node = elbo_ints(mem, (size_t)n + 1);
  steps->n_list = elbo_ints(mem, (size_t)n + 1);
  steps->list = mem->get(mem->ctx, (size_t)(n + 1) * sizeof(int *));
  quotient_init(&q);
  int s = 0;
  if (!dense_from_the_start(&q)) {
    fill_slots(&q);
    while (q.n_node < n) {
      while (q.head[q.lowest] < 0) q.lowest++;
      const int p = q.head[q.lowest], others = q.left - graph->weight[p];
      if (q.lowest >= NEARLY_DENSE * others && others > 0) break;
      step(&q, p, s++);
    }
  }
  if (q.n_node < n) {
    steps->first[s] = q.n_node;
    steps->n_list[s] = 0;
    steps->list[s++] = NULL;
    for (int i = 0; i < n; i++)
      if (!q.gone[i]) steps->node[q.n_node++] = i;
  }
  steps->first[s] = n;
  steps->n_step = s;
}
