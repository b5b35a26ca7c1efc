import Arguments
import Glibc

let tool = CommandLineTool(
  name: "insightface-bench", version: "0.1.0", summary: "Times parts of the project from within, for scripts/bench.",
  commands: [.command(LoaderCommand.self), .command(HeadCommand.self), .command(CurvesCommand.self)])
exit(tool.main(Array(CommandLine.arguments.dropFirst())))
