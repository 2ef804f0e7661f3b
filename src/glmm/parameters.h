/* eta, the free parameters, and what they stand for. */
#ifndef ELBO_GLMM_PARAMETERS_H
#define ELBO_GLMM_PARAMETERS_H

#include "glmm/types.h"

void lmm_parameters_init(lmm_parameters *par, const lmm_stats *stats, const lmm_law *law,
                         const elbo_memory *mem);
/* The block that a row belongs to, and eta_k of Sigma. */
int lmm_block_of(const lmm_parameters *par, int row);
int lmm_block_of_eta(const lmm_parameters *par, int k);
/* L (q x q, zero rows where there is no law), Sigma = L L' and variance (n_level) from eta. */
void lmm_parameters_unpack(const lmm_parameters *par, const double *eta, double *L, double *Sigma,
                           double *variance);
/* Of the eta that are the same Sigma the one that lmm_parameters_pack() has. */
void lmm_parameters_canonical(const lmm_parameters *par, const double *variance, double *eta);
/* In free blocks a diagonal entry of L that is smaller than `small` becomes zero, and so does its
 * column: L is turned so that Sigma stays as it is. */
void lmm_parameters_round(const lmm_parameters *par, double small, double *eta);
/* eta from L, or from Sigma = L L', and variance; constants are taken as they are. */
void lmm_parameters_pack_root(const lmm_parameters *par, const double *L, const double *variance,
                              double *eta);
void lmm_parameters_pack(const lmm_parameters *par, const double *Sigma, const double *variance,
                         double *eta);
/* d Sigma / d eta_j (q x q x n_eta) and, for every pair j, k of the same block, its derivative
 * contracted with G: curvature (n_eta x n_eta, added to). */
void lmm_parameters_sigma_jacobian(const lmm_parameters *par, const double *eta, double *jacobian);
void lmm_parameters_sigma_curvature(const lmm_parameters *par, const double *eta, const double *G,
                                    double *curvature);
/* Sigma and sigma in the caller's units and their derivatives: sigma_u (q x q),
 * jacobian_u (q x q x n_eta), sigma (n_level); d sigma / d log sigma = sigma. */
void lmm_parameters_natural(const lmm_parameters *par, const double *eta, double *sigma_u,
                            double *jacobian_u, double *sigma);

#endif
