import CKernels
import Jobs

/// What a plan computes on during one pass.
struct PlanRun {
  /// Where an input's elements come from.
  enum Source {
    /// float32 in C order.
    case floats(UnsafePointer<Float>)
    /// uint8 images (N, H, W, 3), RGB.
    case bytes(UnsafePointer<UInt8>)
  }
  /// The workspace.
  var arena: UnsafeMutablePointer<Float>
  /// Samples of this pass.
  var batch: Int
  var parallel: ck_parallel
  /// The elements of the first sample of this pass, for each input of the graph.
  var sources: [Source]
  /// Where the times of steps are summed up, if they are asked for.
  var clock: StepClock?
}

/// Sums up the seconds of each step, for passes that run one after another.
final class StepClock {
  private(set) var steps: [(name: String, seconds: Double)] = []

  func run(_ plan: [PlanStep], _ run: PlanRun) {
    if steps.isEmpty { steps = plan.map { ($0.name, 0) } }
    for (index, step) in plan.enumerated() {
      let began = seconds()
      step(run)
      steps[index].seconds += seconds() - began
    }
  }
}

/// Where a layer's output lies.
enum PlanPlace: Sendable {
  /// Floats from the start of the workspace.
  case arena(Int)
  case constant(PlanBuffer)

  func pointer(_ run: PlanRun) -> UnsafeMutablePointer<Float> {
    switch self {
    case .arena(let offset): run.arena + offset
    case .constant(let buffer): buffer.pointer
    }
  }
}

/// One call of a kernel.
///
/// Sendable without lock: what the closure captured does not change.
final class PlanStep: @unchecked Sendable {
  let name: String
  private let body: (PlanRun) -> Void

  init(_ name: String, _ body: @escaping (PlanRun) -> Void) {
    self.name = name
    self.body = body
  }

  func callAsFunction(_ run: PlanRun) { body(run) }
}

/// How the elements of a tensor follow each other: images channels-last, everything else in C order.
enum PlanLayout {
  /// Axes from the slowest to the fastest.
  static func order(_ rank: Int) -> [Int] { rank == 4 ? [0, 2, 3, 1] : Array(0..<rank) }

  /// Floats from one element to the next along each axis.
  static func strides(_ sizes: [Int]) -> [Int] { strides(sizes, order: order(sizes.count)) }

  /// The same for C order.
  static func plainStrides(_ sizes: [Int]) -> [Int] { strides(sizes, order: Array(sizes.indices)) }

  private static func strides(_ sizes: [Int], order: [Int]) -> [Int] {
    var strides = [Int](repeating: 1, count: sizes.count)
    var step = 1
    for axis in order.reversed() {
      strides[axis] = step
      step *= sizes[axis]
    }
    return strides
  }

  /// Elements before, along and after an axis in memory.
  static func lines(_ sizes: [Int], axis: Int) -> (outer: Int, count: Int, inner: Int) {
    let order = order(sizes.count)
    let place = order.firstIndex(of: axis) ?? 0
    return (
      order[..<place].reduce(1) { $0 * sizes[$1] }, sizes[axis], order[(place + 1)...].reduce(1) { $0 * sizes[$1] }
    )
  }

  /// Copies `sizes` elements, walking in the order of `order`.
  static func copy(
    _ sizes: [Int], from source: UnsafePointer<Float>, _ sourceStrides: [Int],
    to target: UnsafeMutablePointer<Float>, _ targetStrides: [Int], order: [Int]
  ) {
    func arranged(_ values: [Int]) -> [Int64] { order.map { Int64(values[$0]) } }
    ck_strided_copy(
      source, arranged(sourceStrides), target, arranged(targetStrides), arranged(sizes), Int32(order.count))
  }
}
