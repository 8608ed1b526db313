import MeshWire
import Testing

@testable import MeshCore

@Suite struct CoordinateTests {
    /// Places on a plane, with round trips as long as the ways between them.
    private static let places: [(x: Double, y: Double)] = [
        (0, 0), (70, 10), (80, -10), (200, 60), (190, -80), (2, 3), (72, 14), (198, 55),
    ]

    private static func roundTrip(_ one: Int, _ other: Int) -> Double {
        let (dx, dy) = (places[one].x - places[other].x, places[one].y - places[other].y)
        return max(0.4, (dx * dx + dy * dy).squareRoot())
    }

    @Test func `after some hundred round trips nobody's estimates are far off`() {
        var random = RandomSource(seed: 4)
        let count = Self.places.count
        var nodes = (0..<count).map { _ in Coordinates(at: Instant(nanoseconds: 0)) }
        for place in nodes.indices {
            for index in 0..<count { nodes[place].admit(MemberIndex(index)) }
        }
        for _ in 0..<400 {
            for place in nodes.indices {
                let other = (place + 1 + random.next(below: count - 1)) % count
                nodes[place].measured(
                    Self.roundTrip(place, other),
                    to: nodes[place].coordinate(of: MemberIndex(other)) ?? .origin,
                    &random)
                for index in nodes.indices where index != place {
                    nodes[index].accept(nodes[place].own, of: MemberIndex(place))
                }
            }
        }
        var worst = 0.0
        for one in 0..<count {
            for other in 0..<count where one != other {
                let estimate = nodes[one].estimate(MemberIndex(other))!
                worst = max(worst, abs(estimate - Self.roundTrip(one, other)))
            }
        }
        // Of 200 ms: far enough from the neighbouring class.
        #expect(worst < 25, "\(worst) ms")
        let meanError = nodes.reduce(0) { $0 + $1.error } / Double(count)
        #expect(meanError < 0.4)
    }

    @Test func `on one switch nobody moves enough to tell anybody`() {
        var random = RandomSource(seed: 5)
        var node = Coordinates(at: Instant(nanoseconds: 0))
        for index in 0..<17 { node.admit(MemberIndex(index)) }
        for _ in 0..<5_000 {
            node.measured(0.2 + random.nextUnit() * 0.6, to: .origin, &random)
            #expect(!Coordinates.isNews(node.own, since: .origin))
        }
        let spread = node.takeSpread(at: Instant(nanoseconds: 1_000_000_000_000))
        #expect(spread == nil)
    }

    @Test func `a pause is not taken for a distance, and a longer way is`() {
        var trips = RoundTrips()
        #expect(trips.smoothed == nil)
        // The very first one may be a pause.
        trips.add(.seconds(10_000))
        for _ in 0..<40 { trips.add(.microseconds(500)) }
        #expect(trips.smoothed! <= .microseconds(505))
        trips.add(.milliseconds(900))
        trips.add(.milliseconds(100))
        #expect(trips.smoothed! < .microseconds(650))
        for _ in 0..<40 { trips.add(.milliseconds(40)) }
        #expect(trips.smoothed! > .milliseconds(39))
        trips.add(.zero)
        #expect(trips.smoothed! == .microseconds(2))
    }

    @Test func `round trips of one class differ by half, and all below a millisecond are one`() {
        #expect(Coordinates.roundTripClass(0.01) == Coordinates.roundTripClass(1))
        #expect(Coordinates.roundTripClass(10) < Coordinates.roundTripClass(16))
        #expect(Coordinates.isWorthChange(from: 80, to: 20))
        #expect(!Coordinates.isWorthChange(from: 80, to: 60))
        #expect(!Coordinates.isWorthChange(from: 4, to: 0.1))
    }

    @Test func `everybody is told of a place once, however long the node stays there`() {
        var random = RandomSource(seed: 6)
        var node = Coordinates(at: Instant(nanoseconds: 0))
        let peer = Coordinate(x: 0, y: 0, z: 0, height: 1, error: 10)
        var told: [Coordinate] = []
        for second in 1...200 as ClosedRange<Int64> {
            // After a hundred seconds the way has become four times as long.
            for _ in 0..<20 {
                node.measured(second <= 100 ? 50 : 200, to: peer, &random)
            }
            let now = Instant(nanoseconds: second * 40_000_000_000)
            if let place = node.takeSpread(at: now) { told.append(place) }
        }
        #expect(told.count >= 2 && told.count <= 6, "\(told)")
        #expect(zip(told, told.dropFirst()).allSatisfy { $0 != $1 })
    }
}
