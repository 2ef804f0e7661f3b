/* Where a part of a mixture finds what it is made from: values by name, held by whoever calls, in a
 * list of R say.  Each function checks length and range, and does not return where a value is not
 * what it must be; what is `optional` may be NULL. */
#ifndef ELBO_MIXTURE_ARGUMENTS_H
#define ELBO_MIXTURE_ARGUMENTS_H

#include <stddef.h>

typedef struct {
  void *list;
  int (*integer)(void *list, const char *name, int least, int most);
  double (*number)(void *list, const char *name);
  const int *(*integers)(void *list, const char *name, size_t n, int optional);
  const double *(*numbers)(void *list, const char *name, size_t n, int optional);
} mixture_arguments;

static inline int argument_int(const mixture_arguments *a, const char *name, int least, int most) {
  return a->integer(a->list, name, least, most);
}

static inline double argument_double(const mixture_arguments *a, const char *name) {
  return a->number(a->list, name);
}

static inline const int *argument_ints(const mixture_arguments *a, const char *name, int n,
                                       int optional) {
  return a->integers(a->list, name, (size_t)n, optional);
}

/* rows x columns of them. */
static inline const double *argument_doubles(const mixture_arguments *a, const char *name, int rows,
                                             int columns, int optional) {
  return a->numbers(a->list, name, (size_t)rows * (size_t)columns, optional);
}

#endif
