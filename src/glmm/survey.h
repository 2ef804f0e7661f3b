/* What a first look at the rows says of every column: enough to fix the shifts and scales about
 * which all chunks are summed. */
#ifndef ELBO_GLMM_SURVEY_H
#define ELBO_GLMM_SURVEY_H

#include "glmm/types.h"

/* A flat vector: the number of rows, the largest weight (0: none), and of each column of [Z X y]
 * its sum, lowest and highest value. */
enum { SURVEY_N = 0, SURVEY_WEIGHT, SURVEY_COLUMNS };

static inline size_t lmm_survey_size(int n_col) { return SURVEY_COLUMNS + 3 * (size_t)n_col; }

/* Column c of [Z X y]. */
const double *lmm_column(const lmm_rows *rows, int c);
/* Of rows, none perhaps. */
void lmm_survey_rows(const lmm_rows *rows, double *survey);
/* Adds the survey of other rows. */
void lmm_survey_merge(double *survey, const double *other, int n_col);

#endif
