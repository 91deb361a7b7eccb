// A stand-in for NVIDIA's driver and compiler in one library: memory is that of the process, kernels are built and run through the shim,
// and work is done late: when somebody waits for it. A copy that reads what its owner has changed meanwhile gives wrong numbers.
#include "runtime.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <dlfcn.h>
#include <set>
#include <vector>

extern "C" int shim_launch(const void* launch, void* fault);

namespace {

enum : int { INVALID = 1, OUT_OF_MEMORY = 2, NO_IMAGE = 200, NOT_FOUND = 500, FAULT = 719, CAPTURED = 900 };

using shim::Fault;
using shim::Launch;

typedef std::function<int()> Work;
struct Graph {
  std::vector<Work> work;
};
struct Stream {
  std::deque<Work> work;
  uint64_t started = 0, done = 0;
  Graph* capture = nullptr;
};
struct Event {
  Stream* stream = nullptr;
  uint64_t at = 0;
};
struct Function {
  std::string name;
  void (*body)(void**);
  uint32_t count;
  int shared = 48 << 10;
};
struct Module {
  void* library;
  std::map<std::string, Function> functions;
};

std::recursive_mutex lock_of_all;
std::set<Stream*> streams;
std::map<uint64_t, size_t> memory;
int failed = 0;
thread_local void* current = nullptr;
int retained = 0;
// Kernels whose names begin so fail when they run.
std::string faulty;
// How often things were asked for, for tests.
std::map<std::string, int> counts;

// Whether a whole range is memory that was given out.
bool owned(uint64_t at, size_t bytes) {
  auto next = memory.upper_bound(at);
  if (next == memory.begin()) return false;
  --next;
  return at - next->first <= next->second && bytes <= next->second - (at - next->first);
}

int run_until(Stream* stream, uint64_t at) {
  while (stream->done < at && !stream->work.empty()) {
    Work work = std::move(stream->work.front());
    stream->work.pop_front();
    stream->done++;
    if (!failed) failed = work();
  }
  return failed;
}

int start(Stream* stream, Work work) {
  if (failed) return failed;
  if (!current) return 201;
  if (stream->capture) {
    stream->capture->work.push_back(std::move(work));
  } else {
    stream->work.push_back(std::move(work));
    stream->started++;
  }
  return 0;
}

}  // namespace

#define ENTER std::lock_guard<std::recursive_mutex> held(lock_of_all); counts[__func__]++

// For libraries that start work of their own on a stream.
int stand_in_start(void* stream, std::function<int()> work) {
  ENTER;
  return start((Stream*)stream, std::move(work));
}

extern "C" {

int stand_in_count(const char* name) {
  ENTER;
  return counts[name];
}
// Makes kernels fail whose names begin so, none if that is empty, and forgets an earlier failure.
void stand_in_fail(const char* start) {
  ENTER;
  faulty = start;
  failed = 0;
  for (Stream* stream : streams) stream->work.clear(), stream->done = stream->started;
}

int cuInit(unsigned) { return 0; }
int cuDriverGetVersion(int* v) { *v = 13000; return 0; }
int cuGetErrorName(int e, const char** n) {
  *n = e == OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : e == FAULT ? "CUDA_ERROR_LAUNCH_FAILED" : e == INVALID ? "CUDA_ERROR_INVALID_VALUE" : "CUDA_ERROR_UNKNOWN";
  return 0;
}
int cuDeviceGetCount(int* n) { *n = 1; return 0; }
int cuDeviceGet(int* d, int i) { *d = i; return i ? 101 : 0; }
int cuDeviceGetName(char* s, int n, int) { snprintf(s, n, "Stand-in"); return 0; }
int cuDeviceGetAttribute(int* v, int a, int) {
  *v = a == 75 ? 9 : a == 76 ? 0 : a == 97 ? 232448 : 1;
  return 0;
}
int cuDeviceTotalMem_v2(size_t* b, int) { *b = size_t(1) << 32; return 0; }
int cuDevicePrimaryCtxRetain(void** c, int) { ENTER; retained++; *c = &retained; return 0; }
int cuDevicePrimaryCtxRelease_v2(int) { ENTER; return --retained < 0 ? INVALID : 0; }
int cuCtxSetCurrent(void* c) { current = c; return 0; }
int cuCtxSynchronize() {
  ENTER;
  for (Stream* stream : streams) run_until(stream, UINT64_MAX);
  return failed;
}
int cuMemGetInfo_v2(size_t* f, size_t* t) { *f = *t = size_t(1) << 32; return 0; }

int cuMemAlloc_v2(uint64_t* at, size_t bytes) {
  ENTER;
  if (!current) return 201;
  if (!bytes || bytes > size_t(1) << 32) return bytes ? OUT_OF_MEMORY : INVALID;
  void* made = nullptr;
  if (posix_memalign(&made, 256, bytes)) return OUT_OF_MEMORY;
  memset(made, 0xff, bytes);
  memory[*at = (uint64_t)made] = bytes;
  return 0;
}
int cuMemFree_v2(uint64_t at) {
  ENTER;
  if (!memory.erase(at)) return INVALID;
  free((void*)at);
  return 0;
}
int cuMemHostAlloc(void** at, size_t bytes, unsigned) { ENTER; *at = malloc(bytes); return *at && current ? 0 : OUT_OF_MEMORY; }
int cuMemFreeHost(void* at) { free(at); return 0; }

int cuMemsetD8Async(uint64_t at, unsigned char value, size_t bytes, Stream* s) {
  ENTER;
  if (!owned(at, bytes)) return INVALID;
  return start(s, [=] { memset((void*)at, value, bytes); return 0; });
}
int cuMemcpyHtoDAsync_v2(uint64_t to, const void* from, size_t bytes, Stream* s) {
  ENTER;
  if (s->capture) return CAPTURED;
  if (!owned(to, bytes)) return INVALID;
  return start(s, [=] { memcpy((void*)to, from, bytes); return 0; });
}
int cuMemcpyDtoHAsync_v2(void* to, uint64_t from, size_t bytes, Stream* s) {
  ENTER;
  if (s->capture) return CAPTURED;
  if (!owned(from, bytes)) return INVALID;
  return start(s, [=] { memcpy(to, (void*)from, bytes); return 0; });
}
int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, Stream* s) {
  ENTER;
  if (!owned(to, bytes) || !owned(from, bytes)) return INVALID;
  return start(s, [=] { memcpy((void*)to, (void*)from, bytes); return 0; });
}

int cuStreamCreate(Stream** s, unsigned) { ENTER; streams.insert(*s = new Stream); return current ? 0 : 201; }
int cuStreamSynchronize(Stream* s) { ENTER; return s->capture ? CAPTURED : run_until(s, UINT64_MAX); }
int cuStreamDestroy_v2(Stream* s) {
  ENTER;
  run_until(s, UINT64_MAX);
  // Events may speak of it still.
  streams.erase(s);
  return 0;
}
int cuStreamWaitEvent(Stream* s, Event* e, unsigned) {
  ENTER;
  Event seen = *e;
  return start(s, [=] { return seen.stream ? run_until(seen.stream, seen.at) : 0; });
}
int cuEventCreate(Event** e, unsigned) { ENTER; *e = new Event; return 0; }
int cuEventRecord(Event* e, Stream* s) { ENTER; if (s->capture) return CAPTURED; *e = {s, s->started}; return failed; }
int cuEventSynchronize(Event* e) { ENTER; return e->stream ? run_until(e->stream, e->at) : failed; }
int cuEventQuery(Event* e) {
  ENTER;
  // Each question finds one piece of work done.
  if (!e->stream || e->stream->done >= e->at) return failed;
  run_until(e->stream, e->stream->done + 1);
  return failed ? failed : e->stream->done >= e->at ? 0 : 600;
}
int cuEventDestroy_v2(Event* e) { ENTER; delete e; return 0; }

int cuModuleLoadData(Module** m, const char* image) {
  ENTER;
  if (strncmp(image, "stand-in ", 9)) return NO_IMAGE;
  void* library = dlopen(image + 9, RTLD_NOW);
  if (!library) return NO_IMAGE;
  *m = new Module{library, {}};
  return 0;
}
int cuModuleUnload(Module* m) { ENTER; dlclose(m->library); delete m; return 0; }
int cuModuleGetFunction(Function** f, Module* m, const char* name) {
  ENTER;
  auto body = (void (*)(void**))dlsym(m->library, (std::string("shim_body_") + name).c_str());
  auto count = (const uint32_t*)dlsym(m->library, (std::string("shim_count_") + name).c_str());
  if (!body || !count) return NOT_FOUND;
  *f = &(m->functions[name] = Function{name, body, *count});
  return 0;
}
int cuFuncSetAttribute(Function* f, int attribute, int value) {
  ENTER;
  if (attribute == 8) f->shared = value;
  return value > 232448 ? INVALID : 0;
}
int cuLaunchKernel(Function* f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared,
                   Stream* s, void** arguments, void**) {
  ENTER;
  if (shared > (unsigned)f->shared) return INVALID;
  // A launch copies its arguments before it returns; those of generated kernels are all addresses.
  std::vector<uint64_t> values;
  for (uint32_t i = 0; i < f->count; i++) values.push_back(*(uint64_t*)arguments[i]);
  return start(s, [=]() mutable {
    if (!faulty.empty() && f->name.compare(0, faulty.size(), faulty) == 0) return (int)FAULT;
    std::vector<void*> pointers;
    for (uint64_t& value : values) pointers.push_back(&value);
    Launch launch = {f->name.c_str(), f->body, pointers.data(), {gx, gy, gz}, {bx, by, bz}, shared, 0};
    Fault fault = {};
    if (!shim_launch(&launch, &fault)) return 0;
    fprintf(stderr, "%s: %s\n", f->name.c_str(), fault.text);
    return (int)FAULT;
  });
}
int cuStreamBeginCapture_v2(Stream* s, int) {
  ENTER;
  if (s->capture) return CAPTURED;
  s->capture = new Graph;
  return 0;
}
int cuStreamEndCapture(Stream* s, Graph** g) {
  ENTER;
  *g = s->capture;
  s->capture = nullptr;
  return *g ? 0 : INVALID;
}
int cuGraphInstantiateWithFlags(Graph** e, Graph* g, unsigned long long) { ENTER; *e = new Graph(*g); return 0; }
int cuGraphLaunch(Graph* g, Stream* s) {
  ENTER;
  for (const Work& work : g->work)
    if (int error = start(s, work)) return error;
  return 0;
}
int cuGraphExecDestroy(Graph* g) { delete g; return 0; }
int cuGraphDestroy(Graph* g) { delete g; return 0; }
}
