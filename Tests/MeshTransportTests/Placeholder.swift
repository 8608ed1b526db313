import Testing

@testable import MeshTransport
