import MeshCore

/// How long messages took, in buckets of at most 1/32 of their lower edge; mean and maximum are
/// exact. Log-linear, as in HdrHistogram (Tene 2012).
struct LatencyHistogram {
    private static let stepBits = 5
    private static let steps = 1 << stepBits

    private var counts = [Int](repeating: 0, count: (64 - stepBits) * steps)
    private var count = 0
    private var sum: Int64 = 0
    private var most: Int64 = 0

    mutating func add(_ delay: Delay) {
        let nanoseconds = max(0, delay.nanoseconds)
        counts[Self.bucket(of: nanoseconds)] += 1
        count += 1
        sum += nanoseconds
        most = max(most, nanoseconds)
    }

    /// In milliseconds.
    var distribution: Distribution {
        guard count > 0 else { return Distribution() }
        return Distribution(
            count: count, mean: Double(sum) / 1e6 / Double(count), max: Double(most) / 1e6
        ) { rank in
            let bucket = Distribution.bucket(ofRank: rank, counts)
            return min(Self.middle(of: bucket), Double(most)) / 1e6
        }
    }

    /// Each value has a bucket of its own up to `steps`; from there on each power of two is cut in
    /// `steps` equal parts.
    private static func bucket(of value: Int64) -> Int {
        guard value >= steps else { return Int(value) }
        let shift = 63 - value.leadingZeroBitCount - stepBits
        return shift * steps + Int(value >> Int64(shift))
    }

    private static func middle(of bucket: Int) -> Double {
        guard bucket >= steps else { return Double(bucket) }
        let shift = bucket / steps - 1
        let width = Double(1 << shift)
        return (Double(bucket - shift * steps) + 0.5) * width
    }
}
