/// A value of a MATLAB file: an array of numbers, text, or cells, or fields by name.
public indirect enum MatValue: Sendable, Equatable {
  /// Numbers, whatever type they are stored in; the first index varies fastest.
  case numbers(shape: [Int], elements: [Double])
  /// Characters of an array of text, the first index fastest: a row is read as it stands.
  case text(shape: [Int], String)
  /// Cells, the first index fastest.
  case cells(shape: [Int], elements: [MatValue])
  /// An array of structures: for each field one value an element, the first index fastest.
  case structures(shape: [Int], fields: [String: [MatValue]])

  /// The extents.
  public var shape: [Int] {
    switch self {
    case .numbers(let shape, _), .text(let shape, _), .cells(let shape, _), .structures(let shape, _): shape
    }
  }

  /// The numbers; nil for another kind.
  public var numbers: [Double]? {
    if case .numbers(_, let elements) = self { elements } else { nil }
  }

  /// The text; nil for another kind.
  public var text: String? {
    if case .text(_, let text) = self { text } else { nil }
  }

  /// The cells; nil for another kind.
  public var cells: [MatValue]? {
    if case .cells(_, let elements) = self { elements } else { nil }
  }
}
