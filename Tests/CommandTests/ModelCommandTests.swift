import Foundation
import Testing

/// `insightface model`: files in, files out, and what is said of others.
@Suite(.enabled(if: program != nil, programMissing)) struct ModelCommandTests {
  @Test(arguments: ["info", "convert", "export"])
  func `Every model command has help with an example`(_ name: String) throws {
    let run = try insightface("model", name, "--help")
    #expect(run.status == 0 && run.errors.isEmpty)
    #expect(run.output.contains("\n  insightface model \(name) "), "\(run.output)")
  }

  private static let fixtures =
    #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(2).joined(separator: "/")
    + "/Fixtures/onnx"

  @Test func `A model of PyTorch becomes MXNet's and is told about`() throws {
    let scratch = try Scratch()
    let model = "\(Self.fixtures)/iresnet-script.onnx"
    let info = try insightface("model", "info", model)
    #expect(info.status == 0 && info.output.contains("unknown: the file does not tell"), "\(info.output)\(info.errors)")
    let refused = try insightface("model", "convert", model, "\(scratch.path)/m,3")
    #expect(refused.status == 1 && refused.errors.contains("--preprocessing"), "\(refused.errors)")
    #expect(!scratch.exists("m-symbol.json"))
    let made = try insightface("model", "convert", model, "\(scratch.path)/m,3", "--preprocessing", "arcface-torch")
    #expect(made.status == 0, "\(made.errors)")
    #expect(scratch.exists("m-symbol.json") && scratch.exists("m-0003.params"))
    let json = try insightface("model", "info", "\(scratch.path)/m,3", "--json")
    let object = try #require(try JSONSerialization.jsonObject(with: Data(json.output.utf8)) as? [String: Any])
    #expect(object["format"] as? String == "mxnet")
    let preprocessing = try #require(object["preprocessing"] as? [String: Any])
    #expect(preprocessing["inside_network"] as? Bool == true)
    #expect(preprocessing["embedding_length"] as? Int == 16)
    #expect(preprocessing["width"] as? Int == 16 && preprocessing["height"] as? Int == 12)
  }

  @Test func `An export says whether it was checked`() throws {
    let scratch = try Scratch()
    let (model, out) = ("\(Self.fixtures)/iresnet-dynamo.onnx", "\(scratch.path)/out.onnx")
    let run = try insightface(
      "model", "export", model, out, "--fold-bn", "--license", "for tests", "--preprocessing", "arcface-torch",
      environment: ["INSIGHTFACE_ONNXRUNTIME_PYTHON": "/nonexistent/python"])
    #expect(run.status == 0 && run.output.contains("not checked"), "\(run.output)\(run.errors)")
    let info = try insightface("model", "info", out)
    #expect(info.output.contains("for tests") && info.output.contains("before the network"), "\(info.output)")
    let opset = try insightface("model", "export", model, out, "--opset", "12")
    #expect(opset.status == 64 && opset.errors.contains("13 to 21"))
    // A check that fails is an error: this program prints nothing of what it was asked.
    let liar = try scratch.put("#!/bin/sh\nexit 0\n".utf8, "python")
    try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: liar)
    let failed = try insightface(
      "model", "export", model, out, "--preprocessing", "arcface-torch",
      environment: ["INSIGHTFACE_ONNXRUNTIME_PYTHON": liar])
    #expect(failed.status == 1 && failed.errors.contains("ONNX Runtime does not compute"), "\(failed.errors)")
  }

  @Test func `A network of arcface_torch goes to PyTorch's file and back`() throws {
    let scratch = try Scratch()
    let (drawn, weights, back) = ("\(scratch.path)/a.onnx", "\(scratch.path)/b.pt", "\(scratch.path)/c.onnx")
    let export = try insightface("model", "export", "mbf", drawn, "--random-weights", "1", "--no-check")
    #expect(export.status == 0, "\(export.errors)")
    let made = try insightface("model", "convert", drawn, weights)
    #expect(made.status == 0 && made.output.contains("ONNX → PyTorch"), "\(made.errors)")
    let info = try insightface("model", "info", weights, "--json")
    let object = try #require(try JSONSerialization.jsonObject(with: Data(info.output.utf8)) as? [String: Any])
    #expect(object["format"] as? String == "pytorch")
    #expect((object["preprocessing"] as? [String: Any])?["inside_network"] as? Bool == true)
    #expect(try insightface("model", "convert", weights, back).status == 0)
    let (first, second) = (try Data(contentsOf: URL(filePath: drawn)), try Data(contentsOf: URL(filePath: back)))
    #expect(first == second)
    // Networks of MXNet have no such file; nothing is written.
    #expect(
      try insightface("model", "export", "mnas025", drawn, "--random-weights", "1", "--no-check").status == 0)
    let refused = try insightface("model", "convert", drawn, "\(scratch.path)/d", "--to", "pytorch")
    #expect(refused.status == 1 && refused.errors.contains("no network of arcface_torch"), "\(refused.errors)")
    #expect(!scratch.exists("d"))
    let unknown = try insightface("model", "export", "mbv", drawn, "--random-weights", "1")
    #expect(unknown.status == 64 && unknown.errors.contains("mbf"), "\(unknown.errors)")
  }

  @Test func `Files that are no models are named with their first bytes`() throws {
    let scratch = try Scratch()
    let text = try scratch.put("hello, world".utf8, "m.onnx")
    let run = try insightface("model", "info", text)
    #expect(run.status == 1 && run.errors.contains("68 65 6c 6c 6f"), "\(run.errors)")
    let absent = try insightface("model", "info", "\(scratch.path)/absent")
    #expect(absent.status == 1 && absent.errors.contains("absent-symbol.json"), "\(absent.errors)")
    #expect(try insightface("model", "convert", text, "\(scratch.path)/out").status == 64)
    #expect(try insightface("model", "info", text, "--size", "12").status == 64)
    #expect(try insightface("model", "info", text, "--preprocessing", "guess").status == 64)
  }
}
