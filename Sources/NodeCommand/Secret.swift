import Glibc

/// Passwords. They come from a file or the environment and never from the command line, which every
/// process of the machine can read.
enum Secret {
    /// A password of so many bytes is a mistake.
    private static let bytesMax = 1_024

    /// The password of a flag's file, or that of a variable of the environment when there is none.
    ///
    /// - Returns: nil when there is neither.
    static func read(
        _ flag: String, _ path: String?, variable: String
    ) throws(UsageError) -> String? {
        if let path { return try password(in: path, flag) }
        guard let value = unsafe getenv(variable) else { return nil }
        return try checked(unsafe String(cString: value), "$\(variable)")
    }

    /// The first line of a file.
    private static func password(
        in path: String, _ flag: String
    ) throws(UsageError) -> String {
        func failure() -> UsageError {
            UsageError("\(flag): cannot read \(path): \(unsafe String(cString: strerror(errno)))")
        }
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw failure() }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        // A line that is too long is seen to be so.
        while bytes.count < 2 * bytesMax {
            var chunk = [UInt8](repeating: 0, count: 2 * bytesMax - bytes.count)
            let count = unsafe chunk.withUnsafeMutableBytes { buffer in
                unsafe Glibc.read(descriptor, buffer.baseAddress, buffer.count)
            }
            guard count >= 0 else { throw failure() }
            if count == 0 { break }
            bytes += chunk[..<count]
        }
        let ends: [UInt8] = [0x0A, 0x0D]
        let line = bytes.prefix { !ends.contains($0) }
        return try checked(String(decoding: line, as: UTF8.self), "\(flag): \(path)")
    }

    private static func checked(
        _ password: String, _ place: String
    ) throws(UsageError) -> String {
        guard !password.isEmpty else { throw UsageError("\(place) holds no password") }
        guard password.utf8.count <= bytesMax, !password.utf8.contains(0),
            !password.unicodeScalars.contains("\u{FFFD}")
        else {
            throw UsageError("\(place) holds no password: a line of at most 1,024 bytes, in UTF-8")
        }
        return password
    }
}
