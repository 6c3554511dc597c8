/*
 * The life of a handshake in the broker, and the messages between broker, workers and signer, as a model for Spin.
 * docs/decisions/0097-formal-model.md says what it shows. `.ci/model` checks it.
 *
 * For readers who do not know Spin. A `proctype` is a process. Each `:: condition -> action` is a step that may be taken
 * when its condition holds; Spin tries every order of all possible steps of all processes, and each choice where several
 * conditions hold. `atomic { ... }` is one step. `inline` is a function. `channel!message` sends, `channel?message`
 * receives. `assert` must hold in every order. `timeout` is true when no process can take any other step: there, nothing
 * may be left undone (`Watcher`, at the end).
 *
 * The broker is one thread and one event loop, and no function of it waits. So each event that it handles is one atomic
 * step, and the steps are listed in several processes only because they concern one request, one worker or the signer.
 *
 * Names of messages, states and transitions are those of the Swift code. tables.pml is written by `.ci/model` from the
 * permit tables in Sources/Wire and Sources/SigningWire and from HandshakeTable and Lifecycle. Comments in brackets name
 * the Swift function of a step, such as [Handshakes.take].
 *
 * Not modelled: BrokerMessage_withdraw, BrokerMessage_tags, WorkerMessage_heard, WorkerMessage_log, SignerOrder_release:
 * nobody waits for them and they change no state of a handshake. SigningQuestion_describe, SigningAnswer_publicKey: the
 * same course as sign and signature. KeyAnswer_unusable: the same course as unknown.
 */

#include "tables.pml"

/* ---- The scenario. `.ci/model` sets these. ---- */

#ifndef REQUESTS
#define REQUESTS 2      /* requests of the kernel, at most */
#endif
#ifndef SLOTS
#define SLOTS 2         /* places of workers */
#endif
#ifndef WANTED
#define WANTED 2        /* workers that there should be */
#endif
#ifndef QUEUE
#define QUEUE 1         /* messages that a socket's queue has room for */
#endif
#ifndef DEATHS
#define DEATHS 2        /* processes that die or hang, at most; with TIMERS also time limits that pass early */
#endif
#ifndef SIGTERMS
#define SIGTERMS 2      /* at most */
#endif
#ifndef STARTED
#define STARTED 1       /* 1: begins when workers and signer are ready; 0: begins when the daemon is started */
#endif
#ifndef SIGNER
#define SIGNER 0        /* 1: there is a signer, with one set of credentials */
#endif
#ifndef TIMERS
#define TIMERS 0        /* 1: processes may also hang, and time limits may pass at any moment */
#endif
#ifndef LIES
#define LIES 0          /* number of messages that a worker may send against the rules */
#endif
#ifndef HANDOVER
#define HANDOVER 0      /* 1: SIGTERM may lead to a handover to the replacement daemon */
#endif
#ifndef DELAYS
#define DELAYS 0        /* 1: `[debug] delay_done` may delay answers */
#endif
#ifndef TAKEOVERS
#define TAKEOVERS 0     /* 1: the daemon waits until the NFS client has taken over its connection */
#endif
#ifndef RETIRES
#define RETIRES 0       /* number of workers that become due to be replaced; needs one more place */
#endif
#ifndef ISOLATED
#define ISOLATED 0      /* 1: isolation = handshake: a worker runs one handshake, and has ended before a success is told */
#endif
#ifndef RELOADS
#define RELOADS 0       /* 1: the settings may end the isolation, at any time */
#endif
#ifndef LOGS
#define LOGS 0          /* 1: the signer reports each signature */
#endif
#ifndef KINDS
#define KINDS (Lookup + KeyUpdate) /* kinds of requests that may occur */
#endif

#define BALANCES (RETIRES || ISOLATED)
#define NOBODY 15       /* no worker */
#define ENDED 14        /* a worker that has ended */

/* ---- A request ---- */

#define Lookup 1        /* server with PSKs: the worker may look up one in the broker */
#define Role 2          /* client with a certificate: the worker needs a signature with the role's key */
#define Named 4         /* the same with a key that the request names, which the signer holds for it alone */
#define KeyUpdate 8     /* replaces the keys of a connection; only the worker that has its secrets can run it */

typedef Request {
    byte state;         /* [Handshake.State]; 0 before ACCEPT */
    byte kind;
    byte worker = NOBODY; /* [Handshake.worker]; the runner while it is running */
    byte reruns;
    bit touched;        /* bytes were read from or written to its socket since ACCEPT */
    bit hasPermit;      /* [Handshake.permits] */
    bit result;         /* 1: success. While held back, awaiting the exit of its worker, or ending. */
    bit ending;         /* it is in `Endings` */
    bit takeover;       /* it is in `Takeovers` */
    byte answers;       /* DONE was sent so many times */
    /* For the assertions only. */
    bit reported;       /* its runner has reported success */
    bit judged;         /* its connection and PSK were looked at after that */
};
Request request[REQUESTS];
byte arriving;          /* requests of this run */
byte taken;             /* those that were accepted */

/* ---- A worker ---- */

/* Jobs as the worker sees them. */
#define Received 1      /* it has not begun */
#define Asks 2          /* it waits for an answer */
#define Succeeded 3     /* the result is to be sent */
#define Failed 4
#define Unsigned 5      /* failed as signerUnavailable */

typedef Worker {
    /* The broker's view: [WorkerPlace], [Supervisor] and [WorkerProcess]. */
    bit place;          /* there is such a place */
    bit occupied;       /* the place has a process */
    bit state;          /* [ProcessState] */
    bit gone;           /* it has closed its channel or has ended [Supervisor.isGone] */
    bit congested;      /* its queue was full [ProcessChannel.isCongested] */
    bit owes[REQUESTS]; /* its result is awaited [Conversation.unanswered] */
    byte owesConfigured;
    bit due;            /* it is to be replaced [WorkerPool.dueAt] */
    bit retires;        /* [WorkerPlace.isRetiring] */
    bit leaves;         /* [WorkerPlace.isLeaving] */
    bit used;           /* it was given its only handshake (ISOLATED) */
    /* The process itself. */
    bit alive;
    bit hung;
    bit confined;       /* [ConfinedState] */
    byte job[REQUESTS];
    bit asksKey;        /* waits for the broker */
    bit asksSigner;     /* waits for the signer */
    byte link;          /* number of its channel to the signer; 0 for none */
    bit offends;        /* it has asked the signer before it was answered, or without a permit */
};
Worker worker[SLOTS];

/* Queues of the sockets, and the messages that the broker keeps while one is full. */
chan toWorker[SLOTS] = [QUEUE] of { mtype, byte };
chan kept[SLOTS] = [6] of { mtype, byte };
chan fromWorker[SLOTS] = [QUEUE] of { mtype, byte, byte };
chan lookups[SLOTS] = [1] of { mtype, byte };
chan keyAnswers[SLOTS] = [1] of { mtype };

#define isEmpty(queue) (len(queue) == 0)
#define holdsAny(queue) (len(queue) > 0)
#define serves(w) (worker[w].occupied && worker[w].state == ProcessState_ready && !worker[w].gone)
#define isOpen(w) (serves(w) && !worker[w].retires && !worker[w].leaves)
#define takesJobs(w) (isOpen(w) && !worker[w].congested && !worker[w].used)
#define running(j, w) (request[j].state == State_running && request[j].worker == w)

/* ---- The signer ---- */

#if SIGNER
/* The broker's view: [SignerService] and [SignerProcess]. */
bit signerOccupied, signerState, signerGone, signerCongested;
bit signerPauses;       /* the back-off is not over [BackOff] */
bit owesLoaded;         /* `load` is not answered [Conversation.unanswered] */
byte owesAlive;         /* pings that are not answered */
bit setAside;           /* a signer hung while it opened the keys [CredentialPipeline.setAside] */
bit suspectedBy[SLOTS];
/* The set of credentials [RoleCredentialState]. */
#define WithSigner 1
#define WithWorkers 2   /* or in force */
#define Refused 3
byte credentialStage = WithSigner;
/* Its worker may use a key of the signer [Handshakes.signers]. */
#define usesSigner(j) (request[j].kind == Named || request[j].kind == Role && credentialStage == WithWorkers)
/* The process itself. */
bit signerAlive, signerHung, signerConfined, signerHasKeys;
/* The permit for a request: the worker plus 1, or 0; whether a signature is left; whether the request's key came with it
 * [HeldKeys.permits]. */
byte permitFor[REQUESTS];
bit maySign[REQUESTS], hasKey[REQUESTS];
byte signerLink[SLOTS]; /* number of its channel to a worker */
/* The signer's ends of the channels between it and workers that are open, in its hands or on their way, as bits. */
byte openLinks[SLOTS];
byte sentLinks[SLOTS];  /* numbers of channels that are on their way to the worker, as bits */

/* For the assertions only: permits that the broker has sent for a request and a worker, and that nobody has used. */
byte unspent[REQUESTS * SLOTS];
#define unspentBy(j, w) unspent[(j) * SLOTS + (w)]
#define WITH_KEY 8      /* added to the worker in a permit that the key of the request comes with */

chan toSigner = [QUEUE] of { mtype, byte, byte };
chan keptForSigner = [12] of { mtype, byte, byte };
chan fromSigner = [QUEUE] of { mtype, byte };
chan questions[SLOTS] = [2] of { mtype, byte };
chan signatures[SLOTS] = [1] of { mtype };
#endif

/* ---- The daemon ---- */

byte lifecycle = Lifecycle_starting;
bit cancelsLater;       /* [Lifecycle.draining(until:)] has a time */
bit ended;              /* the daemon has ended */
byte sigterms;          /* those that are still to come */
byte deaths;            /* the same */
byte lies = LIES;
byte retirements = RETIRES;
byte wanted = WANTED;   /* [WorkerPool.wanted] */
bit keeps;              /* the place stays, between two steps of `left` only */
bit balances;           /* [WorkerPool.balance] has something to do */
byte blockedOn = NOBODY; /* the worker whose queue the broker waits for. It never does; `.ci/model --mutants` does. */

/* What the broker does in the same turn, after the first part of an event. */
byte finishing;         /* requests that are over in their worker, as bits */
byte removed = NOBODY;  /* the worker that is being removed */
byte spared, blamed;    /* see `lose` */
byte cancelling;        /* requests to cancel, as bits */
byte connecting;        /* workers that get a channel to the signer, as bits */
byte dispatching;       /* requests to dispatch if they wait, as bits */
#define ALL ((1 << REQUESTS) - 1)
#define lowest(bits) (bits & 1 -> 0 : (bits & 2 -> 1 : 2))

#define isInTurn (finishing || removed != NOBODY || cancelling || connecting || dispatching)
#define brokerRuns (!ended && blockedOn == NOBODY && !isInTurn)
#define isStopping (lifecycle == Lifecycle_draining || lifecycle == Lifecycle_cancelling)
#define acceptsRequests (lifecycle == Lifecycle_serving || lifecycle == Lifecycle_awaitingReplacement)

/* Used within one atomic step; 0 between steps. */
byte i, k, chosen, victim, x, y, z;
mtype m;
bit isSent, outcome;

/* The only way to change a state [HandshakeTable.move]: `function` is the function of HandshakeTable that does. */
#define MOVE(function, j, next) \
    assert(function##_moves(request[j].state, next)); request[j].state = next

#define BECOME(next) assert(mayBecome(lifecycle, next)); lifecycle = next

/* ==== The broker: channels ==== */

/* [ProcessChannel.offer]: sends now, behind all that are kept. Sets isSent. */
inline offerToWorker(w, kind, j) {
    isSent = 0;
    if
    :: !worker[w].alive -> worker[w].gone = 1 /* [Supervisor.abandon] */
    :: else ->
        if
        :: isEmpty(kept[w]) && (len(toWorker[w]) < QUEUE) -> toWorker[w]!kind(j); isSent = 1
        :: else -> worker[w].congested = 1
        fi
    fi
}

/* [ProcessChannel.send]: sends, or keeps the message until there is room. */
inline sendToWorker(w, kind, j) {
    offerToWorker(w, kind, j);
    if
    :: isSent || !worker[w].alive -> skip
    :: else -> assert((len(kept[w]) < 6)); kept[w]!kind(j)
    fi;
    isSent = 0
}

#if SIGNER
inline offerToSigner(kind, j, w) {
    isSent = 0;
    if
    :: !signerOccupied || signerGone -> skip
    :: else ->
        if
        :: !signerAlive -> signerGone = 1
        :: else ->
            if
            :: isEmpty(keptForSigner) && (len(toSigner) < QUEUE) -> toSigner!kind(j, w); isSent = 1
            :: else -> signerCongested = 1
            fi
        fi
    fi
}

inline sendToSigner(kind, j, w) {
    offerToSigner(kind, j, w);
    if
    :: isSent || !signerOccupied || signerGone -> skip
    :: else -> assert((len(keptForSigner) < 12)); keptForSigner!kind(j, w)
    fi;
    isSent = 0
}

/* [Handshakes.revokePermits] */
inline revokePermit(j) {
    if
    :: request[j].hasPermit -> request[j].hasPermit = 0; sendToSigner(SignerOrder_forget, j, 0)
    :: else
    fi
}

/* [Handshakes.permit, SignerService.permit]: the signer is sent the permit before the worker is sent the job. If no signer
 * runs, a later one is told. Sets isSent; without it the request waits, or has failed. */
inline givePermit(j, w) {
    if
    :: request[j].kind == Named && !signerOccupied -> isSent = 0; fail(j)
    :: else ->
        z = (request[j].kind == Named -> w + WITH_KEY : w);
        offerToSigner(SignerOrder_permit, j, z);
        z = 0;
        if
        :: isSent -> unspentBy(j, w)++; request[j].hasPermit = 1
        :: !isSent && (!signerOccupied || signerGone) -> isSent = 1; request[j].hasPermit = 1
        :: !isSent && signerOccupied && !signerGone -> isSent = !usesSigner(j)
        fi
    fi
}
#endif

/* ==== The broker: the answer ==== */

/* [Handshakes.conclude]: DONE. */
inline conclude(j, success) {
    /* Each request is answered once; a success only after its runner reported it and the connection was judged. */
    assert(request[j].state == State_over && request[j].answers == 0);
    assert(!success || (request[j].reported && request[j].judged));
    /* Its only worker has ended before, except after the backstop of a failure. */
    assert(!ISOLATED || request[j].worker >= ENDED || TIMERS && !success);
    request[j].answers++;
    request[j].ending = 0; request[j].result = 0; request[j].touched = 0; request[j].reruns = 0;
    request[j].reported = 0; request[j].judged = 0; request[j].worker = NOBODY;
#if TAKEOVERS
    request[j].takeover = 1; /* [Takeovers.begin] */
#endif
    skip
}

/* True if the connection must end before the kernel is told of a failure [Handshake.needsEnding]. */
#define needsEnding(j) (request[j].kind != KeyUpdate && (request[j].kind == Lookup || request[j].worker != NOBODY))

/* It is over with this result, and is finished in the same turn. */
#define OVER(function, j, success) \
    MOVE(function, j, State_over); request[j].result = success; finishing = finishing | (1 << j)

/* [HandshakeTable.fail, Handshakes.fail]: ends it with a failure of the broker, or with its result if that is held back. */
inline fail(j) {
    if
    :: request[j].state == State_over -> skip
    :: request[j].state == State_heldBack -> MOVE(fail, j, State_over); finishing = finishing | (1 << j)
    :: else -> OVER(fail, j, 0)
    fi
}

/* [Handshakes.finish]: it is over in its worker; the kernel is answered at once, or after the end of the connection. */
inline finish(j) {
#if SIGNER
    revokePermit(j);
#endif
    outcome = request[j].result;
    /* [Handshake.judge, Handshake.checkConnection]: a success may turn into a failure. */
    if
    :: outcome -> request[j].judged = 1
    :: outcome -> outcome = 0
    :: else
    fi;
    if
    :: !outcome && needsEnding(j) -> request[j].ending = 1; request[j].result = 0 /* [Endings.begin] */
    :: else -> conclude(j, outcome)
    fi;
    finishing = finishing & ~(1 << j);
    outcome = 0
}

/* ==== The broker: dispatch ==== */

/* [Handshakes.lackingKey]: 1 if it must wait for its key. */
#if SIGNER
#define isOpening (signerState != ProcessState_ready || owesLoaded)
#define isSuspected (suspectedBy[0] || suspectedBy[SLOTS - 1])
/* [SignerService.lack]: it is waited for, unless it is only about to be started after a pause. */
#define lacksSigner (signerOccupied -> isOpening || signerCongested || isSuspected : !signerPauses)
#define lacksKey(j) (request[j].kind == Role && credentialStage == WithSigner || usesSigner(j) && lacksSigner)
#else
#define lacksKey(j) 0
#endif

/* [Handshakes.offer]: the worker is sent the job, and the signer the permit before it. Sets isSent. */
inline offer(j, w, message) {
#if SIGNER
    if
    :: request[j].kind == Role || request[j].kind == Named -> givePermit(j, w)
    :: else -> isSent = 1
    fi;
    if
    :: isSent ->
#endif
        offerToWorker(w, message, j);
        if
        :: isSent ->
            MOVE(dispatch, j, State_running);
            request[j].worker = w;
            worker[w].owes[j] = 1;
            worker[w].used = ISOLATED
        :: else ->
#if SIGNER
            revokePermit(j)
#endif
        fi
#if SIGNER
    :: else
    fi
#endif
}

/* [Handshakes.chooseWorker]: the least loaded one of those that take handshakes. */
#define load(w) (running(0, w) + (REQUESTS > 1 && running(REQUESTS - 1, w)))
inline choose() {
    chosen = NOBODY;
    for (k : 0 .. SLOTS - 1) {
        if
        :: takesJobs(k) && (chosen == NOBODY || load(k) <= load(chosen)) -> chosen = k
        :: takesJobs(k) && chosen != NOBODY && load(k) == load(chosen) -> skip
        :: else
        fi
    }
    k = 0
}

/* [Handshakes.dispatch] */
inline dispatch(j) {
    do
    :: request[j].state != State_waiting -> break
    :: request[j].state == State_waiting && request[j].kind == KeyUpdate ->
        if
        :: request[j].worker == ENDED || !serves(request[j].worker) -> fail(j) /* sessionUnknown */
        :: else -> chosen = request[j].worker; offer(j, chosen, BrokerMessage_keyUpdate)
        fi;
        break
    :: else ->
        choose();
        if
        :: chosen == NOBODY || lacksKey(j) -> MOVE(note, j, State_waiting); break
        :: else ->
            assert(y < SLOTS); /* a worker that does not take the job is not chosen again */
            y++;
            offer(j, chosen, BrokerMessage_handshake)
        fi
    od;
    chosen = 0; isSent = 0; y = 0
}

/* [Handshakes.dispatchWaiting] */
#define dispatchWaiting() dispatching = ALL

/* [Handshakes.take]: a request of ACCEPT. */
inline take(j) {
    if
    :: (KINDS & Lookup) -> request[j].kind = Lookup
    :: (KINDS & Role) -> request[j].kind = Role
    :: (KINDS & Named) -> request[j].kind = Named
    :: (KINDS & KeyUpdate) -> request[j].kind = KeyUpdate
    fi;
    request[j].state = State_waiting;
    if
    :: request[j].kind == KeyUpdate ->
        /* The worker that has the secrets; it may have ended [SessionTable.find]. */
        for (k : 0 .. SLOTS - 1) {
            if
            :: request[j].worker == NOBODY && serves(k) -> request[j].worker = k
            :: true
            fi
        }
        k = 0;
        if
        :: request[j].worker == NOBODY -> request[j].worker = ENDED
        :: else
        fi
    :: else
    fi;
    dispatching = 1 << j;
    taken++
}

/* ==== The broker: results, and other ends ==== */

/* A process that keeps to the rules breaks none: the receiver's check of a message [Conversation.receive]. */
#define PERMIT(condition) assert(condition)

#if SIGNER
/* [SignerService.introduce(WorkerID)]: makes the channel between a worker and the signer. */
inline introduce(w) {
    if
    :: worker[w].occupied && signerOccupied && !signerGone ->
        /* A number that no channel of this worker has. */
        x = 1;
        do
        :: x == worker[w].link || (openLinks[w] | sentLinks[w]) & (1 << x) -> x++
        :: else -> break
        od;
        assert(x < 8);
        if
        :: signerAlive -> openLinks[w] = openLinks[w] | (1 << x)
        :: else
        fi;
        sendToSigner(SignerOrder_connect, x, w);
        sendToWorker(w, BrokerMessage_signer, x);
        if
        :: worker[w].alive -> sentLinks[w] = sentLinks[w] | (1 << x)
        :: else
        fi;
        x = 0
    :: else
    fi
}

/* [SignerService.suspect]: the signer is asked whether it lives; one that is starting says so with `ready`. */
inline suspectSigner(w) {
    if
    :: signerOccupied && !suspectedBy[w] ->
        suspectedBy[w] = 1;
        if
        :: signerState == ProcessState_ready -> owesAlive++; sendToSigner(SignerOrder_ping, 0, 0)
        :: else
        fi
    :: else
    fi
}

/* [SignerService.reconnect] */
inline reconnect() {
    for (i : 0 .. SLOTS - 1) {
        if
        :: suspectedBy[i] -> suspectedBy[i] = 0; connecting = connecting | (1 << i)
        :: else
        fi
    }
    i = 0;
    dispatchWaiting()
}
#endif

/* [Handshakes.lose]: handshakes that it had not begun run on other workers, all others fail. `suspect` is the one that it
 * was computing. */
inline lose(w, spares, suspect) {
    for (i : 0 .. REQUESTS - 1) {
        if
        :: running(i, w) ->
            if
            :: spares && lifecycle != Lifecycle_cancelling && i != suspect && !request[i].touched &&
                request[i].reruns < 3 && request[i].kind != KeyUpdate ->
                /* [Handshakes.rerun, Handshake.prepareRerun] */
                MOVE(requeue, i, State_waiting);
#if SIGNER
                revokePermit(i);
#endif
                request[i].worker = NOBODY;
                request[i].reruns++
            :: else -> fail(i); request[i].worker = ENDED /* workerLost */
            fi
        :: request[i].state == State_awaitingExit && request[i].worker == w -> fail(i); request[i].worker = ENDED
        :: request[i].worker == w && request[i].state != State_running && request[i].state != State_awaitingExit -> request[i].worker = ENDED
        :: else
        fi
    }
    i = 0
}

inline clearProcess(w) {
    worker[w].alive = 0; worker[w].hung = 0; worker[w].confined = ConfinedState_beforeSetUp;
    worker[w].asksKey = 0; worker[w].asksSigner = 0; worker[w].link = 0; worker[w].offends = 0;
    for (k : 0 .. REQUESTS - 1) { worker[w].job[k] = 0 }
    k = 0
}

/* The process in a place is no more, and nothing of it is left. */
inline clear(w) {
    worker[w].occupied = 0; worker[w].state = ProcessState_starting; worker[w].gone = 0; worker[w].congested = 0;
    worker[w].owesConfigured = 0; worker[w].leaves = 0; worker[w].used = 0; worker[w].due = 0;
    if
    :: worker[w].retires -> worker[w].retires = 0; worker[w].place = 0
    :: else
    fi;
    clearProcess(w);
    do :: toWorker[w]?m(x) :: isEmpty(toWorker[w]) -> break od;
    do :: kept[w]?m(x) :: isEmpty(kept[w]) -> break od;
    do :: fromWorker[w]?m(x, y) :: isEmpty(fromWorker[w]) -> break od;
    do :: lookups[w]?m(x) :: isEmpty(lookups[w]) -> break od;
    do :: keyAnswers[w]?m :: isEmpty(keyAnswers[w]) -> break od;
    for (k : 0 .. REQUESTS - 1) { worker[w].owes[k] = 0 }
#if SIGNER
    do :: questions[w]?m(x) :: isEmpty(questions[w]) -> break od;
    do :: signatures[w]?m :: isEmpty(signatures[w]) -> break od;
    suspectedBy[w] = 0;
    signerLink[w] = 0; openLinks[w] = 0; sentLinks[w] = 0;
#endif
    k = 0; x = 0; y = 0; m = 0
}

/* [WorkerPool.remove]: kills what is left of it, frees its place, and hands its handshakes out again. */
inline remove(w, spares, suspect) {
    removed = w;
    spared = spares;
    blamed = suspect
}

/* [Handshakes.settle, HandshakeTable.finish]: a worker's result. A worker that does not run the handshake is dismissed. */
inline settle(w, j, success) {
    if
    :: !(permitted_WorkerMessage_result(worker[w].state) && worker[w].owes[j] && running(j, w)) ->
        /* [Conversation.receive, HandshakeTable.find] */
        assert(LIES);
        remove(w, 0, NOBODY) /* [WorkerPool.dismiss] */
    :: else ->
        assert(running(j, w)); /* only the runner is believed */
        worker[w].owes[j] = 0;
        request[j].reported = success;
        if
        :: ISOLATED ->
            /* The kernel is answered when the worker has ended: it is killed [WorkerPool.leave]. */
            MOVE(finish, j, State_awaitingExit); request[j].result = success; worker[w].leaves = 1
        :: DELAYS && !ISOLATED -> MOVE(finish, j, State_heldBack); request[j].result = success
        :: !ISOLATED -> OVER(finish, j, success)
        fi
    fi
}

/* [WorkerPool.handle] */
inline handle(w, message, j, how) {
    if
    :: message == WorkerMessage_ready ->
        PERMIT(permitted_WorkerMessage_ready(worker[w].state));
        worker[w].state = next_WorkerMessage_ready(worker[w].state);
        /* [WorkerPool.welcome] */
#if SIGNER
        connecting = 1 << w;
#endif
        balances = BALANCES;
        dispatchWaiting()
    :: message == WorkerMessage_configured ->
        PERMIT(permitted_WorkerMessage_configured(worker[w].state) && worker[w].owesConfigured > 0);
        worker[w].owesConfigured--;
        dispatchWaiting() /* [CredentialPipeline.judge(CredentialsVerdict)] */
    :: message == WorkerMessage_result ->
#if SIGNER
        if
        :: how == Unsigned && usesSigner(j) -> suspectSigner(w)
        :: else
        fi;
#endif
        settle(w, j, (how == Succeeded))
    fi
}

/* Takes a message from a worker's channel and handles it. */
inline receive(w) {
    fromWorker[w]?m(x, y);
    handle(w, m, x, y);
    m = 0; x = 0; y = 0
}

#if SIGNER
inline dieSigner() {
    signerAlive = 0; signerHung = 0; signerConfined = ConfinedState_beforeSetUp; signerHasKeys = 0;
    for (k : 0 .. REQUESTS - 1) { permitFor[k] = 0; maySign[k] = 0; hasKey[k] = 0 }
    for (k : 0 .. REQUESTS * SLOTS - 1) { unspent[k] = 0 }
    for (k : 0 .. SLOTS - 1) { openLinks[k] = 0; signerLink[k] = 0 }
    do :: toSigner?m(x, y) :: isEmpty(toSigner) -> break od;
    k = 0; m = 0; x = 0; y = 0
}

/* Nothing of the signer is left. */
inline clearSigner() {
    dieSigner();
    signerOccupied = 0; signerState = ProcessState_starting; signerGone = 0; signerCongested = 0;
    owesLoaded = 0; owesAlive = 0;
    do :: keptForSigner?m(x, y) :: isEmpty(keptForSigner) -> break od;
    do :: fromSigner?m(x) :: isEmpty(fromSigner) -> break od;
    for (k : 0 .. SLOTS - 1) { suspectedBy[k] = 0 }
    k = 0; m = 0; x = 0; y = 0
}
#endif

/* ==== The broker: its steps ==== */

#define isOver(j) (request[j].state == 0 || request[j].state == State_over && !request[j].ending)

/* [Handshakes.cancel]: a worker that runs it sends the alert and reports the result. */
inline cancel(j) {
    if
    :: request[j].state == 0 || request[j].state == State_over -> skip
    :: request[j].state == State_running ->
        chosen = request[j].worker; sendToWorker(chosen, BrokerMessage_cancel, j); chosen = 0
    :: request[j].state == State_awaitingExit -> skip /* its worker was killed, and the result is about to be told */
    :: else -> fail(j)
    fi
}

/* [Broker.cancelAll, Handshakes.cancelAll] */
inline cancelAll() {
    BECOME(Lifecycle_cancelling);
    cancelling = ALL
}

/* [Broker.endProcesses]: answers what is not answered, and ends workers and signer. */
inline endProcesses() {
    for (i : 0 .. REQUESTS - 1) {
        if
        :: request[i].ending -> conclude(i, 0) /* [Handshakes.cutEndingsShort] */
        :: else
        fi;
        request[i].takeover = 0;
        assert(request[i].state == 0 || request[i].answers == 1) /* no request is left */
    }
    i = 0;
    for (i : 0 .. SLOTS - 1) { worker[i].alive = 0 }
    i = 0;
#if SIGNER
    signerAlive = 0;
#endif
    ended = 1
}

#if BALANCES
/* A worker that was killed after its only handshake is not idle until its end is told [WorkerPlace.isLeaving]. */
#define leaves(j, w) (request[j].state == State_awaitingExit && request[j].worker == w)
#define isIdle(w) (!running(0, w) && !running(REQUESTS - 1, w) && !leaves(0, w) && !leaves(REQUESTS - 1, w))
#define endsNow(w) (worker[w].retires && isIdle(w))
#define isActive(w) (worker[w].place && !worker[w].retires)
#define isEmptyPlace(w) (isActive(w) && !worker[w].occupied)
#if SLOTS > 2
#define active (isActive(0) + isActive(1) + isActive(2))
#define open (isOpen(0) + isOpen(1) + isOpen(2))
#else
#define active (isActive(0) + isActive(1))
#define open (isOpen(0) + isOpen(1))
#endif
#define isAnyDue (worker[0].due && isActive(0) || worker[1].due && isActive(1) || worker[SLOTS - 1].due && isActive(SLOTS - 1))
#define hasFreePlace (!worker[0].place || !worker[1].place || !worker[SLOTS - 1].place)

inline addPlace() {
    k = 0;
    do
    :: worker[k].place -> k++
    :: else -> break
    od;
    worker[k].place = 1;
    k = 0
}

/* [WorkerPool.end]: kills the worker of a place that has nothing left to do, and removes the place. */
inline endPlace(w) {
    clear(w);
    worker[w].place = 0;
    for (i : 0 .. REQUESTS - 1) {
        if
        :: request[i].worker == w && request[i].state != State_running -> request[i].worker = ENDED
        :: else
        fi
    }
    i = 0
}

/* [WorkerPool.left, Handshakes.conclude, HandshakeTable.exited]: a worker has ended after its only handshake. Its place is
 * the next worker's, unless it retires. */
inline left(w) {
    keeps = !worker[w].retires;
    for (i : 0 .. REQUESTS - 1) {
        if
        :: request[i].state == State_awaitingExit && request[i].worker == w && !DELAYS ->
            MOVE(exited, i, State_over); finishing = finishing | (1 << i)
        :: request[i].state == State_awaitingExit && request[i].worker == w && DELAYS -> MOVE(exited, i, State_heldBack)
        :: else
        fi
    }
    endPlace(w);
    worker[w].place = keeps;
    keeps = 0;
    balances = 1
}

/* [WorkerPool.balance]: adds places that are missing; gives workers that are due a successor, has them retire when it is
 * ready, and ends those that have retired and are idle. */
inline balance() {
    balances = 0;
    do
    :: active < wanted -> addPlace()
    :: else -> break
    od;
    if
    :: wanted > 0 && active == wanted && isAnyDue && hasFreePlace -> addPlace()
    :: active > wanted && open > wanted ->
        /* The oldest one that is due, or else the oldest. */
        chosen = NOBODY;
        for (k : 0 .. SLOTS - 1) {
            if
            :: isOpen(k) && (chosen == NOBODY || worker[k].due && !worker[chosen].due) -> chosen = k
            :: isOpen(k) && chosen != NOBODY && worker[k].due == worker[chosen].due -> chosen = k
            :: isOpen(k) && chosen != NOBODY && (worker[chosen].due || !worker[k].due) -> skip
            :: else
            fi
        }
        k = 0;
        worker[chosen].retires = 1;
        /* Others serve. */
        assert(open >= wanted);
        chosen = 0;
        balances = 1
    :: active > wanted && open <= wanted && (!isAnyDue || wanted == 0) && isEmptyPlace(0) -> worker[0].place = 0
    :: active > wanted && open <= wanted && (!isAnyDue || wanted == 0) && isEmptyPlace(1) -> worker[1].place = 0
    :: active > wanted && open <= wanted && (!isAnyDue || wanted == 0) && isEmptyPlace(SLOTS - 1) -> worker[SLOTS - 1].place = 0
    :: else
    fi;
    do
    :: endsNow(0) -> endPlace(0)
    :: endsNow(1) -> endPlace(1)
    :: endsNow(SLOTS - 1) -> endPlace(SLOTS - 1)
    :: else -> break
    od
}
#endif

/* The daemon as a whole. */
proctype Broker() {
    end:
    do
    /* The rest of a turn. */
    :: atomic { isInTurn ->
        do
        :: finishing -> i = lowest(finishing); finish(i)
        :: !finishing && removed != NOBODY ->
            clear(removed);
            lose(removed, spared, blamed);
            removed = NOBODY; spared = 0; blamed = 0;
            balances = BALANCES;
            dispatchWaiting()
        :: !finishing && removed == NOBODY && cancelling ->
            i = lowest(cancelling); cancelling = cancelling & ~(1 << i); cancel(i)
#if SIGNER
        :: !finishing && removed == NOBODY && !cancelling && connecting ->
            i = lowest(connecting); connecting = connecting & ~(1 << i); introduce(i)
#endif
        :: !finishing && removed == NOBODY && !cancelling && !connecting && dispatching ->
            i = lowest(dispatching); dispatching = dispatching & ~(1 << i); dispatch(i)
        :: !isInTurn -> break
        od;
        i = 0 }
    /* [Broker.run]: requests are accepted once a worker is ready; if none is in time, the daemon ends with an error. */
    :: atomic { brokerRuns && TIMERS && lifecycle == Lifecycle_starting -> endProcesses() }
    :: atomic { brokerRuns && lifecycle == Lifecycle_starting && serves(0) -> BECOME(Lifecycle_serving) }
    :: atomic { brokerRuns && acceptsRequests && taken < arriving -> take(taken) }
    /* [Broker.stop]: SIGTERM. */
    :: atomic { brokerRuns && sigterms > 0 ->
        sigterms--;
        if
        :: lifecycle == Lifecycle_draining || lifecycle == Lifecycle_cancelling -> cancelAll()
        :: lifecycle == Lifecycle_awaitingReplacement -> BECOME(Lifecycle_draining) /* [Broker.drainAfterHandover] */
        :: HANDOVER && lifecycle == Lifecycle_serving -> BECOME(Lifecycle_awaitingReplacement) /* [Handover.fork] */
        :: lifecycle == Lifecycle_starting || lifecycle == Lifecycle_serving ->
            arriving = taken; /* no new requests */
            cancelsLater = 1;
            BECOME(Lifecycle_draining)
        fi }
    /* The replacement daemon is ready [Broker.drainAfterHandover]. */
    :: atomic { brokerRuns && lifecycle == Lifecycle_awaitingReplacement -> BECOME(Lifecycle_draining) }
    /* 2 s after SIGTERM. */
    :: atomic { brokerRuns && TIMERS && lifecycle == Lifecycle_draining && cancelsLater -> cancelsLater = 0; cancelAll() }
#if BALANCES
#if RELOADS
    /* [WorkerPool.noteProfiles] */
    :: atomic { brokerRuns && acceptsRequests && taken == arriving && wanted > 0 -> wanted = 0; balances = 1 }
#endif
    /* When something has changed; and each second while a worker retires. Not while the daemon drains. */
    :: atomic { brokerRuns && acceptsRequests && (balances || endsNow(0) || endsNow(1) || endsNow(SLOTS - 1)) -> balance() }
#endif
    /* [Broker.serve]: the loop ends when everything is answered. */
    :: atomic { brokerRuns && isStopping && isOver(0) && isOver(REQUESTS - 1) &&
        !request[0].takeover && !request[REQUESTS - 1].takeover -> endProcesses() }
    od
}

/* One request in the broker. */
proctype BrokerOfRequest(byte j) {
    end:
    do
    /* [Endings.look]: its connection has ended, or the time for that is over. */
    :: atomic { brokerRuns && request[j].ending -> conclude(j, 0) }
    /* [HandshakeTable.due]: the delay for debugging is over. */
    :: atomic { brokerRuns && DELAYS && request[j].state == State_heldBack ->
        MOVE(due, j, State_over);
        finishing = finishing | (1 << j) }
    /* [Takeovers.look]: the kernel has taken the connection over, or the time for that is over. */
    :: atomic { brokerRuns && request[j].takeover -> request[j].takeover = 0 }
#if TIMERS
    /* [Handshakes.settleDue]: the backstop has passed. */
    :: atomic { brokerRuns && request[j].state == State_waiting -> fail(j) }
    /* What the worker has sent in time counts. Then it is killed: with the handshake that it was computing, or without. */
    :: atomic { brokerRuns && request[j].state == State_running && isEmpty(fromWorker[request[j].worker]) ->
        victim = request[j].worker;
        fail(j);
        if
        :: remove(victim, 0, NOBODY)
        :: remove(victim, 1, j)
        fi;
        victim = 0 }
#if ISOLATED
    /* Its worker was killed and does not end. */
    :: atomic { brokerRuns && request[j].state == State_awaitingExit -> fail(j) }
#endif
#endif
    od
}

/* One place of a worker in the broker. */
proctype BrokerOfWorker(byte w) {
    end:
    do
    /* [Supervisor.start, WorkerPool.introduce]: at any time after the place became free, for the back-off. */
    :: atomic { brokerRuns && worker[w].place && !worker[w].occupied && (lifecycle != Lifecycle_starting || w == 0) ->
        worker[w].occupied = 1;
        worker[w].alive = 1;
        sendToWorker(w, BrokerMessage_setUp, 0);
#if SIGNER
        if
        :: credentialStage == WithWorkers -> worker[w].owesConfigured++; sendToWorker(w, BrokerMessage_credentials, 0)
        :: else
        fi
#endif
        }
    /* [Supervisor.receive] */
    :: atomic { brokerRuns && worker[w].occupied && holdsAny(fromWorker[w]) -> receive(w) }
    /* [WorkerPool.receiveLookups, Handshakes.lookUp]: a PSK, or none. */
    :: atomic { brokerRuns && worker[w].occupied && !worker[w].gone && holdsAny(lookups[w]) ->
        lookups[w]?m(x);
        PERMIT(permitted_KeyLookup_lookup(OpenState_open));
        if
        :: !(running(x, w) && request[x].kind == Lookup) -> assert(LIES); remove(w, 0, NOBODY)
        :: else ->
            assert(len(keyAnswers[w]) == 0); /* a process that waits for an answer reads it [WorkerProcess.answer] */
            if
            :: !worker[w].alive -> worker[w].gone = 1
            :: worker[w].alive -> keyAnswers[w]!KeyAnswer_key
            :: worker[w].alive -> keyAnswers[w]!KeyAnswer_unknown
            fi
        fi;
        m = 0; x = 0 }
    /* [ProcessChannel.relieve, WorkerPool.hasRoom]: its queue has room again. */
    :: atomic { (brokerRuns || blockedOn == w) && worker[w].alive && worker[w].congested && !worker[w].gone &&
        (len(toWorker[w]) < QUEUE) ->
        blockedOn = NOBODY;
        do
        :: holdsAny(kept[w]) && (len(toWorker[w]) < QUEUE) -> kept[w]?m(x); toWorker[w]!m(x)
        :: else -> break
        od;
        m = 0; x = 0;
        worker[w].congested = holdsAny(kept[w]);
        dispatchWaiting() }
    /* [Supervisor.checkEnd, WorkerPool.ended]: its pidfd is readable. What it sent before counts. */
    :: atomic { brokerRuns && worker[w].occupied && !worker[w].alive && isEmpty(fromWorker[w]) ->
        /* The handshake that it was computing, if it has told, and whether it crashed or exited. */
        if
#if ISOLATED
        :: worker[w].leaves -> left(w)
        :: !worker[w].leaves && running(0, w) -> remove(w, 1, 0)
        :: !worker[w].leaves && running(REQUESTS - 1, w) -> remove(w, 1, REQUESTS - 1)
        :: !worker[w].leaves -> remove(w, 1, NOBODY)
        :: !worker[w].leaves -> remove(w, 0, NOBODY)
#else
        :: running(0, w) -> remove(w, 1, 0)
        :: running(REQUESTS - 1, w) -> remove(w, 1, REQUESTS - 1)
        :: remove(w, 1, NOBODY)
        :: remove(w, 0, NOBODY)
#endif
        fi }
#if RETIRES
    /* It has run so many handshakes, is old, or is distrusted. */
    :: atomic { brokerRuns && retirements > 0 && acceptsRequests && isOpen(w) && !worker[w].due ->
        retirements--; worker[w].due = 1; balances = 1 }
#endif
#if TIMERS
    /* [WorkerPool.dismissOverdue]: it does not become ready. */
    :: atomic { brokerRuns && worker[w].occupied && worker[w].state == ProcessState_starting &&
        (worker[w].hung || deaths > 0) ->
        if
        :: worker[w].hung
        :: else -> deaths--
        fi;
        remove(w, 0, NOBODY) }
#endif
    od
}

/* ==== A worker ==== */

inline endJob(w, j, how) {
    worker[w].job[j] = how; /* its socket is closed [Worker.finish] */
    request[j].touched = 1
}

/* The question is answered: the handshake goes on. */
inline answered(w, isGood, how) {
    for (i : 0 .. REQUESTS - 1) {
        if
        :: worker[w].job[i] == Asks && isGood -> endJob(w, i, Succeeded)
        :: worker[w].job[i] == Asks -> endJob(w, i, how)
        :: else
        fi
    }
    i = 0; m = 0
}

#if SIGNER
inline dropLink(w) {
    do :: questions[w]?m(x) :: isEmpty(questions[w]) -> break od;
    do :: signatures[w]?m :: isEmpty(signatures[w]) -> break od;
    worker[w].link = 0; m = 0; x = 0
}
#endif

/* A process ends at any point. What it has sent can still be read; what it was sent cannot. */
inline die(w) {
    clearProcess(w);
    do :: toWorker[w]?m(x) :: isEmpty(toWorker[w]) -> break od;
    do :: keyAnswers[w]?m :: isEmpty(keyAnswers[w]) -> break od;
    do :: lookups[w]?m(x) :: isEmpty(lookups[w]) -> break od;
#if SIGNER
    dropLink(w);
    openLinks[w] = 0; signerLink[w] = 0; sentLinks[w] = 0;
#endif
    m = 0; x = 0
}

proctype WorkerProcess(byte w) {
    byte j;
#define acts (worker[w].alive && !worker[w].hung && !isInTurn)
#define isFree (acts && !worker[w].asksKey && !worker[w].asksSigner)
    end:
    do
    /* [Worker.handle]: a message of the broker. */
    :: atomic { isFree && toWorker[w]?[BrokerMessage_setUp, _] && (len(fromWorker[w]) < QUEUE) ->
        toWorker[w]?BrokerMessage_setUp(_);
        PERMIT(permitted_BrokerMessage_setUp(worker[w].confined));
        worker[w].confined = next_BrokerMessage_setUp(worker[w].confined);
        fromWorker[w]!WorkerMessage_ready(0, 0) }
    :: atomic { isFree && toWorker[w]?[BrokerMessage_credentials, _] && (len(fromWorker[w]) < QUEUE) ->
        toWorker[w]?BrokerMessage_credentials(_);
        PERMIT(permitted_BrokerMessage_credentials(worker[w].confined));
        fromWorker[w]!WorkerMessage_configured(0, 0) }
    :: atomic { isFree && (toWorker[w]?[BrokerMessage_handshake, _] || toWorker[w]?[BrokerMessage_keyUpdate, _]) ->
        toWorker[w]?m(j);
        PERMIT(permitted_BrokerMessage_handshake(worker[w].confined) && worker[w].job[j] == 0);
        PERMIT(permitted_BrokerMessage_keyUpdate(worker[w].confined));
        worker[w].job[j] = Received;
        j = 0; m = 0 }
    :: atomic { isFree && toWorker[w]?[BrokerMessage_cancel, _] ->
        toWorker[w]?BrokerMessage_cancel(j);
        PERMIT(permitted_BrokerMessage_cancel(worker[w].confined));
        if
        :: worker[w].job[j] == Received -> endJob(w, j, Failed)
        :: else /* it has just ended */
        fi;
        j = 0 }
#if SIGNER
    :: atomic { isFree && toWorker[w]?[BrokerMessage_signer, _] ->
        toWorker[w]?BrokerMessage_signer(worker[w].link); /* takes the place of the former [SignerChannel.connect] */
        sentLinks[w] = sentLinks[w] & ~(1 << worker[w].link);
        PERMIT(permitted_BrokerMessage_signer(worker[w].confined)) }
#endif
    /* [Worker.advance]: a handshake goes on. Until then its peer has sent nothing. */
    :: atomic { isFree && (worker[w].job[0] == Received || worker[w].job[REQUESTS - 1] == Received) ->
        if
        :: worker[w].job[0] == Received -> j = 0
        :: worker[w].job[REQUESTS - 1] == Received -> j = REQUESTS - 1
        fi;
        request[j].touched = 1;
        if
        :: endJob(w, j, Failed) /* the peer, or the deadline that the worker keeps */
        :: request[j].kind == Lookup || request[j].kind == KeyUpdate -> endJob(w, j, Succeeded)
        :: request[j].kind == Lookup ->
            lookups[w]!KeyLookup_lookup(j); /* [KeyChannel.ask]: waits */
            worker[w].job[j] = Asks;
            worker[w].asksKey = 1
#if SIGNER
        :: request[j].kind == Role && credentialStage == WithWorkers || request[j].kind == Named ->
            /* [SignerChannel.ask]: waits, if there is a channel. */
            if
            :: worker[w].link == 0 || !(openLinks[w] & (1 << worker[w].link)) -> worker[w].link = 0; endJob(w, j, Unsigned)
            :: else ->
                questions[w]!SigningQuestion_sign(j);
                worker[w].job[j] = Asks;
                worker[w].asksSigner = 1
            fi
#endif
        fi;
        j = 0 }
    :: atomic { acts && worker[w].asksKey && holdsAny(keyAnswers[w]) ->
        keyAnswers[w]?m;
        worker[w].asksKey = 0;
        PERMIT(permitted_KeyAnswer_key(OpenState_open));
        answered(w, m == KeyAnswer_key, Failed) }
#if SIGNER
    :: atomic { acts && worker[w].asksSigner && holdsAny(signatures[w]) ->
        signatures[w]?m;
        worker[w].asksSigner = 0;
        PERMIT(permitted_SigningAnswer_signature(OpenState_open));
        answered(w, m == SigningAnswer_signature, Failed) }
    /* The signer has ended, or it is silent for 2 s: nothing is asked until there is a new channel. */
    :: atomic { acts && worker[w].asksSigner && isEmpty(signatures[w]) &&
        (!(openLinks[w] & (1 << worker[w].link)) || TIMERS && (signerHung || deaths > 0)) ->
        if
        :: (openLinks[w] & (1 << worker[w].link)) && !signerHung -> deaths--
        :: else
        fi;
        dropLink(w);
        worker[w].asksSigner = 0;
        answered(w, 0, Unsigned) }
#endif
    /* [Worker.report]: the result. While the queue is full it is kept, and the worker goes on. */
    :: atomic { isFree && len(fromWorker[w]) < QUEUE &&
        (worker[w].job[0] >= Succeeded || worker[w].job[REQUESTS - 1] >= Succeeded) ->
        if
        :: worker[w].job[0] >= Succeeded -> j = 0
        :: worker[w].job[REQUESTS - 1] >= Succeeded -> j = REQUESTS - 1
        fi;
        fromWorker[w]!WorkerMessage_result(j, worker[w].job[j]);
        worker[w].job[j] = 0;
        j = 0 }
    /* It was killed [WorkerPool.leave]; or it crashes; or it hangs. */
    :: atomic { worker[w].alive && !ended && !isInTurn && (deaths > 0 || ISOLATED && worker[w].leaves && !worker[w].hung) ->
        if
        :: ISOLATED && worker[w].leaves && !worker[w].hung
        :: else -> deaths--
        fi;
        die(w) }
#if TIMERS
    :: atomic { acts && !ended && deaths > 0 -> deaths--; worker[w].hung = 1 }
#endif
#if LIES
    /* It claims success for a handshake that may be another's. */
    :: atomic { isFree && !ended && lies > 0 && (len(fromWorker[w]) < QUEUE) ->
        lies--;
        if
        :: fromWorker[w]!WorkerMessage_result(0, Succeeded)
        :: fromWorker[w]!WorkerMessage_result(REQUESTS - 1, Succeeded)
        fi }
#if SIGNER
    /* It asks the signer again before it is answered. */
    :: atomic { acts && lies > 0 && worker[w].asksSigner && holdsAny(questions[w]) -> lies--; worker[w].offends = 1 }
    /* It asks for a handshake that may be another's, or that was signed. */
    :: atomic { isFree && !ended && lies > 0 && worker[w].link != 0 && (openLinks[w] & (1 << worker[w].link)) ->
        lies--;
        if
        :: questions[w]!SigningQuestion_sign(0)
        :: questions[w]!SigningQuestion_sign(REQUESTS - 1)
        fi;
        worker[w].asksSigner = 1 }
#endif
#endif
    od
}

#if SIGNER

/* ==== The signer ==== */

/* A question on the channel that the signer has. If there is no permit for it, the signer takes all orders first
 * [Signer.answer]. A report waits for room. */
#define isPermitted(j, w) (permitFor[j] == w + 1 && maySign[j]) /* [HeldKeys.use] */
#define isNext(w, j) (questions[w]?[SigningQuestion_sign, eval(j)] && \
    (isPermitted(j, w) && !LOGS && !worker[w].offends || (isPermitted(j, w) || isEmpty(toSigner)) && len(fromSigner) < QUEUE))
#define hasQuestion(w) (signerLink[w] != 0 && signerLink[w] == worker[w].link && (isNext(w, 0) || isNext(w, REQUESTS - 1)))

inline dropPermit(j) {
    if
    :: maySign[j] -> unspentBy(j, permitFor[j] - 1)--
    :: else
    fi;
    permitFor[j] = 0; maySign[j] = 0; hasKey[j] = 0
}

proctype SignerProcess() {
    byte j, w;
#define signerActs (signerAlive && !signerHung && !isInTurn)
    end:
    do
    /* [Signer.handle]: an order. A report waits for room; the broker always reads. */
    :: atomic { signerActs && toSigner?[SignerOrder_setUp, _, _] && (len(fromSigner) < QUEUE) ->
        toSigner?SignerOrder_setUp(_, _);
        PERMIT(permitted_SignerOrder_setUp(signerConfined));
        signerConfined = next_SignerOrder_setUp(signerConfined);
        fromSigner!SignerReport_ready(0) }
    :: atomic { signerActs && toSigner?[SignerOrder_load, _, _] && (len(fromSigner) < QUEUE) ->
        toSigner?SignerOrder_load(_, _);
        PERMIT(permitted_SignerOrder_load(signerConfined));
        if
        :: signerHasKeys = 1; fromSigner!SignerReport_loaded(1)
        :: fromSigner!SignerReport_loaded(0) /* with a problem */
        fi }
    :: atomic { signerActs && toSigner?[SignerOrder_ping, _, _] && (len(fromSigner) < QUEUE) ->
        toSigner?SignerOrder_ping(_, _);
        PERMIT(permitted_SignerOrder_ping(signerConfined));
        fromSigner!SignerReport_alive(0) }
    :: atomic { signerActs && toSigner?[SignerOrder_permit, _, _] -> /* [HeldKeys.accept] */
        toSigner?SignerOrder_permit(j, w);
        PERMIT(permitted_SignerOrder_permit(signerConfined));
        dropPermit(j);
        permitFor[j] = (w & 7) + 1; maySign[j] = 1; hasKey[j] = (w >= WITH_KEY);
        j = 0; w = 0 }
    :: atomic { signerActs && toSigner?[SignerOrder_forget, _, _] ->
        toSigner?SignerOrder_forget(j, _);
        PERMIT(permitted_SignerOrder_forget(signerConfined));
        dropPermit(j);
        j = 0 }
    :: atomic { signerActs && toSigner?[SignerOrder_connect, _, _] ->
        toSigner?SignerOrder_connect(j, w);
        PERMIT(permitted_SignerOrder_connect(signerConfined));
        if
        :: openLinks[w] & (1 << j) -> /* a former one is closed [Signer.connect] */
            openLinks[w] = openLinks[w] & ~(1 << signerLink[w]); signerLink[w] = j
        :: else /* the worker has ended meanwhile */
        fi;
        j = 0; w = 0 }
    /* [Signer.serve]: one question of one worker. */
    :: atomic { signerActs && (hasQuestion(0) || hasQuestion(SLOTS - 1)) ->
        if
        :: hasQuestion(0) -> w = 0
        :: hasQuestion(SLOTS - 1) -> w = SLOTS - 1
        fi;
        questions[w]?m(j);
        PERMIT(permitted_SigningQuestion_sign(OpenState_open));
        if
        :: !worker[w].offends && isPermitted(j, w) ->
            maySign[j] = 0;
            if
            :: request[j].kind == Role && signerHasKeys || request[j].kind == Named && hasKey[j] ->
                /* The broker has permitted it: this worker, this handshake, once. */
                assert(unspentBy(j, w) > 0);
                unspentBy(j, w)--;
                signatures[w]!SigningAnswer_signature;
                if
                :: LOGS -> fromSigner!SignerReport_signed(w)
                :: else
                fi
            :: else -> unspentBy(j, w)--; signatures[w]!SigningAnswer_refused
            fi
        :: else -> /* [Signer.drop] */
            worker[w].offends = 1;
            openLinks[w] = 0; signerLink[w] = 0;
            if
            :: permitFor[0] == w + 1 -> dropPermit(0)
            :: else
            fi;
            if
            :: permitFor[REQUESTS - 1] == w + 1 -> dropPermit(REQUESTS - 1)
            :: else
            fi;
            fromSigner!SignerReport_misbehaved(w)
        fi;
        m = 0; j = 0; w = 0 }
    /* It crashes, or hangs. */
    :: atomic { signerAlive && !ended && !isInTurn && deaths > 0 -> deaths--; dieSigner() }
#if TIMERS
    :: atomic { signerActs && !ended && deaths > 0 -> deaths--; signerHung = 1 }
#endif
    od
}

/* ==== The broker: the signer ==== */

/* [SignerService.lose]: it is started again, after a pause or at once. */
inline loseSigner() {
    clearSigner();
    if
    :: signerPauses = 1
    :: skip
    fi
}

proctype BrokerOfSigner() {
    end:
    do
    :: atomic { brokerRuns && signerPauses -> signerPauses = 0 }
    /* [Supervisor.start, SignerService.introduce] */
    :: atomic { brokerRuns && !signerOccupied && !signerPauses ->
        signerOccupied = 1; signerAlive = 1;
        sendToSigner(SignerOrder_setUp, 0, 0);
        if
        :: credentialStage != Refused && !setAside -> owesLoaded = 1; sendToSigner(SignerOrder_load, 0, 0)
        :: else
        fi;
        for (i : 0 .. REQUESTS - 1) {
            if
            :: request[i].state == State_running && request[i].hasPermit ->
                unspentBy(i, request[i].worker)++;
                y = request[i].worker; sendToSigner(SignerOrder_permit, i, y); y = 0
            :: else
            fi
        }
        for (i : 0 .. SLOTS - 1) {
            if
            :: worker[i].occupied && worker[i].state == ProcessState_ready -> connecting = connecting | (1 << i)
            :: else
            fi
        }
        i = 0 }
    /* [SignerService.handle]: a report. */
    :: atomic { brokerRuns && signerOccupied && !signerGone && holdsAny(fromSigner) ->
        fromSigner?m(x);
        if
        :: m == SignerReport_ready ->
            PERMIT(permitted_SignerReport_ready(signerState));
            signerState = next_SignerReport_ready(signerState);
            reconnect()
        :: m == SignerReport_loaded ->
            PERMIT(permitted_SignerReport_loaded(signerState) && owesLoaded);
            owesLoaded = 0;
            /* [CredentialPipeline.judge(SignerVerdict), WorkerPool.distribute] */
            if
            :: credentialStage == WithSigner && x == 1 ->
                credentialStage = WithWorkers;
                for (i : 0 .. SLOTS - 1) {
                    if
                    :: worker[i].occupied ->
                        worker[i].owesConfigured++; sendToWorker(i, BrokerMessage_credentials, 0)
                    :: else
                    fi
                }
                i = 0
            :: credentialStage == WithSigner && x == 0 -> credentialStage = Refused
            :: else
            fi;
            dispatchWaiting()
        :: m == SignerReport_alive ->
            PERMIT(permitted_SignerReport_alive(signerState) && owesAlive > 0);
            owesAlive--;
            reconnect()
        :: m == SignerReport_misbehaved ->
            PERMIT(permitted_SignerReport_misbehaved(signerState));
            assert(LIES);
            victim = x;
            if
            :: worker[victim].offends -> remove(victim, 0, NOBODY) /* [WorkerPool.dismiss] */
            :: else /* it has ended meanwhile */
            fi;
            victim = 0
        :: m == SignerReport_signed -> PERMIT(permitted_SignerReport_signed(signerState))
        fi;
        m = 0; x = 0 }
    /* [SignerProcess.relieve] */
    :: atomic { brokerRuns && signerAlive && signerCongested && !signerGone && (len(toSigner) < QUEUE) ->
        do
        :: holdsAny(keptForSigner) && (len(toSigner) < QUEUE) -> keptForSigner?m(x, y); toSigner!m(x, y)
        :: else -> break
        od;
        m = 0; x = 0; y = 0;
        signerCongested = holdsAny(keptForSigner);
        dispatchWaiting() /* [SignerService.hasRoom] */ }
    /* [SignerService.ended] */
    :: atomic { brokerRuns && signerOccupied && !signerAlive -> loseSigner() }
#if TIMERS
    /* [SignerService.check]: it is silent, or it owes an answer for too long. */
    :: atomic { brokerRuns && signerOccupied && signerState == ProcessState_ready && signerHung && !owesLoaded &&
        owesAlive == 0 -> owesAlive++; sendToSigner(SignerOrder_ping, 0, 0) }
    :: atomic { brokerRuns && signerOccupied && (isOpening || owesAlive > 0) && (signerHung || deaths > 0) ->
        if
        :: signerHung
        :: else -> deaths--
        fi;
        if
        :: signerState == ProcessState_ready && owesLoaded ->
            setAside = 1;
            if
            :: credentialStage == WithSigner -> credentialStage = Refused
            :: else
            fi
        :: else
        fi;
        loseSigner() }
#endif
    od
}
#endif

/* ==== Nothing is left undone ==== */

/* When the settings end the isolation, a request that waits takes a worker of another duty [WorkerPool.duty], which the
 * model does not have. */
#define isElsewhere(j) (request[j].state == State_waiting && ISOLATED && wanted == 0)

proctype Watcher() {
    /* No process can take a step, whatever time passes. */
    timeout ->
    if
    :: isElsewhere(0) || isElsewhere(REQUESTS - 1) -> goto end
    :: else
    fi;
    /* Every request was accepted and answered. */
    assert(isOver(0) && isOver(REQUESTS - 1));
    assert(ended || taken == arriving);
    /* SIGTERM has ended the daemon. */
    assert(ended || sigterms == 0 && !isStopping);
    assert(blockedOn == NOBODY);
    /* No process waits for another. */
    byte w;
    for (w : 0 .. SLOTS - 1) {
        assert(ended || worker[w].hung || !worker[w].asksKey && !worker[w].asksSigner);
        /* A worker that is due was replaced, and one that was killed has left its place. */
        assert(ended || worker[w].hung || !worker[w].due && !worker[w].retires && !worker[w].leaves);
        /* Each place has a worker that is ready. */
        assert(ended || !worker[w].place || worker[w].state == ProcessState_ready);
        assert(ended || worker[w].hung || isEmpty(toWorker[w]) && isEmpty(kept[w]));
#if SIGNER
        /* Each worker has a channel to the signer. */
        assert(ended || worker[w].hung || !serves(w) || !signerAlive || signerHung ||
            signerLink[w] == worker[w].link && signerLink[w] != 0)
#endif
    }
    end: skip
}

init {
    atomic {
        if :: arriving = 1 :: arriving = REQUESTS fi;
        byte n;
        select(n : 0 .. DEATHS); deaths = n;
        select(n : 0 .. SIGTERMS); sigterms = n;
        for (n : 0 .. WANTED - 1) { worker[n].place = 1 }
#if STARTED
        lifecycle = Lifecycle_serving;
        for (n : 0 .. WANTED - 1) {
            worker[n].occupied = 1; worker[n].state = ProcessState_ready;
            worker[n].alive = 1; worker[n].confined = ConfinedState_serving;
#if SIGNER
            worker[n].link = 1; signerLink[n] = 1; openLinks[n] = 1 << 1
#endif
        }
#if SIGNER
        signerOccupied = 1; signerState = ProcessState_ready; credentialStage = WithWorkers;
        signerAlive = 1; signerConfined = ConfinedState_serving; signerHasKeys = 1;
#endif
#endif
        n = 0;
        run Broker();
        for (n : 0 .. REQUESTS - 1) { run BrokerOfRequest(n) }
        for (n : 0 .. SLOTS - 1) { run BrokerOfWorker(n); run WorkerProcess(n) }
        n = 0;
#if SIGNER
        run BrokerOfSigner();
        run SignerProcess();
#endif
        run Watcher()
    }
}
