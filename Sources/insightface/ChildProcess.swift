import Glibc

/// What a program printed and how it ended.
struct ChildOutput {
  /// Its standard output and standard error.
  let text: String
  /// Its exit status; 128 and more for a signal, −1 where it could not be started.
  let status: Int32
}

/// Runs a program without a shell, with `environment` added to this one's, and waits for its end.
func runChild(_ program: String, _ arguments: [String], environment: [String: String] = [:]) -> ChildOutput {
  var ends: [Int32] = [-1, -1]
  guard pipe(&ends) == 0 else { return failure(errno) }
  for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
  defer { close(ends[0]) }
  var actions = posix_spawn_file_actions_t()
  posix_spawn_file_actions_init(&actions)
  defer { posix_spawn_file_actions_destroy(&actions) }
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO)
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO)

  var inherited: [String] = []
  var entry = environ
  while let pointer = entry.pointee {
    let text = String(cString: pointer)
    if !environment.keys.contains(where: { text.hasPrefix("\($0)=") }) { inherited.append(text) }
    entry += 1
  }
  var argv = ([program] + arguments).map { strdup($0) } + [nil]
  var envp = (inherited + environment.map { "\($0.key)=\($0.value)" }).map { strdup($0) } + [nil]
  defer { (argv + envp).forEach { free($0) } }
  var child = pid_t()
  let status = posix_spawn(&child, program, &actions, nil, &argv, &envp)
  close(ends[1])
  guard status == 0 else { return failure(status) }

  var bytes: [UInt8] = []
  var buffer = [UInt8](repeating: 0, count: 4096)
  while true {
    let count = read(ends[0], &buffer, buffer.count)
    if count < 0, errno == EINTR { continue }
    guard count > 0 else { break }
    // A program that prints without end is read to its end all the same, but not kept.
    if bytes.count < 1 << 20 { bytes += buffer[..<count] }
  }
  var result: Int32 = 0
  while waitpid(child, &result, 0) < 0, errno == EINTR {}
  let signal = result & 0x7f
  return ChildOutput(
    text: String(decoding: bytes, as: UTF8.self), status: signal == 0 ? (result >> 8) & 0xff : 128 + signal)
}

private func failure(_ number: Int32) -> ChildOutput {
  ChildOutput(text: String(cString: strerror(number)), status: -1)
}
