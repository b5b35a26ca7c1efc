import FaceDetection
import FaceRecognition
import Formats
import Glibc
import Imaging
import Inference

/// A folder of ONNX models as the `insightface` package keeps them: a detector, a recognition network, landmarks.
///
/// Which file is which is told by what goes in and comes out, as the package's `model_zoo.py` does it; files of other kinds
/// are passed over. Nothing is downloaded.
public struct ModelPack: Sendable {
  /// A model of the pack.
  public struct Model: Sendable {
    /// Where it lies.
    public let path: String
    let model: ONNXModel
  }

  /// The folder.
  public let folder: String
  /// An SCRFD detector.
  public private(set) var detector: Model?
  /// A network that makes embeddings.
  public private(set) var recognizer: Model?
  /// A network that finds 106 points of a face.
  public private(set) var landmarks: Model?
  /// Names of files that nothing here runs, and what they are.
  public private(set) var passedOver: [(name: String, reason: String)] = []

  /// What to know of the licence of such packs.
  public static let licenseNote =
    "model packs of InsightFace are for non-commercial research only (https://github.com/deepinsight/insightface)"

  /// Opens the pack that `text` means: a folder, or the name of one in `~/.insightface/models`.
  ///
  /// - Throws: `FormatError`: `.notFound` where there is no such folder or no ONNX file in it, and what the files throw.
  public init(_ text: String) throws(FormatError) {
    var candidates = [text]
    if !text.contains("/"), let home = getenv("HOME") {
      candidates.append("\(String(cString: home))/.insightface/models/\(text)")
    }
    guard let found = candidates.first(where: isFolder) else {
      throw FormatError(
        .notFound, "there is no such folder of models", path: candidates.last ?? text,
        advice: "unpack the model pack there; nothing is downloaded")
    }
    // The packs unpack into a folder of their own name, sometimes inside one that is there already.
    let inner = "\(found)/\(found.split(separator: "/").last ?? "")"
    var folder = found
    var names = try Self.models(in: found)
    if names.isEmpty, isFolder(inner) {
      folder = inner
      names = try Self.models(in: inner)
    }
    guard !names.isEmpty else {
      throw FormatError(
        .notFound, "the folder holds no .onnx file", path: found, advice: "unpack the model pack there")
    }
    self.folder = folder
    for name in names { try take(name) }
  }

  private static func models(in folder: String) throws(FormatError) -> [String] {
    guard let listing = opendir(folder) else {
      throw FormatError(.io, "the folder cannot be read: \(String(cString: strerror(errno)))", path: folder)
    }
    defer { closedir(listing) }
    var names: [String] = []
    while let entry = readdir(listing) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name.hasSuffix(".onnx"), !name.hasPrefix(".") { names.append(name) }
    }
    return names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
  }

  /// Finds a file's place; of two of a kind the first stays.
  private mutating func take(_ name: String) throws(FormatError) {
    let path = "\(folder)/\(name)"
    let model = try ONNXModel(path: path)
    let weights = Set(model.graph.initializers.map(\.name))
    let inputs = model.graph.inputs.filter { !weights.contains($0.name) }
    let size: NetworkGraph.Extent?
    do throws(GraphError) { size = try model.imageSize() } catch { throw FormatError(error, path: path) }
    let place: WritableKeyPath<ModelPack, Model?>
    switch (model.graph.outputs.count, size.map { ($0.height, $0.width) }) {
    case (5..., _): place = \.detector
    case (1, (192, 192)?):
      guard model.graph.outputs[0].lastSize != 3309 else {
        return passedOver.append((name, "landmarks in three dimensions"))
      }
      place = \.landmarks
    case (_, (96, 96)?): return passedOver.append((name, "age and sex"))
    case (1, let (height, width)?) where inputs.count == 1 && height == width && height >= 112 && height % 16 == 0:
      place = \.recognizer
    default: return passedOver.append((name, "not known by its inputs and outputs"))
    }
    guard self[keyPath: place] == nil else { return passedOver.append((name, "a second one of its kind")) }
    self[keyPath: place] = Model(path: path, model: model)
  }
}

extension ModelPack.Model {
  /// Whether the network scales pixels itself, told by its first nodes as the package does.
  var scalesInside: Bool {
    let first = model.graph.nodes.prefix(8)
    func has(_ starts: [String]) -> Bool {
      first.contains { node in starts.contains { node.name.hasPrefix($0) } }
    }
    if has(["Sub", "_minus"]), has(["Mul", "_mul"]) { return true }
    return model.graph.nodes.prefix(3).contains { $0.name == "bn_data" }
  }

  /// Height and width of the images that go in; nil where the file leaves them open.
  func imageSize() throws(FaceAnalysisError) -> NetworkGraph.Extent? {
    do throws(GraphError) { return try model.imageSize() } catch { throw .file(FormatError(error, path: path)) }
  }

  /// The network at an input size; nil keeps the file's.
  func network(
    _ size: NetworkGraph.Extent? = nil, preprocessing: Preprocessing? = nil, openVINO: String?
  ) throws(FaceAnalysisError) -> ONNXNetwork {
    do throws(FormatError) {
      return try ONNXNetwork.load(
        path: path, model: model, inputSize: size, preprocessing: preprocessing, openVINO: openVINO)
    } catch {
      throw .file(error)
    }
  }

  /// The network with the preprocessing RGB, (x − 127.5) · scale, where it does not scale itself.
  func network(scale: Double, openVINO: String?) throws(FaceAnalysisError) -> ONNXNetwork {
    guard let size = try imageSize() else {
      throw .file(
        FormatError(
          .unsupported, "the network takes no images of a fixed size", path: path,
          advice: "export it with the height and width of its images"))
    }
    return try network(
      preprocessing: Preprocessing(
        colourOrder: .rgb, height: size.height, width: size.width, mean: [127.5], scale: [scale],
        isInsideGraph: scalesInside), openVINO: openVINO)
  }
}

extension ONNXValueInfo {
  fileprivate var lastSize: Int? {
    guard let last = shape?.last, case .size(let size) = last else { return nil }
    return size
  }
}

extension FaceDetector {
  /// The side of the square that SCRFD looks at where its file leaves it open: the package's `det_size`.
  public static let defaultInputSide = 640

  /// The detector of a pack.
  ///
  /// - Parameter inputSide: of the square that photos are fitted into, where the file leaves it open.
  /// - Throws: `FaceAnalysisError`, also where the network has operators that have no counterpart here.
  static func load(
    _ model: ModelPack.Model, inputSide: Int = defaultInputSide, openVINO: String? = nil
  ) throws(FaceAnalysisError) -> FaceDetector {
    let side: Int
    if let declared = try model.imageSize() {
      guard declared.height == declared.width else {
        throw .file(
          FormatError(
            .unsupported, "a detector for \(declared.width)×\(declared.height), squares are expected", path: model.path)
        )
      }
      side = declared.height
    } else {
      guard inputSide > 0, inputSide % 32 == 0, inputSide <= 4096 else {
        throw .usage("the detector's input is a multiple of 32 up to 4096, not \(inputSide)")
      }
      side = inputSide
    }
    guard let configuration = DetectorConfiguration.scrfd(outputCount: model.model.graph.outputs.count, side: side)
    else {
      throw .file(
        FormatError(
          .unsupported, "\(model.model.graph.outputs.count) outputs are not those of an SCRFD detector",
          path: model.path))
    }
    switch try model.network(NetworkGraph.Extent(height: side, width: side), openVINO: openVINO) {
    case .openVINO(let network): return FaceDetector(runner: network, configuration: configuration)
    case .graph(let graph):
      do throws(GraphError) {
        return FaceDetector(runner: try graph.makeRunner(), configuration: configuration)
      } catch {
        throw .network(error)
      }
    }
  }
}

extension FaceAnalysis {
  /// Loads what a pack holds: detector, recognition network and landmarks, the latter two where they are there and wanted.
  ///
  /// A file with operators that have no counterpart here runs through OpenVINO; `notes` say which and why.
  ///
  /// - Parameter openVINO: where OpenVINO lies; nil looks for it, as `OpenVINO.installed(at:)` does.
  /// - Throws: `FaceAnalysisError`.
  public static func load(
    pack: ModelPack, embeds: Bool = true, landmarks: Bool = true, inputSide: Int = FaceDetector.defaultInputSide,
    detection: DetectionOptions = DetectionOptions(), openVINO: String? = nil
  ) throws(FaceAnalysisError) -> FaceAnalysis {
    guard let model = pack.detector else {
      throw .file(
        FormatError(
          .notFound, "the folder holds no detector (det_*.onnx)", path: pack.folder,
          advice: "unpack the model pack again"))
    }
    let detector = try FaceDetector.load(model, inputSide: inputSide, openVINO: openVINO)
    var embedder: FaceEmbedder?
    var landmarkModel: LandmarkModel?
    let recognizer = embeds ? try pack.recognizer?.network(scale: 1 / 127.5, openVINO: openVINO) : nil
    let points = landmarks ? try pack.landmarks?.network(scale: 1 / 128, openVINO: openVINO) : nil
    do throws(GraphError) {
      switch recognizer {
      case .graph(let graph): embedder = try FaceEmbedder(graph)
      case .openVINO(let network): embedder = try FaceEmbedder(network)
      case nil: break
      }
      switch points {
      case .graph(let graph): landmarkModel = try LandmarkModel(graph)
      case .openVINO(let network): landmarkModel = try LandmarkModel(network)
      case nil: break
      }
    } catch {
      throw .network(error)
    }
    var analysis = FaceAnalysis(detector: detector, embedder: embedder, detection: detection)
    analysis.landmarkModel = landmarkModel
    return analysis
  }
}
