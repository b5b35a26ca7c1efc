import Formats

/// An ONNX file as it can be run here.
public enum ONNXNetwork: Sendable {
  /// All its operators are known: it runs on this project's plan.
  case graph(NetworkGraph)
  /// It has operators, or forms of them, without a counterpart here: it runs through OpenVINO.
  case openVINO(OpenVINONetwork)

  /// Reads a network, and turns to OpenVINO where the importer does not know all of it.
  ///
  /// - Parameters:
  ///   - path: of the file.
  ///   - model: what the file holds.
  ///   - inputSize: height and width of the images, which win over what the file says.
  ///   - preprocessing: where the file does not tell it.
  ///   - threads: of a call through OpenVINO; nil takes $INSIGHTFACE_THREADS, else the physical cores.
  ///   - openVINO: where OpenVINO lies, as `OpenVINO.installed(at:)` takes it.
  /// - Throws: `FormatError`: that of the importer; where OpenVINO is missing or refuses the file too, both reasons.
  public static func load(
    path: String, model: ONNXModel, inputSize: NetworkGraph.Extent? = nil, preprocessing: Preprocessing? = nil,
    threads: Int? = nil, openVINO: String? = nil
  ) throws(FormatError) -> ONNXNetwork {
    let told: Preprocessing?
    let refusal: GraphError
    do throws(GraphError) {
      told = try Self.told(model)
      if inputSize == nil { _ = try model.imageSize() }
    } catch {
      throw FormatError(error, path: path)
    }
    do throws(GraphError) {
      let options = ONNXImport.Options(inputSize: inputSize, preprocessing: told ?? preprocessing)
      return .graph(try NetworkGraph.importing(model, options: options).graph)
    } catch {
      guard error.code == .unsupported else { throw FormatError(error, path: path) }
      refusal = error
    }
    return .openVINO(
      try foreign(
        path, model, refusal, inputSize: inputSize, preprocessing: told ?? preprocessing, threads: threads,
        openVINO: openVINO))
  }

  /// The network of an ONNX file that the importer refuses, its preprocessing settled as `ModelFile` does it; nil where
  /// the file is none, or the importer takes it.
  ///
  /// - Throws: `FormatError`, as `load`; `.unsupported` where neither the file nor `preprocessing` tells what is done to
  ///   pixels.
  public static func unknown(
    path: String, preprocessing: PreprocessingChoice? = nil, threads: Int? = nil, openVINO: String? = nil
  ) throws(FormatError) -> OpenVINONetwork? {
    guard fileExists(path), !isFolder(path), try ModelFormat.detect(path: path) == .onnx else { return nil }
    let model = try ONNXModel(path: path)
    let refusal: GraphError
    do throws(GraphError) {
      _ = try NetworkGraph.importing(model)
      return nil
    } catch {
      guard error.code == .unsupported else { return nil }
      refusal = error
    }
    let settled: Preprocessing
    do throws(GraphError) {
      if let told = try told(model) {
        settled = told
      } else if let preprocessing {
        settled = try preprocessing.preprocessing(size: model.imageSize(), embeddingLength: nil)
      } else {
        throw GraphError(
          .unsupported, message: "the file does not tell its preprocessing: colour order and scaling of the pixels",
          advice: "say it with --preprocessing \(PreprocessingChoice.words.joined(separator: " or ")), or in full")
      }
    } catch {
      throw FormatError(error, path: path)
    }
    return try foreign(
      path, model, refusal, inputSize: nil, preprocessing: settled, threads: threads, openVINO: openVINO)
  }

  private static func told(_ model: ONNXModel) throws(GraphError) -> Preprocessing? {
    guard let text = model[metadata: ONNXMetadata.preprocessing] else { return nil }
    return try Preprocessing(encoded: text)
  }

  private static func foreign(
    _ path: String, _ model: ONNXModel, _ refusal: GraphError, inputSize: NetworkGraph.Extent?,
    preprocessing: Preprocessing?, threads: Int?, openVINO: String?
  ) throws(FormatError) -> OpenVINONetwork {
    var plain = refusal
    plain.advice = nil
    let file = try MappedFile(path: path)
    do throws(GraphError) {
      let engine = try OpenVINO.installed(at: openVINO)
      return try file.withBytes { (bytes) throws(GraphError) in
        try OpenVINONetwork(
          bytes: bytes, outputNames: model.graph.outputs.map(\.name), inputSize: inputSize,
          preprocessing: preprocessing, note: "\(path) runs through OpenVINO \(engine.version): \(plain)",
          threads: threads, engine: engine)
      }
    } catch {
      var other = error
      other.advice = nil
      throw FormatError(
        .unsupported, "\(plain); OpenVINO, which may know them, does not run it: \(other)", path: path,
        advice: error.advice ?? refusal.advice)
    }
  }
}

extension ONNXModel {
  /// The longest side of images that a file may ask for.
  static let largestImageSide = 4096

  /// Height and width of the one image that goes in; nil where they are open or it is none.
  ///
  /// A size of 0 or less is an open one: so some exporters write it.
  ///
  /// - Throws: `GraphError.tooLarge` for images of more than 4096 pixels on a side.
  public func imageSize() throws(GraphError) -> NetworkGraph.Extent? {
    // Files of old versions list weights among the inputs.
    let weights = Set(graph.initializers.map(\.name))
    guard let input = graph.inputs.first(where: { !weights.contains($0.name) }), let shape = input.shape,
      shape.count == 4, case .size(let height) = shape[2], case .size(let width) = shape[3], height > 0, width > 0
    else { return nil }
    guard max(height, width) <= Self.largestImageSide else {
      throw GraphError(
        .tooLarge, node: input.name, operation: "input",
        message: "takes images of \(width)×\(height) pixels, at most \(Self.largestImageSide) on a side are supported",
        advice: "export the network for smaller images")
    }
    return NetworkGraph.Extent(height: height, width: width)
  }
}
