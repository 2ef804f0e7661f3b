/* Observed information and covariances of a catalogue. */
#ifndef ELBO_SKY_INFORMATION_H
#define ELBO_SKY_INFORMATION_H

#include "sky/field.h"

/* Whether patches of sources s and t overlap. */
int sky_neighbours(const sky_field *f, int s, int t);
/* The inverse of minus the Hessian at the field's theta, in blocks: of each source, over all of
 * theta (n_theta x n_theta x n, zero where held), and of the nodes of the sky (n_node x n_node).
 * Only sources whose patches overlap have entries in the Hessian, so its factor is stored by rows
 * from the first neighbour on, and sources should come in the order of their positions; the nodes,
 * which touch all, are a border.  Where the observed information is not positive definite the
 * expected one takes its place: *expected says so.
 *
 * own: where not NULL, minus the Hessian of each source alone (square(SKY_MAX_FREE) a source, its
 * first n_free columns of n_free), and the field has slopes as sky_vb_precision() makes them: then
 * the covariances are those of linear response, (V^{-1} - H)^{-1} with V^{-1} = own and H the mixed
 * second derivatives of the ELBO between sources. */
elbo_status sky_information(sky_field *f, const double *own, double *covariance,
                            double *node_covariance, int *expected, const elbo_memory *mem);

#endif
