/* The profile of a source in an image: a mixture of normals. */
#ifndef ELBO_SKY_PROFILE_H
#define ELBO_SKY_PROFILE_H

#include "sky/types.h"

enum { SKY_MAX_NORMALS = 10 * SKY_MAX_PSF };

/* One normal: part density exp(-d' P d / 2), P = [xx, xy; xy, yy], d from its centre.  part is the
 * share of its law (exponential, de Vaucouleurs) in the profile, sign the slope of part in dev; the
 * shape matrix enters its covariance times v (0 of a star). */
typedef struct {
  double part, density, sign, x, y, xx, xy, yy, v;
} sky_normal;

/* The shape matrix (xx, xy, yy), where not NULL its slope in (log_radius, a, b) (3 x 3 by column),
 * and its second derivatives (3 x 6: ll, la, lb, aa, ab, bb). */
void sky_shape(const double *shape, double *matrix, double *slope, double *second);
/* A S A' of (xx, xy, yy) in place. */
void sky_transform(const double *affine, double *S);
/* The image's A (xx, xy, yy) at a place in its pixels. */
void sky_warp(const sky_image *image, double x, double y, double *A);
/* The normals of a source with this shape[SKY_N_SHAPE] as an image shows it where the
 * point-spread function is warped by A; returns their number. */
int sky_profile(const sky_image *image, const double *A, sky_type type, const double *shape,
                sky_normal *normal);

#endif
