/// Mean colours of pictures of seed 1 in the standard difficulty.
enum SyntheticGolden {
  struct Mean: Sendable {
    let identity: Int
    let index: Int
    let rgb: [Double]
  }

  static let means: [Mean] = [
    Mean(identity: 0, index: 0, rgb: [124.84, 88.21, 70.71]), Mean(identity: 7, index: 3, rgb: [102.30, 97.68, 99.43]),
    Mean(identity: 123_456, index: 42, rgb: [145.77, 132.19, 127.83]),
  ]
}
