import Glibc

/// All fuzz targets in one binary: `$FUZZER` names the one that takes the inputs.
///
/// A target is a file beside this one with a function that returns 0, and a case here. Compiling and linking all at once
/// takes as long as doing so for one, and the counters of the others stay at nought.
enum Fuzzer: String, CaseIterable {
    case frames = "FrameFuzzer"
    case messages = "MessageFuzzer"
    case node = "NodeFuzzer"
    case redis = "RESPFuzzer"

    /// The one that was asked for; without a name libFuzzer's own options are of no use either.
    static let wanted: Fuzzer = {
        guard let name = unsafe getenv("FUZZER").map({ unsafe String(cString: $0) }) else {
            fatalError("FUZZER is not set: one of \(allCases.map(\.rawValue))")
        }
        guard let fuzzer = Fuzzer(rawValue: name) else {
            fatalError("there is no \(name): one of \(allCases.map(\.rawValue))")
        }
        return fuzzer
    }()
}

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    switch Fuzzer.wanted {
    case .frames: unsafe fuzzFrames(start, count)
    case .messages: unsafe fuzzMessages(start, count)
    case .node: unsafe fuzzNode(start, count)
    case .redis: unsafe fuzzRESP(start, count)
    }
}
