import Arguments
import FaceRecognition
import Inference

/// `insightface flops`: parameters and operations of the networks.
struct FlopsCommand: Command {
  static let name = "flops"
  static let summary = "Count the parameters and operations of the networks"
  static let discussion = """
    Parameters are those that training moves; running statistics, which `insightface model info` counts too, are not among
    them. Operations are those of one image by the counter of InsightFace (common/flops_counter.py): two for each product
    of convolutions and fully connected layers, and of the products of matrices that transformers have; nothing else counts.

      insightface flops --network y1
      insightface flops --json
    """

  private var names: [String] = []
  private var imageSize: Int?
  private var json = false

  mutating func bind(_ b: inout ArgumentBinder) throws(UsageError) {
    try b.option(&names, "--network", value: "NAME", help: "a network; repeatable (default: all)")
    try b.option(
      &imageSize, "--image-size", value: "PIXELS", help: "rows and columns of the image (default: 112)",
      expected: "a number from 1 to 4096", where: { (1...4096).contains($0) })
    try b.flag(&json, "--json", help: "print a JSON array of network, parameters, flops")
  }

  mutating func run() throws {
    let known = RecognitionNetwork.allCases.map(\.rawValue)
    var networks: [RecognitionNetwork] = names.isEmpty ? RecognitionNetwork.allCases : []
    for name in names {
      guard let network = RecognitionNetwork(rawValue: name) else {
        let near = nearestName(to: name, among: known).map { " Did you mean '\($0)'?" } ?? ""
        throw UsageError("--network \(name): known are \(known.joined(separator: ", ")).\(near)")
      }
      networks.append(network)
    }
    var rows: [(name: String, parameters: Int, operations: Int)] = []
    for network in networks {
      var settings = network.defaultSettings
      if let imageSize { settings.imageSize = imageSize }
      let graph = try network.graph(settings)
      let parameters = try graph.parameters().filter { !$0.isAuxiliary }.reduce(0) { $0 + $1.count }
      rows.append((network.rawValue, parameters, try graph.operationCount()))
    }
    if json {
      let objects = rows.map {
        "{\"network\": \(jsonText($0.name)), \"parameters\": \($0.parameters), \"flops\": \($0.operations)}"
      }
      print("[\(objects.joined(separator: ", "))]")
      return
    }
    let width = max(7, rows.map(\.name.count).max() ?? 0)
    print(padded("network", width) + "  parameters    FLOPs")
    for row in rows {
      let text = NetworkGraph.formatted(operationCount: row.operations)
      print(padded(row.name, width) + "  " + leading("\(row.parameters)", 10) + "  " + leading(text, 7))
    }
  }

  private func padded(_ text: String, _ width: Int) -> String {
    text + String(repeating: " ", count: max(0, width - text.count))
  }

  private func leading(_ text: String, _ width: Int) -> String {
    String(repeating: " ", count: max(0, width - text.count)) + text
  }
}
