import Formats
import Torch
import Training

/// Where the trainer's batches come from.
protocol BatchFeed: BatchSequence {
  /// Does what must be done before the next batch can be had, such as mining; comes back without having done it when a
  /// signal asks the run to end.
  func prepare() throws

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
