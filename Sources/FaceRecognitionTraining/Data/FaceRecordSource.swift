import FaceRecognition
import Formats
import Imaging
import Jobs
import Training

/// The faces of a record file as training samples: decoded to RGB, mirrored, cut (`FaceImageIter` of the reference).
public struct FaceRecordSource: SampleSource {
  /// What happens to a face on its way in.
  public struct Augmentation: Sendable, Equatable {
    /// Mirror with probability one half (`data_rand_mirror`).
    public var mirrors: Bool
    /// Side of a square that is filled with 128 with probability one half, 0 for none (`data_cutoff`).
    public var cutoff: Int
    /// 1: brightness, contrast and saturation vary by an eighth; 2: and with probability one half the face goes through a
    /// JPEG of low quality (`data_color`).
    public var color: Int

    /// The reference's default: mirror, no cutoff, colours as they are.
    public init(mirrors: Bool = true, cutoff: Int = 0, color: Int = 0) {
      self.mirrors = mirrors
      self.cutoff = cutoff
      self.color = color
    }
  }

  /// The record file.
  public let file: FaceRecordFile
  /// Rows and columns of a face.
  public let imageSize: Int
  private let augmentation: Augmentation
  private let classCount: Int
  /// Positions in the file when identities with few images are left out; nil: all.
  private let kept: [UInt32]?
  /// Identities whose images are taken, where the file groups them.
  public let identityCount: Int?
  /// Neighbours in the file that are read together; empty where a disk may seek.
  public let chunks: [Range<Int>]

  /// A source over the identities that have at least `minimumImages` images (`data_images_filter`).
  ///
  /// - Parameter chunkBytes: the size of the pieces of the file that are read in one go and shuffled as a whole
  ///   (`is_shuffled_rec`, `shuffle_chunk`); nil: every image is read where it lies.
  public init(
    _ file: FaceRecordFile, imageSize: Int, classCount: Int, augmentation: Augmentation = Augmentation(),
    minimumImages: Int = 0, chunkBytes: Int? = nil
  ) throws {
    self.file = file
    self.imageSize = imageSize
    self.classCount = classCount
    self.augmentation = augmentation
    if minimumImages > 0, let ranges = try file.identityRanges() {
      let many = ranges.filter { $0.count >= minimumImages }
      kept = many.flatMap { $0.map { UInt32($0) } }
      identityCount = many.count
    } else {
      kept = nil
      identityCount = file.identityCount
    }
    if let chunkBytes {
      chunks = try Self.chunks(file, kept, size: max(1, chunkBytes))
    } else {
      chunks = []
    }
  }

  /// Runs of samples whose records begin within `size` bytes.
  private static func chunks(_ file: FaceRecordFile, _ kept: [UInt32]?, size: Int) throws(FormatError) -> [Range<Int>] {
    let count = kept?.count ?? file.imageCount
    var chunks: [Range<Int>] = []
    var (start, begin, last) = (0, 0, 0)
    for sample in 0..<count {
      let offset = try file.offset(at: kept.map { Int($0[sample]) } ?? sample)
      if sample > start && (offset - begin >= size || offset < last) {
        chunks.append(start..<sample)
        start = sample
      }
      if sample == start { begin = offset }
      last = offset
    }
    if start < count { chunks.append(start..<count) }
    return chunks
  }

  private func position(_ sample: Int) -> Int { kept.map { Int($0[sample]) } ?? sample }

  /// Reads the part of the file in which a chunk lies from one end to the other; errors show when the images are read.
  public func willRead(_ chunk: Range<Int>) {
    guard let first = chunk.first, let last = chunk.last, let begin = try? file.offset(at: position(first)),
      let end = try? file.offset(at: position(last))
    else { return }
    file.reader.readThrough(begin..<max(begin, end))
  }

  /// Images.
  public var count: Int { kept?.count ?? file.imageCount }
  /// 3 · imageSize².
  public var sampleSize: Int { 3 * imageSize * imageSize }

  /// The samples of each identity, by their numbers in this source; nil where the file has no identity records.
  public func identities() throws(FormatError) -> [Range<Int>]? {
    guard let ranges = try file.identityRanges() else { return nil }
    guard let kept else { return ranges }
    var (next, groups) = (0, [Range<Int>]())
    for range in ranges {
      guard let start = range.first, next < kept.count, Int(kept[next]) == start else { continue }
      groups.append(next..<next + range.count)
      next += range.count
    }
    return groups
  }

  /// A decoder and a buffer for one thread.
  public func makeReader() throws -> any SampleReader {
    Reader(self, try FaceDecoder(size: imageSize))
  }

  /// The labels' range: every identity's first image that can be read where the file has identity records, every image otherwise.
  ///
  /// Throws the first label that does not fit in 0 ..< classCount, so that a wrong `num_classes` shows before the first
  /// step and not, as an index out of range, hours later.
  public func checkLabels() throws(FormatError) {
    var buffer = RecordBuffer()
    if let ranges = try file.identityRanges() {
      guard ranges.count <= classCount else {
        throw FormatError(
          .mismatch, "the file has \(ranges.count) identities, num_classes is \(classCount)", path: file.path,
          advice: "set num_classes=\(ranges.count) (--set num_classes=\(ranges.count)), or correct the property file")
      }
      for range in ranges {
        // A broken record is the loader's business: counted and named when its turn comes. The next one speaks for it.
        for position in range {
          guard let face = try? file.readImage(at: position, into: &buffer) else { continue }
          try checked(face.label, at: position)
          break
        }
      }
    } else {
      for position in 0..<file.imageCount {
        guard let face = try? file.readImage(at: position, into: &buffer) else { continue }
        try checked(face.label, at: position)
      }
    }
  }

  @discardableResult
  private func checked(_ label: Float, at position: Int) throws(FormatError) -> Int64 {
    guard label >= 0, label < Float(classCount), label == label.rounded() else {
      throw FormatError(
        .mismatch, "the image at position \(position) has the label \(label), num_classes is \(classCount)",
        path: file.path,
        advice:
          "set num_classes above the largest label (--set num_classes=…); where the .idx may belong to other records, "
          + "`insightface dataset check` tells")
    }
    return Int64(label)
  }

  private final class Reader: SampleReader {
    private let source: FaceRecordSource
    private let decoder: FaceDecoder
    private var buffer = RecordBuffer()
    private var color: ColorAugmenter?

    init(_ source: FaceRecordSource, _ decoder: FaceDecoder) {
      self.source = source
      self.decoder = decoder
    }

    func read(
      _ index: Int, into pixels: UnsafeMutableBufferPointer<UInt8>, random: inout CounterRandom
    ) throws -> Int64 {
      let position = source.position(index)
      let size = source.imageSize
      let face = try source.file.readImage(at: position, into: &buffer)
      let label: Int64
      do {
        label = try source.checked(face.label, at: position)
      } catch {
        throw LoaderError("\(error)")
      }
      do {
        try buffer.bytes.withUnsafeBytes { all in
          try decoder.decode(UnsafeRawBufferPointer(rebasing: all[face.encoded]), into: pixels)
        }
      } catch let error as ImageError {
        throw error.located(path: source.file.path, offset: UInt64(try source.file.offset(at: position)))
      }
      if source.augmentation.mirrors && random.next(below: 2) == 1 {
        Image.flipHorizontally(pixels, width: size, height: size)
      }
      if source.augmentation.color > 0 {
        let augmenter = try color ?? ColorAugmenter(size: size)
        color = augmenter
        try augmenter.apply(to: pixels, compresses: source.augmentation.color > 1, &random)
      }
      if source.augmentation.cutoff > 0 && random.next(below: 2) == 1 { cut(pixels, &random) }
      return label
    }

    /// A square around a random centre becomes grey, as the reference's cutoff does.
    private func cut(_ pixels: UnsafeMutableBufferPointer<UInt8>, _ random: inout CounterRandom) {
      let size = source.imageSize
      let half = source.augmentation.cutoff / 2
      let (row, column) = (random.next(below: size), random.next(below: size))
      for y in max(0, row - half)..<min(size, row + half) {
        for x in max(0, column - half)..<min(size, column + half) {
          for c in 0..<3 { pixels[3 * (y * size + x) + c] = 128 }
        }
      }
    }
  }
}
