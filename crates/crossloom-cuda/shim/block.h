// A block of a launch, as kernels' code and the runtime (runtime.h and the .cpp files) both see it.
//
// The threads of a block are fibers of one thread of the processor: a thread runs until it has to wait for others. Blocks run
// one after the other. Everything that CUDA leaves open is chosen by the launch's order: which block, which warp and which
// lane goes first.
#pragma once
#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <vector>
#if !defined(__x86_64__)
#define SHIM_UCONTEXT
#endif
#ifdef SHIM_UCONTEXT
#include <ucontext.h>
#endif

#define SHIM_EXPORTED __attribute__((visibility("default")))

namespace shim {

struct Index {
  uint32_t x, y, z;
};

constexpr uint32_t WARP = 32;

// A copy that was asked for and has not been made.
struct PendingCopy {
  unsigned char* to;
  const unsigned char* from;
};

struct Thread {
  Index index;
  uint32_t number, lane, warp;
  bool ended;
  // What it waits for: that this number changes; null if it does not wait.
  const uint32_t* awaited;
  uint32_t seen;
  // Where it waits.
  const char* place;
  int line;
  // Copies in the order in which they were asked for, and how many of them each commit closed.
  std::vector<PendingCopy> copies;
  std::vector<size_t> groups;
#ifdef SHIM_UCONTEXT
  ucontext_t context;
#else
  void* stack_pointer;
#endif
};

// Where the lanes of a warp meet. What they bring lies in one of two sets of slots, so that a lane may come to the next meeting
// before another has read what this one brought.
struct Warp {
  uint32_t arrived, ended, meetings;
  const char* place;
  int line;
  uint32_t first;
  uint32_t slots[2][WARP][6];
  float products[2][16][8];
};

enum FaultKind : int32_t {
  OUT_OF_BOUNDS = 1,
  DIVERGENT = 2,
  DEADLOCK = 3,
  MISSING_WAIT = 4,
  MISALIGNED = 5,
  LAUNCH = 6,
};

struct Block {
  Index index, grid, extent;
  uint32_t threads, live;
  uint32_t arrived, barriers;
  int line;
  uint32_t first;
  Thread* running;
  unsigned char* shared;
  size_t shared_bytes;
  std::vector<Thread> all;
  std::vector<Warp> warps;
  // The order in which threads are given their turn, and the place of each in it.
  std::vector<uint32_t> order, turn;
  // All blocks of the launch, in the order in which they run.
  std::vector<uint32_t> queue;
  void (*body)(void**);
  void** arguments;
  jmp_buf home;
};

// The block that runs on this thread of the processor; null outside of launches.
SHIM_EXPORTED extern thread_local Block* block;

// Ends the launch. Never returns to the kernel.
[[noreturn]] SHIM_EXPORTED void fault(FaultKind kind, const char* format, ...) __attribute__((format(printf, 2, 3)));
// Lets others run until a number is another one.
SHIM_EXPORTED void await_change(const uint32_t* number, uint32_t seen, const char* place, int line);
// The barrier of the block.
SHIM_EXPORTED void barrier(int line);
// The lanes of a warp meet; the last one to come is told so, before the others go on. Returns the set of slots.
SHIM_EXPORTED bool arrive(const char* place, int line);
SHIM_EXPORTED void release();

inline Thread& self() { return *block->running; }
inline Warp& warp() { return block->warps[self().warp]; }

// `last` runs once, when all lanes have brought what they bring.
template <class Last>
inline uint32_t meet(const char* place, int line, Last last) {
  uint32_t set = warp().meetings & 1, seen = warp().meetings;
  if (arrive(place, line)) {
    last(warp(), set);
    release();
  } else {
    await_change(&warp().meetings, seen, place, line);
  }
  return set;
}

}  // namespace shim
