import Testing

@testable import MeshGateway
