/* The kernels of general/kernels.h for any processor, and the choice among the builds. */
#define SIMD_TARGET
#define SIMD_WIDTH 2
#define SIMD_NAME(x) x##_plain
#include "general/kernels.h"

const node_kernels node_kernels_plain = KERNEL_TABLE;

const node_kernels *node_kernels_current(void) {
  switch (simd_current()) {
#if SIMD_X86
    case SIMD_AVX512:
      return &node_kernels_avx512;
    case SIMD_AVX2:
      return &node_kernels_avx2;
#endif
    default:
      return &node_kernels_plain;
  }
}
