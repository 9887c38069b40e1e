// The threads that run a program: a fixed number of own threads, each pinned to a CPU, that wait for work by spinning a
// short while and then sleeping.
//
// One of them, worker 0, drives: `drive(f)` runs f on worker 0 while the caller sleeps, and f hands work to all workers
// with `parallel`. So a whole entry costs its caller one sleep, and between instructions only workers wait, on their
// own CPUs. The caller's thread is never used for work: settings that libraries keep per thread (OpenMP's thread count)
// stay ours.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace graft {

class WorkerPool {
public:
  /// A share of work: called once per worker with its index in [0, workers()).
  using Work = std::function<void(int worker)>;

  /// Starts `workers` threads. Pins worker i to the i-th allowed CPU if there are enough of them. `onStart` runs first
  /// on each thread. Throws std::system_error when the system has no more threads.
  explicit WorkerPool(int workers, Work onStart = {});
  /// Joins the threads; no drive may be running.
  ~WorkerPool();
  WorkerPool(const WorkerPool &) = delete;

  int workers() const { return static_cast<int>(threads_.size()); }

  /// Runs f on worker 0 and returns when it is done. Callers from several threads take turns. Not from within a worker.
  void drive(const std::function<void()> &f);
  /// Only from within drive: runs work(i) on every worker i, returns when all are done.
  void parallel(const Work &work);

private:
  void follow(int worker);
  void lead();
  void stop();

  std::vector<std::thread> threads_;
  Work onStart_;
  std::mutex drivers_; // held by the caller of drive

  // Worker 0 and the caller of drive.
  std::mutex mutex_;
  std::condition_variable changed_;
  const std::function<void()> *task_ = nullptr;
  bool stopping_ = false;

  // Worker 0 and the others. A new generation publishes work_; each follower takes one off pending_ when it is done.
  alignas(64) std::atomic<uint32_t> generation_{0};
  alignas(64) std::atomic<int> pending_{0};
  const Work *work_ = nullptr; // nullptr: stop
};

/// Worker i's share of [0, items): contiguous, in multiples of `grain` but for the last, as even as that allows.
struct Share {
  int64_t begin, end;
};
Share shareOf(int64_t items, int worker, int workers, int64_t grain = 1);

} // namespace graft
