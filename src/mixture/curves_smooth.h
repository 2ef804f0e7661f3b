/* Laws of coefficients, and the sds of smooths: mixture/curves_smooth.c. */
#ifndef ELBO_MIXTURE_CURVES_SMOOTH_H
#define ELBO_MIXTURE_CURVES_SMOOTH_H

#include "mixture/curves_inside.h"

void curves_smooth_columns(curves *w, const elbo_memory *mem);
void curves_smooth_build(curves *w, const elbo_memory *mem);
void curves_smooth_fields(curves *w, mixture_part *part, const elbo_memory *mem);
/* Coefficients of component j, or their laws, at their best given K and b in w->sums; with the sds
 * of its smooths, or at these. */
elbo_status curves_smooth_step(curves *w, int j, int sds);
/* Sds that are all but zero are put there where that is a maximum: 1 if any moved. */
int curves_smooth_settle(curves *w, int j);
/* em, joint: beta and its covariance from sd, mean and root. */
void curves_smooth_spread(const curves *w, int j);
double curves_smooth_log_prior(const curves *w);
int curves_smooth_n_eta(const curves *w);
/* beta: where coordinates of the coefficients are (p x k); eta: those of roots and sds. */
void curves_smooth_pack(const curves *w, double *beta, double *eta);
elbo_status curves_smooth_unpack(const curves *w, const double *eta);
/* mean: by the means of c; *out, which is moved on: by the root and the sds. */
void curves_smooth_gradient(const curves *w, int j, const double *K, const double *b, double *mean,
                            double **out);
void curves_smooth_publish(const curves *w);
elbo_status curves_smooth_restore(const curves *w);
/* theta but for sigma, whose place it returns: coefficients; sds of smooths; sds of each block of
 * each Gamma (roots of multiples); their correlations. */
typedef double *curves_sds(const curves *w, int g, const curve_block *b, double *out);
typedef double curves_correlation(const curves *w, int g, const curve_block *b, int a, int c);
double *curves_theta(const curves *w, curves_sds *sds, curves_correlation *correlation,
                     double *out);
/* vb: of q(sd^2) of all smooths and components.  E precision of a coefficient a priori, and its
 * log. */
void curves_smooth_expect(const curves *w);
double curves_precision(const curves *w, int j, int a);
double curves_log_precision(const curves *w, int j, int a);
double curves_smooth_minus_kl(const curves *w);
void curves_smooth_natural(const curves *w, double **eta);
elbo_status curves_smooth_from_natural(const curves *w, const double **eta);
void curves_smooth_moments(const curves *w, double **m);
void curves_smooth_target(const curves *w, double **eta);

#endif
