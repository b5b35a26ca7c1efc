import Glibc

/// The lines that the reference's training and verification scripts print, letter for letter, so that its users' log
/// parsers work.
public enum VerificationLog {
  /// `[lfw][2000]XNorm: 22.123456`, as in training; without a step as in `verification.py`: `[lfw]XNorm: 22.123456`.
  public static func xNorm(_ name: String, step: Int? = nil, _ value: Double?) -> String {
    "\(prefix(name, step))XNorm: \(fixedPoint(value ?? .nan, decimals: 6))"
  }

  /// `[lfw][2000]Accuracy: 0.99383+-0.00587`.
  public static func accuracy(_ name: String, step: Int? = nil, _ report: VerificationReport) -> String {
    "\(prefix(name, step))Accuracy: \(rate(report))"
  }

  /// `[lfw][2000]Accuracy-Flip: 0.99383+-0.00587`.
  public static func accuracyFlip(_ name: String, step: Int? = nil, _ report: VerificationReport) -> String {
    "\(prefix(name, step))Accuracy-Flip: \(rate(report))"
  }

  /// `[2000]Accuracy-Highest: 0.99383`.
  public static func accuracyHighest(step: Int, _ accuracy: Double) -> String {
    "[\(step)]Accuracy-Highest: \(fixedPoint(accuracy, decimals: 5))"
  }

  /// `Max of [lfw] is 0.99383`.
  public static func maximum(_ name: String, _ accuracy: Double) -> String {
    "Max of [\(name)] is \(fixedPoint(accuracy, decimals: 5))"
  }

  /// `Validation rate: 0.98167+-0.01572 @ FAR=0.00167`, with the rate that was reached.
  public static func validationRate(_ validation: VerificationReport.ValidationRate) -> String {
    "Validation rate: \(fixedPoint(validation.rate, decimals: 5))+-\(fixedPoint(validation.deviation, decimals: 5))"
      + " @ FAR=\(fixedPoint(validation.far, decimals: 5))"
  }

  private static func prefix(_ name: String, _ step: Int?) -> String {
    step.map { "[\(name)][\($0)]" } ?? "[\(name)]"
  }

  private static func rate(_ report: VerificationReport) -> String {
    "\(fixedPoint(report.accuracy, decimals: 5))+-\(fixedPoint(report.accuracyDeviation, decimals: 5))"
  }
}

/// A number with this many decimals, correctly rounded, as Python's `%.5f` writes it.
func fixedPoint(_ value: Double, decimals: Int) -> String {
  if value.isNaN { return "nan" }
  if value.isInfinite { return value < 0 ? "-inf" : "inf" }
  // The longest finite double has 309 digits before the point.
  var buffer = [UInt8](repeating: 0, count: 352)
  let count = buffer.withUnsafeMutableBytes { bytes in
    withVaList([Int32(clamping: min(max(decimals, 0), 30)), value]) { arguments in
      bytes.baseAddress.map { vsnprintf($0.assumingMemoryBound(to: CChar.self), bytes.count, "%.*f", arguments) } ?? 0
    }
  }
  return String(decoding: buffer.prefix(Int(max(count, 0))), as: UTF8.self)
}
