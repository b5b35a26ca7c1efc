import Inference

extension GraphBuilder {
  /// Pyramid and heads of the released checkpoints: strides 32, 16 and 8.
  ///
  /// Layers are called `rf_…` in `mnet.25` and `ssh_…` in `R50`, whose modules are eight times as wide.
  mutating func releasedPyramid(_ features: FeatureMaps, isMobile: Bool, anchors: Int) -> [Value] {
    guard let c1 = features[8], let c2 = features[16], let c3 = features[32] else { return [] }
    let prefix = isMobile ? "rf" : "ssh"
    let filters = isMobile ? 64 : 256
    let (wide, narrow) = isMobile ? (32, 16) : (256, 128)
    let modules = isMobile ? ["rf_c3_det", "rf_c2_det", "rf_c1_det"] : ["ssh_m3_det", "ssh_m2_det", "ssh_m1_det"]

    let top = convolutionBlock(prefix + "_c3_lateral", c3, filters: filters, kernel: 1)
    let topFaces = detectionModule(modules[0], top, filters: wide, contextFilters: narrow)
    var outputs = faceOutputs(stride: 32, topFaces, anchors: anchors)

    let middle = convolutionBlock(prefix + "_c2_lateral", c2, filters: filters, kernel: 1)
    let fromTop = upsampled(isMobile ? "rf_c3_upsampling" : "ssh_c3_up", top, like: middle)
    let merged = convolutionBlock(prefix + "_c2_aggr", add(middle, fromTop), filters: filters, kernel: 3)
    let middleFaces = detectionModule(modules[1], merged, filters: wide, contextFilters: narrow)
    outputs += faceOutputs(stride: 16, middleFaces, anchors: anchors)

    let bottom = convolutionBlock(isMobile ? "rf_c1_red_conv" : "ssh_m1_red_conv", c1, filters: filters, kernel: 1)
    let fromMiddle = upsampled(isMobile ? "rf_c2_upsampling" : "ssh_m2_red_up", merged, like: bottom)
    let fine = convolutionBlock(prefix + "_c1_aggr", add(bottom, fromMiddle), filters: filters, kernel: 3)
    let bottomFaces = detectionModule(modules[2], fine, filters: wide, contextFilters: narrow)
    return outputs + faceOutputs(stride: 8, bottomFaces, anchors: anchors)
  }

  /// Pyramid and heads of the reference's present source: C backbone, L lateral, P pyramid, U upsampled, A merged.
  ///
  /// - Parameters:
  ///   - features: maps of the backbone by stride.
  ///   - strides: of the heads, largest first.
  ///   - filters: channels of the pyramid and of the context modules.
  ///   - anchors: a position.
  mutating func currentPyramid(_ features: FeatureMaps, strides: [Int], filters: Int, anchors: Int) -> [Value] {
    var coarse = features
    var laterals: FeatureMaps = [:]
    func lateral(_ builder: inout GraphBuilder, _ stride: Int) -> Value? {
      if let known = laterals[stride] { return known }
      if coarse[stride] == nil, let finer = coarse[stride / 2] {
        coarse[stride] = builder.convolutionBlock("RF_C\(stride)", finer, filters: filters, kernel: 3, stride: 2)
      }
      guard let map = coarse[stride] else { return nil }
      let made = builder.convolutionBlock("RF_L\(stride)", map, filters: filters, kernel: 1)
      laterals[stride] = made
      return made
    }
    var outputs: [Value] = []
    for stride in strides {
      guard var x = lateral(&self, stride) else { return [] }
      if stride != strides.first, stride <= 32 {
        guard let above = lateral(&self, 2 * stride) else { return [] }
        x = add(x, upsampled("RF_U\(stride)", above, like: x))
        x = convolutionBlock("RF_A\(stride)", x, filters: filters, kernel: 3)
      }
      x = identity(x, named: "RF_P\(stride)")
      let module = detectionModule(
        "rf_head_stride\(stride)", x, filters: filters / 2, contextFilters: filters / 4)
      outputs += faceOutputs(stride: stride, module, anchors: anchors)
    }
    return outputs
  }
}
