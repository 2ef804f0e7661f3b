/* Probabilities p (n, summing to one) in coordinates without constraint: u_l = sqrt(p_l / p_b)
 * for each l but the base b,
 *
 *   p_l = u_l^2 / (1 + sum_m u_m^2).
 *
 * A probability of zero is an ordinary point: whatever depends on p is even in u_l, so a maximum
 * at the boundary is a stationary point, with a Hessian that Newton's method can use.  (In log
 * ratios it would be at infinity.)  The base, where p must not vanish, is to be the largest p;
 * `sign` (n, 1 or -1) keeps which of two roots u_l is. */
#ifndef ELBO_MATH_SIMPLEX_H
#define ELBO_MATH_SIMPLEX_H

/* Index of the largest p. */
int simplex_base(const double *p, int n);
/* u (n - 1) from p, and back: 0 where that is not finite. */
void simplex_pack(const double *p, const double *sign, int n, int base, double *u);
int simplex_unpack(const double *u, int n, int base, double *p, double *sign);

/* sum_l count_l log p_l with 0 log 0 = 0. */
double simplex_value(const double *count, const double *log_p, int n);

/* With a prior Dirichlet(alpha), alpha (n), or NULL: flat, as if all alpha were one: its log
 * density (0 where flat); the gradient (n - 1) by u of it and simplex_value; and their maximum,
 * proportional to c_l = count_l + alpha_l - 1, into p (left as it is where all c are zero).
 *
 * Where c_l <= 0 and alpha_l < 1 there is none, the density has no bound as p_l goes to zero:
 * simplex_mode answers the first such l, otherwise -1. */
double simplex_log_prior(const double *alpha, const double *log_p, int n);
void simplex_gradient(const double *count, const double *alpha, const double *p, const double *sign,
                      int n, int base, double *gradient);
int simplex_mode(const double *count, const double *alpha, int n, double *p);
/* Puts to zero what is on its way there: levels without a prior of their own that have fewer than
 * `few`, and of which the mode would have less than p.  1 if there is one. */
int simplex_settle(const double *count, const double *alpha, int n, double few, double *p);

#endif
