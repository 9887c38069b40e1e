// kernel_benchmark [THREADS [PART]]: GFLOP/s of the products of one SmolLM2 step (16 x 102 tokens) and of attention's
// causal work, GB/s of AdamW, norm and copies. PART: `products`, `attention` or `streams` alone; or `head` and
// `head-bfloat16`, the three products of a head of 2,048 tokens by 151,936 words; `chunks`, the same a chunk at a time;
// or `ceilings`, the most that this machine does.
//
// Best of a few repetitions. Machines are shared: compare only lines of one run.
#include "kernels/Dispatch.h"
#include "kernels/adamw/adamw.h"
#include "kernels/attention/attention.h"
#include "kernels/copy/copy.h"
#include "kernels/gemm/Gemm.h"
#include "kernels/squared_norm/squared_norm.h"
#include "runtime/device/cpu/Threads.h"
#include "runtime/device/cpu/WorkerPool.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <immintrin.h>
#include <string_view>
#include <vector>

using namespace graft;
using namespace graft::kernels;

namespace {
template <typename F> double bestSeconds(F f) {
  double best = 1e9, total = 0;
  for (int i = 0; i < 50 && total < 1; ++i) {
    auto start = std::chrono::steady_clock::now();
    f();
    double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    best = std::min(best, seconds);
    total += seconds;
  }
  return best;
}

struct Product {
  const char *name;
  int64_t batch, m, n, k;
  bool transA, transB, accumulate;
  MatrixType type = MatrixType::F32;
};

const Product products[] = {{"q, o forward (X W^T)", 1, 1632, 576, 576, false, true, false},
                            {"up forward (X W^T)", 1, 1632, 1536, 576, false, true, false},
                            {"down forward (X W^T)", 1, 1632, 576, 1536, false, true, false},
                            {"up dX (G W)", 1, 1632, 576, 1536, false, false, false},
                            {"up dW (G^T X)", 1, 1536, 576, 1632, true, false, false},
                            {"up dW, accumulated", 1, 1536, 576, 1632, true, false, true},
                            {"down dW (G^T X)", 1, 576, 1536, 1632, true, false, false},
                            {"head (X W^T)", 1, 395, 49152, 576, false, true, false},
                            {"head dX (G W)", 1, 395, 576, 49152, false, false, false},
                            {"head dW (G^T X)", 1, 49152, 576, 395, true, false, false},
                            {"head, 64 rows (X W^T)", 1, 64, 49152, 576, false, true, false},
                            {"head, 160 rows (X W^T)", 1, 160, 49152, 576, false, true, false},
                            {"head, 256 rows (X W^T)", 1, 256, 49152, 576, false, true, false},
                            {"GPT-2 up dX (G W^T)", 1, 256, 768, 3072, false, true, false},
                            {"GPT-2 down dX (G W^T)", 1, 256, 3072, 768, false, true, false},
                            {"scores (Q K^T)", 144, 102, 102, 64, false, true, false},
                            {"attention (P V)", 144, 102, 64, 102, false, false, false},
                            {"attention dV (P^T G)", 144, 102, 64, 102, true, false, false}};

// All tokens at once: no head does with less.
const Product headProducts[] = {{"logits (X W^T)", 1, 2048, 151936, 1024, false, true, false},
                                {"dX (G W)", 1, 2048, 1024, 151936, false, false, false},
                                {"dW (G^T X)", 1, 151936, 1024, 2048, true, false, false}};

/// The same for a chunk of tokens: dW is added up. A pass over all tokens takes 2048 / chunk of these.
std::vector<Product> chunkProducts(int64_t chunk, MatrixType type) {
  return {{"logits (X W^T)", 1, chunk, 151936, 1024, false, true, false, type},
          {"dX (G W)", 1, chunk, 1024, 151936, false, false, false, type},
          {"dW (G^T X), accumulated", 1, 151936, 1024, chunk, true, false, true, type}};
}

void measure(const Product &p, WorkerPool &pool, std::shared_ptr<const MatrixLibrary> library) {
  GemmShape shape{{p.batch}, p.m, p.n, p.k, {}, {}, {}, 1, p.accumulate, p.type};
  shape.a = {{p.m * p.k}, p.transA ? 1 : p.k, p.transA ? p.m : 1};
  shape.b = {{p.k * p.n}, p.transB ? 1 : p.n, p.transB ? p.k : 1};
  shape.c = {{p.m * p.n}, p.n, 1};
  std::vector<float> a(static_cast<size_t>(p.batch * p.m * p.k), 0.5f),
      b(static_cast<size_t>(p.batch * p.k * p.n), 0.25f);
  std::vector<float> c(static_cast<size_t>(p.batch * p.m * p.n));
  double seconds = 0;
  pool.drive([&] {
    GemmPlanner planner(library, pool.workers());
    Gemm gemm = planner.plan(shape);
    std::vector<GemmWorkspace> workspaces;
    for (int i = 0; i < pool.workers(); ++i)
      workspaces.push_back(planner.makeWorkspace());
    seconds = bestSeconds([&] {
      pool.parallel([&](int worker) {
        for (int part = worker; part < gemm.parts(); part += pool.workers())
          (void)gemm.run(part, a.data(), b.data(), c.data(), workspaces[static_cast<size_t>(worker)].get());
      });
    });
  });
  double flops = 2.0 * double(p.batch) * double(p.m) * double(p.n) * double(p.k);
  std::printf("%-24s %7.1f GFLOP/s %9.3f ms\n", p.name, flops / seconds / 1e9, seconds * 1e3);
}

// --- Attention -------------------------------------------------------------------------------------------------------

struct AttentionCase {
  const char *name;
  int64_t batch, positions, queryHeads, keyHeads, dim;
};
const AttentionCase attentionCases[] = {{"16 x 102, 9/3, d64", 16, 102, 9, 3, 64},
                                        {"8 x 256, 9/3, d64", 8, 256, 9, 3, 64},
                                        {"2 x 2048, 9/3, d64", 2, 2048, 9, 3, 64},
                                        {"4 x 64, 12/12, d64", 4, 64, 12, 12, 64},
                                        {"2 x 512, 16/8, d128", 2, 512, 16, 8, 128}};

/// Runs f(begin, end, scratch) on every worker's share of the work items; prints GFLOP/s of `products` products of
/// [S, dim] by [dim, S] (forward 2, backward 5), of which half, and the diagonal, is causal.
template <typename F>
void measureAttention(const AttentionCase &c, const char *what, int products, WorkerPool &pool, int64_t units,
                      int64_t scratchBytes, F f) {
  auto floats = static_cast<size_t>(scratchBytes) / sizeof(float) + 16;
  std::vector<std::vector<float>> scratch(static_cast<size_t>(pool.workers()), std::vector<float>(floats));
  double seconds = 0;
  pool.drive([&] {
    seconds = bestSeconds([&] {
      pool.parallel([&](int worker) {
        Share share = shareOf(units, worker, pool.workers(), 1);
        float *memory = scratch[static_cast<size_t>(worker)].data();
        f(share.begin, share.end, memory + (64 - reinterpret_cast<uintptr_t>(memory) % 64) % 64 / 4);
      });
    });
  });
  double pairs = double(c.batch * c.queryHeads) * double(c.positions) * double(c.positions + 1) / 2;
  std::printf("%-19s %s %7.1f GFLOP/s %9.3f ms\n", c.name, what, 2 * products * pairs * double(c.dim) / seconds / 1e9,
              seconds * 1e3);
}

/// Layout [batch, positions, heads, dim], as projections leave it.
void measure(const AttentionCase &c, WorkerPool &pool) {
  AttentionShape shape{c.batch, c.queryHeads, c.keyHeads, c.positions, c.positions, c.dim,
                       c.dim,   true,         0,          false,       0.125f,      0};
  HeadStrides wide{c.positions * c.queryHeads * c.dim, c.dim, c.queryHeads * c.dim};
  HeadStrides narrow{c.positions * c.keyHeads * c.dim, c.dim, c.keyHeads * c.dim};
  auto array = [&](const HeadStrides &strides, unsigned seed) {
    std::vector<float> values(static_cast<size_t>(c.batch * strides.batch));
    for (float &value : values)
      value = float((seed = seed * 1664525 + 1013904223) >> 8) / float(1 << 23) - 1;
    return values;
  };
  auto q = array(wide, 1), k = array(narrow, 2), v = array(narrow, 3), dOut = array(wide, 4);
  auto o = q, dq = q, dk = k, dv = v;
  std::vector<float> lse(static_cast<size_t>(c.batch * c.queryHeads * c.positions));
  AttentionForward forward{shape,     {}, {q.data(), wide}, {k.data(), narrow}, {v.data(), narrow}, {o.data(), wide},
                           lse.data()};
  AttentionBackward backward{shape,
                             {},
                             {q.data(), wide},
                             {k.data(), narrow},
                             {v.data(), narrow},
                             {o.data(), wide},
                             {dOut.data(), wide},
                             lse.data(),
                             {dq.data(), wide},
                             {dk.data(), narrow},
                             {dv.data(), narrow}};
  measureAttention(c, "fwd", 2, pool, attentionUnits(shape), attentionForwardScratch(shape),
                   [&](int64_t begin, int64_t end, void *scratch) { attentionForward(forward, scratch, begin, end); });
  measureAttention(
      c, "bwd", 5, pool, attentionUnits(shape), attentionBackwardScratch(shape),
      [&](int64_t begin, int64_t end, void *scratch) { attentionBackward(backward, scratch, begin, end); });
}

/// Runs f(begin, end) on every worker's share; prints GB/s.
template <typename F> void stream(const char *name, WorkerPool &pool, int64_t items, double bytes, F f) {
  double seconds = 0;
  pool.drive([&] {
    seconds = bestSeconds([&] {
      pool.parallel([&](int worker) {
        Share share = shareOf(items, worker, pool.workers(), 16);
        f(share.begin, share.end);
      });
    });
  });
  std::printf("%-24s %7.1f GB/s    %9.3f ms\n", name, bytes / seconds / 1e9, seconds * 1e3);
}

void measureStreams(WorkerPool &pool) {
  const int64_t count = 32 << 20;
  std::vector<float> p(count, 0.1f), g(count, 0.01f), m(count), v(count);
  AdamWNumbers numbers = adamwNumbers(1e-6, 0.9, 0.95, 1e-8, 0.1, 1, 1);
  std::vector<float> scales(2 * count / momentBlock);
  auto adamw = [&](const char *name, MomentForm form, double bytes) {
    Moments moments{form, {m.data(), scales.data()}, {v.data(), scales.data() + count / momentBlock}};
    stream(name, pool, count / momentBlock, bytes * count, [&](int64_t begin, int64_t end) {
      int64_t first = begin * momentBlock;
      AdamWArrays arrays{p.data() + first, g.data() + first};
      vectorFunctions().adamw(arrays, moments, first, (end - begin) * momentBlock, numbers, 1);
    });
  };
  adamw("AdamW, 28 B", MomentForm::F32, 28);
  adamw("bfloat16 moments, 20 B", MomentForm::BF16, 20);
  adamw("8-bit moments, 16 B", MomentForm::Blocks8, 16);
  stream("squared norm, 4 B", pool, count, 4.0 * count, [&](int64_t begin, int64_t end) {
    volatile double sum = vectorFunctions().squaredNorm(g.data() + begin, end - begin);
    (void)sum;
  });
  const int64_t heads[] = {16, 9, 102, 64}, dst[] = {9 * 102 * 64, 102 * 64, 64, 1}, src[] = {102 * 576, 64, 576, 1};
  StridedCopy split(4, heads, dst, src);
  stream("split heads, 8 B", pool, split.units(), 8.0 * 16 * 9 * 102 * 64,
         [&](int64_t begin, int64_t end) { split.run(p.data(), g.data(), begin, end); });
  const int64_t square[] = {1536, 1632}, across[] = {1632, 1}, down[] = {1, 1536};
  StridedCopy transpose(4, square, across, down);
  stream("transpose, 8 B", pool, transpose.units(), 8.0 * 1536 * 1632,
         [&](int64_t begin, int64_t end) { transpose.run(p.data(), g.data(), begin, end); });
}
// --- What the machine can do -----------------------------------------------------------------------------------------

constexpr int chains = 12; // independent, so that none waits for itself
constexpr int64_t rounds = 20'000'000;

#define GRAFT_CEILING(NAME, TARGET, VECTOR, ZERO, STEP, SUM)                                                           \
  __attribute__((target(TARGET), noinline)) float NAME() {                                                             \
    VECTOR sums[chains], a = ZERO;                                                                                     \
    for (VECTOR &sum : sums)                                                                                           \
      sum = a;                                                                                                         \
    for (int64_t i = 0; i < rounds; ++i)                                                                               \
      _Pragma("clang loop unroll(full)") for (VECTOR &sum : sums) {                                                    \
        sum = STEP;                                                                                                    \
        asm volatile("" : "+v"(sum));                                                                                  \
      }                                                                                                                \
    float total = 0;                                                                                                   \
    for (VECTOR &sum : sums)                                                                                           \
      total += SUM;                                                                                                    \
    return total;                                                                                                      \
  }
GRAFT_CEILING(fma512, "avx512f", __m512, _mm512_set1_ps(0), _mm512_fmadd_ps(sum, a, a), sum[0])
GRAFT_CEILING(fma256, "avx2,fma", __m256, _mm256_set1_ps(0), _mm256_fmadd_ps(sum, a, a), sum[0])
GRAFT_CEILING(dot512, "avx512f,avx512bf16", __m512, _mm512_set1_ps(0),
              _mm512_dpbf16_ps(sum, (__m512bh)_mm512_castps_si512(a), (__m512bh)_mm512_castps_si512(a)), sum[0])
#undef GRAFT_CEILING

void measureRate(const char *name, WorkerPool &pool, float (*loop)(), int operations) {
  double seconds = 0;
  pool.drive([&] {
    seconds = bestSeconds([&] {
      pool.parallel([&](int) {
        volatile float sum = loop();
        (void)sum;
      });
    });
  });
  double done = double(rounds) * chains * operations * pool.workers();
  std::printf("%-24s %7.1f GFLOP/s %9.3f ms\n", name, done / seconds / 1e9, seconds * 1e3);
}

void measureCeilings(WorkerPool &pool) {
  bool wide = __builtin_cpu_supports("avx512f");
  measureRate("float32 FMA", pool, wide ? fma512 : fma256, wide ? 32 : 16);
  if (__builtin_cpu_supports("avx512bf16"))
    measureRate("bfloat16 dot products", pool, dot512, 64);
  const int64_t count = 64 << 20;
  std::vector<float> x(count, 1), y(count, 2), z(count);
  stream("triad z = x + 2 y, 12 B", pool, count, 12.0 * count, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      z[static_cast<size_t>(i)] = x[static_cast<size_t>(i)] + 2 * y[static_cast<size_t>(i)];
  });
}
} // namespace

int main(int argc, char **argv) {
  int threads = argc > 1 ? std::atoi(argv[1]) : defaultThreadCount();
  auto library = MatrixLibrary::open();
  std::printf("%s, %d threads\n", library.isOk() ? (*library)->version().c_str() : "built-in loops", threads);
  std::shared_ptr<const MatrixLibrary> opened = library.isOk() ? *library : nullptr;
  WorkerPool pool(std::max(1, threads), [&](int) {
    if (opened)
      opened->useOneThread();
  });
  std::string_view part = argc > 2 ? argv[2] : "";
  for (const Product &product : products)
    if (part.empty() || part == "products")
      measure(product, pool, opened);
  for (const AttentionCase &c : attentionCases)
    if (part.empty() || part == "attention")
      measure(c, pool);
  if (part.empty() || part == "streams")
    measureStreams(pool);
  for (Product product : headProducts)
    if (part == "head" || part == "head-bfloat16") {
      product.type = part == "head" ? MatrixType::F32 : MatrixType::BF16;
      measure(product, pool, opened);
    }
  for (MatrixType type : {MatrixType::F32, MatrixType::BF16})
    for (int64_t chunk : {64, 128, 160, 192, 256, 512})
      if (part == "chunks") {
        std::printf("%s, %d tokens at a time\n", type == MatrixType::F32 ? "float32" : "bfloat16", int(chunk));
        for (const Product &product : chunkProducts(chunk, type))
          measure(product, pool, opened);
      }
  if (part == "ceilings")
    measureCeilings(pool);
}
