import Imaging
import Jobs

/// Colour jitter and JPEG compression, `data_color` of the reference; one for each thread.
///
/// The jitter is MXNet's `ColorJitterAug(0.125, 0.125, 0.125)`: brightness, contrast and saturation in a drawn order, each
/// by a factor α drawn from 0.875 … 1.125 (rows are RGB, grey is 0.299 R + 0.587 G + 0.114 B):
///
///     brightness: α x      contrast: α x + (1 − α) · mean grey      saturation: α x + (1 − α) · grey
///
/// The result is rounded and held in 0 … 255, which the reference does not do: its batches are float32.
final class ColorAugmenter {
  private let size: Int
  private let encoder: JPEGEncoder
  private let decoder: JPEGDecoder
  private var values: [Float]
  private static let grey: (Float, Float, Float) = (0.299, 0.587, 0.114)

  init(size: Int) throws(ImageError) {
    self.size = size
    encoder = try JPEGEncoder()
    decoder = try JPEGDecoder()
    values = [Float](repeating: 0, count: 3 * size * size)
  }

  /// Changes RGB rows [size, size, 3] in place.
  func apply(
    to pixels: UnsafeMutableBufferPointer<UInt8>, compresses: Bool, _ random: inout CounterRandom
  ) throws {
    if compresses && random.next(below: 2) == 1 {
      let quality = 2 + random.next(below: 19)
      let image = try Image(width: size, height: size, pixels: Array(pixels))
      let encoded = try encoder.encode(image, quality: quality)
      try encoded.withUnsafeBytes { try decoder.decode($0, into: pixels, width: size, height: size) }
    }
    for (i, pixel) in pixels.enumerated() { values[i] = Float(pixel) }
    var order: [(inout [Float], Float) -> Void] = [Self.brightness, Self.contrast, Self.saturation]
    for i in [2, 1] { order.swapAt(i, random.next(below: i + 1)) }
    for change in order { change(&values, 0.875 + 0.25 * Float(random.next(below: 1 << 24)) / Float(1 << 24)) }
    for (i, value) in values.enumerated() { pixels[i] = UInt8(min(max(value.rounded(), 0), 255)) }
  }

  static func brightness(_ x: inout [Float], _ alpha: Float) {
    for i in x.indices { x[i] *= alpha }
  }

  static func contrast(_ x: inout [Float], _ alpha: Float) {
    var sum = 0.0
    for i in stride(from: 0, to: x.count - 2, by: 3) {
      sum += Double(grey.0 * x[i] + grey.1 * x[i + 1] + grey.2 * x[i + 2])
    }
    let shift = (1 - alpha) * Float(sum / Double(x.count / 3))
    for i in x.indices { x[i] = x[i] * alpha + shift }
  }

  static func saturation(_ x: inout [Float], _ alpha: Float) {
    for i in stride(from: 0, to: x.count - 2, by: 3) {
      let shift = (1 - alpha) * (grey.0 * x[i] + grey.1 * x[i + 1] + grey.2 * x[i + 2])
      for c in i..<i + 3 { x[c] = x[c] * alpha + shift }
    }
  }
}
