import Formats
import Foundation
import Testing

@Suite(.enabled(if: program != nil, programMissing)) struct DoorTests {
  @Test(arguments: ["pack", "pairs", "info", "check", "unpack", "synth"])
  func `Every data set command has help with an example`(_ name: String) throws {
    let run = try insightface("dataset", name, "--help")
    #expect(run.status == 0 && run.errors.isEmpty)
    #expect(run.output.contains("\n  insightface dataset \(name) "), "\(run.output)")
  }

  @Test func `Wrong usage ends with 64 and says what is near`() throws {
    let word = try insightface("dataset", "chekc")
    #expect(word.status == 64 && word.errors.contains("did you mean 'check'"))
    #expect(try insightface("dataset", "pack").status == 64)
    let option = try insightface("dataset", "pack", "x", "--outptu", "y")
    #expect(option.status == 64 && option.errors.contains("--output"))
    let value = try insightface("dataset", "pack", "x", "--output", "y", "--quality", "101")
    #expect(value.status == 64 && value.errors.contains("1 to 100"))
    #expect(try insightface().status == 64)
  }

  @Test func `No library of LibTorch is loaded`() throws {
    let run = try insightface("--help", environment: ["LD_TRACE_LOADED_OBJECTS": "1"])
    #expect(run.output.contains("libturbojpeg") && !run.output.contains("torch"), "\(run.output)")
    #expect(!run.output.contains("libFoundation"), "the command starts without Foundation")
  }

  /// A copy of the program in a folder of its own, so that a training program of the test's making stands beside it.
  private func lonely(_ scratch: Scratch, training script: String? = nil) throws -> String {
    let copy = "\(scratch.path)/bin/insightface"
    try FileManager.default.createDirectory(atPath: "\(scratch.path)/bin", withIntermediateDirectories: true)
    try FileManager.default.copyItem(atPath: try #require(program), toPath: copy)
    if let script {
      let path = try scratch.put(script.utf8, "bin/insightface-train")
      try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: path)
    }
    return copy
  }

  @Test(arguments: ["train", "verify", "quickstart"])
  func `Training commands are handed over with all their arguments`(_ name: String) throws {
    let scratch = try Scratch()
    let copy = try lonely(scratch, training: "#!/bin/sh\nprintf '<%s>' \"$@\"\nexit 7\n")
    // `verify` is a command of its own, but for what LibTorch alone can do.
    let first = name == "verify" ? ["--device", "cuda:1"] : ["--lr", "0.1"]
    let run = try insightface(name, first[0], first[1], "--unknown=a b", "", "--help", at: copy)
    #expect(run.status == 7 && run.output == "<\(name)><\(first[0])><\(first[1])><--unknown=a b><><--help>")
    // Reached through a link, the program still finds its neighbour.
    try FileManager.default.createSymbolicLink(atPath: "\(scratch.path)/link", withDestinationPath: copy)
    #expect(
      try insightface(name, first[0], first[1], at: "\(scratch.path)/link").output
        == "<\(name)><\(first[0])><\(first[1])>")
  }

  @Test func `The training program may stand on the path, and its absence is told`() throws {
    let scratch = try Scratch()
    let copy = try lonely(scratch)
    let absent = try insightface("train", "--help", at: copy, environment: ["PATH": "/nowhere"])
    #expect(absent.status == 1 && absent.errors.contains("insightface-train") && absent.errors.contains("make build"))
    let path = try scratch.put("#!/bin/sh\necho found\n".utf8, "elsewhere/insightface-train")
    try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: path)
    let found = try insightface("train", at: copy, environment: ["PATH": "/nowhere:\(scratch.path)/elsewhere"])
    #expect(found.status == 0 && found.output == "found\n")
  }

  @Test func `The doctor names what is missing`() throws {
    let scratch = try Scratch()
    let copy = try lonely(scratch)
    let ill = try insightface("doctor", at: copy, environment: ["PATH": "/nowhere", "OMP_NUM_THREADS": "many"])
    #expect(ill.status == 1 && ill.output.contains("problem: ") && ill.output.contains("make build"), "\(ill.output)")
    #expect(ill.output.contains("note: OMP_NUM_THREADS=many"))
    let version = ill.output.split(separator: "\n").first { $0.hasPrefix("libjpeg-turbo") }
    #expect(try #require(version).contains { $0.isNumber })

    _ = try scratch.put("#!/bin/sh\necho 'insightface-train 9.9 (LibTorch 9)'\n".utf8, "bin/insightface-train")
    try FileManager.default.setAttributes(
      [.posixPermissions: 0o755], ofItemAtPath: "\(scratch.path)/bin/insightface-train")
    let well = try insightface("doctor", at: copy, environment: ["OMP_NUM_THREADS": "1"])
    #expect(
      well.status == 0 && well.output.contains("LibTorch 9)") && !well.output.contains("problem:"), "\(well.output)")
    _ = try scratch.put("#!/bin/sh\necho broken; exit 3\n".utf8, "bin/insightface-train")
    let broken = try insightface("doctor", at: copy)
    #expect(broken.status == 1 && broken.output.contains("status 3): broken"), "\(broken.output)")
  }
}

@Suite(.enabled(if: program != nil, programMissing)) struct DatasetCommandTests {
  @Test func `Pack, info, check and unpack go round byte for byte`() throws {
    let scratch = try Scratch()
    let files = try scratch.people()
    let (source, packed) = ("\(scratch.path)/people", "\(scratch.path)/packed")
    let before = try insightface("dataset", "info", source)
    #expect(before.status == 0 && before.output.contains("identity folders"), "\(before.errors)")
    let pack = try insightface("dataset", "pack", source, "--output", packed)
    #expect(pack.status == 0 && pack.output.contains("2 identities, 4 images (0 encoded anew), 0 skipped"))
    #expect(scratch.files("packed") == ["names.txt", "property", "train.idx", "train.rec"])
    #expect(try scratch.bytes("packed/names.txt") == Array("Ann_Lee\nbob\n".utf8))

    let info = try insightface("dataset", "info", packed, "--json")
    let object = try #require(try JSONSerialization.jsonObject(with: Data(info.output.utf8)) as? [String: Any])
    let record = try #require((object["records"] as? [[String: Any]])?.first)
    #expect(
      record["images"] as? Int == 4 && record["identities"] as? Int == 2 && record["layout"] as? String == "faces")
    #expect((record["images_per_identity"] as? [String: Double]) == ["min": 2, "median": 2, "max": 2])
    #expect((record["property"] as? [String: Int]) == ["num_classes": 2, "height": 112, "width": 112])

    let check = try insightface("dataset", "check", packed)
    #expect(check.status == 0 && check.output.contains("no fault found") && check.output.contains("4 images decode"))
    let unpack = try insightface("dataset", "unpack", "\(packed)/train.rec", "--output", "\(scratch.path)/out")
    #expect(unpack.status == 0 && unpack.output.contains("4 images written"))
    #expect(scratch.files("out") == files.keys.sorted())
    for (name, bytes) in files { #expect(try scratch.bytes("out/\(name)") == bytes, "\(name)") }
    let again = try insightface("dataset", "unpack", "\(packed)/train.rec", "--output", "\(scratch.path)/out")
    #expect(again.status == 0 && again.output.contains("0 images written, 4 already there"))

    let refused = try insightface("dataset", "pack", source, "--output", packed)
    #expect(refused.status == 1 && refused.errors.contains("--overwrite"))
    #expect(try insightface("dataset", "pack", source, "--output", packed, "--overwrite").status == 0)
  }

  @Test func `Lists are packed as folders are`() throws {
    let scratch = try Scratch()
    try scratch.people()
    #expect(try insightface("dataset", "pack", "\(scratch.path)/people", "--output", "\(scratch.path)/a").status == 0)
    let lines = scratch.files("people").map { "1\t\($0)\t\($0.hasPrefix("bob") ? 5 : 3)\n" }
    let list = try scratch.put(lines.reversed().joined().utf8, "train.lst")
    let run = try insightface(
      "dataset", "pack", list, "--root", "\(scratch.path)/people", "--output", "\(scratch.path)/b")
    #expect(run.status == 0, "\(run.errors)")
    #expect(try scratch.bytes("b/train.rec") == scratch.bytes("a/train.rec"))
    #expect(try scratch.bytes("b/names.txt") == Array("3\n5\n".utf8))
    let bad = try scratch.put("1\tx.jpg\t0\nwhat is this\n".utf8, "bad.lst")
    let error = try insightface("dataset", "pack", bad, "--output", "\(scratch.path)/c")
    #expect(error.status == 1 && error.errors.contains("bad.lst, line 2") && !scratch.exists("c/train.rec"))
  }

  @Test func `Images of another size are an error until they may be changed`() throws {
    let scratch = try Scratch()
    try scratch.people()
    try scratch.put(try jpeg(5, width: 90, height: 130), "people/bob/wide.jpg")
    let cmyk = try Data(contentsOf: fixture("imaging/cmyk.jpg"))
    try scratch.put(cmyk, "people/bob/inks.jpg")
    let source = "\(scratch.path)/people"
    let refused = try insightface("dataset", "pack", source, "--output", "\(scratch.path)/a")
    #expect(refused.status == 1 && refused.errors.contains("inks.jpg") && refused.errors.contains("--resize"))
    #expect(!scratch.exists("a/train.rec") && !scratch.exists("a/property"))
    let run = try insightface("dataset", "pack", source, "--output", "\(scratch.path)/a", "--resize", "--quality", "70")
    #expect(run.status == 0 && run.output.contains("6 images (2 encoded anew)"), "\(run.errors)")
    #expect(try insightface("dataset", "check", "\(scratch.path)/a").status == 0)
    let small = try insightface("dataset", "pack", source, "--output", "\(scratch.path)/b", "--resize", "--size", "64")
    #expect(small.status == 0 && small.output.contains("(6 encoded anew)"))
    #expect(try scratch.bytes("b/property") == Array("2,64,64\n".utf8))
    #expect(try insightface("dataset", "check", "\(scratch.path)/b").status == 0)
  }

  @Test func `Files that are no images are named and left out, or fatal`() throws {
    let scratch = try Scratch()
    let files = try scratch.people()
    try scratch.put("no image".utf8, "people/bob/text.jpg")
    try scratch.put([], "people/bob/empty.jpg")
    try scratch.put(try #require(files["bob/bob_0001.jpg"]).prefix(900), "people/bob/cut.jpg")
    let source = "\(scratch.path)/people"
    let strict = try insightface("dataset", "pack", source, "--output", "\(scratch.path)/a", "--strict")
    #expect(strict.status == 1 && strict.errors.contains("cut.jpg") && !scratch.exists("a/train.rec"))
    let run = try insightface("dataset", "pack", source, "--output", "\(scratch.path)/a")
    #expect(run.status == 0 && run.output.contains("4 images (0 encoded anew), 3 skipped"), "\(run.output)")
    for name in ["text.jpg", "empty.jpg", "cut.jpg"] {
      #expect(run.output.contains("skipped: \(source)/bob/\(name): "))
    }
    let few = try insightface("dataset", "pack", source, "--output", "\(scratch.path)/b", "--minimum-images", "3")
    #expect(few.status == 1 && few.errors.contains("nothing to pack"))
  }

  @Test(arguments: [
    ["dataset", "pack", "/none", "--output", "/tmp"], ["dataset", "info", "/none"], ["dataset", "check", "/none"],
    ["dataset", "unpack", "/none.rec", "--output", "/tmp"], ["dataset", "check", "/none.bin"],
    ["dataset", "pairs", "/none.txt", "/tmp", "--output", "/tmp/none.bin"],
  ]) func `What is not there is named`(_ words: [String]) throws {
    let run =
      switch words.count {
      case 3: try insightface(words[0], words[1], words[2])
      case 5: try insightface(words[0], words[1], words[2], words[3], words[4])
      default: try insightface(words[0], words[1], words[2], words[3], words[4], words[5])
      }
    #expect(run.status == 1 && run.errors.hasPrefix("error: /none"), "\(run.errors)")
  }

  @Test func `Damaged records and indexes are found, and reading goes on behind them`() throws {
    let scratch = try Scratch()
    try scratch.people()
    let packed = "\(scratch.path)/packed"
    #expect(try insightface("dataset", "pack", "\(scratch.path)/people", "--output", packed).status == 0)
    let (records, index) = (try scratch.bytes("packed/train.rec"), try scratch.bytes("packed/train.idx"))
    let third = try FaceRecordFile(path: "\(packed)/train.rec").offset(at: 2)

    try scratch.put(records.prefix(third + 50), "packed/train.rec")
    let cut = try insightface("dataset", "check", packed)
    #expect(cut.status == 1 && cut.output.contains("2 images decode"), "\(cut.output)")
    #expect(cut.output.contains("first bad offset: \(third)\n"))
    #expect(try insightface("dataset", "unpack", "\(packed)/train.rec", "--output", "\(scratch.path)/x").status == 1)

    var spoilt = records
    // Behind 8 bytes of the record and 24 of its header: the JPEG's first byte.
    spoilt[third + 32] ^= 0xff
    try scratch.put(spoilt, "packed/train.rec")
    let damaged = try insightface("dataset", "check", packed, "--threads", "3")
    #expect(damaged.status == 1 && damaged.output.contains("3 images decode"), "\(damaged.output)")
    #expect(damaged.output.contains("first bad offset: \(third)\n"))

    try scratch.put(records, "packed/train.rec")
    let lines = String(decoding: index, as: UTF8.self).replacingOccurrences(
      of: "\t\(third)\n", with: "\t\(third + 8)\n")
    try scratch.put(lines.utf8, "packed/train.idx")
    let stepped = try insightface("dataset", "check", packed)
    #expect(stepped.status == 1 && stepped.output.contains("first bad offset: \(third)\n"), "\(stepped.output)")
    try scratch.put(index, "packed/train.idx")
    #expect(try insightface("dataset", "check", packed).status == 0)
  }

  @Test func `Pairs are read back`() throws {
    let scratch = try Scratch()
    let files = try scratch.people()
    let pairs = try scratch.put("1\t1\nbob\t1\t2\nbob\t2\tAnn_Lee\t1\n".utf8, "pairs.txt")
    let bin = "\(scratch.path)/lfw.bin"
    let run = try insightface("dataset", "pairs", pairs, "\(scratch.path)/people", "--output", bin)
    #expect(run.status == 0 && run.output.contains("2 pairs, 1 of one person, 1 of different people"), "\(run.errors)")
    let set = try VerificationSet.read(path: bin)
    let names = ["bob/bob_0001.jpg", "bob/bob_0002.jpg", "bob/bob_0002.jpg", "Ann_Lee/Ann_Lee_0001.jpg"]
    #expect(set.isSame == [true, false] && set.images == names.compactMap { files[$0] }.map { .encoded($0) })
    let info = try insightface("dataset", "info", bin)
    #expect(info.output.contains("pickle protocol         4") && info.output.contains("4 JPEG or PNG files"))
    #expect(try insightface("dataset", "check", bin).status == 0)

    let lost = try scratch.put("bob\t1\t2\nbob\t1\tzoe\t1\n".utf8, "lost.txt")
    let missing = try insightface(
      "dataset", "pairs", lost, "\(scratch.path)/people", "--output", "\(scratch.path)/y.bin")
    #expect(missing.status == 1 && missing.errors.contains("line 2: zoe/zoe_0001.jpg") && !scratch.exists("y.bin"))
    let bad = try scratch.put("bob\t1\t2\nbob one 2\n".utf8, "bad.txt")
    let malformed = try insightface(
      "dataset", "pairs", bad, "\(scratch.path)/people", "--output", "\(scratch.path)/y.bin")
    #expect(malformed.status == 1 && malformed.errors.contains("bad.txt, line 2"), "\(malformed.errors)")

    let evil = try scratch.put("cos\nsystem\n(S'touch \(scratch.path)/pwned'\ntR.".utf8, "evil.bin")
    let refused = try insightface("dataset", "info", evil)
    #expect(refused.status == 1 && refused.errors.contains("evil.bin") && !scratch.exists("pwned"), "\(refused.errors)")
  }

  @Test func `A full disk is an error, and nothing half written stays`() throws {
    let scratch = try Scratch()
    try scratch.people()
    let run = try insightface(
      "dataset", "pack", "\(scratch.path)/people", "--output", "\(scratch.path)/packed", limit: 4)
    #expect(run.status == 1 && run.errors.contains("train.rec") && run.errors.contains("free some space"), "\(run)")
    #expect(scratch.files("packed").filter { $0.contains("train") }.isEmpty, "\(scratch.files("packed"))")
  }

  @Test func `Drawn data is the same for every number of threads, and balanced in every fold`() throws {
    let scratch = try Scratch()
    for (name, threads) in [("a", "1"), ("b", "3")] {
      let run = try insightface(
        "dataset", "synth", "--output", "\(scratch.path)/\(name)", "--identities", "4", "--images", "3", "--pairs",
        "40",
        "--held-out", "5", "--seed", "7", "--threads", threads)
      #expect(run.status == 0, "\(run.errors)")
      #expect(try insightface("dataset", "check", "\(scratch.path)/\(name)").status == 0)
    }
    for file in ["train.rec", "train.idx", "property", "synth.bin"] {
      #expect(try scratch.bytes("a/\(file)") == scratch.bytes("b/\(file)"), "\(file)")
    }
    let set = try VerificationSet.read(path: "\(scratch.path)/a/synth.bin")
    #expect(set.isSame.count == 40)
    for fold in 0..<10 { #expect(set.isSame[4 * fold..<4 * fold + 4].count { $0 } == 2) }
    let file = try FaceRecordFile(path: "\(scratch.path)/a/train.rec")
    let training = Set(try (0..<file.imageCount).map { Array(try file.image(at: $0).encoded) })
    for case .encoded(let bytes) in set.images { #expect(!training.contains(bytes)) }
  }

  @Test func `Scenes come with labels in RetinaFace's form`() throws {
    let scratch = try Scratch()
    let run = try insightface(
      "dataset", "synth", "--output", scratch.path, "--identities", "2", "--images", "1", "--pairs", "0", "--scenes",
      "2",
      "--contact-sheet", "\(scratch.path)/sheet.jpg")
    #expect(run.status == 0 && scratch.exists("sheet.jpg") && !scratch.exists("synth.bin"), "\(run.errors)")
    let lines = String(decoding: try scratch.bytes("label.txt"), as: UTF8.self).split(separator: "\n")
    #expect(lines.filter { $0.hasPrefix("# ") }.map { String($0.dropFirst(2)) } == scratch.files("images"))
    let faces = lines.filter { !$0.hasPrefix("#") }
    #expect(faces.count >= 2)
    for face in faces {
      let numbers = face.split(separator: " ").map { Double($0) ?? .nan }
      try #require(numbers.count == 20 && numbers.allSatisfy(\.isFinite))
      let (x, y, width, height) = (numbers[0], numbers[1], numbers[2], numbers[3])
      for point in 0..<5 {
        #expect((x...x + width).contains(numbers[4 + 3 * point]) && (y...y + height).contains(numbers[5 + 3 * point]))
      }
    }
  }

  @Test(.enabled(if: realData != nil, realDataMissing)) func `The real record file has no fault`() throws {
    let data = try #require(realData)
    let check = try insightface("dataset", "check", "\(data)/lfw-faces/train.rec")
    #expect(check.status == 0 && check.output.contains("3467 images decode, 476 identities"), "\(check.output)")
    let scratch = try Scratch()
    let unpack = try insightface(
      "dataset", "unpack", "\(data)/lfw-faces/train.rec", "--output", "\(scratch.path)/out")
    #expect(unpack.status == 0 && unpack.output.contains("476 identities, 3467 images written"), "\(unpack.output)")
    let pack = try insightface("dataset", "pack", "\(scratch.path)/out", "--output", "\(scratch.path)/packed")
    #expect(pack.status == 0, "\(pack.errors)")
    // The file was written by MXNet's own record writer.
    for name in ["train.rec", "train.idx", "property"] {
      let original = try [UInt8](Data(contentsOf: URL(fileURLWithPath: "\(data)/lfw-faces/\(name)")))
      #expect(try scratch.bytes("packed/\(name)") == original, "\(name)")
    }
  }
}

private func fixture(_ name: String) -> URL {
  URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .appendingPathComponent("Fixtures/\(name)")
}
