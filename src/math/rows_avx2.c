/* The kernels of math/rows_kernels.h for processors with AVX2. */
#include "math/simd.h"

#if SIMD_X86

#define SIMD_TARGET __attribute__((target("avx2,fma")))
#define SIMD_WIDTH 4
#define SIMD_NAME(x) x##_avx2
#include "math/rows_kernels.h"

const row_kernels row_kernels_avx2 = KERNEL_TABLE;

#else
typedef int avx2_is_not_built_here;
#endif
