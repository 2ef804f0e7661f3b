/* One source at a time, the others as they are: what it is, and whether it is there at all. */
#ifndef ELBO_SKY_LOCAL_H
#define ELBO_SKY_LOCAL_H

#include "sky/field.h"

/* A source of this type fitted to its patches: gain over nothing there in log-likelihood, and
 * Laplace's approximation of its marginal log-likelihood ratio.  spread: by how much pixels there
 * vary more than photons do, since the model of the light is off by the share `doubt` of each
 * image; the evidence is that of a log-likelihood divided by it.  misfit: the same of all pixels as
 * one, off together, as they are where the point-spread function is too wide or too round: by it is
 * divided what a galaxy's log-likelihood is above a star's, which would otherwise make a galaxy of
 * every bright star.  radius_var: the variance of a galaxy's log radius. */
typedef struct {
  sky_type type;
  double theta[SKY_MAX_FREE], gain, likelihood, evidence, spread, misfit, radius_var;
} sky_candidate;

/* What a sweep tells of each source beside its evidence: log radius, as a galaxy, and its variance;
 * and the spread of its best candidate.  NaN of what was not tried. */
enum { SKY_TOLD_RADIUS = 0, SKY_TOLD_RADIUS_VAR, SKY_TOLD_SPREAD, SKY_N_TOLD };

/* Doubles for a field's largest source. */
size_t sky_local_size(const sky_field *f);
/* Fits source s as each of the types in `allowed` (bits by type; 0: as what it is), into c
 * (SKY_N_TYPES); a galaxy of one profile is tried where the other one beats a star, of both where
 * that is beyond doubt.  A galaxy is a disc, a bulge or both with
 * equal probability; what was not tried would be as likely as what was, so the types tried share
 * it.  Returns their bits. */
int sky_try_types(sky_field *f, int s, int allowed, int max_iter, sky_candidate *c, double *memory);
/* The log-likelihood as the evidence counts it; star: the same source as a star, or NULL. */
double sky_tempered(const sky_candidate *star, const sky_candidate *c);
/* told: SKY_N_TOLD numbers of a source of which those types were tried. */
void sky_tell(const sky_candidate *c, int tried, int n_band, int best, double *told);
/* kept = the mean without source s. */
void sky_take_out(sky_field *f, int s);
size_t sky_source_pixels(const sky_field *f, int s); /* of its patches in all images */
/* Goes through sources in this order, and gives each the type of the highest evidence among those
 * in `allowed`.  A source that is there by odds of less than eight to one loses its flux where
 * `remove`.  evidence:
 * SKY_N_TYPES x n, -Inf of what was not tried; told: SKY_N_TOLD x n.  type[] is written. */
void sky_sweep(sky_field *f, const int *order, int n_order, int allowed, int remove, int max_iter,
               int *type, double *evidence, double *told, double *memory);

#endif
