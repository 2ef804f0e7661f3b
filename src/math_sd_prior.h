/* Laws of standard deviations.  Densities are of the sd, so that a flat prior is flat there, and
 * are written in the variance x = sd^2. */
#ifndef ELBO_MATH_SD_PRIOR_H
#define ELBO_MATH_SD_PRIOR_H

typedef enum { SD_FLAT = 0, SD_HALF_T, SD_HALF_NORMAL, SD_INVERSE_GAMMA } sd_family;

/* df: degrees of freedom of half_t, shape of inverse_gamma (of the sd); unused otherwise. */
typedef struct {
  sd_family family;
  double df, scale;
} sd_prior;

/* log p(sd) at x = sd^2; *by_x its derivative by x. */
double sd_prior_log_density(const sd_prior *prior, double x, double *by_x);
/* Its second derivative by x. */
double sd_prior_curvature(const sd_prior *prior, double x);
/* The x that maximises -n/2 log x - S / (2 x) + log p(sqrt x). */
double sd_prior_mode(const sd_prior *prior, double n, double S);

#endif
