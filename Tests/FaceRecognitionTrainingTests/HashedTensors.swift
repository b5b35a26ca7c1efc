import Foundation
import Torch

/// Tensors, images and labels made from a hash, bit for bit as `scripts/fixtures/hashed_tensors.py` makes them.
enum Hashed {
  static func fnv1a64(_ key: String) -> UInt64 {
    key.utf8.reduce(0xCBF2_9CE4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 }
  }

  static func words(_ key: String, _ count: Int) -> [UInt64] {
    let seed = fnv1a64(key)
    return (0..<count).map { i in
      var z = seed &+ UInt64(i + 1) &* 0x9E37_79B9_7F4A_7C15
      z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
      z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
      return z ^ (z >> 31)
    }
  }

  /// The rule of a tensor: how a uniform number becomes a value.
  struct Rule: Decodable {
    let kind: String
    let a: Float
    let b: Float

    init(kind: String, a: Float, b: Float) {
      (self.kind, self.a, self.b) = (kind, a, b)
    }

    init(from decoder: any Decoder) throws {
      var list = try decoder.unkeyedContainer()
      kind = try list.decode(String.self)
      a = Float(try list.decode(Double.self))
      b = Float(try list.decode(Double.self))
    }
  }

  static func floats(_ key: String, _ count: Int, _ rule: Rule) -> [Float] {
    if rule.kind == "constant" { return Array(repeating: rule.b, count: count) }
    return words(key, count).map { word in
      let u = Float(word >> 40) * 0x1p-24
      if rule.kind == "symmetric" { return (u * 2 - 1) * rule.a }
      let product = rule.a * u
      return rule.b + product
    }
  }

  static func tensor(_ key: String, _ shape: [Int], _ rule: Rule) -> Tensor {
    Tensor(floats(key, shape.reduce(1, *), rule), shape: shape)
  }

  static func labels(_ batch: String, _ count: Int, _ classes: Int) -> [Int64] {
    words("label/\(batch)", count).map { Int64($0 % UInt64(classes)) }
  }

  private static func pattern(_ key: String) -> [Int] {
    let lattice = words(key, 243).map { Int($0 >> 56) }
    var values: [Int] = []
    values.reserveCapacity(3 * 112 * 112)
    for c in 0..<3 {
      for y in 0..<112 {
        let (r, fy) = (y / 14, y % 14)
        for x in 0..<112 {
          let (q, fx) = (x / 14, x % 14)
          let g = { (row: Int, column: Int) in lattice[c * 81 + row * 9 + column] }
          values.append(
            g(r, q) * (14 - fy) * (14 - fx) + g(r, q + 1) * (14 - fy) * fx + g(r + 1, q) * fy * (14 - fx) + g(
              r + 1, q + 1) * fy * fx)
        }
      }
    }
    return values
  }

  /// uint8 [N, 3, 112, 112].
  static func images(_ batch: String, _ labels: [Int64]) -> Tensor {
    var bytes: [UInt8] = []
    for (n, label) in labels.enumerated() {
      let noise = words("noise/\(batch)/\(n)", 3 * 112 * 112)
      let (own, shared) = (pattern("pattern/\(batch)/\(n)"), pattern("pattern/class/\(label)"))
      for i in noise.indices { bytes.append(UInt8((5 * shared[i] + 2 * own[i] + 196 * Int(noise[i] >> 56)) / 1568)) }
    }
    return Tensor(bytes, shape: [labels.count, 3, 112, 112])
  }

  /// L2 norm, 32 projections, 8 entries.
  static func sketch(_ name: String, _ values: [Float]) -> [Double] {
    let bits = words("sign/\(name)", values.count)
    var result = [Double](repeating: 0, count: 33)
    var square = 0.0
    for (value, word) in zip(values, bits) {
      let v = Double(value)
      square += v * v
      for k in 0..<32 { result[1 + k] += (word >> UInt64(32 + k)) & 1 == 1 ? -v : v }
    }
    result[0] = square.squareRoot()
    let positions = words("sample/\(name)", 8)
    return result + positions.map { Double(values[Int($0 % UInt64(values.count))]) }
  }

  /// The relative error of values whose golden's sketch is known: the norm of the difference, estimated from the 32
  /// projections, by the golden's norm.
  static func error(_ name: String, _ values: [Float], golden: ArraySlice<Float>) -> Double {
    let ours = sketch(name, values)
    let golden = golden.map(Double.init)
    let squares = (1...32).map { (ours[$0] - golden[$0]) * (ours[$0] - golden[$0]) }
    return (squares.reduce(0, +) / 32).squareRoot() / max(golden[0], 1e-30)
  }
}

/// A fixture of `Tests/Fixtures/training`: `NAME.json` that describes the numbers of `NAME.bin`.
struct TrainingGolden: Decodable {
  struct Step: Decodable {
    let batch: String
    let labels: [Int64]
    let lossvalue: Double
    let cross_entropy: Double
  }
  struct State: Decodable {
    let prefix: String
    let start: String
  }
  struct NamedRecord: Decodable {
    let name: String
    let kind: String
    let shape: [Int]
    let rule: Hashed.Rule
    let momentum_rule: Hashed.Rule?
    let zero_gradient: Bool?
    let records: [String: Int]?
    let noise: [String: [Double]]?
  }
  let batch: Int
  let classes: Int
  let embedding: Int
  let lr: Double
  let state: State
  let steps: [Step]
  let embedding_eval: Int
  let embedding_train: Int
  let tensors: [NamedRecord]

  static let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent().appending(
    path: "Fixtures/training")

  static func read<Value: Decodable>(_ name: String, as type: Value.Type = Value.self) throws -> Value {
    try JSONDecoder().decode(Value.self, from: Data(contentsOf: folder.appending(path: "\(name).json")))
  }

  static func floats(_ name: String) throws -> [Float] {
    let data = try Data(contentsOf: folder.appending(path: "\(name).bin"))
    return data.withUnsafeBytes { raw in
      (0..<raw.count / 4).map { Float(bitPattern: raw.loadUnaligned(fromByteOffset: 4 * $0, as: UInt32.self)) }
    }
  }
}
