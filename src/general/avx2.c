/* The kernels of general/kernels.h for processors with AVX2. */
#include "math/simd.h"

#if SIMD_X86

#define SIMD_TARGET __attribute__((target("avx2,fma")))
#define SIMD_WIDTH 4
#define SIMD_NAME(x) x##_avx2
#include "general/kernels.h"

const node_kernels node_kernels_avx2 = KERNEL_TABLE;

#else
typedef int avx2_is_not_built_here;
#endif
