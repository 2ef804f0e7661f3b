/* The kernels of glmm/kernels.h for any processor, and the choice among the builds. */
#include "math/simd.h"

#define SIMD_TARGET
#define SIMD_NAME(x) x##_plain
#include "glmm/kernels.h"

const lmm_kernels lmm_kernels_plain = KERNEL_TABLE;

const lmm_kernels *lmm_kernels_current(void) {
  switch (simd_current()) {
#if SIMD_X86
    case SIMD_AVX512:
      return &lmm_kernels_avx512;
    case SIMD_AVX2:
      return &lmm_kernels_avx2;
#endif
    default:
      return &lmm_kernels_plain;
  }
}
