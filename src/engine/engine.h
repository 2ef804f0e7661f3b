/* What every layer of elbo shares: statuses, memory, control, hooks, and the table of
 * functions by which a model presents itself to the engine.  No R headers here.
 *
 * Letters that mean the same everywhere:
 *   n rows, p fixed effects, q latent variables of a group, m groups, k components;
 *   eta the free parameters on their unconstrained scale, theta those on the natural scale. */
#ifndef ELBO_H
#define ELBO_H

#include <stddef.h>

#include "math/status.h"

typedef enum {
  ELBO_ACCELERATE_NONE = 0,
  ELBO_ACCELERATE_SQUAREM,
  ELBO_ACCELERATE_AUTO
} elbo_accelerate;

typedef struct {
  elbo_accelerate accelerate;
  int max_iter; /* of all kinds of step together */
  int threads;
  double tol; /* on the scaled gradient, max_j |g_j| se_j; without second derivatives, on the gain
               * to come */
} elbo_control;

typedef enum {
  ELBO_STEP_START = 0,
  ELBO_STEP_E,
  ELBO_STEP_M,
  ELBO_STEP_SQUAREM,
  ELBO_STEP_NEWTON,
  ELBO_STEP_LOCAL,
  ELBO_STEP_GLOBAL
} elbo_step;

/* `poll` may not return (R_CheckUserInterrupt jumps); a non-zero answer stops the ascent.
 * `trace` is told every step.  Both may be NULL. */
typedef struct {
  int (*poll)(void *ctx);
  void (*trace)(void *ctx, int iteration, elbo_step step, double elbo, double log_evidence,
                double kl);
  void *ctx;
} elbo_hooks;

/* A model, as the engine sees it.  `work` is the model's own state: parameters and q.
 * log_evidence and kl are NULL where the method has none.  `derivatives` is of the objective
 * with q and all that is profiled out at their best: value, gradient (n_eta) and Hessian
 * (n_eta x n_eta); gradient and hessian may be NULL together. */
typedef struct {
  int n_eta;
  elbo_step e_name, m_name; /* what the two coordinate steps are called */
  elbo_status (*e_step)(void *work);
  elbo_status (*m_step)(void *work);
  elbo_status (*elbo)(void *work, double *value);
  /* How far `elbo` may be off by rounding, at its last value, from the sizes of what was added up:
   * a fall beyond it is an error.  NULL: 1e-9 of 1 + its size. */
  double (*rounding)(void *work);
  elbo_status (*log_evidence)(void *work, double *value);
  elbo_status (*kl)(void *work, double *value);
  elbo_status (*derivatives)(void *work, double *value, double *gradient, double *hessian);
  void (*pack)(void *work, double *eta);
  elbo_status (*unpack)(void *work, const double *eta);
  /* Gain still to come (in units of the objective) below which Newton's method takes over from EM:
   * HUGE_VAL after the first few steps; 0 never, as where second derivatives cost too much. */
  double newton_from;
  /* Local charts of eta are centred at the present parameters.  NULL where charts are global. */
  void (*anchor)(void *work);
  /* Put what fades towards the boundary of the parameter space, or is within rounding of it, onto
   * it; 1 if anything moved.  NULL where there is no boundary. */
  int (*settle)(void *work);
} elbo_model;

typedef struct {
  elbo_status status;
  int iterations, em, squarem, newton; /* steps of each kind; iterations is their sum */
  double objective;                    /* at the optimum */
  double gradient; /* max_j |g_j| se_j; NaN where Newton's method was not used */
  double gain; /* g' I^{-1} g / 2: what a further Newton step would gain; or by the rate of EM */
} elbo_result;

/* Doubles needed by elbo_ascend. */
size_t elbo_ascend_size(const elbo_model *model);
elbo_status elbo_ascend(const elbo_model *model, void *work, const elbo_control *control,
                        const elbo_hooks *hooks, double *memory, elbo_result *result);

#endif
