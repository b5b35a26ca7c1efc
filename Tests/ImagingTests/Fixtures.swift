import Glibc
import Testing

@testable import Imaging

/// Files of `Tests/Fixtures/imaging`, made by `scripts/fixtures/imaging.py`.
enum Fixtures {
  static func path(_ name: String) -> String {
    let parts = #filePath.split(separator: "/").dropLast(2)
    return "/" + parts.joined(separator: "/") + "/Fixtures/imaging/" + name
  }

  static func bytes(_ name: String) throws -> [UInt8] {
    let file = try #require(fopen(path(name), "rb"), "cannot open \(path(name))")
    defer { fclose(file) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 65536)
    while true {
      let count = fread(&chunk, 1, chunk.count, file)
      if count == 0 { break }
      bytes += chunk[..<count]
    }
    return bytes
  }

  static func image(_ name: String) throws -> Image {
    try Image.read(path: path(name))
  }
}

/// The largest difference of two images' values; nil when the sizes differ.
func largestDifference(_ first: Image, _ second: Image) -> Int? {
  guard first.width == second.width, first.height == second.height else { return nil }
  return zip(first.pixels, second.pixels).reduce(0) { max($0, abs(Int($1.0) - Int($1.1))) }
}

/// The error that the call throws, or nil.
func imageError<Value>(_ body: () throws(ImageError) -> Value) -> ImageError? {
  do throws(ImageError) {
    _ = try body()
    return nil
  } catch {
    return error
  }
}

/// Calls the decoder on an array.
func decode(_ bytes: [UInt8], width: Int, height: Int) throws(ImageError) -> [UInt8] {
  let decoder = try JPEGDecoder()
  var output = [UInt8](repeating: 0, count: 3 * width * height)
  var failure: ImageError?
  bytes.withUnsafeBytes { raw in
    output.withUnsafeMutableBufferPointer { buffer in
      do throws(ImageError) {
        try decoder.decode(raw, into: buffer, width: width, height: height)
      } catch {
        failure = error
      }
    }
  }
  if let failure { throw failure }
  return output
}
