/// What lies outside of an image, as OpenCV's border types say.
public enum Border: Sendable, Equatable {
  /// One colour: `BORDER_CONSTANT`.
  case constant(Colour)
  /// The nearest pixel, `aaa|abcd|ddd`: `BORDER_REPLICATE`.
  case replicate
  /// The image mirrored with its edge, `cba|abcd|dcb`: `BORDER_REFLECT`.
  case reflect
  /// The image mirrored without its edge, `dcb|abcd|cba`: `BORDER_REFLECT_101`, OpenCV's default for filters.
  case reflect101
  /// The image repeated, `bcd|abcd|abc`: `BORDER_WRAP`.
  case wrap

  /// The position in 0 ..< `length` that stands for `position`; -1 where the border's colour does.
  func position(_ position: Int, _ length: Int) -> Int {
    if position >= 0, position < length { return position }
    switch self {
    case .constant: return -1
    case .replicate: return position < 0 ? 0 : length - 1
    case .wrap:
      let rest = position % length
      return rest < 0 ? rest + length : rest
    case .reflect:
      let period = 2 * length
      let rest = position % period
      let place = rest < 0 ? rest + period : rest
      return place < length ? place : period - 1 - place
    case .reflect101:
      guard length > 1 else { return 0 }
      let period = 2 * length - 2
      let rest = position % period
      let place = rest < 0 ? rest + period : rest
      return place < length ? place : period - place
    }
  }
}
