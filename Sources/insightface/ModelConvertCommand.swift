import Arguments
import FaceDetection
import FaceRecognition
import Formats
import Inference

/// The formats that are written.
private enum WrittenFormat: String, CaseIterable, ArgumentValue {
  case mxnet, onnx, safetensors, pytorch

  var format: ModelFormat {
    switch self {
    case .mxnet: .mxnet
    case .onnx: .onnx
    case .safetensors: .safetensors
    case .pytorch: .pytorch
    }
  }
}

extension NetworkGraph {
  /// Whether this finds faces in images of any size.
  var isDetector: Bool { isReferenceRetinaFace || isPyTorchRetinaFace }
}

/// `insightface model convert`: a model in another format.
struct ModelConvertCommand: Command {
  static let name = "convert"
  static let summary = "Write a model in another format"
  static let discussion = """
    The format read is told by content, the format written by the ending of OUT (.onnx, .safetensors, .pt, .params or
    PREFIX,EPOCH) or by --to. Preprocessing goes along; MXNet models scale inside the network, so a scaling from outside
    moves in, where it is one number for all channels. PyTorch files hold weights only: they are written for the networks
    of arcface_torch and of RetinaFace's PyTorch port, which load them. ONNX files of detectors take images of any size.

      insightface model convert models/y1/model,0 y1.safetensors
      insightface model convert backbone.pt r50.onnx
      insightface model convert w600k_r50.onnx r50,0 --preprocessing arcface-torch
    """

  private var input = ""
  private var output = ""
  private var format: WrittenFormat?
  private var reading = ModelReading()

  mutating func bind(_ b: inout ArgumentBinder) throws(UsageError) {
    try b.positional(&input, "IN", help: "a model file, PREFIX, PREFIX,EPOCH or a folder")
    try b.positional(&output, "OUT", help: "the file to write, or PREFIX,EPOCH for MXNet")
    try b.option(&format, "--to", value: "FORMAT", help: "the format to write, where OUT does not tell")
    try reading.bind(&b)
  }

  mutating func run() throws {
    guard let format = format?.format ?? ModelFile.format(ofName: output) else {
      throw UsageError("the ending of '\(output)' names no format: say --to mxnet, onnx, safetensors or pytorch")
    }
    var model = try ModelFile(reading: input, options: try reading.options(requiresPreprocessing: true))
    if format == .pytorch {
      do throws(GraphError) {
        model.graph =
          model.graph.isPyTorchRetinaFace
          ? try PyTorchRetinaFace.pyTorchNetwork(of: model.graph)
          : try RecognitionNetwork.pyTorchNetwork(of: model.graph)
      } catch {
        throw FormatError(.unsupported, error.description, path: input)
      }
    }
    let written = try model.write(to: output, as: format, onnx: .init(opensSize: model.graph.isDetector))
    print("\(model.format.title) → \(format.title): \(written.joined(separator: ", "))")
    if format == .mxnet, let fed = model.graph.preprocessing, !fed.isInsideGraph, fed.mean.count > 1 {
      print("MXNet files do not tell how pixels are fed: say --preprocessing '\(fed.encoded)' when you read them")
    }
    if !model.unusedWeights.isEmpty {
      print("left out, for the network does not use them: \(model.unusedWeights.joined(separator: ", "))")
    }
  }
}
