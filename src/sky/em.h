/* EM of a catalogue: every photon is attributed to a source or to the sky. */
#ifndef ELBO_SKY_EM_H
#define ELBO_SKY_EM_H

#include "engine/engine.h"
#include "engine/newton_cg.h"
#include "sky/field.h"

/* The objective is the log-likelihood of the electrons, of which the saturated part is left out
 * here, and the law's log density of shapes.  `elbo` is of the attributions of the last E-step,
 * `evidence` of the present theta. */
typedef struct {
  sky_field field;
  double elbo, evidence;
  double *gain;     /* n: what the M-step adds to a source's part of the ELBO */
  double *node_sum; /* 2 n_node */
} sky_em;

void sky_em_open(sky_em *w, const sky_spec *spec, const double *theta, const double *node,
                 const elbo_memory *mem);
elbo_model sky_em_model(sky_em *w);
/* Climbs: EM steps, and where `accelerate` is auto after some of them Newton's method by conjugate
 * gradients. */
elbo_status sky_em_ascend(sky_em *w, const elbo_control *control, const elbo_hooks *hooks,
                          const elbo_memory *mem, elbo_result *result);
/* theta = from + factor step in its n free parameters, each moved no further than a step may go and
 * kept in its range. */
void sky_limit_step(int n_band, const int *free, int n, const double *step, double factor,
                    const double *from, double *theta);
/* step = information^{-1} gradient, a ridge added where the information is not definite. */
void sky_scoring_step(double *information, const double *gradient, int n, double *work,
                      double *step);

#endif
