import Jobs

/// `mx.callback.Speedometer` with its metrics, as MXNet 1.9.1 prints them.
///
/// The first line of an epoch comes at batch `frequent` (counted from 0) and covers one batch more than the later ones:
/// the clock starts at batch 0, the metrics are reset at each line.
public struct Speedometer {
  private let batchSize: Int
  private let frequent: Int
  private var isRunning = false
  private var started = 0.0
  private var last = 0
  private var lastCount = 0
  /// Correct ones and images since the last line.
  private var (correct, images): (Double, Double) = (0, 0)
  /// Sum and number of the losses since the last line.
  private var (lossSum, losses): (Double, Double) = (0, 0)
  private var printed = (accuracy: Double.nan, loss: Double.nan)

  /// A line every `frequent` batches.
  public init(batchSize: Int, frequent: Int) {
    self.batchSize = batchSize
    self.frequent = max(1, frequent)
  }

  /// Takes up the loss and the number of correct ones of a batch; NaN where the loss has none, and then no line names an
  /// accuracy.
  public mutating func add(loss: Double, correct: Double) {
    lossSum += loss
    losses += 1
    self.correct += correct
    images += Double(batchSize)
  }

  /// The mean of the losses and the share of correct ones since the last line.
  public var means: (accuracy: Double, loss: Double) {
    (images > 0 ? correct / images : .nan, losses > 0 ? lossSum / losses : .nan)
  }

  /// What the end of batch `batch` of `epoch` prints, without "INFO:root:".
  public mutating func line(epoch: Int, batch: Int, now: Double) -> (text: String, speed: Double)? {
    if last > batch { isRunning = false }
    last = batch
    guard isRunning else {
      isRunning = true
      started = now
      lastCount = batch
      return nil
    }
    guard batch % frequent == 0 else { return nil }
    let elapsed = now - started
    let speed = elapsed > 0 ? Double((batch - lastCount) * batchSize) / elapsed : .infinity
    let (accuracy, loss) = means
    printed = (accuracy, loss)
    let text =
      "Epoch[\(epoch)] Batch [\(batch - frequent)-\(batch)]\tSpeed: \(fixed(speed, 2)) samples/sec"
      + (accuracy.isNaN ? "" : "\tacc=\(fixed(accuracy, 6))") + "\tlossvalue=\(fixed(loss, 6))"
    reset()
    started = now
    lastCount = batch
    return (text, speed)
  }

  /// Takes no account of time that a verification took.
  public mutating func skip(seconds: Double) { started += seconds }

  /// The means that the last line printed, or those since it when there are any (MXNet's `Train-acc` at an epoch's end).
  public var lastMeans: (accuracy: Double, loss: Double) { losses > 0 ? means : printed }

  /// The sums in a form that a saved state can hold.
  public var saved: String { "\(correct) \(images) \(lossSum) \(losses) \(last) \(isRunning ? 1 : 0)" }

  /// Takes up what `saved` gave; the clock starts anew at `now`, so that no line is missing after a resume.
  public mutating func restore(_ text: String, now: Double) {
    let numbers = text.split(separator: " ").compactMap { Double($0) }
    guard numbers.count == 6, let batch = Int(exactly: numbers[4]) else { return }
    (correct, images, lossSum, losses) = (numbers[0], numbers[1], numbers[2], numbers[3])
    (last, lastCount) = (batch, batch)
    (isRunning, started) = (numbers[5] == 1, now)
  }

  /// Forgets the metrics.
  public mutating func reset() {
    (correct, images, lossSum, losses) = (0, 0, 0, 0)
  }
}
