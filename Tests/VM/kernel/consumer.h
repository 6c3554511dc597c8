/* SPDX-License-Identifier: GPL-2.0-only */
/* A run of the consumer: what a line of /proc/tlsh asks for, and what came of it. */
#ifndef TLSH_CONSUMER_H
#define TLSH_CONSUMER_H

#include <linux/jiffies.h>
#include <linux/socket.h>

#include "tlsh.h"

struct tlsh_run {
	bool listens;
	struct sockaddr_storage address;
	int address_size;
	int timeout; /* milliseconds */
	bool drives;
	bool echoes;
	int bytes;
	int sndbuf;
	/* for the request */
	int type;
	int peerid;
	int cert;
	int key;
	char *priorities;
	char *peername;
	/* for key updates */
	int keep;
	int update;
	int every;
	int pause;
	int poke;
	bool forges;
	bool steals;
	struct file *file;
	struct tlsh_reference session;
	int next; /* where our next key update is due */
	/* the outcome */
	int connected;
	int submitted;
	int status;
	int data;
	int carried;
	int alert; /* description of the alert that ended the data, or -1 */
	int blocked;
	int updates; /* ours that were done */
	int heard; /* the peer's that were followed */
	int refused; /* what the last that was not done ended with */
	s64 ms;
};

static inline long tlsh_timeout(const struct tlsh_run *run)
{
	return msecs_to_jiffies(run->timeout);
}

/* Hands a request over and waits for the answer. Returns what refused it, else *status is set. */
int tlsh_ask(const struct tlsh_run *run, struct tlsh_request *request, int *status);

/* Sends and receives what the run asks for, on a connection that has keys. */
int tlsh_carry(struct tlsh_run *run, struct socket *sock);

#endif
