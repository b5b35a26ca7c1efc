import FaceDetection
import FaceRecognition
import Imaging
import Inference

/// A face of a photo, from its place to its identity.
public struct Face: Sendable, Equatable {
  /// Where it is, in pixels of the photo.
  public var box: BoundingBox
  /// How sure the detector is, 0…1.
  public var score: Float
  /// Left eye, right eye, nose tip, left and right mouth corner as seen in the photo.
  public var landmarks: [Point]
  /// The face turned and scaled to the template; nil where the landmarks do not allow it, or nobody asked for crops.
  public var crop: Image?
  /// What tells people apart, of Euclidean length 1; empty without an embedder or a crop.
  public var embedding: [Float]
  /// Many points of the face (106 with the packs' network) in pixels of the photo; empty without a landmark model.
  public var denseLandmarks: [Point] = []

  /// Cosine similarity to another face; nil where either has no embedding.
  public func similarity(_ other: Face) -> FaceSimilarity? { FaceSimilarity(embedding, other.embedding) }
}

/// Finds faces in photos, aligns them and computes their embeddings: load once, use from any thread.
///
/// ```swift
/// let analysis = try FaceAnalysis.load(detector: "models/mnet.25", recognizer: "models/y1/model")
/// for face in try analysis.faces(in: Image.read(path: "photo.jpg", turnsUpright: true)) {
///   print(face.box, face.score, face.embedding.count)
/// }
/// ```
///
/// Memory is bounded by `detection.pixelLimit`, whatever the sizes that come.
public struct FaceAnalysis: Sendable {
  /// Finds the faces.
  public var detector: FaceDetector
  /// Computes the embeddings; nil finds and aligns only.
  public var embedder: FaceEmbedder?
  /// Whether each face is looked at mirrored too and both embeddings are added, as the reference's verification does.
  public var embedsMirrored = false
  /// Finds many points of each face; nil leaves them out.
  public var landmarkModel: LandmarkModel?
  /// How faces are looked for.
  public var detection: DetectionOptions
  /// Width and height of the crops where there is no embedder.
  public var cropSize = (width: 112, height: 112)
  /// Whether faces carry their crops; where neither they nor an embedder need them, none are cut.
  public var cutsCrops = true
  /// What to know of how the networks are run: which of them run through OpenVINO, and why.
  public var notes: [String] { [detector.runner.note, embedder?.note, landmarkModel?.note].compactMap { $0 } }

  /// What embeddings are compared under: the recognition network's fingerprint, and whether mirror images are added; nil
  /// without an embedder.
  public var embeddingModel: String? { embedder.map { $0.fingerprint + (embedsMirrored ? "+flip" : "") } }

  /// An analysis of its parts.
  public init(
    detector: FaceDetector, embedder: FaceEmbedder? = nil, detection: DetectionOptions = DetectionOptions()
  ) {
    self.detector = detector
    self.embedder = embedder
    self.detection = detection
    if let embedder { cropSize = (embedder.width, embedder.height) }
  }

  /// Loads both networks; `PREFIX` or `PREFIX,EPOCH` of MXNet checkpoints.
  ///
  /// - Throws: `FaceAnalysisError`.
  public static func load(
    detector: String, recognizer: String? = nil, detection: DetectionOptions = DetectionOptions()
  ) throws(FaceAnalysisError) -> FaceAnalysis {
    var embedder: FaceEmbedder?
    if let recognizer { embedder = try FaceEmbedder.load(recognizer) }
    return FaceAnalysis(detector: try FaceDetector.load(detector), embedder: embedder, detection: detection)
  }

  /// The faces of a photo, the surest first.
  ///
  /// - Throws: `FaceAnalysisError`.
  public func faces(in image: Image) throws(FaceAnalysisError) -> [Face] {
    try faces(in: [image])[0]
  }

  /// The faces of each photo; photos of one size, and the crops of all, go through the networks together.
  ///
  /// - Throws: `FaceAnalysisError`.
  public func faces(in images: [Image]) throws(FaceAnalysisError) -> [[Face]] {
    let detections: [[Detection]]
    do throws(DetectionError) {
      detections = try detector.detect(images, options: detection)
    } catch {
      throw .detection(error)
    }
    let needsCrops = cutsCrops || embedder != nil
    var result: [[Face]] = []
    for (image, list) in zip(images, detections) {
      result.append(
        list.map { detection in
          Face(
            box: detection.box, score: detection.score, landmarks: detection.landmarks,
            crop: needsCrops ? crop(image, landmarks: detection.landmarks) : nil, embedding: [])
        })
    }
    if let landmarkModel {
      do throws(GraphError) {
        for (index, image) in images.enumerated() {
          for face in result[index].indices {
            result[index][face].denseLandmarks =
              try landmarkModel.points(in: image, box: result[index][face].box) ?? []
          }
        }
      } catch {
        throw .network(error)
      }
    }
    guard let embedder else { return result }
    var places: [(image: Int, face: Int)] = []
    var crops: [Image] = []
    for (image, list) in result.enumerated() {
      for (index, face) in list.enumerated() {
        guard let crop = face.crop else { continue }
        places.append((image, index))
        crops.append(crop)
        if !cutsCrops { result[image][index].crop = nil }
      }
    }
    do throws(GraphError) {
      let embeddings = try embedder.embed(
        images: crops, mirror: embedsMirrored ? .sum : .none, isNormalised: true)
      for (place, embedding) in zip(places, embeddings) {
        guard embedding.allSatisfy(\.isFinite) else {
          throw GraphError(
            .invalid, message: "an embedding is not finite", advice: "the network's weights are damaged or untrained")
        }
        result[place.image][place.face].embedding = embedding
      }
    } catch {
      throw .network(error)
    }
    return result
  }

  /// A face of a photo turned and scaled to the template, of `cropSize`; nil where the landmarks do not allow it: those that
  /// coincide are no face's.
  public func crop(_ image: Image, landmarks: [Point]) -> Image? {
    try? image.alignedFace(landmarks: landmarks, width: cropSize.width, height: cropSize.height)
  }
}
