/* The whole test harness: CHECK macros that count, and FINISH(), which prints the closing line
 * and gives main() its status. Each test_*.c is a program of its own that includes this once. */
#ifndef ELBO_HARNESS_H
#define ELBO_HARNESS_H

#include <math.h>
#include <stdio.h>

static int checks_passed = 0;
static int checks_failed = 0;

static inline void check_count(int ok, const char *what, const char *file, int line) {
  if (ok) {
    checks_passed++;
  } else {
    checks_failed++;
    printf("%s:%d: failed: %s\n", file, line, what);
  }
}

/* |a - b| <= tol * max(1, |b|): absolute near zero, relative elsewhere; never true of NaN. */
static inline void check_close(double a, double b, double tol, const char *what, const char *file,
                               int line) {
  int ok = fabs(a - b) <= tol * fmax(1.0, fabs(b));
  check_count(ok, what, file, line);
  if (!ok) printf("  %.17g is not %.17g to %g\n", a, b, tol);
}

#define CHECK(condition) check_count((condition) != 0, #condition, __FILE__, __LINE__)
#define CHECK_CLOSE(a, b, tol) check_close(a, b, tol, #a " ~ " #b, __FILE__, __LINE__)
#define FINISH() (printf("%d passed, %d failed\n", checks_passed, checks_failed), checks_failed > 0)

#endif
