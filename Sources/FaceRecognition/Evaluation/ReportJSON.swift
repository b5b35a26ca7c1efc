import Formats

extension FlipVerificationReport {
  /// The report with its set's name and file, under the names of the properties.
  func json(name: String, path: String) -> JSONValue {
    .object([
      "name": .string(name), "path": .string(path),
      "report": .object(["original": original.json, "flip": flip.json, "xNorm": .number(xNorm)]),
    ])
  }
}

extension VerificationReport {
  /// The report under the names of its properties; what is absent has no member.
  var json: JSONValue {
    .object([
      "pairCount": .integer(pairCount), "positivePairCount": .integer(positivePairCount),
      "accuracy": .number(accuracy), "accuracyDeviation": .number(accuracyDeviation),
      "foldAccuracies": .numbers(foldAccuracies), "foldThresholds": .numbers(foldThresholds),
      "bestThreshold": .number(bestThreshold), "bestThresholdCosine": .number(bestThresholdCosine),
      "validation": validation?.json, "validationAbsence": validationAbsence.map(JSONValue.string),
      "roc": .list(
        roc.map { .object(["far": .number($0.far), "tar": .number($0.tar), "threshold": .number($0.threshold)]) }),
      "auc": .number(auc), "eer": .number(eer), "xNorm": .number(xNorm),
      "warnings": .list(warnings.map(JSONValue.string)),
    ])
  }
}

extension VerificationReport.ValidationRate {
  fileprivate var json: JSONValue {
    .object([
      "rate": .number(rate), "deviation": .number(deviation), "far": .number(far), "farTarget": .number(farTarget),
      "foldThresholds": .numbers(foldThresholds),
    ])
  }
}
