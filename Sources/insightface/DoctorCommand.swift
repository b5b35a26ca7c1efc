import Arguments
import CKernels
import Glibc
import Jobs

/// `insightface doctor`: what is here, what is missing, and how to get it.
struct DoctorCommand: Command {
  static let name = "doctor"
  static let summary = "Tell versions, processor, threads and devices, and what is missing"

  mutating func bind(_ b: inout ArgumentBinder) throws(UsageError) {}

  mutating func run() throws {
    var problems: [String] = []
    line("insightface", insightfaceVersion)
    #if swift(>=6.3)
      line("built with", "Swift 6.3 or later")
    #else
      line("built with", "Swift before 6.3")
    #endif
    line("processor", cpuField("model name") ?? "unknown")
    let flags = Set((cpuField("flags") ?? "").split(separator: " ").map(String.init))
    let known = ["sse4_2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512_bf16", "amx_bf16"].filter(flags.contains)
    line("features", known.isEmpty ? "none known" : known.joined(separator: " "))
    line("kernels", String(cString: ck_instruction_set()))
    line("cores", "\(sysconf(Int32(_SC_NPROCESSORS_ONLN)))")
    for name in ["OMP_NUM_THREADS", "MXNET_CPU_WORKER_NTHREADS", "CUDA_VISIBLE_DEVICES", "INSIGHTFACE_TEST_DATA"] {
      if let value = getenv(name) { line(name, String(cString: value)) }
    }
    if let total = memoryField("MemTotal"), let free = memoryField("MemAvailable") {
      line("memory", "\(free / 1024) MiB of \(total / 1024) MiB free")
    }
    var disk = statvfs()
    if statvfs(".", &disk) == 0 {
      line("disk here", "\(UInt64(disk.f_bavail) * UInt64(disk.f_frsize) / (1 << 30)) GiB free")
    }
    do {
      let program = try trainingProgram()
      let (output, status) = capture("\"\(program)\" --version 2>&1")
      if status == 0 {
        line("training", output)
      } else {
        problems.append("\(program) does not start: \(output). Build it again with `make build`")
      }
    } catch {
      problems.append("\(error)")
    }
    let driver = access("/proc/driver/nvidia/version", R_OK) == 0
    line("NVIDIA driver", driver ? "present" : "absent: training runs on the CPU")
    for problem in problems { print("problem: \(problem)") }
    print(problems.isEmpty ? "all that is needed is here" : "\(problems.count) problem(s)")
    if !problems.isEmpty { throw ExitCode(1) }
  }

  private func line(_ name: String, _ value: String) {
    print(name + String(repeating: " ", count: max(1, 28 - name.count)) + value)
  }

  private func cpuField(_ name: String) -> String? { field(name, in: "/proc/cpuinfo") }
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

  private func capture(_ command: String) -> (String, Int32) {
    guard let pipe = popen(command, "r") else { return ("", -1) }
    var text = ""
    var buffer = [CChar](repeating: 0, count: 4096)
    while fgets(&buffer, Int32(buffer.count), pipe) != nil {
      text += String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
    let status = pclose(pipe)
    return (text.split(whereSeparator: \.isNewline).joined(separator: "; "), status)
  }
}
