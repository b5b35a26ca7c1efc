import Foundation
import Testing

@testable import Formats

@Suite struct MatFileTests {
  static func path(_ name: String) -> String {
    var url = URL(fileURLWithPath: #filePath)
    for _ in 0..<3 { url.deleteLastPathComponent() }
    return url.appendingPathComponent("Fixtures/mat/\(name).mat").path
  }

  @Test(arguments: ["plain", "compressed"])
  func variablesAreRead(name: String) throws {
    let variables = try MatFile(path: Self.path(name)).variables
    // The first index varies fastest.
    #expect(variables["matrix"] == .numbers(shape: [2, 3], elements: [1.5, 4, -2.25, 5e10, 3, -6]))
    #expect(variables["bytes"]?.numbers == [0, 1, 2, 3, 4])
    #expect(variables["shorts"]?.numbers == [-300, 300])
    #expect(variables["ints"]?.numbers == [1, 3, -2, 4])
    #expect(variables["longs"]?.numbers == [Double(1 << 40)])
    #expect(variables["single"]?.numbers == [0.5, 0.25])
    #expect(variables["empty"] == .numbers(shape: [0, 1], elements: []))
    #expect(variables["flag"]?.numbers == [1, 0])
    #expect(variables["word"] == .text(shape: [1, 6], "Parade"))
    #expect(variables["greek"]?.text == "αβγ")
    let cells = try #require(variables["cells"]?.cells)
    #expect(cells.count == 3 && cells[0].text == "one" && cells[1].numbers == [2])
    #expect(cells[2].cells?.first?.text == "deep" && cells[2].cells?.last?.shape == [0, 0])
    guard case .structures(_, let fields)? = variables["record"] else {
      Issue.record("record is no structure")
      return
    }
    #expect(fields["name"]?.first?.text == "x" && fields["values"]?.first?.numbers == [1, 2])
    #expect(variables["long"]?.numbers?.count == 3000)
    let one = try MatFile(path: Self.path(name), names: ["word"])
    #expect(Array(one.variables.keys) == ["word"])
  }

  @Test func complexNumbersAreRefused() {
    #expect(code { () throws(FormatError) in try MatFile(path: Self.path("complex")) } == .unsupported)
  }

  @Test func expansionIsBounded() {
    let path = Self.path("compressed")
    #expect(code { () throws(FormatError) in try MatFile(path: path, expansionLimit: 20000) } == .tooLarge)
    // The parts share one allowance, which the last and largest one exceeds.
    #expect(code { () throws(FormatError) in try MatFile(path: path, expansionLimit: 24100) } == .tooLarge)
  }

  /// One mebibyte each, of numbers, cells and fields of a byte, which take eight times that and more.
  @Test(arguments: ["numbers", "cells", "fields"]) func valuesAreBounded(kind: String) throws {
    let path = Self.path("bomb-\(kind)")
    let error = #expect(throws: FormatError.self) { try MatFile(path: path, expansionLimit: 1 << 21) }
    #expect(error?.code == .tooLarge && error?.path == path && error?.offset == 128 && error?.advice != nil)
    #expect(error?.message.contains("bytes of memory") == true)
    #expect(code { () throws(FormatError) in try MatFile(path: path, expansionLimit: 1 << 27) } == nil)
  }

  @Test(arguments: ["plain", "compressed"])
  func damagedFilesAreErrorsAndNothingElse(name: String) throws {
    let bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: Self.path(name))).prefix(2600))
    var failures = 0
    for end in stride(from: 0, to: bytes.count, by: 7) {
      if code({ () throws(FormatError) in try MatFile(bytes: Array(bytes[..<end]), path: "cut") }) != nil {
        failures += 1
      }
    }
    #expect(failures > 200)
    for position in 120..<bytes.count {
      for value: UInt8 in [0xff, 0x80, bytes[position] ^ 1] {
        var damaged = bytes
        damaged[position] = value
        _ = code { () throws(FormatError) in try MatFile(bytes: damaged, path: "damaged") }
      }
    }
    for (position, value) in [(124, UInt8(2)), (126, 0x4d), (127, 0)] {
      var other = bytes
      other[position] = value
      #expect(code { () throws(FormatError) in try MatFile(bytes: other, path: "other") } == .unsupported)
    }
  }

  private func code<Value>(_ body: () throws(FormatError) -> Value) -> FormatError.Code? {
    do throws(FormatError) {
      _ = try body()
      return nil
    } catch {
      return error.code
    }
  }
}
