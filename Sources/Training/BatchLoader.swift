import Jobs

/// Samples addressed by number, as a loader reads them.
public protocol SampleSource: Sendable {
  /// The number of samples.
  var count: Int { get }
  /// Bytes of one sample: an image of uint8 in the order rows, columns, RGB.
  var sampleSize: Int { get }
  /// What a thread needs to read: a decoder, a buffer.
  func makeReader() throws -> any SampleReader
  /// Neighbours that are best read together (`SampleOrder.chunks`); empty: every sample can be had as fast as any other.
  var chunks: [Range<Int>] { get }
  /// Reads the samples of a chunk in one go, so that the system has them in memory when they are asked for.
  ///
  /// Called once each time a chunk's turn comes, from any thread, while other threads may read samples of it already.
  func willRead(_ chunk: Range<Int>)
}

extension SampleSource {
  /// None.
  public var chunks: [Range<Int>] { [] }
  /// Nothing to do.
  public func willRead(_ chunk: Range<Int>) {}
}

/// One thread's way to the samples.
public protocol SampleReader: AnyObject {
  /// Decodes and augments the sample `index` into `pixels` (sampleSize bytes) and returns its label.
  ///
  /// Every random draw comes from `random`, whose sequence belongs to the sample's place in the order.
  func read(_ index: Int, into pixels: UnsafeMutableBufferPointer<UInt8>, random: inout CounterRandom) throws -> Int64
}

/// A batch as the loader hands it out.
public struct LoadedBatch: Sendable {
  /// Where it stands in the sequence.
  public let position: BatchPosition
  /// The images: [batchSize, sampleSize] uint8.
  public let pixels: PixelBuffer
  /// One label an image.
  public let labels: [Int64]
}

/// Memory for the pixels of a batch; it goes back to the loader's pool when nobody holds it.
public final class PixelBuffer: @unchecked Sendable {
  /// The bytes.
  public let bytes: UnsafeMutableBufferPointer<UInt8>
  init(count: Int) { bytes = .allocate(capacity: count) }
  deinit { bytes.deallocate() }
}

/// A sample that could not be read.
public struct BadSample: Sendable {
  /// The sample's number.
  public let index: Int
  /// What was wrong, naming the file and the place.
  public let reason: String
}

/// Why a loader cannot go on.
public struct LoaderError: Error, CustomStringConvertible, Sendable {
  /// What happened and what to do.
  public let description: String

  /// An error with its explanation.
  public init(_ description: String) { self.description = description }
}

/// Batches one after the other: what a training run is fed from.
public protocol BatchSequence: AnyObject {
  /// Batches of an epoch.
  var batchesPerEpoch: Int { get }
  /// The place of the batch that `next` will hand out.
  var position: BatchPosition { get }
  /// Seconds that `next` has waited for a batch that was not ready.
  var secondsWaited: Double { get }
  /// The next batch; waits until it is ready.
  func next() throws -> LoadedBatch
  /// Gives a batch's memory back.
  func recycle(_ batch: LoadedBatch)
  /// Samples that could not be read since the last call (the first hundred of them), and how many in all.
  func takeBadSamples() -> (recent: [BadSample], total: Int)
  /// Ends the threads and waits for them.
  func stop()
}

/// Reads, decodes and augments batches on its own threads, ahead of the training step, in an order that depends on
/// (seed, epoch) alone.
///
/// A last, partial batch of an epoch is dropped, as in the reference. A sample that cannot be read is counted and named,
/// and another one, drawn from (seed, epoch, position), takes its place; with `isStrict` it ends the run.
public final class BatchLoader: BatchSequence {
  /// Settings of a loader.
  public struct Settings: Sendable {
    /// N, images of a batch on this rank.
    public var batchSize: Int
    /// Determines order and draws.
    public var seed: UInt64
    /// Threads that decode.
    public var threads: Int
    /// Batches that may be ready or in the making.
    public var prefetch: Int
    /// Whether a sample that cannot be read is fatal.
    public var isStrict: Bool
    /// This process's number among `rankCount`.
    public var rank: Int
    /// Processes that share the order.
    public var rankCount: Int

    /// Settings; by default two threads, four batches ahead, one rank.
    public init(
      batchSize: Int, seed: UInt64, threads: Int = 2, prefetch: Int = 4, isStrict: Bool = false, rank: Int = 0,
      rankCount: Int = 1
    ) {
      self.batchSize = batchSize
      self.seed = seed
      self.threads = max(1, threads)
      self.prefetch = max(1, prefetch)
      self.isStrict = isStrict
      self.rank = rank
      self.rankCount = rankCount
    }
  }

  /// Batches of an epoch.
  public let batchesPerEpoch: Int
  /// Seconds that `next` has waited for a batch that was not ready.
  public private(set) var secondsWaited = 0.0
  private let settings: Settings
  private let source: any SampleSource
  private let order: SampleOrder
  private let sequence: [UInt32]?
  private let monitor: Monitor<State>
  private var threads: [WorkerThread] = []

  private struct State {
    /// The next batch to be started, and the next to be handed out.
    var started: BatchPosition
    var wanted: BatchPosition
    /// Batches handed out minus batches started: what is in flight.
    var inFlight = 0
    var ready: [BatchPosition: Result<LoadedBatch, any Error>] = [:]
    var orders: [Int: [UInt32]] = [:]
    /// The chunks whose reading has begun, by epoch and first sample; true when it is over.
    var chunks: [Int: [Int: Bool]] = [:]
    var pool: [PixelBuffer] = []
    var bad: [BadSample] = []
    var badCount = 0
    var isStopped = false
  }

  /// Starts the threads; the first batch handed out is the one at `start`.
  ///
  /// With a `sequence` the loader hands out those samples in that order, once: there is no batch beyond the epoch of
  /// `start`. Throws when an epoch would not fill one batch.
  public init(
    _ source: any SampleSource, _ settings: Settings, start: BatchPosition = BatchPosition(),
    sequence: [UInt32]? = nil
  ) throws {
    let global = settings.batchSize * settings.rankCount
    let count = sequence?.count ?? source.count
    guard settings.batchSize > 0, count >= global else {
      throw LoaderError(
        "the data hold \(count) images, fewer than one batch of \(global): choose a smaller --per-batch-size")
    }
    guard source.count <= Int(UInt32.max) else {
      throw LoaderError("the data hold \(source.count) images; at most \(UInt32.max) can be ordered")
    }
    self.source = source
    self.settings = settings
    self.sequence = sequence
    batchesPerEpoch = count / global
    order = SampleOrder(seed: settings.seed, count: source.count, chunks: source.chunks)
    // A state of other data may lie beyond the end of an epoch: it goes on with the next one.
    let first = start.batch < batchesPerEpoch ? start : BatchPosition(epoch: start.epoch + 1)
    let lastEpoch = sequence == nil ? Int.max : first.epoch
    monitor = Monitor(State(started: first, wanted: first))
    for _ in 0..<settings.threads {
      let worker = Worker(source, settings, order, sequence, lastEpoch, batchesPerEpoch, monitor)
      threads.append(WorkerThread { worker.run() })
    }
  }

  deinit { stop() }

  /// The next batch of the sequence; waits until it is ready.
  ///
  /// Beyond the end of a given `sequence` there is none: its user counts.
  public func next() throws -> LoadedBatch {
    let begin = seconds()
    var waited = false
    let result = monitor.wait { state -> Result<LoadedBatch, any Error>? in
      guard let batch = state.ready.removeValue(forKey: state.wanted) else {
        waited = true
        return nil
      }
      state.wanted = state.wanted.next(batchesPerEpoch: batchesPerEpoch)
      state.inFlight -= 1
      state.orders = state.orders.filter { $0.key >= state.wanted.epoch }
      state.chunks = state.chunks.filter { $0.key >= state.wanted.epoch }
      return batch
    }
    if waited { secondsWaited += seconds() - begin }
    return try result.get()
  }

  /// The place of the batch that `next` will hand out.
  public var position: BatchPosition { monitor.with { $0.wanted } }

  /// Samples that could not be read since the last call (the first hundred of them), and how many in all.
  public func takeBadSamples() -> (recent: [BadSample], total: Int) {
    monitor.with { state in
      defer { state.bad = [] }
      return (state.bad, state.badCount)
    }
  }

  /// Gives a batch's memory back.
  public func recycle(_ batch: LoadedBatch) {
    monitor.with { state in
      if state.pool.count < settings.prefetch + 2 { state.pool.append(batch.pixels) }
    }
  }

  /// Ends the threads and waits for them.
  public func stop() {
    monitor.with { $0.isStopped = true }
    threads.forEach { $0.join() }
    threads = []
  }

  private final class Worker: @unchecked Sendable {
    private let source: any SampleSource
    private let settings: Settings
    private let order: SampleOrder
    private let sequence: [UInt32]?
    private let lastEpoch: Int
    private let batchesPerEpoch: Int
    private let monitor: Monitor<State>

    init(
      _ source: any SampleSource, _ settings: Settings, _ order: SampleOrder, _ sequence: [UInt32]?,
      _ lastEpoch: Int, _ batchesPerEpoch: Int, _ monitor: Monitor<State>
    ) {
      self.source = source
      self.settings = settings
      self.order = order
      self.sequence = sequence
      self.lastEpoch = lastEpoch
      self.batchesPerEpoch = batchesPerEpoch
      self.monitor = monitor
    }

    func run() {
      let reader = Result { try source.makeReader() }
      while let (position, samples, pixels) = claim() {
        readChunks(of: position)
        let batch = Result { try load(position, samples, pixels, reader.get()) }
        monitor.with { $0.ready[position] = batch }
      }
    }

    /// The next batch to load, its epoch's order and memory for it; nil when the loader stops.
    private func claim() -> (BatchPosition, [UInt32], PixelBuffer)? {
      monitor.wait { state -> (BatchPosition, [UInt32], PixelBuffer)?? in
        if state.isStopped { return .some(nil) }
        let position = state.started
        guard state.inFlight < settings.prefetch, position.epoch <= lastEpoch else { return nil }
        // Whoever first needs an epoch's order makes it; the others wait, for milliseconds.
        let samples = state.orders[position.epoch] ?? sequence ?? order.permutation(epoch: position.epoch)
        state.orders[position.epoch] = samples
        state.started = position.next(batchesPerEpoch: batchesPerEpoch)
        state.inFlight += 1
        let pixels = state.pool.popLast() ?? PixelBuffer(count: settings.batchSize * source.sampleSize)
        return (position, samples, pixels)
      }
    }

    /// Has the chunks that a batch touches read, or waits for the thread that is at it.
    private func readChunks(of position: BatchPosition) {
      guard sequence == nil, !order.chunks.isEmpty else { return }
      let size = settings.batchSize * settings.rankCount
      for chunk in order.chunks(at: position.batch * size..<(position.batch + 1) * size, epoch: position.epoch) {
        let isFirst = monitor.wait { state -> Bool? in
          switch state.chunks[position.epoch]?[chunk.lowerBound] {
          case nil:
            state.chunks[position.epoch, default: [:]][chunk.lowerBound] = false
            return true
          case false?: return state.isStopped ? false : nil
          case true?: return false
          }
        }
        guard isFirst else { continue }
        source.willRead(chunk)
        monitor.with { $0.chunks[position.epoch]?[chunk.lowerBound] = true }
      }
    }

    private func load(
      _ position: BatchPosition, _ samples: [UInt32], _ pixels: PixelBuffer, _ reader: any SampleReader
    ) throws -> LoadedBatch {
      let (size, n) = (source.sampleSize, settings.batchSize)
      let first = (position.batch * settings.rankCount + settings.rank) * n
      var labels: [Int64] = []
      labels.reserveCapacity(n)
      for i in 0..<n {
        let slot = UnsafeMutableBufferPointer(rebasing: pixels.bytes[i * size..<(i + 1) * size])
        var random = CounterRandom(settings.seed, UInt64(position.epoch), UInt64(first + i))
        labels.append(try read(Int(samples[first + i]), slot, reader, &random))
      }
      return LoadedBatch(position: position, pixels: pixels, labels: labels)
    }

    private func read(
      _ index: Int, _ slot: UnsafeMutableBufferPointer<UInt8>, _ reader: any SampleReader,
      _ random: inout CounterRandom
    ) throws -> Int64 {
      var sample = index
      for _ in 0..<100 {
        do {
          return try reader.read(sample, into: slot, random: &random)
        } catch let error as LoaderError {
          throw error
        } catch {
          let reason = "\(error)"
          if settings.isStrict {
            throw LoaderError("sample \(sample): \(reason) (--strict: a bad sample ends the run)")
          }
          monitor.with { state in
            state.badCount += 1
            if state.bad.count < 100 { state.bad.append(BadSample(index: sample, reason: reason)) }
          }
          sample = random.next(below: source.count)
        }
      }
      throw LoaderError("a hundred samples one after the other could not be read; the last one was \(sample)")
    }
  }
}
