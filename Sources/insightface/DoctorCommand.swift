import Arguments
import CKernels
import Glibc
import Imaging
import Inference
import Jobs

/// `insightface doctor`: what is here, what is missing, and how to get it.
struct DoctorCommand: Command {
  static let name = "doctor"
  static let summary = "Tell versions, processor, threads and devices, and what is missing"
  static let discussion = """
    Lines that begin with `problem:` name what is needed and missing, and how to get it; the exit status is then 1. Lines
    that begin with `note:` are worth knowing.

      insightface doctor
    """

  private var problems: [String] = []
  private var notes: [String] = []

  mutating func bind(_ b: inout ArgumentBinder) throws(UsageError) {}

  mutating func run() throws {
    tellVersions()
    tellMachine()
    tellThreads()
    tellRoom()
    let torch = tellTraining()
    tellDevices(torchFolder: torch)
    for note in notes { print("note: \(note)") }
    for problem in problems { print("problem: \(problem)") }
    print(problems.isEmpty ? "all that is needed is here" : "\(problems.count) problem(s)")
    if !problems.isEmpty { throw ExitCode.failure }
  }

  private func tellVersions() {
    line("insightface", insightfaceVersion)
    line("built with", "Swift \(swiftVersion)")
    line("libjpeg-turbo", ImageLibraries.jpegTurbo ?? "of unknown version")
    line("libpng", ImageLibraries.png)
    line("libwebp", ImageLibraries.webP ?? "absent: WebP is not read; install it (Debian: libwebp7)")
    switch Result(catching: { () throws(GraphError) in try OpenVINO.installed() }) {
    case .success(let found): line("OpenVINO", "\(found.version) (\(found.path))")
    case .failure:
      line("OpenVINO", "absent: it runs ONNX files with unknown operators; `scripts/bootstrap --openvino` brings it")
    }
  }

  private func tellMachine() {
    line("processor", field("model name", in: "/proc/cpuinfo") ?? "unknown")
    let flags = Set((field("flags", in: "/proc/cpuinfo") ?? "").split(separator: " ").map(String.init))
    let known = [
      "sse4_2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16",
      "amx_bf16",
    ].filter(flags.contains)
    line("features", known.isEmpty ? "none known" : known.joined(separator: " "))
    line("kernels", String(cString: ck_instruction_set()))
  }

  private mutating func tellThreads() {
    let here = max(1, Int(sysconf(Int32(_SC_NPROCESSORS_ONLN))))
    // A container or taskset may give fewer than the machine has.
    let usable = field("Cpus_allowed_list", in: "/proc/self/status").flatMap(Self.count) ?? here
    line("cores", usable == here ? "\(here)" : "\(here), of which this process may use \(usable)")
    for (name, meaning) in [
      ("OMP_NUM_THREADS", "threads of LibTorch"), ("MXNET_CPU_WORKER_NTHREADS", "threads that decode images"),
    ] {
      guard let value = getenv(name).map({ String(cString: $0) }) else {
        line(name, "not set (\(meaning))")
        continue
      }
      line(name, value)
      // OpenMP takes a list, one number a level of nesting; the first counts here.
      guard let count = value.split(separator: ",").first.flatMap({ Int($0) }), count >= 1 else {
        notes.append("\(name)=\(value) is no number of threads and has no effect; unset it, or set it to 1 or more")
        continue
      }
      if count > usable { notes.append("\(name)=\(count) is more than the \(usable) core(s) that may be used") }
    }
    for name in ["CUDA_VISIBLE_DEVICES", "INSIGHTFACE_TEST_DATA"] {
      if let value = getenv(name) { line(name, "'\(String(cString: value))'") }
    }
  }

  private mutating func tellRoom() {
    if let total = memoryField("MemTotal"), let free = memoryField("MemAvailable") {
      line("memory", "\(free / 1024) MiB of \(total / 1024) MiB free")
      if free < 1 << 20 { notes.append("less than 1 GiB of memory is free; training MobileFaceNet takes about that") }
    }
    var disk = statvfs()
    if statvfs(".", &disk) == 0 {
      line("disk here", "\(fixed(Double(disk.f_bavail) * Double(disk.f_frsize) / 0x1p30, 1)) GiB free")
    }
  }

  /// Gives the folder of LibTorch's libraries where the training program finds them.
  private mutating func tellTraining() -> String? {
    let program: String
    do { program = try trainingProgram() } catch {
      line("training program", "absent")
      problems.append("\(error)")
      return nil
    }
    // The loader lists the libraries without running anything.
    let traced = runChild(program, [], environment: ["LD_TRACE_LOADED_OBJECTS": "1"])
    var folder: String?
    var missing: [String] = []
    for text in traced.text.split(separator: "\n") {
      let words = text.split(whereSeparator: \.isWhitespace).map(String.init)
      guard words.count >= 3, words[1] == "=>" else { continue }
      if words[2] == "not" { missing.append(words[0]) }
      if words[0] == "libtorch_cpu.so", let slash = words[2].lastIndex(of: "/") { folder = String(words[2][..<slash]) }
    }
    guard missing.isEmpty else {
      line("training program", "\(program), which does not start")
      problems.append(
        "\(program) misses \(missing.joined(separator: ", ")); run `scripts/bootstrap` and `make build`, which bring "
          + "LibTorch, or install the tree again with `make install`")
      return folder
    }
    let version = runChild(program, ["--version"])
    let text = version.text.split(whereSeparator: \.isNewline).joined(separator: "; ")
    if version.status == 0 {
      line("training program", text)
    } else {
      line("training program", "\(program), which does not start")
      problems.append("\(program) does not start (status \(version.status)): \(text); build it again with `make build`")
    }
    if let folder { line("LibTorch", folder) }
    return folder
  }

  private mutating func tellDevices(torchFolder: String?) {
    let hasCUDA = torchFolder.map { access("\($0)/libtorch_cuda.so", R_OK) == 0 } ?? false
    if torchFolder != nil { line("LibTorch's CUDA part", hasCUDA ? "present" : "absent") }
    guard access("/proc/driver/nvidia/version", R_OK) == 0 else {
      line("NVIDIA driver", "absent: training runs on the CPU")
      return
    }
    line("NVIDIA driver", driverVersion ?? "present, of unknown version")
    let gpus = entries(of: "/proc/driver/nvidia/gpus").compactMap {
      field("Model", in: "/proc/driver/nvidia/gpus/\($0)/information")
    }
    if gpus.isEmpty { line("GPUs", "none listed") }
    for (index, gpu) in gpus.enumerated() { line("GPU \(index)", gpu) }
    if torchFolder != nil, !hasCUDA {
      notes.append(
        "a GPU is here, and LibTorch is for the CPU; `scripts/bootstrap --cuda` and `make build` change that")
    }
  }

  private var driverVersion: String? {
    field("NVRM version", in: "/proc/driver/nvidia/version")?.split(separator: " ").first {
      $0.first?.isNumber == true && $0.contains(".")
    }.map(String.init)
  }

  private var swiftVersion: String {
    #if compiler(>=6.4)
      "6.4 or later"
    #elseif compiler(>=6.3)
      "6.3"
    #elseif compiler(>=6.2)
      "6.2"
    #else
      "6.1"
    #endif
  }

  private func line(_ name: String, _ value: String) {
    print(name + String(repeating: " ", count: max(1, 28 - name.count)) + value)
  }

  /// How many numbers `0-3,8` names; nil where it is something else.
  private static func count(_ list: String) -> Int? {
    var total = 0
    for part in list.split(separator: ",") {
      let ends = part.split(separator: "-").map { Int($0) }
      guard let first = ends.first ?? nil, let last = ends.last ?? nil, first >= 0, last >= first, last < 1 << 20 else {
        return nil
      }
      total += last - first + 1
    }
    return total > 0 ? total : nil
  }

  private func memoryField(_ name: String) -> Int? {
    field(name, in: "/proc/meminfo")?.split(separator: " ").first.flatMap { Int($0) }
  }

  private func field(_ name: String, in path: String) -> String? {
    guard let file = fopen(path, "r") else { return nil }
    defer { fclose(file) }
    var buffer = [CChar](repeating: 0, count: 8192)
    while fgets(&buffer, Int32(buffer.count), file) != nil {
      let text = String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
      guard text.hasPrefix(name), let colon = text.firstIndex(of: ":") else { continue }
      return text[text.index(after: colon)...].split(whereSeparator: \.isWhitespace).joined(separator: " ")
    }
    return nil
  }

  private func entries(of folder: String) -> [String] {
    guard let listing = opendir(folder) else { return [] }
    defer { closedir(listing) }
    var names: [String] = []
    while let entry = readdir(listing) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if !name.hasPrefix(".") { names.append(name) }
    }
    return names.sorted()
  }
}
