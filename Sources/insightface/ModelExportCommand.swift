import Arguments
import FaceRecognition
import Formats
import Inference

/// `insightface model export`: a model as ONNX for other runtimes.
struct ModelExportCommand: Command {
  static let name = "export"
  static let summary = "Write a model as ONNX and check it with ONNX Runtime"
  static let discussion = """
    The file names the weights as they are named here, takes batches of any size, and tells its preprocessing in its
    metadata. Where python3 with onnxruntime is on the PATH, or $INSIGHTFACE_ONNXRUNTIME_PYTHON names one, ONNX Runtime
    runs the file on drawn input and every output must agree with this program's to 1e-4 of its largest number (1e-2 in
    half precision). With --random-weights IN is the name of a network (`insightface flops` lists them), for timing
    runtimes before anything is trained.

      insightface model export models/y1/model,0 y1.onnx --fold-bn --license "non-commercial research only"
      insightface model export r100 r100.onnx --random-weights 1
    """

  private var input = ""
  private var output = ""
  private var half = false
  private var fold = false
  private var opset = 13
  private var license: String?
  private var seed: Int?
  private var check = true
  private var isOpen = false
  private var isFixed = false
  private var reading = ModelReading()

  mutating func bind(_ b: inout ArgumentBinder) throws(UsageError) {
    try b.positional(&input, "IN", help: "a model file, PREFIX, PREFIX,EPOCH or a folder")
    try b.positional(&output, "OUT.onnx", help: "the file to write")
    try b.flag(&half, "--fp16", help: "weights and arithmetic in half precision; inputs and outputs stay in single")
    try b.flag(&fold, "--fold-bn", help: "make batch normalisation part of the layer before it")
    try b.option(
      &opset, "--opset", value: "N", help: "version of ONNX's operators", expected: "13 to 21",
      where: { ONNXExportOptions.opsets.contains($0) })
    try b.option(&license, "--license", value: "TEXT", help: "a note on the licence for the metadata")
    try b.option(
      &seed, "--random-weights", value: "SEED", help: "write the network named IN with weights drawn from this seed",
      expected: "a number from 0", where: { $0 >= 0 })
    try b.flag(&isOpen, "--any-size", help: "take images of any height and width; detectors do unless --fixed-size")
    try b.flag(&isFixed, "--fixed-size", help: "take images of one size only")
    try b.flag(&check, "--check", negatable: true, help: "run the file in ONNX Runtime, where it is installed")
    try reading.bind(&b)
  }

  mutating func run() throws {
    guard !(isOpen && isFixed) else { throw UsageError("--any-size and --fixed-size exclude each other") }
    let model: ModelFile
    let source: String
    if let seed {
      guard let network = RecognitionNetwork(rawValue: input) else {
        let near = nearestName(to: input, among: RecognitionNetwork.allCases.map(\.rawValue))
        throw UsageError("there is no network '\(input)'\(near.map { "; did you mean \($0)?" } ?? "")")
      }
      let graph = try network.graph().withRandomWeights(seed: UInt64(seed))
      (model, source) = (ModelFile(graph: graph, format: .onnx), "\(input), random weights")
    } else {
      model = try ModelFile(reading: input, options: try reading.options(requiresPreprocessing: true))
      source = model.format.title
    }
    let isOpen = isOpen || (model.graph.isDetector && !isFixed)
    let options = ONNXExportOptions(
      opset: opset, foldsBatchNorm: fold, isHalfPrecision: half, license: license, opensSize: isOpen)
    try model.write(to: output, as: .onnx, onnx: options)
    print("\(source) → ONNX, opset \(opset): \(output)")
    guard check else { return print("not checked: --no-check") }
    switch try ONNXRuntimeCheck(graph: model.graph, path: output, isHalfPrecision: half, isOpen: isOpen).run() {
    case .notChecked(let reason): print("not checked: \(reason)")
    case .agrees(let version, let difference):
      print("checked with ONNX Runtime \(version): largest difference \(difference) of the largest number")
    case .differs(let reason):
      throw FormatError(
        .mismatch, "ONNX Runtime does not compute what this program does: \(reason)", path: output,
        advice: "the file was written all the same; do not use it")
    }
  }
}
