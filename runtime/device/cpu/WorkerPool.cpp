#include "runtime/device/cpu/WorkerPool.h"

#include <immintrin.h>

#include "runtime/device/cpu/Threads.h"

#include <algorithm>
#include <pthread.h>

namespace graft {

namespace {
// About 30 us of pauses: longer than the gap between two instructions, shorter than anyone minds a busy CPU.
constexpr int spins = 1000;

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

/// Waits until `value` differs from `old`; returns what it became.
template <typename T> T awaitChange(const std::atomic<T> &value, T old) {
  for (int i = 0; i < spins; ++i, pause())
    if (T now = value.load(std::memory_order_acquire); now != old)
      return now;
  value.wait(old, std::memory_order_acquire);
  return value.load(std::memory_order_acquire);
}

void pinTo(std::thread &thread, int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  (void)pthread_setaffinity_np(thread.native_handle(), sizeof set, &set); // a refusal only costs speed
}
} // namespace

WorkerPool::WorkerPool(int workers, Work onStart) : onStart_(std::move(onStart)) {
  std::vector<int> cpus = allowedCpus();
  threads_.reserve(static_cast<size_t>(workers));
  try {
    for (int i = 0; i < workers; ++i) {
      threads_.emplace_back([this, i] {
        if (onStart_)
          onStart_(i);
        i == 0 ? lead() : follow(i);
      });
      if (static_cast<size_t>(workers) <= cpus.size())
        pinTo(threads_.back(), cpus[static_cast<size_t>(i)]);
    }
  } catch (...) { // no more threads: those that run must end before their pool does
    stop();
    throw;
  }
}

WorkerPool::~WorkerPool() {
  stop();
}

void WorkerPool::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  for (std::thread &thread : threads_)
    thread.join();
}

void WorkerPool::drive(const std::function<void()> &f) {
  std::lock_guard turn(drivers_);
  std::unique_lock lock(mutex_);
  task_ = &f;
  changed_.notify_all();
  changed_.wait(lock, [&] { return task_ == nullptr; });
}

namespace {

/// Numbers below 1.2e-38 count as 0 on this thread: probabilities of unlikely tokens make gradients full of them, and
/// arithmetic on subnormals is a hundred times slower. PyTorch's users set the same (torch.set_flush_denormal).
void flushSubnormals() {
  _mm_setcsr(_mm_getcsr() | 0x8040);
} // FTZ and DAZ

} // namespace

void WorkerPool::lead() {
  flushSubnormals();
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return task_ != nullptr || stopping_; });
    if (stopping_)
      break;
    const std::function<void()> *task = task_;
    lock.unlock();
    (*task)();
    lock.lock();
    task_ = nullptr;
    changed_.notify_all();
  }
  work_ = nullptr;
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
}

void WorkerPool::parallel(const Work &work) {
  int followers = workers() - 1;
  if (followers > 0) {
    work_ = &work;
    pending_.store(followers, std::memory_order_relaxed);
    generation_.fetch_add(1, std::memory_order_release);
    generation_.notify_all();
  }
  work(0);
  for (int left = pending_.load(std::memory_order_acquire); left > 0;)
    left = awaitChange(pending_, left);
}

void WorkerPool::follow(int worker) {
  flushSubnormals();
  uint32_t seen = 0;
  while (true) {
    seen = awaitChange(generation_, seen);
    if (!work_)
      return;
    (*work_)(worker);
    if (pending_.fetch_sub(1, std::memory_order_acq_rel) == 1)
      pending_.notify_all();
  }
}

Share shareOf(int64_t items, int worker, int workers, int64_t grain) {
  int64_t grains = (items + grain - 1) / grain;
  auto cut = [&](int64_t i) {
    return std::min(items, grains / workers * i * grain + std::min(i, grains % workers) * grain);
  };
  return {cut(worker), cut(worker + 1)};
}

} // namespace graft
