/* How well each source stands: what a catalogue says beside estimates. */
#ifndef ELBO_SKY_QUALITY_H
#define ELBO_SKY_QUALITY_H

#include "sky/field.h"

/* Of each source in the image b, weighed by its light: the share of the light there that is its
 * own; the mean of (count - mu)^2 / mu over pixels with at least a hundredth of its peak, and how
 * many these are; the mean of the sky; the share of its light that falls on pixels not used or
 * outside. out: 5 x n; NaN where the image does not show it. */
void sky_quality(const sky_field *f, int b, double *out);
/* Of each pixel of image b the source (from 1) with most of its light, 0 where that is below the
 * noise of the sky, and how much it is; both nx x ny. */
void sky_owner(const sky_field *f, int b, int *owner, double *most);

#endif
