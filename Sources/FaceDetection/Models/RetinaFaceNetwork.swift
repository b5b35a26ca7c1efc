import Inference

/// RetinaFace (arXiv 1905.00641) as the reference builds it: backbone, feature pyramid, SSH context modules, and for each
/// stride a head for classes, boxes and five landmarks.
///
/// Reference: detection/retinaface/rcnn/symbol. Input: RGB, 0…255, any size.
public struct RetinaFaceNetwork: Sendable, Hashable {
  /// What computes the features.
  public enum Backbone: String, Sendable, Hashable, CaseIterable {
    /// MobileNet v1 with a quarter of its channels: `mnet`.
    case mobileNet025 = "mnet"
    /// ResNet v2 of 50 layers: `resnet`.
    case resNet50 = "resnet50"
    /// ResNet v2 of 152 layers.
    case resNet152 = "resnet152"
  }

  /// How the pyramid goes down, which names its layers have, and how wide the context modules are.
  public enum Pyramid: String, Sendable, Hashable, CaseIterable {
    /// As in the released checkpoints `mnet.25` and `R50`: each level merges the merged level above it.
    case released
    /// As in the reference's present source: each level merges the lateral level above it; strides up to 64.
    case current
  }

  /// What computes the features.
  public var backbone: Backbone
  /// How the pyramid is built.
  public var pyramid: Pyramid
  /// Strides of the heads, largest first, of 4, 8, 16, 32 and 64; `released` has 32, 16 and 8.
  public var strides: [Int]
  /// Anchors a position.
  public var anchors: Int

  /// A network; the strides and anchors are those of the released ones unless told otherwise.
  public init(
    backbone: Backbone, pyramid: Pyramid = .released, strides: [Int] = [32, 16, 8], anchors: Int = 2
  ) {
    self.backbone = backbone
    self.pyramid = pyramid
    self.strides = strides
    self.anchors = anchors
  }

  /// The network without weights; outputs for each stride, largest first, as `faceOutputs` gives them.
  ///
  /// - Throws: `GraphError.invalid` for strides that the pyramid does not have.
  public func graph(height: Int = 640, width: Int = 640) throws(GraphError) -> NetworkGraph {
    let known = pyramid == .released ? [32, 16, 8] : [64, 32, 16, 8, 4]
    guard !strides.isEmpty, strides == strides.sorted(by: >), Set(strides).count == strides.count,
      strides.allSatisfy(known.contains), pyramid == .current || strides == known
    else {
      throw GraphError(
        .invalid, message: "a \(pyramid.rawValue) pyramid has no heads at strides \(strides)",
        advice: "use \(known), or for the current pyramid some of them, largest first")
    }
    var builder = GraphBuilder(input: "data", channels: 3, height: height, width: width)
    let features =
      switch backbone {
      case .mobileNet025: builder.mobileNet025(builder.input)
      case .resNet50: builder.resNetV2(builder.input, units: [3, 4, 6, 3])
      case .resNet152: builder.resNetV2(builder.input, units: [3, 8, 36, 3])
      }
    let outputs =
      switch pyramid {
      case .released: builder.releasedPyramid(features, isMobile: backbone == .mobileNet025, anchors: anchors)
      case .current:
        builder.currentPyramid(
          features, strides: strides, filters: backbone == .mobileNet025 ? 64 : 256, anchors: anchors)
      }
    return try builder.finish(
      outputs,
      preprocessing: Preprocessing(
        colourOrder: .rgb, height: height, width: width, mean: [0], scale: [1], isInsideGraph: false))
  }
}

/// Feature maps of a backbone by their stride.
typealias FeatureMaps = [Int: GraphBuilder.Value]
