import MeshGateway

/// The gateway of a server, in memory of its own.
///
/// A handle of one word: as a stored property the gateway would be copied whole, all its bytes, by
/// each function that only reads of it (Swift 6.3; three times a message), and a simulated node would
/// keep it between what every event touches.
@safe struct Edge {
    private let pointer: UnsafeMutablePointer<Gateway>

    init(_ gateway: consuming Gateway) {
        unsafe pointer = .allocate(capacity: 1)
        unsafe pointer.initialize(to: gateway)
    }

    /// Ends the gateway's life; the handle may not be used afterwards.
    func free() {
        unsafe pointer.deinitialize(count: 1)
        unsafe pointer.deallocate()
    }

    var gateway: Gateway {
        @inline(__always) unsafeAddress { unsafe UnsafePointer(pointer) }
        @inline(__always) nonmutating unsafeMutableAddress { unsafe pointer }
    }
}
