import Inference

// The blocks that both families of the reference share: rcnn/symbol/symbol_common.py.
extension GraphBuilder {
  /// Convolution with bias, batch normalisation and, where asked for, a rectifier.
  mutating func convolutionBlock(
    _ name: String, _ x: Value, filters: Int, kernel: Int, stride: Int = 1, hasReLU: Bool = true
  ) -> Value {
    let convolution = convolution(
      name, x, filters: filters, kernel: .init(kernel), stride: .init(stride), pad: .init(.init(kernel / 2)))
    let normalised = batchNorm(name + "_bn", convolution, epsilon: 2e-5)
    return hasReLU ? relu(normalised, named: name + "_relu") : normalised
  }

  /// The context module of SSH (arXiv 1708.03979): receptive fields of 3×3, 5×5 and 7×7 out of 3×3 convolutions, joined.
  ///
  /// (N, C, H, W) → (N, `filters` + 2 · `contextFilters`, H, W).
  mutating func detectionModule(_ name: String, _ x: Value, filters: Int, contextFilters: Int) -> Value {
    let context = name + "_context"
    let field3 = convolutionBlock(name + "_conv1", x, filters: filters, kernel: 3, hasReLU: false)
    let reduced = convolutionBlock(context + "_conv1", x, filters: contextFilters, kernel: 3)
    let field5 = convolutionBlock(context + "_conv2", reduced, filters: contextFilters, kernel: 3, hasReLU: false)
    let deeper = convolutionBlock(context + "_conv3_1", reduced, filters: contextFilters, kernel: 3)
    let field7 = convolutionBlock(context + "_conv3_2", deeper, filters: contextFilters, kernel: 3, hasReLU: false)
    return relu(concat([field3, field5, field7], named: name + "_concat"), named: name + "_concat_relu")
  }

  /// The three outputs of a stride: class probabilities (N, 2A, H, W), background of all anchors first; box deltas
  /// (N, 4A, H, W); landmark deltas (N, 10A, H, W).
  mutating func faceOutputs(stride: Int, _ x: Value, anchors: Int) -> [Value] {
    let score = convolution("face_rpn_cls_score_stride\(stride)", x, filters: 2 * anchors, kernel: 1)
    let pairs = reshape(score, [0, 2, -1, 0], named: "face_rpn_cls_score_reshape_stride\(stride)")
    let probability = softmax(pairs, axis: 1, named: "face_rpn_cls_prob_stride\(stride)")
    return [
      reshape(
        probability, [0, .size(2 * anchors), -1, 0], named: "face_rpn_cls_prob_reshape_stride\(stride)"),
      convolution("face_rpn_bbox_pred_stride\(stride)", x, filters: 4 * anchors, kernel: 1),
      convolution("face_rpn_landmark_pred_stride\(stride)", x, filters: 10 * anchors, kernel: 1),
    ]
  }

  /// Twice the size by repeating pixels, cut to the size of another tensor: odd sizes lose the last row or column.
  mutating func upsampled(_ name: String, _ x: Value, like other: Value) -> Value {
    let larger = upsampleNearest(x, scale: 2, named: name)
    return crop(larger, like: other)
  }
}
