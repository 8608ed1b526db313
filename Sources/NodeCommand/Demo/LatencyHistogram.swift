/// How long messages took, in buckets that are a sixteenth of their value wide: 1 µs … 1 hour in
/// 4 KiB, however many messages there are.
struct LatencyHistogram {
    private static let perOctave = 16
    private static let microsecondsMax: Int64 = 1 << 32

    private var counts = [Int](repeating: 0, count: perOctave * 30)
    private(set) var count = 0

    mutating func add(_ duration: Duration) {
        counts[Self.bucket(duration.inMicroseconds)] += 1
        count += 1
    }

    mutating func removeAll() {
        for place in counts.indices { counts[place] = 0 }
        count = 0
    }

    /// The time in which this share of the messages had arrived, rounded up to its bucket's end; nil
    /// without messages.
    func quantile(_ share: Double) -> Duration? {
        guard count > 0 else { return nil }
        let wanted = max(1, Int((Double(count) * share).rounded(.up)))
        var sum = 0
        for (place, count) in counts.enumerated() {
            sum += count
            if sum >= wanted { return .microseconds(Self.end(of: place)) }
        }
        return nil
    }

    /// Values below `perOctave` have a bucket each; above, the leading bit names the octave and the
    /// four bits after it the bucket.
    private static func bucket(_ microseconds: Int64) -> Int {
        let value = Int(min(max(microseconds, 0), microsecondsMax - 1))
        if value < perOctave { return value }
        let octave = Int.bitWidth - 1 - value.leadingZeroBitCount - 4
        return (octave + 1) * perOctave + (value >> octave) - perOctave
    }

    private static func end(of bucket: Int) -> Int {
        if bucket < perOctave { return bucket }
        let octave = bucket / perOctave - 1
        return ((bucket % perOctave + perOctave + 1) << octave) - 1
    }
}
