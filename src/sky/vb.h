/* Variational Bayes of a catalogue: q(type) and, given its type, a normal for each source. */
#ifndef ELBO_SKY_VB_H
#define ELBO_SKY_VB_H

#include "engine/engine.h"
#include "sky/field.h"
#include "sky/local.h"

/* A type of a source that is less probable is left out. */
#define SKY_LEAST_PROBABILITY 1e-4

/* q(type, eta) = probability N(eta; mean, root root') over the n free parameters of the type, in
 * the order of sky_free_parameters() and on a scale without ends: log fluxes, x, y, log radius, a,
 * b, logit dev.
 *
 * Means of pixels are sums over sources, so that E log mu has no closed form; it is taken as
 * log m - v / (2 m^2), m and v the mean and the variance of mu under q (the delta method, as Regier
 * et al. 2019 have it), which are sums of those of the sources.  Expectations over the normal of a
 * source are cubatures with two points along each column of its root, sqrt(n) away, which are
 * exact for polynomials of degree three (Stroud 1957). */
typedef struct {
  sky_field field;     /* mean: m.  The first plane of a patch is E lambda / flux, flux being that
                        * of theta, the second the variance of lambda */
  int n;               /* n_theta: the stride of mean and root */
  double *probability; /* SKY_N_TYPES x n_source */
  double *prior;       /* as many: its logarithm under the law, of the types that were tried */
  double *mean, *root; /* n_free numbers of n, and n_free x n_free of n^2, by type and source */
  int *n_free;         /* by type and source */
  int *active;         /* sources that may have more to gain */
  int *first, *neighbour; /* of source s those that overlap it: first[s] .. first[s + 1] - 1 */
  const elbo_hooks *hooks;
  double *rest;      /* log prior given the type, and entropy: by type and source */
  double **variance; /* of images: v */
  double *kept_variance, *local, *work; /* as field.kept; a source at work; sky_try_types()'s */
  double elbo;
} sky_vb;

/* A q to start from. */
typedef struct {
  const double *probability, *prior, *mean, *root;
} sky_q;

/* q: NULL where sky_vb_types() is to make it. */
void sky_vb_open(sky_vb *w, const sky_spec *spec, const double *theta, const double *node,
                 const sky_q *q, const elbo_memory *mem);
/* q of source s as each of the types in `allowed` alone, the other sources being as they are, by
 * the law of sources; its probabilities are those of the evidence, as sky_sweep() has it, with the
 * ELBO in place of Laplace's approximation.  evidence: SKY_N_TYPES; told: SKY_N_TOLD. */
void sky_vb_types(sky_vb *w, int s, int allowed, int *type, double *evidence, double *told);
/* Coordinate ascent over all sources and the sky, probabilities of types being held. */
elbo_status sky_vb_ascend(sky_vb *w, const elbo_control *control, const elbo_hooks *hooks,
                          const elbo_memory *mem, elbo_result *result);
/* For linear response: makes planes of the field the slopes of E lambda, and gives minus the second
 * derivatives of the ELBO of each source alone, in theta (square(SKY_MAX_FREE) a source). */
void sky_vb_precision(sky_vb *w, double *own);

#endif
