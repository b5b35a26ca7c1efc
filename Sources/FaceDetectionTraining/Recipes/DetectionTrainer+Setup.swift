import FaceDetection
import Formats
import Foundation
import Inference
import Torch
import Training

extension DetectionTrainer {
  static func statePath(_ c: DetectionConfiguration) -> String { "\(c.prefix)-state.safetensors" }

  /// The state to go on from, if there is one and it is wanted.
  static func state(_ c: DetectionConfiguration) throws -> TrainingState.Reader? {
    guard c.resumes, FileManager.default.fileExists(atPath: statePath(c)) else { return nil }
    return try TrainingState.Reader(path: statePath(c))
  }

  /// The training images.
  static func data(
    _ c: DetectionConfiguration, _ log: RunLog
  ) throws -> (source: any SampleSource, layout: SampleLayout) {
    let (augmentation, doubles) = c.preparation
    switch c.data {
    case .folder(let folder):
      let photos = try LabelledPhotos(folder: folder)
      for skip in photos.labels.skipped.prefix(20) { log.note("warning: \(photos.labelPath): left out: \(skip)") }
      if photos.labels.skipped.count > 20 { log.note("warning: \(photos.labels.skipped.count) faces left out in all") }
      let source = try PhotoSource(photos, imageSize: c.imageSize, augmentation: augmentation, mirrors: doubles)
      log.out("roidb size \(source.photoCount)")
      let faces = photos.labels.images.flatMap(\.faces)
      log.out("faces \(faces.count) with landmarks \(faces.filter { $0.landmarks != nil }.count)")
      return (source, source.layout)
    case .scenes(let settings, let count):
      log.out("synthetic scenes of \(settings.size) pixels, \(count) an epoch")
      let source = SceneSource(
        settings, imageSize: c.imageSize, augmentation: augmentation, count: count, mirrors: doubles)
      return (source, source.layout)
    }
  }

  /// What the network is judged on.
  static func judge(_ c: DetectionConfiguration, _ log: RunLog) throws -> DetectionJudge? {
    if let folder = c.validation { return DetectionJudge(try LabelledPhotos(folder: folder, split: "val"), c.detector) }
    guard case .scenes(let settings, _) = c.data, c.heldOutScenes > 0 else { return nil }
    return DetectionJudge(try settings.heldOut(c.heldOutScenes), c.detector)
  }

  /// The network with its first weights.
  static func model(_ c: DetectionConfiguration, startsFresh: Bool, _ log: RunLog) throws -> DetectorNetwork {
    if let port = c.network.port { return try portModel(port, c, startsFresh: startsFresh, log) }
    let checkpoint = try c.pretrained.map { (text) throws(FormatError) in
      try PretrainedCheckpoint(text, size: c.imageSize)
    }
    let graph =
      try checkpoint?.graph
      ?? c.network.network(c.pyramid, c.anchors).graph(height: c.imageSize, width: c.imageSize)
    let model = try DetectorNetwork(graph, anchors: c.anchors.levels)
    model.initialize(Generator(seed: c.seed))
    if let checkpoint {
      let (loaded, missing) = model.load(checkpoint.weights)
      guard loaded > 0, checkpoint.graph == nil || missing.isEmpty else {
        throw DetectionTrainingError(
          "\(checkpoint.path) does not fit the network: \(loaded) tensors fit, missing are "
            + missing.prefix(8).joined(separator: ", ") + ". Choose the --network that it was made for")
      }
      if startsFresh {
        let kind = checkpoint.graph == nil ? "a backbone" : "RetinaFace"
        log.note(report(checkpoint.path, kind, loaded, missing, of: checkpoint.weights.count))
      }
      if c.fixedParameters > 0 {
        let fixed = model.network.parameters.prefix(c.fixedParameters)
        for parameter in fixed { parameter.tensor.requiresGrad = false }
        log.note("note: fixed are \(fixed.map(\.name).joined(separator: ", "))")
      }
    }
    return model
  }

  /// The port's network with its first weights.
  private static func portModel(
    _ port: PyTorchRetinaFace, _ c: DetectionConfiguration, startsFresh: Bool, _ log: RunLog
  ) throws -> DetectorNetwork {
    let model = try DetectorNetwork(port: port.graph(height: c.imageSize, width: c.imageSize))
    model.initializeAsPyTorch(Generator(seed: c.seed))
    guard let path = c.pretrained else { return model }
    let file = try PyTorchFile(path: path)
    let names = Set(file.tensors.map(\.name))
    let isWhole = names.contains { $0.hasPrefix("body.") }
    var weights: [String: StoredTensor] = [:]
    // A backbone by itself has the names that stand behind `body.` in the detector.
    for name in names { weights[isWhole ? name : "body.\(name)"] = try file.tensor(named: name) }
    let (loaded, missing) = model.load(weights)
    guard loaded > 0, !isWhole || missing.isEmpty else {
      throw DetectionTrainingError(
        "\(path) does not fit the network: \(loaded) tensors fit, missing are "
          + missing.prefix(8).joined(separator: ", ") + ". Choose the --network that it was made for")
    }
    if startsFresh {
      let kind = isWhole ? "RetinaFace of the PyTorch port" : "a backbone"
      log.note(report(path, kind, loaded, missing, of: weights.count { !$0.key.hasSuffix(".num_batches_tracked") }))
    }
    return model
  }

  /// What of a network came out of a file, and what did not.
  private static func report(
    _ path: String, _ kind: String, _ loaded: Int, _ missing: [String], of count: Int
  ) -> String {
    let names = missing.prefix(4).joined(separator: ", ") + (missing.count > 4 ? " …" : "")
    return "note: \(path), \(kind): \(loaded) tensors loaded, \(missing.count) start anew"
      + (missing.isEmpty ? "" : " (\(names))") + (count > loaded ? "; \(count - loaded) of the file are not used" : "")
  }

  private static let fixedParameters = "fixed_parameters"

  /// What must agree between a state and the run that takes it up.
  static func identity(_ c: DetectionConfiguration, _ count: Int) -> [String: String] {
    var notes = [
      "network": c.network.rawValue, "optimizer": c.optimizer.rawValue, "pyramid": c.pyramid.rawValue,
      "anchors": c.anchors.rawValue, "seed": "\(c.seed)",
      "images": "\(count)", "per_batch_size": "\(c.batchSize)", "image_size": "\(c.imageSize)",
      "crop_scales": "\(c.augmentation.cropScales)", "jitter": "\(c.augmentation.colourStrength)",
      "anchors_per_image": "\(c.anchorsPerImage)", "landmark_weight": "\(c.landmarkFactor)",
      "colour_mode": c.augmentation.isColourWide ? "2" : "1", "mirror": "\(c.mirrors)",
      fixedParameters: "\(c.fixedParameters)",
    ]
    switch c.data {
    case .folder: notes["data"] = "folder"
    case .scenes(let settings, _):
      notes["data"] = "scenes \(settings.size) \(settings.faces.lowerBound)-\(settings.faces.upperBound)"
    }
    return notes
  }

  static func check(_ state: TrainingState.Reader, _ identity: [String: String], _ path: String) throws(FormatError) {
    for (key, value) in identity.sorted(by: { $0.key < $1.key }) {
      // Older states do not say how many parameters they held fixed.
      let saved = key == fixedParameters ? state.notes[key] ?? value : try state.note(key)
      guard saved == value else {
        let same =
          key == fixedParameters ? "--pretrained as at the start, which fixes the first layers" : "the same \(key)"
        throw FormatError(
          .mismatch, "the state was saved with \(key)=\(saved), this run has \(key)=\(value)", path: path,
          advice: "resume with \(same), or start anew without --resume")
      }
    }
  }
}
