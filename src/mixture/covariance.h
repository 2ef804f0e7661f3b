/* The 14 parsimonious covariance models of Celeux & Govaert (1995), as mclust names them:
 *
 *   Sigma_j = lambda_j D_j A_j D_j',  |A_j| = 1 diagonal, D_j orthogonal
 *
 * with volume lambda_j, shape A_j and orientation D_j each equal (E) over components, varying (V),
 * or, shape and orientation, none (I).  A single variable (d = 1): E is EII, V is VII.
 *
 * Where shape and orientation are both equal or both varying (EEE, VEE, EVV, VVV) nothing holds the
 * eigenvectors, and a Cholesky factor does as well.  So the state is
 *
 *   Sigma_j = volume_j B_j diag(shape_j) B_j',  |shape_j| = 1,
 *
 * with a frame B_j of determinant one: the axes, a rotation, or unit lower triangular. */
#ifndef ELBO_MIXTURE_COVARIANCE_H
#define ELBO_MIXTURE_COVARIANCE_H

#include "engine/engine.h"

typedef enum {
  COVARIANCE_EII,
  COVARIANCE_VII,
  COVARIANCE_EEI,
  COVARIANCE_VEI,
  COVARIANCE_EVI,
  COVARIANCE_VVI,
  COVARIANCE_EEE,
  COVARIANCE_VEE,
  COVARIANCE_EVE,
  COVARIANCE_VVE,
  COVARIANCE_EEV,
  COVARIANCE_VEV,
  COVARIANCE_EVV,
  COVARIANCE_VVV
} covariance_model;

typedef enum { FRAME_AXES, FRAME_LOWER, FRAME_ROTATION } covariance_frame;

typedef struct {
  covariance_model model;
  int d, k;
  covariance_frame frame_kind;
  int n_volume, n_shape, n_frame; /* how many there are: 0 (shape, frame), 1 or k */
  int n_distinct;                 /* distinct matrices: 1 (EII, EEI, EEE) or k */
  int n_eta;                      /* free parameters, those that mclust counts */
  double *volume;                 /* k */
  double *shape;                  /* d x k */
  double *frame;                  /* d x d x k */
  double *Sigma;                  /* d x d x k, always that of volume, shape and frame */
  /* inside */
  int cold;                         /* no M-step yet: the frame is no start */
  double *reference;                /* d: variances that singularity is relative to */
  double *anchor;                   /* d x d x k: where the charts of rotations are centred */
  double *omega;                    /* d x k: diagonal of B_j^{-1} W_j B_j^{-T} */
  double *turned;                   /* d x d x k: B' W_j B of a common rotation */
  double *ones;                     /* k */
  double *one, *two, *three, *four; /* scratch: d x d */
  double *values, *eigen;           /* d, la_eigen_size(d) */
} covariance_work;

/* Free parameters of k covariance matrices of order d. */
int covariance_n_parameters(covariance_model model, int d, int k);

/* Whether D Sigma_j D, D any diagonal matrix, are of the model with Sigma_j: units of the variables
 * do not matter.  They do where these are alike (spheres), or turned. */
int covariance_scales(covariance_model model);

/* Memory, and every Sigma_j as near to diag(reference) as the model allows. */
void covariance_init(covariance_work *cov, covariance_model model, int d, int k,
                     const double *reference, const elbo_memory *mem);

/* Maximises, over the model, with n (k) and W (d x d x k, both triangles),
 *
 *   -1/2 sum_j { n_j log|Sigma_j| + tr(W_j Sigma_j^{-1}) }
 *
 * in closed form, or (VEI, VEE, EVE, VVE, VEV) by alternation from the present state, which never
 * lowers it.  A component with n_j = 0 keeps what is its own.  W may be cov->Sigma.
 * ELBO_E_UNBOUNDED as covariance_check. */
elbo_status covariance_m_step(covariance_work *cov, const double *n, const double *W,
                              int *component);

/* The state from Sigma (d x d x k; may be cov->Sigma).  Matrices that are not of the model are
 * replaced by those nearest, in KL(N(0, Sigma_j) || .) summed over j. */
elbo_status covariance_restore(covariance_work *cov, const double *Sigma, int *component);

/* ELBO_E_UNBOUNDED where a Sigma_j is singular to the order of 1e-12 relative to the reference
 * variances: *component says which j is most so, -1 where that is a matter of all of them together.
 * The M-step says it, too, of a component of its own shape that has rows but no scatter. */
elbo_status covariance_check(const covariance_work *cov, int *component);

/* Free coordinates, n_eta of them: log volumes; log shapes but the last of each; of each frame the
 * strict lower triangle by column, of B itself (unit lower triangular), or of the skew K in
 * Cayley's B = B0 (I + K) (I - K)^{-1} about the anchor B0 (rotations).
 * unpack: ELBO_E_NOT_PD where that overflows; the state is then of no use. */
void covariance_pack(const covariance_work *cov, double *eta);
elbo_status covariance_unpack(covariance_work *cov, const double *eta);
/* Charts of rotations are centred at the present state (all their coordinates are then zero). */
void covariance_anchor(covariance_work *cov);

/* gradient (n_eta) of f by eta, from G (d x d x k), symmetric: df = sum_j tr(G_j dSigma_j). */
void covariance_gradient(const covariance_work *cov, const double *G, double *gradient);

#endif
