import Testing

@testable import NodeCommand

private let flags = [
    Flag(name: "seed", argument: "HOST:PORT", isRepeatable: true, help: ""),
    Flag(name: "degree", argument: "N", help: ""),
    Flag(name: "insecure", argument: nil, help: ""),
]

@Suite struct ArgumentTests {
    @Test func `flags take their value after a space or an equals sign`() throws {
        let arguments = try Arguments.parse(
            ["--seed", "a:1", "--seed=b:2", "--insecure", "--degree=8", "word"], flags)
        #expect(arguments.flags["seed"] == ["a:1", "b:2"])
        #expect(arguments["insecure"] == "true")
        #expect(arguments["degree"] == "8")
        #expect(arguments.words == ["word"])
    }

    @Test func `words after two dashes are no flags`() throws {
        let arguments = try Arguments.parse(["--", "--degree"], flags)
        #expect(arguments.words == ["--degree"])
    }

    @Test(arguments: [
        ["--degre", "4"], ["--degree"], ["--degree", "--insecure"], ["--insecure=yes"],
        ["--degree=4", "--degree=5"], ["-x"],
    ]) func `wrong flags are errors`(words: [String]) {
        #expect(throws: UsageError.self) { try Arguments.parse(words, flags) }
    }

    @Test func `a misspelled flag is answered with the one that was meant`() {
        #expect {
            try Arguments.parse(["--degre", "4"], flags)
        } throws: {
            "\($0)".contains("did you mean --degree?")
        }
    }

    @Test func `every command has help for each of its flags`() {
        for command in Command.all {
            for flag in command.flags {
                #expect(command.help.contains("--\(flag.name)"))
                #expect(!flag.help.isEmpty)
            }
            #expect(Command.overview.contains(command.summary))
            #expect(command.help.split(separator: "\n").allSatisfy { $0.count <= 100 })
        }
    }
}

@Suite struct ConfigurationFileTests {
    private func parse(_ text: String) throws(ConfigurationFileError) -> [String: [String]] {
        try ConfigurationFile.parse(text, "f.json5", flags)
    }

    @Test func `a JSON5 file has the names of the flags`() throws {
        let values = try parse(
            "{ // seeds\n seed: ['a:1', \"b:2\"], degree: 8, insecure: true, }")
        #expect(values == ["seed": ["a:1", "b:2"], "degree": ["8"], "insecure": ["true"]])
    }

    @Test func `one seed needs no list`() throws {
        #expect(try parse("{seed: 'a:1'}") == ["seed": ["a:1"]])
    }

    @Test(arguments: [
        "", "[]", "{", "{sead: 'a:1'}", "{degree: ['4', '5']}", "{insecure: 'maybe'}",
        "{degree: {}}", "{degree: null}", "{degree: true}", "{seed: [['a:1']]}", "{insecure: 1}",
        "{degree: 4, degree: 5}",
    ]) func `a wrong file is an error that names it`(text: String) {
        #expect {
            try parse(text)
        } throws: {
            ($0 as? ConfigurationFileError)?.description.contains("f.json5") == true
        }
    }

    @Test func `an unknown key is answered with the known ones`() {
        #expect {
            try parse("{sead: 'a:1'}")
        } throws: {
            "\($0)".contains("unknown key 'sead'; there are degree, insecure, seed")
        }
    }

    @Test func `a mistake in a file is told with its line and column`() {
        #expect {
            try parse("{\n  degree: 8\n  insecure: true\n}")
        } throws: {
            "\($0)" == "f.json5, line 3, column 3: expected ',' or '}', found 'i'"
        }
        #expect {
            try parse("{ degree: 8,\n  insecure: 'yes' }")
        } throws: {
            "\($0)" == "f.json5, line 2, column 13: 'insecure' is true or false"
        }
    }

    @Test func `numbers may have a fraction, as flags may`() throws {
        #expect(try parse("{degree: 0.5}") == ["degree": ["0.5"]])
    }

    @Test(arguments: ["/nonexistent/file", "/"])
    func `a file that cannot be read is told with the system's reason`(path: String) {
        #expect {
            _ = try ConfigurationFile.read(path, flags)
        } throws: {
            "\($0)".contains("cannot read \(path): ")
                && ("\($0)".contains("No such file") || "\($0)".contains("Is a directory"))
        }
    }
}
