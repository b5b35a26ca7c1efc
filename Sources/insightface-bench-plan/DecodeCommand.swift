import Arguments
import CTurboJPEG
import Formats
import Jobs

/// `insightface-bench-plan decode`: the bound of every loader, libjpeg-turbo alone.
struct DecodeCommand: Command {
  static let name = "decode"
  static let summary = "Time bare libjpeg-turbo on the faces of a record file, held in memory"
  static let discussion = """
    Each thread decodes its share again and again into one buffer, with the accurate DCT that training uses: no file is read,
    nothing is mirrored or copied. Prints a figure a line, in images a second.

      insightface-bench-plan decode --data faces --threads 2 --images 20000 --samples 3
    """

  private var data = ""
  private var threads = 2
  private var images = 20_000
  private var samples = 3
  /// What is held in memory: enough that the caches do not hold it.
  private static let heldImages = 20_000

  mutating func bind(_ b: inout ArgumentBinder) throws(UsageError) {
    try b.option(&data, "--data", value: "FOLDER", required: true, help: "the folder with train.rec")
    try b.count(&threads, "--threads", help: "threads that decode")
    try b.count(&images, "--images", help: "images of one figure")
    try b.count(&samples, "--samples", help: "figures")
  }

  mutating func run() throws {
    let file = try FaceRecordFile(path: "\(data)/train.rec")
    var faces: [[UInt8]] = []
    for position in 0..<min(file.imageCount, Self.heldImages) {
      faces.append(Array(try file.image(at: position).encoded))
    }
    guard !faces.isEmpty else { throw FormatError(.notFound, "there is no image in the file", path: file.path) }
    let workers = (0..<threads).map { index in
      DecodingWorker(faces: faces, first: index, stride: threads, count: (images - index + threads - 1) / threads)
    }
    for number in 0...samples {
      let began = seconds()
      let running = workers.map { worker in WorkerThread { worker.run() } }
      for thread in running { thread.join() }
      let took = seconds() - began
      if let failure = workers.compactMap(\.failure).first {
        throw FormatError(.corrupt, "libjpeg-turbo does not decode an image: \(failure)", path: file.path)
      }
      // The first time touches the memory.
      if number > 0 { print(fixed(Double(images) / took, 1)) }
    }
  }
}

/// One thread's share.
///
/// Sendable without lock: one thread runs it, and its result is read after that thread was joined.
private final class DecodingWorker: @unchecked Sendable {
  private let faces: [[UInt8]]
  private let first: Int
  private let stride: Int
  private let count: Int
  private(set) var failure: String?

  init(faces: [[UInt8]], first: Int, stride: Int, count: Int) {
    (self.faces, self.first, self.stride, self.count) = (faces, first, stride, count)
  }

  func run() {
    guard let handle = tjInitDecompress() else {
      failure = "no memory for a decoder"
      return
    }
    defer { tjDestroy(handle) }
    var pixels: [UInt8] = []
    for index in 0..<count where failure == nil {
      faces[(first + index * stride) % faces.count].withUnsafeBufferPointer { face in
        var (width, height, sampling, space): (Int32, Int32, Int32, Int32) = (0, 0, 0, 0)
        let bytes = UInt(face.count)
        guard tjDecompressHeader3(handle, face.baseAddress, bytes, &width, &height, &sampling, &space) == 0,
          width > 0, height > 0, width <= 4096, height <= 4096
        else {
          failure = String(cString: tjGetErrorStr2(handle))
          return
        }
        let size = 3 * Int(width) * Int(height)
        if pixels.count < size { pixels = [UInt8](repeating: 0, count: size) }
        let status = pixels.withUnsafeMutableBufferPointer { pixels in
          tjDecompress2(
            handle, face.baseAddress, bytes, pixels.baseAddress, width, 3 * width, height, Int32(TJPF_RGB.rawValue),
            TJFLAG_ACCURATEDCT)
        }
        if status != 0 { failure = String(cString: tjGetErrorStr2(handle)) }
      }
    }
  }
}
