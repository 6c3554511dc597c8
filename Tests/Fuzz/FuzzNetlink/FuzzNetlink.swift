import Handshake
import KernelWire
import Policy
import Wire

/// A datagram from the kernel: every message in it is read as what it may be. Nothing may trap, and a request that is
/// understood must keep what the rest of the daemon relies on.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzNetlink(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    // libFuzzer's memory, valid during this call.
    let bytes = unsafe UnsafeBufferPointer(start: start, count: count)
    readDatagram(unsafe bytes.span)
    return 0
}

private func readDatagram(_ bytes: Span<UInt8>) {
    guard let messages = try? NetlinkMessage.all(in: bytes) else { return }
    for message in messages {
        if let socket = try? NetlinkDiagnostics(from: message, in: bytes) { precondition(!socket.isMember(of: 0)) }
        if message.type == NetlinkNumber.error {
            guard let verdict = try? NetlinkAcknowledgement(from: message, in: bytes) else { continue }
            precondition((0..<4096).contains(verdict.number))
        } else if let generic = try? GenericNetlinkMessage(from: message, in: bytes) {
            check(AcceptReply(from: generic, in: bytes))
        }
    }
}

private func check(_ reply: AcceptReply) {
    if let socket = reply.socket { precondition(socket >= 0) }
    guard case .success(let request) = reply.request else { return }
    precondition(reply.socket != nil && request.transport == .netlink)
    precondition(request.peerIdentities.count <= MessageLimit.preSharedKeys)
    precondition(request.peerIdentities.allSatisfy { $0.number > 0 })
    if let name = request.peerName {
        precondition(!name.isEmpty && name.utf8.count <= MessageLimit.peerName && !name.utf8.contains(0))
    }
    if let timeout = request.timeout { precondition(timeout > .zero) }
    precondition(request.allowance > .zero)
}
