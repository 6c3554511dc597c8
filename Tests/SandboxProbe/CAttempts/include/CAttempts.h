/* What code in a taken-over worker might try: system calls that Swift cannot make. */
#ifndef CATTEMPTS_H
#define CATTEMPTS_H

#pragma clang assume_nonnull begin

/* What was opened or noted before the sandbox was entered, as a careless or lying broker might have left it. */
struct attempt_means {
    int tcp;       /* an unconnected TCP socket */
    int connected; /* a connected one */
    int file;      /* a file that could be written */
    int parent;    /* the process that started us */
};

/* How many attempts there are, and the name of each. */
const char *attempt_name(int index);
extern const int attempt_count;

/* Tries. Returns 0 where it worked, its errno where it was refused, -1 for an unknown name. */
int attempt(const char *name, struct attempt_means means);

#pragma clang assume_nonnull end

#endif
