import Arguments
import FaceRecognition

/// What is wrong with a configuration: a key, a value, a combination.
public struct ConfigurationError: Error, CustomStringConvertible, Sendable {
  /// What was given, what was expected, what to do.
  public let description: String

  /// An error with its explanation.
  public init(_ description: String) { self.description = description }
}

/// The reference's `config` (sample_config.py) and the arguments of its `train.py`, under their names.
///
/// Values come, each over the one before, from: the defaults, the loss, the network and the data set (as the reference's
/// `generate_config`), a configuration file, `--set key=value`, and the command line's own flags.
public struct RecognitionConfiguration: Sendable {
  private var values: [String: PythonValue] = [:]
  /// The keys of `config` in the order in which the reference prints them.
  private var order: [String] = []
  /// Keys that somebody set, not a default.
  private var given: Set<String> = []

  /// The arguments of `train.py` in the order of its Namespace.
  public static let argumentNames = [
    "dataset", "network", "loss", "models_root", "pretrained", "pretrained_epoch", "ckpt", "verbose", "lr", "lr_steps",
    "wd", "mom", "frequent", "per_batch_size", "kvstore",
  ]

  /// The configuration of a network, a loss and a data set, before anything is set by hand.
  public init(network: RecognitionNetwork, loss: RecognitionLoss, dataset: String) {
    for (key, value) in Self.defaults { put(key, value) }
    for (key, value) in loss.defaults { put(key, value) }
    let net = network.defaultSettings
    put("net_name", .string(network.family))
    put("emb_size", .int(net.embeddingSize))
    put("net_output", .string(net.output.rawValue))
    put("net_blocks", .list(net.blocks.map { .int($0) }))
    let known = Self.datasets.first { $0.name == dataset }
    put("dataset", .string(dataset))
    put("dataset_path", .string(known?.path ?? "../datasets/\(dataset)"))
    put("num_classes", .int(known?.classCount ?? 0))
    put("image_shape", .tuple([.int(112), .int(112), .int(3)]))
    put("loss", .string(loss.rawValue))
    put("network", .string(network.rawValue))
    put("num_workers", .int(1))
    // The triplet losses have a batch size of their own.
    let batch = values["per_batch_size"] ?? .int(128)
    put("batch_size", batch)
    put("per_batch_size", batch)
    for (key, value) in Self.argumentDefaults + Self.recipeDefaults where values[key] == nil { values[key] = value }
  }

  private static let defaults: [(String, PythonValue)] = [
    ("bn_mom", .double(0.9)), ("workspace", .int(256)), ("emb_size", .int(512)), ("ckpt_embedding", .bool(true)),
    ("net_se", .int(0)), ("net_act", .string("prelu")), ("net_unit", .int(3)), ("net_input", .int(1)),
    ("net_blocks", .list([.int(1), .int(4), .int(6), .int(2)])), ("net_output", .string("E")),
    ("net_multiplier", .double(1)),
    ("val_targets", .list([.string("lfw"), .string("cfp_fp"), .string("agedb_30")])), ("ce_loss", .bool(true)),
    ("fc7_lr_mult", .double(1)), ("fc7_wd_mult", .double(1)), ("fc7_no_bias", .bool(false)), ("max_steps", .int(0)),
    ("data_rand_mirror", .bool(true)), ("data_cutoff", .int(0)), ("data_color", .int(0)),
    ("data_images_filter", .int(0)), ("count_flops", .bool(true)), ("memonger", .bool(false)),
    ("is_shuffled_rec", .bool(false)), ("fp16", .bool(false)),
  ]

  private static let argumentDefaults: [(String, PythonValue)] = [
    ("models_root", .string("./models")), ("pretrained", .string("")), ("pretrained_epoch", .int(1)), ("ckpt", .int(3)),
    ("verbose", .int(2000)), ("lr", .double(0.1)), ("lr_steps", .string("100000,160000,220000")),
    ("wd", .double(0.0005)),
    ("mom", .double(0.9)), ("frequent", .int(20)), ("kvstore", .string("device")),
    ("loss_s", .double(64)), ("loss_m1", .double(1)), ("loss_m2", .double(0)), ("loss_m3", .double(0)),
  ]

  /// The data sets that the reference's sample_config.py knows.
  public static let datasets: [(name: String, path: String, classCount: Int)] = [
    ("emore", "../datasets/faces_emore", 85742), ("retina", "../datasets/ms1m-retinaface-t1", 93431),
  ]

  /// Every key that can be set.
  public var keys: [String] { order + (Self.argumentNames + Self.recipeNames).filter { !order.contains($0) } }

  /// The value of a key.
  public subscript(key: String) -> PythonValue? { values[key] }

  private mutating func put(_ key: String, _ value: PythonValue) {
    if values[key] == nil { order.append(key) }
    values[key] = value
  }

  /// Whether a key was set by a file or a flag.
  public func isGiven(_ key: String) -> Bool { given.contains(key) }

  /// Sets a key from text, such as a flag's value or `--set key=value`.
  ///
  /// Lists are written `1,4,6,2` or `[1, 4, 6, 2]`.
  public mutating func set(_ key: String, _ text: String, from origin: String) throws(ConfigurationError) {
    let key = key.map { $0 == "-" ? "_" : $0 }.reduce(into: "") { $0.append($1) }
    guard let old = values[key] else {
      let near = nearestName(to: key, among: keys)
      throw ConfigurationError(
        "\(origin): there is no key '\(key)'" + (near.map { "; did you mean '\($0)'?" } ?? "")
          + " The keys are: \(keys.sorted().joined(separator: ", "))")
    }
    let value: PythonValue
    do {
      value = try Self.parse(text, like: old)
    } catch {
      throw ConfigurationError("\(origin): \(key)=\(text): \(error)")
    }
    set(key, value)
  }

  /// Sets a key to a value that has its type already.
  public mutating func set(_ key: String, _ value: PythonValue) {
    values[key] = value
    given.insert(key)
    // The two names of one thing.
    if key == "per_batch_size" { values["batch_size"] = value }
  }

  private static func parse(_ text: String, like old: PythonValue) throws(ConfigurationError) -> PythonValue {
    var trimmed = Substring(text)
    while let c = trimmed.first, c.isWhitespace { trimmed.removeFirst() }
    while let c = trimmed.last, c.isWhitespace { trimmed.removeLast() }
    switch old {
    case .bool:
      switch trimmed.lowercased() {
      case "true", "1", "yes", "on": return .bool(true)
      case "false", "0", "no", "off": return .bool(false)
      default: throw ConfigurationError("expected true or false")
      }
    case .int:
      // data_cutoff is False in old logs where it means 0.
      if trimmed.lowercased() == "false" { return .int(0) }
      guard let value = Int(trimmed) else { throw ConfigurationError("expected a whole number") }
      return .int(value)
    case .double:
      guard let value = Double(trimmed), value.isFinite else { throw ConfigurationError("expected a number") }
      return .double(value)
    case .string: return .string(String(trimmed))
    case .list(let values), .tuple(let values):
      var inner = trimmed
      if let open = inner.first, "[(".contains(open), let close = inner.last, "])".contains(close) {
        inner = inner.dropFirst().dropLast()
      }
      let first = values.first ?? .string("")
      var parsed: [PythonValue] = []
      for part in inner.split(separator: ",") {
        let unquoted = part.filter { $0 != "'" && $0 != "\"" }
        parsed.append(try parse(unquoted, like: first))
      }
      if case .list = old { return .list(parsed) }
      return .tuple(parsed)
    }
  }

  // MARK: Typed access

  /// A whole number.
  public func int(_ key: String) -> Int {
    switch values[key] {
    case .int(let value): value
    case .bool(let value): value ? 1 : 0
    default: 0
    }
  }
  /// A number.
  public func double(_ key: String) -> Double {
    switch values[key] {
    case .double(let value): value
    case .int(let value): Double(value)
    default: 0
    }
  }
  /// A text.
  public func string(_ key: String) -> String { if case .string(let value) = values[key] { value } else { "" } }
  /// A switch.
  public func bool(_ key: String) -> Bool { if case .bool(let value) = values[key] { value } else { int(key) != 0 } }
  /// Whole numbers.
  public func ints(_ key: String) -> [Int] {
    switch values[key] {
    case .list(let list), .tuple(let list): list.compactMap { if case .int(let value) = $0 { value } else { nil } }
    default: []
    }
  }
  /// Texts.
  public func strings(_ key: String) -> [String] {
    switch values[key] {
    case .list(let list), .tuple(let list): list.compactMap { if case .string(let value) = $0 { value } else { nil } }
    default: []
    }
  }

  /// The margin in the configuration.
  public var margin: Margin {
    Margin(scale: double("loss_s"), m1: double("loss_m1"), m2: double("loss_m2"), m3: double("loss_m3"))
  }

  /// The steps of `lr_steps`.
  public func learningRateSteps() throws(ConfigurationError) -> [Int] {
    var steps: [Int] = []
    for part in string("lr_steps").split(separator: ",") {
      guard let step = Int(part.filter { !$0.isWhitespace }), step > 0 else {
        throw ConfigurationError("lr_steps=\(string("lr_steps")): expected steps from 1 on, separated by commas")
      }
      steps.append(step)
    }
    return steps
  }

  /// Values that cannot be, and combinations that this program does not do.
  public func validate() throws(ConfigurationError) {
    func require(_ holds: Bool, _ message: @autoclosure () -> String) throws(ConfigurationError) {
      if !holds { throw ConfigurationError(message()) }
    }
    func show(_ key: String) -> String { "\(key)=\(values[key]?.description ?? "")" }
    for key in ["per_batch_size", "verbose", "frequent", "emb_size"] {
      try require(int(key) >= 1, "\(show(key)): expected a whole number from 1 on")
    }
    for key in ["lr", "loss_s"] { try require(double(key) > 0, "\(show(key)): expected a number above 0") }
    for key in ["wd", "mom", "bn_mom"] {
      try require(double(key) >= 0 && double(key) < 1, "\(show(key)): expected a number from 0 to below 1")
    }
    try require((0...3).contains(int("ckpt")), "\(show("ckpt")): expected 0 (never), 1 or 3 (when highest), 2 (always)")
    try require(int("num_classes") >= 0, "\(show("num_classes")): expected a positive whole number")
    try require(int("max_steps") >= 0, "\(show("max_steps")): expected 0 (no limit) or a number of steps")
    let shape = ints("image_shape")
    try require(
      shape.count == 3 && shape[0] == shape[1] && shape[2] == 3 && (97...1024).contains(shape[0]),
      "\(show("image_shape")): expected (size, size, 3) with a size from 97 to 1024")
    let blocks = ints("net_blocks")
    try require(
      blocks.count == 4 && blocks.allSatisfy { (1...1000).contains($0) },
      "\(show("net_blocks")): expected four block counts from 1 on")
    try require(
      ActivationKind(rawValue: string("net_act")) != nil,
      "\(show("net_act")): expected one of \(ActivationKind.allCases.map(\.rawValue).joined(separator: ", "))")
    try require(
      string("net_output") == "GDC", "\(show("net_output")): \(string("network")) has the output GDC only")
    try validateRecipe()
    try require(
      string("net_name") == "fmobilefacenet", "\(show("net_name")): \(string("network")) is built by fmobilefacenet")
    try validateLoss()
    _ = try learningRateSteps()
  }

  /// Keys that were set and change nothing here, as in the reference.
  public var withoutEffect: [String] {
    let reasons = [
      "fc7_lr_mult": "the reference's scripts never hand it to the optimizer",
      "fc7_wd_mult": "the reference's scripts never hand it to the optimizer",
      "net_se": "MobileFaceNet has no SE blocks",
      "net_unit": "MobileFaceNet has one kind of unit", "net_input": "MobileFaceNet has one kind of input",
      "net_multiplier": "the reference's MobileFaceNet does not read it", "workspace": "memory is managed by LibTorch",
      "kvstore": "gradients of one device need no exchange", "num_workers": "one process trains",
    ]
    return reasons.keys.sorted().filter(isGiven).map { "\($0): no effect (\(reasons[$0] ?? ""))" }
  }

  // MARK: As the reference prints it

  /// `Namespace(dataset='emore', …)`.
  public func namespace(contextCount: Int) -> String {
    var entries = Self.argumentNames.map { "\($0)=\(values[$0] ?? .string(""))" }
    entries += [
      "ctx_num=\(contextCount)", "batch_size=\(int("batch_size"))", "rescale_threshold=0",
      "image_channel=\(ints("image_shape").last ?? 3)",
    ]
    return "Namespace(\(entries.joined(separator: ", ")))"
  }

  /// `{'bn_mom': 0.9, …}`.
  public var dictionary: String {
    PythonValue.dictionary(
      order.map { key in
        // A cutoff of 0 is False there.
        let value = values[key] ?? .int(0)
        return (key, key == "data_cutoff" && value == .int(0) ? .bool(false) : value)
      })
  }
}
