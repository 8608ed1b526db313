import MeshWire
import Testing

@testable import MeshCore

/// How long others are waited for is learnt from them alone.
@Suite struct ConfirmationPatienceTests {
    @Test func `what nobody has to enter is no sample`() {
        let mesh = SmallMesh(1)
        for number in 1...20 { mesh.attach("user \(number)", at: 0) }
        #expect(mesh.mesh.hosts[0].node.knownBatch == 20)
        let hasLearnt = mesh.mesh.hosts[0].node.directory.confirmations.smoothed != nil
        #expect(!hasLearnt)
    }

    @Test func `a change that another has to enter is one`() {
        let mesh = SmallMesh(2)
        mesh.attach("ann", at: 0)
        mesh.run(for: .milliseconds(50))
        let hasLearnt = mesh.mesh.hosts[0].node.directory.confirmations.smoothed != nil
        #expect(hasLearnt)
    }
}
