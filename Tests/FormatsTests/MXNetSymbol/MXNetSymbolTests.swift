import Foundation
import Testing

@testable import Formats

@Suite struct MXNetSymbolTests {
  private static func fixture(_ name: String) -> String {
    var url = URL(fileURLWithPath: #filePath)
    for _ in 0..<3 { url.deleteLastPathComponent() }
    return url.appendingPathComponent("Fixtures/mxnet-symbol/\(name)").path
  }

  private static func text(_ name: String) throws -> String {
    String(decoding: try Data(contentsOf: URL(fileURLWithPath: fixture(name))), as: UTF8.self)
  }

  private static func parse(_ text: String) throws -> MXNetSymbol {
    try MXNetSymbol.parse(Array(text.utf8), path: "net-symbol.json")
  }

  /// A symbol of one variable and one operator, with parts to break.
  private static func small(
    op: String = "\"op\": \"relu\"", inputs: String = "[[0, 0, 0]]", heads: String = "[[1, 0, 0]]", more: String = ""
  ) -> String {
    """
    {"nodes": [{"op": "null", "name": "data", "inputs": []},
      {\(op), "name": "r", "inputs": \(inputs)}], "arg_nodes": [0], "heads": \(heads)\(more)}
    """
  }

  @Test(arguments: ["writer.json", "small.json"])
  func whatMXNetWroteIsWrittenAgainByteForByte(_ name: String) throws {
    let symbol = try MXNetSymbol.read(path: Self.fixture(name))
    #expect(symbol.json() == (try Self.text(name)))
    #expect(symbol.mxnetVersion == 10901)
  }

  @Test func attributesAndNamesAreUnescaped() throws {
    let symbol = try MXNetSymbol.read(path: Self.fixture("writer.json"))
    let convolution = try #require(symbol.nodes.first { $0.op == "Convolution" })
    #expect(convolution.name == "conv \"quoted\\\" é")
    #expect(convolution["__mood__"] == "tab\there")
    #expect(convolution["kernel"] == "(3, 3)")
    #expect(convolution["absent"] == nil)
    #expect(symbol.heads.count == 12)
    let batchNorm = try #require(symbol.nodes.firstIndex { $0.op == "BatchNorm" })
    #expect(symbol.outputCount(of: batchNorm) == 3)
    #expect(symbol.nodes[batchNorm].inputs.map(\.version) == [0, 0, 0, 1, 1])
  }

  @Test func outputCountsAreThoseOfMXNetWithoutTheRowPointers() throws {
    let symbol = try MXNetSymbol.read(path: Self.fixture("writer.json"))
    let bare = symbol.nodes.map { node in
      var node = node
      node.outputCount = nil
      return node
    }
    #expect(try MXNetSymbol(nodes: bare, heads: symbol.heads).json() == (try Self.text("writer.json")))
  }

  /// MXNet 1.9.1 loaded the same old file and saved what it made of it.
  @Test func anOldSymbolIsUpgradedAsMXNetDoes() throws {
    let old = try MXNetSymbol.read(path: Self.fixture("mxnet-0.8.json"))
    let upgraded = try MXNetSymbol.read(path: Self.fixture("mxnet-0.8-upgraded.json"))
    #expect(old.mxnetVersion == nil)
    #expect(old.nodes.count == 11)
    // MXNet also replaces the operator's old name by its present one; here that is left to the import.
    #expect(old.nodes.map(\.op) == upgraded.nodes.map { $0.op == "_plus_scalar" ? "_PlusScalar" : $0.op })
    #expect(old.nodes.map(\.name) == upgraded.nodes.map(\.name))
    #expect(old.nodes.map(\.inputs) == upgraded.nodes.map(\.inputs))
    #expect(old.heads == upgraded.heads)
    for (mine, theirs) in zip(old.nodes, upgraded.nodes) {
      #expect(Set(mine.attributes) == Set(theirs.attributes), "node \(mine.name)")
    }
  }

  @Test func attributesUnderAttrAreRead() throws {
    let middle = try MXNetSymbol.read(path: Self.fixture("mxnet-0.9.json"))
    let upgraded = try MXNetSymbol.read(path: Self.fixture("mxnet-0.8-upgraded.json"))
    #expect(middle.nodes == upgraded.nodes)
    #expect(middle.mxnetVersion == 905)
  }

  @Test func writtenSymbolsReadBackEqual() throws {
    let symbol = try MXNetSymbol(
      nodes: [
        .init(op: "null", name: "data", attributes: [.init("__shape__", "(0, 3, 4, 4)")], outputCount: 1),
        .init(op: "relu", name: "r\n\"", inputs: [.init(node: 0)], controlDependencies: [0], outputCount: 1),
      ],
      heads: [.init(node: 1), .init(node: 0)],
      graphAttributes: [
        .init("mxnet_version", .int(10901)), .init("note", .string("a \"b\"")),
        .init("list", .other(type: "list_int", json: "[1, 2]")),
      ])
    #expect(try Self.parse(symbol.json()) == symbol)
  }

  @Test(
    .enabled(if: TestData.isPresent, "real checkpoints are looked for in $INSIGHTFACE_TEST_DATA or ../shared/data"),
    arguments: ["mobilefacenet-y1/model-symbol.json", "retinaface-mnet25/mnet.25-symbol.json"])
  func publishedCheckpointsRoundTrip(_ name: String) throws {
    let path = TestData.folder + "/" + name
    let symbol = try MXNetSymbol.read(path: path)
    let text = String(decoding: try Data(contentsOf: URL(fileURLWithPath: path)), as: UTF8.self)
    #expect(symbol.json() == text)
  }

  // MARK: Files that are wrong

  @Test func brokenReferencesAreNamed() throws {
    let cases: [(String, String)] = [
      (Self.small(inputs: "[[1, 0, 0]]"), "does not come before it"),
      (Self.small(inputs: "[[2, 0, 0]]"), "there are 2 nodes"),
      (Self.small(inputs: "[[-1, 0, 0]]"), "refers to node -1"),
      (Self.small(inputs: "[[0, 1, 0]]"), "refers to output 1"),
      (Self.small(inputs: "[[0, 0, -1]]"), "negative version"),
      (Self.small(inputs: "[[0]]"), "[node, output]"),
      (Self.small(inputs: "[[0, 0, 0, 0]]"), "found 4 numbers"),
      (Self.small(inputs: "[[0.5, 0, 0]]"), "must be an integer"),
      (Self.small(inputs: "[[99999999999999999999, 0, 0]]"), "must be an integer"),
      (Self.small(inputs: "7"), "must be an array"),
      (Self.small(heads: "[[5, 0, 0]]"), "head 0 refers to node 5"),
      (Self.small(heads: "[]"), "no heads"),
      (Self.small(op: "\"op\": \"null\""), "is a variable and yet has inputs"),
      (Self.small(op: "\"op\": 7"), "must be a string"),
      (Self.small(op: "\"opp\": \"relu\""), "has no \"op\""),
      (Self.small(op: "\"op\": \"relu\", \"colour\": 1"), "unknown key \"colour\""),
      (Self.small(op: "\"op\": \"relu\", \"control_deps\": [1]"), "does not come before it"),
      (Self.small(op: "\"op\": \"relu\", \"attr\": {\"a\": \"1\"}, \"param\": {\"a\": \"2\"}"), "two values of \"a\""),
      (Self.small(more: ", \"node_row_ptr\": [0, 1]"), "one more is expected"),
      (Self.small(more: ", \"node_row_ptr\": [0, 1, 1]"), "must rise"),
      (Self.small(more: ", \"node_row_ptr\": [0, 1, 99999999]"), "must rise"),
      (Self.small(more: ", \"heads\": []"), "occurs twice"),
      (Self.small(more: ", \"extra\": []"), "unknown key \"extra\""),
      (Self.small(more: ", \"attrs\": {\"mxnet_version\": 7}"), "must be an array"),
      ("{\"heads\": [[0, 0]]}", "\"nodes\" is missing"),
      ("{\"nodes\": []}", "\"heads\" is missing"),
      ("[]", "expected an object"),
    ]
    for (text, message) in cases {
      let error = #expect(throws: FormatError.self) { try Self.parse(text) }
      #expect(error?.message.contains(message) == true, "\(error.map(String.init(describing:)) ?? "none") for \(text)")
      #expect(error?.path == "net-symbol.json")
      #expect(error?.offset != nil)
      #expect(error?.code == .corrupt)
    }
  }

  @Test func argumentNodesMustBeVariables() throws {
    let text = Self.small().replacingOccurrences(of: "\"arg_nodes\": [0]", with: "\"arg_nodes\": [1]")
    let error = #expect(throws: FormatError.self) { try Self.parse(text) }
    #expect(error?.message.contains("not a variable") == true)
  }

  @Test func theErrorKnowsOffsetAndLine() throws {
    let error = #expect(throws: FormatError.self) { try Self.parse(Self.small(inputs: "[[1, 0, 0]]")) }
    let offset = try #require(error?.offset)
    #expect(Array(Self.small(inputs: "[[1, 0, 0]]").utf8)[offset] == UInt8(ascii: "{"))
    #expect(error?.line == 2)
  }

  @Test func brokenJSONIsRefusedWithItsOffset() throws {
    let cases: [(String, Int, FormatError.Code)] = [
      ("", 0, .truncated), ("{", 1, .corrupt), ("{\"a\" 1}", 5, .corrupt), ("{\"a\": 1,}", 8, .corrupt),
      ("[1 2]", 3, .corrupt), ("{} x", 3, .corrupt), ("\"abc", 0, .truncated), ("\"a\nb\"", 2, .corrupt),
      ("\"\\x\"", 2, .corrupt), ("\"\\u12\"", 3, .corrupt), ("\"\\uD800\"", 7, .corrupt), ("-", 1, .corrupt),
      ("1.", 2, .corrupt), ("1e", 2, .corrupt), ("nul", 0, .corrupt), ("{1: 2}", 1, .corrupt),
      (String(repeating: "[", count: 100_000), 32, .corrupt),
    ]
    for (text, offset, code) in cases {
      let error = #expect(throws: FormatError.self) { try SymbolJSON.parse(Array(text.utf8), path: nil) }
      #expect(error?.offset == offset, "\(text.prefix(20)): \(error.map(String.init(describing:)) ?? "")")
      #expect(error?.code == code, "\(text.prefix(20))")
    }
    let error = #expect(throws: FormatError.self) { try SymbolJSON.parse([0x22, 0xFF, 0x22], path: nil) }
    #expect(error?.message.contains("UTF-8") == true)
  }

  @Test func escapesAreDecoded() throws {
    let json = try SymbolJSON.parse(Array("\"\\u00e9\\uD83D\\uDE00\\/\\b\\f\\n\\r\\t\"".utf8), path: nil)
    guard case .string(let text) = json.value else {
      Issue.record("not a string")
      return
    }
    #expect(text == "é😀/\u{8}\u{c}\n\r\t")
  }

  /// Every prefix and many single-byte changes of a real file: an error or a sound symbol, never a crash.
  @Test func damagedFilesNeverCrash() throws {
    let bytes = Array(try Self.text("small.json").utf8)
    for length in 0..<bytes.count {
      #expect(throws: FormatError.self) { try MXNetSymbol.parse(Array(bytes.prefix(length))) }
    }
    var state: UInt64 = 42
    for _ in 0..<3000 {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      var damaged = bytes
      damaged[Int(state >> 33) % bytes.count] = UInt8(truncatingIfNeeded: state >> 20)
      if let symbol = try? MXNetSymbol.parse(damaged) {
        let again = try MXNetSymbol.parse(Array(symbol.json().utf8))
        #expect(again.nodes.count == symbol.nodes.count)
      }
    }
  }

  @Test func missingAndHugeFilesAreRefused() throws {
    let missing = #expect(throws: FormatError.self) { try MXNetSymbol.read(path: "/nonexistent/a-symbol.json") }
    #expect(missing?.code == .notFound)
    #expect(missing?.path == "/nonexistent/a-symbol.json")
    let folder = #expect(throws: FormatError.self) { try MXNetSymbol.read(path: "/tmp") }
    #expect(folder?.code == .io)
    let endless = #expect(throws: FormatError.self) { try MXNetSymbol.read(path: "/dev/zero") }
    #expect(endless?.code == .tooLarge)
  }
}

/// Where real data lies, if it does.
private enum TestData {
  static var folder: String {
    var root = URL(fileURLWithPath: #filePath)
    for _ in 0..<4 { root.deleteLastPathComponent() }
    return ProcessInfo.processInfo.environment["INSIGHTFACE_TEST_DATA"]
      ?? root.appendingPathComponent("../shared/data").standardized.path
  }

  static var isPresent: Bool {
    FileManager.default.fileExists(atPath: folder + "/mobilefacenet-y1/model-symbol.json")
  }
}
