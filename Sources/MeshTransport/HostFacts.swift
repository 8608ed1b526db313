import Glibc
import MeshWire

/// The facts that INFO tells of the process and the machine, read once.
struct HostFacts {
    let processID: Int
    /// The program's path; empty when the kernel does not tell.
    let executable: String
    /// `Linux 6.1.0 x86_64`, as Redis writes it.
    let system: String
    /// 40 hexadecimal digits, another for each run.
    let runID: String

    /// - Parameter random: what `runID` is made of.
    init(random: (UInt64, UInt64, UInt32)) {
        processID = Int(getpid())
        executable = Self.readExecutable()
        system = Self.readSystem()
        let tail = String(random.2, radix: 16)
        runID =
            "\(NodeID(random.0))\(NodeID(random.1))"
            + String(repeating: "0", count: 8 - tail.count) + tail
    }

    private static func readExecutable() -> String {
        var path = [UInt8](repeating: 0, count: 4_096)
        let count = unsafe path.withUnsafeMutableBytes { buffer in
            unsafe readlink(
                "/proc/self/exe", buffer.bindMemory(to: CChar.self).baseAddress!, buffer.count)
        }
        return count > 0 ? String(decoding: path[..<count], as: UTF8.self) : ""
    }

    private static func readSystem() -> String {
        var facts = utsname()
        guard unsafe uname(&facts) == 0 else { return "Linux" }
        return [text(of: facts.sysname), text(of: facts.release), text(of: facts.machine)]
            .joined(separator: " ")
    }

    /// The characters of one of the kernel's arrays, up to the first zero.
    private static func text<Characters>(of characters: Characters) -> String {
        unsafe withUnsafeBytes(of: characters) { bytes in
            unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
    }

    /// The memory of this process that is there now, in bytes; 0: the kernel does not tell.
    static var residentBytes: Int {
        let file = unsafe open("/proc/self/statm", O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return 0 }
        defer { close(file) }
        var bytes = [UInt8](repeating: 0, count: 128)
        let count = unsafe bytes.withUnsafeMutableBytes { unsafe read(file, $0.baseAddress, 128) }
        let words = String(decoding: bytes.prefix(max(0, count)), as: UTF8.self).split(
            separator: " ")
        guard words.count > 1, let pages = Int(words[1]) else { return 0 }
        return pages * max(0, sysconf(Int32(_SC_PAGESIZE)))
    }

    /// Processor time of this process in microseconds: in the kernel, and outside it.
    static var processorTime: (Int64, Int64) {
        var usage = rusage()
        guard unsafe getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage) == 0 else {
            return (0, 0)
        }
        func microseconds(_ time: timeval) -> Int64 {
            Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_usec)
        }
        return (microseconds(usage.ru_stime), microseconds(usage.ru_utime))
    }

    /// The lines of INFO's section Server.
    var lines: [String] {
        [
            "os:\(system)", "arch_bits:\(Int.bitWidth)", "multiplexing_api:epoll",
            "process_id:\(processID)", "process_supervised:no", "run_id:\(runID)",
            "executable:\(executable)",
            // Empty, as Redis's own is when it was started without a file.
            "config_file:",
        ]
    }
}
