/* The solver of several grouping factors: the normal matrix of all levels, in blocks
 * (math/blocked.h), from cross-products by cell (glmm/crossed.h).
 *
 * With M = J + root'Z'D^{-1}Z root, J = diag(unit), and E = M^{-1} root'Z'D^{-1}[X r],
 *   [X r]'V^{-1}[X r] = [X r]'D^{-1}[X r] - (L^{-1} root'Z'D^{-1}[X r])'(same),  M = L L',
 *   log |V| = log |D| + log |M|,
 *   Z'V^{-1}[X r] = Z'D^{-1}([X r] - Z root E),
 *   Z'V^{-1}Z root = Z'D^{-1}Z root M^{-1} J:  its diagonal blocks need M^{-1} only where Z'Z is,
 * and nothing is lost where Sigma is nearly singular; where it is, directions without variance are
 * given so little that no digit changes, so that derivatives by Sigma are there too. */
#ifndef ELBO_GLMM_BLOCKED_H
#define ELBO_GLMM_BLOCKED_H

#include "glmm/types.h"

void lmm_blocked_solver(glmm_solver *solver, const lmm_stats *stats, int n_pair,
                        const elbo_memory *mem);
/* Bytes that a fit with n_pair entries of Sigma takes, and a rough number of seconds. */
void lmm_blocked_cost(const lmm_stats *stats, int n_pair, double *bytes, double *seconds,
                      const elbo_memory *mem);

#endif
