import Imaging
import Inference
import Testing

@testable import FaceDetection

@Suite struct DetectorTests {
  struct Case: Decodable, Sendable, CustomTestStringConvertible {
    var name, network: String
    var width, height: Int
    var threshold: Double
    var scales: [Double]
    var flip, vote, nocrop: Bool
    var nms: Double
    var boxes, landmarks: [Double]
    var testDescription: String { name }
  }

  static let cases = (try? Fixtures.decode("detector.json", as: [Case].self)) ?? []

  @Test func allCasesAreThere() { #expect(Self.cases.count == 9) }

  @Test(arguments: cases)
  func equalsTheReference(_ sample: Case) throws {
    let network = try #require(ReferenceNetwork(rawValue: sample.network))
    let configuration = DetectorConfiguration.reference(network)
    let detector = FaceDetector(runner: HashedRunner(levels: configuration.levels), configuration: configuration)
    let options = DetectionOptions(
      scoreThreshold: sample.threshold, suppressionThreshold: sample.nms, scales: .factors(sample.scales),
      flips: sample.flip, votes: sample.vote, padsToStride: sample.nocrop)
    let found = try detector.detect(picture(width: sample.width, height: sample.height), options: options)
    try #require(found.count == sample.boxes.count / 5)
    for (index, face) in found.enumerated() {
      let box = [face.box.left, face.box.top, face.box.right, face.box.bottom, Double(face.score)]
      for (value, expected) in zip(box, sample.boxes[5 * index..<5 * index + 5]) {
        #expect(abs(value - expected) <= 1e-4 * max(1, abs(expected)))
      }
      #expect(face.landmarks.isEmpty == sample.landmarks.isEmpty)
      for (point, landmark) in face.landmarks.enumerated() {
        #expect(abs(landmark.x - sample.landmarks[10 * index + 2 * point]) <= 1e-3)
        #expect(abs(landmark.y - sample.landmarks[10 * index + 2 * point + 1]) <= 1e-3)
      }
    }
  }

  @Test func anchorsEqualTheReference() throws {
    let expected = try Fixtures.decode("anchors.json", as: [String: [String: [Double]]].self)
    #expect(expected.count == 7)
    for (name, levels) in expected {
      let network = try #require(ReferenceNetwork(rawValue: name))
      #expect(Set(network.levels.map { "\($0.stride)" }) == Set(levels.keys))
      for level in network.levels {
        let found = level.boxes.flatMap { [$0.left, $0.top, $0.right, $0.bottom] }
        #expect(found == (levels["\(level.stride)"] ?? []).map { Float($0) }, "\(name) at stride \(level.stride)")
      }
    }
  }

  @Test func batchesOfMixedSizesEqualSingleImages() throws {
    let configuration = DetectorConfiguration.reference()
    let detector = FaceDetector(runner: HashedRunner(levels: configuration.levels), configuration: configuration)
    let images = try [(64, 48), (30, 70), (64, 48), (1, 1), (65, 48)].map { try picture(width: $0, height: $1) }
    for pads in [false, true] {
      // The limit lets two of the three images that fit together through at once.
      let options = DetectionOptions(
        scoreThreshold: 0.8, scales: .factors([1, 1.5]), flips: true, padsToStride: pads, pixelLimit: 96 * 96 * 2)
      let together = try detector.detect(images, options: options)
      #expect(together.count == images.count)
      for (image, faces) in zip(images, together) { #expect(try detector.detect(image, options: options) == faces) }
      #expect(together.contains { !$0.isEmpty })
    }
    #expect(try detector.detect([Image](), options: DetectionOptions()).isEmpty)
  }

  @Test func selectionsTakeTheRightFaces() throws {
    let configuration = DetectorConfiguration.reference()
    let detector = FaceDetector(runner: HashedRunner(levels: configuration.levels), configuration: configuration)
    let image = try picture(width: 101, height: 77)
    let all = try detector.detect(image, options: .init(scoreThreshold: 0.9))
    func area(_ face: Detection) -> Double { face.box.width * face.box.height }
    let largest = try detector.detect(image, options: .init(scoreThreshold: 0.9, selection: .largest(3)))
    #expect(largest.map(area) == Array(all.map(area).sorted(by: >).prefix(3)))
    let central = try detector.detect(image, options: .init(scoreThreshold: 0.9, selection: .central(1)))
    #expect(central.count == 1 && all.contains(central[0]))
    let large = try detector.detect(image, options: .init(scoreThreshold: 0.9, minimumSize: 20))
    #expect(large == all.filter { $0.box.width >= 19 && $0.box.height >= 19 })
    #expect(!large.isEmpty && large.count < all.count)
  }

  @Test func wrongOptionsAndNetworksAreErrors() throws {
    let configuration = DetectorConfiguration.reference(.net5)
    let detector = FaceDetector(
      runner: HashedRunner(levels: ReferenceNetwork.net3.levels), configuration: configuration)
    let image = try picture(width: 40, height: 40)
    #expect(kind { () throws(DetectionError) in try detector.detect(image) } == .outputs)
    let sound = FaceDetector(runner: HashedRunner(levels: configuration.levels), configuration: configuration)
    for options in [
      DetectionOptions(scoreThreshold: 2), .init(suppressionThreshold: -1), .init(minimumSize: -1),
      .init(pixelLimit: 0),
      .init(suppressionThreshold: 0, votes: true),
    ] {
      #expect(kind { () throws(DetectionError) in try sound.detect(image, options: options) } == .option)
    }
    for factor in [0, -1, .nan, .infinity, 1e-6, 1e6] {
      let options = DetectionOptions(scales: .factors([factor]))
      #expect(kind { () throws(DetectionError) in try sound.detect([image, image], options: options) } == .image)
    }
  }

  /// Gives one number everywhere.
  struct ConstantRunner: GraphRunner {
    var score, delta: Float
    var outputNames: [String] { [] }

    func run(_ input: FloatTensor) throws(GraphError) -> [FloatTensor] {
      let priors =
        2
        * [8, 16, 32].reduce(0) { sum, stride in
          sum + ((input.shape[2] - 1) / stride + 1) * ((input.shape[3] - 1) / stride + 1)
        }
      return [
        try FloatTensor(shape: [1, priors, 4], elements: Array(repeating: delta, count: 4 * priors)),
        try FloatTensor(shape: [1, priors, 2], elements: Array(repeating: score, count: 2 * priors)),
        try FloatTensor(shape: [1, priors, 10], elements: Array(repeating: delta, count: 10 * priors)),
      ]
    }
  }

  @Test(arguments: [Float.nan, .infinity, -.infinity, 1e30, 1000])
  func numbersBeyondAllBoundsAreNoFaces(delta: Float) throws {
    let image = try picture(width: 40, height: 50)
    let detector = FaceDetector(runner: ConstantRunner(score: 0.9, delta: delta), configuration: .pyTorch)
    #expect(try detector.detect(image).isEmpty)
    let unsure = FaceDetector(runner: ConstantRunner(score: .nan, delta: 0), configuration: .pyTorch)
    #expect(try unsure.detect(image).isEmpty)
    let sound = FaceDetector(runner: ConstantRunner(score: 0.9, delta: 0), configuration: .pyTorch)
    #expect(try !sound.detect(image).isEmpty)
  }

  @Test func testSizesAreTheReferences() {
    let options = DetectionOptions.Scales.shorterSide(1600, limit: 2150)
    #expect(options.factors(width: 1024, height: 768) == [1600.0 / 768])
    #expect(options.factors(width: 1024, height: 400) == [2150.0 / 1024])
    #expect(DetectionOptions.Scales.pyramid.factors(width: 1024, height: 768)[1] == 800.0 / 768)
    #expect(DetectionOptions.Scales.pyramid.factors(width: 1024, height: 500)[1] == 1200.0 / 1024)
  }

  private func kind<Value>(_ body: () throws(DetectionError) -> Value) -> DetectionError.Kind? {
    do throws(DetectionError) {
      _ = try body()
      return nil
    } catch {
      return error.kind
    }
  }
}
