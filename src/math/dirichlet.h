/* The Dirichlet distribution (of two levels: beta). */
#ifndef ELBO_MATH_DIRICHLET_H
#define ELBO_MATH_DIRICHLET_H

/* log of the constant of Dirichlet(alpha), alpha (n): log Gamma(sum alpha) - sum log
 * Gamma(alpha). */
double dirichlet_log_constant(const double *alpha, int n);
/* E[log p] (n) under Dirichlet(alpha). */
void dirichlet_expected_log(const double *alpha, int n, double *expected_log);
/* KL(Dirichlet(alpha) || Dirichlet(prior)), both of n. */
double dirichlet_kl(const double *alpha, const double *prior, int n);

#endif
