// The scheduler: fibers, barriers, meetings of warps.
#include "runtime.h"

#include <cstdio>
#include <cstdlib>

namespace shim {

#ifdef SHIM_UCONTEXT
static thread_local ucontext_t home_context;
void switch_to(Thread& to) {
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
void switch_to(Thread& to) {
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

void start_thread(Thread& thread, unsigned char* top) {
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

}  // namespace shim
