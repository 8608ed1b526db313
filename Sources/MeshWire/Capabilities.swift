/// The version and the bounds of a node, as its member record tells them to every other node.
public struct Capabilities: Hashable, Sendable {
    /// The latest version of the wire that it speaks; 2 or later, for earlier ones do not tell.
    public var version: UInt16
    /// The lower half of a greeting's features: those that concern more than the link's two ends.
    public var features: UInt32
    /// The largest payload of a message that it takes, in bytes.
    public var payloadMax: UInt32

    @inlinable public init(version: UInt16, features: UInt32, payloadMax: UInt32) {
        self.version = version
        self.features = features
        self.payloadMax = payloadMax
    }

    /// Those of this version, computed for the reason that `FrameFlags` names.
    @inlinable public static var current: Capabilities {
        Capabilities(
            version: Greeting.currentVersion,
            features: UInt32(truncatingIfNeeded: Greeting.currentFeatures),
            payloadMax: UInt32(truncatingIfNeeded: Frame.payloadMax))
    }

    /// The feature of a node that sends its clients elsewhere, and then leaves.
    public static var draining: UInt32 { 1 << 31 }

    public var isDraining: Bool { features & Self.draining != 0 }

    /// The node may say what this version does not know.
    public var areLater: Bool {
        version > Greeting.currentVersion
            || features & ~(UInt32(truncatingIfNeeded: Greeting.currentFeatures) | Self.draining)
                != 0
    }

    /// Bytes on the wire.
    static let size = 10
}

extension ByteQueue {
    mutating func append(_ capabilities: Capabilities) {
        append(integer: capabilities.version)
        append(integer: capabilities.features)
        append(integer: capabilities.payloadMax)
    }
}

extension ByteReader {
    mutating func capabilities(_ bytes: Span<UInt8>) throws(WireError) -> Capabilities {
        let version = try integer(UInt16.self, bytes)
        guard version >= 2 else { throw .invalidValue(field: "version of a member") }
        return Capabilities(
            version: version, features: try integer(UInt32.self, bytes),
            payloadMax: try integer(UInt32.self, bytes))
    }
}
