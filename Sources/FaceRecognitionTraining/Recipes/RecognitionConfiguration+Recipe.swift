import Torch

/// What a fine-tune's head starts from.
public enum HeadStart: String, CaseIterable, Codable, Sendable {
  /// The checkpoint's head where it has one.
  case keep
  /// For every identity the mean of its embeddings.
  case classMean = "class-mean"
  /// Random weights.
  case random
}

extension RecognitionConfiguration {
  /// The keys that the reference does not have, with their defaults.
  ///
  /// They are not printed in the reference's dictionaries.
  static let recipeDefaults: [(String, PythonValue)] = [
    ("optimizer", .string(OptimizerKind.mxnetSGD.rawValue)), ("adam_beta1", .double(0.9)),
    ("adam_beta2", .double(0.999)), ("adam_eps", .double(1e-8)), ("schedule", .string("steps")),
    ("lr_power", .double(1)), ("warmup_steps", .int(0)), ("warmup_epoch", .int(0)), ("num_epoch", .int(0)),
    ("accumulate", .int(1)), ("clip_norm", .double(0)), ("clip_head", .bool(false)),
    ("precision", .string("float32")), ("head", .string(HeadStart.keep.rawValue)), ("freeze_backbone", .int(0)),
    ("shuffle_chunk", .int(1024)), ("allow_oversize", .bool(false)),
  ]

  /// The names of these keys.
  public static var recipeNames: [String] { recipeDefaults.map(\.0) }

  /// Keys of these that were set, as Python prints them; empty where none was.
  var givenRecipe: String {
    let given = Self.recipeNames.filter(isGiven).compactMap { key in self[key].map { (key: key, value: $0) } }
    return given.isEmpty ? "" : PythonValue.dictionary(given)
  }

  /// The type in which convolutions and linear maps are computed; `fp16` is float16.
  var precision: DType {
    switch string("precision") {
    case "float16": .float16
    case "bfloat16": .bfloat16
    default: bool("fp16") ? .float16 : .float32
    }
  }

  /// What the head starts from.
  var headStart: HeadStart { HeadStart(rawValue: string("head")) ?? .keep }

  /// Images of an update: `accumulate` parts of `per_batch_size`.
  var imagesPerUpdate: Int { int("accumulate") * int("per_batch_size") }

  /// Steps of the whole run: the lesser of `max_steps` and `num_epoch` passes over the data; 0: no end.
  func stepLimit(batchesPerEpoch: Int) -> Int {
    let epochs = int("num_epoch").multipliedReportingOverflow(by: batchesPerEpoch)
    let limits = [int("max_steps"), epochs.overflow ? 0 : epochs.partialValue].filter { $0 > 0 }
    return limits.min() ?? 0
  }

  /// The learning rates of the run.
  func learningRates(batchesPerEpoch: Int, warmup: Int) throws(ConfigurationError) -> LearningRateSchedule {
    let steps = max(
      int("warmup_steps"), int("warmup_epoch").multipliedReportingOverflow(by: batchesPerEpoch).partialValue)
    let warmup = isGiven("warmup_steps") || isGiven("warmup_epoch") ? steps : warmup
    let total = stepLimit(batchesPerEpoch: batchesPerEpoch)
    let shape: LearningRateSchedule.Shape =
      switch string("schedule") {
      case "polynomial": .polynomial(power: double("lr_power"))
      case "cosine": .cosine
      default: .steps(try learningRateSteps())
      }
    if string("schedule") != "steps" {
      guard total > 0 else {
        throw ConfigurationError(
          "schedule=\(string("schedule")) falls towards the end of the run: say where that is with --epochs or --max-steps"
        )
      }
      guard warmup < total else {
        throw ConfigurationError("a warm-up of \(warmup) steps is longer than the run of \(total)")
      }
    }
    return LearningRateSchedule(base: double("lr"), shape: shape, warmup: warmup, total: total)
  }

  /// Values of these keys that cannot be.
  func validateRecipe() throws(ConfigurationError) {
    func require(_ key: String, _ expected: String, _ holds: Bool) throws(ConfigurationError) {
      guard holds else { throw ConfigurationError("\(key)=\(self[key]?.description ?? ""): expected \(expected)") }
    }
    func oneOf(_ key: String, _ values: [String]) throws(ConfigurationError) {
      try require(key, "one of \(values.joined(separator: ", "))", values.contains(string(key)))
    }
    try oneOf("optimizer", OptimizerKind.allCases.map(\.rawValue))
    try oneOf("schedule", ["steps", "polynomial", "cosine"])
    try oneOf("precision", ["float32", "bfloat16", "float16"])
    try oneOf("head", HeadStart.allCases.map(\.rawValue))
    for key in ["adam_beta1", "adam_beta2"] {
      try require(key, "a number from 0 to below 1", double(key) >= 0 && double(key) < 1)
    }
    for key in ["adam_eps", "lr_power"] { try require(key, "a number above 0", double(key) > 0) }
    try require("clip_norm", "0 (off) or the largest norm", double("clip_norm") >= 0)
    for key in ["warmup_steps", "warmup_epoch", "num_epoch", "freeze_backbone"] {
      try require(key, "a whole number from 0 to 2³¹", (0...1 << 31).contains(int(key)))
    }
    try require("accumulate", "a whole number from 1 to 65536", (1...65536).contains(int("accumulate")))
    try require("shuffle_chunk", "megabytes, 1 … 1048576", (1...1 << 20).contains(int("shuffle_chunk")))
    try require("data_color", "0 (off), 1 (colours) or 2 (colours and JPEG)", (0...2).contains(int("data_color")))
    guard !recognitionLoss.isTriplet || int("accumulate") == 1 else {
      throw ConfigurationError(
        "accumulate=\(int("accumulate")): triplets are mined for a whole batch of anchors, positives and negatives, which "
          + "cannot go in parts; --memonger saves memory")
    }
    guard !(bool("fp16") && isGiven("precision") && string("precision") != "float16") else {
      throw ConfigurationError("fp16=True is --precision float16, and precision=\(string("precision")) is set as well")
    }
    guard Int64(imagesPerUpdate) * 3 * 1024 * 1024 < 1 << 40 else {
      throw ConfigurationError("accumulate × per_batch_size is \(imagesPerUpdate) images an update: too many to hold")
    }
  }
}
