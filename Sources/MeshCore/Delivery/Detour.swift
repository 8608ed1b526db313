/// The first link of the way from one node to another, and one that what is sent keeps off for a
/// while, because something did not arrive over it.
///
/// A node that stands still is in doubt after a second and more only. Many a flow whose way leads
/// through it has another.
struct Detour {
    /// A link is kept off for so long: until then it is known whether it, or one behind it, is
    /// silent.
    private static let detourTime = Delay.seconds(2)
    /// Another one is kept off no sooner than after this: what was sent over it may be on its way.
    private static let patience = Delay.milliseconds(100)

    /// The link that was last sent over; none: there was no way.
    var lastHop = LinkIndex.none
    /// Any other way is better than over this link; none: no link is worse than others.
    private(set) var avoided = LinkIndex.none
    private var avoidedAt: Instant

    init(at now: Instant) { avoidedAt = now - Self.patience }

    /// Messages have not arrived, at a node that is linked by `direct` or by none: nobody else can
    /// take what that link does not.
    mutating func avoidLastHop(unless direct: LinkIndex, at now: Instant) {
        guard !lastHop.isNone, lastHop != direct, now - avoidedAt >= Self.patience else { return }
        avoided = lastHop
        avoidedAt = now
    }

    /// To be called now and then.
    @inline(__always)
    mutating func update(at now: Instant) {
        if !avoided.isNone, now - avoidedAt >= Self.detourTime { avoided = .none }
    }
}
