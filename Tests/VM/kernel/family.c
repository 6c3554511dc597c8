// SPDX-License-Identifier: GPL-2.0-only
/*
 * The family: listeners that hand connected TCP sockets of kernel consumers to a daemon, which shakes hands on them, gives
 * the keys to the kernel and closes its descriptor. That close is the answer.
 */
#include <linux/capability.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/module.h>
#include <linux/poll.h>
#include <net/net_namespace.h>
#include <net/netns/generic.h>
#include <net/sock.h>

#include "tlsh.h"

static int family = 18;
module_param(family, int, 0444);
MODULE_PARM_DESC(family, "number of the address family; this kernel must have it free (default 18, AF_ASH)");

struct tlsh_listener {
	struct sock sk; /* must be first */
	struct list_head node; /* in tlsh_net.listeners, while listening or bound */
	int selects; /* AF_INET, AF_INET6, or AF_UNSPEC for all */
	bool listening;
	unsigned int queued;
	struct list_head queue;
};

struct tlsh_net {
	/* Guards the list, and all members of the listeners in it. */
	spinlock_t lock;
	struct list_head listeners;
};

static unsigned int tlsh_net_id;

static struct tlsh_net *tlsh_net(const struct sock *sk)
{
	return net_generic(sock_net(sk), tlsh_net_id);
}

static struct tlsh_listener *tlsh_listener(const struct socket *sock)
{
	return container_of(sock->sk, struct tlsh_listener, sk);
}

/* The queues of requests */

static struct tlsh_listener *tlsh_find(struct tlsh_net *tn, int selects)
{
	struct tlsh_listener *listener;

	list_for_each_entry(listener, &tn->listeners, node)
		if (listener->selects == selects)
			return listener;
	return NULL;
}

int tlsh_submit(struct tlsh_request *request)
{
	struct sock *sk = request->sock->sk;
	struct tlsh_net *tn = tlsh_net(sk);
	struct tlsh_listener *listener;
	int err = -ENOENT;

	spin_lock(&tn->lock);
	listener = tlsh_find(tn, sk->sk_family);
	if (!listener || !listener->listening)
		listener = tlsh_find(tn, AF_UNSPEC);
	if (listener && listener->listening) {
		if (listener->queued > READ_ONCE(listener->sk.sk_max_ack_backlog)) {
			err = -EAGAIN;
		} else {
			refcount_inc(&request->users);
			list_add_tail(&request->node, &listener->queue);
			listener->queued++;
			listener->sk.sk_data_ready(&listener->sk);
			err = 0;
		}
	}
	spin_unlock(&tn->lock);
	return err;
}

/* The listener */

static bool tlsh_may_listen(const struct sock *sk)
{
	return ns_capable(sock_net(sk)->user_ns, CAP_NET_BIND_SERVICE);
}

static int tlsh_release(struct socket *sock)
{
	struct tlsh_listener *listener;
	struct tlsh_request *request, *next;
	struct tlsh_net *tn;
	LIST_HEAD(orphans);

	if (!sock->sk)
		return 0;
	listener = tlsh_listener(sock);
	tn = tlsh_net(sock->sk);
	spin_lock(&tn->lock);
	list_del_init(&listener->node);
	listener->listening = false;
	list_splice_init(&listener->queue, &orphans);
	listener->queued = 0;
	spin_unlock(&tn->lock);
	list_for_each_entry_safe(request, next, &orphans, node) {
		list_del_init(&request->node);
		tlsh_answer(request, -EACCES);
		tlsh_request_put(request);
	}
	sock_orphan(&listener->sk);
	sock->sk = NULL;
	sock_put(&listener->sk);
	return 0;
}

static int tlsh_bind(struct socket *sock, tlsh_sockaddr *address, int length)
{
	struct tlsh_listener *listener = tlsh_listener(sock);
	struct tlsh_net *tn = tlsh_net(sock->sk);
	int wanted, err = 0;

	if (length < offsetofend(struct sockaddr, sa_family))
		return -EINVAL;
	switch (address->sa_family) {
	case AF_INET:
		wanted = sizeof(struct sockaddr_in);
		break;
	case AF_INET6:
		wanted = sizeof(struct sockaddr_in6);
		break;
	default:
		return -EAFNOSUPPORT;
	}
	if (length != wanted)
		return -EINVAL;
	if (!tlsh_may_listen(sock->sk))
		return -EPERM;
	spin_lock(&tn->lock);
	if (!list_empty(&listener->node)) {
		err = -EINVAL;
	} else if (tlsh_find(tn, address->sa_family)) {
		err = -EADDRINUSE;
	} else {
		listener->selects = address->sa_family;
		list_add_tail(&listener->node, &tn->listeners);
	}
	spin_unlock(&tn->lock);
	return err;
}

static int tlsh_listen(struct socket *sock, int backlog)
{
	struct tlsh_listener *listener = tlsh_listener(sock);
	struct tlsh_net *tn = tlsh_net(sock->sk);
	int err = 0;

	if (!tlsh_may_listen(sock->sk))
		return -EPERM;
	spin_lock(&tn->lock);
	if (list_empty(&listener->node)) {
		if (tlsh_find(tn, AF_UNSPEC))
			err = -EADDRINUSE;
		else
			list_add_tail(&listener->node, &tn->listeners);
	}
	if (!err) {
		WRITE_ONCE(listener->sk.sk_max_ack_backlog, max(backlog, 0));
		listener->listening = true;
	}
	spin_unlock(&tn->lock);
	return err;
}

/* The request that has waited longest. -EAGAIN: none waits. -EBADF: this is no listener. */
static struct tlsh_request *tlsh_dequeue(struct tlsh_listener *listener)
{
	struct tlsh_net *tn = tlsh_net(&listener->sk);
	struct tlsh_request *request = ERR_PTR(-EAGAIN);

	spin_lock(&tn->lock);
	if (!listener->listening) {
		request = ERR_PTR(-EBADF);
	} else if (!list_empty(&listener->queue)) {
		request = list_first_entry(&listener->queue, struct tlsh_request, node);
		list_del_init(&request->node);
		listener->queued--;
	}
	spin_unlock(&tn->lock);
	return request;
}

static int tlsh_accept(struct socket *sock, struct socket *newsock, struct proto_accept_arg *arg)
{
	struct tlsh_listener *listener = tlsh_listener(sock);
	struct tlsh_request *request;
	int err;

	if (!tlsh_may_listen(sock->sk))
		return -EPERM;
	while (IS_ERR(request = tlsh_dequeue(listener))) {
		err = PTR_ERR(request);
		if (err != -EAGAIN || (arg->flags & O_NONBLOCK))
			return err;
		err = wait_event_interruptible(sock->wq.wait, !list_empty_careful(&listener->queue));
		if (err)
			return err;
	}
	/* The queue's reference is the descriptor's now. */
	tlsh_hand_over(request, newsock);
	return 0;
}

static __poll_t tlsh_poll(struct file *file, struct socket *sock, poll_table *wait)
{
	struct tlsh_listener *listener = tlsh_listener(sock);

	sock_poll_wait(file, sock, wait);
	return list_empty_careful(&listener->queue) ? 0 : EPOLLIN | EPOLLRDNORM;
}

static int tlsh_getname(struct socket *sock, struct sockaddr *address, int peer)
{
	if (peer)
		return -ENOTCONN;
	memset(address, 0, sizeof(*address));
	address->sa_family = tlsh_listener(sock)->selects;
	return sizeof(*address);
}

static const struct proto_ops tlsh_listener_ops = {
	.family = PF_UNSPEC,
	.owner = THIS_MODULE,
	.release = tlsh_release,
	.bind = tlsh_bind,
	.connect = sock_no_connect,
	.socketpair = sock_no_socketpair,
	.accept = tlsh_accept,
	.getname = tlsh_getname,
	.poll = tlsh_poll,
	.ioctl = sock_no_ioctl,
	.listen = tlsh_listen,
	.shutdown = sock_no_shutdown,
	.sendmsg = sock_no_sendmsg,
	.recvmsg = sock_no_recvmsg,
	.mmap = sock_no_mmap,
};

static struct proto tlsh_proto = {
	.name = "TLSH",
	.owner = THIS_MODULE,
	.obj_size = sizeof(struct tlsh_listener),
};

static int tlsh_create(struct net *net, struct socket *sock, int protocol, int kern)
{
	struct tlsh_listener *listener;
	struct sock *sk;

	if (sock->type != SOCK_STREAM)
		return -ESOCKTNOSUPPORT;
	if (protocol && protocol != IPPROTO_TCP)
		return -EPROTONOSUPPORT;
	sk = sk_alloc(net, family, GFP_KERNEL, &tlsh_proto, kern);
	if (!sk)
		return -ENOMEM;
	sock_init_data(sock, sk);
	sk->sk_protocol = IPPROTO_TCP;
	listener = container_of(sk, struct tlsh_listener, sk);
	INIT_LIST_HEAD(&listener->node);
	INIT_LIST_HEAD(&listener->queue);
	listener->selects = AF_UNSPEC;
	sock->ops = &tlsh_listener_ops;
	return 0;
}

static struct net_proto_family tlsh_family = {
	.owner = THIS_MODULE,
	.create = tlsh_create,
};

static int __net_init tlsh_net_init(struct net *net)
{
	struct tlsh_net *tn = net_generic(net, tlsh_net_id);

	spin_lock_init(&tn->lock);
	INIT_LIST_HEAD(&tn->listeners);
	return 0;
}

static struct pernet_operations tlsh_net_ops = {
	.init = tlsh_net_init,
	.id = &tlsh_net_id,
	.size = sizeof(struct tlsh_net),
};

static int __init tlsh_family_init(void)
{
	int err = register_pernet_subsys(&tlsh_net_ops);

	if (err)
		return err;
	err = proto_register(&tlsh_proto, 0);
	if (err)
		goto no_proto;
	tlsh_family.family = family;
	err = sock_register(&tlsh_family);
	if (err)
		goto no_family;
	return 0;
no_family:
	proto_unregister(&tlsh_proto);
no_proto:
	unregister_pernet_subsys(&tlsh_net_ops);
	return err;
}

static void tlsh_family_exit(void)
{
	sock_unregister(family);
	proto_unregister(&tlsh_proto);
	unregister_pernet_subsys(&tlsh_net_ops);
}

static int __init tlsh_init(void)
{
	int err = tlsh_family_init();

	if (err)
		return err;
	err = tlsh_consumer_init();
	if (err)
		tlsh_family_exit();
	return err;
}

static void __exit tlsh_exit(void)
{
	tlsh_consumer_exit();
	tlsh_family_exit();
}

module_init(tlsh_init);
module_exit(tlsh_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("TLS handshake listener family for tests");
