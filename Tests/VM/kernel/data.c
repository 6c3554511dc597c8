// SPDX-License-Identifier: GPL-2.0-only
/* What the consumer does with a connection that has keys: data, records of other types, and key updates. */
#include <linux/delay.h>
#include <linux/random.h>
#include <linux/slab.h>
#include <net/sock.h>
#include <net/tls.h>

#include "consumer.h"

enum {
	PART = 16384, /* bytes; a TLS record's most */
	RECORD_ALERT = 21,
	RECORD_HANDSHAKE = 22,
	RECORD_DATA = 23,
	MESSAGE_KEY_UPDATE = 24,
};

int tlsh_ask(const struct tlsh_run *run, struct tlsh_request *request, int *status)
{
	int err = tlsh_submit(request);
	long left;

	if (err)
		return err;
	left = wait_for_completion_interruptible_timeout(&request->answered, tlsh_timeout(run));
	if (left <= 0 && tlsh_cancel(request))
		*status = left ? left : -ETIMEDOUT;
	else
		*status = request->status;
	return 0;
}

/* Has the daemon replace keys. Nothing else is sent or received here meanwhile. */
static int renew(struct tlsh_run *run, struct socket *sock, int update)
{
	struct tlsh_request *request = tlsh_request_alloc(run->file, sock);
	int status = 0;
	int err;

	if (!request)
		return -ENOMEM;
	request->type = TLSH_TYPE_KEY_UPDATE;
	request->session = run->session;
	request->update = update;
	err = tlsh_ask(run, request, &status);
	tlsh_request_put(request);
	err = err ?: status;
	if (err)
		run->refused = err;
	return err;
}

static int send_record(struct socket *sock, u8 type, void *bytes, int count)
{
	union {
		struct cmsghdr header;
		u8 bytes[CMSG_SPACE(sizeof(u8))];
	} control = {};
	struct kvec part = { bytes, count };
	struct msghdr message = { .msg_control = &control, .msg_controllen = sizeof(control) };
	int sent;

	control.header.cmsg_len = CMSG_LEN(sizeof(u8));
	control.header.cmsg_level = SOL_TLS;
	control.header.cmsg_type = TLS_SET_RECORD_TYPE;
	*(u8 *)CMSG_DATA(&control.header) = type;
	sent = kernel_sendmsg(sock, &message, &part, 1, count);
	if (sent < 0)
		return sent;
	return sent == count ? 0 : -EIO;
}

static int send_all(struct socket *sock, void *bytes, int count)
{
	struct kvec part = { bytes, count };
	struct msghdr message = {};
	int sent = kernel_sendmsg(sock, &message, &part, 1, count);

	if (sent < 0)
		return sent;
	return sent == count ? 0 : -EIO;
}

/* A handshake record: a key update is followed, and answered if it asks for that; tickets are passed over. */
static int follow(struct tlsh_run *run, struct socket *sock, const u8 *bytes, int count)
{
	int err;

	if (count != 5 || bytes[0] != MESSAGE_KEY_UPDATE || !run->session.size)
		return 0;
	err = renew(run, sock, TLSH_UPDATE_RECEIVE | (bytes[4] == 1 ? TLSH_UPDATE_SEND : 0));
	if (!err)
		run->heard++;
	return err;
}

/* A key update of ours, when it is due. */
static int lead(struct tlsh_run *run, struct socket *sock)
{
	int err;

	if (!run->every || run->carried < run->next)
		return 0;
	run->next += run->every;
	if (run->pause && msleep_interruptible(run->pause))
		return -EINTR;
	err = renew(run, sock, run->update);
	if (!err)
		run->updates++;
	return err;
}

/* The next data, up to a record of it; handshake records are dealt with on the way, an alert ends it. */
static int receive(struct tlsh_run *run, struct socket *sock, void *bytes)
{
	for (;;) {
		union {
			struct cmsghdr header;
			u8 bytes[CMSG_SPACE(sizeof(u8))];
		} control = {};
		struct kvec part = { bytes, PART };
		struct msghdr message = { .msg_control = &control, .msg_controllen = sizeof(control) };
		int count = kernel_recvmsg(sock, &message, &part, 1, PART, 0);
		u8 type = RECORD_DATA;

		if (count < 0)
			return count;
		if (control.header.cmsg_level == SOL_TLS && control.header.cmsg_type == TLS_GET_RECORD_TYPE)
			type = *(u8 *)CMSG_DATA(&control.header);
		if (type == RECORD_HANDSHAKE) {
			int err = follow(run, sock, bytes, count);

			if (err)
				return err;
			continue;
		}
		if (type == RECORD_DATA)
			return count ?: -ECONNRESET;
		if (type == RECORD_ALERT && count == 2)
			run->alert = ((u8 *)bytes)[1];
		return -EPROTO;
	}
}

static int drive(struct tlsh_run *run, struct socket *sock, u8 *out, u8 *in)
{
	while (run->carried < run->bytes) {
		int part = min_t(int, PART, run->bytes - run->carried);
		int back = 0;
		int err;

		get_random_bytes(out, part);
		err = send_all(sock, out, part);
		if (err)
			return err;
		while (back < part) {
			int count = receive(run, sock, in);

			if (count < 0)
				return count;
			if (count > part - back || memcmp(out + back, in, count))
				return -EBADMSG;
			back += count;
		}
		run->carried += part;
		err = lead(run, sock);
		if (err)
			return err;
	}
	return 0;
}

static int echo(struct tlsh_run *run, struct socket *sock, u8 *in)
{
	while (run->carried < run->bytes) {
		int count = receive(run, sock, in);
		int err;

		if (count < 0)
			return count;
		err = send_all(sock, in, count);
		if (err)
			return err;
		run->carried += count;
		err = lead(run, sock);
		if (err)
			return err;
	}
	return 0;
}

/* A key update with a value that does not exist. */
static int poke(struct tlsh_run *run, struct socket *sock, u8 *in)
{
	u8 message[] = { MESSAGE_KEY_UPDATE, 0, 0, 1, 2 };
	int err = send_record(sock, RECORD_HANDSHAKE, message, sizeof(message));

	return err ?: receive(run, sock, in);
}

int tlsh_carry(struct tlsh_run *run, struct socket *sock)
{
	u8 *out = kmalloc(PART, GFP_KERNEL);
	u8 *in = kmalloc(PART, GFP_KERNEL);
	int err = -ENOMEM;

	sock->sk->sk_rcvtimeo = tlsh_timeout(run);
	sock->sk->sk_sndtimeo = tlsh_timeout(run);
	if (in && out)
		err = run->drives ? drive(run, sock, out, in) : echo(run, sock, in);
	if (!err && run->poke)
		err = poke(run, sock, in);
	kfree(in);
	kfree(out);
	return err;
}
