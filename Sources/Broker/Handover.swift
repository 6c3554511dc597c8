internal import Handshake
internal import Keyrings
internal import System
internal import Unconfined
internal import Upcall

/// A restart that no consumer notices, where the service manager keeps descriptors
/// (docs/decisions/0081-restart-without-loss.md).
///
/// The sockets that make the kernel believe that somebody listens are in the manager's store, so that requests wait in
/// the kernel while nobody runs. On SIGTERM the broker forks: the parent ends, which is what the manager waits for, and
/// the child goes on as if nothing had happened, until the replacement daemon is ready. Then it finishes what it has.
final class Handover {
    /// Descriptors inherited through the service manager, until all of them are in use.
    private var kept: KeptDescriptors?
    /// Becomes readable when the replacement daemon is ready.
    private var succession: HandoverPipe?
    private var source: BrokerSource?

    private unowned let broker: Broker
    private var log: DaemonLog { broker.log }

    init(_ broker: Broker) { self.broker = broker }

    /// Takes what a predecessor left with the service manager.
    func begin() { kept = KeptDescriptors() }

    /// FDNAME under which the service manager keeps an upcall's socket: kind, and the namespace, which a kept socket
    /// keeps alive.
    private static func storeName(_ kind: String, _ identity: NamespaceIdentity) -> String {
        "\(kind).\(identity.device).\(identity.inode)"
    }

    /// The predecessor's descriptor for this kind of way in, if it left one.
    func inherited(_ kind: String, _ identity: NamespaceIdentity) -> OwnedDescriptor? {
        kept?.take(Self.storeName(kind, identity))
    }

    /// Stores an upcall's socket for the replacement daemon.
    func store(_ upcall: any Upcall, _ identity: NamespaceIdentity) {
        guard let kind = upcall.storeName, let number = upcall.descriptors.first else { return }
        attempt { () throws(SystemError) in try DescriptorStore.put(number, as: Self.storeName(kind, identity)) }
    }

    /// Removes it from the store.
    func remove(_ upcall: any Upcall, _ identity: NamespaceIdentity) {
        guard let kind = upcall.storeName else { return }
        attempt { () throws(SystemError) in try DescriptorStore.remove(Self.storeName(kind, identity)) }
    }

    /// Called when everything is served: lets the predecessor know, and lets go of what it left and is not wanted.
    func complete() {
        let rest = kept?.names ?? []
        kept = nil
        for name in rest { attempt { () throws(SystemError) in try DescriptorStore.remove(name) } }
        do {
            succession = try HandoverPipe.store(as: "heir.\(Host.processIdentifier)")
        } catch {
            log.error("a restart would not go without a gap: \(error.description)")
        }
    }

    /// Forks a process that serves until the replacement daemon is ready.
    ///
    /// - Returns: in the parent never; `true` in the child, which serves on; `false` where nothing keeps the sockets.
    func fork() -> Bool {
        guard let succession, succession.isKept else { return false }
        do {
            switch try Fork.fork() {
            case .parent(let child):
                log.notice(
                    "process \(child) serves on until a successor does, \(broker.handshakes.table.count) handshakes under way"
                )
                Fork.leave()
            case .child:
                try becomeRemainder(succession.number)
            }
        } catch {
            log.error("the service cannot be passed on: \(error.description)")
            return false
        }
        return true
    }

    private func becomeRemainder(_ number: Int32) throws(SystemError) {
        broker.become(.remainder)
        ServiceManager.disableNotifications()
        Fork.lockMemoryAgain()
        try broker.watchSignals()
        source = try broker.loop.watch(number) { [unowned self] _ in broker.finishRemainder() }
        broker.control.close()
        do {
            try Keyring.establishProcessKeyring()
        } catch {
            log.error("keyrings of consumers cannot be used: \(error.description)")
        }
    }

    /// The replacement daemon is not waited for any longer.
    func end() { source?.cancel() }

    private func attempt<Value>(_ body: () throws(SystemError) -> Value) {
        do {
            _ = try body()
        } catch {
            log.error("the service manager's store cannot be used: \(error.description)")
        }
    }
}
