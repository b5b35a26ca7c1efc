import Glibc
import Testing

@testable import Formats

@Suite struct FileTests {
  let folder = TemporaryFolder()

  @Test func mappedFileGivesTheBytesAndAllowsEmptyFiles() throws {
    put([1, 2, 3], at: folder.file("a"))
    put([], at: folder.file("empty"))
    let file = try MappedFile(path: folder.file("a"))
    #expect(file.count == 3)
    #expect(file.withBytes { Array($0) } == [1, 2, 3])
    let empty = try MappedFile(path: folder.file("empty"))
    #expect(empty.count == 0)
    #expect(empty.withBytes { $0.count } == 0)
  }

  @Test func missingFilesFoldersAndPipesAreErrorsWithThePath() throws {
    let missing = thrown { _ = try MappedFile(path: folder.file("none")) }
    #expect(missing?.code == .notFound)
    #expect(missing?.description.contains(folder.file("none")) == true)
    #expect(thrown { _ = try PositionedFile(path: folder.path) }?.code == .unsupported)
    mkfifo(folder.file("pipe"), 0o600)
    #expect(thrown { _ = try PositionedFile(path: folder.file("pipe")) }?.code == .unsupported)
    #expect(thrown { _ = try AtomicFile(path: folder.file("no/such/file")) }?.code == .notFound)
    #expect(thrown { _ = try AtomicFile(path: folder.path) }?.code == .unsupported)
  }

  @Test func positionedReadsStopAtTheEnd() throws {
    put(pattern(100, 3), at: folder.file("a"))
    let file = try PositionedFile(path: folder.file("a"))
    #expect(try file.read(count: 10, at: 90) == Array(pattern(100, 3)[90...]))
    var buffer = [UInt8](repeating: 0, count: 20)
    #expect(try buffer.withMutableRawBytes { try file.read(into: $0, at: 95) } == 5)
    #expect(thrown { _ = try file.read(count: 10, at: 91) }?.code == .truncated)
    #expect(thrown { _ = try file.read(count: 1, at: Int.max) }?.code == .truncated)
    #expect(thrown { _ = try file.read(count: 1, at: -1) }?.code == .truncated)
  }

  @Test func errorsSayEverything() {
    let error = FormatError(.corrupt, "found x", path: "a.rec", offset: 12, line: 3, advice: "do y")
    #expect(error.description == "a.rec, line 3, byte 12: found x (do y)")
    #expect(FormatError(.io, "found x").description == "found x")
  }

  @Test func anAtomicFileAppearsOnCommitOnly() throws {
    let path = folder.file("a.bin")
    put([9, 9], at: path)
    chmod(path, 0o640)
    do {
      let file = try AtomicFile(path: path)
      try file.write(contentsOf: pattern(300_000, 1))
      try file.write(contentsOf: AnySequence([UInt8]([1, 2])))
      #expect(file.byteCount == 300_002)
      #expect(try contents(path) == [9, 9])
      #expect(folder.names.count == 2)
      try file.commit()
      #expect(thrown { try file.write(contentsOf: [1]) }?.code == .io)
      #expect(thrown { try file.commit() }?.code == .io)
    }
    #expect(try contents(path) == pattern(300_000, 1) + [1, 2])
    #expect(folder.names == ["a.bin"])
    var status = stat()
    stat(path, &status)
    #expect(status.st_mode & 0o777 == 0o640)
  }

  @Test func anAtomicFileThatIsNotCommittedLeavesNothing() throws {
    do {
      let file = try AtomicFile(path: folder.file("a"))
      try file.write(contentsOf: pattern(1_000_000, 1))
    }
    #expect(folder.names == [])
  }

  @Test func aLinkIsWrittenThrough() throws {
    put([1], at: folder.file("real"))
    symlink("real", folder.file("link"))
    try AtomicFile.write([2, 3], to: folder.file("link"))
    #expect(try contents(folder.file("real")) == [2, 3])
    var status = stat()
    lstat(folder.file("link"), &status)
    #expect(status.st_mode & S_IFMT == S_IFLNK)
  }

  @Test func whatAKilledWriterLeftIsRemovedAndALiveOneIsNot() throws {
    put([1, 2, 3], at: folder.file(".a.bin.x7.part"))
    put([1, 2, 3], at: folder.file(".a.bin.b.x7.part"))
    let alive = try AtomicFile(path: folder.file("a.bin"))
    try alive.write(contentsOf: [5])
    #expect(folder.names.count == 2)
    #expect(folder.names.contains(".a.bin.b.x7.part"))
    try AtomicFile.write([6], to: folder.file("a.bin"))
    #expect(try contents(folder.file("a.bin")) == [6])
    try alive.commit()
    #expect(try contents(folder.file("a.bin")) == [5])
  }

  @Test func aFullDiskLeavesTheOldFile() throws {
    let path = folder.file("state")
    put([7], at: path)
    // The kernel's own "no space left on device".
    let descriptor = open("/dev/full", O_WRONLY)
    let file = AtomicFile(path: path, target: path, temporary: folder.file("temporary"), descriptor: descriptor)
    let error = thrown {
      try file.write(contentsOf: pattern(100, 1))
      try file.commit()
    }
    #expect(error?.code == .diskFull)
    #expect(error?.path == path)
    #expect(try contents(path) == [7])
    // Once failed, the file stays failed: no half of it can be committed.
    #expect(thrown { try file.write(contentsOf: [1]) }?.code == .diskFull)
    #expect(thrown { try file.commit() }?.code == .diskFull)
  }

  @Test(arguments: [("m", "."), ("", "."), ("/", "/"), ("/m", "/"), ("a/b", "a"), ("/a/b.c", "/a"), ("a//b", "a/")])
  func folders(_ path: String, _ folder: String) { #expect(FilePath.folder(of: path) == folder) }
}
