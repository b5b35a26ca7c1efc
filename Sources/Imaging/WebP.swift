import Glibc

/// Reads WebP with libwebp, which is looked for when the first such image comes.
///
/// Nothing is linked against it, so that programs build and run where it is not installed; they say so when a WebP comes.
enum WebP {
  private typealias GetInfo =
    @convention(c) (
      UnsafePointer<UInt8>?, Int, UnsafeMutablePointer<Int32>?, UnsafeMutablePointer<Int32>?
    ) -> Int32
  private typealias Decode =
    @convention(c) (
      UnsafePointer<UInt8>?, Int, UnsafeMutablePointer<UInt8>?, Int, Int32
    ) -> UnsafeMutablePointer<UInt8>?
  private typealias Version = @convention(c) () -> Int32

  private struct Library: Sendable {
    let getInfo: GetInfo
    let decode: Decode
    let version: Version
  }

  private static let library: Library? = {
    for name in ["libwebp.so.7", "libwebp.so.6", "libwebp.so"] {
      guard let handle = dlopen(name, RTLD_NOW | RTLD_LOCAL) else { continue }
      guard let getInfo = dlsym(handle, "WebPGetInfo"), let decode = dlsym(handle, "WebPDecodeRGBInto"),
        let version = dlsym(handle, "WebPGetDecoderVersion")
      else {
        dlclose(handle)
        continue
      }
      return Library(
        getInfo: unsafeBitCast(getInfo, to: GetInfo.self), decode: unsafeBitCast(decode, to: Decode.self),
        version: unsafeBitCast(version, to: Version.self))
    }
    return nil
  }()

  /// "1.2.4"; nil where libwebp is not installed.
  static var version: String? {
    guard let number = library?.version() else { return nil }
    return "\(number >> 16 & 255).\(number >> 8 & 255).\(number & 255)"
  }

  /// Whether the data begin as WebP does: `RIFF`, a length, `WEBP`.
  static func isWebP(_ bytes: UnsafeRawBufferPointer) -> Bool {
    bytes.count >= 12 && bytes.prefix(4).elementsEqual(Array("RIFF".utf8))
      && bytes[8..<12].elementsEqual(Array("WEBP".utf8))
  }

  /// Decodes lossy and lossless images; alpha is dropped, as OpenCV does.
  static func decode(_ bytes: UnsafeRawBufferPointer, pixelLimit: Int) throws(ImageError) -> Image {
    guard let library else {
      throw ImageError(
        .unsupported, message: "WebP is read with libwebp, which is not installed here",
        advice: "install libwebp (Debian: libwebp7), or convert the image to JPEG or PNG")
    }
    let announced = bytes[4..<8].reversed().reduce(0) { $0 << 8 | Int($1) } + 8
    guard announced <= bytes.count else {
      throw ImageError(
        .truncated, message: "the WebP ends after \(bytes.count) of \(announced) bytes", advice: "replace the image")
    }
    // The second flag of an extended header says that several pictures follow each other.
    if bytes.count > 20, bytes[12..<16].elementsEqual(Array("VP8X".utf8)), bytes[20] & 2 != 0 {
      throw ImageError(.unsupported, message: "an animated WebP is not read", advice: "store one of its pictures")
    }
    let start = bytes.bindMemory(to: UInt8.self).baseAddress
    var (columns, rows): (Int32, Int32) = (0, 0)
    guard library.getInfo(start, bytes.count, &columns, &rows) != 0 else {
      throw ImageError(.corrupt, message: "the WebP has no sound header", advice: "replace the image")
    }
    let (width, height) = (Int(columns), Int(rows))
    let count = try Image.checkedCount(width: width, height: height, limit: pixelLimit)
    var isDecoded = false
    let pixels = [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
      isDecoded = library.decode(start, bytes.count, buffer.baseAddress, count, Int32(3 * width)) != nil
      initialized = isDecoded ? count : 0
    }
    guard isDecoded else {
      throw ImageError(.corrupt, message: "the WebP is damaged", advice: "replace the image")
    }
    return Image(unchecked: width, height, pixels)
  }
}
