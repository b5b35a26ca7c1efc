import Formats
import Glibc
import Imaging
import Testing

@testable import FaceRecognition

/// Three people with 2, 1 and 3 images; gives name and bytes of each file.
private func people(_ scratch: Scratch, in root: String = "people") throws -> [String: [UInt8]] {
  var files: [String: [UInt8]] = [:]
  var number = 0
  for (name, count) in [("bob", 1), ("Åsa", 3), ("Alice", 2)] {
    for image in 1...count {
      number += 1
      let file = "\(name)/\(name)_\(padded(image, 4)).jpg"
      files[file] = try jpeg(number)
      try scratch.put(files[file] ?? [], "\(root)/\(file)")
    }
  }
  return files
}

private func packed(_ scratch: Scratch) throws -> String {
  _ = try people(scratch)
  let output = "\(scratch.path)/packed"
  _ = try DatasetPacker().pack(ImageList(path: "\(scratch.path)/people"), to: output)
  return output
}

@Suite struct PackingTests {
  @Test func `What is packed is found in order by the check and unpacked byte for byte`() throws {
    let scratch = Scratch()
    let files = try people(scratch)
    let output = "\(scratch.path)/made/packed"
    let report = try DatasetPacker(threads: 3).pack(ImageList(path: "\(scratch.path)/people/"), to: output)
    #expect(report.imageCount == 6 && report.identityCount == 3 && report.encodedCount == 0)
    #expect(report.skipped.isEmpty && report.leftOut.isEmpty)
    // Byte order: capitals first, letters beyond ASCII last.
    #expect(try contents("\(output)/names.txt") == Array("Alice\nbob\nÅsa\n".utf8))
    #expect(try contents("\(output)/property") == Array("3,112,112\n".utf8))
    let file = try FaceRecordFile(path: "\(output)/train.rec")
    #expect(try (0..<6).map { try file.image(at: $0).label } == [0, 0, 1, 2, 2, 2])

    let check = try DatasetCheck(threads: 3).check(path: "\(output)/train.rec")
    #expect(check.problemCount == 0 && check.firstBadOffset == nil && check.notes.isEmpty)
    #expect(check.recordCount == 10 && check.imageCount == 6 && check.identityCount == 3)

    let summary = try RecordSummary(path: "\(output)/train.rec")
    #expect(summary.layout == .faces && summary.imageCount == 6 && summary.identityCount == 3)
    #expect(summary.minimumImages == 1 && summary.medianImages == 2 && summary.maximumImages == 3)
    #expect(summary.firstSizes == [PixelSize(width: 112, height: 112): 6])

    let out = "\(scratch.path)/out"
    let first = try DatasetUnpacker().unpack(path: "\(output)/train.rec", to: out)
    #expect(first.writtenCount == 6 && first.presentCount == 0 && first.problemCount == 0 && first.identityCount == 3)
    for (name, bytes) in files { #expect(try contents("\(out)/\(name)") == bytes) }
    // A run that was stopped goes on; a file of other bytes is not touched.
    unlink("\(out)/bob/bob_0001.jpg")
    // What a killed run left half written goes; what a living one is writing (it holds a lock) stays.
    let left = try scratch.put("half", "out/bob/.unpack.1z9.part")
    let (living, descriptor) = try openTemporary(folder: "\(out)/bob", name: "unpack", path: out)
    let second = try DatasetUnpacker().unpack(path: "\(output)/train.rec", to: out)
    #expect(second.writtenCount == 1 && second.presentCount == 5)
    #expect(!fileExists(left) && fileExists(living))
    close(descriptor)
    removeAbandoned(folder: "\(out)/bob", name: "unpack")
    #expect(!fileExists(living))
    try scratch.put("mine", "out/bob/bob_0001.jpg")
    #expect { try DatasetUnpacker().unpack(path: "\(output)/train.rec", to: out) } throws: {
      ($0 as? FormatError)?.code == .mismatch
    }
    #expect(try contents("\(out)/bob/bob_0001.jpg") == Array("mine".utf8))
  }

  @Test func `Images that do not decode are skipped and named, or fatal`() throws {
    let scratch = Scratch()
    _ = try people(scratch)
    try scratch.put("this is text", "people/bob/a.jpg")
    try scratch.put([], "people/bob/b.JPG")
    try scratch.put(try jpeg(9).prefix(700), "people/Alice/cut.jpeg")
    try scratch.put("nothing but text", "people/zoe/z.png")
    try scratch.put("a note", "people/readme.txt")
    let list = try ImageList(path: "\(scratch.path)/people")
    #expect(list.otherFileCount == 1 && list.imageCount == 10)
    let report = try DatasetPacker().pack(list, to: "\(scratch.path)/packed")
    #expect(report.imageCount == 6 && report.identityCount == 3)
    #expect(
      report.skipped.map { $0.path.split(separator: "/").suffix(2).joined(separator: "/") } == [
        "Alice/cut.jpeg", "bob/a.jpg", "bob/b.JPG", "zoe/z.png",
      ])
    #expect(report.skipped[1].message.contains("neither JPEG nor PNG"))
    #expect(report.skipped[2].message.contains("no bytes"))
    #expect(report.leftOut.map(\.name) == ["zoe"])
    #expect {
      try DatasetPacker(isStrict: true).pack(list, to: "\(scratch.path)/strict")
    } throws: { ($0 as? FormatError)?.path?.hasSuffix("Alice/cut.jpeg") == true }
    #expect(!fileExists("\(scratch.path)/strict/train.rec") && !fileExists("\(scratch.path)/strict/property"))
  }

  @Test func `Identities with few images are left out and labels stay without gaps`() throws {
    let scratch = Scratch()
    _ = try people(scratch)
    let output = "\(scratch.path)/packed"
    let report = try DatasetPacker(minimumImages: 2).pack(ImageList(path: "\(scratch.path)/people"), to: output)
    #expect(report.identityCount == 2 && report.imageCount == 5)
    #expect(report.leftOut.map(\.name) == ["bob"] && report.leftOut.map(\.images) == [1])
    #expect(try contents("\(output)/names.txt") == Array("Alice\nÅsa\n".utf8))
    #expect(try DatasetCheck().check(path: "\(output)/train.rec").problemCount == 0)
    // What was encoded anew for an identity that is left out is not in the file and does not count.
    let small = DatasetPacker(intake: ImageIntake(side: 64, resizes: true), minimumImages: 2)
    #expect(try small.pack(ImageList(path: "\(scratch.path)/people"), to: "\(scratch.path)/small").encodedCount == 5)
    #expect {
      try DatasetPacker(minimumImages: 4).pack(ImageList(path: "\(scratch.path)/people"), to: output)
    } throws: { "\($0)".contains("nothing to pack") }
    #expect(try RecordSummary(path: "\(output)/train.rec").imageCount == 5)
  }

  @Test func `The earlier files stay until the new ones are on the disk`() throws {
    let scratch = Scratch()
    let output = try packed(scratch)
    let names = ["train.rec", "train.idx", "property", "names.txt"]
    let before = try names.map { try contents("\(output)/\($0)") }
    let list = ImageList(identities: try Array(ImageList(path: "\(scratch.path)/people").identities.prefix(2)))
    #expect {
      try DatasetPacker().pack(
        list, to: output,
        beforeCommit: { () throws(FormatError) in
          throw FormatError(.diskFull, "no room for what goes with it")
        })
    } throws: { "\($0)".contains("no room") }
    #expect(try names.map { try contents("\(output)/\($0)") } == before)
    var seen: [[UInt8]] = []
    let report = try DatasetPacker().pack(
      list, to: output,
      beforeCommit: { () throws(FormatError) in
        for name in names { seen.append(try contents("\(output)/\(name)")) }
      })
    #expect(seen == before && report.identityCount == 2)
    #expect(try RecordSummary(path: "\(output)/train.rec").identityCount == 2)
  }

  @Test func `Other sizes are an error that names the file, or are encoded anew`() throws {
    let scratch = Scratch()
    _ = try people(scratch)
    try scratch.put(try jpeg(7, width: 200, height: 150), "people/bob/large.jpg")
    try scratch.put(try picture(8).png(), "people/bob/p.png")
    let list = try ImageList(path: "\(scratch.path)/people")
    #expect { try DatasetPacker().pack(list, to: "\(scratch.path)/packed") } throws: {
      "\($0)".contains("bob/large.jpg") && "\($0)".contains("200×150 JPEG") && "\($0)".contains("--resize")
    }
    let packer = DatasetPacker(intake: ImageIntake(resizes: true, quality: 90))
    let report = try packer.pack(list, to: "\(scratch.path)/packed")
    #expect(report.encodedCount == 2 && report.imageCount == 8)
    #expect(try DatasetCheck().check(path: "\(scratch.path)/packed/train.rec").problemCount == 0)
    let file = try FaceRecordFile(path: "\(scratch.path)/packed/train.rec")
    let expected = try picture(8).jpeg(quality: 90)
    #expect(try (0..<8).contains { try Array(file.image(at: $0).encoded) == expected })
  }

  @Test func `Lists of both forms, and their errors with the line`() throws {
    let scratch = Scratch()
    _ = try people(scratch)
    let im2rec = try scratch.put(
      "0\t10.000000\tpeople/bob/bob_0001.jpg\r\n\n2\t9.000000\tpeople/Alice/Alice_0002.jpg\n"
        + "1\t9.000000\tpeople/Alice/Alice_0001.jpg\n", "a.lst")
    let list = try ImageList(path: im2rec)
    #expect(list.identities.map(\.name) == ["9", "10"])
    #expect(list.identities[0].paths.map { $0.split(separator: "_").last } == ["0001.jpg", "0002.jpg"])
    #expect(try DatasetPacker().pack(list, to: "\(scratch.path)/a").imageCount == 3)
    let plain = try scratch.put("bob/bob_0001.jpg\tb\nAlice/Alice_0001.jpg\ta\n", "b.txt")
    #expect(try ImageList(path: plain, root: "\(scratch.path)/people").identities.map(\.name) == ["a", "b"])
    for (text, line) in [
      ("x.jpg\ta\nx.jpg\n", 2), ("0\ta\tx.jpg\n", 1), ("0\t1\tx.jpg\n\n1\t-2\ty.jpg\n", 3), ("x.jpg\ta\nx.jpg\tb\n", 2),
      ("0\t1\tx.jpg\ny.jpg\t1\n", 2), ("0\t1\t2\tx.jpg\n", 1), ("x.jpg\t\n", 1),
    ] {
      let path = try scratch.put(text, "bad.txt")
      #expect { try ImageList(path: path) } throws: { ($0 as? FormatError)?.line == line }
    }
    let binary = try scratch.put([0x41, 0x09, 0xff, 0xfe, 0x0a], "bad.txt")
    #expect { try ImageList(path: binary) } throws: { ($0 as? FormatError)?.line == 1 }
    let empty = try scratch.put("\n", "bad.txt")
    #expect(throws: FormatError.self) { try ImageList(path: empty) }
  }

  @Test func `The reference's list and the label in front of the path`() throws {
    let scratch = Scratch()
    _ = try people(scratch)
    let box = "\t1\t2\t110\t111"
    let points = String(repeating: "\t3.5", count: 10)
    let reference = try scratch.put(
      "1\tpeople/bob/bob_0001.jpg\t10\n1\tpeople/Alice/Alice_0001.jpg\t9\(box)\n"
        + "1\tpeople/Alice/Alice_0002.jpg\t9\(box)\(points)\n", "a.lst")
    let list = try ImageList(path: reference)
    #expect(list.identities.map(\.name) == ["9", "10"] && list.identities.map(\.paths.count) == [2, 1])
    #expect(try DatasetPacker().pack(list, to: "\(scratch.path)/a").imageCount == 3)
    let turned = try scratch.put("b\tbob/bob_0001.jpg\na.png\tAlice/Alice_0001\nc\t1.PNG\n", "b.txt")
    let byLabel = try ImageList(path: turned, root: "/r")
    #expect(byLabel.identities.map(\.name) == ["a.png", "b", "c"])
    #expect(byLabel.identities.map(\.paths) == [["/r/Alice/Alice_0001"], ["/r/bob/bob_0001.jpg"], ["/r/1.PNG"]])
    #expect(
      try ImageList(path: scratch.put("im/1\tb\nim/2\t a\n", "c.txt"), root: "/r").identities.map(\.name) == [
        " a", "b",
      ])
    for (text, line) in [
      ("1\tx.jpg\t1\n0\ty.jpg\t1\n", 2), ("2\tx.jpg\t1\n", 1), ("1\tx.jpg\t1\n1\ty.jpg\t1\t2\n", 2),
      ("1\tx.jpg\t1\t1\t2\t3\tx\n", 1), ("1\tx.jpg\t1.5\n", 1), ("x.jpg\ty.jpg\n", 1), ("1\t2\t3\n", 1),
      ("0\t1\tx.jpg\n1\ty.jpg\t1\n", 2), ("a\tx.jpg\n\ty.jpg\n", 2), ("just text\n", 1),
    ] {
      let path = try scratch.put(text, "bad.txt")
      #expect("\(text)") { try ImageList(path: path) } throws: { ($0 as? FormatError)?.line == line }
    }
  }

  @Test func `What folders and verification sets hold is told`() throws {
    let scratch = Scratch()
    _ = try people(scratch)
    try scratch.put(try picture(3, width: 40, height: 30).png(), "people/bob/b.png")
    try scratch.put("text", "people/zoe/note.txt")
    try scratch.put("text", "people/Alice/c.jpg")
    let folder = try FolderSummary(path: "\(scratch.path)/people")
    #expect(folder.imageCount == 8 && folder.identityCount == 3 && folder.emptyFolderCount == 1)
    #expect(folder.imagesPerIdentity == (2, 3, 3) && folder.otherFileCount == 1 && folder.unreadableCount == 1)
    #expect(folder.firstSizes == [PixelSize(width: 112, height: 112): 6, PixelSize(width: 40, height: 30): 1])
    #expect(throws: FormatError.self) { try FolderSummary(path: "\(scratch.path)/people/bob") }

    let images = [try jpeg(1), try jpeg(2)].map { VerificationImage.encoded($0) }
    for version in 2...5 {
      let path = "\(scratch.path)/\(version).bin"
      try VerificationSet(images: images, isSame: [true]).write(path: path, protocol: version)
      let set = try VerificationSummary(path: path)
      #expect(set.pickleProtocol == version && set.pixelArrayCount == 0)
    }
  }

  @Test(.enabled(if: realData != nil, realDataMissing))
  func `The pickles of others are told apart`() throws {
    let data = try #require(realData)
    for (name, version, pixels) in [
      ("lfw-faces/lfw_30pairs_py3_protocol2.bin", 2, 0), ("lfw-faces/lfw_30pairs_py3_protocol4.bin", 4, 0),
      ("foreign-records/small_lfw.bin", 3, nil),
    ] as [(String, Int?, Int?)] {
      let set = try VerificationSummary(path: "\(data)/\(name)")
      #expect(set.pickleProtocol == version, "\(name)")
      if let pixels { #expect(set.pixelArrayCount == pixels, "\(name)") }
    }
  }

  @Test func `What is not there is an error that names it`() throws {
    let scratch = Scratch()
    let missing = "\(scratch.path)/none"
    #expect { try ImageList(path: missing) } throws: { ($0 as? FormatError)?.code == .notFound }
    #expect { try DatasetFiles(path: missing) } throws: { ($0 as? FormatError)?.code == .notFound }
    #expect { try ImageList(path: scratch.path) } throws: { ($0 as? FormatError)?.code == .notFound }
    #expect { try DatasetFiles(path: scratch.path) } throws: { ($0 as? FormatError)?.code == .unsupported }
    #expect { try DatasetUnpacker().unpack(path: missing, to: scratch.path) } throws: {
      ($0 as? FormatError)?.code == .notFound
    }
  }

  @Test(arguments: ["../up\nbob\nx\n", "..\nb\nc\n", "a\na\nb\n", "a\n\nb\n", "a\nb\n"])
  func `Names that would lead astray are refused`(_ names: String) throws {
    let scratch = Scratch()
    let output = try packed(scratch)
    try scratch.put(names, "packed/names.txt")
    #expect(throws: FormatError.self) {
      try DatasetUnpacker().unpack(path: "\(output)/train.rec", to: "\(scratch.path)/out")
    }
    unlink("\(output)/names.txt")
    _ = try DatasetUnpacker().unpack(path: "\(output)/train.rec", to: "\(scratch.path)/out2")
    #expect(fileExists("\(scratch.path)/out2/0000002/0000002_0003.jpg"))
  }
}

@Suite struct CheckTests {
  @Test func `A record file that was cut`() throws {
    let scratch = Scratch()
    let output = try packed(scratch)
    let rec = "\(output)/train.rec"
    let whole = try contents(rec)
    let third = try FaceRecordFile(path: rec).offset(at: 2)
    try scratch.put(whole.prefix(third + 100), "packed/train.rec")
    let report = try DatasetCheck().check(path: rec)
    #expect(report.imageCount == 2 && report.firstBadOffset == third && report.problemCount > 1)
    unlink("\(output)/train.idx")
    let scanned = try DatasetCheck().check(path: rec)
    #expect(scanned.imageCount == 2 && scanned.firstBadOffset == third && scanned.problemCount == 1)
    try scratch.put([], "packed/train.rec")
    let empty = try DatasetCheck().check(path: rec)
    #expect(empty.imageCount == 0 && empty.problemCount == 1 && empty.firstBadOffset == 0)
  }

  @Test func `Damage inside a record costs that record alone`() throws {
    let scratch = Scratch()
    let output = try packed(scratch)
    let rec = "\(output)/train.rec"
    var bytes = try contents(rec)
    let file = try FaceRecordFile(path: rec)
    let (second, fourth) = (try file.offset(at: 1), try file.offset(at: 3))
    // The magic of one record, the first bytes of the image of another.
    bytes[second] ^= 0xff
    bytes[fourth + 8 + 24] = 0
    try scratch.put(bytes, "packed/train.rec")
    let report = try DatasetCheck().check(path: rec)
    #expect(report.imageCount == 4 && report.firstBadOffset == second)
    #expect(report.problems.contains { $0.offset == fourth && $0.message.contains("neither JPEG nor PNG") })
    #expect(report.problemCount == 2, "\(report.problems)")
  }

  @Test func `An index out of step`() throws {
    let scratch = Scratch()
    let output = try packed(scratch)
    let index = String(decoding: try contents("\(output)/train.idx"), as: UTF8.self)
    var lines = index.split(separator: "\n").map(String.init)
    lines[1] = lines[1].split(separator: "\t").enumerated().map {
      $0.offset == 1 ? "\((Int($0.element) ?? 0) + 4)" : "\($0.element)"
    }
    .joined(separator: "\t")
    try scratch.put(lines.joined(separator: "\n") + "\n", "packed/train.idx")
    let report = try DatasetCheck().check(path: "\(output)/train.rec")
    #expect(report.problems.contains { $0.message.contains("where no record starts") }, "\(report.problems)")
    #expect(report.problems.contains { $0.message.contains("that the index does not name") })
    try scratch.put("not an index\n", "packed/train.idx")
    let broken = try DatasetCheck().check(path: "\(output)/train.rec")
    #expect(broken.problemCount >= 1 && broken.imageCount == 6)
  }

  @Test func `Labels are held against property and identity records`() throws {
    let scratch = Scratch()
    let output = try packed(scratch)
    try scratch.put("2,112,112\n", "packed/property")
    let report = try DatasetCheck(problemLimit: 2).check(path: "\(output)/train.rec")
    // Three images of the label 2, and the number of identities.
    #expect(report.problemCount == 4 && report.problems.count == 2)
    try scratch.put("3,128,112\n", "packed/property")
    let sized = try DatasetCheck().check(path: "\(output)/train.rec")
    #expect(sized.problemCount == 6 && sized.problems[0].message.contains("112×128"))
    try scratch.put("three\n", "packed/property")
    #expect(try DatasetCheck().check(path: "\(output)/train.rec").problemCount == 1)
    try scratch.put("3,112,112\n", "packed/property")
    // The label inside the header of the second image: 0 becomes 1, which is another person's.
    let rec = "\(output)/train.rec"
    let second = try FaceRecordFile(path: rec).offset(at: 1)
    var bytes = try contents(rec)
    bytes.replaceSubrange(second + 12..<second + 16, with: [0, 0, 0x80, 0x3f])
    try scratch.put(bytes, "packed/train.rec")
    let wrong = try DatasetCheck().check(path: rec)
    #expect(wrong.problemCount == 1 && wrong.firstBadOffset == second)
    #expect(wrong.problems[0].message.contains("among images of the label 0.0"))
  }

  @Test func `A verification set with an image that does not decode`() throws {
    let scratch = Scratch()
    let path = "\(scratch.path)/x.bin"
    let images = [try jpeg(1), try jpeg(2), Array("text".utf8), try jpeg(3)]
    try VerificationSet(images: images.map { .encoded($0) }, isSame: [true, false]).write(path: path)
    let report = try DatasetCheck().check(path: path)
    #expect(report.problemCount == 1 && report.imageCount == 3 && report.pairCount == 2)
    #expect(report.problems[0].message.contains("image 2 (pair 1)"))
    try scratch.put("cos\nsystem\n(S'true'\ntR.", "evil.bin")
    #expect(try DatasetCheck().check(path: "\(scratch.path)/evil.bin").problemCount == 1)
  }

  @Test(.enabled(if: realData != nil, realDataMissing))
  func `The real record file has no fault and goes round byte for byte`() throws {
    let data = try #require(realData) + "/lfw-faces"
    let report = try DatasetCheck().check(path: "\(data)/train.rec")
    #expect(report.problemCount == 0 && report.imageCount == 3467 && report.identityCount == 476)
    #expect(report.recordCount == 3467 + 476 + 1)
    let set = try DatasetCheck().check(path: "\(data)/lfw.bin")
    #expect(set.problemCount == 0 && set.imageCount == 2400 && set.pairCount == 1200)
    let scratch = Scratch()
    let unpacked = try DatasetUnpacker().unpack(path: "\(data)/train.rec", to: "\(scratch.path)/images")
    #expect(unpacked.writtenCount == 3467)
    _ = try DatasetPacker().pack(ImageList(path: "\(scratch.path)/images"), to: "\(scratch.path)/packed")
    for name in ["train.rec", "train.idx", "property", "names.txt"] {
      let isEqual = try contents("\(scratch.path)/packed/\(name)") == contents("\(data)/\(name)")
      #expect(isEqual, "\(name)")
    }
  }
}

@Suite struct PairListTests {
  @Test(arguments: [2, 4]) func `Pairs are read back with the bytes of their files`(_ version: Int) throws {
    let scratch = Scratch()
    let files = try people(scratch)
    try scratch.put(try picture(9).png(), "people/bob/bob_0002.png")
    let path = try scratch.put("1\t2\nÅsa\t1\t3\nbob\t1\t2\nbob 1 Alice 2\nÅsa\t2\tAlice\t1\n", "pairs.txt")
    let list = try PairList(path: path)
    #expect(list.announcedCount == 4 && list.pairs.map(\.isSame) == [true, true, false, false])
    let written = try list.write(
      images: "\(scratch.path)/people", intake: ImageIntake(keepsPNG: true), threads: 2, to: "\(scratch.path)/x.bin",
      protocol: version)
    #expect(written == PairList.Report(pairCount: 4, sameCount: 2, encodedCount: 0))
    let back = try VerificationSet.read(path: "\(scratch.path)/x.bin")
    #expect(back.isSame == [true, true, false, false])
    let expected = [
      files["Åsa/Åsa_0001.jpg"], files["Åsa/Åsa_0003.jpg"], files["bob/bob_0001.jpg"], try picture(9).png(),
      files["bob/bob_0001.jpg"], files["Alice/Alice_0002.jpg"], files["Åsa/Åsa_0002.jpg"],
      files["Alice/Alice_0001.jpg"],
    ]
    #expect(back.images == expected.compactMap { $0 }.map { .encoded($0) })
    let report = try DatasetCheck().check(path: "\(scratch.path)/x.bin")
    #expect(report.problemCount == 0 && report.imageCount == 8)
    #expect(try VerificationSummary(path: "\(scratch.path)/x.bin").sameCount == 2)
  }

  @Test func `Bad lines and missing images are named`() throws {
    let scratch = Scratch()
    _ = try people(scratch)
    for (text, line) in [
      ("bob\t1\n", 1), ("10\t300\nbob\t1\tx\n", 2), ("bob\t1\t1\n\nbob\t1\tAlice\t2\t3\n", 3), ("bob\t-1\t1\n", 1),
      ("../x\t1\t2\n", 1), ("bob\t1\t99999999999999999999\n", 1), ("0\n", 1),
    ] {
      let path = try scratch.put(text, "bad.txt")
      #expect { try PairList(path: path) } throws: { ($0 as? FormatError)?.line == line }
    }
    let empty = try scratch.put("10\t300\n", "bad.txt")
    #expect(throws: FormatError.self) { try PairList(path: empty) }
    let list = try PairList(path: try scratch.put("bob\t1\t2\nbob\t1\tzoe\t1\n", "pairs.txt"))
    let people = "\(scratch.path)/people"
    let bin = "\(scratch.path)/x.bin"
    #expect { try list.write(images: people, intake: ImageIntake(), threads: 1, to: bin) } throws: {
      "\($0)".contains("2 of 3 images") && "\($0)".contains("line 1: bob/bob_0002.jpg")
        && "\($0)".contains("line 2: zoe/zoe_0001.jpg")
    }
    try scratch.put("text", "people/bob/bob_0002.jpg")
    try scratch.put(try jpeg(4, width: 50, height: 70), "people/zoe/zoe_0001.jpeg")
    #expect { try list.write(images: people, intake: ImageIntake(), threads: 1, to: bin) } throws: {
      "\($0)".contains("bob_0002.jpg") && "\($0)".contains("does not decode")
    }
    try scratch.put(try jpeg(5), "people/bob/bob_0002.jpg")
    #expect { try list.write(images: people, intake: ImageIntake(), threads: 1, to: bin) } throws: {
      "\($0)".contains("zoe_0001.jpeg") && "\($0)".contains("50×70")
    }
    #expect(!fileExists(bin))
    // An image that two pairs ask for is encoded for each, and counted once.
    let twice = try PairList(path: try scratch.put("bob\t1\tzoe\t1\nzoe\t1\tbob\t2\n", "pairs.txt"))
    let resized = try twice.write(images: people, intake: ImageIntake(resizes: true), threads: 1, to: bin)
    #expect(resized.encodedCount == 1 && resized.sameCount == 0)
    let back = try VerificationSet.read(path: bin)
    #expect(back.images.count == 4 && back.images[1] == back.images[2])
  }
}
