import Glibc

/// How weights start (MXNet's `mx.initializer`): matrices and kernels by the rule, everything else as the layers say.
public enum Initializer: Sendable {
  /// N(0, 2 / (O · kH · kW)) over the output side: `Xavier(rnd_type='gaussian', factor_type='out', magnitude=2)`,
  /// used for fresnet and fmobilefacenet. O is not divided by the groups.
  case xavierGaussianOut
  /// U(±√(2 / (I · kH · kW))) over the input side (I per group): `Xavier(rnd_type='uniform', factor_type='in',
  /// magnitude=2)`, used for the other networks.
  case xavierUniformIn
  /// arcface_torch's residual networks: kernels N(0, 0.1²), matrices and their biases U(±1 / √I), PyTorch's own rule for
  /// linear layers.
  case iresnet
  /// arcface_torch's vision transformers: matrices and tokens N(0, 0.02²), the kernel of the patches and its bias
  /// U(±1 / √(I · kH · kW)), other biases 0.
  case visionTransformer

  /// The scale for a weight [O, I, …]: the standard deviation, or the bound of the uniform distribution.
  public func scale(_ shape: [Int]) -> Double {
    let window = shape.dropFirst(2).reduce(1, *)
    switch self {
    case .xavierGaussianOut: return Glibc.sqrt(2 / Double(shape[0] * window))
    case .xavierUniformIn: return Glibc.sqrt(2 / Double(shape[1] * window))
    case .iresnet: return shape.count == 4 ? 0.1 : 1 / Glibc.sqrt(Double(shape[1]))
    case .visionTransformer: return shape.count == 4 ? 1 / Glibc.sqrt(Double(shape[1] * window)) : 0.02
    }
  }

  /// Whether a weight of this rank is drawn from the normal distribution, not the uniform one.
  private func isNormal(rank: Int) -> Bool {
    switch self {
    case .xavierGaussianOut: true
    case .xavierUniformIn: false
    case .iresnet: rank == 4
    case .visionTransformer: rank != 4
    }
  }

  /// Fills every weight of two or more dimensions, in the order of the network, from one generator; and the biases of
  /// those layers for which PyTorch draws them too.
  public func initialize(_ module: Module, _ generator: Generator) {
    withoutGrad {
      var biases: [String: Double] = [:]
      for parameter in module.parameters {
        let shape = parameter.tensor.shape
        let values = Tensor.empty(shape)
        if let bound = biases[parameter.name] {
          parameter.tensor.copy(from: values.fillUniform(-bound, bound, generator))
        }
        guard shape.count >= 2 else { continue }
        let scale = scale(shape)
        if isNormal(rank: shape.count) {
          values.fillNormal(deviation: scale, generator)
        } else {
          values.fillUniform(-scale, scale, generator)
        }
        parameter.tensor.copy(from: values)
        let drawsBias = self == .iresnet && shape.count == 2 || self == .visionTransformer && shape.count == 4
        if drawsBias, parameter.name.hasSuffix(".weight") {
          biases[parameter.name.dropLast("weight".count) + "bias"] = scale
        }
      }
    }
  }
}
