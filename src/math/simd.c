#include "math/simd.h"

static simd_level limit = SIMD_AVX512;

void simd_limit(simd_level most) { limit = most; }

simd_level simd_current(void) {
  simd_level have = SIMD_PLAIN;
#if SIMD_X86
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) have = SIMD_AVX2;
  if (have == SIMD_AVX2 && __builtin_cpu_supports("avx512f") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
    have = SIMD_AVX512;
#endif
  return have < limit ? have : limit;
}
