import CLinux
import Glibc
import MeshCore
import MeshServer
import MeshWire

extension Reactor {
    /// Accepts what waits on a listener, up to a bound, so that a flood of connections does not
    /// starve those that stand.
    ///
    /// Clients get no descriptor of those that are kept for links: they are told so, and closed.
    ///
    /// When descriptors are used up all the same, the kernel would report the listener as readable
    /// for ever. A spare descriptor is closed instead, the connection is accepted with it and
    /// closed: the peer sees the end at once, and the queue moves on. Where that is no way either,
    /// and when the kernel has no memory, the listeners rest for `Limits.starvedTime`.
    mutating func accept(from listener: Listener) {
        let most =
            listener.purpose == .link ? limits.linkAcceptsPerTurn : limits.acceptsPerTurn
        for _ in 0..<most where listener.isOpen {
            switch listener.accept() {
            case .stream(let stream, let peer): take(stream, peer, from: listener)
            case .nobody: return
            case .gone: continue
            case .noDescriptors:
                noteDescriptorsUsedUp()
                if spareDescriptor < 0 { spareDescriptor = linux_open_spare() }
                guard spareDescriptor >= 0 else {
                    restListeners()
                    return
                }
                close(spareDescriptor)
                let extra = listener.accept()
                if case .stream(let stream, _) = extra { stream.close() }
                spareDescriptor = linux_open_spare()
                switch extra {
                case .stream: continue
                case .nobody: return
                case .gone, .noDescriptors, .failed:
                    // Another process has taken what was given back.
                    restListeners()
                    return
                }
            case .failed:
                restListeners()
                return
            }
        }
    }

    private mutating func take(_ stream: Stream, _ peer: Endpoint, from listener: Listener) {
        switch listener.purpose {
        case .link: takeLink(stream, peer)
        case .client:
            guard stream.descriptor < clientDescriptorMax else {
                noteDescriptorsUsedUp()
                refuse(stream)
                return
            }
            takeClient(stream, peer, from: listener)
        case .http:
            guard stream.descriptor < httpDescriptorMax else {
                noteDescriptorsUsedUp()
                stream.close()
                return
            }
            takeHTTP(stream)
        }
    }

    private mutating func noteDescriptorsUsedUp() {
        counters[.connectionsRefused] &+= 1
        counters[.descriptorsUsedUp] &+= 1
        uncomplained += 1
        guard now >= nextDescriptorComplaint else { return }
        nextDescriptorComplaint = now + limits.complaintTime
        log.write(
            .error, "descriptorsUsedUp",
            [
                ("refused", .integer(uncomplained)), ("clients", .integer(server.clientCount)),
                ("advice", .text("raise the limit of open files (ulimit -n, LimitNOFILE)")),
            ])
        uncomplained = 0
    }

    /// Listeners are readable as long as somebody waits: asked again at once, they would keep the
    /// loop busy with failures.
    private mutating func restListeners() {
        counters[.acceptsFailed] &+= 1
        if acceptAgain == nil { watchListeners(false) }
        acceptAgain = now + limits.starvedTime
    }

    mutating func resumeListeners() {
        acceptAgain = nil
        watchListeners(true)
    }

    private func watchListeners(_ reads: Bool) {
        for (number, listener) in listeners.all.enumerated() where listener.isOpen {
            poller.modify(
                listener.descriptor, Stream.Interest(reads: reads, writes: false),
                .listener(number))
        }
    }
}
