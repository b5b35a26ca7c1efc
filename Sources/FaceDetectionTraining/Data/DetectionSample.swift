import Jobs

/// The draws of one sample: uniform numbers and orders out of a sequence by key.
struct DrawSequence {
  private(set) var source: CounterRandom

  init(_ source: CounterRandom) { self.source = source }

  /// From 0 ..< 1.
  mutating func uniform() -> Double { Double(source.next() >> 11) * 0x1p-53 }

  /// From 0 ..< bound.
  mutating func index(below bound: Int) -> Int { source.next(below: bound) }

  mutating func shuffled(_ elements: [Int]) -> [Int] { source.shuffled(elements) }
}

/// How a sample lies in a batch's memory: pixels [S, S, 3] uint8, then the colour map (12 × float32), the number of faces
/// (int32), and for each face its box, its landmarks (10 numbers) and whether they are known (15 × float32).
///
/// The loader moves samples of one size only; faces travel behind the pixels.
struct SampleLayout: Sendable, Equatable {
  /// S, a multiple of 32.
  let imageSize: Int
  /// Room for so many faces.
  let faceCapacity: Int

  static let numbersPerFace = 15

  var pixelBytes: Int { 3 * imageSize * imageSize }
  var sampleSize: Int { pixelBytes + 12 * 4 + 4 + faceCapacity * Self.numbersPerFace * 4 }

  /// Writes what stands behind the pixels; faces beyond the capacity are left out.
  func write(_ faces: [TrainingFace], _ colours: ColourMap, to memory: UnsafeMutableRawBufferPointer) {
    var offset = pixelBytes
    func put(_ value: Float) {
      memory.storeBytes(of: value, toByteOffset: offset, as: Float.self)
      offset += 4
    }
    for value in colours.values { put(value) }
    let kept = faces.prefix(faceCapacity)
    memory.storeBytes(of: Int32(kept.count), toByteOffset: offset, as: Int32.self)
    offset += 4
    for face in kept {
      for index in 0..<4 { put(face.box[index]) }
      for index in 0..<5 {
        put(face.landmarks?[index].x ?? -1)
        put(face.landmarks?[index].y ?? -1)
      }
      put(face.landmarks == nil ? 0 : 1)
    }
  }

  /// What `write` wrote.
  func read(_ memory: UnsafeRawBufferPointer) -> (faces: [TrainingFace], colours: ColourMap) {
    var offset = pixelBytes
    func take() -> Float {
      defer { offset += 4 }
      return memory.loadUnaligned(fromByteOffset: offset, as: Float.self)
    }
    let colours = ColourMap(values: (0..<12).map { _ in take() })
    let count = Int(memory.loadUnaligned(fromByteOffset: offset, as: Int32.self))
    offset += 4
    let faces = (0..<min(max(count, 0), faceCapacity)).map { _ -> TrainingFace in
      let box = SIMD4(take(), take(), take(), take())
      let points = (0..<5).map { _ in SIMD2(take(), take()) }
      return TrainingFace(box: box, landmarks: take() > 0 ? points : nil)
    }
    return (faces, colours)
  }
}
