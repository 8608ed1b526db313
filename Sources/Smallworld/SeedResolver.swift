import MeshTransport
import MeshWire
import Synchronization

/// Finds the addresses that the names of the seeds have now, again and again: a name may get an address
/// after this node has started, and another one later.
///
/// A name that cannot be resolved keeps the addresses that it had: it is the resolver that may be down.
/// Each change of a name is told to the log.
final class SeedResolver: Sendable {
    private struct State {
        var log: Log
        /// The last addresses of each seed, and why it has none now.
        var found: [[Endpoint]]
        var failures: [String?]
    }

    private let seeds: [HostPort]
    private let allowsInsecureAddresses: Bool
    private let state: Mutex<State>

    /// Some seed is a name, so that its addresses may change.
    let hasNames: Bool

    /// - Throws: for a seed whose port is 0.
    init(_ options: MeshNode.Options) throws(MeshNodeError) {
        for seed in options.seeds where seed.port == 0 {
            throw .invalidAddress(seed.description, reason: "a seed's port is not 0")
        }
        seeds = options.seeds
        allowsInsecureAddresses = options.allowsInsecureAddresses
        // localhost never is another machine's (RFC 6761 §6.3).
        hasNames = options.seeds.contains {
            !Resolver.isNumeric($0.host) && $0.host != "localhost"
        }
        state = Mutex(
            State(
                log: options.log, found: Array(repeating: [], count: options.seeds.count),
                failures: Array(repeating: nil, count: options.seeds.count)))
    }

    /// Every address of every seed, each once. Blocks as long as the system's resolver does.
    ///
    /// - Parameter isAgain: an address that other machines can reach, without the permission to use it,
    ///   is told to the log: the node runs already.
    /// - Throws: for such an address, the first time.
    func resolve(isAgain: Bool) throws(MeshNodeError) -> [Endpoint] {
        for place in seeds.indices {
            do throws(MeshNodeError) {
                let addresses = try Resolver.endpoints(of: seeds[place])
                if let open = addresses.first(where: { !$0.isLoopback }), !allowsInsecureAddresses {
                    throw .insecureAddress(
                        "--seed", HostPort(host: seeds[place].host, port: open.port))
                }
                note(addresses, for: place)
            } catch {
                switch error {
                case .unknownHost: break
                default: if !isAgain { throw error }
                }
                note(error.description, for: place)
            }
        }
        return state.withLock { state in
            var all: [Endpoint] = []
            for endpoint in state.found.joined() where !all.contains(endpoint) {
                all.append(endpoint)
            }
            return all
        }
    }

    private func note(_ addresses: [Endpoint], for place: Int) {
        let seed = seeds[place]
        state.withLock { state in
            // The resolver may give them in another order each time.
            let isNews = Set(addresses) != Set(state.found[place])
            if isNews, !state.found[place].isEmpty || state.failures[place] != nil {
                let words = addresses.map(\.description).joined(separator: " ")
                state.log.write(
                    .info, "seedFound",
                    [("seed", .text(seed.description)), ("addresses", .text(words))])
            }
            if isNews { state.found[place] = addresses }
            state.failures[place] = nil
        }
    }

    private func note(_ failure: String, for place: Int) {
        state.withLock { state in
            if state.failures[place] == failure { return }
            state.failures[place] = failure
            state.log.write(
                .warning, "seedUnknown",
                [("reason", .text(failure)), ("hint", .text("it is asked for again and again"))])
        }
    }
}
