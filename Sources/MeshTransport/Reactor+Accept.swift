import CLinux
import Glibc
import MeshCore
import MeshServer

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
        for _ in 0..<limits.acceptsPerTurn where listener.isOpen {
            let accepted = linux_accept(listener.descriptor)
            switch accepted.descriptor {
            case 0...: take(accepted, from: listener)
            case -EMFILE, -ENFILE:
                noteDescriptorsUsedUp()
                if spareDescriptor < 0 { spareDescriptor = linux_open_spare() }
                guard spareDescriptor >= 0 else {
                    restListeners()
                    return
                }
                close(spareDescriptor)
                let extra = linux_accept(listener.descriptor)
                if extra.descriptor >= 0 { close(extra.descriptor) }
                spareDescriptor = linux_open_spare()
                if extra.descriptor == -EAGAIN { return }
                if extra.descriptor < 0 {
                    // Another process has taken what was given back.
                    restListeners()
                    return
                }
            case -ECONNABORTED, -EINTR, -EPROTO: continue
            case -EAGAIN: return
            default:
                restListeners()
                return
            }
        }
    }

    private mutating func take(_ accepted: linux_accepted, from listener: Listener) {
        switch listener.purpose {
        case .link: takeLink(accepted, from: listener)
        case .client:
            guard accepted.descriptor < clientDescriptorMax else {
                noteDescriptorsUsedUp()
                refuse(accepted.descriptor)
                return
            }
            takeClient(accepted, from: listener)
        case .http:
            guard accepted.descriptor < httpDescriptorMax else {
                noteDescriptorsUsedUp()
                close(accepted.descriptor)
                return
            }
            takeHTTP(listener.stream(accepted.descriptor))
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
