import FaceRecognition
import Inference

/// Which registered network a checkpoint was made with, by its weights' names and shapes.
struct NetworkProposal: CustomStringConvertible {
  /// The network that fits best.
  let network: RecognitionNetwork
  /// Whether everything fits.
  let isExact: Bool
  /// How much of the network's parameters the checkpoint fills, 0 … 1.
  let share: Double

  /// Compares a graph with weights with every network of the registry; nil where none takes up half of them.
  init?(_ graph: NetworkGraph) {
    var best: NetworkProposal?
    for network in RecognitionNetwork.allCases {
      guard let target = try? network.graph(), let match = try? graph.matchWeights(to: target) else { continue }
      let wanted = match.weights.count + match.missing.count + match.mismatched.count
      let all = wanted + match.leftover.count
      guard all > 0 else { continue }
      let candidate = NetworkProposal(
        network: network, isExact: all == match.weights.count, share: Double(match.weights.count) / Double(all))
      // Of several that fit alike the first of the registry is taken.
      if candidate.share > best?.share ?? 0.5 { best = candidate }
    }
    guard let best else { return nil }
    self = best
  }

  private init(network: RecognitionNetwork, isExact: Bool, share: Double) {
    (self.network, self.isExact, self.share) = (network, isExact, share)
  }

  /// A sentence that names it, without its end.
  var description: String {
    isExact
      ? "The checkpoint is one of --network \(network.rawValue): choose that"
      : "The network that fits it best is --network \(network.rawValue) (\(Int(share * 100)) % of the tensors): choose that"
  }
}
