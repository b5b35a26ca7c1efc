import Formats
import Jobs

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

  /// Embeds the images of a verification set, with a progress line, and adds its report.
  ///
  /// - Parameters:
  ///   - path: the `.bin` file.
  ///   - imageSize: rows and columns of the network's images.
  ///   - batchSize: images that `embed` is given at a time.
  ///   - folds: of the cross-validation.
  ///   - embed: embeddings [N · D] of N images of uint8 RGB [N, S, S, 3], and of the mirrored images.
  /// - Returns: the lines that describe it; none where the run was ended.
  /// - Throws: what reading the file, `embed` and the evaluation throw.
  public mutating func judge(
    path: String, imageSize: Int, batchSize: Int, folds: Int,
    embed: (UnsafeBufferPointer<UInt8>, Int) throws -> (original: [Float], flipped: [Float])
  ) throws -> [String] {
    let set = try VerificationImages(path: path, imageSize: imageSize)
    let progress = ProgressLine()
    let began = seconds()
    let embedded = try set.embeddings(
      batchSize: batchSize, embed: embed,
      progress: { done in
        let rest = (seconds() - began) / Double(done) * Double(set.count - done)
        progress.show("\(set.name): \(done) of \(set.count) images, ETA \(clockText(rest))")
        return true
      })
    progress.finish()
    guard let embedded else { return [] }
    let report = try VerificationEvaluator(folds: folds).evaluate(
      original: embedded.original, flipped: embedded.flipped, isSame: set.isSame)
    return add(report, name: set.name, path: path)
  }

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
