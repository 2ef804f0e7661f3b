/* Where light is left that no source explains. */
#ifndef ELBO_SKY_DETECT_H
#define ELBO_SKY_DETECT_H

#include "sky/field.h"

/* The matched filter: z (nx x ny) is the score of the flux of a source with profile `psf`, centred
 * in the pixel, over the root of its information, at flux 0 beside what the field has; flux (nx x
 * ny) the score over the information.  `doubt` is a share of the light of sources by which their
 * model may be off: it adds (doubt light)^2 to the variance.  memory: 3 nx ny. */
void sky_filter(const sky_field *f, int b, const sky_psf *psf, double doubt, double *z,
                double *flux, double *memory);
/* Pixels whose z is above `least` and above that of their eight neighbours; of equal ones the
 * first. Fills peak (pixel numbers) up to `most`; returns how many there are. */
int sky_peaks(const double *z, int nx, int ny, double least, int most, int *peak);

#endif
