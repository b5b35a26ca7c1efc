import FaceDetection
import Formats
import Imaging
import Inference

/// Why photos could not be analysed: an error of the part that failed, under one type.
public enum FaceAnalysisError: Error, Sendable, CustomStringConvertible {
  /// A model file cannot be read, or results cannot be written.
  case file(FormatError)
  /// A photo cannot be read.
  case image(ImageError)
  /// A network does not fit, or cannot be run.
  case network(GraphError)
  /// Faces cannot be looked for.
  case detection(DetectionError)
  /// Something was asked of an analysis that it was not made for.
  case usage(String)

  /// One line for a person.
  public var description: String {
    switch self {
    case .file(let error): error.description
    case .image(let error): error.description
    case .network(let error): error.description
    case .detection(let error): error.description
    case .usage(let message): message
    }
  }
}
