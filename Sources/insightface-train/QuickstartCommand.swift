import Arguments

/// `insightface quickstart`: the main job on built-in data.
struct QuickstartCommand: Command {
  static let name = "quickstart"
  static let summary = "Synthesise faces, pack them, train MobileFaceNet + ArcFace, verify on held-out identities"
  mutating func bind(_ b: inout ArgumentBinder) throws(UsageError) {}
  mutating func run() throws {}
}
