import CTurboJPEG

/// Encodes RGB as baseline JPEG with the accurate integer DCT.
///
/// One encoder per thread: it keeps a native handle and a buffer, and is not `Sendable`.
public final class JPEGEncoder {
  /// How many chroma samples are kept.
  public enum Subsampling: String, Sendable, CaseIterable {
    /// Full chroma.
    case full444
    /// Half the columns.
    case half422
    /// Half the columns and half the rows: the usual choice.
    case quarter420
    /// No chroma: a gray JPEG.
    case gray

    fileprivate var native: Int32 {
      switch self {
      case .full444: return Int32(bitPattern: TJSAMP_444.rawValue)
      case .half422: return Int32(bitPattern: TJSAMP_422.rawValue)
      case .quarter420: return Int32(bitPattern: TJSAMP_420.rawValue)
      case .gray: return Int32(bitPattern: TJSAMP_GRAY.rawValue)
      }
    }
  }

  private let handle: tjhandle
  private var buffer: UnsafeMutableBufferPointer<UInt8>

  /// - Throws: `ImageError` of kind `system` when there is no memory for an encoder.
  public init() throws(ImageError) {
    guard let handle = tjInitCompress() else {
      throw ImageError(.system, message: "no memory for a JPEG encoder", advice: "free memory and try again")
    }
    self.handle = handle
    buffer = .allocate(capacity: 0)
  }

  deinit {
    buffer.deallocate()
    tjDestroy(handle)
  }

  /// The image as a JPEG file.
  ///
  /// - Parameters:
  ///   - image: at most 65,500 pixels a side.
  ///   - quality: 1…100; values outside are clamped.
  ///   - subsampling: how much chroma is kept.
  /// - Throws: `ImageError`: `tooLarge`, `encoding`.
  public func encode(
    _ image: Image, quality: Int = 95, subsampling: Subsampling = .quarter420
  ) throws(ImageError) -> [UInt8] {
    guard image.width <= 65_500, image.height <= 65_500 else {
      throw ImageError(
        .tooLarge, message: "JPEG cannot hold \(image.width)×\(image.height)",
        advice: "keep both sides at or below 65500, or write PNG")
    }
    let needed = Int(tjBufSize(Int32(image.width), Int32(image.height), subsampling.native))
    guard needed > 0 else {
      throw ImageError(.encoding, message: "JPEG cannot hold the image", advice: "write PNG")
    }
    if buffer.count < needed {
      buffer.deallocate()
      buffer = .allocate(capacity: needed)
    }
    var target = buffer.baseAddress
    var size = UInt(buffer.count)
    let status = image.pixels.withUnsafeBufferPointer { source in
      tjCompress2(
        handle, source.baseAddress, Int32(image.width), Int32(image.width * 3), Int32(image.height),
        Int32(TJPF_RGB.rawValue), &target, &size, subsampling.native, Int32(min(max(quality, 1), 100)),
        TJFLAG_ACCURATEDCT | TJFLAG_NOREALLOC)
    }
    guard status == 0, size <= UInt(buffer.count) else {
      throw ImageError(
        .encoding, message: "JPEG compression failed: \(String(cString: tjGetErrorStr2(handle)))",
        advice: "report the image that does this")
    }
    return [UInt8](buffer[..<Int(size)])
  }
}
