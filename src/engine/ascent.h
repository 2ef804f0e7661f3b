/* An ascent under way: what the kinds of step share. */
#ifndef ELBO_ENGINE_ASCENT_H
#define ELBO_ENGINE_ASCENT_H

#include "engine/engine.h"

typedef struct {
  const elbo_model *model;
  void *work;
  const elbo_control *control;
  const elbo_hooks *hooks;
  elbo_result *result;
  double elbo;     /* at the last half-step */
  double rounding; /* of it */
  double progress; /* of the last EM step: its gain, or without an objective how far it went */
  double to_come;  /* by the rate of the last EM steps: of all that would follow */
  int by_hessian;  /* minus the Hessian is the metric of quasi-Newton steps */
  double *gradient, *eta, *eta1, *eta2, *step, *rotated, *values, *size, *natural, *natural1;
  /* n_eta x n_eta each, with second derivatives or a metric */
  double *hessian, *vectors, *eigen_work;
  double *memory;   /* ascent_anderson_size(), with a memory of EM steps */
  /* What a near Hessian lacks, n_eta x n_eta; where it was last, and the gradient in standard
   * errors there */
  double *missing, *last_eta, *last_gradient, last_scaled;
  double *products; /* newton_cg_size(n_eta), with products of the Hessian */
  double *pairs;    /* pairs_size(n_eta), with a metric that is never formed */
  int n_pairs;      /* how many were kept */
  int by_pairs;     /* such a metric is that of quasi-Newton steps */
} ascent;

int ascent_stop_requested(const ascent *a);
int ascent_exhausted(const ascent *a);
/* The largest |x_j - y_j| relative to the largest |eta_j| that was seen. */
double ascent_distance(ascent *a, const double *x, const double *y);
/* The ELBO after a step, told to the trace; ELBO_E_DESCENT where it must rise and has fallen beyond
 * rounding. */
elbo_status ascent_record(ascent *a, elbo_step step, int rises);
/* The objective at eta, q at its best there. */
elbo_status ascent_move_to(ascent *a, const double *eta, double *value);

/* One M-step and one E-step. */
elbo_status ascent_em_step(ascent *a);
/* A cycle of SQUAREM. */
elbo_status ascent_squarem(ascent *a);
/* `steps` EM steps, or until no more than `enough` is to come. */
elbo_status ascent_em(ascent *a, int steps, double enough);
/* Of what elbo_ascend_size() gives, doubles for the next; and EM extrapolated from the last steps
 * until eta moves by no more than `enough` of its size. */
size_t ascent_anderson_size(const elbo_model *model);
elbo_status ascent_anderson(ascent *a, double enough);
/* EM, plain or by SQUAREM, until no more than `enough` is to come. */
elbo_status ascent_by_gain(ascent *a, double enough, int most_cycles);

/* Gradient and observed information, their spectrum and the step that follows; whether this is a
 * maximum within tol. */
elbo_status ascent_examine(ascent *a, double *value, int *at_maximum);
elbo_status ascent_newton(ascent *a);
/* What steps have told of a Hessian that is only near. */
void ascent_forget_hessian(ascent *a);

/* Quasi-Newton steps until no more than `enough` is to be gained; ELBO_E_RANK where the metric is
 * no guide, things being as they were then. */
elbo_status ascent_quasi_newton(ascent *a, double enough);

/* Of a metric that is never formed: what the steps since then have shown of the curvature. */
size_t pairs_size(int n);
/* a->step = H g of the gradient and the natural step; 0 where it does not lead up. */
int pairs_step(ascent *a);
/* From eta to eta1, where the gradient is a->rotated and the natural step a->natural1. */
void pairs_keep(ascent *a);

#endif
