/* q of one source as one type, the others being as they are. */
#ifndef ELBO_SKY_VB_SOURCE_H
#define ELBO_SKY_VB_SOURCE_H

#include "sky/vb.h"

typedef struct {
  sky_vb *w;
  int s, n, n_point, free[SKY_MAX_FREE];
  sky_type type;
  double share, *mean, *root; /* the probability of the type; q */
  size_t pixels;              /* of its patches */
  const double *others;       /* E lambda and E lambda^2 of its other types: 2 x pixels */
  double *moments, *light;    /* of this type: 2 x pixels; lambda at each point */
  double *planes, *row;
  double likelihood, rest, misfit; /* as of the last step */
  double gradient[SKY_MAX_FREE], hessian[SKY_MAX_FREE * SKY_MAX_FREE];
} sky_vb_q;

/* It works in w->local, whose first 2 x pixels are `others`. */
sky_vb_q sky_vb_source(sky_vb *w, int s, sky_type type, double share);
size_t sky_vb_source_size(const sky_vb *w);
/* theta of what is free at eta; slope: d theta / d eta. */
void sky_vb_to_theta(const int *free, int n, int n_band, const double *eta, double *theta,
                     double *slope);
/* Point k of the cubature, in theta; planes of the source there. */
void sky_vb_point(const sky_vb_q *l, int k, double *theta, double *slope);
void sky_vb_fill(const sky_vb_q *l, const double *theta);
/* lambda of all its pixels at each point, and its moments. */
void sky_vb_shine(sky_vb_q *l);
/* log prior of eta and entropy; where not NULL its gradient and Hessian (diagonal) in the mean are
 * added to. */
double sky_vb_rest(const sky_vb_q *l, double *gradient, double *hessian);
/* Up to `most` steps along the natural gradient; returns what is gained. */
double sky_vb_climb(sky_vb_q *l, int most);
/* q from a mode: the mode, and the inverse of the information there. */
void sky_vb_start(sky_vb_q *l, const double *theta);

#endif
