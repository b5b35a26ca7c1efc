import Imaging

/// What happens to a photo on its way into training, and what of the colours is left to the device.
protocol SampleAugmentation: Sendable {
  /// Cuts, scales, mirrors and colours an image.
  ///
  /// - Parameters:
  ///   - image: any size.
  ///   - faces: in its pixels.
  ///   - mirrors: mirror first.
  ///   - pixels: takes S × S × 3 values.
  /// - Returns: the faces that are left, in pixels of what was cut, and what is still to be done to the colours.
  func apply(
    _ image: Image, _ faces: [TrainingFace], mirrors: Bool, size: Int, random: inout DrawSequence,
    into pixels: UnsafeMutableBufferPointer<UInt8>
  ) -> (faces: [TrainingFace], colours: ColourMap)
}

extension DetectionAugmentation: SampleAugmentation {}
