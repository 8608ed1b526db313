import CLinux
import Glibc
import MeshCore

extension Reactor {
    /// Accepts what waits on a listener, up to a bound, so that a flood of connections does not
    /// starve those that stand.
    ///
    /// When descriptors are used up, the kernel would report the listener as readable for ever. A
    /// spare descriptor is closed instead, the connection is accepted with it and closed: the peer
    /// sees the end at once, and the queue moves on.
    mutating func acceptAll(
        _ listener: Int32, _ take: (inout Reactor, linux_accepted) -> Void
    ) {
        for _ in 0..<limits.acceptsPerTurn {
            let accepted = linux_accept(listener)
            switch accepted.descriptor {
            case 0...: take(&self, accepted)
            case -EMFILE, -ENFILE:
                counters.connectionsRefused &+= 1
                if now >= nextDescriptorComplaint {
                    nextDescriptorComplaint = now + .seconds(1)
                    log.write(.error, "descriptorsUsedUp")
                }
                guard spareDescriptor >= 0 else { return }
                close(spareDescriptor)
                let extra = linux_accept(listener)
                if extra.descriptor >= 0 { close(extra.descriptor) }
                spareDescriptor = linux_open_spare()
            case -ECONNABORTED, -EINTR, -EPROTO: continue
            default: return
            }
        }
    }
}
