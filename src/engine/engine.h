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
  int first_order; /* no second derivatives: far from a maximum they are dear, and mislead */
  int max_iter;    /* of all kinds of step together */
  int threads;
  double tol; /* on the scaled gradient, max_j |g_j| se_j; without second derivatives, on the gain
               * to come; without an objective, on the movement to come */
  double spent; /* passes over the data before, as from other starts */
} elbo_control;

typedef enum {
  ELBO_STEP_START = 0,
  ELBO_STEP_E,
  ELBO_STEP_M,
  ELBO_STEP_SQUAREM,
  ELBO_STEP_NEWTON,
  ELBO_STEP_LOCAL,
  ELBO_STEP_GLOBAL,
  ELBO_STEP_QUASI_NEWTON,
  ELBO_STEP_ANDERSON
} elbo_step;

/* `poll` may not return (R_CheckUserInterrupt jumps); a non-zero answer stops the ascent.
 * `trace` is told every step.  Both may be NULL. */
typedef struct {
  int (*poll)(void *ctx);
  void (*trace)(void *ctx, int iteration, elbo_step step, double elbo, double log_evidence,
                double kl);
  void *ctx;
} elbo_hooks;

/* What an ascent climbs: a function of eta, q and all that is profiled out being at their best, at
 * the present eta.  A model may have none (value is NULL), as a map that a user calls EM; functions
 * that are NULL it does not know. */
typedef struct {
  elbo_status (*value)(void *work, double *value);
  elbo_status (*gradient)(void *work, double *gradient);
  /* With value and gradient; n_eta x n_eta. */
  elbo_status (*hessian)(void *work, double *value, double *gradient, double *hessian);
  /* A positive semidefinite matrix (n_eta x n_eta) that is near minus the Hessian at a maximum, as
   * the sum over units of the outer products of their scores is.  ELBO_E_RANK where there are too
   * few units for it. */
  elbo_status (*metric)(void *work, double *metric);
  /* The gradient and A^{-1} gradient, for a metric A that is never formed: where the model's own
   * step leads to, as that of EM, or under vb the natural gradient. */
  elbo_status (*natural)(void *work, double *gradient, double *step);
  /* H v at the point of the last gradient, and M^{-1} v for an M near -H: see newton_cg.h. */
  elbo_status (*product)(void *work, const double *v, double *out);
  elbo_status (*precondition)(void *work, const double *v, double *out);
} elbo_objective;

typedef enum {
  ELBO_SECOND_ORDER_NONE = 0,
  ELBO_SECOND_ORDER_DENSE,  /* by objective.hessian */
  ELBO_SECOND_ORDER_PRODUCT /* by objective.product */
} elbo_second_order;

/* How an ascent goes about it: a few steps of EM leave a poor start; then come quasi-Newton steps
 * (where there is a metric, formed or not), Anderson's extrapolation (where it may look back at
 * `memory` EM steps) or SQUAREM, until no more than `em_until` is to be gained; then Newton's
 * method to the end, if it may.  em_until = HUGE_VAL: straight on to Newton's method, whose
 * derivatives cost no more than a step of EM. */
typedef struct {
  int em_first;
  double em_until;
  int memory;
  elbo_second_order second_order;
  int near_hessian; /* that of the objective is only near: what gradients say of it is added */
} elbo_schedule;

/* A model, as the engine sees it.  `work` is the model's own state: parameters and q. */
typedef struct {
  int n_eta;
  elbo_step e_name, m_name; /* what the two coordinate steps are called */
  elbo_status (*e_step)(void *work);
  elbo_status (*m_step)(void *work);
  /* At the present parameters and q; NULL where there is no objective. */
  elbo_status (*elbo)(void *work, double *value);
  /* How far `elbo` may be off by rounding, at its last value, from the sizes of what was added up:
   * a fall beyond it is an error.  NULL: 1e-9 of 1 + its size. */
  double (*rounding)(void *work);
  /* Of all present parameters, also those that the objective profiles out; and of q from its best.
   * NULL where the method has none. */
  elbo_status (*log_evidence)(void *work, double *value);
  elbo_status (*kl)(void *work, double *value);
  void (*pack)(void *work, double *eta); /* NULL: eta does not tell all */
  elbo_status (*unpack)(void *work, const double *eta);
  /* Local charts of eta are centred at the present parameters.  NULL where charts are global. */
  void (*anchor)(void *work);
  elbo_objective objective;
  elbo_schedule schedule;
  /* Boundary points are numbered.  Moves what fades towards one of them, or is within rounding of
   * it, onto it: the first that is not below `from`, whose number is returned; -1 where none is
   * left.  The engine has asked `keep` before, and accepts the point, or puts things back.  NULL
   * where there is no boundary; keep and put_back NULL: pack and unpack do. */
  int (*propose)(void *work, int from);
  void (*keep)(void *work);
  elbo_status (*put_back)(void *work);
  /* Where the objective has an edge, as the density of an sd that falls from zero on, a step goes
   * no further: moves `to` onto the edges that lie between.  NULL: there are none. */
  void (*stop_at_edge)(const void *work, const double *from, double *to);
  /* How many times the data were read since the model was made.  NULL: never. */
  double (*passes)(const void *work);
} elbo_model;

typedef struct {
  elbo_status status;
  /* Steps of each kind; iterations is their sum. */
  int iterations, em, squarem, anderson, quasi_newton, newton;
  double passes;    /* times the data were read, by the model's own count */
  double objective; /* at the optimum */
  double gradient;  /* max_j |g_j| se_j, se by second derivatives or the metric; else NaN */
  double gain;      /* g' I^{-1} g / 2: what a further step would gain; or by the rate of EM */
  double movement;  /* without an objective: how far eta is still to go, relative to its size */
} elbo_result;

/* Doubles needed by elbo_ascend. */
size_t elbo_ascend_size(const elbo_model *model);
elbo_status elbo_ascend(const elbo_model *model, void *work, const elbo_control *control,
                        const elbo_hooks *hooks, double *memory, elbo_result *result);

/* Puts onto the boundary what the model proposes and the objective does not mind; 1 if anything
 * moved, q then being at its best.  memory: n_eta doubles. */
int elbo_settle(const elbo_model *model, void *work, double *memory);

#endif
