extension NetworkGraph {
  /// One dimension of a tensor: a number, or a multiple of the batch size N that is known only when the network runs.
  public enum Dimension: Sendable, Hashable, CustomStringConvertible, ExpressibleByIntegerLiteral {
    case fixed(Int)
    /// `batch(k)` is k · N; k exceeds 1 where a reshape has merged the batch with another dimension.
    case batch(Int)

    /// The batch size N itself.
    public static let n = Dimension.batch(1)

    /// A fixed dimension.
    public init(integerLiteral value: Int) { self = .fixed(value) }

    /// The number where it does not depend on N.
    public var fixed: Int? {
      if case .fixed(let size) = self { size } else { nil }
    }

    /// `112`, `N` or `4N`.
    public var description: String {
      switch self {
      case .fixed(let size): "\(size)"
      case .batch(1): "N"
      case .batch(let count): "\(count)N"
      }
    }
  }

  /// The dimensions of a tensor, outermost first; images are N, C, H, W.
  public struct Shape: Sendable, Hashable, CustomStringConvertible, ExpressibleByArrayLiteral {
    /// The dimensions, outermost first.
    public var dimensions: [Dimension]

    /// A shape from its dimensions.
    public init(_ dimensions: [Dimension]) { self.dimensions = dimensions }

    /// A shape from its dimensions.
    public init(arrayLiteral elements: Dimension...) { self.dimensions = elements }

    /// A shape without batch dimension.
    public init(fixed sizes: [Int]) { self.dimensions = sizes.map(Dimension.fixed) }

    /// N, C, H, W of an image batch.
    public static func images(channels: Int, height: Int, width: Int) -> Shape {
      [.n, .fixed(channels), .fixed(height), .fixed(width)]
    }

    /// Number of dimensions.
    public var rank: Int { dimensions.count }

    /// A dimension by index.
    public subscript(axis: Int) -> Dimension {
      get { dimensions[axis] }
      set { dimensions[axis] = newValue }
    }

    /// The sizes where none depends on N.
    public var fixed: [Int]? {
      let sizes = dimensions.compactMap(\.fixed)
      return sizes.count == rank ? sizes : nil
    }

    /// The sizes for a batch of `batch` samples; nil on overflow.
    public func sizes(batch: Int) -> [Int]? {
      var sizes: [Int] = []
      for dimension in dimensions {
        switch dimension {
        case .fixed(let size): sizes.append(size)
        case .batch(let count):
          let (size, overflow) = count.multipliedReportingOverflow(by: batch)
          guard !overflow else { return nil }
          sizes.append(size)
        }
      }
      return sizes
    }

    /// `(N, 3, 112, 112)`.
    public var description: String { "(" + dimensions.map(\.description).joined(separator: ", ") + ")" }
  }

  /// A height and a width; a literal such as `3` means both, `[7, 1]` is height and width.
  public struct Extent: Sendable, Hashable, CustomStringConvertible, ExpressibleByIntegerLiteral,
    ExpressibleByArrayLiteral
  {
    /// Vertical.
    public var height: Int
    /// Horizontal.
    public var width: Int

    /// A height and a width.
    public init(height: Int, width: Int) {
      self.height = height
      self.width = width
    }

    /// The same in both directions.
    public init(_ both: Int) { self.init(height: both, width: both) }

    /// The same in both directions.
    public init(integerLiteral value: Int) { self.init(value) }

    /// Height and width, or one number for both; any other count gives (0, 0), which no operation accepts.
    public init(arrayLiteral elements: Int...) {
      switch elements.count {
      case 1: self.init(elements[0])
      case 2: self.init(height: elements[0], width: elements[1])
      default: self.init(0)
      }
    }

    /// `(3, 3)`, height first.
    public var description: String { "(\(height), \(width))" }
  }

  /// How many rows and columns are added on each side; a literal such as `1` means all four sides.
  public struct Padding: Sendable, Hashable, CustomStringConvertible, ExpressibleByIntegerLiteral,
    ExpressibleByArrayLiteral
  {
    /// Rows above.
    public var top: Int
    /// Columns to the left.
    public var left: Int
    /// Rows below.
    public var bottom: Int
    /// Columns to the right.
    public var right: Int

    /// Four sides of their own.
    public init(top: Int, left: Int, bottom: Int, right: Int) {
      self.top = top
      self.left = left
      self.bottom = bottom
      self.right = right
    }

    /// Above and below the same, left and right the same.
    public init(_ extent: Extent) {
      self.init(top: extent.height, left: extent.width, bottom: extent.height, right: extent.width)
    }

    /// All four sides the same.
    public init(integerLiteral value: Int) { self.init(Extent(value)) }

    /// Vertical and horizontal, or top, left, bottom, right; any other count gives −1, which no operation accepts.
    public init(arrayLiteral elements: Int...) {
      switch elements.count {
      case 1: self.init(Extent(elements[0]))
      case 2: self.init(Extent(height: elements[0], width: elements[1]))
      case 4: self.init(top: elements[0], left: elements[1], bottom: elements[2], right: elements[3])
      default: self.init(Extent(-1))
      }
    }

    /// Vertical and horizontal padding where both sides agree, nil otherwise.
    public var symmetric: Extent? {
      top == bottom && left == right ? Extent(height: top, width: left) : nil
    }

    /// Vertical and horizontal where symmetric, else all four.
    public var description: String { symmetric?.description ?? "(\(top), \(left), \(bottom), \(right))" }
  }
}
