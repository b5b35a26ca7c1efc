/// A line chart with one or more series, drawn as a self-contained SVG picture.
///
/// The picture has no script, no font file and no outside reference; it follows the viewer's light or dark preference
/// where the viewer has one. Points whose coordinates are not finite, or not positive on a logarithmic axis, interrupt
/// the line.
public struct LineChart: Sendable {
  /// How an axis maps values to places.
  public enum Scale: Sendable {
    /// Equal differences take equal lengths.
    case linear
    /// Equal ratios take equal lengths; base ten.
    case log
  }

  /// A point in data coordinates.
  public struct Point: Sendable, Equatable {
    /// The horizontal value.
    public var x: Double
    /// The vertical value.
    public var y: Double

    /// A point at these values.
    public init(x: Double, y: Double) {
      self.x = x
      self.y = y
    }
  }

  /// A named line.
  public struct Series: Sendable {
    /// The name that the legend shows; an empty one has no legend entry.
    public var name: String
    /// The points in the order in which the line joins them.
    public var points: [Point]

    /// A series of these points.
    public init(name: String, points: [Point]) {
      self.name = name
      self.points = points
    }
  }

  /// The heading; none where empty.
  public var title: String
  /// What the horizontal axis shows.
  public var xLabel: String
  /// What the vertical axis shows.
  public var yLabel: String
  /// The horizontal axis' scale.
  public var xScale: Scale
  /// The vertical axis' scale.
  public var yScale: Scale
  /// The horizontal range shown; that of the points where nil.
  public var xRange: ClosedRange<Double>?
  /// The vertical range shown; that of the points where nil.
  public var yRange: ClosedRange<Double>?
  /// The lines, drawn in this order.
  public var series: [Series]
  /// The picture's width in pixels.
  public var width: Int
  /// The picture's height in pixels.
  public var height: Int

  /// A chart of these series; 720×440 pixels with linear axes unless told otherwise.
  public init(
    title: String = "", xLabel: String = "", yLabel: String = "", xScale: Scale = .linear, yScale: Scale = .linear,
    xRange: ClosedRange<Double>? = nil, yRange: ClosedRange<Double>? = nil, series: [Series], width: Int = 720,
    height: Int = 440
  ) {
    self.title = title
    self.xLabel = xLabel
    self.yLabel = yLabel
    self.xScale = xScale
    self.yScale = yScale
    self.xRange = xRange
    self.yRange = yRange
    self.series = series
    self.width = width
    self.height = height
  }

  /// The picture as an SVG document.
  public func svg() -> String {
    let width = min(max(self.width, 240), 10_000)
    let height = min(max(self.height, 180), 10_000)
    let legend = legendRows(width: width - 96)
    let top = (title.isEmpty ? 16 : 44) + legend.rowCount * 20
    let area = PlotArea(
      left: 72, right: Double(width - 24), top: Double(top), bottom: Double(height - (xLabel.isEmpty ? 36 : 56)))
    let drawable = series.map { $0.points.filter { isDrawable($0) } }
    let horizontal = Axis(scale: xScale, range: xRange, values: drawable.flatMap { $0.map(\.x) }, tickGoal: width / 90)
    let vertical = Axis(
      scale: yScale, range: yRange, values: drawable.flatMap { $0.map(\.y) }, tickGoal: (height - top) / 50)

    var lines: [String] = []
    lines.append(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"\(width)\" height=\"\(height)\" "
        + "viewBox=\"0 0 \(width) \(height)\" role=\"img\">")
    if !title.isEmpty { lines.append("<title>\(escaped(title))</title>") }
    lines.append("<style>\(Self.style)</style>")
    lines.append("<rect class=\"paper\" width=\"\(width)\" height=\"\(height)\"/>")
    if !title.isEmpty {
      lines.append("<text class=\"title\" x=\"\(width / 2)\" y=\"28\" text-anchor=\"middle\">\(escaped(title))</text>")
    }
    lines += legend.lines.map { $0.drawn(top: title.isEmpty ? 12 : 40) }
    lines += gridLines(area, horizontal, vertical)
    lines.append(
      "<clipPath id=\"plot\"><rect x=\"\(place(area.left))\" y=\"\(place(area.top - 1))\" "
        + "width=\"\(place(area.right - area.left))\" height=\"\(place(area.bottom - area.top + 2))\"/></clipPath>")
    lines.append("<g clip-path=\"url(#plot)\">")
    for (index, item) in series.enumerated() {
      let path = pathData(item.points, area, horizontal, vertical)
      if !path.isEmpty { lines.append("<path class=\"line c\(index % 6)\"\(dash(index)) d=\"\(path)\"/>") }
    }
    lines.append("</g>")
    if drawable.allSatisfy(\.isEmpty) {
      lines.append(
        "<text class=\"label\" x=\"\(place((area.left + area.right) / 2))\" "
          + "y=\"\(place((area.top + area.bottom) / 2))\" text-anchor=\"middle\">no data</text>")
    }
    lines.append("</svg>")
    return lines.joined(separator: "\n") + "\n"
  }

  // Okabe and Ito's palette, told apart by colour-blind readers too; the two that fade on a dark ground are lightened
  // there.
  private static let style = """
    text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;fill:#333}\
    .title{font-size:16px;font-weight:600}.label{font-size:13px}.tick{font-size:11px;fill:#555}\
    .legend{font-size:12px}.paper{fill:#fff}.grid{stroke:#e4e4e4;stroke-width:1}.minor{stroke:#f2f2f2;stroke-width:1}\
    .frame{fill:none;stroke:#999;stroke-width:1}.line{fill:none;stroke-width:2;stroke-linejoin:round}\
    .c0{stroke:#0072b2}.c1{stroke:#d55e00}.c2{stroke:#009e73}.c3{stroke:#cc79a7}.c4{stroke:#e69f00}.c5{stroke:#56b4e9}\
    @media (prefers-color-scheme:dark){text{fill:#ddd}.tick{fill:#aaa}.paper{fill:#1b1c1e}.grid{stroke:#34363a}\
    .minor{stroke:#28292c}.frame{stroke:#777}.c0{stroke:#4aa3df}.c2{stroke:#2fc79b}}
    """

  private func isDrawable(_ point: Point) -> Bool {
    point.x.isFinite && point.y.isFinite && (xScale == .linear || point.x > 0) && (yScale == .linear || point.y > 0)
  }

  /// Beyond six series the colours come again with another dash.
  private func dash(_ index: Int) -> String {
    switch index / 6 % 3 {
    case 1: return " stroke-dasharray=\"7 4\""
    case 2: return " stroke-dasharray=\"2 3\""
    default: return ""
    }
  }

  private struct PlotArea {
    let left: Double
    let right: Double
    let top: Double
    let bottom: Double
  }

  private struct LegendEntry {
    let name: String
    let index: Int
    let x: Int
    let row: Int
    let dash: String

    func drawn(top: Int) -> String {
      let y = top + row * 20 + 10
      return "<path class=\"line c\(index % 6)\"\(dash) d=\"M\(x) \(y)h22\"/>"
        + "<text class=\"legend\" x=\"\(x + 28)\" y=\"\(y + 4)\">\(escaped(name))</text>"
    }
  }

  private func legendRows(width: Int) -> (lines: [LegendEntry], rowCount: Int) {
    var entries: [LegendEntry] = []
    var x = 0
    var row = 0
    for (index, item) in series.enumerated() where !item.name.isEmpty {
      // Twelve-pixel sans-serif letters are about seven pixels wide.
      let entryWidth = 28 + item.name.count * 7 + 18
      if x > 0 && x + entryWidth > width {
        x = 0
        row += 1
      }
      entries.append(LegendEntry(name: item.name, index: index, x: 72 + x, row: row, dash: dash(index)))
      x += entryWidth
    }
    return (entries, entries.isEmpty ? 0 : row + 1)
  }

  private func gridLines(_ area: PlotArea, _ horizontal: Axis, _ vertical: Axis) -> [String] {
    var lines: [String] = []
    func x(_ value: Double) -> String { place(area.left + horizontal.fraction(value) * (area.right - area.left)) }
    func y(_ value: Double) -> String { place(area.bottom - vertical.fraction(value) * (area.bottom - area.top)) }
    for value in horizontal.minorTicks {
      lines.append("<path class=\"minor\" d=\"M\(x(value)) \(place(area.top))V\(place(area.bottom))\"/>")
    }
    for value in vertical.minorTicks {
      lines.append("<path class=\"minor\" d=\"M\(place(area.left)) \(y(value))H\(place(area.right))\"/>")
    }
    for tick in horizontal.ticks {
      lines.append("<path class=\"grid\" d=\"M\(x(tick.value)) \(place(area.top))V\(place(area.bottom))\"/>")
      lines.append(
        "<text class=\"tick\" x=\"\(x(tick.value))\" y=\"\(place(area.bottom + 16))\" text-anchor=\"middle\">"
          + "\(tick.label)</text>")
    }
    for tick in vertical.ticks {
      lines.append("<path class=\"grid\" d=\"M\(place(area.left)) \(y(tick.value))H\(place(area.right))\"/>")
      lines.append(
        "<text class=\"tick\" x=\"\(place(area.left - 8))\" y=\"\(y(tick.value))\" dy=\"4\" text-anchor=\"end\">"
          + "\(tick.label)</text>")
    }
    lines.append(
      "<path class=\"frame\" d=\"M\(place(area.left)) \(place(area.top))V\(place(area.bottom))H\(place(area.right))\"/>"
    )
    if !xLabel.isEmpty {
      lines.append(
        "<text class=\"label\" x=\"\(place((area.left + area.right) / 2))\" y=\"\(place(area.bottom + 40))\" "
          + "text-anchor=\"middle\">\(escaped(xLabel))</text>")
    }
    if !yLabel.isEmpty {
      let middle = place((area.top + area.bottom) / 2)
      lines.append(
        "<text class=\"label\" x=\"18\" y=\"\(middle)\" text-anchor=\"middle\" transform=\"rotate(-90 18 \(middle))\">"
          + "\(escaped(yLabel))</text>")
    }
    return lines
  }

  /// The line through the points; of many points in one pixel column only first, lowest, highest and last are kept.
  private func pathData(_ points: [Point], _ area: PlotArea, _ horizontal: Axis, _ vertical: Axis) -> String {
    var runs: [[(x: Double, y: Double)]] = [[]]
    for point in points {
      if !isDrawable(point) {
        if runs.last?.isEmpty == false { runs.append([]) }
        continue
      }
      // Far outside the frame the place does not matter, and renderers dislike huge numbers.
      let x = area.left + min(max(horizontal.fraction(point.x), -2), 3) * (area.right - area.left)
      let y = area.bottom - min(max(vertical.fraction(point.y), -2), 3) * (area.bottom - area.top)
      runs[runs.count - 1].append((x, y))
    }
    var parts: [String] = []
    for run in runs where !run.isEmpty {
      let thinned = run.count > 2 * Int(area.right - area.left) ? thin(run) : run
      var previous: String?
      for place in thinned.map({ "\(place($0.x)) \(place($0.y))" }) where place != previous {
        parts.append((previous == nil ? "M" : "L") + place)
        previous = place
      }
      // A lone point would be invisible.
      if run.count == 1 { parts.append("h0.01") }
    }
    return parts.joined()
  }

  private func thin(_ run: [(x: Double, y: Double)]) -> [(x: Double, y: Double)] {
    var kept: [(x: Double, y: Double)] = []
    var start = 0
    while start < run.count {
      var end = start + 1
      var lowest = start
      var highest = start
      while end < run.count, run[end].x.rounded(.down) == run[start].x.rounded(.down) {
        if run[end].y < run[lowest].y { lowest = end }
        if run[end].y > run[highest].y { highest = end }
        end += 1
      }
      for index in Set([start, lowest, highest, end - 1]).sorted() { kept.append(run[index]) }
      start = end
    }
    return kept
  }
}

/// Text as XML may carry it: markup escaped, characters that XML forbids replaced.
func escaped(_ text: String) -> String {
  var result = ""
  for scalar in text.unicodeScalars {
    switch scalar {
    case "&": result += "&amp;"
    case "<": result += "&lt;"
    case ">": result += "&gt;"
    case "\"": result += "&quot;"
    case "'": result += "&#39;"
    case "\t", "\n", "\r": result += " "
    case "\u{0}"..."\u{1F}", "\u{FFFE}", "\u{FFFF}": result += "\u{FFFD}"
    default: result.unicodeScalars.append(scalar)
    }
  }
  return result
}

/// A coordinate with at most two decimals.
func place(_ value: Double) -> String {
  let hundredths = Int((value * 100).rounded())
  let sign = hundredths < 0 ? "-" : ""
  let whole = abs(hundredths) / 100
  let rest = abs(hundredths) % 100
  if rest == 0 { return "\(sign)\(whole)" }
  return "\(sign)\(whole).\(rest < 10 ? "0" : "")\(rest % 10 == 0 ? rest / 10 : rest)"
}
