/// Embeddings as a network gives them: `rows` vectors of `columns` numbers, row after row, not normalised.
public struct EmbeddingMatrix: Sendable, Equatable {
  /// The number of vectors, N.
  public let rows: Int
  /// The length of each vector, D.
  public let columns: Int
  /// The numbers, N × D, row-major.
  public let values: [Float]

  /// A matrix of these numbers.
  ///
  /// - Throws: `EvaluationError` (`sizeMismatch`) where `values` does not hold rows × columns numbers.
  public init(rows: Int, columns: Int, values: [Float]) throws(EvaluationError) {
    let (count, overflow) = rows.multipliedReportingOverflow(by: columns)
    guard rows >= 0, columns > 0, !overflow, count == values.count else {
      throw EvaluationError(
        code: .sizeMismatch,
        message: "an embedding matrix of \(rows) × \(columns) cannot hold \(values.count) numbers")
    }
    self.rows = rows
    self.columns = columns
    self.values = values
  }
}
