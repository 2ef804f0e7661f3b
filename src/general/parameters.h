/* theta = (beta, eta, psi) <-> (beta, L, psi), chain rules, the caller's units. */
#ifndef ELBO_GENERAL_PARAMETERS_H
#define ELBO_GENERAL_PARAMETERS_H

#include "general/types.h"

elbo_status general_parameters_init(general_parameters *par, const general_input *in,
                                    const general_rows *rows, const elbo_memory *mem);
/* L (q x q, lower) from theta, and psi into par->response, by which theta is borrowed.
 * ELBO_E_NOT_FINITE where a parameter overflows. */
elbo_status general_parameters_set(general_parameters *par, const double *theta, double *L);
/* eta of theta from L. */
void general_parameters_pack(const general_parameters *par, const double *L, double *theta);
/* Derivatives by theta from those by inner coordinates (lower triangle): gradient (n_theta) and,
 * where hessian is not NULL, hessian (n_theta x n_theta, both triangles), of which `slope` is the
 * gradient that goes with it (inner); work: 2 n_inner^2. */
void general_chain(const general_parameters *par, const double *theta, const double *gradient,
                   double *gradient_theta, const double *hessian, const double *slope,
                   double *hessian_theta, double *work);

/* ---- the caller's units ---------------------------------------------------------------------- */

void general_natural_beta(const general_parameters *par, const double *theta, double *beta);
/* Sigma (q x q) and its derivatives by eta (q x q x n_eta). */
void general_natural_sigma(const general_parameters *par, const double *theta, double *Sigma,
                           double *slope);
/* Derivatives of the natural own parameters by psi: n_own x n_own. */
void general_natural_own(const general_parameters *par, double *slope);
/* In place: a gradient. */
void general_natural_score(const general_parameters *par, double *score, double *work);
/* In place: gradient and matrix of second derivatives by beta in the caller's units, eta, psi.
 * work: p. */
void general_natural_derivatives(const general_parameters *par, double *gradient, double *hessian,
                                 double *work);
/* theta of the caller's beta, Sigma and own. */
void general_from_natural(const general_parameters *par, const double *beta, const double *Sigma,
                          const double *own, double *theta);

#endif
