import CKernels
import Jobs

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// The threads of parallel loops; plans with the same number share them.
final class ThreadPool: @unchecked Sendable {
  /// Threads of a loop, the caller's among them.
  let workers: Int
  let parallel: ck_parallel
  private let pool: OpaquePointer?

  private init(_ workers: Int) {
    pool = workers > 1 ? ck_pool_create(Int32(clamping: workers)) : nil
    parallel = ck_pool_parallel(pool)
    self.workers = Int(parallel.workers)
  }

  deinit { ck_pool_destroy(pool) }

  private static let pools = Monitor<[Int: ThreadPool]>([:])

  /// The pool of this many threads; 256 at most.
  static func shared(_ workers: Int) -> ThreadPool {
    let count = min(max(1, workers), 256)
    return pools.with { pools in
      if let pool = pools[count] { return pool }
      let pool = ThreadPool(count)
      pools[count] = pool
      return pool
    }
  }

  /// $INSIGHTFACE_THREADS where it is a number of 1 or more, else the physical cores that this process may use.
  static var defaultCount: Int {
    if let text = getenv("INSIGHTFACE_THREADS"), let count = Int(String(cString: text)), count >= 1 { return count }
    return physicalCores
  }

  private static let physicalCores: Int = {
    #if os(Linux)
      var allowed = [Int32](repeating: 0, count: 1024)
      allowed.removeLast(allowed.count - Int(ck_allowed_cpus(&allowed, 1024)))
      // Hyperthreads of one core name the same siblings.
      var cores: Set<String> = []
      for cpu in allowed {
        let path = "/sys/devices/system/cpu/cpu\(cpu)/topology/thread_siblings_list"
        cores.insert(firstLine(path) ?? "cpu\(cpu)")
      }
      return max(1, cores.count)
    #else
      return max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN)))
    #endif
  }()

  private static func firstLine(_ path: String) -> String? {
    guard let file = fopen(path, "r") else { return nil }
    defer { fclose(file) }
    var line = [CChar](repeating: 0, count: 256)
    guard fgets(&line, 256, file) != nil else { return nil }
    return String(decoding: line.prefix { $0 != 0 && $0 != 10 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  private final class Body {
    let call: (Int, Int) -> Void
    init(_ call: @escaping (Int, Int) -> Void) { self.call = call }
  }

  /// Calls `body` with each index below `count` and the number of the worker, below `workers`.
  func forEach(_ count: Int, _ body: (_ index: Int, _ worker: Int) -> Void) {
    withoutActuallyEscaping(body) { body in
      let box = Body(body)
      parallel.run(
        parallel.runner, Int64(count),
        { context, begin, end, worker in
          guard let context else { return }
          let body = Unmanaged<Body>.fromOpaque(context).takeUnretainedValue()
          for index in begin..<end { body.call(Int(index), Int(worker)) }
        }, Unmanaged.passUnretained(box).toOpaque())
      withExtendedLifetime(box) {}
    }
  }
}

/// Workspaces, one for each call that runs: never more than the limit, so that memory is bounded whatever comes.
final class WorkspacePool: Sendable {
  private struct State {
    var running = 0
    var idle: [PlanBuffer] = []
  }
  private let state = Monitor(State())
  private let limit: Int
  private let keptCount: Int

  /// - Parameters:
  ///   - limit: workspaces in use at a time.
  ///   - keptCount: floats of idle workspaces that are kept, all together.
  init(limit: Int, keptCount: Int) {
    self.limit = limit
    self.keptCount = keptCount
  }

  /// A workspace of at least `count` floats; waits while too many are in use.
  func take(_ count: Int) throws(GraphError) -> PlanBuffer {
    let found: PlanBuffer?? = state.wait { state in
      guard state.running < limit else { return nil }
      state.running += 1
      let fits = state.idle.indices.filter { state.idle[$0].count >= count }
      guard let best = fits.min(by: { state.idle[$0].count < state.idle[$1].count }) else {
        // What is too small now will be again.
        if !state.idle.isEmpty { state.idle.removeLast() }
        return .some(nil)
      }
      return .some(state.idle.remove(at: best))
    }
    if let buffer = found ?? nil { return buffer }
    do {
      return try PlanBuffer(uninitialized: count)
    } catch {
      state.with { $0.running -= 1 }
      throw error
    }
  }

  func giveBack(_ buffer: PlanBuffer) {
    state.with { state in
      state.running -= 1
      if state.idle.reduce(buffer.count, { $0 + $1.count }) <= keptCount { state.idle.append(buffer) }
    }
  }
}

/// Plans by input size; those that were not used for longest go first.
final class SizedPlanCache: Sendable {
  private struct Key: Hashable {
    var shapes: [String: NetworkGraph.Shape]
    var capacity: Int
    /// 0 where the plan serves every batch.
    var batch: Int
  }
  private struct State {
    var plans: [Key: (plan: SizedPlan, lastUse: Int)] = [:]
    var clock = 0
  }
  private let state = Monitor(State())
  private let limit: Int

  init(limit: Int) { self.limit = limit }

  var count: Int { state.with { $0.plans.count } }

  func plan(
    _ shapes: [String: NetworkGraph.Shape], batch: Int, capacity: Int, make: () throws(GraphError) -> SizedPlan
  ) throws(GraphError) -> SizedPlan {
    let keys = [0, batch].map { Key(shapes: shapes, capacity: $0 == 0 ? capacity : 0, batch: $0) }
    let found: SizedPlan? = state.with { state in
      state.clock += 1
      for key in keys where state.plans[key] != nil {
        state.plans[key]?.lastUse = state.clock
        return state.plans[key]?.plan
      }
      return nil
    }
    if let found { return found }
    let plan = try make()
    state.with { state in
      state.clock += 1
      state.plans[plan.isSplittable ? keys[0] : keys[1]] = (plan, state.clock)
      while state.plans.count > limit, let oldest = state.plans.min(by: { $0.value.lastUse < $1.value.lastUse }) {
        state.plans[oldest.key] = nil
      }
    }
    return plan
  }
}
