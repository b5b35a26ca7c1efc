/// One image of a verification set.
public enum VerificationImage: Sendable, Equatable {
  /// A JPEG or PNG file.
  case encoded([UInt8])
  /// Pixels: uint8, H×W×C, last axis fastest, channels in the order blue, green, red (as OpenCV's `imread` gives).
  case pixels(height: Int, width: Int, channels: Int, [UInt8])
}

/// A verification set (`lfw.bin`, `cfp_fp.bin`, `agedb_30.bin` …): pairs of faces, and whether each pair is one person.
///
/// The file is `pickle.dump((bins, issame_list))` with two entries of `bins` per pair. The reference's `load_bin`
/// (`verification.py`) hands every entry to `mx.image.imdecode`, which takes its bytes as an encoded file, numpy arrays
/// included: arrays of shape (n), (n, 1) or (1, n), as `cv2.imencode` returns them, are encoded images and become
/// `.encoded`. An H×W×C array fails in the reference; here it is taken for pixels as OpenCV gives them, in the order
/// blue, green, red.
public struct VerificationSet: Sendable, Equatable {
  /// The images, 2 per pair: images 2i and 2i + 1 are pair i.
  public var images: [VerificationImage]
  /// Whether pair i shows one person.
  public var isSame: [Bool]

  /// A set of images, 2 per pair.
  public init(images: [VerificationImage], isSame: [Bool]) {
    self.images = images
    self.isSame = isSame
  }

  /// Reads the set at `path`: pickle protocols 0 to 5, as Python 2 and 3 write them.
  ///
  /// Nothing in the file is executed.
  ///
  /// As in the reference, the number of pairs is that of `isSame`; images beyond the last pair are left out. Throws
  /// `.unsafe` where the file refers to code, `.mismatch` where images are missing, `.tooLarge` where the pickle unfolds
  /// to far more than the file, `.corrupt`, `.truncated`, `.unsupported` with the byte offset.
  public static func read(path: String) throws(FormatError) -> VerificationSet {
    let file = try MappedFile(path: path)
    return try file.withBytes { (bytes) throws(FormatError) in try read(bytes, path: path) }
  }

  static func read(_ bytes: UnsafeRawBufferPointer, path: String) throws(FormatError) -> VerificationSet {
    var reader = PickleReader(bytes, path: path)
    let top = try reader.load()
    guard let parts = try items(top, &reader), parts.count == 2, let answers = try items(parts[1], &reader),
      let bins = try items(parts[0], &reader)
    else {
      throw reader.error(.corrupt, "a pair of lists expected: the images, and whether the pairs are one person")
    }
    guard bins.count / 2 >= answers.count else {
      throw reader.error(
        .mismatch, "\(answers.count) pairs need \(2 * answers.count) images, the set has \(bins.count)",
        advice: "write the set again")
    }
    var set = VerificationSet(images: [], isSame: [])
    set.images.reserveCapacity(2 * answers.count)
    for bin in bins.prefix(2 * answers.count) { set.images.append(try image(bin, &reader)) }
    set.isSame.reserveCapacity(answers.count)
    for answer in answers { set.isSame.append(try reader.truth(answer)) }
    return set
  }

  private static func items(
    _ value: PickleReader.Value, _ reader: inout PickleReader
  ) throws(FormatError) -> [PickleReader.Value]? {
    switch value {
    case .list(let number): return reader.lists[number]
    case .tuple(let number): return Array(reader.tuple(number))
    case .array(let number): return try reader.elements(ofArray: number)
    default: return nil
    }
  }

  private static func image(
    _ value: PickleReader.Value, _ reader: inout PickleReader
  ) throws(FormatError) -> VerificationImage {
    switch value {
    case .blob(let number): return .encoded(try reader.data(ofBlob: number))
    case .array(let number):
      let (shape, bytes) = try reader.pixels(ofArray: number)
      switch shape.count {
      case 1: return .encoded(bytes)
      case 2 where shape[0] == 1 || shape[1] == 1: return .encoded(bytes)
      case 2: return .pixels(height: shape[0], width: shape[1], channels: 1, bytes)
      case 3 where shape[2] == 1 || shape[2] == 3 || shape[2] == 4:
        return .pixels(height: shape[0], width: shape[1], channels: shape[2], bytes)
      default:
        throw reader.error(.unsupported, "an image of shape \(shape); height, width and 1, 3 or 4 channels are read")
      }
    default: throw reader.error(.corrupt, "an image expected: bytes or a numpy uint8 array")
    }
  }
}
