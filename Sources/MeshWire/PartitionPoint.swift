/// The first index of `0 ..< count` that lies not before what is sought, and `count` if all do:
/// bisection, O(log count).
///
/// - Parameter isBefore: true for all indices up to some point, and false from there on.
@inlinable @inline(__always)
public func partitionPoint(_ count: Int, _ isBefore: (Int) -> Bool) -> Int {
    partitionPoint(0, count, isBefore)
}

/// The same within `low ..< high`, for who knows that it lies there or at `high`.
@inlinable @inline(__always)
public func partitionPoint(_ low: Int, _ high: Int, _ isBefore: (Int) -> Bool) -> Int {
    var low = low
    var high = high
    while low < high {
        let middle = (low + high) / 2
        if isBefore(middle) { low = middle + 1 } else { high = middle }
    }
    return low
}
