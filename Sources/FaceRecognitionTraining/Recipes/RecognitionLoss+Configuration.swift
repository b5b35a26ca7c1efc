import Torch

extension RecognitionLoss {
  /// Whether batches are mined triplets.
  var isTriplet: Bool { self == .triplet || self == .atriplet }

  /// Whether the head takes identities in blocks on the CPU (`CosineSoftmaxHead.runsInBlocks`).
  var runsInBlocks: Bool {
    switch self {
    case .nsoftmax, .arcface, .cosface, .combined, .magface, .elasticfaceArc, .elasticfaceCos: true
    default: false
    }
  }

  /// Whether `--margin-gradient` has a choice to make.
  var hasMarginGradient: Bool {
    switch self {
    case .nsoftmax, .arcface, .cosface, .combined, .subcenterArcface, .sphereface, .combinedMargin: true
    default: false
    }
  }

  /// The keys that the loss brings, with their authors' values, in the order in which the reference prints them.
  var defaults: [(key: String, value: PythonValue)] {
    switch self {
    case .softmax: return [("loss_name", .string("softmax"))]
    case .nsoftmax: return Self.keys(Margin())
    case .arcface: return Self.keys(Margin(m2: 0.5))
    case .cosface: return Self.keys(Margin(m3: 0.35))
    case .combined: return Self.keys(Margin(m2: 0.3, m3: 0.2))
    case .subcenterArcface: return Self.keys(Margin(m2: 0.5)) + [("loss_K", .int(3))]
    case .triplet, .atriplet:
      return [
        ("loss_name", .string(rawValue)), ("images_per_identity", .int(5)),
        ("triplet_alpha", .double(self == .triplet ? 0.3 : 0.35)), ("triplet_bag_size", .int(7200)),
        ("triplet_max_ap", .double(0)), ("per_batch_size", .int(60)), ("lr", .double(0.05)),
      ]
    case .sphereface: return named(scale: 30, [("loss_m1", .double(1.5))])
    case .curricularface: return named([("loss_m2", .double(0.5))])
    case .magface:
      return named([
        ("loss_l_a", .double(10)), ("loss_u_a", .double(110)), ("loss_l_margin", .double(0.45)),
        ("loss_u_margin", .double(0.8)), ("loss_lambda_g", .double(35)),
      ])
    case .adaface:
      return named([("loss_m", .double(0.4)), ("loss_h", .double(0.333)), ("loss_t_alpha", .double(0.01))])
    case .elasticfaceArc:
      return named([("loss_m2", .double(0.5)), ("loss_std", .double(0.05)), ("loss_plus", .bool(false))])
    case .elasticfaceCos:
      return named([("loss_m3", .double(0.35)), ("loss_std", .double(0.05)), ("loss_plus", .bool(false))])
    case .combinedMargin:
      return named([
        ("loss_m1", .double(1)), ("loss_m2", .double(0.5)), ("loss_m3", .double(0)),
        ("interclass_filtering_threshold", .double(0)),
      ])
    }
  }

  private static func keys(_ margin: Margin) -> [(key: String, value: PythonValue)] {
    [
      ("loss_name", .string("margin_softmax")), ("loss_s", .double(margin.scale)), ("loss_m1", .double(margin.m1)),
      ("loss_m2", .double(margin.m2)), ("loss_m3", .double(margin.m3)),
    ]
  }

  private func named(
    scale: Double = 64, _ keys: [(key: String, value: PythonValue)]
  ) -> [(key: String, value: PythonValue)] {
    [("loss_name", .string(rawValue)), ("loss_s", .double(scale))] + keys
  }

  /// The head of a configuration.
  func head(_ c: RecognitionConfiguration, _ options: TrainingOptions, _ generator: Generator) -> any Head {
    let settings = HeadSettings(
      classCount: c.int("num_classes"), embeddingSize: c.int("emb_size"), momentum: c.double("mom"),
      weightDecay: c.double("wd"), device: options.device, generator: generator)
    let scale = c.double("loss_s")
    switch self {
    case .softmax:
      return SoftmaxHead(
        classCount: settings.classCount, embeddingSize: settings.embeddingSize, hasBias: !c.bool("fc7_no_bias"),
        momentum: settings.momentum, weightDecay: settings.weightDecay, device: settings.device, generator: generator)
    case .nsoftmax, .arcface, .cosface, .combined, .subcenterArcface:
      return MarginSoftmaxHead(
        settings, margin: c.margin, marginGradient: options.marginGradient ?? .exact,
        subCenters: self == .subcenterArcface ? c.int("loss_K") : 1)
    case .triplet: return TripletHead(.squared, alpha: c.double("triplet_alpha"))
    case .atriplet: return TripletHead(.angular, alpha: c.double("triplet_alpha"))
    case .sphereface:
      return SphereFaceHead(
        settings, scale: scale, margin: c.double("loss_m1"),
        marginGradient: options.marginGradient ?? .straightThrough)
    case .curricularface: return CurricularFaceHead(settings, scale: scale, margin: c.double("loss_m2"))
    case .magface:
      return MagFaceHead(
        settings, scale: scale,
        bounds: .init(
          lowerNorm: c.double("loss_l_a"), upperNorm: c.double("loss_u_a"), lowerMargin: c.double("loss_l_margin"),
          upperMargin: c.double("loss_u_margin"), lambda: c.double("loss_lambda_g")))
    case .adaface:
      return AdaFaceHead(
        settings, scale: scale, margin: c.double("loss_m"), concentration: c.double("loss_h"),
        rate: c.double("loss_t_alpha"))
    case .elasticfaceArc, .elasticfaceCos:
      return ElasticFaceHead(
        settings, kind: self == .elasticfaceArc ? .arc : .cos, scale: scale,
        mean: c.double(self == .elasticfaceArc ? "loss_m2" : "loss_m3"), deviation: c.double("loss_std"),
        plus: c.bool("loss_plus"), seed: options.seed)
    case .combinedMargin:
      return CombinedMarginHead(
        settings, margin: c.margin, threshold: c.double("interclass_filtering_threshold"),
        marginGradient: options.marginGradient ?? .straightThrough)
    }
  }
}

extension RecognitionConfiguration {
  /// The loss that the configuration was made for.
  var recognitionLoss: RecognitionLoss { RecognitionLoss(rawValue: string("loss")) ?? .arcface }

  /// Values of the loss that cannot be.
  func validateLoss() throws(ConfigurationError) {
    func require(_ key: String, _ expected: String, _ holds: (Double) -> Bool) throws(ConfigurationError) {
      guard let value = self[key] else { return }
      if !holds(double(key)) { throw ConfigurationError("\(key)=\(value): expected \(expected)") }
    }
    guard let loss = RecognitionLoss(rawValue: string("loss")) else {
      throw ConfigurationError(
        "loss=\(string("loss")): known are \(RecognitionLoss.allCases.map(\.rawValue).joined(separator: ", "))")
    }
    for (key, value) in loss.defaults where key == "loss_name" {
      guard value == self[key] else {
        throw ConfigurationError("\(key)=\(self[key]?.description ?? ""): --loss \(loss.rawValue) is \(value)")
      }
    }
    try require("loss_K", "a whole number of sub-centres, 1 … 64") { (1...64).contains($0) }
    for key in ["loss_std", "loss_lambda_g", "loss_h"] { try require(key, "a number from 0 on") { $0 >= 0 } }
    try require("loss_t_alpha", "a number above 0, at most 1") { $0 > 0 && $0 <= 1 }
    try require("interclass_filtering_threshold", "0 (off), or a cosine below 1") { (0..<1).contains($0) }
    switch loss {
    case .sphereface: try require("loss_m1", "a factor of the angle, 1 … 10") { (1...10).contains($0) }
    case .magface:
      try require("loss_l_a", "a length above 0") { $0 > 0 }
      try require("loss_u_a", "a length above loss_l_a") { $0 > double("loss_l_a") }
      try require("loss_l_margin", "an angle from 0 on") { $0 >= 0 }
      try require("loss_u_margin", "an angle from loss_l_margin to π") {
        ($0 >= double("loss_l_margin")) && $0 <= Double.pi
      }
    case .combinedMargin:
      if let problem = CombinedMarginHead.problem(margin) { throw ConfigurationError(problem) }
    case .triplet, .atriplet:
      try require("per_batch_size", "a multiple of 3: a third each of anchors, positives and negatives") {
        Int($0) % 3 == 0
      }
      try require("images_per_identity", "2 … 1000 images, so that there are pairs") { (2...1000).contains($0) }
      try require("triplet_alpha", "a number from 0 to 1, as in the reference") { (0...1).contains($0) }
      try require("triplet_bag_size", "3 … 100000 images") { (3...100_000).contains($0) }
      try require("triplet_max_ap", "0 (no limit) or the largest squared distance of a positive pair") { $0 >= 0 }
    default: break
    }
  }

  /// Options of the command line that the loss cannot follow.
  func validateLoss(_ options: TrainingOptions) throws(ConfigurationError) {
    let loss = recognitionLoss
    if let gradient = options.marginGradient, !loss.hasMarginGradient {
      throw ConfigurationError(
        "--margin-gradient \(gradient.rawValue): --loss \(loss.rawValue) has its own gradient; leave the flag out")
    }
    let warms = options.marginWarmup > 0 || options.scaleWarmup > 0
    if warms && (loss == .softmax || loss.isTriplet) {
      throw ConfigurationError(
        "--margin-warmup and --scale-warmup: --loss \(loss.rawValue) has neither margin nor scale to grow")
    }
  }
}
