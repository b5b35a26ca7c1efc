/// The Castagnoli cyclic redundancy check in the masked form that TensorFlow's record files carry.
enum CRC32C {
  /// The table of the reflected polynomial 0x82F63B78, one entry for each byte value.
  private static let table: [UInt32] = (0..<256).map { byte in
    var value = UInt32(byte)
    for _ in 0..<8 {
      value = (value & 1) == 1 ? (value >> 1) ^ 0x82F6_3B78 : value >> 1
    }
    return value
  }

  /// The plain checksum of `bytes`.
  static func checksum(_ bytes: some Sequence<UInt8>) -> UInt32 {
    let table = table
    var value: UInt32 = 0xFFFF_FFFF
    for byte in bytes {
      value = (value >> 8) ^ table[Int((value ^ UInt32(byte)) & 0xFF)]
    }
    return ~value
  }

  /// The checksum rotated and offset, so that a checksum of data that holds checksums stays meaningful.
  static func masked(_ bytes: some Sequence<UInt8>) -> UInt32 {
    let plain = checksum(bytes)
    return ((plain >> 15) | (plain << 17)) &+ 0xA282_EAD8
  }
}
