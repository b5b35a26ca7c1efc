import FaceDetection
import FaceRecognition
import Formats
import Inference

/// Networks as MXNet saves them: `PREFIX-symbol.json` and `PREFIX-0000.params`.
struct NetworkLocation: Sendable, Equatable {
  var prefix: String
  var epoch: Int

  /// Reads `PREFIX` or `PREFIX,EPOCH`; without a number the epoch is 0.
  init(_ text: String) {
    let parts = text.split(separator: ",", maxSplits: 1, omittingEmptySubsequences: false)
    if parts.count == 2, let epoch = Int(parts[1]), (0...99_999_999).contains(epoch) {
      (prefix, self.epoch) = (String(parts[0]), epoch)
    } else {
      (prefix, epoch) = (text, 0)
    }
  }

  var symbolPath: String { prefix + "-symbol.json" }
  var parametersPath: String {
    let digits = "\(epoch)"
    return "\(prefix)-\(String(repeating: "0", count: max(0, 4 - digits.count)))\(digits).params"
  }

  /// The network with its weights.
  func graph(height: Int, width: Int) throws(FaceAnalysisError) -> NetworkGraph {
    let symbol: MXNetSymbol
    let weights: MXNetParameters
    do throws(FormatError) {
      symbol = try MXNetSymbol.read(path: symbolPath)
      weights = try MXNetParameters(path: parametersPath)
    } catch {
      throw .file(error)
    }
    do throws(GraphError) {
      let options = MXNetImport.Options(
        inputShapes: ["data": .images(channels: 3, height: height, width: width)])
      return try NetworkGraph.importing(symbol, weights: weights.entries, options: options).graph
    } catch {
      throw .file(FormatError(.unsupported, error.description, path: symbolPath))
    }
  }
}

extension FaceDetector {
  /// A detector from the reference's checkpoint (`PREFIX` or `PREFIX,EPOCH`), or from a `.pth` of the PyTorch port.
  ///
  /// - Parameters:
  ///   - model: where the checkpoint lies; a path that holds a file of PyTorch is read as one.
  ///   - network: its anchors; nil tells them by the number of outputs and anchors.
  /// - Throws: `FaceAnalysisError`.
  public static func load(
    _ model: String, network: ReferenceNetwork? = nil
  ) throws(FaceAnalysisError) -> FaceDetector {
    if let file = try? MappedFile(path: model), file.withBytes(PyTorchFile.recognizes) { return try loadPyTorch(model) }
    let graph = try NetworkLocation(model).graph(height: 640, width: 640)
    do throws(GraphError) {
      var anchors = network
      if anchors == nil { anchors = try graph.referenceNetwork() }
      guard let network = anchors else {
        throw GraphError(
          .unsupported, message: "\(model): the \(graph.outputs.count) outputs are not those of a RetinaFace network",
          advice: "name a RetinaFace checkpoint")
      }
      return FaceDetector(runner: try graph.makeRunner(), configuration: .reference(network))
    } catch {
      throw .network(error)
    }
  }
}

extension FaceDetector {
  private static func loadPyTorch(_ path: String) throws(FaceAnalysisError) -> FaceDetector {
    let graph: NetworkGraph
    do throws(FormatError) { graph = try PyTorchRetinaFace.load(path: path) } catch { throw .file(error) }
    do throws(GraphError) {
      return FaceDetector(runner: try graph.makeRunner(), configuration: .pyTorch)
    } catch {
      throw .network(error)
    }
  }
}

extension FaceEmbedder {
  /// An embedder from a file of any format, told by content: `PREFIX` or `PREFIX,EPOCH` of MXNet (by default 0), ONNX,
  /// safetensors of this project, a `.pt` of arcface_torch.
  ///
  /// - Parameters:
  ///   - preprocessing: what is done to the pixels, for files that do not tell.
  ///   - threads: nil takes $INSIGHTFACE_THREADS, else the physical cores.
  ///   - openVINO: where OpenVINO lies, which runs ONNX files that have no counterpart here; nil looks for it.
  /// - Throws: `FaceAnalysisError`.
  public static func load(
    _ model: String, preprocessing: PreprocessingChoice? = nil, threads: Int? = nil, openVINO: String? = nil
  ) throws(FaceAnalysisError) -> FaceEmbedder {
    let file: ModelFile
    do throws(FormatError) {
      file = try ModelFile(
        reading: model, options: .init(preprocessing: preprocessing, readPyTorch: RecognitionNetwork.readPyTorch))
    } catch {
      guard error.code == .unsupported else { throw .file(error) }
      let network: OpenVINONetwork?
      do throws(FormatError) {
        network = try ONNXNetwork.unknown(
          path: model, preprocessing: preprocessing, threads: threads, openVINO: openVINO)
      } catch {
        throw .file(error)
      }
      guard let network else { throw .file(error) }
      do throws(GraphError) { return try FaceEmbedder(network) } catch { throw .network(error) }
    }
    do throws(GraphError) {
      return try FaceEmbedder(file.graph, threads: threads)
    } catch {
      throw .network(error)
    }
  }
}

extension NetworkGraph {
  /// The anchor set whose levels and anchors fit the outputs; nil where none does.
  func referenceNetwork() throws(GraphError) -> ReferenceNetwork? {
    let shapes = try inferShapes().outputs
    let channels = outputs.map { output in
      shapes[output.node].rank == 4 ? shapes[output.node][1].fixed ?? 0 : 0
    }
    return [ReferenceNetwork.net3, .net3a, .net4, .net4a, .net5, .net5a, .net6].first { network in
      let perLevel = network.levels.count > 0 ? channels.count / network.levels.count : 0
      guard perLevel == 2 || perLevel == 3, channels.count == perLevel * network.levels.count else { return false }
      return network.levels.enumerated().allSatisfy { index, level in
        channels[perLevel * index] == 2 * level.boxes.count && channels[perLevel * index + 1] == 4 * level.boxes.count
      }
    }
  }
}
