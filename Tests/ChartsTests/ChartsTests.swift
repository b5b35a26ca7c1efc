import Foundation
import Testing

@testable import Charts

#if canImport(FoundationXML)
  import FoundationXML
#endif

/// Whether XML parses; SVG viewers refuse what does not.
private func isWellFormed(_ text: String) -> Bool { XMLParser(data: Data(text.utf8)).parse() }

@Suite struct AxisTests {
  @Test func `Linear ticks are round and their labels exact`() {
    let axis = Axis(scale: .linear, range: nil, values: [0.013, 0.97], tickGoal: 5)
    #expect(axis.ticks.map(\.label) == ["0", "0.2", "0.4", "0.6", "0.8", "1"])
    #expect(axis.lower == 0 && axis.upper == 1)
    let steps = Axis(scale: .linear, range: nil, values: [0, 180_000], tickGoal: 6)
    #expect(steps.ticks.map(\.label) == ["0", "50000", "100000", "150000", "200000"])
    let fixed = Axis(scale: .linear, range: 0.5...1, values: [], tickGoal: 5)
    #expect(fixed.ticks.map(\.label) == ["0.5", "0.6", "0.7", "0.8", "0.9", "1"])
    #expect(fixed.lower == 0.5 && fixed.upper == 1)
    let negative = Axis(scale: .linear, range: nil, values: [-3e-7, 2e-7], tickGoal: 5)
    #expect(negative.ticks.map(\.label) == ["-3e-7", "-2e-7", "-1e-7", "0", "1e-7", "2e-7"])
  }

  @Test func `Logarithmic ticks are decades`() {
    let axis = Axis(scale: .log, range: nil, values: [3e-5, 0.8], tickGoal: 8)
    #expect(axis.ticks.map(\.label) == ["1e-5", "0.0001", "0.001", "0.01", "0.1", "1"])
    #expect(axis.fraction(1e-5) == 0)
    #expect(abs(axis.fraction(1) - 1) < 1e-12)
    #expect(abs(axis.fraction(1e-3) - 0.4) < 1e-12)
    #expect(axis.minorTicks.count == 40)
    let whole = Axis(scale: .log, range: nil, values: [1e-3, 1], tickGoal: 8)
    #expect(whole.ticks.count == 4)
    let many = Axis(scale: .log, range: nil, values: [1e-30, 1], tickGoal: 8)
    #expect(many.ticks.count <= 9 && many.minorTicks.isEmpty)
    let narrow = Axis(scale: .log, range: 1.5...7, values: [], tickGoal: 8)
    #expect(narrow.ticks.map(\.label) == ["2", "5"])
  }

  static let awkwardRanges: [[Double]] = [
    [0, 0], [5, 5], [-1e308, 1e308], [.leastNonzeroMagnitude, .leastNormalMagnitude], [1e16, 1e16 + 2],
    [-0.1, 0.30000000000000004],
  ]

  @Test(arguments: awkwardRanges)
  func `Awkward ranges give some ticks inside the axis`(values: [Double]) {
    let axis = Axis(scale: .linear, range: nil, values: values, tickGoal: 6)
    #expect(axis.lower < axis.upper && axis.ticks.count >= 2 && axis.ticks.count < 30)
    for tick in axis.ticks { #expect((-0.001...1.001).contains(axis.fraction(tick.value))) }
    let log = Axis(scale: .log, range: nil, values: values.map(abs).filter { $0 > 0 }, tickGoal: 6)
    #expect(log.lower < log.upper && log.ticks.count >= 2)
  }

  @Test func `Labels`() {
    #expect(decimalLabel(digits: 25, exponent: -2) == "0.25")
    #expect(decimalLabel(digits: 5, exponent: -3) == "0.005")
    #expect(decimalLabel(digits: -125, exponent: -1) == "-12.5")
    #expect(decimalLabel(digits: 15, exponent: -8) == "1.5e-7")
    #expect(decimalLabel(digits: 2, exponent: 6) == "2e6")
    #expect(place(1.005) == "1" || place(1.005) == "1.01")
    #expect(place(12.5) == "12.5" && place(-0.25) == "-0.25" && place(3.04) == "3.04" && place(-7) == "-7")
  }
}

@Suite struct LineChartTests {
  @Test func `Lines lie where the data says`() {
    let chart = LineChart(
      xRange: 0...10, yRange: 0...1, series: [.init(name: "", points: [.init(x: 0, y: 0), .init(x: 10, y: 1)])],
      width: 720, height: 440)
    // No title, no legend, no axis label: the frame is 72…696 × 16…404.
    #expect(chart.svg().contains("d=\"M72 404L696 16\""))
  }

  @Test func `Text is escaped and the document well formed`() {
    let chart = LineChart(
      title: "a < b & \"c\" 'd' \u{1}", xLabel: "<x>", yLabel: "& y",
      series: [.init(name: "</svg><script>", points: [.init(x: 1, y: 2), .init(x: 2, y: 3)])])
    let svg = chart.svg()
    #expect(isWellFormed(svg))
    #expect(svg.contains("a &lt; b &amp; &quot;c&quot; &#39;d&#39; \u{FFFD}"))
    #expect(!svg.contains("<script>"))
  }

  @Test func `Points that cannot be drawn interrupt the line`() {
    let points: [LineChart.Point] = [
      .init(x: 0, y: 0.1), .init(x: 0.001, y: 0.2), .init(x: 0.01, y: 0.4), .init(x: .nan, y: 1),
      .init(x: 0.1, y: 0.5), .init(x: 1, y: .infinity), .init(x: 1, y: 1),
    ]
    let svg = LineChart(xScale: .log, yRange: 0...1, series: [.init(name: "ROC", points: points)]).svg()
    #expect(isWellFormed(svg))
    let path = svg.split(separator: "\n").first { $0.hasPrefix("<path class=\"line c0\" d=") && $0.contains("L") }
    #expect(path?.split(separator: "M").count == 4)  // what stands before the first M, and three pieces
  }

  @Test func `Nothing to draw says so`() {
    for series in [[], [LineChart.Series(name: "empty", points: [])]] {
      for scale in [LineChart.Scale.linear, .log] {
        let svg = LineChart(xScale: scale, series: series).svg()
        #expect(isWellFormed(svg) && svg.contains("no data"))
      }
    }
    let one = LineChart(series: [.init(name: "one", points: [.init(x: 3, y: 3)])]).svg()
    #expect(isWellFormed(one) && !one.contains("no data"))
  }

  @Test func `Long series are thinned and keep their extremes`() {
    var points = (0..<200_000).map { LineChart.Point(x: Double($0), y: 0) }
    points[123_456].y = 1
    let svg = LineChart(yRange: 0...1, series: [.init(name: "", points: points)]).svg()
    #expect(svg.utf8.count < 60_000)
    #expect(svg.contains(" 16L"))
  }

  @Test func `Many series wrap the legend and repeat colours with dashes`() {
    let series = (0..<14).map { number in
      LineChart.Series(
        name: "series number \(number)", points: (0..<5).map { .init(x: Double($0), y: Double($0 * number)) })
    }
    let svg = LineChart(title: "many", series: series).svg()
    #expect(isWellFormed(svg))
    #expect(svg.components(separatedBy: "class=\"legend\"").count == 15)
    #expect(svg.contains("stroke-dasharray=\"7 4\"") && svg.contains("stroke-dasharray=\"2 3\""))
  }
}
