import Foundation
import Imaging
import Testing

/// Whether the training program stands beside the other one.
private let canTrain = program.map { FileManager.default.isExecutableFile(atPath: "\($0)-train") } ?? false

private let trainingMissing: Comment = "insightface-train is not beside the test bundle: swift build"

@Suite(.enabled(if: canTrain, trainingMissing), .serialized) struct DetectTrainCommandTests {
  private func words(_ prefix: String, _ steps: Int, _ more: String...) -> [String] {
    [
      "detect", "train", "--prefix", prefix, "--image-size", "64", "--per-batch-size", "2", "--max-steps", "\(steps)",
      "--lr-steps", "100", "--lr", "0.001", "--threads", "1", "--decode-threads", "1", "--device", "cpu", "--frequent",
      "1",
    ] + more
  }

  private let scenes = ["--dataset", "synth", "--scenes", "8", "--held-out", "1", "--scene-faces", "2"]

  /// Photos in the reference's layout; gives the folder.
  private func photos(_ scratch: Scratch, _ labels: String) throws -> String {
    for number in 1...3 { try scratch.put(try jpeg(number, width: 120, height: 90), "data/images/\(number).jpg") }
    try scratch.put(labels.utf8, "data/label.txt")
    return "\(scratch.path)/data"
  }

  private static let points = "30 30 0 50 30 0 40 42 0 32 55 0 48 55 0 0.2"

  @Test(arguments: ["mnet", "mobile0.25"]) func `A resumed run equals one without a break`(_ network: String) throws {
    let scratch = try Scratch()
    let (whole, part) = ("\(scratch.path)/whole/m", "\(scratch.path)/part/m")
    let one = try insightface(words(whole, 4, "--network", network) + scenes)
    #expect(one.status == 0, "\(one.errors)")
    #expect(try insightface(words(part, 2, "--network", network) + scenes).status == 0)
    let rest = try insightface(words(part, 4, "--network", network, "--resume") + scenes)
    #expect(rest.status == 0 && rest.errors.contains("resumed after step 2"), "\(rest.errors)")
    let weights = network == "mnet" ? "m-0000.params" : "m.pth"
    for name in [weights, "m-history.csv"] {
      #expect(try scratch.bytes("whole/\(name)") == scratch.bytes("part/\(name)"), "\(name)")
    }
    let model = network == "mnet" ? part : "\(part).pth"
    try scratch.put(try jpeg(5, width: 90, height: 70), "photos/a.jpg")
    let found = try insightface("detect", "--model", model, "\(scratch.path)/photos")
    #expect(found.status == 0, "\(found.errors)")
  }

  @Test func `Bad labels and photos are named`() throws {
    let scratch = try Scratch()
    try FileManager.default.createDirectory(atPath: "\(scratch.path)/empty", withIntermediateDirectories: true)
    let prefix = "\(scratch.path)/run/m"
    let empty = try insightface(words(prefix, 1, "--dataset", "\(scratch.path)/empty"))
    #expect(empty.status == 1 && empty.errors.contains("label.txt"), "\(empty.errors)")
    let missing = try insightface(words(prefix, 1, "--dataset", "\(scratch.path)/nowhere"))
    #expect(missing.status == 1 && missing.errors.contains("nowhere"), "\(missing.errors)")

    // A box without area, landmarks far away, a text in place of a photo: told, and the rest is trained on.
    let labels = """
      # 1.jpg
      20 20 40 40 \(Self.points)
      5 5 0 12 \(Self.points)
      # 2.jpg
      20 20 40 40 30 30 0 50 30 0 99999 42 0 32 55 0 48 55 0 0.2
      # 3.jpg
      20 20 40 40 \(Self.points)
      """
    let folder = try photos(scratch, labels)
    try scratch.put("no photo".utf8, "data/images/3.jpg")
    let run = try insightface(words(prefix, 4, "--network", "mnet", "--dataset", folder))
    #expect(run.status == 0, "\(run.errors)")
    let log = String(decoding: try scratch.bytes("run/m-train.log"), as: UTF8.self)
    #expect(log.contains("line 3, 1.jpg: a box of 0×12 has no area"), "\(log)")
    #expect(log.contains("line 5, 2.jpg: landmarks far away"), "\(log)")
    #expect(log.contains("faces 3 with landmarks 2"), "\(log)")
    #expect(log.contains("skipped sample") && log.contains("3.jpg"), "\(log)")
    let strict = try insightface(words(prefix, 4, "--network", "mnet", "--dataset", folder, "--strict"))
    #expect(strict.status == 1 && strict.errors.contains("3.jpg"), "\(strict.errors)")

    for (text, reason) in [
      ("# 1.jpg\n5 5 0 12\n", "no photo has a face"), ("# 1.jpg\n1 2 three 4\n", "three"),
      ("1 2 3 4\n", "before the first image"), ("# 1.jpg\n1 2 3\n", "3 numbers"), ("", "no photo has a face"),
      ("# 1.jpg\n20 20 40 nan\n", "nan"),
    ] {
      try scratch.put(text.utf8, "data/label.txt")
      let run = try insightface(words(prefix, 1, "--dataset", folder))
      #expect(run.status == 1 && run.errors.contains(reason), "\(text): \(run.errors)")
    }
  }

  @Test func `Settings that cannot be used are named`() throws {
    let scratch = try Scratch()
    let prefix = "\(scratch.path)/m"
    let size = try insightface(words(prefix, 1, "--network", "mnet", "--image-size", "72") + scenes)
    #expect(size.status == 1 && size.errors.contains("multiple of 32"), "\(size.errors)")
    let port = try insightface(words(prefix, 1, "--network", "mobile0.25", "--image-size", "70") + scenes)
    #expect(port.status == 1 && port.errors.contains("multiple of 8"), "\(port.errors)")
    let network = try insightface(words(prefix, 1, "--network", "mnett") + scenes)
    #expect(network.status == 64 && network.errors.contains("mnet"), "\(network.errors)")
    let pretrained = try insightface(
      words(prefix, 1, "--network", "mobile0.25", "--pretrained", "\(prefix).pth") + scenes)
    #expect(pretrained.status == 1 && pretrained.errors.contains("m.pth"), "\(pretrained.errors)")
    #expect(!scratch.exists("m-0000.params") && !scratch.exists("m.pth"))
  }

  @Test func `The port's file goes to ONNX and back`() throws {
    let scratch = try Scratch()
    let prefix = "\(scratch.path)/m"
    let train = try insightface(words(prefix, 1, "--network", "mobile0.25") + scenes)
    #expect(train.status == 0, "\(train.errors)")
    let onnx = try insightface("model", "convert", "\(prefix).pth", "\(prefix).onnx")
    #expect(onnx.status == 0, "\(onnx.errors)")
    let info = try insightface("model", "info", "\(prefix).onnx")
    #expect(info.output.contains("BGR") && info.output.contains("(104.0, 117.0, 123.0)"), "\(info.output)")
    let text = String(decoding: try scratch.bytes("m.onnx"), as: UTF8.self)
    #expect(text.contains("height") && text.contains("width") && text.contains("bbox_rows"))
    for source in ["m.onnx", "m.safetensors"] {
      let back = try insightface("model", "convert", "\(scratch.path)/\(source)", "\(scratch.path)/back.pth")
      #expect(back.status == 0, "\(back.errors)")
      let again = try insightface("model", "convert", "\(scratch.path)/back.pth", "\(scratch.path)/again.onnx")
      #expect(again.status == 0, "\(again.errors)")
      #expect(try scratch.bytes("again.onnx") == scratch.bytes("m.onnx"), "\(source)")
    }
    let fixed = try insightface(
      "model", "export", "\(prefix).pth", "\(prefix)-fixed.onnx", "--fixed-size", "--no-check")
    #expect(fixed.status == 0, "\(fixed.errors)")
    #expect(!String(decoding: try scratch.bytes("m-fixed.onnx"), as: UTF8.self).contains("bbox_rows"))
    let mxnet = try insightface("model", "convert", "\(prefix).pth", "\(prefix),3")
    #expect(mxnet.status == 0 && mxnet.output.contains("colour=BGR"), "\(mxnet.errors)")
  }

  @Test(.enabled(if: realData != nil, realDataMissing))
  func `The original checkpoint goes everywhere and back`() throws {
    let scratch = try Scratch()
    let original = "\(try #require(realData))/retinaface-mnet25/mnet.25"
    func weights(_ name: String) throws -> [UInt8] { try scratch.bytes(name) }
    for (first, second) in [("a,0", "b,0"), ("a.safetensors", "c,0"), ("a.onnx", "d,0")] {
      let out = try insightface("model", "convert", original, "\(scratch.path)/\(first)")
      #expect(out.status == 0, "\(out.errors)")
      let back = try insightface("model", "convert", "\(scratch.path)/\(first)", "\(scratch.path)/\(second)")
      #expect(back.status == 0, "\(back.errors)")
    }
    #expect(try weights("a-0000.params") == weights("b-0000.params"))
    #expect(try weights("a-0000.params") == weights("c-0000.params"))
    // Windows of the size of another tensor and reshapes stay what they are.
    #expect(try weights("a-0000.params") == weights("d-0000.params"))
    #expect(try weights("a-symbol.json") == weights("d-symbol.json"))
    #expect(try weights("a-symbol.json") == weights("c-symbol.json"))
    // Nothing is put before the network: it takes pixels as they are.
    let symbol = String(decoding: try scratch.bytes("a-symbol.json"), as: UTF8.self)
    #expect(!symbol.contains("scalar") && symbol.contains("face_rpn_landmark_pred_stride8"))
    let refused = try insightface("model", "convert", original, "\(scratch.path)/e.pth")
    #expect(refused.status == 1 && !scratch.exists("e.pth"), "\(refused.errors)")
  }
}
