import MeshCore
import MeshWire
