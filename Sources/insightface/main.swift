import Arguments
import Glibc

// A file size limit shows as an error of the write, which names the file, not as a signal.
signal(SIGXFSZ, SIG_IGN)

let tool = CommandLineTool(
  name: "insightface", version: insightfaceVersion, summary: "Deep face recognition: train, verify, run.",
  commands: [
    .forwarded(trainingCommand("train", "Train a recognition network from train.rec")),
    .forwarded(trainingCommand("verify", "Judge a checkpoint on verification sets (lfw.bin and its like)")),
    .forwarded(
      trainingCommand("quickstart", "Make faces, train MobileFaceNet + ArcFace on them, verify on people held out")),
    .command(DetectCommand.self), .command(AlignCommand.self), .command(EmbedCommand.self),
    .command(CompareCommand.self),
    .group(
      CommandGroup(
        name: "dataset", summary: "Make, inspect and check data sets",
        commands: datasetTools + [.command(DatasetSynthCommand.self)])),
    .command(FlopsCommand.self), .command(DoctorCommand.self),
  ])
exit(tool.main(Array(CommandLine.arguments.dropFirst())))
