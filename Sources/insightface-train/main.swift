import Arguments
import Glibc
import Torch
import Training

// A file size limit shows as an error of the write, which names the file, not as a signal.
signal(SIGXFSZ, SIG_IGN)
signal(SIGPIPE, SIG_DFL)

// `insightface` hands over under its own name.
let isHandedOver = CommandLine.arguments.first == "insightface"

let tool = CommandLineTool(
  name: isHandedOver ? "insightface" : "insightface-train", version: "0.1.0 (LibTorch \(Torch.version))",
  summary: "Trains and verifies face-recognition networks. `insightface train …` comes here.",
  commands: [
    .command(TrainCommand.self), .command(VerifyCommand.self), .command(QuickstartCommand.self),
    .group(
      CommandGroup(name: "detect", summary: "Train a face detector", commands: [.command(DetectTrainCommand.self)])),
  ])
exit(tool.main(Array(CommandLine.arguments.dropFirst())))
