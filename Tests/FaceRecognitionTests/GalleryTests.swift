import Formats
import Foundation
import Inference
import Jobs
import Testing

@testable import FaceRecognition

@Suite struct GalleryTests {
  /// Vectors of length 1, the same for the same seed.
  static func embeddings(_ count: Int, length: Int, seed: UInt64 = 1) -> [[Float]] {
    var random = CounterRandom(seed)
    return (0..<count).map { _ in normalised((0..<length).map { _ in Float(random.next(below: 2001)) - 1000 }) }
  }

  static func normalised(_ vector: [Float]) -> [Float] {
    let norm = vector.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot()
    return vector.map { Float(Double($0) / norm) }
  }

  static func gallery(_ count: Int, length: Int = 24) throws -> FaceGallery {
    var gallery = FaceGallery(model: "model", embeddingLength: length)
    for (row, embedding) in embeddings(count, length: length).enumerated() {
      try gallery.add(name: "person \(row % 7)", embedding: embedding)
    }
    return gallery
  }

  static func scratch() -> String { FileManager.default.temporaryDirectory.path + "/gallery-\(UUID().uuidString)" }

  @Test func `The nearest faces are those of all products, sorted`() throws {
    // More rows than a block, more queries than a block.
    let gallery = try Self.gallery(2300)
    let queries = Self.embeddings(260, length: 24, seed: 2)
    let found = try gallery.search(queries, count: 5)
    try #require(found.count == 260)
    for (query, matches) in zip(queries, found).enumerated().filter({ $0.offset % 29 == 0 }).map(\.element) {
      let cosines = (0..<gallery.count).map { row in
        (row, zip(query, gallery.values[row * 24..<(row + 1) * 24]).reduce(0.0) { $0 + Double($1.0) * Double($1.1) })
      }
      let expected = cosines.sorted { $0.1 != $1.1 ? $0.1 > $1.1 : $0.0 < $1.0 }.prefix(5)
      #expect(matches.map(\.row) == expected.map(\.0))
      #expect(zip(matches, expected).allSatisfy { abs(Double($0.cosine) - $1.1) < 1e-5 })
      #expect(matches.allSatisfy { $0.name == "person \($0.row % 7)" })
    }
  }

  @Test func `Neither threads nor company change the result, and ties go to the earlier row`() throws {
    var gallery = try Self.gallery(4200)
    let query = Self.embeddings(1, length: 24, seed: 9)[0]
    for row in 0..<3 { try gallery.add(name: "twin \(row)", embedding: query) }
    let alone = try gallery.search([query], count: 6)[0]
    #expect(alone.prefix(3).map(\.name) == ["twin 0", "twin 1", "twin 2"])
    let company = try gallery.search(Self.embeddings(40, length: 24, seed: 3) + [query], count: 6, threads: 3)
    #expect(company[40] == alone)
    #expect(try gallery.search([query], count: 6, threads: 8)[0] == alone)
  }

  @Test(arguments: [1, 37, 70], [1, 10, 133, 700])
  func `Many ties come in the order of a naive search, rows ascending`(queries: Int, top: Int) throws {
    // Four numbers of ±½ each: products are whole quarters without rounding, and nearly all are equal to others.
    let length = 16
    var random = CounterRandom(8)
    func vector() -> [Float] {
      var vector = [Float](repeating: 0, count: length)
      for place in Array(0..<length).shuffled(using: &random).prefix(4) {
        vector[place] = Bool.random(using: &random) ? 0.5 : -0.5
      }
      return vector
    }
    let rows = (0..<500).map { _ in vector() }
    let gallery = try FaceGallery(
      model: "m", embeddingLength: length, names: rows.indices.map { "\($0)" }, values: rows.flatMap { $0 })
    let faces = (0..<queries).map { _ in vector() }
    let expected = faces.map { face in
      let cosines = rows.map { row in zip(face, row).reduce(Float(0)) { $0 + $1.0 * $1.1 } }
      let order = rows.indices.sorted { cosines[$0] != cosines[$1] ? cosines[$0] > cosines[$1] : $0 < $1 }
      return order.prefix(top).map { (row: $0, cosine: cosines[$0]) }
    }
    for threads in [1, 2, 5] {
      let found = try gallery.search(faces, count: top, threads: threads)
      try #require(found.count == queries)
      for (matches, best) in zip(found, expected) {
        #expect(matches.map(\.row) == best.map(\.row))
        #expect(matches.map(\.cosine) == best.map(\.cosine))
      }
    }
  }

  @Test func `Many faces at once are checked as one by one`() throws {
    let gallery = try Self.gallery(9)
    let copy = try FaceGallery(
      model: "model", embeddingLength: 24, names: gallery.names, values: gallery.values)
    #expect(copy == gallery)
    #expect(throws: GalleryError.self) {
      try FaceGallery(model: "m", embeddingLength: 24, names: ["a"], values: gallery.values)
    }
    #expect(throws: GalleryError.name("")) {
      try FaceGallery(model: "m", embeddingLength: 24, names: [""], values: Array(gallery.values[..<24]))
    }
    #expect(throws: GalleryError.notNormalised(name: "a")) {
      try FaceGallery(model: "m", embeddingLength: 2, names: ["a"], values: [1, 1])
    }
  }

  @Test func `Small, empty and wrong questions have answers`() throws {
    let empty = FaceGallery(model: "m", embeddingLength: 4)
    let unit: [Float] = [1, 0, 0, 0]
    #expect(try empty.search([unit], count: 3, threads: 2) == [[]])
    #expect(try empty.search([], count: 3).isEmpty)
    var one = empty
    #expect(try one.add(name: "a", embedding: unit))
    #expect(try !one.add(name: "a", embedding: unit), "the same face is held once")
    #expect(try one.add(name: "b", embedding: unit))
    #expect(try one.search([unit], count: 9)[0].map(\.name) == ["a", "b"])
    #expect(throws: GalleryError.length(expected: 4, found: 3)) { try one.search([[1, 0, 0]], count: 1) }
    #expect(throws: GalleryError.self) { try one.search([[.nan, 0, 0, 0]], count: 1) }
    #expect(throws: GalleryError.self) { try one.search([unit], count: 0) }
    #expect(throws: GalleryError.notNormalised(name: "c")) { try one.add(name: "c", embedding: [2, 0, 0, 0]) }
    #expect(throws: GalleryError.name("a\nb")) { try one.add(name: "a\nb", embedding: unit) }
    #expect(throws: GalleryError.name("")) { try one.add(name: "", embedding: unit) }
    #expect(one.remove(name: "a") == 1 && one.names == ["b"] && one.values.count == 4)
    #expect(throws: GalleryError.otherModel(gallery: "m", given: "n")) { try one.check(model: "n") }
  }

  @Test func `A file gives the gallery back; damaged files are errors`() throws {
    var gallery = try Self.gallery(30)
    try gallery.add(name: "顔 \"quoted\"", embedding: Self.embeddings(1, length: 24, seed: 4)[0])
    let path = Self.scratch()
    defer { try? FileManager.default.removeItem(atPath: path) }
    try gallery.write(path: path)
    #expect(try FaceGallery(path: path) == gallery)
    let sound = try Data(contentsOf: URL(fileURLWithPath: path))
    for length in [0, 4, 100, sound.count - 1] {
      try sound.prefix(length).write(to: URL(fileURLWithPath: path))
      #expect(throws: FormatError.self) { try FaceGallery(path: path) }
    }
    // Names and embeddings that do not fit each other, and an embedding that is none.
    for (name, byte) in [(sound.count - 2, UInt8(0xff)), (sound.count - 60, 10), (sound.count - 600, 0x7f)] {
      var damaged = sound
      damaged[name] = byte
      damaged[name - 1] = byte
      try damaged.write(to: URL(fileURLWithPath: path))
      #expect(throws: FormatError.self, "byte \(name)") { try FaceGallery(path: path) }
    }
    try Safetensors.write([("embeddings", try StoredTensor(shape: [0, 4], floats: []))], to: path)
    #expect(throws: FormatError.self) { try FaceGallery(path: path) }
    try FaceGallery(model: "m", embeddingLength: 4).write(path: path)
    #expect(try FaceGallery(path: path).count == 0)
  }

  @Test func `Groups are those of a plain average linkage`() throws {
    // Noisy copies of a few directions, so that groups are of several sizes.
    let centres = Self.embeddings(6, length: 16, seed: 5)
    let noise = Self.embeddings(36, length: 16, seed: 6)
    let faces = noise.enumerated().map { index, vector in
      Self.normalised(zip(centres[index * index % 6], vector).map { $0 + 0.55 * $1 })
    }
    let cosines = faces.map { a in faces.map { b in zip(a, b).reduce(0.0) { $0 + Double($1.0) * Double($1.1) } } }
    for threshold in [-1, 0.3, 0.6, 1] {
      var groups = faces.indices.map { [$0] }
      func mean(_ a: [Int], _ b: [Int]) -> Double {
        var sum = 0.0
        for i in a { for j in b { sum += cosines[i][j] } }
        return sum / Double(a.count * b.count)
      }
      while groups.count > 1 {
        var best = (value: -2.0, a: 0, b: 0)
        for a in groups.indices {
          for b in groups.indices where b > a {
            let value = mean(groups[a], groups[b])
            if value > best.value { best = (value, a, b) }
          }
        }
        guard best.value >= threshold else { break }
        groups[best.a] += groups[best.b]
        groups.remove(at: best.b)
      }
      let found = try FaceClustering(faces, threshold: threshold)
      #expect(found.count == groups.count, "threshold \(threshold)")
      for group in groups { #expect(Set(group.map { found.groups[$0] }).count == 1, "threshold \(threshold)") }
      let sizes = (0..<found.count).map { number in found.groups.count { $0 == number } }
      #expect(sizes == sizes.sorted(by: >))
    }
    #expect(try FaceClustering([], threshold: 0).count == 0)
    #expect(try FaceClustering([faces[0]], threshold: 0).groups == [0])
    #expect(throws: GalleryError.self) { try FaceClustering([[3, 4]], threshold: 0) }
    #expect(throws: GalleryError.self) { try FaceClustering(faces, threshold: 2) }
  }

  @Test func `A fingerprint changes with a weight and the preprocessing, not with the run`() throws {
    func graph(_ bias: Float, _ preprocessing: Preprocessing) throws -> NetworkGraph {
      var g = GraphBuilder(channels: 3, height: 4, width: 4)
      var graph = try g.finish(
        [g.convolution("c", g.input, filters: 1, kernel: 4)], preprocessing: preprocessing)
      for parameter in try graph.parameters() {
        let count = parameter.shape.reduce(1, *)
        graph.weights[parameter.name] = try StoredTensor(
          shape: parameter.shape, floats: [Float](repeating: parameter.name.contains("bias") ? bias : 0.5, count: count)
        )
      }
      return graph
    }
    let inside = Preprocessing.insideGraph(height: 4, width: 4, embeddingLength: 1)
    var outside = inside
    outside.isInsideGraph = false
    let first = try graph(0, inside).fingerprint
    #expect(first.count == 32)
    #expect(try graph(0, inside).fingerprint == first)
    #expect(Set([first, try graph(1, inside).fingerprint, try graph(0, outside).fingerprint]).count == 3)
  }
}

@Suite struct HeldOutPairsTests {
  static func list(_ counts: [Int]) -> ImageList {
    ImageList(
      identities: counts.enumerated().map { person, count in
        .init(name: "p\(person)", paths: (0..<count).map { "p\(person)/\($0)" })
      })
  }

  @Test func `People held out are not trained on, and pairs are balanced`() throws {
    let list = Self.list([5, 1, 4, 2, 3, 6, 2, 2, 9, 3])
    let held = try HeldOutPairs(list, kind: .identities, share: 0.4, seed: 3)
    let out = Set(held.heldOut.map(\.name))
    #expect(out.count == 4 && out.isDisjoint(with: held.training.identities.map(\.name)))
    #expect(held.training.identities.count == 6)
    #expect(!held.pairs.isEmpty && held.pairs.count % 2 == 0)
    for (index, pair) in held.pairs.enumerated() {
      let people = [pair.first, pair.second].map { $0.split(separator: "/")[0] }
      #expect(pair.isSame == (index % 2 == 0) && (people[0] == people[1]) == pair.isSame && pair.first != pair.second)
      #expect(people.allSatisfy { out.contains(String($0)) })
    }
    #expect(Set(held.pairs.map { [$0.first, $0.second] }).count == held.pairs.count)
    #expect(try HeldOutPairs(list, kind: .identities, share: 0.4, seed: 3).pairs == held.pairs)
    #expect(try HeldOutPairs(list, kind: .identities, share: 0.4, pairLimit: 3, seed: 3).pairs.count <= 6)
  }

  @Test func `Images held out leave everyone something to learn from`() throws {
    let held = try HeldOutPairs(Self.list([5, 1, 2, 3]), kind: .images, share: 0.2, seed: 1)
    #expect(held.heldOut.map(\.name) == ["p0", "p3"] && held.heldOut.allSatisfy { $0.paths.count == 2 })
    #expect(held.training.identities.map(\.paths.count) == [3, 1, 2, 1])
    let trained = Set(held.training.identities.flatMap(\.paths))
    #expect(held.pairs.allSatisfy { !trained.contains($0.first) && !trained.contains($0.second) })
    #expect(try HeldOutPairs(Self.list([2]), kind: .none).pairs.isEmpty)
    #expect(throws: FormatError.self) { try HeldOutPairs(Self.list([2, 2]), kind: .identities) }
    #expect(throws: FormatError.self) { try HeldOutPairs(Self.list([2, 2]), kind: .images) }
  }
}
