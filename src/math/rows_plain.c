/* The kernels of math/rows_kernels.h for any processor, and the choice among the builds. */
#define SIMD_TARGET
#define SIMD_WIDTH 2
#define SIMD_NAME(x) x##_plain
#include "math/rows_kernels.h"

const row_kernels row_kernels_plain = KERNEL_TABLE;

const row_kernels *row_kernels_current(void) {
  switch (simd_current()) {
#if SIMD_X86
    case SIMD_AVX512:
      return &row_kernels_avx512;
    case SIMD_AVX2:
      return &row_kernels_avx2;
#endif
    default:
      return &row_kernels_plain;
  }
}
