import Jobs

/// The order of the samples: a pure function of (seed, epoch), the same for any number of threads or ranks.
public struct SampleOrder: Sendable, Equatable {
  /// What distinguishes one run's order from another's.
  public let seed: UInt64
  /// The number of samples of an epoch.
  public let count: Int

  /// An order over `count` samples, at most 2³².
  public init(seed: UInt64, count: Int) {
    self.seed = seed
    self.count = count
  }

  /// The samples of an epoch in their order (Fisher–Yates): 4 bytes a sample.
  public func permutation(epoch: Int) -> [UInt32] {
    var order = (0..<UInt32(count)).map { $0 }
    var random = CounterRandom(seed, 0x6F72_6465_72, UInt64(epoch))
    order.withUnsafeMutableBufferPointer { order in
      for i in stride(from: order.count - 1, to: 0, by: -1) { order.swapAt(i, random.next(below: i + 1)) }
    }
    return order
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
