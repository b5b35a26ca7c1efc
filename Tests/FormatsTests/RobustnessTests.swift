import Glibc
import Testing

@testable import Formats

/// Damaged files of every format: each is an error, or a shorter file, and never a crash.
@Suite struct RobustnessTests {
  let folder = TemporaryFolder()

  enum Format: String, CaseIterable, Sendable, CustomTestStringConvertible {
    case records, faces, index, property, pickle0, pickle2, pickle3, pickle4, numpy, numpyAnswers, safetensors,
      parameters, oldParameters
    var testDescription: String { rawValue }

    var file: String {
      switch self {
      case .records: return "labels.rec"
      case .faces: return "faces.rec"
      case .index: return "raw.idx"
      case .property: return "property"
      case .pickle0: return "set_py2_protocol0.bin"
      case .pickle2: return "set_py3_protocol2.bin"
      case .pickle3: return "set_py3_protocol3.bin"
      case .pickle4: return "set_py3_protocol4.bin"
      case .numpy: return "numpy_protocol2.bin"
      case .numpyAnswers: return "numpy_answers.bin"
      case .safetensors: return "reference.safetensors"
      case .parameters: return "v2.params"
      case .oldParameters: return "v0.params"
      }
    }

    /// Whether a part of the file can be a whole, smaller file.
    var hasValidPrefixes: Bool {
      switch self {
      case .records, .faces, .index, .property: return true
      default: return false
      }
    }

    func original() throws -> [UInt8] {
      self == .property ? Array("85742,112,112\n100\nshuffled\n".utf8) : try contents(fixture(file))
    }

    /// Reads everything in the file as a program would, and gives something to compare.
    func read(_ bytes: [UInt8], in folder: TemporaryFolder) throws -> [[UInt8]] {
      switch self {
      case .index:
        let index = try bytes.withRawBytes { try RecordIndex(text: $0, path: "x") }
        return (0..<index.count).map { Array("\(index.key(at: $0)) \(index.offset(at: $0))".utf8) }
      case .pickle0, .pickle2, .pickle3, .pickle4, .numpy, .numpyAnswers:
        let set = try bytes.withRawBytes { try VerificationSet.read($0, path: "x") }
        return set.images.map {
          switch $0 {
          case .encoded(let bytes): return bytes
          case .pixels(let height, let width, let channels, let bytes):
            #expect(height * width * channels == bytes.count)
            return bytes
          }
        }
      default: break
      }
      let path = folder.file("damaged.rec")
      put(bytes, at: path)
      switch self {
      case .records:
        let reader = try RecordReader(path: path)
        var scanner = RecordScanner(reader)
        var buffer = RecordBuffer()
        var payloads: [[UInt8]] = []
        while let (offset, range) = try scanner.next(into: &buffer) {
          #expect(try reader.payload(at: offset) == Array(buffer.bytes[range]))
          payloads.append(Array(buffer.bytes[range]))
          _ = try? buffer.bytes[range].withUnsafeBytes { try RecordHeader(payload: $0, path: path, offset: 0) }
        }
        return payloads
      case .faces:
        let file = try FaceRecordFile(path: path)
        _ = try? file.identityRanges()
        return try (0..<file.imageCount).map { Array(try file.image(at: $0).encoded) }
      case .property: return [Array("\(try Property(path: path))".utf8)]
      case .safetensors:
        let file = try Safetensors(path: path)
        return try file.tensors.map {
          let tensor = try file.tensor(named: $0.name)
          #expect(tensor.floats().count == tensor.elementCount)
          return tensor.bytes
        }
      default:
        return try MXNetParameters(path: path).entries.map {
          #expect($0.tensor.floats().count == $0.tensor.elementCount)
          return $0.tensor.bytes
        }
      }
    }
  }

  @Test(arguments: Format.allCases) func cutAnywhere(format: Format) throws {
    let original = try format.original()
    let whole = try format.read(original, in: folder)
    #expect(!whole.isEmpty)
    for length in 0..<original.count {
      do {
        let part = try format.read(Array(original[..<length]), in: folder)
        #expect(format.hasValidPrefixes, "\(length) bytes of \(original.count) were accepted")
        if format == .records { #expect(part == Array(whole[..<part.count])) }
      } catch let error as FormatError {
        #expect(error.path != nil)
      }
    }
  }

  @Test(arguments: Format.allCases) func flippedBytes(format: Format) throws {
    let original = try format.original()
    var generator = SeededGenerator(state: 20_240_607)
    var refused = 0
    for _ in 0..<700 {
      var bytes = original
      for _ in 0..<Int.random(in: 1...4, using: &generator) {
        let place = Int.random(in: bytes.indices, using: &generator)
        // Any value, or a single bit, or one of the values that lengths and counts are most sensitive to.
        switch Int.random(in: 0..<3, using: &generator) {
        case 0: bytes[place] = UInt8.random(in: .min ... .max, using: &generator)
        case 1: bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
        default: bytes[place] = [0, 0x7f, 0x80, 0xff].randomElement(using: &generator) ?? 0
        }
      }
      do { _ = try format.read(bytes, in: folder) } catch is FormatError { refused += 1 }
    }
    #expect(refused > 0)
  }

  @Test func damagedIndexBesideGoodRecords() throws {
    let index = try contents(fixture("faces.idx"))
    put(try contents(fixture("faces.rec")), at: folder.file("train.rec"))
    var generator = SeededGenerator(state: 7)
    for _ in 0..<700 {
      var bytes = index
      let place = Int.random(in: bytes.indices, using: &generator)
      bytes[place] = UInt8.random(in: 32..<64, using: &generator)
      if Bool.random(using: &generator) { bytes.removeLast(Int.random(in: 0..<bytes.count, using: &generator)) }
      put(bytes, at: folder.file("train.idx"))
      do {
        let file = try FaceRecordFile(path: folder.file("train.rec"))
        for position in 0..<file.imageCount { _ = try file.image(at: position) }
      } catch let error as FormatError {
        #expect(error.path != nil)
      }
    }
  }
}
