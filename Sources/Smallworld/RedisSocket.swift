import Glibc
import MeshTransport

/// A Unix socket where Redis clients of this machine connect. The mode of its file says who may;
/// such clients are the operator unless there is an operator's password.
public struct RedisSocket: Sendable, Equatable {
    /// Where its file is made, from the root on; at most 107 bytes. A file that a killed process has
    /// left there goes, and at the node's end the file goes.
    public var path: String
    /// 0 … 0o777. Users with the right to write may connect.
    public var mode: UInt32
    /// `USER`, `USER:GROUP` or `:GROUP`, by name or number; nil: the process's.
    public var owner: String?

    public init(path: String, mode: UInt32 = 0o660, owner: String? = nil) {
        self.path = path
        self.mode = mode
        self.owner = owner
    }

    /// - Throws: `MeshNodeError.invalidText` for a path, mode or owner that cannot be.
    func resolve() throws(MeshNodeError) -> UnixSocket {
        func refuse(_ reason: String) -> MeshNodeError {
            .invalidText("--redis unix:\(path)", reason: reason)
        }
        guard path.hasPrefix("/"), !path.hasSuffix("/") else {
            throw refuse("is not the path of a file, from the root on: unix:/run/smallworld.sock")
        }
        let count = path.utf8.count
        guard count <= UnixSocket.pathBytesMax else {
            throw refuse(
                "has a path of \(count) bytes: the kernel takes \(UnixSocket.pathBytesMax) at most")
        }
        guard !path.unicodeScalars.contains(where: { $0.value < 0x20 || $0.value == 0x7F }) else {
            throw refuse("contains control characters")
        }
        guard mode <= 0o777 else {
            throw .invalidText(
                "--redis-socket-mode \(String(mode, radix: 8))", reason: "is not within 0 … 777")
        }
        var socket = UnixSocket(path: path, mode: mode)
        guard let owner else { return socket }
        func unknown(_ what: String) -> MeshNodeError {
            .invalidText("--redis-socket-owner \(owner)", reason: what)
        }
        let parts = owner.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        guard parts.count <= 2, owner != "", owner != ":", parts.last != "" else {
            throw unknown("is none of USER, USER:GROUP and :GROUP")
        }
        if parts[0] != "" {
            guard let number = Self.user(parts[0]) else {
                throw unknown("names no user of this machine")
            }
            socket.owner = number
        }
        if parts.count == 2 {
            guard let number = Self.group(parts[1]) else {
                throw unknown("names no group of this machine")
            }
            socket.group = number
        }
        return socket
    }

    /// The bytes of an entry with all members of a group, at most.
    private static let entryBytesMax = 1 << 18

    /// The last number means "as it is" to the kernel.
    private static func number(_ text: String) -> UInt32? {
        UInt32(text).flatMap { $0 == .max ? nil : $0 }
    }

    private static func user(_ name: String) -> UInt32? {
        if let number = number(name) { return number }
        var entry = unsafe passwd()
        var found: UnsafeMutablePointer<passwd>?
        var bytes = [CChar](repeating: 0, count: entryBytesMax)
        let result = unsafe bytes.withUnsafeMutableBufferPointer { buffer in
            unsafe getpwnam_r(name, &entry, buffer.baseAddress!, buffer.count, &found)
        }
        return unsafe result == 0 && found != nil ? entry.pw_uid : nil
    }

    private static func group(_ name: String) -> UInt32? {
        if let number = number(name) { return number }
        var entry = unsafe Glibc.group()
        var found: UnsafeMutablePointer<Glibc.group>?
        var bytes = [CChar](repeating: 0, count: entryBytesMax)
        let result = unsafe bytes.withUnsafeMutableBufferPointer { buffer in
            unsafe getgrnam_r(name, &entry, buffer.baseAddress!, buffer.count, &found)
        }
        return unsafe result == 0 && found != nil ? entry.gr_gid : nil
    }
}
