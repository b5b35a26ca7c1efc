/// What makes a person: a pure function of (seed, identity).
///
/// Lengths are in face units: 1 is a pixel of an aligned
/// 112×112 crop, the origin is the middle of the head, x runs right, y down.
struct FaceIdentity {
  enum HairStyle: Int, CaseIterable {
    case bald, buzz, short, partedLeft, partedRight, fringe, middleLong, waves, curls, receding, tiedBack, quiff
  }

  enum Beard: Int, CaseIterable {
    case none, stubble, moustache, goatee, full, chinStrap
  }

  struct Mole {
    var x: Float
    var y: Float
    var radius: Float
  }

  var skin: Light
  var cheekWidth: Float
  var chinY: Float
  var jaw: Float
  var chinShape: Float
  var earSize: Float

  var eyeX: Float
  var eyeY: Float
  var eyeWidth: Float
  var eyeOpen: Float
  var eyeTilt: Float
  var iris: Light
  var irisRadius: Float
  var lash: Float
  var crease: Float
  var lidColour: Light
  var lidStrength: Float
  var socket: Float

  var browGap: Float
  var browLength: Float
  var browThickness: Float
  var browAngle: Float
  var browArch: Float
  var brow: Light
  var browsMeet: Bool

  var noseY: Float
  var noseWidth: Float
  var noseHeight: Float
  var nostril: Float
  var bridge: Float

  var mouthY: Float
  var mouthWidth: Float
  var upperLip: Float
  var lowerLip: Float
  var lip: Light
  var cupid: Float

  var style: HairStyle
  var hair: Light
  var hairline: Float
  var hairVolume: Float
  var curl: Float
  var beard: Beard
  var beardColour: Light

  var age: Float
  var blush: Float
  var freckles: Float
  var moles: [Mole]
  var gloss: Float
  var texture: UInt32

  init(seed: UInt64, identity: Int) {
    var random = KeyedRandom(seed: seed, .identity, identity)
    func jittered(_ colour: (Float, Float, Float), _ amount: Float, _ random: inout KeyedRandom) -> Light {
      let common = random.uniform(-amount, amount)
      return shown(
        clamp01(colour.0 + common + random.uniform(-amount, amount) * 0.4),
        clamp01(colour.1 + common + random.uniform(-amount, amount) * 0.4),
        clamp01(colour.2 + common + random.uniform(-amount, amount) * 0.4))
    }
    let skins: [(Float, Float, Float)] = [
      (0.97, 0.85, 0.78), (0.95, 0.80, 0.70), (0.93, 0.76, 0.62), (0.88, 0.70, 0.55), (0.85, 0.65, 0.50),
      (0.77, 0.57, 0.42), (0.66, 0.46, 0.33), (0.54, 0.36, 0.26), (0.42, 0.28, 0.21), (0.90, 0.74, 0.66),
    ]
    skin = jittered(random.pick(skins), 0.025, &random)
    cheekWidth = random.uniform(38, 48)
    chinY = random.uniform(46, 58)
    jaw = random.pick([1.55, 2.0, 2.6, 3.4]) + random.uniform(-0.2, 0.2)
    chinShape = random.uniform(1.5, 2.6)
    earSize = random.uniform(0.7, 1.3)

    eyeX = random.uniform(15.4, 20)
    eyeY = random.uniform(-12, -8.6)
    eyeWidth = random.pick([6.4, 7.8, 9.2]) + random.uniform(-0.4, 0.4)
    eyeOpen = random.pick([0.38, 0.52, 0.68]) + random.uniform(-0.04, 0.04)
    eyeTilt = random.pick([-0.17, -0.03, 0.1, 0.22]) + random.uniform(-0.04, 0.04)
    let irises: [(Float, Float, Float)] = [
      (0.14, 0.08, 0.05), (0.34, 0.19, 0.09), (0.55, 0.34, 0.12), (0.45, 0.42, 0.18), (0.24, 0.46, 0.22),
      (0.22, 0.42, 0.72), (0.45, 0.68, 0.86), (0.48, 0.52, 0.55),
    ]
    iris = jittered(random.pick(irises), 0.03, &random)
    irisRadius = random.uniform(3.4, 4.6)
    lash = random.uniform(0.5, 1.9)
    crease = random.chance(0.3) ? 0 : random.uniform(1.4, 3.4)
    let lids: [(Float, Float, Float)] = [
      (0.30, 0.22, 0.45), (0.15, 0.38, 0.50), (0.22, 0.16, 0.14), (0.55, 0.25, 0.30), (0.20, 0.42, 0.28),
    ]
    lidColour = jittered(random.pick(lids), 0.04, &random)
    lidStrength = random.chance(0.3) ? random.uniform(0.45, 0.8) : 0
    socket = random.pick([0.0, 0.18, 0.4])

    let hairs: [(Float, Float, Float)] = [
      (0.07, 0.06, 0.06), (0.18, 0.11, 0.08), (0.32, 0.20, 0.12), (0.47, 0.25, 0.13), (0.65, 0.30, 0.13),
      (0.62, 0.47, 0.28), (0.86, 0.72, 0.45), (0.55, 0.54, 0.53), (0.86, 0.85, 0.83), (0.40, 0.10, 0.14),
    ]
    let hairIndex = random.index(hairs.count)
    hair = jittered(hairs[hairIndex], 0.03, &random)
    // Brows follow the hair half of the time; otherwise they are a cue of their own.
    brow = jittered(random.chance(0.6) ? hairs[hairIndex] : hairs[random.index(7)], 0.03, &random)
    browGap = random.uniform(7.5, 13)
    browLength = random.uniform(7.5, 11)
    browThickness = random.pick([1.0, 2.0, 3.1]) + random.uniform(-0.2, 0.2)
    browAngle = random.pick([-0.2, 0, 0.2]) + random.uniform(-0.06, 0.06)
    browArch = random.pick([0.3, 2, 4]) + random.uniform(-0.3, 0.4)
    browsMeet = random.chance(0.1)

    noseY = random.uniform(6.5, 13)
    noseWidth = random.pick([5.2, 7.2, 9.4]) + random.uniform(-0.6, 0.6)
    noseHeight = random.uniform(0.6, 1.4)
    nostril = random.uniform(0.7, 1.4)
    bridge = random.uniform(2.2, 4.6)

    mouthY = random.uniform(27.5, 33.5)
    mouthWidth = random.pick([11, 14, 17]) + random.uniform(-1, 1)
    upperLip = random.pick([1.5, 2.9, 4.4]) + random.uniform(-0.3, 0.4)
    lowerLip = random.pick([2.2, 4.0, 5.8]) + random.uniform(-0.4, 0.4)
    cupid = random.uniform(0, 0.5)
    let lips: [(Float, Float, Float)] = [
      (0.78, 0.20, 0.22), (0.60, 0.13, 0.25), (0.85, 0.45, 0.40), (0.45, 0.18, 0.16), (0.84, 0.38, 0.55),
    ]
    let plainLip = mix(skin, shown(0.72, 0.30, 0.30), random.uniform(0.35, 0.7))
    lip = random.chance(0.5) ? plainLip : mix(plainLip, jittered(random.pick(lips), 0.03, &random), 0.85)

    style = random.pick(HairStyle.allCases)
    hairline = random.uniform(-44, -32)
    hairVolume = random.uniform(0.04, 0.16)
    curl = random.uniform(0, 1)
    let beards: [Beard] = [
      .none, .none, .none, .none, .none, .none, .stubble, .moustache, .goatee, .full, .chinStrap, .moustache,
    ]
    beard = random.pick(beards)
    // Beards are a little darker than the hair, seldom of another colour; on a shaven face only their shadow is seen.
    let beardBase = random.chance(0.85) ? hair : jittered(hairs[random.index(hairs.count)], 0.03, &random)
    beardColour = beard == .stubble ? dimmed(mix(skin, beardBase, 0.4), 0.45) : dimmed(beardBase, 0.75)

    age = max(0, random.uniform(-0.5, 1))
    blush = random.pick([0, 0.12, 0.32])
    freckles = random.chance(0.18) ? random.uniform(0.35, 0.8) : 0
    gloss = random.uniform(0.02, 0.16)
    texture = UInt32(truncatingIfNeeded: random.bits())
    moles = []
    for _ in 0..<random.pick([0, 0, 1, 1, 2, 3]) {
      let x = random.uniform(-29, 29)
      let y = random.pick([random.uniform(-34, -24), random.uniform(-2, 24), random.uniform(36, 42)])
      moles.append(Mole(x: x * (y > 30 ? 0.5 : 1), y: y, radius: random.uniform(1.0, 2.0)))
    }
  }
}
