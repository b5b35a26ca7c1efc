import Arguments

/// The commands that make, inspect and check record files and verification sets.
let datasetTools: [CommandTree] = [
  .command(DatasetCheckCommand.self),
  .command(DatasetInfoCommand.self),
  .command(DatasetPackCommand.self),
]
