import Arguments

/// The commands that make, inspect and check record files and verification sets.
let datasetTools: [CommandTree] = [
  .command(DatasetPackCommand.self),
  .command(DatasetPairsCommand.self),
  .command(DatasetInfoCommand.self),
  .command(DatasetCheckCommand.self),
  .command(DatasetUnpackCommand.self),
]
