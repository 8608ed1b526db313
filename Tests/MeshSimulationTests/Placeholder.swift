import Testing

@testable import MeshSimulation
