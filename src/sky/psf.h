/* The point-spread function from stars. */
#ifndef ELBO_SKY_PSF_H
#define ELBO_SKY_PSF_H

#include "sky/field.h"

/* EM of the normals of image b's point-spread function (weight: n; covariance: 3 x n, centred) from
 * the stars listed, whose fluxes and positions in theta move with it, all else as it is.  A photon
 * belongs to one of the stars or to what else there is, and to one of the normals; photons that
 * fall outside of the patch or on dead pixels are latent too, so that every step is in closed form.
 * Returns the log-likelihood before the last step, sum count log(mu) - mu, over the patches of the
 * stars, which overlap as little as the caller has chosen them to. Photons of bright stars count
 * for less, all of a star for no more than 1e5.  share: n_star doubles. */
double sky_psf_em(sky_field *f, int b, const int *star, int n_star, int n, int iterations,
                  double *weight, double *covariance, double *share);
/* Of a star with this shape and flux the score (3) and the information (3 x 3) of its own l, a and
 * b, with which the point-spread function there would be further warped (sky/types.h), its flux and
 * position being profiled; mu: the mean of the pixels of its patch.  Zero where it tells
 * nothing. */
void sky_psf_tells(const sky_image *image, const sky_patch *patch, const double *shape,
                   double flux, const double *mu, double *score, double *information);
/* The same for each star listed (3 x n; 3 x 3 x n), of one at a time. */
void sky_psf_score(sky_field *f, int b, const int *star, int n_star, double *score,
                   double *information);

#endif
