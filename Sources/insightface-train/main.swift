import Arguments
import Glibc
import Torch
import Training

// A file size limit shows as an error of the write, which names the file, not as a signal.
signal(SIGXFSZ, SIG_IGN)
signal(SIGPIPE, SIG_DFL)

let tool = CommandLineTool(
  name: "insightface-train", version: "0.1.0 (LibTorch \(Torch.version))",
  summary: "Trains and verifies face-recognition networks. `insightface train …` comes here.",
  commands: [.command(TrainCommand.self), .command(VerifyCommand.self), .command(QuickstartCommand.self)])
exit(tool.main(Array(CommandLine.arguments.dropFirst())))
