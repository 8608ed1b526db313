import CLinux
import Glibc
import MeshServer
import MeshWire
import Synchronization

/// The settings that can change while a node runs; nil: one stays as it is.
public struct Reconfiguration: Sendable {
    public var logLevel: LogLevel?
    /// Addresses of seeds, in place of those before.
    public var seeds: [Endpoint]?
    /// Changes bounds of the clients.
    public var change: @Sendable (inout GatewayConfiguration) -> Void

    public init(
        logLevel: LogLevel?, seeds: [Endpoint]?,
        change: @escaping @Sendable (inout GatewayConfiguration) -> Void
    ) {
        self.logLevel = logLevel
        self.seeds = seeds
        self.change = change
    }
}

/// The way into a reactor from other threads: the only state that two threads share.
public final class Inbox: Sendable {
    enum Request: Sendable {
        /// Leave the mesh, flush, end.
        case leave
        /// End now.
        case stop
        /// The addresses that the seeds have now; nil: they are not to be used.
        case found([Endpoint]?)
        /// The members' addresses are written down.
        case remembered
        /// Settings have been read again.
        case reconfigure(Reconfiguration)
    }

    private let requests = Mutex<[Request]>([])
    /// Readable while requests wait.
    let event: Int32

    /// - Throws: `SystemError` when there are no descriptors left.
    public init() throws(SystemError) {
        event = try SystemError.check(linux_event_create(), "create an event descriptor")
    }

    deinit {
        close(event)
    }

    /// Asks the node to say goodbye to the others, to send what waits, and to end; bounded in time
    /// by `ServerOptions.leaveTime`.
    public func leave() { post(.leave) }

    /// Asks the reactor to end now: what waits is lost.
    public func stop() { post(.stop) }

    /// Settings that hold from now on.
    public func reconfigure(_ settings: Reconfiguration) { post(.reconfigure(settings)) }

    func found(_ seeds: [Endpoint]?) { post(.found(seeds)) }

    func hasRemembered() { post(.remembered) }

    private func post(_ request: Request) {
        let wasEmpty = requests.withLock { waiting in
            waiting.append(request)
            return waiting.count == 1
        }
        if wasEmpty { linux_event_signal(event) }
    }

    /// Everything that has been asked since the last call.
    func take() -> [Request] {
        linux_event_clear(event)
        return requests.withLock { waiting in
            let all = waiting
            waiting = []
            return all
        }
    }
}
