/// The version of this software, as `--version`, `INFO` and `/metrics` tell it.
public enum Version {
    public static let current = "0.1.0"
}
