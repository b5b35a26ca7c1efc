import FaceAnalysis
import Imaging

let arguments = CommandLine.arguments.dropFirst()
if arguments.count == 4 {
  // Networks are loaded once and used from any thread: the prefixes of MXNet checkpoints, such as "mnet.25" and "y1/model".
  let analysis = try FaceAnalysis.load(detector: arguments[1], recognizer: arguments[2])
  let photos = try arguments[3...].map { try Image.read(path: $0, turnsUpright: true) }
  let faces = try analysis.faces(in: photos)
  for face in faces.joined() { print("box \(face.box), score \(face.score), eyes \(face.landmarks[...1])") }
  if let first = faces[0].first, let second = faces[1].first, let similarity = first.similarity(second) {
    print("cosine \(similarity.cosine)")
  }
} else {
  print("usage: FaceAnalysisExample DETECTOR RECOGNIZER PHOTO PHOTO")
}
