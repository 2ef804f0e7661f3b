/* Variational Bayes for multivariate normal components: the conjugate factors of means and
 * covariances.  With Lambda_j = Sigma_j^{-1} the prior is
 *
 *   mean_j | Lambda_j ~ N(m0, (kappa0 Lambda_j)^{-1}),   Sigma_j ~ inverse Wishart(df0, S0),
 *
 * Sigma_j full, diagonal or spherical, one for each component (VVV, VVI, VII) or one for all (EEE,
 * EEI, EII).  The variances of a diagonal one have their marginal laws in that prior,
 *
 *   sigma_a^2 ~ inverse gamma((df0 - d + 1) / 2, S0_aa / 2),
 *
 * independently; that of a spherical one has the same law with the mean of the S0_aa.  The best q
 * is of the same family; one factor of it holds a Sigma and all means whose law has that Sigma. */
#ifndef ELBO_MIXTURE_NORMAL_VB_H
#define ELBO_MIXTURE_NORMAL_VB_H

#include "mixture/covariance.h"

typedef enum { NORMAL_VB_FULL, NORMAL_VB_DIAGONAL, NORMAL_VB_SPHERICAL } normal_vb_structure;

/* mean_j | Sigma ~ N(mean_j, Sigma / kappa_j), and
 *   full:      Sigma ~ inverse Wishart(df, scale);
 *   diagonal:  sigma_a^2 ~ inverse gamma(df / 2, scale_aa / 2);
 *   spherical: sigma^2 ~ inverse gamma(df / 2, scale_11 / 2), scale a multiple of the identity:
 * E[Sigma^{-1}] = df scale^{-1} in every case. */
typedef struct {
  double *mean;  /* d x k */
  double *kappa; /* k */
  double *df;    /* n_group */
  double *scale; /* d x d x n_group */
} normal_vb_law;

typedef struct {
  int d, k;
  int n_group; /* matrices Sigma: 1 or k */
  int n_eta;
  normal_vb_structure structure;
  normal_vb_law q;
  /* inside */
  int order, copies; /* Sigma is made of so many independent inverse Wisharts of that order */
  double share;      /* their log determinants and traces over those of Sigma: spherical 1 / d */
  normal_vb_law prior, next; /* prior: of one component; next: for `target` */
  double *centre, *unit;     /* d: natural parameters are those of (y - centre) / unit */
  double *precision;         /* d x d x n_group: E[Sigma^{-1}] */
  double *log_det;           /* n_group: E log|Sigma^{-1}| */
  double *log_scale;         /* n_group: log|scale| */
  double prior_log_scale;
  double *one, *two; /* d x d */
} normal_vb;

/* Memory, and a neutral q: means at centre, Sigma about diag(sd^2).  model: one of the six above.
 * mean0 (d), scale0 (d x d, positive definite), df0 > d - 1, kappa0 > 0: the prior. */
void normal_vb_init(normal_vb *vb, covariance_model model, int d, int k, const double *centre,
                    const double *sd, const double *mean0, double kappa0, double df0,
                    const double *scale0, const elbo_memory *mem);

/* For the E-step E_q[log N(y | mean_j, Sigma_j)] = constant_j - 1/2 |M_j (y - mean_j)|^2:
 * M (d x d x k, lower triangular, by row) and constant (k).  ELBO_E_NOT_PD where q is no law;
 * *component says where (-1: the common Sigma). */
elbo_status normal_vb_prepare(normal_vb *vb, double *M, double *constant, int *component);

/* The best q given counts n (k), averages (d x k; any where n is 0) and scatter W about them
 * (d x d x k) of the components; its natural parameters are those of `target`, too. */
void normal_vb_m_step(normal_vb *vb, const double *n, const double *average, const double *W);
void normal_vb_target(normal_vb *vb, const double *n, const double *average, const double *W,
                      double *eta);

double normal_vb_log_prior(const normal_vb *vb); /* -KL(q || prior) */

/* Natural parameters of q, for each Sigma and its means those of
 *
 *   T = (log|Lambda|, Lambda, and for each mean_j: Lambda mean_j, mean_j' Lambda mean_j)
 *
 * where Lambda stands for the lower triangle by row, the diagonal, or its one entry (spherical,
 * with log|Lambda| / d in the first place), all for y in units about a centre. */
void normal_vb_pack(const normal_vb *vb, double *eta);
elbo_status normal_vb_unpack(normal_vb *vb, const double *eta);
void normal_vb_moments(const normal_vb *vb, double *m); /* E_q[T] */

/* E_q of means (d x k), standard deviations (d x k) and correlations ((1, 2), (1, 3), ..., for each
 * component), in closed form; Inf where q has no mean of a standard deviation. */
void normal_vb_theta(const normal_vb *vb, double *theta);

#endif
