import MeshWire

/// The round trip of a link: an exponentially weighted mean, 1/8 a sample (Jacobson 1988), in which
/// none counts for more than twice the least of the latest four.
///
/// A pause of either side makes a sample as long as itself. In the mean it would count for seconds,
/// and move this node and, in turn, all its neighbours away from each other; the least of a few is
/// the way alone (Ledlie, Gardner, Seltzer, NSDI 2007, §4.2: a history of four, its 25th percentile).
struct RoundTrips {
    /// Microseconds, the latest first; the highest number: none yet.
    private var samples = SIMD4<UInt32>(repeating: .max)
    /// Nanoseconds; 0: nothing was measured yet.
    private var mean: Int64 = 0

    mutating func add(_ sample: Delay) {
        let microseconds = UInt32(max(1, min(sample.microseconds, Int64(UInt32.max) - 1)))
        samples = SIMD4(microseconds, samples.x, samples.y, samples.z)
        let most = Int64(samples.min()) * 2_000
        let counted = min(Int64(microseconds) * 1_000, most)
        mean = mean == 0 ? counted : min(mean + (counted - mean) / 8, most)
    }

    /// Nil: nothing was measured yet.
    var smoothed: Delay? { mean == 0 ? nil : Delay(nanoseconds: mean) }
}
