/// The checksum of zip archives: CRC-32 of IEEE 802.3, polynomial 0xEDB88320, bits reversed.
enum CRC32 {
  /// Table `k` advances a byte that stands `k` bytes before the end of a group of eight.
  private static let tables: [UInt32] = {
    var tables = [UInt32](repeating: 0, count: 8 * 256)
    for byte in 0..<256 {
      var value = UInt32(byte)
      for _ in 0..<8 { value = value & 1 == 1 ? value >> 1 ^ 0xedb8_8320 : value >> 1 }
      tables[byte] = value
    }
    for index in 256..<8 * 256 {
      let previous = tables[index - 256]
      tables[index] = previous >> 8 ^ tables[Int(previous & 255)]
    }
    return tables
  }()

  /// The checksum of `bytes`.
  static func of(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
    tables.withUnsafeBufferPointer { tables in
      guard let table = tables.baseAddress, let source = bytes.baseAddress else { return 0 }
      var crc = ~UInt32(0)
      var index = 0
      while index &+ 8 <= bytes.count {
        let word = UInt64(littleEndian: source.loadUnaligned(fromByteOffset: index, as: UInt64.self)) ^ UInt64(crc)
        let low = table[1792 &+ Int(word & 255)] ^ table[1536 &+ Int(word >> 8 & 255)]
        let next = table[1280 &+ Int(word >> 16 & 255)] ^ table[1024 &+ Int(word >> 24 & 255)]
        let third = table[768 &+ Int(word >> 32 & 255)] ^ table[512 &+ Int(word >> 40 & 255)]
        crc = low ^ next ^ third ^ table[256 &+ Int(word >> 48 & 255)] ^ table[Int(word >> 56)]
        index &+= 8
      }
      while index < bytes.count {
        crc = crc >> 8 ^ table[Int((crc ^ UInt32(source.load(fromByteOffset: index, as: UInt8.self))) & 255)]
        index &+= 1
      }
      return ~crc
    }
  }
}
