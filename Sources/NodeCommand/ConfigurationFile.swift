import Foundation

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
///     }
enum ConfigurationFile {
    /// A value in the file, in the form that the flag would have.
    private struct Value: Decodable {
        var words: [String]

        init(from decoder: any Decoder) throws {
            let container = try decoder.singleValueContainer()
            if let text = try? container.decode(String.self) {
                words = [text]
            } else if let flag = try? container.decode(Bool.self) {
                words = [flag ? "true" : "false"]
            } else if let number = try? container.decode(Int.self) {
                words = [String(number)]
            } else if let list = try? container.decode([String].self) {
                words = list
            } else {
                throw DecodingError.dataCorruptedError(
                    in: container,
                    debugDescription: "a text, an integer, true, false or a list of texts")
            }
        }
    }

    /// - Throws: `ConfigurationFileError` for a file that cannot be read, is not JSON5, or has a
    ///   key that is no flag.
    static func read(
        _ path: String, _ known: [Flag]
    ) throws(ConfigurationFileError) -> [String: [String]] {
        let data: Data
        do {
            data = try Data(contentsOf: URL(fileURLWithPath: path))
        } catch {
            throw ConfigurationFileError(
                description: "cannot read \(path): "
                    + "\(error.localizedDescription) (give a readable file to --config)")
        }
        return try parse(data, path, known)
    }

    static func parse(
        _ data: Data, _ path: String, _ known: [Flag]
    ) throws(ConfigurationFileError) -> [String: [String]] {
        let decoder = JSONDecoder()
        decoder.allowsJSON5 = true
        let values: [String: Value]
        do {
            values = try decoder.decode([String: Value].self, from: data)
        } catch DecodingError.dataCorrupted(let context) {
            let key = context.codingPath.map(\.stringValue).joined(separator: ".")
            throw ConfigurationFileError(
                description: "\(path)" + (key.isEmpty ? "" : ", '\(key)'") + ": "
                    + (key.isEmpty ? "not JSON5" : "must be \(context.debugDescription)"))
        } catch {
            throw ConfigurationFileError(
                description: "\(path): must be one JSON5 object of settings")
        }
        var result: [String: [String]] = [:]
        for (name, value) in values.sorted(by: { $0.key < $1.key }) {
            guard let flag = known.first(where: { $0.name == name }) else {
                let names = known.map(\.name).sorted().joined(separator: ", ")
                throw ConfigurationFileError(
                    description: "\(path): unknown key '\(name)'; there are \(names)")
            }
            if value.words.count != 1, !flag.isRepeatable {
                throw ConfigurationFileError(description: "\(path): '\(name)' takes one value")
            }
            if flag.argument == nil, !["true", "false"].contains(value.words[0]) {
                throw ConfigurationFileError(description: "\(path): '\(name)' is true or false")
            }
            result[name] = value.words
        }
        return result
    }
}
