/* Laws of standard deviations.  Densities are of the sd, so that a flat prior is flat there, and
 * are written in the variance x = sd^2. */
#ifndef ELBO_LAW_SD_PRIOR_H
#define ELBO_LAW_SD_PRIOR_H

typedef enum {
  SD_FLAT = 0,
  SD_HALF_T,
  SD_HALF_NORMAL,
  SD_INVERSE_GAMMA,  /* of the sd */
  SD_EXPONENTIAL,    /* mean `scale` */
  SD_NORMAL,         /* of mean df * scale before it is cut at zero */
  SD_GAMMA_PRECISION /* 1 / sd^2 ~ gamma(shape df, rate scale^2) */
} sd_family;

/* df: degrees of freedom of half_t, shape of inverse_gamma and gamma_precision, mean over scale of
 * normal; unused otherwise.  A change of unit is one of `scale` alone. */
typedef struct {
  sd_family family;
  double df, scale;
} sd_prior;

/* log p(sd) at x = sd^2; *by_x its derivative by x. */
double sd_prior_log_density(const sd_prior *prior, double x, double *by_x);
/* The sizes of what is added up to it. */
double sd_prior_size(const sd_prior *prior, double x);
/* Its second derivative by x. */
double sd_prior_curvature(const sd_prior *prior, double x);
/* The x that maximises -n/2 log x - S / (2 x) + log p(sqrt x). */
double sd_prior_mode(const sd_prior *prior, double n, double S);

/* log p(sd) = constant + by_log log x + sum_r coefficient_r x^power_r, the powers being 1, 1/2,
 * -1/2 and -1; of half_t the rest, -(df + 1) / 2 log(1 + x / (df scale^2)), is left out. */
enum { SD_POWERS = 4 };
extern const double sd_prior_power[SD_POWERS];
void sd_prior_terms(const sd_prior *prior, double *constant, double *by_log, double *coefficient);

#endif
