/// What can be seen of embeddings before any pair is compared: whether the network has failed altogether.
public struct EmbeddingHealth: Codable, Sendable, Equatable {
  /// The number of embeddings looked at.
  public var rowCount: Int
  /// How many hold NaN or an infinity.
  public var nonFiniteRowCount: Int
  /// The first of those, at most ten, counted from zero.
  public var firstNonFiniteRows: [Int]
  /// How many hold nothing but zeros.
  public var zeroRowCount: Int
  /// The mean L2 norm of the finite rows before normalising; nil where there is none.
  public var meanNorm: Double?
  /// The length of the mean of the normalised rows: 1 where all point the same way, near 0 where they are spread; nil
  /// where no row has a direction.
  public var concentration: Double?
  /// Whether (nearly) all embeddings point the same way, so that no pair can be told from another.
  ///
  /// That is the case where at least 99 of 100 lie within a squared distance of 0.0025 of their mean direction: two of
  /// those are less than 0.01 apart, below the smallest threshold that the evaluation tries. All zero counts as well.
  public var isCollapsed: Bool

  /// One sentence for each thing that is wrong; none where all is well.
  public var warnings: [String] {
    var warnings: [String] = []
    if nonFiniteRowCount > 0 {
      let rows = firstNonFiniteRows.map { String($0) }.joined(separator: ", ")
      warnings.append(
        "embeddings not finite: \(nonFiniteRowCount) of \(rowCount) hold NaN or infinity "
          + "(rows \(rows)\(nonFiniteRowCount > firstNonFiniteRows.count ? ", …" : "")); "
          + "their pairs count as different people. The network's weights or its input are broken.")
    }
    if isCollapsed {
      let how =
        zeroRowCount == rowCount - nonFiniteRowCount
        ? "every one is zero" : "nearly all \(rowCount) point the same way (length of their mean direction \(rounded))"
      warnings.append(
        "embeddings collapsed: \(how), so that no threshold tells people apart and an accuracy near the larger "
          + "class's share (0.5 on a balanced set) says nothing. The network is untrained, has diverged, or was loaded wrongly."
      )
    } else if zeroRowCount > 0 {
      warnings.append("embeddings empty: \(zeroRowCount) of \(rowCount) hold nothing but zeros.")
    }
    return warnings
  }

  private var rounded: String { fixedPoint(concentration ?? 0, decimals: 6) }
}

/// Looks for NaN, infinities, zero rows and collapse in embeddings of N × D numbers.
public func embeddingHealth(_ embeddings: EmbeddingMatrix) -> EmbeddingHealth {
  embeddingHealth([embeddings])
}

/// The same for the sum of several copies.
func embeddingHealth(_ copies: [EmbeddingMatrix]) -> EmbeddingHealth {
  var health = EmbeddingHealth(
    rowCount: copies.first?.rows ?? 0, nonFiniteRowCount: 0, firstNonFiniteRows: [], zeroRowCount: 0, meanNorm: nil,
    concentration: nil, isCollapsed: false)
  guard let first = copies.first, first.rows > 0 else { return health }
  var row = [Double](repeating: 0, count: first.columns)
  var sum = row
  var normSum = 0.0
  var directedCount = 0

  /// Loads a row and gives its norm.
  func load(_ index: Int) -> Double {
    row.withUnsafeMutableBufferPointer { row in
      for column in row.indices { row[column] = 0 }
      for copy in copies {
        copy.values.withUnsafeBufferPointer { values in
          for column in row.indices { row[column] += Double(values[index * copy.columns + column]) }
        }
      }
      var squares = 0.0
      for column in row.indices { squares += row[column] * row[column] }
      return squares.squareRoot()
    }
  }

  for index in 0..<first.rows {
    let norm = load(index)
    if !norm.isFinite {
      health.nonFiniteRowCount += 1
      if health.firstNonFiniteRows.count < 10 { health.firstNonFiniteRows.append(index) }
      continue
    }
    normSum += norm
    if norm == 0 {
      health.zeroRowCount += 1
      continue
    }
    directedCount += 1
    row.withUnsafeBufferPointer { row in
      sum.withUnsafeMutableBufferPointer { sum in
        for column in row.indices { sum[column] += row[column] / norm }
      }
    }
  }
  let finiteCount = health.rowCount - health.nonFiniteRowCount
  if finiteCount > 0 { health.meanNorm = normSum / Double(finiteCount) }
  guard directedCount > 0 else {
    health.isCollapsed = finiteCount > 0
    return health
  }
  let sumNorm = sum.reduce(0) { $0 + $1 * $1 }.squareRoot()
  health.concentration = sumNorm / Double(directedCount)
  // Few rows out of 100 may differ only where their mean is long; the second walk is spared otherwise.
  guard directedCount > 1, sumNorm / Double(directedCount) > 0.97 else { return health }
  var closeCount = 0
  for index in 0..<first.rows {
    let norm = load(index)
    guard norm.isFinite, norm > 0 else { continue }
    var distance = 0.0
    for column in row.indices {
      let difference = row[column] / norm - sum[column] / sumNorm
      distance += difference * difference
    }
    if distance <= 0.0025 { closeCount += 1 }
  }
  health.isCollapsed = closeCount * 100 >= directedCount * 99
  return health
}
