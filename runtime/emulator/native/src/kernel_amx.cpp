// AMX-INT8: 32 pixels by 32 channels a call, four tiles of sums; tdpbusd multiplies 64 bytes of every pixel a step.
#include "kernel.h"
#include "target.h"

#if UNMASK_HAS_AMX || defined(UNMASK_SOFTWARE_MODEL)

#include <cstring>

#if defined(UNMASK_SOFTWARE_MODEL)
#include "model.h"
#undef UNMASK_AMX
#define UNMASK_AMX
#define _tile_zero(tile) model::tile_zero(tile)
#define _tile_loadd(tile, from, stride) model::tile_load(tile, from, static_cast<ptrdiff_t>(stride))
#define _tile_stored(tile, to, stride) model::tile_store(tile, to, static_cast<ptrdiff_t>(stride))
#define _tile_dpbusd(sums, x, w) model::tdpbusd(sums, x, w)
#define _tile_loadconfig(from) model::tile_configure(from)
#define _tile_release() model::tile_release()
#else
#include <immintrin.h>
#endif

namespace unmask {

namespace {

constexpr int STRIPS = 2, PIXELS = 16, CHANNELS = 32, QUADS = 16, HALF = QUADS * 16 * 4;

struct alignas(64) TileConfig {  // layout of LDTILECFG's operand
  uint8_t palette, start_row, reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
};

UNMASK_AMX void start() {
  TileConfig config;
  std::memset(&config, 0, sizeof config);
  config.palette = 1;
  for (int tile = 0; tile < 8; ++tile) {
    config.row_bytes[tile] = 64;
    config.rows[tile] = 16;
  }
  _tile_loadconfig(&config);
}

UNMASK_AMX void stop() { _tile_release(); }

// tiles 0-3: sums of (strip 0, channels 0-15), (0, 16-31), (1, 0-15), (1, 16-31); 4, 5: pixels; 6, 7: weights
UNMASK_AMX void sum(const uint8_t* const* strips, ptrdiff_t pixel_stride, const Block& block, int32_t* sums) {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  const int8_t* weights = block.weights;
  for (int step = 0; step < block.steps; ++step, weights += 2 * HALF) {
    const ptrdiff_t at = block.offsets[step];
    _tile_loadd(4, strips[0] + at, pixel_stride);
    _tile_loadd(6, weights, 64);
    _tile_dpbusd(0, 4, 6);
    _tile_loadd(7, weights + HALF, 64);
    _tile_dpbusd(1, 4, 7);
    _tile_loadd(5, strips[1] + at, pixel_stride);
    _tile_dpbusd(2, 5, 6);
    _tile_dpbusd(3, 5, 7);
  }
  constexpr int row = CHANNELS * 4;
  _tile_stored(0, sums, row);
  _tile_stored(1, sums + 16, row);
  _tile_stored(2, sums + PIXELS * CHANNELS, row);
  _tile_stored(3, sums + PIXELS * CHANNELS + 16, row);
}

}  // namespace

const Kernel& amx_kernel() {
  static const Kernel kernel{STRIPS, PIXELS, CHANNELS, QUADS, false, start, sum, stop, nullptr};
  return kernel;
}

}  // namespace unmask

#endif
