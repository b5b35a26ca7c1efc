/// The weights of an MXNet model: `prefix-%04d.params`, an ordered list of named dense arrays.
///
/// Names are those of the file, `arg:…` for trained parameters and `aux:…` for running statistics. Reading knows the array
/// layouts v3, v2, v1 and the oldest one; writing makes v2, as MXNet 1.9.1 does. Reference: `src/ndarray/ndarray.cc`.
public struct MXNetParameters: Sendable {
  /// Names and arrays in the order of the file.
  public var entries: [(name: String, tensor: StoredTensor)]

  private static let listMagic: UInt64 = 0x112
  private static let magicV1: UInt32 = 0xf993_fac8
  private static let magicV2: UInt32 = 0xf993_fac9
  private static let magicV3: UInt32 = 0xf993_faca

  /// A list of named arrays.
  public init(entries: [(name: String, tensor: StoredTensor)]) {
    self.entries = entries
  }

  /// The array called `name`, with its `arg:` or `aux:`; `nil` where there is none.
  public subscript(name: String) -> StoredTensor? {
    entries.first { $0.name == name }?.tensor
  }

  /// Reads the file at `path`.
  ///
  /// An array saved without a name gets the empty one.
  ///
  /// Throws `.unsupported` for sparse arrays and unknown element types, `.truncated` and `.corrupt` with the byte offset.
  public init(path: String) throws(FormatError) {
    let file = try MappedFile(path: path)
    entries = try file.withBytes { (bytes) throws(FormatError) in
      var cursor = ByteCursor(bytes, path: path)
      return try Self.readList(&cursor)
    }
  }

  private static func readList(
    _ cursor: inout ByteCursor
  ) throws(FormatError) -> [(name: String, tensor: StoredTensor)] {
    let magic = try cursor.integer(UInt64.self, "the file's magic number")
    guard magic == listMagic else {
      throw cursor.error(
        .corrupt, "an MXNet parameter file starts with the number 0x112, found 0x\(String(magic, radix: 16))", at: 0,
        advice: "check that this is a .params file")
    }
    _ = try cursor.integer(UInt64.self, "the reserved word")
    let count = try cursor.integer(UInt64.self, "the number of arrays")
    // The shortest array, an empty one of the oldest layout, takes four bytes.
    guard count <= UInt64(cursor.remaining / 4) else {
      throw cursor.error(.truncated, "\(count) arrays announced, \(cursor.remaining) bytes left", at: 16)
    }
    var tensors: [StoredTensor] = []
    for number in 0..<Int(count) { tensors.append(try readArray(&cursor, number)) }
    let place = cursor.offset
    let nameCount = try cursor.integer(UInt64.self, "the number of names")
    guard nameCount == count || nameCount == 0 else {
      throw cursor.error(.corrupt, "\(count) arrays with \(nameCount) names", at: place)
    }
    guard nameCount > 0 else { return tensors.map { ("", $0) } }
    var entries: [(name: String, tensor: StoredTensor)] = []
    entries.reserveCapacity(tensors.count)
    for tensor in tensors {
      let place = cursor.offset
      let length = try cursor.integer(UInt64.self, "the length of a name")
      guard length <= UInt64(cursor.remaining) else {
        throw cursor.error(.truncated, "a name of \(length) bytes, \(cursor.remaining) left", at: place)
      }
      let text = try cursor.take(Int(length), "a name")
      guard let name = String(validating: text, as: UTF8.self) else {
        throw cursor.error(.corrupt, "a name that is not UTF-8", at: place)
      }
      entries.append((name, tensor))
    }
    return entries
  }

  private static func readArray(_ cursor: inout ByteCursor, _ number: Int) throws(FormatError) -> StoredTensor {
    let place = cursor.offset
    let magic = try cursor.integer(UInt32.self, "array \(number)")
    if magic == magicV2 || magic == magicV3 {
      let storage = try cursor.integer(Int32.self, "the storage type of array \(number)")
      guard storage == 0 else {
        throw cursor.error(
          .unsupported, "the array \(number) is sparse (storage type \(storage)); dense ones are read", at: place,
          advice: "convert it in MXNet with tostype('default')")
      }
    }
    var dimensions = Int64(magic)
    var dimensionSize = 4
    if magic == magicV1 || magic == magicV2 || magic == magicV3 {
      dimensions = Int64(try cursor.integer(Int32.self, "the number of axes of array \(number)"))
      dimensionSize = 8
    }
    guard dimensions >= -1, dimensions <= 32 else {
      throw cursor.error(.corrupt, "the array \(number) with \(dimensions) axes", at: place)
    }
    var shape: [Int] = []
    for _ in 0..<max(0, Int(dimensions)) {
      let extent =
        dimensionSize == 4
        ? Int64(try cursor.integer(UInt32.self, "the shape of array \(number)"))
        : try cursor.integer(Int64.self, "the shape of array \(number)")
      shape.append(Int(extent))
    }
    // An array that was never given a shape: nothing follows. Only numpy semantics (v3) know scalars and empty arrays.
    let isMissing = magic == magicV3 ? dimensions < 0 || shape.contains { $0 < 0 } : dimensions <= 0
    if isMissing {
      return try StoredTensor(shape: [0], dtype: .f32, bytes: [])
    }
    _ = try cursor.take(8, "the device of array \(number)")
    let code = try cursor.integer(Int32.self, "the element type of array \(number)")
    guard let dtype = types.first(where: { $0.code == code })?.type else {
      throw cursor.error(.unsupported, "the array \(number) has the element type \(code), which is not read", at: place)
    }
    guard let size = dtype.byteCount(shape: shape) else {
      throw cursor.error(.corrupt, "the array \(number) with the shape \(shape)", at: place)
    }
    let data = try cursor.take(size, "array \(number) of shape \(shape)")
    return try StoredTensor(shape: shape, dtype: dtype, bytes: Array(data))
  }

  private static let types: [(code: Int32, type: StoredType)] = [
    (0, .f32), (1, .f64), (2, .f16), (3, .u8), (4, .i32), (5, .i8), (6, .i64), (7, .bool), (12, .bf16),
  ]

  /// Writes the file atomically, byte for byte as MXNet 1.9.1 does for arrays on the CPU.
  ///
  /// Throws `.unsupported` for scalars and empty arrays, which MXNet's format cannot hold.
  public func write(to path: String) throws(FormatError) {
    let descriptions = entries.map {
      TensorDescription(name: $0.name, dtype: $0.tensor.dtype, shape: $0.tensor.shape)
    }
    try Self.write(descriptions, to: path) { (index, sink) throws(FormatError) in
      try entries[index].tensor.bytes.withRawBytes { (bytes) throws(FormatError) in try sink(bytes) }
    }
  }

  /// Writes a file array by array, atomically: `data` is called once for each, in order, with its number and a sink that
  /// takes its bytes in any number of pieces.
  public static func write(
    _ arrays: [TensorDescription], to path: String,
    data: (_ index: Int, _ sink: (UnsafeRawBufferPointer) throws(FormatError) -> Void) throws(FormatError) -> Void
  ) throws(FormatError) {
    let file = try AtomicFile(path: path)
    var front: [UInt8] = []
    front.appendLittleEndian(listMagic)
    front.appendLittleEndian(UInt64(0))
    front.appendLittleEndian(UInt64(arrays.count))
    try file.write(contentsOf: front)
    for (index, array) in arrays.enumerated() {
      guard let size = array.dtype.byteCount(shape: array.shape), size > 0, !array.shape.isEmpty,
        array.shape.count <= 32, let code = types.first(where: { $0.type == array.dtype })?.code
      else {
        throw FormatError(
          .unsupported, "the array `\(array.name)` of shape \(array.shape) has no place in an MXNet parameter file",
          path: path)
      }
      var header: [UInt8] = []
      header.appendLittleEndian(magicV2)
      header.appendLittleEndian(Int32(0))
      header.appendLittleEndian(UInt32(array.shape.count))
      for extent in array.shape { header.appendLittleEndian(Int64(extent)) }
      header.appendLittleEndian(Int32(1))  // the CPU
      header.appendLittleEndian(Int32(0))
      header.appendLittleEndian(code)
      try file.write(contentsOf: header)
      let end = file.byteCount + size
      try data(index) { (bytes) throws(FormatError) in
        guard bytes.count <= end - file.byteCount else {
          throw FormatError(.mismatch, "the array `\(array.name)` was given more than its \(size) bytes", path: path)
        }
        try file.write(bytes)
      }
      guard file.byteCount == end else {
        throw FormatError(
          .mismatch, "the array `\(array.name)` has \(size) bytes, \(end - file.byteCount) are missing", path: path)
      }
    }
    var names: [UInt8] = []
    names.appendLittleEndian(UInt64(arrays.count))
    for array in arrays {
      names.appendLittleEndian(UInt64(array.name.utf8.count))
      names.append(contentsOf: array.name.utf8)
    }
    try file.write(contentsOf: names)
    try file.commit()
  }
}
