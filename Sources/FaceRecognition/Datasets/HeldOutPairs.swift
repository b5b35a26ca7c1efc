import Formats
import Jobs

/// Images of a data set that training does not see, in pairs for verification.
///
/// Who is held out and which pairs are formed is a function of the list and the seed alone.
public struct HeldOutPairs: Sendable {
  /// What is kept from training.
  public enum Kind: String, Sendable, CaseIterable {
    /// Whole people: how well the network tells strangers apart.
    case identities
    /// Some images of people whose other images are trained on.
    case images
    /// Nothing; there are no pairs then.
    case none
  }

  /// Two images.
  public struct Pair: Sendable, Equatable {
    /// The path of the first image.
    public let first: String
    /// The path of the second image.
    public let second: String
    /// Whether both show one person.
    public let isSame: Bool
  }

  /// What is left for training.
  public let training: ImageList
  /// What is held out, by identity.
  public let heldOut: [ImageList.Identity]
  /// Pairs of one person and of different people in turn, as many of each.
  public let pairs: [Pair]

  /// Divides a list.
  ///
  /// - Parameters:
  ///   - list: images by identity.
  ///   - kind: what is held out.
  ///   - share: of the identities with two images or more, or of each such identity's images; in 0…1.
  ///   - pairLimit: the most pairs of each kind.
  ///   - seed: of the draw.
  /// - Throws: `FormatError.mismatch` where too little is there to form pairs.
  public init(
    _ list: ImageList, kind: Kind, share: Double = 0.1, pairLimit: Int = 3000, seed: UInt64 = 0
  ) throws(FormatError) {
    var training = list.identities
    var heldOut: [ImageList.Identity] = []
    var random = CounterRandom(seed, 0x4845_4c44)
    switch kind {
    case .none: break
    case .identities:
      let able = random.shuffled(training.indices.filter { training[$0].paths.count >= 2 })
      let chosen = Set(able.prefix(max(2, Int((share * Double(able.count)).rounded()))))
      heldOut = training.indices.filter(chosen.contains).map { training[$0] }
      training = training.indices.filter { !chosen.contains($0) }.map { training[$0] }
    case .images:
      for index in training.indices where training[index].paths.count >= 3 {
        let paths = random.shuffled(training[index].paths)
        // Two make a pair, and one has to be left to learn from.
        let count = min(paths.count - 1, max(2, Int((share * Double(paths.count)).rounded())))
        let taken = Set(paths.prefix(count))
        let name = training[index].name
        heldOut.append(.init(name: name, paths: training[index].paths.filter(taken.contains)))
        training[index] = .init(name: name, paths: training[index].paths.filter { !taken.contains($0) })
      }
    }
    guard kind == .none || (heldOut.count >= 2 && !training.isEmpty) else {
      throw FormatError(
        .mismatch, "\(heldOut.count) people can be held out and \(training.count) are left; pairs need two and one",
        advice: kind == .identities
          ? "add people with two photos or more, or hold out images" : "add people with three photos or more")
    }
    self.training = ImageList(identities: training)
    self.heldOut = heldOut
    pairs = Self.pairs(heldOut, limit: max(1, pairLimit), &random)
  }

  private static func pairs(
    _ people: [ImageList.Identity], limit: Int, _ random: inout CounterRandom
  ) -> [Pair] {
    guard people.count >= 2 else { return [] }
    // Everyone's first pairs come before anyone's later ones, so that a limit leaves out no one.
    var rounds: [[Pair]] = []
    for person in people {
      var own: [Pair] = []
      for i in person.paths.indices {
        for j in person.paths.indices where j > i && own.count < limit {
          own.append(Pair(first: person.paths[i], second: person.paths[j], isSame: true))
        }
      }
      for (round, pair) in random.shuffled(own).enumerated() {
        if round == rounds.count { rounds.append([]) }
        rounds[round].append(pair)
      }
    }
    let same = Array(rounds.joined().prefix(limit))
    var different: [Pair] = []
    var seen: Set<[String]> = []
    // Small sets run out of pairs of different people; the attempts are bounded.
    for _ in 0..<100 * same.count where different.count < same.count {
      let a = random.next(below: people.count)
      let b = (a + 1 + random.next(below: people.count - 1)) % people.count
      let (low, high) = (min(a, b), max(a, b))
      let first = people[low].paths[random.next(below: people[low].paths.count)]
      let second = people[high].paths[random.next(below: people[high].paths.count)]
      if seen.insert([first, second]).inserted { different.append(Pair(first: first, second: second, isSame: false)) }
    }
    let count = min(same.count, different.count)
    return (0..<count).flatMap { [same[$0], different[$0]] }
  }

  /// Writes the pairs' image files, as they are, as a verification set that stands on the disk under a temporary name until it
  /// is committed.
  ///
  /// - Throws: `FormatError` of reading and writing.
  public func verificationSet(at path: String, protocol version: Int = 4) throws(FormatError) -> VerificationSetWriter {
    let writer = try VerificationSetWriter(path: path, isSame: pairs.map(\.isSame), protocol: version)
    for pair in pairs {
      try writer.append(encoded: try contents(pair.first))
      try writer.append(encoded: try contents(pair.second))
    }
    try writer.finish()
    return writer
  }
}
