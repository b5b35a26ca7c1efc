import Foundation
import Imaging
import Testing

/// The program under test, built beside the test bundle; `nil` where it was not built.
let program: String? = {
  var candidates: [String] = []
  // The bundle is the running program, or an argument of the tool that loads it.
  for argument in [try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")] + CommandLine.arguments
  {
    if let argument, let slash = argument.lastIndex(of: "/") { candidates.append(argument[...slash] + "insightface") }
  }
  return candidates.first { FileManager.default.isExecutableFile(atPath: $0) }
}()

/// Why the tests of the program are skipped.
let programMissing: Comment = "the program insightface is not beside the test bundle: swift build --product insightface"

/// Real data for development, where present.
let realData: String? = {
  let root = #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(3).joined(separator: "/")
  let folder = ProcessInfo.processInfo.environment["INSIGHTFACE_TEST_DATA"] ?? root + "/../shared/data"
  return access(folder + "/lfw-faces/train.rec", R_OK) == 0 ? folder : nil
}()

/// Why tests on real data are skipped.
let realDataMissing: Comment = "no real data at $INSIGHTFACE_TEST_DATA nor ../shared/data"

/// What a run of the program gave.
struct Run {
  /// The exit status; negative for a signal.
  let status: Int32
  let output: String
  let errors: String
}

/// Runs the program to its end; `limit` is the largest file that it may write, in KiB.
func insightface(
  _ arguments: String..., at path: String? = nil, environment: [String: String] = [:], limit: Int? = nil
) throws -> Run {
  try insightface(arguments, at: path, environment: environment, limit: limit)
}

/// The same, with the arguments in an array.
func insightface(
  _ arguments: [String], at path: String? = nil, environment: [String: String] = [:], limit: Int? = nil
) throws -> Run {
  let process = Process()
  let executable = try path ?? #require(program)
  if let limit {
    // The signal of the limit may come ignored from whatever runs the tests; then the program's own care would not show.
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments =
      ["--default-signal=XFSZ", "bash", "-c", "ulimit -f \(limit); exec \"$0\" \"$@\"", executable] + arguments
  } else {
    process.executableURL = URL(fileURLWithPath: executable)
    process.arguments = arguments
  }
  process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
  let (output, errors) = (Pipe(), Pipe())
  process.standardInput = FileHandle.nullDevice
  process.standardOutput = output
  process.standardError = errors
  try process.run()
  // Standard error stays far below the size of a pipe, so that reading one after the other cannot block.
  let text = output.fileHandleForReading.readDataToEndOfFile()
  let complaint = errors.fileHandleForReading.readDataToEndOfFile()
  process.waitUntilExit()
  return Run(
    status: process.terminationReason == .exit ? process.terminationStatus : -process.terminationStatus,
    output: String(decoding: text, as: UTF8.self), errors: String(decoding: complaint, as: UTF8.self))
}

/// A folder that goes away with the test, with all that is in it.
final class Scratch {
  let path: String

  init() throws {
    path = FileManager.default.temporaryDirectory.path + "/command-test-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  /// Writes a file and the folders above it; gives its path.
  @discardableResult
  func put(_ bytes: some Sequence<UInt8>, _ name: String) throws -> String {
    let file = URL(fileURLWithPath: "\(path)/\(name)")
    try FileManager.default.createDirectory(at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
    try Data(bytes).write(to: file)
    return file.path
  }

  func bytes(_ name: String) throws -> [UInt8] {
    try [UInt8](Data(contentsOf: URL(fileURLWithPath: "\(path)/\(name)")))
  }

  func exists(_ name: String) -> Bool { FileManager.default.fileExists(atPath: "\(path)/\(name)") }

  /// Every file below a folder, hidden ones too.
  func files(_ name: String) -> [String] {
    (FileManager.default.enumerator(atPath: "\(path)/\(name)")?.compactMap { $0 as? String } ?? []).filter {
      var isFolder: ObjCBool = false
      return FileManager.default.fileExists(atPath: "\(path)/\(name)/\($0)", isDirectory: &isFolder)
        && !isFolder.boolValue
    }.sorted()
  }

  /// Two people with two images each, as `people/NAME/NAME_000N.jpg`; gives the bytes by path below `people`.
  @discardableResult
  func people() throws -> [String: [UInt8]] {
    var files: [String: [UInt8]] = [:]
    for (person, name) in ["Ann_Lee", "bob"].enumerated() {
      for number in 1...2 { files["\(name)/\(name)_000\(number).jpg"] = try jpeg(10 * person + number) }
    }
    for (name, bytes) in files { try put(bytes, "people/\(name)") }
    return files
  }
}

/// A picture of its own for each number.
func jpeg(_ number: Int, width: Int = 112, height: Int = 112) throws -> [UInt8] {
  var pixels: [UInt8] = []
  for y in 0..<height {
    for x in 0..<width {
      pixels += [UInt8((2 * x + 37 * number) & 255), UInt8((2 * y + 11 * number) & 255), UInt8((53 * number) & 255)]
    }
  }
  return try Image(width: width, height: height, pixels: pixels).jpeg(quality: 85)
}
