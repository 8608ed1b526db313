import CLinux
import Glibc

/// Names a registered descriptor in epoll's answers: a place in the slab, and the generation of the
/// connection that was there, so that an event for a closed and reused place is dropped.
struct Token: Equatable {
    var index: ConnectionIndex
    var generation: UInt32

    static let inbox = Token(other: -1)

    init(index: ConnectionIndex, generation: UInt32) {
        self.index = index
        self.generation = generation
    }

    /// One of `Listeners.all`.
    static func listener(_ number: Int) -> Token { Token(other: -2 - Int32(number)) }

    /// A listener or the inbox: its index is negative, as no connection's is.
    private init(other number: Int32) {
        index = ConnectionIndex(rawValue: number)
        generation = 0
    }

    /// The listener of this token, if it is a listener's.
    var listener: Int? {
        let number = -2 - Int(index.rawValue)
        return number >= 0 ? number : nil
    }

    init(_ word: UInt64) {
        index = ConnectionIndex(rawValue: Int32(bitPattern: UInt32(truncatingIfNeeded: word)))
        generation = UInt32(word >> 32)
    }

    var word: UInt64 { UInt64(generation) << 32 | UInt64(UInt32(bitPattern: index.rawValue)) }
}

/// The events that a descriptor is ready for.
struct Readiness {
    var token: Token
    var isReadable: Bool
    var isWritable: Bool
    /// Reset, or given up by the kernel.
    var hasFailed: Bool
    /// Closed in both directions.
    var hasHungUp: Bool
}

/// An epoll descriptor, level-triggered where anything is waited for, and the array that its answers come in.
@safe struct Poller: ~Copyable {
    /// Answers per wait; the rest come with the next one.
    static let batch = 512
    private let descriptor: Int32
    private let answers: UnsafeMutablePointer<epoll_event>

    init() throws(SystemError) {
        descriptor = try SystemError.check(linux_epoll_create(), "create an epoll descriptor")
        unsafe answers = .allocate(capacity: Poller.batch)
    }

    deinit {
        close(descriptor)
        unsafe answers.deallocate()
    }

    /// The kernel reports always that a peer has hung up. Where nothing is waited for it does so once:
    /// the report would wake the loop for ever.
    private static func events(_ interest: Stream.Interest) -> UInt32 {
        let reads = interest.reads ? UInt32(linux_readable) : 0
        let writes = interest.writes ? UInt32(linux_writable) : 0
        return reads | writes == 0 ? UInt32(linux_once) : reads | writes
    }

    /// False when the kernel has no room for another registration.
    func add(_ socket: Int32, _ interest: Stream.Interest, _ token: Token) -> Bool {
        linux_epoll_add(descriptor, socket, Poller.events(interest), token.word) == 0
    }

    func modify(_ socket: Int32, _ interest: Stream.Interest, _ token: Token) {
        let result = linux_epoll_modify(
            descriptor, socket, Poller.events(interest), token.word)
        precondition(result == 0, "epoll_ctl: \(result)")
    }

    /// Waits for at most `nanoseconds`, for ever when negative; returns how many answers there are.
    func wait(nanoseconds: Int64) throws(SystemError) -> Int {
        let count = unsafe linux_epoll_wait(
            descriptor, answers, Int32(Poller.batch), nanoseconds)
        if count == -EINTR { return 0 }
        return Int(try SystemError.check(count, "wait for events"))
    }

    @inline(__always)
    subscript(index: Int) -> Readiness {
        precondition(index >= 0 && index < Poller.batch)
        let event = unsafe answers[index]
        let bits = unsafe event.events
        return unsafe Readiness(
            token: Token(event.data.u64),
            isReadable: bits & EPOLLIN.rawValue != 0,
            isWritable: bits & EPOLLOUT.rawValue != 0,
            hasFailed: bits & EPOLLERR.rawValue != 0,
            hasHungUp: bits & EPOLLHUP.rawValue != 0)
    }
}
