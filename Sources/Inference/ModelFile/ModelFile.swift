import Formats

/// A network with weights and preprocessing as a file of any format holds it.
///
/// The format is told by content. A network whose preprocessing is not known is refused: run with the wrong colour order or
/// scaling, it would give embeddings that look sound and are not.
public struct ModelFile: Sendable {
  /// How files are read.
  public struct Options: Sendable {
    /// The preprocessing where the file does not tell; an error where the file tells another one.
    public var preprocessing: PreprocessingChoice?
    /// Whether a file that does not tell its preprocessing is refused.
    public var requiresPreprocessing: Bool
    /// Height and width of the images, for ONNX files that leave them open.
    public var inputSize: NetworkGraph.Extent?
    /// Tells the preprocessing of a network by its form where neither the file nor the user does; nil tells none.
    public var describe: (@Sendable (NetworkGraph) -> Preprocessing?)?
    /// Where to cut the network; nil takes the file's outputs, or `fc1` of a symbol for training.
    public var outputs: [String]?
    /// Makes a network of the PyTorch file at a path; nil refuses such files.
    ///
    /// A state dictionary holds no network, so whoever knows the network classes provides this.
    public var readPyTorch: (@Sendable (_ path: String) throws(FormatError) -> NetworkGraph)?

    /// Options.
    public init(
      preprocessing: PreprocessingChoice? = nil, requiresPreprocessing: Bool = true,
      inputSize: NetworkGraph.Extent? = nil, outputs: [String]? = nil,
      readPyTorch: (@Sendable (_ path: String) throws(FormatError) -> NetworkGraph)? = nil,
      describe: (@Sendable (NetworkGraph) -> Preprocessing?)? = nil
    ) {
      self.describe = describe
      self.preprocessing = preprocessing
      self.requiresPreprocessing = requiresPreprocessing
      self.inputSize = inputSize
      self.outputs = outputs
      self.readPyTorch = readPyTorch
    }
  }

  /// The format found.
  public var format: ModelFormat
  /// The files read.
  public var paths: [String]
  /// The network with its weights and preprocessing.
  public var graph: NetworkGraph
  /// The licence note of the file.
  public var license: String?
  /// Weights of the file that the network does not use.
  public var unusedWeights: [String]

  /// A network that is to be written.
  public init(graph: NetworkGraph, format: ModelFormat, license: String? = nil) {
    self.graph = graph
    self.format = format
    self.license = license
    paths = []
    unusedWeights = []
  }

  /// Reads the model that `text` means: a file of any format, or `PREFIX`, `PREFIX,EPOCH` or a folder of MXNet's.
  ///
  /// - Throws: `FormatError` of the reader; `.unsupported` where operators or the preprocessing are not known,
  ///   `.mismatch` where weights, sizes or what the user says do not fit.
  public init(reading text: String, options: Options = Options()) throws(FormatError) {
    guard fileExists(text), !isFolder(text) else {
      try self.init(mxnet: try MXNetLocation.find(text), options)
      return
    }
    switch try ModelFormat.detect(path: text) {
    case .mxnet:
      guard text.hasSuffix(".params") || text.hasSuffix("-symbol.json") else {
        throw FormatError(
          .mismatch, "this is one of the two files of an MXNet model, but its name does not tell the other", path: text,
          advice: "name them PREFIX-symbol.json and PREFIX-0000.params")
      }
      try self.init(mxnet: try MXNetLocation.find(text), options)
    case .onnx: try self.init(onnx: text, options)
    case .safetensors: try self.init(safetensors: text, options)
    case .pytorch:
      guard let read = options.readPyTorch else {
        throw FormatError(
          .unsupported, "a PyTorch file holds weights but no network, and none is known here for it", path: text,
          advice: "convert it with insightface-train, which knows the networks")
      }
      self.init(graph: try read(text), format: .pytorch)
      paths = [text]
      try settlePreprocessing(options, path: text)
    }
  }

  private init(mxnet location: MXNetLocation, _ options: Options) throws(FormatError) {
    let symbol = try MXNetSymbol.read(path: location.symbolPath)
    let parameters = try MXNetParameters(path: location.parametersPath)
    // A symbol for training is cut where the embedding is.
    let hasEmbedding = symbol.nodes.contains { $0.name == "fc1" && !$0.isVariable }
    var importOptions = MXNetImport.Options(outputs: options.outputs ?? (hasEmbedding ? ["fc1"] : nil))
    if let size = options.inputSize {
      importOptions.inputShapes["data"] = .images(channels: 3, height: size.height, width: size.width)
    }
    do throws(GraphError) {
      var read = try NetworkGraph.importing(symbol, weights: parameters.entries, options: importOptions)
      // A symbol leaves the size open; one that is known for its kind of network counts where nobody says another.
      if options.inputSize == nil, options.preprocessing == nil, let known = options.describe?(read.graph),
        read.graph.imageSize != .init(height: known.height, width: known.width)
      {
        importOptions.inputShapes["data"] = .images(channels: 3, height: known.height, width: known.width)
        read = try NetworkGraph.importing(symbol, weights: parameters.entries, options: importOptions)
      }
      self.init(graph: read.graph, format: .mxnet)
      unusedWeights = read.unusedWeights
    } catch {
      throw FormatError(error, path: location.symbolPath)
    }
    paths = [location.symbolPath, location.parametersPath]
    try settlePreprocessing(options, path: location.symbolPath)
  }

  private init(onnx path: String, _ options: Options) throws(FormatError) {
    let model = try ONNXModel(path: path)
    do throws(GraphError) {
      var exact: Preprocessing?
      if case .exact(let preprocessing)? = options.preprocessing { exact = preprocessing }
      let isTold = model[metadata: ONNXMetadata.preprocessing] != nil
      let read = try NetworkGraph.importing(
        model,
        options: .init(
          inputSize: options.inputSize, outputs: options.outputs, preprocessing: isTold ? nil : exact))
      self.init(graph: read.graph, format: .onnx, license: read.license)
      unusedWeights = read.unusedWeights
      if !isTold { graph.preprocessing = nil }
    } catch {
      throw FormatError(error, path: path)
    }
    paths = [path]
    try settlePreprocessing(options, path: path)
  }

  /// The metadata keys of this project's safetensors files.
  enum Key {
    static let graph = "insightface.graph"
    static let preprocessing = "insightface.preprocessing"
    static let license = "license"
  }

  private init(safetensors path: String, _ options: Options) throws(FormatError) {
    let file = try Safetensors(path: path)
    guard let description = file.metadata[Key.graph] else {
      throw FormatError(
        .unsupported, "the file holds \(file.tensors.count) tensors but no description of the network", path: path,
        advice: "only safetensors files that this program wrote hold a whole model")
    }
    do throws(GraphError) {
      var graph = try NetworkGraph(json: description)
      graph.preprocessing = try file.metadata[Key.preprocessing].map {
        (text) throws(GraphError) in try Preprocessing(encoded: text)
      }
      self.init(graph: graph, format: .safetensors, license: file.metadata[Key.license])
      let wanted = Set(try graph.parameters().map(\.name))
      unusedWeights = file.tensors.map(\.name).filter { !wanted.contains($0) }
      for name in wanted where file.description(named: name) != nil {
        do throws(FormatError) {
          self.graph.weights[name] = try file.tensor(named: name)
        } catch {
          throw GraphError(.mismatch, message: error.message)
        }
      }
      try self.graph.checkWeights()
    } catch {
      throw FormatError(error, path: path)
    }
    paths = [path]
    try settlePreprocessing(options, path: path)
  }

  /// Brings together what the file tells of its preprocessing and what the user does.
  private mutating func settlePreprocessing(_ options: Options, path: String) throws(FormatError) {
    do throws(GraphError) {
      if let choice = options.preprocessing {
        let said = try choice.preprocessing(of: graph)
        if let told = graph.preprocessing, told != said {
          throw GraphError(
            .mismatch, message: "the file tells its preprocessing, \(told.encoded), and you say \(said.encoded)",
            advice: "leave yours out")
        }
        graph.preprocessing = said
      }
      if graph.preprocessing == nil, let known = options.describe?(graph) { graph.preprocessing = known }
      if options.inputSize != nil, let size = graph.imageSize {
        graph.preprocessing?.height = size.height
        graph.preprocessing?.width = size.width
      }
      guard let preprocessing = graph.preprocessing else {
        guard options.requiresPreprocessing else { return }
        throw GraphError(
          .unsupported, message: "the file does not tell its preprocessing: colour order and scaling of the pixels",
          advice: "say it with --preprocessing \(PreprocessingChoice.words.joined(separator: " or ")), or in full")
      }
      if let size = graph.imageSize, size.height != preprocessing.height || size.width != preprocessing.width {
        throw GraphError(
          .mismatch,
          message: "the preprocessing makes images of \(preprocessing.width)×\(preprocessing.height) pixels, "
            + "the network takes \(size.width)×\(size.height)")
      }
      if let length = preprocessing.embeddingLength, let found = try graph.embeddingLength(), found != length {
        throw GraphError(
          .mismatch, message: "the embedding is said to have \(length) numbers, the network gives \(found)")
      }
    } catch {
      throw FormatError(error, path: path)
    }
  }
}

extension FormatError {
  /// An error of a network as one of the file that holds it.
  package init(_ error: GraphError, path: String) {
    let code: Code =
      switch error.code {
      case .unsupported: .unsupported
      case .tooLarge: .tooLarge
      default: .mismatch
      }
    self.init(code, error.description, path: path)
  }
}
