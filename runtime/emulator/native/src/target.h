// Which instruction sets a translation unit may use; chosen when the library is loaded, never when it is compiled.
#pragma once

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define UNMASK_X86 1
#define UNMASK_AVX2 __attribute__((target("avx2")))
#define UNMASK_VNNI __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni")))
#else
#define UNMASK_X86 0
#endif

#if UNMASK_X86 && defined(__has_include)
#if __has_include(<amxint8intrin.h>)
#define UNMASK_HAS_AMX 1
#endif
#endif
#ifndef UNMASK_HAS_AMX
#define UNMASK_HAS_AMX 0
#endif

#define UNMASK_INLINE inline __attribute__((always_inline))
#define UNMASK_AMX __attribute__((target("amx-tile,amx-int8")))

namespace unmask {

enum Isa { PORTABLE = 0, AVX2 = 1, VNNI = 2, AMX = 3 };

// The best instruction set of this CPU that its operating system lets this process use.
int best_isa();

}  // namespace unmask
