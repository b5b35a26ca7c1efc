import Formats
import Foundation
import Testing

@testable import FaceDetection

@Suite struct WiderTests {
  struct Setting: Decodable {
    var ap: Double
    var faces, images: Int
    var precision, recall: [Double]
  }

  static let wider = Fixtures.dataFolder + "/wider"

  @Test(.enabled(if: Fixtures.hasData("wider"), "no WIDER FACE"))
  func averagePrecisionEqualsThePorts() throws {
    let expected = try Fixtures.decode("wider-evaluation.json", as: [String: Setting].self)
    let detections = try WiderResults.read(folder: Self.wider + "/mxnet_mnet25_detections")
    let whole = try WiderGroundTruth.read(folder: Self.wider + "/ground_truth")
    #expect(whole.images.count == 3226)
    let truth = whole.restricted(to: Set(detections.keys))
    let evaluation = WiderEvaluation(results: detections, truth: truth)
    #expect(evaluation.imageCount == 100)
    for result in evaluation.results {
      let setting = try #require(expected[result.setting])
      #expect(result.faceCount == setting.faces && evaluation.imageCount == setting.images)
      #expect(abs(try #require(result.averagePrecision) - setting.ap) < 1e-12)
      for (index, point) in stride(from: 0, to: 1000, by: 100).enumerated() {
        #expect(abs(result.curve[point].precision - setting.precision[index]) < 1e-8)
        #expect(abs(result.curve[point].recall - setting.recall[index]) < 1e-8)
      }
    }
    #expect(evaluation.chart().svg().contains("easy (AP 0.9409)"))
  }

  @Test(.enabled(if: Fixtures.hasData("wider"), "no WIDER FACE"))
  func labelsOfTheSubsetAreRead() throws {
    let labels = try FaceLabels.readRetinaFace(path: Self.wider + "/label.txt")
    #expect(labels.images.count == 100)
    #expect(labels.faceCount > 900)
    #expect(labels.images.allSatisfy { $0.faces.allSatisfy { $0.landmarks == nil } })
    let truth = WiderGroundTruth(labels: labels)
    let detections = try WiderResults.read(folder: Self.wider + "/mxnet_mnet25_detections")
    let result = try #require(WiderEvaluation(results: detections, truth: truth).results.first)
    // More faces count than in the hard setting, and fewer of them are found.
    #expect(try #require(result.averagePrecision) > 0.3)
    #expect(result.faceCount == labels.faceCount)
  }

  @Test func resultsAreWrittenAndRead() throws {
    let faces = [
      Detection(box: .init(left: 10.7, top: 20.2, right: 30.9, bottom: 55.5), score: 0.98765432),
      Detection(box: .init(left: 0, top: 0, right: 5, bottom: 6), score: 0.02),
    ]
    try Fixtures.withFolder { folder in
      try WiderResults.write(faces, event: "0--Parade", name: "a", folder: folder)
      let text = try String(contentsOfFile: folder + "/0--Parade/a.txt", encoding: .utf8)
      #expect(text == "0--Parade/a.jpg\n2\n10 20 20 35 0.987654 \n0 0 5 6 0.02 \n")
      try WiderResults.write(faces, event: "1--B", name: "b", folder: folder, rounding: .exact)
      let read = try WiderResults.read(folder: folder)
      #expect(read.keys.sorted() == ["0--Parade/a", "1--B/b"])
      #expect(read["1--B/b"]?[0].box == .init(left: 10.7, top: 20.2, right: 10.7 + 20.2, bottom: 20.2 + 35.3))
      #expect(read["0--Parade/a"]?[1].score == 0.02)
      #expect(throws: FormatError.self) { try WiderResults.read(folder: folder + "/nothing") }
      for text in ["a\n", "a\nb\n", "a\n1\n", "a\n1\n1 2 3\n", "a\n1\n1 2 3 x 0.5\n", "a\n1\n1 2 3 nan 0.5\n"] {
        try Data(text.utf8).write(to: URL(fileURLWithPath: folder + "/x.txt"))
        #expect(throws: FormatError.self) { try WiderResults.read(path: folder + "/x.txt") }
      }
    }
  }

  @Test func retinaFaceLabelsAreRead() throws {
    let text = """
      # a--A/one.jpg
      10 20 30 40 1 2 0.0 3 4 1.0 5 6 0.0 7 8 0.0 9 10 0.0 0.82
      5 5 0 7 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 0.5
      #b--B/two.jpg
      1.5 2 3 4

      1 1 2 2 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1
      """
    try Fixtures.withFolder { folder in
      let path = folder + "/label.txt"
      try Data(text.utf8).write(to: URL(fileURLWithPath: path))
      let labels = try FaceLabels.readRetinaFace(path: path)
      #expect(labels.images.map(\.path) == ["a--A/one.jpg", "b--B/two.jpg"])
      let first = labels.images[0].faces[0]
      #expect(first.box == .init(left: 10, top: 20, right: 40, bottom: 60) && first.blur == 0.82)
      #expect(first.landmarks?.map(\.isVisible) == [true, false, true, true, true])
      #expect(first.landmarks?[4].point == .init(9, 10))
      #expect(labels.images[1].faces.count == 2 && labels.images[1].faces[1].blur == 0.3)
      #expect(labels.images[1].faces[1].landmarks == nil)
      #expect(labels.skipped.map(\.description) == ["line 3, a--A/one.jpg: a box of 0×7 has no area"])
      #expect(first.clipped(width: 25, height: 100)?.box.right == 25)
      #expect(first.clipped(width: 10, height: 100) == nil)
      for bad in ["1 2 3 4\n", "# a\n1 2 3\n", "# a\n1 2 3 x\n", "#\n", "# a\n# a\n"] {
        try Data(bad.utf8).write(to: URL(fileURLWithPath: path))
        #expect(throws: FormatError.self) { try FaceLabels.readRetinaFace(path: path) }
      }
    }
  }

  @Test func officialLabelsAreRead() throws {
    let text = """
      0--Parade/0_a.jpg
      2
      449 330 122 149 2 0 0 1 0 0
      361 98 0 0 0 0 0 0 0 0
      1--B/none.jpg
      0
      0 0 0 0 0 0 0 0 0 0
      1--B/c.jpg
      1
      1 2 3 4 0 0 0 0 0 0
      """
    try Fixtures.withFolder { folder in
      let path = folder + "/gt.txt"
      try Data(text.utf8).write(to: URL(fileURLWithPath: path))
      let labels = try FaceLabels.readWider(path: path)
      #expect(labels.images.map(\.faces.count) == [1, 0, 1])
      #expect(labels.images[0].faces[0].isInvalid && labels.images[0].faces[0].blur == 1)
      #expect(labels.skipped.map(\.line) == [4])
      let truth = WiderGroundTruth(labels: labels)
      #expect(truth.images[0].counted == [[]] && truth.images[2].counted == [[0]])
      #expect(truth.images[2].key == "1--B/c")
      for bad in ["a\n", "a\nx\n", "a\n3\n1 2 3 4\n", "a\n1\n1 2 3\n", "a\n-1\n"] {
        try Data(bad.utf8).write(to: URL(fileURLWithPath: path))
        #expect(throws: FormatError.self) { try FaceLabels.readWider(path: path) }
      }
    }
  }
}
