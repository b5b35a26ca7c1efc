import Arguments
import FaceRecognition
import FaceRecognitionTraining
import Foundation
import Torch
import Training

extension MarginGradient: ArgumentValue {}
extension RecognitionNetwork: ArgumentValue {}

/// `insightface train`: the reference's `train.py` under its flags.
struct TrainCommand: Command {
  static let name = "train"
  static let summary = "Train a recognition network from train.rec"
  static let discussion = """
    The flags of InsightFace's train.py with their names and defaults, and a few more. The data set is a folder with
    train.rec, train.idx and property; verification sets (lfw.bin, cfp_fp.bin, agedb_30.bin) are taken from there. Files
    are written to <models-root>/<network>-<loss>-<dataset>/.

      insightface train --network y1 --loss arcface --dataset emore --dataset-path faces_emore
    """

  private var networkText: String?
  private var lossText: String?
  private var dataset: String?
  private var reference: [(key: String, flag: String, value: String?)] = [
    ("models_root", "--models-root", nil), ("pretrained", "--pretrained", nil),
    ("pretrained_epoch", "--pretrained-epoch", nil), ("ckpt", "--ckpt", nil), ("verbose", "--verbose", nil),
    ("lr", "--lr", nil), ("lr_steps", "--lr-steps", nil), ("wd", "--wd", nil), ("mom", "--mom", nil),
    ("frequent", "--frequent", nil), ("per_batch_size", "--per-batch-size", nil), ("kvstore", "--kvstore", nil),
    ("dataset_path", "--dataset-path", nil), ("max_steps", "--max-steps", nil),
  ]
  private var recipe: [(key: String, flag: String, value: String?)] = [
    ("optimizer", "--optimizer", nil), ("schedule", "--schedule", nil), ("warmup_steps", "--warmup-steps", nil),
    ("warmup_epoch", "--warmup-epochs", nil), ("num_epoch", "--epochs", nil), ("accumulate", "--accumulate", nil),
    ("clip_norm", "--clip-norm", nil), ("precision", "--precision", nil), ("head", "--head", nil),
    ("freeze_backbone", "--freeze-backbone", nil),
  ]
  private static let help: [String: (value: String, help: String)] = [
    "models_root": ("FOLDER", "where the folder of the run is made (default: ./models)"),
    "pretrained": (
      "MODEL", "checkpoint to start from: prefix, prefix,epoch, or a folder as ./models/y1-softmax-emore,1"
    ),
    "pretrained_epoch": ("N", "the checkpoint's number where --pretrained names none (default: 1)"),
    "ckpt": ("0…3", "save: 0 never, 1 when highest, 2 always, 3 when highest over number 1 (default: 3)"),
    "verbose": ("STEPS", "verify and save every so many steps (default: 2000)"),
    "lr": ("RATE", "learning rate at the start (default: 0.1)"),
    "lr_steps": ("LIST", "steps after which the rate drops to a tenth (default: 100000,160000,220000)"),
    "wd": ("DECAY", "weight decay, on every parameter as in the reference (default: 0.0005)"),
    "mom": ("FACTOR", "momentum (default: 0.9)"),
    "frequent": ("STEPS", "log speed, accuracy and loss every so many steps (default: 20)"),
    "per_batch_size": ("N", "images of a batch (default: 128, of a DenseNet 64)"),
    "kvstore": ("TYPE", "accepted; one device needs no exchange (default: device)"),
    "dataset_path": ("FOLDER", "the folder with train.rec (default: by --dataset)"),
    "max_steps": ("STEPS", "end after so many steps; 0: go on until stopped (default: 0)"),
    "optimizer": ("NAME", "mxnet-sgd, sgd (as PyTorch's) or adamw (default: mxnet-sgd)"),
    "schedule": ("NAME", "steps (--lr-steps), polynomial (as arcface_torch) or cosine (default: steps)"),
    "warmup_steps": ("STEPS", "grow the learning rate over so many steps (default: 0)"),
    "warmup_epoch": ("N", "the same in passes over the data (default: 0)"),
    "num_epoch": ("N", "end after so many passes over the data; 0: no end (default: 0)"),
    "accumulate": ("N", "parts of --per-batch-size images whose gradients make one update (default: 1)"),
    "clip_norm": ("X", "largest norm of the backbone's gradient; 0: any (default: 0; arcface_torch: 5)"),
    "precision": ("TYPE", "float32, bfloat16 or float16 for convolutions and linear maps (default: float32)"),
    "head": ("START", "a fine-tune's head: keep the checkpoint's, class-mean or random (default: keep)"),
    "freeze_backbone": ("STEPS", "train the head alone for so many steps (default: 0)"),
  ]
  private var configFile: String?
  private var settings: [String] = []
  private var seed: UInt64 = 727
  private var device: String?
  private var threads: Int?
  private var decodeThreads: Int?
  private var resumes = false
  private var stateEvery = 0
  private var isStrict = false
  private var allowMissing = false
  private var marginGradient: MarginGradient?
  private var marginWarmup = 0
  private var scaleWarmup = 0
  private var recomputes = false
  private var allowsOversize = false

  mutating func bind(_ b: inout ArgumentBinder) throws(UsageError) {
    let networks = RecognitionNetwork.allCases.map(\.rawValue).joined(separator: ", ")
    let losses = RecognitionLoss.allCases.map(\.rawValue).joined(separator: ", ")
    b.section("As in the reference")
    try b.option(&networkText, "--network", value: "NAME", help: "network: \(networks) (default: r100)")
    try b.option(&lossText, "--loss", value: "NAME", help: "loss: \(losses) (default: arcface)")
    try b.option(
      &dataset, "--dataset", value: "NAME",
      help: "name of the data set; emore and retina have default paths (default: emore)")
    for i in reference.indices {
      let entry = Self.help[reference[i].key] ?? ("VALUE", "")
      try b.option(&reference[i].value, reference[i].flag, value: entry.value, help: entry.help)
    }
    b.section("Configuration")
    try b.option(&configFile, "--config", value: "FILE.json", help: "a JSON object of keys and values")
    try b.option(&settings, "--set", value: "key=value", help: "set one key of the reference's config; repeatable")
    b.section("Recipe, beyond the reference")
    for i in recipe.indices {
      let entry = Self.help[recipe[i].key] ?? ("VALUE", "")
      if recipe[i].key == "warmup_steps" {
        try b.option(&recipe[i].value, recipe[i].flag, "--lr-warmup", value: entry.value, help: entry.help)
      } else {
        try b.option(&recipe[i].value, recipe[i].flag, value: entry.value, help: entry.help)
      }
    }
    try b.flag(
      &recomputes, "--memonger",
      help: "compute activations again on the way back: half of the memory, a third more time")
    try b.flag(&allowsOversize, "--allow-oversize", help: "start although the estimate says that memory will not do")
    b.section("Run, beyond the reference")
    try b.option(&seed, "--seed", value: "N", help: "determines weights, order and augmentation")
    try b.option(&device, "--device", value: "DEVICE", help: "cpu, cuda or cuda:N (default: by CUDA_VISIBLE_DEVICES)")
    try b.option(
      &threads, "--threads", value: "N", help: "threads of a tensor operation (default: one a core)",
      expected: "a number from 1 on", where: { $0 >= 1 })
    try b.option(
      &decodeThreads, "--decode-threads", value: "N",
      help: "threads that read and decode images (default: MXNET_CPU_WORKER_NTHREADS, else 2)",
      expected: "a number from 1 on", where: { $0 >= 1 })
    try b.flag(&resumes, "--resume", help: "go on from the last saved state, bit for bit")
    try b.option(
      &stateEvery, "--state-every", value: "STEPS",
      help: "save the state every so many steps; 0: about every 5 minutes",
      expected: "0 or more", where: { $0 >= 0 })
    try b.flag(
      &isStrict, "--strict", help: "a record that cannot be read ends the run (otherwise: counted and skipped)")
    try b.flag(&allowMissing, "--allow-missing", help: "go on with the part of --pretrained that fits")
    try b.option(
      &marginGradient, "--margin-gradient", value: "KIND",
      help: "exact as in MXNet's InsightFace, or straight-through as in arcface_torch (default: as the loss's authors)")
    try b.option(
      &marginWarmup, "--margin-warmup", value: "STEPS", help: "grow the margin from none over so many steps",
      expected: "0 or more", where: { $0 >= 0 })
    try b.option(
      &scaleWarmup, "--scale-warmup", value: "STEPS", help: "grow the scale from a quarter over so many steps",
      expected: "0 or more", where: { $0 >= 0 })
  }

  mutating func run() throws {
    let configuration = try makeConfiguration()
    var options = TrainingOptions()
    options.seed = seed
    options.device = try DeviceChoice.resolve(device)
    options.threads = threads
    options.decodeThreads = decodeThreads
    options.resumes = resumes
    options.stateEvery = stateEvery
    options.isStrict = isStrict
    options.allowMissing = allowMissing
    options.marginGradient = marginGradient
    options.marginWarmup = marginWarmup
    options.scaleWarmup = scaleWarmup
    StopSignal.install()
    let outcome = try RecognitionTrainer(configuration, options).run()
    if case .interrupted(let signal) = outcome { throw ExitCode(128 + signal) }
  }

  private func makeConfiguration() throws -> RecognitionConfiguration {
    let names = try configFile.map { try RecognitionConfiguration.names(file: $0) } ?? [:]
    let networkName = networkText ?? names["network"] ?? "r100"
    guard let network = RecognitionNetwork(rawValue: networkName) else {
      throw unknown("--network", networkName, RecognitionNetwork.allCases.map(\.rawValue))
    }
    let lossName = lossText ?? names["loss"] ?? "arcface"
    guard let loss = RecognitionLoss(rawValue: lossName) else {
      throw unknown("--loss", lossName, RecognitionLoss.allCases.map(\.rawValue))
    }
    var configuration = RecognitionConfiguration(
      network: network, loss: loss, dataset: dataset ?? names["dataset"] ?? "emore")
    if let configFile { try configuration.merge(file: configFile) }
    for setting in settings {
      guard let equals = setting.firstIndex(of: "=") else {
        throw ConfigurationError("--set \(setting): expected key=value")
      }
      try configuration.set(
        String(setting[..<equals]), String(setting[setting.index(after: equals)...]), from: "--set")
    }
    for entry in reference + recipe {
      if let value = entry.value { try configuration.set(entry.key, value, from: entry.flag) }
    }
    if recomputes { configuration.set("memonger", .bool(true)) }
    if allowsOversize { configuration.set("allow_oversize", .bool(true)) }
    return configuration
  }

  private func unknown(_ flag: String, _ value: String, _ known: [String]) -> ConfigurationError {
    let near = nearestName(to: value, among: known).map { " Did you mean '\($0)'?" } ?? ""
    return ConfigurationError("\(flag) \(value): known are \(known.joined(separator: ", ")).\(near)")
  }
}
