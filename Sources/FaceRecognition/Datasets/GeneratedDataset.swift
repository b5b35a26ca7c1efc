import Formats
import Jobs

/// A data set in InsightFace's layout from a function that draws faces: `train.rec`, `train.idx`, `property`, and a
/// verification set of people who are not in it.
public struct GeneratedDataset: Sendable {
  /// Identities of the training set: 0 ..< identities.
  public var identities: Int
  /// Images of each.
  public var imagesPerIdentity: Int
  /// Pairs of the verification set, half of them of one person.
  public var heldOutPairs: Int
  /// Identities of the verification set: identities ..< identities + heldOutIdentities.
  public var heldOutIdentities: Int
  /// Images drawn of each of them.
  public var imagesPerHeldOut: Int
  /// Determines the pairs.
  public var seed: UInt64
  /// Threads that draw.
  public var threads: Int

  /// A data set's size; the defaults are those of `insightface dataset synth`.
  public init(
    identities: Int = 400, imagesPerIdentity: Int = 25, heldOutPairs: Int = 600, heldOutIdentities: Int = 150,
    imagesPerHeldOut: Int = 8, seed: UInt64 = 1, threads: Int = 2
  ) {
    self.identities = identities
    self.imagesPerIdentity = imagesPerIdentity
    self.heldOutPairs = heldOutPairs
    self.heldOutIdentities = heldOutIdentities
    self.imagesPerHeldOut = imagesPerHeldOut
    self.seed = seed
    self.threads = threads
  }

  /// One image of one identity.
  public struct Request: Sendable, Hashable {
    /// Who.
    public let identity: Int
    /// Which image.
    public let index: Int
  }

  /// The pairs of the verification set: same and different alternate, so that ten contiguous folds are balanced.
  public var pairs: [(Request, Request, isSame: Bool)] {
    var random = CounterRandom(seed, 0x7061_6972)
    return (0..<heldOutPairs).map { pair in
      let a = identities + random.next(below: heldOutIdentities)
      let i = random.next(below: imagesPerHeldOut)
      if pair % 2 == 0 {
        let j = (i + 1 + random.next(below: imagesPerHeldOut - 1)) % imagesPerHeldOut
        return (Request(identity: a, index: i), Request(identity: a, index: j), true)
      }
      let b = identities + (a - identities + 1 + random.next(below: heldOutIdentities - 1)) % heldOutIdentities
      return (
        Request(identity: a, index: i), Request(identity: b, index: random.next(below: imagesPerHeldOut)), false
      )
    }
  }

  /// Draws and writes everything; each file appears whole or not at all.
  ///
  /// - Parameters:
  ///   - folder: must exist.
  ///   - draw: draws one image as JPEG; called on several threads.
  ///   - progress: is told how many of all images are drawn.
  public func write(
    to folder: String, setName: String = "synth",
    draw: @escaping @Sendable (Request) throws -> [UInt8], progress: (Int, Int) -> Void = { _, _ in }
  ) throws {
    guard identities >= 2, imagesPerIdentity >= 1, heldOutIdentities >= 2, imagesPerHeldOut >= 2, heldOutPairs >= 0
    else {
      throw FormatError(
        .mismatch, "a data set needs two identities, one image of each, and two images of two people held out",
        path: folder)
    }
    let held = pairs
    let total = identities * imagesPerIdentity + 2 * held.count
    let writer = try FaceRecordWriter(path: "\(folder)/train.rec")
    let setWriter =
      try held.isEmpty
      ? nil : VerificationSetWriter(path: "\(folder)/\(setName).bin", isSame: held.map(\.isSame))
    let training = (0..<identities).flatMap { who in (0..<imagesPerIdentity).map { Request(identity: who, index: $0) } }
    let requests = training + held.flatMap { [$0.0, $0.1] }
    var (drawn, given) = (0, 0)
    let next = { () -> [Request]? in
      guard given < requests.count else { return nil }
      defer { given += 64 }
      return Array(requests[given..<min(requests.count, given + 64)])
    }
    try inOrder(threads: threads, next: next, work: { request in Result { try draw(request) } }) { outcome in
      let bytes = try outcome.get()
      if drawn < training.count {
        try writer.append(label: requests[drawn].identity, encoded: bytes)
      } else {
        try setWriter?.append(encoded: bytes)
      }
      drawn += 1
      progress(drawn, total)
    }
    try writer.commit()
    try Property(classCount: identities, height: 112, width: 112).write(to: "\(folder)/property")
    try setWriter?.commit()
  }
}
