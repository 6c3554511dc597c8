/* SPDX-License-Identifier: GPL-2.0-only */
/* A TLS handshake listener family for tests, and a consumer that uses it. docs/af-tlsh.md describes the interface. */
#ifndef TLSH_H
#define TLSH_H

#include <linux/completion.h>
#include <linux/list.h>
#include <linux/net.h>
#include <linux/refcount.h>
#include <linux/version.h>

/* Options of the level SOL_TLSH. */
enum {
	TLSH_PRIORITIES = 1,
	TLSH_PEERID = 2,
	TLSH_HANDSHAKE_TYPE = 3,
	TLSH_X509_CERTIFICATE = 4,
	TLSH_X509_PRIVKEY = 5,
	TLSH_PEERNAME = 6,
	TLSH_SESSION = 7,
	TLSH_KEY_UPDATE = 8,
};

/* A value of TLSH_HANDSHAKE_TYPE. */
enum {
	TLSH_TYPE_KEY_UPDATE = 5,
};

/* Bits of TLSH_KEY_UPDATE. */
enum {
	TLSH_UPDATE_RECEIVE = 1,
	TLSH_UPDATE_SEND = 2,
	TLSH_UPDATE_ASK = 4,
};

enum {
	TLSH_TEXT = 256,
	TLSH_REFERENCE = 32,
};

/* By which the daemon knows a connection again. */
struct tlsh_reference {
	int size; /* 0: there is none */
	u8 bytes[TLSH_REFERENCE];
};

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 19, 0)
typedef struct sockaddr_unsized tlsh_sockaddr;
#else
typedef struct sockaddr tlsh_sockaddr;
#endif

/*
 * What a consumer asks for. Shared by the consumer, the listener's queue or the accepted descriptor; the last one to let go
 * frees it. It keeps the consumer's socket alive: pollers of the accepted descriptor sit in that socket's wait queue.
 */
struct tlsh_request {
	refcount_t users;
	unsigned long flags; /* TLSH_ANSWERED */
	struct list_head node; /* in the listener's queue */
	struct file *file;
	struct socket *sock; /* of file */
	struct completion answered;
	int status; /* once answered: 0, or a negative errno */
	atomic_t blocked; /* sends by the daemon that found no room */

	int type;
	s32 peerid;
	s32 certificate;
	s32 privkey;
	char priorities[TLSH_TEXT];
	char peername[TLSH_TEXT];
	bool keeps; /* a reference is wanted */
	struct tlsh_reference session; /* the answer to a handshake; what a key update is about */
	int update; /* TLSH_UPDATE_*, what a key update is to do */
	int updated; /* what it did */
};

/* Makes a request for the socket of a file, of which it takes a reference of its own. */
struct tlsh_request *tlsh_request_alloc(struct file *file, struct socket *sock);
void tlsh_request_put(struct tlsh_request *request);

/*
 * Queues it with the listener of its network namespace and family. -ENOENT: there is none. -EAGAIN: its queue is full.
 * After 0, request->answered is completed once, unless tlsh_cancel comes first.
 */
int tlsh_submit(struct tlsh_request *request);

/* The consumer waits no longer. False when the answer came first; then request->status holds it. */
bool tlsh_cancel(struct tlsh_request *request);

/* The answer, unless there is one already. */
void tlsh_answer(struct tlsh_request *request, int status);
bool tlsh_is_answered(const struct tlsh_request *request);

/* Makes a fresh socket the accepted descriptor of a request, whose reference becomes the descriptor's. */
void tlsh_hand_over(struct tlsh_request *request, struct socket *accepted);

int tlsh_live_requests(void);

int tlsh_consumer_init(void);
void tlsh_consumer_exit(void);

#endif
