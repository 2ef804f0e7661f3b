/* Expectations of the rows' log densities under normal predictors. */
#ifndef ELBO_GENERAL_VB_ROWS_H
#define ELBO_GENERAL_VB_ROWS_H

#include "general/vb_types.h"

/* each: a multiple of SIMD_LANES. */
elbo_status vb_rule_init(vb_rule *rule, int each, const elbo_memory *mem);
void vb_row_space_init(vb_row_space *s, const vb_rule *rule, const elbo_memory *mem);
/* Rows first .. first + n - 1 with predictors N(mean_i, variance_i): out (n).  Without what
 * response_law.h calls the constant. */
void vb_rows(const general_rows *rows, const response_law *law, const vb_rule *rule, int first,
             int n, const double *mean, const double *variance, vb_row_space *s, vb_row *out);

#endif
