import Glibc
import Testing

@testable import Formats

@Suite struct RecordIOTests {
  let folder = TemporaryFolder()

  static let keys = [3, 1, 2, 10, 7, 8, 9, 5, 0]
  static let payloads: [[UInt8]] = [
    [], Array("a".utf8), pattern(24, 1), magic, magic + magic + Array("xyz".utf8), Array("abc".utf8) + magic + [100],
    pattern(40, 2) + magic + pattern(21, 3) + magic + Array("end".utf8), pattern(5000, 4),
    pattern(30000, 5) + [32, 32] + magic + pattern(300, 6),
  ]

  @Test func writesTheBytesThatMXNetWrites() throws {
    let writer = try RecordWriter(path: folder.file("raw.rec"))
    for (key, payload) in zip(Self.keys, Self.payloads) { try writer.append(key: key, payload: payload) }
    #expect(writer.count == 9)
    try writer.commit()
    #expect(try contents(folder.file("raw.rec")) == contents(fixture("raw.rec")))
    #expect(try contents(folder.file("raw.idx")) == contents(fixture("raw.idx")))
    #expect(folder.names == ["raw.idx", "raw.rec"])
  }

  @Test func writesTheHeadersThatMXNetWrites() throws {
    let magicLabel = Float(bitPattern: RecordIO.magic)
    let writer = try RecordWriter(path: folder.file("labels.rec"))
    try writer.append(key: 0, header: RecordHeader(label: 7.5, id: 1 << 40 + 1, id2: 3), encoded: pattern(100, 7))
    try writer.append(key: 1, header: RecordHeader(labels: [1, -2, 0.25], id: 1), encoded: pattern(101, 8))
    try writer.append(key: 2, header: RecordHeader(labels: [4], id: 2), encoded: [])
    try writer.append(key: 3, header: RecordHeader(labels: [1, magicLabel], id: 3), encoded: pattern(9, 9))
    try writer.commit()
    #expect(try contents(folder.file("labels.rec")) == contents(fixture("labels.rec")))
    #expect(try contents(folder.file("labels.idx")) == contents(fixture("labels.idx")))
  }

  @Test func readsWhatMXNetWroteByKeyAndInSequence() throws {
    let index = try RecordIndex(path: fixture("raw.idx"))
    let reader = try RecordReader(path: fixture("raw.rec"))
    #expect(index.count == 9)
    #expect((0..<9).map { index.key(at: $0) } == Self.keys.sorted())
    for (key, payload) in zip(Self.keys, Self.payloads) {
      let offset = try #require(index.offset(ofKey: key))
      #expect(try reader.payload(at: offset) == payload)
    }
    for key in [-1, 4, 6, 11, Int.max] { #expect(index.offset(ofKey: key) == nil) }
    var scanner = RecordScanner(reader)
    var buffer = RecordBuffer()
    var found: [[UInt8]] = []
    while let (_, range) = try scanner.next(into: &buffer) { found.append(Array(buffer.bytes[range])) }
    #expect(found == Self.payloads)
  }

  @Test func readsHeadersWithOneLabelAndWithSeveral() throws {
    let reader = try RecordReader(path: fixture("labels.rec"))
    let index = try RecordIndex(path: fixture("labels.idx"))
    let headers = try (0..<4).map { key in
      let payload = try reader.payload(at: index.offset(at: key))
      return try payload.withRawBytes { try RecordHeader(payload: $0, path: "", offset: 0) }
    }
    #expect(headers[0] == RecordHeader(label: 7.5, id: 1 << 40 + 1, id2: 3))
    #expect(headers[1] == RecordHeader(labels: [1, -2, 0.25], id: 1))
    #expect(headers[2] == RecordHeader(labels: [4], id: 2))
    #expect(headers[3].labels[1].bitPattern == RecordIO.magic)
    #expect(headers[1].encodedSize == 36)
  }

  @Test func aRecordMustStartWhereItIsLookedFor() throws {
    let reader = try RecordReader(path: fixture("raw.rec"))
    for offset in [1, 4, 12, reader.byteCount, reader.byteCount + 8, Int.max, -1] {
      let error = thrown { _ = try reader.payload(at: offset) }
      #expect(error?.code == .mismatch)
      #expect(error?.offset == offset)
    }
    // A later part of a split record is no start either: the magic alone is two parts of no data, 8 bytes each.
    let index = try RecordIndex(path: fixture("raw.idx"))
    let split = try #require(index.offset(ofKey: 10))
    #expect(thrown { _ = try reader.payload(at: split + 8) }?.code == .mismatch)
  }

  @Test func anUnfinishedSplitRecordIsAnError() throws {
    // Part 1 of 2, then a whole record instead of part 2.
    put(magic + [0, 0, 0, 0x20] + magic + [0, 0, 0, 0], at: folder.file("a.rec"))
    let error = thrown { _ = try RecordReader(path: folder.file("a.rec")).payload(at: 0) }
    #expect(error?.code == .corrupt)
    #expect(error?.offset == 8)
    // A length far beyond the file is not allocated.
    put(magic + [0xff, 0xff, 0xff, 0x1f], at: folder.file("b.rec"))
    #expect(thrown { _ = try RecordReader(path: folder.file("b.rec")).payload(at: 0) }?.code == .truncated)
  }

  @Test func theWriterRefusesWhatCouldNotBeRead() throws {
    let writer = try RecordWriter(path: folder.file("a.rec"))
    try writer.append(key: 4, payload: [1])
    try writer.append(key: 1 << 40, payload: [1])
    #expect(thrown { try writer.append(key: 4, payload: [1]) }?.code == .mismatch)
    #expect(thrown { try writer.append(key: 1 << 40, payload: [1]) }?.code == .mismatch)
    #expect(thrown { try writer.append(key: -1, payload: [1]) }?.code == .mismatch)
  }

  @Test(arguments: [
    ("", []), ("0\t0\n", [0]), ("1\t5\n0\t7\n2\t9\n", [7, 5, 9]), ("2\t1\n1\t0\n", [0, 1]),
    ("5\t1\n7\t2\n", [1, 2]), ("\n 3\t4 \r\n\n4 5", [4, 5]), ("100000000000\t4\n1\t8\n", [8, 4]),
  ]) func indexLinesInAnyOrder(text: String, offsets: [Int]) throws {
    let index = try Array(text.utf8).withRawBytes { try RecordIndex(text: $0, path: "x") }
    #expect((0..<index.count).map { index.offset(at: $0) } == offsets)
    for rank in 0..<index.count { #expect(index.rank(ofKey: index.key(at: rank)) == rank) }
    try index.write(to: folder.file("a.idx"))
    #expect(try RecordIndex(path: folder.file("a.idx")) == index)
  }

  @Test(arguments: [
    ("0\t0\nx\t3\n", 2), ("0\t0\n1\n", 2), ("0\t0\n\n1\t2\t3\n", 3), ("0\t-4\n", 1), ("0\t9999999999999999999\n", 1),
    ("1\t0\n1\t4\n", 2), ("0\t0\n1\t4\n01\t8\n", 3), ("1\t", 1), ("a", 1), ("0x1\t3\n", 1), ("1\t3 4\n", 1),
  ]) func aBadIndexLineIsNamed(text: String, line: Int) {
    let error = thrown { _ = try Array(text.utf8).withRawBytes { try RecordIndex(text: $0, path: "x.idx") } }
    #expect(error?.code == .corrupt)
    #expect(error?.line == line)
    #expect(error?.path == "x.idx")
  }

  @Test func aKeyThatComesTwiceAmongSparseKeysIsAnError() {
    let text = Array("900\t0\n5\t1\n900\t2\n".utf8)
    let error = thrown { _ = try text.withRawBytes { try RecordIndex(text: $0, path: "") } }
    #expect(error?.code == .corrupt)
  }

  @Test func properties() throws {
    let path = folder.file("property")
    let property = Property(classCount: 85742, height: 112, width: 96, imageCount: 5_822_653, isShuffled: true)
    try property.write(to: path)
    #expect(try contents(path) == Array("85742,112,96\n5822653\nshuffled\n".utf8))
    #expect(try Property(path: path) == property)
    put("\u{feff} 25 , 112,112, x\r\n217\r\nshuffled\r\n2020-01-01 10:00:00.1\r\n".utf8, at: path)
    #expect(
      try Property(path: path) == Property(classCount: 25, height: 112, width: 112, imageCount: 217, isShuffled: true))
    put("25,112,112".utf8, at: path)
    #expect(try Property(path: path) == Property(classCount: 25, height: 112, width: 112))
    for text in ["", "25", "25,112", "a,b,c", "0,112,112", "-1,112,112", "99999999999999999999,112,112"] {
      put(text.utf8, at: path)
      #expect(thrown { _ = try Property(path: path) }?.code == .corrupt)
    }
  }
}
