/// How an image has to be turned and mirrored to stand upright: the values of EXIF's tag 274.
public enum Orientation: Int, Sendable, CaseIterable {
  /// As it is.
  case upright = 1
  /// Mirrored left to right.
  case mirrored = 2
  /// Turned by half a turn.
  case halfTurn = 3
  /// Mirrored top to bottom.
  case flipped = 4
  /// Mirrored along the diagonal from the top left.
  case transposed = 5
  /// To be turned clockwise by a quarter.
  case quarterTurn = 6
  /// Mirrored along the diagonal from the top right.
  case transversed = 7
  /// To be turned anticlockwise by a quarter.
  case threeQuarterTurn = 8

  /// Reads tag 274 of the first directory of an EXIF segment; nil where there is none or it is not sound.
  ///
  /// - Parameter bytes: the body of a JPEG's APP1 segment, from `Exif` and two zeros on.
  init?(exif bytes: UnsafeRawBufferPointer) {
    guard bytes.count >= 14, bytes.prefix(6).elementsEqual([0x45, 0x78, 0x69, 0x66, 0, 0]) else { return nil }
    let tiff = UnsafeRawBufferPointer(rebasing: bytes[6...])
    let isLittleEndian = tiff[0] == 0x49
    guard tiff[0] == tiff[1], isLittleEndian || tiff[0] == 0x4d else { return nil }
    func short(_ offset: Int) -> Int? {
      guard offset >= 0, offset + 2 <= tiff.count else { return nil }
      let (first, second) = (Int(tiff[offset]), Int(tiff[offset + 1]))
      return isLittleEndian ? second << 8 | first : first << 8 | second
    }
    func long(_ offset: Int) -> Int? {
      guard let first = short(offset), let second = short(offset + 2) else { return nil }
      return isLittleEndian ? second << 16 | first : first << 16 | second
    }
    guard short(2) == 42, let directory = long(4), let count = short(directory) else { return nil }
    for index in 0..<count {
      let entry = directory + 2 + 12 * index
      guard let tag = short(entry) else { return nil }
      guard tag == 274 else { continue }
      guard short(entry + 2) == 3, long(entry + 4) == 1, let value = short(entry + 8) else { return nil }
      self.init(rawValue: value)
      return
    }
    return nil
  }
}

extension Image {
  /// The image turned and mirrored as the orientation asks, so that it stands upright.
  public func upright(from orientation: Orientation) -> Image {
    if orientation == .upright { return self }
    let swaps = orientation.rawValue >= 5
    let (newWidth, newHeight) = swaps ? (height, width) : (width, height)
    let (right, bottom) = (width - 1, height - 1)
    let result = [UInt8](unsafeUninitializedCapacity: pixels.count) { output, initialized in
      pixels.withUnsafeBufferPointer { source in
        for y in 0..<newHeight {
          for x in 0..<newWidth {
            let (column, row) =
              switch orientation {
              case .upright: (x, y)
              case .mirrored: (right - x, y)
              case .halfTurn: (right - x, bottom - y)
              case .flipped: (x, bottom - y)
              case .transposed: (y, x)
              case .quarterTurn: (y, bottom - x)
              case .transversed: (right - y, bottom - x)
              case .threeQuarterTurn: (right - y, x)
              }
            let (from, to) = (3 * (row * width + column), 3 * (y * newWidth + x))
            output[to] = source[from]
            output[to + 1] = source[from + 1]
            output[to + 2] = source[from + 2]
          }
        }
      }
      initialized = pixels.count
    }
    return Image(unchecked: newWidth, newHeight, result)
  }
}
