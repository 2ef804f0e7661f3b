/* A catalogue and its images.
 *
 * The electrons of pixel p of image b are Poisson with mean
 *   mu_p = base_p + g sum_j c_j phi_j(p) + sum_s F_s,band(b) e_p f_sb(p),
 * base what is known (a given sky, the variance of read-out), phi_j hat functions on a mesh that
 * sum to one, c_j the sky in counts, g the gain, F the flux of source s, e_p the electrons that a
 * unit of flux gives in the column of p, f_sb the profile: a mixture of normals at the centre of p.
 *
 * Letters: nx, ny columns and rows of an image, stored by row of the sky (x runs fastest); x, y
 * pixels from 1; n sources, m images, B bands; a patch is a source in an image. */
#ifndef ELBO_SKY_TYPES_H
#define ELBO_SKY_TYPES_H

#include "math/status.h"

/* What a source is: a point, a galaxy of one profile, or of both. */
typedef enum {
  SKY_STAR = 0,
  SKY_EXPONENTIAL,
  SKY_DE_VAUCOULEURS,
  SKY_COMPOSITE,
  SKY_N_TYPES
} sky_type;

/* Of a source: B fluxes, then these.  The shape matrix of a galaxy, the covariance of a profile of
 * unit variance, is exp(2 [log_radius + a, b; b, log_radius - a]): its eigenvalues are the squared
 * half-light radii along the axes. */
enum { SKY_X = 0, SKY_Y, SKY_LOG_RADIUS, SKY_A, SKY_B, SKY_DEV, SKY_N_SHAPE };
enum { SKY_MAX_BANDS = 16, SKY_MAX_FREE = SKY_MAX_BANDS + SKY_N_SHAPE, SKY_MAX_PSF = 16 };

/* Ends of the ranges of log radius, and of a and b: axis ratios of exp(-4 hypot(a, b)) at least. */
#define SKY_LEAST_RADIUS (-3.0)
#define SKY_LARGEST_RADIUS 7.0
#define SKY_LARGEST_SHAPE 1.5
#define SKY_LARGEST_DEV 0.999

typedef struct {
  int n;                                    /* components */
  const double *weight, *mean, *covariance; /* n; 2 x n; 3 x n: xx, xy, yy */
} sky_psf;

typedef struct {
  int nx, ny, band;
  const double *count;    /* electrons (and the variance of read-out); 0 where not used */
  const double *use;      /* 1, or 0: a pixel that says nothing */
  const double *base;     /* nx x ny */
  const double *exposure; /* nx */
  double gain;
  double doubt;     /* the share of the light of sources by which their model may be off */
  double affine[6]; /* (x, y) of this image = affine[0:2] + [affine[2:4]; affine[4:6]] (x, y) */
  sky_psf psf;
  /* How the point-spread function varies over the image: at (u, v), both from -1 to 1, its normals
   * have covariances A C A and means A m, A = exp [l + a, b; b, l - a], and l, a and b are each a
   * polynomial of 1, u, v, u^2, u v, v^2 (6 coefficients of l, then a, then b).  NULL: it does
   * not. */
  const double *warp;
  int mesh_x, mesh_y; /* nodes of the sky's mesh; 0: the sky is known */
} sky_image;

enum { SKY_N_WARP = 18 };

/* The law of sources: `density` of them to a pixel, of which the share `galaxies`; log flux of
 * stars and of galaxies normal with the same sd, so that the log odds are linear in it, and of
 * galaxies log radius; a and b normal about zero; dev Beta(2, 2). */
typedef struct {
  double density, galaxies, flux_mean[2], flux_sd, radius_mean, radius_sd, shape_sd;
} sky_law;

typedef struct {
  int n, n_band, n_image, threads;
  const sky_image *image;
  const int *type;     /* n */
  const int *held;     /* n: bit 0 the position, bit 1 the shape is held */
  const double *reach; /* n x m: half sides of patches, in pixels */
  const sky_law *law;  /* NULL: none */
} sky_spec;

typedef struct {
  int source, image;
  int x0, x1, y0, y1; /* first and last pixel, from 0; empty where x1 < x0 */
  size_t at;          /* of its planes in the store, in doubles */
  double warp[3];     /* A at the source (xx, xy, yy), of where it was when patches were laid */
} sky_patch;

/* Pixels of a patch. */
static inline int patch_width(const sky_patch *p) { return p->x1 >= p->x0 ? p->x1 - p->x0 + 1 : 0; }
static inline int patch_height(const sky_patch *p) {
  return p->y1 >= p->y0 ? p->y1 - p->y0 + 1 : 0;
}
static inline size_t patch_size(const sky_patch *p) {
  return (size_t)patch_width(p) * (size_t)patch_height(p);
}

#endif
