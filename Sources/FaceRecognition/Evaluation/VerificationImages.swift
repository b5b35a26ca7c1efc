import Formats
import Imaging

/// The images of a verification set as a network sees them.
///
/// They stay encoded in memory (LFW: 60 MB instead of 3.6 GB as floats) and are decoded batch by batch.
public struct VerificationImages: Sendable {
  /// The set's name in logs, such as "lfw".
  public let name: String
  /// Where it was read from.
  public let path: String
  /// Rows and columns of an image.
  public let imageSize: Int
  /// Whether each pair shows one person.
  public var isSame: [Bool] { pairs.isSame }
  private let pairs: VerificationSet

  /// Reads a verification set (`lfw.bin` and its like); at least as many pairs as folds must be there.
  public init(path: String, imageSize: Int, name: String? = nil) throws(FormatError) {
    self.path = path
    self.imageSize = imageSize
    pairs = try VerificationSet.read(path: path)
    let file = path.split(separator: "/").last.map(String.init) ?? path
    self.name = name ?? (file.hasSuffix(".bin") ? String(file.dropLast(4)) : file)
  }

  /// Images: two a pair.
  public var count: Int { pairs.images.count }

  /// Embeds every image and its mirror image, a batch at a time.
  ///
  /// - Parameters:
  ///   - batchSize: the largest N.
  ///   - embed: gets N images of uint8 RGB [N, imageSize, imageSize, 3] and returns their embeddings [N · D] and those of
  ///     the mirrored images.
  ///   - progress: is told after each batch how many images are done; returns false to stop.
  /// - Returns: the two matrices, or nil when stopped.
  public func embeddings(
    batchSize: Int, embed: (UnsafeBufferPointer<UInt8>, Int) throws -> (original: [Float], flipped: [Float]),
    progress: (Int) -> Bool = { _ in true }
  ) throws -> (original: EmbeddingMatrix, flipped: EmbeddingMatrix)? {
    let size = 3 * imageSize * imageSize
    let decoder = try FaceDecoder(size: imageSize)
    let pixels = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: max(1, batchSize) * size)
    defer { pixels.deallocate() }
    var (original, flipped): ([Float], [Float]) = ([], [])
    var start = 0
    while start < count {
      let n = min(max(1, batchSize), count - start)
      for i in 0..<n {
        try decode(start + i, decoder, into: UnsafeMutableBufferPointer(rebasing: pixels[i * size..<(i + 1) * size]))
      }
      let made = try embed(UnsafeBufferPointer(rebasing: pixels[0..<n * size]), n)
      original += made.original
      flipped += made.flipped
      start += n
      if !progress(start) { return nil }
    }
    let columns = count > 0 ? original.count / count : 0
    return (
      try EmbeddingMatrix(rows: count, columns: columns, values: original),
      try EmbeddingMatrix(rows: count, columns: columns, values: flipped)
    )
  }

  /// Decodes one image as the reference's `load_bin`: the short side is brought to size where the width differs.
  private func decode(
    _ index: Int, _ decoder: FaceDecoder, into slot: UnsafeMutableBufferPointer<UInt8>
  ) throws(FormatError) {
    do {
      switch pairs.images[index] {
      case .encoded(let bytes):
        let outcome = bytes.withUnsafeBytes { raw in
          Result { () throws(ImageError) in try decoder.decode(raw, into: slot) }
        }
        try outcome.get()
      case .pixels(let height, let width, let channels, let values):
        // cv2's order is BGR.
        var rgb: [UInt8] = []
        rgb.reserveCapacity(3 * width * height)
        for i in 0..<width * height {
          for c in 0..<3 { rgb.append(channels >= 3 ? values[i * channels + 2 - c] : values[i * channels]) }
        }
        try decoder.fit(Image(width: width, height: height, pixels: rgb), into: slot)
      }
    } catch {
      throw FormatError(
        .corrupt, "image \(index) (of pair \(index / 2)): \(error)", path: path,
        advice: "make the set anew, or take the pair out")
    }
  }
}
