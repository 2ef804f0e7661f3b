/* One group: its mode, the quadrature, derivatives. */
#ifndef ELBO_GENERAL_GROUP_H
#define ELBO_GENERAL_GROUP_H

#include "general/types.h"

/* Gauss and Hermite's where few are meant, whose value has a derivative, or are enough, and of
 * several terms. */
elbo_status general_rule_init(general_rule *rule, int each, int few, int q, const elbo_memory *mem);
void general_space_init(general_space *s, const general_rows *rows, int n_own,
                        const general_rule *rule, const elbo_memory *mem);
/* Adds group g to the sums, to the order that is wanted.  mode (q) is where Newton's method starts,
 * and where it ends.  posterior may be NULL; its with_slope takes order GENERAL_HESSIAN. */
elbo_status general_group(const general_rows *rows, const general_point *at,
                          const general_rule *rule, int g, general_order order, double *mode,
                          general_space *s, general_sums *sums, general_posterior *posterior);
/* E of the complete log density of group g at `to`, v being T^{-1} times what it is at `from`, less
 * that at `from`, under the quadrature's q at `from`; -log |T| included.  inverse: T^{-1} (q x q,
 * lower).  mode as above, at `from`. */
elbo_status general_group_change(const general_rows *rows, const general_point *from,
                                 const general_point *to, const double *inverse,
                                 const general_rule *rule, int g, double *mode, general_space *s,
                                 double *change);

#endif
