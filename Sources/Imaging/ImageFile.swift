import Glibc

extension Image {
  /// Decodes a JPEG, PNG or WebP, told apart by their first bytes, not by a name.
  ///
  /// - Parameters:
  ///   - bytes: the whole file. Gray becomes RGB; CMYK is converted; alpha is dropped; 16 bits become 8.
  ///   - pixelLimit: the most pixels accepted; checked before memory is taken.
  ///   - allowTruncated: accept a JPEG that ends early or is damaged.
  ///   - turnsUpright: turn a JPEG as its EXIF orientation says, as photo viewers and OpenCV do.
  /// - Throws: `ImageError` of any kind but `system`.
  public static func decode(
    _ bytes: UnsafeRawBufferPointer, pixelLimit: Int = Image.defaultPixelLimit, allowTruncated: Bool = false,
    turnsUpright: Bool = false
  ) throws(ImageError) -> Image {
    guard bytes.count > 0 else {
      throw ImageError(.empty, message: "the image has no bytes", advice: "replace or drop the image")
    }
    if bytes.count >= 2, bytes[0] == 0xff, bytes[1] == 0xd8 {
      let image = try JPEGDecoder().decode(bytes, pixelLimit: pixelLimit, allowTruncated: allowTruncated)
      return turnsUpright ? image.upright(from: try JPEGHeader(bytes).orientation) : image
    }
    if bytes.count >= 8, bytes.prefix(8).elementsEqual(PNG.signature) {
      return try PNG.decode(bytes, pixelLimit: pixelLimit)
    }
    if WebP.isWebP(bytes) { return try WebP.decode(bytes, pixelLimit: pixelLimit) }
    let start = bytes.prefix(4).map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined(separator: " ")
    throw ImageError(
      .unknownFormat, message: "the data begin with \(start), which is neither JPEG nor PNG nor WebP",
      advice: "convert the image to JPEG or PNG")
  }

  /// Decodes a JPEG, PNG or WebP held in an array.
  ///
  /// - Throws: as the other form.
  public static func decode(
    _ bytes: [UInt8], pixelLimit: Int = Image.defaultPixelLimit, allowTruncated: Bool = false,
    turnsUpright: Bool = false
  ) throws(ImageError) -> Image {
    try bytes.withUnsafeBytesTyped { raw throws(ImageError) in
      try decode(raw, pixelLimit: pixelLimit, allowTruncated: allowTruncated, turnsUpright: turnsUpright)
    }
  }

  /// Reads and decodes a file.
  ///
  /// - Throws: `ImageError` with the path: `system` when it cannot be read, else as `decode`.
  public static func read(
    path: String, pixelLimit: Int = Image.defaultPixelLimit, allowTruncated: Bool = false, turnsUpright: Bool = false
  ) throws(ImageError) -> Image {
    do throws(ImageError) {
      return try decode(
        readBytes(path: path), pixelLimit: pixelLimit, allowTruncated: allowTruncated, turnsUpright: turnsUpright)
    } catch {
      throw error.located(path: path)
    }
  }

  /// The image as a PNG file: 8-bit RGB, lossless.
  ///
  /// - Throws: `ImageError` of kind `encoding`.
  public func png() throws(ImageError) -> [UInt8] {
    try PNG.encode(self)
  }

  /// The image as a JPEG file; see `JPEGEncoder` to encode many.
  ///
  /// - Parameter quality: 1…100.
  /// - Throws: `ImageError`: `tooLarge`, `encoding`, `system`.
  public func jpeg(
    quality: Int = 95, subsampling: JPEGEncoder.Subsampling = .quarter420
  ) throws(ImageError) -> [UInt8] {
    try JPEGEncoder().encode(self, quality: quality, subsampling: subsampling)
  }

  /// Writes the image under a temporary name and renames it, so that the path never holds half an image.
  ///
  /// - Parameters:
  ///   - path: ends in `.png`, `.jpg` or `.jpeg`, which chooses the format.
  ///   - quality: JPEG quality, 1…100.
  /// - Throws: `ImageError` with the path: `unsupported` for another ending, `encoding`, `system`.
  public func write(path: String, quality: Int = 95) throws(ImageError) {
    do throws(ImageError) {
      let name = path.lowercased()
      let bytes: [UInt8]
      if name.hasSuffix(".png") {
        bytes = try png()
      } else if name.hasSuffix(".jpg") || name.hasSuffix(".jpeg") {
        bytes = try jpeg(quality: quality)
      } else {
        throw ImageError(
          .unsupported, message: "the name says no image format", advice: "end it in .png, .jpg or .jpeg")
      }
      try writeBytes(bytes, path: path)
    } catch {
      throw error.located(path: path)
    }
  }
}

private func systemError(_ what: String) -> ImageError {
  let code = errno
  return ImageError(
    .system, message: "\(what): \(String(cString: strerror(code)))", advice: "check the path, its rights and the disk")
}

private func readBytes(path: String) throws(ImageError) -> [UInt8] {
  // Without O_NONBLOCK, opening a pipe would wait for a writer before it could be refused.
  let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
  guard descriptor >= 0 else { throw systemError("cannot open the file") }
  defer { close(descriptor) }
  var information = stat()
  guard fstat(descriptor, &information) == 0 else { throw systemError("cannot read the file") }
  guard information.st_mode & S_IFMT == S_IFREG else {
    throw ImageError(.system, message: "not a regular file", advice: "name an image file")
  }
  // No image within the pixel limit needs more than this; a huge file is refused before memory is taken.
  guard information.st_size <= 1 << 30 else {
    throw ImageError(
      .tooLarge, message: "the file has \(information.st_size) bytes", advice: "an image file must stay below 1 GiB")
  }
  let size = Int(information.st_size)
  var failure: ImageError?
  let bytes = [UInt8](unsafeUninitializedCapacity: size) { buffer, initialized in
    while initialized < size, let base = buffer.baseAddress {
      let count = Glibc.read(descriptor, base + initialized, size - initialized)
      if count < 0, errno == EINTR { continue }
      if count < 0 { failure = systemError("cannot read the file") }
      if count <= 0 { break }
      initialized += count
    }
  }
  if let failure { throw failure }
  return bytes
}

private func writeBytes(_ bytes: [UInt8], path: String) throws(ImageError) {
  let temporary = "\(path).tmp.\(getpid())"
  let descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o666)
  guard descriptor >= 0 else { throw systemError("cannot write \(temporary)") }
  var failure: ImageError?
  bytes.withUnsafeBytes { raw in
    var done = 0
    while done < raw.count, let base = raw.baseAddress {
      let count = Glibc.write(descriptor, base + done, raw.count - done)
      if count < 0, errno == EINTR { continue }
      if count <= 0 {
        failure = systemError("cannot write \(temporary)")
        break
      }
      done += count
    }
  }
  if failure == nil, fsync(descriptor) != 0 { failure = systemError("cannot write \(temporary)") }
  if close(descriptor) != 0, failure == nil { failure = systemError("cannot write \(temporary)") }
  if failure == nil, rename(temporary, path) != 0 { failure = systemError("cannot rename \(temporary)") }
  if let failure {
    unlink(temporary)
    throw failure
  }
}

extension Array where Element == UInt8 {
  /// `withUnsafeBytes` that keeps the error's type.
  func withUnsafeBytesTyped<Result>(
    _ body: (UnsafeRawBufferPointer) throws(ImageError) -> Result
  ) throws(ImageError) -> Result {
    var outcome: Swift.Result<Result, ImageError>?
    withUnsafeBytes { raw in
      do throws(ImageError) {
        outcome = .success(try body(raw))
      } catch {
        outcome = .failure(error)
      }
    }
    guard let outcome else {
      throw ImageError(.system, message: "the bytes could not be reached", advice: "report this")
    }
    return try outcome.get()
  }
}
