import Formats

/// How the weights of one network fit another of the same kind.
public struct WeightMatch: Sendable {
  /// The weights found, under the names of the network that wants them.
  public var weights: [String: StoredTensor]
  /// Weights that the source holds under another name.
  public var renamed: [(source: String, target: String)]
  /// Names that the target needs and the source lacks.
  public var missing: [String]
  /// Names of the source that the target does not know.
  public var leftover: [String]
  /// Weights whose shape differs: name in the target, the shape it needs, the shape found.
  public var mismatched: [(name: String, expected: [Int], found: [Int])]

  /// Whether every weight was found in its shape and none was left.
  public var isComplete: Bool { missing.isEmpty && leftover.isEmpty && mismatched.isEmpty }
}

extension NetworkGraph {
  /// For each parameter the name that MXNet gives by itself, the node's name with the role's suffix.
  ///
  /// Old checkpoints passed variables with names of their own: the first MobileFaceNet calls the weight of node
  /// `pre_fc1` `fc1_weight`, where today's source lets MXNet call it `pre_fc1_weight`. A parameter that several nodes
  /// share keeps its name, and so does one whose canonical name is another parameter's present name.
  public func canonicalNames() -> [String: String] {
    var candidates: [String: Set<String>] = [:]
    var taken: [String: Int] = [:]
    for node in nodes {
      for (role, name) in zip(node.operation.parameterRoles, node.parameters) {
        candidates[name, default: []].insert(role == .value ? name : node.name + role.suffix)
      }
    }
    var names: [String: String] = [:]
    for (name, choices) in candidates {
      let canonical = choices.count == 1 ? choices.first ?? name : name
      names[name] = canonical
      taken[canonical, default: 0] += 1
    }
    // Two parameters that would end under one name both stay as they are.
    for (name, canonical) in names where taken[canonical, default: 0] > 1 { names[name] = name }
    return names
  }

  /// The same network with canonical parameter names.
  public func withCanonicalNames() throws(GraphError) -> NetworkGraph {
    let names = canonicalNames()
    let nodes = nodes.map { node in
      var node = node
      node.parameters = node.parameters.map { names[$0] ?? $0 }
      return node
    }
    var renamed: [String: StoredTensor] = [:]
    for (name, tensor) in weights { renamed[names[name] ?? name] = tensor }
    return try NetworkGraph(nodes: nodes, outputs: outputs, weights: renamed, preprocessing: preprocessing)
  }

  /// Fits this network's weights to another network of the same kind.
  ///
  /// A weight is looked for under the target's name, then under its canonical name, and where both networks have the
  /// same operations in the same wiring, at the same place under whatever name.
  ///
  /// - Parameter target: the network that wants weights, for example the one a model class writes out.
  /// - Throws: `GraphError` where either network's shapes do not fit.
  public func matchWeights(to target: NetworkGraph) throws(GraphError) -> WeightMatch {
    var match = WeightMatch(weights: [:], renamed: [], missing: [], leftover: [], mismatched: [])
    var byCanonicalName: [String: String] = [:]
    for (name, canonical) in canonicalNames() { byCanonicalName[canonical] = name }
    let places = parametersByPlace(matching: target)
    let targetNames = target.canonicalNames()
    var used: Set<String> = []
    for parameter in try target.parameters() {
      let candidates = [
        parameter.name, byCanonicalName[parameter.name], byCanonicalName[targetNames[parameter.name] ?? parameter.name],
        places[parameter.name],
      ].compactMap(\.self)
      guard let source = candidates.first(where: { weights[$0] != nil && !used.contains($0) }),
        let tensor = weights[source]
      else {
        match.missing.append(parameter.name)
        continue
      }
      used.insert(source)
      guard tensor.shape == parameter.shape else {
        match.mismatched.append((parameter.name, parameter.shape, tensor.shape))
        continue
      }
      match.weights[parameter.name] = tensor
      if source != parameter.name { match.renamed.append((source, parameter.name)) }
    }
    match.leftover = weights.keys.filter { !used.contains($0) }.sorted()
    return match
  }

  /// The target's parameter names with this network's for the same place; empty unless both have the same operations
  /// in the same wiring.
  private func parametersByPlace(matching target: NetworkGraph) -> [String: String] {
    let (mine, others) = (depthFirstOrder(), target.depthFirstOrder())
    guard mine.count == others.count else { return [:] }
    var position: [Int: Int] = [:]
    for (a, b) in zip(mine, others) { position[a] = b }
    guard outputs.map({ position[$0.node] ?? -1 }) == target.outputs.map(\.node) else { return [:] }
    var places: [String: String] = [:]
    for (a, b) in zip(mine, others) {
      let (node, other) = (nodes[a], target.nodes[b])
      guard node.operation == other.operation, node.inputs.map({ position[$0.node] ?? -1 }) == other.inputs.map(\.node)
      else { return [:] }
      for (name, otherName) in zip(node.parameters, other.parameters) { places[otherName] = name }
    }
    return places
  }
}
