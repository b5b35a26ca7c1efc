import Formats
import Imaging

/// How image files become images of a data set.
public struct ImageIntake: Sendable {
  /// The width and height that every image has in the end, in pixels.
  public var side: Int
  /// Whether images of another size or format are scaled (short side), cut to their centre and encoded anew.
  public var resizes: Bool
  /// The JPEG quality of those, 1 to 100.
  public var quality: Int
  /// Whether PNG files of the right size may stay as they are.
  public var keepsPNG: Bool

  /// Images of 112×112 pixels, taken as they are.
  public init(side: Int = 112, resizes: Bool = false, quality: Int = 95, keepsPNG: Bool = false) {
    self.side = side
    self.resizes = resizes
    self.quality = quality
    self.keepsPNG = keepsPNG
  }

  enum Outcome: Sendable {
    /// The bytes to store, and whether they are those of the file.
    case taken([UInt8], isUnchanged: Bool)
    /// The image does not decode, or the file cannot be read: the reason.
    case bad(String)
    /// The image is fine but of another size or format: what it is.
    case misfit(String)
  }

  /// Reads, decodes and, where it has to, encodes anew the file at `path`.
  func take(_ path: String) -> Outcome {
    let bytes: [UInt8]
    let image: Image
    do throws(FormatError) { bytes = try contents(path) } catch { return .bad(error.message) }
    do throws(ImageError) { image = try Image.decode(bytes) } catch { return .bad(error.message) }
    let isJPEG = bytes.starts(with: [0xff, 0xd8])
    if image.width == side, image.height == side, isJPEG || keepsPNG { return .taken(bytes, isUnchanged: true) }
    guard resizes else { return .misfit("\(image.width)×\(image.height) \(isJPEG ? "JPEG" : "PNG")") }
    do throws(ImageError) {
      let isSquare = image.width == side && image.height == side
      let scaled = isSquare ? image : try image.resizedShort(side).centreCropped(width: side, height: side)
      return .taken(try scaled.jpeg(quality: quality), isUnchanged: false)
    } catch {
      return .bad(error.message)
    }
  }

  func misfitError(_ path: String, _ what: String, line: Int? = nil) -> FormatError {
    FormatError(
      .mismatch, "a \(what) where a \(side)×\(side) \(keepsPNG ? "JPEG or PNG" : "JPEG") is expected", path: path,
      line: line, advice: "align the faces first, or pass --resize to have images scaled and encoded anew")
  }
}
