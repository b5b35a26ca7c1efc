import Formats
import Training

extension RecognitionTrainer {
  /// What must agree between a state and the run that takes it up.
  static func identity(_ c: RecognitionConfiguration, _ options: TrainingOptions, _ count: Int) -> [String:
    String]
  {
    var notes = ["seed": "\(options.seed)", "images": "\(count)"]
    let keys = [
      "network", "loss", "num_classes", "per_batch_size", "net_blocks", "emb_size", "image_shape", "optimizer",
      "accumulate", "is_shuffled_rec", "shuffle_chunk",
    ]
    for key in keys { notes[key] = c[key]?.description ?? "" }
    if !c.bool("is_shuffled_rec") { notes["shuffle_chunk"] = nil }
    return notes
  }

  /// What states that are silent about it were saved with.
  private static let olderIdentity = ["optimizer": "'mxnet-sgd'", "accumulate": "1", "is_shuffled_rec": "False"]

  static func check(
    _ state: TrainingState.Reader, _ c: RecognitionConfiguration, _ options: TrainingOptions, _ count: Int,
    _ path: String
  ) throws {
    for (key, value) in identity(c, options, count).sorted(by: { $0.key < $1.key }) {
      let saved = try state.notes[key] ?? olderIdentity[key] ?? state.note(key)
      guard saved == value else {
        throw FormatError(
          .mismatch, "the state was saved with \(key)=\(saved), this run has \(key)=\(value)", path: path,
          advice: "resume with the same \(key), or start anew without --resume")
      }
    }
  }
}
