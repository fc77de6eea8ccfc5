// What this CPU and its operating system allow: CPUID, XCR0, and for AMX the permission that Linux wants asked for.
#include "target.h"

#if UNMASK_X86 && !defined(UNMASK_SOFTWARE_MODEL)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

namespace unmask {

#if defined(UNMASK_SOFTWARE_MODEL)

int best_isa() { return AMX; }

#elif UNMASK_X86

namespace {

bool bit(unsigned value, int index) { return (value >> index) & 1u; }

unsigned long long enabled_state() {
  unsigned low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<unsigned long long>(high) << 32) | low;
}

bool tiles_permitted() {
#if UNMASK_HAS_AMX && defined(__linux__)
  constexpr long ask_permission = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, ask_permission, tile_data) == 0;
#else
  return false;
#endif
}

}  // namespace

int best_isa() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !bit(c, 27) || !bit(c, 28)) return PORTABLE;  // OSXSAVE, AVX
  const unsigned long long state = enabled_state();
  if ((state & 0x6) != 0x6) return PORTABLE;  // XMM, YMM
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !bit(b, 5)) return PORTABLE;
  const bool avx512 = (state & 0xe6) == 0xe6 && bit(b, 16) && bit(b, 30) && bit(b, 31);  // F, BW, VL and their state
  if (!avx512 || !bit(c, 11)) return AVX2;  // AVX512_VNNI
  const bool tiles = (state & 0x60000) == 0x60000 && bit(d, 24) && bit(d, 25);  // TILECFG, TILEDATA; TILE, INT8
  return tiles && tiles_permitted() ? AMX : VNNI;
}

#else

int best_isa() { return PORTABLE; }

#endif

}  // namespace unmask
