import Glibc
import Testing

@testable import Formats

/// The package's root folder.
let packageRoot: String = {
  // This file is Tests/FormatsTests/Support.swift.
  var parts = #filePath.split(separator: "/", omittingEmptySubsequences: false)
  parts.removeLast(3)
  return parts.joined(separator: "/")
}()

/// A file made by `scripts/fixtures/make_formats.py`.
func fixture(_ name: String) -> String {
  packageRoot + "/Tests/Fixtures/formats/" + name
}

/// Real data for development, where present.
let realData: String? = {
  let folder = getenv("INSIGHTFACE_TEST_DATA").map { String(cString: $0) } ?? packageRoot + "/../shared/data"
  return access(folder + "/lfw-faces/train.rec", R_OK) == 0 ? folder : nil
}()

/// Why tests on real data are skipped.
let realDataMissing: Comment = "no real data at $INSIGHTFACE_TEST_DATA nor ../shared/data"

func contents(_ path: String) throws -> [UInt8] {
  try MappedFile(path: path).withBytes { Array($0) }
}

/// Writes without the care (and time) of an atomic file.
func put(_ bytes: some Collection<UInt8>, at path: String) {
  let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o644)
  let copy = Array(bytes)
  #expect(write(descriptor, copy, copy.count) == copy.count)
  close(descriptor)
}

/// `pattern` of the fixture script: byte i is (31 i + seed) mod 251.
func pattern(_ count: Int, _ seed: Int) -> [UInt8] {
  (0..<count).map { UInt8(($0 * 31 + seed) % 251) }
}

let magic: [UInt8] = [0x0a, 0x23, 0xd7, 0xce]

/// A folder that goes away with the test.
final class TemporaryFolder {
  let path: String

  init() {
    var template = Array("/tmp/formats-test-XXXXXX".utf8CString)
    mkdtemp(&template)
    path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  func file(_ name: String) -> String { path + "/" + name }

  var names: [String] {
    var result: [String] = []
    guard let listing = opendir(path) else { return [] }
    defer { closedir(listing) }
    while let entry = readdir(listing) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name != ".", name != ".." { result.append(name) }
    }
    return result.sorted()
  }

  deinit {
    for name in names { unlink(file(name)) }
    rmdir(path)
  }
}

/// A small generator with a seed, for repeatable damage (SplitMix64).
struct SeededGenerator: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var value = state
    value = (value ^ value >> 30) &* 0xbf58_476d_1ce4_e5b9
    value = (value ^ value >> 27) &* 0x94d0_49bb_1331_11eb
    return value ^ value >> 31
  }
}

/// The error that `body` throws; records a failure where it throws none.
func thrown(_ body: () throws -> Void, location: SourceLocation = #_sourceLocation) -> FormatError? {
  do { try body() } catch let error as FormatError { return error } catch {
    Issue.record("another error: \(error)", sourceLocation: location)
    return nil
  }
  Issue.record("no error was thrown", sourceLocation: location)
  return nil
}
