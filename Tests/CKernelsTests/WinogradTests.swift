import CKernels
import Testing

/// Winograd's form of 3×3 convolutions and its gradients, against the sums as they are written in papers.
@Suite(.serialized) struct WinogradTests {
  struct Size: Sendable, CustomTestStringConvertible {
    var images, channels, filters, height, width, padding: Int
    var testDescription: String { "\(images)x\(channels)x\(height)x\(width) -> \(filters), padding \(padding)" }
    var outHeight: Int { height + 2 * padding - 2 }
    var outWidth: Int { width + 2 * padding - 2 }
  }

  static let sizes = [
    Size(images: 1, channels: 1, filters: 1, height: 1, width: 1, padding: 1),
    Size(images: 2, channels: 7, filters: 17, height: 5, width: 4, padding: 1),
    Size(images: 3, channels: 24, filters: 9, height: 1, width: 9, padding: 1),
    Size(images: 1, channels: 16, filters: 32, height: 6, width: 3, padding: 0),
    Size(images: 2, channels: 5, filters: 3, height: 4, width: 5, padding: 2),
    // More tiles than one block of the weights' gradient holds.
    Size(images: 5, channels: 9, filters: 20, height: 19, width: 21, padding: 1),
  ]

  /// Forward, gradient of the input and of the weights; portable and not, one thread and two.
  @Test(arguments: sizes, [0, 1, 2])
  func equalsTheSums(_ size: Size, portable: Int32) throws {
    ck_force_portable(portable)
    defer { ck_force_portable(0) }
    let x = numbers(size.images * size.height * size.width * size.channels, seed: 1)
    let dy = numbers(size.images * size.outHeight * size.outWidth * size.filters, seed: 2)
    let weights = numbers(size.filters * size.channels * 9, seed: 3)
    let exact = sums(size, x, dy, weights)
    let pool = try #require(ck_pool_create(2))
    defer { ck_pool_destroy(pool) }
    let serial = own(size, x, dy, weights, ck_serial())
    let parallel = own(size, x, dy, weights, ck_pool_parallel(pool))
    for (name, index) in [("output", 0), ("input's gradient", 1), ("weights' gradient", 2)] {
      #expect(serial[index] == parallel[index], "\(name) depends on the threads")
      let scale = exact[index].reduce(1) { max($0, abs($1)) }
      let worst = zip(serial[index], exact[index]).reduce(0) { max($0, abs(Double($1.0) - $1.1)) }
      #expect(worst <= 2e-6 * scale, "\(name)")
    }
  }

  /// Weights lie as [filter][channel][row][column], images as [image][row][column][channel].
  private func own(_ size: Size, _ x: [Float], _ dy: [Float], _ weights: [Float], _ parallel: ck_parallel) -> [[Float]]
  {
    let (c, f) = (Int64(size.channels), Int64(size.filters))
    let padding = [Float](repeating: 0, count: max(size.channels, size.filters))
    func form(
      _ channels: Int64, _ filters: Int64, _ height: Int, _ width: Int, _ pad: Int,
      _ body: (inout ck_convolution) -> Void
    ) {
      let (tapY, tapX) = ([Int32(-pad)], [Int32(-pad)])
      padding.withUnsafeBufferPointer { padding in
        tapY.withUnsafeBufferPointer { tapY in
          tapX.withUnsafeBufferPointer { tapX in
            var form = ck_convolution()
            form.batch = Int64(size.images)
            (form.groups, form.channels, form.filters) = (1, channels, filters)
            (form.in_height, form.in_width, form.in_pixel) = (Int64(height), Int64(width), channels)
            (form.out_height, form.out_width) = (Int64(height + 2 * pad - 2), Int64(width + 2 * pad - 2))
            form.out_pixel = filters
            form.out_row = filters * form.out_width
            form.out_image = form.out_row * form.out_height
            (form.step_y, form.step_x, form.taps) = (1, 1, 9)
            (form.tap_y, form.tap_x, form.padding) = (tapY.baseAddress, tapX.baseAddress, padding.baseAddress)
            body(&form)
          }
        }
      }
    }
    func result(
      _ input: [Float], _ channels: Int64, _ filters: Int64, _ height: Int, _ width: Int, _ pad: Int, _ first: Int,
      _ steps: ck_filter_steps
    ) -> [Float] {
      var out = [Float](
        repeating: .nan, count: size.images * (height + 2 * pad - 2) * (width + 2 * pad - 2) * Int(filters))
      form(channels, filters, height, width, pad) { form in
        var packed = [Float](repeating: .nan, count: Int(ck_winograd_weights_size(2, channels, filters)))
        var scratch = [Float](repeating: .nan, count: Int(ck_winograd_scratch_size(2, &form, parallel.workers)))
        // The kernel starts at weight `first` and goes back from there where the steps are negative.
        weights.withUnsafeBufferPointer {
          guard let base = $0.baseAddress else { return }
          ck_winograd_pack(2, base + first, steps, channels, filters, &packed, parallel)
        }
        packed.withUnsafeBufferPointer { packed in
          form.weights = packed.baseAddress
          ck_winograd(2, &form, input, nil, &out, &scratch, parallel)
        }
      }
      return out
    }
    let steps = ck_filter_steps(filter: 9 * c, channel: 9, row: 3, column: 1)
    let turned = ck_filter_steps(filter: 9, channel: 9 * c, row: -3, column: -1)
    var gradient = [Float](repeating: .nan, count: weights.count)
    form(c, f, size.height, size.width, size.padding) { form in
      var scratch = [Float](repeating: .nan, count: Int(ck_winograd_weight_gradient_scratch_size(&form)))
      ck_winograd_weight_gradient(&form, x, dy, &gradient, steps, &scratch, parallel)
    }
    return [
      result(x, c, f, size.height, size.width, size.padding, 0, steps),
      result(dy, f, c, size.outHeight, size.outWidth, 2 - size.padding, 8, turned), gradient,
    ]
  }

  private func sums(_ s: Size, _ x: [Float], _ dy: [Float], _ weights: [Float]) -> [[Double]] {
    var y = [Double](repeating: 0, count: dy.count)
    var dx = [Double](repeating: 0, count: x.count)
    var dw = [Double](repeating: 0, count: weights.count)
    for n in 0..<s.images {
      for v in 0..<s.outHeight {
        for u in 0..<s.outWidth {
          for ky in 0..<3 where (0..<s.height).contains(v + ky - s.padding) {
            for kx in 0..<3 where (0..<s.width).contains(u + kx - s.padding) {
              let pixel = ((n * s.height + v + ky - s.padding) * s.width + u + kx - s.padding) * s.channels
              let place = ((n * s.outHeight + v) * s.outWidth + u) * s.filters
              for f in 0..<s.filters {
                for c in 0..<s.channels {
                  let w = (f * s.channels + c) * 9 + ky * 3 + kx
                  y[place + f] += Double(weights[w]) * Double(x[pixel + c])
                  dx[pixel + c] += Double(weights[w]) * Double(dy[place + f])
                  dw[w] += Double(dy[place + f]) * Double(x[pixel + c])
                }
              }
            }
          }
        }
      }
    }
    return [y, dx, dw]
  }
}
