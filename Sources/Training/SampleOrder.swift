import Jobs

/// The order of the samples: a pure function of (seed, epoch), the same for any number of threads or ranks.
public struct SampleOrder: Sendable, Equatable {
  /// What distinguishes one run's order from another's.
  public let seed: UInt64
  /// The number of samples of an epoch.
  public let count: Int
  /// Neighbours that stay together, in the order of the file; empty: every sample goes its own way.
  public let chunks: [Range<Int>]

  /// An order over `count` samples, at most 2³².
  ///
  /// - Parameter chunks: ranges that tile 0 ..< count. Whole chunks are shuffled, and the samples within each, so that a
  ///   disk reads one chunk after the other.
  public init(seed: UInt64, count: Int, chunks: [Range<Int>] = []) {
    self.seed = seed
    self.count = count
    self.chunks = chunks
  }

  /// The samples of an epoch in their order (Fisher–Yates): 4 bytes a sample.
  public func permutation(epoch: Int) -> [UInt32] {
    var order: [UInt32] = []
    order.reserveCapacity(count)
    for chunk in chunkOrder(epoch: epoch) { order += chunk.map { UInt32($0) } }
    if chunks.isEmpty { order = (0..<UInt32(count)).map { $0 } }
    var random = CounterRandom(seed, 0x6F72_6465_72, UInt64(epoch))
    order.withUnsafeMutableBufferPointer { order in
      var start = 0
      for length in chunks.isEmpty ? [order.count] : chunkOrder(epoch: epoch).map(\.count) {
        for i in stride(from: length - 1, to: 0, by: -1) {
          order.swapAt(start + i, start + random.next(below: i + 1))
        }
        start += length
      }
    }
    return order
  }

  /// The chunks in the order of an epoch.
  public func chunkOrder(epoch: Int) -> [Range<Int>] {
    var order = chunks
    var random = CounterRandom(seed, 0x6368_756E_6B, UInt64(epoch))
    for i in stride(from: order.count - 1, to: 0, by: -1) { order.swapAt(i, random.next(below: i + 1)) }
    return order
  }

  /// The chunks that the places `places` of an epoch's order touch.
  func chunks(at places: Range<Int>, epoch: Int) -> [Range<Int>] {
    var touched: [Range<Int>] = []
    var start = 0
    for chunk in chunkOrder(epoch: epoch) {
      if start < places.upperBound && start + chunk.count > places.lowerBound { touched.append(chunk) }
      start += chunk.count
    }
    return touched
  }
}

/// A place in the sequence of batches.
public struct BatchPosition: Sendable, Hashable, Comparable, Codable {
  /// The pass over the data, from 0.
  public var epoch: Int
  /// The batch within the epoch, from 0.
  public var batch: Int

  /// A place.
  public init(epoch: Int = 0, batch: Int = 0) {
    self.epoch = epoch
    self.batch = batch
  }

  /// The place after this one when an epoch has `batchesPerEpoch` batches.
  public func next(batchesPerEpoch: Int) -> BatchPosition {
    batch + 1 < batchesPerEpoch ? BatchPosition(epoch: epoch, batch: batch + 1) : BatchPosition(epoch: epoch + 1)
  }

  /// Earlier in the sequence.
  public static func < (a: BatchPosition, b: BatchPosition) -> Bool { (a.epoch, a.batch) < (b.epoch, b.batch) }
}
