import Synchronization

/// The tensors of a file that `torch.save` wrote (`.pt`, `.pth`), mapped; nothing in it is ever run.
///
/// Both formats are read: the zip archive of PyTorch 1.6 and later and the stream of pickles before it. The file holds
/// a state dictionary, or a dictionary that has one under `state_dict`, `state_dict_backbone`, `model`,
/// `model_state_dict` or `net`; the prefix `module.` that DataParallel gives to all names is taken off. Format:
/// `torch/serialization.py` of PyTorch.
public final class PyTorchFile: Sendable {
  /// The tensors in the order of the state dictionary.
  public let tensors: [TensorDescription]
  /// Texts that this project's writer put beside the tensors; empty for other files.
  public let metadata: [String: String]
  /// The key under which the state dictionary stood, `nil` where it was the whole file.
  public let dictionaryKey: String?
  /// The path given.
  public var path: String { file.path }

  private struct View: Sendable {
    var storage: Range<Int>
    var checksum: UInt32?
    var offset: Int
    var strides: [Int]
  }

  private let file: MappedFile
  private let views: [View]
  private let ranks: [String: Int]
  /// Where storages begin whose checksum was found right.
  private let verified = Mutex<Set<Int>>([])

  static let dictionaryKeys = ["state_dict", "state_dict_backbone", "model", "model_state_dict", "net"]

  /// Opens the file at `path` and reads its directory and pickle; the tensors' bytes are not touched yet.
  ///
  /// Throws `.unsafe` with name and offset where the pickle refers to anything but tensors, `.truncated`, `.corrupt`,
  /// `.tooLarge` where a tensor has more elements than its storage, `.unsupported`.
  public init(path: String) throws(FormatError) {
    let file = try MappedFile(path: path)
    let content = try file.withBytes { (bytes) throws(FormatError) in
      if ZipDirectory.begins(bytes) { return try PyTorchContent(archive: bytes, path: path) }
      if PyTorchContent.isLegacy(bytes) { return try PyTorchContent(legacy: bytes, path: path) }
      throw FormatError(
        .corrupt, "neither a zip archive nor the older format of torch.save", path: path, offset: 0,
        advice: "check that this is a PyTorch checkpoint")
    }
    let (items, key) = try content.stateDictionary()
    var tensors: [TensorDescription] = []
    var views: [View] = []
    var ranks: [String: Int] = [:]
    var total = 0
    for (name, tensor) in items {
      let storage = content.pickle.storages[tensor.storage]
      guard let type = storage.type else {
        throw content.pickle.error(
          .unsupported, "the tensor `\(name)` has an element type that is not read", at: tensor.place)
      }
      let extent = try content.extent(of: tensor.storage)
      let size = try Self.checkedSize(tensor, type, extent.range.count, name, content.pickle)
      total += size
      // Tied weights share a storage; nothing real shares it many times over.
      guard total <= 8 * file.count else {
        throw content.pickle.error(
          .tooLarge, "the tensors take more than eight times the file's \(file.count) bytes", at: tensor.place)
      }
      guard ranks.updateValue(tensors.count, forKey: name) == nil else {
        throw content.pickle.error(.corrupt, "the name `\(name)` comes twice", at: tensor.place)
      }
      tensors.append(TensorDescription(name: name, dtype: type, shape: tensor.shape))
      // The stride of an axis of one element means nothing and may be any number.
      let strides = zip(tensor.shape, tensor.strides).map { $0 == 1 ? 0 : $1 }
      views.append(
        View(storage: extent.range, checksum: extent.checksum, offset: tensor.offset, strides: strides))
    }
    self.file = file
    self.tensors = tensors
    self.views = views
    self.ranks = ranks
    metadata = content.metadata
    dictionaryKey = key
  }

  /// Whether the first bytes of a file are those of `torch.save`, in either format.
  public static func recognizes(_ bytes: UnsafeRawBufferPointer) -> Bool {
    ZipDirectory.begins(bytes) || PyTorchContent.isLegacy(bytes)
  }

  /// Name, type and shape of the tensor `name`, `nil` where there is none.
  public func description(named name: String) -> TensorDescription? { ranks[name].map { tensors[$0] } }

  /// A copy of the tensor `name` in C order.
  ///
  /// Throws `.notFound` where there is none, `.corrupt` where the checksum of its bytes is wrong.
  public func tensor(named name: String) throws(FormatError) -> StoredTensor {
    guard let rank = ranks[name] else {
      throw FormatError(.notFound, "there is no tensor `\(name)` among the \(tensors.count) of the file", path: path)
    }
    let (description, view) = (tensors[rank], views[rank])
    let bytes = try file.withBytes { (bytes) throws(FormatError) in
      let storage = UnsafeRawBufferPointer(rebasing: bytes[view.storage])
      if let checksum = view.checksum, !verified.withLock({ $0.contains(view.storage.lowerBound) }) {
        guard CRC32.of(storage) == checksum else {
          throw FormatError(
            .corrupt, "the checksum of the tensor `\(name)` is wrong", path: path, offset: view.storage.lowerBound,
            advice: "the file is damaged: copy or download it again")
        }
        verified.withLock { _ = $0.insert(view.storage.lowerBound) }
      }
      return Self.gather(storage, description, view)
    }
    return try StoredTensor(shape: description.shape, dtype: description.dtype, bytes: bytes)
  }

  /// The size in bytes of a tensor that lies inside its storage.
  private static func checkedSize(
    _ tensor: TorchPickle.TensorView, _ type: StoredType, _ available: Int, _ name: String, _ pickle: TorchPickle
  ) throws(FormatError) -> Int {
    guard let size = type.byteCount(shape: tensor.shape), size <= available else {
      throw pickle.error(
        .tooLarge, "the tensor `\(name)` of size \(tensor.shape) has more elements than its storage", at: tensor.place,
        advice: "save `tensor.clone()` of expanded tensors")
    }
    guard size > 0 else { return 0 }
    // The last element: offset + Σ (extent − 1) · stride.
    var last = tensor.offset
    for (extent, stride) in zip(tensor.shape, tensor.strides) {
      let (step, overflow) = (extent - 1).multipliedReportingOverflow(by: stride)
      let (sum, overflows) = last.addingReportingOverflow(step)
      guard !overflow, !overflows else {
        throw pickle.error(.corrupt, "the tensor `\(name)` of stride \(tensor.strides)", at: tensor.place)
      }
      last = sum
    }
    guard last < available / type.byteCount else {
      throw pickle.error(
        .corrupt, "the tensor `\(name)` reaches to element \(last) of a storage of \(available / type.byteCount)",
        at: tensor.place)
    }
    return size
  }

  /// The elements of a view in C order.
  private static func gather(
    _ storage: UnsafeRawBufferPointer, _ description: TensorDescription, _ view: View
  ) -> [UInt8] {
    let (shape, size) = (description.shape, description.dtype.byteCount)
    guard let total = description.dtype.byteCount(shape: shape), total > 0, let source = storage.baseAddress else {
      return []
    }
    // The trailing axes that lie without gaps are copied at once.
    var run = size
    var outer = shape.count
    while outer > 0, shape[outer - 1] == 1 || view.strides[outer - 1] * size == run {
      outer -= 1
      run *= shape[outer]
    }
    return [UInt8](unsafeUninitializedCapacity: total) { target, filled in
      guard let base = target.baseAddress else { return }
      var index = [Int](repeating: 0, count: outer)
      var position = view.offset
      while filled < total {
        UnsafeMutableRawPointer(base + filled).copyMemory(from: source + position * size, byteCount: run)
        filled += run
        var axis = outer - 1
        while axis >= 0 {
          index[axis] += 1
          position += view.strides[axis]
          if index[axis] < shape[axis] { break }
          position -= index[axis] * view.strides[axis]
          index[axis] = 0
          axis -= 1
        }
      }
    }
  }
}
