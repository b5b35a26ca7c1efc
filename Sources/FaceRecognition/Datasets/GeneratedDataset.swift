import Formats
import Glibc
import Jobs
import Synchronization

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
  ///   - makeDrawer: is called once by each thread and gives the function that draws one image as JPEG.
  ///   - progress: is told how many of all images are drawn.
  public func write(
    to folder: String, setName: String = "synth",
    makeDrawer: @escaping @Sendable () throws -> (Request) throws -> [UInt8], progress: (Int, Int) -> Void = { _, _ in }
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
    var images: [VerificationImage] = []
    let training = (0..<identities).flatMap { who in (0..<imagesPerIdentity).map { Request(identity: who, index: $0) } }
    let requests = training + held.flatMap { [$0.0, $0.1] }
    try inOrder(requests, makeDrawer) { (number, bytes) in
      if number < training.count {
        try writer.append(label: requests[number].identity, encoded: bytes)
      } else {
        images.append(.encoded(bytes))
      }
      progress(number + 1, total)
    }
    try writer.commit()
    try Property(classCount: identities, height: 112, width: 112).write(to: "\(folder)/property")
    if !held.isEmpty {
      try VerificationSet(images: images, isSame: held.map(\.isSame)).write(path: "\(folder)/\(setName).bin")
    }
  }

  /// Draws on several threads, a chunk of requests at a time, and hands the images over in their order.
  private func inOrder(
    _ requests: [Request], _ makeDrawer: @escaping @Sendable () throws -> (Request) throws -> [UInt8],
    _ take: (Int, [UInt8]) throws -> Void
  ) throws {
    let chunk = 64
    let chunks = (requests.count + chunk - 1) / chunk
    struct State {
      var started = 0
      var taken = 0
      var ready: [Int: Result<[[UInt8]], any Error>] = [:]
      var isStopped = false
    }
    let monitor = Monitor(State())
    let ahead = 4 * max(1, threads)
    let workers = (0..<max(1, threads)).map { _ in
      WorkerThread {
        let drawer = Result { try makeDrawer() }
        while true {
          let number = monitor.wait { state -> Int?? in
            if state.isStopped || state.started == chunks { return .some(nil) }
            guard state.started < state.taken + ahead else { return nil }
            state.started += 1
            return state.started - 1
          }
          guard let number else { return }
          let made = Result {
            let draw = try drawer.get()
            return try requests[number * chunk..<min(requests.count, (number + 1) * chunk)].map { try draw($0) }
          }
          monitor.with { $0.ready[number] = made }
        }
      }
    }
    defer {
      monitor.with { $0.isStopped = true }
      workers.forEach { $0.join() }
    }
    for number in 0..<chunks {
      let made = monitor.wait { state -> Result<[[UInt8]], any Error>? in
        guard let made = state.ready.removeValue(forKey: number) else { return nil }
        state.taken += 1
        return made
      }
      for (i, bytes) in try made.get().enumerated() { try take(number * chunk + i, bytes) }
    }
  }
}
