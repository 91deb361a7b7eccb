// A stand-in for NVIDIA's compiler: builds kernels for the shim; what it gives for a cubin is where the library lies.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <mutex>
#include <string>
#include <unistd.h>

namespace {
struct Program {
  std::string source, cubin, log;
};
std::mutex counting;
int compiled = 0;
}  // namespace

extern "C" {

int stand_in_compiled() { return compiled; }

int nvrtcVersion(int* major, int* minor) { *major = 13; *minor = 0; return 0; }
const char* nvrtcGetErrorString(int) { return "NVRTC_ERROR_COMPILATION"; }
int nvrtcGetNumSupportedArchs(int* n) { *n = 1; return 0; }
int nvrtcGetSupportedArchs(int* a) { *a = 90; return 0; }
int nvrtcCreateProgram(Program** p, const char* source, const char*, int, const char* const*, const char* const*) {
  *p = new Program{source, "", ""};
  return 0;
}
int nvrtcCompileProgram(Program* p, int count, const char* const* options) {
  if (count < 1 || strcmp(options[0], "--gpu-architecture=sm_90a")) return 6;
  int number;
  {
    std::lock_guard<std::mutex> held(counting);
    number = compiled++;
  }
  // The names that a device's compiler knows stand before those that both know.
  size_t common = p->source.find("// Numbers of all types");
  if (common == std::string::npos) return 6;
  std::string text = "#include \"device.h\"\n" + p->source.substr(common), kernel;
  // What an earlier process kept leads to its own libraries.
  std::string path = FOLDER "/kernel-" + std::to_string(getpid()) + "-" + std::to_string(number);
  for (size_t at = p->source.find("\nENTRY(", common); at != std::string::npos; at = p->source.find("\nENTRY(", at + 1)) {
    size_t name = p->source.find(") ", at) + 2;
    text += "SHIM_EXPORT(" + p->source.substr(name, p->source.find('(', name) - name) + ")\n";
  }
  std::ofstream(path + ".cpp") << text;
  std::string command = CXX " -std=c++17 -O1 -w -fPIC -shared -fvisibility=hidden -U_FORTIFY_SOURCE -fno-strict-aliasing -ffp-contract=off"
                            " -I " SHIM " -o " + path + ".so " + path + ".cpp " FOLDER "/libcuda.so.1 2> " + path + ".log";
  if (system(command.c_str())) {
    std::ifstream log(path + ".log");
    p->log.assign(std::istreambuf_iterator<char>(log), {});
    return 6;
  }
  p->cubin = "stand-in " + path + ".so";
  return 0;
}
int nvrtcGetCUBINSize(Program* p, size_t* n) { *n = p->cubin.size() + 1; return 0; }
int nvrtcGetCUBIN(Program* p, char* to) { memcpy(to, p->cubin.c_str(), p->cubin.size() + 1); return 0; }
int nvrtcGetProgramLogSize(Program* p, size_t* n) { *n = p->log.size() + 1; return 0; }
int nvrtcGetProgramLog(Program* p, char* to) { memcpy(to, p->log.c_str(), p->log.size() + 1); return 0; }
int nvrtcDestroyProgram(Program** p) { delete *p; *p = nullptr; return 0; }
}
