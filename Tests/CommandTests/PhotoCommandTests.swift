import Foundation
import Imaging
import Testing

@Suite(.enabled(if: program != nil, programMissing)) struct PhotoCommandTests {
  @Test(arguments: ["detect", "align", "embed", "compare", "enroll", "search", "cluster"])
  func `Every command for photos has help with an example`(_ name: String) throws {
    let run = try insightface(name, "--help")
    #expect(run.status == 0 && run.output.contains("\n  insightface \(name) "), "\(run.output)")
  }

  @Test func `What is missing is named`() throws {
    let scratch = try Scratch()
    let photo = try scratch.put(try Image(width: 8, height: 8).png(), "a.png")
    let model = try insightface("detect", "--model", "\(scratch.path)/none", photo)
    #expect(model.status == 1 && model.errors.contains("none-symbol.json"), "\(model.errors)")
    try FileManager.default.createDirectory(atPath: "\(scratch.path)/empty", withIntermediateDirectories: true)
    let folder = try insightface("detect", "--model", "\(scratch.path)/none", "\(scratch.path)/empty")
    #expect(folder.status == 1 && folder.errors.contains("no photos"), "\(folder.errors)")
    #expect(try insightface("detect", photo).status == 64)
    let network = try insightface("detect", "--model", "x", "--network", "net7", photo)
    #expect(network.status == 64 && network.errors.contains("net3"), "\(network.errors)")
  }

  @Test(.enabled(if: realData != nil, realDataMissing))
  func `Faces are found, drawn and cut out; what is no photo is reported`() throws {
    let root = try #require(realData)
    let scratch = try Scratch()
    let source = "\(root)/lfw-photos/Abdullah_Gul"
    let name = try #require(try FileManager.default.contentsOfDirectory(atPath: source).min())
    // Small, because the tests run a slow executor.
    let photo = try Image.read(path: "\(source)/\(name)").resized(width: 125, height: 125)
    try scratch.put(photo.jpeg(), "photos/person/one.jpg")
    try scratch.put(Array("a letter, not a photo".utf8), "photos/person/letter.jpg")
    try scratch.put(try Image(width: 40, height: 40, fill: .white).png(), "photos/white.png")
    let photos = "\(scratch.path)/photos"
    let model = "\(root)/retinaface-mnet25/mnet.25"
    let found = try insightface("detect", "--model", model, photos, "--draw", "\(scratch.path)/drawn")
    #expect(found.status == 1 && found.errors.contains("letter.jpg") && found.errors.contains("neither JPEG nor PNG"))
    let lines = found.output.split(separator: "\n")
    try #require(lines.count == 2)
    struct Line: Decodable {
      struct Face: Decodable {
        var box: [Double]
        var score: Double
        var landmarks: [[Double]]
      }
      var image: String
      var width: Int
      var faces: [Face]
    }
    let one = try JSONDecoder().decode(Line.self, from: Data(lines[0].utf8))
    #expect(one.image == photos + "/person/one.jpg" && one.width == 125 && one.faces.count == 1)
    let face = try #require(one.faces.first)
    #expect(face.score > 0.9 && face.landmarks.count == 5)
    // The people of this data set look out of the middle of their photos.
    #expect(face.box[0] < 62 && face.box[2] > 62 && face.box[1] < 62 && face.box[3] > 62)
    #expect(try JSONDecoder().decode(Line.self, from: Data(lines[1].utf8)).faces.isEmpty)
    #expect(try Image.read(path: "\(scratch.path)/drawn/person/one.jpg").width == 125)

    try FileManager.default.removeItem(atPath: photos + "/person/letter.jpg")
    let crops = "\(scratch.path)/crops"
    let aligned = try insightface("align", "--model", model, photos, "--output", crops)
    #expect(aligned.status == 0 && aligned.output.contains("no face: \(photos)/white.png"), "\(aligned.errors)")
    #expect(try Image.read(path: "\(crops)/person/one.jpg").height == 112)
    let again = try insightface("align", "--model", model, photos, "--output", crops)
    #expect(again.output.contains("0 crops") && again.output.contains("1 photos done before"), "\(again.output)")
  }
}
