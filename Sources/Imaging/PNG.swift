import CPNG

/// Reads and writes PNG through libpng's simplified interface.
enum PNG {
  /// 8 bytes that begin every PNG.
  static let signature: [UInt8] = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]

  /// Decodes gray, palette, RGB and RGBA of 1…16 bits to 8-bit RGB; alpha is dropped, as OpenCV does.
  static func decode(_ bytes: UnsafeRawBufferPointer, pixelLimit: Int) throws(ImageError) -> Image {
    var image = png_image()
    image.version = UInt32(CPNG_IMAGE_VERSION)
    guard png_image_begin_read_from_memory(&image, bytes.baseAddress, bytes.count) != 0 else {
      throw failure(&image, bytes.count)
    }
    defer { png_image_free(&image) }
    let width = Int(image.width)
    let height = Int(image.height)
    let count = try Image.checkedCount(width: width, height: height, limit: pixelLimit)
    // Deflate cannot expand by more than 1032, and a pixel takes at least one bit.
    guard count / 3 / 8 / 1032 <= bytes.count else {
      throw ImageError(
        .truncated, message: "the header says \(width)×\(height), more than \(bytes.count) bytes can hold",
        advice: "replace the image")
    }
    image.format = UInt32(CPNG_FORMAT_RGBA)
    image.flags |= UInt32(CPNG_FLAG_16BIT_SRGB)
    let scratch = UnsafeMutablePointer<UInt8>.allocate(capacity: 4 * width * height)
    defer { scratch.deallocate() }
    guard png_image_finish_read(&image, nil, scratch, Int32(4 * width), nil) != 0 else {
      throw failure(&image, bytes.count)
    }
    let pixels = [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
      for index in 0..<width * height {
        buffer[3 * index] = scratch[4 * index]
        buffer[3 * index + 1] = scratch[4 * index + 1]
        buffer[3 * index + 2] = scratch[4 * index + 2]
      }
      initialized = count
    }
    return Image(unchecked: width, height, pixels)
  }

  /// 8-bit RGB PNG.
  static func encode(_ source: Image) throws(ImageError) -> [UInt8] {
    var image = png_image()
    image.version = UInt32(CPNG_IMAGE_VERSION)
    image.width = UInt32(clamping: source.width)
    image.height = UInt32(clamping: source.height)
    image.format = UInt32(CPNG_FORMAT_RGB)
    // Stored blocks cost 5 bytes in 16 KB at worst; rows carry a filter byte; the rest is headers.
    let raw = source.pixels.count + source.height
    var size = raw + raw / 1000 * 2 + 4096
    var failed = true
    let bytes = source.pixels.withUnsafeBufferPointer { pixels in
      [UInt8](unsafeUninitializedCapacity: size) { buffer, initialized in
        failed =
          png_image_write_to_memory(
            &image, buffer.baseAddress, &size, 0, pixels.baseAddress, Int32(3 * source.width), nil) == 0
        initialized = failed ? 0 : size
      }
    }
    if failed {
      let message = text(of: &image)
      png_image_free(&image)
      throw ImageError(.encoding, message: "PNG compression failed: \(message)", advice: "write JPEG instead")
    }
    return bytes
  }

  private static func failure(_ image: inout png_image, _ count: Int) -> ImageError {
    let message = text(of: &image)
    png_image_free(&image)
    let isShort = ["Not enough image data", "read beyond end of data", "Read Error"].contains { message.hasPrefix($0) }
    return ImageError(
      isShort ? .truncated : .corrupt,
      message: isShort ? "the PNG ends after \(count) bytes, before the image does" : "the PNG is damaged: \(message)",
      advice: "replace the image")
  }

  private static func text(of image: inout png_image) -> String {
    withUnsafeBytes(of: &image.message) { raw in
      String(decoding: raw.prefix { $0 != 0 }, as: UTF8.self)
    }
  }
}
