import Formats
import Jobs
import Torch
import Training

/// Batches of mined triplets (`FaceImageIter` of the reference's triplet_image_iter.py): [anchors | positives | negatives],
/// a third of the batch each.
///
/// An epoch is what one mining gives: bags of faces are embedded with the network as it is, in evaluation mode and
/// without augmentation, until their triplets fill two batches. A round goes once through all identities in a drawn
/// order, some images each; its faces are cut into bags. Every draw is a function of (seed, round or bag, position).
///
/// A saved state holds the mined sequence, since the weights of the moment of mining are gone; between two epochs it
/// need not, and mining gives the same again.
final class TripletFeed: BatchFeed {
  /// Settings of the configuration.
  struct Settings {
    var batchSize: Int
    var bagSize: Int
    var imagesPerIdentity: Int
    var miner: TripletMiner
    var decodeThreads: Int
    var isStrict: Bool
  }

  /// Where mining stands.
  private struct Progress {
    var round = 0
    var cursor = 0
    var bags = 0
  }

  private let source: FaceRecordSource
  private let plain: FaceRecordSource
  private let identities: [Range<Int>]
  private let settings: Settings
  private let embed: (LoadedBatch) throws -> Tensor
  private let log: (String) -> Void
  private var progress = Progress()
  private var sequence: [UInt32] = []
  private var loader: BatchLoader?
  private var start: BatchPosition
  private var earlier = (waited: 0.0, bad: 0)
  private var recentBad: [BadSample] = []
  private var times = [0.0, 0.0, 0.0]

  /// A feed that goes on at `start`.
  ///
  /// - Parameters:
  ///   - plain: the same samples without augmentation.
  ///   - state: what an earlier feed noted, and the file that holds it.
  ///   - embed: embeddings [N, D] of a batch in evaluation mode, outside of any recorded computation.
  init(
    _ source: FaceRecordSource, plain: FaceRecordSource, settings: Settings, start: BatchPosition,
    state: (reader: TrainingState.Reader, path: String)?, embed: @escaping (LoadedBatch) throws -> Tensor,
    log: @escaping (String) -> Void
  ) throws {
    guard let identities = try source.identities()?.filter({ !$0.isEmpty }) else {
      throw FormatError(
        .unsupported, "triplets need to know whose faces lie together, and the file has no identity records",
        path: source.file.path, advice: "write the data set anew: insightface dataset unpack, then dataset pack")
    }
    guard identities.count >= 2, identities.contains(where: { $0.count >= 2 }) else {
      throw FormatError(
        .mismatch, "triplets need two identities, one with two images; the file has \(identities.count)",
        path: source.file.path)
    }
    self.source = source
    self.plain = plain
    self.identities = identities
    self.settings = settings
    self.start = start
    self.embed = embed
    self.log = log
    if let state {
      progress.round = try state.reader.integer("triplet_round")
      progress.cursor = try state.reader.integer("triplet_cursor")
      progress.bags = try state.reader.integer("triplet_bags")
      let possible = 0..<1 << 48
      guard possible.contains(progress.round), possible.contains(progress.cursor), possible.contains(progress.bags)
      else {
        throw FormatError(
          .corrupt, "the state's notes of the triplets, \(progress), cannot be", path: state.path)
      }
      if start.batch > 0 { try restore(try state.reader.tensor("triplet_sequence"), state.path) }
    }
    log("triplet_seq \(round(progress.round).count)")
  }

  private func restore(_ saved: Tensor, _ path: String) throws {
    let numbers = saved.array(of: Int64.self)
    guard numbers.allSatisfy({ (0..<Int64(source.count)).contains($0) }),
      numbers.count / settings.batchSize > start.batch
    else {
      throw FormatError(
        .corrupt, "the state's triplets do not fit \(source.file.path)", path: path,
        advice: "resume with the data of the interrupted run")
    }
    try begin(numbers.map { UInt32($0) })
  }

  // MARK: Mining

  /// Mines where an epoch begins.
  func prepare() throws {
    if let loader, loader.position.epoch == start.epoch { return }
    if let loader {
      start = loader.position
      close(loader)
      self.loader = nil
    }
    var progress = progress
    guard let mined = try mine(&progress) else { return }
    self.progress = progress
    log("seq len \(mined.count)")
    try begin(mined)
  }

  private func begin(_ sequence: [UInt32]) throws {
    self.sequence = sequence
    loader = try BatchLoader(
      source,
      .init(
        batchSize: settings.batchSize, seed: settings.miner.seed, threads: settings.decodeThreads,
        isStrict: settings.isStrict), start: start, sequence: sequence)
  }

  /// The samples of the next batches; nil when a signal came.
  private func mine(_ progress: inout Progress) throws -> [UInt32]? {
    var mined: [UInt32] = []
    var barren = 0
    while mined.count < 2 * settings.batchSize {
      var begin = seconds()
      var faces = round(progress.round)
      let size = min(settings.bagSize, faces.count)
      log("eval \(size) images.. \(progress.cursor)")
      if progress.cursor + size > faces.count {
        progress.round += 1
        progress.cursor = 0
        faces = round(progress.round)
        log("triplet_seq \(faces.count)")
      }
      let bag = Array(faces[progress.cursor..<min(faces.count, progress.cursor + size)])
      times[0] += seconds() - begin
      begin = seconds()
      guard let (embeddings, excluded) = try embeddings(bag.map(\.sample)) else { return nil }
      times[1] += seconds() - begin
      begin = seconds()
      let triplets = settings.miner.triplets(
        embeddings, identities: bag.map(\.identity), excluded: excluded, bag: progress.bags)
      log("found triplets \(triplets.count)")
      progress.cursor += size
      progress.bags += 1
      let third = settings.batchSize / 3
      let full = triplets.count / third
      for batch in 0..<full {
        let part = triplets[batch * third..<(batch + 1) * third]
        mined += part.map { bag[$0.anchor].sample } + part.map { bag[$0.positive].sample }
        mined += part.map { bag[$0.negative].sample }
      }
      times[2] += seconds() - begin
      log("triplet time stat [\(times.map { fixed($0, 3) }.joined(separator: ", "))]")
      barren = full > 0 ? 0 : barren + 1
      guard barren < 10 else {
        throw LoaderError(
          "ten bags of \(size) images, one after the other, gave no batch of \(third) semi-hard triplets: raise "
            + "triplet_alpha or triplet_bag_size, lower --per-batch-size, or end the training here")
      }
    }
    return mined
  }

  /// The faces of a round in their order: `triplet_reset` of the reference.
  private func round(_ number: Int) -> [(sample: UInt32, identity: Int)] {
    var random = CounterRandom(settings.miner.seed, 0x726F_756E_64, UInt64(number))
    var faces: [(sample: UInt32, identity: Int)] = []
    for identity in random.shuffled(identities.indices) {
      var draw = CounterRandom(settings.miner.seed, 0x696D_6167_6573, UInt64(number), UInt64(identity))
      let images = draw.shuffled(identities[identity]).prefix(settings.imagesPerIdentity)
      faces += images.map { (UInt32($0), identity) }
    }
    return faces
  }

  /// Embeddings of the samples of a bag [B, D], and the rows that could not be read; nil when a signal came.
  private func embeddings(_ samples: [UInt32]) throws -> (Tensor, Set<Int>)? {
    let size = min(settings.batchSize, samples.count)
    let padding = (size - samples.count % size) % size
    let loader = try BatchLoader(
      plain,
      .init(
        batchSize: size, seed: settings.miner.seed, threads: settings.decodeThreads, isStrict: settings.isStrict),
      sequence: samples + Array(repeating: samples[samples.count - 1], count: padding))
    defer { loader.stop() }
    var parts: [Tensor] = []
    var bad: Set<Int> = []
    for _ in 0..<loader.batchesPerEpoch {
      if StopSignal.pending != nil { return nil }
      let batch = try loader.next()
      parts.append(try embed(batch))
      loader.recycle(batch)
      for sample in loader.takeBadSamples().recent {
        bad.insert(sample.index)
        recentBad.append(sample)
        earlier.bad += 1
      }
    }
    // A sample that could not be read has been replaced by another one, whose face proves nothing here.
    let excluded = Set(samples.indices.filter { bad.contains(Int(samples[$0])) })
    return (Tensor.concatenated(parts)[0..<samples.count], excluded)
  }

  // MARK: Batches

  var position: BatchPosition { loader?.position ?? start }
  var batchesPerEpoch: Int { sequence.count / settings.batchSize }
  var secondsWaited: Double { earlier.waited + (loader?.secondsWaited ?? 0) }

  func next() throws -> LoadedBatch {
    if loader?.position.epoch != start.epoch { try prepare() }
    guard let loader else { throw LoaderError("the mining of triplets was interrupted") }
    return try loader.next()
  }

  func recycle(_ batch: LoadedBatch) { loader?.recycle(batch) }

  func takeBadSamples() -> (recent: [BadSample], total: Int) {
    let (recent, total) = loader?.takeBadSamples() ?? ([], 0)
    defer { recentBad = [] }
    return (recentBad + recent, earlier.bad + total)
  }

  func stop() { loader?.stop() }

  private func close(_ loader: BatchLoader) {
    loader.stop()
    let (recent, total) = loader.takeBadSamples()
    recentBad += recent
    earlier.bad += total
    earlier.waited += loader.secondsWaited
  }

  var stateTensors: [NamedTensor] {
    sequence.isEmpty ? [] : [NamedTensor("triplet_sequence", Tensor(sequence.map { Int64($0) }))]
  }

  func note(in notes: inout [String: String]) {
    notes["triplet_round"] = "\(progress.round)"
    notes["triplet_cursor"] = "\(progress.cursor)"
    notes["triplet_bags"] = "\(progress.bags)"
  }
}
