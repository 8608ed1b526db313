// Loaded into a node (LD_PRELOAD): a wall clock and a kernel that a test can spoil.
//
// FAULTS names a file of this structure, which the test changes while the node runs.
//
// Build: cc -shared -fPIC -O2 -Wall -o faults.so faults.c
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static volatile struct {
  int64_t wall_offset_ms;
  // Of 100 calls so many fail, with this errno.
  int32_t sends_failing, send_errno, accepts_failing, accept_errno;
} *faults;

__attribute__((constructor)) static void begin(void) {
  const char *path = getenv("FAULTS");
  int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  void *memory = file < 0 ? MAP_FAILED : mmap(NULL, sizeof *faults, PROT_READ, MAP_SHARED, file, 0);
  if (memory == MAP_FAILED) abort();
  faults = memory;
  close(file);
}

static int fails(int32_t of_hundred) {
  static _Thread_local uint32_t state = 1;
  state = state * 1664525u + 1013904223u;
  return (int32_t)((state >> 8) % 100) < of_hundred;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  int result = (int)syscall(SYS_clock_gettime, clock, now);
  if (result == 0 && clock == CLOCK_REALTIME && faults) {
    int64_t offset = faults->wall_offset_ms;
    now->tv_sec += offset / 1000;
    now->tv_nsec += offset % 1000 * 1000000;
    if (now->tv_nsec < 0) now->tv_nsec += 1000000000, now->tv_sec--;
    if (now->tv_nsec >= 1000000000) now->tv_nsec -= 1000000000, now->tv_sec++;
  }
  return result;
}

ssize_t send(int fd, const void *bytes, size_t size, int flags) {
  if (fails(faults->sends_failing)) { errno = faults->send_errno; return -1; }
  return syscall(SYS_sendto, fd, bytes, size, flags, NULL, 0);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
  if (fails(faults->sends_failing)) { errno = faults->send_errno; return -1; }
  return syscall(SYS_sendmsg, fd, message, flags);
}

int accept4(int fd, struct sockaddr *address, socklen_t *size, int flags) {
  if (fails(faults->accepts_failing)) { errno = faults->accept_errno; return -1; }
  return (int)syscall(SYS_accept4, fd, address, size, flags);
}
