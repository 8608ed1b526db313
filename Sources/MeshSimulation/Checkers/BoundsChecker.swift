import MeshCore

/// Queues and memory stay within bounds.
struct BoundsChecker {
    /// The bytes that the reactor lets wait for one link: 64 MiB of messages and 128 MiB of control
    /// (`Limits.linkMessageBytes`, `linkControlBytes`).
    static let inFlightBytesMax = 192 << 20
    /// The directory's bytes for each entry, and for a table that has just shrunk: twice what
    /// `DirectoryTable` was measured at, and room for the smallest tables.
    static let directoryBytesPerEntry = 26
    static let directoryBytesLeast = 64 << 10
    /// Messages of peers that broke the protocol: nodes that speak it never do.
    func check(_ world: borrowing World, _ host: Int, at now: Instant) -> Violation? {
        let sizes = world.sizes(host)
        let bound = Self.directoryBytesLeast + sizes.entries * Self.directoryBytesPerEntry
        if sizes.directoryBytes > bound {
            return Violation(
                checker: .bounds, time: now, host: host,
                text: "\(sizes.directoryBytes) bytes of directory for \(sizes.entries) entries")
        }
        let errors = world.counters(host)[.protocolErrors]
        if errors > 0 {
            return Violation(
                checker: .bounds, time: now, host: host,
                text: "\(errors) messages that break the protocol")
        }
        return nil
    }

    func check(inFlightMax: Int, at now: Instant) -> Violation? {
        guard inFlightMax > Self.inFlightBytesMax else { return nil }
        return Violation(
            checker: .bounds, time: now, host: nil, text: "\(inFlightMax) bytes waited for one link"
        )
    }
}
