// swift-tools-version: 6.1
import PackageDescription

// The floors of the house, lowest first; docs/architecture.md says what lives where and who may import whom.

let systemLibraries: [Target] = []

let ground: [Target] = [
  .target(name: "Arguments"),
  .target(name: "EventLog"),
  .target(name: "Charts"),
]

let firstFloor: [Target] = []

let domains: [Target] = [
  .target(name: "FaceRecognition", dependencies: ["Charts"])
]

let doors: [Target] = []

let tests: [Target] = [
  .testTarget(name: "ArgumentsTests", dependencies: ["Arguments"]),
  .testTarget(name: "EventLogTests", dependencies: ["EventLog"]),
  .testTarget(name: "ChartsTests", dependencies: ["Charts"]),
  .testTarget(name: "FaceRecognitionTests", dependencies: ["FaceRecognition"]),
]

let package = Package(
  name: "InsightFace",
  products: [],
  targets: systemLibraries + ground + firstFloor + domains + doors + tests,
  swiftLanguageModes: [.v6]
)
