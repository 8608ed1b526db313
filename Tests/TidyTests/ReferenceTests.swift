import Foundation
import Testing

/// Comments and documents cite what stands in the repository.
@Suite struct `References` {
    private static let articles: Set<String> = Set(
        (try? Repository.files(below: "Sources", extension: "md"))!.map {
            URL(filePath: $0).deletingPathExtension().lastPathComponent
        })

    /// The texts that people read: articles, scenarios and scripts, and the comments of sources and tests.
    private static func texts() throws -> [(path: String, text: String)] {
        var paths: [String] = ["README.md"]
        for folder in ["Sources", "Tests", "simulations"] {
            for suffix in ["swift", "md", "json5", "py"] {
                paths += try Repository.files(below: folder, extension: suffix)
            }
        }
        paths += try Repository.files(below: ".ci")
        return try paths.map { path in
            let text = try Repository.text(path)
            return (path, path.hasSuffix(".swift") ? comments(text) : text)
        }
    }

    private static func comments(_ text: String) -> String {
        text.split(separator: "\n").filter {
            $0.trimmingPrefix { $0 == " " }.hasPrefix("//")
        }.joined(separator: "\n")
    }

    /// The words of a text that lead nowhere: links to articles that are not there, files that nobody
    /// has, chapters of a design that is elsewhere, issues that nobody else can read.
    static func dangling(_ text: String, files: Set<String>) -> [String] {
        var found: [String] = []
        for match in text.matches(of: /<doc:([A-Za-z]+)>/)
        where !articles.contains(String(match.1)) {
            found.append(String(match.0))
        }
        for match in text.matches(of: /DESIGN(?:\.md)? ?§|\bDESIGN\b|\.\.\/shared/) {
            found.append(String(match.0))
        }
        for match in text.matches(of: /\b[Ii]ssue #?[0-9]+/) { found.append(String(match.0)) }
        // A path, or a file with a telling name, of a kind that is cited.
        for match in text.matches(of: /[A-Za-z0-9_.\/-]*[A-Za-z0-9_-]\.(?:csv|md)\b/) {
            let name = String(match.0)
            let isThere = files.contains { $0 == name || $0.hasSuffix("/" + name) }
            if !isThere { found.append(name) }
        }
        return found
    }

    /// Each MESH command stands in the article about them, and none that is not there.
    @Test func `the article of commands has all of them`() throws {
        let commands = try Repository.text(
            "Sources/MeshGateway/RESP/Commands/Command.swift")
        let known = Set(commands.matches(of: /"mesh\.([a-z]+)"/).map { String($0.1) })
        #expect(known.count > 25)
        let article = try Repository.text("Sources/Smallworld/Smallworld.docc/Commands.md")
        let told = Set(article.matches(of: /`MESH\.([A-Z]+)/).map { $0.1.lowercased() })
        #expect(told == known)
    }

    @Test func `lead to what is there`() throws {
        var files: Set<String> = ["README.md"]
        for folder in ["Sources", "Tests", "simulations"] {
            for suffix in ["csv", "md"] {
                files.formUnion(try Repository.files(below: folder, extension: suffix))
            }
        }
        files.formUnion(try Repository.names(in: ".github").map { ".github/" + $0 })
        let texts = try Self.texts()
        #expect(texts.count > 300)
        for (path, text) in texts {
            let dangling = Self.dangling(text, files: files)
            #expect(dangling == [], "\(path)")
        }
    }

    @Test func `that lead nowhere are found`() {
        let files: Set<String> = ["Tests/A/there.csv", "Sources/B.docc/Overlay.md"]
        let text = "<doc:Overlay> <doc:Nowhere> there.csv jumps.csv B.docc/Overlay.md C/Overlay.md"
        #expect(
            Self.dangling(text, files: files)
                == ["<doc:Nowhere>", "jumps.csv", "C/Overlay.md"])
        #expect(Self.dangling("as DESIGN §4 says", files: files) == ["DESIGN §"])
        #expect(Self.dangling("as issue 4 wants; an issue", files: files) == ["issue 4"])
    }
}
