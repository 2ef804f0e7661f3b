/* The law of a latent term: its q coefficients are N(0, Sigma), Sigma a function of free parameters
 * eta without bounds.  Matrices are q x q by column; everything is scaled.
 *
 * A free covariance is L L' with the rows of L free: zero and singular covariances are ordinary
 * points, and the objective is even in each column, so a boundary optimum is a stationary point
 * that Newton's method reaches.  A constant sd fixes the length of its row, which then is given by
 * angles; a constant correlation of two terms fixes the direction of the second row.
 *
 * The other kinds are Sigma_ij = unit_i unit_j s_i s_j R_ij, with an sd for each term or a common
 * one, and R
 *   diagonal            the identity
 *   compound symmetry   rho off the diagonal, -1 / (q - 1) <= rho <= 1
 *   ar1                 rho^|i - j|, -1 <= rho <= 1
 *   multiple            given (with a common sd).
 * rho = centre + radius sin(eta) has its bounds at stationary points.  An sd is eta, of either
 * sign, where the objective is even in it, as where it is common; otherwise eta^2, since then the
 * objective has a slope in an sd that is zero. */
#ifndef ELBO_LAW_LATENT_LAW_H
#define ELBO_LAW_LATENT_LAW_H

#include "math/status.h"

enum { LATENT_MAX_TERMS = 64 }; /* of a group, at most: small arrays live on the stack */

typedef enum {
  LATENT_FREE = 0,
  LATENT_DIAGONAL,
  LATENT_SYMMETRIC, /* compound */
  LATENT_AR1,
  LATENT_MULTIPLE
} latent_kind;

/* How a term has its law: of a free covariance a row of L, which is free, or of given length, or of
 * given direction, or both; or through the law of all terms; or it has none. */
typedef enum {
  LATENT_ROW_FREE = 0,
  LATENT_ROW_LENGTH,
  LATENT_ROW_DIRECTION,
  LATENT_ROW_FIXED,
  LATENT_ROW_NO_LAW,
  LATENT_ROW_SHARED
} latent_row;

typedef struct {
  latent_kind kind;
  int q, n_eta;
  int *row;        /* q: latent_row */
  int *eta_of_row; /* q: first eta of a row of L */
  double *length;  /* q: constant sd, 0 where there is none */
  double cor;      /* constant correlation, NaN where free */
  /* All kinds but the free one. */
  int common, squared;   /* one sd for all terms; sds are eta^2 */
  int *eta_of_sd;        /* q: eta, or -1 where the sd is held */
  int eta_of_cor;        /* eta, or -1 */
  double *unit;          /* q */
  double *matrix;        /* q x q: R of a multiple, or NULL */
  double *matrix_root;   /* and its root */
  double centre, radius; /* of rho */
} latent_law;

/* What is said of a law: constant sds (q: Inf for no law, NaN where free; the first one's where
 * common) and correlation, in units of the scaled variables; unit NULL: ones. */
typedef struct {
  latent_kind kind;
  int q, common;
  const double *sd;
  double cor;
  const double *unit, *matrix;
} latent_terms;

void latent_law_init(latent_law *law, const latent_terms *terms, const elbo_memory *mem);
/* Free parameters of row r of L: 0 where it has none of its own. */
int latent_law_row_size(const latent_law *law, int r);
/* A lower triangular root L, rows of zeros where there is no law.  A zero on its diagonal has a
 * column of zeros (of the free kind after latent_law_round()). */
void latent_law_root(const latent_law *law, const double *eta, double *L);
/* Such a root that is analytic in eta, where Sigma is singular too, without that property; and its
 * derivative by eta_k, or (l >= 0) by eta_k and eta_l: q x q, lower. */
void latent_law_analytic_root(const latent_law *law, const double *eta, double *L);
void latent_law_root_slope(const latent_law *law, const double *eta, int k, int l, double *slope);
/* d Sigma / d eta_k. */
void latent_law_slope(const latent_law *law, const double *eta, int k, double *slope);
/* tr(G d^2 Sigma / d eta_j d eta_k), G symmetric, added to curvature[j + ld * k]. */
void latent_law_curvature(const latent_law *law, const double *eta, const double *G, int ld,
                          double *curvature);
/* eta of Sigma = L L': constants are taken as they are, and where Sigma is not of the kind its sds
 * and correlations are averaged. */
void latent_law_pack(const latent_law *law, const double *L, double *eta);
/* Of the eta that are the same Sigma one: diagonal of L and sds not negative, rho in its first
 * half-turn. */
void latent_law_canonical(const latent_law *law, double *eta);
/* A diagonal entry of L that is smaller than `small` becomes zero, and so does its column: L is
 * turned so that Sigma stays as it is. */
void latent_law_round(const latent_law *law, double small, double *eta);
/* What is within rounding of the boundary goes there, 1 if so: at < q: of term `at` its sd if below
 * small_sd, or its correlation with those before to a singular one, if within `small`; at = q: rho.
 * The objective is even about these points: Newton's method comes near them, but not onto them. */
int latent_law_settle(const latent_law *law, int at, double small, double small_sd, double *eta);
/* The sd of term r becomes zero where it has turned round since `from`: its row of L, or itself. */
void latent_law_stop_at_zero(const latent_law *law, int r, const double *from, double *to);
/* Whether an sd beside a constant correlation has turned round since `from`: the correlation then
 * has the other sign. */
int latent_law_turned(const latent_law *law, const double *from, const double *to);
/* Whether packing a root of S / n maximises -(n log |Sigma| + tr(Sigma^{-1} S)) / 2: no constants,
 * and averaging is what maximising does. */
int latent_law_closed(const latent_law *law);

#endif
