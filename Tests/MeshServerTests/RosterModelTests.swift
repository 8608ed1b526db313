import MeshCore
import MeshDriver
import MeshWire
import Testing

@testable import MeshGateway
@testable import MeshServer

/// Rosters beside lists of who is in the rooms, under random commands, lost frames and a crash.
@Suite struct RosterModelTests {
    private struct Trial {
        static let rooms = ["lobby", "kitchen"]
        let gallery = Gallery()
        var random: RandomSource
        /// By person: the user, its metadata, and its own by room.
        var users: [Int: (name: String, metadata: String?)] = [:]
        var rooms: [Int: [String: String?]] = [:]
        var watchers: [Int] = []
        /// The room that each watches.
        var watched: [Int: String] = [:]
        var live: [Int] = [0, 1, 2]

        init(seed: UInt64, losesFrames: Bool) {
            random = RandomSource(seed: seed)
            var weather = RandomSource(seed: seed ^ 0x5555)
            if losesFrames {
                gallery.servers.mesh.judge = { _, _, frame in
                    guard frame[4] == FrameKind.routed.rawValue else { return .pass }
                    switch weather.next(below: 30) {
                    case 0: return .drop
                    case 1...8: return .delay(.microseconds(Int64(weather.next(below: 20_000))))
                    default: return .pass
                    }
                }
            }
        }

        mutating func pick<Element>(_ all: [Element]) -> Element? {
            all.isEmpty ? nil : all[random.next(below: all.count)]
        }

        mutating func step() {
            let members = users.keys.sorted()
            let room = pick(Self.rooms)!
            switch random.next(below: 40) {
            case 0..<3:
                let name = "u\(random.next(below: 12))"
                guard members.count < 30, let host = pick(live) else { return }
                let person = gallery.attach(name, host)
                users[person] = (name, nil)
                rooms[person] = [:]
            case 3..<12:
                guard let person = pick(members) else { return }
                let metadata = random.next(below: 2) == 0 ? nil : "m\(random.next(below: 99))"
                gallery.say(person, "MESH.JOIN \(room)" + (metadata.map { " META \($0)" } ?? ""))
                if rooms[person]![room] == nil || metadata != nil {
                    rooms[person]![room] = .some(metadata)
                }
            case 12..<19:
                guard let person = pick(members) else { return }
                gallery.say(person, "MESH.LEAVE \(room)")
                rooms[person]![room] = nil
            case 19..<22:
                guard let person = pick(members) else { return }
                let metadata = "a\(random.next(below: 99))"
                gallery.say(person, "MESH.META \(users[person]!.name) \(metadata)")
                users[person]!.metadata = metadata
            case 22..<24:
                guard let person = pick(members) else { return }
                forget(person)
                gallery.close(person)
            case 24..<26:
                guard watchers.count < 9, let host = pick(live) else { return }
                let person = gallery.open(host)
                watchers.append(person)
                watched[person] = room
                gallery.say(person, "MESH.WATCHROOM \(room)")
            case 26:
                guard let person = pick(watchers) else { return }
                watchers.removeAll { $0 == person }
                gallery.close(person)
            default: gallery.run(random.next(below: 40))
            }
        }

        mutating func forget(_ person: Int) {
            users[person] = nil
            rooms[person] = nil
        }

        mutating func crash(_ host: Int) {
            live.removeAll { $0 == host }
            for person in users.keys.sorted() where gallery.people[person].host == host {
                forget(person)
            }
            watchers.removeAll { gallery.people[$0].host == host }
            gallery.crash(host)
        }

        /// A node stands still, is taken for dead, and goes on.
        mutating func freeze(_ host: Int) {
            live.removeAll { $0 == host }
            let (formerUsers, formerWatchers) = (users, watchers)
            users = users.filter { gallery.people[$0.key].host != host }
            watchers.removeAll { gallery.people[$0].host == host }
            gallery.freeze(host)
            for _ in 0..<60 { step() }
            gallery.run(6_000)
            for _ in 0..<30 { step() }
            gallery.thaw(host)
            live.append(host)
            for (person, user) in formerUsers where gallery.people[person].host == host {
                users[person] = user
            }
            watchers += formerWatchers.filter { gallery.people[$0].host == host }
        }

        /// Soon after the last change everybody knows what is so.
        func check(after milliseconds: Int) {
            gallery.run(milliseconds)
            for watcher in watchers {
                let room = watched[watcher]!
                var members: [String] = []
                for (person, list) in rooms where users[person] != nil {
                    guard let own = list[room] else { continue }
                    let user = users[person]!
                    members.append("\(user.name)/\(own ?? user.metadata ?? "-")")
                }
                let known = gallery.known(watcher, room)
                #expect(known == members.sorted(), "watcher \(watcher) of \(room)")
            }
        }
    }

    @Test(arguments: [(1 as UInt64, false), (2, true), (3, true), (4, true)])
    func `what watchers are told is what is so`(seed: UInt64, losesFrames: Bool) {
        var trial = Trial(seed: seed, losesFrames: losesFrames)
        for _ in 0..<6 {
            for _ in 0..<100 { trial.step() }
            trial.check(after: 2_000)
        }
        trial.freeze(1)
        trial.check(after: 12_000)
        for _ in 0..<50 { trial.step() }
        trial.check(after: 2_000)
        trial.crash(2)
        for _ in 0..<100 { trial.step() }
        trial.check(after: 12_000)
        let told = trial.gallery.people.map(\.words.count).reduce(0, +)
        #expect(told > 50)
        let watchers = trial.watchers
        for watcher in watchers { trial.gallery.close(watcher) }
        trial.gallery.run(10_000)
        for host in 0..<2 { #expect(trial.gallery.bytes(host) == 0) }
    }
}
