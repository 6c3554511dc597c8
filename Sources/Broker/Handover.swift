internal import Handshake
internal import Keyrings
internal import System
internal import Unconfined
internal import Upcall

/// A restart that consumers do not notice, if the service manager stores descriptors
/// (docs/decisions/0081-restart-without-loss.md).
///
/// The service manager stores the upcall sockets, so that the kernel sees a listener and keeps requests while no daemon
/// runs. On SIGTERM the broker forks. The parent exits, which the manager waits for. The child continues until the
/// replacement daemon is ready, and then finishes its handshakes.
final class Handover {
    /// Descriptors inherited through the service manager, until all of them are in use.
    private var kept: KeptDescriptors?
    /// Becomes readable when the replacement daemon is ready.
    private var succession: HandoverPipe?
    private var source: BrokerSource?

    private unowned let broker: Broker
    private var log: DaemonLog { broker.log }

    init(_ broker: Broker) { self.broker = broker }

    /// Takes the descriptors that the previous process stored with the service manager.
    func begin() { kept = KeptDescriptors() }

    /// FDNAME under which the service manager stores an upcall socket: its kind and its namespace. The socket keeps the
    /// namespace alive.
    private static func storeName(_ kind: String, _ identity: NamespaceIdentity) -> String {
        "\(kind).\(identity.device).\(identity.inode)"
    }

    /// The stored descriptor of this kind of upcall, if there is one.
    func inherited(_ kind: String, _ identity: NamespaceIdentity) -> OwnedDescriptor? {
        kept?.take(Self.storeName(kind, identity))
    }

    /// Stores an upcall socket for the replacement daemon.
    func store(_ upcall: any Upcall, _ identity: NamespaceIdentity) {
        guard let kind = upcall.storeName, let number = upcall.descriptors.first else { return }
        attempt { () throws(SystemError) in try DescriptorStore.put(number, as: Self.storeName(kind, identity)) }
    }

    /// Removes an upcall socket from the store.
    func remove(_ upcall: any Upcall, _ identity: NamespaceIdentity) {
        guard let kind = upcall.storeName else { return }
        attempt { () throws(SystemError) in try DescriptorStore.remove(Self.storeName(kind, identity)) }
    }

    /// Called when all namespaces are served: notifies the previous process, and removes unused descriptors from the
    /// store.
    func complete() {
        let rest = kept?.names ?? []
        kept = nil
        for name in rest { attempt { () throws(SystemError) in try DescriptorStore.remove(name) } }
        do {
            succession = try HandoverPipe.store(as: "heir.\(ThisProcess.identifier)")
        } catch {
            log.error(
                "the handover pipe cannot be stored: \(error.description); the next restart interrupts the service")
        }
    }

    /// Forks a process that serves until the replacement daemon is ready.
    ///
    /// - Returns: `true` in the child, which continues to serve; never returns in the parent; `false` if the sockets
    ///   are not stored.
    func fork() -> Bool {
        guard let succession, succession.isKept else { return false }
        do {
            switch try Fork.fork() {
            case .parent(let child):
                log.notice(
                    "process \(child) keeps serving until the replacement is ready, \(broker.handshakes.table.count.counted("handshake")) in flight"
                )
                Fork.leave()
            case .child:
                try awaitReplacement(succession.number)
            }
        } catch {
            log.error("the service cannot be handed over: \(error.description)")
            return false
        }
        return true
    }

    private func awaitReplacement(_ number: Int32) throws(SystemError) {
        broker.become(.awaitingReplacement)
        ServiceManager.disableNotifications()
        ProcessHardening.lockMemory()
        try broker.watchSignals()
        source = try broker.loop.watch(number) { [unowned self] _ in broker.drainAfterHandover() }
        broker.control.close()
        do {
            try Keyring.establishProcessKeyring()
        } catch {
            log.error("keyrings of consumers cannot be used: \(error.description)")
        }
    }

    /// Stops waiting for the replacement daemon.
    func end() { source?.cancel() }

    private func attempt<Value>(_ body: () throws(SystemError) -> Value) {
        do {
            _ = try body()
        } catch {
            log.error("the service manager's store cannot be used: \(error.description)")
        }
    }
}
