// The most int8 products a second that this CPU sums, in registers alone: what a kernel's speed is a share of.
//     int8_peak THREADS SECONDS  ->  "INSTRUCTIONS PRODUCTS_PER_SECOND"
#include <immintrin.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include "target.h"

namespace {

constexpr int ROUNDS = 20000;
volatile int sink;

// Each function makes ROUNDS passes over independent sums and returns the products it added.
// The multiplicand is hidden from the compiler in every pass, so that nothing is computed ahead.
__attribute__((target("avx2"))) double avx2() {
  __m256i sums[8] = {}, x = _mm256_set1_epi8(1), w = _mm256_set1_epi8(1);
  for (int round = 0; round < ROUNDS; ++round)
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
      __asm__ volatile("" : "+x"(x));
      sums[i] = _mm256_add_epi16(sums[i], _mm256_maddubs_epi16(x, w));
    }
  for (auto& sum : sums) sink = sink + _mm256_extract_epi16(sum, 0);
  return double(ROUNDS) * 8 * 32;
}

__attribute__((target("avx512f,avx512bw,avx512vnni"))) double vnni() {
  __m512i sums[16] = {}, x = _mm512_set1_epi8(1), w = _mm512_set1_epi8(1);
  for (int round = 0; round < ROUNDS; ++round)
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) {
      __asm__ volatile("" : "+v"(x));
      sums[i] = _mm512_dpbusd_epi32(sums[i], x, w);
    }
  for (auto& sum : sums) sink = sink + _mm_cvtsi128_si32(_mm512_castsi512_si128(sum));
  return double(ROUNDS) * 16 * 64;
}

__attribute__((target("amx-tile,amx-int8"))) double amx() {
  struct alignas(64) {
    unsigned char palette = 1, start = 0, reserved[14] = {};
    unsigned short bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    unsigned char rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  } shape;
  _tile_loadconfig(&shape);
  _tile_zero(0); _tile_zero(1); _tile_zero(2); _tile_zero(3);
  _tile_zero(4); _tile_zero(5); _tile_zero(6); _tile_zero(7);
  for (int round = 0; round < ROUNDS; ++round) {
    _tile_dpbusd(0, 4, 6);
    _tile_dpbusd(1, 4, 7);
    _tile_dpbusd(2, 5, 6);
    _tile_dpbusd(3, 5, 7);
  }
  _tile_release();
  return double(ROUNDS) * 4 * 16 * 16 * 64;
}

}  // namespace

int main(int, char** argv) {
  const int threads = std::atoi(argv[1]);
  const double seconds = std::atof(argv[2]);
  const int isa = unmask::best_isa();
  double (*const pass)() = isa == unmask::AMX ? amx : isa == unmask::VNNI ? vnni : avx2;
  if (isa == unmask::PORTABLE) return 3;
  using Clock = std::chrono::steady_clock;
  std::vector<double> rates(threads);
  std::atomic<int> ready{0};
  std::vector<std::thread> team;
  for (int index = 0; index < threads; ++index)
    team.emplace_back([&, index] {
      pass();
      for (++ready; ready < threads;) {
      }
      double best = 0;
      const auto end = Clock::now() + std::chrono::duration<double>(seconds);
      while (Clock::now() < end) {
        const auto start = Clock::now();
        const double products = pass();
        const double rate = products / std::chrono::duration<double>(Clock::now() - start).count();
        if (rate > best) best = rate;
      }
      rates[index] = best;
    });
  for (auto& worker : team) worker.join();
  double total = 0;
  for (const double rate : rates) total += rate;
  const char* const names[] = {"", "AVX2", "AVX512-VNNI", "AMX-INT8"};
  std::printf("%s %.0f\n", names[isa], total);
}
