import Inference

/// Groups embeddings into identities.
///
/// Agglomerative clustering with average linkage: every face begins as a group of its own; again and again the two groups
/// with the highest mean cosine between their faces are joined, until no two reach the threshold. For embeddings of length 1
/// that mean is the scalar product of the groups' mean vectors, so that a join costs one row of products. Of equal means the
/// groups with the earliest faces are joined first; the result is a function of the embeddings and their order alone.
public struct FaceClustering: Sendable, Equatable {
  /// The group of each face, 0 ..< count; groups are numbered by size, the largest first, then by their earliest face.
  public let groups: [Int]
  /// The number of groups.
  public let count: Int

  /// The most faces: their products are held, N² numbers.
  public static let limit = 20_000

  /// Groups embeddings.
  ///
  /// - Parameters:
  ///   - embeddings: N vectors of one length, each of Euclidean length 1; N ≤ `limit`.
  ///   - threshold: the mean cosine from which on groups are one, −1…1.
  /// - Throws: `GalleryError`.
  public init(_ embeddings: [[Float]], threshold: Double) throws(GalleryError) {
    let n = embeddings.count
    guard n <= Self.limit else { throw .option("at most \(Self.limit) faces are grouped, these are \(n)") }
    guard (-1...1).contains(threshold) else { throw .option("the threshold must lie in -1…1, it is \(threshold)") }
    let length = embeddings.first?.count ?? 0
    for embedding in embeddings {
      guard embedding.count == length, length > 0 else { throw .length(expected: length, found: embedding.count) }
      guard FaceGallery.isNormalised(embedding[...]) else { throw .notNormalised(name: "a face") }
    }
    var owner = Array(0..<n)
    var joined: [[Int]] = owner.map { [$0] }
    if n > 1 {
      // sums[a · n + b]: the sum of the cosines between the faces of groups a and b.
      var sums = try Self.products(embeddings, length)
      var nearest = [Int](repeating: -1, count: n)
      var alive = [Bool](repeating: true, count: n)
      sums.withUnsafeMutableBufferPointer { sums in
        func mean(_ a: Int, _ b: Int) -> Double {
          Double(sums[a * n + b]) / Double(joined[a].count * joined[b].count)
        }
        /// The group behind `a` that is nearest to it.
        func find(_ a: Int) -> Int {
          var best = -1
          var highest = -Double.infinity
          for b in a + 1..<max(a + 1, n) where alive[b] {
            let value = mean(a, b)
            if value > highest { (highest, best) = (value, b) }
          }
          return best
        }
        for a in 0..<n { nearest[a] = find(a) }
        while true {
          var pair: (Int, Int)?
          var highest = threshold
          for a in 0..<n where alive[a] && nearest[a] >= 0 {
            let value = mean(a, nearest[a])
            if value > highest || (pair == nil && value >= threshold) { (highest, pair) = (value, (a, nearest[a])) }
          }
          guard let (a, b) = pair else { break }
          for c in 0..<n where alive[c] && c != a && c != b {
            sums[a * n + c] += sums[b * n + c]
            sums[c * n + a] = sums[a * n + c]
          }
          joined[a] += joined[b]
          joined[b] = []
          alive[b] = false
          nearest[a] = find(a)
          for c in 0..<n where alive[c] && c != a {
            if nearest[c] == a || nearest[c] == b {
              nearest[c] = find(c)
            } else if c < a,
              nearest[c] < 0 || mean(c, a) > mean(c, nearest[c])
                || (mean(c, a) == mean(c, nearest[c]) && a < nearest[c])
            {
              nearest[c] = a
            }
          }
        }
      }
    }
    let order = joined.indices.filter { !joined[$0].isEmpty }.sorted {
      joined[$0].count != joined[$1].count ? joined[$0].count > joined[$1].count : $0 < $1
    }
    for (number, group) in order.enumerated() { for face in joined[group] { owner[face] = number } }
    groups = owner
    count = order.count
  }

  /// All cosines, [N, N].
  private static func products(_ embeddings: [[Float]], _ length: Int) throws(GalleryError) -> [Float] {
    let n = embeddings.count
    let values = embeddings.flatMap { $0 }
    var result = [Float](repeating: 0, count: n * n)
    let width = 256
    var block = [Float](repeating: 0, count: n * min(width, n))
    for start in stride(from: 0, to: n, by: width) {
      let end = min(start + width, n)
      do throws(GraphError) {
        let product = try QueryProduct(Array(values[start * length..<end * length]), length: length)
        let outcome = block.withUnsafeMutableBufferPointer { block in
          values.withUnsafeBufferPointer { values in
            Result { () throws(GraphError) in try product.multiply(values, into: block) }
          }
        }
        try outcome.get()
      } catch {
        throw .noMemory
      }
      result.withUnsafeMutableBufferPointer { result in
        block.withUnsafeBufferPointer { block in
          for row in 0..<n {
            for column in start..<end { result[row * n + column] = block[row * (end - start) + column - start] }
          }
        }
      }
    }
    return result
  }
}
