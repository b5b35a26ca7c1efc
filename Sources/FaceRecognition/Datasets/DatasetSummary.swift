import Formats
import Glibc
import Imaging

/// What a record file holds, told without decoding its images.
public struct RecordSummary: Sendable {
  /// The file.
  public let path: String
  /// How many bytes it has.
  public let byteCount: Int
  /// How its records are laid out.
  public let layout: FaceRecordFile.Layout
  /// How many images.
  public let imageCount: Int
  /// How many identities: by identity records, else by labels.
  public let identityCount: Int
  /// The fewest images of an identity; 0 where there is none.
  public let minimumImages: Int
  /// The median of the images per identity; 0 where there is none.
  public let medianImages: Double
  /// The most images of an identity; 0 where there is none.
  public let maximumImages: Int
  /// The sizes of the first images and how many of them have each.
  public let firstSizes: [PixelSize: Int]
  /// Images among the first whose size could not be read.
  public let unreadableCount: Int
  /// The property beside the records; nil where there is none.
  public let property: Property?
  /// Whether an index stands beside the records.
  public let hasIndex: Bool

  /// The sizes, `112×112 (16)`.
  public var firstSizesText: String { describe(firstSizes) }

  /// How many images `firstSizes` looks at.
  public static let sampleCount = 16

  /// Reads index, identity records and property of the file at `path`, and the labels of all images where the file does
  /// not group them (layout *plain*).
  public init(path: String, progress: (Int, Int) -> Void = { _, _ in }) throws(FormatError) {
    let file = try FaceRecordFile(path: path)
    var counts: [Int]
    if let ranges = try file.identityRanges() {
      counts = ranges.map(\.count)
    } else {
      var buffer = RecordBuffer()
      var byLabel: [Float: Int] = [:]
      for position in 0..<file.imageCount {
        byLabel[try file.readImage(at: position, into: &buffer).label, default: 0] += 1
        progress(position + 1, file.imageCount)
      }
      counts = Array(byLabel.values)
    }
    counts.sort()
    var sizes: [PixelSize: Int] = [:]
    var unreadable = 0
    for position in 0..<min(Self.sampleCount, file.imageCount) {
      let encoded = try file.image(at: position).encoded
      let size = encoded.withUnsafeBytes { pixelSize($0) }
      if let size { sizes[size, default: 0] += 1 } else { unreadable += 1 }
    }
    let propertyPath = "\(FilePath.folder(of: path))/property"
    property = fileExists(propertyPath) ? try Property(path: propertyPath) : nil
    self.path = path
    byteCount = file.reader.byteCount
    layout = file.layout
    imageCount = file.imageCount
    identityCount = counts.count
    minimumImages = counts.first ?? 0
    maximumImages = counts.last ?? 0
    medianImages = median(ofSorted: counts)
    firstSizes = sizes
    unreadableCount = unreadable
    hasIndex = fileExists(indexPath(for: path))
  }
}

/// What a verification set holds.
public struct VerificationSummary: Sendable {
  /// The file.
  public let path: String
  /// Pairs.
  public let pairCount: Int
  /// Pairs of one person.
  public let sameCount: Int
  /// The pickle protocol that the file names, 2 to 5; nil for protocols 0 and 1, which name none.
  public let pickleProtocol: Int?
  /// Images stored as arrays of pixels; all others are JPEG or PNG files.
  public let pixelArrayCount: Int
  /// The sizes of the first images and how many of them have each.
  public let firstSizes: [PixelSize: Int]

  /// The sizes, `112×112 (16)`.
  public var firstSizesText: String { describe(firstSizes) }

  /// Reads the file at `path`.
  public init(path: String) throws(FormatError) {
    let set = try VerificationSet.read(path: path)
    self.path = path
    pairCount = set.isSame.count
    sameCount = set.isSame.count { $0 }
    let front = try PositionedFile(path: path).read(count: 2, at: 0)
    pickleProtocol = front[0] == 0x80 ? Int(front[1]) : nil
    pixelArrayCount = set.images.count { if case .pixels = $0 { true } else { false } }
    var sizes: [PixelSize: Int] = [:]
    for image in set.images.prefix(RecordSummary.sampleCount) {
      switch image {
      case .encoded(let bytes):
        if let size = bytes.withUnsafeBytes({ pixelSize($0) }) { sizes[size, default: 0] += 1 }
      case .pixels(let height, let width, _, _):
        sizes[PixelSize(width: width, height: height), default: 0] += 1
      }
    }
    firstSizes = sizes
  }
}

/// What a folder of identity folders holds, told without decoding its images.
public struct FolderSummary: Sendable {
  /// The folder.
  public let path: String
  /// How many files are images by their names.
  public let imageCount: Int
  /// How many identity folders hold images.
  public let identityCount: Int
  /// The images per identity: fewest, median, most.
  public let imagesPerIdentity: (least: Int, median: Double, most: Int)
  /// Identity folders without images.
  public let emptyFolderCount: Int
  /// Files that are no images by their names.
  public let otherFileCount: Int
  /// The sizes of the first images and how many of them have each.
  public let firstSizes: [PixelSize: Int]
  /// Images among the first whose size could not be read.
  public let unreadableCount: Int

  /// The sizes, `112×112 (16)`.
  public var firstSizesText: String { describe(firstSizes) }

  /// Looks into the folders below `path`.
  ///
  /// Throws `.notFound` where there are no identity folders with images.
  public init(path: String) throws(FormatError) {
    let list = try ImageList(folder: path)
    let counts = list.identities.map(\.paths.count).filter { $0 > 0 }.sorted()
    var sizes: [PixelSize: Int] = [:]
    var unreadable = 0
    for file in list.identities.lazy.flatMap(\.paths).prefix(RecordSummary.sampleCount) {
      // A file that cannot be read is what a check reports; here it is counted with those that do not decode.
      let size = (try? contents(file)).flatMap { bytes in bytes.withUnsafeBytes { pixelSize($0) } }
      if let size { sizes[size, default: 0] += 1 } else { unreadable += 1 }
    }
    self.path = path
    imageCount = list.imageCount
    identityCount = counts.count
    imagesPerIdentity = (counts.first ?? 0, median(ofSorted: counts), counts.last ?? 0)
    emptyFolderCount = list.identities.count - counts.count
    otherFileCount = list.otherFileCount
    firstSizes = sizes
    unreadableCount = unreadable
  }
}

/// 0 where there are none.
private func median(ofSorted counts: [Int]) -> Double {
  guard !counts.isEmpty else { return 0 }
  let middle = counts.count / 2
  return counts.count % 2 == 1 ? Double(counts[middle]) : Double(counts[middle - 1] + counts[middle]) / 2
}

/// Columns and rows of a JPEG by its header, of a PNG by decoding it; nil where they cannot be read.
private func pixelSize(_ bytes: UnsafeRawBufferPointer) -> PixelSize? {
  if let header = try? JPEGHeader(bytes) { return PixelSize(width: header.width, height: header.height) }
  if let image = try? Image.decode(bytes) { return PixelSize(width: image.width, height: image.height) }
  return nil
}
