import Formats
import Inference

extension PyTorchRetinaFace {
  /// The network with the weights of the port's `.pth`, as it is or under `state_dict`, with or without `module.` before
  /// the names.
  ///
  /// - Throws: `FormatError` with the path: what reading the file throws, `.mismatch` where it holds other weights.
  public static func load(path: String) throws(FormatError) -> NetworkGraph {
    let file = try PyTorchFile(path: path)
    var stored: [String: String] = [:]
    for tensor in file.tensors {
      let name = tensor.name.hasPrefix("module.") ? String(tensor.name.dropFirst(7)) : tensor.name
      stored[name] = tensor.name
    }
    let backbone: Backbone = stored["body.conv1.weight"] == nil ? .mobileNet025 : .resNet50
    var graph: NetworkGraph
    let parameters: [NetworkGraph.Parameter]
    do throws(GraphError) {
      graph = try PyTorchRetinaFace(backbone: backbone).graph()
      parameters = try graph.parameters()
    } catch {
      throw FormatError(.unsupported, error.description, path: path)
    }
    for parameter in parameters {
      if let name = stored[parameter.name] { graph.weights[parameter.name] = try file.tensor(named: name) }
    }
    do throws(GraphError) { try graph.checkWeights() } catch {
      throw FormatError(
        .mismatch, error.description, path: path, advice: "name a RetinaFace checkpoint of the PyTorch port")
    }
    return graph
  }
}
