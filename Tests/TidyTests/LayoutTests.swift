import Foundation
import Testing

/// The repository has no corner that nobody builds, and nothing unfinished.
@Suite struct `The repository` {
    @Test func `has nothing at its top level but what belongs there`() throws {
        let allowed = ["Package.swift", "README.md", "Sources", "Tests", "simulations"]
        let found = try Repository.names().filter { !$0.hasPrefix(".") }
        #expect(found.filter { !allowed.contains($0) } == [])
        for needed in ["Package.swift", "Sources", "Tests"] {
            #expect(found.contains(needed), "\(needed)")
        }
    }

    @Test func `has a README that is read in one sitting`() throws {
        let lines = try Repository.text("README.md").components(separatedBy: "\n")
        #expect(lines.count - 1 <= 220)
    }

    /// Names of the targets in Package.swift: (plain ones, tests).
    private func targets() throws -> (sources: [String], tests: [String]) {
        let manifest = try Repository.swiftFile("Package.swift").lines.joined(separator: "\n")
        func names(_ kind: String) throws -> [String] {
            manifest.matches(of: try Regex(#"\.\#(kind)\(\s*name:\s*"(\w+)""#))
                .compactMap { $0.output[1].substring.map(String.init) }
        }
        return (
            try (names("target") + names("executableTarget")).sorted(),
            try names("testTarget").sorted()
        )
    }

    @Test func `has a target for every folder of sources`() throws {
        let targets = try targets()
        #expect(try Repository.names(in: "Sources") == targets.sources)
        // Interop is Python, run by CI; Fuzz is compiled by its own script.
        #expect(
            try Repository.names(in: "Tests").filter { !["Bench", "Fuzz", "Interop"].contains($0) }
                == targets.tests)
    }

    @Test func `depends on no package`() throws {
        let manifest = try Repository.swiftFile("Package.swift")
        #expect(manifest.places { $0.contains(".package(") } == [])
    }

    @Test func `has nothing left to do`() throws {
        // Written so that these lines are not among them.
        let unfinished = try Regex(#"\b(TOD[O]|FIXM[E]|[Ss]tu[b](s|bed)?)\b"#)
        var paths = try Repository.files(below: "Sources", extension: "swift")
        paths += try Repository.files(below: "Sources", extension: "md")
        paths += try Repository.files(below: "Sources", extension: "h")
        paths += try Repository.files(below: "Tests", extension: "swift")
        paths += try Repository.files(below: "Tests", extension: "py")
        paths += ["Package.swift", ".ci/run", "Tests/Fuzz/run"]
        for path in paths {
            let lines = try Repository.text(path).components(separatedBy: "\n")
            for (index, line) in lines.enumerated() {
                #expect(!line.contains(unfinished), "\(path):\(index + 1): \(line)")
            }
        }
    }

    @Test func `has no file that names nothing`() throws {
        let vague = ["Util", "Helper", "Manager", "Misc", "Common", "Placeholder"]
        for path in try Repository.files(below: "Sources", extension: "swift") {
            let name = path.components(separatedBy: "/").last!
            #expect(!vague.contains { name.contains($0) }, "\(path)")
        }
    }
}

@Suite struct `Continuous integration` {
    @Test func `runs every interop test`() throws {
        let script = try Repository.text(".ci/run")
        #expect(script.contains("for file in Tests/Interop/test_*.py; do"))
        let files = try Repository.files(below: "Tests/Interop", extension: "py")
        let tests = files.filter { $0.contains("/test_") }
        #expect(tests.count >= 8)
        var imported = ""
        for path in tests {
            let text = try Repository.text(path)
            imported += text
            #expect(text.contains("\ndef test_"), "\(path) tests nothing")
            #expect(!text.contains("pytest.skip") && !text.contains("mark.skip"), "\(path) skips")
            #expect(!text.contains("xfail"), "\(path) expects to fail")
        }
        // Code that is not a test is used by one.
        for path in files where !tests.contains(path) {
            let module = path.components(separatedBy: "/").last!.replacingOccurrences(
                of: ".py", with: "")
            #expect(
                module == "conftest" || imported.contains("from \(module) import")
                    || imported.contains("import \(module)"), "\(path)")
        }
    }

    @Test func `runs every fuzz target, and each has seeds`() throws {
        #expect(try Repository.text(".ci/run").contains("Tests/Fuzz/run 30"))
        let table = try Repository.text("Tests/Fuzz/Fuzzers.swift")
        let targets = try Repository.names(in: "Tests/Fuzz").filter {
            $0.hasSuffix(".swift") && $0 != "Fuzzers.swift"
        }
        #expect(targets.count >= 4)
        for target in targets {
            #expect(target.hasSuffix("Fuzzer.swift"), "\(target) is no target")
            let name = target.replacingOccurrences(of: ".swift", with: "")
            #expect(table.contains("= \"\(name)\""), "Fuzzers.swift lacks \(name)")
            #expect(try Repository.names(in: "Tests/Fuzz/corpus/\(name)").count > 3, "\(name)")
        }
    }

    @Test(arguments: [
        ".ci/documentation", ".ci/nightly", ".ci/run", "Tests/Bench/measure", "Tests/Fuzz/compare",
        "Tests/Fuzz/run",
    ])
    func `scripts can be run`(path: String) throws {
        let place = Repository.root.appending(path: path).path
        #expect(FileManager.default.isExecutableFile(atPath: place))
    }
}
