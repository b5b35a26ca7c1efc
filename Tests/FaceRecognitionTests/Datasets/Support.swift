import Formats
import Glibc
import Imaging
import Testing

@testable import FaceRecognition

/// Real data for development, where present.
let realData: String? = {
  // This file is Tests/FaceRecognitionTests/Datasets/Support.swift.
  let root = #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(4).joined(separator: "/")
  let folder = getenv("INSIGHTFACE_TEST_DATA").map { String(cString: $0) } ?? root + "/../shared/data"
  return access(folder + "/lfw-faces/train.rec", R_OK) == 0 ? folder : nil
}()

/// Why tests on real data are skipped.
let realDataMissing: Comment = "no real data at $INSIGHTFACE_TEST_DATA nor ../shared/data"

/// A folder that goes away with the test, with all that is in it.
final class Scratch {
  let path: String

  init() {
    var template = Array("/tmp/datasets-test-XXXXXX".utf8CString)
    mkdtemp(&template)
    path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  deinit { Scratch.remove(path) }

  private static func remove(_ path: String) {
    guard let listing = opendir(path) else {
      unlink(path)
      return
    }
    var names: [String] = []
    while let entry = readdir(listing) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name != ".", name != ".." { names.append(name) }
    }
    closedir(listing)
    for name in names { remove("\(path)/\(name)") }
    rmdir(path)
  }

  /// Writes a file and the folders above it.
  @discardableResult
  func put(_ bytes: some Collection<UInt8>, _ name: String) throws -> String {
    let file = "\(path)/\(name)"
    try makeFolders(FilePath.folder(of: file))
    let descriptor = open(file, O_WRONLY | O_CREAT | O_TRUNC, 0o644)
    let copy = Array(bytes)
    #expect(write(descriptor, copy, copy.count) == copy.count)
    close(descriptor)
    return file
  }

  @discardableResult
  func put(_ text: String, _ name: String) throws -> String { try put(text.utf8, name) }
}

/// A picture of its own for each number.
func picture(_ number: Int, width: Int = 112, height: Int = 112) throws -> Image {
  var pixels: [UInt8] = []
  for y in 0..<height {
    for x in 0..<width {
      pixels.append(UInt8((2 * x + 37 * number) & 255))
      pixels.append(UInt8((2 * y + 11 * number) & 255))
      pixels.append(UInt8((53 * number) & 255))
    }
  }
  return try Image(width: width, height: height, pixels: pixels)
}

func jpeg(_ number: Int, width: Int = 112, height: Int = 112) throws -> [UInt8] {
  try picture(number, width: width, height: height).jpeg(quality: 80)
}
