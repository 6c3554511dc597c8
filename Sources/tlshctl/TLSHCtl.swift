internal import ArgumentParser
internal import Handshake

/// What an operator asks tlshd, and asks about its settings and peers; tlshctl(8).
@main
struct TLSHCtl: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tlshctl", abstract: "Looks after tlshd, the TLS handshake daemon.", version: Version.text)
}
