/* Second derivatives of the ELBO in all parameters of q: the mean and covariance of beta, eta, and
 * of each group its mean, G and C, which are eliminated group by group. */
#ifndef ELBO_GENERAL_VB_HESSIAN_H
#define ELBO_GENERAL_VB_HESSIAN_H

#include "general/vb_types.h"

void vb_hessian_init(vb_work *w, const elbo_memory *mem);
/* Coordinates that all groups share: mean of beta (p), its covariance (packed), eta. */
int vb_n_shared(const vb_work *w);
/* Minus the second derivatives by them, the groups' own at their best (n_shared x n_shared), where
 * q is the best.  groups (m) and moves NULL: not wanted; else of each group, minus the inverse
 * Hessian's block of its mean (q x q), and d mean / d shared (q x n_shared). */
elbo_status vb_shared_information(vb_work *w, double *information, double *own, double *moves);
/* By eta alone, all else at its best: n_eta x n_eta. */
elbo_status vb_profile_hessian(vb_work *w, double *hessian);

#endif
