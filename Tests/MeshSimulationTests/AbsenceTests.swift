import MeshCore
import MeshWire
import Testing

@testable import MeshSimulation

/// Users who go one after the other are each announced, in their own time.
@Suite struct AbsenceTests {
    @Test func `each of several absences is announced when its grace is over`() {
        var world = mesh(of: 4, seed: 11)
        let ready = world.run(atMost: .seconds(5)) { $0.allReady() && $0.agree() }
        #expect(ready)
        let users = ["ann", "bob", "cid"]
        for user in users {
            world.watch(3, user)
            world.change(1, .user, user, .add)
        }
        world.run(for: .seconds(1))
        #expect(world.presences(3).map { $0.isOnline } == [true, true, true])
        // All are gone before the first of them is announced.
        for user in users {
            world.change(1, .user, user, .remove)
            world.run(for: .milliseconds(60))
        }
        for count in 0...3 {
            #expect(world.presences(3).count { !$0.isOnline } == count)
            world.run(for: .milliseconds(60))
        }
    }
}
