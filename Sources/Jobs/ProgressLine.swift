import Glibc

/// One line at the bottom of a terminal that says how far a long job is.
public final class ProgressLine {
  private var text = ""
  private var drawnAt = 0.0
  private let isTerminal = isatty(2) == 1

  /// A line on standard error; silent where that is not a terminal.
  public init() {}

  /// Shows a new text, at most ten times a second.
  public func show(_ text: @autoclosure () -> String) {
    guard isTerminal, seconds() - drawnAt > 0.1 else { return }
    drawnAt = seconds()
    self.text = text()
    redraw()
  }

  /// Takes the line away.
  public func clear() {
    guard isTerminal, !text.isEmpty else { return }
    put("\r\u{1B}[K")
  }

  /// Puts it back.
  public func redraw() {
    guard isTerminal, !text.isEmpty else { return }
    put("\r\u{1B}[K\(text)")
  }

  /// Takes the line away for good.
  public func finish() {
    clear()
    text = ""
  }

  private func put(_ text: String) {
    text.withCString { _ = Glibc.write(2, $0, strlen($0)) }
  }
}

/// "1:02:03" from seconds.
public func clockText(_ seconds: Double) -> String {
  guard seconds.isFinite, seconds >= 0, seconds < 1e9 else { return "?" }
  let s = Int(seconds)
  let (h, m, rest) = (s / 3600, s / 60 % 60, s % 60)
  let two = { (n: Int) in n < 10 ? "0\(n)" : "\(n)" }
  return h > 0 ? "\(h):\(two(m)):\(two(rest))" : "\(m):\(two(rest))"
}

/// Seconds of the monotonic clock.
public func seconds() -> Double {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC, &time)
  return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
}

/// A number with a fixed count of decimals, as C's printf prints it ("nan" and "inf" included).
public func fixed(_ value: Double, _ decimals: Int) -> String {
  var buffer = [CChar](repeating: 0, count: 400)
  let count = withVaList([value]) { vsnprintf(&buffer, buffer.count, "%.\(decimals)f", $0) }
  return String(decoding: buffer.prefix(max(0, Int(count))).map { UInt8(bitPattern: $0) }, as: UTF8.self)
}
