import FaceDetection
import Training

/// The loss of a few batches of training crops that are the same whenever they are asked for.
///
/// The network judges them as it would be used, with its running statistics, and does not learn from them.
struct DetectionProbe {
  private let source: any SampleSource
  private let batches: Int
  private let settings: BatchLoader.Settings

  /// nil where no crops are wanted.
  init?(_ source: any SampleSource, _ c: DetectionConfiguration) {
    guard c.probeBatches > 0 else { return nil }
    self.source = source
    batches = c.probeBatches
    // A seed of its own: crops that training happens to draw too would say less.
    settings = .init(batchSize: c.batchSize, seed: c.seed ^ 0x70_726F_6265, threads: c.decodeThreads)
  }

  /// Crops that are looked at.
  var count: Int { batches * settings.batchSize }

  /// The mean loss over the batches.
  func callAsFunction(_ update: DetectionUpdate) throws -> MultiTaskLoss.Parts {
    let loader = try BatchLoader(source, settings)
    defer { loader.stop() }
    var mean = MultiTaskLoss.Parts()
    for _ in 0..<batches {
      let batch = try loader.next()
      let parts = try update.loss(of: batch)
      loader.recycle(batch)
      mean.classes += parts.classes / Double(batches)
      mean.boxes += parts.boxes / Double(batches)
      mean.landmarks += parts.landmarks / Double(batches)
    }
    return mean
  }
}
