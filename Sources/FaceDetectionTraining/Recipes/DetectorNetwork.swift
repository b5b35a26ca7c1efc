import FaceDetection
import Formats
import Foundation
import Inference
import Torch
import Training

/// A detector while it is trained: its graph as it is saved, and the same network ending in scores before the softmax.
struct DetectorNetwork {
  /// What is saved and run.
  let graph: NetworkGraph
  /// What is trained.
  let network: TrainableNetwork
  /// Anchors by stride, in the order of the heads.
  let anchors: [AnchorLevel]

  /// - Throws: `GraphError.unsupported` where the outputs are not three a stride with a softmax behind the first.
  init(_ graph: NetworkGraph, anchors: [AnchorLevel]) throws(GraphError) {
    self.graph = graph
    self.anchors = anchors
    guard graph.outputs.count == 3 * anchors.count else {
      throw GraphError(
        .unsupported,
        message: "a network of \(graph.outputs.count) outputs is no RetinaFace of \(anchors.count) strides",
        advice: "name a RetinaFace checkpoint with landmarks, and its anchors")
    }
    var outputs = graph.outputs
    for index in anchors.indices {
      var value = graph.outputs[3 * index]
      var hasSoftmax = false
      loop: while let input = graph.nodes[value.node].inputs.first {
        switch graph.nodes[value.node].operation {
        case .softmax: hasSoftmax = true
        case .reshape, .identity: break
        default: break loop
        }
        value = input
      }
      guard hasSoftmax, case .convolution = graph.nodes[value.node].operation else {
        throw GraphError(
          .unsupported, message: "output \(graph.outputNames[3 * index]) is not a softmax over a convolution",
          advice: "name a RetinaFace checkpoint of the reference")
      }
      outputs[3 * index] = value
    }
    let training = try NetworkGraph(nodes: graph.nodes, outputs: outputs, preprocessing: graph.preprocessing)
    let shapes = try training.inferShapes()
    for (index, level) in anchors.enumerated() {
      for (place, width) in [2, 4, 10].enumerated() {
        let shape = shapes[outputs[3 * index + place]]
        guard shape.rank == 4, shape[1].fixed == width * level.boxes.count else {
          throw GraphError(
            .unsupported,
            message: "the outputs of stride \(level.stride) are not those of \(level.boxes.count) anchors a position",
            advice: "choose the --anchors that the checkpoint was trained with")
        }
      }
    }
    network = try TrainableNetwork(training)
  }

  /// A network of the PyTorch port: box deltas, scores behind a softmax, landmark deltas.
  ///
  /// - Throws: `GraphError.unsupported` for another network.
  init(port graph: NetworkGraph) throws(GraphError) {
    self.graph = graph
    anchors = []
    guard graph.outputs.count == 3, case .softmax = graph.nodes[graph.outputs[1].node].operation else {
      throw GraphError(.unsupported, message: "the network's outputs are not those of the PyTorch port")
    }
    var outputs = graph.outputs
    outputs[1] = graph.nodes[graph.outputs[1].node].inputs[0]
    network = try TrainableNetwork(
      NetworkGraph(nodes: graph.nodes, outputs: outputs, preprocessing: graph.preprocessing))
  }

  /// The network with today's weights, for saving and running.
  func filled() throws(FormatError) -> NetworkGraph {
    var filled = graph
    filled.weights = try network.filledGraph().weights
    return filled
  }

  /// `mx.init.Xavier()`: U(±√(3 / ((I + O) / 2 · kH · kW))); biases 0.
  func initialize(_ generator: Generator) {
    withoutGrad {
      for parameter in network.parameters where parameter.tensor.rank >= 2 {
        let shape = parameter.tensor.shape
        let window = Double(shape.dropFirst(2).reduce(1, *))
        let bound = (3 / (Double(shape[0] + shape[1]) / 2 * window)).squareRoot()
        let values = Tensor.empty(shape)
        parameter.tensor.copy(from: values.fillUniform(-bound, bound, generator))
      }
    }
  }

  /// What PyTorch's convolutions start from: weights and biases U(±1 / √(I / groups · kH · kW)).
  func initializeAsPyTorch(_ generator: Generator) {
    var bounds: [String: Double] = [:]
    withoutGrad {
      for parameter in network.parameters {
        let (shape, name) = (parameter.tensor.shape, parameter.name)
        let module = String(name.prefix(upTo: name.lastIndex(of: ".") ?? name.startIndex))
        if shape.count == 4 { bounds[module] = 1 / Double(shape.dropFirst().reduce(1, *)).squareRoot() }
        guard let bound = bounds[module] else { continue }
        parameter.tensor.copy(from: Tensor.empty(shape).fillUniform(-bound, bound, generator))
      }
    }
  }

  /// Takes the weights whose names and shapes fit.
  ///
  /// - Returns: how many fit, and the names that the file lacks.
  func load(_ weights: [String: StoredTensor]) -> (loaded: Int, missing: [String]) {
    var loaded = 0
    var missing: [String] = []
    for named in network.parameters + network.buffers {
      guard let stored = weights[named.name], stored.shape == named.tensor.shape else {
        missing.append(named.name)
        continue
      }
      named.tensor.copy(from: Tensor(stored.floats(), shape: stored.shape))
      loaded += 1
    }
    return (loaded, missing)
  }
}

/// A checkpoint of MXNet to start from.
struct PretrainedCheckpoint {
  let path: String
  /// The network, where it is a RetinaFace.
  let graph: NetworkGraph?
  /// Its weights, by name.
  let weights: [String: StoredTensor]

  /// Reads `PREFIX` or `PREFIX,EPOCH`.
  ///
  /// - Throws: `FormatError`.
  init(_ text: String, size: Int) throws(FormatError) {
    var prefix = text
    var epoch = 0
    if let comma = text.lastIndex(of: ","), let number = Int(text[text.index(after: comma)...]),
      (0...99_999_999).contains(number)
    {
      (prefix, epoch) = (String(text[..<comma]), number)
    }
    let digits = "\(epoch)"
    path = "\(prefix)-\(String(repeating: "0", count: max(0, 4 - digits.count)))\(digits).params"
    let parameters = try MXNetParameters(path: path)
    let symbolPath = "\(prefix)-symbol.json"
    var graph: NetworkGraph?
    if FileManager.default.fileExists(atPath: symbolPath) {
      let symbol = try MXNetSymbol.read(path: symbolPath)
      if symbol.nodes.contains(where: { $0.name.hasPrefix("face_rpn_") }) {
        let options = MXNetImport.Options(inputShapes: ["data": .images(channels: 3, height: size, width: size)])
        do throws(GraphError) {
          graph = try NetworkGraph.importing(symbol, weights: parameters.entries, options: options).graph
        } catch {
          throw FormatError(.unsupported, error.description, path: symbolPath)
        }
      }
    }
    if let graph {
      weights = graph.weights
    } else {
      var named: [String: StoredTensor] = [:]
      for (name, tensor) in parameters.entries {
        let isMarked = name.hasPrefix("arg:") || name.hasPrefix("aux:")
        named[isMarked ? String(name.dropFirst(4)) : name] = tensor
      }
      weights = named
    }
    self.graph = graph
  }
}
