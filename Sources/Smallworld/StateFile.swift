import Glibc
import MeshTransport
import MeshWire

/// Where members were, for the node's next life: a line of text for each address.
///
/// ```text
/// smallworld members 1
/// 10.0.0.5:7400
/// [2001:db8:0:0:0:0:0:7]:7400
/// ```
///
/// Anybody may have written to it: at most `bytesMax` are read, and a file that is not like this is told
/// to the log and left alone until it is written anew.
struct StateFile: Sendable {
    static let addressCountMax = 32
    private static let bytesMax = 16 * 1024
    private static let firstLine = "smallworld members 1"

    let path: String

    /// The addresses in the file, and what is wrong with it; a file that is not there is empty.
    func read() -> (addresses: [Endpoint], fault: String?) {
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { return ([], errno == ENOENT ? nil : Self.errorText) }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: Self.bytesMax + 1)
        var count = 0
        while count < bytes.count {
            let got = unsafe bytes.withUnsafeMutableBytes { buffer in
                unsafe Glibc.read(
                    descriptor, buffer.baseAddress! + count, buffer.count - count)
            }
            guard got >= 0 else { return ([], Self.errorText) }
            if got == 0 { break }
            count += got
        }
        guard count <= Self.bytesMax else {
            return ([], "it has more than \(Self.bytesMax) bytes")
        }
        return Self.parse(String(decoding: bytes[..<count], as: UTF8.self))
    }

    static func parse(_ text: String) -> (addresses: [Endpoint], fault: String?) {
        var lines = text.split(separator: "\n")[...]
        guard lines.popFirst().map(String.init) == firstLine else {
            return ([], "its first line is not '\(firstLine)'")
        }
        var addresses: [Endpoint] = []
        for (number, line) in lines.prefix(addressCountMax).enumerated() {
            guard let address = try? HostPort(String(line)), address.port != 0,
                Resolver.isNumeric(address.host),
                let endpoint = try? Resolver.endpoints(of: address).first, !endpoint.isUnspecified
            else {
                return (addresses, "line \(number + 2) is not an address")
            }
            addresses.append(endpoint)
        }
        return (addresses, nil)
    }

    /// Replaces the file as a whole: whoever reads it finds the former one or this one. Blocks as long as
    /// the disk does.
    ///
    /// - Returns: what went wrong; nil: nothing.
    func write(_ addresses: [Endpoint]) -> String? {
        var text = Self.firstLine + "\n"
        for endpoint in addresses.prefix(Self.addressCountMax) { text += "\(endpoint)\n" }
        let draft = path + ".new"
        // Never through a link that somebody else has put there.
        unsafe unlink(draft)
        let descriptor = unsafe open(draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { return Self.errorText }
        let written = text.withUTF8 { bytes in
            unsafe Glibc.write(descriptor, bytes.baseAddress!, bytes.count)
        }
        let isWhole = written == text.utf8.count && fsync(descriptor) == 0
        let error = written < 0 || isWhole ? Self.errorText : "the disk is full"
        close(descriptor)
        guard isWhole else {
            unsafe unlink(draft)
            return error
        }
        return unsafe rename(draft, path) == 0 ? nil : Self.errorText
    }

    private static var errorText: String { unsafe String(cString: strerror(errno)) }
}
