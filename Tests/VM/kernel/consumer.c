// SPDX-License-Identifier: GPL-2.0-only
/*
 * A consumer to drive the family with: /proc/tlsh. Write one line, which runs to its end, then read the outcome from the
 * same open file:
 *
 *   connect|listen ADDRESS PORT [type=N] [peerid=N] [cert=N] [key=N] [priorities=TEXT] [peername=TEXT]
 *           [timeout=MS] [data=drive|echo|none] [bytes=N] [sndbuf=N] [poke=1]
 *           [keep=1] [update=BITS] [every=N] [pause=MS] [with=own|forged|stolen]
 *
 * "connect" makes a connection, trying again while nobody listens; "listen" takes one. On it a handshake is asked for. When
 * that has worked, "drive" sends bytes through kTLS in parts and compares what comes back, "echo" sends back what it gets.
 * "keep" asks the daemon for a reference to the connection. With it, a key update of the peer's is answered by new keys from
 * the daemon, and after "every" N bytes one of our own is asked for, with BITS of TLSH_UPDATE_*. "with" gives a reference that
 * nobody handed out, or that of the run before. "poke" sends the peer a handshake record that it must answer by an alert.
 * A file to which nothing was written tells how many requests are alive.
 */
#include <linux/delay.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/inet.h>
#include <linux/module.h>
#include <linux/nsproxy.h>
#include <linux/proc_fs.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>
#include <net/net_namespace.h>
#include <net/sock.h>
#include <net/tcp.h>

#include "consumer.h"

enum {
	LINE = 1024,
};

/* The reference that the last run got. */
static struct tlsh_reference last_reference;
static DEFINE_SPINLOCK(last_lock);

struct session {
	struct mutex lock;
	char answer[LINE];
	size_t length;
};

/* Parsing */

static int parse_address(struct tlsh_run *run, const char *host, const char *port)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)&run->address;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&run->address;
	u16 number;

	if (!host || !port || kstrtou16(port, 10, &number))
		return -EINVAL;
	if (in4_pton(host, -1, (u8 *)&v4->sin_addr, -1, NULL)) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(number);
		run->address_size = sizeof(*v4);
		return 0;
	}
	memset(&run->address, 0, sizeof(run->address));
	if (!in6_pton(host, -1, (u8 *)&v6->sin6_addr, -1, NULL))
		return -EINVAL;
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons(number);
	run->address_size = sizeof(*v6);
	return 0;
}

static int parse_word(struct tlsh_run *run, char *word)
{
	const struct {
		const char *name;
		int *number;
	} numbers[] = {
		{ "type", &run->type }, { "peerid", &run->peerid }, { "cert", &run->cert }, { "key", &run->key },
		{ "timeout", &run->timeout }, { "bytes", &run->bytes }, { "sndbuf", &run->sndbuf },
		{ "keep", &run->keep }, { "update", &run->update }, { "every", &run->every }, { "pause", &run->pause },
		{ "poke", &run->poke },
	};
	char *value = strchr(word, '=');
	int i;

	if (!value)
		return -EINVAL;
	*value++ = 0;
	for (i = 0; i < ARRAY_SIZE(numbers); i++)
		if (!strcmp(word, numbers[i].name))
			return kstrtoint(value, 0, numbers[i].number);
	if (!strcmp(word, "data")) {
		run->drives = !strcmp(value, "drive");
		run->echoes = !strcmp(value, "echo");
		return run->drives || run->echoes || !strcmp(value, "none") ? 0 : -EINVAL;
	}
	if (!strcmp(word, "with")) {
		run->forges = !strcmp(value, "forged");
		run->steals = !strcmp(value, "stolen");
		return run->forges || run->steals || !strcmp(value, "own") ? 0 : -EINVAL;
	}
	if (strlen(value) >= TLSH_TEXT)
		return -EINVAL;
	if (!strcmp(word, "priorities"))
		run->priorities = value;
	else if (!strcmp(word, "peername"))
		run->peername = value;
	else
		return -EINVAL;
	return 0;
}

static int parse(struct tlsh_run *run, char *line)
{
	char *word = strsep(&line, " ");
	char *host, *port;
	int err;

	run->listens = !strcmp(word, "listen");
	if (!run->listens && strcmp(word, "connect"))
		return -EINVAL;
	run->drives = !run->listens;
	run->echoes = run->listens;
	run->timeout = 10000;
	run->bytes = 100000;
	run->type = run->listens ? 3 : 0;
	run->alert = -1;
	host = strsep(&line, " ");
	port = strsep(&line, " ");
	err = parse_address(run, host, port);
	while (!err && (word = strsep(&line, " ")))
		if (*word)
			err = parse_word(run, word);
	return err;
}

/* Connections */

static int make_socket(const struct tlsh_run *run, struct socket **made)
{
	/* Not a kernel socket: it keeps its network namespace. */
	int err = __sock_create(current->nsproxy->net_ns, run->address.ss_family, SOCK_STREAM, IPPROTO_TCP, made, 0);

	if (err)
		return err;
	if (run->sndbuf) {
		struct sock *sk = (*made)->sk;

		lock_sock(sk);
		sk->sk_userlocks |= SOCK_SNDBUF_LOCK;
		WRITE_ONCE(sk->sk_sndbuf, max_t(int, run->sndbuf, SOCK_MIN_SNDBUF));
		release_sock(sk);
	}
	return 0;
}

static int take_connection(struct tlsh_run *run, struct socket **made)
{
	struct socket *listener;
	int err = make_socket(run, &listener);

	if (err)
		return err;
	sock_set_reuseaddr(listener->sk);
	listener->sk->sk_rcvtimeo = tlsh_timeout(run);
	err = kernel_bind(listener, (tlsh_sockaddr *)&run->address, run->address_size);
	if (!err)
		err = kernel_listen(listener, 16);
	if (!err)
		err = kernel_accept(listener, made, 0);
	sock_release(listener);
	return err;
}

static int make_connection(struct tlsh_run *run, struct socket **made)
{
	unsigned long until = jiffies + tlsh_timeout(run);
	int err;

	do {
		err = make_socket(run, made);
		if (err)
			return err;
		err = kernel_connect(*made, (tlsh_sockaddr *)&run->address, run->address_size, 0);
		if (!err)
			return 0;
		sock_release(*made);
		if (msleep_interruptible(20))
			return -EINTR;
	} while (err == -ECONNREFUSED && time_before(jiffies, until));
	return err;
}

/* The whole */

/* What a later key update is to name. */
static void note_reference(struct tlsh_run *run, const struct tlsh_reference *given)
{
	spin_lock(&last_lock);
	run->session = run->steals ? last_reference : *given;
	last_reference = *given;
	spin_unlock(&last_lock);
	if (run->forges)
		run->session.bytes[0] ^= 1;
}

static void shake_hands(struct tlsh_run *run, struct tlsh_request *request)
{
	request->type = run->type;
	request->peerid = run->peerid;
	request->certificate = run->cert;
	request->privkey = run->key;
	request->keeps = run->keep;
	if (run->priorities)
		strscpy(request->priorities, run->priorities, sizeof(request->priorities));
	if (run->peername)
		strscpy(request->peername, run->peername, sizeof(request->peername));
	run->submitted = tlsh_ask(run, request, &run->status);
	run->blocked = atomic_read(&request->blocked);
	if (!run->submitted && !run->status && run->keep)
		note_reference(run, &request->session);
}

static void go(struct tlsh_run *run)
{
	struct tlsh_request *request;
	struct socket *sock;
	struct file *file;
	ktime_t begin;

	run->connected = run->listens ? take_connection(run, &sock) : make_connection(run, &sock);
	if (run->connected)
		return;
	/* From here on the socket is the file's. */
	file = sock_alloc_file(sock, 0, NULL);
	if (IS_ERR(file)) {
		run->connected = PTR_ERR(file);
		return;
	}
	run->file = file;
	run->next = run->every;
	tcp_sock_set_nodelay(sock->sk);
	request = tlsh_request_alloc(file, sock);
	if (request) {
		begin = ktime_get();
		shake_hands(run, request);
		run->ms = ktime_ms_delta(ktime_get(), begin);
		tlsh_request_put(request);
		if (!run->submitted && !run->status && (run->drives || run->echoes))
			run->data = tlsh_carry(run, sock);
	} else {
		run->submitted = -ENOMEM;
	}
	fput(file);
}

static ssize_t consumer_write(struct file *file, const char __user *from, size_t length, loff_t *offset)
{
	struct session *session = file->private_data;
	struct tlsh_run run = {};
	char *line;
	int err;

	if (length >= LINE)
		return -EINVAL;
	line = memdup_user_nul(from, length);
	if (IS_ERR(line))
		return PTR_ERR(line);
	err = parse(&run, strim(line));
	if (!err) {
		go(&run);
		mutex_lock(&session->lock);
		session->length = scnprintf(session->answer, LINE,
					    "connected=%d submitted=%d status=%d data=%d carried=%d alert=%d blocked=%d ms=%lld "
					    "session=%d updates=%d heard=%d refused=%d\n",
					    run.connected, run.submitted, run.status, run.data, run.carried, run.alert,
					    run.blocked, run.ms, run.session.size, run.updates, run.heard, run.refused);
		mutex_unlock(&session->lock);
	}
	kfree(line);
	return err ?: length;
}

/* Writing leaves the file's position where it is, so that a reader begins at the answer's first byte. */
static ssize_t consumer_read(struct file *file, char __user *to, size_t length, loff_t *offset)
{
	struct session *session = file->private_data;
	ssize_t count;

	mutex_lock(&session->lock);
	if (!session->length)
		session->length = scnprintf(session->answer, LINE, "requests=%d\n", tlsh_live_requests());
	count = simple_read_from_buffer(to, length, offset, session->answer, session->length);
	mutex_unlock(&session->lock);
	return count;
}

static int consumer_open(struct inode *inode, struct file *file)
{
	struct session *session = kzalloc(sizeof(*session), GFP_KERNEL);

	if (!session)
		return -ENOMEM;
	mutex_init(&session->lock);
	file->private_data = session;
	return 0;
}

static int consumer_release(struct inode *inode, struct file *file)
{
	kfree(file->private_data);
	return 0;
}

static const struct proc_ops consumer_ops = {
	.proc_open = consumer_open,
	.proc_release = consumer_release,
	.proc_read = consumer_read,
	.proc_write = consumer_write,
	.proc_lseek = noop_llseek,
};

int tlsh_consumer_init(void)
{
	return proc_create("tlsh", 0600, NULL, &consumer_ops) ? 0 : -ENOMEM;
}

void tlsh_consumer_exit(void)
{
	remove_proc_entry("tlsh", NULL);
}
