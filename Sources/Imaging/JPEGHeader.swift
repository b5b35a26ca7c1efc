/// What the header of a JPEG says, read without decoding.
public struct JPEGHeader: Sendable, Equatable {
  /// How the components encode colour.
  public enum ColourSpace: String, Sendable {
    /// One component.
    case gray
    /// Luma and two chroma components, the usual kind.
    case yCbCr
    /// Three components stored as they are.
    case rgb
    /// Four components stored as they are.
    case cmyk
    /// Four components, the first three of them as luma and chroma.
    case ycck
  }

  /// Columns.
  public let width: Int
  /// Rows.
  public let height: Int
  /// How the components encode colour.
  public let colourSpace: ColourSpace
  /// Whether the image comes in several scans of rising quality.
  public let isProgressive: Bool
  /// How the camera was held, from the EXIF segment: 1 where it is absent or says nothing sound.
  public let orientation: Orientation
  /// Whether an Adobe marker is present; such files store CMYK inverted.
  let hasAdobeMarker: Bool

  /// Reads the markers up to the frame header.
  ///
  /// - Throws: `ImageError`: `empty`, `unknownFormat` (no start marker), `truncated` (the data end before the frame
  ///   header), `corrupt`, `unsupported` (lossless or arithmetic frames, other than 8 bits, 2 or more than 4 components).
  public init(_ bytes: UnsafeRawBufferPointer) throws(ImageError) {
    guard bytes.count > 0 else {
      throw ImageError(.empty, message: "the JPEG has no bytes", advice: "replace or drop the image")
    }
    guard bytes.count >= 2, bytes[0] == 0xff, bytes[1] == 0xd8 else {
      throw ImageError(
        .unknownFormat, message: "the data do not begin with the JPEG start marker ff d8",
        advice: "check that the image is a JPEG and that its offset is right")
    }
    let truncated = ImageError(
      .truncated, message: "the JPEG ends after \(bytes.count) bytes, before its frame header",
      advice: "replace the image; the file was probably cut while being copied")
    var position = 2
    var adobeTransform: UInt8?
    var orientation = Orientation.upright
    while true {
      guard position + 1 < bytes.count else { throw truncated }
      guard bytes[position] == 0xff else {
        // Decoders skip to the next marker here, so this does too.
        position += 1
        continue
      }
      let marker = bytes[position + 1]
      if marker == 0xff {
        position += 1
        continue
      }
      if marker == 0x00 || marker == 0x01 || (0xd0...0xd8).contains(marker) {
        position += 2
        continue
      }
      guard marker != 0xd9, marker != 0xda else {
        throw ImageError(
          .corrupt, offset: UInt64(position), message: "the JPEG has no frame header before its image data",
          advice: "replace the image")
      }
      guard position + 3 < bytes.count else { throw truncated }
      let length = Int(bytes[position + 2]) << 8 | Int(bytes[position + 3])
      guard length >= 2 else {
        throw ImageError(
          .corrupt, offset: UInt64(position), message: "a JPEG segment claims a length of \(length)",
          advice: "replace the image")
      }
      let body = position + 4
      let end = position + 2 + length
      guard end <= bytes.count else { throw truncated }
      if marker == 0xee, length >= 14, bytes[body] == 0x41, bytes[body + 1] == 0x64, bytes[body + 2] == 0x6f,
        bytes[body + 3] == 0x62, bytes[body + 4] == 0x65
      {
        adobeTransform = bytes[body + 11]
      }
      if marker == 0xe1, let found = Orientation(exif: UnsafeRawBufferPointer(rebasing: bytes[body..<end])) {
        orientation = found
      }
      let isFrame = (0xc0...0xcf).contains(marker) && marker != 0xc4 && marker != 0xc8 && marker != 0xcc
      guard isFrame else {
        position = end
        continue
      }
      guard marker <= 0xc2 else {
        throw ImageError(
          .unsupported, offset: UInt64(position), message: "a JPEG frame of kind \(marker - 0xc0) is not read",
          advice: "store it as baseline or progressive JPEG, or as PNG")
      }
      guard length >= 8 else {
        throw ImageError(
          .corrupt, offset: UInt64(position), message: "the JPEG frame header is too short", advice: "replace the image"
        )
      }
      let precision = bytes[body]
      guard precision == 8 else {
        throw ImageError(
          .unsupported, offset: UInt64(body), message: "a JPEG of \(precision) bits a component is not read",
          advice: "store it with 8 bits")
      }
      let height = Int(bytes[body + 1]) << 8 | Int(bytes[body + 2])
      let width = Int(bytes[body + 3]) << 8 | Int(bytes[body + 4])
      let components = Int(bytes[body + 5])
      guard width > 0, height > 0 else {
        throw ImageError(
          .corrupt, offset: UInt64(body), message: "the JPEG header says \(width)×\(height)",
          advice: "replace the image")
      }
      guard length >= 8 + 3 * components else {
        throw ImageError(
          .corrupt, offset: UInt64(position),
          message: "the JPEG frame header is too short for \(components) components",
          advice: "replace the image")
      }
      switch components {
      case 1:
        colourSpace = .gray
      case 3:
        let isNamedRGB =
          bytes[body + 6] == UInt8(ascii: "R") && bytes[body + 9] == UInt8(ascii: "G")
          && bytes[body + 12] == UInt8(ascii: "B")
        colourSpace = adobeTransform.map { $0 == 0 } ?? isNamedRGB ? .rgb : .yCbCr
      case 4:
        colourSpace = adobeTransform == 2 ? .ycck : .cmyk
      default:
        throw ImageError(
          .unsupported, offset: UInt64(body), message: "a JPEG of \(components) components is not read",
          advice: "store it as gray, RGB or CMYK")
      }
      self.width = width
      self.height = height
      isProgressive = marker == 0xc2
      hasAdobeMarker = adobeTransform != nil
      self.orientation = orientation
      return
    }
  }
}
