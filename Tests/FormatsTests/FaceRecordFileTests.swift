import Glibc
import Testing

@testable import Formats

@Suite struct FaceRecordFileTests {
  let folder = TemporaryFolder()
  static let labels: [Float] = [0, 0, 0, 1, 2, 2]

  private func check(_ file: FaceRecordFile) throws {
    #expect(file.layout == .faces)
    #expect(file.imageCount == 6)
    #expect(file.identityCount == 3)
    #expect(Array(file.imageKeys) == [1, 2, 3, 4, 5, 6])
    #expect(try file.identityRanges() == [0..<3, 3..<4, 4..<6])
    var buffer = RecordBuffer()
    for position in 0..<6 {
      let record = try file.image(at: position)
      #expect(record.label == Self.labels[position])
      #expect(Array(record.encoded) == pattern(51 + position, 1 + position))
      let view = try file.readImage(at: position, into: &buffer)
      #expect(view.label == record.label)
      #expect(buffer.bytes[view.encoded] == record.encoded)
    }
    #expect(thrown { _ = try file.image(at: 6) }?.code == .mismatch)
    #expect(thrown { _ = try file.image(at: -1) }?.code == .mismatch)
  }

  @Test func readsTheLayoutOfTheReference() throws {
    try check(FaceRecordFile(path: fixture("faces.rec")))
  }

  @Test func withoutAnIndexTheRecordsAreScanned() throws {
    put(try contents(fixture("faces.rec")), at: folder.file("train.rec"))
    try check(FaceRecordFile(path: folder.file("train.rec")))
  }

  @Test func writesTheBytesOfTheReference() throws {
    let writer = try FaceRecordWriter(path: folder.file("train.rec"))
    for (position, label) in Self.labels.enumerated() {
      try writer.append(label: Int(label), encoded: pattern(51 + position, 1 + position))
    }
    #expect(thrown { try writer.append(label: 1, encoded: []) }?.code == .mismatch)
    #expect(thrown { try writer.append(label: 1 << 25, encoded: []) }?.code == .tooLarge)
    try writer.commit()
    #expect(try contents(folder.file("train.rec")) == contents(fixture("faces.rec")))
    #expect(try contents(folder.file("train.idx")) == contents(fixture("faces.idx")))
  }

  /// The header record stands last in the index: without its line, the rest would pass for a plain file of fewer images.
  @Test func anIndexThatWasCutIsFound() throws {
    put(try contents(fixture("faces.rec")), at: folder.file("train.rec"))
    let lines = String(decoding: try contents(fixture("faces.idx")), as: UTF8.self).split(separator: "\n")
    for count in 1..<lines.count {
      put(Array(lines.prefix(count).map { $0 + "\n" }.joined().utf8), at: folder.file("train.idx"))
      let error = thrown { _ = try FaceRecordFile(path: folder.file("train.rec")) }
      #expect(error?.code == .mismatch && "\(error as Any)".contains("train.idx"), "\(count) lines")
    }
  }

  /// Writes records of header and image under given keys.
  private func write(_ records: [(key: Int, header: RecordHeader, image: [UInt8])]) throws -> String {
    let writer = try RecordWriter(path: folder.file("train.rec"))
    for record in records { try writer.append(key: record.key, header: record.header, encoded: record.image) }
    try writer.commit()
    return folder.file("train.rec")
  }

  @Test func plainRecordsAreAllImages() throws {
    // Shuffled keys, one label or several, record 0 with a label vector as well.
    let path = try write([
      (2, RecordHeader(label: 5, id: 2), [2]), (0, RecordHeader(labels: [3, 1], id: 0), [0]),
      (1, RecordHeader(label: 4, id: 1), [1]),
    ])
    for pass in 0..<2 {
      if pass == 1 { unlink(folder.file("train.idx")) }
      let file = try FaceRecordFile(path: path)
      #expect(file.layout == .plain)
      #expect(file.identityCount == nil)
      #expect(try file.identityRanges() == nil)
      #expect(Array(file.imageKeys) == [0, 1, 2])
      #expect(try (0..<3).map { try file.image(at: $0).label } == [3, 4, 5])
      #expect(try (0..<3).map { try Array(file.image(at: $0).encoded) } == [[0], [1], [2]])
      #expect(try file.image(at: 0).labels == [3, 1])
    }
  }

  @Test func plainRecordsMayHaveGapsAndNoRecordZero() throws {
    let path = try write([
      (70, RecordHeader(label: 5, id: 0), [2]), (12, RecordHeader(label: 3, id: 0), [0]),
    ])
    let file = try FaceRecordFile(path: path)
    #expect(Array(file.imageKeys) == [12, 70])
    #expect(try file.image(at: 1).label == 5)
    // Without the index the numbers in the headers are all the same: the order in the file counts.
    unlink(folder.file("train.idx"))
    let scanned = try FaceRecordFile(path: path)
    #expect(Array(scanned.imageKeys) == [0, 1])
    #expect(try scanned.image(at: 0).label == 5)
  }

  @Test func identityRecordsMayLeaveImagesOut() throws {
    // As the reference: the images are those of the identity records, here keys 3 and 4, then 1.
    let path = try write([
      (1, RecordHeader(label: 1, id: 1), [1]), (2, RecordHeader(label: 9, id: 2), [2]),
      (3, RecordHeader(label: 0, id: 3), [3]), (4, RecordHeader(label: 0, id: 4), [4]),
      (5, RecordHeader(labels: [3, 5], id: 5), []), (6, RecordHeader(labels: [1, 2], id: 6), []),
      (0, RecordHeader(labels: [5, 7], id: 0, id2: 1), []),
    ])
    let file = try FaceRecordFile(path: path)
    #expect(Array(file.imageKeys) == [3, 4, 1])
    #expect(try (0..<3).map { try file.image(at: $0).label } == [0, 0, 1])
    #expect(try file.identityRanges() == [0..<2, 2..<3])
  }

  @Test func pastTheExactKeysRangesComeFromTheLabels() throws {
    // As f32 rounds beyond 2^24, here with the border at 4: first identity record at 7 (announced as 8), end 10.
    var records: [(Int, RecordHeader, [UInt8])] = (1...6).map {
      ($0, RecordHeader(label: Self.labels[$0 - 1], id: UInt64($0)), [UInt8($0)])
    }
    for (offset, range) in [[1, 4], [4, 4], [4, 8]].enumerated() {
      records.append((7 + offset, RecordHeader(labels: range.map(Float.init), id: UInt64(7 + offset)), []))
    }
    records.append((0, RecordHeader(labels: [8, 10], id: 0, id2: 1), []))
    let path = try write(records)
    let file = try FaceRecordFile(path: path, exactKeyLimit: 4)
    #expect(file.imageCount == 6)
    #expect(file.identityCount == 3)
    #expect(try file.identityRanges() == [0..<3, 3..<4, 4..<6])
    #expect(try file.image(at: 5).encoded == [6])
  }

  @Test func headersThatDoNotFitAreErrors() throws {
    let image = (key: 1, header: RecordHeader(label: 0, id: 1), image: [UInt8](arrayLiteral: 1))
    let headers: [[Float]] = [
      [2, 9], [5, 6], [.nan, 3], [3, 2], [0, 3], [1e30, 1e31], [67_108_864, 67_108_872], [-1, 2], [2.6e7, 2.7e7],
    ]
    for labels in headers {
      let path = try write([
        image, (2, RecordHeader(labels: [1, 2], id: 2), []), (0, RecordHeader(labels: labels, id: 0, id2: 1), []),
      ])
      let error = thrown { _ = try FaceRecordFile(path: path) }
      #expect(error?.code == .mismatch || error?.code == .corrupt)
    }
    let ranges: [[Float]] = [[1, 3], [0, 2], [2, 1], [.infinity, 2], [1, 1e20]]
    for range in ranges {
      let path = try write([
        image, (2, RecordHeader(labels: range, id: 2), []), (0, RecordHeader(labels: [2, 3], id: 0, id2: 1), []),
      ])
      #expect(thrown { _ = try FaceRecordFile(path: path) }?.code == .corrupt)
    }
  }

  @Test func anIndexOutOfStepIsAClearError() throws {
    let path = folder.file("train.rec")
    put(try contents(fixture("faces.rec")), at: path)
    for text in ["0\t0\n1\t100000\n", "0\t0\n1\t4\n", ""] {
      put(text.utf8, at: folder.file("train.idx"))
      let error = thrown { _ = try FaceRecordFile(path: path) }
      #expect(error?.code == .mismatch)
      #expect(error?.advice?.contains(".idx") == true)
    }
    // The records were cut behind the last start: the index fits, the record does not.
    put(try contents(fixture("faces.idx")), at: folder.file("train.idx"))
    put(try contents(fixture("faces.rec")).dropLast(4), at: path)
    #expect(thrown { _ = try FaceRecordFile(path: path) }?.code == .truncated)
  }

  @Test func anEmptyFileHasNoImages() throws {
    put([], at: folder.file("train.rec"))
    #expect(try FaceRecordFile(path: folder.file("train.rec")).imageCount == 0)
  }

  @Test func manyThreadsReadAtOnce() async throws {
    let file = try FaceRecordFile(path: fixture("faces.rec"))
    let sums = try await withThrowingTaskGroup(of: Int.self) { group in
      for thread in 0..<8 {
        group.addTask {
          var buffer = RecordBuffer()
          var sum = 0
          for step in 0..<300 {
            let view = try file.readImage(at: (step * 5 + thread) % 6, into: &buffer)
            sum += buffer.bytes[view.encoded].reduce(0) { $0 + Int($1) }
          }
          return sum
        }
      }
      return try await group.reduce(into: []) { $0.append($1) }
    }
    let all = (0..<6).reduce(0) { $0 + pattern(51 + $1, 1 + $1).reduce(0) { $0 + Int($1) } }
    #expect(sums == [Int](repeating: all * 50, count: 8))
  }

  @Test(.enabled(if: realData != nil, realDataMissing)) func realFacesReadAndWrittenAgain() throws {
    let path = try #require(realData) + "/lfw-faces/train.rec"
    let file = try FaceRecordFile(path: path)
    #expect(file.layout == .faces)
    #expect(file.imageCount == 3467)
    #expect(file.identityCount == 476)
    #expect(try Property(path: try #require(realData) + "/lfw-faces/property").classCount == 476)
    let writer = try FaceRecordWriter(path: folder.file("train.rec"))
    var buffer = RecordBuffer()
    for position in 0..<file.imageCount {
      let view = try file.readImage(at: position, into: &buffer)
      #expect(buffer.bytes[view.encoded].starts(with: [0xff, 0xd8]))
      try writer.append(label: Int(view.label), encoded: buffer.bytes[view.encoded])
    }
    try writer.commit()
    #expect(try contents(folder.file("train.rec")) == contents(path))
    #expect(try contents(folder.file("train.idx")) == contents(String(path.dropLast(3)) + "idx"))
    let ranges = try #require(try file.identityRanges())
    for (label, range) in ranges.enumerated() { #expect(try file.image(at: range.lowerBound).label == Float(label)) }
  }

  @Test(.enabled(if: realData != nil, realDataMissing)) func recordsMadeByOthers() throws {
    let data = try #require(realData) + "/foreign-records/"
    for (name, count, classes) in [("testing", 217, 25), ("adaface_train", 8, 2)] {
      let file = try FaceRecordFile(path: data + name + ".rec")
      #expect(file.layout == .plain)
      #expect(file.imageCount == count)
      var labels: Set<Float> = []
      for position in 0..<count {
        let record = try file.image(at: position)
        #expect(record.encoded.starts(with: [0xff, 0xd8]))
        labels.insert(record.label)
      }
      #expect(labels.count == classes)
      // A scan of the same records finds the same keys.
      symlink(data + name + ".rec", folder.file(name + ".rec"))
      let scanned = try FaceRecordFile(path: folder.file(name + ".rec"))
      #expect(scanned.index == file.index)
    }
    #expect(try Property(path: data + "property").classCount == 25)
  }
}
