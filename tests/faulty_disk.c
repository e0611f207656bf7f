// A disk that fails on demand: loaded before libc (LD_PRELOAD), it makes the n-th call that touches files fail.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static long calls;    // since the disk was set up; none are counted while `counting` is 0
static long failing;  // which call fails; 0: none
static int counting, error_number;
static char last[32];  // what failed

void faulty_disk_set(long which, int error) {
    calls = 0;
    failing = which;
    error_number = error;
    last[0] = 0;
    counting = 1;
}

long faulty_disk_stop(void) {
    counting = 0;
    return calls;
}

const char* faulty_disk_failed(void) { return last; }

static int fails(const char* name) {
    if (!counting || ++calls != failing) return 0;
    strncpy(last, name, sizeof last - 1);
    errno = error_number;
    return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define OPENING(name)                                             \
    int name(const char* path, int flags, ...) {                  \
        va_list rest;                                             \
        va_start(rest, flags);                                    \
        const mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0; \
        va_end(rest);                                             \
        return fails("open") ? -1 : REAL(name)(path, flags, mode); \
    }
OPENING(open)
OPENING(open64)

ssize_t write(int file, const void* from, size_t size) { return fails("write") ? -1 : REAL(write)(file, from, size); }
ssize_t pwrite64(int file, const void* from, size_t size, off64_t at) {
    return fails("write") ? -1 : REAL(pwrite64)(file, from, size, at);
}
int fsync(int file) { return fails("fsync") ? -1 : REAL(fsync)(file); }
int fdatasync(int file) { return fails("fsync") ? -1 : REAL(fdatasync)(file); }
int rename(const char* from, const char* to) { return fails("rename") ? -1 : REAL(rename)(from, to); }
int unlink(const char* path) { return fails("unlink") ? -1 : REAL(unlink)(path); }
int mkdir(const char* path, mode_t mode) { return fails("mkdir") ? -1 : REAL(mkdir)(path, mode); }
int ftruncate64(int file, off64_t size) { return fails("truncate") ? -1 : REAL(ftruncate64)(file, size); }
// The file is closed all the same: that is what Linux does when close says that a write failed.
int close(int file) {
    const int failed = fails("close");
    const int result = REAL(close)(file);
    if (!failed) return result;
    errno = error_number;
    return -1;
}
