import FaceRecognition
import Formats
import Imaging
import Jobs
import Torch
import Training

/// Mean embeddings of identities as a head's first weights (`--head class-mean`).
///
/// One pass over the images; memory is that of the head's weight, once more.
struct ClassMeans {
  /// What came of the pass.
  struct Report {
    var images = 0
    var unreadable = 0
    var filledClasses = 0
  }

  let network: TrainableNetwork
  let device: Device
  let batchSize: Int
  /// Told how many images are done; what it throws ends the pass.
  let progress: (Int, Int) throws -> Void

  /// Overwrites the rows of `weight` [K, D] or [K · centres, D] whose identity has images with the mean of its normalised
  /// embeddings, brought to the length that the row had.
  ///
  /// Rows of one identity that lie beside each other (sub-centres) get the mean turned a little towards what they were, so
  /// that they do not stay one.
  func fill(_ weight: Tensor, classCount: Int, from source: FaceRecordSource) throws -> Report {
    let size = source.imageSize
    let centres = weight.shape[0] / classCount
    let width = weight.shape[1]
    var sums = [Float](repeating: 0, count: classCount * width)
    var counts = [UInt32](repeating: 0, count: classCount)
    var report = Report()
    let reader = try source.makeReader()
    let pixels = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: batchSize * source.sampleSize)
    defer { pixels.deallocate() }
    var labels: [Int] = []
    var embedder = NetworkEmbedder(network, device: device, imageSize: size)

    func flush() throws {
      guard !labels.isEmpty else { return }
      let rows = try embedder.original(
        UnsafeBufferPointer(rebasing: pixels[..<(labels.count * source.sampleSize)]), labels.count)
      for (index, label) in labels.enumerated() {
        let row = rows[index * width..<(index + 1) * width]
        let length = row.reduce(0) { $0 + Double($1) * Double($1) }.squareRoot()
        guard length > 0, length.isFinite else { continue }
        counts[label] += 1
        for (column, value) in row.enumerated() { sums[label * width + column] += value / Float(length) }
      }
      labels.removeAll(keepingCapacity: true)
    }

    for index in 0..<source.count {
      var random = CounterRandom(0)
      let slot = pixels[labels.count * source.sampleSize..<(labels.count + 1) * source.sampleSize]
      do {
        let label = try reader.read(index, into: UnsafeMutableBufferPointer(rebasing: slot), random: &random)
        labels.append(Int(label))
        report.images += 1
      } catch let error as LoaderError {
        throw error
      } catch {
        report.unreadable += 1
      }
      if labels.count == batchSize {
        try flush()
        try progress(index + 1, source.count)
      }
    }
    try flush()

    var rows = weight.floats
    for label in 0..<classCount where counts[label] > 0 {
      let mean = sums[label * width..<(label + 1) * width]
      let length = mean.reduce(0) { $0 + Double($1) * Double($1) }.squareRoot()
      guard length > 0, length.isFinite else { continue }
      report.filledClasses += 1
      for row in label * centres..<(label + 1) * centres {
        let old = rows[row * width..<(row + 1) * width]
        let oldLength = old.reduce(0) { $0 + Double($1) * Double($1) }.squareRoot()
        let share: Double = centres == 1 ? 0 : 0.1
        for (column, value) in mean.enumerated() {
          let kept = Double(rows[row * width + column])
          rows[row * width + column] = Float(Double(value) / length * oldLength * (1 - share) + kept * share)
        }
      }
    }
    weight.copy(from: Tensor(rows, shape: weight.shape))
    return report
  }
}
