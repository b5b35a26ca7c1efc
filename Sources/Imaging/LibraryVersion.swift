import CPNG
import Glibc

/// The image libraries that this process has loaded.
public enum ImageLibraries {
  /// The version of libpng, "1.6.39".
  public static var png: String {
    let number = png_access_version_number()
    return "\(number / 10000).\(number / 100 % 100).\(number % 100)"
  }

  /// The version of libwebp, "1.2.4"; nil where it is not installed, and WebP cannot be read.
  public static var webP: String? { WebP.version }

  /// The version of libjpeg-turbo with its build, "2.1.5 (build 20230203)"; nil where the library does not tell it.
  ///
  /// TurboJPEG has no function for it before version 3, but its messages hold it, and the process' own map says which file
  /// was loaded, whatever the search path.
  public static var jpegTurbo: String? {
    guard let maps = bytes(of: "/proc/self/maps") else { return nil }
    let lines = String(decoding: maps, as: UTF8.self).split(separator: "\n")
    guard let line = lines.first(where: { $0.contains("/libturbojpeg.so") }), let slash = line.firstIndex(of: "/"),
      let library = bytes(of: String(line[slash...]))
    else { return nil }
    let mark = Array("libjpeg-turbo version ".utf8)
    var start = 0
    while start + mark.count < library.count {
      if library[start] == mark[0], library[start..<start + mark.count].elementsEqual(mark) {
        let text = library[(start + mark.count)...].prefix(60).prefix { $0 >= 0x20 && $0 < 0x7f }
        return String(decoding: text, as: UTF8.self)
      }
      start += 1
    }
    return nil
  }

  /// At most 8 MiB from the front of a file.
  private static func bytes(of path: String) -> [UInt8]? {
    guard let file = fopen(path, "r") else { return nil }
    defer { fclose(file) }
    return [UInt8](unsafeUninitializedCapacity: 1 << 23) { buffer, count in
      count = fread(buffer.baseAddress, 1, buffer.count, file)
    }
  }
}
