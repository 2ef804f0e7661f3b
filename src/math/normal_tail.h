/* log P(z < x) and log P(a < z < b), z ~ N(0, 1), with derivatives, in all tails. */
#ifndef ELBO_MATH_NORMAL_TAIL_H
#define ELBO_MATH_NORMAL_TAIL_H

/* out: log Phi(x) and its first three derivatives: relative errors below 1e-12 (tested on -1e4 to
 * 20). */
void normal_log_cdf(double x, double out[4]);
/* log P(a < z < a + width), width > 0, and by a shift: mean of z in there, its variance less 1, its
 * third central moment; which are derivatives of log P(a < z + x < a + width) by x at 0. */
void normal_log_interval(double a, double width, double out[4]);

#endif
