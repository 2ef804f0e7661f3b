/* The law of a response given its linear predictor x: log density with derivatives to third order
 * by x, first and second by parameters of its own (psi, without bounds) and mixed, and its
 * expectation under a normal predictor with derivatives.
 *
 *   law                 response        psi
 *   gaussian            any             log sd (of a row of weight 1), or none: 1
 *   binomial            successes       none; logit, probit or complementary log-log link
 *   poisson             count           none; log link
 *   negative binomial   count           log size (variance mu + mu^2 / size); log link
 *   cumulative          category, 0-    thresholds: the first one and the logarithms of the steps;
 *                                       P(y <= j) = F(threshold_j - x), logit or probit link
 *
 * Constants are in the densities in full. */
#ifndef ELBO_LAW_RESPONSE_LAW_H
#define ELBO_LAW_RESPONSE_LAW_H

#include "math/rows.h"
#include "math/status.h"

typedef enum {
  RESPONSE_GAUSSIAN = 0,
  RESPONSE_BINOMIAL,
  RESPONSE_POISSON,
  RESPONSE_NEGATIVE_BINOMIAL,
  RESPONSE_CUMULATIVE
} response_family;

typedef enum {
  RESPONSE_IDENTITY = 0,
  RESPONSE_LOGIT,
  RESPONSE_PROBIT,
  RESPONSE_CLOGLOG,
  RESPONSE_LOG
} response_link;

enum { RESPONSE_MAX_OWN = 64 };

/* At one x: the log density and its derivatives by x. */
typedef struct {
  double value, x, xx, xxx;
} response_point;

/* By psi: n_own; packed lower triangle by row; with x and xx n_own each. */
typedef struct {
  double own[RESPONSE_MAX_OWN], x_own[RESPONSE_MAX_OWN], xx_own[RESPONSE_MAX_OWN];
  double own_own[RESPONSE_MAX_OWN * (RESPONSE_MAX_OWN + 1) / 2];
} response_own;

/* E of the log density for x = mean + sd z, z ~ N(0, 1), and its derivatives by mean and sd. */
typedef struct {
  double value, m, s, mm, ms, ss;
} response_expectation;

typedef struct response_law response_law;
struct response_law {
  response_family family;
  response_link link;
  int n_own;
  const double *psi; /* n_own, as response_law_set() was given them */
  double *natural;   /* n_own: sd, size, thresholds */
  /* psi -> natural; 0 where these are no parameters. */
  int (*set)(response_law *law);
  /* What does not depend on x, and is left out of point(); y is of `size` trials. */
  double (*constant)(const response_law *law, double y, double size);
  void (*point)(const response_law *law, double y, double size, double x, response_point *out);
  /* By psi, the constant included; NULL where there is none. */
  void (*own)(const response_law *law, double y, double size, double x, response_own *out);
  /* In closed form, or NULL. */
  void (*expect)(const response_law *law, double y, double size, double mean, double sd,
                 response_expectation *out);
};

/* n rows: size NULL: 1, the number of trials of a binomial response; weight NULL: 1, what the log
 * density is multiplied by (of a gaussian response its precision: variance sd^2 / weight). */
typedef struct {
  int n;
  const double *y, *size, *weight;
} response_rows;

/* NULL: not wanted. */
typedef struct {
  double *value, *x, *xx, *xxx;           /* n */
  double *own, *own_own, *x_own, *xx_own; /* n x n_own, n x packed: by column */
} response_values;

/* ELBO_E_NOT_FINITE where there is no such law; n_own is 1 less than the categories of a cumulative
 * one. */
elbo_status response_law_init(response_law *law, response_family family, response_link link,
                              int n_own, const elbo_memory *mem);
/* psi is borrowed.  ELBO_E_NOT_FINITE where it overflows. */
elbo_status response_law_set(response_law *law, const double *psi);
/* psi from natural parameters: an sd, a size, ascending thresholds. */
void response_law_psi(const response_law *law, const double *natural, double *psi);
/* The sum over the rows of what point() leaves out. */
double response_law_constant(const response_law *law, const response_rows *rows);
/* At x (n). */
void response_law_at(const response_law *law, const response_rows *rows, const double *x,
                     const response_values *out);
/* The same without weights, at `each` predictors of every row, one row after the other: x and out
 * (n x each; each a multiple of SIMD_LANES, or 1 where n is); xxx NULL: not wanted.  By kernels for
 * the laws that exp() and log() make. */
typedef struct {
  double *value, *x, *xx, *xxx;
} response_block;
void response_law_block(const response_law *law, int n, int each, const double *y,
                        const double *size, const double *x, const response_block *out);
/* A predictor of a row before anything is known, from its response alone. */
double response_law_guess(const response_law *law, double y, double size);
/* Under normal predictors: out (n); by psi, in sums over the rows where they are not NULL, own
 * (n_own) and own_own (packed), and m_own, s_own (n x n_own).  Closed form where there is one, else
 * by a rule for N(0, 1) of n_node nodes (math/quadrature.h), of which the derivatives are then
 * exact. */
typedef struct {
  int n_node;
  const double *node, *weight;
} response_rule;
typedef struct {
  double *own, *own_own, *m_own, *s_own;
} response_expected_own;
void response_law_expect(const response_law *law, const response_rows *rows,
                         const response_rule *rule, const double *mean, const double *sd,
                         response_expectation *out, const response_expected_own *own);

/* How a law introduces itself: law/response_<law>.c. */
void response_gaussian(response_law *law);
void response_binomial(response_law *law);
void response_poisson(response_law *law);
void response_negative_binomial(response_law *law);
void response_cumulative(response_law *law);

#endif
