import MeshGateway

/// The gateway of a server, in memory of its own.
///
/// A handle of one word: as a stored property the gateway would be copied whole, all its bytes, by
/// each function that only reads of it (Swift 6.3; three times a message), and a simulated node would
/// keep it between what every event touches.
@safe struct Edge {
    private let place: UnsafeMutablePointer<Gateway>

    init(_ gateway: consuming Gateway) {
        unsafe place = .allocate(capacity: 1)
        unsafe place.initialize(to: gateway)
    }

    /// Ends the gateway's life; the handle may not be used afterwards.
    func free() {
        unsafe place.deinitialize(count: 1)
        unsafe place.deallocate()
    }

    var gateway: Gateway {
        @inline(__always) unsafeAddress { unsafe UnsafePointer(place) }
        @inline(__always) nonmutating unsafeMutableAddress { unsafe place }
    }
}
