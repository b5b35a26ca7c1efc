/// Online mining of hard examples, image by image and stride by stride (rcnn/PY_OP/rpn_fpn_ohem3.py, mode 1).
///
/// Of the anchors that are faces at most a quarter of `count` stay, those with the lowest scores; background fills up to
/// `count`, that with the highest scores. The others are ignored.
struct HardExampleMining: Sendable, Equatable {
  /// Anchors of an image and a stride that give a loss.
  var count = 256
  /// The share of faces among them, at most.
  var faceShare = 0.25

  /// Sets the labels that are left out to −1.
  ///
  /// Of equal scores the anchor with the lower index counts first.
  ///
  /// - Parameter score: score of face minus score of background, by anchor.
  func mine(_ labels: inout [Int8], score: (Int) -> Float) {
    let faces = labels.indices.filter { labels[$0] > 0 }
    let most = Int(faceShare * Double(count))
    if faces.count > most { Self.drop(faces, keeping: most, &labels) { score($0) } }
    let background = labels.indices.filter { labels[$0] == 0 }
    let room = count - min(faces.count, most)
    if background.count > room { Self.drop(background, keeping: room, &labels) { -score($0) } }
  }

  /// Keeps those with the lowest values.
  private static func drop(_ indices: [Int], keeping count: Int, _ labels: inout [Int8], by value: (Int) -> Float) {
    let order = indices.map { (index: $0, value: value($0)) }
      .sorted { $0.value != $1.value ? $0.value < $1.value : $0.index < $1.index }
    for entry in order.dropFirst(count) { labels[entry.index] = -1 }
  }
}
