import Formats
import Foundation
import Imaging
import Jobs

/// A small data set in a folder of its own, removed at the end.
final class TemporaryData {
  let folder: String
  var models: String { "\(folder)/models" }

  /// `identities` × `images` pictures of patterns, 112×112, and twenty pairs as `lfw.bin`.
  init(identities: Int = 4, images: Int = 8) throws {
    folder = NSTemporaryDirectory() + "insightface-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    let writer = try FaceRecordWriter(path: "\(folder)/train.rec")
    for who in 0..<identities {
      for image in 0..<images { try writer.append(label: who, encoded: Self.picture(who, image)) }
    }
    try writer.commit()
    try Property(classCount: identities, height: 112, width: 112).write(to: "\(folder)/property")
    var pictures: [VerificationImage] = []
    var isSame: [Bool] = []
    for pair in 0..<20 {
      pictures.append(.encoded(try Self.picture(pair % 3, pair)))
      pictures.append(.encoded(try Self.picture(pair % 2 == 0 ? pair % 3 : 5, pair + 1)))
      isSame.append(pair % 2 == 0)
    }
    try VerificationSet(images: pictures, isSame: isSame).write(path: "\(folder)/lfw.bin")
  }

  deinit { try? FileManager.default.removeItem(atPath: folder) }

  static func picture(_ who: Int, _ image: Int) throws -> [UInt8] {
    var random = CounterRandom(UInt64(who), UInt64(image))
    var pixels = [UInt8](repeating: 0, count: 3 * 112 * 112)
    for i in pixels.indices {
      pixels[i] = UInt8(truncatingIfNeeded: (i / 97 * (who + 1)) & 127) &+ UInt8(random.next(below: 64))
    }
    return try JPEGEncoder().encode(Image(width: 112, height: 112, pixels: pixels), quality: 90)
  }
}
