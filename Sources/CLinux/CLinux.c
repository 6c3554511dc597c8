#include "CLinux.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
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

int linux_no_new_privileges(void) { return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); }

int linux_limit_bounding(uint64_t kept) {
    for (int capability = 0; capability < 64; capability++)
        if ((kept >> capability & 1) == 0 && prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0)
            /* EINVAL follows the last capability that this kernel knows. */
            return errno == EINVAL && capability > 0 ? 0 : -1;
    return 0;
}

int linux_clear_ambient(void) { return prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); }

int linux_keep_capabilities(uint64_t kept) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
    memset(data, 0, sizeof data);
    data[0].effective = data[0].permitted = (uint32_t)kept;
    data[1].effective = data[1].permitted = (uint32_t)(kept >> 32);
    return (int)syscall(SYS_capset, &header, data);
}

int linux_become(uint32_t user, uint32_t group, const uint32_t *groups, size_t count) {
    if (setgroups(count, groups) != 0 || setresgid(group, group, group) != 0)
        return -1;
    return setresuid(user, user, user);
}

int linux_change_root(const char *path) { return chroot(path) == 0 ? chdir("/") : -1; }

int linux_close_range(unsigned first, unsigned last) { return (int)syscall(SYS_close_range, first, last, 0); }

int linux_has_seccomp(void) {
    uint32_t action = SECCOMP_RET_KILL_PROCESS;
    return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
}

/* include/uapi/linux/landlock.h; the header of the build host may be older. */
struct landlock_ruleset {
    uint64_t files;
    uint64_t network;
    uint64_t scoped;
};
struct landlock_path {
    uint64_t rights;
    int32_t path;
} __attribute__((packed));
#define LANDLOCK_VERSION 1
#define LANDLOCK_PATH 1

int linux_landlock_version(void) { return (int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_VERSION); }

int linux_landlock_ruleset(uint64_t files, uint64_t network, uint64_t scoped) {
    struct landlock_ruleset ruleset = {.files = files, .network = network, .scoped = scoped};
    /* A kernel accepts a structure longer than its own if the rest is zero. */
    return (int)syscall(SYS_landlock_create_ruleset, &ruleset, sizeof ruleset, 0);
}

int linux_landlock_allow(int ruleset, const char *path, uint64_t rights) {
    struct landlock_path rule = {.rights = rights, .path = open(path, O_PATH | O_CLOEXEC)};
    if (rule.path < 0)
        return -1;
    int result = (int)syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_PATH, &rule, 0);
    int number = errno;
    close(rule.path);
    errno = number;
    return result;
}

int linux_landlock_restrict(int ruleset) { return (int)syscall(SYS_landlock_restrict_self, ruleset, 0); }

static const int seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;

_Static_assert(LINUX_GET_SEALS == F_GET_SEALS, "fcntl.h");

int linux_seal(int descriptor) { return fcntl(descriptor, F_ADD_SEALS, seals); }

int linux_is_sealed(int descriptor) {
    int found = fcntl(descriptor, F_GET_SEALS);
    return found < 0 ? -1 : (found & seals) == seals;
}

int linux_seal_size(int descriptor) {
    return fcntl(descriptor, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW);
}

uint64_t linux_load(const void *place) { return __atomic_load_n((const uint64_t *)place, __ATOMIC_ACQUIRE); }

void linux_store(void *place, uint64_t value) { __atomic_store_n((uint64_t *)place, value, __ATOMIC_RELEASE); }

const char *linux_error_name(int number) { return strerrorname_np(number); }

const char *linux_error_text(int number) { return strerrordesc_np(number); }

int linux_memory_file(const char *name) { return memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING); }

int linux_lock_on_use(void *address, size_t length) { return mlock2(address, length, MLOCK_ONFAULT); }

#define LINUX_TLS_ALERT 21

/* Receives up to two bytes of the next record. The sandboxes require MSG_CMSG_CLOEXEC, which has no effect here. */
static ssize_t receive_record(int socket, unsigned char bytes[2], int flags, int *type) {
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(unsigned char))];
    } control;
    struct iovec place = {.iov_base = bytes, .iov_len = 2};
    struct msghdr message = {
        .msg_iov = &place, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t count = recvmsg(socket, &message, flags | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    struct cmsghdr *header = count > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    *type = header != NULL && header->cmsg_level == SOL_TLS && header->cmsg_type == TLS_GET_RECORD_TYPE
                ? *CMSG_DATA(header)
                : 0;
    return count;
}

int linux_tls_record_type(int socket) {
    unsigned char bytes[2];
    int type;
    receive_record(socket, bytes, MSG_PEEK, &type);
    return type;
}

int linux_tls_take_alert(int socket) {
    unsigned char bytes[2];
    int type;
    ssize_t count = receive_record(socket, bytes, 0, &type);
    return count == 2 && type == LINUX_TLS_ALERT ? bytes[1] : -1;
}
