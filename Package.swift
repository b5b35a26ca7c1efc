// swift-tools-version: 6.1
import PackageDescription

// The floors of the house, lowest first; docs/architecture.md says what lives where and who may import whom.

let systemLibraries: [Target] = []

let ground: [Target] = [
  .target(name: "Formats")
]

let firstFloor: [Target] = [
  .target(name: "Inference", dependencies: ["Formats"])
]

let domains: [Target] = []

let doors: [Target] = []

let tests: [Target] = [
  .testTarget(name: "FormatsTests", dependencies: ["Formats"]),
  .testTarget(name: "InferenceTests", dependencies: ["Inference", "Formats"]),
]

let package = Package(
  name: "InsightFace",
  products: [],
  targets: systemLibraries + ground + firstFloor + domains + doors + tests,
  swiftLanguageModes: [.v6]
)
