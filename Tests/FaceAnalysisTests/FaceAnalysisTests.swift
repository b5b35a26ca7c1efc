import FaceDetection
import FaceRecognition
import Formats
import Foundation
import Imaging
import Inference
import Testing

@testable import FaceAnalysis

/// A detector's network that finds one face wherever it is told, whatever the photo.
struct FixedFaces: GraphRunner {
  /// Columns and rows of stride 8 at which a face of 32 pixels is.
  var places: [(x: Int, y: Int)]
  var outputNames: [String] { [] }

  func run(_ input: FloatTensor) throws(GraphError) -> [FloatTensor] {
    let (count, height, width) = (input.shape[0], input.shape[2], input.shape[3])
    var outputs: [FloatTensor] = []
    for stride in [32, 16, 8] {
      let (rows, columns) = ((height + stride - 1) / stride, (width + stride - 1) / stride)
      let plane = rows * columns
      var scores = [Float](repeating: 0, count: count * 4 * plane)
      var landmarks = [Float](repeating: 0, count: count * 20 * plane)
      for image in 0..<count {
        for (index, place) in places.enumerated() where stride == 8 && place.x < columns && place.y < rows {
          let position = place.y * columns + place.x
          scores[(image * 4 + 2) * plane + position] = 0.9 - 0.1 * Float(index)
          let offsets: [Float] = [-0.25, -0.2, 0.25, -0.2, 0, 0, -0.2, 0.25, 0.2, 0.25]
          for (component, offset) in offsets.enumerated() {
            landmarks[(image * 20 + component) * plane + position] = offset
          }
        }
      }
      outputs.append(try FloatTensor(shape: [count, 4, rows, columns], elements: scores))
      outputs.append(
        try FloatTensor(
          shape: [count, 8, rows, columns], elements: [Float](repeating: 0, count: count * 8 * plane)))
      outputs.append(try FloatTensor(shape: [count, 20, rows, columns], elements: landmarks))
    }
    return outputs
  }
}

/// An embedder whose network is the mean of each channel.
func meanColour() throws -> FaceEmbedder {
  var g = GraphBuilder(channels: 3, height: 112, width: 112)
  return try FaceEmbedder(
    g.finish([g.flatten(g.globalAveragePool(g.input))], preprocessing: .insideGraph(embeddingLength: 3)))
}

@Suite struct FaceAnalysisTests {
  static func analysis(_ places: [(x: Int, y: Int)], embeds: Bool = true) throws -> FaceAnalysis {
    try FaceAnalysis(
      detector: FaceDetector(runner: FixedFaces(places: places), configuration: .reference()),
      embedder: embeds ? meanColour() : nil)
  }

  @Test func facesGoFromPhotoToEmbedding() throws {
    // Red on the left, green on the right.
    var photo = try Image(width: 160, height: 80, fill: Colour(200, 0, 0))
    photo.fillRectangle(Rectangle(x: 80, y: 0, width: 80, height: 80), Colour(0, 200, 0))
    let faces = try Self.analysis([(4, 4), (15, 4)]).faces(in: photo)
    try #require(faces.count == 2)
    #expect(faces[0].score == 0.9 && faces[0].box.width == 31 && faces[0].landmarks.count == 5)
    #expect(faces.allSatisfy { $0.crop?.width == 112 && $0.crop?.height == 112 })
    #expect(abs(faces[0].embedding[0] - 1) < 1e-3 && abs(faces[1].embedding[1] - 1) < 1e-3)
    #expect(try #require(faces[0].similarity(faces[1])).cosine < 0.1)
    let same = try #require(faces[0].similarity(faces[0]))
    #expect(abs(same.cosine - 1) < 1e-6 && same.squaredDistance < 1e-6)
    let batch = try Self.analysis([(4, 4), (15, 4)]).faces(in: [photo, try Image(width: 40, height: 30), photo])
    #expect(batch[0] == faces && batch[2] == faces && batch[1].isEmpty)
  }

  @Test func withoutAnEmbedderFacesAreAlignedOnly() throws {
    var analysis = try Self.analysis([(4, 4)], embeds: false)
    analysis.cropSize = (96, 112)
    let face = try #require(try analysis.faces(in: Image(width: 80, height: 80)).first)
    #expect(face.embedding.isEmpty && face.crop?.width == 96)
    #expect(face.similarity(face) == nil)
    #expect(try analysis.faces(in: [Image]()).isEmpty)
  }

  @Test(arguments: [false, true]) func cropsAreCutForThoseWhoWantThem(embeds: Bool) throws {
    var photo = try Image(width: 160, height: 80, fill: Colour(200, 0, 0))
    photo.fillRectangle(Rectangle(x: 80, y: 0, width: 80, height: 80), Colour(0, 200, 0))
    var analysis = try Self.analysis([(4, 4), (15, 4)], embeds: embeds)
    let whole = try analysis.faces(in: photo)
    analysis.cutsCrops = false
    let bare = try analysis.faces(in: photo)
    #expect(bare.count == 2 && bare.allSatisfy { $0.crop == nil })
    #expect(bare.map(\.embedding) == whole.map(\.embedding) && bare.map(\.landmarks) == whole.map(\.landmarks))
    #expect(bare.map { analysis.crop(photo, landmarks: $0.landmarks) } == whole.map(\.crop))
    #expect(analysis.crop(photo, landmarks: [Point](repeating: Point(9, 9), count: 5)) == nil)
  }

  @Test func threadsShareAnAnalysis() throws {
    let analysis = try Self.analysis([(4, 4)])
    let photo = try Image(width: 90, height: 80, fill: Colour(10, 200, 30))
    let expected = try analysis.faces(in: photo)
    nonisolated(unsafe) var results = [[Face]](repeating: [], count: 8)
    let lock = NSLock()
    DispatchQueue.concurrentPerform(iterations: 8) { index in
      let faces = (try? analysis.faces(in: photo)) ?? []
      lock.withLock { results[index] = faces }
    }
    #expect(results.allSatisfy { $0 == expected })
  }

  @Test func jsonIsReadByOthers() throws {
    let face = try #require(try Self.analysis([(4, 4)]).faces(in: Image(width: 80, height: 80, fill: .white)).first)
    let value = try #require(
      try JSONSerialization.jsonObject(with: Data(face.json.utf8)) as? [String: Any])
    #expect((value["box"] as? [Double])?.count == 4)
    #expect((value["landmarks"] as? [[Double]])?.count == 5)
    #expect((value["embedding"] as? [Double])?.count == 3)
    let text = "quote \" back \\ line \n tab \t bell \u{7} ü 顔"
    let decoded = try JSONDecoder().decode([String].self, from: Data("[\(JSONText.string(text))]".utf8))
    #expect(decoded == [text])
  }

  /// A temporary folder with these files, of one byte each, in folders below it, and an empty folder.
  private func photoFolder(_ names: [String], empty: String? = nil) throws -> String {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("photos-\(UUID().uuidString)").path
    if let empty { try makeFolders(folder + "/" + empty) }
    for name in names {
      let file = URL(fileURLWithPath: folder + "/" + name)
      try makeFolders(file.deletingLastPathComponent().path)
      try Data([1]).write(to: file)
    }
    return folder
  }

  @Test func photosAreListedBelowFolders() throws {
    let folder = try photoFolder(
      ["a.JPG", "b/c/x.webp", "b/y.png", "b/note.txt"], empty: "empty")
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let list = try PhotoList([folder + "/"]).photos
    #expect(list.map(\.relativePath) == ["a.JPG", "b/c/x.webp", "b/y.png"])
    #expect(list[1].stem == "b/c/x" && list[1].path == folder + "/b/c/x.webp")
    #expect(try PhotoList([folder + "/b/note.txt"]).photos.count == 1)
    #expect(throws: FormatError.self) { try PhotoList([folder + "/empty"]) }
    #expect(throws: FormatError.self) { try PhotoList([folder + "/nothing"]) }
  }

  @Test func outputsOfAnEarlierRunAreNoPhotos() throws {
    let folder = try photoFolder(
      ["a.jpg", "b/x.jpg", "b/drawn/a.jpg", "b/drawn/c/y.jpg"], empty: "elsewhere")
    defer { try? FileManager.default.removeItem(atPath: folder) }
    try FileManager.default.createSymbolicLink(atPath: folder + "/link", withDestinationPath: folder + "/b")
    let inside = try PhotoList([folder], outputs: [folder + "/elsewhere/../b/drawn"]).photos
    #expect(inside.map(\.relativePath) == ["a.jpg", "b/x.jpg", "link/x.jpg"])
    #expect(try PhotoList([folder + "/b"], outputs: [folder + "/none"]).photos.count == 3)
    // The folder itself, by whatever name, and the folder of a photo that is named.
    for (paths, output) in [
      ([folder], folder + "/"), ([folder + "/b"], folder + "/link"), ([folder, folder + "/b/x.jpg"], folder + "/b"),
      ([folder], folder + "/b/x.jpg"),
    ] {
      #expect { try PhotoList(paths, outputs: [output]) } throws: {
        ($0 as? FormatError)?.code == .mismatch && ($0 as? FormatError)?.path == output
      }
    }
  }

  @Test func namesThatAreNotUTF8AreErrors() throws {
    let folder = try photoFolder(["a.jpg"])
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let latin1 = Array((folder + "/Ren").utf8).map { CChar(bitPattern: $0) } + [CChar(bitPattern: 0xe9), 0]
    try #require(mkdir(latin1, 0o777) == 0)
    defer { rmdir(latin1) }
    #expect { try PhotoList([folder]) } throws: {
      "\($0)".contains("`Ren\\xE9`") && "\($0)".contains("not UTF-8") && "\($0)".hasPrefix(folder)
    }
  }

  @Test func everyPhotoHasAnOutputNameOfItsOwn() throws {
    // The name that a.png has beside a.jpg is the stem of a.png.jpg.
    let folder = try photoFolder(
      ["p/x/a.jpg", "p/x/a.png", "p/x/a.png.jpg", "p/x/b.jpg", "p/c.jpg", "q/x/b.jpg", "q/x/d.jpg"])
    defer { try? FileManager.default.removeItem(atPath: folder) }
    func names(_ paths: String...) throws -> [String: String] {
      let photos = try PhotoList(paths.map { folder + "/" + $0 }).photos
      #expect(Set(photos.map(\.outputName)).count == photos.count, "\(photos.map(\.outputName))")
      return Dictionary(
        uniqueKeysWithValues: photos.map { (String($0.path.dropFirst(folder.count + 1)), $0.outputName) })
    }
    let both = try names("p", "q")
    #expect(both["p/c.jpg"] == "c" && both["q/x/d.jpg"] == "x/d" && both["p/x/a.jpg"] == "x/a.jpg")
    #expect(both["p/x/b.jpg"]?.hasPrefix("x/b.jpg~") == true && both["q/x/b.jpg"]?.hasPrefix("x/b.jpg~") == true)
    #expect(try names("q", "p") == both, "the order of the arguments does not matter")
    #expect(try names("q")["q/x/b.jpg"] == "x/b")
    #expect(try PhotoList(["p/c.jpg", "p/x/../c.jpg"].map { folder + "/" + $0 }).photos.count == 2)
  }

  @Test func photosOfOneStemGiveTwoCrops() throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("photos-\(UUID().uuidString)").path
    defer { try? FileManager.default.removeItem(atPath: folder) }
    try makeFolders(folder + "/photos/ann")
    try Image(width: 80, height: 80, fill: .white).write(path: folder + "/photos/ann/a.png")
    let builder = DatasetBuilder(analysis: try Self.analysis([(4, 4)], embeds: false), settings: "fixed")
    let one = try builder.crops(of: folder + "/photos", to: folder + "/set")
    #expect(one.list.identities.first?.paths == [folder + "/set/crops/ann/a.jpg"])
    // The photo that comes later sorts before the one whose crop is there.
    try Image(width: 80, height: 80, fill: .black).write(path: folder + "/photos/ann/a.jpg")
    let two = try builder.crops(of: folder + "/photos", to: folder + "/set")
    let paths = try #require(two.list.identities.first?.paths)
    #expect(paths == ["a.jpg.jpg", "a.png.jpg"].map { folder + "/set/crops/ann/" + $0 })
    #expect(try Image.read(path: paths[0]).pixels[0] < 50 && Image.read(path: paths[1]).pixels[0] > 200)
    #expect(throws: FormatError.self) { try builder.crops(of: folder + "/photos", to: folder + "/photos") }
    #expect(try builder.crops(of: folder + "/photos", to: folder + "/photos/set").list.imageCount == 2)
    #expect(try builder.crops(of: folder + "/photos", to: folder + "/photos/set").list.imageCount == 2)
  }

  @Test func wrongModelsAreErrors() {
    #expect(NetworkLocation("a/b,12").parametersPath == "a/b-0012.params")
    #expect(NetworkLocation("a,b").prefix == "a,b" && NetworkLocation("a,-1").prefix == "a,-1")
    #expect(throws: FaceAnalysisError.self) { try FaceDetector.load("/nowhere/model") }
    #expect(throws: FaceAnalysisError.self) { try FaceEmbedder.load("/nowhere/model,3") }
  }

  static var dataFolder: String {
    var url = URL(fileURLWithPath: #filePath)
    for _ in 0..<3 { url.deleteLastPathComponent() }
    return ProcessInfo.processInfo.environment["INSIGHTFACE_TEST_DATA"]
      ?? url.appendingPathComponent("../shared/data").standardized.path
  }

  static var hasData: Bool { FileManager.default.fileExists(atPath: dataFolder + "/retinaface-mnet25") }
  static var isSlow: Bool { ProcessInfo.processInfo.environment["INSIGHTFACE_SLOW_TESTS"] == "1" }

  @Test(.enabled(if: hasData && isSlow, "slow, or no checkpoints"))
  func originalWeightsTellPeopleApart() throws {
    let root = Self.dataFolder
    let analysis = try FaceAnalysis.load(
      detector: root + "/retinaface-mnet25/mnet.25", recognizer: root + "/mobilefacenet-y1/model",
      detection: DetectionOptions(selection: .central(1)))
    let text = try String(contentsOfFile: root + "/lfw-photos/pairs.txt", encoding: .utf8)
    // A line of three fields names two photos of one person, one of four two people.
    let lines = text.split(separator: "\n").map { $0.split(whereSeparator: \.isWhitespace).map(String.init) }
    let same = lines.filter { $0.count == 3 }.prefix(3)
    let different = lines.filter { $0.count == 4 }.prefix(3)
    func embedding(_ name: String, _ number: String) throws -> [Float] {
      let digits = String(repeating: "0", count: max(0, 4 - number.count)) + number
      let image = try Image.read(path: "\(root)/lfw-photos/\(name)/\(name)_\(digits).jpg", turnsUpright: true)
      return try #require(try analysis.faces(in: image).first).embedding
    }
    for line in same {
      let pair = (try embedding(line[0], line[1]), try embedding(line[0], line[2]))
      #expect(try #require(FaceSimilarity(pair.0, pair.1)).cosine > 0.35)
    }
    for line in different {
      let pair = (try embedding(line[0], line[1]), try embedding(line[2], line[3]))
      #expect(try #require(FaceSimilarity(pair.0, pair.1)).cosine < 0.3)
    }
  }
}
