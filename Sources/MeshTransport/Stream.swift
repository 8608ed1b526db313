import CLinux
import Glibc

/// The bytes of a connection, in order and both ways: a socket, for now without encryption.
///
/// All that is done with a connection's socket is done here, so that a stream that seals its bytes
/// differs in this file alone: it stands only after a handshake (`goOn`), it may want to be written
/// to in order to read (`wants`), and it counts bytes as its user does, not as the kernel does
/// (`unacknowledgedBound`). A stream is a name of its socket: copies are the same one.
struct Stream {
    /// What carries the bytes.
    enum Medium {
        case network
        case unixSocket
    }

    /// What a stream waits for.
    struct Interest: Equatable {
        var reads: Bool
        var writes: Bool

        static let input = Interest(reads: true, writes: false)
        static let output = Interest(reads: false, writes: true)
    }

    /// How far a stream is that does not stand yet.
    enum Opening: Equatable {
        case stands
        case waits(Interest)
        /// A negated errno value.
        case failed(Int32)
    }

    let descriptor: Int32
    let medium: Medium

    /// A free place's.
    static let none = Stream(descriptor: -1, medium: .network)

    // MARK: Beginning and end

    /// The next step of a stream that was dialled, when its socket is ready for what it waits for.
    func goOn() -> Opening {
        let result = linux_connect_result(descriptor)
        return result == 0 ? .stands : .failed(result)
    }

    /// What a stream that was dialled waits for first.
    static var wants: Interest { .output }

    /// Says that nothing more comes from this side.
    func finish() { shutdown(descriptor, Int32(SHUT_WR)) }

    /// Closing removes the socket from epoll too: no other process shares it.
    func close() { Glibc.close(descriptor) }

    /// Whether nothing can be read any more, after the peer has ended the stream in both directions.
    /// What a process has written into a Unix socket can be read after its end.
    func isOver(_ readiness: Readiness) -> Bool {
        readiness.hasFailed || readiness.hasHungUp && medium == .network
    }

    // MARK: Bytes

    /// Reads what is there, as much as fits; a number of bytes, 0 at the end, or a negated errno value.
    @inline(__always)
    func read(into bytes: UnsafeMutableRawPointer, _ size: Int) -> Int {
        unsafe linux_receive(descriptor, bytes, size)
    }

    /// Writes what is taken now; a number of bytes, or a negated errno value.
    @inline(__always)
    func write(_ bytes: UnsafeRawBufferPointer) -> Int {
        unsafe linux_send(descriptor, bytes.baseAddress, bytes.count)
    }

    /// Three pieces at once, each of which may be empty.
    @inline(__always)
    func write(
        _ first: UnsafeRawBufferPointer, _ second: UnsafeRawBufferPointer,
        _ third: UnsafeRawBufferPointer
    ) -> Int {
        unsafe linux_send_pieces(
            descriptor, first.baseAddress, first.count, second.baseAddress, second.count,
            third.baseAddress, third.count)
    }

    // MARK: What the kernel knows

    /// Of the bytes that `write` has taken, at most so many last ones are not known to have come to the
    /// peer's machine; nil: nobody knows.
    ///
    /// - Parameter endCounts: `finish` was called, and the kernel counts the end as a byte until the
    ///   peer acknowledges it.
    func unacknowledgedBound(endCounts: Bool) -> Int? {
        let count = linux_unacknowledged(descriptor)
        guard count >= 0 else { return nil }
        // Of a Unix socket the kernel counts the memory of what was not read, which is more.
        return max(0, Int(count) - (endCounts && medium == .network ? 1 : 0))
    }

    /// Of the bytes that `write` has taken, so many have not left this machine.
    var unsentBound: Int { Int(max(0, linux_unsent(descriptor))) }

    /// What has befallen the stream since it was asked or used.
    func hasFailed() -> Bool { linux_take_error(descriptor) != 0 }

    /// Probes after so many seconds of silence; 0: never. The kernel knows no longer silence than nine
    /// hours.
    func keepAlive(seconds: Int) {
        guard medium == .network else { return }
        linux_keep_alive(descriptor, Int32(min(seconds, 32_767)))
    }

    /// Takes no more than so many bytes beyond those that are on their way.
    func boundUnsent(bytes: Int32) { linux_bound_unsent(descriptor, bytes) }
}
