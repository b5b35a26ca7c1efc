import Formats

extension ModelFile {
  /// The format that a name asks for by its ending; nil where it does not tell.
  public static func format(ofName name: String) -> ModelFormat? {
    if name.hasSuffix(".onnx") { return .onnx }
    if name.hasSuffix(".safetensors") { return .safetensors }
    if name.hasSuffix(".pt") || name.hasSuffix(".pth") { return .pytorch }
    if name.hasSuffix(".params") || name.hasSuffix("-symbol.json") { return .mxnet }
    if let comma = name.lastIndex(of: ","), let number = Int(name[name.index(after: comma)...]), number >= 0 {
      return .mxnet
    }
    return nil
  }

  /// Writes the model, each file atomically, and returns the files written.
  ///
  /// A PyTorch file gets the weights alone: whoever knows the network classes makes sure that one takes them.
  ///
  /// - Parameters:
  ///   - text: a path; for MXNet `PREFIX`, `PREFIX,EPOCH` or the path of its `.params` file.
  ///   - format: the format.
  ///   - onnx: how ONNX is written; the licence note of the model counts where it has none.
  /// - Throws: `FormatError`; `.unsupported` for what the format cannot hold.
  @discardableResult
  public func write(
    to text: String, as format: ModelFormat, onnx: ONNXExportOptions = ONNXExportOptions()
  ) throws(FormatError) -> [String] {
    do {
      try graph.checkWeights()
    } catch {
      throw FormatError(error, path: text)
    }
    switch format {
    case .mxnet: return try writeMXNet(to: MXNetLocation(text: text))
    case .safetensors: return try writeSafetensors(to: text)
    case .onnx:
      var options = onnx
      options.license = onnx.license ?? license
      let model: ONNXModel
      do {
        model = try graph.onnxModel(options)
      } catch {
        throw FormatError(error, path: text)
      }
      try model.write(to: text)
      return [text]
    case .pytorch:
      do {
        try graph.writePyTorch(to: text)
      } catch let error as GraphError {
        throw FormatError(error, path: text)
      } catch let error as FormatError {
        throw error
      } catch {
        throw FormatError(.io, "\(error)", path: text)
      }
      return [text]
    }
  }

  /// Scaling goes into the symbol: whoever runs an MXNet model of InsightFace feeds it pixels, under the name `data`.
  private func writeMXNet(to location: MXNetLocation) throws(FormatError) -> [String] {
    let symbol: String
    let entries: [(name: String, tensor: StoredTensor)]
    do {
      var graph = try graph.withScalingInside()
      if let input = graph.inputs.first, graph.inputs.count == 1, graph.node(named: "data") == nil,
        let index = graph.nodes.firstIndex(where: { $0.name == input.name })
      {
        var nodes = graph.nodes
        nodes[index].name = "data"
        graph = try NetworkGraph(
          nodes: nodes, outputs: graph.outputs, weights: graph.weights, preprocessing: graph.preprocessing)
      }
      symbol = try graph.mxnetSymbol().json()
      entries = try graph.mxnetWeights()
    } catch {
      throw FormatError(error, path: location.symbolPath)
    }
    try AtomicFile.write(symbol.utf8, to: location.symbolPath)
    try MXNetParameters(entries: entries).write(to: location.parametersPath)
    return [location.symbolPath, location.parametersPath]
  }

  private func writeSafetensors(to path: String) throws(FormatError) -> [String] {
    var metadata = [Key.graph: graph.json()]
    if let preprocessing = graph.preprocessing { metadata[Key.preprocessing] = preprocessing.encoded }
    if let license { metadata[Key.license] = license }
    var tensors: [(name: String, tensor: StoredTensor)] = []
    do {
      for parameter in try graph.parameters() {
        if let tensor = graph.weights[parameter.name] { tensors.append((parameter.name, tensor)) }
      }
    } catch {
      throw FormatError(error, path: path)
    }
    try Safetensors.write(tensors, metadata: metadata, to: path)
    return [path]
  }
}
