import FaceDetection
import Formats
import Imaging
import Inference

/// Judges a network on images that it was not trained on, as WIDER FACE does: average precision at overlap 0.5.
struct DetectionJudge {
  private enum Images {
    case photos(LabelledPhotos)
    case scenes([Image])
  }

  private let images: Images
  private let truth: WiderGroundTruth
  private let configuration: DetectorConfiguration

  /// Judges on labelled photos, each at its own size.
  init(_ photos: LabelledPhotos, _ configuration: DetectorConfiguration) {
    images = .photos(photos)
    truth = WiderGroundTruth(labels: photos.labels)
    self.configuration = configuration
  }

  /// Judges on scenes.
  init(_ scenes: (images: [Image], truth: WiderGroundTruth), _ configuration: DetectorConfiguration) {
    images = .scenes(scenes.images)
    truth = scenes.truth
    self.configuration = configuration
  }

  /// Images to judge on.
  var count: Int { truth.images.count }

  /// Average precision; nil where no face counts.
  ///
  /// Photos that cannot be read count as without detections and are named.
  ///
  /// - Throws: `GraphError` where the network cannot be run, `DetectionError` on a scene.
  func averagePrecision(
    _ graph: NetworkGraph, progress: (Int) -> Void = { _ in }, warn: (String) -> Void = { _ in }
  ) throws -> Double? {
    let detector = FaceDetector(runner: try graph.makeRunner(), configuration: configuration)
    let options = DetectionOptions(scoreThreshold: 0.02)
    var detections: [String: [Detection]] = [:]
    for (index, entry) in truth.images.enumerated() {
      progress(index)
      switch images {
      case .scenes(let images):
        detections[entry.key] = try detector.detect(images[index], options: options)
      case .photos(let photos):
        let path = photos.path(photos.labels.images[index])
        do {
          detections[entry.key] = try detector.detect(try Image.read(path: path, turnsUpright: true), options: options)
        } catch {
          warn("\(path): \(error)")
        }
      }
    }
    return WiderEvaluation(detections: detections, truth: truth).results.first?.averagePrecision
  }
}
