import Jobs
import Torch

/// Semi-hard triplets of a bag of faces (`pick_triplets` of the reference's triplet_image_iter.py; Schroff et al., arXiv
/// 1503.03832).
///
/// For every pair (a, p) of one identity with a before p, the candidates are the faces n of other identities with
/// |a − p|² < |a − n|² < |a − p|² + α, distances between L2-normalised embeddings; one of them is drawn. The distances
/// come from matrix products in float64, a block of anchors at a time.
struct TripletMiner {
  /// Three rows of a bag.
  struct Triplet: Equatable, Hashable {
    let anchor: Int
    let positive: Int
    let negative: Int
  }
  /// α.
  var alpha: Double
  /// Pairs with a larger squared distance are left out; 0: none is.
  var largestPositive: Double
  /// Determines the draws, with the bag's number and the pair.
  var seed: UInt64

  private static let draw: UInt64 = 0x7472_6970_6C65_74
  private static let order: UInt64 = 0x7368_7566_666C_65
  /// Anchors, and pairs, whose distances to a bag of so many faces are held at once: 16 MB.
  private static func block(_ count: Int) -> Int { max(1, min(256, 2_000_000 / count)) }

  /// One triplet for every pair that has candidates, in an order drawn for the bag.
  ///
  /// - Parameters:
  ///   - embeddings: [B, D].
  ///   - identities: whose face each row is, B numbers; the rows of an identity lie together.
  ///   - excluded: rows that could not be read.
  ///   - bag: the bag's number in the run.
  func triplets(_ embeddings: Tensor, identities: [Int], excluded: Set<Int> = [], bag: Int) -> [Triplet] {
    var found: [Triplet] = []
    forEachPair(embeddings, identities, excluded) { anchor, positive, isCandidate in
      let count = isCandidate.reduce(0) { $0 + Int($1) }
      guard count > 0 else { return }
      var random = CounterRandom(seed, Self.draw, UInt64(bag), UInt64(anchor), UInt64(positive))
      var left = random.next(below: count)
      for (negative, is1) in isCandidate.enumerated() where is1 == 1 {
        if left == 0 {
          found.append(Triplet(anchor: anchor, positive: positive, negative: negative))
          return
        }
        left -= 1
      }
    }
    var random = CounterRandom(seed, Self.order, UInt64(bag))
    return random.shuffled(found)
  }

  /// Hands over every pair with B bytes that are 1 where a row is a candidate.
  func forEachPair(
    _ embeddings: Tensor, _ identities: [Int], _ excluded: Set<Int>,
    _ body: (_ anchor: Int, _ positive: Int, _ isCandidate: UnsafeRawBufferPointer) -> Void
  ) {
    let count = identities.count
    guard count > 0 else { return }
    let block = Self.block(count)
    withoutGrad {
      let device = embeddings.device
      let raw = embeddings.to(.float64)
      let length = raw.norm(1, keepDim: true)
      // A row of zeros stays one.
      let rows = raw / (length + length.equals(0).to(.float64))
      let squares = (rows * rows).sum(1, keepDim: true)
      let owner = Tensor(identities.map { Int64($0) }, shape: [1, count]).to(nil, device)
      let far = 1e9
      let barred = Tensor((0..<count).map { excluded.contains($0) ? far : 0 }, shape: [1, count]).to(nil, device)
      let others = squares.transposed() + barred
      for start in stride(from: 0, to: count, by: block) {
        let range = start..<min(count, start + block)
        let pairs = Self.pairs(of: range, identities, excluded)
        guard !pairs.isEmpty else { continue }
        let anchors = rows[range]
        let same = owner.transposed()[range].equals(owner).to(.float64) * far
        let toAll = squares[range] + others - anchors.matmul(rows.transposed()) * 2 + same
        for first in stride(from: 0, to: pairs.count, by: block) {
          let chunk = pairs[first..<min(pairs.count, first + block)]
          let a = Tensor(chunk.map { Int64($0.anchor - start) }).to(nil, device)
          let p = Tensor(chunk.map { Int64($0.positive) }).to(nil, device)
          let difference = anchors.indexSelected(0, a) - rows.indexSelected(0, p)
          let positive = (difference * difference).sum(1, keepDim: true)
          let negative = toAll.indexSelected(0, a)
          let isCandidate = (negative - positive .< alpha) * (negative .> positive)
          let distances = positive.array(of: Double.self)
          isCandidate.to(.uint8, .cpu).contiguous().withBytes { bytes in
            for (i, pair) in chunk.enumerated() {
              if largestPositive > 0 && distances[i] > largestPositive { continue }
              body(
                pair.anchor, pair.positive, UnsafeRawBufferPointer(rebasing: bytes[i * count..<(i + 1) * count]))
            }
          }
        }
      }
    }
  }

  /// The pairs whose anchor is in a range of rows: the rows of one identity lie together.
  private static func pairs(
    of range: Range<Int>, _ identities: [Int], _ excluded: Set<Int>
  ) -> [(anchor: Int, positive: Int)] {
    var pairs: [(anchor: Int, positive: Int)] = []
    for anchor in range where !excluded.contains(anchor) {
      var positive = anchor + 1
      while positive < identities.count && identities[positive] == identities[anchor] {
        if !excluded.contains(positive) { pairs.append((anchor, positive)) }
        positive += 1
      }
    }
    return pairs
  }
}
