import Formats
import Jobs

/// A network of an ONNX file, compiled and run by OpenVINO on the CPU.
///
/// Threads may share one: every call takes a request from a bounded pool. Sizes that the file leaves open may differ from
/// call to call; a file for batches of one is run image by image.
public final class OpenVINONetwork: Sendable {
  /// The names of the outputs, in the file's order.
  public let outputNames: [String]
  /// Sizes of the input as they were compiled, outermost first; nil where they are open.
  public let inputShape: [Int?]
  /// What turns images into the input; nil lets values 0 … 255 in as RGB.
  public let preprocessing: Preprocessing?
  /// Tells networks apart whose embeddings do not compare.
  public let fingerprint: String
  /// Threads of one call.
  public let threads: Int
  /// That OpenVINO runs it, and why.
  public let note: String?

  private let engine: OpenVINO
  private let inputType: OpenVINOElement
  private let compiled: OpenVINOHandle
  private let pool = Monitor(Requests())

  private struct Requests {
    var running = 0
    var idle: [OpenVINOHandle] = []
  }

  /// Calls that run at a time; others wait.
  private static let maximumConcurrentRuns = 8

  /// Compiles a network.
  ///
  /// - Parameters:
  ///   - bytes: the ONNX file.
  ///   - outputNames: of the file's outputs.
  ///   - inputSize: height and width of the images; nil keeps what the file says.
  ///   - preprocessing: what is done to images.
  ///   - note: why this file runs through OpenVINO.
  ///   - threads: nil takes $INSIGHTFACE_THREADS, else the physical cores.
  /// - Throws: `GraphError`: `.library` where OpenVINO does not take the file, `.unsupported` where it has several inputs.
  public init(
    bytes: UnsafeRawBufferPointer, outputNames: [String], inputSize: NetworkGraph.Extent? = nil,
    preprocessing: Preprocessing? = nil, note: String? = nil, threads: Int? = nil, engine: OpenVINO
  ) throws(GraphError) {
    let functions = engine.functions
    var read: OpaquePointer?
    try functions.check(
      functions.readModel(
        engine.core.pointer, bytes.baseAddress?.assumingMemoryBound(to: CChar.self), bytes.count, nil, &read),
      "the file is not read")
    let model = try OpenVINOHandle(read, "a model", free: functions.modelFree)
    var (inputs, outputs) = (0, 0)
    try functions.check(functions.modelInputCount(model.pointer, &inputs), "the file's inputs are not told")
    try functions.check(functions.modelOutputCount(model.pointer, &outputs), "the file's outputs are not told")
    guard inputs == 1, outputs == outputNames.count else {
      throw GraphError(
        .unsupported,
        message: "the network has \(inputs) inputs and \(outputs) outputs, one and \(outputNames.count) were expected")
    }
    let input = try Self.input(of: model, functions)
    inputType = input.type
    var shape = input.shape
    if let inputSize, shape.count == 4 {
      (shape[2], shape[3]) = (inputSize.height, inputSize.width)
      if shape != input.shape { try Self.reshape(model, shape, functions) }
    }
    inputShape = shape
    self.outputNames = outputNames
    self.preprocessing = preprocessing
    self.note = note
    self.engine = engine
    self.threads = threads.map { max(1, $0) } ?? ThreadPool.defaultCount
    fingerprint = Inference.fingerprint(of: bytes, preprocessing: preprocessing)
    compiled = try Self.compile(model, threads: self.threads, engine)
  }

  private static func input(
    of model: OpenVINOHandle, _ functions: OpenVINOFunctions
  ) throws(GraphError) -> (type: OpenVINOElement, shape: [Int?]) {
    var found: OpaquePointer?
    try functions.check(functions.modelInput(model.pointer, 0, &found), "the input is not told")
    let port = try OpenVINOHandle(found, "an input", free: functions.portFree)
    var code: Int32 = 0
    try functions.check(functions.portElementType(port.pointer, &code), "the input's type is not told")
    guard let type = OpenVINOElement(rawValue: code), [.float32, .float16, .uint8].contains(type) else {
      throw GraphError(
        .unsupported, operation: "input", message: "the network takes neither floats nor bytes",
        advice: "export it with an input of 32-bit floats")
    }
    var words = [0, 0, 0]
    try functions.check(functions.portPartialShape(port.pointer, &words), "the input's shape is not told")
    defer { functions.partialShapeFree(&words) }
    guard words[0] == words[1], (1...8).contains(words[0]),
      let sizes = UnsafePointer<Int64>(bitPattern: words[2])
    else {
      throw GraphError(
        .unsupported, operation: "input", message: "the file does not tell how many dimensions its input has")
    }
    let shape = (0..<words[0]).map { axis -> Int? in
      let (least, most) = (sizes[2 * axis], sizes[2 * axis + 1])
      return least == most && least > 0 ? Int(least) : nil
    }
    return (type, shape)
  }

  private static func reshape(
    _ model: OpenVINOHandle, _ shape: [Int?], _ functions: OpenVINOFunctions
  ) throws(GraphError) {
    let sizes = shape.flatMap { size in [Int64(size ?? -1), Int64(size ?? -1)] }
    let status = sizes.withUnsafeBufferPointer { sizes in
      functions.modelReshape(
        model.pointer, [0], [shape.count, shape.count, Int(bitPattern: sizes.baseAddress)], 1)
    }
    try functions.check(status, "the network does not take inputs of \(shape.map { $0.map(String.init) ?? "any" })")
  }

  private static func compile(
    _ model: OpenVINOHandle, threads: Int, _ engine: OpenVINO
  ) throws(GraphError) -> OpenVINOHandle {
    // Single precision everywhere, also where the processor would be faster in half.
    let words = [
      "INFERENCE_NUM_THREADS", "\(threads)", "INFERENCE_PRECISION_HINT", "f32", "PERFORMANCE_HINT", "LATENCY",
    ]
    let texts = words.map { $0.utf8CString }
    var compiled: OpaquePointer?
    func descend(_ index: Int, _ pointers: [OpenVINOFunctions.Text?]) -> OpenVINOFunctions.Status {
      guard index < texts.count else {
        return engine.functions.compileModel(
          engine.core.pointer, model.pointer, "CPU", pointers.count / 2, pointers, &compiled)
      }
      return texts[index].withUnsafeBufferPointer { descend(index + 1, pointers + [$0.baseAddress]) }
    }
    try engine.functions.check(descend(0, []), "the network is not compiled")
    return try OpenVINOHandle(compiled, "a compiled network", free: engine.functions.compiledModelFree)
  }

  // MARK: Requests

  private func takeRequest() throws(GraphError) -> OpenVINOHandle {
    let found: OpenVINOHandle?? = pool.wait { pool in
      guard pool.running < Self.maximumConcurrentRuns else { return nil }
      pool.running += 1
      return .some(pool.idle.popLast())
    }
    if let request = found ?? nil { return request }
    do throws(GraphError) {
      var made: OpaquePointer?
      try engine.functions.check(
        engine.functions.createRequest(compiled.pointer, &made), "there is no room for another call")
      return try OpenVINOHandle(made, "a request", free: engine.functions.requestFree)
    } catch {
      pool.with { $0.running -= 1 }
      throw error
    }
  }

  private func giveBack(_ request: OpenVINOHandle?) {
    pool.with { pool in
      pool.running -= 1
      if let request { pool.idle.append(request) }
    }
  }
}

extension OpenVINONetwork: ImageRunner {
  /// Runs the network.
  ///
  /// - Throws: `GraphError.shape` for an input that the file does not take, `.library` where OpenVINO fails.
  public func run(_ input: FloatTensor) throws(GraphError) -> [FloatTensor] {
    let fits =
      input.shape.count == inputShape.count
      && zip(input.shape, inputShape).dropFirst().allSatisfy { $0 == $1 ?? $0 } && !input.shape.contains(0)
    guard fits, let count = input.shape.first else { throw misfit(input.shape) }
    guard let batch = inputShape[0], batch != count else {
      return try input.elements.withUnsafeBufferPointer { (values) throws(GraphError) in
        try runOnce(input.shape, values)
      }
    }
    guard batch == 1 else { throw misfit(input.shape) }
    return try oneByOne(input, count)
  }

  /// A file for one image gives its outputs image after image.
  private func oneByOne(_ input: FloatTensor, _ count: Int) throws(GraphError) -> [FloatTensor] {
    let size = input.elements.count / count
    var outputs: [(shape: [Int], elements: [Float])] = []
    for index in 0..<count {
      let part = try FloatTensor(
        shape: [1] + input.shape.dropFirst(), elements: Array(input.elements[index * size..<(index + 1) * size]))
      for (number, output) in try run(part).enumerated() {
        guard output.shape.first == 1, index == 0 || output.shape.dropFirst() == outputs[number].shape.dropFirst()
        else {
          throw GraphError(
            .shape, message: "the network is for one image at a time, \(count) were given",
            advice: "run it with one image a call")
        }
        if index == 0 { outputs.append((output.shape, [])) }
        outputs[number].elements += output.elements
      }
    }
    var result: [FloatTensor] = []
    for output in outputs {
      result.append(try FloatTensor(shape: [count] + output.shape.dropFirst(), elements: output.elements))
    }
    return result
  }

  private func misfit(_ shape: [Int]) -> GraphError {
    GraphError(
      .shape, operation: "input",
      message: "the network takes \(inputShape.map { $0.map(String.init) ?? "any" }.joined(separator: "×")), "
        + "not \(shape.map(String.init).joined(separator: "×"))")
  }

  /// Runs the network on images, after its preprocessing.
  ///
  /// - Throws: `GraphError`.
  public func run(
    images: UnsafeRawBufferPointer, count: Int, height: Int, width: Int
  ) throws(GraphError) -> [FloatTensor] {
    let largest = NetworkGraph.Operation.largestNumber
    guard (1...largest).contains(count), (1...largest).contains(height), (1...largest).contains(width),
      images.count / 3 / height / width >= count
    else {
      throw GraphError(
        .shape, operation: "input", message: "\(images.count) bytes are not \(count) images of \(width)×\(height)")
    }
    // One table a channel in the network's order.
    let isReversed = preprocessing?.colourOrder == .bgr
    let tables = (0..<3).map { channel -> [Float] in
      guard let preprocessing, !preprocessing.isInsideGraph, let mean = preprocessing.mean.first,
        let scale = preprocessing.scale.first
      else { return (0..<256).map(Float.init) }
      let own = (
        preprocessing.mean.count == 3 ? preprocessing.mean[channel] : mean,
        preprocessing.scale.count == 3 ? preprocessing.scale[channel] : scale
      )
      return (0..<256).map { Float((Double($0) - own.0) * own.1) }
    }
    let area = height * width
    let elements = [Float](unsafeUninitializedCapacity: count * 3 * area) { target, initialized in
      for image in 0..<count {
        for channel in 0..<3 {
          let (from, to) = (3 * image * area + (isReversed ? 2 - channel : channel), (3 * image + channel) * area)
          tables[channel].withUnsafeBufferPointer { table in
            for pixel in 0..<area { target[to + pixel] = table[Int(images[from + 3 * pixel])] }
          }
        }
      }
      initialized = count * 3 * area
    }
    return try run(FloatTensor(shape: [count, 3, height, width], elements: elements))
  }

  // MARK: One call

  private func runOnce(_ shape: [Int], _ values: UnsafeBufferPointer<Float>) throws(GraphError) -> [FloatTensor] {
    let functions = engine.functions
    let tensor = try engine.makeTensor(inputType, shape: shape)
    try fill(tensor, values)
    let request = try takeRequest()
    // A request that failed is not used again.
    var kept: OpenVINOHandle?
    defer { giveBack(kept) }
    try functions.check(functions.requestSetInput(request.pointer, 0, tensor.pointer), "the input is not taken")
    try functions.check(
      functions.requestInfer(request.pointer),
      "the network does not run on \(shape.map(String.init).joined(separator: "×"))")
    var outputs: [FloatTensor] = []
    for index in outputNames.indices {
      var found: OpaquePointer?
      try functions.check(
        functions.requestOutput(request.pointer, index, &found), "the output \"\(outputNames[index])\" is not told")
      outputs.append(
        try floats(OpenVINOHandle(found, "an output", free: functions.tensorFree), name: outputNames[index]))
    }
    kept = request
    return outputs
  }

  /// Address of a tensor's elements, after a check that it holds as many as its shape says.
  private func elements(
    _ tensor: OpenVINOHandle, count: Int, _ type: OpenVINOElement
  ) throws(GraphError) -> UnsafeMutableRawPointer {
    var bytes = 0
    try engine.functions.check(engine.functions.tensorByteCount(tensor.pointer, &bytes), "a tensor has no size")
    var data: UnsafeMutableRawPointer?
    try engine.functions.check(engine.functions.tensorData(tensor.pointer, &data), "a tensor has no elements")
    let (wanted, overflow) = count.multipliedReportingOverflow(by: type.byteCount)
    guard !overflow, bytes == wanted, let data else {
      throw GraphError(.library, message: "OpenVINO gave a tensor of \(bytes) bytes for \(count) numbers")
    }
    return data
  }

  private func fill(_ tensor: OpenVINOHandle, _ values: UnsafeBufferPointer<Float>) throws(GraphError) {
    let target = try elements(tensor, count: values.count, inputType)
    switch inputType {
    case .float16:
      let target = target.assumingMemoryBound(to: Float16.self)
      for index in values.indices { target[index] = Float16(values[index]) }
    case .uint8:
      let target = target.assumingMemoryBound(to: UInt8.self)
      // Not a number goes to zero: the maximum of it and zero is zero.
      for index in values.indices { target[index] = UInt8(min(max(0, values[index].rounded()), 255)) }
    default:
      if let base = values.baseAddress {
        target.copyMemory(from: base, byteCount: values.count * MemoryLayout<Float>.stride)
      }
    }
  }

  private func floats(_ tensor: OpenVINOHandle, name: String) throws(GraphError) -> FloatTensor {
    let functions = engine.functions
    var words = [0, 0]
    try functions.check(functions.tensorShape(tensor.pointer, &words), "the output \"\(name)\" has no shape")
    let sizes = UnsafePointer<Int64>(bitPattern: words[1])
    let shape = sizes.map { sizes in (0..<max(0, words[0])).map { Int(sizes[$0]) } } ?? []
    // Freeing a shape fails for none but an empty one.
    _ = functions.shapeFree(&words)
    var count = 1
    for size in shape {
      let (product, overflow) = count.multipliedReportingOverflow(by: size)
      guard !overflow, size >= 0 else {
        throw GraphError(.library, message: "the output \"\(name)\" has the shape \(shape)")
      }
      count = product
    }
    if count == 0 { return FloatTensor(checked: shape, []) }
    var code: Int32 = 0
    try functions.check(functions.tensorElementType(tensor.pointer, &code), "the output \"\(name)\" has no type")
    guard let type = OpenVINOElement(rawValue: code) else {
      throw GraphError(.unsupported, message: "the output \"\(name)\" holds numbers of a type that is not known here")
    }
    let data = try elements(tensor, count: count, type)
    func all<Number>(_ type: Number.Type, _ float: (Number) -> Float) -> [Float] {
      UnsafeBufferPointer(start: data.assumingMemoryBound(to: type), count: count).map(float)
    }
    let values: [Float]
    switch type {
    case .float32: values = all(Float.self) { $0 }
    case .float16: values = all(Float16.self, Float.init)
    case .float64: values = all(Double.self) { Float($0) }
    case .int8: values = all(Int8.self, Float.init)
    case .uint8, .boolean: values = all(UInt8.self, Float.init)
    case .int32: values = all(Int32.self, Float.init)
    case .int64: values = all(Int64.self, Float.init)
    }
    return try FloatTensor(shape: shape, elements: values)
  }
}
