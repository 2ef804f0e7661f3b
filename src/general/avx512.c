/* The kernels of general/kernels.h for processors with AVX512. */
#include "math/simd.h"

#if SIMD_X86

#define SIMD_TARGET __attribute__((target("avx512f,avx512dq,avx512vl,fma")))
#define SIMD_WIDTH 8
#define SIMD_NAME(x) x##_avx512
#include "general/kernels.h"

const node_kernels node_kernels_avx512 = KERNEL_TABLE;

#else
typedef int avx512_is_not_built_here;
#endif
