import CKernels
import Jobs

/// The weights of a product as the kernels want them, with everything folded in.
struct PackedProduct: Sendable {
  /// How they are packed.
  enum Form: Sendable, Hashable {
    case direct
    case depthwise
    /// For output tiles of 2 or 4.
    case winograd(Int)
  }
  let weights: PlanBuffer
  /// Padded as the weights are.
  let bias: PlanBuffer
}

/// Packed weights by what is in them, made when a plan first needs them and shared by the plans of all input sizes.
final class PackedWeights: Sendable {
  private let store = Monitor<[String: PackedProduct]>([:])

  func product(_ key: String, make: () throws(GraphError) -> PackedProduct) throws(GraphError) -> PackedProduct {
    if let found = store.with({ $0[key] }) { return found }
    let made = try make()
    return store.with { products in
      // Another thread may have been faster; both made the same.
      if let found = products[key] { return found }
      products[key] = made
      return made
    }
  }

  /// Bytes held.
  var byteCount: Int {
    store.with { $0.values.reduce(0) { $0 + 4 * ($1.weights.count + $1.bias.count) } }
  }
}

/// The shape of a product's weights, apart from where its taps lie.
struct ProductShape {
  var groups: Int
  /// Input channels and filters of one group.
  var channels: Int
  var filters: Int
  var kernel: NetworkGraph.Extent

  var isDepthwise: Bool { channels == 1 && filters == 1 && groups > 1 }
  var paddedFilters: Int { Int(ck_padded_channels(Int64(filters))) }
  /// Length of bias and slope.
  var paddedCount: Int { isDepthwise ? Int(ck_padded_channels(Int64(groups))) : groups * paddedFilters }

  /// Values for each output channel, padded as the weights are.
  func padded(_ values: (Int) -> Float) throws(GraphError) -> PlanBuffer {
    let buffer = try PlanBuffer(zeros: paddedCount)
    for group in 0..<groups {
      for filter in 0..<filters {
        let channel = group * filters + filter
        buffer.pointer[isDepthwise ? channel : group * paddedFilters + filter] = values(channel)
      }
    }
    return buffer
  }
}

extension Layer.Product {
  /// Packs the taps (row and column in the kernel) that are given: all for a convolution, some for a phase of a
  /// transposed one.
  func packed(
    _ shape: ProductShape, taps: [(row: Int, column: Int)], form: PackedProduct.Form, parameters: [String: [Float]]
  ) throws(GraphError) -> PackedProduct {
    let (filters, channels) = (shape.groups * shape.filters, shape.channels)
    let kernelSize = shape.kernel.height * shape.kernel.width
    let depth = taps.count * channels
    guard let source = parameters[node.parameters[0]], source.count == filters * channels * kernelSize else {
      throw GraphError(
        .mismatch, node: node.name, operation: node.operation.name,
        message: "weight \"\(node.parameters[0])\" does not have \(filters) · \(channels) · \(kernelSize) elements")
    }
    let ownBias = node.parameters.count > 1 ? parameters[node.parameters[1]] : nil
    var isTransposed = false
    if case .deconvolution = node.operation { isTransposed = true }

    let ordered = try PlanBuffer(uninitialized: filters * depth)
    var bias = [Double](repeating: 0, count: filters)
    let merged = mergedChannels.map { (channels: $0, area: channels / max(1, $0)) }
    for filter in 0..<filters {
      let group = filter / shape.filters
      let scale = after?.scale(filter) ?? 1
      var sum = 0.0
      for (t, tap) in taps.enumerated() {
        let place = tap.row * shape.kernel.width + tap.column
        let target = ordered.pointer + filter * depth + t * channels
        for channel in 0..<channels {
          let row =
            isTransposed
            ? (group * channels + channel) * shape.filters + filter % shape.filters : filter * channels + channel
          var weight = Double(source[row * kernelSize + place])
          var position = channel
          // (C, area) in the file, (area, C) in memory here.
          if let merged { position = channel % merged.area * merged.channels + channel / merged.area }
          if let before {
            let inputChannel = merged.map { channel / $0.area } ?? group * channels + channel
            sum += weight * before.shift(inputChannel)
            weight *= before.scale(inputChannel)
          }
          target[position] = Float(weight * scale)
        }
      }
      bias[filter] = (Double(ownBias?[filter] ?? 0) + sum) * scale + (after?.shift(filter) ?? 0)
    }

    let weights: PlanBuffer
    switch form {
    case .direct:
      let size = Int(ck_packed_size(Int64(taps.count), Int64(channels), Int64(shape.filters)))
      weights = try PlanBuffer(uninitialized: size * shape.groups)
      for group in 0..<shape.groups {
        ck_pack_weights(
          ordered.pointer + group * shape.filters * depth, Int64(taps.count), Int64(channels), Int64(shape.filters),
          weights.pointer + group * size)
      }
    case .depthwise:
      weights = try PlanBuffer(zeros: taps.count * shape.paddedCount)
      for tap in taps.indices {
        for channel in 0..<shape.groups {
          weights.pointer[tap * shape.paddedCount + channel] = ordered.pointer[channel * taps.count + tap]
        }
      }
    case .winograd(let tile):
      let size = Int(ck_winograd_weights_size(Int32(tile), Int64(channels), Int64(filters)))
      weights = try PlanBuffer(uninitialized: size)
      let steps = ck_filter_steps(
        filter: Int64(depth), channel: 1, row: Int64(3 * channels), column: Int64(channels))
      ck_winograd_pack(
        Int32(tile), ordered.pointer, steps, Int64(channels), Int64(filters), weights.pointer, ck_serial())
    }
    return PackedProduct(weights: weights, bias: try shape.padded { Float(bias[$0]) })
  }
}
