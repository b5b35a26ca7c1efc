import Inference

/// The vision transformers of arcface_torch (`backbones/vit.py`, after arXiv 2010.11929): patches of 9×9 pixels, no class
/// token, the embedding from all tokens.
///
/// - Input: RGB [N, 3, S, S], values 0 … 255; scaled to (x − 127.5) / 127.5 inside.
/// - Output: the embedding [N, D], not normalised.
///
/// While training, a share of the tokens is left out and filled with a learned token behind the last block, and units
/// are dropped by sample (stochastic depth). Parameter names are those of the reference's `state_dict`.
struct VisionTransformer {
  /// What distinguishes one transformer of the family from another.
  struct Design: Equatable {
    /// Length of a token.
    var width: Int
    /// Units of attention and perceptron.
    var depth: Int
    /// The rate at which the last unit is dropped; from 0 at the first it grows evenly.
    var dropPath: Double
    /// The share of the tokens that training leaves out.
    var mask: Double
    /// Heads of attention.
    var heads = 8
    /// Rows and columns of a patch.
    var patch = 9
  }

  let design: Design
  /// Reads sizes and `momentum`.
  let settings: NetworkSettings

  private typealias Value = GraphBuilder.Value

  func graph() throws(GraphError) -> NetworkGraph {
    let (size, patch, width) = (settings.imageSize, design.patch, design.width)
    let side = size / patch
    var g = GraphBuilder(channels: 3, height: size, width: size)
    var x = g.torchConvolution(
      "patch_embed.proj", g.torchScaledInput(), filters: width, kernel: .init(patch), stride: .init(patch), bias: true)
    // (N, D, rows, columns) → (N, L, D).
    x = g.transpose(g.reshape(x, [.keep, .keep, .infer]), [0, 2, 1])
    x = g.add(x, g.parameter("pos_embed", shape: [1, side * side, width]), broadcasting: true)
    var masked: [Value] = []
    if design.mask > 0 {
      x = g.add(.tokenMask(ratio: design.mask), [x], named: "masking")
      masked = [x]
    }
    for index in 0..<design.depth {
      let rate = design.depth > 1 ? design.dropPath * Double(index) / Double(design.depth - 1) : 0
      x = unit(&g, "blocks.\(index)", x, dropPath: rate)
    }
    x = g.torchLayerNorm("norm", x)
    x = g.add(.tokenRestore, [x] + masked, named: "restoring", parameters: ["mask_token"])
    x = g.torchLinear("feature.0", g.flatten(x), units: width, bias: false)
    x = g.torchBatchNorm("feature.1", x, epsilon: 2e-5, momentum: settings.momentum)
    x = g.torchLinear("feature.2", x, units: settings.embeddingSize, bias: false)
    x = g.torchBatchNorm("feature.3", x, epsilon: 2e-5, momentum: settings.momentum)
    return try g.finish([x], preprocessing: .arcFaceTorch(settings))
  }

  /// x + attention(norm(x)), then x + perceptron(norm(x)).
  private func unit(_ g: inout GraphBuilder, _ name: String, _ x: Value, dropPath: Double) -> Value {
    func dropped(_ y: Value) -> Value { dropPath > 0 ? g.dropPath(y, rate: dropPath) : y }
    let y = g.add(x, dropped(attention(&g, "\(name).attn", g.torchLayerNorm("\(name).norm1", x))))
    var z = g.torchLinear("\(name).mlp.fc1", g.torchLayerNorm("\(name).norm2", y), units: 4 * design.width)
    z = g.activation(z, .clip(minimum: 0, maximum: 6))
    z = g.torchLinear("\(name).mlp.fc2", z, units: design.width)
    return g.add(y, dropped(z))
  }

  /// softmax(Q Kᵀ / √d) V for each head; one layer makes Q, K and V.
  private func attention(_ g: inout GraphBuilder, _ name: String, _ x: Value) -> Value {
    let (width, heads) = (design.width, design.heads)
    let qkv = g.torchLinear("\(name).qkv", x, units: 3 * width, bias: false)
    // (N, L, D) → (N, heads, L, D / heads).
    let parts = (0..<3).map { index in
      let part = g.slice(qkv, axis: 2, begin: index * width, end: (index + 1) * width)
      return g.transpose(g.reshape(part, [.keep, .keep, .size(heads), .infer]), [0, 2, 1, 3])
    }
    let scale = 1 / (Double(width / heads)).squareRoot()
    let weights = g.softmax(g.multiply(g.matmul(parts[0], parts[1], transposesSecond: true), scale))
    let mixed = g.transpose(g.matmul(weights, parts[2]), [0, 2, 1, 3])
    return g.torchLinear("\(name).proj", g.reshape(mixed, [.keep, .keep, .infer]), units: width)
  }
}
