/* The kernels of math/product_kernels.h for processors with AVX2: 12 sums of 16 registers. */
#include "math/simd.h"

#if SIMD_X86

#define SIMD_TARGET __attribute__((target("avx2,fma")))
#define SIMD_WIDTH 4
#define TILE_VECTORS 3
#define TILE_COLUMNS 4
#define SIMD_NAME(x) x##_avx2
#include "math/product_kernels.h"

const product_kernels product_kernels_avx2 = KERNEL_TABLE;

#else
typedef int avx2_is_not_built_here;
#endif
