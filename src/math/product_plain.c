/* The kernels of math/product_kernels.h for any processor, and the choice among the builds. */
#define SIMD_TARGET
#define SIMD_WIDTH 2
#define TILE_VECTORS 2
#define TILE_COLUMNS 4
#define SIMD_NAME(x) x##_plain
#include "math/product_kernels.h"

const product_kernels product_kernels_plain = KERNEL_TABLE;

const product_kernels *product_kernels_current(void) {
  switch (simd_current()) {
#if SIMD_X86
    case SIMD_AVX512:
      return &product_kernels_avx512;
    case SIMD_AVX2:
      return &product_kernels_avx2;
#endif
    default:
      return &product_kernels_plain;
  }
}
