import Foundation

/// How many bytes this process may still take.
public enum FreeMemory {
  /// What the system has left, or what the control group of this process leaves where that is less; nil where neither can
  /// be read.
  public static var bytes: Int? {
    let available = field("MemAvailable:", of: text("/proc/meminfo")).map { $0 << 10 }
    return [available, groupBytes].compactMap(\.self).min()
  }

  /// The limit of the control group, version 2 or 1, less what is in use and cannot be given back.
  private static var groupBytes: Int? {
    var limits: [Int] = []
    for line in text("/proc/self/cgroup").split(separator: "\n") {
      let parts = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
      guard parts.count == 3 else { continue }
      if parts[1].isEmpty {
        limits += ancestors(String(parts[2])).compactMap {
          room("/sys/fs/cgroup\($0)", limit: "memory.max", usage: "memory.current", cache: "inactive_file ")
        }
      } else if parts[1].split(separator: ",").contains("memory") {
        limits += ancestors(String(parts[2])).compactMap {
          room(
            "/sys/fs/cgroup/memory\($0)", limit: "memory.limit_in_bytes", usage: "memory.usage_in_bytes",
            cache: "total_inactive_file ")
        }
      }
    }
    return limits.min()
  }

  /// `/a/b`, `/a` and the root: a limit of any of them holds.
  private static func ancestors(_ path: String) -> [String] {
    var names = path.split(separator: "/")
    var paths = [""]
    while !names.isEmpty {
      paths.append("/" + names.joined(separator: "/"))
      names.removeLast()
    }
    return paths
  }

  private static func room(_ folder: String, limit: String, usage: String, cache: String) -> Int? {
    guard let most = Int(text("\(folder)/\(limit)").filter { !$0.isWhitespace }), most > 0, most < 1 << 60,
      let used = Int(text("\(folder)/\(usage)").filter { !$0.isWhitespace })
    else { return nil }
    return max(0, most - used + (field(cache, of: text("\(folder)/memory.stat")) ?? 0))
  }

  /// The number behind a word at the beginning of a line.
  static func field(_ name: String, of text: String) -> Int? {
    for line in text.split(separator: "\n") where line.hasPrefix(name) {
      return Int(line.dropFirst(name.count).drop { $0 == " " }.prefix { $0.isNumber })
    }
    return nil
  }

  private static func text(_ path: String) -> String { (try? String(contentsOfFile: path, encoding: .utf8)) ?? "" }
}
