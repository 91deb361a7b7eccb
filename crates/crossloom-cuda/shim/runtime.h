// What the parts of the shim's runtime share: schedule.cpp, faults.cpp, launch.cpp.
#pragma once
#include "block.h"

#include <cstdlib>
#include <cstring>
#include <csignal>
#include <sys/mman.h>

namespace shim {

// What a launch is; the same fields in the same order in shim/mod.rs.
struct Launch {
  const char* kernel;
  void (*body)(void**);
  void** arguments;
  uint32_t grid[3], extent[3];
  uint32_t shared_bytes;
  uint32_t order;
};

// What went wrong; the same fields in the same order in shim/mod.rs.
struct Fault {
  int32_t kind;
  uint32_t block[3], thread[3];
  uint64_t address;
  char text[768];
};

// What went wrong with the launch that runs on this thread of the processor.
extern thread_local Fault* report;

const size_t STACK = 64 << 10;
const size_t PAGE = 4096;
// What shared memory holds before a block writes it, and what lies behind it: as floats these bytes are no number.
const int POISON = 0xff;

// Says in the report which thread of which block it was.
void describe(FaultKind kind, uint64_t address);

// Makes a fiber start at its kernel, on the stack that ends there.
void start_thread(Thread& thread, unsigned char* top);
// Runs the fibers of the block, this one first, until all have ended.
void switch_to(Thread& to);

// Stacks of fibers, each above a page that nobody may touch; kept by the thread of the processor for its next launch.
struct Stacks {
  unsigned char* start = nullptr;
  size_t count = 0;
  ~Stacks() {
    if (start) munmap(start, count * (STACK + PAGE));
  }
  bool hold(size_t wanted) {
    if (wanted <= count) return true;
    if (start) munmap(start, count * (STACK + PAGE));
    start = nullptr;
    count = 0;
    void* memory = mmap(nullptr, wanted * (STACK + PAGE), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return false;
    start = static_cast<unsigned char*>(memory);
    count = wanted;
    for (size_t i = 0; i < wanted; i++) mprotect(start + i * (STACK + PAGE), PAGE, PROT_NONE);
    return true;
  }
  unsigned char* top(size_t i) { return start + (i + 1) * (STACK + PAGE); }
};

// Shared memory between two pages that nobody may touch; its end is the end of a page but for what alignment takes.
struct Arena {
  unsigned char* mapped = nullptr;
  size_t mapped_bytes = 0, bytes = 0, rest = 0;
  unsigned char* start = nullptr;
  explicit Arena(size_t wanted) : bytes(wanted) {
    size_t aligned = (wanted + 127) / 128 * 128, pages = (aligned + PAGE - 1) / PAGE * PAGE;
    mapped_bytes = pages + 2 * PAGE;
    void* memory = mmap(nullptr, mapped_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return;
    mapped = static_cast<unsigned char*>(memory);
    if (pages) mprotect(mapped + PAGE, pages, PROT_READ | PROT_WRITE);
    start = mapped + PAGE + pages - aligned;
    rest = aligned - wanted;
  }
  ~Arena() {
    if (mapped) munmap(mapped, mapped_bytes);
  }
  void poison() { memset(start, POISON, bytes + rest); }
  bool is_whole() const {
    for (size_t i = 0; i < rest; i++)
      if (start[bytes + i] != POISON) return false;
    return true;
  }
};

// A signal's handler needs a stack of its own: the one that faulted may be full.
struct SignalStack {
  void* memory;
  stack_t before;
  SignalStack() {
    memory = malloc(64 << 10);
    stack_t own = {};
    own.ss_sp = memory;
    own.ss_size = 64 << 10;
    sigaltstack(&own, &before);
  }
  ~SignalStack() {
    if (before.ss_flags & SS_DISABLE) {
      before.ss_flags = SS_DISABLE;
    }
    sigaltstack(&before, nullptr);
    free(memory);
  }
};

// Makes touches of memory that nobody may touch faults of the kernel that runs.
void watch_memory();

}  // namespace shim
