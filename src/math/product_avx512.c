/* The kernels of math/product_kernels.h for processors with AVX512: 24 sums of 32 registers. */
#include "math/simd.h"

#if SIMD_X86

#define SIMD_TARGET __attribute__((target("avx512f,avx512dq,avx512vl,fma")))
#define SIMD_WIDTH 8
#define TILE_VECTORS 3
#define TILE_COLUMNS 8
#define SIMD_NAME(x) x##_avx512
#include "math/product_kernels.h"

const product_kernels product_kernels_avx512 = KERNEL_TABLE;

#else
typedef int avx512_is_not_built_here;
#endif
