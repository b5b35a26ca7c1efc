import Jobs

/// Carries out `work` on several threads for batches that `next` gives, and hands the results over in their order.
///
/// `next` (until it gives nil) and `take` run on the calling thread. At most a few batches a thread are in memory at once.
/// Throws what `next` or `take` throws; the threads have ended when it returns or throws.
func inOrder<Item: Sendable, Output: Sendable, Failure: Error>(
  threads: Int, next: () throws(Failure) -> [Item]?, work: @escaping @Sendable (Item) -> Output,
  take: (Output) throws(Failure) -> Void
) throws(Failure) {
  let count = min(max(1, threads), 256)
  let monitor = Monitor(WorkState<Item, Output>())
  let workers = (0..<count).map { _ in
    WorkerThread {
      while true {
        let batch = monitor.wait { state -> (number: Int, items: [Item])?? in
          if state.isStopped { return .some(nil) }
          return state.waiting.isEmpty ? nil : .some(state.waiting.removeFirst())
        }
        guard let batch else { return }
        let made = batch.items.map(work)
        monitor.with { $0.ready[batch.number] = made }
      }
    }
  }
  defer {
    monitor.with { $0.isStopped = true }
    workers.forEach { $0.join() }
  }
  var started = 0
  var taken = 0
  var isAtEnd = false
  while true {
    while !isAtEnd, started - taken < 3 * count {
      guard let items = try next() else {
        isAtEnd = true
        break
      }
      monitor.with { $0.waiting.append((started, items)) }
      started += 1
    }
    guard taken < started else { return }
    let outputs = monitor.wait { $0.ready.removeValue(forKey: taken) }
    taken += 1
    for output in outputs { try take(output) }
  }
}

private struct WorkState<Item, Output> {
  var waiting: [(number: Int, items: [Item])] = []
  var ready: [Int: [Output]] = [:]
  var isStopped = false
}
