// Launches: the blocks of a grid, one after the other.
#include "runtime.h"

#include <mutex>

namespace shim {

SHIM_EXPORTED thread_local Block* block = nullptr;

static uint32_t random_below(uint32_t& seed, uint32_t end) {
  seed = seed * 1664525u + 1013904223u;
  return (seed >> 8) % end;
}

// 0 forwards, 1 backwards, others shuffled by that seed.
static std::vector<uint32_t> ordered(uint32_t count, uint32_t order, uint32_t salt) {
  std::vector<uint32_t> list(count);
  for (uint32_t i = 0; i < count; i++) list[i] = order == 1 ? count - 1 - i : i;
  uint32_t seed = order * 2654435761u + salt;
  if (order > 1)
    for (uint32_t i = count; i > 1; i--) std::swap(list[i - 1], list[random_below(seed, i)]);
  return list;
}

static void run_block(Block& b, Stacks& stacks, Arena& arena) {
  arena.poison();
  b.live = b.threads;
  b.arrived = 0;
  for (Warp& w : b.warps) w.arrived = w.ended = 0;
  for (Thread& thread : b.all) {
    uint32_t i = thread.number;
    thread.ended = false;
    thread.awaited = nullptr;
    thread.place = "its start";
    thread.line = 0;
    thread.copies.clear();
    thread.groups.clear();
    start_thread(thread, stacks.top(i));
  }
  b.running = nullptr;
  switch_to(b.all[b.order[0]]);
  if (!arena.is_whole()) {
    b.running = nullptr;
    fault(OUT_OF_BOUNDS, "out of bounds: the block writes behind its %zu bytes of shared memory", b.shared_bytes);
  }
}

static int launch(const Launch& launch, Fault& told) {
  static std::once_flag once;
  std::call_once(once, watch_memory);
  static thread_local Stacks stacks;
  SignalStack signals;
  // Everything that has to be given back is made before a fault can lead back here.
  Block b = {};
  Arena arena(launch.shared_bytes);
  report = &told;
  block = &b;
  if (setjmp(b.home) != 0) {
    block = nullptr;
    return 1;
  }
  memcpy(&b.grid, launch.grid, sizeof b.grid);
  memcpy(&b.extent, launch.extent, sizeof b.extent);
  uint64_t threads = uint64_t(b.extent.x) * b.extent.y * b.extent.z;
  uint64_t blocks = uint64_t(b.grid.x) * b.grid.y * b.grid.z;
  if (threads == 0 || threads > 1024 || threads % WARP || b.extent.z > 64)
    fault(LAUNCH, "a block has %llu threads; they have to be whole warps, 1024 at most", (unsigned long long)threads);
  if (blocks == 0 || blocks > 0x7fffffff || b.grid.y > 65535 || b.grid.z > 65535)
    fault(LAUNCH, "a grid of %u x %u x %u blocks cannot be launched", b.grid.x, b.grid.y, b.grid.z);
  if (launch.shared_bytes > 227 << 10) fault(LAUNCH, "%u bytes of shared memory are too many", launch.shared_bytes);
  b.threads = threads;
  b.body = launch.body;
  b.arguments = launch.arguments;
  b.shared_bytes = launch.shared_bytes;
  b.all.resize(threads);
  b.warps.resize(threads / WARP);
  if (!stacks.hold(threads) || !arena.start) fault(LAUNCH, "there is no memory for %u threads", b.threads);
  b.shared = arena.start;
  for (uint32_t i = 0; i < b.threads; i++) {
    Thread& thread = b.all[i];
    thread.index = {i % b.extent.x, i / b.extent.x % b.extent.y, i / b.extent.x / b.extent.y};
    thread.number = i;
    thread.lane = i % WARP;
    thread.warp = i / WARP;
  }
  for (uint32_t w : ordered(b.warps.size(), launch.order, 1))
    for (uint32_t lane : ordered(WARP, launch.order, 2 + w)) b.order.push_back(w * WARP + lane);
  b.turn.resize(b.threads);
  for (uint32_t i = 0; i < b.threads; i++) b.turn[b.order[i]] = i;
  b.queue = ordered(blocks, launch.order, 0);
  for (uint32_t number : b.queue) {
    b.index = {number % b.grid.x, number / b.grid.x % b.grid.y, number / b.grid.x / b.grid.y};
    run_block(b, stacks, arena);
  }
  block = nullptr;
  return 0;
}

}  // namespace shim

// Runs a kernel. Returns 0, or 1 and what went wrong.
extern "C" SHIM_EXPORTED int shim_launch(const shim::Launch* launch, shim::Fault* fault) {
  return shim::launch(*launch, *fault);
}
