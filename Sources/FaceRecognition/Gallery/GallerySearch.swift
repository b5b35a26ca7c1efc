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
  /// Rows whose products are held at a time.
  private static let blockRows = 2048
  /// Faces that are looked for at a time.
  private static let blockQueries = 256

  /// The nearest faces of the gallery for each embedding, found exactly: every product is computed.
  ///
  /// Of equal cosines the earlier row comes first; the result depends neither on the threads nor on what else is looked for in
  /// the same call. Memory beyond the gallery: 2 MiB a thread, whatever its size.
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
    var result: [[GalleryMatch]] = []
    for start in stride(from: 0, to: queries.count, by: Self.blockQueries) {
      let chunk = queries[start..<min(start + Self.blockQueries, queries.count)]
      let product: QueryProduct
      do throws(GraphError) {
        product = try QueryProduct(chunk.flatMap { $0 }, length: embeddingLength)
      } catch {
        throw .noMemory
      }
      let lists = try nearest(product, min(count, self.count), threads)
      result += lists.map { list in
        list.entries.map { GalleryMatch(row: $0.row, name: names[$0.row], cosine: $0.cosine) }
      }
    }
    return result
  }

  /// The best rows for each query of a product.
  private func nearest(_ product: QueryProduct, _ count: Int, _ threads: Int) throws(GalleryError) -> [BestRows] {
    let blocks = (self.count + Self.blockRows - 1) / Self.blockRows
    let workers = min(threads, max(1, blocks), 256)
    let empty = [BestRows](repeating: BestRows(limit: count), count: product.count)
    guard workers > 1 else { return try scan(product, empty) { $0 < blocks ? $0 : nil } }
    let next = Monitor(0)
    let found = Monitor<[Result<[BestRows], GalleryError>]>([])
    let pool = (0..<workers).map { _ in
      WorkerThread {
        let outcome = Result { () throws(GalleryError) in
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
    for outcome in found.with({ $0 }) {
      for (query, list) in try outcome.get().enumerated() {
        for entry in list.entries { merged[query].offer(entry.row, entry.cosine) }
      }
    }
    return merged
  }

  /// Goes through the blocks that `next` names, given how many were seen.
  private func scan(
    _ product: QueryProduct, _ empty: [BestRows], next: (Int) -> Int?
  ) throws(GalleryError) -> [BestRows] {
    var best = empty
    let queries = product.count
    var products = [Float](repeating: 0, count: min(Self.blockRows, max(1, count)) * queries)
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
      guard case .success = outcome else { throw .noMemory }
      products.withUnsafeBufferPointer { products in
        best.withUnsafeMutableBufferPointer { best in
          for (place, row) in rows.enumerated() {
            for query in 0..<queries {
              let cosine = products[place * queries + query]
              if cosine >= best[query].least { best[query].offer(row, cosine) }
            }
          }
        }
      }
    }
    return best
  }
}

/// The best rows so far: the highest cosine first, of equal ones the earliest row.
private struct BestRows: Sendable {
  let limit: Int
  var entries: [(row: Int, cosine: Float)] = []
  /// What a row must reach to be among them.
  var least: Float { entries.count < limit ? -.infinity : (entries.last?.cosine ?? .infinity) }

  init(limit: Int) { self.limit = limit }

  mutating func offer(_ row: Int, _ cosine: Float) {
    func isBefore(_ other: (row: Int, cosine: Float)) -> Bool {
      cosine != other.cosine ? cosine > other.cosine : row < other.row
    }
    if entries.count == limit {
      guard let last = entries.last, isBefore(last) else { return }
      entries.removeLast()
    }
    var (low, high) = (0, entries.count)
    while low < high {
      let middle = (low + high) / 2
      if isBefore(entries[middle]) { high = middle } else { low = middle + 1 }
    }
    entries.insert((row, cosine), at: low)
  }
}
