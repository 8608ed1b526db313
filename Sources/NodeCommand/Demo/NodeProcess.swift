import CLinux
import Glibc
import MeshTransport

/// A `smallworld node` that this process has started.
///
/// It ends with the thread that started it, whatever ends that: the kernel sees to it.
final class NodeProcess {
    private static let tailCountMax = 8

    let pid: Int32
    /// Its standard output and error; -1 once they have ended.
    private(set) var output: Int32
    private var partial: [UInt8] = []
    /// Its last lines, for the report when it fails.
    private(set) var tail: [String] = []
    private(set) var hasEnded = false

    /// - Parameter arguments: after the program's name.
    init(_ arguments: [String]) throws(SystemError) {
        var ends: [Int32] = [-1, -1]
        guard unsafe pipe(&ends) == 0 else { throw SystemError("make a pipe", code: errno) }
        let (input, output) = (ends[0], ends[1])
        // Children that are started later must not hold each other's pipes open.
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        _ = fcntl(input, F_SETFL, O_NONBLOCK)
        defer { close(output) }
        var words =
            unsafe (["smallworld"] + arguments).map {
                unsafe strdup($0) as UnsafeMutablePointer<CChar>?
            } + [nil]
        defer { unsafe words.forEach { unsafe free($0) } }
        let result = unsafe linux_spawn_tied(Self.executable, &words, output)
        guard result > 0 else {
            close(input)
            throw SystemError("start a node", code: -result)
        }
        pid = result
        self.output = input
    }

    deinit {
        end()
        if output >= 0 { close(output) }
    }

    /// The program that this process runs.
    private static let executable: String = {
        var path = [UInt8](repeating: 0, count: Int(PATH_MAX))
        let count = unsafe path.withUnsafeMutableBytes { buffer in
            unsafe readlink(
                "/proc/self/exe", buffer.bindMemory(to: CChar.self).baseAddress!, buffer.count)
        }
        let name = String(decoding: path.prefix(max(count, 0)), as: UTF8.self)
        // After a rebuild the file of this program is gone, but not its inode.
        return unsafe access(name, X_OK) == 0 ? name : "/proc/self/exe"
    }()

    /// The whole lines that it has printed since the last call.
    func readLines() -> [String] {
        var lines: [String] = []
        var chunk = [UInt8](repeating: 0, count: 4_096)
        while output >= 0 {
            let count = unsafe chunk.withUnsafeMutableBytes { buffer in
                unsafe read(output, buffer.baseAddress, buffer.count)
            }
            if count < 0, errno == EINTR { continue }
            if count < 0, errno == EAGAIN { break }
            guard count > 0 else {
                close(output)
                output = -1
                break
            }
            for byte in chunk[..<count] {
                if byte == 10 {
                    lines.append(String(decoding: partial, as: UTF8.self))
                    partial = []
                } else if partial.count < 1_024 {
                    partial.append(byte)
                }
            }
        }
        tail = (tail + lines).suffix(Self.tailCountMax)
        return lines
    }

    /// True when the process has ended; then its number is free for others, and not used again.
    func reap() -> Bool {
        if !hasEnded {
            var status: Int32 = 0
            hasEnded = unsafe waitpid(pid, &status, WNOHANG) == pid
        }
        return hasEnded
    }

    /// Kills it hard; it is still to be reaped.
    func kill() {
        if !hasEnded { _ = Glibc.kill(pid, SIGKILL) }
    }

    /// Kills it and waits until it is gone.
    func end() {
        guard !hasEnded else { return }
        kill()
        var status: Int32 = 0
        while unsafe waitpid(pid, &status, 0) < 0, errno == EINTR {}
        hasEnded = true
    }
}
