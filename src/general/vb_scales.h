/* What S = E[Sigma^{-1}]^{-1} is in: E log p(u | Sigma) and what q(Sigma) and its prior add, d of
 * q(Sigma) at its best (law/latent_prior.h). */
#ifndef ELBO_GENERAL_VB_SCALES_H
#define ELBO_GENERAL_VB_SCALES_H

#include "general/vb_types.h"

/* At eta.  second (q x q): the sum of E u u' over the levels, scaled as u is here.
 * ELBO_E_NOT_FINITE and ELBO_E_NOT_PD where S is singular. */
elbo_status vb_scales_value(const vb_work *w, const double *second, double *value);
/* By eta, at fixed q(beta, u): gradient (n_eta) and, where it is not NULL, hessian (n_eta^2). */
elbo_status vb_scales_slopes(const vb_work *w, const double *second, double *gradient,
                             double *hessian);
/* The coordinate step: eta at its best given q(beta, u), or nearer to it. */
elbo_status vb_scales_step(vb_work *w, const double *second);
/* Of each block the degrees of freedom d of q(Sigma), the curvature of the ELBO in it (n_block;
 * NaN: held), and how it follows the logarithms of the diagonal of S (q). */
elbo_status vb_scales_df(const vb_work *w, double *df, double *information, double *slope);
/* S^{-1} (q x q), scaled as u is here, and log |S|. */
elbo_status vb_scales_inverse(const vb_work *w, double *inverse, double *log_det);
/* Levels that term k speaks of. */
int vb_units(const vb_work *w, int k);

#endif
