/// Known faces: names and embeddings of one recognition network.
///
/// A name may stand for several faces. Rows keep the order in which they were added.
///
/// ```swift
/// var gallery = FaceGallery(model: embedder.fingerprint, embeddingLength: embedder.embeddingLength)
/// try gallery.add(name: "Ada", embedding: face.embedding)
/// try gallery.write(path: "people.gallery")
/// let matches = try gallery.search([unknown.embedding], count: 5)[0]
/// ```
public struct FaceGallery: Sendable, Equatable {
  /// Which network made the embeddings: `FaceEmbedder.fingerprint`, and what else changes them.
  public let model: String
  /// Numbers of an embedding, D.
  public let embeddingLength: Int
  /// The name of each row.
  public private(set) var names: [String] = []
  /// The embeddings, float32 [N, D] of length 1, row-major.
  public private(set) var values: [Float] = []

  /// The number of faces, N.
  public var count: Int { names.count }

  /// An empty gallery.
  public init(model: String, embeddingLength: Int) {
    self.model = model
    self.embeddingLength = max(1, embeddingLength)
  }

  /// A gallery of many faces at once.
  ///
  /// - Parameters:
  ///   - names: whose faces they are, N of them; one line each.
  ///   - values: float32 [N, D], row-major, each row of length 1.
  /// - Throws: `GalleryError`.
  public init(model: String, embeddingLength: Int, names: [String], values: [Float]) throws(GalleryError) {
    let length = max(1, embeddingLength)
    guard values.count.isMultiple(of: length), values.count / length == names.count else {
      throw .length(expected: length, found: values.count / max(1, names.count))
    }
    for (row, name) in names.enumerated() {
      guard Self.isName(name) else { throw .name(name) }
      guard Self.isNormalised(values[row * length..<(row + 1) * length]) else { throw .notNormalised(name: name) }
    }
    self.init(model: model, embeddingLength: length, checkedNames: names, values: values)
  }

  /// The embedding of a row; nil where there is no such row.
  public func embedding(at row: Int) -> [Float]? {
    guard names.indices.contains(row) else { return nil }
    return Array(values[row * embeddingLength..<(row + 1) * embeddingLength])
  }

  /// Adds a face.
  ///
  /// - Parameters:
  ///   - name: whose face it is; one line.
  ///   - embedding: D numbers of length 1.
  /// - Returns: whether it is new; the very same embedding under the very same name is held once.
  /// - Throws: `GalleryError`.
  @discardableResult
  public mutating func add(name: String, embedding: [Float]) throws(GalleryError) -> Bool {
    guard Self.isName(name) else { throw .name(name) }
    guard embedding.count == embeddingLength else {
      throw .length(expected: embeddingLength, found: embedding.count)
    }
    guard Self.isNormalised(embedding[...]) else { throw .notNormalised(name: name) }
    for row in names.indices where names[row] == name {
      if values[row * embeddingLength..<(row + 1) * embeddingLength].elementsEqual(embedding) { return false }
    }
    names.append(name)
    values += embedding
    return true
  }

  /// Removes all faces of a name.
  ///
  /// - Returns: how many there were.
  @discardableResult
  public mutating func remove(name: String) -> Int {
    let kept = names.indices.filter { names[$0] != name }
    let removed = names.count - kept.count
    guard removed > 0 else { return 0 }
    values = kept.flatMap { values[$0 * embeddingLength..<($0 + 1) * embeddingLength] }
    names = kept.map { names[$0] }
    return removed
  }

  /// Throws `GalleryError.otherModel` unless the embeddings of this network compare with those here.
  public func check(model other: String) throws(GalleryError) {
    guard other == model else { throw .otherModel(gallery: model, given: other) }
  }

  init(model: String, embeddingLength: Int, checkedNames: [String], values: [Float]) {
    self.model = model
    self.embeddingLength = embeddingLength
    self.names = checkedNames
    self.values = values
  }

  private static func isName(_ name: String) -> Bool {
    !name.isEmpty && !name.utf8.contains { $0 == 10 || $0 == 13 || $0 == 0 }
  }

  static func isNormalised(_ embedding: ArraySlice<Float>) -> Bool {
    let sum = embedding.reduce(0.0) { $0 + Double($1) * Double($1) }
    return sum.isFinite && abs(sum - 1) < 1e-3
  }
}
