/// What turns a decoded image into the network's input, and what comes out: travels with a network in every file format.
///
/// The input is (pixel − mean) · scale for each channel, pixel in 0 … 255, channels in `colourOrder`.
public struct Preprocessing: Sendable, Hashable {
  /// Order of the colour channels.
  public enum ColourOrder: String, Sendable, Hashable, CaseIterable {
    case rgb = "RGB"
    case bgr = "BGR"
  }

  /// Order of the colour channels.
  public var colourOrder: ColourOrder
  /// Rows of the image in pixels.
  public var height: Int
  /// Columns of the image in pixels.
  public var width: Int
  /// Subtracted first: one number, or one for each channel in `colourOrder`.
  public var mean: [Double]
  /// Multiplied after: one number, or one for each channel in `colourOrder`.
  public var scale: [Double]
  /// Whether the network itself subtracts and multiplies, so that raw pixels go in.
  public var isInsideGraph: Bool
  /// Length of the embedding; nil for a network that makes none.
  public var embeddingLength: Int?

  /// Describes preprocessing.
  public init(
    colourOrder: ColourOrder, height: Int, width: Int, mean: [Double], scale: [Double], isInsideGraph: Bool,
    embeddingLength: Int? = nil
  ) {
    self.colourOrder = colourOrder
    self.height = height
    self.width = width
    self.mean = mean
    self.scale = scale
    self.isInsideGraph = isInsideGraph
    self.embeddingLength = embeddingLength
  }

  /// The InsightFace recognition networks of MXNet: RGB, (x − 127.5) / 128 computed by the network.
  public static func insideGraph(height: Int = 112, width: Int = 112, embeddingLength: Int?) -> Preprocessing {
    Preprocessing(
      colourOrder: .rgb, height: height, width: width, mean: [127.5], scale: [0.0078125], isInsideGraph: true,
      embeddingLength: embeddingLength)
  }

  /// One line of `key=value` pairs, in which form the metadata stands in files: `colour=RGB;size=112x112;mean=127.5;…`,
  /// size as width × height.
  public var encoded: String {
    var text = "colour=\(colourOrder.rawValue);size=\(width)x\(height)"
    text += ";mean=" + mean.map { "\($0)" }.joined(separator: ",")
    text += ";scale=" + scale.map { "\($0)" }.joined(separator: ",")
    text += ";inside_graph=\(isInsideGraph)"
    if let embeddingLength { text += ";embedding=\(embeddingLength)" }
    return text
  }

  /// Reads what `encoded` wrote.
  ///
  /// - Throws: `GraphError.invalid` naming the pair that is wrong.
  public init(encoded text: String) throws(GraphError) {
    var values: [Substring: Substring] = [:]
    for pair in text.split(separator: ";") {
      let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      guard parts.count == 2 else {
        throw GraphError(.invalid, message: "preprocessing \"\(pair)\" is not a key=value pair")
      }
      guard ["colour", "size", "mean", "scale", "inside_graph", "embedding"].contains(parts[0]) else {
        throw GraphError(.invalid, message: "unknown preprocessing key \"\(parts[0])\"")
      }
      guard values.updateValue(parts[1], forKey: parts[0]) == nil else {
        throw GraphError(.invalid, message: "preprocessing key \"\(parts[0])\" occurs twice")
      }
    }
    func value(_ key: Substring) throws(GraphError) -> Substring {
      guard let value = values[key] else {
        throw GraphError(.invalid, message: "preprocessing \"\(text)\" has no \"\(key)\"")
      }
      return value
    }
    func numbers(_ key: Substring) throws(GraphError) -> [Double] {
      let parts = try value(key).split(separator: ",", omittingEmptySubsequences: false)
      let numbers = parts.compactMap { Double($0) }.filter(\.isFinite)
      guard numbers.count == parts.count, numbers.count == 1 || numbers.count == 3 else {
        throw GraphError(.invalid, message: "preprocessing \(key) \"\(try value(key))\" is not one or three numbers")
      }
      return numbers
    }
    guard let colourOrder = ColourOrder(rawValue: String(try value("colour"))) else {
      throw GraphError(.invalid, message: "preprocessing colour \"\(try value("colour"))\" is neither RGB nor BGR")
    }
    let size = try value("size").split(separator: "x", omittingEmptySubsequences: false).compactMap { Int($0) }
    guard size.count == 2, size.allSatisfy({ (1...65536).contains($0) }) else {
      throw GraphError(.invalid, message: "preprocessing size \"\(try value("size"))\" is not WIDTHxHEIGHT")
    }
    guard let isInsideGraph = Bool(String(try value("inside_graph"))) else {
      throw GraphError(
        .invalid, message: "preprocessing inside_graph \"\(try value("inside_graph"))\" is neither true nor false")
    }
    var embeddingLength: Int?
    if let length = values["embedding"] {
      guard let number = Int(length), number > 0 else {
        throw GraphError(.invalid, message: "preprocessing embedding \"\(length)\" is not a length")
      }
      embeddingLength = number
    }
    self.init(
      colourOrder: colourOrder, height: size[1], width: size[0], mean: try numbers("mean"),
      scale: try numbers("scale"), isInsideGraph: isInsideGraph, embeddingLength: embeddingLength)
  }
}
