/* Variational Bayes of a generalised mixed model: what the engine sees, and the climb. */
#ifndef ELBO_GENERAL_VB_H
#define ELBO_GENERAL_VB_H

#include "engine/engine.h"
#include "general/vb_types.h"

/* The prior's fields are borrowed.  apart: q(beta) q(u). */
elbo_status vb_init(vb_work *w, const general_input *in, const general_prior *prior, int apart,
                    int threads, const elbo_memory *mem);
/* Expectations by that many nodes from here on. */
elbo_status vb_set_nodes(vb_work *w, int each);
elbo_model vb_model(const vb_work *w);
/* The variance of each row's predictor under q, by the caller's rows, q being at its best. */
void vb_row_variances(vb_work *w, double *out);
/* From a start to the optimum.  nodes: of each expectation, 0: as many as it takes.  memory:
 * elbo_ascend_size() of vb_model(). */
elbo_status vb_climb(vb_work *w, int nodes, const elbo_control *control, const elbo_hooks *hooks,
                     double *memory, elbo_result *result);
/* Of several factors, by central differences of q at its best: derivatives of (slope of the ELBO by
 * eta, mean of beta, means of u of all levels), vb_n_state() numbers, by eta_k, and by a tilt of
 * the log density by beta_j, scaled. */
int vb_n_state(const vb_work *w);
elbo_status vb_difference_by_eta(vb_work *w, int k, double *out);
elbo_status vb_difference_by_tilt(vb_work *w, int j, double *out);

#endif
