import Glibc
import Synchronization

/// Writes a TensorBoard event file and keeps it open.
///
/// The file is `events.out.tfevents.<seconds>.<host>.<process>.<n>` in the folder, a TFRecord file of `Event` messages,
/// as TensorBoard reads it. Events are gathered in memory and written when enough have come together or enough time has
/// passed since the last write, at `flush()`, at `close()` and when the writer goes away. A kill loses at most what was
/// not yet flushed, and leaves at most one cut record at the end, which readers skip. Safe to use from several threads.
public final class EventWriter: Sendable {
  /// When gathered events go to the file.
  public struct FlushPolicy: Sendable {
    /// Write as soon as this many bytes are waiting.
    public var byteCount: Int
    /// Write at the first event that comes this many seconds after the last write.
    public var seconds: Double

    /// A policy; 64 KiB or ten seconds unless told otherwise.
    ///
    /// Zero bytes writes every event at once.
    public init(byteCount: Int = 65_536, seconds: Double = 10) {
      self.byteCount = byteCount
      self.seconds = seconds
    }
  }

  private struct State {
    var descriptor: Int32
    var waiting: [UInt8] = []
    var lastWrite: Double
    var writtenCount = 0
  }

  /// The path of the event file.
  public let path: String
  private let policy: FlushPolicy
  private let clock: @Sendable () -> Double
  private let state: Mutex<State>

  /// Files made by this process so far, so that two writers in one second get two names.
  private static let fileCount = Atomic<Int>(0)

  /// Makes the folder (and those above it) where it is missing, and opens a new event file in it.
  ///
  /// - Parameters:
  ///   - folder: where the file goes; TensorBoard calls it the log directory of a run.
  ///   - flushPolicy: when events are written.
  ///   - clock: gives seconds since 1970; the system's clock unless told otherwise.
  /// - Throws: `EventLogError` where the folder or the file cannot be made or written.
  public init(
    folder: String, flushPolicy: FlushPolicy = FlushPolicy(), clock: (@Sendable () -> Double)? = nil
  ) throws(EventLogError) {
    let clock = clock ?? { currentTime() }
    let now = clock()
    try makeFolders(folder)
    let number = Self.fileCount.wrappingAdd(1, ordering: .relaxed).oldValue
    let seconds = now.isFinite && abs(now) < 1e15 ? Int(now) : 0
    let digits = String(max(0, seconds))
    let padded = String(repeating: "0", count: max(0, 10 - digits.count)) + digits
    let stem = "events.out.tfevents.\(padded).\(hostName()).\(getpid())"
    var chosen: (path: String, descriptor: Int32)?
    // A process number may come back within a second (containers): never write into a file that is already there.
    for suffix in number..<(number + 1000) {
      let candidate = joinPath(folder, "\(stem).\(suffix)")
      let descriptor = open(candidate, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0o644)
      if descriptor >= 0 {
        chosen = (candidate, descriptor)
        break
      }
      if errno != EEXIST {
        throw .system(.cannotOpen, path: candidate, doing: "create the event file", errno: errno)
      }
    }
    guard let chosen else {
      throw EventLogError(
        code: .cannotOpen, path: folder, offset: nil, message: "every event file name for this process is taken")
    }
    path = chosen.path
    policy = flushPolicy
    self.clock = clock
    state = Mutex(State(descriptor: chosen.descriptor, lastWrite: now))
    try append(Event(wallTime: now, step: 0, fileVersion: "brain.Event:2"))
    try flush()
  }

  deinit { try? close() }

  /// Records one number.
  ///
  /// - Parameters:
  ///   - tag: the chart's name.
  ///   - value: any float; NaN and infinities are kept as they are.
  ///   - step: the training step.
  ///   - wallTime: seconds since 1970, now unless told otherwise.
  public func addScalar(
    _ tag: String, _ value: Float, step: Int64, wallTime: Double? = nil
  ) throws(EventLogError) {
    try append(
      Event(
        wallTime: wallTime ?? clock(), step: step, values: [SummaryValue(tag: tag, content: .scalar(value))]))
  }

  /// Records a piece of Markdown text, shown in TensorBoard's text tab.
  public func addText(_ tag: String, _ text: String, step: Int64, wallTime: Double? = nil) throws(EventLogError) {
    try append(
      Event(wallTime: wallTime ?? clock(), step: step, values: [SummaryValue(tag: tag, content: .text(text))]))
  }

  /// Records an event as it is.
  ///
  /// - Throws: `EventLogError` where the file cannot be written. An event that could not be taken for want of room is
  ///   not kept; those taken before stay in memory and are tried again at the next write.
  public func append(_ event: Event) throws(EventLogError) {
    let message = event.encoded()
    if message.count > 1 << 30 {
      throw EventLogError(
        code: .tooLarge, path: path, offset: nil, message: "an event of \(message.count) bytes exceeds one GiB")
    }
    try update { state throws(EventLogError) in
      if state.descriptor < 0 { throw self.closedError }
      // After a failed write the waiting bytes are already over the limit; refusing here keeps memory bounded.
      if state.waiting.count >= max(self.policy.byteCount, 1) { try self.write(&state) }
      state.waiting += framed(message)
      if state.waiting.count >= self.policy.byteCount || self.clock() - state.lastWrite >= self.policy.seconds {
        try self.write(&state)
      }
    }
  }

  /// Writes what is waiting.
  public func flush() throws(EventLogError) {
    try update { state throws(EventLogError) in
      if state.descriptor < 0 { throw self.closedError }
      try self.write(&state)
    }
  }

  /// Writes what is waiting and asks the system to put it on the disk.
  public func sync() throws(EventLogError) {
    try update { state throws(EventLogError) in
      if state.descriptor < 0 { throw self.closedError }
      try self.write(&state)
      if fsync(state.descriptor) != 0 {
        throw .system(.cannotWrite, path: self.path, doing: "sync the event file", errno: errno)
      }
    }
  }

  /// Writes what is waiting and closes the file; a second call does nothing.
  public func close() throws(EventLogError) {
    try update { state throws(EventLogError) in
      if state.descriptor < 0 { return }
      defer {
        _ = Glibc.close(state.descriptor)
        state.descriptor = -1
      }
      try self.write(&state)
    }
  }

  private var closedError: EventLogError {
    EventLogError(code: .closed, path: path, offset: nil, message: "the event writer has been closed")
  }

  private func update(_ body: (inout State) throws(EventLogError) -> Void) throws(EventLogError) {
    let result: Result<Void, EventLogError> = state.withLock { state in
      do throws(EventLogError) {
        return .success(try body(&state))
      } catch {
        return .failure(error)
      }
    }
    try result.get()
  }

  /// Writes the waiting bytes.
  ///
  /// What a full disk refused stays waiting, so that the next try goes on inside the record.
  private func write(_ state: inout State) throws(EventLogError) {
    var written = 0
    var failure: Int32 = 0
    while written < state.waiting.count {
      let count = state.waiting.withUnsafeBytes { buffer in
        buffer.baseAddress.map { Glibc.write(state.descriptor, $0 + written, buffer.count - written) } ?? 0
      }
      if count > 0 {
        written += count
      } else if count < 0 && errno != EINTR {
        failure = errno
        break
      }
    }
    state.writtenCount += written
    state.waiting.removeFirst(written)
    if failure != 0 {
      throw .system(
        .cannotWrite, path: path, offset: state.writtenCount, doing: "write the event file", errno: failure)
    }
    state.lastWrite = clock()
  }
}

/// A record as TFRecord files frame it: length, its checksum, the data, its checksum; all little-endian.
func framed(_ message: some Collection<UInt8>) -> [UInt8] {
  var record: [UInt8] = []
  record.reserveCapacity(message.count + 16)
  withUnsafeBytes(of: UInt64(message.count).littleEndian) { record += $0 }
  withUnsafeBytes(of: CRC32C.masked(record).littleEndian) { record += $0 }
  record += message
  withUnsafeBytes(of: CRC32C.masked(message).littleEndian) { record += $0 }
  return record
}
