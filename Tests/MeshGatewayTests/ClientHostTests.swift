import MeshWire
import Testing

@testable import MeshGateway

/// One host does not take the places of all.
@Suite struct ClientHostTests {
    private static func gateway(_ proxies: [AddressRange] = []) -> Gateway {
        var configuration = GatewayConfiguration()
        configuration.clientCountMax = 10
        configuration.trustedProxies = proxies
        return Gateway(configuration, hasher: KeyHasher(1, 2))
    }

    private static func open(
        _ gateway: inout Gateway, _ peer: Endpoint, _ origin: ClientOrigin = .elsewhere
    ) -> ClientIndex? {
        gateway.open(
            address: peer.description, peer: peer, origin: origin, at: gateway.hub.now)
    }

    private static let attacker = Endpoint(ipv4: 0x0A00_0001, port: 40_000)
    private static let other = Endpoint(ipv4: 0x0A00_0002, port: 40_000)

    @Test func `a host has at most half of the places, and gets them back`() throws {
        var gateway = Self.gateway()
        var clients: [ClientIndex] = []
        for port in 1...5 {
            let peer = Endpoint(ipv4: 0x0A00_0001, port: UInt16(port))
            clients.append(try #require(Self.open(&gateway, peer)))
        }
        #expect(Self.open(&gateway, Self.attacker) == nil)
        #expect(Self.open(&gateway, Self.attacker) == nil)
        let refused = gateway.hub.counters[.connectionsOfHostsRefused]
        #expect(refused == 2)
        // The log has one line for both.
        let addresses = gateway.hub.outbox.complaints.map(\.address)
        #expect(addresses == ["10.0.0.1:40000"])
        let guests = (0..<4).map { _ in Self.open(&gateway, Self.other) }
        #expect(guests.allSatisfy { $0 != nil })
        _ = gateway.close(clients[2], .inOrder)
        #expect(Self.open(&gateway, Self.attacker) != nil)
        #expect(Self.open(&gateway, Self.attacker) == nil)
    }

    @Test func `of this machine and of proxies any number may come`() throws {
        let proxies = try #require(AddressRange(Self.other, bits: 31))
        var gateway = Self.gateway([proxies])
        for _ in 0..<4 { #expect(Self.open(&gateway, Self.other) != nil) }
        for _ in 0..<6 { #expect(Self.open(&gateway, Self.attacker, .machine) != nil) }
        #expect(Self.open(&gateway, Self.other) == nil)
        let refused = gateway.hub.counters[.connectionsOfHostsRefused]
        #expect(refused == 0, "all places are taken")
    }

    @Test func `addresses of one IPv6 network of 64 bits are one host's`() {
        var gateway = Self.gateway()
        for low in 1...5 {
            let peer = Endpoint(ipv6High: 0x2001_0DB8 << 32 | 7, low: UInt64(low) << 40, port: 1)
            #expect(Self.open(&gateway, peer) != nil)
        }
        let same = Endpoint(ipv6High: 0x2001_0DB8 << 32 | 7, low: .max, port: 1)
        let neighbour = Endpoint(ipv6High: 0x2001_0DB8 << 32 | 8, low: 1, port: 1)
        #expect(Self.open(&gateway, same) == nil)
        #expect(Self.open(&gateway, neighbour) != nil)
    }

    @Test func `where there is one place, any host may have it`() {
        var configuration = GatewayConfiguration()
        configuration.clientCountMax = 1
        var gateway = Gateway(configuration, hasher: KeyHasher(1, 2))
        #expect(Self.open(&gateway, Self.attacker) != nil)
    }
}
