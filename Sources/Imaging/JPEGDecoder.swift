import CTurboJPEG

/// Decodes JPEG to RGB, equal in every pixel to libjpeg-turbo with the accurate integer DCT and smooth chroma upsampling.
///
/// One decoder per thread: it keeps a native handle and is not `Sendable`. Decoding into a caller's buffer allocates
/// nothing for gray, YCbCr and RGB files. Orientation tags (EXIF) are not applied.
public final class JPEGDecoder {
  private let handle: tjhandle

  /// - Throws: `ImageError` of kind `system` when there is no memory for a decoder.
  public init() throws(ImageError) {
    guard let handle = tjInitDecompress() else {
      throw ImageError(.system, message: "no memory for a JPEG decoder", advice: "free memory and try again")
    }
    self.handle = handle
  }

  deinit {
    tjDestroy(handle)
  }

  /// Width, height and colour space, without decoding.
  ///
  /// - Throws: as `JPEGHeader.init`.
  public func header(_ bytes: UnsafeRawBufferPointer) throws(ImageError) -> JPEGHeader {
    try JPEGHeader(bytes)
  }

  /// Decodes into a buffer of the expected size: the loader's path.
  ///
  /// - Parameters:
  ///   - bytes: the whole JPEG.
  ///   - output: at least `3 * width * height` values; receives interleaved R, G, B, rows from the top. Its content is
  ///     undefined after an error.
  ///   - width: the columns the image must have.
  ///   - height: the rows the image must have.
  ///   - allowTruncated: accept data that end early or are damaged; the missing part is filled in by the decoder.
  /// - Throws: `ImageError`: as `JPEGHeader.init`, and `sizeMismatch`, `truncated`, `corrupt`.
  public func decode(
    _ bytes: UnsafeRawBufferPointer, into output: UnsafeMutableBufferPointer<UInt8>, width: Int, height: Int,
    allowTruncated: Bool = false
  ) throws(ImageError) {
    let header = try JPEGHeader(bytes)
    guard header.width == width, header.height == height else {
      throw ImageError(
        .sizeMismatch, message: "the image is \(header.width)×\(header.height) where \(width)×\(height) is expected",
        advice: "align or resize the images before packing them")
    }
    guard output.count / 3 / width >= height, let base = output.baseAddress else {
      throw ImageError(
        .sizeMismatch, message: "a buffer of \(output.count) bytes is too small for \(width)×\(height)",
        advice: "pass 3 × width × height bytes")
    }
    try decode(bytes, header, base, allowTruncated)
  }

  /// Decodes to an image of whatever size the file has.
  ///
  /// - Parameters:
  ///   - bytes: the whole JPEG.
  ///   - pixelLimit: the most pixels accepted; checked before memory is taken.
  ///   - allowTruncated: accept data that end early or are damaged.
  /// - Throws: `ImageError`: as `JPEGHeader.init`, and `tooLarge`, `truncated`, `corrupt`.
  public func decode(
    _ bytes: UnsafeRawBufferPointer, pixelLimit: Int = Image.defaultPixelLimit, allowTruncated: Bool = false
  ) throws(ImageError) -> Image {
    let header = try JPEGHeader(bytes)
    let count = try Image.checkedCount(width: header.width, height: header.height, limit: pixelLimit)
    // A block of 64 pixels costs at least one bit a component, and no sampling spreads a block over more than 16
    // blocks' area: data that fall short of that by far cannot hold the image, so no memory is taken for it.
    guard allowTruncated || count / 3 / 8192 <= bytes.count else {
      throw ImageError(
        .truncated,
        message: "the header says \(header.width)×\(header.height), more than \(bytes.count) bytes can hold",
        advice: "replace the image")
    }
    var failure: ImageError?
    let pixels = [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
      guard let base = buffer.baseAddress else { return }
      do throws(ImageError) {
        try decode(bytes, header, base, allowTruncated)
        initialized = count
      } catch {
        failure = error
      }
    }
    if let failure { throw failure }
    return Image(unchecked: header.width, header.height, pixels)
  }

  private func decode(
    _ bytes: UnsafeRawBufferPointer, _ header: JPEGHeader, _ output: UnsafeMutablePointer<UInt8>, _ allowTruncated: Bool
  ) throws(ImageError) {
    switch header.colourSpace {
    case .gray, .yCbCr, .rgb:
      try decompress(bytes, header, output, TJPF_RGB, 3, allowTruncated)
    case .cmyk, .ycck:
      let count = header.width * header.height
      let inks = UnsafeMutablePointer<UInt8>.allocate(capacity: 4 * count)
      defer { inks.deallocate() }
      try decompress(bytes, header, inks, TJPF_CMYK, 4, allowTruncated)
      // Adobe writes ink inverted (255 is no ink) and says so by its marker; without the marker 255 is full ink.
      let mask: UInt8 = header.hasAdobeMarker ? 0 : 255
      for index in 0..<count {
        let black = UInt32(inks[4 * index + 3] ^ mask)
        for channel in 0..<3 {
          let product = UInt32(inks[4 * index + channel] ^ mask) * black
          output[3 * index + channel] = UInt8(truncatingIfNeeded: (product + 127) / 255)
        }
      }
    }
  }

  private func decompress(
    _ bytes: UnsafeRawBufferPointer, _ header: JPEGHeader, _ output: UnsafeMutablePointer<UInt8>, _ format: TJPF,
    _ channels: Int, _ allowTruncated: Bool
  ) throws(ImageError) {
    guard let start = bytes.bindMemory(to: UInt8.self).baseAddress else { return }
    let status = tjDecompress2(
      handle, start, UInt(bytes.count), output, Int32(header.width), Int32(header.width * channels),
      Int32(header.height), Int32(format.rawValue), TJFLAG_ACCURATEDCT | TJFLAG_LIMITSCANS)
    guard status != 0 else { return }
    let message = String(cString: tjGetErrorStr2(handle))
    guard tjGetErrorCode(handle) == Int32(bitPattern: TJERR_WARNING.rawValue) else {
      throw ImageError(.corrupt, message: "the JPEG cannot be decoded: \(message)", advice: "replace the image")
    }
    if allowTruncated { return }
    // Only the first warning is reported. Stray bytes between segments and odd headers leave the picture whole; behind
    // them a missing end could hide, so the end marker is then looked for.
    let harmless = ["extraneous bytes", "Invalid SOS parameters", "Unknown Adobe", "JFIF revision"]
    if harmless.contains(where: { message.contains($0) }), JPEGDecoder.hasEndMarker(bytes) { return }
    let isShort = message.contains("remature end")
    throw ImageError(
      isShort ? .truncated : .corrupt,
      message: isShort ? "the JPEG ends early: \(message)" : "the JPEG is damaged: \(message)",
      advice: "replace the image, or accept damaged images")
  }

  private static func hasEndMarker(_ bytes: UnsafeRawBufferPointer) -> Bool {
    var index = bytes.count - 2
    while index >= 2 {
      if bytes[index] == 0xff, bytes[index + 1] == 0xd9 { return true }
      index -= 1
    }
    return false
  }
}

extension String {
  fileprivate func contains(_ part: String) -> Bool {
    let text = Array(utf8)
    let pattern = Array(part.utf8)
    guard !pattern.isEmpty, text.count >= pattern.count else { return pattern.isEmpty }
    return (0...text.count - pattern.count).contains { text[$0..<$0 + pattern.count].elementsEqual(pattern) }
  }
}
