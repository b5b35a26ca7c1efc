import Foundation
import Imaging
import Testing

/// Commands from photo to identity, with the small networks of the fixtures, whose faces are none but always the same.
@Suite(.enabled(if: program != nil, programMissing)) struct GalleryCommandTests {
  static let pack = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .appendingPathComponent("Fixtures/packs").path
  static let models = ["--models", pack, "--det-size", "160"]

  /// Two people with three photos each, one that shows nothing, a letter.
  static func photos(_ scratch: Scratch) throws -> String {
    for (name, photo) in [("ann", "photo0.png"), ("bob", "photo2.png")] {
      let image = try Image.read(path: "\(pack)/\(photo)")
      for number in 0..<3 {
        var copy = image
        copy.fillRectangle(Rectangle(x: 40, y: 40, width: 30, height: 30), Colour(UInt8(80 * number), 0, 0))
        try scratch.put(copy.png(), "photos/\(name)/\(number).png")
      }
    }
    return scratch.path + "/photos"
  }

  @Test func `A pack finds faces and landmarks, and tells its licence`() throws {
    let run = try insightface(["detect", "\(Self.pack)/photo0.png", "--largest", "2"] + Self.models)
    #expect(run.status == 0 && run.errors.contains("non-commercial"), "\(run.errors)")
    #expect(run.output.contains("\"landmark_2d_106\":[[") && run.output.components(separatedBy: "\"score\"").count == 3)
    let missing = try insightface("detect", "--models", "no-such-pack", "\(Self.pack)/photo0.png")
    #expect(missing.status == 1 && missing.errors.contains(".insightface/models/no-such-pack"), "\(missing.errors)")
    #expect(try insightface("detect", "\(Self.pack)/photo0.png").status == 64)
    #expect(try insightface(["detect", "\(Self.pack)/photo0.png", "--model", "x"] + Self.models).status == 64)
    #expect(try insightface(["detect", "\(Self.pack)/photo0.png", "--pyramid"] + Self.models).status == 64)
  }

  @Test func `People are enrolled, found again, and unknown below the threshold`() throws {
    let scratch = try Scratch()
    let photos = try Self.photos(scratch)
    let gallery = scratch.path + "/people.gallery"
    let enrolled = try insightface(["enroll", gallery, photos] + Self.models)
    #expect(
      enrolled.status == 0 && enrolled.output.contains("6 faces of 2 people"), "\(enrolled.output)\(enrolled.errors)")
    let again = try insightface(["enroll", gallery, photos] + Self.models)
    #expect(again.output.contains("0 faces added, 6 there before"), "\(again.output)")
    let replaced = try insightface(
      ["enroll", gallery, "\(photos)/ann/0.png", "--name", "ann", "--replace"] + Self.models)
    #expect(replaced.output.contains("4 faces of 2 people"), "\(replaced.output)")

    struct Line: Decodable {
      struct Match: Decodable {
        var name: String
        var cosine: Double
      }
      var name: String?
      var matches: [Match]
    }
    func search(_ more: String...) throws -> Line {
      let run = try insightface(
        ["search", gallery, "\(photos)/bob/1.png", "--main", "--top", "2"] + Self.models + more)
      #expect(run.status == 0, "\(run.errors)")
      return try JSONDecoder().decode(Line.self, from: Data(run.output.utf8))
    }
    let found = try search("--same-at", "0.9")
    #expect(found.name == "bob" && found.matches.count == 2 && abs(found.matches[0].cosine - 1) < 1e-5)
    #expect(try search("--same-at", "1").matches.count == 2)
    let other = try insightface(
      ["search", gallery, "\(photos)/bob/1.png", "--embed-flip"] + Self.models)
    #expect(other.status == 1 && other.errors.contains("another recognition network"), "\(other.errors)")
    #expect(try insightface(["search", gallery, "\(photos)/bob/1.png", "--at-far", "0.2"] + Self.models).status == 64)
    let stranger = try insightface(["search", "\(photos)/bob/1.png", "\(photos)/bob/1.png"] + Self.models)
    #expect(stranger.status == 1, "a photo is no gallery")
  }

  @Test func `Two photos are compared at a stated false accept rate`() throws {
    let scratch = try Scratch()
    let photos = try Self.photos(scratch)
    let run = try insightface(
      ["compare", "\(photos)/ann/0.png", "\(photos)/ann/0.png", "--at-far", "0.0001"] + Self.models)
    #expect(run.status == 0 && run.output.hasPrefix("cosine 1, squared distance "), "\(run.output)\(run.errors)")
    #expect(run.output.contains("same (threshold: cosine 0.391, at a FAR of 0.0001)"), "\(run.output)")
    #expect(run.errors.contains("not with this network"), "the thresholds are another network's")
  }

  @Test func `Photos are grouped`() throws {
    let scratch = try Scratch()
    let photos = try Self.photos(scratch)
    let output = scratch.path + "/groups"
    let command = ["cluster", photos, "--main", "--same-at", "0.999", "--output", output] + Self.models
    let run = try insightface(command)
    #expect(run.status == 0, "\(run.errors)")
    struct Groups: Decodable {
      struct Group: Decodable {
        struct Face: Decodable { var image: String }
        var faces: [Face]
      }
      var groups: [Group]
    }
    let groups = try JSONDecoder().decode(Groups.self, from: Data(run.output.utf8)).groups
    #expect(groups.reduce(0) { $0 + $1.faces.count } == 6)
    for group in groups {
      #expect(Set(group.faces.map { $0.image.contains("/ann/") }).count == 1, "different photos do not mix")
    }
    #expect(scratch.files("groups").count == 6)
    #expect(try insightface(command).status == 1, "what stands there is not written over")
    #expect(!scratch.exists("groups.part"))
  }

  @Test func `Outputs among the photos are no photos, and no photo is written over`() throws {
    let scratch = try Scratch()
    let photos = try Self.photos(scratch)
    try scratch.put(try Image.read(path: "\(Self.pack)/photo2.png").jpeg(), "photos/ann/0.jpg")
    let before = try scratch.files("photos").map { try scratch.bytes("photos/\($0)") }
    func run(_ words: String...) throws -> Run { try insightface(words + Self.models) }
    for _ in 0..<2 {
      let drawn = try run("detect", photos, "--draw", "\(photos)/drawn", "--wider", "\(scratch.path)/wider")
      #expect(drawn.status == 0 && drawn.output.split(separator: "\n").count == 7, "\(drawn.errors)")
    }
    let names = ["ann/0.jpg", "ann/0.png", "ann/1", "ann/2", "bob/0", "bob/1", "bob/2"]
    #expect(scratch.files("photos/drawn") == names.map { $0 + ".jpg" })
    #expect(scratch.files("wider") == names.map { $0 + ".txt" })
    try FileManager.default.removeItem(atPath: "\(photos)/drawn")
    for done in [0, 7] {
      let aligned = try run("align", photos, "--output", "\(photos)/crops")
      #expect(aligned.output.contains("crops of 7 photos written, \(done) photos done before"), "\(aligned.output)")
    }
    #expect(scratch.files("photos/crops") == names.map { $0 + ".jpg" })
    #expect(try scratch.bytes("photos/crops/ann/0.jpg.jpg") != scratch.bytes("photos/crops/ann/0.png.jpg"))
    try FileManager.default.removeItem(atPath: "\(photos)/crops")
    for command in [
      ["detect", photos, "--draw", photos], ["align", photos, "--output", photos + "/"],
      ["align", "\(photos)/ann/0.jpg", "--output", "\(photos)/ann"], ["dataset", "build", photos, "--output", photos],
      ["embed", photos, "--output", "\(photos)/ann/0.jpg"], ["enroll", "\(photos)/ann/0.jpg", photos],
      ["detect", photos, "--output", "\(photos)/ann/0.jpg"],
    ] {
      let refused = try insightface(command + Self.models)
      #expect(refused.status == 1 && refused.errors.contains("written"), "\(command): \(refused.errors)")
    }
    #expect(try scratch.files("photos").map { try scratch.bytes("photos/\($0)") } == before)
  }

  @Test func `Groups appear whole or not at all`() throws {
    let scratch = try Scratch()
    let photos = try Self.photos(scratch)
    func cluster(_ output: String, limit: Int? = nil) throws -> Run {
      try insightface(
        ["cluster", photos, "--main", "--same-at", "0.999", "--output", "\(photos)/\(output)"] + Self.models,
        limit: limit)
    }
    let full = try cluster("groups", limit: 1)
    #expect(full.status == 1 && !scratch.exists("photos/groups"), "\(full.errors)")
    #expect(scratch.exists("photos/groups.part"))
    let left = try cluster("groups/")
    #expect(
      left.status == 1 && left.errors.contains("groups.part") && left.errors.contains("remove it"), "\(left.errors)")
    try FileManager.default.removeItem(atPath: "\(photos)/groups.part")
    try FileManager.default.createDirectory(atPath: "\(photos)/groups.part", withIntermediateDirectories: true)
    let run = try cluster("groups/")
    #expect(run.status == 0 && scratch.files("photos/groups").count == 6, "\(run.errors)")
    #expect(!scratch.exists("photos/groups.part"))
    let other = try insightface("cluster", photos, "--models", "no-such-pack", "--output", "\(photos)/other")
    #expect(other.status == 1 && !scratch.exists("photos/other.part"), "\(other.errors)")
    let again = try cluster("groups")
    #expect(again.status == 1 && again.errors.contains("stands here already"), "\(again.errors)")
  }

  @Test func `An output that cannot be written is found before the work`() throws {
    let scratch = try Scratch()
    let photo = "\(Self.pack)/photo0.png"
    let models = ["--detector", "/nowhere/detector", "--recognizer", "/nowhere/recognizer"]
    for command in [
      ["embed", photo, "--output", "\(scratch.path)/none/faces.npy"],
      ["enroll", "\(scratch.path)/none/gallery", photo],
    ] {
      let run = try insightface(command + models)
      #expect(run.status == 1 && run.errors.contains("\(scratch.path)/none/"), "\(run.errors)")
      #expect(run.errors.contains("No such file or directory") && !run.errors.contains("/nowhere/"), "\(run.errors)")
    }
    // A folder where the second output would be.
    try FileManager.default.createDirectory(atPath: "\(scratch.path)/a.names.txt", withIntermediateDirectories: true)
    let names = try insightface(["embed", photo, "--output", "\(scratch.path)/a.npy"] + models)
    #expect(names.status == 1 && names.errors.contains("a.names.txt"), "\(names.errors)")
    #expect(scratch.files("").isEmpty, "checking leaves nothing behind")
  }

  @Test func `A data set is built of photos, goes on after a stop, and is the same each time`() throws {
    let scratch = try Scratch()
    let photos = try Self.photos(scratch)
    try scratch.put(Array("a letter".utf8), "photos/ann/letter.jpg")
    try scratch.put(try Image(width: 9, height: 9).png(), "photos/stray.png")
    func build(_ name: String, _ more: String...) throws -> Run {
      try insightface(
        ["dataset", "build", photos, "--output", "\(scratch.path)/\(name)", "--hold-out", "images"] + Self.models + more
      )
    }
    let run = try build("mine")
    #expect(run.status == 0 && run.output.contains("train.rec: 2 identities, 2 images"), "\(run.output)\(run.errors)")
    #expect(run.output.contains("2 dropped") && run.output.contains("held_out.bin: 4 pairs of 2 identities"))
    let dropped = String(decoding: try scratch.bytes("mine/dropped.txt"), as: UTF8.self)
    #expect(dropped.contains("letter.jpg\t") && dropped.contains("stray.png\tstands in no identity folder"))
    #expect(try insightface("dataset", "check", "\(scratch.path)/mine").status == 0)
    #expect(try build("mine").status == 1, "a data set is not written over")

    // As after a stop: some crops are there, train.rec is not.
    let before = try ["train.rec", "train.idx", "held_out.bin", "names.txt"].map { try scratch.bytes("mine/\($0)") }
    for name in ["train.rec", "held_out.bin", "crops/bob/1.jpg"] {
      try FileManager.default.removeItem(atPath: "\(scratch.path)/mine/\(name)")
    }
    let again = try build("mine")
    #expect(again.status == 0 && again.output.contains("(5 cut before)"), "\(again.output)\(again.errors)")
    #expect(
      before == (try ["train.rec", "train.idx", "held_out.bin", "names.txt"].map { try scratch.bytes("mine/\($0)") }))
    let other = try build("mine", "--overwrite", "--threshold", "0.6")
    #expect(other.status == 1 && other.errors.contains("other settings"), "\(other.errors)")
    let strangers = try insightface(
      ["dataset", "build", photos, "--output", "\(scratch.path)/none"] + Self.models)
    #expect(strangers.status == 1 && strangers.errors.contains("held out"), "two people are too few to hold out")
    #expect(!scratch.exists("none/train.rec"))
  }

  @Test func `A data set is replaced when the new one is whole, not before`() throws {
    let scratch = try Scratch()
    let photos = try Self.photos(scratch)
    let names = ["train.rec", "train.idx", "held_out.bin", "names.txt", "property"]
    func build(_ more: String...) throws -> Run {
      try insightface(
        ["dataset", "build", photos, "--output", "\(scratch.path)/mine", "--hold-out", "images"] + Self.models + more)
    }
    #expect(try build().status == 0)
    let before = try names.map { try scratch.bytes("mine/\($0)") }
    let failed = try build("--overwrite", "--minimum-images", "100")
    #expect(failed.status == 1 && failed.errors.contains("nothing to pack"), "\(failed.errors)")
    #expect(try names.map { try scratch.bytes("mine/\($0)") } == before)
    #expect(scratch.files("mine").allSatisfy { !$0.hasSuffix(".part") }, "\(scratch.files("mine"))")
    let none = try build("--overwrite", "--hold-out", "none")
    #expect(none.status == 0 && none.output.contains("2 identities, 6 images"), "\(none.errors)")
    #expect(!scratch.exists("mine/held_out.bin"), "its pairs are trained on now")
    #expect(try insightface("dataset", "check", "\(scratch.path)/mine").status == 0)
  }
}
