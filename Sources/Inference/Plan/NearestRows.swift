import CKernels

/// The best rows for each vector of a `QueryProduct`, kept while its products come in.
///
/// The highest product comes first, of equal ones the earliest row. This order is total, so that neither the order of the
/// blocks nor their number changes the result.
public struct NearestRows: Sendable {
  /// The number of vectors that are looked for, Q.
  public let queries: Int
  /// How many rows are kept for each, K; 0 keeps none.
  public let limit: Int

  private var heaps: [ck_match]
  private var least: [Float]

  /// No rows yet.
  ///
  /// - Throws: `GraphError.tooLarge` where Q · K is beyond what a call can hold.
  public init(queries: Int, limit: Int) throws(GraphError) {
    let (count, overflow) = queries.multipliedReportingOverflow(by: limit)
    guard queries >= 0, limit >= 0, !overflow, count <= 1 << 32 else {
      throw GraphError(.tooLarge, message: "\(limit) rows for each of \(queries) vectors are too many")
    }
    (self.queries, self.limit) = (queries, limit)
    heaps = [ck_match](repeating: ck_match(value: -.infinity, row: .max), count: count)
    least = [Float](repeating: -.infinity, count: queries)
  }

  /// Offers a block of rows.
  ///
  /// - Parameters:
  ///   - products: float32 [N, Q] as `QueryProduct.multiply` leaves them; what is no whole row is not read.
  ///   - firstRow: the number of the first of them.
  public mutating func offer(_ products: UnsafeBufferPointer<Float>, firstRow: Int) {
    guard let base = products.baseAddress, queries > 0 else { return }
    let (rows, queries, limit) = (products.count / queries, Int64(queries), Int64(limit))
    heaps.withUnsafeMutableBufferPointer { heaps in
      least.withUnsafeMutableBufferPointer { least in
        guard let heaps = heaps.baseAddress, let least = least.baseAddress else { return }
        ck_offer_rows(base, Int64(rows), queries, Int64(firstRow), limit, heaps, least)
      }
    }
  }

  /// Takes in what was found elsewhere for the same vectors.
  public mutating func merge(_ other: NearestRows) {
    guard other.queries == queries else { return }
    for query in 0..<queries {
      for place in query * other.limit..<(query + 1) * other.limit {
        heaps.withUnsafeMutableBufferPointer { heaps in
          guard let heaps = heaps.baseAddress else { return }
          ck_offer_match(other.heaps[place], Int64(limit), heaps + query * limit)
        }
      }
    }
    for query in 0..<queries where limit > 0 { least[query] = heaps[query * limit].value }
  }

  /// The rows of each vector with their products, the best first: K, or as many as there were.
  public func sorted() -> [[(row: Int, value: Float)]] {
    (0..<queries).map { query in
      var list = Array(heaps[query * limit..<(query + 1) * limit])
      list.withUnsafeMutableBufferPointer { list in
        if let base = list.baseAddress { ck_sort_matches(base, Int64(list.count)) }
      }
      return list.lazy.filter { $0.row != .max }.map { (Int($0.row), $0.value) }
    }
  }
}
