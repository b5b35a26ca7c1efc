// swift-tools-version: 6.1
import PackageDescription

// The floors of the house, lowest first; docs/architecture.md says what lives where and who may import whom.

// Pixel loops are optimised in debug builds too: unoptimised they are about a hundred times slower, which would
// make tests that render or warp real images take minutes.
let pixelSettings: [SwiftSetting] = [.unsafeFlags(["-O"], .when(configuration: .debug))]

let systemLibraries: [Target] = [
  .systemLibrary(name: "CTurboJPEG", pkgConfig: "libturbojpeg", providers: [.apt(["libturbojpeg0-dev"])]),
  .systemLibrary(name: "CPNG", pkgConfig: "libpng", providers: [.apt(["libpng-dev"])]),
]

let ground: [Target] = [
  .target(name: "Imaging", dependencies: ["CTurboJPEG", "CPNG"], swiftSettings: pixelSettings)
]

let firstFloor: [Target] = []

let domains: [Target] = []

let doors: [Target] = []

let tests: [Target] = [
  .testTarget(name: "ImagingTests", dependencies: ["Imaging"])
]

let package = Package(
  name: "InsightFace",
  products: [],
  targets: systemLibraries + ground + firstFloor + domains + doors + tests,
  swiftLanguageModes: [.v6]
)
