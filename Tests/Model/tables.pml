/* Written by `.ci/model --write` from the Swift code; do not edit. */

#define ConfinedState_beforeSetUp 0
#define ConfinedState_serving 1
#define ProcessState_starting 0
#define ProcessState_ready 1
#define OpenState_open 0
#define State_waiting 1
#define State_running 2
#define State_heldBack 3
#define State_awaitingExit 4
#define State_over 5
#define Lifecycle_starting 1
#define Lifecycle_serving 2
#define Lifecycle_awaitingReplacement 3
#define Lifecycle_draining 4
#define Lifecycle_cancelling 5

/* BrokerMessage, Sources/Wire/BrokerWorkerMessages.swift */
mtype = { BrokerMessage_setUp, BrokerMessage_credentials, BrokerMessage_withdraw, BrokerMessage_tags, BrokerMessage_signer, BrokerMessage_handshake, BrokerMessage_keyUpdate, BrokerMessage_cancel };
/* setUp: any number */
#define permitted_BrokerMessage_setUp(s) (s == ConfinedState_beforeSetUp || s == ConfinedState_serving)
#define next_BrokerMessage_setUp(s) ConfinedState_serving
/* credentials: any number */
#define permitted_BrokerMessage_credentials(s) (s == ConfinedState_serving)
/* withdraw: any number */
#define permitted_BrokerMessage_withdraw(s) (s == ConfinedState_serving)
/* tags: any number */
#define permitted_BrokerMessage_tags(s) (s == ConfinedState_serving)
/* signer: any number */
#define permitted_BrokerMessage_signer(s) (s == ConfinedState_serving)
/* handshake: any number */
#define permitted_BrokerMessage_handshake(s) (s == ConfinedState_serving)
/* keyUpdate: any number */
#define permitted_BrokerMessage_keyUpdate(s) (s == ConfinedState_serving)
/* cancel: any number */
#define permitted_BrokerMessage_cancel(s) (s == ConfinedState_serving)

/* WorkerMessage, Sources/Wire/BrokerWorkerMessages.swift */
mtype = { WorkerMessage_ready, WorkerMessage_configured, WorkerMessage_heard, WorkerMessage_result, WorkerMessage_log };
/* ready: once */
#define permitted_WorkerMessage_ready(s) (s == ProcessState_starting)
#define next_WorkerMessage_ready(s) ProcessState_ready
/* configured: answer   credentials , inOrder: true */
#define permitted_WorkerMessage_configured(s) (s == ProcessState_ready)
/* heard: notice   handshake */
#define permitted_WorkerMessage_heard(s) (s == ProcessState_ready)
/* result: answer   handshake,  keyUpdate , inOrder: false */
#define permitted_WorkerMessage_result(s) (s == ProcessState_ready)
/* log: any number */
#define permitted_WorkerMessage_log(s) (s == ProcessState_ready)

/* KeyLookup, Sources/Wire/BrokerWorkerMessages.swift */
mtype = { KeyLookup_lookup };
/* lookup: any number */
#define permitted_KeyLookup_lookup(s) (s == OpenState_open)

/* KeyAnswer, Sources/Wire/BrokerWorkerMessages.swift */
mtype = { KeyAnswer_key, KeyAnswer_unknown, KeyAnswer_unusable };
/* key: answer   lookup , inOrder: true */
#define permitted_KeyAnswer_key(s) (s == OpenState_open)
/* unknown: answer   lookup , inOrder: true */
#define permitted_KeyAnswer_unknown(s) (s == OpenState_open)
/* unusable: answer   lookup , inOrder: true */
#define permitted_KeyAnswer_unusable(s) (s == OpenState_open)

/* SignerOrder, Sources/Wire/BrokerSignerMessages.swift */
mtype = { SignerOrder_setUp, SignerOrder_load, SignerOrder_release, SignerOrder_permit, SignerOrder_forget, SignerOrder_connect, SignerOrder_ping };
/* setUp: once */
#define permitted_SignerOrder_setUp(s) (s == ConfinedState_beforeSetUp)
#define next_SignerOrder_setUp(s) ConfinedState_serving
/* load: any number */
#define permitted_SignerOrder_load(s) (s == ConfinedState_serving)
/* release: any number */
#define permitted_SignerOrder_release(s) (s == ConfinedState_serving)
/* permit: any number */
#define permitted_SignerOrder_permit(s) (s == ConfinedState_serving)
/* forget: any number */
#define permitted_SignerOrder_forget(s) (s == ConfinedState_serving)
/* connect: any number */
#define permitted_SignerOrder_connect(s) (s == ConfinedState_serving)
/* ping: any number */
#define permitted_SignerOrder_ping(s) (s == ConfinedState_serving)

/* SignerReport, Sources/Wire/BrokerSignerMessages.swift */
mtype = { SignerReport_ready, SignerReport_loaded, SignerReport_alive, SignerReport_misbehaved, SignerReport_signed };
/* ready: once */
#define permitted_SignerReport_ready(s) (s == ProcessState_starting)
#define next_SignerReport_ready(s) ProcessState_ready
/* loaded: answer   load , inOrder: true */
#define permitted_SignerReport_loaded(s) (s == ProcessState_ready)
/* alive: answer   ping , inOrder: true */
#define permitted_SignerReport_alive(s) (s == ProcessState_ready)
/* misbehaved: any number */
#define permitted_SignerReport_misbehaved(s) (s == ProcessState_ready)
/* signed: any number */
#define permitted_SignerReport_signed(s) (s == ProcessState_ready)

/* SigningQuestion, Sources/SigningWire/WorkerSignerMessages.swift */
mtype = { SigningQuestion_sign, SigningQuestion_describe };
/* sign: any number */
#define permitted_SigningQuestion_sign(s) (s == OpenState_open)
/* describe: any number */
#define permitted_SigningQuestion_describe(s) (s == OpenState_open)

/* SigningAnswer, Sources/SigningWire/WorkerSignerMessages.swift */
mtype = { SigningAnswer_signature, SigningAnswer_publicKey, SigningAnswer_refused };
/* signature: answer   sign , inOrder: true */
#define permitted_SigningAnswer_signature(s) (s == OpenState_open)
/* publicKey: answer   describe , inOrder: true */
#define permitted_SigningAnswer_publicKey(s) (s == OpenState_open)
/* refused: answer   sign,  describe , inOrder: true */
#define permitted_SigningAnswer_refused(s) (s == OpenState_open)

/* Changes of a handshake's state, by the function of HandshakeTable, Sources/Broker/Handshake.swift */
#define note_moves(from, to) (from == State_waiting && to == State_waiting)
#define dispatch_moves(from, to) (from == State_waiting && to == State_running)
#define requeue_moves(from, to) (from == State_running && to == State_waiting)
#define finish_moves(from, to) (from == State_running && to == State_awaitingExit || from == State_running && to == State_heldBack || from == State_running && to == State_over)
#define exited_moves(from, to) (from == State_awaitingExit && to == State_heldBack || from == State_awaitingExit && to == State_over)
#define fail_moves(from, to) (from == State_waiting && to == State_over || from == State_running && to == State_over || from == State_awaitingExit && to == State_over || from == State_heldBack && to == State_over)
#define due_moves(from, to) (from == State_heldBack && to == State_over)

/* Lifecycle.mayBecome, Sources/Broker/Broker.swift */
#define mayBecome(from, to) (from == Lifecycle_starting && to == Lifecycle_serving || from == Lifecycle_starting && to == Lifecycle_draining || from == Lifecycle_serving && to == Lifecycle_awaitingReplacement || from == Lifecycle_serving && to == Lifecycle_draining || from == Lifecycle_awaitingReplacement && to == Lifecycle_draining || from == Lifecycle_draining && to == Lifecycle_cancelling || from == Lifecycle_cancelling && to == Lifecycle_cancelling)
