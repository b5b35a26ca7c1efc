import Arguments
import FaceRecognition
import Formats
import Jobs

/// `insightface dataset info`: what a data set holds.
struct DatasetInfoCommand: Command {
  static let name = "info"
  static let summary = "Tell layout, images, identities, sizes and verification sets"
  static let discussion = """
    PATH is a folder (all .rec and .bin files in it, or else the identity folders in it), a .rec or a .bin file. Image sizes
    are those of the first 16 images.

      insightface dataset info faces_emore --json
    """

  private var path = ""
  private var json = false

  mutating func bind(_ b: inout ArgumentBinder) throws(UsageError) {
    try b.positional(&path, "PATH", help: "a data set's folder, a folder of identity folders, a .rec or a .bin file")
    try b.flag(&json, "--json", help: "print one JSON object: records, verification_sets, folders")
  }

  mutating func run() throws {
    let files: DatasetFiles
    do throws(FormatError) {
      files = try DatasetFiles(path: path)
    } catch {
      // A folder without .rec and .bin may be one that has not been packed yet.
      guard error.code == .unsupported, let folder = try? FolderSummary(path: path) else { throw error }
      show(folder)
      return
    }
    var records: [RecordSummary] = []
    for file in files.records {
      let progress = ProgressLine()
      let began = seconds()
      records.append(
        try RecordSummary(path: file) { done, total in
          progress.show("reading the labels of \(file): \(eta(done, total, since: began))")
        })
      progress.finish()
    }
    let sets = try files.verificationSets.map { try VerificationSummary(path: $0) }
    if json {
      let recordText = records.map { jsonObject($0) }.joined(separator: ", ")
      let setText = sets.map { jsonObject($0) }.joined(separator: ", ")
      print("{\"records\": [\(recordText)], \"verification_sets\": [\(setText)], \"folders\": []}")
      return
    }
    for record in records {
      print(record.path)
      let layout = record.layout == .faces ? "faces (header record, images, identity records)" : "plain (images only)"
      line("layout", layout)
      line("index", record.hasIndex ? "present" : "absent: the records were found by a scan")
      line("bytes", "\(record.byteCount)")
      line("images", "\(record.imageCount)")
      line("identities", "\(record.identityCount)")
      line(
        "images per identity",
        "\(record.minimumImages) at least, \(fixed(record.medianImages, 1)) median, \(record.maximumImages) at most")
      line("size of first images", record.firstSizesText.isEmpty ? "unknown" : record.firstSizesText)
      if record.unreadableCount > 0 { line("unreadable", "\(record.unreadableCount) of the first images") }
      if let property = record.property {
        line("property", "\(property.classCount) classes, \(property.width)×\(property.height)")
        if property.classCount != record.identityCount {
          line("", "note: property and records differ in the number of identities")
        }
      } else {
        line("property", "absent")
      }
    }
    for set in sets {
      print(set.path)
      let different = set.pairCount - set.sameCount
      line("pairs", "\(set.pairCount): \(set.sameCount) of one person, \(different) of different people")
      line("pickle protocol", set.pickleProtocol.map { "\($0)" } ?? "0 or 1")
      line("stored as", storage(set))
      line("size of first images", set.firstSizesText.isEmpty ? "unknown" : set.firstSizesText)
    }
  }

  private func storage(_ set: VerificationSummary) -> String {
    let encoded = 2 * set.pairCount - set.pixelArrayCount
    let parts = [(encoded, "JPEG or PNG files"), (set.pixelArrayCount, "arrays of pixels")].filter { $0.0 > 0 }
    return parts.isEmpty ? "nothing" : parts.map { "\($0.0) \($0.1)" }.joined(separator: ", ")
  }

  private func show(_ folder: FolderSummary) {
    let per = folder.imagesPerIdentity
    if json {
      let fields = [
        "\"path\": \(jsonText(folder.path))", "\"images\": \(folder.imageCount)",
        "\"identities\": \(folder.identityCount)",
        "\"images_per_identity\": {\"min\": \(per.least), \"median\": \(per.median), \"max\": \(per.most)}",
        "\"empty_folders\": \(folder.emptyFolderCount)", "\"other_files\": \(folder.otherFileCount)",
        "\"first_sizes\": \(jsonSizes(folder.firstSizes))", "\"unreadable\": \(folder.unreadableCount)",
      ]
      print("{\"records\": [], \"verification_sets\": [], \"folders\": [{\(fields.joined(separator: ", "))}]}")
      return
    }
    print(folder.path)
    line("layout", "identity folders")
    line("images", "\(folder.imageCount)")
    line("identities", "\(folder.identityCount)")
    line("images per identity", "\(per.least) at least, \(fixed(per.median, 1)) median, \(per.most) at most")
    line("size of first images", folder.firstSizesText.isEmpty ? "unknown" : folder.firstSizesText)
    if folder.unreadableCount > 0 { line("unreadable", "\(folder.unreadableCount) of the first images") }
    if folder.emptyFolderCount > 0 { line("without images", "\(folder.emptyFolderCount) folders") }
    if folder.otherFileCount > 0 { line("no images by name", "\(folder.otherFileCount) files") }
  }

  private func line(_ name: String, _ value: String) {
    print("  " + name + String(repeating: " ", count: max(1, 24 - name.count)) + value)
  }

  private func jsonObject(_ record: RecordSummary) -> String {
    var fields = [
      "\"path\": \(jsonText(record.path))", "\"layout\": \"\(record.layout == .faces ? "faces" : "plain")\"",
      "\"index\": \(record.hasIndex)", "\"bytes\": \(record.byteCount)", "\"images\": \(record.imageCount)",
      "\"identities\": \(record.identityCount)",
      "\"images_per_identity\": {\"min\": \(record.minimumImages), \"median\": \(record.medianImages), "
        + "\"max\": \(record.maximumImages)}",
      "\"first_sizes\": \(jsonSizes(record.firstSizes))", "\"unreadable\": \(record.unreadableCount)",
    ]
    let property = record.property.map {
      "{\"num_classes\": \($0.classCount), \"height\": \($0.height), \"width\": \($0.width)}"
    }
    fields.append("\"property\": \(property ?? "null")")
    return "{\(fields.joined(separator: ", "))}"
  }

  private func jsonObject(_ set: VerificationSummary) -> String {
    "{\"path\": \(jsonText(set.path)), \"pairs\": \(set.pairCount), \"same\": \(set.sameCount), "
      + "\"different\": \(set.pairCount - set.sameCount), "
      + "\"pickle_protocol\": \(set.pickleProtocol.map { "\($0)" } ?? "null"), "
      + "\"pixel_arrays\": \(set.pixelArrayCount), \"first_sizes\": \(jsonSizes(set.firstSizes))}"
  }

  private func jsonSizes(_ sizes: [PixelSize: Int]) -> String {
    let sorted = sizes.sorted { ($0.key.width, $0.key.height) < ($1.key.width, $1.key.height) }
    let texts = sorted.map {
      "{\"width\": \($0.key.width), \"height\": \($0.key.height), \"images\": \($0.value)}"
    }
    return "[\(texts.joined(separator: ", "))]"
  }
}

/// A JSON string with its quotes.
func jsonText(_ text: String) -> String {
  var result = "\""
  for scalar in text.unicodeScalars {
    switch scalar {
    case "\"": result += "\\\""
    case "\\": result += "\\\\"
    case "\n": result += "\\n"
    case "\t": result += "\\t"
    case "\r": result += "\\r"
    default:
      if scalar.value < 0x20 {
        let digits = String(scalar.value, radix: 16)
        result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
      } else {
        result.unicodeScalars.append(scalar)
      }
    }
  }
  return result + "\""
}
