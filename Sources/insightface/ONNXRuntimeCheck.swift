import Formats
import Glibc
import Inference
import Jobs

/// Runs an exported file in ONNX Runtime and compares it with what this program computes.
struct ONNXRuntimeCheck {
  enum Result {
    case notChecked(String)
    case agrees(version: String, difference: Double)
    case differs(String)
  }

  let graph: NetworkGraph
  let path: String
  let isHalfPrecision: Bool
  /// Whether the file takes images of any size; then another size is tried too.
  var isOpen = false

  /// Reads float32 inputs from a file, one input after another, prints the version and then every output's numbers.
  private static let script = """
    import sys
    try:
        import numpy, onnxruntime
    except ImportError as problem:
        print("MISSING", problem)
        sys.exit(0)
    session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
    data = numpy.fromfile(sys.argv[2], dtype="<f4")
    feed, position = {}, 0
    for item, text in zip(session.get_inputs(), sys.argv[4:]):
        shape = [int(size) for size in text.split(",")]
        count = int(numpy.prod(shape))
        feed[item.name] = data[position:position + count].reshape(shape)
        position += count
    outputs = session.run(None, feed)
    numpy.concatenate([numpy.asarray(o, dtype="<f4").ravel() for o in outputs]).tofile(sys.argv[3])
    print("VERSION", onnxruntime.__version__)
    """

  func run() throws -> Result {
    guard let python = Self.python() else {
      return .notChecked("no python3 on the PATH; $INSIGHTFACE_ONNXRUNTIME_PYTHON may name one with onnxruntime")
    }
    let probe = runChild(python, ["-c", "import numpy, onnxruntime"])
    guard probe.status == 0 else {
      return .notChecked("\(python) has no onnxruntime; $INSIGHTFACE_ONNXRUNTIME_PYTHON may name one that has")
    }
    let first = try run(python, try drawnInputs())
    guard isOpen, case .agrees(let version, let difference) = first else { return first }
    // Odd sizes cut the enlarged maps of a pyramid.
    let second = try run(python, try drawnInputs(size: .init(height: 237, width: 301)))
    guard case .agrees(_, let other) = second else { return second }
    return .agrees(version: version, difference: max(difference, other))
  }

  private func run(_ python: String, _ inputs: [(name: String, tensor: InferencePlan.Tensor)]) throws -> Result {
    let folder = try Self.temporaryFolder()
    let (given, made) = (folder + "/inputs", folder + "/outputs")
    defer {
      unlink(given)
      unlink(made)
      rmdir(folder)
    }
    var bytes: [UInt8] = []
    for input in inputs {
      for number in input.tensor.elements {
        withUnsafeBytes(of: number.bitPattern.littleEndian) { bytes += $0 }
      }
    }
    try AtomicFile.write(bytes, to: given)
    let shapes = inputs.map { $0.tensor.shape.map { "\($0)" }.joined(separator: ",") }
    let child = runChild(python, ["-c", Self.script, path, given, made] + shapes)
    guard child.status == 0, let mark = child.text.range(ofWord: "VERSION ") else {
      return .differs("it does not run the file: \(child.text.suffix(600))")
    }
    let version = String(child.text[mark...].prefix { !$0.isNewline })
    let theirs = try floats(of: made)
    let tensors = try InferencePlan(graph).run(
      Dictionary(uniqueKeysWithValues: inputs.map { ($0.name, $0.tensor) }))
    return compare(tensors, theirs, version: version)
  }

  private func compare(_ tensors: [InferencePlan.Tensor], _ theirs: [Float], version: String) -> Result {
    let count = tensors.reduce(0) { $0 + $1.elements.count }
    guard count == theirs.count else { return .differs("it gives \(theirs.count) numbers, not \(count)") }
    var position = 0
    var worst = 0.0
    for tensor in tensors {
      let largest = tensor.elements.reduce(1e-12) { max($0, Double(abs($1))) }
      for element in tensor.elements {
        let difference = abs(Double(element) - Double(theirs[position])) / largest
        // A number that is none compares as false.
        guard difference.isFinite else { return .differs("output number \(position) is \(theirs[position])") }
        worst = max(worst, difference)
        position += 1
      }
    }
    let limit = isHalfPrecision ? 1e-2 : 1e-4
    return worst <= limit
      ? .agrees(version: version, difference: worst)
      : .differs("the largest difference is \(worst) of the largest number, \(limit) is allowed")
  }

  /// Drawn pixels, the same in every run, put through the preprocessing that the network expects.
  private func drawnInputs(size: NetworkGraph.Extent? = nil) throws -> [(name: String, tensor: InferencePlan.Tensor)] {
    var state: UInt64 = 0x2545_f491_4f6c_dd1d
    func pixel() -> Double {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Double(state >> 56)
    }
    return try graph.inputs.map { input in
      guard var sizes = input.shape.sizes(batch: 1) else { throw GraphError(.tooLarge, message: "too large a shape") }
      if let size, sizes.count == 4 { sizes[2...] = [size.height, size.width] }
      let count = sizes.reduce(1, *)
      let plane = sizes.count == 4 ? sizes[2] * sizes[3] : count
      let channels = sizes.count == 4 ? sizes[1] : 1
      let elements = (0..<count).map { index in
        guard let preprocessing = graph.preprocessing, !preprocessing.isInsideGraph else { return pixel() }
        let channel = index / plane % channels
        func of(_ list: [Double]) -> Double { list.count == channels ? list[channel] : list[0] }
        return (pixel() - of(preprocessing.mean)) * of(preprocessing.scale)
      }
      return (input.name, try InferencePlan.Tensor(shape: sizes, elements: elements.map { Float($0) }))
    }
  }

  private func floats(of path: String) throws -> [Float] {
    try MappedFile(path: path).withBytes { bytes in
      stride(from: 0, to: bytes.count - bytes.count % 4, by: 4).map {
        Float(bitPattern: UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: $0, as: UInt32.self)))
      }
    }
  }

  private static func python() -> String? {
    if let chosen = getenv("INSIGHTFACE_ONNXRUNTIME_PYTHON") { return String(cString: chosen) }
    let path = getenv("PATH").map { String(cString: $0) } ?? ""
    return path.split(separator: ":").map { "\($0)/python3" }.first { access($0, X_OK) == 0 }
  }

  private static func temporaryFolder() throws -> String {
    let root = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
    var template = Array("\(root)/insightface-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else {
      throw FormatError(.io, "no folder can be made: \(String(cString: strerror(errno)))", path: root)
    }
    return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
}

extension String {
  /// Where the text behind the last `word` begins.
  fileprivate func range(ofWord word: String) -> String.Index? {
    var position = endIndex
    while position > startIndex {
      position = index(before: position)
      if self[position...].hasPrefix(word) { return index(position, offsetBy: word.count) }
    }
    return nil
  }
}
