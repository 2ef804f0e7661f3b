/* What a first look at the rows says of every column. */
#include "glmm/survey.h"

#include <math.h>

const double *lmm_column(const lmm_rows *rows, int c) {
  const int j = c - rows->q;
  if (j < 0) return rows->Z + (size_t)rows->n * (size_t)c;
  return j < rows->p ? rows->X + (size_t)rows->n * (size_t)j : rows->y;
}

void lmm_survey_rows(const lmm_rows *rows, double *survey) {
  const int n_col = rows->q + rows->p + 1;
  double *sums = survey + SURVEY_COLUMNS, *low = sums + n_col, *high = low + n_col;
  double largest = 0.0;
  for (int c = 0; c < n_col; c++) {
    const double *x = lmm_column(rows, c);
    double sum = 0.0, least = HUGE_VAL, most = -HUGE_VAL;
    for (int i = 0; i < rows->n; i++) {
      sum += x[i];
      least = x[i] < least ? x[i] : least;
      most = x[i] > most ? x[i] : most;
    }
    sums[c] = sum;
    low[c] = least;
    high[c] = most;
  }
  for (int i = 0; rows->weight != NULL && i < rows->n; i++)
    largest = fmax(largest, rows->weight[i]);
  survey[SURVEY_N] = rows->n;
  survey[SURVEY_WEIGHT] = largest;
}

void lmm_survey_merge(double *survey, const double *other, int n_col) {
  double *sums = survey + SURVEY_COLUMNS, *low = sums + n_col, *high = low + n_col;
  const double *more = other + SURVEY_COLUMNS;
  survey[SURVEY_N] += other[SURVEY_N];
  survey[SURVEY_WEIGHT] = fmax(survey[SURVEY_WEIGHT], other[SURVEY_WEIGHT]);
  for (int c = 0; c < n_col; c++) {
    sums[c] += more[c];
    low[c] = fmin(low[c], more[n_col + c]);
    high[c] = fmax(high[c], more[2 * n_col + c]);
  }
}
