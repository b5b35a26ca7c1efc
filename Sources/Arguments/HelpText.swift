/// Lays out help.
struct HelpText {
  /// The number of columns that lines keep to.
  let width: Int

  /// The help of one command.
  func command(
    path: String, summary: String, discussion: String, specifications: [ArgumentSpecification]
  ) -> String {
    var usage = "Usage: \(path)"
    for specification in specifications where !specification.isPositional && specification.isRequired {
      usage += " \(specification.displayName) <\(specification.valueName ?? "value")>"
    }
    usage += " [options]"
    for specification in specifications where specification.isPositional {
      let repeated = specification.kind == .rest ? " ..." : ""
      usage +=
        specification.isRequired
        ? " <\(specification.displayName)>\(repeated)"
        : " [<\(specification.displayName)>\(repeated)]"
    }
    var blocks = [summary, usage] + paragraphs(discussion)
    var titles: [String] = []
    for specification in specifications where !titles.contains(specification.section) {
      titles.append(specification.section)
    }
    // What has no effect stands last; positional arguments stand first.
    let last = titles.filter { $0 == "Options without effect" }
    titles = titles.filter { $0 == "Arguments" } + titles.filter { $0 != "Arguments" && !last.contains($0) } + last
    for title in titles {
      let rows = specifications.filter { $0.section == title }.map { (left($0), right($0)) }
      blocks.append("\(title):\n" + table(rows))
    }
    blocks.append("Help:\n" + table([("-h, --help", "show this help"), ("    --version", "show the version")]))
    return blocks.filter { !$0.isEmpty }.joined(separator: "\n\n") + "\n"
  }

  /// The help of a group or of the whole tool.
  func group(path: String, summary: String, discussion: String, commands: [(name: String, summary: String)]) -> String {
    var blocks = [summary, "Usage: \(path) <command> ..."] + paragraphs(discussion)
    blocks.append("Commands:\n" + table(commands.map { ($0.name, $0.summary) }))
    blocks.append("'\(path) <command> --help' describes a command.")
    return blocks.filter { !$0.isEmpty }.joined(separator: "\n\n") + "\n"
  }

  private func left(_ specification: ArgumentSpecification) -> String {
    if specification.isPositional {
      return "<\(specification.displayName)>" + (specification.kind == .rest ? " ..." : "")
    }
    let short = specification.names.filter { !$0.hasPrefix("--") }
    let long = specification.names.filter { $0.hasPrefix("--") }
    var names = short + long
    if let first = specification.negatedNames.first { names.append(first) }
    let value = specification.valueName.map { " <\($0)>" } ?? ""
    // Long names line up behind the place of a short one.
    return (short.isEmpty ? "    " : "") + names.joined(separator: ", ") + value
  }

  private func right(_ specification: ArgumentSpecification) -> String {
    var remarks: [String] = []
    if !specification.choices.isEmpty && specification.choices != Bool.allArguments {
      remarks.append("one of: " + specification.choices.joined(separator: ", "))
    }
    if specification.isRequired && !specification.isPositional { remarks.append("required") }
    if specification.isRepeatable && !specification.isPositional { remarks.append("repeatable") }
    if let text = specification.defaultText { remarks.append("default: \(text)") }
    return specification.help + (remarks.isEmpty ? "" : " (\(remarks.joined(separator: "; ")))")
  }

  private func table(_ rows: [(String, String)]) -> String {
    let widest = rows.reduce(0) { max($0, $1.0.count <= 34 ? $1.0.count : 0) }
    let column = 2 + max(widest, 10) + 2
    var lines: [String] = []
    for (left, right) in rows {
      let text = wrapped(right, width: max(width - column, 30))
      let padding = String(repeating: " ", count: column)
      if 2 + left.count + 2 <= column {
        let first = "  " + left + String(repeating: " ", count: column - 2 - left.count) + (text.first ?? "")
        lines.append(first)
        lines += text.dropFirst().map { padding + $0 }
      } else {
        lines.append("  " + left)
        lines += text.map { padding + $0 }
      }
    }
    return lines.map(trimmedEnd).joined(separator: "\n")
  }

  /// Paragraphs are parted by empty lines; lines that begin with a space, such as examples, stay as they are.
  private func paragraphs(_ text: String) -> [String] {
    var blocks: [String] = []
    var words: [String] = []
    var fixed: [String] = []
    func flush() {
      if !words.isEmpty { blocks.append(wrapped(words.joined(separator: " "), width: width).joined(separator: "\n")) }
      if !fixed.isEmpty { blocks.append(fixed.joined(separator: "\n")) }
      words = []
      fixed = []
    }
    for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
      if line.allSatisfy({ $0 == " " }) {
        flush()
      } else if line.hasPrefix(" ") {
        if !words.isEmpty { flush() }
        fixed.append(String(line))
      } else {
        if !fixed.isEmpty { flush() }
        words.append(String(line))
      }
    }
    flush()
    return blocks
  }

  private func wrapped(_ text: String, width: Int) -> [String] {
    var lines: [String] = []
    var line = ""
    for word in text.split(separator: " ") {
      if !line.isEmpty && line.count + 1 + word.count > width {
        lines.append(line)
        line = ""
      }
      line += (line.isEmpty ? "" : " ") + word
    }
    if !line.isEmpty { lines.append(line) }
    return lines
  }

  private func trimmedEnd(_ line: String) -> String {
    var line = line
    while line.hasSuffix(" ") { line.removeLast() }
    return line
  }
}
