import Formats
import Torch
import Training

/// Where the trainer's batches come from.
protocol BatchFeed: AnyObject {
  /// The place of the batch that `next` will hand out.
  var position: BatchPosition { get }
  /// Batches of the current epoch.
  var batchesPerEpoch: Int { get }
  /// Seconds for which training waited for images.
  var secondsWaited: Double { get }

  /// Does what must be done before the next batch can be had, such as mining; comes back without having done it when a
  /// signal asks the run to end.
  func prepare() throws
  /// The next batch.
  func next() throws -> LoadedBatch
  /// Gives a batch's memory back.
  func recycle(_ batch: LoadedBatch)
  /// Samples that could not be read since the last call (the first hundred), and how many in all.
  func takeBadSamples() -> (recent: [BadSample], total: Int)
  /// Ends the threads.
  func stop()

  /// What a saved state must hold beside the position.
  var stateTensors: [NamedTensor] { get }
  /// The same in words.
  func note(in notes: inout [String: String])
}

extension BatchLoader: BatchFeed {
  func prepare() {}
  var stateTensors: [NamedTensor] { [] }
  func note(in notes: inout [String: String]) {}
}
