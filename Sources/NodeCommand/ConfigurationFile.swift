import Glibc
import JSON5

/// A configuration file that cannot be used; the process ends with 78 (EX_CONFIG).
struct ConfigurationFileError: Error, CustomStringConvertible {
    var description: String
}

/// Reads a JSON5 file whose keys are the names of a subcommand's flags.
///
///     {
///       // Where the others are.
///       seed: ["10.0.0.5:7400", "10.0.0.6:7400"],
///       degree: 24,
///       "reattach-grace": 2.5,
///     }
enum ConfigurationFile {
    /// Settings have no use for more.
    private static let bytesMax = 1 << 20

    /// - Throws: `ConfigurationFileError` for a file that cannot be read, is not JSON5, or has a
    ///   key that is no flag.
    static func read(
        _ path: String, _ known: [Flag]
    ) throws(ConfigurationFileError) -> [String: [String]] {
        func refusal(_ reason: String) -> ConfigurationFileError {
            ConfigurationFileError(
                description: "cannot read \(path): \(reason); give a readable file to --config")
        }
        func failure() -> ConfigurationFileError {
            refusal(unsafe String(cString: strerror(errno)))
        }
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw failure() }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 64 * 1024)
        while true {
            let count = unsafe chunk.withUnsafeMutableBytes { buffer in
                unsafe Glibc.read(descriptor, buffer.baseAddress, buffer.count)
            }
            guard count >= 0 else { throw failure() }
            if count == 0 { break }
            bytes += chunk[..<count]
            guard bytes.count <= bytesMax else { throw refusal("it has more than 1 MiB") }
        }
        return try parse(String(decoding: bytes, as: UTF8.self), path, known)
    }

    static func parse(
        _ text: String, _ path: String, _ known: [Flag]
    ) throws(ConfigurationFileError) -> [String: [String]] {
        do throws(JSON5Error) {
            let root = try JSON5.parse(text)
            guard case .object(let members) = root.value else {
                throw root.error("expected one object of settings, found \(root.kind)")
            }
            var result: [String: [String]] = [:]
            for member in members { result[member.key] = try words(of: member, known) }
            return result
        } catch {
            throw ConfigurationFileError(description: "\(path), \(error)")
        }
    }

    /// A setting's values, in the form that its flag would have.
    private static func words(
        of member: JSON5.Member, _ known: [Flag]
    ) throws(JSON5Error) -> [String] {
        guard let flag = known.first(where: { $0.name == member.key }) else {
            let names = known.map(\.name).sorted().joined(separator: ", ")
            throw member.error("unknown key '\(member.key)'; there are \(names)")
        }
        if flag.argument == nil {
            guard case .bool(let isOn) = member.value.value else {
                throw member.value.error("'\(flag.name)' is true or false")
            }
            return [isOn ? "true" : "false"]
        }
        guard case .list(let items) = member.value.value else {
            return [try word(member.value, flag)]
        }
        guard flag.isRepeatable else {
            throw member.value.error("'\(flag.name)' takes one value")
        }
        var result: [String] = []
        for item in items { result.append(try word(item, flag)) }
        return result
    }

    private static func word(_ item: JSON5, _ flag: Flag) throws(JSON5Error) -> String {
        switch item.value {
        case .text(let text): return text
        case .number(let number):
            guard number.isFinite else {
                throw item.error("'\(flag.name)' cannot be \(item.kind)")
            }
            // Exactly what the file says: what is too large must not become something else.
            return Int(exactly: number).map { String($0) } ?? "\(number)"
        case .null, .bool, .list, .object:
            throw item.error(
                "'\(flag.name)' is a text or a number (\(flag.argument ?? "")), not \(item.kind)")
        }
    }
}
