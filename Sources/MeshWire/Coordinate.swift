/// Where a node lies in a space of round trips: the distance of two coordinates estimates the time
/// of a message to the other node and back (Vivaldi; Dabek, Cox, Kaashoek, Morris 2004).
///
/// Nine bytes on the wire: three axes and the height in tenths of a millisecond, the error in
/// hundredths.
public struct Coordinate: Hashable, Sendable {
    public var x: Int16
    public var y: Int16
    public var z: Int16
    /// The way from the node to the core of the network, which every round trip takes.
    public var height: UInt16
    /// How far estimates are off, in hundredths of the round trip: 1 … 100.
    public var error: UInt8

    public init(x: Int16, y: Int16, z: Int16, height: UInt16, error: UInt8) {
        self.x = x
        self.y = y
        self.z = z
        self.height = height
        self.error = error
    }

    /// Where everybody begins, knowing nothing.
    public static var origin: Coordinate { Coordinate(x: 0, y: 0, z: 0, height: 1, error: 100) }
}

/// A node and where it lies.
public struct MemberCoordinate: Hashable, Sendable {
    public var id: NodeID
    public var coordinate: Coordinate

    public init(id: NodeID, coordinate: Coordinate) {
        self.id = id
        self.coordinate = coordinate
    }

    public static let countMax = 4_096
}
