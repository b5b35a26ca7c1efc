import Torch

/// C centres for each identity, of which the nearest counts: sub-center ArcFace (Deng et al., ECCV 2020).
///
/// The weight is [K · C, D], the centres of an identity one after the other (`loss_K` of the reference's
/// `subcenter_arcface`); cos θ of an identity is max over c of x̂ · ŵ(k, c), and the gradient goes to that centre alone.
/// The clean faces of an identity gather at one centre, noise at the others.
struct SubCenters {
  /// C.
  let count: Int
  /// K.
  let classCount: Int

  /// The cosines of the nearest centres [N, K] and, with C > 1, which they are, int64 [N, K, 1].
  struct Pooled {
    let cosine: Tensor
    let nearest: Tensor?
  }

  /// From the cosines of all centres [N, K · C].
  func pool(_ cosine: Tensor) -> Pooled {
    if count == 1 { return Pooled(cosine: cosine, nearest: nil) }
    let byClass = cosine.reshaped([-1, classCount, count])
    let nearest = byClass.argmax(2, keepDim: true)
    return Pooled(cosine: byClass.gathered(2, nearest).squeezed(2), nearest: nearest)
  }

  /// From the gradients of the pooled cosines [N, K] to those of all centres [N, K · C].
  func spread(_ gradient: Tensor, _ pooled: Pooled) -> Tensor {
    guard let nearest = pooled.nearest else { return gradient }
    let rows = gradient.shape[0]
    return Tensor.zeros([rows, classCount, count], dtype: gradient.dtype, device: gradient.device)
      .scattered(2, nearest, gradient.unsqueezed(2)).reshaped([rows, classCount * count])
  }
}
