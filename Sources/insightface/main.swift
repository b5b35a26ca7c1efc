import Arguments
import Glibc

// A file size limit shows as an error of the write, which names the file, not as a signal.
signal(SIGXFSZ, SIG_IGN)

let arguments = Array(CommandLine.arguments.dropFirst())
// A GPU is LibTorch's.
let verify: CommandTree =
  arguments.first == VerifyCommand.name && VerifyCommand.needsTraining(arguments)
  ? .forwarded(trainingCommand(VerifyCommand.name, VerifyCommand.summary)) : .command(VerifyCommand.self)
// A photo called `train` is named `./train`.
let detect: CommandTree =
  Array(arguments.prefix(2)) == [DetectCommand.name, "train"]
  ? .forwarded(trainingCommand(DetectCommand.name, DetectCommand.summary)) : .command(DetectCommand.self)

let tool = CommandLineTool(
  name: "insightface", version: insightfaceVersion, summary: "Deep face recognition: train, verify, run.",
  commands: [
    .forwarded(trainingCommand("train", "Train a recognition network from train.rec")),
    verify,
    .forwarded(
      trainingCommand("quickstart", "Make faces, train MobileFaceNet + ArcFace on them, verify on people held out")),
    detect, .command(AlignCommand.self), .command(EmbedCommand.self), .command(CompareCommand.self),
    .command(EnrollCommand.self), .command(SearchCommand.self), .command(ClusterCommand.self),
    .group(
      CommandGroup(
        name: "dataset", summary: "Make, inspect and check data sets",
        commands: [.command(DatasetBuildCommand.self)] + datasetTools + [.command(DatasetSynthCommand.self)])),
    .group(CommandGroup(name: "model", summary: "Inspect, convert and export networks", commands: modelTools)),
    .command(FlopsCommand.self), .command(DoctorCommand.self),
  ])
exit(tool.main(arguments))
