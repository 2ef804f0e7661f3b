/* Registration of the entry points, and the choice of instruction set. */
#include "call/support.h"

#include <R_ext/Rdynload.h>
#include <R_ext/Visibility.h>
#include <stdlib.h>
#include <string.h>

#include "math/simd.h"
#include "math/threads.h"

#define ENTRY(name, arguments) \
  { #name, (DL_FUNC)&call_##name, arguments }

static const R_CallMethodDef entries[] = {
    ENTRY(glmm_fit, 3),      ENTRY(glmm_at, 2),
    ENTRY(glmm_at_eta, 2),   ENTRY(glmm_evaluate, 2),
    ENTRY(glmm_refit, 4),    ENTRY(glmm_bootstrap, 5),
    ENTRY(glmm_profile, 4),  ENTRY(glmm_levels, 4),
    ENTRY(glmm_traces, 2),
    ENTRY(glmm_stats, 2),    ENTRY(glmm_survey, 1),
    ENTRY(glmm_stats_open, 2), ENTRY(glmm_survey_merge, 2),
    ENTRY(glmm_stats_add, 2), ENTRY(glmm_stats_merge, 2),
    ENTRY(general_fit, 3),   ENTRY(general_at, 2),
    ENTRY(normal_rule, 1),
    ENTRY(mixture_fit, 4),   ENTRY(mixture_evaluate, 2),
    ENTRY(mixture_slope, 3), ENTRY(mixture_information, 2),
    ENTRY(column_sizes, 1),
    ENTRY(mixture_densities, 3),
    ENTRY(sky_mean, 1),      ENTRY(sky_detect, 4),
    ENTRY(sky_sweep, 3),     ENTRY(sky_psf, 5),    ENTRY(sky_warp, 3),
    ENTRY(sky_fit, 3),       ENTRY(sky_information, 2),
    ENTRY(sky_owner, 2),
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
