// What the AVX512-VNNI and AMX-INT8 instructions do, in plain C++: a test build runs the kernels on it on any CPU.
// Source: the vendor's documented semantics of VPDPBUSD, LDTILECFG, TILEZERO, TILELOADD, TILESTORED and TDPBUSD.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace unmask::model {

struct Vector512 {
  int32_t lanes[16];
};

inline Vector512 zero() { return Vector512{}; }

inline Vector512 load(const void* from) {
  Vector512 v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

inline void store(void* to, const Vector512& v) { std::memcpy(to, &v, sizeof v); }

inline Vector512 spread(int32_t value) {
  Vector512 v;
  for (int32_t& lane : v.lanes) lane = value;
  return v;
}

// sum + four products of unsigned bytes of x by signed bytes of w, modulo 2^32
inline int32_t dot(int32_t sum, const void* x, const void* w) {
  uint8_t a[4];
  int8_t b[4];
  std::memcpy(a, x, 4);
  std::memcpy(b, w, 4);
  uint32_t total = static_cast<uint32_t>(sum);
  for (int i = 0; i < 4; ++i) total += static_cast<uint32_t>(int32_t{a[i]} * int32_t{b[i]});
  return static_cast<int32_t>(total);
}

inline Vector512 vpdpbusd(const Vector512& sums, const Vector512& x, const Vector512& w) {
  Vector512 v;
  for (int i = 0; i < 16; ++i) v.lanes[i] = dot(sums.lanes[i], &x.lanes[i], &w.lanes[i]);
  return v;
}

struct Tile {
  uint8_t bytes[16][64];
  int rows, row_bytes;
};

struct Tiles {
  Tile tile[8];
  bool configured;
};

inline Tiles& tiles() {
  static thread_local Tiles state{};
  return state;
}

// A real CPU raises #UD or #GP here.
inline void demand(bool condition) {
  if (!condition) std::abort();
}

inline void tile_configure(const void* from) {
  uint8_t bytes[64];
  std::memcpy(bytes, from, sizeof bytes);
  demand(bytes[0] == 1 && bytes[1] == 0);
  for (int i = 2; i < 16; ++i) demand(bytes[i] == 0);
  for (int i = 32; i < 48; ++i) demand(bytes[i] == 0);
  for (int i = 56; i < 64; ++i) demand(bytes[i] == 0);
  Tiles& state = tiles();
  std::memset(&state, 0, sizeof state);
  state.configured = true;
  for (int i = 0; i < 8; ++i) {
    state.tile[i].row_bytes = bytes[16 + 2 * i] + 256 * bytes[17 + 2 * i];
    state.tile[i].rows = bytes[48 + i];
    demand(state.tile[i].rows <= 16 && state.tile[i].row_bytes <= 64);
  }
}

inline void tile_release() { std::memset(&tiles(), 0, sizeof(Tiles)); }

inline Tile& tile_of(int index) {
  Tile& tile = tiles().tile[index];
  demand(tiles().configured && tile.rows > 0 && tile.row_bytes > 0);
  return tile;
}

inline void tile_zero(int index) { std::memset(tile_of(index).bytes, 0, sizeof(Tile::bytes)); }

inline void tile_load(int index, const void* from, ptrdiff_t stride) {
  Tile& tile = tile_of(index);
  std::memset(tile.bytes, 0, sizeof tile.bytes);
  for (int row = 0; row < tile.rows; ++row)
    std::memcpy(tile.bytes[row], static_cast<const uint8_t*>(from) + row * stride, static_cast<size_t>(tile.row_bytes));
}

inline void tile_store(int index, void* to, ptrdiff_t stride) {
  const Tile& tile = tile_of(index);
  for (int row = 0; row < tile.rows; ++row)
    std::memcpy(static_cast<uint8_t*>(to) + row * stride, tile.bytes[row], static_cast<size_t>(tile.row_bytes));
}

inline void tdpbusd(int sums, int x, int w) {
  Tile &c = tile_of(sums), &a = tile_of(x), &b = tile_of(w);
  demand(c.rows == a.rows && c.row_bytes == b.row_bytes && a.row_bytes == 4 * b.rows);
  for (int m = 0; m < c.rows; ++m)
    for (int k = 0; k < b.rows; ++k)
      for (int n = 0; n < c.row_bytes / 4; ++n) {
        int32_t sum;
        std::memcpy(&sum, c.bytes[m] + 4 * n, 4);
        sum = dot(sum, a.bytes[m] + 4 * k, b.bytes[k] + 4 * n);
        std::memcpy(c.bytes[m] + 4 * n, &sum, 4);
      }
}

}  // namespace unmask::model
