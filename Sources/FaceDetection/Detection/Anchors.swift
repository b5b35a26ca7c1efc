/// The anchors of one stride: boxes around the first position, which all others repeat at steps of the stride.
public struct AnchorLevel: Sendable, Equatable {
  /// A box by its corners, in 32-bit floats as the reference keeps it.
  public struct Box: Sendable, Equatable {
    /// Left edge.
    public var left: Float
    /// Top edge.
    public var top: Float
    /// Right edge, inside the box.
    public var right: Float
    /// Bottom edge, inside the box.
    public var bottom: Float
  }

  /// Pixels from one position to the next.
  public var stride: Int
  /// The anchors of the first position.
  public var boxes: [Box]

  /// The anchors that the reference makes (rcnn/processing/generate_anchor.py).
  ///
  /// - Parameters:
  ///   - stride: pixels from one position to the next.
  ///   - scales: factors of the base size, in the order of the network's outputs.
  ///   - ratios: height over width; the outer loop.
  ///   - baseSize: side of the base box, whose corners are (0, 0) and (size − 1, size − 1).
  public static func reference(
    stride: Int, scales: [Double], ratios: [Double] = [1], baseSize: Double = 16
  ) -> AnchorLevel {
    var boxes: [Box] = []
    let centre = 0.5 * (baseSize - 1)
    for ratio in ratios {
      let width = (baseSize * baseSize / ratio).squareRoot().rounded(.toNearestOrEven)
      let height = (width * ratio).rounded(.toNearestOrEven)
      // Through corners and back, as the reference goes, which decides the last digit.
      let (x1, y1) = (centre - 0.5 * (width - 1), centre - 0.5 * (height - 1))
      let (x2, y2) = (centre + 0.5 * (width - 1), centre + 0.5 * (height - 1))
      let (baseWidth, baseHeight) = (x2 - x1 + 1, y2 - y1 + 1)
      let (centreX, centreY) = (x1 + 0.5 * (baseWidth - 1), y1 + 0.5 * (baseHeight - 1))
      for scale in scales {
        let (w, h) = (baseWidth * scale, baseHeight * scale)
        boxes.append(
          Box(
            left: Float(centreX - 0.5 * (w - 1)), top: Float(centreY - 0.5 * (h - 1)),
            right: Float(centreX + 0.5 * (w - 1)), bottom: Float(centreY + 0.5 * (h - 1))))
      }
    }
    return AnchorLevel(stride: stride, boxes: boxes)
  }

  /// Square priors of the PyTorch port, whose centres lie in the middle of a position.
  static func priors(stride: Int, sizes: [Int]) -> AnchorLevel {
    let centre = Float(stride) / 2
    return AnchorLevel(
      stride: stride,
      boxes: sizes.map { size in
        let half = Float(size) / 2
        return Box(left: centre - half, top: centre - half, right: centre + half, bottom: centre + half)
      })
  }
}

/// The anchor sets that the reference's detector knows by name (`--network` of its test_widerface.py).
public enum ReferenceNetwork: String, Sendable, CaseIterable {
  /// Strides 32, 16, 8: the released `mnet.25` and `R50`.
  case net3
  /// As `net3`, with anchors of ratio 1.5 too.
  case net3a
  /// Strides 32, 16, 8, 4.
  case net4
  /// As `net4`, with anchors of ratio 1.5 too.
  case net4a
  /// Strides 64 … 4, three anchors each: RAC_RETINA of the reference's configuration, the paper's.
  case net5
  /// As `net5`, with anchors of ratio 1.5 too.
  case net5a
  /// Strides 128 … 4, one anchor each, as PyramidBox and S3FD have them.
  case net6
  /// As `net3`, for networks that want ImageNet's mean and deviation.
  case x3
  /// As `net3a`, for networks that want ImageNet's mean and deviation.
  case x3a
  /// As `net5`, for networks that want ImageNet's mean and deviation.
  case x5

  /// Anchors by stride, the largest stride first.
  public var levels: [AnchorLevel] {
    let ratios = rawValue.hasSuffix("a") ? [1, 1.5] : [1.0]
    func level(_ stride: Int, _ scales: [Double]) -> AnchorLevel {
      .reference(stride: stride, scales: scales, ratios: ratios)
    }
    let three = [level(32, [32, 16]), level(16, [8, 4]), level(8, [2, 1])]
    switch self {
    case .net3, .net3a, .x3, .x3a: return three
    case .net4, .net4a: return three + [level(4, [2, 1])]
    case .net5, .net5a, .x5:
      // The factors are multiplied up one by one, as the reference does, which decides the last digit.
      var scale = 1.0
      var levels: [AnchorLevel] = []
      let step = 1.2599210498948732
      for stride in [4, 8, 16, 32, 64] {
        var scales: [Double] = []
        for _ in 0..<3 {
          scales.append(scale)
          scale *= step
        }
        levels.insert(level(stride, scales), at: 0)
      }
      return levels
    case .net6: return [128, 64, 32, 16, 8, 4].map { level($0, [Double($0) / 4]) }
    }
  }

  /// Mean of R, G, B that is subtracted from 0…255.
  var mean: [Float] { rawValue.hasPrefix("x") ? [123.675, 116.28, 103.52] : [0, 0, 0] }

  /// What R, G, B are divided by after.
  var deviation: [Float] { rawValue.hasPrefix("x") ? [58.395, 57.12, 57.375] : [1, 1, 1] }
}
