/* Starts, the number of nodes, the climb. */
#ifndef ELBO_GENERAL_FIT_H
#define ELBO_GENERAL_FIT_H

#include "general/model.h"

/* theta where the caller has none: without random effects, then with moderate ones. */
elbo_status general_start(general_work *w);
/* From theta to the optimum.  nodes: a dimension, 0: grown until log-likelihood and estimates stop
 * moving.  memory: elbo_ascend_size() of general_model(). */
elbo_status general_climb(general_work *w, int nodes, const elbo_control *control,
                          const elbo_hooks *hooks, double *memory, elbo_result *result);
/* More nodes until the value at theta stops moving. */
elbo_status general_grow_nodes(general_work *w);

/* A climb with more nodes goes on where the last one ended: its start is an E-step with them. */
typedef struct {
  const elbo_hooks *hooks;
  int before; /* iterations */
} general_going_on;
/* Hooks that tell it so; rest is borrowed. */
elbo_hooks general_hooks_going_on(general_going_on *rest);
/* The steps of a climb and those before it. */
void general_add_counts(elbo_result *to, const elbo_result *before);

#endif
