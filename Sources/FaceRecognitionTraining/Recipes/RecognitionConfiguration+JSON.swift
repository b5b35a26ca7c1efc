import Foundation

extension RecognitionConfiguration {
  /// Sets the keys of a JSON object in a file: numbers, texts, switches and lists of them.
  ///
  /// Throws when the file cannot be read, is not such an object, or has a key that does not exist.
  public mutating func merge(file path: String) throws {
    guard let data = FileManager.default.contents(atPath: path) else {
      throw ConfigurationError("\(path): the configuration file cannot be read")
    }
    let object: [String: JSONValue]
    do {
      object = try JSONDecoder().decode([String: JSONValue].self, from: data)
    } catch {
      throw ConfigurationError("\(path): expected a JSON object of keys and values: \(error)")
    }
    for (key, value) in object.sorted(by: { $0.key < $1.key }) where !key.hasPrefix("_") {
      try set(key, value.text, from: path)
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
