import Formats
import Torch

/// Everything a run needs to go on as if nothing had happened: weights, momenta, statistics, generators, and what the
/// trainer notes (step, position, best accuracy, lengths of logs).
///
/// One safetensors file.
public struct TrainingState {
  /// Tensors by name.
  public var tensors: [NamedTensor]
  /// Notes by name.
  public var notes: [String: String]

  /// A state to be saved.
  public init(tensors: [NamedTensor], notes: [String: String]) {
    self.tensors = tensors
    self.notes = notes
  }

  static let formatNote = "insightface.training-state"

  /// Writes the state to a temporary name, syncs it, and puts it in the old one's place: a kill at any moment leaves a
  /// whole state.
  ///
  /// Memory for one tensor is enough.
  public func save(to path: String) throws(FormatError) {
    var notes = notes
    notes["format"] = Self.formatNote
    var descriptions: [TensorDescription] = []
    for named in tensors {
      guard let type = StoredType(named.tensor.dtype) else {
        throw FormatError(
          .unsupported, "the state cannot hold `\(named.name)` of type \(named.tensor.dtype)", path: path)
      }
      descriptions.append(TensorDescription(name: named.name, dtype: type, shape: named.tensor.shape))
    }
    try Safetensors.write(descriptions, metadata: notes, to: path) { (index, sink) throws(FormatError) in
      let outcome = tensors[index].tensor.withBytes { bytes -> FormatError? in
        do throws(FormatError) { try sink(bytes) } catch { return error }
        return nil
      }
      if let outcome { throw outcome }
    }
  }

  /// A state's file, whose tensors are read one by one.
  public struct Reader {
    private let file: Safetensors
    /// The notes.
    public var notes: [String: String] { file.metadata }
    /// The names of the tensors.
    public var names: [String] { file.tensors.map(\.name) }

    /// Opens a state.
    public init(path: String) throws(FormatError) {
      file = try Safetensors(path: path)
      guard file.metadata["format"] == TrainingState.formatNote else {
        throw FormatError(
          .mismatch, "this safetensors file is not a training state", path: path,
          advice: "give the state.safetensors that a training run wrote")
      }
    }

    /// A note that must be there.
    public func note(_ name: String) throws(FormatError) -> String {
      guard let value = file.metadata[name] else {
        throw FormatError(.corrupt, "the state lacks its note `\(name)`", path: file.path)
      }
      return value
    }

    /// A whole number that must be there.
    public func integer(_ name: String) throws(FormatError) -> Int {
      guard let value = Int(try note(name)) else {
        throw FormatError(.corrupt, "the state's note `\(name)` is not a whole number", path: file.path)
      }
      return value
    }

    /// Overwrites tensors with those of the same names; all must be there with the same shapes.
    public func restore(_ targets: [NamedTensor]) throws(FormatError) {
      for target in targets {
        guard let description = file.description(named: target.name) else {
          throw FormatError(.mismatch, "the state has no tensor `\(target.name)`", path: file.path, advice: advice)
        }
        guard description.shape == target.tensor.shape else {
          throw FormatError(
            .mismatch,
            "the state's `\(target.name)` has the shape \(description.shape), this run's \(target.tensor.shape)",
            path: file.path, advice: advice)
        }
        let stored = try tensor(target.name)
        target.tensor.copy(from: stored)
      }
    }

    /// One tensor.
    public func tensor(_ name: String) throws(FormatError) -> Tensor {
      guard let description = file.description(named: name), let type = DType(description.dtype) else {
        throw FormatError(.mismatch, "the state has no tensor `\(name)` of a known type", path: file.path)
      }
      return try file.withBytes(ofTensor: name) { Tensor(bytes: $0, shape: description.shape, dtype: type) }
    }

    private let advice = "resume with the network, loss and data of the interrupted run, or start a new one"
  }
}

extension StoredType {
  /// The type of a file's elements for that of a tensor.
  public init?(_ type: DType) {
    switch type {
    case .float32: self = .f32
    case .float64: self = .f64
    case .float16: self = .f16
    case .bfloat16: self = .bf16
    case .uint8: self = .u8
    case .int8: self = .i8
    case .int32: self = .i32
    case .int64: self = .i64
    case .bool: self = .bool
    }
  }
}

extension DType {
  /// The type of a tensor's elements for that of a file.
  public init?(_ type: StoredType) {
    switch type {
    case .f32: self = .float32
    case .f64: self = .float64
    case .f16: self = .float16
    case .bf16: self = .bfloat16
    case .u8: self = .uint8
    case .i8: self = .int8
    case .i32: self = .int32
    case .i64: self = .int64
    case .bool: self = .bool
    }
  }
}
