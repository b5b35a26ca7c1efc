import Arguments
import Formats
import Glibc

/// The version of the programs.
let insightfaceVersion = "0.1.0"

/// A command that `insightface-train` carries out: loading LibTorch takes half a second, so it is a program of its own.
func trainingCommand(_ name: String, _ summary: String) -> ForwardedCommand {
  ForwardedCommand(name: name, summary: summary) { arguments in
    let program = try trainingProgram()
    // Called by the name that the user typed, so that its help and errors speak of `insightface train`.
    let words = ["insightface", name] + arguments
    var pointers = words.map { strdup($0) } + [nil]
    execv(program, &pointers)
    let reason = String(cString: strerror(errno))
    throw FormatError(.io, "the training program cannot be started: \(reason)", path: program, advice: trainingAdvice)
  }
}

/// The training program: beside this one, else on the PATH.
func trainingProgram() throws -> String {
  let name = "insightface-train"
  var candidates: [String] = []
  if let own = realpath("/proc/self/exe", nil) {
    let path = String(cString: own)
    free(own)
    if let slash = path.lastIndex(of: "/") { candidates.append("\(path[...slash])\(name)") }
  }
  if let path = getenv("PATH") {
    candidates += String(cString: path).split(separator: ":").map { "\($0)/\(name)" }
  }
  for candidate in candidates where access(candidate, X_OK) == 0 { return candidate }
  throw FormatError(
    .notFound, "the training program is neither beside this one nor on the PATH", path: name, advice: trainingAdvice)
}

private let trainingAdvice = "build it with `make build`"
