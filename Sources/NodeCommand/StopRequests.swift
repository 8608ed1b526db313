import Synchronization

/// How often a program was asked to end, where one wish may come as several signals.
///
/// `timeout` signals its child and then the child's group, microseconds apart. A wrapper forwards
/// what a terminal has sent to the whole group already. So whatever follows the first request within
/// `pause` is the same wish, and a second one counts from then on.
///
/// Atomic, because a signal's handler may do little else.
struct StopRequests: ~Copyable {
    /// Guess, not yet measured: longer than a wrapper takes to forward a signal on a busy machine,
    /// shorter than the patience of a person who presses Ctrl-C again.
    static let pause = Duration.seconds(1)

    /// When the first one came, in nanoseconds of the monotonic clock; 0: none has.
    private let first = Atomic<Int64>(0)
    private let counted = Atomic<Int>(0)

    /// How many requests count.
    var count: Int { counted.load(ordering: .relaxed) }

    /// Takes a request at this time of the monotonic clock, which is not 0. False: it repeats the
    /// first one and does not count.
    @discardableResult
    func note(atNanoseconds now: Int64) -> Bool {
        let (isFirst, before) = first.compareExchange(
            expected: 0, desired: now, ordering: .relaxed)
        guard isFirst || .nanoseconds(now - before) >= Self.pause else { return false }
        counted.add(1, ordering: .relaxed)
        return true
    }
}
