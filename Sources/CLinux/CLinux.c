#include "CLinux.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

size_t linux_rights_space(size_t count) { return CMSG_SPACE(count * sizeof(int)); }

void linux_rights_put(struct msghdr *message, const int *descriptors, size_t count) {
    memset(message->msg_control, 0, message->msg_controllen);
    struct cmsghdr *header = CMSG_FIRSTHDR(message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(count * sizeof(int));
    memcpy(CMSG_DATA(header), descriptors, count * sizeof(int));
}

size_t linux_rights_take(struct msghdr *message, int *descriptors, size_t capacity) {
    size_t taken = 0;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header != NULL; header = CMSG_NXTHDR(message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS || header->cmsg_len < CMSG_LEN(0))
            continue;
        size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t index = 0; index < count; index++) {
            int descriptor;
            memcpy(&descriptor, CMSG_DATA(header) + index * sizeof(int), sizeof descriptor);
            if (descriptors != NULL && taken < capacity)
                descriptors[taken++] = descriptor;
            else
                close(descriptor);
        }
    }
    return taken;
}

int linux_forbid_dump(void) { return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); }

int linux_set_name(const char *name) { return prctl(PR_SET_NAME, name, 0, 0, 0); }

static const int seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;

int linux_seal(int descriptor) { return fcntl(descriptor, F_ADD_SEALS, seals); }

int linux_is_sealed(int descriptor) {
    int found = fcntl(descriptor, F_GET_SEALS);
    return found < 0 ? -1 : (found & seals) == seals;
}

const char *linux_error_name(int number) { return strerrorname_np(number); }

const char *linux_error_text(int number) { return strerrordesc_np(number); }

int linux_memory_file(const char *name) { return memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING); }

int linux_spawn_close_from(posix_spawn_file_actions_t *actions, int lowest) {
    return posix_spawn_file_actions_addclosefrom_np(actions, lowest);
}

int linux_check_network_namespace(int descriptor) {
    int kind = ioctl(descriptor, NS_GET_NSTYPE);
    if (kind >= 0 && kind != CLONE_NEWNET)
        errno = EINVAL;
    return kind == CLONE_NEWNET ? 0 : -1;
}

int linux_enter_network_namespace(int descriptor) { return setns(descriptor, CLONE_NEWNET); }
