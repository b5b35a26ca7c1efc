import CKernels
import Testing

/// Numbers in [-1, 1) from a counter; the same on every machine.
func numbers(_ count: Int, seed: UInt64) -> [Float] {
  (0..<count).map { i in
    var z = seed &+ UInt64(i) &* 0x9E37_79B9_7F4A_7C15
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return Float((z ^ (z >> 31)) >> 40) / Float(1 << 23) - 1
  }
}

/// Pieces of a loop run one after the other, as `workers` threads would share it.
private func pieces(_ workers: Int) -> ck_parallel {
  ck_parallel(
    workers: Int32(workers),
    run: { runner, count, body, context in
      let workers = Int64(Int(bitPattern: runner))
      for w in 0..<workers {
        let (begin, end) = (count * w / workers, count * (w + 1) / workers)
        if begin < end { body?(context, begin, end, Int32(w)) }
      }
    }, runner: UnsafeMutableRawPointer(bitPattern: workers))
}

/// The definition, in double.
private struct NaiveBatchNorm {
  var y: [Double], dx: [Double], dGamma: [Double], dBeta: [Double], dSlope: [Double], mean: [Double], variance: [Double]

  init(x: [Float], dy: [Float], rows: Int, channels: Int, gamma: [Float], beta: [Float], slope: [Float]?, eps: Double) {
    y = Array(repeating: 0, count: x.count)
    dx = y
    mean = Array(repeating: 0, count: channels)
    (variance, dGamma, dBeta, dSlope) = (mean, mean, mean, mean)
    for c in 0..<channels {
      let column = (0..<rows).map { Double(x[$0 * channels + c]) }
      let m = column.reduce(0, +) / Double(rows)
      let v = column.map { ($0 - m) * ($0 - m) }.reduce(0, +) / Double(rows)
      let inverse = 1 / (v + eps).squareRoot()
      var (sumG, sumGX) = (0.0, 0.0)
      var g = [Double](repeating: 0, count: rows)
      for r in 0..<rows {
        let normalised = (column[r] - m) * inverse
        let z = normalised * Double(gamma[c]) + Double(beta[c])
        let d = Double(dy[r * channels + c])
        let a = slope.map { Double($0[c]) } ?? 1
        y[r * channels + c] = z > 0 ? z : a * z
        if z <= 0 && slope != nil { dSlope[c] += d * z }
        g[r] = z > 0 ? d : a * d
        sumG += g[r]
        sumGX += g[r] * normalised
      }
      for r in 0..<rows {
        let normalised = (column[r] - m) * inverse
        dx[r * channels + c] =
          Double(gamma[c]) * inverse * (g[r] - sumG / Double(rows) - normalised * sumGX / Double(rows))
      }
      (mean[c], variance[c], dGamma[c], dBeta[c]) = (m, v, sumGX, sumG)
    }
  }
}

private func expectClose(_ a: [Float], _ b: [Double], _ tolerance: Double, _ what: String) {
  let scale = max(b.map(abs).max() ?? 0, 1e-3)
  for (i, pair) in zip(a, b).enumerated() where !(abs(Double(pair.0) - pair.1) <= tolerance * scale) {
    Issue.record("\(what)[\(i)]: \(pair.0), expected \(pair.1)")
    return
  }
}

@Suite(.serialized) struct BatchNormTests {
  struct Case: Sendable, CustomTestStringConvertible {
    var rows: Int, channels: Int, prelu: Bool, workers: Int, portable: Bool
    var testDescription: String {
      "\(rows)x\(channels)\(prelu ? " prelu" : "") workers \(workers)\(portable ? " portable" : "")"
    }
  }

  static let cases: [Case] = [(1, 8), (2, 5), (7, 3), (65, 64), (130, 19), (200, 40), (3, 128), (1000, 33)].flatMap {
    (rows, channels) in
    [true, false].flatMap { prelu in
      [1, 2, 3].flatMap { workers in
        [true, false].map {
          Case(rows: rows, channels: channels, prelu: prelu, workers: workers, portable: $0)
        }
      }
    }
  }

  @Test(arguments: cases) func matchesTheDefinition(_ c: Case) {
    ck_force_portable(c.portable ? 1 : 0)
    defer { ck_force_portable(0) }
    let (rows, channels, eps) = (c.rows, c.channels, 1e-3)
    let count = rows * channels
    // Channels with means away from 0; not so far that rounding moves a value across the kink of the PReLU.
    let offsets = numbers(channels, seed: 9).map { $0 * 4 }
    let x = numbers(count, seed: 1).enumerated().map { $1 + offsets[$0 % channels] }
    let dy = numbers(count, seed: 2)
    let gamma = numbers(channels, seed: 3).map { $0 + 1.5 }
    let beta = numbers(channels, seed: 4)
    let slope = c.prelu ? numbers(channels, seed: 5).map { $0 * 0.25 + 0.3 } : nil
    let expected = NaiveBatchNorm(
      x: x, dy: dy, rows: rows, channels: channels, gamma: gamma, beta: beta, slope: slope, eps: eps)

    let (n, k) = (Int64(rows), Int64(channels))
    let parallel = pieces(c.workers)
    var mean = [Float](repeating: 0, count: channels)
    var variance = mean
    ck_channel_statistics(x, n, k, &mean, &variance, parallel)
    expectClose(mean, expected.mean, 1e-6, "mean")
    expectClose(variance, expected.variance, 1e-4, "variance")
    if rows == 1 { return }

    let scale = (0..<channels).map { gamma[$0] / (variance[$0] + Float(eps)).squareRoot() }
    let shift = (0..<channels).map { beta[$0] - mean[$0] * scale[$0] }
    var y = [Float](repeating: 0, count: count)
    ck_affine_prelu(x, n, k, scale, shift, slope, &y, parallel)
    expectClose(y, expected.y, 1e-4, "y")

    var sumG = mean
    var sumGX = mean
    var dSlope = mean
    ck_batch_norm_reduce(x, dy, n, k, mean, scale, shift, slope, &sumG, &sumGX, &dSlope, parallel)
    expectClose(sumG, expected.dBeta, 1e-3, "dBeta")
    let inverse = variance.map { 1 / ($0 + Float(eps)).squareRoot() }
    expectClose((0..<channels).map { sumGX[$0] * inverse[$0] }, expected.dGamma, 1e-3, "dGamma")
    if c.prelu { expectClose(dSlope, expected.dSlope, 1e-3, "dSlope") }

    let offset = sumG.map { $0 / Float(rows) }
    let factor = (0..<channels).map { sumGX[$0] / Float(rows) * inverse[$0] * inverse[$0] }
    var dx = [Float](repeating: 0, count: count)
    ck_batch_norm_input_gradient(x, dy, n, k, mean, scale, shift, slope, offset, factor, &dx, parallel)
    expectClose(dx, expected.dx, 1e-3, "dx")
  }

  @Test func varianceDoesNotDrownInAFarMean() {
    let x = numbers(5000 * 9, seed: 1).map { $0 + 1000 }
    var mean = [Float](repeating: 0, count: 9)
    var variance = mean
    ck_channel_statistics(x, 5000, 9, &mean, &variance, pieces(2))
    for c in 0..<9 {
      let column = (0..<5000).map { Double(x[$0 * 9 + c]) }
      let m = column.reduce(0, +) / 5000
      let v = column.map { ($0 - m) * ($0 - m) }.reduce(0, +) / 5000
      #expect(abs(Double(mean[c]) - m) < 1e-4 && abs(Double(variance[c]) - v) < 1e-5 * v)
    }
  }

  @Test(arguments: [1, 7, 8, 1000, 70001]) func sgdMatchesTheFormula(_ count: Int) {
    var w = numbers(count, seed: 1)
    let g = numbers(count, seed: 2)
    var m = numbers(count, seed: 3)
    let (w0, m0) = (w, m)
    ck_sgd_mxnet(&w, g, &m, Int64(count), 0.1, 0.9, 5e-4, 0.5, pieces(2))
    for i in 0..<count {
      let expectedM = 0.9 * Double(m0[i]) - 0.1 * (0.5 * Double(g[i]) + 5e-4 * Double(w0[i]))
      #expect(abs(Double(m[i]) - expectedM) < 1e-6)
      #expect(abs(Double(w[i]) - (Double(w0[i]) + expectedM)) < 1e-6)
    }
  }
}
