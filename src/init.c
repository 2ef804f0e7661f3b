/* Registration of the entry points, and the choice of instruction set. */
#include "call/support.h"

#include <R_ext/Rdynload.h>
#include <R_ext/Visibility.h>
#include <stdlib.h>
#include <string.h>

#include "math/simd.h"
#include "math/threads.h"

static const R_CallMethodDef entries[] = {
#define ENTRY(name, arguments) {#name, (DL_FUNC)&call_##name, arguments},
#include "call/entries.h"
#undef ENTRY
    {NULL, NULL, 0},
};

attribute_visible void R_init_elbo(DllInfo *dll) {
  const char *simd = getenv("ELBO_SIMD");
  if (simd != NULL && strcmp(simd, "plain") == 0) simd_limit(SIMD_PLAIN);
  if (simd != NULL && strcmp(simd, "avx2") == 0) simd_limit(SIMD_AVX2);
  threads_loaded();
  R_registerRoutines(dll, NULL, entries, NULL, NULL);
  R_useDynamicSymbols(dll, FALSE);
  R_forceSymbols(dll, TRUE);
}
