/* All sources and the sky together: the mean of every pixel, the log-likelihood and its
 * derivatives. */
#ifndef ELBO_SKY_FIELD_H
#define ELBO_SKY_FIELD_H

#include "sky/patch.h"

/* theta: of each source B fluxes and SKY_N_SHAPE numbers; node: the sky, image after image.
 * eta has the free ones of theta, source by source, then the nodes. */
typedef struct {
  const sky_spec *spec;
  int n_theta, n_node, n_eta, n_strip;
  double *theta, *node;
  sky_patch *patch;  /* n x m, source by source */
  double *planes;    /* of all patches */
  double *kept;      /* a copy of the first plane of each: at patch.at / SKY_MAX_PLANES */
  double **mean;     /* m images: mu */
  double **ratio;    /* use (count / mu - 1), as of the last sky_field_ratio() */
  double **scratch;  /* m images */
  double *rows;      /* threads x 2 nx */
  double *strips;    /* n_strip sums, or as many times n_node */
  int *first;        /* n + 1: where a source's free parameters stand in eta */
  int *free;         /* which of theta they are */
  double *curvature; /* SKY_MAX_FREE^2 a source: second derivatives given the ratio */
  double *factor;    /* as many: Cholesky factors for the preconditioner */
  double *node_factor;
} sky_field;

/* Which of theta are free: fluxes, the position, the shape, as the type and what is held say. */
int sky_free_parameters(const sky_spec *spec, sky_type type, int held, int *free);
/* Lays out patches about the positions in theta ((B + SKY_N_SHAPE) x n) and computes the mean. */
void sky_field_open(sky_field *f, const sky_spec *spec, const double *theta, const double *node,
                    const elbo_memory *mem);
/* Planes of all sources from theta. */
void sky_field_fill(sky_field *f);
void sky_field_fill_source(sky_field *f, int source, int thread);
/* mu of all pixels from planes, theta and node. */
void sky_field_mean(sky_field *f);
void sky_field_ratio(sky_field *f);
/* sum of count log(mu / count) + count - mu over pixels in use, the log-likelihood up to the
 * saturated one. */
double sky_field_pixels(sky_field *f);
double sky_field_size(const sky_field *f); /* pixels of all images */
/* That and the law's log density of shapes.  ELBO_E_NOT_FINITE where a mean is not positive. */
elbo_status sky_field_value(sky_field *f, double *value);

/* The slope of the mean of source s in image b in a parameter of its theta: a plane times factor.
 * */
const double *sky_slope_plane(const sky_field *f, int s, int b, int parameter, double *factor);

/* log p of a galaxy's free shape parameters (those of `free`, n) under the law, up to a constant;
 * its slopes and second derivatives (it has no mixed ones) are added to gradient and to the
 * diagonal of an n x n matrix, times `sign`, where these are not NULL. */
double sky_law_value(const sky_law *law, int n_band, const double *theta, const int *free, int n,
                     double *gradient, double *matrix, double sign);

void sky_field_pack(const sky_field *f, double *eta);
elbo_status sky_field_unpack(sky_field *f, const double *eta);
/* The score in eta (n_eta), ratio being of the present mean. */
void sky_field_gradient(sky_field *f, double *gradient);
/* Second derivatives of each source given the ratio, for the Hessian, and the factors of the
 * diagonal blocks of minus the Hessian. */
void sky_field_curvature(sky_field *f);
void sky_field_product(sky_field *f, const double *v, double *out);
void sky_field_precondition(const sky_field *f, const double *v, double *out);
/* The hat functions of a mesh: pixel i of n lies between nodes k and k + 1, at `part`. */
void sky_hat(int i, int n, int mesh, int *k, double *part);
/* The mean of a pixel of image b (from 0) without sources. */
double sky_level_at(const sky_field *f, int b, int i, int j);
/* out (the nodes of image b) += gain sum_p w_p phi_j(p). */
void sky_nodes_sum(const sky_field *f, int b, const double *w, double *out);

/* The entries of the Gram matrix of slopes of source s: sum_p w_p dmu/da dmu/db (n x n, n its free
 * parameters, by column), w a weight of each pixel of each image. */
void sky_source_gram(const sky_field *f, int s, double *const *w, double *gram);
/* As much of the nodes, n_node x n_node. */
void sky_nodes_gram(const sky_field *f, double *const *w, double *gram);
/* scratch = use count / mu^2: the weights of the observed information. */
void sky_field_weights(sky_field *f);
static inline const sky_patch *sky_patch_of(const sky_field *f, int s, int b) {
  return f->patch + (size_t)s * (size_t)f->spec->n_image + (size_t)b;
}
static inline double *sky_theta_of(const sky_field *f, int s) {
  return f->theta + (size_t)s * (size_t)f->n_theta;
}

#endif
