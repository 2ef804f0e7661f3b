/* Eight doubles side by side, and which instruction set works on them.
 *
 * Hot kernels are written once over `v8` (a vector type that gcc and clang lower to whatever the
 * target has) and compiled once for each instruction set, in files of their own that define
 * SIMD_TARGET and SIMD_NAME before including the kernel.  A table of pointers filled when the
 * library is loaded chooses among them; packages cannot ship -march flags, and target_clones
 * needs glibc. */
#ifndef ELBO_MATH_SIMD_H
#define ELBO_MATH_SIMD_H

enum { SIMD_LANES = 8 };

typedef double v8 __attribute__((vector_size(64), aligned(8), may_alias));
typedef long long v8i __attribute__((vector_size(64), aligned(8), may_alias));

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define SIMD_X86 1
#else
#define SIMD_X86 0
#endif

typedef enum { SIMD_PLAIN = 0, SIMD_AVX2, SIMD_AVX512 } simd_level;

/* The level in use: the best that the processor has, at most `simd_limit()`. */
simd_level simd_current(void);
/* Set once when the library is loaded, before any kernel runs. */
void simd_limit(simd_level most);

#endif
