import Formats

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// Runs a network literally: one node after another, in double precision, as the definition of each operation says.
///
/// It is the yardstick for everything faster and the proof that an import means what its source meant. It folds
/// nothing, fuses nothing, uses one thread and keeps each tensor only until its last use. MobileFaceNet takes about
/// half a second an image in an optimised build.
public struct NaiveExecutor: Sendable {
  /// A tensor in C order.
  public struct Tensor: Sendable, Hashable {
    /// Dimensions, outermost first.
    public var shape: [Int]
    /// Elements in C order.
    public var elements: [Double]

    /// A tensor; nil unless the shape has as many elements as are given.
    public init?(shape: [Int], elements: [Double]) {
      var count = 1
      for size in shape {
        let (product, overflow) = count.multipliedReportingOverflow(by: size)
        guard !overflow, size >= 0 else { return nil }
        count = product
      }
      guard count == elements.count else { return nil }
      self.init(checked: shape, elements)
    }

    fileprivate init(checked shape: [Int], _ elements: [Double]) {
      self.shape = shape
      self.elements = elements
    }
  }

  /// Larger tensors are refused: half a gibibyte in double precision.
  static let maximumElements = 1 << 26

  let graph: NetworkGraph
  private let parameters: [String: [Double]]

  /// Prepares a network.
  ///
  /// - Throws: `GraphError` where shapes do not fit or weights are missing or of another shape.
  public init(_ graph: NetworkGraph) throws(GraphError) {
    try graph.checkWeights()
    self.graph = graph
    var parameters: [String: [Double]] = [:]
    for parameter in try graph.parameters() {
      guard let tensor = graph.weights[parameter.name] else { continue }
      let values = tensor.floats().map(Double.init)
      guard values.count == parameter.count else {
        throw GraphError(
          .mismatch, node: graph.nodes[parameter.node].name,
          message: "weight \"\(parameter.name)\" holds \(values.count) elements, its shape has \(parameter.count)")
      }
      parameters[parameter.name] = values
    }
    self.parameters = parameters
  }

  /// Runs the network.
  ///
  /// - Parameters:
  ///   - inputs: tensors by input name, in the shapes the graph declares but for the batch size, or in others that
  ///     every operation accepts.
  ///   - outputs: nodes whose tensors are wanted; nil gives the network's outputs in order.
  /// - Throws: `GraphError`: `.unknownName`, `.shape`, `.tooLarge`, `.missingWeight` where another input shape would
  ///   need other weights.
  public func run(_ inputs: [String: Tensor], outputs: [String]? = nil) throws(GraphError) -> [Tensor] {
    for (name, _) in graph.inputs where inputs[name] == nil {
      throw GraphError(.unknownName, node: name, operation: "input", message: "no tensor is given for this input")
    }
    let shapes = try graph.inferShapes(inputShapes: inputs.mapValues { NetworkGraph.Shape(fixed: $0.shape) })
    var wanted: [Int] = graph.outputs.map(\.node)
    if let outputs {
      wanted = []
      for name in outputs {
        guard let index = graph.nodes.firstIndex(where: { $0.name == name }) else {
          throw GraphError(.unknownName, message: "there is no node \"\(name)\"")
        }
        wanted.append(index)
      }
    }
    var uses = [Int](repeating: 0, count: graph.nodes.count)
    for node in graph.nodes { for input in node.inputs { uses[input.node] += 1 } }
    for index in wanted { uses[index] += 1 }

    var tensors = [Tensor?](repeating: nil, count: graph.nodes.count)
    for (index, node) in graph.nodes.enumerated() {
      guard let shape = shapes.outputs[index].fixed, shape.reduce(1, *) <= Self.maximumElements else {
        throw GraphError(
          .tooLarge, node: node.name, operation: node.operation.name,
          message: "a tensor of shape \(shapes.outputs[index]) is larger than \(Self.maximumElements) elements")
      }
      if case .input = node.operation {
        tensors[index] = inputs[node.name]
      } else {
        let weights = try zip(node.parameters, shapes.parameters[index]).map {
          (name, shape) throws(GraphError) -> [Double] in
          guard let values = parameters[name], values.count == shape.reduce(1, *) else {
            throw GraphError(
              .mismatch, node: node.name, operation: node.operation.name,
              message: "these input shapes need weight \"\(name)\" in shape \(shape)")
          }
          return values
        }
        tensors[index] = try evaluate(node, node.inputs.compactMap { tensors[$0.node] }, weights, shape)
      }
      for input in node.inputs {
        uses[input.node] -= 1
        if uses[input.node] == 0 { tensors[input.node] = nil }
      }
    }
    return wanted.compactMap { tensors[$0] }
  }

  private func evaluate(
    _ node: NetworkGraph.Node, _ inputs: [Tensor], _ weights: [[Double]], _ shape: [Int]
  ) throws(GraphError) -> Tensor {
    let inference = ShapeInference(node: node.name, operation: node.operation)
    let elements: [Double]
    switch node.operation {
    case .input: elements = inputs[0].elements
    case .parameter: elements = weights[0]
    case .scalar(let scalar): elements = Self.arithmetic(inputs[0].elements, scalar)
    case .elementwise(let elementwise):
      elements = Self.arithmetic(
        elementwise.kind, Self.repeated(inputs[0], to: shape), Self.repeated(inputs[1], to: shape))
    case .convolution(let convolution): elements = Self.convolve(inputs[0], convolution, weights, shape)
    case .deconvolution(let deconvolution): elements = Self.deconvolve(inputs[0], deconvolution, weights, shape)
    case .fullyConnected(let layer): elements = Self.connect(inputs[0].elements, layer, weights)
    case .batchNorm(let batchNorm):
      let axis = try inference.resolve(axis: batchNorm.axis, rank: shape.count)
      elements = Self.normalise(inputs[0], batchNorm, weights, axis: axis)
    case .layerNorm(let norm):
      let axis = try inference.resolve(axis: norm.axis, rank: shape.count)
      elements = Self.normalise(inputs[0], norm, weights, axis: axis)
    case .matmul(let transposesSecond):
      elements = Self.multiply(inputs[0], inputs[1], transposesSecond: transposesSecond, shape)
    case .activation(let activation): elements = Self.activate(inputs[0].elements, activation)
    case .prelu(let isShared):
      var output = inputs[0].elements
      func apply(_ slope: Double, _ range: Range<Int>) {
        for index in range where output[index] < 0 { output[index] *= slope }
      }
      if isShared {
        apply(weights[0][0], 0..<output.count)
      } else {
        Self.forEachRun(of: shape, axis: 1) { start, length, channel in
          apply(weights[0][channel], start..<start + length)
        }
      }
      elements = output
    case .pooling(let pooling): elements = Self.pool(inputs[0], pooling, shape)
    case .softmax(let axis):
      elements = Self.softmax(inputs[0], axis: try inference.resolve(axis: axis, rank: shape.count))
    case .l2Normalize(let normalize): elements = Self.l2Normalize(inputs[0], normalize)
    case .dropout, .dropPath, .tokenMask, .tokenRestore, .identity, .flatten, .reshape: elements = inputs[0].elements
    case .transpose(let permutation):
      let order = permutation.isEmpty ? Array((0..<shape.count).reversed()) : permutation
      let strides = Self.strides(inputs[0].shape)
      elements = Self.gather(inputs[0].elements, shape, strides: order.map { strides[$0] })
    case .concat(let axis):
      elements = Self.concat(inputs, axis: try inference.resolve(axis: axis, rank: shape.count), shape)
    case .slice(let slice):
      let (axis, range) = try inference.range(slice, of: NetworkGraph.Shape(fixed: inputs[0].shape))
      let strides = Self.strides(inputs[0].shape)
      elements = Self.gather(inputs[0].elements, shape, strides: strides, offset: range.lowerBound * strides[axis])
    case .crop(let crop):
      let like = inputs.count > 1 ? NetworkGraph.Shape(fixed: inputs[1].shape) : nil
      let window = try inference.cropWindow(crop, image: NetworkGraph.Shape(fixed: inputs[0].shape), like: like)
      let strides = Self.strides(inputs[0].shape)
      elements = Self.gather(
        inputs[0].elements, shape, strides: strides,
        offset: window.rows.lowerBound * strides[2] + window.columns.lowerBound)
    case .upsampleNearest(let scale):
      let (rows, columns) = (shape[2], shape[3])
      var output = [Double](repeating: 0, count: shape.reduce(1, *))
      for plane in 0..<shape[0] * shape[1] {
        for row in 0..<rows {
          let source = (plane * (rows / scale) + row / scale) * (columns / scale)
          for column in 0..<columns {
            output[(plane * rows + row) * columns + column] = inputs[0].elements[source + column / scale]
          }
        }
      }
      elements = output
    case .reduction(let reduction):
      let axes = try inference.axes(of: reduction, rank: inputs[0].shape.count)
      elements = Self.reduce(inputs[0], reduction.kind, axes)
    case .tile: elements = Self.tile(inputs[0], shape)
    }
    return Tensor(checked: shape, elements)
  }
}

// MARK: Layers

extension NaiveExecutor {
  /// Output rows `first ..< end` whose tap `offset` (in input rows, before the stride) falls inside `size` input rows.
  private static func covered(_ outputs: Int, stride: Int, offset: Int, size: Int) -> Range<Int> {
    let first = offset >= 0 ? 0 : (-offset + stride - 1) / stride
    guard offset < size else { return 0..<0 }
    let end = min(outputs, (size - 1 - offset) / stride + 1)
    return first < end ? first..<end : 0..<0
  }

  /// One tap after another, each added to a whole row of outputs: the inner loop runs along memory.
  private static func convolve(
    _ input: Tensor, _ c: NetworkGraph.Operation.Convolution, _ weights: [[Double]], _ shape: [Int]
  ) -> [Double] {
    let (batch, channels, height, width) = (input.shape[0], input.shape[1], input.shape[2], input.shape[3])
    let (rows, columns) = (shape[2], shape[3])
    let (groupInputs, groupOutputs) = (channels / c.groups, c.filters / c.groups)
    let isPointwise = c.kernel == 1 && c.stride == 1 && c.pad == 0
    var output = [Double](repeating: 0, count: shape.reduce(1, *))
    if c.bias {
      forEachRun(of: shape, axis: 1) { start, length, channel in
        for index in start..<start + length { output[index] = weights[1][channel] }
      }
    }
    output.withUnsafeMutableBufferPointer { output in
      input.elements.withUnsafeBufferPointer { source in
        weights[0].withUnsafeBufferPointer { weight in
          guard let output = output.baseAddress, let source = source.baseAddress, let weight = weight.baseAddress
          else { return }
          for sample in 0..<batch {
            for filter in 0..<c.filters {
              let target = output + (sample * c.filters + filter) * rows * columns
              let firstChannel = filter / groupOutputs * groupInputs
              for tap in 0..<groupInputs {
                let plane = source + (sample * channels + firstChannel + tap) * height * width
                let kernel = weight + (filter * groupInputs + tap) * c.kernel.height * c.kernel.width
                if isPointwise {
                  addProduct(target, plane, 1, kernel[0], rows * columns)
                  continue
                }
                for y in 0..<c.kernel.height {
                  let top = y * c.dilation.height - c.pad.top
                  for x in 0..<c.kernel.width {
                    let left = x * c.dilation.width - c.pad.left
                    let range = covered(columns, stride: c.stride.width, offset: left, size: width)
                    for row in covered(rows, stride: c.stride.height, offset: top, size: height) {
                      addProduct(
                        target + row * columns + range.lowerBound,
                        plane + (row * c.stride.height + top) * width + range.lowerBound * c.stride.width + left,
                        c.stride.width, kernel[y * c.kernel.width + x], range.count)
                    }
                  }
                }
              }
            }
          }
        }
      }
    }
    return output
  }

  /// Does target[i] += source[i · stride] · factor.
  ///
  /// The type is concrete and the loop plain so that it is bearable in a debug build too.
  @inline(__always)
  private static func addProduct(
    _ target: UnsafeMutablePointer<Double>, _ source: UnsafePointer<Double>, _ stride: Int, _ factor: Double,
    _ count: Int
  ) {
    var index = 0
    if stride == 1 {
      while index < count {
        target[index] += source[index] * factor
        index &+= 1
      }
    } else {
      var position = 0
      while index < count {
        target[index] += source[position] * factor
        index &+= 1
        position &+= stride
      }
    }
  }

  /// Every input pixel adds its multiple of the kernel to the output.
  private static func deconvolve(
    _ input: Tensor, _ d: NetworkGraph.Operation.Deconvolution, _ weights: [[Double]], _ shape: [Int]
  ) -> [Double] {
    let (batch, channels, height, width) = (input.shape[0], input.shape[1], input.shape[2], input.shape[3])
    let (rows, columns) = (shape[2], shape[3])
    let (groupInputs, groupOutputs) = (channels / d.groups, d.filters / d.groups)
    var output = [Double](repeating: 0, count: shape.reduce(1, *))
    for sample in 0..<batch {
      for channel in 0..<channels {
        for filter in 0..<groupOutputs {
          let plane = sample * d.filters + channel / groupInputs * groupOutputs + filter
          let kernel = (channel * groupOutputs + filter) * d.kernel.height * d.kernel.width
          for y in 0..<height {
            for x in 0..<width {
              let value = input.elements[((sample * channels + channel) * height + y) * width + x]
              for i in 0..<d.kernel.height {
                let row = y * d.stride.height + i * d.dilation.height - d.pad.top
                guard row >= 0, row < rows else { continue }
                for j in 0..<d.kernel.width {
                  let column = x * d.stride.width + j * d.dilation.width - d.pad.left
                  guard column >= 0, column < columns else { continue }
                  output[(plane * rows + row) * columns + column] += value * weights[0][kernel + i * d.kernel.width + j]
                }
              }
            }
          }
        }
      }
    }
    if d.bias {
      forEachRun(of: shape, axis: 1) { start, length, channel in
        for index in start..<start + length { output[index] += weights[1][channel] }
      }
    }
    return output
  }

  private static func connect(
    _ input: [Double], _ layer: NetworkGraph.Operation.FullyConnected, _ weights: [[Double]]
  ) -> [Double] {
    let depth = weights[0].count / layer.units
    var output = [Double](repeating: 0, count: input.count / depth * layer.units)
    for row in 0..<input.count / depth {
      for unit in 0..<layer.units {
        var sum = layer.bias ? weights[1][unit] : 0
        for index in 0..<depth { sum += input[row * depth + index] * weights[0][unit * depth + index] }
        output[row * layer.units + unit] = sum
      }
    }
    return output
  }

  /// Weights are gamma, beta, mean, variance.
  private static func normalise(
    _ input: Tensor, _ batchNorm: NetworkGraph.Operation.BatchNorm, _ weights: [[Double]], axis: Int
  ) -> [Double] {
    var output = input.elements
    forEachRun(of: input.shape, axis: axis) { start, length, channel in
      let gamma = batchNorm.fixGamma ? 1 : weights[0][channel]
      let factor = gamma / (weights[3][channel] + batchNorm.epsilon).squareRoot()
      for index in start..<start + length {
        output[index] = (output[index] - weights[2][channel]) * factor + weights[1][channel]
      }
    }
    return output
  }

  /// Weights are gamma, beta.
  private static func normalise(
    _ input: Tensor, _ norm: NetworkGraph.Operation.LayerNorm, _ weights: [[Double]], axis: Int
  ) -> [Double] {
    var output = input.elements
    forEachLine(of: input.shape, axis: axis) { start, stride, count in
      var (sum, squares) = (0.0, 0.0)
      for index in 0..<count { sum += output[start + index * stride] }
      let mean = sum / Double(count)
      for index in 0..<count {
        let difference = output[start + index * stride] - mean
        squares += difference * difference
      }
      let factor = 1 / (squares / Double(count) + norm.epsilon).squareRoot()
      for index in 0..<count {
        let position = start + index * stride
        output[position] = (output[position] - mean) * factor * weights[0][index] + weights[1][index]
      }
    }
    return output
  }

  private static func multiply(_ a: Tensor, _ b: Tensor, transposesSecond: Bool, _ shape: [Int]) -> [Double] {
    let (rows, columns, depth) = (shape[shape.count - 2], shape[shape.count - 1], a.shape[a.shape.count - 1])
    var output = [Double](repeating: 0, count: shape.reduce(1, *))
    for matrix in 0..<output.count / (rows * columns) {
      let (first, second) = (matrix * rows * depth, matrix * depth * columns)
      for row in 0..<rows {
        for column in 0..<columns {
          var sum = 0.0
          for index in 0..<depth {
            let other = transposesSecond ? column * depth + index : index * columns + column
            sum += a.elements[first + row * depth + index] * b.elements[second + other]
          }
          output[(matrix * rows + row) * columns + column] = sum
        }
      }
    }
    return output
  }

  private static func pool(_ input: Tensor, _ p: NetworkGraph.Operation.Pooling, _ shape: [Int]) -> [Double] {
    let (height, width) = (input.shape[2], input.shape[3])
    let (rows, columns) = (shape[2], shape[3])
    let kernel = p.isGlobal ? NetworkGraph.Extent(height: height, width: width) : p.kernel ?? 1
    let stride = p.isGlobal ? 1 : p.stride
    let pad = p.isGlobal ? 0 : p.pad
    var output: [Double] = []
    output.reserveCapacity(shape.reduce(1, *))
    for plane in 0..<shape[0] * shape[1] {
      for row in 0..<rows {
        let top = row * stride.height - pad.top
        for column in 0..<columns {
          let left = column * stride.width - pad.left
          // A window counts padding, but not what hangs over beyond it.
          let bottom = min(top + kernel.height, height + pad.bottom)
          let right = min(left + kernel.width, width + pad.right)
          var sum = 0.0
          var largest = -Double.infinity
          var count = 0
          for y in max(top, 0)..<max(top, 0, min(bottom, height)) {
            for x in max(left, 0)..<max(left, 0, min(right, width)) {
              let value = input.elements[(plane * height + y) * width + x]
              sum += value
              largest = max(largest, value)
              count += 1
            }
          }
          switch p.kind {
          case .max: output.append(largest)
          case .sum: output.append(sum)
          case .average: output.append(sum / Double(p.countsPadding ? (bottom - top) * (right - left) : count))
          }
        }
      }
    }
    return output
  }

  private static func softmax(_ input: Tensor, axis: Int) -> [Double] {
    var output = input.elements
    forEachLine(of: input.shape, axis: axis) { start, stride, count in
      var largest = -Double.infinity
      for index in 0..<count { largest = max(largest, output[start + index * stride]) }
      var sum = 0.0
      for index in 0..<count {
        let value = exp(output[start + index * stride] - largest)
        output[start + index * stride] = value
        sum += value
      }
      for index in 0..<count { output[start + index * stride] /= sum }
    }
    return output
  }

  private static func l2Normalize(_ input: Tensor, _ normalize: NetworkGraph.Operation.L2Normalize) -> [Double] {
    // Each mode is a sum along one axis of a simpler shape.
    let shape = input.shape
    let view: [Int]
    let axis: Int
    switch normalize.mode {
    case .instance: (view, axis) = ([shape[0], input.elements.count / max(1, shape[0])], 1)
    case .channel: (view, axis) = (shape, 1)
    case .spatial: (view, axis) = ([shape[0], shape[1], shape.dropFirst(2).reduce(1, *)], 2)
    }
    var output = input.elements
    forEachLine(of: view, axis: axis) { start, stride, count in
      var sum = normalize.epsilon
      for index in 0..<count { sum += output[start + index * stride] * output[start + index * stride] }
      for index in 0..<count { output[start + index * stride] /= sum.squareRoot() }
    }
    return output
  }
}

// MARK: Elements

extension NaiveExecutor {
  private static func arithmetic(
    _ x: [Double], _ scalar: NetworkGraph.Operation.ScalarArithmetic
  ) -> [Double] {
    let c = scalar.value
    switch scalar.kind {
    case .add: return x.map { $0 + c }
    case .subtract: return x.map { $0 - c }
    case .subtractFrom: return x.map { c - $0 }
    case .multiply: return x.map { $0 * c }
    case .divide: return x.map { $0 / c }
    case .divideInto: return x.map { c / $0 }
    case .maximum: return x.map { max($0, c) }
    case .minimum: return x.map { min($0, c) }
    }
  }

  private static func arithmetic(
    _ kind: NetworkGraph.Operation.Elementwise.Kind, _ a: [Double], _ b: [Double]
  ) -> [Double] {
    switch kind {
    case .add: zip(a, b).map { $0 + $1 }
    case .subtract: zip(a, b).map { $0 - $1 }
    case .multiply: zip(a, b).map { $0 * $1 }
    case .divide: zip(a, b).map { $0 / $1 }
    case .maximum: zip(a, b).map { max($0, $1) }
    case .minimum: zip(a, b).map { min($0, $1) }
    }
  }

  private static func activate(_ x: [Double], _ activation: NetworkGraph.Operation.Activation) -> [Double] {
    switch activation {
    case .relu: x.map { max($0, 0) }
    case .sigmoid: x.map { 1 / (1 + exp(-$0)) }
    case .tanh: x.map { tanh($0) }
    // Beyond this e^x overflows or its logarithm is x.
    case .softplus: x.map { $0 > 40 ? $0 : log1p(exp($0)) }
    case .softsign: x.map { $0 / (1 + abs($0)) }
    case .leakyRelu(let slope): x.map { $0 > 0 ? $0 : slope * $0 }
    case .elu(let slope): x.map { $0 > 0 ? $0 : slope * expm1($0) }
    case .gelu: x.map { 0.5 * $0 * erfc(-$0 * 0.5.squareRoot()) }
    case .clip(let low, let high): x.map { min(max($0, low), high) }
    case .squareRoot: x.map { $0.squareRoot() }
    }
  }

  private static func reduce(
    _ input: Tensor, _ kind: NetworkGraph.Operation.Reduction.Kind, _ axes: [Int]
  ) -> [Double] {
    var current = input
    for axis in axes {
      var sums: [Double] = []
      forEachLine(of: current.shape, axis: axis) { start, stride, count in
        var sum = 0.0
        for index in 0..<count { sum += current.elements[start + index * stride] }
        sums.append(sum)
      }
      var shape = current.shape
      shape[axis] = 1
      current = Tensor(checked: shape, sums)
    }
    guard kind == .mean else { return current.elements }
    let count = axes.reduce(1) { $0 * input.shape[$1] }
    return current.elements.map { $0 / Double(count) }
  }

  private static func tile(_ input: Tensor, _ shape: [Int]) -> [Double] {
    let sizes = [Int](repeating: 1, count: shape.count - input.shape.count) + input.shape
    let steps = strides(sizes)
    var output: [Double] = []
    output.reserveCapacity(shape.reduce(1, *))
    func walk(_ axis: Int, _ position: Int) {
      if axis == shape.count {
        output.append(input.elements[position])
      } else {
        for index in 0..<shape[axis] { walk(axis + 1, position + index % sizes[axis] * steps[axis]) }
      }
    }
    walk(0, 0)
    return output
  }

  // MARK: Walking over tensors

  private static func strides(_ shape: [Int]) -> [Int] {
    var strides = [Int](repeating: 1, count: shape.count)
    for axis in shape.indices.dropLast().reversed() { strides[axis] = strides[axis + 1] * shape[axis + 1] }
    return strides
  }

  /// Calls `body` with the start and length of each contiguous run that shares an index along `axis`, and that index.
  private static func forEachRun(of shape: [Int], axis: Int, _ body: (Int, Int, Int) -> Void) {
    let length = shape.dropFirst(axis + 1).reduce(1, *)
    var start = 0
    for _ in 0..<shape.prefix(axis).reduce(1, *) {
      for index in 0..<shape[axis] {
        body(start, length, index)
        start += length
      }
    }
  }

  /// Calls `body` with the start, stride and length of each line along `axis`.
  private static func forEachLine(of shape: [Int], axis: Int, _ body: (Int, Int, Int) -> Void) {
    let stride = shape.dropFirst(axis + 1).reduce(1, *)
    for outer in 0..<shape.prefix(axis).reduce(1, *) {
      for inner in 0..<stride { body(outer * shape[axis] * stride + inner, stride, shape[axis]) }
    }
  }

  /// Collects `shape` elements from `source` with these steps for each dimension.
  private static func gather(_ source: [Double], _ shape: [Int], strides: [Int], offset: Int = 0) -> [Double] {
    var output: [Double] = []
    output.reserveCapacity(shape.reduce(1, *))
    func walk(_ axis: Int, _ position: Int) {
      if axis == shape.count {
        output.append(source[position])
      } else {
        for index in 0..<shape[axis] { walk(axis + 1, position + index * strides[axis]) }
      }
    }
    walk(0, offset)
    return output
  }

  /// A tensor repeated along its axes of 1 to fit a shape.
  private static func repeated(_ tensor: Tensor, to shape: [Int]) -> [Double] {
    if tensor.shape == shape { return tensor.elements }
    let own = strides(tensor.shape)
    let missing = shape.count - tensor.shape.count
    let steps = shape.indices.map { axis in
      axis < missing || tensor.shape[axis - missing] == 1 ? 0 : own[axis - missing]
    }
    return gather(tensor.elements, shape, strides: steps)
  }

  private static func concat(_ inputs: [Tensor], axis: Int, _ shape: [Int]) -> [Double] {
    let lengths = inputs.map { $0.shape.dropFirst(axis).reduce(1, *) }
    var output: [Double] = []
    output.reserveCapacity(shape.reduce(1, *))
    for outer in 0..<shape.prefix(axis).reduce(1, *) {
      for (input, length) in zip(inputs, lengths) {
        output += input.elements[outer * length..<(outer + 1) * length]
      }
    }
    return output
  }
}
