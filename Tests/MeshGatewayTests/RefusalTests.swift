import Foundation
import MeshWire
import Testing

@testable import MeshGateway

/// Bytes of a client, as many as a refusal quotes at most: ends of lines, and what is no UTF-8.
private let hostile = [UInt8]("a\r\n-ERR\n\r".utf8) + [UInt8](repeating: 0xFE, count: 4_087)

/// One refusal of each case, and of each kind of name in them.
private let samples: [ClientRefusal] = {
    let text = "a\r\nb"
    let syntax: [ClientRefusal.Syntax] =
        [
            .unknownArgument, .argumentCount(command: text), .notAnInteger, .user(bytesMax: .max),
            .neitherOnNorOff, .unknownOption, .unknownPolicy,
            .unknownTraceTarget,
            .unknownAttachment, .notAToken, .usage(text), .metadata(bytesMax: .max), .notAPlace,
            .pageSize(max: .max), .notASid, .onceID(bytesMax: .max), .tooManyTargets(max: .max),
            .reason(bytesMax: .max),
        ] + ClientRefusal.TooLong.allCases.map { .name($0, bytesMax: .max) }
    let rights: [ClientRefusal.Rights] = [
        .notAuthenticated, .wrongPassword, .passwordNotAsked,
        .notPermitted(user: text, command: text),
    ]
    let limits: [ClientRefusal.Limit] = [
        .connections, .patterns(countMax: .max), .patternBytes(max: .max),
        .ofUser(.connections, countMax: .max), .ofUser(.sessions, countMax: .max),
        .ofUser(.subscriptions, countMax: .max), .ofUser(.patterns, countMax: .max),
        .meshPatternBytes(max: .max), .subscriptions, .sessions,
        .unfinishedCommands(bytesMax: .max), .commandsAskedFor,
        .channelsAskedFor, .channelNames(bytesMax: .max), .roomNames(bytesMax: .max),
    ]
    let sessions: [ClientRefusal.Sessions] = [
        .unknownToken, .miscounted, .notCounted, .seenTooMany(sentCount: .max),
        .silentNode(NodeID(.max)),
    ]
    let states: [ClientRefusal.State] = [
        .joining, .draining(destination: text), .silentNodes(text, count: 1),
        .silentNodes(text, count: .max), .unheardOrder(count: 1, text, silentCount: 1),
        .earlierNode(text, count: 2),
    ]
    let transactions: [ClientRefusal.Transactions] = [
        .notInside, .nested, .watchInside, .subscribingInside, .executionOutside, .discardOutside,
        .abortedBefore, .aborted(because: .redis(.unknownUser(name: hostile))),
    ]
    var redis: [ClientRefusal.Redis] = [
        .unknownCommand(name: Array(hostile.prefix(128)), arguments: [hostile, hostile]),
        .unknownSubcommand(name: hostile, parent: text), .wrongPubSub(name: hostile),
        .whileSubscribed(command: text, subcommand: nil),
        .whileSubscribed(command: text, subcommand: hostile),
        .versionNotAnInteger, .unknownVersion, .unknownGreeting(option: hostile),
        .greetingUnauthenticated, .databaseIndex, .clientName(bytesMax: .max),
        .unknownClientText(name: hostile), .unknownClientType(name: hostile), .clientIDListed,
        .clientIDKilled, .unknownClient, .unknownUser(name: hostile), .ageMax, .tracking,
        .unknownParameter(name: hostile), .waitTime(.value), .waitTime(.negative), .unblockReason,
        .pauseMode,
        .noKeys(isKnown: true), .noKeys(isKnown: false), .unknownCategory(name: hostile),
        .dryRunUser(name: hostile), .dryRunCommand(name: hostile), .logCount, .noConfigurationFile,
        .fixedUsers,
        .noCluster,
    ]
    redis += ClientRefusal.ClientText.allCases.map { .characters($0) }
    let faults: [ParameterFault] =
        [
            .notAnInteger, .range(least: .min, most: .max), .choice(of: [text, text]), .fixed,
            .duplicate, .noKeys,
        ] + OutputLimitFault.allCases.map { .outputLimits($0) }
    redis += faults.map { .parameter(name: text, $0) }
    let scriptFaults: [ScriptFault] = [
        .argumentCount, .argumentType, .joined(text), .calculated(text), .measured(text),
        .loop(text), .number, .memory, .steps(countMax: .max), .channel(bytesMax: .max),
        .notPermitted(user: text), .joining,
    ]
    let reasons: [ScriptError.Reason] = [
        .tooLong, .tooDeep, .unexpected(hostile), .endOfText, .command(hostile),
    ]
    var scripts: [ClientRefusal.Scripts] = [
        .unknown, .caught(.argumentType), .keyCountNegative, .keyCountTooLarge, .flushOption,
        .notBusy, .readOnly, .noFunction, .functionFlushOption, .noFunctions, .noLibrary,
    ]
    scripts += scriptFaults.map { .failed($0, line: .max, name: text) }
    scripts += reasons.map { .wrong(ScriptError(line: .max, reason: $0)) }
    return syntax.map { .syntax($0) } + rights.map { .rights($0) } + limits.map { .limit($0) }
        + sessions.map { .session($0) } + states.map { .state($0) }
        + transactions.map { .transaction($0) } + redis.map { .redis($0) }
        + scripts.map { .script($0) } + ClientRefusal.Rooms.allCases.map { .room($0) }
        + requests.map { .request($0) }
}()

private let requests: [ClientRefusal.Requests] = {
    let outcomes: [RequestOutcome] = [
        .rejected([]), .rejected(hostile), .failed([]), .failed(hostile), .busy, .noService, .died,
        .timedOut, .cancelled, .slow, .unsupported, .tooMuch,
    ]
    let targets = RequestTarget.Kind.allCases.map {
        RequestTarget(kind: $0, name: Array(hostile.prefix(512)))
    }
    return [
        .key(bytesMax: .max), .keyWithoutService, .allAlone, .noParts, .tag(bytesMax: .max),
        .tagInUse,
        .timeout(millisecondsMax: .max), .concurrency(max: .max), .tooMany(.max, .connection),
        .tooMany(.max, .node), .tooManyBytes(max: .max), .tooManyServices(.max),
    ] + ClientRefusal.Usage.allCases.map { .usage($0) }
        + RequestTarget.Kind.allCases.map { .targetName($0, bytesMax: .max) }
        + outcomes.map { .ended($0, targets[0]) }
        + targets.dropFirst().map { .ended(.noService, $0) }
}()

@Suite struct `Refusals in RESP` {
    /// The error's line as it leaves.
    private func line(_ refusal: ClientRefusal) -> [UInt8] {
        var queue = ByteQueue()
        queue.appendError(refusal.inRESP)
        return queue.withSpan { Array(copying: $0) }
    }

    @Test func `each begins with a word in capitals, and a sentence follows`() throws {
        var words: Set<String> = []
        for refusal in samples {
            let match = try #require(refusal.inRESP.wholeMatch(of: /(?s)([A-Z]+) (\S.*)/))
            words.insert(String(match.1))
        }
        // Programs tell refusals apart by these.
        #expect(
            words == [
                "ERR", "NOAUTH", "WRONGPASS", "NOPERM", "NOPROTO", "EXECABORT", "LOADING",
                "TRYAGAIN", "OOM", "NOSESSION", "DRAINING", "NOSCRIPT", "NOTBUSY",
                "LIMIT", "NOUSER", "AMBIGUOUS", "TIMEOUT", "UNSUPPORTED", "REJECTED", "FAILED",
                "BUSY",
                "NOSERVICE", "DIED", "CANCELLED", "SLOW",
            ])
    }

    @Test func `each is one line of a bounded length, whatever it quotes`() {
        for refusal in samples {
            let line = line(refusal)
            #expect(line.first == UInt8(ascii: "-"))
            #expect(line.suffix(2) == [0x0D, 0x0A])
            let inner = line.dropFirst().dropLast(2)
            #expect(!inner.contains(0x0D) && !inner.contains(0x0A), "\(refusal)")
            // The longest quote of one argument, or the arguments of an unknown command.
            let quoted = if case .redis(.unknownCommand) = refusal { 2 } else { 1 }
            #expect(line.count <= quoted * hostile.count + 256, "\(refusal)")
        }
    }

    @Test func `each has words of its own`() {
        #expect(Set(samples.map(line)).count == samples.count)
    }

    @Test func `bytes are quoted as they came`() {
        let name: [UInt8] = [0x61, 0xC3, 0xFF]
        #expect(
            line(.redis(.unknownUser(name: name)))
                == Array("-ERR No such user '".utf8) + name + Array("'\r\n".utf8))
    }

    @Test func `a transaction's abortion names the cause without the word for any error`() {
        #expect(
            ClientRefusal.transaction(.aborted(because: .syntax(.notAnInteger))).inRESP
                == "EXECABORT Transaction discarded because of: value is not an integer or out of "
                + "range")
        #expect(
            ClientRefusal.transaction(.aborted(because: .state(.joining))).inRESP
                == "EXECABORT Transaction discarded because of: LOADING Smallworld is joining the "
                + "mesh")
    }

    @Test func `a refusal is one word in size`() {
        #expect(MemoryLayout<ClientRefusal>.size == MemoryLayout<Int>.size)
    }

    /// `group.case`, as the declaration names them.
    private func name(_ refusal: ClientRefusal) -> String {
        let group = Mirror(reflecting: refusal).children.first!
        let fault = Mirror(reflecting: group.value).children.first?.label ?? "\(group.value)"
        return "\(group.label!).\(fault)"
    }

    @Test func `the samples above are of all cases`() throws {
        let root = URL(filePath: #filePath)
            .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        let source = try String(
            contentsOf: root.appending(path: "Sources/MeshGateway/ClientRefusal.swift"),
            encoding: .utf8)
        // Of each group the name of its case, by its type.
        var groups: [Substring: Substring] = [:]
        var group: Substring?
        var declared: Set<String> = []
        for line in source.split(separator: "\n") {
            if let match = line.firstMatch(of: /^    case (\w+)\((\w+)\)$/) {
                groups[match.2] = match.1
            } else if let match = line.firstMatch(of: /\benum (\w+):/) {
                group = groups[match.1]
            } else if let group, let match = line.firstMatch(of: /^        case (\w+)(\(.*\))?$/) {
                declared.insert("\(group).\(match.1)")
            }
        }
        #expect(declared.count > 50)
        #expect(declared == Set(samples.map(name)))
    }
}
