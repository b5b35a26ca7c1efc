#if canImport(Glibc)
  import Glibc
#else
  import Foundation
#endif

/// A learning rate that is multiplied by a factor at given steps (`--lr-steps`).
public struct StepSchedule: Sendable, Equatable {
  /// The rate before the first drop.
  public let base: Double
  /// The steps (counted from 1) after which the rate drops.
  public let steps: [Int]
  /// What it is multiplied by.
  public let factor: Double

  /// A schedule as the reference's: ×0.1 at each step of the list.
  public init(base: Double, steps: [Int], factor: Double = 0.1) {
    self.base = base
    self.steps = steps
    self.factor = factor
  }

  /// The rate for the update number `step` (counted from 1).
  ///
  /// The drop is made at the end of a step of the list, so the next one feels it. Multiplied step by step, as the
  /// reference does, so that the last digits agree.
  public func rate(step: Int) -> Double {
    var rate = base
    for drop in Set(steps) where drop < step && drop >= 1 { rate *= factor }
    return rate
  }
}

/// The learning rate of every update.
public struct LearningRateSchedule: Sendable, Equatable {
  /// How the rate falls.
  public enum Shape: Sendable, Equatable {
    /// To a tenth at each step of a list.
    case steps([Int])
    /// As (1 − t)^power.
    case polynomial(power: Double)
    /// As half a cosine wave.
    case cosine
  }

  /// The rate before it falls.
  public let base: Double
  /// How the rate falls.
  public let shape: Shape
  /// Steps over which the rate grows to its base.
  public let warmup: Int
  /// The step after which the rate falls no further; of no concern to `steps`.
  public let total: Int

  /// A schedule; `total` must be above `warmup` for shapes that have an end.
  public init(base: Double, shape: Shape, warmup: Int = 0, total: Int = 0) {
    self.base = base
    self.shape = shape
    self.warmup = max(0, warmup)
    self.total = max(total, self.warmup + 1)
  }

  /// The rate for the update number `step` (counted from 1).
  ///
  /// - `steps` and `cosine` with a warm-up of w steps: at step s ≤ w the rate is s / w of what it would be.
  /// - `cosine`: base · (1 + cos π t) / 2 with t = (s − 1 − w) / (total − w).
  /// - `polynomial`: as `PolynomialLRWarmup` of arcface_torch, its first step included. With l = s − 1: base at l = 0, then
  ///   base · l / w up to w, then base · (1 − (l − w) / (total − w))^power. So the very first step of a warm-up runs at
  ///   the full rate.
  public func rate(step: Int) -> Double {
    switch shape {
    case .steps(let steps):
      let rate = StepSchedule(base: base, steps: steps).rate(step: step)
      return step < warmup ? rate * Double(step) / Double(warmup) : rate
    case .cosine:
      if step <= warmup { return base * Double(step) / Double(warmup) }
      let t = Double(min(step - 1, total) - warmup) / Double(total - warmup)
      return base * (1 + cos(.pi * t)) / 2
    case .polynomial(let power):
      let l = min(step - 1, total)
      if l <= 0 { return base }
      if l <= warmup { return base * Double(l) / Double(warmup) }
      return base * pow(1 - Double(l - warmup) / Double(total - warmup), power)
    }
  }
}
