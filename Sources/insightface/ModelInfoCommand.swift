import Arguments
import FaceDetection
import FaceRecognition
import Formats
import Inference

/// The commands that look at and convert networks.
let modelTools: [CommandTree] = [
  .command(ModelInfoCommand.self),
  .command(ModelConvertCommand.self),
  .command(ModelExportCommand.self),
]

/// What the commands say of a file that leaves its preprocessing or image size open.
struct ModelReading {
  var preprocessing: String?
  var size: String?
  var outputs: [String] = []

  mutating func bind(_ b: inout ArgumentBinder) throws(UsageError) {
    b.section("Where the file does not tell")
    try b.option(
      &preprocessing, "--preprocessing", value: "TEXT",
      help: "insightface (RGB, scaled inside the network), arcface-torch (RGB, (x - 127.5) / 127.5), or in full: "
        + "colour=RGB;size=112x112;mean=127.5;scale=0.0078125;inside_graph=false;embedding=512")
    try b.option(&size, "--size", value: "WIDTHxHEIGHT", help: "the size of the images")
    try b.option(
      &outputs, "--outputs", value: "NAMES", separator: ",", help: "where to cut the network; else the file's outputs")
  }

  /// The options that these words mean.
  func options(requiresPreprocessing: Bool) throws -> ModelFile.Options {
    var options = ModelFile.Options(requiresPreprocessing: requiresPreprocessing)
    options.readPyTorch = { path throws(FormatError) in
      try PyTorchRetinaFace.recognizes(path: path)
        ? try PyTorchRetinaFace.load(path: path) : try RecognitionNetwork.readPyTorch(path)
    }
    options.describe = { RetinaFaceNetwork.preprocessing(of: $0) }
    if let preprocessing {
      do {
        options.preprocessing = try PreprocessingChoice(text: preprocessing)
      } catch {
        throw UsageError("--preprocessing: \(error.description)")
      }
    }
    if let size {
      let numbers = size.split(separator: "x", omittingEmptySubsequences: false).compactMap { Int($0) }
      guard numbers.count == 2, numbers.allSatisfy({ (1...65536).contains($0) }) else {
        throw UsageError("--size '\(size)' is not WIDTHxHEIGHT, for example 640x640")
      }
      options.inputSize = .init(height: numbers[1], width: numbers[0])
    }
    if !outputs.isEmpty { options.outputs = outputs }
    return options
  }
}

/// `insightface model info`: what a model file holds.
struct ModelInfoCommand: Command {
  static let name = "info"
  static let summary = "Tell format, inputs, outputs, parameters, FLOPs and preprocessing of a model"
  static let discussion = """
    MODEL is a file of any format (MXNet, ONNX, safetensors, PyTorch's .pt of arcface_torch's networks and .pth of
    RetinaFace's port), told by its content, or MXNet's PREFIX or PREFIX,EPOCH, or a folder that holds one MXNet model.

    Parameters are all numbers that the file holds for the network, running statistics among them; `insightface flops`
    counts without these, as the reference does. FLOPs are those of one image by the reference's counter: convolutions,
    fully connected layers and products of matrices.

      insightface model info models/y1/model,0
    """

  private var path = ""
  private var json = false
  private var reading = ModelReading()

  mutating func bind(_ b: inout ArgumentBinder) throws(UsageError) {
    try b.positional(&path, "MODEL", help: "a model file, PREFIX, PREFIX,EPOCH or a folder")
    try b.flag(&json, "--json", help: "print one JSON object")
    try reading.bind(&b)
  }

  mutating func run() throws {
    let model = try ModelFile(reading: path, options: try reading.options(requiresPreprocessing: false))
    let graph = model.graph
    let shapes = try graph.inferShapes()
    let outputs = zip(graph.outputNames, graph.outputs).map { ($0, shapes[$1]) }
    let parameters = try graph.parameters()
    let count = parameters.reduce(0) { $0 + $1.count }
    let operations = try graph.operationCount()
    var types: [String: Int] = [:]
    for parameter in parameters {
      if let type = graph.weights[parameter.name]?.dtype.rawValue { types[type, default: 0] += 1 }
    }
    let typeText = types.sorted { $0.key < $1.key }.map(\.key).joined(separator: ", ")
    if json {
      func tensors(_ list: [(String, NetworkGraph.Shape)]) -> String {
        "["
          + list.map { entry in
            let sizes = entry.1.dimensions.map { $0.fixed.map { "\($0)" } ?? jsonText($0.description) }
            return "{\"name\": \(jsonText(entry.0)), \"shape\": [\(sizes.joined(separator: ", "))]}"
          }.joined(separator: ", ") + "]"
      }
      let fields = [
        "\"format\": \"\(model.format.rawValue)\"",
        "\"files\": [\(model.paths.map(jsonText).joined(separator: ", "))]",
        "\"inputs\": \(tensors(graph.inputs.map { ($0.name, $0.shape) }))", "\"outputs\": \(tensors(outputs))",
        "\"nodes\": \(graph.nodes.count)", "\"parameters\": \(count)", "\"tensors\": \(parameters.count)",
        "\"types\": [\(types.keys.sorted().map(jsonText).joined(separator: ", "))]", "\"flops\": \(operations)",
        "\"preprocessing\": \(json(graph.preprocessing))", "\"license\": \(model.license.map(jsonText) ?? "null")",
        "\"unused_weights\": [\(model.unusedWeights.map(jsonText).joined(separator: ", "))]",
      ]
      print("{\(fields.joined(separator: ", "))}")
      return
    }
    print(model.paths.joined(separator: "\n"))
    line("format", model.format.title)
    for input in graph.inputs { line("input", "\(input.name) \(input.shape)") }
    for output in outputs { line("output", "\(output.0) \(output.1)") }
    line("operations", "\(graph.nodes.count)")
    line("parameters", "\(count) in \(parameters.count) tensors (\(typeText))")
    line("FLOPs", "\(operations) (\(NetworkGraph.formatted(operationCount: operations)))")
    if let preprocessing = graph.preprocessing {
      line("colour order", preprocessing.colourOrder.rawValue)
      line("image size", "\(preprocessing.width)×\(preprocessing.height)")
      let formula = "(x − \(list(preprocessing.mean))) · \(list(preprocessing.scale))"
      line("scaling", formula + (preprocessing.isInsideGraph ? ", inside the network" : ", before the network"))
      if let length = preprocessing.embeddingLength { line("embedding", "\(length) numbers") }
    } else {
      line("preprocessing", "unknown: the file does not tell; say it with --preprocessing when you use it")
    }
    if let license = model.license { line("license", license) }
    if !model.unusedWeights.isEmpty {
      let names = model.unusedWeights
      line("unused weights", names.prefix(8).joined(separator: ", ") + (names.count > 8 ? " …(\(names.count))" : ""))
    }
  }

  private func list(_ numbers: [Double]) -> String {
    numbers.count == 1 ? "\(numbers[0])" : "(" + numbers.map { "\($0)" }.joined(separator: ", ") + ")"
  }

  private func json(_ preprocessing: Preprocessing?) -> String {
    guard let preprocessing else { return "null" }
    return "{\"colour\": \"\(preprocessing.colourOrder.rawValue)\", \"width\": \(preprocessing.width), "
      + "\"height\": \(preprocessing.height), \"mean\": \(preprocessing.mean), \"scale\": \(preprocessing.scale), "
      + "\"inside_network\": \(preprocessing.isInsideGraph), "
      + "\"embedding_length\": \(preprocessing.embeddingLength.map { "\($0)" } ?? "null")}"
  }

  private func line(_ name: String, _ value: String) {
    print("  " + name + String(repeating: " ", count: max(1, 24 - name.count)) + value)
  }
}
