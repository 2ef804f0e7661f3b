/* q, the ELBO, the M-step. */
#ifndef ELBO_GENERAL_EM_H
#define ELBO_GENERAL_EM_H

#include "general/sums.h"

elbo_status general_e_step(void *work);
elbo_status general_m_step(void *work);
elbo_status general_elbo(void *work, double *value);
elbo_status general_log_evidence(void *work, double *value);
elbo_status general_kl(void *work, double *value);
double general_rounding(void *work);
/* -H^{-1} g with the absolute spectrum of H in units of its diagonal, nothing along what is flat; H
 * is overwritten; work: 2 n + la_eigen_size(n). */
elbo_status general_newton_step(double *H, const double *g, int n, double *step, double *work);

#endif
