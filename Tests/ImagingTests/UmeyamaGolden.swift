import Imaging

/// What the singular value decomposition of Umeyama (1991) gives for the points of the test; computed with numpy.
enum UmeyamaGolden {
  static let transform = SimilarityTransform(
    a: 0.8646457092764862, b: 0.24234436717780494, tx: 25.48850589466431, ty: -6.470585668548168)
}
