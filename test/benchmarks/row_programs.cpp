// Memory throughput of typical row programs in cache and out of cache, on 1 and 2 threads, beside plain copies of this
// machine; and the time to compile 200 of them.
//
//   ninja -C build row_programs_benchmark && build/test/bin/row_programs_benchmark [part of a kernel's name]
//
// GB/s counts the bytes that must move (every operand once), not the reads that a store to memory costs.
#include "test/passes/codegen/Kernels.h"
#include <chrono>
#include <ctime>
#include <functional>
#include <thread>

namespace graft::test {
namespace {

using Clock = std::chrono::steady_clock;
double seconds(Clock::time_point since) {
  return std::chrono::duration<double>(Clock::now() - since).count();
}

constexpr const char *kRmsNormForward = R"(
!x = !rt.access<T, [N], 1, noalias, align A>
!w = !rt.access<f32, [0], 1, noalias, align 64>
!r = !rt.access<f32, [1], 0, noalias>
rt.row_program @NAME rows [ROWS] columns N (%x: !x, %y: !x, %rstd: !r, %w: !w) {
  %inverse = arith.constant 1.0e-03 : f32
  %epsilon = arith.constant 1.0e-5 : f32
  %ss = rt.sweep (%a = %x : !x) reduces (add : f32) {
    %q = arith.mulf %a, %a : f32
    rt.yield %q : f32
  }
  %mean = arith.mulf %ss, %inverse : f32
  %shifted = arith.addf %mean, %epsilon : f32
  %r = math.rsqrt %shifted : f32
  rt.store %r, %rstd : f32, !r
  rt.sweep (%a = %x : !x, %b = %w : !w) writes (%y : !x) {
    %t = arith.mulf %a, %r : f32
    %u = arith.mulf %t, %b : f32
    rt.yield %u : f32
  }
})";

constexpr const char *kRmsNormBackward = R"(
!x = !rt.access<T, [SPAN, N], 1, noalias, align A>
!w = !rt.access<f32, [0, 0], 1, noalias, align 64>
!r = !rt.access<f32, [GROUP, 1], 0, noalias>
!p = !rt.access<f32, [N, 0], 1, accumulate, noalias, align 64>
rt.row_program @NAME rows [UNITS, GROUP] columns N group GROUP (%g: !x, %x: !x, %dx: !x, %rstd: !r, %w: !w, %dw: !p) {
  %inverse = arith.constant 1.0e-03 : f32
  %r = rt.load %rstd : !r -> f32
  %dot = rt.sweep (%a = %g : !x, %b = %x : !x, %c = %w : !w) writes (%dw : !p) reduces (add : f32) {
    %ab = arith.mulf %a, %b : f32
    %d = arith.mulf %ab, %r : f32
    %e = arith.mulf %ab, %c : f32
    rt.yield %d, %e : f32, f32
  }
  %mean = arith.mulf %dot, %inverse : f32
  %r2 = arith.mulf %r, %r : f32
  %scale = arith.mulf %mean, %r2 : f32
  rt.sweep (%a = %g : !x, %b = %x : !x, %c = %w : !w) writes (%dx : !x) {
    %gw = arith.mulf %a, %c : f32
    %xs = arith.mulf %b, %scale : f32
    %d = arith.subf %gw, %xs : f32
    %e = arith.mulf %d, %r : f32
    rt.yield %e : f32
  }
})";

constexpr const char *kSwiGluBackward = R"(
!x = !rt.access<T, [N], 1, noalias, align A>
rt.row_program @NAME rows [ROWS] columns N (%dh: !x, %gate: !x, %up: !x, %dgate: !x, %dup: !x) {
  %one = arith.constant 1.0 : f32
  rt.sweep (%dy = %dh : !x, %g = %gate : !x, %u = %up : !x) writes (%dgate : !x, %dup : !x) {
    %n = arith.negf %g : f32
    %e = math.exp %n : f32
    %d = arith.addf %one, %e : f32
    %s = arith.divf %one, %d : f32
    %silu = arith.mulf %g, %s : f32
    %du = arith.mulf %dy, %silu : f32
    %rest = arith.subf %one, %s : f32
    %t = arith.mulf %g, %rest : f32
    %t1 = arith.addf %one, %t : f32
    %slope = arith.mulf %s, %t1 : f32
    %dyu = arith.mulf %dy, %u : f32
    %dg = arith.mulf %dyu, %slope : f32
    rt.yield %dg, %du : f32, f32
  }
})";

constexpr const char *kSoftmax = R"(
!x = !rt.access<T, [N], 1, noalias, align A>
!mask = !rt.access<f32, [0], 1, noalias, align 64>
rt.row_program @NAME rows [ROWS] columns N (%x: !x, %y: !x, %mask: !mask) {
  %exps = rt.scratch : !rt.scratch<f32>
  %max = rt.sweep (%a = %x : !x, %m = %mask : !mask) writes (%exps : !rt.scratch<f32>) reduces (max : f32) {
    %b = arith.addf %a, %m : f32
    rt.yield %b, %b : f32, f32
  }
  %sum = rt.sweep (%a = %exps : !rt.scratch<f32>) writes (%exps : !rt.scratch<f32>) reduces (add : f32) {
    %c = arith.subf %a, %max : f32
    %d = math.exp %c : f32
    rt.yield %d, %d : f32, f32
  }
  %one = arith.constant 1.0 : f32
  %inverse = arith.divf %one, %sum : f32
  rt.sweep (%a = %exps : !rt.scratch<f32>) writes (%y : !x) {
    %b = arith.mulf %a, %inverse : f32
    rt.yield %b : f32
  }
})";

constexpr const char *kAdamW = R"(
!x = !rt.access<f32, [N], 1, noalias, align A>
rt.row_program @NAME rows [ROWS] columns N (%p: !x, %m: !x, %v: !x, %g: !x) {
  %b1 = arith.constant 0.9 : f32
  %c1 = arith.constant 0.1 : f32
  %b2 = arith.constant 0.999 : f32
  %c2 = arith.constant 0.001 : f32
  %eps = arith.constant 1.0e-8 : f32
  %lr = arith.constant 1.0e-4 : f32
  %decay = arith.constant 0.9999 : f32
  rt.sweep (%a = %p : !x, %b = %m : !x, %c = %v : !x, %d = %g : !x) writes (%p : !x, %m : !x, %v : !x) {
    %mb = arith.mulf %b, %b1 : f32
    %mg = arith.mulf %d, %c1 : f32
    %m2 = arith.addf %mb, %mg : f32
    %vb = arith.mulf %c, %b2 : f32
    %gg = arith.mulf %d, %d : f32
    %vg = arith.mulf %gg, %c2 : f32
    %v2 = arith.addf %vb, %vg : f32
    %root = math.sqrt %v2 : f32
    %den = arith.addf %root, %eps : f32
    %step = arith.divf %m2, %den : f32
    %scaled = arith.mulf %step, %lr : f32
    %kept = arith.mulf %a, %decay : f32
    %p2 = arith.subf %kept, %scaled : f32
    rt.yield %p2, %m2, %v2 : f32, f32, f32
  }
})";

struct Kernel {
  const char *name, *text, *type;
  int64_t columns;
  int wholeOperands;    ///< leading operands of rows x columns elements
  int passes;           ///< how many times such an operand's bytes move, over all of them
  double figureInCache; ///< GB/s of design notes on another machine, 1 thread, for orientation
};

const Kernel kKernels[] = {
    {"rmsnorm forward", kRmsNormForward, "f32", 576, 2, 2, 101},
    {"rmsnorm forward", kRmsNormForward, "bf16", 576, 2, 2, 32},
    {"rmsnorm forward", kRmsNormForward, "f32", 577, 2, 2, 94},
    {"rmsnorm forward", kRmsNormForward, "f32", 100, 2, 2, 103},
    {"rmsnorm forward", kRmsNormForward, "f32", 4096, 2, 2, 81},
    {"rmsnorm forward", kRmsNormForward, "bf16", 4096, 2, 2, 45},
    {"rmsnorm backward", kRmsNormBackward, "f32", 576, 3, 3, 87},
    {"rmsnorm backward", kRmsNormBackward, "bf16", 576, 3, 3, 57},
    {"rmsnorm backward", kRmsNormBackward, "f32", 4096, 3, 3, 58},
    {"swiglu backward", kSwiGluBackward, "f32", 1536, 5, 5, 79},
    {"swiglu backward", kSwiGluBackward, "bf16", 1536, 5, 5, 21},
    {"softmax", kSoftmax, "f32", 1024, 2, 2, 31},
    {"softmax", kSoftmax, "bf16", 1024, 2, 2, 15},
    {"adamw", kAdamW, "f32", 1024, 4, 7, 177},
};

int64_t bytesOf(const Kernel &kernel) {
  return std::string(kernel.type) == "f32" ? 4 : 2;
}

std::string textOf(const Kernel &kernel, const std::string &name, int64_t rows, int64_t group) {
  return substitute(kernel.text, {{"NAME", name},
                                  {"ROWS", std::to_string(rows)},
                                  {"UNITS", std::to_string(rows / group)},
                                  {"GROUP", std::to_string(group)},
                                  {"SPAN", std::to_string(group * kernel.columns)},
                                  {"<T,", std::string("<") + kernel.type + ","},
                                  {"align A", "align " + std::to_string(bytesOf(kernel))},
                                  {"N]", std::to_string(kernel.columns) + "]"},
                                  {"N,", std::to_string(kernel.columns) + ","},
                                  {"columns N", "columns " + std::to_string(kernel.columns)}});
}

/// Seconds that this thread has run: other processes on the machine disturb it less than they do a clock.
double threadSeconds() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return time.tv_sec + time.tv_nsec * 1e-9;
}

/// The best of several timed repetitions, in seconds of the slowest thread; `run(part, parts)` is called once per
/// thread.
double bestTime(int threads, int repetitions, const std::function<void(int, int)> &run) {
  double best = 1e30;
  for (int trial = 0; trial < 5; ++trial) {
    std::vector<double> times(threads);
    std::vector<std::thread> helpers;
    auto work = [&](int part) {
      double begin = threadSeconds();
      for (int i = 0; i < repetitions; ++i)
        run(part, threads);
      times[part] = (threadSeconds() - begin) / repetitions;
    };
    for (int part = 1; part < threads; ++part)
      helpers.emplace_back(work, part);
    work(0);
    for (std::thread &helper : helpers)
      helper.join();
    best = std::min(best, *std::max_element(times.begin(), times.end()));
  }
  return best;
}

/// GB/s of one kernel with whole operands of about `operandBytes`.
double throughput(const Kernel &kernel, CpuLevel level, int64_t operandBytes, int threads) {
  int64_t rowBytes = kernel.columns * bytesOf(kernel);
  bool grouped = kernel.text == kRmsNormBackward;
  int64_t group = !grouped ? 1 : operandBytes < (1 << 20) ? operandBytes / rowBytes / 2 : 128;
  int64_t rows = operandBytes / rowBytes / (2 * group) * (2 * group);
  Kernels kernels = Kernels::compile(textOf(kernel, "kernel", rows, group), level);
  std::vector<std::vector<float>> buffers;
  std::vector<const void *> operands;
  for (int i = 0; i < 6; ++i) {
    buffers.push_back(std::vector<float>(
        (i < kernel.wholeOperands ? rows * rowBytes / 4 : std::max(rows, kernel.columns * rows / group)) + 16, 0.25f));
    operands.push_back(reinterpret_cast<void *>((reinterpret_cast<uintptr_t>(buffers.back().data()) + 63) / 64 * 64));
  }
  int64_t units = rows / group;
  int repetitions = std::max<int64_t>(1, (int64_t(256) << 20) / (rows * rowBytes) / 2);
  double time = bestTime(threads, repetitions, [&](int part, int parts) {
    kernels.run("kernel", operands, units * part / parts, units * (part + 1) / parts);
  });
  return double(rows) * rowBytes * kernel.passes / time / 1e9;
}

/// a[i] = b[i] + 3 c[i], what memory gives.
double triad(int64_t bytes, int threads) {
  int64_t n = bytes / 4;
  std::vector<float> a(n, 1), b(n, 2), c(n, 3);
  int repetitions = std::max<int64_t>(1, (int64_t(128) << 20) / bytes);
  double time = bestTime(threads, repetitions, [&](int part, int parts) {
    float *x = a.data(), *y = b.data(), *z = c.data();
    for (int64_t i = n * part / parts, end = n * (part + 1) / parts; i < end; ++i)
      x[i] = y[i] + 3 * z[i];
    asm volatile("" : : "r"(x) : "memory");
  });
  return 3.0 * bytes / time / 1e9;
}

void compileTime(CpuLevel level) {
  std::string text;
  for (int i = 0; i < 200; ++i) {
    Kernel kernel = kKernels[i % std::size(kKernels)];
    kernel.columns = 512 + 3 * i; // all different
    // Aliases of types are per module: write them out.
    std::string program = textOf(kernel, "kernel_" + std::to_string(i), 256, kernel.text == kRmsNormBackward ? 128 : 1);
    text += substitute(program, {{"!x", "!x" + std::to_string(i)},
                                 {"!w", "!w" + std::to_string(i)},
                                 {"!r =", "!r" + std::to_string(i) + " ="},
                                 {"!r,", "!r" + std::to_string(i) + ","},
                                 {"!r)", "!r" + std::to_string(i) + ")"},
                                 {"!r\n", "!r" + std::to_string(i) + "\n"},
                                 {"!r ->", "!r" + std::to_string(i) + " ->"},
                                 {"!p", "!p" + std::to_string(i)},
                                 {"!mask", "!mask" + std::to_string(i)}});
  }
  mlir::MLIRContext context;
  auto module = parse(context, text);
  for (unsigned threads : {1, 2, 1, 2}) {
    auto begin = Clock::now();
    Result<CompiledKernels> compiled = compileRowPrograms(*module, {.level = level, .threads = threads});
    std::printf("200 kernels, %s, %u threads: %.0f ms, %zu bytes\n", std::string(name(level)).c_str(), threads,
                seconds(begin) * 1e3, compiled.isOk() ? compiled->object.size() : 0);
  }
}

} // namespace

int benchmark(const std::string &only) {
  constexpr int64_t small = 512 << 10, large = int64_t(134) << 20;
  if (only.empty())
    for (CpuLevel level : runnableLevels())
      compileTime(level);
  std::printf("\nGB/s, 1 / 2 threads%33s  in cache (elsewhere)   out of cache\n", "");
  std::printf("%-18s %5s %-5s %-10s %10.0f / %-4.0f %16.0f / %-4.0f\n", "triad", "", "f32", "", triad(small, 1),
              triad(small, 2), triad(large, 1), triad(large, 2));
  for (CpuLevel level : runnableLevels())
    for (const Kernel &kernel : kKernels)
      if (std::string(kernel.name).find(only) != std::string::npos)
        std::printf("%-18s %5ld %-5s %-10s %10.0f / %-4.0f (%.0f) %11.0f / %-4.0f\n", kernel.name, long(kernel.columns),
                    kernel.type, std::string(name(level)).c_str(), throughput(kernel, level, small, 1),
                    throughput(kernel, level, small, 2), kernel.figureInCache, throughput(kernel, level, large, 1),
                    throughput(kernel, level, large, 2));
  return 0;
}

} // namespace graft::test

int main(int argc, char **argv) {
  return graft::test::benchmark(argc > 1 ? argv[1] : "");
}
