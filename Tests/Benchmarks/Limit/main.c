/* limit FOLDER SECONDS mutual|anonymous|psk: how many pairs the bare library makes in a thread, as words KEY=VALUE. */
#include "CBareLoop.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define MOST 200000

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static double cpu(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static int compare(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return a < b ? -1 : a > b;
}

int main(int count, char **words) {
    if (count != 4) {
        fprintf(stderr, "usage: limit FOLDER SECONDS mutual|anonymous|psk\n");
        return 2;
    }
    enum bare_kind kind = !strcmp(words[3], "psk")         ? BARE_PSK
                          : !strcmp(words[3], "anonymous") ? BARE_ANONYMOUS
                                                           : BARE_MUTUAL;
    struct bare *bare = bare_open(words[1], kind);
    double *times = calloc(MOST, sizeof *times);
    if (bare == NULL || times == NULL || bare_pair(bare) != 0) {
        fprintf(stderr, "limit: no handshake works with the files of %s\n", words[1]);
        return 1;
    }
    double begin = now(), cpu_begin = cpu(), end = begin + atof(words[2]), last = begin;
    int pairs = 0;
    while (last < end && pairs < MOST) {
        if (bare_pair(bare) != 0)
            return 1;
        double done = now();
        times[pairs++] = done - last;
        last = done;
    }
    double used = cpu() - cpu_begin;
    qsort(times, (size_t)pairs, sizeof *times, compare);
    printf("pairs=%d took_us=%.0f cpu_us_per_pair=%.1f median_us=%.0f\n", pairs, (last - begin) * 1e6,
           used * 1e6 / pairs, times[pairs / 2] * 1e6);
    bare_close(bare);
    free(times);
    return 0;
}
