import CLinux
import Glibc
import MeshCore
import MeshGateway
import MeshWire
