import Formats
import Jobs

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// OpenVINO, loaded when a network needs it: what runs ONNX files with operators that have no counterpart here.
///
/// Nothing is linked against it. Its wheel on PyPI holds the libraries; `scripts/bootstrap --openvino` lays them down.
public final class OpenVINO: Sendable {
  /// The version that this interface was written for.
  public static let knownVersion = "2026.4"
  /// The environment variable that names a folder or the library; nothing else is looked at where it is set.
  public static let variable = "INSIGHTFACE_OPENVINO"

  /// The library.
  public let path: String
  /// As the library tells it.
  public let version: String

  let functions: OpenVINOFunctions
  let core: OpenVINOHandle

  private static let loaded = Monitor<[String: OpenVINO]>([:])

  /// The OpenVINO of this machine: in `place`, a folder or the library itself; else where $INSIGHTFACE_OPENVINO says; else
  /// beside the program, in ../lib/insightface, in `.openvino` of the tree that the program was built in, or where the
  /// system's loader finds it.
  ///
  /// A library is loaded once and stays.
  ///
  /// - Throws: `GraphError.library` where it is not found or cannot be used, with where it was looked for.
  public static func installed(at place: String? = nil) throws(GraphError) -> OpenVINO {
    var tried: [String] = []
    let told = place ?? getenv(variable).map { String(cString: $0) }.flatMap { $0.isEmpty ? nil : $0 }
    for candidate in told.map({ [$0] }) ?? standardPlaces() {
      if let library = library(in: candidate) { return try load(library) }
      tried.append(candidate)
    }
    if told == nil {
      // Without a folder in its name the loader looks in its own places.
      for name in ["libopenvino_c.so", "libopenvino_c.so.2641"] {
        if let handle = dlopen(name, RTLD_NOW | RTLD_LOCAL) { return try load(name, handle: handle) }
      }
      tried.append("the system's libraries")
    }
    throw GraphError(
      .library, message: "OpenVINO is not installed (looked in \(tried.joined(separator: ", ")))",
      advice: "install it with `scripts/bootstrap --openvino`, or unpack its wheel "
        + "(pip download openvino==\(knownVersion).*) and set $\(variable) to the folder openvino/libs of it")
  }

  private static func load(_ path: String, handle: UnsafeMutableRawPointer? = nil) throws(GraphError) -> OpenVINO {
    let result: Result<OpenVINO, GraphError> = loaded.with { loaded in
      Result { () throws(GraphError) in
        if let found = loaded[path] { return found }
        guard let handle = handle ?? dlopen(path, RTLD_NOW | RTLD_LOCAL) else {
          throw GraphError(
            .library,
            message: "\(path) cannot be loaded: \(dlerror().map { String(cString: $0) } ?? "unknown reason")",
            advice: "install OpenVINO again with `scripts/bootstrap --openvino`")
        }
        let made = try OpenVINO(path: path, functions: OpenVINOFunctions(handle: handle, path: path))
        loaded[path] = made
        return made
      }
    }
    return try result.get()
  }

  private init(path: String, functions: OpenVINOFunctions) throws(GraphError) {
    self.path = path
    self.functions = functions
    var told: [OpenVINOFunctions.Text?] = [nil, nil]
    if functions.version(&told) == 0 {
      version = told[0].map { String(cString: $0) } ?? "unknown"
      functions.versionFree(&told)
    } else {
      version = "unknown"
    }
    var core: OpaquePointer?
    try functions.check(functions.coreCreate(&core), "OpenVINO \(version) (\(path)) does not start")
    self.core = try OpenVINOHandle(core, "a core", free: functions.coreFree)
    // The numbers of element types have changed between versions.
    for type in OpenVINOElement.allCases {
      let tensor = try makeTensor(type, shape: [3])
      var count = 0
      try functions.check(functions.tensorByteCount(tensor.pointer, &count), "a tensor has no size")
      guard count == 3 * type.byteCount else {
        throw GraphError(
          .library,
          message: "OpenVINO \(version) (\(path)) numbers its element types otherwise than \(Self.knownVersion)",
          advice: "install OpenVINO \(Self.knownVersion), which `scripts/bootstrap --openvino` brings")
      }
    }
  }

  func makeTensor(_ type: OpenVINOElement, shape: [Int]) throws(GraphError) -> OpenVINOHandle {
    var sizes = shape.map(Int64.init)
    var tensor: OpaquePointer?
    try functions.check(
      functions.tensorCreate(type.rawValue, Int64(sizes.count), &sizes, &tensor), "no tensor of shape \(shape)")
    return try OpenVINOHandle(tensor, "a tensor", free: functions.tensorFree)
  }

  // MARK: Where it lies

  /// The library in a folder, or the file itself.
  private static func library(in place: String) -> String? {
    var about = stat()
    guard stat(place, &about) == 0 else { return nil }
    if about.st_mode & S_IFMT == S_IFREG { return place }
    // A wheel, a wheel's parent, an installed tree, an archive of OpenVINO.
    for inner in ["", "/openvino/libs", "/libs", "/openvino", "/lib", "/runtime/lib/intel64", "/runtime/lib/aarch64"] {
      let folder = place + inner
      let names = (try? entries(folder)) ?? []
      let fitting = names.filter { $0 == "libopenvino_c.so" || $0.hasPrefix("libopenvino_c.so.") }
      // The longest number is the newest.
      if let name = fitting.max(by: { ($0.count, $0) < ($1.count, $1) }) { return "\(folder)/\(name)" }
    }
    return nil
  }

  private static func entries(_ folder: String) throws(GraphError) -> [String] {
    guard let listing = opendir(folder) else { throw GraphError(.library, message: "\(folder) cannot be read") }
    defer { closedir(listing) }
    var names: [String] = []
    while let entry = readdir(listing) {
      names.append(
        withUnsafePointer(to: &entry.pointee.d_name) {
          $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
        })
    }
    return names
  }

  /// Folders by the place of the program.
  private static func standardPlaces() -> [String] {
    guard let resolved = realpath("/proc/self/exe", nil) else { return [] }
    defer { free(resolved) }
    let program = String(cString: resolved)
    return standardPlaces(program: program)
  }

  static func standardPlaces(program: String) -> [String] {
    let folder = FilePath.folder(of: program)
    var places = [folder]
    if let slash = folder.lastIndex(of: "/") { places.append(folder[..<slash] + "/lib/insightface") }
    // ROOT/.build/release/insightface, of whatever depth.
    var parts = program.split(separator: "/", omittingEmptySubsequences: false)
    if let build = parts.lastIndex(of: ".build") {
      parts.removeSubrange(build...)
      places.append(parts.joined(separator: "/") + "/.openvino")
    }
    return places
  }
}

/// Something of OpenVINO's that is freed with its last user.
///
/// Sendable because OpenVINO's cores and models may be shared between threads, and tensors and requests have one owner at
/// a time.
final class OpenVINOHandle: @unchecked Sendable {
  let pointer: OpaquePointer
  private let free: @convention(c) (OpaquePointer?) -> Void

  init(
    _ pointer: OpaquePointer?, _ what: String, free: @escaping @convention(c) (OpaquePointer?) -> Void
  ) throws(GraphError) {
    guard let pointer else { throw GraphError(.library, message: "OpenVINO gave no \(what)") }
    self.pointer = pointer
    self.free = free
  }

  deinit { free(pointer) }
}

extension OpenVINOFunctions {
  /// Turns a status into an error, with what the library says of it.
  func check(_ status: Status, _ what: @autoclosure () -> String, advice: String? = nil) throws(GraphError) {
    guard status != 0 else { return }
    var words = errorInfo(status).map { String(cString: $0) } ?? "status \(status)"
    if let last = lastErrorMessage() {
      let text = String(cString: last)
      freeText(last)
      // Exceptions of the library come with places in its own source before their message.
      let lines = text.split(whereSeparator: \.isNewline).map { $0.drop(while: \.isWhitespace) }
        .filter { !$0.isEmpty && !$0.hasPrefix("Exception from ") && !$0.hasPrefix("Check '") }
      if !lines.isEmpty { words += ": " + String(lines.joined(separator: " ").prefix(500)) }
    }
    throw GraphError(.library, message: "\(what()): OpenVINO says \(words)", advice: advice)
  }
}
