import Imaging

/// What a detector has to know of its network: anchors, how outputs are laid out and coded, what goes in.
public struct DetectorConfiguration: Sendable, Equatable {
  /// What the deltas mean.
  public enum Coding: Sendable, Equatable {
    /// The reference's: pixels counted at both ends of a box, no variances, boxes clipped to the image.
    case pixels
    /// The PyTorch port's, SSD's: priors relative to the image, deltas times variances, no clipping.
    case priors(centreVariance: Float, sizeVariance: Float)
    /// SCRFD's: distances from the position's corner to the four sides and offsets of the points, in strides; no clipping.
    case distances
  }

  /// Which tensors the network gives.
  public enum Layout: Sendable, Equatable {
    /// For each level, in the order of `levels`: probabilities (N, 2A, H, W) with all backgrounds first, box deltas
    /// (N, 4A, H, W) and, with landmarks, (N, 10A, H, W).
    case levels
    /// Box deltas (N, P, 4), probabilities (N, P, 2), landmark deltas (N, P, 10) over all priors.
    case joined
    /// SCRFD's: scores of all levels, then distances of all, then points of all where there are any: (R, 1), (R, 4), (R, 10)
    /// for one image, R = rows · columns · A, or with a 1 in front.
    case grouped
  }

  /// When a box is dropped for a better one.
  public enum Suppression: Sendable, Equatable {
    /// At an overlap of the threshold or more, compared in double precision: the reference's `cpu_nms`.
    case atThreshold
    /// Above the threshold, compared in single precision: NumPy versions.
    case aboveThreshold
  }

  /// Anchors by stride, in the order of the network's outputs.
  public var levels: [AnchorLevel]
  /// What the deltas mean.
  public var coding: Coding
  /// Which tensors the network gives.
  public var layout: Layout
  /// When a box is dropped for a better one.
  public var suppression: Suppression
  /// Whether blue comes first.
  public var isBGR: Bool
  /// Subtracted from each channel, in the network's order.
  public var mean: [Float]
  /// What each channel is divided by after.
  public var deviation: [Float]
  /// Whether a score must exceed the threshold, not only reach it.
  public var excludesThreshold: Bool
  /// Factors of the scores of a stride, where they are not 1.
  public var scoreFactors: [Int: Float]
  /// The side of the square that every image is scaled down or up to fit, padded with the colour 0; nil shows images at
  /// the scales that the options say.
  public var inputSide: Int?

  /// The reference's detector (detection/retinaface/retinaface.py) with one of its anchor sets.
  public static func reference(_ network: ReferenceNetwork = .net3) -> DetectorConfiguration {
    DetectorConfiguration(
      levels: network.levels, coding: .pixels, layout: .levels, suppression: .atThreshold, isBGR: false,
      mean: network.mean, deviation: network.deviation, excludesThreshold: false, scoreFactors: [4: 0.5])
  }

  /// The PyTorch port's detector (biubug6/Pytorch_Retinaface, test_widerface.py).
  public static let pyTorch = DetectorConfiguration(
    levels: [
      .priors(stride: 8, sizes: [16, 32]), .priors(stride: 16, sizes: [64, 128]),
      .priors(stride: 32, sizes: [256, 512]),
    ], coding: .priors(centreVariance: 0.1, sizeVariance: 0.2), layout: .joined, suppression: .aboveThreshold,
    isBGR: true, mean: [104, 117, 123], deviation: [1, 1, 1], excludesThreshold: true, scoreFactors: [:])

  /// An SCRFD detector (python-package/insightface/model_zoo/scrfd.py of the reference): RGB, (x − 127.5) / 128.
  ///
  /// - Parameters:
  ///   - outputCount: 6 or 9 for strides 8, 16, 32 with two anchors; 10 or 15 for strides up to 128 with one.
  ///   - side: of the square that images are fitted into.
  /// - Returns: nil for another number of outputs.
  public static func scrfd(outputCount: Int, side: Int) -> DetectorConfiguration? {
    let strides: [Int]
    switch outputCount {
    case 6, 9: strides = [8, 16, 32]
    case 10, 15: strides = [8, 16, 32, 64, 128]
    default: return nil
    }
    // Where an anchor's sides are does not matter here, only how many there are.
    let box = AnchorLevel.Box(left: 0, top: 0, right: 0, bottom: 0)
    let boxes = [AnchorLevel.Box](repeating: box, count: strides.count == 3 ? 2 : 1)
    var configuration = DetectorConfiguration(
      levels: strides.map { AnchorLevel(stride: $0, boxes: boxes) }, coding: .distances, layout: .grouped,
      suppression: .aboveThreshold, isBGR: false, mean: [127.5, 127.5, 127.5], deviation: [128, 128, 128],
      excludesThreshold: false, scoreFactors: [:])
    configuration.inputSide = side
    return configuration
  }
}

/// How faces are looked for.
public struct DetectionOptions: Sendable, Equatable {
  /// At which sizes an image is shown to the network.
  public enum Scales: Sendable, Equatable {
    /// By these factors; [1] is the image as it is.
    case factors([Double])
    /// The shorter side brought to `side`, the longer one kept from exceeding `limit`: 1600 and 2150 in the reference.
    case shorterSide(Int, limit: Int)
    /// The reference's test pyramid: sides of 500 … 1700 relative to a shorter side of 800 and a longer one of 1200.
    case pyramid

    /// The factors for an image.
    public func factors(width: Int, height: Int) -> [Double] {
      func factor(_ side: Int, _ limit: Int) -> Double {
        let (short, long) = (Double(min(width, height)), Double(max(width, height)))
        let factor = Double(side) / short
        return (factor * long).rounded(.toNearestOrEven) > Double(limit) ? Double(limit) / long : factor
      }
      switch self {
      case .factors(let factors): return factors
      case .shorterSide(let side, let limit): return [factor(side, limit)]
      case .pyramid: return [500, 800, 1100, 1400, 1700].map { $0 / 800 * factor(800, 1200) }
      }
    }
  }

  /// Which of the faces found are given.
  public enum Selection: Sendable, Equatable {
    /// All, the surest first.
    case all
    /// At most so many, the largest first.
    case largest(Int)
    /// At most so many, those first that are large and near the middle: area minus twice the squared distance.
    case central(Int)
  }

  /// The least score of a face, 0…1.
  public var scoreThreshold: Double
  /// The overlap from which on the surer of two boxes stays alone; 0 keeps all boxes.
  public var suppressionThreshold: Double
  /// At which sizes an image is shown to the network.
  public var scales: Scales
  /// Whether the mirrored image is looked at too.
  public var flips: Bool
  /// Whether overlapping boxes are averaged, weighted by their scores, in place of keeping the surest; no landmarks then.
  public var votes: Bool
  /// Whether the image is padded with zeros to a multiple of 32 on the right and below: the reference's `--nocrop`.
  public var padsToStride: Bool
  /// Boxes with a side of fewer pixels are dropped.
  public var minimumSize: Double
  /// Which of the faces found are given.
  public var selection: Selection
  /// The most pixels that go into the network at once, over the images of a batch; an image beyond it is an error.
  public var pixelLimit: Int

  /// Options; the defaults are the reference's: one scale, no padding, score 0.5, overlap 0.4.
  public init(
    scoreThreshold: Double = 0.5, suppressionThreshold: Double = 0.4, scales: Scales = .factors([1]),
    flips: Bool = false, votes: Bool = false, padsToStride: Bool = false, minimumSize: Double = 0,
    selection: Selection = .all, pixelLimit: Int = 16_000_000
  ) {
    self.scoreThreshold = scoreThreshold
    self.suppressionThreshold = suppressionThreshold
    self.scales = scales
    self.flips = flips
    self.votes = votes
    self.padsToStride = padsToStride
    self.minimumSize = minimumSize
    self.selection = selection
    self.pixelLimit = pixelLimit
  }

  /// The reference's test_widerface.py with `--mode 1`: pyramid, mirrored, boxes voted, score 0.02.
  public static let widerAccurate = DetectionOptions(scoreThreshold: 0.02, scales: .pyramid, flips: true, votes: true)

  /// The reference's test_widerface.py with `--mode 0`: shorter side 1600, score 0.02.
  public static let widerFast = DetectionOptions(scoreThreshold: 0.02, scales: .shorterSide(1600, limit: 2150))
}
