/* What Laplace's q = N(mode, H^{-1}) says of the model beside its approximation of the
 * log-likelihood: its ELBO. */
#ifndef ELBO_GENERAL_NORMAL_H
#define ELBO_GENERAL_NORMAL_H

#include "general/sums.h"

/* At theta, expectations by `rule` where there is no closed form; mean and cov as
 * general_posteriors() has them with one node, of several factors not used. */
elbo_status general_normal_elbo(general_work *w, const response_rule *rule, const double *mean,
                                const double *cov, double *value);

#endif
