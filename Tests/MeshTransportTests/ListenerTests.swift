import Glibc
import MeshWire
import Testing

@testable import MeshTransport

private let any = Endpoint(ipv4: 0x7F00_0001, port: 0)

@Suite struct ListenerTests {
    @Test func `port 0 becomes a port that can be connected to`() throws {
        let listeners = try Listeners(mesh: any, redis: any, http: nil)
        #expect(listeners.meshEndpoint.port != 0)
        #expect(listeners.redisEndpoint?.port != listeners.meshEndpoint.port)
        #expect(listeners.httpEndpoint == nil)
        _ = try TestSocket(listeners.meshEndpoint)
    }

    @Test func `a taken port is an error that names address and flag`() throws {
        let first = try Listeners(mesh: any, redis: nil, http: nil)
        #expect {
            _ = try Listeners(mesh: any, redis: first.meshEndpoint, http: nil)
        } throws: { error in
            let error = error as! SystemError
            return error.isAddressInUse
                && error.action == "listen on \(first.meshEndpoint) (--redis)"
        }
    }

    @Test func `IPv6 addresses pass through the kernel unchanged`() throws {
        let loopback = Endpoint(ipv6High: 0, low: 1, port: 0)
        let listeners = try Listeners(mesh: loopback, redis: nil, http: nil)
        #expect(listeners.meshEndpoint.isIPv6 && listeners.meshEndpoint.isLoopback)
        _ = try TestSocket(listeners.meshEndpoint)
    }

    @Test func `the way to a loopback address starts at a loopback address`() {
        let source = Endpoint.source(towards: Endpoint(ipv4: 0x7F00_0001, port: 9), port: 7)
        #expect(source == Endpoint(ipv4: 0x7F00_0001, port: 7))
    }

    @Test func `a token survives its way through the kernel`() {
        for token in [
            Token(index: ConnectionIndex(0), generation: 0),
            Token(index: ConnectionIndex(rawValue: .max), generation: .max),
            .listener(0), .listener(3), .inbox,
        ] {
            #expect(Token(token.word) == token)
        }
        #expect(Token.listener(3).listener == 3 && Token.inbox.listener == nil)
    }

    @Test func `a place in the slab is reused with another generation`() {
        var slab = Connections(capacity: 2)
        let first = slab.allocate()!
        let generation = slab[first].generation
        slab.release(first)
        let again = slab.allocate()!
        #expect(again == first)
        let hasChanged = slab[again].generation != generation
        #expect(hasChanged)
        let second = slab.allocate()
        #expect(second != nil)
        let third = slab.allocate()
        #expect(third == nil)
    }
}
