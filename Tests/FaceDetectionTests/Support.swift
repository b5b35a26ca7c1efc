import Formats
import Foundation
import Imaging
import Inference

@testable import FaceDetection

/// Files of the tests, and real data where it lies.
enum Fixtures {
  static var root: URL {
    var url = URL(fileURLWithPath: #filePath)
    for _ in 0..<3 { url.deleteLastPathComponent() }
    return url
  }

  static func decode<Value: Decodable>(_ name: String, as type: Value.Type) throws -> Value {
    try JSONDecoder().decode(
      type, from: Data(contentsOf: root.appendingPathComponent("Tests/Fixtures/detection/\(name)")))
  }

  /// The folder of real checkpoints and photos.
  static var dataFolder: String {
    ProcessInfo.processInfo.environment["INSIGHTFACE_TEST_DATA"]
      ?? root.appendingPathComponent("../shared/data").standardized.path
  }

  static func hasData(_ name: String) -> Bool { FileManager.default.fileExists(atPath: dataFolder + "/" + name) }

  static var isSlow: Bool { ProcessInfo.processInfo.environment["INSIGHTFACE_SLOW_TESTS"] == "1" }

  /// The original checkpoint.
  static func originalGraph() throws -> NetworkGraph {
    let prefix = dataFolder + "/retinaface-mnet25/mnet.25"
    return try NetworkGraph.importing(
      MXNetSymbol.read(path: prefix + "-symbol.json"),
      weights: MXNetParameters(path: prefix + "-0000.params").entries,
      options: .init(inputShapes: ["data": [.n, 3, 640, 640]])
    ).graph
  }

  /// A folder of its own, removed after.
  static func withFolder<Result>(_ body: (String) throws -> Result) throws -> Result {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("detection-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    return try body(folder.path)
  }
}

/// The same pseudo-random numbers in 0…1 as scripts/fixtures/detection.py makes: 24 bits each.
func hashed(_ count: Int, tensor: Int, salt: Int) -> [Float] {
  (0..<count).map { index in
    var h = UInt64(index) * 2_654_435_761 + UInt64(salt) * 40503 + UInt64(tensor) * 97
    h &= 0xffff_ffff
    h ^= h >> 15
    h = (h &* 2_246_822_519) & 0xffff_ffff
    h ^= h >> 13
    return Float(h >> 8) / Float(1 << 24)
  }
}

/// A network whose outputs are hashed from a checksum of its input, as the script's model.
struct HashedRunner: GraphRunner {
  var levels: [AnchorLevel]
  var outputNames: [String] { [] }

  func run(_ input: FloatTensor) throws(GraphError) -> [FloatTensor] {
    let (count, height, width) = (input.shape[0], input.shape[2], input.shape[3])
    let length = 3 * height * width
    let salts = (0..<count).map { image in
      var sum = 0.0
      for index in 0..<length { sum += Double(input.elements[image * length + index]) * Double((index + 1) % 8191) }
      return Int(sum) % 65536
    }
    var outputs: [FloatTensor] = []
    for level in levels {
      let (rows, columns) = ((height + level.stride - 1) / level.stride, (width + level.stride - 1) / level.stride)
      for channels in [2, 4, 10] {
        let size = channels * level.boxes.count * rows * columns
        var elements: [Float] = []
        for salt in salts {
          let values = hashed(size, tensor: outputs.count, salt: salt)
          elements += channels == 2 ? values : values.map { ($0 - 0.5) * 0.6 }
        }
        outputs.append(
          try FloatTensor(shape: [count, channels * level.boxes.count, rows, columns], elements: elements))
      }
    }
    return outputs
  }
}

/// The picture of the script.
func picture(width: Int, height: Int) throws -> Image {
  var pixels: [UInt8] = []
  for y in 0..<height {
    for x in 0..<width { for c in 0..<3 { pixels.append(UInt8((x * 7 + y * 13 + c * 29 + x * y) % 256)) } }
  }
  return try Image(width: width, height: height, pixels: pixels)
}

/// How many of the expected boxes have a found one of IoU ≥ 0.99 whose score and landmarks are near.
func matches(
  _ found: [Detection], _ expected: [Detection], score: Double = 1e-3, landmark: Double = 1
) -> Int {
  expected.filter { face in
    found.contains { other in
      face.box.overlap(other.box) >= 0.99 && abs(Double(face.score) - Double(other.score)) <= score
        && zip(face.landmarks, other.landmarks).allSatisfy {
          abs($0.x - $1.x) <= landmark && abs($0.y - $1.y) <= landmark
        }
    }
  }.count
}
