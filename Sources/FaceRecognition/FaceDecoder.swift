import Imaging

/// Turns an encoded image into the pixels that a recognition network sees: RGB [size, size, 3], uint8.
///
/// One for each thread. An image of another size has its short side brought to `size`, as `mx.image.resize_short` does in
/// the reference; one that is not square then is an error, as there.
public final class FaceDecoder {
  /// Rows and columns.
  public let size: Int
  private let jpeg: JPEGDecoder

  /// A decoder for square faces of `size` pixels.
  public init(size: Int) throws(ImageError) {
    self.size = size
    jpeg = try JPEGDecoder()
  }

  /// Decodes a JPEG or PNG into `pixels` (3 · size²); a JPEG of the right size without a copy.
  public func decode(
    _ encoded: UnsafeRawBufferPointer, into pixels: UnsafeMutableBufferPointer<UInt8>
  ) throws(ImageError) {
    if encoded.starts(with: [0xFF, 0xD8]) {
      let header = try jpeg.header(encoded)
      if header.width == size && header.height == size {
        return try jpeg.decode(encoded, into: pixels, width: size, height: size)
      }
    }
    try fit(Image.decode(encoded), into: pixels)
  }

  /// Brings an image to size and copies it into `pixels` (3 · size²).
  public func fit(_ image: Image, into pixels: UnsafeMutableBufferPointer<UInt8>) throws(ImageError) {
    let fitted = image.width == size ? image : try image.resizedShort(size)
    guard fitted.width == size, fitted.height == size else {
      throw ImageError(
        .sizeMismatch, message: "the image is \(fitted.width)×\(fitted.height) where \(size)×\(size) is expected",
        advice: "align the faces to \(size)×\(size) first")
    }
    _ = pixels.update(fromContentsOf: fitted.pixels)
  }
}
