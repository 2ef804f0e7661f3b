#include "math/threads.h"

#ifdef _OPENMP
#include <omp.h>
#endif

#if defined(_WIN32) || !defined(_OPENMP) /* no fork, or nothing that it would break */

void threads_loaded(void) {}

#else

#include <sys/types.h>
#include <unistd.h>

static pid_t loaded_in; /* written once, when the library is loaded */

void threads_loaded(void) { loaded_in = getpid(); }
static int forked(void) { return loaded_in != 0 && loaded_in != getpid(); }
#define CHILD forked()

#endif

#ifndef CHILD
#define CHILD 0
#endif

int threads_for(int asked, int n_task) {
#ifdef _OPENMP
  const int most = asked < n_task ? asked : n_task;
  return most < 1 || CHILD ? 1 : most;
#else
  (void)asked;
  (void)n_task;
  return 1;
#endif
}

int threads_this(void) {
#ifdef _OPENMP
  return omp_get_thread_num();
#else
  return 0;
#endif
}
