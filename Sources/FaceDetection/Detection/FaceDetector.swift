import Imaging
import Inference

/// Finds faces in images with a RetinaFace network: anchors, decoding, suppression, scales and mirroring as the
/// reference's `RetinaFace` class and test_widerface.py have them.
///
/// Safe to be shared between threads. Memory is bounded by `DetectionOptions.pixelLimit`.
public struct FaceDetector: Sendable {
  /// What runs the network.
  public let runner: any GraphRunner
  /// What has to be known of the network.
  public let configuration: DetectorConfiguration

  /// A detector of a network and its description.
  public init(runner: any GraphRunner, configuration: DetectorConfiguration) {
    self.runner = runner
    self.configuration = configuration
  }

  /// The faces of an image.
  ///
  /// - Throws: `DetectionError`.
  public func detect(
    _ image: Image, options: DetectionOptions = DetectionOptions()
  ) throws(DetectionError) -> [Detection] {
    try detect([image], options: options)[0]
  }

  /// The faces of each image; images of equal size, after scaling and padding, go through the network together.
  ///
  /// - Throws: `DetectionError`, which names the place of the image where there are several.
  public func detect(
    _ images: [Image], options: DetectionOptions = DetectionOptions()
  ) throws(DetectionError) -> [[Detection]] {
    try check(options)
    var passes: [[Pass]] = []
    for (index, image) in images.enumerated() {
      do throws(DetectionError) {
        passes.append(try self.passes(image, options))
      } catch {
        throw images.count == 1
          ? error : DetectionError(error.kind, "image \(index + 1): \(error.message)", advice: error.advice)
      }
    }
    // Images of one size are run together as far as the limit allows; the results go back to their places.
    var found = passes.map { [Candidates?](repeating: nil, count: $0.count) }
    var groups: [PassSize: [(image: Int, pass: Int)]] = [:]
    var order: [PassSize] = []
    for (image, list) in passes.enumerated() {
      for (index, pass) in list.enumerated() {
        if groups[pass.size] == nil { order.append(pass.size) }
        groups[pass.size, default: []].append((image, index))
      }
    }
    let decoder = OutputDecoder(configuration: configuration, threshold: Float(options.scoreThreshold))
    for size in order {
      let members = groups[size] ?? []
      let most = configuration.layout == .grouped ? 1 : max(1, options.pixelLimit / (size.width * size.height))
      for start in stride(from: 0, to: members.count, by: most) {
        let chunk = Array(members[start..<min(start + most, members.count)])
        let input = try tensor(chunk.map { (images[$0.image], passes[$0.image][$0.pass]) }, size)
        let outputs: [FloatTensor]
        do throws(GraphError) { outputs = try runner.run(input) } catch { throw DetectionError(error) }
        let decoded = try decoder.candidates(outputs, count: chunk.count, height: size.height, width: size.width)
        for (member, candidates) in zip(chunk, decoded) {
          found[member.image][member.pass] = passes[member.image][member.pass].inImage(candidates)
        }
      }
    }
    var faces: [[Detection]] = []
    for (image, list) in zip(images, found) {
      var all = Candidates()
      for candidates in list { if let candidates { all.append(candidates) } }
      faces.append(select(try suppressed(all, options), options, width: image.width, height: image.height))
    }
    return faces
  }

  private func check(_ options: DetectionOptions) throws(DetectionError) {
    guard options.scoreThreshold >= 0, options.scoreThreshold <= 1, options.suppressionThreshold >= 0,
      options.suppressionThreshold <= 1
    else {
      throw DetectionError(
        .option, "score threshold \(options.scoreThreshold) and overlap \(options.suppressionThreshold) must lie in 0…1"
      )
    }
    guard options.pixelLimit > 0, options.minimumSize >= 0 else {
      throw DetectionError(.option, "the pixel limit and the minimum size must not be negative")
    }
    if options.votes, options.suppressionThreshold == 0 {
      throw DetectionError(.option, "boxes are voted by their overlap, for which a threshold above 0 is needed")
    }
  }

  // MARK: What the network is shown

  private struct PassSize: Hashable {
    var width: Int
    var height: Int
  }

  /// One look at an image: a factor, mirrored or not.
  private struct Pass {
    var factor: Double
    var isFlipped: Bool
    /// The scaled image before padding.
    var width: Int
    var height: Int
    /// What goes into the network.
    var size: PassSize

    /// Candidates of this pass in pixels of the image as it came.
    func inImage(_ candidates: Candidates) -> Candidates {
      var result = candidates
      // Mirrored at the edge of the picture itself, not at that of its padding.
      let edge = Double(width - 1)
      for index in result.boxes.indices {
        var box = result.boxes[index]
        if isFlipped { (box.left, box.right) = (max(0, edge - box.right), max(0, edge - box.left)) }
        box.left /= factor
        box.top /= factor
        box.right /= factor
        box.bottom /= factor
        result.boxes[index] = box
      }
      guard !result.landmarks.isEmpty else { return result }
      let single = Float(factor)
      for index in result.boxes.indices {
        if isFlipped {
          for point in 0..<5 {
            result.landmarks[10 * index + 2 * point] = Float(width) - result.landmarks[10 * index + 2 * point] - 1
          }
          // Left and right change their names: eyes, then corners of the mouth.
          for (a, b) in [(0, 1), (3, 4)] {
            result.landmarks.swapAt(10 * index + 2 * a, 10 * index + 2 * b)
            result.landmarks.swapAt(10 * index + 2 * a + 1, 10 * index + 2 * b + 1)
          }
        }
        for place in 10 * index..<10 * index + 10 { result.landmarks[place] /= single }
      }
      return result
    }
  }

  private func passes(_ image: Image, _ options: DetectionOptions) throws(DetectionError) -> [Pass] {
    var passes: [Pass] = []
    if let side = configuration.inputSide {
      let pass = try fitted(image, side, options)
      for isFlipped in options.flips ? [false, true] : [false] {
        passes.append(pass)
        passes[passes.count - 1].isFlipped = isFlipped
      }
      return passes
    }
    for factor in options.scales.factors(width: image.width, height: image.height) {
      let (columns, rows) = (
        (Double(image.width) * factor).rounded(.toNearestOrEven),
        (Double(image.height) * factor).rounded(.toNearestOrEven)
      )
      guard factor > 0, columns >= 1, rows >= 1, columns * rows <= Double(options.pixelLimit) else {
        throw DetectionError(
          .image,
          "an image of \(image.width)×\(image.height) scaled by \(factor) does not have 1…\(options.pixelLimit) "
            + "pixels", advice: "scale it down, or raise the pixel limit")
      }
      let (width, height) = (Int(columns), Int(rows))
      var size = PassSize(width: width, height: height)
      if options.padsToStride {
        size = PassSize(width: (width + 31) / 32 * 32, height: (height + 31) / 32 * 32)
      }
      for isFlipped in options.flips ? [false, true] : [false] {
        passes.append(Pass(factor: factor, isFlipped: isFlipped, width: width, height: height, size: size))
      }
    }
    return passes
  }

  /// The image scaled to fit into a square, sides cut to whole pixels as SCRFD's `detect` does.
  private func fitted(_ image: Image, _ side: Int, _ options: DetectionOptions) throws(DetectionError) -> Pass {
    guard side > 0, side <= 1 << 15, side * side <= options.pixelLimit else {
      throw DetectionError(
        .option, "a square of \(side)×\(side) does not have 1…\(options.pixelLimit) pixels",
        advice: "take a smaller one, or raise the pixel limit")
    }
    let ratio = Double(image.height) / Double(image.width)
    let (width, height) =
      ratio > 1 ? (Int(Double(side) / ratio), side) : (side, Int(Double(side) * ratio))
    guard width > 0, height > 0 else {
      throw DetectionError(
        .image, "an image of \(image.width)×\(image.height) is too narrow for a square of \(side)×\(side)",
        advice: "cut it first")
    }
    return Pass(
      factor: Double(height) / Double(image.height), isFlipped: false, width: width, height: height,
      size: PassSize(width: side, height: side))
  }

  /// (N, 3, H, W), normalised; padding is the colour 0 before it is normalised, as in the reference.
  private func tensor(_ members: [(image: Image, pass: Pass)], _ size: PassSize) throws(DetectionError) -> FloatTensor {
    let plane = size.width * size.height
    var elements = [Float](repeating: 0, count: members.count * 3 * plane)
    for channel in 0..<3 {
      let padding = (0 - configuration.mean[channel]) / configuration.deviation[channel]
      guard padding != 0 else { continue }
      for member in members.indices {
        let start = (3 * member + channel) * plane
        for index in start..<start + plane { elements[index] = padding }
      }
    }
    for (place, (image, pass)) in members.enumerated() {
      var scaled = image
      if configuration.inputSide != nil {
        do throws(ImageError) {
          scaled = try image.resized(width: pass.width, height: pass.height)
        } catch {
          throw DetectionError(error)
        }
      } else if pass.factor != 1 {
        do throws(ImageError) { scaled = try image.resized(by: pass.factor) } catch { throw DetectionError(error) }
      }
      if pass.isFlipped { scaled.flipHorizontally() }
      let (width, height) = (scaled.width, scaled.height)
      elements.withUnsafeMutableBufferPointer { output in
        scaled.pixels.withUnsafeBufferPointer { pixels in
          for channel in 0..<3 {
            let source = configuration.isBGR ? 2 - channel : channel
            let (mean, deviation) = (configuration.mean[channel], configuration.deviation[channel])
            let start = (3 * place + channel) * plane
            for y in 0..<height {
              let row = start + y * size.width
              for x in 0..<width {
                output[row + x] = (Float(pixels[3 * (y * width + x) + source]) - mean) / deviation
              }
            }
          }
        }
      }
    }
    do throws(GraphError) {
      return try FloatTensor(shape: [members.count, 3, size.height, size.width], elements: elements)
    } catch {
      throw DetectionError(error)
    }
  }

  // MARK: What is given

  private func suppressed(
    _ candidates: Candidates, _ options: DetectionOptions
  ) throws(DetectionError) -> [Detection] {
    var sorted = candidates.sortedByScore()
    sorted.roundBoxes()
    if options.votes { return Suppression.voted(sorted, threshold: options.suppressionThreshold) }
    guard options.suppressionThreshold > 0 else { return sorted.boxes.indices.map(sorted.detection) }
    return try Suppression.kept(
      sorted.boxes, threshold: options.suppressionThreshold, rule: configuration.suppression
    ).map(sorted.detection)
  }

  private func select(
    _ detections: [Detection], _ options: DetectionOptions, width: Int, height: Int
  ) -> [Detection] {
    let large = detections.filter {
      $0.box.width + 1 >= options.minimumSize && $0.box.height + 1 >= options.minimumSize
    }
    func first(_ count: Int, by value: (BoundingBox) -> Double) -> [Detection] {
      let order = large.indices.map { (index: $0, value: value(large[$0].box)) }
        .sorted { $0.value != $1.value ? $0.value > $1.value : $0.index < $1.index }
      return order.prefix(max(0, count)).map { large[$0.index] }
    }
    switch options.selection {
    case .all: return large
    case .largest(let count): return first(count) { $0.width * $0.height }
    case .central(let count):
      return first(count) { box in
        let dx = (box.left + box.right) / 2 - Double(width) / 2
        let dy = (box.top + box.bottom) / 2 - Double(height) / 2
        return box.width * box.height - 2 * (dx * dx + dy * dy)
      }
    }
  }
}
