#include "sky/quality.h"

#include <math.h>

static void one(const sky_field *f, int s, int b, double *out) {
  const sky_image *image = f->spec->image + b;
  const sky_patch *patch = sky_patch_of(f, s, b);
  const double flux = sky_theta_of(f, s)[image->band], *light = f->planes + patch->at;
  double peak = 0.0, weight = 0.0, own = 0.0, sky = 0.0, chi = 0.0, n = 0.0, seen = 0.0;
  for (size_t p = 0; p < patch_size(patch); p++) peak = fmax(peak, light[p]);
  for (int j = patch->y0; j <= patch->y1; j++)
    for (int i = patch->x0; i <= patch->x1; i++, light++) {
      const size_t p = (size_t)j * (size_t)image->nx + (size_t)i;
      if (!(*light > 0.0)) continue;
      const double mu = f->mean[b][p], base = sky_level_at(f, b, i, j), r = image->count[p] - mu;
      weight += *light;
      seen += *light / image->exposure[i];
      own += *light * flux * *light / fmax(mu - base, flux * *light);
      sky += *light * base;
      if (*light < 0.01 * peak) continue;
      chi += r * r / mu;
      n += 1.0;
    }
  out[0] = own / weight;
  out[1] = chi / n;
  out[2] = n;
  out[3] = sky / weight;
  out[4] = fmax(0.0, 1.0 - seen);
}

void sky_quality(const sky_field *f, int b, double *out) {
  for (int s = 0; s < f->spec->n; s++) one(f, s, b, out + 5 * s);
}

void sky_owner(const sky_field *f, int b, int *owner, double *most) {
  const sky_image *image = f->spec->image + b;
  for (int j = 0; j < image->ny; j++)
    for (int i = 0; i < image->nx; i++) {
      const size_t p = (size_t)j * (size_t)image->nx + (size_t)i;
      owner[p] = 0;
      most[p] = sqrt(fmax(sky_level_at(f, b, i, j), 0.0));
    }
  for (int s = 0; s < f->spec->n; s++) {
    const sky_patch *patch = sky_patch_of(f, s, b);
    const double flux = sky_theta_of(f, s)[image->band], *light = f->planes + patch->at;
    for (int j = patch->y0; j <= patch->y1; j++)
      for (int i = patch->x0; i <= patch->x1; i++, light++) {
        const size_t p = (size_t)j * (size_t)image->nx + (size_t)i;
        if (!(flux * *light > most[p])) continue;
        most[p] = flux * *light;
        owner[p] = s + 1;
      }
  }
}
