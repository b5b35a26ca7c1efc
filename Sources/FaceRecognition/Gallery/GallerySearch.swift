import Inference
import Jobs

/// A face of a gallery that is like the one looked for.
public struct GalleryMatch: Sendable, Equatable {
  /// The row in the gallery.
  public var row: Int
  /// The name of that row.
  public var name: String
  /// The cosine of both embeddings, −1…1 but for rounding.
  public var cosine: Float
}

extension FaceGallery {
  /// Rows whose products are held at a time: with the packed queries they stay in the L2 cache.
  private static let blockRows = 156
  /// Faces that are looked for at a time.
  private static let blockQueries = 256
  /// Matches that a thread holds at a time, at most, unless one query alone wants more.
  private static let heldMatches = 1 << 20

  /// The nearest faces of the gallery for each embedding, found exactly: every product is computed.
  ///
  /// Of equal cosines the earlier row comes first; the result depends neither on the threads nor on what else is looked for in
  /// the same call. Memory beyond the gallery and the result: 17 MiB a thread at most.
  ///
  /// - Parameters:
  ///   - queries: embeddings of D numbers of length 1.
  ///   - count: how many faces to give for each, K ≥ 1.
  ///   - threads: 1 or more.
  /// - Returns: for each query min(K, N) matches, the nearest first.
  /// - Throws: `GalleryError`.
  public func search(_ queries: [[Float]], count: Int, threads: Int = 1) throws(GalleryError) -> [[GalleryMatch]] {
    guard count >= 1, threads >= 1 else { throw .option("at least one match and one thread") }
    for query in queries {
      guard query.count == embeddingLength else { throw .length(expected: embeddingLength, found: query.count) }
      guard Self.isNormalised(query[...]) else { throw .notNormalised(name: "the face looked for") }
    }
    let limit = min(count, self.count)
    let step = min(Self.blockQueries, max(1, Self.heldMatches / max(1, limit)))
    var result: [[GalleryMatch]] = []
    for start in stride(from: 0, to: queries.count, by: step) {
      let chunk = queries[start..<min(start + step, queries.count)]
      let nearest: NearestRows
      do throws(GraphError) {
        let product = try QueryProduct(chunk.flatMap { $0 }, length: embeddingLength)
        nearest = try self.nearest(product, NearestRows(queries: product.count, limit: limit), threads)
      } catch {
        throw .noMemory
      }
      result += nearest.sorted().map { list in
        list.map { GalleryMatch(row: $0.row, name: names[$0.row], cosine: $0.value) }
      }
    }
    return result
  }

  /// The best rows for each query of a product.
  private func nearest(
    _ product: QueryProduct, _ empty: NearestRows, _ threads: Int
  ) throws(GraphError) -> NearestRows {
    let blocks = (self.count + Self.blockRows - 1) / Self.blockRows
    let workers = min(threads, max(1, blocks), 256)
    guard workers > 1 else { return try scan(product, empty) { $0 < blocks ? $0 : nil } }
    let next = Monitor(0)
    let found = Monitor<[Result<NearestRows, GraphError>]>([])
    let pool = (0..<workers).map { _ in
      WorkerThread {
        let outcome = Result { () throws(GraphError) in
          try scan(product, empty) { _ in
            next.with { number in
              guard number < blocks else { return nil }
              defer { number += 1 }
              return number
            }
          }
        }
        found.with { $0.append(outcome) }
      }
    }
    pool.forEach { $0.join() }
    var merged = empty
    // The order is total, so that it does not matter which thread saw which block.
    for outcome in found.with({ $0 }) { merged.merge(try outcome.get()) }
    return merged
  }

  /// Goes through the blocks that `next` names, given how many were seen.
  private func scan(
    _ product: QueryProduct, _ empty: NearestRows, next: (Int) -> Int?
  ) throws(GraphError) -> NearestRows {
    var best = empty
    var products = [Float](repeating: 0, count: min(Self.blockRows, max(1, count)) * product.count)
    var seen = 0
    while let block = next(seen) {
      seen += 1
      let rows = block * Self.blockRows..<min((block + 1) * Self.blockRows, count)
      let outcome = products.withUnsafeMutableBufferPointer { products in
        values.withUnsafeBufferPointer { values in
          Result { () throws(GraphError) in
            try product.multiply(
              UnsafeBufferPointer(
                rebasing: values[rows.lowerBound * embeddingLength..<rows.upperBound * embeddingLength]),
              into: products)
          }
        }
      }
      try outcome.get()
      products.withUnsafeBufferPointer { products in
        best.offer(UnsafeBufferPointer(rebasing: products[..<(rows.count * product.count)]), firstRow: rows.lowerBound)
      }
    }
    return best
  }
}
