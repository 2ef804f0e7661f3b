/* Observed information and covariances of a catalogue. */
#ifndef ELBO_SKY_INFORMATION_H
#define ELBO_SKY_INFORMATION_H

#include "sky/field.h"

/* The inverse of minus the Hessian at the field's theta, in blocks: of each source, over all of
 * theta (n_theta x n_theta x n, zero where held), and of the nodes of the sky (n_node x n_node).
 * Only sources whose patches overlap have entries in the Hessian, so its factor is stored by rows
 * from the first neighbour on, and sources should come in the order of their positions; the nodes,
 * which touch all, are a border.  Where the observed information is not positive definite the
 * expected one takes its place: *expected says so. */
elbo_status sky_information(sky_field *f, double *covariance, double *node_covariance,
                            int *expected, const elbo_memory *mem);

#endif
