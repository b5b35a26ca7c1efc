import Formats

/// The reports of several verification sets, as `insightface verify` shows them.
public struct VerificationReports: Sendable {
  private struct Entry {
    let name: String
    let path: String
    let report: FlipVerificationReport
  }
  private var entries: [Entry] = []

  /// A summary without reports.
  public init() {}

  /// Adds the report of a set.
  ///
  /// - Returns: the lines that describe it, in the reference's words where it has them.
  public mutating func add(_ report: FlipVerificationReport, name: String, path: String) -> [String] {
    entries.append(Entry(name: name, path: path, report: report))
    var lines = [
      VerificationLog.xNorm(name, report.xNorm), VerificationLog.accuracy(name, report.original),
      VerificationLog.accuracyFlip(name, report.flip),
    ]
    if let validation = report.flip.validation {
      lines.append("[\(name)]\(VerificationLog.validationRate(validation))")
    } else if let absence = report.flip.validationAbsence {
      lines.append("[\(name)]Validation rate: absent: \(absence)")
    }
    let distance = fixedPoint(report.flip.bestThreshold, decimals: 2)
    let cosine = fixedPoint(report.flip.bestThresholdCosine, decimals: 3)
    lines.append("[\(name)]Best threshold: squared distance \(distance), cosine \(cosine)")
    return lines + report.flip.warnings.map { "[\(name)]Warning: \($0)" }
  }

  /// All reports as a JSON list; numbers that JSON has not are the strings "inf", "-inf" and "nan".
  public func json() -> String {
    JSONValue.list(entries.map { $0.report.json(name: $0.name, path: $0.path) }).text
  }

  /// The ROC curves of all sets as an SVG drawing.
  public func rocDrawing() -> String {
    VerificationReport.rocChart(title: "Verification", entries.map { (name: $0.name, report: $0.report.flip) }).svg()
  }
}
