import Glibc

/// How weights start (MXNet's `mx.initializer`): matrices and kernels by the rule, everything else as the layers say.
public enum Initializer: Sendable {
  /// N(0, 2 / (O · kH · kW)) over the output side: `Xavier(rnd_type='gaussian', factor_type='out', magnitude=2)`,
  /// used for fresnet and fmobilefacenet. O is not divided by the groups.
  case xavierGaussianOut
  /// U(±√(2 / (I · kH · kW))) over the input side (I per group): `Xavier(rnd_type='uniform', factor_type='in',
  /// magnitude=2)`, used for the other networks.
  case xavierUniformIn

  /// The scale for a weight [O, I, …]: the standard deviation, or the bound of the uniform distribution.
  public func scale(_ shape: [Int]) -> Double {
    let window = shape.dropFirst(2).reduce(1, *)
    switch self {
    case .xavierGaussianOut: return Glibc.sqrt(2 / Double(shape[0] * window))
    case .xavierUniformIn: return Glibc.sqrt(2 / Double(shape[1] * window))
    }
  }

  /// Fills every weight of two or more dimensions, in the order of the network, from one generator.
  public func initialize(_ module: Module, _ generator: Generator) {
    withoutGrad {
      for parameter in module.parameters where parameter.tensor.rank >= 2 {
        let shape = parameter.tensor.shape
        let values = Tensor.empty(shape)
        switch self {
        case .xavierGaussianOut: values.fillNormal(deviation: scale(shape), generator)
        case .xavierUniformIn: values.fillUniform(-scale(shape), scale(shape), generator)
        }
        parameter.tensor.copy(from: values)
      }
    }
  }
}
