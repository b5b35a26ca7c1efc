import Foundation
import Testing

@testable import EventLog

/// The folder of committed fixtures.
private let fixtures = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
  .appendingPathComponent("Fixtures/eventlog")

/// Runs `body` with the path of a fresh folder that is removed afterwards.
private func withFolder(_ body: (String) throws -> Void) throws {
  let url = FileManager.default.temporaryDirectory.appendingPathComponent("eventlog-\(UUID().uuidString)")
  try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
  defer { try? FileManager.default.removeItem(at: url) }
  try body(url.path)
}

private func bytes(_ path: String) throws -> [UInt8] { [UInt8](try Data(contentsOf: URL(fileURLWithPath: path))) }

private func write(_ bytes: [UInt8], _ path: String) throws { try Data(bytes).write(to: URL(fileURLWithPath: path)) }

private func onlyFile(_ folder: String) throws -> String {
  let files = try EventReader.files(in: folder)
  try #require(files.count == 1)
  return files[0]
}

private func steps(_ path: String) throws -> [Int64] {
  var steps: [Int64] = []
  try EventReader.forEachEvent(in: path) { if !$0.values.isEmpty { steps.append($0.step) } }
  return steps
}

/// Writes steps 1…count of a series and gives the file's path.
private func makeLog(_ folder: String, steps: ClosedRange<Int64>) throws -> String {
  let writer = try EventWriter(folder: folder)
  for step in steps { try writer.addScalar("loss", Float(step), step: step) }
  try writer.close()
  return writer.path
}

@Suite struct ChecksumTests {
  @Test func `The checksum gives the published values`() {
    // RFC 3720, B.4.
    #expect(CRC32C.checksum([UInt8](repeating: 0, count: 32)) == 0x8A91_36AA)
    #expect(CRC32C.checksum([UInt8](repeating: 0xFF, count: 32)) == 0x62A8_AB43)
    #expect(CRC32C.checksum([UInt8](0..<32)) == 0x46DD_794E)
    #expect(CRC32C.checksum("123456789".utf8) == 0xE306_9283)
    #expect(CRC32C.masked([0x18, 0, 0, 0, 0, 0, 0, 0]) == 0x224B_7FA3)
  }
}

@Suite struct EventWriterTests {
  @Test func `The file equals what tensorboardX writes, byte for byte`() throws {
    try withFolder { folder in
      let writer = try EventWriter(folder: folder, clock: { 1_700_000_000.125 })
      try writer.addScalar("loss", 49.886153, step: 0, wallTime: 1_700_000_001.5)
      try writer.addScalar("loss", 12.25, step: 20, wallTime: 1_700_000_002)
      try writer.addScalar("lfw/accuracy", 0.99383, step: 2000, wallTime: 1_700_000_003.75)
      try writer.addScalar("zero", 0, step: 2000, wallTime: 1_700_000_003.75)
      try writer.addScalar("infinite", .infinity, step: 2001, wallTime: 1_700_000_004)
      try writer.addScalar("späte_Stufe", -1.5e-7, step: 3_000_000_000, wallTime: 1_700_000_005)
      try writer.addText("notes/text_summary", "**MobileFaceNet** y1", step: 7, wallTime: 1_700_000_006)
      try writer.close()
      let expected = try bytes(fixtures.appendingPathComponent("golden.tfevents").path)
      #expect(try bytes(writer.path) == expected)
      let name = try #require(writer.path.split(separator: "/").last).split(separator: ".")
      #expect(name.prefix(4) == ["events", "out", "tfevents", "1700000000"])
      #expect(name[name.count - 2] == "\(getpid())")
    }
  }

  @Test func `Two writers of one second get two files`() throws {
    try withFolder { folder in
      let first = try EventWriter(folder: folder, clock: { 5 })
      let second = try EventWriter(folder: folder, clock: { 5 })
      #expect(first.path != second.path)
      #expect(try EventReader.files(in: folder).count == 2)
    }
  }

  @Test func `Events wait for size, time or flush`() throws {
    try withFolder { folder in
      let byCount = try EventWriter(
        folder: folder + "/a/b/c", flushPolicy: .init(byteCount: 300, seconds: 1e9), clock: { 1000 })
      try byCount.addScalar("loss", 1, step: 1)
      #expect(try steps(byCount.path) == [])
      for step in 2...10 { try byCount.addScalar("loss", 1, step: Int64(step)) }
      let written = try steps(byCount.path).count
      #expect(written > 0 && written < 10)
      try byCount.flush()
      #expect(try steps(byCount.path) == Array(1...10))

      let eager = try EventWriter(folder: folder, flushPolicy: .init(byteCount: 0, seconds: 1e9))
      try eager.addScalar("loss", 1, step: 1)
      #expect(try steps(eager.path) == [1])

      let byTime = try EventWriter(folder: folder, flushPolicy: .init(byteCount: 1 << 20, seconds: 0))
      try byTime.addScalar("loss", 1, step: 4)
      #expect(try steps(byTime.path) == [4])
    }
  }

  @Test func `A closed writer refuses, and a writer that goes away has written`() throws {
    try withFolder { folder in
      let writer = try EventWriter(folder: folder)
      try writer.close()
      try writer.close()
      #expect(throws: EventLogError.self) { try writer.addScalar("loss", 1, step: 1) }
      var path = ""
      do {
        let lost = try EventWriter(folder: folder)
        try lost.addScalar("loss", 1, step: 9)
        path = lost.path
      }
      #expect(try steps(path) == [9])
    }
  }

  @Test func `Folders that cannot be are typed errors that name the path`() throws {
    try withFolder { folder in
      try write([1], folder + "/file")
      #expect {
        _ = try EventWriter(folder: folder + "/file")
      } throws: { error in
        (error as? EventLogError)?.path == folder + "/file"
      }
      #expect(throws: EventLogError.self) { _ = try EventWriter(folder: folder + "/file/below") }
      #expect(try EventReader.files(in: folder + "/absent") == [])
    }
  }

  @Test func `Threads may share a writer`() throws {
    try withFolder { folder in
      let writer = try EventWriter(folder: folder, flushPolicy: .init(byteCount: 100, seconds: 1e9))
      DispatchQueue.concurrentPerform(iterations: 4) { thread in
        for step in 0..<200 { try? writer.addScalar("t\(thread)", Float(step), step: Int64(step)) }
      }
      try writer.close()
      let scalars = try EventReader.scalars(inFolder: folder)
      #expect(scalars.count == 4)
      for points in scalars.values { #expect(points.map(\.step) == Array(0..<200)) }
    }
  }

  @Test func `A full disk is an error, costs bounded memory, and what was taken is kept`() throws {
    try withFolder { folder in
      // A limit on this process's file size would reach other tests; /dev/full refuses every write instead.
      let writer = try EventWriter(folder: folder, flushPolicy: .init(byteCount: 64, seconds: 1e9))
      let descriptors = try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").compactMap { Int32($0) }
      let ours = try #require(
        descriptors.first {
          (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/\($0)")) == writer.path
        })
      let real = dup(ours)
      let full = open("/dev/full", O_WRONLY)
      #expect(dup2(full, ours) == ours)
      var failures = 0
      for step in 1...50 {
        do { try writer.addScalar("loss", 1, step: Int64(step)) } catch {
          failures += 1
          #expect((error as? EventLogError)?.code == .cannotWrite)
        }
      }
      #expect(failures >= 48)
      dup2(real, ours)
      try writer.close()
      close(real)
      close(full)
      let kept = try steps(writer.path)
      #expect(!kept.isEmpty && kept.count <= 3 && kept[0] == 1)
    }
  }
}

@Suite struct EventReaderTests {
  @Test func `What Python wrote is read back`() throws {
    let path = fixtures.appendingPathComponent("golden.tfevents").path
    var events: [Event] = []
    let damage = try EventReader.forEachEvent(in: path) { events.append($0) }
    #expect(damage.isEmpty)
    #expect(events.count == 8)
    #expect(events[0].fileVersion == "brain.Event:2")
    #expect(
      events[2] == Event(wallTime: 1_700_000_002, step: 20, values: [.init(tag: "loss", content: .scalar(12.25))]))
    #expect(events[6].step == 3_000_000_000)
    #expect(events[7].values == [.init(tag: "notes/text_summary", content: .text("**MobileFaceNet** y1"))])
    let scalars = try EventReader.scalars(in: path)
    #expect(scalars["loss"]?.map(\.value) == [49.886153, 12.25])
    #expect(scalars["loss"]?.map(\.wallTime) == [1_700_000_001.5, 1_700_000_002])
  }

  @Test func `A scalar stored as a tensor is read`() throws {
    // Summary value as TensorFlow 2 writes it: tag "x", tensor { dtype: float, shape {}, tensor_content: 1.5f }.
    let value: [UInt8] = [0x0A, 1, 0x78, 0x42, 10, 0x08, 1, 0x12, 0, 0x22, 4, 0, 0, 0xC0, 0x3F]
    let event: [UInt8] = [0x10, 3, 0x2A, UInt8(value.count + 2), 0x0A, UInt8(value.count)] + value
    #expect(Event(encoded: event[...])?.values == [.init(tag: "x", content: .scalar(1.5))])
  }

  @Test func `A cut at any byte loses only the record that was cut`() throws {
    try withFolder { folder in
      let whole = try bytes(makeLog(folder, steps: 1...4))
      let path = folder + "/cut"
      var lastCount = 0
      for length in 0..<whole.count {
        try write(Array(whole.prefix(length)), path)
        var count = 0
        let damage = try EventReader.forEachEvent(in: path) { _ in count += 1 }
        #expect(count >= lastCount)
        lastCount = count
        for item in damage { #expect(item.kind == .cutRecord) }
        #expect(damage.count <= 1)
      }
      #expect(lastCount == 4)  // The version and three of four steps: the last byte is always missing.
    }
  }

  @Test func `A flipped bit anywhere never crashes and never passes`() throws {
    try withFolder { folder in
      let whole = try bytes(makeLog(folder, steps: 1...3))
      let path = folder + "/flipped"
      for index in whole.indices {
        var bad = whole
        bad[index] ^= 0x10
        try write(bad, path)
        let damage = try EventReader.forEachEvent(in: path) { _ in }
        #expect(!damage.isEmpty)
      }
    }
  }

  @Test func `A record with a right checksum and wrong content is skipped`() throws {
    try withFolder { folder in
      let good = Event(wallTime: 1, step: 2, values: [.init(tag: "a", content: .scalar(1))])
      let hostile: [[UInt8]] = [
        [0x2A, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1],  // length of 2^64 − 1
        [0x2A, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1],  // endless length
        [0x09, 1, 2],  // a double cut short
        [0x07],  // a wire type that does not exist
        [0x00, 1],  // field number zero
      ]
      for message in hostile {
        try write(framed(message) + framed(good.encoded()), folder + "/hostile")
        var events: [Event] = []
        let damage = try EventReader.forEachEvent(in: folder + "/hostile") { events.append($0) }
        #expect(damage == [EventFileDamage(kind: .badRecord, offset: 0)])
        #expect(events == [good])
      }
    }
  }
}

@Suite struct EventLogTruncationTests {
  @Test func `Later steps go, earlier stay, byte for byte`() throws {
    try withFolder { folder in
      let path = try makeLog(folder, steps: 1...10)
      let before = try bytes(path)
      let summary = try EventLogTruncation.truncate(folder: folder, afterStep: 6)
      #expect(summary.rewrittenFiles == [path])
      #expect(summary.removedEventCount == 4)
      #expect(try steps(path) == Array(1...6))
      let after = try bytes(path)
      #expect(after == Array(before.prefix(after.count)))
      #expect(try EventLogTruncation.truncate(folder: folder, afterStep: 6) == .init())
      #expect(try FileManager.default.contentsOfDirectory(atPath: folder).count == 1)
    }
  }

  @Test func `A resumed run carries no step twice, over several files`() throws {
    try withFolder { folder in
      _ = try makeLog(folder, steps: 1...10)
      try EventLogTruncation.truncate(folder: folder, afterStep: 8)
      let second = try makeLog(folder, steps: 9...20)
      // A kill leaves a cut record.
      let whole = try bytes(second)
      try write(Array(whole.dropLast(5)), second)
      let summary = try EventLogTruncation.truncate(folder: folder, afterStep: 15)
      #expect(summary.removedDamageCount == 1)
      #expect(summary.keptCopies.isEmpty)
      _ = try makeLog(folder, steps: 16...18)
      let third = try EventLogTruncation.truncate(folder: folder, afterStep: 15)
      #expect(third.removedFiles.count == 1)
      _ = try makeLog(folder, steps: 16...30)
      #expect(try EventReader.scalars(inFolder: folder)["loss"]?.map(\.step) == Array(1...30))
    }
  }

  @Test func `A damaged file is kept beside the new one`() throws {
    try withFolder { folder in
      let path = try makeLog(folder, steps: 1...5)
      let bad = try bytes(path) + [UInt8](repeating: 0, count: 300)
      try write(bad, path)
      let summary = try EventLogTruncation.truncate(folder: folder, afterStep: 100)
      #expect(try steps(path) == Array(1...5))
      try #require(summary.keptCopies.count == 1)
      #expect(try bytes(summary.keptCopies[0]) == bad)
      #expect(!summary.keptCopies[0].contains("tfevents"))
    }
  }

  @Test func `Left-overs of a killed call are cleared and a missing folder is nothing to do`() throws {
    try withFolder { folder in
      let path = try makeLog(folder, steps: 1...3)
      try write([1, 2, 3], folder + "/.event-log-rewrite-123")
      try EventLogTruncation.truncate(folder: folder, afterStep: 3)
      #expect(
        try FileManager.default.contentsOfDirectory(atPath: folder) == [
          path.split(separator: "/").last.map(String.init)
        ])
      #expect(try EventLogTruncation.truncate(folder: folder + "/absent", afterStep: 3) == .init())
    }
  }
}
