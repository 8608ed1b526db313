/// Bytes that no node of this protocol sends. A peer that sent them loses the connection.
public enum WireError: Error, Equatable, Sendable {
    case frameTooShort(Int)
    case frameTooLong(Int)
    /// A frame of a peer that has not been greeted yet, longer than `Frame.greetingLengthMax`.
    case greetingTooLong(Int)
    case unknownFrameKind(UInt8)
    case unknownMessage(UInt8)
    /// A list or name reaches past the end of its frame.
    case lengthsDisagree
    /// A count above its bound.
    case tooMany(Int)
    /// A field has a value outside its range.
    case invalidValue(field: StaticString)
    /// Bytes are left over after the message.
    case trailingBytes(Int)
    case notUTF8
    /// A greeting that has no version in common with this node.
    case otherVersion(min: UInt16, max: UInt16)

    public static func == (left: WireError, right: WireError) -> Bool {
        left.description == right.description
    }
}

extension WireError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .frameTooShort(let length): "a frame of \(length) bytes is too short"
        case .frameTooLong(let length):
            "a frame of \(length) bytes is longer than \(Frame.lengthMax)"
        case .greetingTooLong(let length):
            "a frame of \(length) bytes before any greeting, which has at most "
                + "\(Frame.greetingLengthMax)"
        case .unknownFrameKind(let kind): "unknown frame kind \(kind)"
        case .unknownMessage(let kind): "unknown message \(kind)"
        case .lengthsDisagree: "a length reaches past the frame's end"
        case .tooMany(let count): "a list of \(count) is longer than allowed"
        case .invalidValue(let field): "invalid \(field)"
        case .trailingBytes(let count): "\(count) bytes after the message"
        case .notUTF8: "text that is not UTF-8"
        case .otherVersion(let min, let max):
            "it speaks \(min == max ? "version \(min)" : "versions \(min) to \(max)") of the wire, "
                + "this node versions \(Greeting.earliestVersion) to \(Greeting.currentVersion)"
        }
    }
}
