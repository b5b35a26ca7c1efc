import Imaging

/// Draws faces of people who do not exist: as many identities as wanted, each in as many pictures as wanted.
///
/// Everything is a pure function of (seed, identity, index) and of the difficulty, whatever the threads and the order. An
/// identity fixes shape, colours, hair and marks; a picture adds pose, expression, light, background, occlusion and camera.
public struct FaceGenerator: Sendable {
  /// Side of an aligned crop, pixels.
  public static let cropSize = 112

  /// Key of everything drawn.
  public let seed: UInt64
  /// What varies between pictures, and how strongly.
  public let difficulty: Difficulty

  /// A generator for one data set.
  ///
  /// - Parameters:
  ///   - seed: key of everything drawn.
  ///   - difficulty: knobs beyond what the renderer is made for are brought back to its limits.
  public init(seed: UInt64, difficulty: Difficulty = .standard) {
    self.seed = seed
    self.difficulty = difficulty.limited
  }

  /// An aligned 112×112 crop: the five landmarks lie on the ArcFace template as far as a similarity can bring them there,
  /// up to the difficulty's jitter.
  ///
  /// - Parameters:
  ///   - identity: who; any number.
  ///   - index: which picture of that person; any number.
  public func crop(identity: Int, index: Int) -> Image {
    render(identity: identity, index: index).image
  }

  /// The crop as a JPEG file of the picture's own quality, 4:2:0.
  ///
  /// - Parameter encoder: pass one per thread to keep its buffer; a new one is made when nil.
  /// - Throws: `ImageError` when there is no memory.
  public func jpeg(identity: Int, index: Int, encoder: JPEGEncoder? = nil) throws(ImageError) -> [UInt8] {
    let (image, quality) = render(identity: identity, index: index)
    let tool: JPEGEncoder
    if let encoder { tool = encoder } else { tool = try JPEGEncoder() }
    return try tool.encode(image, quality: quality)
  }

  /// The five landmarks of a crop, in its pixels: left eye, right eye, nose tip, left and right mouth corner as seen.
  public func cropLandmarks(identity: Int, index: Int) -> [Point] {
    geometry(identity: identity, index: index).fivePoints().map { Point(Double($0.x), Double($0.y)) }
  }

  private func geometry(identity: Int, index: Int) -> FaceGeometry {
    var random = KeyedRandom(seed: seed, .appearance, identity, index)
    let appearance = FaceAppearance(&random, difficulty)
    var geometry = FaceGeometry(FaceIdentity(seed: seed, identity: identity), appearance)
    geometry.alignToCrop()
    return geometry
  }

  private func render(identity: Int, index: Int) -> (image: Image, quality: Int) {
    let size = FaceGenerator.cropSize
    var backdrop = KeyedRandom(seed: seed, .background, identity, index)
    var sensor = KeyedRandom(seed: seed, .noise, identity, index)
    let geometry = geometry(identity: identity, index: index)
    var camera = Camera(&sensor, difficulty)
    camera.meter(geometry.identity.skin)
    let canvas = Canvas(width: size, height: size)
    defer { canvas.deallocate() }
    Background.paint(canvas, &backdrop, strength: difficulty.background)
    FaceRenderer(canvas, geometry).paint()
    return (canvas.image { camera.develop(canvas, into: $0) }, camera.quality)
  }
}

extension Canvas {
  /// An image of the canvas' size, filled by `body`.
  func image(_ body: (UnsafeMutableBufferPointer<UInt8>) -> Void) -> Image {
    var image = Image(uncheckedWidth: width, height: height)
    image.withPixels(body)
    return image
  }
}
