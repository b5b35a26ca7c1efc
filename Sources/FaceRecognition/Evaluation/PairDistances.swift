/// Squared distances between the two embeddings of each pair, with the reference's arithmetic to the last bit.
///
/// The reference gathers the network's float32 output in float64 arrays, adds the two copies there, normalises with
/// scikit-learn, and sums squared differences with NumPy. A distance that lies on a threshold falls on one side or the
/// other by its last bit, so the order of additions is NumPy's as well: pairwise summation for the distances, and for
/// the norms `einsum` with two lanes, as every x86-64 build has it.
enum PairDistances {
  /// - Parameters:
  ///   - copies: one matrix, or several of equal size whose rows are added before normalising; 2N × D.
  /// - Returns: N squared distances in [0, 4]; NaN where a row holds NaN or an infinity.
  static func squared(_ copies: [EmbeddingMatrix]) -> [Double] {
    guard let first = copies.first else { return [] }
    let columns = first.columns
    var distances: [Double] = []
    distances.reserveCapacity(first.rows / 2)
    var left = [Double](repeating: 0, count: columns)
    var right = left
    for pair in 0..<(first.rows / 2) {
      normalised(copies, row: 2 * pair, into: &left)
      normalised(copies, row: 2 * pair + 1, into: &right)
      left.withUnsafeMutableBufferPointer { left in
        right.withUnsafeBufferPointer { right in
          for index in 0..<columns {
            let difference = left[index] - right[index]
            left[index] = difference * difference
          }
        }
      }
      distances.append(left.withUnsafeBufferPointer { pairwiseSum($0[...]) })
    }
    return distances
  }

  /// Writes the sum of the copies' rows, divided by its norm, into `target`.
  private static func normalised(_ copies: [EmbeddingMatrix], row: Int, into target: inout [Double]) {
    target.withUnsafeMutableBufferPointer { target in
      for (index, copy) in copies.enumerated() {
        copy.values.withUnsafeBufferPointer { values in
          let start = row * copy.columns
          if index == 0 {
            for column in target.indices { target[column] = Double(values[start + column]) }
          } else {
            for column in target.indices { target[column] += Double(values[start + column]) }
          }
        }
      }
      let norm = squareSum(target).squareRoot()
      // scikit-learn leaves rows alone that are zero or as good as zero.
      if norm < 10 * Double.ulpOfOne { return }
      for column in target.indices { target[column] /= norm }
    }
  }

  /// NumPy's `einsum("i,i->", x, x)`: two lanes, groups of eight numbers added from their end.
  private static func squareSum(_ values: UnsafeMutableBufferPointer<Double>) -> Double {
    var even = 0.0
    var odd = 0.0
    var index = 0
    while values.count - index >= 8 {
      for step in stride(from: 6, through: 0, by: -2) {
        even += values[index + step] * values[index + step]
        odd += values[index + step + 1] * values[index + step + 1]
      }
      index += 8
    }
    while index < values.count {
      even += values[index] * values[index]
      if index + 1 < values.count { odd += values[index + 1] * values[index + 1] }
      index += 2
    }
    return even + odd
  }

  /// NumPy's sum along a contiguous axis.
  static func pairwiseSum(_ values: Slice<UnsafeBufferPointer<Double>>) -> Double {
    let start = values.startIndex
    let count = values.count
    if count < 8 { return values.reduce(0, +) }
    if count > 128 {
      let half = count / 2 / 8 * 8
      return pairwiseSum(values[start..<(start + half)]) + pairwiseSum(values[(start + half)...])
    }
    let base = values.base
    var s0 = base[start]
    var s1 = base[start + 1]
    var s2 = base[start + 2]
    var s3 = base[start + 3]
    var s4 = base[start + 4]
    var s5 = base[start + 5]
    var s6 = base[start + 6]
    var s7 = base[start + 7]
    let whole = count / 8 * 8
    for index in stride(from: start + 8, to: start + whole, by: 8) {
      s0 += base[index]
      s1 += base[index + 1]
      s2 += base[index + 2]
      s3 += base[index + 3]
      s4 += base[index + 4]
      s5 += base[index + 5]
      s6 += base[index + 6]
      s7 += base[index + 7]
    }
    var sum = ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7))
    for index in (start + whole)..<(start + count) { sum += base[index] }
    return sum
  }

  /// Mean and population standard deviation as NumPy gives them for a short array; zeros for none.
  static func meanAndDeviation(_ values: [Double]) -> (mean: Double, deviation: Double) {
    if values.isEmpty { return (0, 0) }
    let count = Double(values.count)
    let mean = values.withUnsafeBufferPointer { pairwiseSum($0[...]) } / count
    let squares = values.map { ($0 - mean) * ($0 - mean) }
    return (mean, (squares.withUnsafeBufferPointer { pairwiseSum($0[...]) } / count).squareRoot())
  }
}
