import Arguments
import Glibc

let tool = CommandLineTool(
  name: "insightface-bench-plan", version: "0.1.0",
  summary: "Times what runs without LibTorch from within, for scripts/bench.",
  commands: [
    .command(NetworkCommand.self), .command(EmbedCommand.self), .command(DecodeCommand.self),
    .command(VerifyCommand.self), .command(SearchCommand.self), .command(RunCommand.self),
    .command(PipelineCommand.self),
  ])
exit(tool.main(Array(CommandLine.arguments.dropFirst())))
