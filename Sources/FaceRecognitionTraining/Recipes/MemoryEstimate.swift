import Inference
import Torch
import Training

/// What a training step needs in memory, from the shapes of network and head: bytes.
struct MemoryEstimate {
  /// Weights, statistics, gradients and optimizer of the backbone.
  let backbone: Int
  /// Weights, gradients and optimizer of the head, and the copies that it makes in a step.
  let head: Int
  /// What the forward pass keeps for the way back.
  let activations: Int
  /// What comes and goes in a step: the largest values with their gradients, and the library itself.
  let workspace: Int
  /// Pixels that the loader holds; on the CPU's side even where the network is not.
  let pixels: Int
  private let settings: UpdateSettings
  private let batchSize: Int

  /// The largest sums that are of interest; estimates beyond it are held there.
  private static let limit = 1 << 60

  init(_ graph: NetworkGraph, _ c: RecognitionConfiguration, _ settings: UpdateSettings) throws(GraphError) {
    self.settings = settings
    batchSize = c.int("per_batch_size")
    func product(_ factors: Int...) -> Int {
      factors.reduce(1) { a, b in
        let (value, overflow) = a.multipliedReportingOverflow(by: b)
        return overflow ? Self.limit : min(value, Self.limit)
      }
    }
    let weights = try graph.parameters().reduce(0) { $0 + $1.count }
    backbone = product(4, weights, 2 + settings.kind.stateCount)
    let loss = c.recognitionLoss
    let rows = loss.isTriplet ? 0 : product(c.int("num_classes"), c["loss_K"] == nil ? 1 : max(1, c.int("loss_K")))
    let weight = product(4, rows, c.int("emb_size"))
    // Weight and state, and the gradient where the head does not update itself, with parts of a batch their sum too.
    let copies = 1 + settings.kind.stateCount + (settings.headUpdatesItself ? 0 : settings.parts > 1 ? 2 : 1)
    if settings.device.isCPU && loss.runsInBlocks {
      head = product(weight, copies)
    } else {
      // Beside them the gradient, normalised rows, and what becomes the gradient; logits, probabilities, their gradient.
      head = min(
        Self.limit, product(weight, copies + (settings.headUpdatesItself ? 3 : 2)) + product(4 * 4, rows, batchSize))
    }
    let size = settings.precision == .float32 ? 4 : 2
    activations = product(size, batchSize, try TrainableNetwork.keptElements(graph, recomputes: settings.recomputes))
    workspace = min(
      Self.limit, product(3 * 4, batchSize, try TrainableNetwork.largestElements(graph)) + 300 << 20)
    let side = c.ints("image_shape").first ?? 112
    // Batches that are ready or in the making, one in use, one that goes back, and a copy.
    pixels = product(3 * side * side, c.imagesPerUpdate, 7)
  }

  /// Bytes on the device.
  var onDevice: Int {
    [backbone, head, activations, workspace, settings.device.isCPU ? pixels : 0].reduce(0) { min(Self.limit, $0 + $1) }
  }

  /// One line for the log.
  func line(free: Int?) -> String {
    "note: memory on \(settings.device), estimated: backbone \(Self.text(backbone)), head \(Self.text(head)), activations "
      + "\(Self.text(activations)), workspace \(Self.text(workspace + (settings.device.isCPU ? pixels : 0))): "
      + "\(Self.text(onDevice)) in all" + (free.map { ", \(Self.text($0)) free" } ?? "")
  }

  /// What would make it smaller, what helps most first.
  var advice: String {
    var advice: [String] = []
    if activations > onDevice / 4 {
      if !settings.recomputes { advice.append("--memonger (activations are computed again on the way back)") }
      if batchSize > 1 {
        let half = max(1, batchSize / 2)
        advice.append(
          "--per-batch-size \(half) --accumulate \(settings.parts * batchSize / half) (the same images an update, "
            + "fewer at a time)")
      }
      if settings.precision == .float32 { advice.append("--precision bfloat16") }
    }
    if head > onDevice / 4 {
      advice.append("fewer identities (data_images_filter, num_classes) or a smaller emb_size: the head takes most")
    }
    if settings.kind == .adamw { advice.append("--optimizer sgd (half of the optimizer's state)") }
    if advice.isEmpty { advice.append("a smaller network") }
    return advice.joined(separator: "; ")
  }

  /// Complains where it does not fit.
  ///
  /// - Returns: a warning where it is close, or where it does not fit and that is allowed.
  /// - Throws: `ConfigurationError` where it does not fit.
  func check(free: Int?, allowsOversize: Bool) throws(ConfigurationError) -> String? {
    guard let free else { return nil }
    let text = "the run needs about \(Self.text(onDevice)), \(Self.text(free)) are free on \(settings.device)"
    if onDevice > free {
      guard allowsOversize else {
        throw ConfigurationError("\(text). What helps: \(advice); or try all the same with --allow-oversize")
      }
      return "warning: \(text) (--allow-oversize). What helps: \(advice)"
    }
    return onDevice > free / 10 * 9 ? "warning: \(text): it may not fit. What helps: \(advice)" : nil
  }

  /// Bytes that are free on the device.
  static func free(on device: Device) -> Int? { device.isCPU ? FreeMemory.bytes : device.memory?.free }

  static func text(_ bytes: Int) -> String {
    bytes >= limit ? "more than an exabyte" : bytes >= 10 << 30 ? "\(bytes >> 30) GiB" : "\(bytes >> 20) MiB"
  }
}
