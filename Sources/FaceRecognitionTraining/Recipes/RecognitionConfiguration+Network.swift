import FaceRecognition
import Torch

extension RecognitionConfiguration {
  /// The network by its name; nil where there is none of this name.
  public var network: RecognitionNetwork? { RecognitionNetwork(rawValue: string("network")) }

  /// What the reference's sample_config.py sets for a network, in its order.
  static func entries(of network: RecognitionNetwork) -> [(String, PythonValue)] {
    let net = network.defaultSettings
    var entries: [(String, PythonValue)] = [("net_name", .string(network.family))]
    if let layers = network.layerCount { entries.append(("num_layers", .int(layers))) }
    entries += [
      ("emb_size", .int(net.embeddingSize)), ("net_output", .string(net.output.rawValue)),
      ("net_blocks", .list(net.blocks.map { .int($0) })), ("net_unit", .int(net.unit)),
      ("net_multiplier", .double(net.multiplier)),
    ]
    if network.family == "fdensenet" {
      entries += [("per_batch_size", .int(network.batchSize)), ("densenet_dropout", .double(net.dropout))]
    }
    return entries
  }

  /// The network's switches.
  var networkSettings: NetworkSettings {
    NetworkSettings(
      imageSize: ints("image_shape")[0], embeddingSize: int("emb_size"),
      output: NetworkOutput(rawValue: string("net_output")) ?? .e, unit: int("net_unit"),
      hasSqueezeExcitation: int("net_se") != 0, activation: ActivationKind(rawValue: string("net_act")) ?? .prelu,
      input: int("net_input"), multiplier: double("net_multiplier"), blocks: ints("net_blocks"),
      dropout: double("densenet_dropout"), momentum: double("bn_mom"))
  }

  /// Checks the switches that this network reads; those that it does not read are in `withoutEffect`.
  func validateNetwork() throws(ConfigurationError) {
    guard let network else { return }
    func require(_ key: String, _ holds: Bool, _ expected: String) throws(ConfigurationError) {
      guard !holds, network.unreadSettings[key] == nil else { return }
      throw ConfigurationError("\(key)=\(self[key]?.description ?? ""): \(expected)")
    }
    func names<Choice: CaseIterable & RawRepresentable>(_ type: Choice.Type) -> String
    where Choice.RawValue == String { Choice.allCases.map(\.rawValue).joined(separator: ", ") }
    try require(
      "net_name", string("net_name") == network.family, "\(network.rawValue) is built by \(network.family)")
    if let layers = network.layerCount {
      try require(
        "num_layers", int("num_layers") == layers,
        "\(network.rawValue) has \(layers); choose the depth by --network, for example r34")
    }
    try require(
      "net_output", NetworkOutput(rawValue: string("net_output")) != nil, "expected one of \(names(NetworkOutput.self))"
    )
    try require(
      "net_act", ActivationKind(rawValue: string("net_act")) != nil, "expected one of \(names(ActivationKind.self))")
    try require("net_unit", (1...3).contains(int("net_unit")), "expected 1, 2 or 3")
    try require("net_input", (0...2).contains(int("net_input")), "expected 0, 1 or 2")
    let multiplier = double("net_multiplier")
    try require("net_multiplier", multiplier > 0 && multiplier <= 16, "expected a factor above 0, at most 16")
    let blocks = ints("net_blocks")
    try require(
      "net_blocks", blocks.count == 4 && blocks.allSatisfy { (1...1000).contains($0) },
      "expected four block counts from 1 on")
    let dropout = double("densenet_dropout")
    try require("densenet_dropout", dropout >= 0 && dropout < 1, "expected a rate from 0 to below 1")
    try require("emb_size", int("emb_size") <= 65536, "expected at most 65536")
  }
}
