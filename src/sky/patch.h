/* The light of a source in its patch of an image. */
#ifndef ELBO_SKY_PATCH_H
#define ELBO_SKY_PATCH_H

#include "sky/profile.h"

/* Planes of a patch, each of patch_size() doubles: e f, and its slopes in x, y, of galaxies in
 * log_radius, a, b, and of a composite one in dev; all are 0 in pixels that are not used. */
enum { SKY_MAX_PLANES = 7 };
int sky_planes(sky_type type);
/* Fills the planes of a source; row: nx doubles. */
void sky_patch_fill(const sky_image *image, const sky_patch *patch, sky_type type,
                    const double *shape, double *planes, double *row);
/* The first of them alone. */
void sky_patch_light(const sky_image *image, const sky_patch *patch, sky_type type,
                     const double *shape, double *light, double *row);
/* The second derivatives of sum_p r_p e_p f(p) in (x, y, log_radius, a, b, dev): n x n by column,
 * n = sky_planes() - 1; r over the pixels of the image, 0 where not used; row: 2 nx doubles. */
void sky_patch_curvature(const sky_image *image, const sky_patch *patch, sky_type type,
                         const double *shape, const double *r, double *hessian, double *row);

#endif
