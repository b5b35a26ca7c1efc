import Glibc
import Testing

@testable import Formats

@Suite struct VerificationSetTests {
  let folder = TemporaryFolder()

  static let images: [[UInt8]] = [
    pattern(300, 1), [0xff, 0xd8] + Array("\\'\"\n\r\t\u{0}".utf8) + [0x80], pattern(255, 3), pattern(256, 4), [0xfe],
    Array("ab".utf8),
  ]
  static let answers = [true, false, true]
  static let set = VerificationSet(images: images.map { .encoded($0) }, isSame: answers)

  private func read(_ bytes: [UInt8]) throws -> VerificationSet {
    try bytes.withRawBytes { try VerificationSet.read($0, path: "x.bin") }
  }

  @Test(arguments: [
    "set_py2_protocol0", "set_py2_protocol1", "set_py2_protocol2", "set_py3_protocol0", "set_py3_protocol1",
    "set_py3_protocol2", "set_py3_protocol3", "set_py3_protocol4", "set_py3_protocol5", "numpy_answers",
  ]) func readsWhatPythonWrote(name: String) throws {
    #expect(try VerificationSet.read(path: fixture(name + ".bin")) == Self.set)
  }

  @Test(arguments: 0...5) func readsNumpyArrays(version: Int) throws {
    let set = try VerificationSet.read(path: fixture("numpy_protocol\(version).bin"))
    let ramp = (0..<60).map { UInt8($0) }
    #expect(set.images[0] == .pixels(height: 4, width: 5, channels: 3, ramp))
    // Column-major in the file.
    #expect(set.images[1] == .pixels(height: 4, width: 5, channels: 3, ramp.map { $0 + 1 }))
    #expect(set.images[2] == .pixels(height: 4, width: 5, channels: 1, Array(ramp[..<20])))
    // One column, one row, a bytearray: encoded images.
    for index in 3..<6 { #expect(set.images[index] == .encoded(Self.images[1])) }
    #expect(set.isSame == [true, false, true])
  }

  @Test(arguments: 2...5) func writesTheBytesThatPythonWrites(version: Int) throws {
    func check(_ name: String, _ images: [[UInt8]], _ answers: [Bool]) throws {
      let set = VerificationSet(images: images.map { .encoded($0) }, isSame: answers)
      let path = folder.file(name)
      try set.write(path: path, protocol: version)
      #expect(try contents(path) == contents(fixture("\(name)_protocol\(version).bin")), "\(name)")
      #expect(try VerificationSet.read(path: path) == set, "\(name)")
    }
    try check("set_py3", Self.images, Self.answers)
    try check("edges", ["", "x", "", "x", "", "y"].map { Array($0.utf8) }, Self.answers)
    try check("one", ["abc", "def"].map { Array($0.utf8) }, [true])
    try check("none", [], [])
    try check("batches", (0..<2002).map { Array("\($0)-".utf8) }, (0..<1001).map { $0 % 3 == 0 })
    if version == 4 {
      try check("frames", [pattern(65535, 1), pattern(65536, 2), pattern(20, 3), pattern(30000, 4)], [true, false])
    }
  }

  @Test func whatCannotBeWrittenIsRefused() {
    let path = folder.file("a.bin")
    #expect(thrown { try Self.set.write(path: path, protocol: 1) }?.code == .unsupported)
    #expect(thrown { try Self.set.write(path: path, protocol: 6) }?.code == .unsupported)
    var set = Self.set
    set.images.removeLast()
    #expect(thrown { try set.write(path: path) }?.code == .mismatch)
    set.images.append(.pixels(height: 1, width: 1, channels: 1, [0]))
    #expect(thrown { try set.write(path: path) }?.code == .unsupported)
    #expect(folder.names == [])
  }

  @Test(arguments: [
    ("cos\nsystem\n(S'true'\ntR.", "os.system", 0),
    ("]cposix\nsystem\n(S'true'\ntR.", "posix.system", 1),
    ("cnumpy.core.multiarray\nfromfile\n.", "numpy.core.multiarray.fromfile", 0),
    ("(S'true'\nios\nsystem\n.", "os.system", 9), ("c__builtin__\neval\n(S'1'\ntR.", "__builtin__.eval", 0),
    ("cnumpy.core.multiarray\n_reconstruct\ncsubprocess\nPopen\n(I0\nttR.", "subprocess.Popen", 36),
  ]) func codeIsNeverRun(pickle: String, name: String, offset: Int) {
    let error = thrown { _ = try read(Array(pickle.utf8)) }
    #expect(error?.code == .unsafe)
    #expect(error?.message.contains(name) == true)
    #expect(error?.offset == offset)
  }

  @Test func codeIsNeverRunWhateverTheOpcode() {
    // os.system by STACK_GLOBAL; NEWOBJ, OBJ, an extension, a persistent reference.
    let stackGlobal: [UInt8] = [0x80, 4, 0x8c, 2] + Array("os".utf8) + [0x8c, 6] + Array("system".utf8) + [0x93]
    #expect(thrown { _ = try read(stackGlobal) }?.code == .unsafe)
    #expect(thrown { _ = try read(stackGlobal) }?.offset == 14)
    for pickle: [UInt8] in [
      Array("cnumpy\nndarray\n)".utf8) + [0x81], Array("(cnumpy\nndarray\no".utf8), [0x82, 1],
      Array("Pid\n".utf8), Array("I1\nQ".utf8), [0x92],
    ] { #expect(thrown { _ = try read(pickle) }?.code == .unsafe) }
    // Known functions with arguments they never have.
    for pickle in [
      "cnumpy\nndarray\n(I0\ntR.", "cnumpy.core.multiarray\n_reconstruct\n(cnumpy\ndtype\ntR.",
      "c_codecs\nencode\n(tR.",
      "c__builtin__\nbytes\n(I9999999999\ntR.", "c__builtin__\nbytearray\n(I9999999999\ntR.", "I1\n(tR.", "(I1\ntb.",
    ] { #expect(thrown { _ = try read(Array(pickle.utf8)) }?.code == .corrupt, "\(pickle)") }
    let other = thrown { _ = try read(Array("c_codecs\nencode\n(Va\nVutf7\ntR.".utf8)) }
    #expect(other?.code == .unsupported)
  }

  @Test(arguments: [
    "", ".", "I1\n.", "(](I01\nlt.", "((I1\nI2\nl(I01\nlt.", "]](e", "a", "e", "t", "0", "R", "b", "g5\n", "(l(",
    "((S'a'\nVb\nl(I01\nlt.", "S'a\n.", "S'\\x1'\n.", "(lp0\ng0\nat.", "}.", "G12345678.", "\u{7f}",
    "((S'a'\nS'b'\nl(Nlt.",
  ]) func brokenPicklesAreErrors(pickle: String) {
    let error = thrown { _ = try read(Array(pickle.utf8)) }
    #expect(error?.path == "x.bin")
    #expect(error?.offset != nil)
  }

  @Test func imagesBeyondTheLastPairAreLeftOut() throws {
    let set = try read(Array("((S'a'\nS'b'\nS'c'\nl(I00\nlt.".utf8))
    #expect(set == VerificationSet(images: [.encoded([97]), .encoded([98])], isSame: [false]))
  }

  // MARK: - Bombs

  private func length(_ count: Int) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.appendLittleEndian(UInt32(count))
    return bytes
  }

  /// The end of a pickle whose open list is the images: `count` times true.
  private func answers(_ count: Int) -> [UInt8] {
    Array("e](".utf8) + [UInt8](repeating: 0x88, count: count) + [UInt8(ascii: "e"), 0x86, UInt8(ascii: ".")]
  }

  @Test func aValueReferredToManyTimesExistsOnce() throws {
    // A megabyte, 20,000 times: 20 GB if it were copied.
    let data = [UInt8](repeating: 7, count: 1 << 20)
    var pickle: [UInt8] = [0x80, 3] + Array("]q".utf8) + [0] + Array("(B".utf8) + length(data.count) + data
    pickle += Array("q".utf8) + [1]
    for _ in 1..<20_000 { pickle += Array("h".utf8) + [1] }
    pickle += answers(10_000)
    let set = try read(pickle)
    #expect(set.images.count == 20_000)
    #expect(set.images.last == .encoded(data))
  }

  @Test func bytesThroughTextReferredToManyTimesExistOnce() throws {
    let text = [UInt8](repeating: 65, count: 1 << 20)
    var pickle: [UInt8] = [0x80, 2] + Array("](c_codecs\nencode\nq".utf8) + [0, UInt8(ascii: "X")]
    pickle += length(text.count) + text
    pickle += Array("q".utf8) + [1] + Array("X".utf8) + length(6) + Array("latin1q".utf8) + [2, 0x86] + Array("R".utf8)
    for _ in 1..<4000 { pickle += [104, 0, 104, 1, 104, 2, 0x86, 82] }
    pickle += answers(2000)
    #expect(try read(pickle).images.count == 4000)
  }

  @Test func arraysThatUnfoldTheSameBytesAgainAndAgainAreRefused() {
    let data = [UInt8](repeating: 1, count: 1 << 16)
    var pickle: [UInt8] = [0x80, 4] + Array("](B".utf8) + length(data.count) + data + Array("q".utf8) + [0]
    pickle += Array("0cnumpy\ndtype\nX".utf8) + length(2) + Array("u1".utf8) + [0x85] + Array("Rq".utf8) + [1, 48]
    pickle += Array("cnumpy.core.numeric\n_frombuffer\nq".utf8) + [2, 48]
    for _ in 0..<100 {
      pickle += [104, 2, 40, 104, 0, 104, 1, 77, 0, 1, 77, 0, 1, 0x86] + Array("X".utf8) + length(1) + [70, 116, 82]
    }
    pickle += answers(50)
    #expect(thrown { _ = try read(pickle) }?.code == .tooLarge)
  }

  @Test func nestingAndCyclesCostNoStack() {
    let deep: [UInt8] = [0x80, 2, UInt8(ascii: ")")] + [UInt8](repeating: 0x85, count: 1_000_000) + [UInt8(ascii: ".")]
    #expect(thrown { _ = try read(deep) }?.code == .corrupt)
    // Lists of ten times the list before, ten levels: ten billion if it were unfolded.
    var laughs: [UInt8] = Array("]q".utf8) + [0]
    for level in 1...10 {
      laughs += Array("](".utf8)
      for _ in 0..<10 { laughs += [104, UInt8(level - 1)] }
      laughs += Array("eq".utf8) + [UInt8(level)]
    }
    #expect(thrown { _ = try read(laughs + Array("].".utf8)) } != nil)
    #expect(thrown { _ = try read(laughs + [0x85, 0x86, UInt8(ascii: ".")]) }?.code == .corrupt)
    let cycle: [UInt8] = Array("]q".utf8) + [0, 104, 0, 97, 104, 0, 97, 46]
    #expect(thrown { _ = try read(cycle) }?.code == .mismatch)
  }

  @Test func moreValuesThanASetHasAreRefused() {
    let many = [UInt8](repeating: UInt8(ascii: "N"), count: 1 << 24 + 2)
    #expect(thrown { _ = try read(many) }?.code == .tooLarge)
  }

  // MARK: - Real data

  @Test(.enabled(if: realData != nil, realDataMissing)) func realSets() throws {
    let data = try #require(realData) + "/lfw-faces/"
    let lfw = try VerificationSet.read(path: data + "lfw.bin")
    #expect(lfw.isSame.count == 1200)
    #expect(lfw.isSame.filter { $0 }.count == 600)
    for image in lfw.images {
      guard case .encoded(let bytes) = image else {
        Issue.record("an encoded image expected")
        return
      }
      #expect(bytes.starts(with: [0xff, 0xd8]))
    }
    // The same 30 pairs in the two ways of Python 3; written again, they are the same bytes.
    let sets = try [2, 4].map { version in
      let path = data + "lfw_30pairs_py3_protocol\(version).bin"
      let set = try VerificationSet.read(path: path)
      #expect(set.isSame.count == 30)
      try set.write(path: folder.file("again.bin"), protocol: version)
      #expect(try contents(folder.file("again.bin")) == contents(path))
      return set
    }
    #expect(sets[0] == sets[1])
    let arrays = try VerificationSet.read(path: data + "lfw_6pairs_numpy.bin")
    #expect(arrays.isSame.count == 6)
    for image in arrays.images {
      guard case .pixels(112, 112, 3, _) = image else {
        Issue.record("pixels expected")
        return
      }
    }
    #expect(try VerificationSet.read(path: data + "lfw_one_class_folds.bin").isSame.count == 240)
    let foreign = try VerificationSet.read(path: try #require(realData) + "/foreign-records/small_lfw.bin")
    #expect(foreign.isSame.count == 10)
    guard case .encoded(let bytes) = foreign.images[0] else {
      Issue.record("an encoded image expected")
      return
    }
    #expect(bytes.count == 4996)
    #expect(bytes.starts(with: [0xff, 0xd8]))
  }
}
