// The scheduler: fibers, barriers, meetings of warps, faults.
#include "block.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <csignal>
#include <mutex>
#include <sys/mman.h>
#include <unistd.h>

namespace shim {

SHIM_EXPORTED thread_local Block* block = nullptr;

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

static thread_local Fault* report = nullptr;
static const size_t STACK = 64 << 10;
static const size_t PAGE = 4096;
// What shared memory holds before a block writes it, and what lies behind it: as floats these bytes are no number.
static const int POISON = 0xff;

static void describe(FaultKind kind, uint64_t address) {
  report->kind = kind;
  report->address = address;
  memcpy(report->block, &block->index, sizeof report->block);
  Index thread = block->running ? block->running->index : Index{0, 0, 0};
  memcpy(report->thread, &thread, sizeof report->thread);
}

[[noreturn]] void fault(FaultKind kind, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(report->text, sizeof report->text, format, arguments);
  va_end(arguments);
  describe(kind, 0);
  longjmp(block->home, 1);
}

// ---- fibers

#ifdef SHIM_UCONTEXT
static thread_local ucontext_t home_context;
static void switch_to(Thread& to) {
  Thread* from = block->running;
  block->running = &to;
  if (from == &to) return;
  swapcontext(from ? &from->context : &home_context, &to.context);
}
static void switch_home() { setcontext(&home_context); }
#else
static thread_local void* home_pointer;
extern "C" void shim_switch(void** save, void* load);
// Saves what a function must leave as it was, and goes on where the other fiber stopped.
asm(".text\n"
    "shim_switch:\n"
    "  pushq %rbp\n  pushq %rbx\n  pushq %r12\n  pushq %r13\n  pushq %r14\n  pushq %r15\n"
    "  movq %rsp, (%rdi)\n"
    "  movq %rsi, %rsp\n"
    "  popq %r15\n  popq %r14\n  popq %r13\n  popq %r12\n  popq %rbx\n  popq %rbp\n"
    "  ret\n");
static void switch_to(Thread& to) {
  Thread* from = block->running;
  block->running = &to;
  if (from == &to) return;
  shim_switch(from ? &from->stack_pointer : &home_pointer, to.stack_pointer);
}
static void switch_home() {
  void* unused;
  shim_switch(&unused, home_pointer);
}
#endif

static bool is_ready(const Thread& thread) {
  return !thread.ended && (!thread.awaited || *thread.awaited != thread.seen);
}

// The next thread that can go on: first the other lanes of the warp, then the other warps, in the order of the launch.
static Thread* next_ready() {
  uint32_t turn = block->turn[block->running->number], start = turn / WARP * WARP;
  for (uint32_t i = 1; i < WARP; i++) {
    Thread& thread = block->all[block->order[start + (turn - start + i) % WARP]];
    if (is_ready(thread)) return &thread;
  }
  for (uint32_t i = 0; i < block->threads; i++) {
    Thread& thread = block->all[block->order[(start + WARP + i) % block->threads]];
    if (is_ready(thread)) return &thread;
  }
  return nullptr;
}

// Names the running thread and the first ones that wait elsewhere.
static void deadlock() {
  char text[600];
  Thread& me = self();
  size_t used = snprintf(text, sizeof text, "thread %u at %s (line %d)", me.number, me.place, me.line);
  uint32_t shown = 1, waiting = 0;
  for (Thread& thread : block->all) {
    if (thread.ended) continue;
    waiting++;
    if (shown < 4 && (thread.line != me.line || strcmp(thread.place, me.place) != 0)) {
      used += snprintf(text + used, sizeof text - used, ", thread %u at %s (line %d)", thread.number, thread.place,
                       thread.line);
      shown++;
    }
  }
  fault(DEADLOCK, "deadlock: %u of %u threads wait and nobody can go on: %s", waiting, block->threads, text);
}

void await_change(const uint32_t* number, uint32_t seen, const char* place, int line) {
  Thread& me = self();
  if (*number != seen) return;
  me.awaited = number;
  me.seen = seen;
  me.place = place;
  me.line = line;
  Thread* next = next_ready();
  if (!next) deadlock();
  switch_to(*next);
  me.awaited = nullptr;
}

// ---- meetings

void barrier(int line) {
  uint32_t seen = block->barriers;
  if (block->live < block->threads)
    fault(DIVERGENT, "divergent barrier: a thread waits at __syncthreads (line %d) after another one has ended", line);
  if (block->arrived == 0) {
    block->line = line;
    block->first = self().number;
  } else if (block->line != line) {
    fault(DIVERGENT, "divergent barrier: thread %u waits at line %d, thread %u at line %d", block->first, block->line,
          self().number, line);
  }
  if (++block->arrived == block->threads) {
    block->arrived = 0;
    block->barriers++;
  } else {
    await_change(&block->barriers, seen, "__syncthreads", line);
  }
}

bool arrive(const char* place, int line) {
  Warp& w = warp();
  if (w.ended)
    fault(DIVERGENT, "divergent warp: a lane comes to %s (line %d) after another one has ended", place, line);
  if (w.arrived == 0) {
    w.place = place;
    w.line = line;
    w.first = self().number;
  } else if (w.line != line || strcmp(w.place, place) != 0) {
    fault(DIVERGENT, "divergent warp: thread %u is at %s (line %d), thread %u at %s (line %d)", w.first, w.place, w.line,
          self().number, place, line);
  }
  return ++w.arrived == WARP;
}

void release() {
  warp().arrived = 0;
  warp().meetings++;
}

#ifdef SHIM_UCONTEXT
static void run_thread() {
#else
extern "C" void shim_run_thread() {
#endif
  block->body(block->arguments);
  Thread& me = self();
  if (!me.copies.empty())
    fault(MISSING_WAIT, "missing wait: the thread ends with %zu asynchronous copies that it did not wait for",
          me.copies.size());
  me.ended = true;
  block->live--;
  warp().ended++;
  if (block->arrived)
    fault(DIVERGENT, "divergent barrier: thread %u waits at line %d, thread %u ends without it", block->first,
          block->line, me.number);
  if (warp().arrived)
    fault(DIVERGENT, "divergent warp: thread %u is at %s (line %d), thread %u ends without it", warp().first,
          warp().place, warp().line, me.number);
  if (block->live) {
    Thread* next = next_ready();
    if (!next) deadlock();
    switch_to(*next);
  }
  switch_home();
  abort();
}

// ---- memory

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

// ---- faults of memory

static struct sigaction previous_segv, previous_bus;

static void on_signal(int signal, siginfo_t* info, void* context) {
  if (!block) {
    // Not a kernel's: whoever handled it before does so.
    struct sigaction& before = signal == SIGSEGV ? previous_segv : previous_bus;
    if (before.sa_flags & SA_SIGINFO) {
      before.sa_sigaction(signal, info, context);
    } else if (before.sa_handler == SIG_DFL || before.sa_handler == SIG_IGN) {
      sigaction(signal, &before, nullptr);
    } else {
      before.sa_handler(signal);
    }
    return;
  }
  snprintf(report->text, sizeof report->text, "out of bounds: the thread touches address %p", info->si_addr);
  describe(OUT_OF_BOUNDS, reinterpret_cast<uint64_t>(info->si_addr));
  sigset_t this_one;
  sigemptyset(&this_one);
  sigaddset(&this_one, signal);
  pthread_sigmask(SIG_UNBLOCK, &this_one, nullptr);
  longjmp(block->home, 1);
}

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

static void install() {
  struct sigaction action = {};
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigaction(SIGSEGV, &action, &previous_segv);
  sigaction(SIGBUS, &action, &previous_bus);
}

// ---- launches

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

static void start_thread(Thread& thread, unsigned char* top) {
#ifdef SHIM_UCONTEXT
  getcontext(&thread.context);
  thread.context.uc_stack.ss_sp = top - STACK;
  thread.context.uc_stack.ss_size = STACK;
  thread.context.uc_link = nullptr;
  makecontext(&thread.context, run_thread, 0);
#else
  // As if it had been called: the address it never returns to, its own, and six registers.
  void** at = reinterpret_cast<void**>(top);
  *--at = nullptr;
  *--at = reinterpret_cast<void*>(shim_run_thread);
  for (int i = 0; i < 6; i++) *--at = nullptr;
  thread.stack_pointer = at;
#endif
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
  std::call_once(once, install);
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
