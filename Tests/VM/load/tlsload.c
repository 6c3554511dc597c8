// SPDX-License-Identifier: GPL-2.0-only
/*
 * Load for handshake daemons: pairs of connected sockets, both ends of which ask user space for a TLS handshake at once.
 *
 * Commands, one per write to /proc/tlsload; a read gives the outcome of the last one as words KEY=VALUE.
 *   run COUNT AT_ONCE KIND [KEYRING KEY]    KIND is x509, anonymous or psk; times each pair from the first submission to
 *                                           the second answer. A pair that both ends report good carries 64 bytes each
 *                                           way, which must arrive as they were.
 *   stall COUNT                             COUNT server ends ask for x509 handshakes with peers that never speak; they
 *                                           stay until "release".
 *   release
 *   drbd NAME CERTIFICATE KEY NAME CERTIFICATE KEY
 *                                           two connections between two nodes as DRBD makes them: of each, the other end is
 *                                           the server. Every end expects the other node's name, presents its own node's
 *                                           certificate (serials; 0 for none) and gives its daemon 6 s.
 */
#include <linux/completion.h>
#include <linux/file.h>
#include <linux/in.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/net.h>
#include <linux/proc_fs.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include <net/handshake.h>
#include <net/net_namespace.h>
#include <net/sock.h>
#include <net/tcp.h>

#define PATIENCE_MS 30000
#define STALL_MS 600000
#define DRBD_MS 6000
#define RETRY_MS 5
#define MOST_PAIRS 1000000
#define MOST_THREADS 512

enum kind { X509, ANONYMOUS, PSK };
static const char *const kinds[] = { "x509", "anonymous", "psk" };

struct end {
	struct socket *socket;
	struct file *file;
	struct completion answered;
	int status;
};

struct pair {
	struct end client, server;
};

struct drbd_node {
	char name[64];
	key_serial_t certificate, key;
};

struct run {
	int count, at_once;
	enum kind kind;
	key_serial_t keyring, key;
	atomic_t next, good, corrupt, failed, submitted, refused;
	int status; /* of the last pair that failed */
	u32 *microseconds;
	u64 took;
};

static struct socket *listener;
static struct sockaddr_in address;
static DEFINE_MUTEX(command_lock);
static DEFINE_MUTEX(connect_lock);
static struct pair *stalled;
static int stalled_count;
static char outcome[512] = "nothing\n";

static void answered(void *data, int status, key_serial_t identity)
{
	struct end *end = data;

	end->status = status;
	complete(&end->answered);
}

static int end_open(struct end *end, struct socket *socket)
{
	struct file *file = sock_alloc_file(socket, O_NONBLOCK, NULL);

	if (IS_ERR(file))
		return PTR_ERR(file); /* the socket has been released */
	tcp_sock_set_nodelay(socket->sk);
	end->socket = socket;
	end->file = file;
	end->status = -EINPROGRESS;
	init_completion(&end->answered);
	return 0;
}

static void pair_close(struct pair *pair)
{
	if (pair->client.file)
		fput(pair->client.file);
	if (pair->server.file)
		fput(pair->server.file);
}

static int pair_open(struct pair *pair)
{
	struct socket *client, *server;
	int error;

	error = sock_create_kern(&init_net, AF_INET, SOCK_STREAM, IPPROTO_TCP, &client);
	if (error)
		return error;
	/* One at a time, so that what is accepted is what has just been connected. */
	mutex_lock(&connect_lock);
	error = kernel_connect(client, (struct sockaddr *)&address, sizeof(address), 0);
	if (!error)
		error = kernel_accept(listener, &server, 0);
	mutex_unlock(&connect_lock);
	if (error) {
		sock_release(client);
		return error;
	}
	error = end_open(&pair->server, server);
	if (error) {
		sock_release(client);
		return error;
	}
	return end_open(&pair->client, client);
}

static int ask(const struct tls_handshake_args *args, enum kind kind, bool server)
{
	if (kind == PSK)
		return server ? tls_server_hello_psk(args, GFP_KERNEL) : tls_client_hello_psk(args, GFP_KERNEL);
	if (server)
		return tls_server_hello_x509(args, GFP_KERNEL);
	return kind == ANONYMOUS ? tls_client_hello_anon(args, GFP_KERNEL) : tls_client_hello_x509(args, GFP_KERNEL);
}

/* Submits one end. A daemon that has too many waiting makes the kernel say EAGAIN; consumers try again, and so do we. */
static int submit(struct run *run, struct end *end, bool server, unsigned int timeout)
{
	struct tls_handshake_args args = {
		.ta_sock = end->socket,
		.ta_done = answered,
		.ta_data = end,
		.ta_timeout_ms = timeout,
		.ta_peername = server ? NULL : "server.rig",
		.ta_keyring = run->keyring,
	};
	int error, tries;

	if (run->kind == PSK) {
		args.ta_my_peerids[0] = run->key;
		args.ta_num_peerids = 1;
	}
	for (tries = 0; tries < PATIENCE_MS / RETRY_MS; tries++) {
		atomic_inc(&run->submitted);
		error = ask(&args, run->kind, server);
		if (error != -EAGAIN)
			return error;
		atomic_inc(&run->refused);
		msleep(RETRY_MS);
	}
	return error;
}

/* Waits for the answer. After this nobody writes to the end any more. */
static int await(struct end *end)
{
	if (!wait_for_completion_timeout(&end->answered, msecs_to_jiffies(PATIENCE_MS + 5000))) {
		if (tls_handshake_cancel(end->socket->sk))
			return -ETIMEDOUT;
		wait_for_completion(&end->answered);
	}
	return end->status;
}

static void withdraw(struct end *end)
{
	if (!tls_handshake_cancel(end->socket->sk))
		wait_for_completion(&end->answered);
}

static int carry(struct end *from, struct end *to)
{
	u8 sent[64], received[64];
	struct kvec out = { sent, sizeof(sent) }, in = { received, sizeof(received) };
	struct msghdr send = {}, receive = {};

	get_random_bytes(sent, sizeof(sent));
	if (kernel_sendmsg(from->socket, &send, &out, 1, sizeof(sent)) != sizeof(sent))
		return -EIO;
	to->socket->sk->sk_rcvtimeo = 5 * HZ;
	if (kernel_recvmsg(to->socket, &receive, &in, 1, sizeof(received), MSG_WAITALL) != sizeof(received))
		return -EIO;
	return memcmp(sent, received, sizeof(sent)) ? -EBADMSG : 0;
}

static int one_pair(struct run *run, u32 *microseconds)
{
	struct pair pair = {};
	int error, other;
	u64 begin;

	error = pair_open(&pair);
	if (error)
		goto out;
	begin = ktime_get_ns();
	error = submit(run, &pair.server, true, PATIENCE_MS);
	if (error)
		goto out;
	error = submit(run, &pair.client, false, PATIENCE_MS);
	if (error) {
		withdraw(&pair.server);
		goto out;
	}
	error = await(&pair.client);
	other = await(&pair.server);
	*microseconds = div_u64(ktime_get_ns() - begin, 1000);
	error = error ?: other;
	if (!error && (carry(&pair.client, &pair.server) || carry(&pair.server, &pair.client)))
		atomic_inc(&run->corrupt);
out:
	pair_close(&pair);
	return error;
}

static int run_thread(void *data)
{
	struct run *run = data;
	int number, error;

	while ((number = atomic_inc_return(&run->next) - 1) < run->count) {
		error = one_pair(run, &run->microseconds[number]);
		if (error) {
			run->status = error;
			atomic_inc(&run->failed);
		} else {
			atomic_inc(&run->good);
		}
	}
	set_current_state(TASK_INTERRUPTIBLE);
	while (!kthread_should_stop()) {
		schedule();
		set_current_state(TASK_INTERRUPTIBLE);
	}
	__set_current_state(TASK_RUNNING);
	return 0;
}

static int compare(const void *left, const void *right)
{
	u32 a = *(const u32 *)left, b = *(const u32 *)right;

	return a < b ? -1 : a > b;
}

static void report(struct run *run)
{
	int last = run->count - 1;

	sort(run->microseconds, run->count, sizeof(u32), compare, NULL);
	scnprintf(outcome, sizeof(outcome),
		  "kind=%s count=%d at_once=%d stalled=%d good=%d failed=%d corrupt=%d status=%d submitted=%d refused=%d "
		  "took_us=%llu median_us=%u p99_us=%u max_us=%u\n",
		  kinds[run->kind], run->count, run->at_once, stalled_count, atomic_read(&run->good),
		  atomic_read(&run->failed), atomic_read(&run->corrupt), run->status, atomic_read(&run->submitted),
		  atomic_read(&run->refused), div_u64(run->took, 1000), run->microseconds[run->count / 2],
		  run->microseconds[last - run->count / 100], run->microseconds[last]);
}

static int run_all(struct run *run)
{
	struct task_struct **threads;
	int number, error = 0;
	u64 begin;

	run->microseconds = vzalloc(array_size(run->count, sizeof(u32)));
	threads = kcalloc(run->at_once, sizeof(*threads), GFP_KERNEL);
	if (!run->microseconds || !threads) {
		error = -ENOMEM;
		goto out;
	}
	begin = ktime_get_ns();
	for (number = 0; number < run->at_once; number++) {
		threads[number] = kthread_run(run_thread, run, "tlsload/%d", number);
		if (IS_ERR(threads[number])) {
			error = PTR_ERR(threads[number]);
			threads[number] = NULL;
			break;
		}
	}
	while (!error && atomic_read(&run->good) + atomic_read(&run->failed) < run->count)
		msleep(1);
	run->took = ktime_get_ns() - begin;
	for (number = 0; number < run->at_once; number++)
		if (threads[number])
			kthread_stop(threads[number]);
	if (!error)
		report(run);
out:
	kfree(threads);
	vfree(run->microseconds);
	return error;
}

static void release(void)
{
	int number;

	for (number = 0; number < stalled_count; number++) {
		withdraw(&stalled[number].server);
		pair_close(&stalled[number]);
	}
	vfree(stalled);
	stalled = NULL;
	stalled_count = 0;
	strscpy(outcome, "stalled=0\n", sizeof(outcome));
}

static int stall(int count)
{
	struct run run = { .kind = X509 };
	int error = 0;

	release();
	stalled = vzalloc(array_size(count, sizeof(*stalled)));
	if (!stalled)
		return -ENOMEM;
	while (stalled_count < count && !error) {
		struct pair *pair = &stalled[stalled_count];

		error = pair_open(pair);
		if (!error)
			error = submit(&run, &pair->server, true, STALL_MS);
		if (error)
			pair_close(pair);
		else
			stalled_count++;
	}
	scnprintf(outcome, sizeof(outcome), "stalled=%d\n", stalled_count);
	return error;
}

static int drbd_submit(struct end *end, bool server, const struct drbd_node *own, const struct drbd_node *peer)
{
	struct tls_handshake_args args = {
		.ta_sock = end->socket,
		.ta_done = answered,
		.ta_data = end,
		.ta_timeout_ms = DRBD_MS,
		.ta_peername = peer->name,
		.ta_my_cert = own->certificate,
		.ta_my_privkey = own->key,
	};

	return ask(&args, own->certificate ? X509 : ANONYMOUS, server);
}

/* Asks for both connections at once and waits for the four answers; the names must stay until then. */
static int drbd(const struct drbd_node nodes[2])
{
	struct pair pairs[2] = {};
	struct end *ends[4] = { &pairs[0].client, &pairs[0].server, &pairs[1].client, &pairs[1].server };
	int number, submitted = 0, carried = 0, error = 0;

	for (number = 0; number < 2 && !error; number++)
		error = pair_open(&pairs[number]);
	for (number = 0; number < 4 && !error; number++) {
		const int node = (number + number / 2) % 2;

		error = drbd_submit(ends[number], number % 2, &nodes[node], &nodes[!node]);
		if (!error)
			submitted++;
	}
	for (number = 0; number < submitted; number++)
		await(ends[number]);
	for (number = 0; number < 2 && !error; number++)
		if (!pairs[number].client.status && !pairs[number].server.status)
			carried += !carry(&pairs[number].client, &pairs[number].server) &&
				   !carry(&pairs[number].server, &pairs[number].client);
	scnprintf(outcome, sizeof(outcome), "client=%d server=%d other_client=%d other_server=%d carried=%d\n",
		  ends[0]->status, ends[1]->status, ends[2]->status, ends[3]->status, carried);
	pair_close(&pairs[0]);
	pair_close(&pairs[1]);
	return error;
}

static int command(char *text)
{
	struct drbd_node nodes[2] = {};
	struct run run = {};
	char kind[16];
	int count, given;

	if (sscanf(text, "stall %d", &count) == 1)
		return count > 0 && count <= MOST_PAIRS ? stall(count) : -EINVAL;
	if (!strncmp(text, "release", 7)) {
		release();
		return 0;
	}
	if (!strncmp(text, "drbd ", 5)) {
		given = sscanf(text, "drbd %63s %d %d %63s %d %d", nodes[0].name, &nodes[0].certificate, &nodes[0].key,
			       nodes[1].name, &nodes[1].certificate, &nodes[1].key);
		return given == 6 ? drbd(nodes) : -EINVAL;
	}
	given = sscanf(text, "run %d %d %15s %d %d", &run.count, &run.at_once, kind, &run.keyring, &run.key);
	if (given < 3 || run.count < 1 || run.count > MOST_PAIRS || run.at_once < 1 || run.at_once > MOST_THREADS)
		return -EINVAL;
	given = match_string(kinds, ARRAY_SIZE(kinds), kind);
	if (given < 0)
		return -EINVAL;
	run.kind = given;
	return run_all(&run);
}

static ssize_t load_write(struct file *file, const char __user *from, size_t count, loff_t *offset)
{
	char text[256];
	int error;

	if (count >= sizeof(text))
		return -EINVAL;
	if (copy_from_user(text, from, count))
		return -EFAULT;
	text[count] = 0;
	mutex_lock(&command_lock);
	error = command(text);
	mutex_unlock(&command_lock);
	return error ?: count;
}

static ssize_t load_read(struct file *file, char __user *to, size_t count, loff_t *offset)
{
	return simple_read_from_buffer(to, count, offset, outcome, strlen(outcome));
}

static const struct proc_ops operations = { .proc_write = load_write, .proc_read = load_read };

static int __init load_start(void)
{
	int error = sock_create_kern(&init_net, AF_INET, SOCK_STREAM, IPPROTO_TCP, &listener);

	if (error)
		return error;
	address.sin_family = AF_INET;
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	error = kernel_bind(listener, (struct sockaddr *)&address, sizeof(address));
	if (!error)
		error = kernel_listen(listener, 64);
	if (!error)
		error = kernel_getsockname(listener, (struct sockaddr *)&address);
	if (error < 0) {
		sock_release(listener);
		return error;
	}
	if (!proc_create("tlsload", 0600, NULL, &operations)) {
		sock_release(listener);
		return -ENOMEM;
	}
	return 0;
}

static void __exit load_end(void)
{
	remove_proc_entry("tlsload", NULL);
	release();
	sock_release(listener);
}

module_init(load_start);
module_exit(load_end);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Load for TLS handshake daemons");
