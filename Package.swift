// swift-tools-version: 6.1
import PackageDescription

// The floors of the house, lowest first; docs/architecture.md says what lives where and who may import whom.

/// LibTorch as `scripts/bootstrap` lays it down, or where $LIBTORCH says: a folder that holds include/ and lib/.
let chosen = Context.environment["LIBTORCH"] ?? ""
let libtorch = chosen.isEmpty ? "\(Context.packageDirectory)/.libtorch/torch" : chosen

let torchHeaders: [CXXSetting] = [
  .unsafeFlags(["-isystem", "\(libtorch)/include", "-isystem", "\(libtorch)/include/torch/csrc/api/include"]),
  // CKernels.h is read as text: a module of C would need implicit module files.
  .unsafeFlags(["-Wno-deprecated-declarations", "-fno-cxx-modules"]),
  // Optimised in debug builds too, for tests that train. The headers of single operations compile in half the time.
  .unsafeFlags(["-O2"]), .define("AT_PER_OPERATOR_HEADERS"),
]

/// Only libtorch_cpu and libc10 are linked: libtorch_cuda is loaded at run time where it is present.
///
/// The first path is that of an installed tree, whose programs must not take their libraries from where they were built.
let torchLibraries: [LinkerSetting] = [
  .unsafeFlags([
    "-L\(libtorch)/lib", "-Xlinker", "-rpath", "-Xlinker", "$ORIGIN/../lib/insightface",
    "-Xlinker", "-rpath", "-Xlinker", "\(libtorch)/lib",
  ]),
  .linkedLibrary("torch_cpu"), .linkedLibrary("c10"), .linkedLibrary(":libgomp.so.1"),
]

// Pixel loops are optimised in debug builds too: unoptimised they are about a hundred times slower, which would
// make tests that render or warp real images take minutes.
//
// A package that depends on this one by version may not be given such flags: they are there only where the environment asks
// for them, as the Makefile does. Release builds optimise everything by themselves.
let optimisesDebug = !(Context.environment["INSIGHTFACE_OPTIMIZED_DEBUG"] ?? "").isEmpty
let pixelSettings: [SwiftSetting] = optimisesDebug ? [.unsafeFlags(["-O"], .when(configuration: .debug))] : []
let kernelSettings: [CXXSetting] = optimisesDebug ? [.unsafeFlags(["-O3"], .when(configuration: .debug))] : []

let systemLibraries: [Target] = [
  .systemLibrary(name: "CTurboJPEG", pkgConfig: "libturbojpeg", providers: [.apt(["libturbojpeg0-dev"])]),
  .systemLibrary(name: "CPNG", pkgConfig: "libpng", providers: [.apt(["libpng-dev"])]),
  .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
]

let ground: [Target] = [
  .target(name: "CKernels", cxxSettings: kernelSettings),
  .target(name: "CTorch", dependencies: ["CKernels"], cxxSettings: torchHeaders, linkerSettings: torchLibraries),
  .target(name: "Torch", dependencies: ["CTorch"]),
  .target(name: "Formats", dependencies: ["CZlib"]),
  .target(name: "Imaging", dependencies: ["CTurboJPEG", "CPNG"], swiftSettings: pixelSettings),
  .target(name: "Arguments"),
  .target(name: "EventLog"),
  .target(name: "Jobs"),
  .target(name: "Charts"),
]

let firstFloor: [Target] = [
  .target(name: "Inference", dependencies: ["CKernels", "Formats", "Jobs"]),
  .target(name: "Training", dependencies: ["Torch", "Inference", "Formats", "Jobs"]),
  .target(name: "SyntheticFaces", dependencies: ["Imaging"], swiftSettings: pixelSettings),
]

let domains: [Target] = [
  .target(name: "FaceRecognition", dependencies: ["Inference", "Charts", "Formats", "Imaging", "Jobs"]),
  .target(
    name: "FaceDetection", dependencies: ["CKernels", "Charts", "Formats", "Imaging", "Inference"],
    swiftSettings: pixelSettings),
  .target(
    name: "FaceRecognitionTraining",
    dependencies: [
      "FaceRecognition", "Training", "Inference", "Torch", "Formats", "Imaging", "EventLog", "Arguments", "Jobs",
    ]),
  .target(
    name: "FaceDetectionTraining",
    dependencies: [
      "FaceDetection", "Training", "Inference", "Torch", "Formats", "Imaging", "SyntheticFaces", "EventLog", "Jobs",
    ], swiftSettings: pixelSettings),
]

let top: [Target] = [
  .target(
    name: "FaceAnalysis", dependencies: ["FaceDetection", "FaceRecognition", "Formats", "Imaging", "Inference"])
]

let doors: [Target] = [
  .executableTarget(
    name: "insightface",
    dependencies: [
      "FaceAnalysis", "FaceDetection",
      "FaceRecognition", "Inference", "SyntheticFaces", "CKernels", "Formats", "Imaging", "Charts", "Arguments", "Jobs",
    ]),
  .executableTarget(
    name: "insightface-train",
    dependencies: [
      "FaceDetectionTraining", "FaceDetection",
      "FaceRecognitionTraining", "FaceRecognition", "SyntheticFaces", "Training", "Torch", "Formats", "Imaging",
      "Charts",
      "Arguments", "Jobs",
    ]),
]

// What a benchmark times from within, beside the programs themselves; it is not installed.
let benchmark: [Target] = [
  .executableTarget(
    name: "insightface-bench",
    dependencies: [
      "FaceRecognitionTraining", "FaceRecognition", "SyntheticFaces", "Training", "Torch", "Formats", "Arguments",
      "Jobs",
    ]),
  // A plan is timed in a process that does not load LibTorch.
  .executableTarget(
    name: "insightface-bench-plan",
    dependencies: [
      "FaceAnalysis", "FaceDetection", "FaceRecognition", "Inference", "Imaging", "Formats", "CTurboJPEG", "Arguments",
      "Jobs",
    ]),
]

/// The program of the README for who depends on this package: compiled with everything else, so that it stays true.
let examples: [Target] = [
  .executableTarget(
    name: "FaceAnalysisExample", dependencies: ["FaceAnalysis", "Imaging"], path: "Examples/FaceAnalysisExample")
]

let tests: [Target] = [
  .testTarget(name: "CKernelsTests", dependencies: ["CKernels"]),
  .testTarget(name: "TorchTests", dependencies: ["Torch"]),
  .testTarget(name: "FormatsTests", dependencies: ["Formats"]),
  .testTarget(name: "ImagingTests", dependencies: ["Imaging"]),
  .testTarget(name: "SyntheticFacesTests", dependencies: ["SyntheticFaces", "Imaging"]),
  .testTarget(name: "ArgumentsTests", dependencies: ["Arguments"]),
  .testTarget(name: "EventLogTests", dependencies: ["EventLog"]),
  .testTarget(name: "ChartsTests", dependencies: ["Charts"]),
  .testTarget(name: "InferenceTests", dependencies: ["Inference", "CKernels", "Formats"]),
  .testTarget(name: "FaceRecognitionTests", dependencies: ["FaceRecognition", "Inference", "Formats", "Imaging"]),
  .testTarget(
    name: "FaceDetectionTests", dependencies: ["FaceDetection", "CKernels", "Formats", "Imaging", "Inference"]),
  .testTarget(
    name: "FaceAnalysisTests",
    dependencies: ["FaceAnalysis", "FaceDetection", "FaceRecognition", "Formats", "Imaging", "Inference"]),
  .testTarget(
    name: "FaceDetectionTrainingTests",
    dependencies: [
      "FaceDetectionTraining", "FaceDetection", "Training", "Inference", "Torch", "Formats", "Imaging",
      "SyntheticFaces", "Jobs",
    ]),
  .testTarget(name: "CommandTests", dependencies: ["Formats", "Imaging"]),
  .testTarget(
    name: "FaceRecognitionTrainingTests",
    dependencies: [
      "FaceRecognitionTraining", "FaceRecognition", "Training", "Inference", "Torch", "Formats", "Imaging", "EventLog",
      "Jobs",
    ], swiftSettings: optimisesDebug ? [.define("OPTIMISED_KERNELS")] : []),
]

let package = Package(
  name: "InsightFace",
  // What stands on LibTorch needs flags that no package may hand on; these do not stand on it.
  products: [
    .library(
      name: "FaceAnalysis",
      targets: ["FaceAnalysis", "FaceDetection", "FaceRecognition", "Inference", "Imaging", "Formats"])
  ],
  targets: systemLibraries + ground + firstFloor + domains + top + doors + benchmark + examples + tests,
  swiftLanguageModes: [.v6],
  cxxLanguageStandard: .cxx20
)
