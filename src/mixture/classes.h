/* Latent class analysis of mixed types: given the component the variables of a row are independent,
 * each categorical, binomial or gaussian, with parameters of the component.  A missing entry is
 * integrated out: it contributes nothing. */
#ifndef ELBO_MIXTURE_CLASSES_H
#define ELBO_MIXTURE_CLASSES_H

#include "mixture/mixture.h"

typedef enum { MIXTURE_CATEGORICAL = 0, MIXTURE_BINOMIAL, MIXTURE_GAUSSIAN } mixture_class_type;

/* Borrowed data.  The arrays of priors have an entry for every variable, read where gaussian. */
typedef struct {
  mixture_method method;
  int k;
  int n_row;
  int n_variable;
  const int *type;   /* n_variable: mixture_class_type */
  const int *levels; /* n_variable: levels L of the categorical ones, read there only */
  const double *Y;   /* n_row x n_variable: level 1 .. L, 0 or 1, number; NaN: missing */
  double alpha;      /* symmetric Dirichlet prior of the probabilities; NaN: flat (under vb: 1) */
  /* Prior of a gaussian variable's precision, gamma(shape0, rate0), and under vb of its mean
   * given the precision, normal(mean0, 1 / (kappa0 precision)).  Under em NULL is flat, and
   * where given the mean is flat and the variance inverse gamma(shape0, rate0). */
  const double *mean0, *kappa0, *shape0, *rate0;
} mixture_classes_spec;

/* Fields, the first where there are categorical or binomial variables, the others where there
 * are gaussian ones.  n_level is the sum of L over variables, a binomial one having two levels:
 * no, yes.
 *
 *   em  probability (n_level x k), mean (n_gaussian x k), variance (n_gaussian x k)
 *   vb  alpha (n_level x k), mean, kappa, shape, rate (n_gaussian x k)
 *
 * theta goes by variable: categorical, probabilities (L x k); binomial, that of yes (k);
 * gaussian, means (k), then standard deviations (k). */
elbo_status mixture_classes_part(mixture_part *part, const mixture_classes_spec *spec,
                                 const elbo_memory *mem);
mixture_maker mixture_classes_make;

#endif
