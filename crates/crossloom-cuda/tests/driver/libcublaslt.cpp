// A stand-in for NVIDIA's library of matrix products: computes what was described, column by column, in plain loops, when the stream comes
// to it. Of the three algorithms that it offers the first sums from the front and is slow, the second sums from the back, and the third wants
// more working memory than there is.
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>

int stand_in_start(void* stream, std::function<int()> work);

namespace {
enum : int { INVALID = 7, UNSUPPORTED = 15 };
enum : int { R_32F = 0, R_16BF = 14 };
struct Desc {
  int compute, scale;
  std::map<int, uint64_t> set;
  uint64_t of(int which, uint64_t otherwise) const { return set.count(which) ? set.at(which) : otherwise; }
};
struct Layout {
  int type;
  uint64_t rows, cols;
  int64_t ld;
  int32_t batch = 1;
  int64_t offset = 0;
};
struct Preference {
  std::map<int, uint64_t> set;
};
struct Offer {
  uint64_t algorithm[8];
  size_t workspace;
  int status;
  float waves;
  int reserved[4];
};
std::mutex counting;
std::map<std::string, int> counts;

float get(const void* from, int type, int64_t at) {
  if (type == R_32F) return ((const float*)from)[at];
  uint32_t bits = (uint32_t)((const uint16_t*)from)[at] << 16;
  float value;
  memcpy(&value, &bits, 4);
  return value;
}
void put(void* to, int type, int64_t at, float value) {
  if (type == R_32F) {
    ((float*)to)[at] = value;
    return;
  }
  uint32_t bits;
  memcpy(&bits, &value, 4);
  bits = value != value ? bits | 0x400000 : bits + 0x7fff + (bits >> 16 & 1);
  ((uint16_t*)to)[at] = bits >> 16;
}
float tf32(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  bits = (bits + 0xfff + (bits >> 13 & 1)) & ~0x1fffu;
  memcpy(&value, &bits, 4);
  return value;
}
float gelu_slope(double x) {
  const double t = tanh(0.7978845608028654 * (x + 0.044715 * x * x * x));
  return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * 0.7978845608028654 * (1 + 3 * 0.044715 * x * x);
}
float gelu(double x) { return 0.5 * x * (1 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x))); }

bool known(const Desc* desc) {
  const uint64_t epilogue = desc->of(7, 1);
  const bool gelu = epilogue == 160 || epilogue == 164 || epilogue == 192, bias = epilogue == 4 || epilogue == 164 || epilogue == 512;
  if (epilogue != 1 && !gelu && !bias) return false;
  if (bias && !desc->of(8, 0)) return false;
  return !gelu || (desc->of(11, 0) && desc->of(12, 0) && desc->of(12, 0) % 8 == 0);
}
size_t workspace_of(uint64_t algorithm) { return algorithm == 3 ? SIZE_MAX / 2 : 256; }
}  // namespace

#define COUNT { std::lock_guard<std::mutex> held(counting); counts[__func__]++; }

extern "C" {

int stand_in_products(const char* name) { std::lock_guard<std::mutex> held(counting); return counts[name]; }

size_t cublasLtGetVersion() { return 130002; }
int cublasLtCreate(void** handle) { *handle = &counts; return 0; }
int cublasLtDestroy(void*) { return 0; }
int cublasLtMatmulDescCreate(Desc** desc, int compute, int scale) {
  *desc = new Desc{compute, scale, {}};
  return compute == 68 || compute == 77 ? 0 : INVALID;
}
int cublasLtMatmulDescSetAttribute(Desc* desc, int which, const void* value, size_t bytes) {
  const size_t want = which == 8 || which == 11 || which == 12 ? 8 : 4;
  if (bytes != want) return INVALID;
  uint64_t read = 0;
  memcpy(&read, value, bytes);
  desc->set[which] = read;
  return 0;
}
int cublasLtMatmulDescDestroy(Desc* desc) { delete desc; return 0; }
int cublasLtMatrixLayoutCreate(Layout** layout, int type, uint64_t rows, uint64_t cols, int64_t ld) {
  *layout = new Layout{type, rows, cols, ld};
  return ld >= (int64_t)rows ? 0 : INVALID;
}
int cublasLtMatrixLayoutSetAttribute(Layout* layout, int which, const void* value, size_t bytes) {
  if (which == 5 && bytes == 4) memcpy(&layout->batch, value, 4);
  else if (which == 6 && bytes == 8) memcpy(&layout->offset, value, 8);
  else return INVALID;
  return 0;
}
int cublasLtMatrixLayoutDestroy(Layout* layout) { delete layout; return 0; }
int cublasLtMatmulPreferenceCreate(Preference** preference) { *preference = new Preference; return 0; }
int cublasLtMatmulPreferenceSetAttribute(Preference* preference, int which, const void* value, size_t bytes) {
  memcpy(&preference->set[which], value, bytes);
  return which == 1 && bytes == 8 || which == 3 && bytes == 4 ? 0 : INVALID;
}
int cublasLtMatmulPreferenceDestroy(Preference* preference) { delete preference; return 0; }

int cublasLtMatmulAlgoGetHeuristic(void*, Desc* desc, Layout* a, Layout* b, Layout* c, Layout* d, Preference* preference, int count,
                                   Offer* offers, int* given) {
  COUNT;
  // Sums that are split where the result is have no order.
  if (!preference->set.count(1) || !preference->set.count(3) || preference->set[3] & 1) return INVALID;
  *given = 0;
  if (!known(desc)) return UNSUPPORTED;
  for (uint64_t number = 1; number <= 3 && *given < count; number++) {
    Offer& offer = offers[(*given)++] = Offer{};
    offer.algorithm[0] = number;
    offer.algorithm[7] = 0x1234567890abcdef;
    offer.workspace = workspace_of(number);
  }
  return 0;
}
int cublasLtMatmulAlgoCheck(void*, Desc* desc, Layout*, Layout*, Layout*, Layout*, const uint64_t* algorithm, Offer* offer) {
  COUNT;
  if (algorithm[0] < 1 || algorithm[0] > 3 || algorithm[7] != 0x1234567890abcdef || !known(desc)) return INVALID;
  memcpy(offer->algorithm, algorithm, 64);
  offer->workspace = workspace_of(algorithm[0]);
  return 0;
}
int cublasLtMatmul(void*, Desc* shared, const float* alpha, const void* a, Layout* la, const void* b, Layout* lb, const float* beta,
                   const void* c, Layout* lc, void* d, Layout* ld, const uint64_t* algorithm, void* workspace, size_t bytes, void* stream) {
  COUNT;
  if (!known(shared) || *alpha != 1 || algorithm[7] != 0x1234567890abcdef || bytes < workspace_of(algorithm[0]) || !workspace)
    return INVALID;
  const Desc desc = *shared;
  const Layout A = *la, B = *lb, C = *lc, D = *ld;
  const bool ta = desc.of(3, 0), tb = desc.of(4, 0), back = algorithm[0] == 2;
  const uint64_t rows = ta ? A.cols : A.rows, inner = ta ? A.rows : A.cols, cols = tb ? B.rows : B.cols;
  if (inner != (tb ? B.cols : B.rows) || rows != D.rows || cols != D.cols || A.type != B.type || C.type != D.type || C.batch != D.batch ||
      A.batch != D.batch || B.batch != D.batch)
    return INVALID;
  const uint64_t epilogue = desc.of(7, 1), bias = epilogue == 4 || epilogue == 164 ? desc.of(8, 0) : 0;
  const uint64_t before = epilogue >= 160 && epilogue < 512 ? desc.of(11, 0) : 0, before_ld = desc.of(12, 0);
  const uint64_t sums = epilogue == 512 ? desc.of(8, 0) : 0;
  if ((sums || epilogue == 192) && (D.batch != 1 || *beta != 0)) return INVALID;
  const bool round = desc.compute == 77;
  const float added = *beta;
  return stand_in_start(stream, [=] {
    if (!back) std::this_thread::sleep_for(std::chrono::microseconds(300));
    for (uint64_t col = 0; sums && col < cols; col++) {
      float sum = 0;
      for (uint64_t k = 0; k < inner; k++) sum += get(b, B.type, tb ? col + k * B.ld : k + col * B.ld);
      put((void*)sums, D.type, col, sum);
    }
    for (int64_t n = 0; n < D.batch; n++)
      for (uint64_t col = 0; col < cols; col++)
        for (uint64_t row = 0; row < rows; row++) {
          float sum = 0;
          for (uint64_t i = 0; i < inner; i++) {
            const uint64_t k = back ? inner - 1 - i : i;
            float x = get(a, A.type, n * A.offset + (ta ? k + row * A.ld : row + k * A.ld));
            float y = get(b, B.type, n * B.offset + (tb ? col + k * B.ld : k + col * B.ld));
            if (round) x = tf32(x), y = tf32(y);
            sum += x * y;
          }
          const int64_t at = n * D.offset + row + col * D.ld;
          if (added) sum += added * get(c, C.type, at);
          if (bias) sum += get((const void*)bias, D.type, row);
          if (before && epilogue == 192) {
            sum *= gelu_slope(get((const void*)before, D.type, row + col * before_ld));
          } else if (before) {
            put((void*)before, D.type, row + col * before_ld, sum);
            sum = gelu(sum);
          }
          put(d, D.type, at, sum);
        }
    return 0;
  });
}
}
