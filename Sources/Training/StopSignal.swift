import Glibc
import Synchronization

/// SIGINT and SIGTERM as a wish: the step at hand is finished, the state saved, and the run left cleanly.
///
/// A second one ends the process at once.
public enum StopSignal {
  private static let received = Atomic<Int32>(0)

  /// Starts to listen.
  public static func install() {
    for number in [SIGINT, SIGTERM] {
      signal(number) { number in
        // Only what is safe in a signal handler: an atomic store, and the default action for an impatient second time.
        if StopSignal.received.exchange(number, ordering: .relaxed) != 0 {
          signal(number, SIG_DFL)
          raise(number)
        }
      }
    }
  }

  /// The signal that came, if any.
  public static var pending: Int32? {
    let number = received.load(ordering: .relaxed)
    return number == 0 ? nil : number
  }
}
