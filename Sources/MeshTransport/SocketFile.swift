import CLinux
import Glibc

/// A Unix socket to listen on: the path of its file, and the rights of the file.
public struct UnixSocket: Equatable, Sendable {
    /// The longest path that the kernel takes, in bytes.
    public static let pathBytesMax = Int(linux_path_max)

    /// Begins with a slash; 2 … `pathBytesMax` bytes.
    public var path: String
    /// Everybody who may write to the file may connect.
    public var mode: UInt32
    /// Numbers of a user and a group; nil: those of the process.
    public var owner: UInt32?
    public var group: UInt32?

    public init(path: String, mode: UInt32 = 0o660, owner: UInt32? = nil, group: UInt32? = nil) {
        self.path = path
        self.mode = mode
        self.owner = owner
        self.group = group
    }
}

/// The file of a Unix socket that this process has made. It is known by its number, so that the file
/// of another process that has come to the same path is left alone.
struct SocketFile: Equatable {
    let path: String
    private let device: UInt64
    private let number: UInt64

    /// Makes the file and its socket, which listens.
    ///
    /// A file that is there already goes if it is a socket at which nobody answers: its process has
    /// been killed. Two processes that start at once take turns.
    ///
    /// - Throws: `SystemError`; there is no new file then.
    static func listen(
        _ wish: UnixSocket, flag: String, backlog: Int32
    ) throws(SystemError) -> (descriptor: Int32, file: SocketFile) {
        let turn = DirectoryTurn(of: wish.path)
        defer { turn.end() }
        let action = "listen on unix:\(wish.path) (\(flag))"
        var bound = unsafe linux_bind_path(wish.path, wish.mode)
        if bound == -EADDRINUSE {
            if let reason = occupant(of: wish.path) {
                throw SystemError(action, code: EADDRINUSE, advice: reason)
            }
            unsafe unlink(wish.path)
            bound = unsafe linux_bind_path(wish.path, wish.mode)
        }
        guard bound >= 0 else {
            throw SystemError(action, code: -bound, advice: advice(for: -bound))
        }
        do throws(SystemError) {
            try setRights(wish, flag)
            _ = try SystemError.check(linux_begin_listening(bound, backlog), action)
            guard let file = SocketFile(path: wish.path) else {
                throw SystemError(action, code: ENOENT)
            }
            return (bound, file)
        } catch {
            unsafe unlink(wish.path)
            close(bound)
            throw error
        }
    }

    private init?(path: String) {
        var facts = stat()
        guard unsafe lstat(path, &facts) == 0 else { return nil }
        self.path = path
        device = UInt64(facts.st_dev)
        number = UInt64(facts.st_ino)
    }

    /// Takes the file away, unless another one is there by now.
    func remove() {
        if SocketFile(path: path) == self { unsafe unlink(path) }
    }

    /// Why the file at a path cannot go; nil: it can.
    private static func occupant(of path: String) -> String? {
        var facts = stat()
        guard unsafe lstat(path, &facts) == 0 else { return nil }
        guard facts.st_mode & S_IFMT == S_IFSOCK else {
            return "there is a file that is no socket: take it away, or choose another path"
        }
        switch unsafe linux_try_path(path) {
        case -ECONNREFUSED, -ENOENT: return nil
        case 0: return "another process answers there: stop it, or choose another path"
        case let result:
            return "whether another process is there cannot be seen: "
                + (unsafe String(cString: strerror(-result)))
        }
    }

    /// The process may mask rights that the file is to have, and it makes files as its own.
    private static func setRights(_ wish: UnixSocket, _ flag: String) throws(SystemError) {
        if wish.owner != nil || wish.group != nil {
            let result = unsafe lchown(
                wish.path, wish.owner ?? .max, wish.group ?? .max)
            guard result == 0 else {
                throw SystemError(
                    "change the owner of unix:\(wish.path) (\(flag)-socket-owner)", code: errno,
                    advice: errno == EPERM
                        ? "only root gives files to other users; :GROUP gives it to a group that "
                            + "this user is in" : "")
            }
        }
        guard unsafe chmod(wish.path, wish.mode) == 0 else {
            throw SystemError(
                "set the mode of unix:\(wish.path) (\(flag)-socket-mode)", code: errno)
        }
    }

    private static func advice(for code: Int32) -> String {
        switch code {
        case ENOENT: "make its directory first"
        case EACCES: "this user may not make files in that directory"
        default: ""
        }
    }
}

/// A lock on the directory of a socket's file: between looking whether anybody answers there and
/// listening there oneself no other node does the same. Where it cannot be had within a second, as in
/// a directory that this user cannot read, things go on without it.
private struct DirectoryTurn {
    private let descriptor: Int32

    init(of path: String) {
        let directory = path.lastIndex(of: "/").map { String(path[...$0]) } ?? "."
        descriptor = unsafe open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { return }
        for _ in 0..<100 {
            if flock(descriptor, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK { return }
            usleep(10_000)
        }
    }

    func end() {
        if descriptor >= 0 { close(descriptor) }
    }
}
