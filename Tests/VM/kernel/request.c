// SPDX-License-Identifier: GPL-2.0-only
/* Requests: how long they live, and how each is answered exactly once. */
#include <linux/file.h>
#include <linux/slab.h>

#include "tlsh.h"

enum {
	TLSH_ANSWERED, /* bit of tlsh_request.flags: by close, or given up by the consumer */
};

static atomic_t live_requests;

struct tlsh_request *tlsh_request_alloc(struct file *file, struct socket *sock)
{
	struct tlsh_request *request = kzalloc(sizeof(*request), GFP_KERNEL);

	if (!request)
		return NULL;
	refcount_set(&request->users, 1);
	INIT_LIST_HEAD(&request->node);
	init_completion(&request->answered);
	request->file = get_file(file);
	request->sock = sock;
	atomic_inc(&live_requests);
	return request;
}

void tlsh_request_put(struct tlsh_request *request)
{
	if (!refcount_dec_and_test(&request->users))
		return;
	fput(request->file);
	kfree(request);
	atomic_dec(&live_requests);
}

int tlsh_live_requests(void)
{
	return atomic_read(&live_requests);
}

void tlsh_answer(struct tlsh_request *request, int status)
{
	if (test_and_set_bit(TLSH_ANSWERED, &request->flags))
		return;
	request->status = status;
	complete(&request->answered);
}

bool tlsh_is_answered(const struct tlsh_request *request)
{
	return test_bit(TLSH_ANSWERED, &request->flags);
}

bool tlsh_cancel(struct tlsh_request *request)
{
	if (!test_and_set_bit(TLSH_ANSWERED, &request->flags))
		return true;
	wait_for_completion(&request->answered);
	return false;
}
