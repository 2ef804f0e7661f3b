/* An order of elimination with little fill: minimum degree on a quotient graph (George & Liu 1989),
 * degrees bounded from above as by Amestoy, Davis & Duff (1996), until what is left is nearly
 * dense: it is the last step. */
#ifndef ELBO_MATH_ORDER_H
#define ELBO_MATH_ORDER_H

#include "math/status.h"

/* Nodes with weights (columns of the matrix), cliques among them (what has been eliminated before),
 * and edges: node i has first_clique[i] .. first_clique[i + 1] of `clique`, and likewise of `edge`,
 * where each edge stands at both ends; clique c has the nodes `member` from first_member[c]. */
typedef struct {
  int n;
  const int *weight;
  const size_t *first_clique, *first_edge, *first_member;
  const int *clique, *edge, *member;
  int n_clique;
} order_graph;

/* Step s eliminates `n_node[s]` nodes of `node` from first[s], which then have the neighbours
 * list[s] (n_list[s] of them), all eliminated later. */
typedef struct {
  int n_step;
  int *first, *node;
  int *n_list;
  int **list;
} order_steps;

void order_minimum_degree(const order_graph *graph, order_steps *steps, const elbo_memory *mem);

#endif
