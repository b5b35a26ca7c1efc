// Threads for parallel loops. A loop never waits for a worker that the system has not woken: the caller takes all pieces
// that nobody else takes, so a busy machine costs no more than the missing help.
//
// Each worker begins with its own stretch of the loop, the same share in every loop: what it wrote in one layer of a network it
// reads in the next, from its own cache. Only what is left then is taken from the stretches of others.

#include <algorithm>
#include <atomic>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

#include "CKernels.h"

#if defined(__linux__)
#include <sched.h>
#endif

namespace {

/// How often a waiting thread looks before it sleeps: some tens of microseconds, the gap between two layers.
constexpr int spins = 4000;
/// Pieces for each worker: more even out a worker that was interrupted.
constexpr int64_t piecesPerWorker = 4;

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

struct ck_pool {
  std::vector<std::thread> threads;
  std::mutex owner;  // held by the caller whose loop runs

  // The loop. Workers read it only between entering (active) and leaving, while it is open.
  ck_loop_body body = nullptr;
  void *context = nullptr;
  int64_t count = 0, pieces = 0;
  /// How many pieces of a worker's stretch are taken. On lines of their own.
  struct alignas(64) Stretch {
    std::atomic<int64_t> taken{0};
  };
  std::vector<Stretch> stretches;
  std::atomic<bool> open{false}, ends{false};
  std::atomic<int> active{0};
  std::atomic<uint32_t> generation{0};

  void work(int worker) {
    const int64_t workers = (int64_t)stretches.size();
    for (int64_t turn = 0; turn < workers; ++turn) {
      const int64_t s = (worker + turn) % workers, first = s * pieces / workers, last = (s + 1) * pieces / workers;
      for (int64_t i; (i = first + stretches[s].taken.fetch_add(1)) < last;) {
        body(context, i * count / pieces, (i + 1) * count / pieces, worker);
      }
    }
  }

  void live(int worker) {
    uint32_t seen = 0;
    while (true) {
      for (int i = 0; i < spins && generation.load() == seen; ++i) relax();
      generation.wait(seen);
      seen = generation.load();
      if (ends.load()) return;
      active.fetch_add(1);
      if (open.load()) work(worker);
      if (active.fetch_sub(1) == 1) active.notify_all();
    }
  }

  void run(int64_t size, ck_loop_body loop, void *argument) {
    if (size < 1) return;
    if (size == 1 || threads.empty() || !owner.try_lock()) return loop(argument, 0, size, 0);
    body = loop, context = argument, count = size;
    const int64_t most = piecesPerWorker * ((int64_t)threads.size() + 1);
    pieces = size < most ? size : most;
    for (Stretch &stretch : stretches) stretch.taken.store(0);
    open.store(true);
    generation.fetch_add(1);
    generation.notify_all();
    work(0);
    open.store(false);
    for (int i = 0; i < spins && active.load() != 0; ++i) relax();
    for (int left; (left = active.load()) != 0;) active.wait(left);
    owner.unlock();
  }
};

extern "C" ck_pool *ck_pool_create(int workers) {
  auto pool = new (std::nothrow) ck_pool;
  if (!pool) return nullptr;
  try {
    // One for each worker that there may be; a stretch whose thread did not come is taken by the others.
    pool->stretches = std::vector<ck_pool::Stretch>(std::max(workers, 1));
    for (int i = 1; i < workers; ++i) pool->threads.emplace_back([pool, i] { pool->live(i); });
  } catch (const std::exception &) {
    // No more threads: those that are there do.
  }
  return pool;
}

extern "C" void ck_pool_destroy(ck_pool *pool) {
  if (!pool) return;
  pool->ends.store(true);
  pool->generation.fetch_add(1);
  pool->generation.notify_all();
  for (auto &thread : pool->threads) thread.join();
  delete pool;
}

extern "C" ck_parallel ck_pool_parallel(ck_pool *pool) {
  if (!pool || pool->threads.empty()) return ck_serial();
  return ck_parallel{(int)pool->threads.size() + 1,
                     [](void *runner, int64_t count, ck_loop_body body, void *context) {
                       static_cast<ck_pool *>(runner)->run(count, body, context);
                     },
                     pool};
}

extern "C" int ck_allowed_cpus(int32_t *cpus, int limit) {
  int count = 0;
#if defined(__linux__)
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 0;
  for (int i = 0; i < CPU_SETSIZE && count < limit; ++i)
    if (CPU_ISSET(i, &set)) cpus[count++] = i;
#else
  (void)cpus, (void)limit;
#endif
  return count;
}
