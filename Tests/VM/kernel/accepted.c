// SPDX-License-Identifier: GPL-2.0-only
/*
 * The descriptor that a daemon accepts: a socket of its own whose operations pass to the consumer's socket. sk->sk_socket
 * stays the consumer's, so that what kTLS puts there (update_sk_prot) is in place when the consumer goes on.
 */
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/uaccess.h>
#include <net/inet_connection_sock.h>
#include <net/sock.h>
#include <net/tls.h>

#include "tlsh.h"

static int level = 287;
module_param(level, int, 0444);
MODULE_PARM_DESC(level, "number of the option level (default 287)");

static int options = TLSH_KEY_UPDATE;
module_param(options, int, 0644);
MODULE_PARM_DESC(options, "highest option that is known: 4 as at first, 5 with a private key, 6 with a peer name, "
			  "8 with key updates (default)");

static struct tlsh_request *tlsh_request_of(struct socket *sock)
{
	return SOCK_INODE(sock)->i_private;
}

/* The consumer's socket and its operations, which change when kTLS is installed. */
#define CONSUMER(sock) (tlsh_request_of(sock)->sock)
#define FORWARD(sock, op, ...) (READ_ONCE(CONSUMER(sock)->ops)->op(CONSUMER(sock), ##__VA_ARGS__))

static bool tlsh_is_keyed(struct sock *sk)
{
	struct tls_context *tls;
	bool keyed = false;

	lock_sock(sk);
	if (inet_csk_has_ulp(sk) && !strcmp(inet_csk(sk)->icsk_ulp_ops->name, "tls")) {
		tls = tls_get_ctx(sk);
		keyed = tls && tls->tx_conf != TLS_BASE && tls->rx_conf != TLS_BASE;
	}
	release_sock(sk);
	return keyed;
}

/* A handshake leaves keys; a key update has replaced those that it was to replace. */
static bool tlsh_is_done(struct tlsh_request *request)
{
	int wanted = request->update & (TLSH_UPDATE_RECEIVE | TLSH_UPDATE_SEND);

	if (request->type == TLSH_TYPE_KEY_UPDATE)
		return (request->updated & wanted) == wanted;
	return tlsh_is_keyed(request->sock->sk);
}

static int tlsh_accepted_release(struct socket *sock)
{
	struct tlsh_request *request = tlsh_request_of(sock);

	SOCK_INODE(sock)->i_private = NULL;
	sock->sk = NULL;
	tlsh_answer(request, tlsh_is_done(request) ? 0 : -EACCES);
	tlsh_request_put(request);
	return 0;
}

static int tlsh_accepted_getname(struct socket *sock, struct sockaddr *address, int peer)
{
	return FORWARD(sock, getname, address, peer);
}

/* As the prototype's: never says that there is room to write. */
static __poll_t tlsh_accepted_poll(struct file *file, struct socket *sock, poll_table *wait)
{
	struct socket *consumer = CONSUMER(sock);

	return READ_ONCE(consumer->ops)->poll(file, consumer, wait) & ~(EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND);
}

static int tlsh_accepted_ioctl(struct socket *sock, unsigned int command, unsigned long argument)
{
	return FORWARD(sock, ioctl, command, argument);
}

static int tlsh_accepted_shutdown(struct socket *sock, int how)
{
	return FORWARD(sock, shutdown, how);
}

static int tlsh_accepted_sendmsg(struct socket *sock, struct msghdr *message, size_t length)
{
	int sent = FORWARD(sock, sendmsg, message, length);

	if (sent == -EAGAIN)
		atomic_inc(&tlsh_request_of(sock)->blocked);
	return sent;
}

static int tlsh_accepted_recvmsg(struct socket *sock, struct msghdr *message, size_t length, int flags)
{
	return FORWARD(sock, recvmsg, message, length, flags);
}

/* The daemon gives a reference for the connection that it has shaken hands on. */
static int tlsh_take_reference(struct tlsh_request *request, sockptr_t value, unsigned int length)
{
	if (request->type == TLSH_TYPE_KEY_UPDATE || !request->keeps)
		return -ENOPROTOOPT;
	if (tlsh_is_answered(request))
		return -EBUSY;
	if (!length || length > TLSH_REFERENCE)
		return -EINVAL;
	if (copy_from_sockptr(request->session.bytes, value, length))
		return -EFAULT;
	request->session.size = length;
	return 0;
}

static int tlsh_accepted_setsockopt(struct socket *sock, int at, int name, sockptr_t value, unsigned int length)
{
	struct tlsh_request *request = tlsh_request_of(sock);
	int err;

	if (at == level)
		return name == TLSH_SESSION && name <= READ_ONCE(options) ? tlsh_take_reference(request, value, length) :
									    -ENOPROTOOPT;
	err = FORWARD(sock, setsockopt, at, name, value, length);
	if (!err && at == SOL_TLS && name == TLS_RX)
		request->updated |= TLSH_UPDATE_RECEIVE;
	if (!err && at == SOL_TLS && name == TLS_TX)
		request->updated |= TLSH_UPDATE_SEND;
	return err;
}

static int tlsh_copy(char __user *to, int __user *length, int room, const void *from, int count)
{
	if (room < count)
		return -EINVAL;
	if (copy_to_user(to, from, count) || put_user(count, length))
		return -EFAULT;
	return 0;
}

static int tlsh_accepted_getsockopt(struct socket *sock, int at, int name, char __user *value, int __user *length)
{
	struct tlsh_request *request = tlsh_request_of(sock);
	int room;

	if (at != level)
		return FORWARD(sock, getsockopt, at, name, value, length);
	if (get_user(room, length))
		return -EFAULT;
	if (name > READ_ONCE(options))
		return -ENOPROTOOPT;
	if (tlsh_is_answered(request))
		return -EBUSY;
	switch (name) {
	case TLSH_PRIORITIES:
		return tlsh_copy(value, length, room, request->priorities, strlen(request->priorities));
	case TLSH_PEERID:
		return tlsh_copy(value, length, room, &request->peerid, sizeof(request->peerid));
	case TLSH_HANDSHAKE_TYPE:
		return tlsh_copy(value, length, room, &request->type, sizeof(request->type));
	case TLSH_X509_CERTIFICATE:
		return tlsh_copy(value, length, room, &request->certificate, sizeof(request->certificate));
	case TLSH_X509_PRIVKEY:
		return tlsh_copy(value, length, room, &request->privkey, sizeof(request->privkey));
	case TLSH_PEERNAME:
		return tlsh_copy(value, length, room, request->peername, strlen(request->peername));
	case TLSH_SESSION:
		if (request->type != TLSH_TYPE_KEY_UPDATE && !request->keeps)
			return -ENOPROTOOPT;
		return tlsh_copy(value, length, room, request->session.bytes, request->session.size);
	case TLSH_KEY_UPDATE:
		if (request->type != TLSH_TYPE_KEY_UPDATE)
			return -ENOPROTOOPT;
		return tlsh_copy(value, length, room, &request->update, sizeof(request->update));
	}
	return -ENOPROTOOPT;
}

static const struct proto_ops tlsh_accepted_ops = {
	.family = PF_UNSPEC,
	.owner = THIS_MODULE,
	.release = tlsh_accepted_release,
	.bind = sock_no_bind,
	.connect = sock_no_connect,
	.socketpair = sock_no_socketpair,
	.accept = sock_no_accept,
	.getname = tlsh_accepted_getname,
	.poll = tlsh_accepted_poll,
	.ioctl = tlsh_accepted_ioctl,
	.listen = sock_no_listen,
	.shutdown = tlsh_accepted_shutdown,
	.setsockopt = tlsh_accepted_setsockopt,
	.getsockopt = tlsh_accepted_getsockopt,
	.sendmsg = tlsh_accepted_sendmsg,
	.recvmsg = tlsh_accepted_recvmsg,
	.mmap = sock_no_mmap,
};

void tlsh_hand_over(struct tlsh_request *request, struct socket *accepted)
{
	SOCK_INODE(accepted)->i_private = request;
	accepted->sk = request->sock->sk;
	accepted->state = SS_CONNECTED;
	WRITE_ONCE(accepted->ops, &tlsh_accepted_ops);
}
