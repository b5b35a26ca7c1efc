import Imaging

/// Paints one face into a canvas, back to front, then lets the light fall on it.
///
/// Everything is drawn in coordinates of the face and mapped by the geometry, so the same code draws an aligned crop and a
/// face of any size in a scene.
struct FaceRenderer {
  let canvas: Canvas
  let geometry: FaceGeometry
  let identity: FaceIdentity
  let appearance: FaceAppearance
  let plane: Patch
  /// How far features in front of the head's middle move sideways.
  let drift: Float
  let skin: Light
  let hair: Light

  init(_ canvas: Canvas, _ geometry: FaceGeometry) {
    self.canvas = canvas
    self.geometry = geometry
    identity = geometry.identity
    appearance = geometry.appearance
    plane = geometry.plane
    drift = 34 * geometry.appearance.pose.sinYaw
    skin = geometry.identity.skin
    hair = dimmed(geometry.identity.hair, geometry.appearance.hairShade)
  }

  /// Where the body below a face ends, in face units; a crop shows its beginning only.
  static let bodyEnd: Float = 420

  func paint() {
    measure()
    paintBody()
    paintBackHair()
    paintEars()
    paintSkin()
    paintBeard()
    paintMarks()
    for side: Float in [-1, 1] { paintEye(side) }
    for side: Float in [-1, 1] { paintBrow(side) }
    paintNose()
    paintMouth()
    paintMoustache()
    paintFrontHair()
    raiseRelief()
    light()
    paintGlasses()
    paintOccluder()
  }

  /// Fills the canvas' polar plane for this face.
  private func measure() {
    geometry.radii.withUnsafeBufferPointer { radii in
      let (columns, rows) = canvas.bounds(plane, x0: -97, x1: 97, y0: -110, y1: FaceRenderer.bodyEnd)
      for row in rows {
        let offsetY = Float(row) - plane.centreY
        let line = canvas.polar + row * canvas.width
        for column in columns {
          let offsetX = Float(column) - plane.centreX
          let x = plane.m00 * offsetX + plane.m01 * offsetY
          let y = plane.m10 * offsetX + plane.m11 * offsetY
          line[column] = FaceGeometry.radius(radii, x, y)
        }
      }
    }
  }

  // MARK: Body and hair behind

  private func paintBody() {
    let shaded = dimmed(skin, 0.62)
    let clothes = appearance.clothes
    let neck = identity.cheekWidth * 0.62
    let chin = identity.chinY
    canvas.paintPolar(plane, x0: -95, x1: 95, y0: 10, y1: FaceRenderer.bodyEnd) { x, y, polar, pixel in
      // The face will cover this.
      guard polar.x > polar.y - 2 else { return }
      let flare = max(0, y - chin) * 0.12
      let inNeck = plane.coverage(max(abs(x) - neck - flare * flare * 0.4, y - chin - 34))
      pixel = mix(pixel, shaded, inNeck)
      let shoulder = chin + 17 + x * x * 0.006 - max(0, 16 - abs(x)) * 0.5
      let inClothes = plane.coverage(
        max(shoulder - y, abs(x) - 80 - 14 * smooth((y - 90) / 60), y - FaceRenderer.bodyEnd + 5))
      guard inClothes > 0 else { return }
      pixel = mix(pixel, dimmed(clothes, 0.8 + 0.2 * valueNoise(x * 0.15, y * 0.15, appearance.texture)), inClothes)
    }
  }

  private var hasLongHair: Bool {
    identity.style == .middleLong || identity.style == .waves
  }

  private func paintBackHair() {
    let dark = dimmed(hair, 0.55)
    switch identity.style {
    case .middleLong, .waves:
      let width = identity.cheekWidth + 9 + 40 * identity.hairVolume
      let wave: Float = identity.style == .waves ? 4 + 4 * identity.curl : 0.8
      canvas.paintPolar(plane, x0: -75, x1: 75, y0: -85, y1: 105) { x, y, polar, pixel in
        guard polar.x > polar.y - 2 else { return }
        let ripple = wave * (valueNoise(y * 0.09, x > 0 ? 3.5 : 8.5, identity.texture) - 0.5) * 2
        let t = min(0, (y + 10) / 72)
        let reach = (width + ripple) * max(0, 1 - t * t).squareRoot()
        let inHair = plane.coverage(max(abs(x) - reach, y - 88 - ripple * 2), softness: 2)
        guard inHair > 0 else { return }
        pixel = mix(pixel, dimmed(dark, 0.8 + 0.4 * strand(x, y)), inHair)
      }
    case .curls:
      canvas.paintPolar(plane, x0: -80, x1: 80, y0: -100, y1: 40) { x, y, polar, pixel in
        guard polar.x > polar.y - 2 else { return }
        let bumpy = 6 * valueNoise(x * 0.16, y * 0.16, identity.texture)
        let radius = (x * x + (y + 18) * (y + 18) * 0.9).squareRoot()
        let inHair = plane.coverage(radius - 56 - 60 * identity.hairVolume - bumpy, softness: 2)
        guard inHair > 0 else { return }
        pixel = mix(pixel, dimmed(dark, 0.7 + 0.6 * strand(x, y)), inHair)
      }
    default:
      break
    }
  }

  /// Brightness of hair at a place: fine strands, or curls.
  @inline(__always)
  private func strand(_ x: Float, _ y: Float) -> Float {
    if identity.style == .curls { return valueNoise(x * 0.33, y * 0.33, identity.texture ^ 77) }
    let bend = x + 3 * identity.curl * valueNoise(y * 0.12, x * 0.05, identity.texture)
    return valueNoise(bend * 0.6, y * 0.07, identity.texture ^ 31)
  }

  private func paintEars() {
    guard !hasLongHair else { return }
    for side: Float in [-1, 1] {
      let centreX = side * (identity.cheekWidth + 1.5) - drift * 0.25
      let width = 5.5 * identity.earSize
      let height = 11 * identity.earSize
      let tone = dimmed(skin, 0.85)
      canvas.paint(plane, x0: centreX - 9, x1: centreX + 9, y0: -18, y1: 18) { x, y, pixel in
        let u = (x - centreX) / width
        let v = (y + 1) / height
        let radius = (u * u + v * v).squareRoot()
        pixel = mix(pixel, dimmed(tone, radius < 0.6 ? 0.75 : 1), plane.coverage((radius - 1) * width, softness: 1))
      }
    }
  }

  // MARK: Skin

  private func paintSkin() {
    let red = Light(1.0, 0.55, 0.55, 1)
    let blush = identity.blush
    let cheekX = 24 as Float
    canvas.paintPolar(plane, x0: -56, x1: 56, y0: -76, y1: 74) { x, y, polar, pixel in
      let inside = plane.coverage(polar.x - polar.y)
      guard inside > 0 else { return }
      var tone = skin
      let place = x - drift * 0.85
      if blush > 0 {
        let side = (abs(place) - cheekX) / 13
        let down = (y - 11) / 11
        let near = max(0, 1 - side * side - down * down)
        tone *= mix(Light(1, 1, 1, 1), red, near * blush * 1.6)
      }
      let blotch = valueNoise(place * 0.11, y * 0.11, identity.texture ^ 5) - 0.5
      tone = dimmed(tone, 1 + 0.12 * blotch)
      pixel = mix(pixel, tone, inside)
    }
  }

  private func paintMarks() {
    let age = identity.age
    if age > 0.25 {
      let strength = (age - 0.25) * 0.6
      let lined = dimmed(skin, 0.5)
      // Lines across the forehead.
      let forehead = geometry.patch(0, -30)
      canvas.paint(forehead, x0: -22, x1: 22, y0: -7, y1: 7) { x, y, pixel in
        let fade = clamp01(1 - abs(x) / 22)
        let wavy = y + 0.004 * x * x
        let phase = (wavy + 6) / 4
        let near = abs(phase - Float(wholeBelow(phase)) - 0.5) * 4
        pixel = mix(pixel, lined, forehead.coverage(near - 0.5, softness: 0.9) * fade * strength)
      }
      for side: Float in [-1, 1] {
        // The fold from the nose to the corner of the mouth, and the bag under the eye.
        let foldX = (identity.noseWidth + identity.mouthWidth) / 2 + 3
        let fold = geometry.patch(side * foldX, (identity.noseY + identity.mouthY) / 2 + 1)
        canvas.paint(fold, x0: -9, x1: 9, y0: -11, y1: 11) { x, y, pixel in
          let line = abs(x * side - 0.03 * y * y * 0.5 - y * 0.42)
          let fade = clamp01(1.2 - abs(y) / 10)
          pixel = mix(pixel, lined, fold.coverage(line - 0.6, softness: 1.4) * fade * strength * 1.3)
        }
        let bag = geometry.patch(side * identity.eyeX, identity.eyeY + 7)
        canvas.paint(bag, x0: -8, x1: 8, y0: -4, y1: 5) { x, y, pixel in
          let line = abs(y + 0.04 * x * x - 1)
          pixel = mix(pixel, lined, bag.coverage(line - 0.4, softness: 1.3) * clamp01(1 - abs(x) / 8) * strength)
        }
      }
    }
    if identity.freckles > 0 {
      let spot = skin * Light(0.55, 0.38, 0.28, 1)
      let area = geometry.patch(0, 6, raised: 4)
      canvas.paint(area, x0: -32, x1: 32, y0: -12, y1: 14) { x, y, pixel in
        let column = wholeBelow(x / 3.2)
        let row = wholeBelow(y / 3.2)
        let hash = latticeHash(column, row, identity.texture)
        guard Float(hash & 255) < 200 else { return }
        let dx = x - (Float(column) + 0.25 + 0.5 * Float(hash >> 8 & 255) / 255) * 3.2
        let dy = y - (Float(row) + 0.25 + 0.5 * Float(hash >> 16 & 255) / 255) * 3.2
        let near = area.coverage((dx * dx + dy * dy).squareRoot() - 0.75, softness: 1)
        pixel = mix(pixel, spot, near * identity.freckles)
      }
    }
    let dark = skin * Light(0.16, 0.1, 0.08, 1)
    for mole in identity.moles {
      let patch = geometry.patch(mole.x, mole.y)
      let reach = mole.radius + 1.5
      canvas.paint(patch, x0: -reach, x1: reach, y0: -reach, y1: reach) { x, y, pixel in
        pixel = mix(pixel, dark, patch.coverage((x * x + y * y).squareRoot() - mole.radius) * 0.9)
      }
    }
  }

  // MARK: Beard

  private func paintBeard() {
    let beard = identity.beard
    guard beard != .none, beard != .moustache else { return }
    let colour = identity.beardColour
    let strength: Float
    switch beard {
    case .stubble: strength = clamp01(0.4 + appearance.stubble)
    default: strength = clamp01(0.85 + appearance.stubble)
    }
    let mouthY = identity.mouthY
    let chin = identity.chinY
    let corner = identity.mouthWidth
    canvas.paintPolar(plane, x0: -56, x1: 56, y0: 0, y1: 74) { x, y, polar, pixel in
      let (own, outline) = (polar.x, polar.y)
      guard own < outline + 3 else { return }
      let place = x - drift * 0.8
      let shapeDistance: Float
      switch beard {
      case .goatee:
        let u = place / (corner * 0.85)
        let v = (y - chin + 4) / (chin - mouthY - 2)
        shapeDistance = ((u * u + v * v).squareRoot() - 1) * 9
      case .chinStrap:
        shapeDistance = max(outline - 8 - own, 6 - y)
      default:
        // Cheeks stay free above a line from the ear to the corner of the mouth.
        shapeDistance = mouthY - 8 + 9 * clamp01(1 - abs(place) / 38) - y - max(0, abs(place) - 24) * 1.4
      }
      let u = place / (corner + 1.5)
      let v = (y - mouthY) / (identity.lowerLip + appearance.mouthOpen + 2.5)
      let lipsFree = (u * u + v * v).squareRoot()
      let inside = plane.coverage(shapeDistance, softness: 3) * plane.coverage(own - outline - 1.5, softness: 2)
      let free = beard == .chinStrap ? 1 : clamp01((lipsFree - 0.9) * 4)
      let grain = 0.75 + 0.5 * valueNoise(x * 0.8, y * 0.5, identity.texture ^ 99)
      pixel = mix(pixel, dimmed(colour, grain), inside * free * strength)
    }
  }

  private func paintMoustache() {
    guard identity.beard == .moustache || identity.beard == .full || identity.beard == .goatee else { return }
    let colour = identity.beardColour
    let middle = (identity.noseY + 6 + identity.mouthY - identity.upperLip) / 2
    let patch = geometry.patch(0, middle, raised: 4)
    let half = geometry.mouthHalf * 0.95
    let strength = clamp01(0.9 + appearance.stubble)
    canvas.paint(patch, x0: -half - 2, x1: half + 2, y0: -7, y1: 9) { x, y, pixel in
      let t = abs(x) / half
      let thickness = 3.4 * (1 - t * t)
      let distance = abs(y - 4.5 * t * t) - thickness
      let grain = 0.75 + 0.5 * valueNoise(x * 0.9, y * 0.5, identity.texture ^ 41)
      pixel = mix(pixel, dimmed(colour, grain), patch.coverage(distance, softness: 1.5) * strength)
    }
  }

  // MARK: Features

  private func paintEye(_ side: Float) {
    let patch = geometry.eyePatch(side)
    let width = identity.eyeWidth
    let (upper, lower) = geometry.eyeHeights
    let white = shown(0.95, 0.93, 0.91)
    let black = shown(0.03, 0.03, 0.03)
    let lashColour = mix(black, dimmed(identity.brow, 0.3), 0.5)
    let socket = dimmed(skin, 0.55) * Light(1, 0.9, 0.92, 1)
    let iris = identity.iris
    let radius = identity.irisRadius
    let gazeX = appearance.gazeX + appearance.pose.sinYaw * 1.2
    let gazeY = appearance.gazeY - upper * 0.12
    let creaseTone = dimmed(skin, 0.45)
    let closing = 1 - appearance.lid
    let full = identity.eyeWidth * identity.eyeOpen * 1.15
    let glintX = appearance.lightDirection.x * 1.2
    let glintY = appearance.lightDirection.y * 1.2 - 0.2
    canvas.paint(patch, x0: -width - 4, x1: width + 4, y0: -full - 7, y1: lower + 5) { x, y, pixel in
      let t = x / width
      let arc = 1 - t * t
      let wide = 1 - t * t * 0.6
      if identity.socket > 0 {
        let u = x / (width + 4)
        let v = (y + 0.5) / (full + 5)
        pixel = mix(pixel, socket, smooth(1 - u * u - v * v) * identity.socket)
      }
      if identity.lidStrength > 0 {
        // Colour on the lid between lashes and crease.
        let high = -(full + 3.6) * wide
        let band = max(high - y, y + upper * max(arc, 0) - 0.3, abs(x) - width - 1)
        pixel = mix(pixel, identity.lidColour, patch.coverage(band, softness: 1.4) * identity.lidStrength)
      } else if closing > 0.1 {
        let band = max(-full * arc - y, y + upper * arc)
        pixel = mix(pixel, dimmed(skin, 0.85), patch.coverage(band, softness: 1))
      }
      if identity.crease > 0 {
        let line = abs(y + full * wide + identity.crease) - 0.25
        let fade = clamp01(1.15 - abs(t)) * 0.75
        pixel = mix(pixel, creaseTone, patch.coverage(line, softness: 1) * fade)
      }
      let opening = max(-upper * arc - y, y - lower * arc)
      let open = patch.coverage(opening)
      if open > 0 {
        let dx = x - gazeX
        let dy = y - gazeY
        let distance = (dx * dx + dy * dy).squareRoot()
        var tone = dimmed(white, 0.8 + 0.2 * clamp01((y + upper) / 3))
        let ring = dimmed(iris, distance > radius - 0.8 ? 0.45 : 0.75 + 0.55 * distance / radius)
        tone = mix(tone, ring, patch.coverage(distance - radius))
        tone = mix(tone, black, patch.coverage(distance - radius * 0.42))
        let gx = dx - glintX
        let gy = dy - glintY
        tone = mix(tone, Light(1, 1, 1, 1), patch.coverage((gx * gx + gy * gy).squareRoot() - 0.7) * 0.9)
        pixel = mix(pixel, tone, open)
      }
      if abs(t) < 1.12 {
        let rim = abs(y + upper * arc) - identity.lash * 0.5 * (0.7 + 0.3 * t * side)
        pixel = mix(pixel, lashColour, patch.coverage(rim) * 0.92)
        let below = abs(y - lower * arc) - 0.15
        pixel = mix(pixel, socket, patch.coverage(below, softness: 0.8) * 0.55)
      }
    }
  }

  private func paintBrow(_ side: Float) {
    let patch = geometry.browPatch(side)
    let length = identity.browLength
    let thickness = identity.browThickness
    let inner: Float = identity.browsMeet ? length + 6 : length
    let colour = identity.brow
    canvas.paint(patch, x0: -inner - 1, x1: inner + 1, y0: -9, y1: 9) { x, y, pixel in
      let out = x * side
      let t = out / length
      guard t < 1.05, out > -inner - 1 else { return }
      let taper = t < 0 ? 1 - t * t * 0.6 : 1 - t * t * 0.75
      let middle = geometry.browCurve(out)
      let end = max(out - length, -out - inner)
      let distance = max(abs(y - middle) - thickness * taper, end)
      let grain = 0.8 + 0.4 * valueNoise(x * 1.1 + y * 0.6, y * 0.4, identity.texture ^ 13)
      pixel = mix(pixel, dimmed(colour, grain), patch.coverage(distance, softness: 0.9) * 0.93)
    }
  }

  private func paintNose() {
    let width = identity.noseWidth
    let dark = dimmed(skin, 0.3) * Light(1, 0.8, 0.75, 1)
    let shade = dimmed(skin, 0.52)
    let rise = geometry.noseRise
    let tip = geometry.patch(0, identity.noseY, raised: rise * 0.8)
    // Wings, nostrils and the shadow below.
    canvas.paint(tip, x0: -width - 3, x1: width + 3, y0: -7, y1: 10) { x, y, pixel in
      let under = (y - 6.6) / 3
      let across = x / (width * 1.0)
      pixel = mix(pixel, shade, smooth(1 - under * under - across * across) * 0.5)
      let dx = abs(x) - width + 0.8
      let dy = y - 2.2
      let wing = abs((dx * dx + dy * dy * 0.7).squareRoot() - 2.3) - 0.3
      if dx > -0.8 || dy > 1.8 {
        pixel = mix(pixel, shade, tip.coverage(wing, softness: 1.1) * 0.75)
      }
      let u = (abs(x) - width * 0.48) / (width * 0.27 * identity.nostril)
      let v = (y - 4.3 - 0.1 * abs(x)) / (1.25 * identity.nostril)
      pixel = mix(pixel, dark, tip.coverage(((u * u + v * v).squareRoot() - 1) * 1.2, softness: 0.9) * 0.9)
    }
    // The sides of the bridge.
    let middle = (identity.eyeY + identity.noseY) / 2
    let bridge = geometry.patch(0, middle, raised: rise * 0.4)
    let half = (identity.noseY - identity.eyeY) / 2 + 3
    canvas.paint(bridge, x0: -9, x1: 9, y0: -half, y1: half) { x, y, pixel in
      let spread = identity.bridge + (y + half) * 0.07
      let near = abs(abs(x) - spread)
      let lit = x * appearance.lightDirection.x > 0 ? 0.3 as Float : 1
      let fade = clamp01((half - abs(y)) / 5)
      pixel = mix(pixel, shade, bridge.coverage(near - 0.5, softness: 2.4) * fade * 0.42 * lit)
    }
  }

  private func paintMouth() {
    let patch = geometry.mouthPatch
    let half = geometry.mouthHalf
    let lip = identity.lip
    let inner = shown(0.22, 0.06, 0.07)
    let teeth = shown(0.93, 0.91, 0.86)
    let line = dimmed(lip, 0.28)
    let open = appearance.mouthOpen
    let low = open + identity.lowerLip + 6
    canvas.paint(patch, x0: -half - 2, x1: half + 2, y0: -identity.upperLip - 7, y1: low) { x, y, pixel in
      let t = x / half
      let shape = geometry.lips(t)
      let inside = patch.coverage(max(shape.top - y, y - shape.bottom), softness: 0.8)
      if inside > 0, abs(t) < 1.02 {
        let upperSide = y < (shape.innerTop + shape.innerBottom) / 2
        let gloss = upperSide ? 0.82 as Float : 1.08 - 0.03 * (y - shape.innerBottom)
        pixel = mix(pixel, dimmed(lip, gloss), inside * 0.95)
      }
      if open > 0.6 {
        let gap = patch.coverage(max(shape.innerTop - y, y - shape.innerBottom))
        if gap > 0 {
          let bite = shape.innerTop + min(open * 0.7, 2.6)
          let tone = y < bite && abs(t) < 0.8 ? dimmed(teeth, 0.9 - 0.3 * t * t) : inner
          pixel = mix(pixel, tone, gap)
        }
      } else if abs(t) < 1.04 {
        pixel = mix(pixel, line, patch.coverage(abs(y - shape.innerTop) - 0.35, softness: 0.8) * 0.85)
      }
      // The shadow below the lower lip.
      let under = (y - shape.bottom - 2.2) / 2
      let fade = clamp01(0.75 - abs(t))
      pixel = mix(pixel, dimmed(skin, 0.55), smooth(1 - under * under) * fade * 0.45)
    }
  }

  // MARK: Hair in front

  private func paintFrontHair() {
    let style = identity.style
    guard style != .bald else { return }
    let width = identity.cheekWidth
    let base = identity.hairline + appearance.fringe * (style == .fringe ? 0.8 : 0.5)
    var volume = identity.hairVolume
    switch style {
    case .buzz: volume = 0.015
    case .receding: volume *= 0.4
    case .tiedBack: volume *= 0.3
    case .quiff: volume += 0.16
    case .curls: volume += 0.22
    default: break
    }
    let alpha: Float = style == .buzz ? 0.62 : 1
    let sideburn: Float = hasLongHair ? 70 : style == .tiedBack ? -16 : -4 + 10 * identity.curl
    let gloss = appearance.hairGloss
    let fringeLine = geometry.browY - 3 + appearance.fringe
    let texture = identity.texture
    let bottom: Float = hasLongHair ? 72 : 16
    // The lowest place that hair on top can reach at the middle of the face, where most pixels are.
    let lowest: Float = style == .fringe ? fringeLine + 8 : base + 18
    canvas.paintPolar(plane, x0: -74, x1: 74, y0: -108, y1: bottom) { x, y, polar, pixel in
      let (own, outline) = (polar.x, polar.y)
      if y > lowest, own < outline * 0.6 { return }
      let upward = clamp01((8 - y) / 40)
      var reach = outline * (1 + volume * upward)
      if style == .curls { reach += 5 * valueNoise(x * 0.22, y * 0.22, texture) * upward }
      if hasLongHair { reach += 3 }
      let outer = plane.coverage(own - reach, softness: 1.6)
      guard outer > 0 else { return }
      let place = (x - drift * 0.75) / width
      let square = place * place
      var line: Float
      switch style {
      case .partedLeft, .partedRight:
        let across = style == .partedLeft ? place + 0.42 : 0.42 - place
        line = base + (across > 0 ? 15 * smooth(across / 1.25) : -24 * across) + 10 * square * square
      case .fringe:
        line = fringeLine + 2.5 * (valueNoise(x * 0.45, 0.5, texture ^ 3) - 0.5) + 4 * square
      case .middleLong:
        line = base - 2 + 62 * abs(place) * abs(place).squareRoot()
      case .waves:
        line = base + 44 * square + 5 * (valueNoise(x * 0.2, 4.5, texture) - 0.5)
      case .receding:
        let corner = abs(place) - 0.42
        line = base - 4 - 16 * max(0, 1 - corner * corner * 12) + 30 * square * square
      case .tiedBack:
        line = base - 3 + 20 * square
      case .quiff:
        line = base - 2 + 16 * square * square
      case .curls:
        line = base + 5 * valueNoise(x * 0.3, 2.5, texture) + 24 * square
      default:
        line = base + 26 * square * square + 1.6 * (valueNoise(x * 0.5, 1.5, texture) - 0.5)
      }
      let onTop = plane.coverage(y - line, softness: style == .buzz ? 5 : 1.8)
      // Beside the face: sideburns, or curtains of long hair.
      let rim = hasLongHair ? 0.86 - 0.05 * identity.curl : 0.91 as Float
      let atSide = plane.coverage((rim - own / outline) * 30, softness: 2) * plane.coverage(y - sideburn, softness: 6)
      let covered = max(onTop, style == .receding || style == .buzz ? atSide * 0.8 : atSide) * outer
      guard covered > 0 else { return }
      let wisp = strand(x, y)
      let sheen = max(0, 1 - abs(y + 52 - 18 * square) / 9) * gloss
      let tone = dimmed(hair, 0.62 + 0.62 * wisp + sheen * 1.2)
      pixel = mix(pixel, tone + Light(0.04, 0.04, 0.04, 0) * sheen, covered * alpha)
    }
  }

  // MARK: Light

  private func raiseRelief() {
    let s = appearance.reliefStrength
    let middle = (identity.eyeY + identity.noseY) / 2
    func bump(_ x: Float, _ y: Float, _ rx: Float, _ ry: Float, _ height: Float, raised: Float = 0) {
      canvas.raise(geometry.patch(x, y, raised: raised), radiusX: rx, radiusY: ry, height: height * s)
    }
    let rise = geometry.noseRise
    bump(0, middle, 9, 19, 1.5 * identity.noseHeight, raised: rise * 0.5)
    bump(0, identity.noseY, identity.noseWidth + 1.5, 8, 1.5 * identity.noseHeight, raised: rise * 0.8)
    bump(0, identity.mouthY + 2 + appearance.mouthOpen, identity.mouthWidth, 8, 0.9, raised: 3)
    bump(0, identity.chinY - 7, 12, 8, 1.2)
    for side: Float in [-1, 1] {
      bump(side * 25, 10, 14, 13, 1.3)
      bump(side * identity.eyeX, geometry.browY + 2, 13, 6, 0.8)
      bump(side * identity.eyeX * 0.9, identity.eyeY, identity.eyeWidth + 4, 8, -1.3)
    }
  }

  private func light() {
    let direction = appearance.lightDirection
    let key = appearance.lightColour
    let ambient = appearance.ambientColour
    let wrap = appearance.wrap
    let glossiness = identity.gloss
    let hasShadow = appearance.shadowLight < 1
    let edge = appearance.shadowNormal
    let edgeScale = 1 / appearance.shadowSoftness
    var halfway = direction + SIMD3<Float>(0, 0, 1)
    halfway /= max(1e-3, (halfway * halfway).sum().squareRoot())
    let (columns, rows) = canvas.bounds(plane, x0: -97, x1: 97, y0: -110, y1: FaceRenderer.bodyEnd)
    for row in rows {
      let offsetY = Float(row) - plane.centreY
      let line = canvas.pixels + row * canvas.width
      let relief = canvas.relief + row * canvas.width
      let polar = canvas.polar + row * canvas.width
      for column in columns {
        let lit = line[column].w
        guard lit > 0.001 else { continue }
        let offsetX = Float(column) - plane.centreX
        let x = plane.m00 * offsetX + plane.m01 * offsetY
        let y = plane.m10 * offsetX + plane.m11 * offsetY
        let (own, outline) = (polar[column].x, polar[column].y)
        // Hair and body lie beyond the outline; they keep the normal of the rim.
        let share = min(own / outline * 0.88, 0.96) / max(own, 1e-4)
        var nx = x * share + relief[column].x
        var ny = y * share + relief[column].y
        relief[column] = .zero
        var nz = max(0.04, 1 - (x * x + y * y) * share * share).squareRoot()
        let length = 1 / (nx * nx + ny * ny + nz * nz).squareRoot()
        nx *= length
        ny *= length
        nz *= length
        let facing = nx * direction.x + ny * direction.y + nz * direction.z
        let diffuse = max(0, facing * (1 - wrap) + wrap)
        let mirror = max(0, nx * halfway.x + ny * halfway.y + nz * halfway.z)
        let m2 = mirror * mirror
        let m4 = m2 * m2
        let m16 = m4 * m4 * m4 * m4
        var shade = ambient + key * diffuse
        if hasShadow {
          let behind = smooth((x * edge.x + y * edge.y - appearance.shadowPlace) * edgeScale + 0.5)
          shade *= 1 - (1 - appearance.shadowLight) * behind
        }
        let glint = key * (glossiness * m16 * m4)
        var colour = line[column] * shade + glint
        colour = mix(line[column], colour, lit)
        // The next face of a scene starts from an unlit picture.
        colour.w = 0
        line[column] = colour
      }
    }
  }

  // MARK: Things before the face

  private func paintGlasses() {
    guard let glasses = appearance.glasses else { return }
    let frame = appearance.glassesColour * (appearance.ambientColour + appearance.lightColour * 0.5)
    for side: Float in [-1, 1] {
      let patch = geometry.patch(side * identity.eyeX, identity.eyeY + 1, raised: 5)
      canvas.paint(patch, x0: -17, x1: 17, y0: -13, y1: 13) { x, y, pixel in
        let distance: Float
        switch glasses {
        case .round:
          distance = (x * x + y * y).squareRoot() - 11.5
        case .square, .dark:
          let dx = max(0, abs(x) - 9)
          let dy = max(0, abs(y) - 5)
          distance = (dx * dx + dy * dy).squareRoot() - 3.5
        }
        if glasses == .dark {
          let streak = 0.05 + 0.25 * max(0, 1 - abs(x + y * 0.5 + 3) / 4)
          let lens = shown(0.06, 0.06, 0.08) + Light(streak, streak, streak, 0) * 0.12
          pixel = mix(pixel, lens, patch.coverage(distance) * 0.93)
        }
        pixel = mix(pixel, frame, patch.coverage(abs(distance) - 0.55))
        let arm = max(abs(y + 2) - 0.5, 12 - x * side)
        pixel = mix(pixel, frame, patch.coverage(arm))
        pixel.w = 0
      }
    }
    let bridge = geometry.patch(0, identity.eyeY, raised: 9)
    let half = max(1, identity.eyeX - 11)
    canvas.paint(bridge, x0: -half, x1: half, y0: -4, y1: 4) { x, y, pixel in
      pixel = mix(pixel, frame, bridge.coverage(abs(y + 0.04 * (half * half - x * x)) - 0.5))
      pixel.w = 0
    }
  }

  private func paintOccluder() {
    guard let occluder = appearance.occluder else { return }
    let brightness = appearance.ambientColour + appearance.lightColour * 0.6
    let colour = appearance.occluderColour * brightness
    let texture = appearance.texture
    switch occluder {
    case .hand:
      let tone = dimmed(skin, 0.9) * brightness
      let rim = dimmed(tone, 0.45)
      let side: Float = appearance.occluderX < 0 ? -1 : 1
      for finger in 0..<4 {
        let base = geometry.patch(
          side * (34 - Float(finger) * 1.5), 24 + Float(finger) * 8.5, turn: appearance.occluderAngle * side)
        let reach = 20 - Float(abs(finger - 1)) * 3
        canvas.paint(base, x0: -reach - 6, x1: reach + 30, y0: -7, y1: 7) { x, y, pixel in
          let along = max(0, -(x * side) - reach)
          let distance = (along * along + y * y).squareRoot() - 4.2
          let inside = base.coverage(distance)
          pixel = mix(pixel, mix(tone, rim, smooth((distance + 2.2) / 2.2)), inside)
          pixel.w = 0
        }
      }
    case .scarf:
      let top = identity.mouthY + 4 + 6 * appearance.occluderX
      canvas.paint(plane, x0: -70, x1: 70, y0: top - 6, y1: 100) { x, y, pixel in
        let edge = top + 3 * (valueNoise(x * 0.08, 1.5, texture) - 0.5) + 0.004 * x * x - y
        let fold = 0.7 + 0.5 * valueNoise(x * 0.04, (y + x * 0.3) * 0.2, texture)
        pixel = mix(pixel, dimmed(colour, fold), plane.coverage(edge, softness: 1.2))
        pixel.w = 0
      }
    case .mask:
      let patch = geometry.patch(0, identity.mouthY, raised: 6)
      canvas.paint(patch, x0: -44, x1: 44, y0: -21, y1: 32) { x, y, pixel in
        let dx = max(0, abs(x) - 24)
        let dy = max(0, abs(y - 3) - 12)
        let distance = (dx * dx + dy * dy).squareRoot() - 8
        let pleat = y * 0.16
        let shade = 0.78 + 0.22 * abs(pleat - Float(wholeBelow(pleat)) - 0.5) * 2
        pixel = mix(pixel, dimmed(colour, shade), patch.coverage(distance))
        pixel.w = 0
      }
    case .object:
      let patch = geometry.patch(
        appearance.occluderX * 34, 30 - abs(appearance.occluderX) * 12, turn: appearance.occluderAngle)
      canvas.paint(patch, x0: -13, x1: 13, y0: -22, y1: 22) { x, y, pixel in
        let dx = max(0, abs(x) - 8)
        let dy = max(0, abs(y) - 17)
        let distance = (dx * dx + dy * dy).squareRoot() - 3
        pixel = mix(pixel, dimmed(colour, abs(y) > 15 ? 0.5 : 1), patch.coverage(distance))
        pixel.w = 0
      }
    }
  }
}
