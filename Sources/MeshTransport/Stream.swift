import CLinux
import Glibc
import MeshWire

/// The bytes of a connection, in order and both ways: a socket, for now without encryption.
///
/// All that is done with a connection's socket is done here, so that a stream that seals its bytes
/// differs in this file alone: it stands only after a handshake (`goOn`), it may want to be written
/// to in order to read (`wants`), and it counts bytes as its user does, not as the kernel does
/// (`unacknowledgedBound`). A stream is a name of its socket: copies are the same one.
struct Stream {
    /// The carrier of the bytes.
    enum Medium {
        case network
        case unixSocket
    }

    /// The event that a stream waits for.
    struct Interest: Equatable {
        var reads: Bool
        var writes: Bool

        static let input = Interest(reads: true, writes: false)
        static let output = Interest(reads: false, writes: true)
    }

    /// The progress of a stream that was dialled.
    enum Opening: Equatable {
        case stands
        case waits(Interest)
        case failed(Failure)
    }

    /// Why a stream that was dialled will never stand.
    enum Failure: Error {
        /// The machine answers, but nobody listens on the port.
        case refused
        case unreachable

        /// - Parameter code: a negated errno value.
        init(_ code: Int32) { self = code == -ECONNREFUSED ? .refused : .unreachable }
    }

    /// The outcome of a read.
    enum Received: Equatable {
        /// At least one.
        case bytes(Int)
        /// The poller says when to go on.
        case nothing
        /// The peer has ended its side.
        case end
        /// The stream is broken for good.
        case failed

        /// - Parameter result: of the kernel: a number of bytes, or a negated errno value.
        @inline(__always)
        init(_ result: Int) {
            switch result {
            case 1...: self = .bytes(result)
            case 0: self = .end
            case -Int(EAGAIN), -Int(EINTR), -Int(ENOMEM), -Int(ENOBUFS): self = .nothing
            default: self = .failed
            }
        }

        var count: Int {
            @inline(__always) get {
                if case .bytes(let count) = self { count } else { 0 }
            }
        }
    }

    /// The outcome of a write.
    enum Sent: Equatable {
        /// So many bytes; of fewer than were offered the poller says when to go on.
        case taken(Int)
        /// The kernel has no memory for it now. The poller does not say when to go on then.
        case starved
        /// For good.
        case failed

        /// - Parameter result: of the kernel: a number of bytes, or a negated errno value.
        @inline(__always)
        init(_ result: Int) {
            switch result {
            case 0...: self = .taken(result)
            case -Int(EAGAIN), -Int(EINTR): self = .taken(0)
            case -Int(ENOBUFS), -Int(ENOMEM): self = .starved
            default: self = .failed
            }
        }

        var count: Int {
            @inline(__always) get {
                if case .taken(let count) = self { count } else { 0 }
            }
        }
    }

    let descriptor: Int32
    let medium: Medium

    /// A free place's.
    static let none = Stream(descriptor: -1, medium: .network)

    // MARK: Beginning and end

    /// A stream that does not stand yet; `wants` tells what it waits for first.
    ///
    /// - Parameter segmentBytes: both sides send at most so many bytes in a packet; 0: as many as the
    ///   way takes by their account.
    static func dial(_ endpoint: Endpoint, segmentBytes: Int32) throws(Failure) -> Stream {
        let descriptor = linux_connect(endpoint.forKernel, segmentBytes)
        guard descriptor >= 0 else { throw Failure(descriptor) }
        return Stream(descriptor: descriptor, medium: .network)
    }

    /// The next step of a stream that was dialled, when its socket is ready for what it waits for.
    func goOn() -> Opening {
        let result = linux_connect_result(descriptor)
        return result == 0 ? .stands : .failed(Failure(result))
    }

    /// The event that a stream that was dialled waits for first.
    static var wants: Interest { .output }

    /// Says that nothing more comes from this side.
    func finish() { shutdown(descriptor, Int32(SHUT_WR)) }

    /// Closing removes the socket from epoll too: no other process shares it.
    func close() { Glibc.close(descriptor) }

    /// Whether nothing can be read any more, after the peer has ended the stream in both directions.
    /// Bytes that a process has written into a Unix socket can be read after its end.
    func isOver(_ readiness: Readiness) -> Bool {
        readiness.hasFailed || readiness.hasHungUp && medium == .network
    }

    // MARK: Bytes

    /// Reads what is there, as much as fits.
    @inline(__always)
    func read(into bytes: UnsafeMutableRawPointer, _ size: Int) -> Received {
        Received(unsafe linux_receive(descriptor, bytes, size))
    }

    /// Writes as much as is taken now.
    @inline(__always)
    func write(_ bytes: UnsafeRawBufferPointer) -> Sent {
        Sent(unsafe linux_send(descriptor, bytes.baseAddress, bytes.count))
    }

    /// Three pieces at once, each of which may be empty.
    @inline(__always)
    func write(
        _ first: UnsafeRawBufferPointer, _ second: UnsafeRawBufferPointer,
        _ third: UnsafeRawBufferPointer
    ) -> Sent {
        Sent(
            unsafe linux_send_pieces(
                descriptor, first.baseAddress, first.count, second.baseAddress, second.count,
                third.baseAddress, third.count))
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

    /// Where it has come in, or goes out.
    var localEndpoint: Endpoint { Endpoint(linux_local_endpoint(descriptor)) }

    /// Of the bytes that `write` has taken, so many have not left this machine.
    var unsentBound: Int { Int(max(0, linux_unsent(descriptor))) }

    /// The error that has befallen the stream since it was asked or used.
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
