/// A shell that completion scripts are written for.
public enum CompletionShell: String, CaseIterable, ArgumentValue {
  /// GNU bash 4 and later.
  case bash
  /// zsh with its completion system loaded.
  case zsh
}

/// What completion knows of one command or group.
struct CompletionNode {
  /// The words that lead to it, each after a slash; empty for the tool itself.
  let path: String
  let commands: [(name: String, summary: String)]
  let specifications: [ArgumentSpecification]

  /// Options with what help says of them.
  var options: [(name: String, help: String)] {
    let own = specifications.filter { !$0.isPositional }.flatMap { specification in
      (specification.names + specification.negatedNames).map { (name: $0, help: specification.help) }
    }
    return own + (own.contains { $0.name == "--help" } ? [] : [(name: "--help", help: "show help")])
  }

  /// Values of positional arguments where these are few.
  var positionalChoices: [String] { specifications.filter(\.isPositional).flatMap(\.choices) }
}

/// Writes completion scripts.
struct CompletionScript {
  let toolName: String
  let nodes: [CompletionNode]

  private var functionName: String {
    "_" + String(toolName.map { $0.isASCII && ($0.isLetter || $0.isNumber) ? $0 : "_" })
  }

  func script(for shell: CompletionShell) -> String {
    switch shell {
    case .bash: return bash
    case .zsh: return zsh
    }
  }

  /// Only words that no shell takes apart.
  private func safe(_ words: [String]) -> [String] {
    words.filter { word in
      !word.isEmpty
        && word.unicodeScalars.allSatisfy {
          $0.isASCII && ($0.properties.isAlphabetic || "0123456789._+-:,/@%".unicodeScalars.contains($0))
        }
    }
  }

  /// Patterns of all paths below the root: `"/dataset"|"/dataset/pack"`.
  private var pathPattern: String {
    let paths = nodes.map(\.path).filter { !$0.isEmpty }
    return paths.isEmpty ? "\"/\"" : paths.map { "\"\($0)\"" }.joined(separator: "|")
  }

  /// A case branch for each option that takes a value, with the values where there are few.
  private func valueBranches(_ branch: (_ pattern: String, _ choices: [String]) -> String) -> [String] {
    nodes.flatMap { node in
      node.specifications.filter(\.takesValue).map { specification in
        let pattern = safe(specification.names).map { "\"\(node.path) \($0)\"" }.joined(separator: "|")
        return branch(pattern, safe(specification.choices))
      }
    }
  }

  private var bash: String {
    var lines = [
      "# bash completion for \(toolName); load it with: source <(\(toolName) completion bash)",
      "\(functionName)() {",
      "  local cur prev node i",
      "  cur=\"${COMP_WORDS[COMP_CWORD]}\"",
      "  prev=\"${COMP_WORDS[COMP_CWORD-1]}\"",
      "  # Bash cuts --name=value at the sign.",
      "  if [ \"$cur\" = \"=\" ]; then cur=\"\"",
      "  elif [ \"$prev\" = \"=\" ] && [ \"$COMP_CWORD\" -gt 1 ]; then prev=\"${COMP_WORDS[COMP_CWORD-2]}\"; fi",
      "  node=\"\"",
      "  for ((i = 1; i < COMP_CWORD; i++)); do",
      "    case \"$node/${COMP_WORDS[i]}\" in",
      "      \(pathPattern)) node=\"$node/${COMP_WORDS[i]}\" ;;",
      "    esac",
      "  done",
      "  COMPREPLY=()",
      "  case \"$node $prev\" in",
    ]
    lines += valueBranches { pattern, choices in
      choices.isEmpty
        ? "    \(pattern)) return ;;"
        : "    \(pattern)) COMPREPLY=($(compgen -W \"\(choices.joined(separator: " "))\" -- \"$cur\")); return ;;"
    }
    lines += ["  esac", "  case \"$node\" in"]
    for node in nodes {
      let options = safe(node.options.map(\.name)).joined(separator: " ")
      let words = safe(node.commands.map(\.name) + node.positionalChoices).joined(separator: " ")
      lines += [
        "    \"\(node.path)\")",
        "      if [[ \"$cur\" == -* ]]; then COMPREPLY=($(compgen -W \"\(options)\" -- \"$cur\"))",
        "      else COMPREPLY=($(compgen -W \"\(words)\" -- \"$cur\")); fi ;;",
      ]
    }
    lines += ["  esac", "}", "complete -o default -F \(functionName) \(toolName)"]
    return lines.joined(separator: "\n") + "\n"
  }

  private var zsh: String {
    var lines = [
      "#compdef \(toolName)",
      "# zsh completion for \(toolName); load it with: source <(\(toolName) completion zsh)",
      "\(functionName)() {",
      "  local cur prev node i",
      "  local -a entries",
      "  cur=\"${words[CURRENT]}\"",
      "  prev=\"${words[CURRENT-1]}\"",
      "  if [[ \"$cur\" == --*=* ]]; then prev=\"${cur%%=*}\"; compset -P '*='; fi",
      "  node=\"\"",
      "  for ((i = 2; i < CURRENT; i++)); do",
      "    case \"$node/${words[i]}\" in",
      "      \(pathPattern)) node=\"$node/${words[i]}\" ;;",
      "    esac",
      "  done",
      "  case \"$node $prev\" in",
    ]
    lines += valueBranches { pattern, choices in
      choices.isEmpty
        ? "    \(pattern)) _files; return ;;"
        : "    \(pattern)) compadd -- \(choices.map { "'\($0)'" }.joined(separator: " ")); return ;;"
    }
    lines += ["  esac", "  case \"$node\" in"]
    for node in nodes {
      let options = node.options.map { described($0.name, $0.help) }.joined(separator: " ")
      let commands = node.commands.map { described($0.name, $0.summary) }.joined(separator: " ")
      let choices = safe(node.positionalChoices)
      lines += [
        "    \"\(node.path)\")",
        "      if [[ \"$cur\" == -* ]]; then entries=(\(options)); _describe -o option entries",
      ]
      if !node.commands.isEmpty {
        lines.append("      else entries=(\(commands)); _describe command entries; fi ;;")
      } else if !choices.isEmpty {
        lines.append("      else compadd -- \(choices.map { "'\($0)'" }.joined(separator: " ")); fi ;;")
      } else {
        lines.append("      else _files; fi ;;")
      }
    }
    lines += [
      "  esac", "}",
      "if [ \"$funcstack[1]\" = \"\(functionName)\" ]; then \(functionName) \"$@\"",
      "else compdef \(functionName) \(toolName); fi",
    ]
    return lines.joined(separator: "\n") + "\n"
  }

  /// `'name:what it does'`, quoted for zsh.
  private func described(_ name: String, _ help: String) -> String {
    var text = ""
    for character in name { text += character == ":" ? "\\:" : String(character) }
    text += ":"
    for character in help where character != "\n" { text += character == "'" ? "'\\''" : String(character) }
    return "'\(text)'"
  }
}
