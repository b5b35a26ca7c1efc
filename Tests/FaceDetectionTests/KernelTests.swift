import CKernels
import Testing

@testable import FaceDetection

/// The kernels give what the plain code in NaiveDetection.swift gives, bit for bit.
@Suite(.serialized) struct KernelTests {
  /// Runs the body on the kernels of this machine and on the portable ones.
  private func onEachInstructionSet(_ body: (String) throws -> Void) rethrows {
    for portable: Int32 in [0, 1] {
      ck_force_portable(portable)
      defer { ck_force_portable(0) }
      try body(portable == 0 ? "native" : "portable")
    }
  }

  /// Where a head's components lie.
  enum Arrangement: CaseIterable {
    case channelsFirst, channelsLast

    func head(_ elements: UnsafePointer<Float>, _ plane: Int, _ anchors: Int, _ components: Int, start: Int)
      -> OutputDecoder.Head
    {
      switch self {
      case .channelsFirst:
        .init(elements: elements, start: start, position: 1, anchor: components * plane, component: plane)
      case .channelsLast:
        .init(elements: elements, start: start, position: anchors * components, anchor: components, component: 1)
      }
    }
  }

  private func compare(
    _ configuration: DetectorConfiguration, threshold: Float, rows: Int, columns: Int, hasLandmarks: Bool,
    _ arrangement: Arrangement, salt: Int, change: (inout [Float], inout [Float]) -> Void = { _, _ in }
  ) -> Int {
    var total = 0
    for level in configuration.levels {
      let (anchors, plane) = (level.boxes.count, rows * columns)
      var scores = hashed(3 + anchors * plane, tensor: 0, salt: salt)
      var boxes = hashed(5 + 4 * anchors * plane, tensor: 1, salt: salt).map { ($0 - 0.5) * 3 }
      let points = hashed(1 + 10 * anchors * plane, tensor: 2, salt: salt).map { ($0 - 0.5) * 3 }
      change(&scores, &boxes)
      let decoder = OutputDecoder(configuration: configuration, threshold: threshold)
      let naive = NaiveDecoder(configuration: configuration, threshold: threshold)
      let (height, width) = (rows * level.stride - 1, columns * level.stride)
      scores.withUnsafeBufferPointer { scores in
        boxes.withUnsafeBufferPointer { boxes in
          points.withUnsafeBufferPointer { points in
            guard let s = scores.baseAddress, let b = boxes.baseAddress, let p = points.baseAddress else { return }
            let score = arrangement.head(s, plane, anchors, 1, start: 3)
            let box = arrangement.head(b, plane, anchors, 4, start: 5)
            let landmarks = hasLandmarks ? arrangement.head(p, plane, anchors, 10, start: 1) : nil
            var expected = Candidates()
            naive.decode(level, rows, columns, score, box, landmarks, height, width, into: &expected)
            total += expected.scores.count
            onEachInstructionSet { set in
              // What is there already must stay.
              var found = Candidates()
              found.boxes = [BoundingBox(left: 1, top: 2, right: 3, bottom: 4)]
              found.scores = [0.25]
              decoder.decode(level, rows, columns, score, box, landmarks, height, width, into: &found)
              let comment: Comment = "\(configuration.coding) \(rows)×\(columns) \(arrangement) \(set)"
              #expect(found.boxes.first?.right == 3 && found.scores.first == 0.25, comment)
              #expect(Array(found.boxes.dropFirst()) == expected.boxes, comment)
              #expect(Array(found.scores.dropFirst()) == expected.scores, comment)
              #expect(found.landmarks == expected.landmarks, comment)
            }
          }
        }
      }
    }
    return total
  }

  static var configurations: [DetectorConfiguration] {
    [.reference(.net3), .reference(.net4a), .reference(.net6), .pyTorch]
      + [6, 10].compactMap { DetectorConfiguration.scrfd(outputCount: $0, side: 640) }
  }

  @Test func `Decoding is that of the plain code, at any size`() {
    for (number, configuration) in Self.configurations.enumerated() {
      for arrangement in Arrangement.allCases {
        for (rows, columns) in [(1, 1), (3, 7), (1, 8), (5, 17), (2, 40)] {
          for hasLandmarks in [true, false] {
            let faces = compare(
              configuration, threshold: 0.4, rows: rows, columns: columns, hasLandmarks: hasLandmarks, arrangement,
              salt: number)
            if rows > 1 { #expect(faces > 0) }
          }
        }
      }
    }
  }

  @Test func `No face, one face, the threshold itself, and numbers beyond all bounds`() {
    for configuration in Self.configurations {
      for arrangement in Arrangement.allCases {
        func count(_ change: (inout [Float], inout [Float]) -> Void) -> Int {
          compare(
            configuration, threshold: 0.5, rows: 3, columns: 11, hasLandmarks: true, arrangement, salt: 4,
            change: change)
        }
        let none = count { scores, _ in scores = scores.map { _ in 0.1 } }
        #expect(none == 0)
        let one = count { scores, _ in
          scores = scores.map { _ in 0.1 }
          scores[3 + 9] = 2
        }
        #expect(one == configuration.levels.count)
        let equal = count { scores, boxes in
          scores = scores.map { _ in 0.5 }
          boxes = boxes.map { _ in 0 }
        }
        // Stride 4 halves its scores.
        let levels = configuration.levels.filter { configuration.scoreFactors[$0.stride] == nil }
        let all = levels.reduce(0) { $0 + 33 * $1.boxes.count }
        #expect(equal == (configuration.excludesThreshold ? 0 : all))
        for bad: Float in [.nan, .infinity, -.infinity, 1e30] {
          _ = count { scores, boxes in
            for index in stride(from: 3, to: scores.count, by: 5) { scores[index] = bad }
            for index in stride(from: 0, to: boxes.count, by: 13) { boxes[index] = bad }
          }
        }
      }
    }
  }

  /// Boxes of few sizes on a coarse grid, so that overlaps repeat and many are equal.
  private func boxes(_ count: Int, salt: Int, coarse: Bool) -> [BoundingBox] {
    let values = hashed(4 * count, tensor: 3, salt: salt)
    return (0..<count).map { index in
      func value(_ part: Int, _ range: Float) -> Double {
        let value = values[4 * index + part] * range
        return Double(coarse ? value.rounded() : value)
      }
      let (left, top) = (value(0, 60), value(1, 60))
      return BoundingBox(left: left, top: top, right: left + value(2, 20), bottom: top + value(3, 20))
    }
  }

  @Test func `Suppression is that of the plain code, equal overlaps and equal boxes too`() throws {
    for count in [0, 1, 2, 7, 8, 9, 17, 64, 333, 1500] {
      for coarse in [true, false] {
        let boxes = boxes(count, salt: count, coarse: coarse)
        // 1/3, 1/2 and 1 are overlaps of whole boxes; 0.1 is no single-precision number.
        for threshold in [0.1, 1.0 / 3, 0.4, 0.5, Double(Float(0.7)), 1, 1e-9] {
          for rule in [DetectorConfiguration.Suppression.atThreshold, .aboveThreshold] {
            let expected = NaiveSuppression.kept(boxes, threshold: threshold, rule: rule)
            try onEachInstructionSet { set in
              let found = try Suppression.kept(boxes, threshold: threshold, rule: rule)
              #expect(found == expected, "\(count) boxes, \(threshold) \(rule) \(set)")
            }
          }
        }
      }
    }
    let same = [BoundingBox](repeating: BoundingBox(left: 1, top: 1, right: 5, bottom: 5), count: 300)
    #expect(try Suppression.kept(same, threshold: 1, rule: .atThreshold) == [0])
    #expect(try Suppression.kept(same, threshold: 1, rule: .aboveThreshold) == Array(0..<300))
    // Boxes turned inside out have areas of zero and less; 0 / 0 suppresses in one rule alone.
    let inverted = [BoundingBox](repeating: BoundingBox(left: 5, top: 1, right: 4, bottom: 5), count: 20)
    for rule in [DetectorConfiguration.Suppression.atThreshold, .aboveThreshold] {
      #expect(
        try Suppression.kept(inverted, threshold: 0.4, rule: rule)
          == NaiveSuppression.kept(inverted, threshold: 0.4, rule: rule))
    }
  }

  @Test func `Scores are ordered as a stable sort read backwards`() {
    for count in [0, 1, 2, 50, 1000] {
      var candidates = Candidates()
      candidates.scores = hashed(count, tensor: 4, salt: count).map { ($0 * 10).rounded() / 10 }
      candidates.boxes = (0..<count).map { BoundingBox(left: Double($0), top: 0, right: 0, bottom: 0) }
      let sorted = candidates.sortedByScore()
      let expected = NaiveSuppression.order(candidates.scores)
      #expect(sorted.boxes.map { Int($0.left) } == expected)
      #expect(sorted.scores == expected.map { candidates.scores[$0] })
    }
  }
}
