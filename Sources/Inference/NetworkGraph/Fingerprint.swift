extension NetworkGraph {
  /// Tells networks apart: 32 hexadecimal digits over the preprocessing and the names, shapes and bytes of all weights.
  ///
  /// Embeddings of networks with different fingerprints do not compare. It finds mix-ups, it does not withstand forgery.
  public var fingerprint: String {
    var hash = MixedHash()
    hash.add(Array((preprocessing?.encoded ?? "").utf8))
    for name in weights.keys.sorted(by: { $0.utf8.lexicographicallyPrecedes($1.utf8) }) {
      guard let tensor = weights[name] else { continue }
      hash.add(Array("\(name) \(tensor.dtype.rawValue) \(tensor.shape)".utf8))
      hash.add(tensor.bytes)
    }
    return hash.text
  }
}

/// Tells files of networks apart: 32 hexadecimal digits over the preprocessing and all bytes.
func fingerprint(of bytes: UnsafeRawBufferPointer, preprocessing: Preprocessing?) -> String {
  var hash = MixedHash()
  hash.add(Array((preprocessing?.encoded ?? "").utf8))
  hash.add(bytes)
  return hash.text
}

/// Two lanes of multiply and fold, as in wyhash's inner loop.
private struct MixedHash {
  private var lanes: (UInt64, UInt64) = (0x9E37_79B9_7F4A_7C15, 0xD1B5_4A32_D192_ED03)

  /// Adds bytes and their number.
  mutating func add(_ bytes: [UInt8]) { bytes.withUnsafeBytes { add($0) } }

  mutating func add(_ raw: UnsafeRawBufferPointer) {
    var lanes = lanes
    let whole = raw.count & ~7
    for offset in stride(from: 0, to: whole, by: 8) {
      Self.mix(&lanes, UInt64(littleEndian: raw.loadUnaligned(fromByteOffset: offset, as: UInt64.self)))
    }
    var rest: UInt64 = 0
    for byte in raw[whole...] { rest = rest << 8 | UInt64(byte) }
    Self.mix(&lanes, rest)
    Self.mix(&lanes, UInt64(raw.count))
    self.lanes = lanes
  }

  private static func mix(_ lanes: inout (UInt64, UInt64), _ word: UInt64) {
    let first = (lanes.0 ^ word).multipliedFullWidth(by: 0xA076_1D64_78BD_642F)
    let second = (lanes.1 ^ word).multipliedFullWidth(by: 0xE703_7ED1_A0B4_28DB)
    // Added, so that a product of zero does not forget what came before.
    lanes.0 = (first.high ^ first.low) &+ 0x9E37_79B9_7F4A_7C15 &+ (lanes.0 << 1 | lanes.0 >> 63)
    lanes.1 = (second.high ^ second.low) &+ 0xD1B5_4A32_D192_ED03 &+ (lanes.1 << 1 | lanes.1 >> 63)
  }

  var text: String {
    [lanes.0, lanes.1].map { lane in
      let digits = String(lane, radix: 16)
      return String(repeating: "0", count: 16 - digits.count) + digits
    }.joined()
  }
}
