import Foundation

extension RecognitionConfiguration {
  /// The keys by which a configuration is made, before anything is set.
  public static let nameKeys = ["network", "loss", "dataset"]

  /// Sets the keys of a JSON object in a file: numbers, texts, switches and lists of them.
  ///
  /// Keys that begin with `_` are comments. `network`, `loss` and `dataset` are left to whoever makes the configuration:
  /// see `names(file:)`. Throws when the file cannot be read, is not such an object, or has a key that does not exist.
  public mutating func merge(file path: String) throws {
    for (key, value) in try Self.object(file: path).sorted(by: { $0.key < $1.key })
    where !key.hasPrefix("_") && !Self.nameKeys.contains(key) {
      try set(key, value.text, from: path)
    }
  }

  /// What a configuration file says of network, loss and data set.
  public static func names(file path: String) throws -> [String: String] {
    try object(file: path).filter { nameKeys.contains($0.key) }.mapValues(\.text)
  }

  private static func object(file path: String) throws -> [String: JSONValue] {
    guard let data = FileManager.default.contents(atPath: path) else {
      throw ConfigurationError("\(path): the configuration file cannot be read")
    }
    do {
      return try JSONDecoder().decode([String: JSONValue].self, from: data)
    } catch {
      throw ConfigurationError("\(path): expected a JSON object of keys and values: \(error)")
    }
  }

  private enum JSONValue: Decodable {
    case scalar(String)
    case list([JSONValue])

    init(from decoder: any Decoder) throws {
      let container = try decoder.singleValueContainer()
      if let list = try? container.decode([JSONValue].self) {
        self = .list(list)
      } else if let value = try? container.decode(Bool.self) {
        self = .scalar(value ? "true" : "false")
      } else if let value = try? container.decode(Int.self) {
        self = .scalar("\(value)")
      } else if let value = try? container.decode(Double.self) {
        self = .scalar("\(value)")
      } else {
        self = .scalar(try container.decode(String.self))
      }
    }

    var text: String {
      switch self {
      case .scalar(let text): text
      case .list(let values): values.map(\.text).joined(separator: ",")
      }
    }
  }
}
