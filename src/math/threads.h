/* How many threads, and which one this is.  Compiles without OpenMP too. */
#ifndef ELBO_MATH_THREADS_H
#define ELBO_MATH_THREADS_H

/* Threads for `n_task` tasks where `asked` may be used: at least 1, no more than tasks, and 1 in a
 * process forked after the library was loaded, where OpenMP's own threads are lost. */
int threads_for(int asked, int n_task);
/* 0 .. threads - 1 within a parallel region, else 0. */
int threads_this(void);
/* Once, when the library is loaded. */
void threads_loaded(void);

#endif
