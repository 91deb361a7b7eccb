// Faults: what is told of them, and touches of memory that are none of the kernel's.
#include "runtime.h"

#include <cstdarg>
#include <cstdio>
#include <unistd.h>

namespace shim {

thread_local Fault* report = nullptr;

void describe(FaultKind kind, uint64_t address) {
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

void watch_memory() {
  struct sigaction action = {};
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigaction(SIGSEGV, &action, &previous_segv);
  sigaction(SIGBUS, &action, &previous_bus);
}

}  // namespace shim
