import Foundation

/// The repository's files as text, for tests that read them.
enum Repository {
    static let root = URL(filePath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    /// Names in a folder of the repository, sorted.
    static func names(in folder: String = "") throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: root.appending(path: folder).path)
            .sorted()
    }

    /// Paths of all files below a folder, sorted.
    static func files(below folder: String) throws -> [String] {
        let base = root.appending(path: folder)
        return try FileManager.default.subpathsOfDirectory(atPath: base.path).filter {
            var isFolder: ObjCBool = false
            return FileManager.default.fileExists(
                atPath: base.appending(path: $0).path, isDirectory: &isFolder)
                && !isFolder.boolValue
        }.map { folder + "/" + $0 }.sorted()
    }

    /// Paths of all files below a folder with this extension, sorted.
    static func files(below folder: String, extension suffix: String) throws -> [String] {
        try files(below: folder).filter { $0.hasSuffix("." + suffix) }
    }

    static func text(_ path: String) throws -> String {
        try String(contentsOf: root.appending(path: path), encoding: .utf8)
    }

    static func swiftFile(_ path: String) throws -> SourceFile {
        SourceFile(path: path, text: try text(path))
    }

    static func swiftFiles(ofModule module: String) throws -> [SourceFile] {
        try files(below: "Sources/" + module, extension: "swift").map(swiftFile)
    }
}

/// A Swift file by lines, and the same without comments and the contents of strings.
struct SourceFile {
    let path: String
    let lines: [String]
    let code: [String]

    init(path: String, text: String) {
        self.path = path
        lines = text.components(separatedBy: "\n")
        code = Self.code(lines)
    }

    /// `Sources/MeshCore/Node.swift:12: the line`
    func place(_ index: Int) -> String {
        "\(path):\(index + 1): \(lines[index].trimmingCharacters(in: .whitespaces))"
    }

    /// Places of the lines whose code matches.
    func places(where matches: (String) -> Bool) -> [String] {
        code.indices.filter { matches(code[$0]) }.map(place)
    }

    /// Good enough for our own style: no nested block comments, no `"` inside interpolations that
    /// matters for what is looked for.
    private static func code(_ lines: [String]) -> [String] {
        var isInBlock = false
        var isInText = false
        return lines.map { line in
            var kept = ""
            var rest = Substring(line)
            var isInString = false
            while let character = rest.first {
                if isInBlock {
                    if rest.hasPrefix("*/") {
                        isInBlock = false
                        rest = rest.dropFirst(2)
                        continue
                    }
                } else if isInText {
                    if rest.hasPrefix("\"\"\"") {
                        isInText = false
                        rest = rest.dropFirst(3)
                        continue
                    }
                } else if isInString {
                    if character == "\\" {
                        rest = rest.dropFirst(2)
                        continue
                    }
                    if character == "\"" { isInString = false }
                } else if rest.hasPrefix("//") {
                    break
                } else if rest.hasPrefix("/*") {
                    isInBlock = true
                } else if rest.hasPrefix("\"\"\"") {
                    isInText = true
                    rest = rest.dropFirst(3)
                    continue
                } else if character == "\"" {
                    isInString = true
                } else {
                    kept.append(character)
                }
                rest = rest.dropFirst()
            }
            return kept
        }
    }
}
